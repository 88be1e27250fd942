"""What every call asks of its arguments, asked in C: of a small call these questions take longer than pooling."""

cimport numpy as cnp

from cpython.dict cimport PyDict_GetItemWithError
from cpython.object cimport PyObject

cnp.import_array()


def are_plain(tuple names, frozenset optional, *arrays):
    """Return whether arrays are NumPy's own in native byte order, or None where their names are optional.

    ``out`` may be a tuple of such arrays.
    """
    cdef Py_ssize_t i = 0
    for array in arrays:
        if not is_plain(array):
            if type(array) is tuple and names[i] == "out":
                for one in <tuple> array:
                    if not is_plain(one):
                        return False
            elif array is not None or names[i] not in optional:
                return False
        i += 1
    return True


cdef inline bint is_plain(array) noexcept:
    return cnp.PyArray_CheckExact(array) and cnp.PyArray_ISNOTSWAPPED(<cnp.ndarray> array)


cdef class Known:
    """What has been found out about arguments, for the next call that has the same ones, of the same types.

    Parameters
    ----------
    most : int
        How many may be known; then all are forgotten.
    """

    cdef dict found
    cdef Py_ssize_t most

    def __init__(self, Py_ssize_t most):
        self.found = {}
        self.most = most

    def get(self, tuple arguments):
        """Return what is known of arguments, or None."""
        cdef PyObject* entry
        try:
            entry = PyDict_GetItemWithError(self.found, arguments)
        except Exception:   # one cannot be hashed, or compared
            return None
        if entry == NULL or not are_alike(arguments, <tuple> (<tuple> <object> entry)[0]):
            return None
        return (<tuple> <object> entry)[1]

    def put(self, tuple arguments, known):
        """Remember what is known of arguments, unless one of them cannot be hashed."""
        if len(self.found) >= self.most:
            self.found.clear()
        try:
            self.found[arguments] = arguments, known
        except Exception:
            pass


cdef bint are_alike(tuple first, tuple second) noexcept:
    # Whether values that are equal are so as they are: True is no 1, and 1.0 neither.
    cdef Py_ssize_t i
    for i in range(len(first)):
        if type(first[i]) is not type(second[i]):
            return False
        if type(first[i]) is tuple and not are_alike(<tuple> first[i], <tuple> second[i]):
            return False
    return True
