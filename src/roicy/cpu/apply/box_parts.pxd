"""Partial sums of gradients with respect to boxes: one for each block of channels, in double precision.

A RoI's parts are added in the order of the blocks, so the bits do not depend on the threads. If there is no room for
the parts of all RoIs, the rest follows in later rounds.
"""

from libc.stddef cimport size_t
from libc.stdint cimport int64_t
from libc.string cimport memset

from roicy.cpu.lanes.lanes cimport LANES, lanes, lanes_sum
from roicy.cpu.runtime.checks cimport check_inside
from roicy.cpu.tuning cimport PARTS_BYTES

cdef struct Parts:
    double* part            # (RoI from `begin` on in the order of the table, block, number)
    int64_t begin, end      # the RoIs at a time
    int64_t room            # RoIs that there is room for
    int64_t blocks
    int64_t numbers         # of a box


cdef inline Parts parts_for(int64_t rois, int64_t channels, int64_t numbers) noexcept nogil:
    cdef Parts parts
    parts.part = NULL
    parts.begin = parts.end = 0
    parts.blocks = (channels + LANES - 1) // LANES
    parts.numbers = numbers
    parts.room = PARTS_BYTES // (max(<int64_t> 1, parts.blocks) * numbers * <int64_t> sizeof(double))
    parts.room = max(<int64_t> 1, min(parts.room, rois))
    return parts


cdef inline size_t parts_length(Parts* parts) noexcept nogil:
    return parts.room * parts.blocks * parts.numbers + 1


cdef inline void next_parts(Parts* parts, int64_t last) noexcept nogil:
    # On to the next RoIs before `last`.
    parts.begin = parts.end
    parts.end = min(last, parts.begin + parts.room)
    memset(parts.part, 0, (parts.end - parts.begin) * parts.blocks * parts.numbers * sizeof(double))


cdef inline double* part_of(Parts* parts, int64_t k, int64_t channel) noexcept nogil:
    # The block's part of a RoI.
    check_inside(k, parts.begin, parts.end)
    check_inside(channel // LANES, 0, parts.blocks)
    return parts.part + ((k - parts.begin) * parts.blocks + channel // LANES) * parts.numbers


cdef inline void note_part(Parts* parts, int64_t k, int64_t channel, const lanes* sums, double factor) noexcept nogil:
    # It is the sums over the block's lanes, times a factor.
    cdef double* part = part_of(parts, k, channel)
    cdef int64_t j
    for j in range(parts.numbers):
        part[j] = lanes_sum(sums[j]) * factor


cdef inline void add_parts(Parts* parts, const int64_t* order, double* target) noexcept nogil:
    # `target` (RoI, number) gets what the parts add up to.
    cdef int64_t k, block, j
    cdef double total
    for k in range(parts.begin, parts.end):
        for j in range(parts.numbers):
            total = 0
            for block in range(parts.blocks):
                total += parts.part[((k - parts.begin) * parts.blocks + block) * parts.numbers + j]
            target[order[k] * parts.numbers + j] = total
