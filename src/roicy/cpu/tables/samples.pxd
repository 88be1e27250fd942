"""Where the samples of a bin lie along one axis, in the boxes' own dtype.

Positions are computed in the operation order of torchvision and without contraction, so that sample positions, grid
counts and out-of-range decisions are the same bits. They never decrease with the sample index (never increase in a
reversed box): the samples that hit the map are found by bisection, and no box, however large, costs more than the map.

Between pixels a bilinear value is linear along either axis. Of a dense bin, one of many samples between the same two
pixels, a maximum needs but the ends, and an average the middle.
"""

from cython cimport floating
from libc.math cimport INFINITY, ceil, floor, isfinite, nextafter
from libc.stdint cimport int64_t

cdef enum:
    # Above this many samples a bin, neighbours may share a position: a run of equal ones is then found by bisection.
    FINE_GRID = 4194304
    # Above this many samples for each cell of the map that a bin reaches, it is dense: for a maximum, for an average.
    DENSE = 16
    DENSE_AVERAGE = 256


cdef struct Span:
    # The samples of one bin. `index` counts them in the order of ascending position.
    double count            # samples on this axis, hit or not
    double first, last      # the ones that hit the map; first > last where none does
    bint mirrored           # a reversed box: position falls with the sample index


cdef inline floating scaled(floating coordinate, floating scale, floating offset) noexcept nogil:
    cdef floating product = coordinate * scale
    return product - offset


cdef inline floating position(floating base, floating bin_size, Span* span, double index) noexcept nogil:
    cdef double sample = span.count - 1 - index if span.mirrored else index
    cdef floating shift = (<floating> sample + <floating> 0.5) * bin_size
    return base + shift / <floating> span.count


cdef inline double bisect(floating base, floating bin_size, Span* span, double low, double high,
                          floating bound, bint above) noexcept nogil:
    # The smallest index in (low, high] whose position is >= bound (> bound if `above`), given that it holds at high.
    cdef double middle
    cdef floating value
    while high - low > 1:
        middle = low + floor((high - low) / 2)
        if middle <= low or middle >= high:
            break
        value = position(base, bin_size, span, middle)
        if value > bound or (not above and value == bound):
            high = middle
        else:
            low = middle
    return high


cdef inline Span span_of(floating base, floating bin_size, double count, int length) noexcept nogil:
    cdef Span span
    cdef double last = count - 1
    span.count = count
    span.mirrored = bin_size < 0
    span.first = 0
    span.last = -1
    if count < 1 or length == 0 or not isfinite(base) or not isfinite(bin_size):
        return span
    if not (position(base, bin_size, &span, last) >= -1) or not (position(base, bin_size, &span, 0) <= length):
        return span
    if not (position(base, bin_size, &span, 0) >= -1):
        span.first = bisect(base, bin_size, &span, 0, last, <floating> -1, False)
    if position(base, bin_size, &span, last) <= length:
        span.last = last
    else:
        span.last = bisect(base, bin_size, &span, 0, last, <floating> length, True) - 1
    return span


cdef inline int pixel_below(floating place, int length) noexcept nogil:
    if not (place > 0):
        return 0
    if place >= length - 1:
        return length - 1
    return <int> place


cdef inline double next_position(floating base, floating bin_size, Span* span, double index) noexcept nogil:
    # The first index behind the run of samples that share the position of this one.
    cdef double following = index + 1
    cdef floating place
    if span.count > FINE_GRID and span.last > index:
        place = position(base, bin_size, span, index)
        if position(base, bin_size, span, span.last) > place:
            following = bisect(base, bin_size, span, index, span.last, place, True)
        else:
            following = span.last + 1
    if following <= index:      # indices beyond 2**53 are themselves rounded
        following = nextafter(index, INFINITY)
    return following


cdef inline int cell_of(floating place, int length) noexcept nogil:
    # Positions in a cell lie between the same two pixels, or repeat the same one: the first is -1, before all pixels.
    return -1 if place < 0 else pixel_below(place, length)


cdef inline int64_t dense_cells(floating base, floating bin_size, Span* span, int length, int few) noexcept nogil:
    # From the first to the last cell of a dense bin's samples, how many there are; 0 for other bins.
    cdef int64_t cells
    if not span.last - span.first >= few:
        return 0
    cells = 1 + <int64_t> cell_of(position(base, bin_size, span, span.last), length)
    cells -= cell_of(position(base, bin_size, span, span.first), length)
    return cells if span.last - span.first + 1 > few * <double> cells else 0


cdef inline double cell_begin(floating base, floating bin_size, Span* span, int cell) noexcept nogil:
    # The first index in this cell or behind it; some are.
    if position(base, bin_size, span, span.first) >= cell:
        return span.first
    return bisect(base, bin_size, span, span.first, span.last, <floating> cell, False)


cdef inline double cell_end(floating base, floating bin_size, Span* span, int cell, int length) noexcept nogil:
    # The last index in this cell or before it; some are.
    if cell_of(position(base, bin_size, span, span.last), length) <= cell:
        return span.last
    return cell_begin(base, bin_size, span, cell + 1) - 1


cdef inline double dense_index(floating base, floating bin_size, Span* span, int length, int64_t i) noexcept nogil:
    # Index of the i-th sample that a maximum over a dense bin needs, two for each cell in the order of their numbers:
    # the first one in the cell and, of those at the position of the last one, the first. In a reversed box they are
    # found from the other side.
    cdef int cell
    cdef double index
    cdef floating place
    if span.mirrored:
        cell = cell_of(position(base, bin_size, span, span.last), length) - <int> (i // 2)
        if i % 2 == 0:
            return cell_end(base, bin_size, span, cell, length)
        index = cell_begin(base, bin_size, span, cell)
        place = position(base, bin_size, span, index)
        if position(base, bin_size, span, span.last) == place:
            return span.last
        return bisect(base, bin_size, span, index, span.last, place, True) - 1
    cell = cell_of(position(base, bin_size, span, span.first), length) + <int> (i // 2)
    if i % 2 == 0:
        return cell_begin(base, bin_size, span, cell)
    index = cell_end(base, bin_size, span, cell, length)
    place = position(base, bin_size, span, index)
    if position(base, bin_size, span, span.first) == place:
        return span.first
    return bisect(base, bin_size, span, span.first, index, place, False)


cdef struct Side:
    # one axis of one box, before its taps are known
    double start, size      # exact: the boxes' dtype fits in a double
    double count
    bint unit_size          # the size was raised to 1


cdef inline Side side_of(floating first, floating second, double spatial_scale, int bins, int sampling_ratio,
                         bint aligned) noexcept nogil:
    cdef Side side
    cdef floating scale = <floating> spatial_scale
    cdef floating offset = <floating> 0.5 if aligned else <floating> 0
    cdef floating low = scaled(first, scale, offset)
    cdef floating high = scaled(second, scale, offset)
    cdef floating size = high - low
    cdef floating bin_size
    side.unit_size = not aligned and size < 1
    if side.unit_size:
        size = 1
    bin_size = size / <floating> bins
    side.start = low
    side.size = bin_size
    side.count = sampling_ratio if sampling_ratio > 0 else ceil(bin_size)
    return side


cdef inline floating bin_base(floating start, floating bin_size, int p) noexcept nogil:
    cdef floating shift = p * bin_size
    return start + shift
