"""Axis tables: which pixels each output row and column of a RoI averages, and with what weights.

On an axis-aligned grid a bilinear weight is a product of one weight in y and one in x, a sample is dropped
where y is out *or* x is out, and the divisor is the product of both counts. So the average over a bin needs
one short list of (pixel, weight) taps for its row and one for its column::

    box ──▶ sample positions ──▶ taps of bin p: (pixel, weight) (pixel, weight) ...
                                 samples on the same pixel merge, weights are divided by the count
"""

from libc.stdint cimport int32_t, int64_t, uint8_t
from libc.string cimport memset

from roicy.cpu cimport arrays as cnp
from roicy.cpu.runtime.checks cimport CHECKED, check_inside
from roicy.cpu.runtime.memory cimport allocate, deallocate
from roicy.cpu.runtime.parallel cimport run_pieces
from roicy.cpu.tables.rois cimport Place, Window
from roicy.cpu.tables.samples cimport ALIGN, HALF_PIXEL, Sampling, Side, sampling_of
from roicy.cpu.tuning cimport (
    AXIS_TABLE_ROIS_OF_A_THREAD, FEW_CHANNELS, FEW_COLUMNS, LONE_VALUES, LONE_VALUES_OF_FEW,
)

cnp.import_array()

include "axis_sides.pyx"

cdef enum:
    SHORT_BINS = 1024           # along both axes
    SHORT_TAPS = 8192


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
            fill(self, boxes, image, how, purpose, regions.input_shape[1], threads)


cdef bint are_lone(AxisTable table, Sampling* sampling, int64_t channels) noexcept:
    # Whether boxes have so few bins, of one sample each, that lists of taps would not pay.
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


cdef int fill(AxisTable table, cnp.ndarray boxes, const int64_t* image, Sampling sampling, str purpose,
              int64_t channels, int threads) except -1:
    cdef Py_ssize_t k, count = table.rois, columns = cnp.PyArray_DIM(boxes, 1), item = cnp.PyArray_ITEMSIZE(boxes)
    cdef int64_t pieces = (count + SIDES - 1) // SIDES, roi
    cdef Filling filling
    cdef bint filled
    table.window = <Window*> table.reserve(count, sizeof(Window))
    threads = <int> min(threads, count // AXIS_TABLE_ROIS_OF_A_THREAD + 1)
    filling = Filling(
        boxes=<const char*> cnp.PyArray_DATA(boxes) + (columns - 4) * item,
        single=cnp.PyArray_TYPE(boxes) == cnp.NPY_FLOAT32, step=columns * item, sampling=sampling, image=image,
        order=NULL, y=&table.y, x=&table.x, rois=count, height=table.map_height, width=table.map_width,
        by_first_row=purpose == "backward", double_=table.double, sampled=False, ranged=False,
        place=<Place*> table.reserve(count, sizeof(Place)), room=<Room*> table.reserve(count, sizeof(Room)),
        plain=<uint8_t*> table.reserve(count, sizeof(uint8_t)), side=NULL, reach=NULL,
        extent=<int32_t*> table.reserve(pieces, sizeof(int32_t)), length=1, mark=NULL,
        window=table.window, cost=<double*> table.reserve(count, sizeof(double)),
    )
    if purpose != "backward_rois":
        filling.sampled = are_sampled(table, &sampling)
        filling.ranged = is_range(sampling.rule)
    if purpose == "forward" and filling.sampled and may_wait(table, &sampling, channels):
        filling.side = <PlainSide*> table.reserve(2 * count, sizeof(PlainSide))
        filling.reach = <Reach*> table.reserve(2 * count, sizeof(Reach))
    else:
        reserve_bins(table)
    if is_short(&table.y, &table.x, count):
        note_places(&filling, 0, 0)
    else:
        run_pieces(note_places, &filling, pieces, threads)
    table.arrange(image, filling.place)
    filling.order = table.order
    if filling.side != NULL:
        if are_plain(&filling):
            note_sides(table, &filling)
            return table.summarise(image, filling.cost)
        reserve_bins(table)
    table.y.pixel_start = <int64_t*> table.reserve(count + 1, sizeof(int64_t))
    table.x.pixel_start = <int64_t*> table.reserve(count + 1, sizeof(int64_t))
    table.y.pixel_start[0] = table.x.pixel_start[0] = 0
    for k in range(pieces):
        filling.length = max(filling.length, <int64_t> filling.extent[k])
    for k in range(count):
        roi = table.order[k]
        table.y.pixel_start[k + 1] = table.y.pixel_start[k] + filling.room[roi].y
        table.x.pixel_start[k + 1] = table.x.pixel_start[k] + filling.room[roi].x
    filled = sampling.border != EDGE
    lay_out(table, &table.y, purpose, filled)
    lay_out(table, &table.x, purpose, filled)
    fill_taps(&filling, pieces, threads)
    if CHECKED:
        check_axis(&table.y, table.rois, table.map_height)
        check_axis(&table.x, table.rois, table.map_width)
    note_windows(table)
    return table.summarise(image, filling.cost)


cdef bint are_sampled(AxisTable table, Sampling* sampling) noexcept:
    # Whether sides may be plain, as those of RoIAlign are.
    return ((sampling.rule == ALIGN or sampling.rule == HALF_PIXEL and not sampling.nearest)
            and sampling.sampling_ratio <= PLAIN_SAMPLES and table.rows <= PLAIN_LENGTH
            and table.columns <= PLAIN_LENGTH and 0 < table.map_height <= PLAIN_LENGTH
            and 0 < table.map_width <= PLAIN_LENGTH)


cdef bint may_wait(AxisTable table, Sampling* sampling, int64_t channels) noexcept:
    # Whether lists of taps can wait until a kernel fills them, box by box. Only crops with one sample a bin are applied
    # box by box.
    return (sampling.sampling_ratio == 1 and channels <= FEW_CHANNELS and not table.windowed
            and min(table.rows, table.columns) >= max(<int> MANY_BINS, <int> FEW_COLUMNS + 1))


cdef int note_sides(AxisTable table, Filling* f) except -1:
    # Keep the sides, in the order of the table, instead of lists: axis_forward_crops fills the lists of a box when its
    # turn comes, so that they stay in the cache. Windows and costs follow from the reaches; a row has at most two taps.
    cdef Axis* axes[2]
    cdef Reach reach[2]
    cdef int64_t k, roi
    cdef int i
    axes[0], axes[1] = &table.y, &table.x
    for i in range(2):
        axes[i].side = <PlainSide*> table.reserve(table.rois, sizeof(PlainSide))
        axes[i].length = table.map_width if i else table.map_height
        axes[i].single = f.single
    for k in range(table.rois):
        roi = table.order[k]
        for i in range(2):
            axes[i].side[k], reach[i] = f.side[2 * roi + i], f.reach[2 * roi + i]
        f.window[k] = Window(top=0, bottom=0, left=0, right=0)
        f.cost[k] = 0
        if f.image[roi] >= 0:
            f.window[k] = Window(top=reach[0].low, bottom=reach[0].high + 1, left=reach[1].low, right=reach[1].high + 1)
            table.tallest = <int> max(<int64_t> table.tallest, min(reach[0].high + 1 - reach[0].low, reach[0].room))
            table.widest = <int> max(<int64_t> table.widest, min(reach[1].high + 1 - reach[1].low, reach[1].room))
            f.cost[k] = 2. * table.rows * min(reach[1].high + 1 - reach[1].low, reach[1].room)
    return 0


cdef int reserve_bins(AxisTable table) except -1:
    # Room for where each bin's taps begin and how many it has. `reserve` raises an error if bins are too many.
    cdef size_t count = table.rois
    table.y.tap_start = <int64_t*> table.reserve(count * <size_t> table.y.bins, sizeof(int64_t))
    table.y.tap_count = <int32_t*> table.reserve(count * <size_t> table.y.bins, sizeof(int32_t))
    table.x.tap_start = <int64_t*> table.reserve(count * <size_t> table.x.bins, sizeof(int64_t))
    table.x.tap_count = <int32_t*> table.reserve(count * <size_t> table.x.bins, sizeof(int32_t))
    return 0


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
    # Whether filling the table takes less time than getting Python's lock back from other threads.
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


cdef void note_windows(AxisTable table) noexcept:
    cdef int64_t k
    table.widest = table.tallest = 0
    for k in range(table.rois):
        table.widest = max(table.widest, table.x.pixel_count[k])
        table.tallest = max(table.tallest, table.y.pixel_count[k])
    if table.windowed:
        for k in range(table.rois):
            move_pixels(table, &table.y, k, table.part.top)
            move_pixels(table, &table.x, k, table.part.left)


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
