"""The taps of the bins of one box.

    box ──▶ rows and columns of samples, turned ──▶ pixels and weights of each sample ──▶ taps

In bins of a few samples, each sample gives its own taps. In larger bins, samples on the same pixel merge: their weights
are summed on a scratch map of the pixels around the bin, which then become taps, row by row.
"""

from cython cimport floating
from libc.math cimport INFINITY, isfinite, signbit
from libc.stdint cimport int32_t, int64_t

from roicy.cpu.tables.rois cimport Window
from roicy.cpu.tables.rotated cimport (
    Extent, Landed, Point, RotatedBox, Run, column_base_d, column_base_f, column_run, column_turned, find_reach,
    finite_box, landed, moved_base, run_at, number_at, row_base_d, row_base_f, row_run, row_turned, window_of,
)
from roicy.cpu.tables.samples cimport Sampling, Span, next_position, position_at

cdef enum:
    PIECE = 512             # columns of samples that are turned at a time
    KEPT_RUNS = 32          # columns of bins whose samples are looked for once, and not in each row of bins


cdef struct RotatedRois:
    # what the taps of a table are made from, RoIs in the order of the table
    const RotatedBox* box       # (K)
    const Window* window        # (K)
    const int64_t* room         # (K + 1) taps that there may be before this RoI
    int rows, columns           # of bins
    int height, width           # of the map
    int top, left               # from where on it is given: windows are counted from there
    Sampling sampling
    double turn                 # radians per unit of the angle, with its sign
    bint single                 # boxes are float32
    bint double_                # weights are double
    int slopes                  # of a tap: SLOPES, BIN_SLOPES or none
    const void* offsets         # as the table has them
    const Point* reach
    const void* factor
    bint single_factor
    const int64_t* given


cdef struct Room:
    # for the taps of a RoI, and for the pixels around the largest of its bins that needs them
    int64_t taps, pixels


cdef struct Turned:
    # one column of a bin's samples, turned
    Point part              # of their positions
    double share            # how far along the box, from its middle
    double run              # samples that lie there


cdef struct Scratch:
    # weights summed on the pixels around a bin; cleared again after each bin
    double* weight          # -0.0 where no sample was
    double* slope           # (pixels, slopes)
    Turned column[PIECE]
    Run along[KEPT_RUNS]


cdef struct Filling:
    # one RoI, while its taps are listed
    const RotatedRois* rois
    const RotatedBox* box
    Window window           # of the RoI, on the map
    Samples* samples
    Scratch* scratch
    int stride              # pixels from a row to the next where the RoI's pixels are loaded
    bint merge              # samples on the same pixel are one tap
    Window part             # the pixels around the bin
    double factor           # what the bin's average is multiplied by
    int64_t at              # the next tap


cdef struct Motion:
    # how the positions of a row's samples follow the box's height, and its angle
    double share
    double by_angle_y, by_angle_x


cdef inline bint merged(const RotatedBox* box) noexcept nogil:
    return box.count_y * box.count_x >= MERGED_FROM


cdef inline double samples_in(Span span) noexcept nogil:
    return span.last - span.first + 1 if span.last >= span.first else 0


cdef inline void join(Extent* all, Run run, double* most) noexcept nogil:
    # Extend the range of all bins by the run of one; `most` is the largest number of samples.
    if run.span.first <= run.span.last:
        all.low = min(all.low, run.extent.low)
        all.high = max(all.high, run.extent.high)
        most[0] = max(most[0], samples_in(run.span))


cdef inline Window joined(Window all, Window part) noexcept nogil:
    # The smallest window around both; an empty one adds nothing.
    if all.bottom == all.top:
        return part
    return Window(top=min(all.top, part.top), bottom=max(all.bottom, part.bottom),
                  left=min(all.left, part.left), right=max(all.right, part.right))


cdef inline void give_bin_room(const RotatedRois* rois, const RotatedBox* box, Run down, Run along, Window* part,
                               Room* room) noexcept nogil:
    # Room for the taps of a bin whose samples can reach the map, and the pixels around it.
    cdef double area, most = 4 * samples_in(down.span) * samples_in(along.span)
    part[0] = window_of(box, down.extent, along.extent, box.error, rois.height, rois.width)
    if merged(box):
        area = (part.bottom - part.top) * <double> (part.right - part.left)
        room.pixels = max(room.pixels, <int64_t> area)
        most = min(area, most)
    elif part.bottom == part.top:
        return
    room.taps += <int64_t> most


cdef inline Point begin_of(const RotatedRois* rois, const RotatedBox* box, int64_t roi, int p, int q) noexcept nogil:
    # Where a bin of a RoI begins whose bins are moved.
    cdef int64_t bins = rois.rows * <int64_t> rois.columns, bin = p * <int64_t> rois.columns + q
    return moved_base(rois.single, box, rois.reach[roi], rois.offsets, 2 * bins * roi + bin, bins, p, q)


cdef Window give_moved_room(const RotatedRois* rois, const RotatedBox* box, int64_t roi, Room* room) noexcept nogil:
    # As `give_room`, of bins that are moved.
    cdef Window window = Window(top=0, bottom=0, left=0, right=0), part
    cdef Run down, along
    cdef Point begin
    cdef int p, q
    for p in range(rois.rows):
        for q in range(rois.columns):
            begin = begin_of(rois, box, roi, p, q)
            down = run_at(rois.single, box, begin.y, False)
            if down.span.first > down.span.last:
                continue
            along = run_at(rois.single, box, begin.x, True)
            if along.span.first > along.span.last:
                continue
            give_bin_room(rois, box, down, along, &part, room)
            if part.bottom > part.top:
                window = joined(window, part)
    return window


cdef Window give_room(const RotatedRois* rois, RotatedBox* box, int64_t roi, Room* room) noexcept nogil:
    # Notes from where on a RoI, which has an image, the map can be reached. Gives it room. Returns its window.
    cdef Window window = Window(top=0, bottom=0, left=0, right=0), part
    cdef Extent all_y = Extent(low=INFINITY, high=-INFINITY), all_x = Extent(low=INFINITY, high=-INFINITY)
    cdef Run down, along
    cdef double error = find_reach(rois.single, box, rois.height, rois.width), most_y = 0, most_x = 0
    cdef int p, q
    if not finite_box(box) or not isfinite(error):
        return window
    if rois.offsets != NULL:
        return give_moved_room(rois, box, roi, room)
    for p in range(rois.rows):
        join(&all_y, row_run(rois.single, box, p), &most_y)
    for q in range(rois.columns):
        join(&all_x, column_run(rois.single, box, q), &most_x)
    if most_y == 0 or most_x == 0:
        return window
    window = window_of(box, all_y, all_x, error, rois.height, rois.width)
    if window.bottom == window.top:
        return window
    if not merged(box):
        room.taps = <int64_t> (4 * most_y * most_x) * rois.rows * rois.columns
        return window
    for p in range(rois.rows):
        down = row_run(rois.single, box, p)
        if down.span.first > down.span.last:
            continue
        for q in range(rois.columns):
            along = column_run(rois.single, box, q)
            if along.span.first <= along.span.last:
                give_bin_room(rois, box, down, along, &part, room)
    return window


cdef inline void put(void* target, bint double_, int64_t i, double value) noexcept nogil:
    if double_:
        (<double*> target)[i] = value
    else:
        (<float*> target)[i] = <float> value


cdef inline void slopes_of(const RotatedRois* rois, const RotatedBox* box, const Landed* at, const Motion* row,
                           const Turned* column, double[SLOPES]* slope) noexcept nogil:
    # How the weights of a sample's four pixels follow the box, or its bin.
    cdef double y, x, ly = at.y.part, lx = at.x.part, scale = rois.sampling.spatial_scale
    cdef double by_angle_y = row.by_angle_y - column.part.x, by_angle_x = row.by_angle_x - column.part.y
    cdef int corner, grown = <int> box.grown
    for corner in range(4):
        y = 0 if at.y.flat else (lx if corner & 1 else 1 - lx) * (1 if corner & 2 else -1)
        x = 0 if at.x.flat else (ly if corner & 2 else 1 - ly) * (1 if corner & 1 else -1)
        if rois.slopes == BIN_SLOPES:
            slope[corner][0] = x
            slope[corner][1] = y
            continue
        slope[corner][0] = x * scale
        slope[corner][1] = y * scale
        slope[corner][2] = 0 if grown & 2 else column.share * scale * (x * box.cos - y * box.sin)
        slope[corner][3] = 0 if grown & 1 else row.share * scale * (x * box.sin + y * box.cos)
        slope[corner][4] = rois.turn * (x * by_angle_x + y * by_angle_y)


cdef inline int turn_columns(const RotatedBox* box, Span* span, floating base, int q, int bins, double* index,
                             Turned* column) noexcept nogil:
    # The next columns of samples from `index` on, as many as there is room for; returns how many.
    cdef floating size = <floating> box.bin_x
    cdef double following, sample
    cdef int n = 0
    while index[0] <= span.last and n < PIECE:
        following = next_position(base, size, span, index[0])
        column[n].part = column_turned(box, position_at(base, size, span, index[0]))
        column[n].run = min(following, span.last + 1) - index[0]
        sample = span.count - 1 - index[0] if span.mirrored else index[0]
        column[n].share = (q + (sample + 0.5) / span.count) / bins - 0.5
        index[0] = following
        n += 1
    return n


cdef inline void merge_sample(const Filling* f, const Turned* column, Point row, double run,
                              floating base) noexcept nogil:
    cdef const RotatedRois* rois = f.rois
    cdef const Window* part = &f.part
    cdef Landed at = landed(base, f.box, row, column.part, rois.height, rois.width)
    cdef double above, below, lx = at.x.part
    cdef int64_t width = part.right - part.left, down = 0 if at.y.last else width, right = not at.x.last
    cdef double* pixel
    if not at.hit:
        return
    run = run * column.run
    below = run * at.y.part
    above = run - below
    pixel = f.scratch.weight + (at.y.low - part.top) * width + at.x.low - part.left
    pixel[0] += above - above * lx
    pixel[right] += above * lx
    pixel[down] += below - below * lx
    pixel[down + right] += below * lx


cdef inline void note_sample(Filling* f, const Turned* column, Point row, double run, const Motion* motion,
                             floating base) noexcept nogil:
    cdef const RotatedRois* rois = f.rois
    cdef Samples* samples = f.samples
    cdef Landed at = landed(base, f.box, row, column.part, rois.height, rois.width)
    cdef double[4] weight
    cdef double[4][SLOPES] slope
    cdef double ly = at.y.part, lx = at.x.part
    cdef int64_t pixel
    cdef int corner, y, x, j
    if not at.hit:
        return
    run = run * column.run
    weight[0] = run * (1 - ly) * (1 - lx)
    weight[1] = run * (1 - ly) * lx
    weight[2] = run * ly * (1 - lx)
    weight[3] = run * ly * lx
    if rois.slopes:
        slopes_of(rois, f.box, &at, motion, column, slope)
    for corner in range(4):
        y = at.y.low + (0 if at.y.last else corner >> 1)
        x = at.x.low + (0 if at.x.last else corner & 1)
        if f.merge:
            pixel = (y - f.part.top) * <int64_t> (f.part.right - f.part.left) + x - f.part.left
            f.scratch.weight[pixel] += weight[corner]
            for j in range(rois.slopes):
                f.scratch.slope[pixel * rois.slopes + j] += run * slope[corner][j]
            continue
        samples.offset[f.at] = (y - f.window.top) * f.stride + x - f.window.left
        put(samples.weight, rois.double_, f.at, weight[corner] * f.factor)
        for j in range(rois.slopes):
            put(samples.slope, rois.double_, f.at * rois.slopes + j, run * slope[corner][j] * f.factor)
        f.at += 1


cdef inline void fill_bin(Filling* f, Span* down, floating base, int p, int columns_turned) noexcept nogil:
    # The samples of a bin in the columns that have been turned: onto the scratch, or to the taps.
    cdef const RotatedBox* box = f.box
    cdef floating local, size = <floating> box.bin_y
    cdef double index = down.first, following, run, share, count = box.count_y * box.count_x
    cdef Motion motion
    cdef Point row
    cdef int i
    while index <= down.last:
        following = next_position(base, size, down, index)
        local = position_at(base, size, down, index)
        row = row_turned(box, local)
        run = (min(following, down.last + 1) - index) / count
        share = down.count - 1 - index if down.mirrored else index
        motion.share = (p + (share + 0.5) / down.count) / f.rois.rows - 0.5
        motion.by_angle_y = -local * box.sin
        motion.by_angle_x = row.y
        index = following
        for i in range(columns_turned):
            if f.merge and not f.rois.slopes:
                merge_sample(f, f.scratch.column + i, row, run, base)
            else:
                note_sample(f, f.scratch.column + i, row, run, &motion, base)


cdef inline void fill_columns(Filling* f, Span* down, Span* along, int p, int q, floating base_y,
                              floating base_x) noexcept nogil:
    # The taps of a bin, or their sums so far, a few columns of samples at a time.
    cdef double index = along.first
    cdef int n
    while index <= along.last:
        n = turn_columns(f.box, along, base_x, q, f.rois.columns, &index, f.scratch.column)
        fill_bin(f, down, base_y, p, n)


cdef void collect(Filling* f) noexcept nogil:
    # What a merged bin left on the scratch becomes taps.
    cdef Samples* samples = f.samples
    cdef double* weight = f.scratch.weight
    cdef double* slope = f.scratch.slope
    cdef bint double_ = f.rois.double_
    cdef int64_t at = f.at
    cdef int row, column, j, slopes = f.rois.slopes
    for row in range(f.part.top - f.window.top, f.part.bottom - f.window.top):
        for column in range(f.part.left - f.window.left, f.part.right - f.window.left):
            if not signbit(weight[0]):
                samples.offset[at] = row * f.stride + column
                put(samples.weight, double_, at, weight[0] * f.factor)
                weight[0] = -0.0
                for j in range(slopes):
                    put(samples.slope, double_, at * slopes + j, slope[j] * f.factor)
                    slope[j] = 0
                at += 1
            weight += 1
            slope += slopes
    f.at = at


cdef inline double row_base(bint single, const RotatedBox* box, int p) noexcept nogil:
    return row_base_f(box, p) if single else row_base_d(box, p)


cdef inline double column_base(bint single, const RotatedBox* box, int q) noexcept nogil:
    return column_base_f(box, q) if single else column_base_d(box, q)


cdef inline Window on_map(const RotatedRois* rois, int64_t k) noexcept nogil:
    cdef const Window* window = rois.window + k
    return Window(top=window.top + rois.top, bottom=window.bottom + rois.top, left=window.left + rois.left,
                  right=window.right + rois.left)


cdef Window read_by_bin(const RotatedRois* rois, const RotatedBox* box, Run down, Run along, floating base_y,
                        floating base_x) noexcept nogil:
    # The pixels that the samples of a bin touch.
    cdef Window window = Window(top=0, bottom=0, left=0, right=0)
    cdef double row_index = down.span.first, index
    cdef Point row, column
    cdef Landed at
    while row_index <= down.span.last:
        row = row_turned(box, position_at(base_y, <floating> box.bin_y, &down.span, row_index))
        row_index = next_position(base_y, <floating> box.bin_y, &down.span, row_index)
        index = along.span.first
        while index <= along.span.last:
            column = column_turned(box, position_at(base_x, <floating> box.bin_x, &along.span, index))
            index = next_position(base_x, <floating> box.bin_x, &along.span, index)
            at = landed(base_y, box, row, column, rois.height, rois.width)
            if at.hit:
                window = joined(window, Window(top=at.y.low, bottom=at.y.low + (1 if at.y.last else 2),
                                               left=at.x.low, right=at.x.low + (1 if at.x.last else 2)))
    return window


cdef Window read_by_box(const RotatedRois* rois, int64_t k) noexcept nogil:
    # The pixels that the samples of a RoI touch, exactly; its window is an upper bound.
    cdef const RotatedBox* box = rois.box + k
    cdef Window window = Window(top=0, bottom=0, left=0, right=0), part
    cdef Run down, along
    cdef Point begins
    cdef int p, q
    if rois.window[k].bottom == rois.window[k].top:
        return window
    for p in range(rois.rows):
        for q in range(rois.columns):
            if rois.offsets != NULL:
                begins = begin_of(rois, box, rois.given[k], p, q)
                down, along = run_at(rois.single, box, begins.y, False), run_at(rois.single, box, begins.x, True)
            else:
                begins.y, begins.x = row_base(rois.single, box, p), column_base(rois.single, box, q)
                down, along = row_run(rois.single, box, p), column_run(rois.single, box, q)
            if down.span.first > down.span.last or along.span.first > along.span.last:
                continue
            if rois.single:
                part = read_by_bin(rois, box, down, along, <float> begins.y, <float> begins.x)
            else:
                part = read_by_bin(rois, box, down, along, begins.y, begins.x)
            if part.bottom > part.top:
                window = joined(window, part)
    return window


cdef void fill_box(const RotatedRois* rois, Samples* samples, int64_t k, int stride, Scratch* scratch) noexcept nogil:
    # The taps of one RoI.
    cdef const RotatedBox* box = rois.box + k
    cdef Window window = on_map(rois, k)
    cdef Filling f
    cdef Run down, along
    cdef Point begins
    cdef bint moved = rois.offsets != NULL
    cdef int64_t bin, begin, bins = rois.rows * <int64_t> rois.columns
    cdef int32_t* counts = samples.tap_count + (k - samples.first) * bins
    cdef int p, q
    f = Filling(rois=rois, box=box, window=window, samples=samples, scratch=scratch, stride=stride, merge=merged(box),
                part=window, at=rois.room[k] - rois.room[samples.first], factor=1)
    samples.tap_start[k - samples.first] = f.at
    for bin in range(bins):
        counts[bin] = 0
    if window.bottom == window.top:
        return
    for q in range(0 if moved else min(rois.columns, <int> KEPT_RUNS)):
        scratch.along[q] = column_run(rois.single, box, q)
    for p in range(rois.rows):
        if not moved:
            down = row_run(rois.single, box, p)
            if down.span.first > down.span.last:
                continue
            begins.y = row_base(rois.single, box, p)
        for q in range(rois.columns):
            bin = p * <int64_t> rois.columns + q
            if moved:
                begins = begin_of(rois, box, rois.given[k], p, q)
                down = run_at(rois.single, box, begins.y, False)
                if down.span.first > down.span.last:
                    continue
                along = run_at(rois.single, box, begins.x, True)
            else:
                along = scratch.along[q] if q < KEPT_RUNS else column_run(rois.single, box, q)
                begins.x = column_base(rois.single, box, q)
            if along.span.first > along.span.last:
                continue
            if f.merge:
                f.part = window_of(box, down.extent, along.extent, box.error, rois.height, rois.width)
                if f.part.bottom == f.part.top:
                    continue
            if rois.factor != NULL:
                f.factor = number_at(rois.factor, rois.single_factor, rois.given[k] * bins + bin)
            begin = f.at
            if rois.single:
                fill_columns(&f, &down.span, &along.span, p, q, <float> begins.y, <float> begins.x)
            else:
                fill_columns(&f, &down.span, &along.span, p, q, begins.y, begins.x)
            if f.merge:
                collect(&f)
            counts[bin] = <int32_t> (f.at - begin)
