"""The outputs of a kernel: its bins are transposed, rounded and stored in the caller's array."""

from libc.stddef cimport size_t
from libc.stdint cimport int64_t
from libc.string cimport memcpy

from roicy.cpu cimport arrays as cnp
from roicy.cpu.apply.view cimport View, block_at, store_pixels, view_of
from roicy.cpu.lanes.lanes cimport (
    LANES, lanes, lanes_prefetch, lanes_store_chunk, lanes_store_pixel, lanes_stream_bytes,
)
from roicy.cpu.lanes.phases cimport PHASE_STORE, PHASE_TURN, phase_enter
from roicy.cpu.runtime.checks cimport check_inside
from roicy.cpu.tuning cimport STREAM_BYTES, WHOLE_BINS

cdef struct Outlet:
    View view               # (RoI, channel, row, column)
    int rows_at_once        # rows of bins that are stored together
    bint chunked            # a RoI's outputs are one piece of memory for neighbouring channels
    bint stream
    int64_t block           # bins of a block of channels, and room behind them


cdef inline Outlet outlet_for(cnp.ndarray out, int group):
    # `group`: rows of bins that a kernel makes at a time
    cdef Outlet outlet
    cdef View* view = &outlet.view
    outlet.view = view_of(out)
    outlet.rows_at_once = <int> (view.rows if view.rows * view.columns <= WHOLE_BINS else group)
    outlet.chunked = (view.rows_joined and view.channel == view.rows * view.columns * view.size
                      and outlet.rows_at_once == view.rows)
    outlet.stream = view.images * view.channels * view.rows * view.columns * view.size >= STREAM_BYTES
    outlet.block = outlet.rows_at_once * view.columns + LANES
    return outlet


cdef inline size_t bins_bytes(Outlet* outlet, int depth) noexcept:
    # Bytes of the bins that are stored together, as lanes of `depth` blocks of channels.
    return depth * <size_t> outlet.block * sizeof(lanes)


cdef inline void fetch_ends(Outlet* outlet, int64_t roi, int64_t channel, int channels) noexcept nogil:
    # Prefetch the cache lines that a RoI's chunk covers only in part: their values are stored, not streamed, and a
    # store that waits for memory delays all stores after it. NumPy's large arrays begin 16 bytes after the start of a
    # line.
    cdef View* out = &outlet.view
    cdef int64_t size = channels * out.rows * out.columns * out.size
    cdef const char* target = block_at(out, roi, channel)
    if not outlet.stream or not outlet.chunked or size <= 64:
        return
    if <size_t> target % 64:
        lanes_prefetch(target)
    if <size_t> (target + size) % 64:
        lanes_prefetch(target + size - 1)


cdef inline void store_bins(Outlet* outlet, const lanes* bins, char* chunk, int64_t roi, int64_t channel, int channels,
                            int64_t p, int64_t rows) noexcept nogil:
    # Rows p to p + rows of the RoI's bins, of several blocks of channels.
    cdef View* out = &outlet.view
    cdef char* target = block_at(out, roi, channel) + p * out.row
    cdef int64_t count = rows * out.columns, r
    cdef int first = 0, some, before
    check_inside(p, 0, out.rows)
    check_inside(p + rows, 0, out.rows + 1)
    check_inside(rows, 0, outlet.rows_at_once + 1)
    cdef bint chunked = outlet.chunked and count > 1
    before = phase_enter(PHASE_TURN if chunked else PHASE_STORE)
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
        bins += outlet.block
    if chunked:
        phase_enter(PHASE_STORE)
        if outlet.stream:
            lanes_stream_bytes(target, chunk, channels * count * out.size)
        else:
            memcpy(target, chunk, channels * count * out.size)
    phase_enter(before)
