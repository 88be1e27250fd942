"""Checks of arguments that every call makes, in C: in a small call they would take longer than pooling."""

from cpython.dict cimport PyDict_GetItemWithError
from cpython.object cimport PyObject
from libc.math cimport signbit

from roicy.cpu cimport arrays as cnp

from numpy import bool_, floating, integer

cnp.import_array()

cdef frozenset LASTING = frozenset((bool, int, float, str, type))


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
    """A cache of what was found out about arguments, for later calls with equal arguments of the same types.

    Parameters
    ----------
    most : int
        Size of the cache; when it is full, it is emptied.
    *types : type
        Types of immutable arguments, besides numbers, strings, dtypes and tuples of these.
    """

    def __init__(self, Py_ssize_t most, *types):
        self.found = {}
        self.most = most
        self.types = types

    def get(self, tuple arguments):
        """Return what is known of arguments, or None."""
        return self.find(arguments)

    cdef object find(self, tuple arguments):
        cdef PyObject* entry
        try:
            entry = PyDict_GetItemWithError(self.found, arguments)
        except Exception:   # one cannot be hashed, or compared
            return None
        if entry == NULL or not are_alike(arguments, <tuple> (<tuple> <object> entry)[0]):
            return None
        return (<tuple> <object> entry)[1]

    cdef bint keeps(self, tuple arguments):
        return are_lasting(arguments, self.types)

    def put(self, tuple arguments, known):
        """Remember what is known of arguments, unless one of them may change or cannot be hashed."""
        if not self.keeps(arguments):
            return
        if len(self.found) >= self.most:
            self.found.clear()
        try:
            self.found[arguments] = arguments, known
        except Exception:
            pass


cdef bint are_alike(tuple first, tuple second) noexcept:
    # Whether values that are equal are so as they are: True is no 1, and 1.0 neither; -0.0 is no 0.0.
    cdef Py_ssize_t i
    if len(first) != len(second):   # a class of tuples may call any two of them equal
        return False
    for i in range(len(first)):
        if type(first[i]) is not type(second[i]):
            return False
        if first[i] is not second[i] and isinstance(first[i], cnp.dtype) and (first[i].metadata or second[i].metadata):
            return False
        if isinstance(first[i], tuple) and not are_alike(<tuple> first[i], <tuple> second[i]):
            return False
        if type(first[i]) is float and signbit(<double> first[i]) != signbit(<double> second[i]):
            return False
    return True


cdef bint are_lasting(tuple arguments, tuple types):
    # Whether what equals one of them always will: a tensor equals itself, whatever is written to it meanwhile.
    for argument in arguments:
        if isinstance(argument, tuple):
            if not are_lasting(<tuple> argument, types):
                return False
        elif isinstance(argument, floating):    # of whose zeros `are_alike` does not know the sign
            if argument == 0:
                return False
        elif not (argument is None or type(argument) in LASTING
                  or isinstance(argument, (cnp.dtype, integer, bool_)) or isinstance(argument, types)):
            return False
    return True
