"""What is known of arguments, for other files in C."""


cdef class Known:
    cdef dict found
    cdef Py_ssize_t most
    cdef tuple types
    cdef object find(self, tuple arguments)
    cdef bint keeps(self, tuple arguments)      # whether `put` would
