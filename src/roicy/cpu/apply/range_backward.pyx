"""The gradient of a maximum: each output's gradient goes to the pixel that was chosen.

One task is an image and a few channels (or a band of the map's rows). If the gradient of the features lies plane by
plane in the accumulation type, it is summed in place. If it is large and has few terms, each plane is summed in a
buffer and stored past the cache. Otherwise it is summed in a tile ``[row][column][lane]`` that is stored at the end.

A pixel sums its RoIs in ascending order and their bins in row-major order, without atomics, so that any number of
threads gives the same bits. If an image has very many RoIs, sums in floats count their terms and are made in pieces.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memset

from roicy.cpu cimport arrays as cnp
from roicy.cpu.apply.view cimport View, block_at, store_pixels, view_of
from roicy.cpu.lanes.counted cimport (
    COUNTED, copy_line, counted_add, counted_add_bins, counted_begin, counted_bins, counted_finish, counted_pile,
    counted_sums,
)
from roicy.cpu.lanes.lanes cimport LANES, LINE_LANES, OWN, element_load, lanes, real
from roicy.cpu.lanes.streams cimport row_streams, streams_end, streams_place, streams_start, streams_step, streams_take
from roicy.cpu.runtime.parallel cimport run_pieces
from roicy.cpu.runtime.work cimport SURVEYED, Scratch, Task, Team, Work
from roicy.cpu.tables.rois cimport MANY, ImageTable
from roicy.cpu.tuning cimport (
    LEAST_STREAMED_PLANE, MOST_STREAMED_PLANE, PLANES_STREAM_BYTES, PLANES_TOGETHER, RANGE_BACKWARD_SERIAL_WORK,
)


cdef struct RangeBackwardCall:
    const int64_t* order
    View grad_output, argmax, grad_features
    bint in_place
    bint side_by_side       # RoIs have one bin each, and their channels are neighbours in memory
    bint streamed           # planes are stored past the cache
    bint counted            # a pixel may get more terms than a piece has
    int64_t slots           # room for piles, of one plane or of the tile: a power of two (counted.h)


cdef enum:
    ROIS_AT_ONCE = 32       # RoIs whose gradients are copied together by lay_side_by_side


cdef inline void add_bins(const real* gradient, const int32_t* index, int64_t count, int64_t first, uint64_t pixels,
                          real* plane) noexcept nogil:
    # A negative index (no pixel) becomes a large unsigned number.
    cdef uint64_t at
    cdef int64_t i
    for i in range(count):
        at = <uint64_t> (index[i] - first)
        if at < pixels:
            plane[at] += gradient[i]


cdef void range_backward_task(void* settled, Task* task, Scratch* scratch) noexcept nogil:
    cdef RangeBackwardCall* call = <RangeBackwardCall*> settled
    if call.streamed and task.bottom - task.top == call.grad_features.rows:
        stream_neighbours(call, task, scratch.tile)
    elif call.side_by_side:
        sum_neighbours(call, task)
    else:
        sum_bins(call, task, scratch)


cdef void sum_bins(RangeBackwardCall* call, Task* task, Scratch* scratch) noexcept nogil:
    cdef View* out = &call.grad_features
    cdef counted_sums sums[PLANES_TOGETHER]     # each plane's, or all of the tile's
    cdef int64_t pixels = (task.bottom - task.top) * out.columns, i, y
    cdef int count = task.channels if call.in_place else 1
    cdef char* target = block_at(out, task.image, task.channel) + task.top * out.row
    for i in range(count):
        sums[i].count = pixels if call.in_place else pixels * LANES
        sums[i].piece = <real*> (target + i * out.channel if call.in_place else scratch.tile)
        if call.counted:
            sums[i].left = <uint8_t*> scratch.spare + i * pixels
            sums[i].piles = <counted_pile*> scratch.blended + i * call.slots
            sums[i].slots = call.slots
            counted_begin(sums + i)
        else:
            memset(sums[i].piece, 0, sums[i].count * sizeof(real))
    if call.in_place:
        sum_planes(call, task, sums)
    else:
        sum_tile(call, task, sums)
    if call.counted:
        for i in range(count):
            counted_finish(sums + i)
    for y in range(0 if call.in_place else task.bottom - task.top):
        store_pixels(out, target + y * out.row, task.channels, out.columns,
                     <lanes*> scratch.tile + y * out.columns, 1, False)


cdef void sum_planes(RangeBackwardCall* call, Task* task, counted_sums* sums) noexcept nogil:
    cdef View* gradient = &call.grad_output
    cdef View* index = &call.argmax
    cdef counted_bins bins
    cdef int64_t first = task.top * call.grad_features.columns, k, c, ahead
    bins.count = gradient.rows * gradient.columns
    bins.channels = task.channels
    bins.value_step = gradient.channel
    bins.index_step = index.channel
    for k in range(task.first, task.last):
        bins.value = block_at(gradient, call.order[k], task.channel)
        bins.index = block_at(index, call.order[k], task.channel)
        ahead = call.order[min(k + 1, task.last - 1)] - call.order[k]
        bins.value_ahead = ahead * gradient.image
        bins.index_ahead = ahead * index.image
        if call.counted:
            counted_add_bins(sums, &bins, first)
            continue
        for c in range(task.channels):
            add_bins(<const real*> (bins.value + c * gradient.channel),
                     <const int32_t*> (bins.index + c * index.channel), bins.count, first, <uint64_t> sums[c].count,
                     sums[c].piece)


cdef inline void lay_side_by_side(RangeBackwardCall* call, Task* task, int64_t first, int64_t count, real* value,
                                  int32_t* index) noexcept nogil:
    # Copy the bins of some RoIs side by side, a line for each RoI with all channels of the block. In the arrays, the
    # bins of RoIs lie so far apart that few of them fit the cache.
    cdef int64_t i, k
    for i in range(count):
        k = call.order[first + i]
        copy_line(value + i * LINE_LANES, block_at(&call.grad_output, k, task.channel), task.channels * sizeof(real))
        copy_line(index + i * LINE_LANES, block_at(&call.argmax, k, task.channel), task.channels * sizeof(int32_t))


cdef inline void add_neighbours(const real* value, const int32_t* index, int64_t count, int64_t first, uint64_t pixels,
                                real* plane) noexcept nogil:
    # As `add_bins`, for one channel of what lay_side_by_side copied.
    cdef uint64_t at
    cdef int64_t i
    for i in range(count):
        at = <uint64_t> (index[i * LINE_LANES] - first)
        if at < pixels:
            plane[at] += value[i * LINE_LANES]


cdef void sum_neighbours(RangeBackwardCall* call, Task* task) noexcept nogil:
    cdef View* out = &call.grad_features
    cdef real value[ROIS_AT_ONCE * LINE_LANES]
    cdef int32_t index[ROIS_AT_ONCE * LINE_LANES]
    cdef int64_t pixels = (task.bottom - task.top) * out.columns, first = task.top * out.columns
    cdef int64_t k = task.first, some, c
    cdef real* plane
    while True:
        some = min(<int64_t> ROIS_AT_ONCE, task.last - k)
        lay_side_by_side(call, task, k, some, value, index)
        for c in range(task.channels):
            plane = <real*> (block_at(out, task.image, task.channel + c) + task.top * out.row)
            if k == task.first:
                memset(plane, 0, pixels * sizeof(real))
            add_neighbours(value + c, index + c, some, first, <uint64_t> pixels, plane)
        k += some
        if k >= task.last:
            return


cdef inline void clear_neighbours(const int32_t* index, int64_t count, uint64_t pixels, real* plane) noexcept nogil:
    # Set the pixels to zero that `add_neighbours` changed.
    cdef uint64_t at
    cdef int64_t i
    for i in range(count):
        at = <uint64_t> index[i * LINE_LANES]
        if at < pixels:
            plane[at] = 0


cdef void stream_neighbours(RangeBackwardCall* call, Task* task, char* buffers) noexcept nogil:
    # Store planes past the cache, so that memory is not read before it is overwritten. Each plane is summed in one of
    # two buffers, while the other one still holds the plane before. Only pixels that got a sum are cleared afterwards.
    cdef View* out = &call.grad_features
    cdef real value[ROIS_AT_ONCE * LINE_LANES]
    cdef int32_t index[ROIS_AT_ONCE * LINE_LANES]
    cdef int64_t count = task.last - task.first, c
    cdef uint64_t pixels = <uint64_t> (out.rows * out.columns)
    cdef row_streams streams
    cdef real* plane
    streams_start(&streams, buffers, 1, out.channel, 0, out.columns)
    lay_side_by_side(call, task, task.first, count, value, index)
    for c in range(task.channels):
        plane = <real*> streams_place(&streams)
        if c < 2:
            memset(plane, 0, out.channel)
        else:
            clear_neighbours(index + c - 2, count, pixels, plane)
        add_neighbours(value + c, index + c, count, 0, pixels, plane)
        streams_take(&streams, block_at(out, task.image, task.channel + c))
    streams_end(&streams)


cdef void sum_tile(RangeBackwardCall* call, Task* task, counted_sums* sums) noexcept nogil:
    cdef View* gradient = &call.grad_output
    cdef View* index = &call.argmax
    cdef int64_t first = task.top * call.grad_features.columns, pixels = sums.count // LANES, k, p, q, c, at
    cdef const char* values
    cdef const char* indices
    cdef real value
    for k in range(task.first, task.last):
        for p in range(gradient.rows):
            for q in range(gradient.columns):
                values = block_at(gradient, call.order[k], task.channel) + p * gradient.row + q * gradient.column
                indices = block_at(index, call.order[k], task.channel) + p * index.row + q * index.column
                for c in range(task.channels):
                    at = (<const int32_t*> (indices + c * index.channel))[0] - first
                    if not 0 <= at < pixels:
                        continue
                    value = element_load(values + c * gradient.channel, gradient.dtype)
                    if call.counted:
                        counted_add(sums, at * LANES + c, value)
                    else:
                        sums.piece[at * LANES + c] += value


def range_backward(ImageTable table, cnp.ndarray grad_output, cnp.ndarray argmax, cnp.ndarray grad_features,
                   int threads, Team team=None):
    """Fill `grad_features` with `grad_output` at the pixels `argmax`, shaped (RoI or image, channel, row, column)."""
    cdef RangeBackwardCall call
    cdef View* out = &call.grad_features
    cdef Work work = Work(team)
    cdef double pixels
    cdef int64_t block, blocks, bands, image, most = 0
    cdef size_t planes
    call.order = table.order
    call.grad_output = view_of(grad_output)
    call.argmax = view_of(argmax)
    call.grad_features = view_of(grad_features)
    call.in_place = (out.dtype == OWN and call.grad_output.dtype == OWN and out.rows_joined
                     and call.grad_output.rows_joined and call.argmax.rows_joined)
    for image in range(table.images):
        most = max(most, table.image_start[image + 1] - table.image_start[image])
    call.counted = sizeof(real) == 4 and (
        most > MANY or call.grad_output.rows * <double> call.grad_output.columns > MANY)
    call.side_by_side = (call.in_place and not call.counted and call.grad_output.rows * call.grad_output.columns == 1
                         and call.grad_output.channel == sizeof(real) and call.argmax.channel == sizeof(int32_t))
    call.streamed = (call.side_by_side and most <= ROIS_AT_ONCE
                     and out.channel == out.rows * out.columns * out.size
                     and LEAST_STREAMED_PLANE <= out.channel <= MOST_STREAMED_PLANE
                     and out.images * out.channels * <double> out.channel >= PLANES_STREAM_BYTES)
    block = LINE_LANES if call.side_by_side else PLANES_TOGETHER if call.in_place else LANES
    pixels = <double> out.images * out.channels * out.rows * out.columns
    if table.work * out.channels + pixels / 8 < RANGE_BACKWARD_SERIAL_WORK:
        threads = 1
    # Each band looks at all indices. So divide channels first, and use bands only if the map is most of the work.
    while threads > 1 and block > 1 and out.channels * out.images < 2 * block * threads:
        block //= 2
    blocks = (out.channels + block - 1) // block
    bands = 1
    if threads > 1 and pixels / 8 > table.work * out.channels:
        bands = max(1, min(out.rows, 4 * threads // max(1, blocks * out.images)))
    work.divide(table, 0, table.rois, out.channels, block, 0, bands)
    planes = min(block, out.channels) if call.in_place else LANES
    most *= call.grad_output.rows * call.grad_output.columns    # terms of a plane
    call.slots = 2
    while call.slots <= 2 * min(most // COUNTED, out.rows * out.columns) * (1 if call.in_place else LANES):
        call.slots *= 2
    work.provide(table, threads,
                 2 * streams_step(out.channel) if call.streamed
                 else 0 if call.in_place else out.rows * out.columns * sizeof(lanes),
                 (planes if call.in_place else 1) * call.slots * sizeof(counted_pile) if call.counted else 0, 0,
                 out.rows * out.columns * planes if call.counted else 0, 0)
    work.do(range_backward_task, &call, sizeof(call), NULL, NULL)


def range_survey(ImageTable table, cnp.ndarray argmax):
    """Return one more than the largest index of the table's boxes, -2 and less as very large; and which boxes it has.

    None: it has all of them.
    """
    cdef IndexSurvey survey
    survey.view = view_of(argmax)
    survey.rois = table.rois
    survey.row_of = table.row_of
    survey.largest = 0
    run_pieces(survey_indices, &survey, (survey.rois + SURVEYED - 1) // SURVEYED, 1)
    return survey.largest, table.chosen


cdef struct IndexSurvey:
    View view
    int64_t rois
    const int64_t* row_of   # NULL: all rows
    uint32_t largest        # one more than the largest index; as unsigned numbers, so that those below -1 are large


cdef void survey_indices(void* settled, int64_t number, int thread) noexcept nogil:
    cdef IndexSurvey* survey = <IndexSurvey*> settled
    cdef View* view = &survey.view
    cdef uint32_t largest = survey.largest
    cdef int64_t at, k, c, p, q, joined = view.channels * view.rows * view.columns
    cdef const char* source
    for at in range(number * SURVEYED, min(survey.rois, (number + 1) * SURVEYED)):
        k = survey.row_of[at] if survey.row_of != NULL else at
        source = block_at(view, k, 0)
        if view.rows_joined and view.channel == view.rows * view.columns * view.size:
            largest = max(largest, largest_of(<const int32_t*> source, joined))
            continue
        for p in range(view.rows):
            for q in range(view.columns):
                source = block_at(view, k, 0) + p * view.row + q * view.column
                for c in range(view.channels):
                    largest = max(largest, <uint32_t> (<const int32_t*> (source + c * view.channel))[0] + 1)
    survey.largest = largest


cdef inline uint32_t largest_of(const int32_t* index, int64_t count) noexcept nogil:
    # Of neighbours: a loop that compilers vectorise.
    cdef uint32_t largest = 0, one_more
    cdef int64_t i
    for i in range(count):
        one_more = <uint32_t> index[i] + 1
        largest = one_more if one_more > largest else largest
    return largest
