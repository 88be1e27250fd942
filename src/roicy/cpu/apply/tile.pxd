"""Between the user's arrays and the kernels' tiles.

A tile is ``[row][column][lane]`` of the accumulation type, with the channels of one block as lanes. Here, and
nowhere else, strides and element types matter: a layout is just strides, so neither multiplies the kernels.
"""

from libc.math cimport NAN
from libc.stddef cimport ptrdiff_t, size_t
from libc.stdint cimport int32_t, int64_t
from libc.string cimport memcpy, memmove, memset

cimport numpy as cnp

from roicy.cpu.tables.axis cimport Axis
from roicy.cpu.runtime.checks cimport check_inside
from roicy.cpu.lanes.lanes cimport (
    BFLOAT16, BURST, FLOAT16, FLOAT32, FLOAT64, INDEX, LANES, LINE_LANES, UINT8, element_size, element_store, lanes,
    lanes_load_block, lanes_load_pixel, lanes_prefetch, lanes_store_block, lanes_store_chunk, lanes_store_pixel,
    lanes_stream_block, lanes_stream_bytes, real,
)
from roicy.cpu.tables.rois cimport RoiTable, Window

cdef enum:
    PREFETCH_BYTES = 256        # how far ahead of the loader the planes are fetched
    STREAM_BYTES = 1 << 20      # results from this size on pass by the cache
    # channels of a gradient that adds up in the accumulation type, before they are rounded to a shorter one
    WIDE_CHANNELS = 32


cdef struct View:
    # an array outside, shaped (image, channel, row, column); steps in bytes
    char* data
    ptrdiff_t image, channel, row, column
    int64_t images, channels, rows, columns
    const char* limit       # first byte behind the array
    int dtype
    ptrdiff_t size          # of an element
    bint pixels_joined      # the elements of a row are neighbours
    bint rows_joined        # and so are the rows


cdef inline View view_of(cnp.ndarray array):
    cdef View view
    cdef cnp.npy_intp* steps = cnp.PyArray_STRIDES(array)
    cdef cnp.npy_intp* shape = cnp.PyArray_DIMS(array)
    cdef int kind = cnp.PyArray_TYPE(array), i
    view.data = <char*> cnp.PyArray_DATA(array)
    view.image, view.channel, view.row, view.column = steps[0], steps[1], steps[2], steps[3]
    view.images, view.channels, view.rows, view.columns = shape[0], shape[1], shape[2], shape[3]
    if kind == cnp.NPY_FLOAT32:
        view.dtype = FLOAT32
    elif kind == cnp.NPY_FLOAT64:
        view.dtype = FLOAT64
    elif kind == cnp.NPY_FLOAT16:
        view.dtype = FLOAT16
    elif kind == cnp.NPY_UINT8:
        view.dtype = UINT8
    elif kind == cnp.NPY_INT32:
        view.dtype = INDEX
    else:
        view.dtype = BFLOAT16
    view.size = element_size(view.dtype)
    view.limit = view.data + view.size
    for i in range(4):
        if steps[i] > 0 and shape[i] > 0:
            view.limit += (shape[i] - 1) * steps[i]
    view.pixels_joined = view.column == view.size or view.columns <= 1
    view.rows_joined = view.pixels_joined and (view.row == view.columns * view.size or view.rows <= 1)
    return view


cdef inline char* block_at(View* view, int64_t image, int64_t channel) noexcept nogil:
    check_inside(image, 0, view.images)
    check_inside(channel, 0, view.channels)
    return view.data + image * view.image + channel * view.channel


cdef inline void load_pixels(View* view, const char* source, int channels, int64_t count, lanes* target,
                             int stride) noexcept nogil:
    # `count` neighbours of a row (or of joined rows) of the block whose first pixel is at `source`, every `stride`
    # vectors one
    cdef int64_t i = 0
    cdef int c
    if not view.pixels_joined:
        for i in range(count):
            target[i * stride] = lanes_load_pixel(source + i * view.column, view.channel, channels, view.dtype)
        return
    while i < count:
        if i + LANES <= count and i * view.size % 64 == 0:
            for c in range(channels):
                lanes_prefetch(source + i * view.size + c * view.channel + PREFETCH_BYTES)
        lanes_load_block(source + i * view.size, view.channel, channels, <int> min(LANES, count - i), view.limit,
                         target + i * stride, stride, view.dtype)
        i += LANES


cdef inline void store_pixels(View* view, char* target, int channels, int64_t count, const lanes* source, int stride,
                              bint stream) noexcept nogil:
    # The way back. To stream, the planes must lie whole cache lines apart and hold elements of type real.
    cdef int64_t i = 0
    cdef int part
    if not view.pixels_joined:
        for i in range(count):
            lanes_store_pixel(source[i * stride], target + i * view.column, view.channel, channels, view.dtype)
        return
    if stream:
        part = <int> min(count, ((64 - (<size_t> target & 63)) & 63) // view.size)
        while i < part:
            lanes_store_block(source + i * stride, stride, target + i * view.size, view.channel, channels,
                              <int> min(LANES, part - i), view.dtype)
            i += min(LANES, part - i)
        while i + LINE_LANES <= count:
            part = <int> min(<int64_t> BURST, (count - i) // LINE_LANES * LINE_LANES)
            lanes_stream_block(source + i * stride, stride, target + i * view.size, view.channel, channels, part)
            i += part
    while i < count:
        lanes_store_block(source + i * stride, stride, target + i * view.size, view.channel, channels,
                          <int> min(LANES, count - i), view.dtype)
        i += LANES


cdef inline void zero_row(View* view, char* target, int channels) noexcept nogil:
    cdef int64_t i
    cdef int c
    for c in range(channels):
        if view.pixels_joined:
            memset(target + c * view.channel, 0, view.columns * view.size)
        else:
            for i in range(view.columns):
                element_store(0, target + c * view.channel + i * view.column, view.dtype)


cdef inline void write_invalid(RoiTable table, View* out) noexcept nogil:
    # Rows with an invalid box are NaN.
    cdef int64_t at, c, y, x
    cdef char* target
    for at in range(table.image_start[0] if table.images else table.rois):
        for c in range(out.channels):
            for y in range(out.rows):
                target = block_at(out, table.order[at], c) + y * out.row
                for x in range(out.columns):
                    element_store(<real> NAN, target + x * out.column, out.dtype)


cdef inline void write_index(RoiTable table, View* out, int32_t index) noexcept nogil:
    # Rows with an invalid box get this index.
    cdef int64_t at, c, y, x
    cdef char* target
    for at in range(table.image_start[0] if table.images else table.rois):
        for c in range(out.channels):
            for y in range(out.rows):
                target = block_at(out, table.order[at], c) + y * out.row
                for x in range(out.columns):
                    (<int32_t*> (target + x * out.column))[0] = index


# ---- a ring of rows ---


cdef struct Ring:
    # A tile of `rows` rows, as many as the furthest reaching RoI needs; row y of the map lies at y modulo `rows`.
    # RoIs come by bands of their last rows, so that an older row is never asked for again.
    int64_t rows
    int64_t left, columns   # the part of each row that is held
    int64_t filled          # rows up to here have been there
    int depth               # vectors a pixel: blocks of channels that are held side by side


cdef inline Ring ring_for(View* view, const Window* window, int64_t first, int64_t last, int64_t rows) noexcept nogil:
    # Holds the columns that any of these RoIs uses, all of them where it is most and the rows lie joined.
    cdef Ring ring
    cdef int64_t left = view.columns, right = 0, top = view.rows, k
    for k in range(first, last):
        if window[k].bottom > window[k].top:
            left = min(left, <int64_t> window[k].left)
            right = max(right, <int64_t> window[k].right)
            top = min(top, <int64_t> window[k].top)
    if right <= left or 4 * (right - left) > 3 * view.columns and view.rows_joined:
        left, right = 0, view.columns
    ring.rows = rows
    ring.left = left
    ring.columns = right - left
    ring.filled = top
    ring.depth = 1
    return ring


cdef inline void load_rows(View* view, const char* source, int channels, int64_t last, Ring* ring,
                           lanes* tile) noexcept nogil:
    # The rows before `last` join the tile.
    cdef int64_t row = ring.filled, slot, rows
    cdef int v
    check_inside(row, 0, view.rows + 1)
    check_inside(last, 0, view.rows + 1)
    while row < last:
        slot = row % ring.rows
        rows = min(last - row, ring.rows - slot) if view.rows_joined and ring.columns == view.columns else 1
        for v in range(min(ring.depth, (channels + LANES - 1) // LANES)):
            load_pixels(view, source + row * view.row + ring.left * view.column + v * LANES * view.channel,
                        min(LANES, channels - v * LANES), rows * ring.columns,
                        tile + slot * ring.columns * ring.depth + v, ring.depth)
        row += rows
    ring.filled = max(last, ring.filled)


cdef inline void check_held(const Window* window, Ring* ring) noexcept nogil:
    # The tile has the window, none of whose rows made room for a later one.
    check_inside(window.bottom, 0, ring.filled + 1)
    check_inside(window.top, ring.filled - ring.rows, ring.filled)
    check_inside(window.left, ring.left, ring.left + ring.columns)
    check_inside(window.right, ring.left, ring.left + ring.columns + 1)


cdef inline void window_rows(const Window* window, Ring* ring, const char* tile, const char** row) noexcept nogil:
    # Where the rows of a RoI's window begin in the tile.
    cdef int64_t slot = window.top % ring.rows, i
    check_held(window, ring)
    for i in range(window.bottom - window.top):
        row[i] = tile + (slot * ring.columns + window.left - ring.left) * ring.depth * <ptrdiff_t> sizeof(lanes)
        slot += 1
        if slot == ring.rows:
            slot = 0


cdef inline const int32_t* line_columns(Axis* x, int64_t k) noexcept nogil:
    # The line's columns, NULL where they are neighbours.
    cdef const int32_t* line = x.line + x.line_start[k]
    cdef int count = x.line_length[k]
    return NULL if count == 0 or line[count - 1] - line[0] == count - 1 else line


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


cdef inline void load_bins(View* view, const char* source, int channels, lanes* bins) noexcept nogil:
    # All bins of one RoI's block.
    cdef int64_t p
    if view.rows_joined:
        load_pixels(view, source, channels, view.rows * view.columns, bins, 1)
        return
    for p in range(view.rows):
        load_pixels(view, source + p * view.row, channels, view.columns, bins + p * view.columns, 1)


# ---- a sheet of rows: as a ring, but a RoI's rows lie one after the other ---


cdef struct Sheet:
    int64_t rows            # that there is room for
    int64_t first           # row of the map that comes first
    int64_t left, columns   # the part of each row that is held
    int64_t filled          # rows up to here have been there
    int depth               # vectors a pixel: blocks of channels that are held side by side


cdef inline lanes* sheet_at(Sheet* sheet, char* tile, int64_t row, int64_t column) noexcept nogil:
    return <lanes*> tile + ((row - sheet.first) * sheet.columns + column - sheet.left) * sheet.depth


cdef inline void turn_sheet(Sheet* sheet, char* tile, int64_t first) noexcept nogil:
    # Rows before `first` go, the others move up.
    if sheet.filled > first:
        memmove(tile, sheet_at(sheet, tile, first, sheet.left),
                (sheet.filled - first) * sheet.columns * sheet.depth * sizeof(lanes))
    sheet.first = first
    sheet.filled = max(sheet.filled, first)


cdef inline void load_sheet(View* view, const char* source, int channels, const Window* window, int64_t span,
                            Sheet* sheet, char* tile) noexcept nogil:
    # The rows of the window join the sheet. None that comes later begins more than `span` rows before its end.
    cdef int64_t rows, row
    cdef int v
    check_inside(window.bottom, 0, view.rows + 1)
    if window.bottom > sheet.first + sheet.rows:
        turn_sheet(sheet, tile, window.bottom - span)
    row = sheet.filled
    while row < window.bottom:
        rows = window.bottom - row if view.rows_joined and sheet.columns == view.columns else 1
        for v in range(min(sheet.depth, (channels + LANES - 1) // LANES)):
            load_pixels(view, source + row * view.row + sheet.left * view.column + v * LANES * view.channel,
                        min(LANES, channels - v * LANES), rows * sheet.columns,
                        sheet_at(sheet, tile, row, sheet.left) + v, sheet.depth)
        row += rows
    sheet.filled = max(sheet.filled, <int64_t> window.bottom)
    check_inside(window.top, sheet.first, sheet.filled)
    check_inside(sheet.filled, sheet.first, sheet.first + sheet.rows + 1)
    check_inside(window.left, sheet.left, sheet.left + sheet.columns)
    check_inside(window.right, sheet.left, sheet.left + sheet.columns + 1)


# ---- outputs on their way out ---


cdef enum:
    WHOLE_BINS = 1024       # up to here a RoI's bins are stored at once, else a group of rows at a time


cdef struct Outlet:
    View view               # (RoI, channel, row, column)
    int rows_at_once        # rows of bins that are stored together
    bint chunked            # a RoI's outputs are one piece of memory for neighbouring channels
    bint stream


cdef inline Outlet outlet_for(cnp.ndarray out, int group):
    # `group`: rows of bins that a kernel makes at a time
    cdef Outlet outlet
    cdef View* view = &outlet.view
    outlet.view = view_of(out)
    outlet.rows_at_once = <int> (view.rows if view.rows * view.columns <= WHOLE_BINS else group)
    outlet.chunked = (view.rows_joined and view.channel == view.rows * view.columns * view.size
                      and outlet.rows_at_once == view.rows)
    outlet.stream = view.images * view.channels * view.rows * view.columns * view.size >= STREAM_BYTES
    return outlet


cdef inline size_t bins_bytes(Outlet* outlet) noexcept:
    # What the bins that are stored together take as lanes.
    return (outlet.rows_at_once * <size_t> outlet.view.columns + LANES) * sizeof(lanes)


cdef inline void store_bins(Outlet* outlet, const lanes* bins, int64_t block, char* chunk, int64_t roi, int64_t channel,
                            int channels, int64_t p, int64_t rows) noexcept nogil:
    # Rows p to p + rows of the RoI's bins, of several blocks of channels, `block` vectors apart in `bins`.
    cdef View* out = &outlet.view
    cdef char* target = block_at(out, roi, channel) + p * out.row
    cdef int64_t count = rows * out.columns, r
    cdef int first = 0, some
    check_inside(p, 0, out.rows)
    check_inside(p + rows, 0, out.rows + 1)
    check_inside(rows, 0, outlet.rows_at_once + 1)
    cdef bint chunked = outlet.chunked and count > 1
    while first < channels:
        some = min(LANES, channels - first)
        if count == 1:
            lanes_store_pixel(bins[0], target + first * out.channel, out.channel, some, out.dtype)
        elif chunked:
            lanes_store_chunk(bins, chunk + first * count * out.size, count, some, out.dtype)
        elif out.rows_joined:
            store_pixels(out, target + first * out.channel, some, count, bins, 1, False)
        else:
            for r in range(rows):
                store_pixels(out, target + first * out.channel + r * out.row, some, out.columns, bins + r * out.columns,
                             1, False)
        first += LANES
        bins += block
    if not chunked:
        return
    if outlet.stream:
        lanes_stream_bytes(target, chunk, channels * count * out.size)
    else:
        memcpy(target, chunk, channels * count * out.size)
