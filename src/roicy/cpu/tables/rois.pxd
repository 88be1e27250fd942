"""What every table knows of the RoIs of a call."""

from libc.stddef cimport size_t
from libc.stdint cimport int32_t, int64_t

from roicy.cpu cimport arrays as cnp


cdef extern from "geometry/cpu.h" nogil:
    ctypedef struct Window:
        int32_t top, bottom, left, right

    ctypedef struct Range:
        int32_t low, high

    int clipped(double value, double low, double high)
    bint all_finite(const void* numbers, bint single, long long first, long long count)
    double coordinate(const void* box, bint single, int axis)


cdef enum:
    MOST_BLOCKS = 64
    # The terms of a gradient's pixel: where a pixel of an image has more than MANY, all are summed in pieces of PILE
    # terms, or of those of one RoI or bin. Pieces for fewer terms than MANY would cost c4's gradient 7 %.
    MANY = 320
    PILE = 60
    BAND = 32               # rows of a band: RoIs are visited band by band, in turn left to right and right to left


cdef struct Place:
    # the sort key of RoIs of an image: a row, which gives the band, and a column
    int32_t row, column


cdef inline int64_t band_of(int64_t row, int64_t top) noexcept nogil:
    # The first row of the band that a row is in; `top` is the row of the map that comes first.
    return (row + top) // BAND * BAND - top


cdef class RoiTable:
    cdef readonly Py_ssize_t rois
    cdef readonly Py_ssize_t first_invalid
    cdef readonly object beyond
    cdef readonly bint doubtful
    cdef readonly Py_ssize_t images
    cdef readonly int height, width     # of the maps as they are given: all of them, or a part
    cdef int map_height, map_width      # of whole maps, on which samples lie
    cdef double scale                   # feature pixels per unit of the boxes; 0 if not needed
    cdef Window part                    # part of them that is given
    cdef bint windowed                  # the part is not the whole map
    cdef readonly bint double
    cdef readonly str accumulate
    cdef int rows, columns      # of bins
    # RoIs sorted by image, then by the band of their last row (for the backward pass their first), then by column, in
    # turn ascending and descending: each finds its neighbour's pixels in the cache. Invalid boxes come first.
    cdef int64_t* order         # (K), rows of the arrays outside
    cdef int64_t* image_start   # (images + 1), ranks
    cdef Window* window         # (K) in that order
    # (K) the rows of the boxes if they are some of those given, and the array that owns these numbers; else NULL, None
    cdef const int64_t* row_of
    cdef object chosen
    # for each image the work of pooling every RoI alone, pixels under bins with overlaps counted, and the work of
    # loading the map, pixels in the rows from the RoIs' first to their last
    cdef double* bin_pixels
    cdef double* map_pixels
    cdef double work            # multiply-adds for each channel
    cdef int widest             # columns of the widest RoI
    cdef int tallest            # rows of the tallest one
    cdef int span               # rows that a tile must hold: from the first of any later RoI in a band to a RoI's end
    cdef void* _block[MOST_BLOCKS]
    cdef int _blocks
    cdef char* _at
    cdef size_t _left
    cdef tuple choose(self, regions)
    cdef void* reserve(self, size_t count, size_t size) except NULL
    cdef int describe(self, regions, str accumulate, cnp.ndarray boxes) except -1
    cdef int64_t* find_images(self, cnp.ndarray boxes, images, of_bins=*) except NULL
    cdef int arrange(self, const int64_t* image, Place* place) except -1
    cdef int summarise(self, const int64_t* image, const double* cost) except -1
    cdef int move_windows(self) except -1


cdef class ImageTable(RoiTable):
    pass
