"""The table of quadrangles that crops are cut from: the perspective view of each, and how many samples it has."""

from libc.stdint cimport int64_t

import numpy as np

from roicy.cpu cimport arrays as cnp
from roicy.cpu.runtime.memory cimport allocate, deallocate
from roicy.cpu.runtime.parallel cimport Listener, hears, listener
from roicy.cpu.tables.rois cimport Window

cnp.import_array()


cdef extern from "geometry/cpu.h" nogil:
    QuadView quad_view(const double* corners, int64_t image, int64_t images, int rows, int columns,
                       int sampling_ratio)
    Window quad_window(const QuadView* view, int p, int columns, QuadMap map)


cdef enum:
    FEW_PIXELS = 4      # as of boxes
    FAR = 4


cdef int read_of(const QuadView* view, int64_t quads, int rows, int columns, QuadMap map, int64_t* read) except -1:
    # What crops read of the map; raises what a signal handler raises.
    cdef Window window
    cdef int64_t k
    cdef int p
    cdef Listener ear = listener()
    with nogil:
        for k in range(quads):
            for p in range(rows):
                window = quad_window(view + k, p, columns, map)
                if window.bottom > window.top:
                    read[0] = window.top if read[2] == 0 else min(read[0], <int64_t> window.top)
                    read[1] = window.left if read[2] == 0 else min(read[1], <int64_t> window.left)
                    read[2] = max(read[2], <int64_t> window.bottom)
                    read[3] = max(read[3], <int64_t> window.right)
                if hears(&ear, columns * <int64_t> view[k].rows * view[k].columns):
                    return -1
            read += 4
    return 0


cdef class QuadTable:
    """Views of quadrangles.

    Parameters
    ----------
    corners : ndarray, shape (K, 8), float64, C-contiguous
        x and y of the corners that become top left, top right, bottom right and bottom left.
    images : ndarray, shape (K,), int64, C-contiguous
        The image of each.
    count : int
        How many images there are.
    image_size : tuple of int
        Rows and columns of the largest of them.
    output_size : tuple of int
        Rows and columns of a crop.
    sampling_ratio : int
        Samples of a pixel along either axis; 0 for as many as it covers.
    """

    def __cinit__(self, cnp.ndarray corners, cnp.ndarray images, int64_t count, image_size, output_size,
                  int sampling_ratio):
        cdef int64_t k, whole = 0, far = 0
        cdef int height = image_size[0], width = image_size[1], rows = output_size[0], columns = output_size[1], i
        cdef const double* corner = <const double*> cnp.PyArray_DATA(corners)
        cdef const int64_t* image = <const int64_t*> cnp.PyArray_DATA(images)
        cdef double least[2]
        cdef double most[2]
        cdef bint within_one = True, outside = True, empty = True
        self.quads = cnp.PyArray_DIM(corners, 0)
        self.first_invalid = -1
        self.view = <QuadView*> allocate(self.quads * sizeof(QuadView))
        for k in range(self.quads):
            self.view[k] = quad_view(corner, image[k], count, rows, columns, sampling_ratio)
            self.samples += (<double> self.view[k].rows * self.view[k].columns) * rows * columns
            if self.view[k].image < 0:
                self.first_invalid = k if self.first_invalid < 0 else self.first_invalid
            else:
                whole += 1
                for i in range(2):
                    least[i] = min(min(corner[i], corner[2 + i]), min(corner[4 + i], corner[6 + i]))
                    most[i] = max(max(corner[i], corner[2 + i]), max(corner[4 + i], corner[6 + i]))
                    within_one = within_one and least[i] >= 0 and most[i] <= 1
                    empty = empty and least[i] == 0 and most[i] == 0
                far += most[0] > <double> FAR * width or most[1] > <double> FAR * height
                outside = outside and (most[0] < 0 or most[1] < 0 or least[0] > width or least[1] > height)
            corner += 8
        if whole and within_one and not empty and height > FEW_PIXELS and width > FEW_PIXELS:
            self.look = "normalised"
        elif whole and height > 0 and width > 0:
            if outside or 2 * far > whole:
                self.look = "outside"

    def touched(self, map_size, output_size, tuple rule):
        """Return (K, 4), int64: from which row and column of a map to which crops are read, zeros for nothing.

        `rule` is what lies outside, and whether a sample is the nearest pixel.
        """
        cdef cnp.ndarray found = np.zeros((self.quads, 4), np.int64)
        cdef QuadMap map = QuadMap(height=map_size[0], width=map_size[1], border=rule[0], nearest=rule[1])
        read_of(self.view, self.quads, output_size[0], output_size[1], map, <int64_t*> cnp.PyArray_DATA(found))
        return found

    def __dealloc__(self):
        deallocate(self.view)
