"""The taps of the bins of one rotated box.

    box ──▶ rows and columns of samples, turned ──▶ pixels and weights of each sample ──▶ taps

In bins of a few samples each tap is a sample's. Of larger ones, samples on the same pixel merge: what they weigh is
summed on a scratch of the pixels around the bin, which then become taps, row by row.
"""

from cython cimport floating
from libc.math cimport isfinite, signbit
from libc.stdint cimport int32_t, int64_t

from roicy.cpu.tables.rois cimport Place, Window
from roicy.cpu.tables.rotated cimport (
    Reach, RotatedBox, Run, column_run, finite, reach_of, row_run, samples_in, window_of,
)
from roicy.cpu.tables.samples cimport Span, bin_base, next_position, position

cdef enum:
    PIECE = 512             # columns of samples that are turned at a time


cdef struct RotatedRois:
    # what the taps of a table are made from, RoIs in the order of the table
    const RotatedBox* box       # (K)
    const Window* window        # (K)
    const int64_t* room         # (K + 1) taps that there may be before this RoI
    int rows, columns           # of bins
    int height, width           # of the map
    double spatial_scale, turn  # turn: radians per unit of the angle, with its sign
    bint single                 # boxes are float32
    bint double_                # weights are double
    bint sloped                 # for the box gradient


cdef struct Turned:
    # one column of a bin's samples, turned: its part of their positions
    double y, x
    double share            # how far along the box, from its middle
    double run              # samples that lie there


cdef struct Scratch:
    # what the samples of a bin leave on the pixels around it, all of it as it was once the bin is done
    double* weight          # -0.0 where no sample was
    double* slope           # (pixels, SLOPES)
    Turned column[PIECE]


cdef struct Filling:
    # one RoI, while its taps are listed
    const RotatedRois* rois
    const RotatedBox* box
    const Window* window
    Samples* samples
    Scratch* scratch
    int stride              # pixels from a row to the next where the RoI's pixels are loaded
    bint merge              # samples on the same pixel are one tap
    Window part             # the pixels around the bin
    int64_t at              # the next tap


cdef struct Sample:
    # the pixels of one sample and their weights, and how these follow the box
    int row[2]
    int column[2]
    double part_y, part_x   # of the way from the first row and column to the second
    bint level_y, level_x   # whether the value there does not follow the position
    double weight[4]
    double slope[4][SLOPES]


cdef struct Motion:
    # how a sample's position follows the box's sides, and its angle
    double share_y, share_x
    double by_angle_y, by_angle_x


cdef inline bint merged(const RotatedBox* box) noexcept nogil:
    return box.count_y * box.count_x >= MERGED_FROM


cdef inline void join(Run* all, const Run* run, double* most) noexcept nogil:
    # The run of a bin joins those of the bins before; `most` is the largest number of samples.
    if run.span.first <= run.span.last:
        all.low = run.low if all.low > all.high else min(all.low, run.low)
        all.high = max(all.high, run.high) if most[0] else run.high
        most[0] = max(most[0], samples_in(&run.span))


cdef Window give_room(const RotatedRois* rois, const RotatedBox* box, floating sample, Place* place) noexcept nogil:
    # Returns the window of a RoI that has an image; the place gets room for its taps.
    cdef Window window = Window(top=0, bottom=0, left=0, right=0), part
    cdef Reach reach
    cdef Run run, down, along
    cdef double most_y = 0, most_x = 0, area
    cdef int p, q
    if not finite(box):
        return window
    reach = reach_of(box, sample, rois.height, rois.width)
    if not isfinite(reach.error):
        return window
    down.low = along.low = 0
    down.high = along.high = -1
    for p in range(rois.rows):
        run = row_run(box, &reach, sample, p)
        join(&down, &run, &most_y)
    for q in range(rois.columns):
        run = column_run(box, &reach, sample, q)
        join(&along, &run, &most_x)
    if most_y == 0 or most_x == 0:
        return window
    window = window_of(box, &down, &along, reach.error, rois.height, rois.width)
    if window.bottom == window.top:
        return window
    if not merged(box):
        place.room_y = <int64_t> (4 * most_y * most_x) * rois.rows * rois.columns
        return window
    for p in range(rois.rows):
        down = row_run(box, &reach, sample, p)
        if down.span.first > down.span.last:
            continue
        for q in range(rois.columns):
            along = column_run(box, &reach, sample, q)
            if along.span.first <= along.span.last:
                part = window_of(box, &down, &along, reach.error, rois.height, rois.width)
                area = (part.bottom - part.top) * <double> (part.right - part.left)
                place.extent = max(place.extent, <int64_t> area)
                place.room_y += <int64_t> min(area, 4 * samples_in(&down.span) * samples_in(&along.span))
    return window


cdef inline void put(void* target, bint double_, int64_t i, double value) noexcept nogil:
    if double_:
        (<double*> target)[i] = value
    else:
        (<float*> target)[i] = <float> value


cdef inline void slopes_of(const RotatedRois* rois, const RotatedBox* box, const Motion* motion,
                           Sample* sample) noexcept nogil:
    cdef double y, x, ly = sample.part_y, lx = sample.part_x, scale = rois.spatial_scale
    cdef int corner
    for corner in range(4):
        y = 0 if sample.level_y else (lx if corner & 1 else 1 - lx) * (1 if corner & 2 else -1)
        x = 0 if sample.level_x else (ly if corner & 2 else 1 - ly) * (1 if corner & 1 else -1)
        sample.slope[corner][0] = x * scale
        sample.slope[corner][1] = y * scale
        sample.slope[corner][2] = 0 if box.unit_x else motion.share_x * scale * (x * box.cos - y * box.sin)
        sample.slope[corner][3] = 0 if box.unit_y else motion.share_y * scale * (x * box.sin + y * box.cos)
        sample.slope[corner][4] = rois.turn * (x * motion.by_angle_x + y * motion.by_angle_y)


cdef inline bint locate(floating* place, int length, int* low, int* high) noexcept nogil:
    # The pixels around a position that hits the map; whether the value there does not follow the position.
    cdef bint level = place[0] < 0
    if level:
        place[0] = 0
    low[0] = <int> place[0]
    high[0] = low[0] + 1
    if low[0] >= length - 1:
        low[0] = high[0] = length - 1
        place[0] = <floating> low[0]
        return True
    return level


cdef inline int turn_columns(const RotatedBox* box, Span* span, floating base, int q, int bins, double* index,
                             Turned* column) noexcept nogil:
    # The next columns of samples from `index` on, as many as there is room for; returns how many.
    cdef floating local, product
    cdef double following, sample
    cdef int n = 0
    while index[0] <= span.last and n < PIECE:
        following = next_position(base, <floating> box.bin_x, span, index[0])
        local = position(base, <floating> box.bin_x, span, index[0])
        product = local * <floating> box.sin
        column[n].y = product
        product = local * <floating> box.cos
        column[n].x = product
        column[n].run = min(following, span.last + 1) - index[0]
        sample = span.count - 1 - index[0] if span.mirrored else index[0]
        column[n].share = (q + (sample + 0.5) / span.count) / bins - 0.5
        index[0] = following
        n += 1
    return n


cdef inline void merge_sample(const Filling* f, const Turned* turned, floating turned_y, floating turned_x,
                              double run) noexcept nogil:
    cdef const RotatedRois* rois = f.rois
    cdef floating y = turned_y - <floating> turned.y, x = turned_x + <floating> turned.x
    cdef double ly, lx, above, below
    cdef int64_t down = f.part.right - f.part.left, right = 1
    cdef int row, column
    cdef double* pixel
    y = y + <floating> f.box.cy
    x = x + <floating> f.box.cx
    if not (y >= -1 and y <= rois.height and x >= -1 and x <= rois.width):
        return
    y = max(y, <floating> 0)
    x = max(x, <floating> 0)
    row = <int> y
    column = <int> x
    ly = y - row
    lx = x - column
    if row >= rois.height - 1:
        row = rois.height - 1
        ly = 0
        down = 0
    if column >= rois.width - 1:
        column = rois.width - 1
        lx = 0
        right = 0
    run = run * turned.run
    below = run * ly
    above = run - below
    pixel = f.scratch.weight + (row - f.part.top) * <int64_t> (f.part.right - f.part.left) + column - f.part.left
    pixel[0] += above - above * lx
    pixel[right] += above * lx
    pixel[down] += below - below * lx
    pixel[down + right] += below * lx


cdef void note_sample(Filling* f, const Turned* turned, floating turned_y, floating turned_x, double run, double share,
                      double by_angle_y) noexcept nogil:
    cdef const RotatedRois* rois = f.rois
    cdef Samples* samples = f.samples
    cdef Sample sample
    cdef Motion motion
    cdef floating y = turned_y - <floating> turned.y, x = turned_x + <floating> turned.x
    cdef double ly, lx
    cdef int64_t pixel
    cdef int corner, j
    y = y + <floating> f.box.cy
    x = x + <floating> f.box.cx
    if not (y >= -1 and y <= rois.height and x >= -1 and x <= rois.width):
        return
    sample.level_y = locate(&y, rois.height, &sample.row[0], &sample.row[1])
    sample.level_x = locate(&x, rois.width, &sample.column[0], &sample.column[1])
    sample.part_y = ly = y - sample.row[0]
    sample.part_x = lx = x - sample.column[0]
    run = run * turned.run
    sample.weight[0] = run * (1 - ly) * (1 - lx)
    sample.weight[1] = run * (1 - ly) * lx
    sample.weight[2] = run * ly * (1 - lx)
    sample.weight[3] = run * ly * lx
    if rois.sloped:
        motion = Motion(share_y=share, share_x=turned.share, by_angle_y=by_angle_y - turned.x,
                        by_angle_x=turned_y - turned.y)
        slopes_of(rois, f.box, &motion, &sample)
    for corner in range(4):
        if f.merge:
            pixel = ((sample.row[corner >> 1] - f.part.top) * <int64_t> (f.part.right - f.part.left)
                     + sample.column[corner & 1] - f.part.left)
            f.scratch.weight[pixel] += sample.weight[corner]
            for j in range(SLOPES):
                f.scratch.slope[pixel * SLOPES + j] += run * sample.slope[corner][j]
            continue
        samples.offset[f.at] = ((sample.row[corner >> 1] - f.window.top) * f.stride
                                + sample.column[corner & 1] - f.window.left)
        put(samples.weight, rois.double_, f.at, sample.weight[corner])
        if rois.sloped:
            for j in range(SLOPES):
                put(samples.slope, rois.double_, f.at * SLOPES + j, run * sample.slope[corner][j])
        f.at += 1


cdef inline void fill_bin(Filling* f, Run* down, floating base_y, int p, int columns_turned) noexcept nogil:
    # The samples of a bin in the columns that have been turned: onto the scratch, or to the taps.
    cdef const RotatedBox* box = f.box
    cdef Span* span = &down.span
    cdef floating local, turned_y, turned_x
    cdef double index = span.first, following, run, share, count = box.count_y * box.count_x
    cdef int i
    while index <= span.last:
        following = next_position(base_y, <floating> box.bin_y, span, index)
        local = position(base_y, <floating> box.bin_y, span, index)
        turned_y = local * <floating> box.cos
        turned_x = local * <floating> box.sin
        run = (min(following, span.last + 1) - index) / count
        share = span.count - 1 - index if span.mirrored else index
        share = (p + (share + 0.5) / span.count) / f.rois.rows - 0.5
        index = following
        for i in range(columns_turned):
            if f.merge and not f.rois.sloped:
                merge_sample(f, f.scratch.column + i, turned_y, turned_x, run)
            else:
                note_sample(f, f.scratch.column + i, turned_y, turned_x, run, share, -local * box.sin)


cdef void collect(Filling* f) noexcept nogil:
    # What a merged bin left on the scratch becomes taps.
    cdef Samples* samples = f.samples
    cdef double* weight = f.scratch.weight
    cdef double* slope = f.scratch.slope
    cdef bint double_ = f.rois.double_
    cdef int64_t at = f.at
    cdef int row, column, j
    for row in range(f.part.top - f.window.top, f.part.bottom - f.window.top):
        for column in range(f.part.left - f.window.left, f.part.right - f.window.left):
            if not signbit(weight[0]):
                samples.offset[at] = row * f.stride + column
                put(samples.weight, double_, at, weight[0])
                weight[0] = -0.0
                if f.rois.sloped:
                    for j in range(SLOPES):
                        put(samples.slope, double_, at * SLOPES + j, slope[j])
                        slope[j] = 0
                at += 1
            weight += 1
            slope += SLOPES
    f.at = at


cdef void fill_box(const RotatedRois* rois, Samples* samples, int64_t k, floating sample, int stride,
                   Scratch* scratch) noexcept nogil:
    # The taps of one RoI.
    cdef const RotatedBox* box = rois.box + k
    cdef const Window* window = rois.window + k
    cdef Filling f
    cdef Reach reach
    cdef Run down, along
    cdef floating base_y, base_x
    cdef double index
    cdef int64_t bin, begin, bins = rois.rows * <int64_t> rois.columns
    cdef int32_t* counts = samples.tap_count + (k - samples.first) * bins
    cdef int p, q, n
    f = Filling(rois=rois, box=box, window=window, samples=samples, scratch=scratch, stride=stride, merge=merged(box),
                part=window[0], at=rois.room[k] - rois.room[samples.first])
    samples.tap_start[k - samples.first] = f.at
    for bin in range(bins):
        counts[bin] = 0
    if window.bottom == window.top:
        return
    reach = reach_of(box, sample, rois.height, rois.width)
    for p in range(rois.rows):
        down = row_run(box, &reach, sample, p)
        if down.span.first > down.span.last:
            continue
        base_y = bin_base(<floating> box.start_y, <floating> box.bin_y, p)
        for q in range(rois.columns):
            along = column_run(box, &reach, sample, q)
            if along.span.first > along.span.last:
                continue
            if f.merge:
                f.part = window_of(box, &down, &along, reach.error, rois.height, rois.width)
                if f.part.bottom == f.part.top:
                    continue
            base_x = bin_base(<floating> box.start_x, <floating> box.bin_x, q)
            begin = f.at
            index = along.span.first
            while index <= along.span.last:
                n = turn_columns(box, &along.span, base_x, q, rois.columns, &index, scratch.column)
                fill_bin(&f, &down, base_y, p, n)
            if f.merge:
                collect(&f)
            counts[p * <int64_t> rois.columns + q] = <int32_t> (f.at - begin)
