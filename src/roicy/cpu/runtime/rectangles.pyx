"""Copy many rectangles of maps in one call, without holding Python's lock.

With one copy per rectangle, threads that read and pool in turn would wait for the lock as often as there are
rectangles.
"""

from cpython.mem cimport PyMem_Free, PyMem_Malloc
from libc.stdint cimport int64_t
from libc.string cimport memcpy

from roicy.cpu cimport arrays as cnp

cnp.import_array()

cdef enum:
    AXES = 4
    NUMBERS = 8                 # of a copy


cdef struct Copy:
    const char* source
    char* target
    int64_t[AXES] length
    int64_t[AXES] step_source, step_target
    int64_t run                 # bytes that lie together on both sides, along the last axes
    int axes                    # the others


def copy_rectangles(list sources, list targets, tuple axes, cnp.ndarray copies):
    """Copy rectangles from maps to maps.

    Parameters
    ----------
    sources, targets : list of array
        Maps of four axes, all of one dtype without Python objects. No target overlaps another array.
    axes : (int, int)
        Those of rows and columns; along the others the maps of a copy have the same lengths.
    copies : array, (M, 8), int64, C-contiguous
        The number of a source, the first row and column there, the number of a target, the first row and column there,
        and how many rows and columns.
    """
    cdef const int64_t* numbers = <const int64_t*> cnp.PyArray_DATA(copies)
    cdef Py_ssize_t count = cnp.PyArray_DIM(copies, 0), i
    cdef int h = axes[0], w = axes[1]
    cdef Copy* all_ = <Copy*> PyMem_Malloc(max(count, <Py_ssize_t> 1) * sizeof(Copy))
    if all_ == NULL:
        raise MemoryError("roicy: no memory to copy rectangles")
    try:
        for i in range(count):
            note(all_ + i, sources[numbers[0]], targets[numbers[3]], h, w, numbers)
            numbers += NUMBERS
        with nogil:
            for i in range(count):
                copy(all_ + i)
    finally:
        PyMem_Free(all_)


cdef int note(Copy* it, cnp.ndarray source, cnp.ndarray target, int h, int w, const int64_t* numbers) except -1:
    cdef int d, last = AXES
    cdef int64_t begin_source, begin_target
    if cnp.PyArray_NDIM(source) != AXES or cnp.PyArray_NDIM(target) != AXES or source.dtype != target.dtype:
        raise ValueError(f"maps must have 4 axes and one dtype, got {source.ndim} and {target.ndim} axes, "
                         f"{source.dtype} and {target.dtype}")
    it.source, it.target = <const char*> cnp.PyArray_DATA(source), <char*> cnp.PyArray_DATA(target)
    it.run = cnp.PyArray_ITEMSIZE(target)
    for d in range(AXES):
        it.length[d] = numbers[6] if d == h else numbers[7] if d == w else cnp.PyArray_DIM(target, d)
        it.step_source[d], it.step_target[d] = cnp.PyArray_STRIDE(source, d), cnp.PyArray_STRIDE(target, d)
        begin_source = numbers[1] if d == h else numbers[2] if d == w else 0
        begin_target = numbers[4] if d == h else numbers[5] if d == w else 0
        if not (0 <= begin_source <= cnp.PyArray_DIM(source, d) - it.length[d]
                and 0 <= begin_target <= cnp.PyArray_DIM(target, d) - it.length[d] and it.length[d] >= 0):
            raise ValueError(f"a rectangle must lie on its maps, of shapes {(<object> source).shape} and "
                             f"{(<object> target).shape}")
        it.source += begin_source * it.step_source[d]
        it.target += begin_target * it.step_target[d]
    while last and (it.length[last - 1] == 1
                    or it.step_source[last - 1] == it.run and it.step_target[last - 1] == it.run):
        last -= 1
        it.run *= it.length[last]
    it.axes = last
    return 0


cdef void copy(const Copy* it) noexcept nogil:
    cdef int64_t i, j, k, m
    cdef int64_t[AXES] length
    cdef int d
    for d in range(AXES):
        length[d] = it.length[d] if d < it.axes else 1
    for i in range(length[0]):
        for j in range(length[1]):
            for k in range(length[2]):
                for m in range(length[3]):
                    memcpy(it.target + i * it.step_target[0] + j * it.step_target[1] + k * it.step_target[2]
                           + m * it.step_target[3],
                           it.source + i * it.step_source[0] + j * it.step_source[1] + k * it.step_source[2]
                           + m * it.step_source[3], it.run)
