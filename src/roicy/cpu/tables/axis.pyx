"""Axis tables: which pixels each output row and column of a RoI averages, and with what weights.

On an axis-aligned grid a bilinear weight is a product of one weight in y and one in x, a sample is dropped
where y is out *or* x is out, and the divisor is the product of both counts. So the average over a bin needs
one short list of (pixel, weight) taps for its row and one for its column::

    box ──▶ sample positions ──▶ taps of bin p: (pixel, weight) (pixel, weight) ...
                                 samples on the same pixel merge, weights are divided by the count
"""

from libc.stdint cimport int32_t, int64_t
from libc.string cimport memset

cimport numpy as cnp

from roicy.cpu.runtime.checks cimport CHECKED, check, check_inside
from roicy.cpu.runtime.memory cimport allocate, deallocate
from roicy.cpu.runtime.parallel cimport run_pieces
from roicy.cpu.tables.rois cimport SortKey, Window
from roicy.cpu.tables.samples cimport ALIGN, HALF_PIXEL, Sampling, Side, sampling_of
from roicy.cpu.tuning cimport AXIS_TABLE_ROIS_OF_A_THREAD, FEW_CHANNELS, LONE_VALUES, LONE_VALUES_OF_FEW

cnp.import_array()

cdef enum:
    ROIS_OF_A_PIECE = 16
    SHORT_BINS = 1024           # along both axes
    SHORT_TAPS = 8192
# RoIs for each thread that fills the table.


cdef extern from "geometry/cpu.h" nogil:
    enum:
        EDGE
        PLAIN_LENGTH

    ctypedef struct Lists:
        int64_t at
        int32_t* pixel
        void* weight
        void* start
        void* end
        bint doubles

    ctypedef struct Stretch:
        int low, high
        int64_t room

    ctypedef struct Taps:
        double outside
        Lists lists

    # the pixels of an axis that a box's bins touch, from `low` to `high`, and how many taps it can have at the most
    ctypedef struct Reach:
        int low, high
        int64_t room

    ctypedef struct PlainTaps:
        int64_t at
        int64_t* start
        int32_t* count
        int32_t* position
        int32_t* pixel
        void* weight
        bint doubles

    Side axis_side(const void* box, bint single, int axis, Sampling sampling, int bins, int length)
    Stretch stretch_of(bint single, Side side, int p, Sampling sampling)
    Taps taps_into(Lists lists)
    void add_taps(bint single, Side side, Stretch stretch, int p, Sampling sampling, Taps* taps)
    void put_rest(Taps* taps)
    bint is_range(int rule)
    bint plain_within(bint single, Side side)
    Reach plain_reach(bint single, Side side, int rule)
    int plain_taps(bint single, Side side, int rule, PlainTaps taps)


cdef inline bint is_plain(Side side, Filling* f) noexcept nogil:
    return f.plain and (f.sampling.rule != HALF_PIXEL or plain_within(f.single, side))


cdef Reach reach_of(Side side, Filling* f) noexcept nogil:
    cdef Reach reach = Reach(low=side.length, high=-1, room=0)
    cdef Stretch stretch
    cdef int p
    if is_plain(side, f):
        reach = plain_reach(f.single, side, f.sampling.rule)
        if reach.room:
            return reach
    for p in range(side.bins):
        stretch = stretch_of(f.single, side, p, f.sampling)
        reach.low = min(reach.low, stretch.low)
        reach.high = max(reach.high, stretch.high)
        reach.room += stretch.room
    return reach


cdef void put(void* target, bint double_, int64_t i, double value) noexcept nogil:
    if double_:
        (<double*> target)[i] = value
    else:
        (<float*> target)[i] = <float> value


cdef double get(void* source, bint double_, int64_t i) noexcept nogil:
    return (<double*> source)[i] if double_ else (<float*> source)[i]


cdef void fill_axis(Axis* axis, int64_t k, Side side, Filling* f, int32_t* mark) noexcept nogil:
    cdef int64_t last = (k + 1) * axis.bins - 1
    if not (is_plain(side, f) and fill_plain(axis, k, side, f)):
        fill_bins(axis, k, side, f, mark)
    if axis.bin != NULL:
        transpose_taps(axis, k, axis.pixel_start[k], axis.tap_start[last] + axis.tap_count[last], f.double_)


cdef bint fill_plain(Axis* axis, int64_t k, Side side, Filling* f) noexcept nogil:
    cdef int64_t start = axis.pixel_start[k], row = k * axis.bins
    cdef int p
    for p in range(axis.bins if axis.outside != NULL else 0):
        put(axis.outside, f.double_, row + p, 0)
    axis.pixel_count[k] = plain_taps(f.single, side, f.sampling.rule, PlainTaps(
        at=start, start=axis.tap_start + row, count=axis.tap_count + row, position=axis.tap_position,
        pixel=axis.pixels + start, weight=axis.tap_weight, doubles=f.double_))
    return axis.pixel_count[k] >= 0


cdef void fill_bins(Axis* axis, int64_t k, Side side, Filling* f, int32_t* mark) noexcept nogil:
    # `mark` has room for the pixels from the first to the last one of the RoI and is all -1 before and after.
    cdef int64_t start = axis.pixel_start[k], at = start, row = k * axis.bins, i
    cdef int p, low = side.length, high = -1, used = 0, pixel
    cdef Taps taps = taps_into(Lists(at=at, pixel=axis.tap_position, weight=axis.tap_weight, start=axis.tap_slope_start,
                                     end=axis.tap_slope_end, doubles=f.double_))
    for p in range(axis.bins):
        add_taps(f.single, side, stretch_of(f.single, side, p, f.sampling), p, f.sampling, &taps)
        put_rest(&taps)
        if axis.outside != NULL:
            put(axis.outside, f.double_, row + p, taps.outside)
            taps.outside = 0
        axis.tap_start[row + p] = at
        axis.tap_count[row + p] = <int32_t> (taps.lists.at - at)
        if taps.lists.at > at:
            low = min(low, axis.tap_position[at])
            high = max(high, axis.tap_position[taps.lists.at - 1])
        at = taps.lists.at
    check(at <= axis.pixel_start[k + 1])
    # list the pixels in ascending order; taps then name positions in the list
    for i in range(start, at):
        mark[axis.tap_position[i] - low] = 1
    for pixel in range(low, high + 1):
        if mark[pixel - low] >= 0:
            mark[pixel - low] = used
            axis.pixels[start + used] = pixel
            used += 1
    axis.pixel_count[k] = used
    for i in range(start, at):
        axis.tap_position[i] = mark[axis.tap_position[i] - low]
    for pixel in range(low, high + 1):
        mark[pixel - low] = -1


cdef void transpose_taps(Axis* axis, int64_t k, int64_t start, int64_t end, bint double_) noexcept nogil:
    cdef int64_t i, at = start, row = k * axis.bins
    cdef int used = axis.pixel_count[k], p, position
    for i in range(used):
        axis.bin_count[start + i] = 0
    for i in range(start, end):
        axis.bin_count[start + axis.tap_position[i]] += 1
    for i in range(used):
        axis.bin_start[start + i] = at
        at += axis.bin_count[start + i]
        axis.bin_count[start + i] = 0
    for p in range(axis.bins):
        for i in range(axis.tap_start[row + p], axis.tap_start[row + p] + axis.tap_count[row + p]):
            position = axis.tap_position[i]
            at = axis.bin_start[start + position] + axis.bin_count[start + position]
            axis.bin[at] = p
            put(axis.bin_weight, double_, at, get(axis.tap_weight, double_, i))
            axis.bin_count[start + position] += 1


cdef class AxisTable(RoiTable):
    """Axis tables of K RoIs, in both axes; RoIs by bands of their last rows (of their first ones for the adjoint).

    Parameters
    ----------
    regions : Regions
        Boxes (K, 4) or (K, 5): corners x1, y1, x2, y2; maps and bins.
    sampling : Sampling
        Where samples lie in them.
    accumulate : {"float32", "float64"}
        Type of the weights.
    purpose : {"forward", "backward", "backward_rois"}
        What the table is for; the gradients need the transpose, the last one derivatives too.
    threads : int
        Threads that may be used.
    """

    def __cinit__(self, regions, sampling, str accumulate, str purpose, int threads):
        cdef cnp.ndarray boxes
        cdef int64_t* image
        cdef Sampling how
        boxes, images = self.choose(regions)
        self.describe(regions, accumulate, boxes)
        self.y.bins = self.rows
        self.x.bins = self.columns
        how = sampling_of(sampling)
        self.scale = how.spatial_scale
        image = self.find_images(boxes, images)
        if purpose == "forward" and are_lone(self, &how, regions.input_shape[1]):
            note_lone(self, boxes, image, how)
        else:
            fill(self, boxes, image, how, purpose, threads)


cdef bint are_lone(AxisTable table, Sampling* sampling, int64_t channels) noexcept:
    # Whether bins of one sample each are so few that lists of their taps would not pay.
    return (sampling.rule == ALIGN and sampling.sampling_ratio == 1 and not table.windowed
            and 0 < table.height <= PLAIN_LENGTH and 0 < table.width <= PLAIN_LENGTH
            and (table.rows * <double> table.columns * channels
                 <= (LONE_VALUES_OF_FEW if channels <= FEW_CHANNELS else LONE_VALUES)))


cdef int note_lone(AxisTable table, cnp.ndarray boxes, const int64_t* image, Sampling sampling) except -1:
    cdef LoneBoxes* lone = &table.lone
    cdef Py_ssize_t columns = cnp.PyArray_DIM(boxes, 1), step = columns * cnp.PyArray_ITEMSIZE(boxes)
    table.boxes = boxes
    lone[0] = LoneBoxes(rows=<const char*> cnp.PyArray_DATA(boxes), single=cnp.PyArray_TYPE(boxes) == cnp.NPY_FLOAT32,
                        columns=<int> columns, step=step, sampling=sampling, image=image)
    table.doubtful = table.doubtful or not any_lone(table)
    return 0


cdef bint any_lone(AxisTable table) noexcept:
    # Whether a box takes anything from the map.
    cdef LoneBoxes* lone = &table.lone
    cdef Stretch stretch
    cdef Side side
    cdef int64_t k
    cdef int axis, hits, p
    for k in range(table.rois):
        hits = 0
        for axis in range(2 if lone.image[k] >= 0 else 0):
            side = axis_side(lone.rows + (k + 1) * lone.step - 4 * (lone.step // lone.columns), lone.single, axis,
                             lone.sampling, table.rows if axis else table.columns,
                             table.height if axis else table.width)
            for p in range(side.bins):
                stretch = stretch_of(lone.single, side, p, lone.sampling)
                if stretch.low <= stretch.high:
                    hits += 1
                    break
        if hits == 2:
            return True
    return False


cdef struct Filling:
    # what a call fills its tables from; box k is at `boxes` + k * step
    const char* boxes
    bint single             # boxes are float32
    Py_ssize_t step
    Sampling sampling
    const int64_t* image
    const int64_t* order
    Axis* y
    Axis* x
    int64_t rois
    int height, width
    bint by_first_row, double_
    bint plain              # sides may be: plain_taps fills them
    SortKey* keys
    int64_t length          # of each thread's marks
    int32_t* mark


cdef int fill(AxisTable table, cnp.ndarray boxes, const int64_t* image, Sampling sampling, str purpose,
              int threads) except -1:
    cdef Py_ssize_t k, count = table.rois, columns = cnp.PyArray_DIM(boxes, 1), item = cnp.PyArray_ITEMSIZE(boxes)
    cdef int64_t pieces = (count + ROIS_OF_A_PIECE - 1) // ROIS_OF_A_PIECE
    cdef Filling filling
    cdef SortKey* keys = <SortKey*> table.reserve(count, sizeof(SortKey))
    cdef bint filled
    # bins may be too many to count
    table.y.tap_start = <int64_t*> table.reserve(count * <size_t> table.y.bins, sizeof(int64_t))
    table.y.tap_count = <int32_t*> table.reserve(count * <size_t> table.y.bins, sizeof(int32_t))
    table.x.tap_start = <int64_t*> table.reserve(count * <size_t> table.x.bins, sizeof(int64_t))
    table.x.tap_count = <int32_t*> table.reserve(count * <size_t> table.x.bins, sizeof(int32_t))
    threads = <int> min(threads, count // AXIS_TABLE_ROIS_OF_A_THREAD + 1)
    filling = Filling(
        boxes=<const char*> cnp.PyArray_DATA(boxes) + (columns - 4) * item,
        single=cnp.PyArray_TYPE(boxes) == cnp.NPY_FLOAT32, step=columns * item, sampling=sampling, image=image,
        order=NULL, y=&table.y, x=&table.x, rois=count, height=table.map_height, width=table.map_width,
        by_first_row=purpose == "backward", double_=table.double,
        plain=(purpose != "backward_rois"
               and (sampling.rule == ALIGN or is_range(sampling.rule)
                    or sampling.rule == HALF_PIXEL and not sampling.nearest)),
        keys=keys, length=1, mark=NULL,
    )
    if is_short(&table.y, &table.x, count):
        note_keys(&filling, 0, 0)
    else:
        run_pieces(note_keys, &filling, pieces, threads)
    table.arrange(keys)
    filling.order = table.order
    table.y.pixel_start = <int64_t*> table.reserve(count + 1, sizeof(int64_t))
    table.x.pixel_start = <int64_t*> table.reserve(count + 1, sizeof(int64_t))
    table.y.pixel_start[0] = table.x.pixel_start[0] = 0
    for k in range(count):
        filling.length = max(filling.length, keys[k].extent)
        table.y.pixel_start[k + 1] = table.y.pixel_start[k] + keys[k].room_y
        table.x.pixel_start[k + 1] = table.x.pixel_start[k] + keys[k].room_x
    filled = sampling.border != EDGE
    lay_out(table, &table.y, purpose, filled)
    lay_out(table, &table.x, purpose, filled)
    fill_taps(&filling, pieces, threads)
    if CHECKED:
        check_axis(&table.y, table.rois, table.map_height)
        check_axis(&table.x, table.rois, table.map_width)
    note_windows(table, image)
    return 0


cdef inline Side side_of_box(int64_t k, int axis, Filling* f) noexcept nogil:
    return axis_side(f.boxes + k * f.step, f.single, axis, f.sampling, (f.y if axis else f.x).bins,
                     f.height if axis else f.width)


cdef void note_keys(void* settled, int64_t number, int thread) noexcept nogil:
    cdef Filling* f = <Filling*> settled
    cdef int64_t k
    for k in range(number * ROIS_OF_A_PIECE, min(f.rois, (number + 1) * ROIS_OF_A_PIECE)):
        f.keys[k] = key_of(k, f)


cdef SortKey key_of(int64_t k, Filling* f) noexcept nogil:
    cdef SortKey key = SortKey(image=f.image[k], row=0, column=0, roi=k, room_y=0, room_x=0, extent=1)
    cdef Reach y, x
    if key.image >= 0:
        y = reach_of(side_of_box(k, 1, f), f)
        x = reach_of(side_of_box(k, 0, f), f)
        key.room_y = y.room
        key.room_x = x.room
        key.row = y.low if f.by_first_row else y.high
        key.column = x.low
        key.extent = max(y.high - y.low, x.high - x.low) + 1
    return key


cdef int lay_out(AxisTable table, Axis* axis, str purpose, bint filled) except -1:
    cdef int64_t total = axis.pixel_start[table.rois]
    cdef Py_ssize_t weight = sizeof(double) if table.double else sizeof(float)
    axis.pixel_count = <int32_t*> table.reserve(table.rois, sizeof(int32_t))
    axis.pixels = <int32_t*> table.reserve(total, sizeof(int32_t))
    axis.tap_position = <int32_t*> table.reserve(total, sizeof(int32_t))
    axis.tap_weight = table.reserve(total, weight)
    if purpose == "forward":
        if filled:
            axis.outside = table.reserve(table.rois * <size_t> axis.bins, weight)
        return 0
    axis.bin_start = <int64_t*> table.reserve(total, sizeof(int64_t))
    axis.bin_count = <int32_t*> table.reserve(total, sizeof(int32_t))
    axis.bin = <int32_t*> table.reserve(total, sizeof(int32_t))
    axis.bin_weight = table.reserve(total, weight)
    if purpose == "backward_rois":
        axis.tap_slope_start = table.reserve(total, weight)
        axis.tap_slope_end = table.reserve(total, weight)
    return 0


cdef void check_axis(Axis* axis, int64_t rois, int length) noexcept:
    cdef int64_t k, i, start, room
    for k in range(rois):
        start = axis.pixel_start[k]
        room = axis.pixel_start[k + 1] - start
        check_inside(axis.pixel_count[k], 0, room + 1)
        for i in range(start, start + axis.pixel_count[k]):
            check_inside(axis.pixels[i], axis.pixels[i - 1] + 1 if i > start else 0, length)
            if axis.bin != NULL:
                check_inside(axis.bin_start[i], start, start + room)
                check_inside(axis.bin_start[i] + axis.bin_count[i], start, start + room + 1)
        for i in range(k * axis.bins, (k + 1) * axis.bins):
            check_inside(axis.tap_start[i], start, start + room + 1)
            check_inside(axis.tap_start[i] + axis.tap_count[i], start, start + room + 1)
        for i in range(start, axis.tap_start[(k + 1) * axis.bins - 1] + axis.tap_count[(k + 1) * axis.bins - 1]):
            check_inside(axis.tap_position[i], 0, axis.pixel_count[k])
            if axis.bin != NULL:
                check_inside(axis.bin[i], 0, axis.bins)


cdef inline bint is_short(const Axis* y, const Axis* x, int64_t rois) noexcept nogil:
    # Whether a table is there sooner than Python's lock comes back, where other threads have waited for it.
    return rois == 1 and y.bins + x.bins <= SHORT_BINS


cdef int fill_taps(Filling* filling, int64_t pieces, int threads) except -1:
    # scratch of each thread
    filling.mark = <int32_t*> allocate(threads * filling.length * sizeof(int32_t))
    try:
        memset(filling.mark, -1, threads * filling.length * sizeof(int32_t))
        if (is_short(filling.y, filling.x, filling.rois)
                and filling.y.pixel_start[filling.rois] + filling.x.pixel_start[filling.rois] <= SHORT_TAPS):
            fill_rois(filling, 0, 0)
        else:
            run_pieces(fill_rois, filling, pieces, threads)
    finally:
        deallocate(filling.mark)
    return 0


cdef int note_windows(AxisTable table, const int64_t* image) except -1:
    cdef Axis* y = &table.y
    cdef Axis* x = &table.x
    cdef const int32_t* rows
    cdef const int32_t* columns
    cdef double* cost = <double*> table.reserve(table.rois, sizeof(double))
    cdef int64_t k
    table.window = <Window*> table.reserve(table.rois, sizeof(Window))
    table.widest = table.tallest = 0
    for k in range(table.rois):
        table.window[k] = Window(top=0, bottom=0, left=0, right=0)
        cost[k] = 0
        table.widest = max(table.widest, x.pixel_count[k])
        table.tallest = max(table.tallest, y.pixel_count[k])
        if x.pixel_count[k] and y.pixel_count[k]:
            rows = y.pixels + y.pixel_start[k]
            columns = x.pixels + x.pixel_start[k]
            table.window[k] = Window(top=rows[0], bottom=rows[y.pixel_count[k] - 1] + 1,
                                     left=columns[0], right=columns[x.pixel_count[k] - 1] + 1)
            cost[k] = row_taps(y, k) * <double> x.pixel_count[k]
    if table.windowed:
        for k in range(table.rois):
            move_pixels(table, &table.y, k, table.part.top)
            move_pixels(table, &table.x, k, table.part.left)
    return table.summarise(image, cost)


cdef void move_pixels(AxisTable table, Axis* axis, int64_t k, int begin) noexcept:
    # A RoI's pixels are counted from where the part of the map begins. One that reads nothing along the other axis
    # reads nothing at all.
    cdef int64_t i
    if table.window[k].bottom == table.window[k].top:
        axis.pixel_count[k] = 0
        for i in range(k * axis.bins, (k + 1) * axis.bins):
            axis.tap_count[i] = 0
    for i in range(axis.pixel_start[k], axis.pixel_start[k] + axis.pixel_count[k]):
        axis.pixels[i] -= begin


cdef int64_t row_taps(Axis* axis, int64_t k) noexcept nogil:
    cdef int64_t total = 0, i
    for i in range(k * axis.bins, (k + 1) * axis.bins):
        total += axis.tap_count[i]
    return total


cdef void fill_rois(void* settled, int64_t number, int thread) noexcept nogil:
    cdef Filling* f = <Filling*> settled
    cdef int32_t* mark = f.mark + thread * f.length
    cdef int64_t at, k
    for at in range(number * ROIS_OF_A_PIECE, min(f.rois, (number + 1) * ROIS_OF_A_PIECE)):
        k = f.order[at]
        if f.image[k] < 0:
            empty_axis(f.y, at, f.double_)
            empty_axis(f.x, at, f.double_)
        else:
            fill_axis(f.y, at, side_of_box(k, 1, f), f, mark)
            fill_axis(f.x, at, side_of_box(k, 0, f), f, mark)


cdef void empty_axis(Axis* axis, int64_t k, bint double_) noexcept nogil:
    cdef int64_t p
    axis.pixel_count[k] = 0
    for p in range(k * axis.bins, (k + 1) * axis.bins):
        axis.tap_start[p] = axis.pixel_start[k]
        axis.tap_count[p] = 0
        if axis.outside != NULL:
            put(axis.outside, double_, p, 0)
