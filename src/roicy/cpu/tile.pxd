"""Between the user's arrays and the kernels' tiles.

A tile is ``[row][column][lane]`` of the accumulation type, with the channels of one block as lanes. Here, and
nowhere else, strides and element types matter: a layout is just strides, so neither multiplies the kernels.
"""

from libc.stddef cimport ptrdiff_t
from libc.stdint cimport int64_t

cimport numpy as cnp

from roicy.cpu.lanes cimport (
    BFLOAT16, FLOAT16, FLOAT32, FLOAT64, LANES, UINT8, element_size, lanes, lanes_load_block, lanes_load_pixel,
    lanes_prefetch, lanes_store_block, lanes_store_pixel, lanes_stream_bytes,
)

# How far ahead of the loader the planes are fetched.
cdef enum:
    PREFETCH_BYTES = 256


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
