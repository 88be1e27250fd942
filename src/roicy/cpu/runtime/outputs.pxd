"""Memory of new results."""

from libc.stddef cimport size_t

cdef int touch_pages(char* start, size_t size, int threads) except -1
