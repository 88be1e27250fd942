"""How many terms each pixel of a gradient gets from the taps of a chunk, where sums are in pieces.

A pixel with very many terms is summed in pieces. A counter for each pixel of the rows that windows touch shows when a
piece is full: at that bin, the sums of all its pixels start a new piece.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t
from libc.string cimport memset

from roicy.cpu.tables.rois cimport MANY, PILE, Window


cdef inline uint32_t* counters_of(Terms* terms, int64_t k) noexcept nogil:
    # Those of the RoI's window; from a row to the next it is the map's width.
    cdef const Window* window = terms.window + k
    return terms.held + (window.top - terms.first_row) * <int64_t> terms.width + window.left


cdef inline size_t counters(const Terms* terms) noexcept nogil:
    return (terms.last_row - terms.first_row) * <size_t> terms.width


cdef inline bint count_taps(uint32_t* held, const int32_t* offset, int taps) noexcept nogil:
    # Counts a term on each of a bin's pixels. Returns whether one of them had PILE terms; then all begin again.
    cdef uint32_t most = 0
    cdef int t
    for t in range(taps):
        most = max(most, held[offset[t]])
    if most >= PILE:
        for t in range(taps):
            held[offset[t]] = 0
    for t in range(taps):
        held[offset[t]] += 1
    return most >= PILE


cdef void note_terms(Terms* terms, int64_t first, int64_t last) noexcept nogil:
    # Notes the bins, of ranks first to last, at which a pixel has PILE terms.
    cdef Samples* samples = terms.samples
    cdef int64_t k, i, at, of_chunk
    cdef int32_t* taps
    cdef uint8_t* full
    cdef uint32_t* held
    memset(terms.held, 0, counters(terms) * sizeof(uint32_t))
    for k in range(first, last):
        if terms.window[k].bottom == terms.window[k].top:
            continue
        of_chunk = k - samples.first
        held = counters_of(terms, k)
        taps = samples.tap_count + of_chunk * terms.bins
        full = samples.full + of_chunk * terms.bins
        samples.ever_full[of_chunk] = False
        at = samples.tap_start[of_chunk]
        for i in range(terms.bins):
            full[i] = count_taps(held, samples.offset + at, taps[i])
            if full[i]:
                samples.ever_full[of_chunk] = True
            at += taps[i]


cdef bint many_terms(Terms* terms, int64_t first, int64_t last) noexcept nogil:
    # Whether a pixel gets very many of the terms of the RoIs of these ranks.
    cdef Samples* samples = terms.samples
    cdef int64_t k, i, at, taps
    cdef size_t pixel
    cdef uint32_t* held
    cdef uint32_t most = 0
    memset(terms.held, 0, counters(terms) * sizeof(uint32_t))
    for k in range(first, last):
        if terms.window[k].bottom == terms.window[k].top:
            continue
        held = counters_of(terms, k)
        taps = 0
        for i in range((k - samples.first) * terms.bins, (k - samples.first + 1) * terms.bins):
            taps += samples.tap_count[i]
        at = samples.tap_start[k - samples.first]
        for i in range(at, at + taps):
            held[samples.offset[i]] += 1
    for pixel in range(counters(terms)):
        most = max(most, terms.held[pixel])
    return most > MANY


cdef void note_full(Terms* terms, const int64_t* image_start, int64_t images, int64_t first,
                    int64_t last) noexcept nogil:
    # Notes which pixels are summed in pieces; a chunk begins with none.
    cdef int64_t image, begin, end
    memset(terms.samples.ever_full, 0, last - first)
    for image in range(images):
        begin, end = max(first, image_start[image]), min(last, image_start[image + 1])
        if begin < end and many_terms(terms, begin, end):
            note_terms(terms, begin, end)
