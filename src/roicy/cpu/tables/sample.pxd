"""What the kernels see of a sample table: plain C arrays."""

from libc.stddef cimport size_t
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t

from roicy.cpu.tables.rois cimport RoiTable, Window
from roicy.cpu.tables.rotated cimport Point, RotatedBox
from roicy.cpu.tables.samples cimport Sampling

cdef enum:
    SLOPES = 5              # cx, cy, w, h, angle
    BIN_SLOPES = 2          # of a bin that is moved: x, y
    MERGED_FROM = 5         # samples a bin from which on those on the same pixel merge


cdef struct Samples:
    # The taps of a run of RoIs, bin after bin. A tap is a pixel, as an offset from the first one of the RoI's window,
    # and a weight; weights are float or double, as the table's `double` says.
    int64_t first               # rank of the run's first RoI
    int64_t* tap_start          # (RoIs of the run), where the RoI's taps begin
    int32_t* tap_count          # (RoIs of the run, bins)
    int32_t* offset
    void* weight
    uint8_t* full               # (RoIs of the run, bins) for the adjoint alone: whether its pixels' sums begin again
    uint8_t* ever_full          # (RoIs of the run) whether any of the RoI's are
    void* slope                 # for two gradients alone, of each tap: d weight / d (cx, cy, w, h, angle), or d (x, y)


cdef struct Terms:
    # for the adjoint: how many terms each pixel gets from the taps of a chunk, counted
    uint32_t* held              # (rows from the first to the last, width)
    int first_row, last_row     # of all windows
    int width                   # of the map
    int64_t bins
    const Window* window        # (K) in the order of the table
    Samples* samples            # of a chunk


cdef class SampleTable(RoiTable):
    cdef RotatedBox* box        # (K) in the order of the table
    cdef int64_t* room          # (K + 1) taps that there may be before this RoI
    cdef int64_t most_pixels    # pixels around the largest bin whose samples merge
    cdef int64_t* chunk         # (chunks + 1) ranks of RoIs: whose taps are held together
    cdef readonly int chunks
    cdef bint alone             # each RoI's window is loaded for itself; else all of an image's RoIs share a tile
    cdef int slopes             # of a tap: SLOPES, BIN_SLOPES or none
    cdef bint upright           # boxes lie along the map's axes
    # of upright boxes, in the order given: the offsets of bins, of the boxes' dtype (K, 2, bins), NULL where they are
    # not moved; how far an offset of 1 moves them (K); what their averages are multiplied by (K, bins), NULL for 1
    cdef const void* offsets
    cdef Point* reach
    cdef const void* factor
    cdef bint single_factor     # they are floats
    cdef tuple arrays           # that these point to
    cdef int64_t* given         # (K) the row of these that a RoI is
    cdef bint listed            # else bins have no taps: what applies the table finds their samples
    cdef bint spreading         # for the adjoint
    cdef Terms terms            # for the adjoint
    cdef bint single            # boxes are float32
    cdef Sampling sampling
    cdef double turn            # radians per unit of the angle, with its sign
    cdef int32_t* tile_left     # (images) the part of a row that the tile holds
    cdef int32_t* tile_columns
    cdef Samples samples        # of all RoIs, where there is one chunk
    cdef tuple find_bins(self, regions)
    cdef int stride(self, int64_t image, int64_t k) noexcept nogil


cdef class SampleChunk:
    # Memory for the taps of one chunk after the other.
    cdef SampleTable table
    cdef Samples samples
    cdef void* _memory
    cdef object _bench
    cdef Samples* take(self, int chunk) except NULL
