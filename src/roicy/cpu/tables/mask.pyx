"""The table of masks that are pasted into images: which part of the image each one reaches.

The positions of that part's pixels on the mask are computed when the mask is pasted, row by row and column by column.
"""

from libc.stdint cimport int32_t, int64_t

import numpy as np

from roicy.cpu cimport arrays as cnp
from roicy.cpu.runtime.memory cimport allocate_zeros, deallocate

cnp.import_array()


cdef extern from "geometry/cpu.h" nogil:
    ctypedef struct MaskPlace:
        int before
        double fraction

    PasteSide paste_side(const void* box, bint single, int axis, int length, int width, int limit, int rule)
    MaskPlace paste_at(bint single, PasteSide side, int index)
    bint isfinite(double x)


cdef class MaskTable:
    """Windows of masks on images of one size.

    Parameters
    ----------
    boxes : ndarray, shape (K, 4), float32 or float64, C-contiguous
        Corners x1, y1, x2, y2.
    mask_size : tuple of int
        Rows and columns of the masks.
    pasting : Pasting
        Rows and columns of the image, and the rule. Without a threshold a mask whose box is none reaches all of the
        image, else nothing.
    accumulate : {"float32", "float64"}
        Type that masks are interpolated in.
    """

    def __cinit__(self, cnp.ndarray boxes, mask_size, pasting, str accumulate):
        cdef int64_t k
        cdef int axis, rows = mask_size[0], columns = mask_size[1], rule = pasting.rule
        cdef bint soft = pasting.threshold is None
        cdef const char* box = <const char*> cnp.PyArray_DATA(boxes)
        cdef MaskWindow* window
        self.accumulate = accumulate
        self.masks = cnp.PyArray_DIM(boxes, 0)
        self.rows, self.columns = pasting.image_size
        self.single = cnp.PyArray_TYPE(boxes) == cnp.NPY_FLOAT32
        self.window = <MaskWindow*> allocate_zeros(self.masks * sizeof(MaskWindow))
        for k in range(self.masks):
            window = self.window + k
            window.valid = True
            for axis in range(4):
                if not isfinite((<float*> box)[axis] if self.single else (<double*> box)[axis]):
                    window.valid = False
            if window.valid:
                window.y = paste_side(box, self.single, 1, rows, columns, self.rows, rule)
                window.x = paste_side(box, self.single, 0, columns, columns, self.columns, rule)
            elif soft:
                window.y.high, window.x.high = self.rows, self.columns
            if window.y.low == window.y.high or window.x.low == window.x.high:
                window.y.high, window.x.high = window.y.low, window.x.low
            self.tallest = max(self.tallest, window.y.high - window.y.low)
            self.widest = max(self.widest, window.x.high - window.x.low)
            self.pixels += (window.y.high - window.y.low) * <double> (window.x.high - window.x.low)
            box += 4 * cnp.PyArray_ITEMSIZE(boxes)

    def __dealloc__(self):
        deallocate(self.window)

    def windows(self):
        """Return the rows top, left, bottom, right of all windows, (K, 4), int32."""
        cdef cnp.ndarray found = np.empty((self.masks, 4), np.int32)
        cdef int32_t* edge = <int32_t*> cnp.PyArray_DATA(found)
        cdef MaskWindow* window = self.window
        for _ in range(self.masks):
            edge[0], edge[1] = window.y.low, window.x.low
            edge[2], edge[3] = window.y.high, window.x.high
            edge += 4
            window += 1
        return found


cdef void find_places(bint single, PasteSide* side, int32_t* before, void* fraction, bint doubles,
                      int more) noexcept nogil:
    """Find between which pixels of the mask those of a window's side lie, with fractions in doubles or in floats.

    So many `more` have places behind them.
    """
    cdef MaskPlace place
    cdef int i, count = side.high - side.low
    for i in range(count + more):
        if i < count:
            place = paste_at(single, side[0], side.low + i)
        else:
            place.before = 0
            place.fraction = 0
        before[i] = place.before
        if doubles:
            (<double*> fraction)[i] = place.fraction
        else:
            (<float*> fraction)[i] = <float> place.fraction
