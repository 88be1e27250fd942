"""Where the columns of a crop read the rows of a picture: a RoI's taps as ``crops.h`` and ``pairs.h`` need them."""

from libc.stddef cimport ptrdiff_t, size_t
from libc.stdint cimport INT32_MAX, int32_t, int64_t
from libc.string cimport memcpy, memset

from roicy.cpu.apply.finish cimport row_finish
from roicy.cpu.apply.view cimport View
from roicy.cpu.lanes.lanes cimport LANES, lane_int, lanes, real
from roicy.cpu.lanes.streams cimport row_streams
from roicy.cpu.runtime.checks cimport CHECKED, check_inside
from roicy.cpu.runtime.work cimport CACHE_LINE
from roicy.cpu.tables.axis cimport Axis, PlainLists, plain_singles


cdef extern from "crops.h" nogil:
    enum:
        WINDOW
        PIXEL
    ctypedef struct crops_group:
        ptrdiff_t base, start
        int32_t least, most, windows
    ctypedef struct crops_taps:
        crops_group* group
        ptrdiff_t groups
        lane_int* index
        real* weight
        lane_int* taps
    ctypedef struct crops_pixel:
        int elements

    int crops_windows(ptrdiff_t span) noexcept
    void crops_describe_pixel(crops_pixel* pixel, int elements) noexcept
    void crops_columns(const real* line, const crops_taps* columns, const row_finish* row, char* target,
                       int dtype) noexcept
    void crops_pixels(const real* lines, ptrdiff_t step, const crops_pixel* pixel, const crops_taps* columns,
                      const row_finish* rows, char* target, int dtype) noexcept
    void crops_rows(const char* const* row, const real* weight, int taps, ptrdiff_t count, int dtype,
                    const char* const* ahead, real* line) noexcept
    void crops_gather(const char* source, ptrdiff_t step, ptrdiff_t count, int dtype, real* target) noexcept
    void crops_split(const real* source, const crops_pixel* pixel, int channels, ptrdiff_t count, real* target,
                     ptrdiff_t step) noexcept
    void crops_scatter(const char* source, ptrdiff_t size, ptrdiff_t count, char* target, ptrdiff_t step) noexcept

cdef extern from "pairs.h" nogil:
    enum:
        PAIRS
        PAIR_ELEMENTS
    ctypedef struct pair_columns:
        int32_t* offset
        int32_t* taps
        real* weight[2]
        ptrdiff_t count
        int elements, channels
    ctypedef struct pair_rows:
        const char* row[2]
        const char* ahead[2]
        real weight[2]
        int taps
        ptrdiff_t span
    ctypedef struct pair_target:
        char* data
        ptrdiff_t step
        int dtype
        bint joined, reversed
        const crops_pixel* pixel
        const row_finish* finishes
        row_streams* streams

    void pairs_floats(const pair_rows* rows, const pair_columns* columns, real* line, const pair_target* to) noexcept

cdef extern from "pair_bytes.h" nogil:
    enum:
        NEAR_VECTOR
    ctypedef struct near_group:
        int32_t base
    ctypedef struct whole_group:
        pass
    ctypedef struct kept_pixels:
        lanes* pixels[2]
    ctypedef struct pair_reading:
        near_group* near
        whole_group* whole
        ptrdiff_t reach
        kept_pixels kept

    void pairs_settle(pair_reading* how, const pair_columns* columns, int dtype, ptrdiff_t span,
                      bint one) noexcept
    void pairs_bytes(const pair_rows* rows, const char* const* whose, const pair_columns* columns, pair_reading* how,
                     const pair_target* to) noexcept

cdef inline size_t lined_bytes(int64_t count, size_t item) noexcept nogil:
    # Bytes of `count` items, rounded up to whole cache lines.
    return (count * item + CACHE_LINE - 1) // CACHE_LINE * CACHE_LINE


cdef inline size_t listed_bytes(int64_t bins) noexcept nogil:
    # Bytes of the lists of one axis of a RoI whose bins have at most two taps. One more tap and pixel may be written.
    return (CACHE_LINE + lined_bytes(bins, sizeof(int64_t)) + lined_bytes(bins, sizeof(int32_t))
            + 2 * lined_bytes(2 * bins + 1, sizeof(int32_t)) + lined_bytes(2 * bins + 1, sizeof(real)))


cdef inline Axis listed_axis(const Axis* axis, int64_t k, char* room) noexcept nogil:
    # Fill the lists of RoI k in `room`, of listed_bytes, and return an axis that has them alone: RoI 0 there. Tables of
    # crops whose sides are all plain keep no lists. A crop fills its own when its turn comes, and finds them in the
    # cache.
    cdef Axis alone
    cdef PlainLists lists
    cdef int i
    memset(&alone, 0, sizeof(Axis))
    alone.bins = axis.bins
    alone.pixel_start = <int64_t*> room
    alone.pixel_start[0] = 0
    alone.pixel_count = <int32_t*> (room + sizeof(int64_t))
    alone.tap_start = <int64_t*> (room + CACHE_LINE)
    alone.tap_count = <int32_t*> (<char*> alone.tap_start + lined_bytes(axis.bins, sizeof(int64_t)))
    alone.tap_position = <int32_t*> (<char*> alone.tap_count + lined_bytes(axis.bins, sizeof(int32_t)))
    alone.pixels = <int32_t*> (<char*> alone.tap_position + lined_bytes(2 * axis.bins + 1, sizeof(int32_t)))
    alone.tap_weight = <char*> alone.pixels + lined_bytes(2 * axis.bins + 1, sizeof(int32_t))
    lists = PlainLists(
        pixel_start=alone.pixel_start, pixels=alone.pixels, pixel_count=alone.pixel_count, tap_start=alone.tap_start,
        tap_count=alone.tap_count, tap_position=alone.tap_position, tap_weight=alone.tap_weight,
        doubles=sizeof(real) == sizeof(double))
    plain_singles(axis.single, axis.side[k], axis.bins, axis.length, &lists, 0)
    if CHECKED:
        check_inside(alone.pixel_count[0], 1, 2 * axis.bins + 1)
        check_inside(alone.pixels[0], 0, axis.length)
        check_inside(alone.pixels[alone.pixel_count[0] - 1], alone.pixels[0], axis.length)
        for i in range(<int> (alone.tap_start[axis.bins - 1] + alone.tap_count[axis.bins - 1])):
            check_inside(alone.tap_position[i], 0, alone.pixel_count[0])
    return alone


cdef inline int64_t most_vectors(Axis* x, int64_t k) noexcept nogil:
    # Vectors of taps that lay_out makes for RoI k: for each group as many as its column with the most taps has.
    cdef int64_t total = 0, q
    cdef int most = 0
    for q in range(x.bins):
        most = max(most, x.tap_count[k * x.bins + q])
        if q % LANES == LANES - 1 or q == x.bins - 1:
            total += most
            most = 0
    return total


cdef inline void lay_out(Axis* x, int64_t k, crops_taps* columns) noexcept nogil:
    # Lay out the taps for crops.h: from a list of taps for each column to a vector for each tap of a group of columns.
    cdef const int32_t* pixels = x.pixels + x.pixel_start[k]
    cdef int64_t q, g, i, start = 0, first, base, end, span = 0
    cdef int lane, count
    cdef int32_t t, least, most
    for g in range(columns.groups):
        base, end = 1 << 62, 0
        least, most = 1 << 30, 0
        for lane in range(LANES):
            q = g * LANES + lane
            count = x.tap_count[k * x.bins + q] if q < x.bins else 0
            columns.taps[q] = count
            most = max(most, count)
            if q < x.bins:
                least = min(least, count)
            if count:
                first = x.tap_start[k * x.bins + q]
                base = min(base, <int64_t> pixels[x.tap_position[first]])
                end = max(end, <int64_t> pixels[x.tap_position[first + count - 1]] + 1)
        columns.group[g].base = base - pixels[0] if most else 0
        if most:
            span = max(span, end - base)
        columns.group[g].least = least
        columns.group[g].most = most
        columns.group[g].start = start
        for t in range(most):
            for lane in range(LANES):
                q = g * LANES + lane
                i = (start + t) * LANES + lane
                columns.index[i] = 0
                columns.weight[i] = 0
                if t < columns.taps[q]:
                    first = x.tap_start[k * x.bins + q] + t
                    columns.index[i] = <lane_int> (pixels[x.tap_position[first]] - base)
                    columns.weight[i] = (<const real*> x.tap_weight)[first]
        start += most
    for g in range(columns.groups):
        columns.group[g].windows = crops_windows(span)      # the same for all groups: its branches are predicted


cdef inline bint find_pairs(Axis* x, int64_t k, View* view, ptrdiff_t size, bint sparing, pair_columns* columns,
                            pair_reading* how) noexcept nogil:
    # Whether each column of RoI k reads at most two pixels, which are neighbours. If so, fill the `columns` of pairs.h,
    # which use `size` bytes of a row, and decide `how` they are read.
    cdef const int32_t* pixels = x.pixels + x.pixel_start[k]
    cdef const int32_t* position
    cdef const real* weight
    cdef int64_t q, room = (x.bins + LANES - 1) // LANES * LANES
    cdef int count = x.pixel_count[k], taps
    if count and (pixels[count - 1] - pixels[0]) * <double> view.column > INT32_MAX:
        return False
    memset(columns.offset, 0, room * sizeof(int32_t))
    memset(columns.taps, 0, room * sizeof(int32_t))
    memset(columns.weight[0], 0, room * sizeof(real))
    memset(columns.weight[1], 0, room * sizeof(real))
    for q in range(x.bins):
        position = x.tap_position + x.tap_start[k * x.bins + q]
        weight = <const real*> x.tap_weight + x.tap_start[k * x.bins + q]
        taps = x.tap_count[k * x.bins + q]
        if taps == 0:
            continue
        if taps > 2 or (taps == 2 and pixels[position[1]] != pixels[position[0]] + 1):
            return False
        columns.taps[q] = taps
        columns.offset[q] = <int32_t> ((pixels[position[0]] - pixels[0]) * view.column)
        columns.weight[0][q] = weight[0]
        if taps == 2:
            columns.weight[1][q] = weight[1]
    pairs_settle(how, columns, view.dtype, size, sparing)
    return True


cdef inline const char* readable_row(View* view, const char* row, size_t size, ptrdiff_t reach,
                                     char* copy) noexcept nogil:
    # A row of `size` bytes that can be read for `reach` bytes: the row itself, or a copy at the end of the features.
    if row + reach <= view.limit:
        return row
    memcpy(copy, row, size)
    return copy


cdef inline bint reaches_outside(Axis* x, int64_t k, real* across) noexcept nogil:
    # Whether a column of RoI k reaches outside of the map; `across` gets each column's weight there.
    cdef const real* outside = <const real*> x.outside + k * x.bins
    cdef bint found = False
    cdef int64_t q
    for q in range((<int64_t> x.bins + LANES - 1) // LANES * LANES):
        across[q] = outside[q] if q < x.bins else 0
        found = found or across[q] != 0
    return found
