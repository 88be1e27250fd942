"""What the kernels see of an axis table: plain C arrays."""

from libc.stddef cimport ptrdiff_t
from libc.stdint cimport int32_t, int64_t

from roicy.cpu.tables.rois cimport RoiTable
from roicy.cpu.tables.samples cimport Sampling

cdef extern from "geometry/cpu.h" nogil:
    enum: LONE

    # One bin of each of LONE boxes.
    ctypedef struct Lone:
        int low[LONE]
        int taps[LONE]
        double weight[2][LONE]

    # One side of a box whose lists are filled later.
    ctypedef struct PlainSide:
        double start, size

    ctypedef struct PlainLists:
        const int64_t* pixel_start
        int32_t* pixels
        int32_t* pixel_count
        int64_t* tap_start
        int32_t* tap_count
        int32_t* tap_position
        void* tap_weight
        bint doubles

    void plain_singles(bint single, PlainSide side, int bins, int length, const PlainLists* lists, int64_t k)
    void lone_bins(const void* rows, bint single, int columns, int axis, Sampling sampling, int bins, int length,
                   Lone* lone)


cdef struct Axis:
    # One axis of every RoI, in the order of the table, which is the order of use. `pixels` lists for each RoI the
    # pixels that its bins touch, ascending; taps name a pixel by its position in the RoI's list. Weights are float
    # or double, as the table's `double` says.
    int32_t bins                # output size P
    PlainSide* side             # (K), if kernels fill the lists of each RoI when its turn comes; NULL: lists are filled
    int32_t length              # with `side`: pixels of the map along the axis
    bint single                 # with `side`: boxes are float32
    int32_t* pixels
    int64_t* pixel_start        # (K + 1), where the RoI's list begins in `pixels`, with room up to the next one's
    int32_t* pixel_count        # (K), pixels in the list
    int64_t* tap_start          # (K * P), where the bin's taps begin
    int32_t* tap_count          # (K * P)
    int32_t* tap_position       # positions in the RoI's list of pixels
    void* tap_weight
    void* outside               # (K * P), forward: the weight of what lies outside of the map; NULL: it has no value
    void* tap_slope_start       # for the box gradient alone: d weight / d (first coordinate of the box),
    void* tap_slope_end         # d weight / d (second coordinate)
    # the transpose, for the gradients: for every pixel of the list the bins that touch it, ascending
    int64_t* bin_start          # as long as `pixels`
    int32_t* bin_count
    int32_t* bin
    void* bin_weight


cdef struct LoneBoxes:
    # Boxes whose bins have one sample each, as the caller gave them. A table of such boxes has no axes.
    const char* rows            # NULL: the table has axes
    bint single                 # boxes are float32
    int columns                 # numbers of a row; the last four are the box
    ptrdiff_t step              # bytes of a row
    Sampling sampling
    const int64_t* image


cdef class AxisTable(RoiTable):
    cdef Axis y, x
    cdef LoneBoxes lone
    cdef object boxes           # the array that `lone` points into
