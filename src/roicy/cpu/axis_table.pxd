"""What the kernels see of an axis table: plain C arrays."""

from libc.stddef cimport size_t
from libc.stdint cimport int32_t, int64_t


cdef enum:
    MOST_BLOCKS = 16


cdef struct Axis:
    # One axis of every RoI, in the order of the table, which is the order of use. A *line* is the ascending list
    # of the pixels that the RoI's bins touch; taps name a pixel by its position in the line. Weights are float
    # or double, as the table's `double` says.
    int32_t bins                # output size P
    int64_t* line_start         # (K + 1), where the RoI's line begins in `line`, with room up to the next one's
    int32_t* line_length        # (K), pixels in the line
    int32_t* line               # pixel numbers
    int64_t* tap_start          # (K * P), where the bin's taps begin
    int32_t* tap_count          # (K * P)
    int32_t* tap_position       # positions in the line
    void* tap_weight
    void* tap_slope_start       # for the box gradient alone: d weight / d (first coordinate of the box),
    void* tap_slope_end         # d weight / d (second coordinate)
    # the transpose, for the gradients: for every pixel of the line the bins that touch it, ascending
    int64_t* bin_start          # as long as `line`
    int32_t* bin_count
    int32_t* bin
    void* bin_weight


cdef class AxisTable:
    cdef readonly Py_ssize_t rois
    cdef readonly Py_ssize_t first_invalid
    cdef readonly Py_ssize_t images
    cdef readonly int height, width
    cdef readonly bint double
    cdef readonly str accumulate
    cdef Axis y, x
    # RoIs by image, then by last row (by first row for the adjoint); those with an invalid box come first
    cdef int64_t* order         # (K)
    cdef int64_t* image_start   # (images + 1), positions in `order`
    # for each image the work of pooling every RoI alone, pixels under bins with overlaps counted, and the work of
    # loading the map, pixels in the rows from the RoIs' first to their last
    cdef double* bin_pixels
    cdef double* map_pixels
    cdef double work            # multiply-adds for each channel
    cdef int widest             # pixels in the longest line of x
    cdef int tallest            # pixels in the longest line of y
    cdef int span               # rows from the first to the last one of the RoI that reaches furthest
    cdef void* _block[MOST_BLOCKS]
    cdef int _blocks
    cdef char* _at
    cdef size_t _left
