"""Axis tables applied to arrays of few channels, such as images: lanes run along a row, not along the channels.

One task is a RoI and a band of its output rows::

    plane ── rows: taps of p ──▶ line [column] ── columns: LANES outputs at a time pick their taps ──▶ chunk

How a plane is read depends on the memory of the features:

- The elements of a row are neighbours: the row pass reads them as they lie.
- The channels of a pixel are neighbours: the row pass blends all channels together, and its line is split into one for
  each channel. If in features of bytes or floats each column reads at most two neighbouring pixels, columns read these
  straight from the rows, without a row pass (``pairs.h``); those of bytes are stored straight to the result.
- Other steps: the rows that a band needs are first gathered, plane by plane.
"""

from libc.stddef cimport ptrdiff_t, size_t
from libc.stdint cimport int32_t, int64_t
from libc.stdlib cimport malloc
from libc.string cimport memcpy

from roicy.cpu cimport arrays as cnp
from roicy.cpu.apply.crop_columns cimport (
    NEAR_VECTOR, PAIR_ELEMENTS, PAIRS, PIXEL, WINDOW, crops_columns, crops_describe_pixel, crops_gather, crops_group,
    crops_pixel, crops_pixels, crops_rows, crops_scatter, crops_split, crops_taps, find_pairs, lay_out, listed_axis,
    listed_bytes, most_vectors, near_group, pair_columns, pair_reading, pair_rows, pair_target, pairs_bytes,
    pairs_floats, reaches_outside, readable_row, whole_group,
)
from roicy.cpu.apply.finish cimport Finish, finish_of, row_finish, row_finish_of, outside_of
from roicy.cpu.apply.overflow cimport Pooled, overflow_forget, overflow_noted, settle_axes
from roicy.cpu.apply.view cimport View, block_at, view_of, write_invalid
from roicy.cpu.lanes.lanes cimport LANES, OWN, UINT8, lane_int, lanes, lanes_stream_bytes, real
from roicy.cpu.lanes.streams cimport (
    LINE, row_streams, streams_end, streams_place, streams_start, streams_step, streams_take,
)
from roicy.cpu.runtime.memory cimport bytes_of
from roicy.cpu.runtime.work cimport Scratch, Task, Team, Work
from roicy.cpu.tables.axis cimport Axis, AxisTable
from roicy.cpu.tables.rois cimport RoiTable
from roicy.cpu.tuning cimport (
    AXIS_FORWARD_CROPS_SERIAL_WORK, CROP_CHUNK_BYTES, CROP_KEPT_BYTES, CROP_KEPT_SHARE, CROP_ROWS, CROP_ROWS_AHEAD,
    CROP_STREAM_BYTES, STREAM_BYTES,
)


cdef struct AxisForwardCropsCall:
    Axis* y
    Axis* x
    const int64_t* order
    View features, out
    int ph, pw
    Finish finish
    int64_t groups
    int64_t room                # most vectors of taps that a RoI needs
    int together                # channels of a row pass: all of them if the channels of a pixel are neighbours, else 1
    bint reversed               # the last of these channels comes first in memory
    crops_pixel pixel           # of the features: elements from one column to the next
    bint split                  # the channels of a pixel are neighbours
    bint paired                 # and columns may read their pixels straight from the rows
    size_t row_copy             # bytes of a copy of a row; a thread has two
    ptrdiff_t line_step         # elements from one channel's line to the next
    crops_pixel out_pixel
    bint joined                 # the channels of a pixel are neighbours in the output, too, and in the chunk
    int rows_at_once            # output rows that are written together
    # out_row: bytes of an output row, of one channel or, if `joined`, of all; chunk_step: bytes from one channel's
    # chunk to the next
    ptrdiff_t out_row, chunk_step
    # pixels_joined: the elements of an output row are neighbours; rows_joined: the rows are, too; stream: and are
    # stored past the cache, a chunk at a time
    bint pixels_joined, rows_joined, stream
    # For features of bytes. row_streamed: rows are stored past the cache, one by one (streams.h); sparing: few stores
    # delay loads, see where it is set; pixels_kept: pixels may be kept for the next output row (pair_bytes.h)
    bint row_streamed, sparing, pixels_kept


cdef void axis_forward_crop(void* settled, Task* task, Scratch* scratch) noexcept nogil:
    cdef AxisForwardCropsCall* call = <AxisForwardCropsCall*> settled
    cdef Axis* y = call.y
    cdef Axis* x = call.x
    cdef Axis[2] listed
    cdef View* view = &call.features
    cdef int64_t roi = call.order[task.first], k = task.first, first, first_ahead, part, channel
    cdef int begin = <int> task.top, end = <int> task.bottom
    cdef int c, p, j, held, taps, position, dtype = view.dtype, low = -1, high = -1, most = 0
    cdef int64_t span = 0, count
    cdef const int32_t* rows
    cdef const char* source
    cdef const char* ahead[2]
    cdef char* gathered
    cdef char* to
    cdef real* lines = <real*> scratch.blended
    cdef real* last = lines + (call.together - 1) * call.line_step
    cdef real* pixels = last + call.line_step       # the line of all channels, before it is split
    cdef crops_taps columns
    cdef pair_columns pairs
    cdef pair_rows near
    cdef pair_target pair_to
    cdef pair_reading reading
    cdef row_streams streams
    cdef const char* whose[2]
    cdef real* across
    cdef real down
    cdef bint filled, reaches, paired, straight, streamed, kept, fetches
    cdef row_finish[PIXEL] finishing
    cdef const row_finish* finishes = finishing if call.finish.given else NULL
    cdef Pooled pooled = Pooled(features=view, out=&call.out, image=task.image, roi=roi, channel=0,
                                channels=call.together, finish=&call.finish)
    columns.groups = call.groups
    reading.whole = <whole_group*> scratch.spare
    reading.near = <near_group*> (reading.whole + call.groups)
    reading.kept.pixels[0] = <lanes*> scratch.bins
    reading.kept.pixels[1] = reading.kept.pixels[0] + call.groups * 2 * call.together
    columns.group = <crops_group*> (reading.near + call.groups)
    columns.index = <lane_int*> (columns.group + call.groups)
    columns.weight = <real*> (columns.index + call.room * LANES)
    columns.taps = <lane_int*> (columns.weight + call.room * LANES)
    across = <real*> (columns.taps + call.groups * LANES)
    pairs.weight[0] = across + call.groups * LANES
    pairs.weight[1] = pairs.weight[0] + call.groups * LANES
    pairs.offset = <int32_t*> (pairs.weight[1] + call.groups * LANES)
    pairs.taps = pairs.offset + call.groups * LANES
    pairs.count, pairs.elements, pairs.channels = call.pw, call.pixel.elements, call.together
    pair_to.dtype, pair_to.joined, pair_to.reversed = call.out.dtype, call.joined, call.reversed
    pair_to.pixel, pair_to.finishes = &call.out_pixel, finishes
    if y.side != NULL:
        listed[0] = listed_axis(y, k, <char*> (pairs.taps + call.groups * LANES))
        listed[1] = listed_axis(x, k, <char*> (pairs.taps + call.groups * LANES) + listed_bytes(call.ph))
        y, x, k = &listed[0], &listed[1], 0
    rows = y.pixels + y.pixel_start[k]
    filled = call.finish.given and call.finish.numbers.filled
    reaches = filled and reaches_outside(x, k, across)
    overflow_forget()
    if x.pixel_count[k]:
        span = x.pixels[x.pixel_start[k] + x.pixel_count[k] - 1] - x.pixels[x.pixel_start[k]] + 1
    count = (span - 1) * call.pixel.elements + call.together if span else 0
    for p in range(begin, end):     # the rows that this band needs: `low` to `high` in the RoI's list
        if y.tap_count[k * call.ph + p]:
            first = y.tap_start[k * call.ph + p]
            position = y.tap_position[first]
            low = position if low < 0 else min(low, position)
            high = max(high, y.tap_position[first + y.tap_count[k * call.ph + p] - 1])
            most = max(most, y.tap_count[k * call.ph + p])
    paired = (call.paired and most <= 2
              and find_pairs(x, k, view, count * view.size, call.sparing, &pairs, &reading))
    straight = paired and view.dtype == UINT8 and call.pixels_joined
    streamed = straight and call.row_streamed
    fetches = view.pixels_joined or call.split      # no copies
    kept = call.pixels_kept and high - low + 1 < CROP_KEPT_SHARE * (end - begin)
    if not paired:
        lay_out(x, k, &columns)
    for part in range(view.channels // call.together):
        channel = part * call.together
        source = block_at(view, task.image, channel + (call.together - 1 if call.reversed else 0))
        if span:
            source += x.pixels[x.pixel_start[k]] * view.column
        gathered = scratch.tile
        for j in range(low if low >= 0 else 1, high + 1):
            scratch.row[j] = source + rows[j] * view.row
            if not (view.pixels_joined or call.split):
                crops_gather(scratch.row[j], view.column, span, view.dtype, <real*> gathered)
                dtype = OWN
                scratch.row[j] = gathered
                gathered += span * sizeof(real)
        if streamed:
            streams_start(&streams, scratch.chunk, 1 if call.joined else call.together, call.out_row, call.out.channel,
                          call.pw)
        for p in range(begin, end):
            first = y.tap_start[k * call.ph + p]
            taps = y.tap_count[k * call.ph + p]
            for j in range(taps):
                scratch.tap[j] = scratch.row[y.tap_position[first + j]]
            ahead[0] = ahead[1] = scratch.tap[0] if taps else scratch.tile
            if fetches and p + CROP_ROWS_AHEAD < end and y.tap_count[k * call.ph + p + CROP_ROWS_AHEAD]:
                first_ahead = y.tap_start[k * call.ph + p + CROP_ROWS_AHEAD]
                ahead[0] = scratch.row[y.tap_position[first_ahead]]
                ahead[1] = scratch.row[y.tap_position[first_ahead + y.tap_count[k * call.ph + p + CROP_ROWS_AHEAD] - 1]]
            if not paired:
                crops_rows(scratch.tap, <const real*> y.tap_weight + first, taps, count, dtype, ahead,
                           pixels if call.split else lines)
                if call.split:
                    crops_split(pixels, &call.pixel, call.together, span, last if call.reversed else lines,
                                -call.line_step if call.reversed else call.line_step)
            if call.finish.given and (filled or p == begin):
                down = outside_of(y, k, p) if filled else 0
                for c in range(call.together):      # pairs.h has channels in their order in memory
                    finishing[call.together - 1 - c if paired and call.reversed else c] = row_finish_of(
                        &call.finish.numbers, channel + c, down, across if reaches or down != 0 else NULL)
            held = (p - begin) % call.rows_at_once
            to = scratch.chunk + held * call.out_row
            if paired:
                near.taps, near.span = taps if span else 0, count * view.size
                for j in range(2):
                    near.row[j], near.weight[j], near.ahead[j] = scratch.tile, 0, ahead[j]
                    whose[j] = scratch.tap[min(j, taps - 1)] if near.taps else scratch.tile
                    if near.taps:
                        near.row[j] = readable_row(view, whose[j], near.span, reading.reach,
                                                   scratch.tile + j * call.row_copy)
                    if j < near.taps:
                        near.weight[j] = (<const real*> y.tap_weight)[first + j]
                pair_to.data, pair_to.step = to, call.chunk_step
                pair_to.streams = &streams if streamed else NULL
                if straight:
                    to = block_at(&call.out, roi, channel) + p * call.out.row
                    pair_to.data = streams_place(&streams) if streamed else to
                    pair_to.step = streams.step if streamed else call.out.channel
                if call.reversed and not call.joined:
                    pair_to.data += (call.together - 1) * pair_to.step
                    pair_to.step = -pair_to.step
                if view.dtype == UINT8:
                    pairs_bytes(&near, whose if kept else NULL, &pairs, &reading, &pair_to)
                else:
                    pairs_floats(&near, &pairs, lines, &pair_to)
                if streamed:
                    streams_take(&streams, to)
            elif call.joined:
                crops_pixels(lines, call.line_step, &call.out_pixel, &columns, finishes, to, call.out.dtype)
            else:
                for c in range(call.together):
                    crops_columns(lines + c * call.line_step, &columns, finishes + c if finishes != NULL else NULL,
                                  to + c * call.chunk_step, call.out.dtype)
            if held == call.rows_at_once - 1 or p == end - 1:
                for c in range(0 if straight else 1 if call.joined else call.together):
                    write_rows(call, block_at(&call.out, roi, channel + c), p - held, p + 1,
                               scratch.chunk + c * call.chunk_step)
                if streamed and (p == end - 1 or overflow_noted()):
                    streams_end(&streams)
                if overflow_noted():
                    pooled.channel = channel
                    settle_axes(y, x, k, &pooled, p - held, p + 1, 0, call.pw)


cdef void write_rows(AxisForwardCropsCall* call, char* target, int begin, int end, const char* chunk) noexcept nogil:
    # Write output rows `begin` to `end` - 1 of a channel, or of all channels if `joined`.
    cdef ptrdiff_t step = call.out.row
    cdef int r
    target += begin * step
    if call.stream:
        lanes_stream_bytes(target, chunk, (end - begin) * call.out_row)
        return
    for r in range(end - begin):
        if call.pixels_joined:
            memcpy(target + r * step, chunk + r * call.out_row, call.out_row)
        else:
            crops_scatter(chunk + r * call.out_row, call.out.size, call.pw, target + r * step, call.out.column)


cdef int elements_of(View* view) noexcept nogil:
    # Elements from one column to the next if the channels of a pixel are neighbours, in either order; else 1.
    cdef int64_t elements = view.column // view.size
    if not 1 < elements <= PIXEL or elements * view.size != view.column or view.channels > elements:
        return 1
    if view.channels > 1 and view.channel != view.size and view.channel != -view.size:
        return 1
    return <int> elements


cdef void axis_forward_crops_open(RoiTable table, void* settled) noexcept nogil:
    write_invalid(table, &(<AxisForwardCropsCall*> settled).out)


cdef int list_bands(Work work, AxisTable table, int64_t channels, int64_t bands) except -1:
    # List a task for each band of output rows of each RoI.
    cdef int64_t image, k, band, n = 0
    cdef int64_t rois = table.rois - (table.image_start[0] if table.images else table.rois)
    work.tasks = <Task*> malloc(max(<int64_t> 1, rois * bands) * sizeof(Task))
    if work.tasks == NULL:
        raise MemoryError(f"roicy: no memory for a list of {rois * bands} tasks")
    for image in range(table.images):
        for k in range(table.image_start[image], table.image_start[image + 1]):
            for band in range(bands):
                work.tasks[n] = Task(image=image, first=k, last=k + 1, channel=0, channels=<int> channels, bin=-1,
                                     top=table.y.bins * band // bands, bottom=table.y.bins * (band + 1) // bands)
                n += 1
    work.count = n
    return 0


cdef int axis_forward_crops(AxisTable table, cnp.ndarray features, cnp.ndarray out, cnp.ndarray finish_numbers,
                            int threads, Team team) except -1:
    cdef AxisForwardCropsCall call
    cdef View* view = &call.features
    cdef Work work = Work(team)
    cdef int64_t k, bands, result
    cdef size_t tile = 0, lines, kept, chunk
    call.y = &table.y
    call.x = &table.x
    call.order = table.order
    call.features = view_of(features)
    call.out = view_of(out)
    call.ph = table.y.bins
    call.pw = table.x.bins
    call.groups = (<int64_t> call.pw + LANES - 1) // LANES
    call.room = 0
    call.finish = finish_of(finish_numbers, table)
    for k in range(table.image_start[0] if table.images else table.rois, table.rois):
        call.room = max(call.room, 2 * call.groups if table.x.side != NULL else most_vectors(&table.x, k))
    crops_describe_pixel(&call.pixel, 1 if view.pixels_joined else elements_of(view))
    call.split = call.pixel.elements > 1
    call.paired = PAIRS and call.split and (view.dtype == UINT8 or view.dtype == OWN)
    call.together = <int> max(<int64_t> 1, view.channels) if call.split else 1
    call.reversed = call.together > 1 and view.channel < 0
    call.line_step = view.columns + LANES + WINDOW
    lines = call.together * call.line_step
    if call.split:
        lines += max(view.columns * call.pixel.elements, (call.groups * LANES + 1) * PIXEL) + LANES + WINDOW
        call.row_copy = max(4 * NEAR_VECTOR, (view.columns * call.pixel.elements + PAIR_ELEMENTS) * view.size)
        tile = 2 * call.row_copy if call.paired else 0
    elif not view.pixels_joined:
        tile = bytes_of(table.tallest, view.columns + WINDOW, sizeof(real))
    crops_describe_pixel(&call.out_pixel, call.together)
    call.joined = (call.together > 1 and call.out.channel == call.out.size
                   and (call.out.column == call.together * call.out.size or call.out.columns <= 1))
    call.pixels_joined = call.joined or call.out.pixels_joined
    call.out_row = call.pw * call.out.size * (call.together if call.joined else 1)
    call.rows_joined = call.pixels_joined and (call.out.row == call.out_row or call.ph <= 1)
    call.rows_at_once = <int> max(1, min(<int64_t> call.ph,
                                         CROP_CHUNK_BYTES // (call.pw * call.out.size * call.together + 1)))
    # whole vectors write behind the last row
    call.chunk_step = call.rows_at_once * call.out_row + PIXEL * LANES * call.out.size
    result = call.out.images * call.out.channels * call.ph * call.pw * call.out.size
    call.stream = call.rows_joined and result >= STREAM_BYTES
    call.row_streamed = (call.paired and call.rows_joined and result >= CROP_STREAM_BYTES and call.out.dtype == OWN
                         and call.out_row >= LINE)
    # Unaligned stores to the result (two cache lines each) would delay loads of kept pixels and of indices. Streamed
    # rows are stored to a buffer, and bytes are few.
    call.sparing = call.row_streamed or call.out.dtype == UINT8
    kept = call.groups * 2 * call.together * sizeof(lanes)
    call.pixels_kept = call.paired and view.dtype == UINT8 and call.sparing and kept <= CROP_KEPT_BYTES
    chunk = (1 if call.joined else call.together) * call.chunk_step
    if call.row_streamed:
        chunk = max(chunk, 2 * (1 if call.joined else call.together) * streams_step(call.out_row))
    # the table counts the work of the row pass only: add the column pass
    if (table.work + 2 * <double> table.rois * call.ph * call.pw) * view.channels < AXIS_FORWARD_CROPS_SERIAL_WORK:
        threads = 1
    bands = 1 if threads == 1 else (<int64_t> call.ph + CROP_ROWS - 1) // CROP_ROWS
    list_bands(work, table, view.channels, bands)
    work.provide(table, threads, tile, lines * sizeof(real), 2 * kept if call.pixels_kept else 0,
                 call.groups * sizeof(crops_group) + (2 * call.room + 2 * call.groups) * sizeof(lanes)
                 + 2 * call.groups * LANES * (sizeof(real) + sizeof(int32_t))
                 + call.groups * (sizeof(near_group) + sizeof(whole_group))
                 + (listed_bytes(call.ph) + listed_bytes(call.pw) if table.x.side != NULL else 0), chunk)
    return work.do(axis_forward_crop, &call, sizeof(call), axis_forward_crops_open, NULL)
