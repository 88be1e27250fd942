"""The checks of ``checks.h``: empty but in debug and sanitizer builds."""

from libc.stddef cimport size_t
from libc.stdint cimport int64_t


cdef extern from "checks.h" nogil:
    enum:
        CHECKED "ROICY_CHECKED"
        FENCE_BYTES "ROICY_FENCE_BYTES"     # between neighbouring pieces of scratch

    void check "ROICY_ASSERT"(bint condition) noexcept
    void check_inside "ROICY_INSIDE"(int64_t index, int64_t begin, int64_t end) noexcept    # begin <= index < end
    void spoil "ROICY_SPOIL"(void* start, size_t size) noexcept
    void fence "ROICY_FENCE"(const void* start, size_t size) noexcept
    void unfence "ROICY_OPEN"(const void* start, size_t size) noexcept
