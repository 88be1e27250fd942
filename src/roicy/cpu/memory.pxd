"""Scratch memory that outlives a call."""

from libc.stddef cimport size_t


cdef void* borrow(size_t size) except NULL
cdef void give_back(void* block) noexcept
