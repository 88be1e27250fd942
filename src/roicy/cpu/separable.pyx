"""Axis tables applied to blocks of channels: ``out = A_y · X · A_xᵀ``, its adjoint, and the box gradient.

One task is an image and a block of LANES channels (or a part of the image's RoIs)::

    features (any layout, dtype)                       bins [p][q][lane]           output (any layout, dtype)
        │ load rows as RoIs reach them                      ▲                            ▲
        ▼                                                   │ columns: taps of q         │ transpose, store
    tile [row][column][lane] ── rows: taps of p ──▶ line [column][lane] ─────────────────┘

Every output is one chain of multiply-adds in ascending order of pixels, whichever way it is reached: the bits
do not depend on the threads, the strides or the path.
"""

from cython.parallel cimport parallel, prange, threadid
from libc.math cimport NAN
from libc.stddef cimport ptrdiff_t
from libc.stdint cimport int32_t, int64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

cimport numpy as cnp

from roicy.cpu.axis_table cimport Axis, AxisTable
from roicy.cpu.lanes cimport (
    FLOAT32, FLOAT64, LANES, element_size, element_store, lanes, lanes_blend_block, lanes_fence, lanes_fill,
    lanes_load, lanes_load_part, lanes_madd, lanes_multiply_add, lanes_scale, lanes_store_block, lanes_store_pixel,
    lanes_stream_bytes, lanes_sum, lanes_zero, real,
)
from roicy.cpu.passes cimport pass_columns, pass_rows
from roicy.cpu.tile cimport View, block_at, load_pixels, store_pixels, view_of

cnp.import_array()

cdef enum:
    GROUP = 8               # output rows that go through the column pass together, at the most
    LINE = 64               # bytes of a cache line
    WHOLE_BINS = 1024       # up to here a RoI's bins are stored at once, else a group of rows at a time

# Multiply-adds below which a call is not worth a second thread.
cdef double SERIAL_WORK = 1 << 18
# Outputs from this size on pass by the cache.
cdef int64_t STREAM_BYTES = 1 << 20
# Pooling RoIs straight from the planes pays while their bins hold less than this part of the map's pixels in use.
cdef double DIRECT_SHARE = 0.4

cdef enum Path:
    TILE, DIRECT, CHANNELS_LAST


cdef struct Task:
    int64_t image, first, last      # the RoIs at these places in the order
    int64_t channel                 # first channel of the block
    int channels


cdef struct Scratch:
    lanes* tile             # (H, W) the block's planes
    lanes* lines            # (GROUP, widest) output rows before the column pass
    lanes* wide             # (W) one blended row, all its columns
    lanes* bins             # (rows at once, PW) results
    char* chunk             # the same, as the output wants it
    const char** row        # (tallest) the line's rows
    const char** tap        # (tallest) the rows of a bin
    int64_t* column         # (widest) offsets of the line's columns in a tile row


cdef struct Call:
    Axis* y
    Axis* x
    const int64_t* order
    View features, out
    int ph, pw
    int rows_at_once        # rows of bins that are stored together
    int group               # rows of bins that go through the column pass together
    int64_t ring            # rows of the tile
    bint stream
    bint chunked            # a RoI's block of outputs is one piece of memory


# ---- scratch ------------------------------------------------------------------------------------------------


cdef char* aligned_block(size_t size, void** owner) except NULL:
    owner[0] = malloc(size + LINE)
    if owner[0] == NULL:
        raise MemoryError(f"roicy: no memory for {size} bytes of scratch")
    return <char*> ((<size_t> owner[0] + LINE - 1) & ~(<size_t> LINE - 1))


cdef inline size_t lined(size_t size) noexcept nogil:
    return (size + LINE - 1) & ~(<size_t> LINE - 1)


cdef inline char* take(char** block, size_t size) noexcept nogil:
    cdef char* piece = block[0]
    block[0] += lined(size)
    return piece


# ---- a RoI's line in a tile -----------------------------------------------------------------------------------


cdef inline const int64_t* line_columns(Axis* x, int64_t k, int64_t* column) noexcept nogil:
    # Offsets of the line's columns from its first one, NULL where they are neighbours.
    cdef const int32_t* line = x.line + x.line_start[k]
    cdef int count = x.line_length[k], i
    if count == 0 or line[count - 1] - line[0] == count - 1:
        return NULL
    for i in range(count):
        column[i] = line[i] - line[0]
    return column


cdef inline void line_rows(Axis* y, Axis* x, int64_t k, const char* origin, ptrdiff_t row_step, ptrdiff_t column_step,
                           int64_t ring, const char** row) noexcept nogil:
    # Where the line's rows begin, at the first column that the RoI uses. Row y lies at y modulo `ring`.
    cdef const int32_t* line = y.line + y.line_start[k]
    cdef int count = y.line_length[k], i
    cdef ptrdiff_t left = x.line[x.line_start[k]] * column_step if x.line_length[k] else 0
    cdef int64_t wrap
    if count == 0:
        return
    wrap = line[0] - line[0] % ring
    for i in range(count):
        if line[i] - wrap >= ring:
            wrap += ring
        row[i] = origin + (line[i] - wrap) * row_step + left


cdef inline int bin_rows(Axis* y, int64_t k, int p, const char** row, const char** tap) noexcept nogil:
    cdef const int32_t* position = y.tap_position + y.tap_start[k * y.bins + p]
    cdef int taps = y.tap_count[k * y.bins + p], j
    for j in range(taps):
        tap[j] = row[position[j]]
    return taps


# ---- output -------------------------------------------------------------------------------------------------


cdef void store_bins(Call* call, Scratch* scratch, int64_t roi, int64_t channel, int channels, int p,
                     int rows) noexcept nogil:
    # Rows p to p + rows of the RoI, from scratch.bins.
    cdef View* out = &call.out
    cdef char* target = block_at(out, roi, channel) + p * out.row
    cdef int64_t count = rows * call.pw, i
    cdef int r
    if call.chunked:
        # Channel by channel in one piece. A vector may overlap the next channel's start, which comes later; the
        # last pixels go first.
        i = (count - 1) // LANES * LANES
        lanes_store_block(scratch.bins + i, scratch.chunk + i * out.size, count * out.size, channels, LANES, False,
                          out.dtype)
        while i > 0:
            i -= LANES
            lanes_store_block(scratch.bins + i, scratch.chunk + i * out.size, count * out.size, channels, LANES, False,
                              out.dtype)
        if call.stream:
            lanes_stream_bytes(target, scratch.chunk, channels * count * out.size)
        else:
            memcpy(target, scratch.chunk, channels * count * out.size)
    elif out.rows_joined:
        store_pixels(out, target, channels, count, scratch.bins, False)
    else:
        for r in range(rows):
            store_pixels(out, target + r * out.row, channels, call.pw, scratch.bins + r * call.pw, False)


# ---- forward --------------------------------------------------------------------------------------------------


cdef struct Loaded:
    # The part of the block's planes that is in the tile. The tile is a ring of rows, as many as the furthest
    # reaching RoI needs: RoIs come sorted by first row, so an older row is never asked for again.
    int64_t rows            # every row from the first needed one up to here
    int64_t ring
    int64_t left, columns   # of each row


cdef inline void load_rows(View* view, const char* source, int channels, int64_t first, int64_t last, Loaded* loaded,
                           lanes* tile) noexcept nogil:
    # Rows up to `last` join the tile; those above `first` that were never asked for are left out.
    cdef int64_t y = max(first, loaded.rows), slot, rows
    while y < last:
        slot = y % loaded.ring
        if view.rows_joined and loaded.columns == view.columns:
            rows = min(last - y, loaded.ring - slot)
            load_pixels(view, source + y * view.row, channels, rows * view.columns, tile + slot * view.columns)
        else:
            rows = 1
            load_pixels(view, source + y * view.row + loaded.left * view.column, channels, loaded.columns,
                        tile + slot * loaded.columns)
        y += rows
    loaded.rows = max(last, loaded.rows)


cdef inline Loaded nothing_loaded(Call* call, Task* task) noexcept nogil:
    # The columns that any RoI of the task uses; all of them where it is most and the rows lie joined.
    cdef Loaded loaded
    cdef int64_t left = call.features.columns, right = 0, k
    for k in range(task.first, task.last):
        if call.x.line_length[k]:
            left = min(left, call.x.line[call.x.line_start[k]])
            right = max(right, call.x.line[call.x.line_start[k] + call.x.line_length[k] - 1] + 1)
    if right <= left or 4 * (right - left) > 3 * call.features.columns and call.features.rows_joined:
        left, right = 0, call.features.columns
    loaded.rows = 0
    loaded.ring = call.ring
    loaded.left = left
    loaded.columns = right - left
    return loaded


cdef void forward_task(Call* call, Task* task, Scratch* scratch, bint direct) noexcept nogil:
    cdef Axis* y = call.y
    cdef Axis* x = call.x
    cdef View* view = &call.features
    cdef const char* source = block_at(view, task.image, task.channel)
    cdef const char* origin
    cdef const int64_t* column
    cdef Loaded loaded
    cdef int64_t k, first
    cdef int p, group, r, count, held
    cdef ptrdiff_t pixel = sizeof(lanes)
    if not direct:
        loaded = nothing_loaded(call, task)
        origin = <const char*> scratch.tile - loaded.left * pixel
    for k in range(task.first, task.last):
        count = x.line_length[k]
        column = NULL
        if direct:
            line_rows(y, x, k, source, view.row, view.column, view.rows, scratch.row)
        else:
            column = line_columns(x, k, scratch.column)
            if y.line_length[k] and count:
                load_rows(view, source, task.channels, y.line[y.line_start[k]],
                          y.line[y.line_start[k] + y.line_length[k] - 1] + 1, &loaded, scratch.tile)
            line_rows(y, x, k, origin, loaded.columns * pixel, pixel, loaded.ring, scratch.row)
        held = 0
        p = 0
        while p < call.ph:
            group = min(call.group, call.ph - p)
            for r in range(group):
                if direct:
                    blend_planes(call, k, p + r, scratch, task.channels, scratch.lines + r * count)
                else:
                    first = y.tap_start[k * call.ph + p + r]
                    pass_rows(scratch.row, y.tap_position + first, <const real*> y.tap_weight + first,
                              y.tap_count[k * call.ph + p + r], column, count, <const lanes**> scratch.tap,
                              scratch.lines + r * count)
            pass_columns(scratch.lines, count, group, x.tap_start + k * call.pw, x.tap_count + k * call.pw,
                         x.tap_position, <const real*> x.tap_weight, call.pw, scratch.bins + held * call.pw, call.pw)
            p += group
            held += group
            if held >= call.rows_at_once or p == call.ph:
                store_bins(call, scratch, call.order[k], task.channel, task.channels, p - held, held)
                held = 0


cdef inline void blend_planes(Call* call, int64_t k, int p, Scratch* scratch, int channels,
                              lanes* line) noexcept nogil:
    # The row pass straight from the planes: lanes run along the row, the sums are transposed.
    cdef View* view = &call.features
    cdef Axis* x = call.x
    cdef const real* weight = <const real*> call.y.tap_weight + call.y.tap_start[k * call.ph + p]
    cdef int rows = bin_rows(call.y, k, p, scratch.row, scratch.tap)
    cdef const int32_t* used = x.line + x.line_start[k]
    cdef int count = x.line_length[k], i, span
    cdef bint gaps
    cdef lanes* target
    if rows == 0 or count == 0:
        for i in range(count):
            line[i] = lanes_zero()
        return
    span = used[count - 1] - used[0] + 1
    gaps = span != count
    target = scratch.wide if gaps else line
    i = 0
    while i < span:
        lanes_blend_block(scratch.tap, weight, rows, i * view.size, view.channel, channels, min(LANES, span - i),
                          view.limit, target + i, view.dtype)
        i += LANES
    if gaps:
        for i in range(count):
            line[i] = target[used[i] - used[0]]


# ---- forward, channels last -----------------------------------------------------------------------------------


cdef void channels_last_task(Call* call, Task* task, Scratch* scratch) noexcept nogil:
    # The array itself is the tile. All channels of a pixel at a time, so that memory is read in long runs.
    cdef Axis* y = call.y
    cdef Axis* x = call.x
    cdef View* view = &call.features
    cdef View* out = &call.out
    cdef const char* source = block_at(view, task.image, 0)
    cdef const int32_t* used
    cdef const real* weight
    cdef lanes* line
    cdef int64_t k, i, channels = view.channels
    cdef int64_t vectors = (channels + LANES - 1) // LANES, whole = channels // LANES
    cdef int p, q, r, taps, count, v, rest = <int> (channels - whole * LANES)
    cdef char* target
    for k in range(task.first, task.last):
        count = x.line_length[k]
        used = x.line + x.line_start[k]
        line_rows(y, x, k, source, view.row, view.column, view.rows, scratch.row)
        for p in range(call.ph):
            weight = <const real*> y.tap_weight + y.tap_start[k * call.ph + p]
            taps = bin_rows(y, k, p, scratch.row, scratch.tap)
            for i in range(count):
                line = scratch.lines + i * vectors
                blend_pixels(scratch.tap, (used[i] - used[0]) * view.column, weight, taps, whole, line)
                if rest:
                    line[whole] = lanes_zero()
                    for r in range(taps):
                        line[whole] = lanes_madd(weight[r], lanes_load_part(
                            scratch.tap[r] + (used[i] - used[0]) * view.column + whole * sizeof(lanes), rest,
                            view.dtype), line[whole]) if r else lanes_scale(weight[0], lanes_load_part(
                                scratch.tap[0] + (used[i] - used[0]) * view.column + whole * sizeof(lanes), rest,
                                view.dtype))
            target = block_at(out, call.order[k], 0) + p * out.row
            for q in range(call.pw):
                taps = x.tap_count[k * call.pw + q]
                weight = <const real*> x.tap_weight + x.tap_start[k * call.pw + q]
                blend_line(scratch.lines, x.tap_position + x.tap_start[k * call.pw + q], weight, taps, vectors,
                           scratch.bins)
                if call.chunked:
                    memcpy(scratch.chunk + (p * call.pw + q) * channels * out.size, scratch.bins, channels * out.size)
                else:
                    for v in range(vectors):
                        lanes_store_pixel(scratch.bins[v], target + q * out.column + v * LANES * out.channel,
                                          out.channel, LANES if v < whole else rest, out.dtype)
        if call.chunked:
            if call.stream:
                lanes_stream_bytes(block_at(out, call.order[k], 0), scratch.chunk, call.ph * call.pw * channels * out.size)
            else:
                memcpy(block_at(out, call.order[k], 0), scratch.chunk, call.ph * call.pw * channels * out.size)


cdef inline void blend_pixels(const char** row, ptrdiff_t offset, const real* weight, int rows, int64_t vectors,
                              lanes* line) noexcept nogil:
    # All channels of one column: eight vectors stay in registers while the rows are summed.
    cdef lanes a, b, c, d, e, f, g, h
    cdef const char* source
    cdef int64_t v = 0
    cdef int j
    cdef int own = FLOAT32 if sizeof(real) == 4 else FLOAT64
    cdef ptrdiff_t step = sizeof(lanes)
    if rows == 0:
        for v in range(vectors):
            line[v] = lanes_zero()
        return
    while v + 8 <= vectors:
        source = row[0] + offset + v * step
        a = lanes_scale(weight[0], lanes_load(source, own))
        b = lanes_scale(weight[0], lanes_load(source + step, own))
        c = lanes_scale(weight[0], lanes_load(source + 2 * step, own))
        d = lanes_scale(weight[0], lanes_load(source + 3 * step, own))
        e = lanes_scale(weight[0], lanes_load(source + 4 * step, own))
        f = lanes_scale(weight[0], lanes_load(source + 5 * step, own))
        g = lanes_scale(weight[0], lanes_load(source + 6 * step, own))
        h = lanes_scale(weight[0], lanes_load(source + 7 * step, own))
        for j in range(1, rows):
            source = row[j] + offset + v * step
            a = lanes_madd(weight[j], lanes_load(source, own), a)
            b = lanes_madd(weight[j], lanes_load(source + step, own), b)
            c = lanes_madd(weight[j], lanes_load(source + 2 * step, own), c)
            d = lanes_madd(weight[j], lanes_load(source + 3 * step, own), d)
            e = lanes_madd(weight[j], lanes_load(source + 4 * step, own), e)
            f = lanes_madd(weight[j], lanes_load(source + 5 * step, own), f)
            g = lanes_madd(weight[j], lanes_load(source + 6 * step, own), g)
            h = lanes_madd(weight[j], lanes_load(source + 7 * step, own), h)
        line[v], line[v + 1], line[v + 2], line[v + 3] = a, b, c, d
        line[v + 4], line[v + 5], line[v + 6], line[v + 7] = e, f, g, h
        v += 8
    while v < vectors:
        a = lanes_scale(weight[0], lanes_load(row[0] + offset + v * step, own))
        for j in range(1, rows):
            a = lanes_madd(weight[j], lanes_load(row[j] + offset + v * step, own), a)
        line[v] = a
        v += 1


cdef inline void blend_line(const lanes* line, const int32_t* position, const real* weight, int taps, int64_t vectors,
                            lanes* bins) noexcept nogil:
    # One bin from a line of whole pixels, `vectors` to the pixel.
    cdef lanes a, b, c, d
    cdef const lanes* at
    cdef int64_t v = 0
    cdef int i
    if taps == 0:
        for v in range(vectors):
            bins[v] = lanes_zero()
        return
    while v + 4 <= vectors:
        at = line + position[0] * vectors + v
        a = lanes_scale(weight[0], at[0])
        b = lanes_scale(weight[0], at[1])
        c = lanes_scale(weight[0], at[2])
        d = lanes_scale(weight[0], at[3])
        for i in range(1, taps):
            at = line + position[i] * vectors + v
            a = lanes_madd(weight[i], at[0], a)
            b = lanes_madd(weight[i], at[1], b)
            c = lanes_madd(weight[i], at[2], c)
            d = lanes_madd(weight[i], at[3], d)
        bins[v], bins[v + 1], bins[v + 2], bins[v + 3] = a, b, c, d
        v += 4
    while v < vectors:
        a = lanes_scale(weight[0], line[position[0] * vectors + v])
        for i in range(1, taps):
            a = lanes_madd(weight[i], line[position[i] * vectors + v], a)
        bins[v] = a
        v += 1


# ---- the call ---------------------------------------------------------------------------------------------------


cdef Call call_of(AxisTable table, View features, View out):
    cdef Call call
    call.y = &table.y
    call.x = &table.x
    call.order = table.order
    call.features = features
    call.out = out
    call.ph = table.y.bins
    call.pw = table.x.bins
    call.group = (call.ph - 1) // ((call.ph + GROUP - 1) // GROUP) + 1
    call.rows_at_once = call.ph if <int64_t> call.ph * call.pw <= WHOLE_BINS else call.group
    call.chunked = False
    call.stream = False
    return call


cdef Scratch scratch_of(char* block, size_t tile, size_t lines, size_t wide, size_t bins, size_t chunk,
                        AxisTable table, size_t* size) noexcept:
    # Carves one thread's scratch; with a NULL block only its size.
    cdef Scratch scratch
    cdef char* at = block
    scratch.tile = <lanes*> take(&at, tile * sizeof(lanes))
    scratch.lines = <lanes*> take(&at, lines * sizeof(lanes))
    scratch.wide = <lanes*> take(&at, wide * sizeof(lanes))
    scratch.bins = <lanes*> take(&at, bins * sizeof(lanes))
    scratch.chunk = take(&at, chunk)
    scratch.row = <const char**> take(&at, table.tallest * sizeof(char*))
    scratch.tap = <const char**> take(&at, table.tallest * sizeof(char*))
    scratch.column = <int64_t*> take(&at, table.widest * sizeof(int64_t))
    size[0] = at - block
    return scratch


cdef Task* tasks_of(AxisTable table, int64_t channels, int64_t block, int64_t parts, int64_t* count) except NULL:
    # (image, block of channels, part of the image's RoIs), images and blocks in memory order
    cdef int64_t image, channel, part, rois, pieces, n = 0
    cdef int64_t blocks = (channels + block - 1) // block
    cdef Task* tasks
    for image in range(table.images):
        rois = table.image_start[image + 1] - table.image_start[image]
        n += min(parts, rois) * blocks
    tasks = <Task*> malloc(n * sizeof(Task) + 1)
    if tasks == NULL:
        raise MemoryError("roicy: no memory for the list of tasks")
    count[0] = 0
    for image in range(table.images):
        rois = table.image_start[image + 1] - table.image_start[image]
        pieces = min(parts, rois)
        for channel in range(blocks):
            for part in range(pieces):
                tasks[count[0]].image = image
                tasks[count[0]].first = table.image_start[image] + rois * part // pieces
                tasks[count[0]].last = table.image_start[image] + rois * (part + 1) // pieces
                tasks[count[0]].channel = channel * block
                tasks[count[0]].channels = <int> min(block, channels - channel * block)
                count[0] += 1
    return tasks


cdef void write_invalid(AxisTable table, View* out) noexcept nogil:
    # Rows with an invalid box are NaN.
    cdef int64_t at, c, y, x
    cdef char* target
    for at in range(table.image_start[0] if table.images else table.rois):
        for c in range(out.channels):
            for y in range(out.rows):
                target = block_at(out, table.order[at], c) + y * out.row
                for x in range(out.columns):
                    element_store(<real> NAN, target + x * out.column, out.dtype)


def forward(AxisTable table, cnp.ndarray features, cnp.ndarray out, int threads):
    """Pool `features` under `table` into `out`, both shaped (image or RoI, channel, row, column)."""
    cdef Call call = call_of(table, view_of(features), view_of(out))
    cdef View* view = &call.features
    cdef int own = FLOAT32 if sizeof(real) == 4 else FLOAT64
    cdef int64_t channels = view.channels, block = LANES, parts = 1, count = 0, t, busy = 0
    cdef int64_t bins = <int64_t> call.rows_at_once * call.pw, image
    cdef double pooled = 0, mapped = 0
    cdef Path path = TILE
    cdef void* owner = NULL
    cdef char* block_of_all
    cdef size_t size, vectors = (channels + LANES - 1) // LANES
    cdef Scratch scratch
    cdef Scratch* mine = NULL
    cdef Task* tasks
    cdef size_t tile = 0
    for image in range(table.images):
        pooled += table.bin_pixels[image]
        mapped += table.map_pixels[image]
        busy += table.image_start[image + 1] > table.image_start[image]
    if view.channel == view.size and view.dtype == own and channels >= LANES // 2 and channels > 1:
        path = CHANNELS_LAST
        block = channels
        call.chunked = (call.out.dtype == own and call.out.channel == call.out.size
                        and call.out.column == channels * call.out.size
                        and call.out.row == call.pw * call.out.column and <int64_t> call.ph * call.pw <= WHOLE_BINS)
    else:
        if view.pixels_joined and (pooled < DIRECT_SHARE * mapped):
            path = DIRECT
        call.chunked = (call.out.rows_joined and call.out.channel == call.ph * call.out.row
                        and call.rows_at_once == call.ph)
    call.stream = call.out.channels * call.out.images * call.ph * call.pw * call.out.size >= STREAM_BYTES
    if table.work * channels < SERIAL_WORK:
        threads = 1
    if threads > 1 or path == CHANNELS_LAST:
        # enough tasks for an even load, but RoIs in a part share the rows that they load
        parts = max(1, 4 * threads * block // max(1, channels * max(1, busy)))
        if path == CHANNELS_LAST:
            parts = max(parts, 64) if threads > 1 else 1
    tasks = tasks_of(table, channels, block, parts, &count)
    try:
        if path == TILE:
            call.ring = max(1, table.span)
            tile = <size_t> (call.ring * view.columns)
        scratch = scratch_of(NULL, tile, <size_t> table.widest * (vectors if path == CHANNELS_LAST else GROUP),
                             <size_t> (view.columns + LANES if path == DIRECT else 0),
                             max(<size_t> bins + LANES, vectors),
                             (bins + LANES) * (channels if path == CHANNELS_LAST else LANES) * call.out.size, table,
                             &size)
        threads = <int> max(1, min(threads, count))
        block_of_all = aligned_block(size * threads, &owner)
        mine = <Scratch*> malloc(threads * sizeof(Scratch))
        if mine == NULL:
            raise MemoryError("roicy: no memory for scratch")
        for t in range(threads):
            mine[t] = scratch_of(block_of_all + t * size, tile,
                                 <size_t> table.widest * (vectors if path == CHANNELS_LAST else GROUP),
                                 <size_t> (view.columns + LANES if path == DIRECT else 0),
                                 max(<size_t> bins + LANES, vectors),
                                 (bins + LANES) * (channels if path == CHANNELS_LAST else LANES) * call.out.size,
                                 table, &size)
        with nogil:
            write_invalid(table, &call.out)
            if threads == 1:
                for t in range(count):
                    run_forward(&call, tasks + t, mine, path)
                lanes_fence()
            else:
                with parallel(num_threads=threads):
                    for t in prange(count, schedule="dynamic", chunksize=1):
                        run_forward(&call, tasks + t, mine + threadid(), path)
                    lanes_fence()
    finally:
        free(tasks)
        free(mine)
        free(owner)


cdef inline void run_forward(Call* call, Task* task, Scratch* scratch, Path path) noexcept nogil:
    if path == CHANNELS_LAST:
        channels_last_task(call, task, scratch)
    else:
        forward_task(call, task, scratch, path == DIRECT)
