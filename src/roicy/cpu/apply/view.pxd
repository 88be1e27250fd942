"""Views of the caller's arrays: load their elements into vectors of channels, and store vectors back.

Only this file knows strides and element types (a layout is just strides), so kernels need no variants for them.
"""

from libc.math cimport NAN
from libc.stddef cimport ptrdiff_t, size_t
from libc.stdint cimport int32_t, int64_t
from libc.string cimport memset

from roicy.cpu cimport arrays as cnp
from roicy.cpu.lanes.phases cimport PHASE_LOAD, PHASE_STORE, phase_enter
from roicy.cpu.runtime.checks cimport check_inside
from roicy.cpu.runtime.outputs cimport touch_pages
from roicy.cpu.lanes.lanes cimport (
    BFLOAT16, BOOL, BURST, FLOAT16, FLOAT32, FLOAT64, INDEX, INT16, INT8, LANES, LINE_LANES, OWN, UINT16, UINT8,
    element_size, element_store, lanes, lanes_load_block, lanes_load_pixels, lanes_prefetch, lanes_prefetch_far,
    lanes_store_block, lanes_store_pixels, lanes_stream_block, planes, real,
)
from roicy.cpu.tables.rois cimport RoiTable
from roicy.cpu.tuning cimport FETCHED_BINS_BYTES, PREFETCH_BYTES

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
    elif kind == cnp.NPY_INT8:
        view.dtype = INT8
    elif kind == cnp.NPY_UINT16:
        view.dtype = UINT16
    elif kind == cnp.NPY_INT16:
        view.dtype = INT16
    elif kind == cnp.NPY_BOOL:
        view.dtype = BOOL
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


cdef inline int open_view(View* view, int threads) except -1:
    # Fault in the pages of an array before the first write, if all memory between its ends belongs to it. That holds if
    # no step is negative and its elements, which do not overlap, fill the memory.
    cdef int64_t size = view.images * view.channels * view.rows * view.columns * view.size
    if min(min(view.image, view.channel), min(view.row, view.column)) < 0 or view.limit - view.data != size:
        return 0
    return touch_pages(view.data, size, threads)


cdef inline int64_t bins_apart(View* features, View* bins) noexcept nogil:
    # Position-sensitive: of a map with a channel for each bin of each channel of the output, the view becomes that of
    # the first bin's. Returns for how many bins there are tasks of their own: 0 where all bins have the same channels.
    cdef int64_t count = bins.rows * bins.columns
    if features.channels == bins.channels:
        return 0
    check_inside(features.channels, bins.channels * count, bins.channels * count + 1)
    features.channels = bins.channels
    features.channel *= count
    bins.rows = bins.columns = 1
    bins.pixels_joined = bins.rows_joined = True
    return count


cdef inline char* block_at(View* view, int64_t image, int64_t channel) noexcept nogil:
    check_inside(image, 0, view.images)
    check_inside(channel, 0, view.channels)
    return view.data + image * view.image + channel * view.channel


cdef inline bint is_tile(View* view) noexcept nogil:
    # Whether the array already has the form of a tile: channels-last, of the accumulation type.
    return view.channel == view.size and view.dtype == OWN


cdef inline planes planes_of(View* view, int channels) noexcept nogil:
    return planes(step=view.channel, limit=view.limit, channels=channels, dtype=view.dtype)


cdef inline void load_pixels(View* view, const char* source, int channels, int64_t count, lanes* target,
                             int stride) noexcept nogil:
    # `count` neighbours of a row (or of joined rows) of the block whose first pixel is at `source`, every `stride`
    # vectors one
    cdef planes source_planes = planes_of(view, channels)
    cdef int64_t i = 0
    cdef int c, before = phase_enter(PHASE_LOAD)
    if not view.pixels_joined:
        lanes_load_pixels(&source_planes, source, view.column, count, target, stride)
        i = count
    while i < count:
        if i + LANES <= count and i * view.size % 64 == 0:
            for c in range(channels):
                lanes_prefetch(source + i * view.size + c * view.channel + PREFETCH_BYTES)
        lanes_load_block(&source_planes, source + i * view.size, <int> min(LANES, count - i), target + i * stride,
                         stride)
        i += LANES
    phase_enter(before)


cdef inline void store_pixels(View* view, char* target, int channels, int64_t count, const lanes* source, int stride,
                              bint stream) noexcept nogil:
    # The way back. To stream, the planes must lie whole cache lines apart and hold elements of type real.
    cdef planes target_planes = planes_of(view, channels)
    cdef int64_t i = 0
    cdef int part, before = phase_enter(PHASE_STORE)
    if not view.pixels_joined:
        lanes_store_pixels(source, stride, &target_planes, target, view.column, count)
        i = count
    elif stream:
        part = <int> min(count, ((64 - (<size_t> target & 63)) & 63) // view.size)
        while i < part:
            lanes_store_block(source + i * stride, stride, &target_planes, target + i * view.size,
                              <int> min(LANES, part - i))
            i += min(LANES, part - i)
        while i + LINE_LANES <= count:
            part = <int> min(<int64_t> BURST, (count - i) // LINE_LANES * LINE_LANES)
            lanes_stream_block(source + i * stride, stride, &target_planes, target + i * view.size, part)
            i += part
    while i < count:
        lanes_store_block(source + i * stride, stride, &target_planes, target + i * view.size,
                          <int> min(LANES, count - i))
        i += LANES
    phase_enter(before)


cdef inline void zero_row(View* view, char* target, int channels) noexcept nogil:
    cdef int64_t i
    cdef int c, before = phase_enter(PHASE_STORE)
    for c in range(channels):
        if view.pixels_joined:
            memset(target + c * view.channel, 0, view.columns * view.size)
        else:
            for i in range(view.columns):
                element_store(0, target + c * view.channel + i * view.column, view.dtype)
    phase_enter(before)


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


cdef inline void load_bins(View* view, const char* source, int channels, lanes* bins) noexcept nogil:
    # All bins of one RoI's block.
    cdef int64_t p
    if view.rows_joined:
        load_pixels(view, source, channels, view.rows * view.columns, bins, 1)
        return
    for p in range(view.rows):
        load_pixels(view, source + p * view.row, channels, view.columns, bins + p * view.columns, 1)


cdef inline void fetch_bins(View* view, const char* source, int channels) noexcept nogil:
    # Prefetch to the second-level cache what `load_bins` will load next: short pieces all over the memory.
    cdef int64_t size = view.rows * view.columns * view.size, i
    cdef int c
    if view.channel == size:
        size *= channels
        channels = 1
    if not view.rows_joined or channels * size > FETCHED_BINS_BYTES:
        return
    for c in range(channels):
        i = 0
        while i < size:
            lanes_prefetch_far(source + c * view.channel + i)
            i += 64
