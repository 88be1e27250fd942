"""The sides of boxes along both axes: the pixels that they reach, and their lists of taps.

Boxes are handled SIDES at a time. Most sides are plain (geometry/plain.h) and are computed together. The others are
computed one by one, bin by bin.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t
from libc.string cimport memset

from roicy.cpu.runtime.checks cimport check
from roicy.cpu.tables.rois cimport Place, Window
from roicy.cpu.tables.samples cimport Sampling, Side


cdef extern from "geometry/cpu.h" nogil:
    enum:
        EDGE
        MANY_BINS
        PLAIN_LENGTH
        PLAIN_SAMPLES
        SIDES

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

    # The pixels of an axis that a box's bins touch, from `low` to `high`, and the most taps they can have.
    ctypedef struct Reach:
        int low, high
        int64_t room

    # The same axis of SIDES boxes.
    ctypedef struct Sides:
        pass

    ctypedef struct Reaches:
        int plain[SIDES]
        int low[SIDES]
        int high[SIDES]
        int room[SIDES]

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
    void plain_sides(const void** box, bint single, int axis, Sampling sampling, int bins, int length, Sides* sides)
    PlainSide plain_side(bint single, const Sides* sides, int side)
    void plain_reaches(bint single, const Sides* sides, Sampling sampling, Reaches* reaches)
    void plain_lists(bint single, const Sides* sides, const int* plain, int samples, const PlainLists* lists, int64_t k)
    Reach plain_range_reach(bint single, Side side, int rule)
    int plain_range_taps(bint single, Side side, int rule, PlainTaps taps)


cdef enum:
    PLAIN_Y = 1
    PLAIN_X = 2


cdef struct Room:
    # The most taps that a RoI can have along each axis.
    int64_t y, x


cdef struct Filling:
    # What a call fills its tables from. Box k begins at `boxes` + k * step.
    const char* boxes
    bint single             # boxes are float32
    Py_ssize_t step
    Sampling sampling
    const int64_t* image
    const int64_t* order    # NULL until the RoIs are sorted
    Axis* y
    Axis* x
    int64_t rois
    int height, width
    bint by_first_row, double_
    bint sampled, ranged    # sides may be plain as those of RoIAlign; as those of RoIPool
    Place* place            # (K) in the order of the boxes, as all lists up to `reach`
    Room* room
    uint8_t* plain          # which sides of a box are plain: PLAIN_Y, PLAIN_X
    PlainSide* side         # (2 K) the y and the x side of each box, if lists may be made later; else NULL
    Reach* reach            # (2 K) likewise
    int32_t* extent         # for each piece of SIDES boxes: most pixels that a side spans, plain ones aside
    int64_t length          # elements of each thread's part of `mark`
    int32_t* mark           # scratch of fill_bins
    Window* window          # (K) in the order of the table
    double* cost


cdef inline Side side_of_box(int64_t roi, int axis, Filling* f) noexcept nogil:
    return axis_side(f.boxes + roi * f.step, f.single, axis, f.sampling, (f.y if axis else f.x).bins,
                     f.height if axis else f.width)


cdef inline int rois_of(int64_t number, Filling* f, int64_t* roi) noexcept nogil:
    # List the RoIs of a piece; the last one fills the rest of the list. Return how many RoIs there are.
    cdef int64_t first = number * SIDES
    cdef int count = <int> min(<int64_t> SIDES, f.rois - first), i
    for i in range(SIDES):
        roi[i] = first + min(i, count - 1)
        if f.order != NULL:
            roi[i] = f.order[roi[i]]
    return count


cdef inline void find_sides(const int64_t* roi, Filling* f, Sides* down, Sides* along) noexcept nogil:
    cdef const void* box[SIDES]
    cdef int i
    for i in range(SIDES):
        box[i] = f.boxes + roi[i] * f.step
    plain_sides(box, f.single, 1, f.sampling, f.y.bins, f.height, down)
    plain_sides(box, f.single, 0, f.sampling, f.x.bins, f.width, along)


cdef void note_places(void* settled, int64_t number, int thread) noexcept nogil:
    # First pass over a piece of boxes: their sort keys, and the room for their lists.
    cdef Filling* f = <Filling*> settled
    cdef Sides down, along
    cdef Reaches rows, columns
    cdef Reach y, x
    cdef int64_t roi[SIDES]
    cdef int64_t k
    cdef int count = rois_of(number, f, roi), i
    f.extent[number] = 1
    if f.sampled:
        find_sides(roi, f, &down, &along)
        plain_reaches(f.single, &down, f.sampling, &rows)
        plain_reaches(f.single, &along, f.sampling, &columns)
    for i in range(count):
        k = roi[i]
        y = x = Reach(low=0, high=0, room=0)
        f.plain[k] = 0
        if f.image[k] >= 0:
            if f.sampled:
                f.plain[k] = (PLAIN_Y if rows.plain[i] else 0) | (PLAIN_X if columns.plain[i] else 0)
            y = (Reach(low=rows.low[i], high=rows.high[i], room=rows.room[i]) if f.plain[k] & PLAIN_Y
                 else reach_of(k, 1, f))
            x = (Reach(low=columns.low[i], high=columns.high[i], room=columns.room[i]) if f.plain[k] & PLAIN_X
                 else reach_of(k, 0, f))
        f.place[k] = Place(row=y.low if f.by_first_row else y.high, column=x.low)
        f.room[k] = Room(y=y.room, x=x.room)
        if f.side != NULL:
            f.side[2 * k], f.side[2 * k + 1] = plain_side(f.single, &down, i), plain_side(f.single, &along, i)
            f.reach[2 * k], f.reach[2 * k + 1] = y, x


cdef bint are_plain(const Filling* f) noexcept:
    # Whether both sides of every box that has an image are plain.
    cdef int64_t k
    for k in range(f.rois):
        if f.image[k] >= 0 and f.plain[k] != (PLAIN_Y | PLAIN_X):
            return False
    return True


cdef Reach reach_of(int64_t roi, int axis, Filling* f) noexcept nogil:
    # The reach of one side, of RoIPool or not plain.
    cdef Side side = side_of_box(roi, axis, f)
    cdef Reach reach = Reach(low=side.length, high=-1, room=0)
    cdef Stretch stretch
    cdef int p
    if f.ranged:
        reach = plain_range_reach(f.single, side, f.sampling.rule)
        if reach.room:
            return reach
    for p in range(side.bins):
        stretch = stretch_of(f.single, side, p, f.sampling)
        reach.low = min(reach.low, stretch.low)
        reach.high = max(reach.high, stretch.high)
        reach.room += stretch.room
    f.extent[roi // SIDES] = max(f.extent[roi // SIDES], reach.high - reach.low + 1)
    return reach


cdef void fill_rois(void* settled, int64_t number, int thread) noexcept nogil:
    # Second pass, in the order of the table: fill the lists of a piece of RoIs.
    cdef Filling* f = <Filling*> settled
    cdef Sides down, along
    cdef int32_t* mark = f.mark + thread * f.length
    cdef int64_t roi[SIDES]
    cdef int plain_y[SIDES]
    cdef int plain_x[SIDES]
    cdef int64_t first = number * SIDES
    cdef int count = rois_of(number, f, roi), i
    for i in range(SIDES):
        plain_y[i] = i < count and f.plain[roi[i]] & PLAIN_Y
        plain_x[i] = i < count and f.plain[roi[i]] & PLAIN_X
    if f.sampled:
        find_sides(roi, f, &down, &along)
        fill_sides(f.y, first, f, &down, plain_y)
        fill_sides(f.x, first, f, &along, plain_x)
    for i in range(count):
        fill_axis(f.y, first + i, 1, f, plain_y[i], mark)
        fill_axis(f.x, first + i, 0, f, plain_x[i], mark)
        note_window(first + i, f)


cdef inline void fill_sides(Axis* axis, int64_t first, Filling* f, const Sides* sides,
                            const int* plain) noexcept nogil:
    cdef PlainLists lists = PlainLists(
        pixel_start=axis.pixel_start, pixels=axis.pixels, pixel_count=axis.pixel_count, tap_start=axis.tap_start,
        tap_count=axis.tap_count, tap_position=axis.tap_position, tap_weight=axis.tap_weight, doubles=f.double_)
    plain_lists(f.single, sides, plain, f.sampling.sampling_ratio, &lists, first)


cdef inline void fill_axis(Axis* axis, int64_t k, int which, Filling* f, bint filled, int32_t* mark) noexcept nogil:
    # Finish an axis of RoI k: fill its lists unless they are `filled`, then make what is derived from them.
    cdef int64_t row = k * axis.bins, last = row + axis.bins - 1
    cdef size_t weight = sizeof(double) if f.double_ else sizeof(float)
    if not filled:
        if f.image[f.order[k]] < 0:
            empty_axis(axis, k, f.double_)
            return
        filled = fill_alone(axis, k, which, f, mark)
    if axis.outside != NULL and filled:
        memset(<char*> axis.outside + row * weight, 0, axis.bins * weight)
    if axis.bin != NULL:
        transpose_taps(axis, k, axis.pixel_start[k], axis.tap_start[last] + axis.tap_count[last], f.double_)


cdef bint fill_alone(Axis* axis, int64_t k, int which, Filling* f, int32_t* mark) noexcept nogil:
    # Fill the lists of one side. Return whether `outside` is still to be filled: with zeros, as no tap is outside.
    cdef int64_t start = axis.pixel_start[k], row = k * axis.bins
    cdef Side side = side_of_box(f.order[k], which, f)
    cdef int pixels = -1
    if f.ranged:
        pixels = plain_range_taps(f.single, side, f.sampling.rule, PlainTaps(
            at=start, start=axis.tap_start + row, count=axis.tap_count + row, position=axis.tap_position,
            pixel=axis.pixels + start, weight=axis.tap_weight, doubles=f.double_))
    if pixels < 0:
        fill_bins(axis, k, side, f, mark)
        return False
    axis.pixel_count[k] = pixels
    return True


cdef void put(void* target, bint double_, int64_t i, double value) noexcept nogil:
    if double_:
        (<double*> target)[i] = value
    else:
        (<float*> target)[i] = <float> value


cdef double get(void* source, bint double_, int64_t i) noexcept nogil:
    return (<double*> source)[i] if double_ else (<float*> source)[i]


cdef void fill_bins(Axis* axis, int64_t k, Side side, Filling* f, int32_t* mark) noexcept nogil:
    # Fill the lists of a side of any kind. `mark` has an element for each pixel from the RoI's first to its last one,
    # and is all -1 before and after.
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
    # For gradients: list for each pixel the bins that touch it, ascending, and their weights.
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


cdef void empty_axis(Axis* axis, int64_t k, bint double_) noexcept nogil:
    # Empty lists, for a RoI without an image.
    cdef int64_t p
    axis.pixel_count[k] = 0
    for p in range(k * axis.bins, (k + 1) * axis.bins):
        axis.tap_start[p] = axis.pixel_start[k]
        axis.tap_count[p] = 0
        if axis.outside != NULL:
            put(axis.outside, double_, p, 0)


cdef void note_window(int64_t k, Filling* f) noexcept nogil:
    # The window of the map that RoI k reads, and its cost: the multiply-adds of its row pass, for one channel.
    cdef Axis* y = f.y
    cdef Axis* x = f.x
    cdef const int32_t* rows = y.pixels + y.pixel_start[k]
    cdef const int32_t* columns = x.pixels + x.pixel_start[k]
    cdef int64_t first = k * y.bins, last = first + y.bins - 1
    f.window[k] = Window(top=0, bottom=0, left=0, right=0)
    f.cost[k] = 0
    if x.pixel_count[k] and y.pixel_count[k]:
        f.window[k] = Window(top=rows[0], bottom=rows[y.pixel_count[k] - 1] + 1,
                             left=columns[0], right=columns[x.pixel_count[k] - 1] + 1)
        f.cost[k] = (y.tap_start[last] + y.tap_count[last] - y.tap_start[first]) * <double> x.pixel_count[k]
