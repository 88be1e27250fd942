"""Between the user's arrays and the kernels' tiles.

A tile is ``[row][column][lane]`` of the accumulation type, with the channels of one block as lanes. Here, and
nowhere else, strides and element types matter: a layout is just strides, so neither multiplies the kernels.
"""

from libc.math cimport NAN
from libc.stddef cimport ptrdiff_t
from libc.stdint cimport int32_t, int64_t

cimport numpy as cnp

from roicy.cpu.axis_table cimport Axis, AxisTable
from roicy.cpu.lanes cimport (
    BFLOAT16, FLOAT16, FLOAT32, FLOAT64, LANES, UINT8, element_size, element_store, lanes, lanes_load_block,
    lanes_load_pixel, lanes_prefetch, lanes_store_block, lanes_store_pixel, real,
)

cdef enum:
    PREFETCH_BYTES = 256        # how far ahead of the loader the planes are fetched
    STREAM_BYTES = 1 << 20      # results from this size on pass by the cache


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
    return view.data + image * view.image + channel * view.channel


cdef inline void load_pixels(View* view, const char* source, int channels, int64_t count, lanes* target) noexcept nogil:
    # `count` neighbours of a row (or of joined rows) of the block whose first pixel is at `source`
    cdef int64_t i = 0
    cdef int c
    if not view.pixels_joined:
        for i in range(count):
            target[i] = lanes_load_pixel(source + i * view.column, view.channel, channels, view.dtype)
        return
    while i < count:
        if i + LANES <= count:
            for c in range(channels):
                lanes_prefetch(source + i * view.size + c * view.channel + PREFETCH_BYTES)
        lanes_load_block(source + i * view.size, view.channel, channels, <int> min(LANES, count - i), view.limit,
                         target + i, view.dtype)
        i += LANES


cdef inline void store_pixels(View* view, char* target, int channels, int64_t count, const lanes* source,
                              bint stream) noexcept nogil:
    # The way back. To stream, the planes must lie whole cache lines apart.
    cdef int64_t i = 0
    cdef int head
    if not view.pixels_joined:
        for i in range(count):
            lanes_store_pixel(source[i], target + i * view.column, view.channel, channels, view.dtype)
        return
    if stream:
        head = <int> min(count, ((64 - (<size_t> target & 63)) & 63) // view.size)
        while i < head:
            lanes_store_block(source + i, target + i * view.size, view.channel, channels, <int> min(LANES, head - i),
                              False, view.dtype)
            i += min(LANES, head - i)
    while i < count:
        lanes_store_block(source + i, target + i * view.size, view.channel, channels, <int> min(LANES, count - i),
                          stream, view.dtype)
        i += LANES


cdef inline void write_invalid(AxisTable table, View* out) noexcept nogil:
    # Rows with an invalid box are NaN.
    cdef int64_t at, c, y, x
    cdef char* target
    for at in range(table.image_start[0] if table.images else table.rois):
        for c in range(out.channels):
            for y in range(out.rows):
                target = block_at(out, table.order[at], c) + y * out.row
                for x in range(out.columns):
                    element_store(<real> NAN, target + x * out.column, out.dtype)


# ---- a ring of rows ---


cdef struct Ring:
    # A tile of `rows` rows, as many as the furthest reaching RoI needs; row y of the map lies at y modulo `rows`.
    # RoIs come sorted by last row, so an older row is never asked for again.
    int64_t rows
    int64_t left, columns   # the part of each row that is held
    int64_t filled          # rows up to here have been there


cdef inline Ring ring_for(View* view, Axis* y, Axis* x, int64_t first, int64_t last, int64_t rows) noexcept nogil:
    # Holds the columns that any of these RoIs uses, all of them where it is most and the rows lie joined.
    cdef Ring ring
    cdef int64_t left = view.columns, right = 0, top = view.rows, k
    for k in range(first, last):
        if x.line_length[k] and y.line_length[k]:
            left = min(left, x.line[x.line_start[k]])
            right = max(right, x.line[x.line_start[k] + x.line_length[k] - 1] + 1)
            top = min(top, y.line[y.line_start[k]])
    if right <= left or 4 * (right - left) > 3 * view.columns and view.rows_joined:
        left, right = 0, view.columns
    ring.rows = rows
    ring.left = left
    ring.columns = right - left
    ring.filled = top
    return ring


cdef inline void load_rows(View* view, const char* source, int channels, int64_t last, Ring* ring,
                           lanes* tile) noexcept nogil:
    # The rows before `last` join the tile.
    cdef int64_t row = ring.filled, slot, rows
    while row < last:
        slot = row % ring.rows
        rows = min(last - row, ring.rows - slot) if view.rows_joined and ring.columns == view.columns else 1
        load_pixels(view, source + row * view.row + ring.left * view.column, channels, rows * ring.columns,
                    tile + slot * ring.columns)
        row += rows
    ring.filled = max(last, ring.filled)


cdef inline int64_t end_of_rows(Axis* y, int64_t k) noexcept nogil:
    # One behind the last row of RoI k, which has rows.
    return y.line[y.line_start[k] + y.line_length[k] - 1] + 1


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


cdef inline void load_bins(View* view, const char* source, int channels, lanes* bins) noexcept nogil:
    # All bins of one RoI's block.
    cdef int64_t p
    if view.rows_joined:
        load_pixels(view, source, channels, view.rows * view.columns, bins)
        return
    for p in range(view.rows):
        load_pixels(view, source + p * view.row, channels, view.columns, bins + p * view.columns)
