"""Sample tables: which pixels each bin of a rotated box averages, and with what weights.

Turned samples lie on no grid of rows and columns, so every bin has a list of pixels of its own::

    box ──▶ sample positions ──▶ bin (p, q): (pixel, weight) (pixel, weight) ...
                                 samples on the same pixel merge, weights are divided by the count

Positions are computed in the boxes' own dtype, in the operation order of Caffe2 and detectron2 and without contraction,
so that sample positions, grid counts and out-of-range decisions are the same bits. Along either axis of the box only
samples that can reach the map are visited, found by bisection: no box, however large, costs more than the map.

Lists can be long. They are held for as many RoIs at a time as fit into a fixed amount of memory, a chunk.
"""

from cython cimport floating
from libc.math cimport M_PI, ceil, cos, fabs, floor, isfinite, signbit, sin
from libc.stdint cimport uint8_t, uint32_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset

cimport numpy as cnp

from roicy.cpu.runtime.checks cimport CHECKED, FENCE_BYTES, check_inside, fence
from roicy.cpu.runtime.memory cimport borrow, bytes_of, give_back, most_bytes
from roicy.cpu.runtime.parallel cimport run_pieces
from roicy.cpu.tables.rois cimport MANY, PILE, Place, Window
from roicy.cpu.tables.samples cimport Span, bin_base, bisect, next_position, position, scaled

cnp.import_array()

cdef enum:
    PIECE = 512                 # columns of samples that are turned at a time
    ROIS_OF_A_PIECE = 8

# Bytes of the taps that are held at a time.
cdef int64_t chunk_bytes = 3 << 23
# RoIs for each thread that fills a table.
cdef Py_ssize_t ROIS_OF_A_THREAD = 16
# Loading each RoI alone pays while their windows hold less than this part of the map's pixels in use.
cdef double ALONE_SHARE = 0.7


# ---- geometry ---


cdef struct Reach:
    # the part of a RoI's own axes from which the map can be reached, and what rounding may move a sample by
    double low_y, high_y, low_x, high_x, error


cdef struct Run:
    # samples of one bin along one axis of the box
    double low, high        # positions of the first and last one that can reach the map
    Span span


cdef inline double coarseness(floating sample) noexcept nogil:
    # The distance from 1 to the next number.
    return 1.1920929e-07 if floating is float else 2.220446049250313e-16


cdef RotatedBox box_of(const floating* row, double spatial_scale, int sampling_ratio, bint aligned, bint degrees,
                       bint clockwise, int rows, int columns) noexcept nogil:
    cdef RotatedBox box
    cdef floating scale = <floating> spatial_scale
    cdef floating offset = <floating> 0.5 if aligned else <floating> 0
    cdef floating width = row[2] * scale, height = row[3] * scale, angle, bin_size
    angle = <floating> (row[4] * M_PI / 180.0) if degrees else row[4]
    if clockwise:
        angle = -angle
    box.unit_x = not aligned and width < 1
    box.unit_y = not aligned and height < 1
    if box.unit_x:
        width = 1
    if box.unit_y:
        height = 1
    box.cx = scaled(row[0], scale, offset)
    box.cy = scaled(row[1], scale, offset)
    box.cos = <floating> cos(angle)
    box.sin = <floating> sin(angle)
    box.start_x = -width / 2
    box.start_y = -height / 2
    bin_size = width / <floating> columns
    box.bin_x = bin_size
    box.count_x = sampling_ratio if sampling_ratio > 0 else ceil(bin_size)
    bin_size = height / <floating> rows
    box.bin_y = bin_size
    box.count_y = sampling_ratio if sampling_ratio > 0 else ceil(bin_size)
    return box


cdef bint finite(RotatedBox* box) noexcept nogil:
    return (isfinite(box.cx) and isfinite(box.cy) and isfinite(box.start_x) and isfinite(box.start_y)
            and isfinite(box.bin_x) and isfinite(box.bin_y) and box.count_x >= 1 and box.count_y >= 1)


cdef Reach reach_of(RotatedBox* box, floating sample, int height, int width) noexcept nogil:
    # The map's corners, turned back into the box's axes. A sample that is computed to hit the map lies no further from
    # its centre than the map does.
    cdef Reach reach
    cdef double top, bottom, left, right, y, x, far = height + width + 2 + fabs(box.cx) + fabs(box.cy)
    cdef int corner
    reach.error = 16 * coarseness(sample) * far
    top = -1 - reach.error - box.cy
    bottom = height + reach.error - box.cy
    left = -1 - reach.error - box.cx
    right = width + reach.error - box.cx
    for corner in range(4):
        y = (bottom if corner & 1 else top) * box.cos + (right if corner & 2 else left) * box.sin
        x = (right if corner & 2 else left) * box.cos - (bottom if corner & 1 else top) * box.sin
        if corner == 0:
            reach.low_y = reach.high_y = y
            reach.low_x = reach.high_x = x
        reach.low_y, reach.high_y = min(reach.low_y, y), max(reach.high_y, y)
        reach.low_x, reach.high_x = min(reach.low_x, x), max(reach.high_x, x)
    reach.low_y -= reach.error
    reach.high_y += reach.error
    reach.low_x -= reach.error
    reach.high_x += reach.error
    return reach


cdef inline Run run_of(floating base, floating bin_size, double count, double low, double high) noexcept nogil:
    # The samples with positions in [low, high]; first > last where there are none.
    cdef Run run
    cdef Span* span = &run.span
    cdef double last = count - 1
    span.count = count
    span.mirrored = bin_size < 0
    span.first = 0
    span.last = -1
    run.low = run.high = 0
    if position(base, bin_size, span, last) < low or position(base, bin_size, span, 0) > high:
        return run
    if position(base, bin_size, span, 0) < low:
        span.first = bisect(base, bin_size, span, 0, last, <floating> low, False)
    if position(base, bin_size, span, last) <= high:
        span.last = last
    else:
        span.last = bisect(base, bin_size, span, 0, last, <floating> high, True) - 1
    if span.first <= span.last:
        run.low = position(base, bin_size, span, span.first)
        run.high = position(base, bin_size, span, span.last)
    return run


cdef inline Run row_run(RotatedBox* box, Reach* reach, floating sample, int p) noexcept nogil:
    return run_of(bin_base(<floating> box.start_y, <floating> box.bin_y, p), <floating> box.bin_y, box.count_y,
                  reach.low_y, reach.high_y)


cdef inline Run column_run(RotatedBox* box, Reach* reach, floating sample, int q) noexcept nogil:
    return run_of(bin_base(<floating> box.start_x, <floating> box.bin_x, q), <floating> box.bin_x, box.count_x,
                  reach.low_x, reach.high_x)


cdef inline int clipped(double value, int length) noexcept nogil:
    return <int> min(max(value, 0.0), <double> length)


cdef Window window_of(RotatedBox* box, double low_y, double high_y, double low_x, double high_x, double error,
                      int height, int width) noexcept nogil:
    # The pixels that samples in this part of the box can touch.
    cdef Window window
    cdef double along_y = min(low_y * box.cos, high_y * box.cos), along_x = min(low_y * box.sin, high_y * box.sin)
    cdef double top = along_y - max(low_x * box.sin, high_x * box.sin) + box.cy - error
    cdef double left = along_x + min(low_x * box.cos, high_x * box.cos) + box.cx - error
    cdef double bottom = (max(low_y * box.cos, high_y * box.cos) - min(low_x * box.sin, high_x * box.sin) + box.cy
                          + error)
    cdef double right = (max(low_y * box.sin, high_y * box.sin) + max(low_x * box.cos, high_x * box.cos) + box.cx
                         + error)
    window = Window(top=0, bottom=0, left=0, right=0)
    if bottom >= -1 and top <= height and right >= -1 and left <= width and height and width:
        window.top = clipped(floor(top), height - 1)
        window.bottom = clipped(floor(max(bottom, 0.0)) + 2, height)
        window.left = clipped(floor(left), width - 1)
        window.right = clipped(floor(max(right, 0.0)) + 2, width)
        window.bottom = max(window.bottom, window.top + 1)
        window.right = max(window.right, window.left + 1)
    return window


cdef inline double samples_in(Span* span) noexcept nogil:
    return span.last - span.first + 1 if span.last >= span.first else 0


cdef bint merged(RotatedBox* box) noexcept nogil:
    return box.count_y * box.count_x >= MERGED_FROM


cdef Place place_of(RotatedBox* box, floating sample, int64_t image, int64_t roi, int rows, int columns, int height,
                    int width, Window* window) noexcept nogil:
    # The RoI's window, and room for its taps.
    cdef Place place = Place(image=image, row=0, column=0, roi=roi, room_y=0, room_x=0, extent=0)
    cdef Reach reach
    cdef Run run
    cdef Window part
    cdef double low_y = 0, high_y = -1, low_x = 0, high_x = -1, most_y = 0, most_x = 0, area
    cdef int p, q
    window[0] = Window(top=0, bottom=0, left=0, right=0)
    if image < 0 or not finite(box):
        return place
    reach = reach_of(box, sample, height, width)
    if not isfinite(reach.error):
        return place
    for p in range(rows):
        run = row_run(box, &reach, sample, p)
        if run.span.first <= run.span.last:
            low_y = run.low if low_y > high_y else min(low_y, run.low)
            high_y = max(high_y, run.high) if most_y else run.high
            most_y = max(most_y, samples_in(&run.span))
    for q in range(columns):
        run = column_run(box, &reach, sample, q)
        if run.span.first <= run.span.last:
            low_x = run.low if low_x > high_x else min(low_x, run.low)
            high_x = max(high_x, run.high) if most_x else run.high
            most_x = max(most_x, samples_in(&run.span))
    if most_y == 0 or most_x == 0:
        return place
    window[0] = window_of(box, low_y, high_y, low_x, high_x, reach.error, height, width)
    if window.bottom == window.top:
        return place
    if not merged(box):
        place.room_y = <int64_t> (4 * most_y * most_x) * rows * columns
        return place
    for p in range(rows):
        run = row_run(box, &reach, sample, p)
        if run.span.first > run.span.last:
            continue
        low_y, high_y, most_y = run.low, run.high, samples_in(&run.span)
        for q in range(columns):
            run = column_run(box, &reach, sample, q)
            if run.span.first <= run.span.last:
                part = window_of(box, low_y, high_y, run.low, run.high, reach.error, height, width)
                area = (part.bottom - part.top) * <double> (part.right - part.left)
                place.extent = max(place.extent, <int64_t> area)
                place.room_y += <int64_t> min(area, 4 * most_y * samples_in(&run.span))
    return place


# ---- taps ---


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


cdef inline void put(void* target, bint double_, int64_t i, double value) noexcept nogil:
    if double_:
        (<double*> target)[i] = value
    else:
        (<float*> target)[i] = <float> value


cdef struct Sample:
    # the pixels of one sample and their weights, and how the position follows the box and the weights the position
    int row[2]
    int column[2]
    double weight[4]
    double slope[4][SLOPES]


cdef inline void slopes_of(SampleTable table, RotatedBox* box, Sample* sample, double ly, double lx, bint level_y,
                           bint level_x, double share_y, double share_x, double by_angle_y,
                           double by_angle_x) noexcept nogil:
    cdef double y, x, scale = table.spatial_scale
    cdef int corner
    for corner in range(4):
        y = 0 if level_y else (lx if corner & 1 else 1 - lx) * (1 if corner & 2 else -1)
        x = 0 if level_x else (ly if corner & 2 else 1 - ly) * (1 if corner & 1 else -1)
        sample.slope[corner][0] = x * scale
        sample.slope[corner][1] = y * scale
        sample.slope[corner][2] = 0 if box.unit_x else share_x * scale * (x * box.cos - y * box.sin)
        sample.slope[corner][3] = 0 if box.unit_y else share_y * scale * (x * box.sin + y * box.cos)
        sample.slope[corner][4] = table.turn * (x * by_angle_x + y * by_angle_y)


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


cdef inline int turn_columns(RotatedBox* box, Span* span, floating base, int q, int bins, double* index,
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


cdef int64_t fill_bin(SampleTable table, Samples* samples, int64_t k, RotatedBox* box, Run* down, floating base_y,
                      int p, int columns_turned, const Window* part, int stride, bint merge, Scratch* scratch,
                      int64_t at) noexcept nogil:
    # The samples of a bin in the columns that have been turned. Merging: onto the scratch, else from tap `at` on.
    cdef floating local, turned_y, turned_x
    cdef double index = down.span.first, following, run, share, count = box.count_y * box.count_x
    cdef int i
    while index <= down.span.last:
        following = next_position(base_y, <floating> box.bin_y, &down.span, index)
        local = position(base_y, <floating> box.bin_y, &down.span, index)
        turned_y = local * <floating> box.cos
        turned_x = local * <floating> box.sin
        run = (min(following, down.span.last + 1) - index) / count
        share = down.span.count - 1 - index if down.span.mirrored else index
        share = (p + (share + 0.5) / down.span.count) / table.rows - 0.5
        index = following
        for i in range(columns_turned):
            if merge and not table.sloped:
                merge_sample(table, box, scratch.column + i, turned_y, turned_x, run, part, scratch.weight)
            else:
                at = note_sample(table, samples, table.window + k, box, scratch.column + i, turned_y, turned_x, run,
                                 share, -local * box.sin, part, stride, merge, scratch, at)
    return at


cdef inline void merge_sample(SampleTable table, RotatedBox* box, Turned* turned, floating turned_y, floating turned_x,
                              double run, const Window* part, double* weight) noexcept nogil:
    cdef floating y = turned_y - <floating> turned.y, x = turned_x + <floating> turned.x
    cdef double ly, lx, above, below
    cdef int64_t down = part.right - part.left, right = 1
    cdef int row, column
    cdef double* pixel
    y = y + <floating> box.cy
    x = x + <floating> box.cx
    if not (y >= -1 and y <= table.height and x >= -1 and x <= table.width):
        return
    y = max(y, <floating> 0)
    x = max(x, <floating> 0)
    row = <int> y
    column = <int> x
    ly = y - row
    lx = x - column
    if row >= table.height - 1:
        row = table.height - 1
        ly = 0
        down = 0
    if column >= table.width - 1:
        column = table.width - 1
        lx = 0
        right = 0
    run = run * turned.run
    below = run * ly
    above = run - below
    pixel = weight + (row - part.top) * <int64_t> (part.right - part.left) + column - part.left
    pixel[0] += above - above * lx
    pixel[right] += above * lx
    pixel[down] += below - below * lx
    pixel[down + right] += below * lx


cdef int64_t note_sample(SampleTable table, Samples* samples, const Window* window, RotatedBox* box, Turned* turned,
                         floating turned_y, floating turned_x, double run, double share, double by_angle_y,
                         const Window* part, int stride, bint merge, Scratch* scratch, int64_t at) noexcept nogil:
    cdef Sample sample
    cdef floating y = turned_y - <floating> turned.y, x = turned_x + <floating> turned.x
    cdef double ly, lx
    cdef int64_t pixel
    cdef int corner, j
    cdef bint level_y, level_x
    y = y + <floating> box.cy
    x = x + <floating> box.cx
    if not (y >= -1 and y <= table.height and x >= -1 and x <= table.width):
        return at
    level_y = locate(&y, table.height, &sample.row[0], &sample.row[1])
    level_x = locate(&x, table.width, &sample.column[0], &sample.column[1])
    ly = y - sample.row[0]
    lx = x - sample.column[0]
    run = run * turned.run
    sample.weight[0] = run * (1 - ly) * (1 - lx)
    sample.weight[1] = run * (1 - ly) * lx
    sample.weight[2] = run * ly * (1 - lx)
    sample.weight[3] = run * ly * lx
    if table.sloped:
        slopes_of(table, box, &sample, ly, lx, level_y, level_x, share, turned.share, by_angle_y - turned.x,
                  turned_y - turned.y)
    for corner in range(4):
        if merge:
            pixel = ((sample.row[corner >> 1] - part.top) * <int64_t> (part.right - part.left)
                     + sample.column[corner & 1] - part.left)
            scratch.weight[pixel] += sample.weight[corner]
            for j in range(SLOPES):
                scratch.slope[pixel * SLOPES + j] += run * sample.slope[corner][j]
            continue
        samples.offset[at] = ((sample.row[corner >> 1] - window.top) * stride
                              + sample.column[corner & 1] - window.left)
        put(samples.weight, table.double, at, sample.weight[corner])
        if table.sloped:
            for j in range(SLOPES):
                put(samples.slope, table.double, at * SLOPES + j, run * sample.slope[corner][j])
        at += 1
    return at


cdef int64_t collect(SampleTable table, Samples* samples, int64_t k, const Window* part, int stride, Scratch* scratch,
                     int64_t at) noexcept nogil:
    # What a merged bin left on the scratch becomes taps.
    cdef Window* window = table.window + k
    cdef double* weight = scratch.weight
    cdef double* slope = scratch.slope
    cdef int row, column, j
    for row in range(part.top - window.top, part.bottom - window.top):
        for column in range(part.left - window.left, part.right - window.left):
            if not signbit(weight[0]):
                samples.offset[at] = row * stride + column
                put(samples.weight, table.double, at, weight[0])
                weight[0] = -0.0
                if table.sloped:
                    for j in range(SLOPES):
                        put(samples.slope, table.double, at * SLOPES + j, slope[j])
                        slope[j] = 0
                at += 1
            weight += 1
            slope += SLOPES
    return at


cdef void fill_box(SampleTable table, Samples* samples, int64_t k, floating sample, int stride,
                   Scratch* scratch) noexcept nogil:
    # The taps of one RoI.
    cdef RotatedBox* box = table.box + k
    cdef Window* window = table.window + k
    cdef Window part
    cdef Reach reach
    cdef Run down, along
    cdef floating base_y, base_x
    cdef double index
    cdef int64_t at = table.room[k] - table.room[samples.first], begin
    cdef int32_t* counts = samples.tap_count + (k - samples.first) * table.rows * table.columns
    cdef int64_t bin
    cdef int p, q, n
    cdef bint merge
    samples.tap_start[k - samples.first] = at
    for bin in range(table.rows * <int64_t> table.columns):
        counts[bin] = 0
    if window.bottom == window.top:
        return
    reach = reach_of(box, sample, table.height, table.width)
    merge = merged(box)
    for p in range(table.rows):
        down = row_run(box, &reach, sample, p)
        if down.span.first > down.span.last:
            continue
        base_y = bin_base(<floating> box.start_y, <floating> box.bin_y, p)
        for q in range(table.columns):
            along = column_run(box, &reach, sample, q)
            if along.span.first > along.span.last:
                continue
            part = window[0]
            if merge:
                part = window_of(box, down.low, down.high, along.low, along.high, reach.error, table.height,
                                 table.width)
                if part.bottom == part.top:
                    continue
            base_x = bin_base(<floating> box.start_x, <floating> box.bin_x, q)
            begin = at
            index = along.span.first
            while index <= along.span.last:
                n = turn_columns(box, &along.span, base_x, q, table.columns, &index, scratch.column)
                at = fill_bin(table, samples, k, box, &down, base_y, p, n, &part, stride, merge, scratch, at)
            if merge:
                at = collect(table, samples, k, &part, stride, scratch, at)
            counts[p * <int64_t> table.columns + q] = <int32_t> (at - begin)


# ---- the table ---


def hold(int64_t size):
    """Set how many bytes of taps tables hold at a time."""
    global chunk_bytes
    chunk_bytes = size


cdef class SampleTable(RoiTable):
    """The geometry of K rotated RoIs, and their taps where all of them fit into one chunk; RoIs by bands of their last
    rows (of their first ones for the adjoint).

    Parameters
    ----------
    boxes : ndarray, (K, 5) or (K, 6), float32 or float64, C-contiguous
        Centre, width, height and angle; with six columns the batch index comes first.
    images : ndarray, (K,), int64, C-contiguous, or None with six columns
        Batch indices.
    input_shape : tuple of int
        N, C, H, W.
    output_size : tuple of int
        Output rows and columns.
    spatial_scale, sampling_ratio, aligned, clockwise
        As in `roicy.roi_align_rotated`.
    degrees : bool
        Whether angles are in degrees, else in radians.
    accumulate : {"float32", "float64"}
        Type of the weights.
    purpose : {"forward", "backward", "backward_rois"}
        What the table is for.
    threads : int
        Threads that may be used.
    """

    def __cinit__(self, cnp.ndarray boxes, images, input_shape, output_size, double spatial_scale, int sampling_ratio,
                  bint aligned, bint degrees, bint clockwise, str accumulate, str purpose, int threads):
        cdef int columns = <int> cnp.PyArray_DIM(boxes, 1)
        cdef bint by_first_row = purpose == "backward"
        cdef int64_t* image
        self.describe(input_shape, output_size, accumulate, boxes)
        if self.height * <int64_t> self.width > 0x7fffffff:
            raise ValueError(f"features must have at most 2147483647 pixels a plane, got {self.height} x {self.width}")
        self.sloped = purpose == "backward_rois"
        self.spreading = by_first_row
        self.single = cnp.PyArray_TYPE(boxes) == cnp.NPY_FLOAT32
        self.spatial_scale = spatial_scale
        self.turn = (-1 if clockwise else 1) * (M_PI / 180 if degrees else 1)
        image = self.find_images(boxes, images)
        if self.single:
            note_boxes(self, <const float*> cnp.PyArray_DATA(boxes), columns, image, sampling_ratio, aligned, degrees,
                       clockwise, by_first_row, threads)
        else:
            note_boxes(self, <const double*> cnp.PyArray_DATA(boxes), columns, image, sampling_ratio, aligned, degrees,
                       clockwise, by_first_row, threads)
        divide(self, by_first_row)
        if self.spreading:
            prepare_to_count(self)
        if self.chunks == 1:
            lay_out(self, &self.samples, self.rois, self.room[self.rois], NULL)
            fill_chunk(self, &self.samples, 0, Bench(self, self.rois, threads))

    cdef int stride(self, int64_t image, int64_t k) noexcept nogil:
        # Pixels from a row to the next where the RoI's pixels are loaded.
        return self.window[k].right - self.window[k].left if self.alone else self.tile_columns[image]


cdef int prepare_to_count(SampleTable table) except -1:
    cdef int64_t k
    table.first_row = table.height
    table.last_row = 0
    for k in range(table.rois):
        if table.window[k].bottom > table.window[k].top:
            table.first_row = min(table.first_row, table.window[k].top)
            table.last_row = max(table.last_row, table.window[k].bottom)
    table.first_row = min(table.first_row, table.last_row)
    table.held = <uint32_t*> table.reserve((table.last_row - table.first_row) * <size_t> table.width,
                                           sizeof(uint32_t))
    return 0


cdef struct Noting:
    # what a table's boxes are noted from; box k is at `boxes` + k * columns
    void* table
    const void* boxes
    bint single             # boxes are float32
    int columns
    int64_t rois
    const int64_t* image
    int sampling_ratio
    bint aligned, degrees, clockwise, by_first_row
    RotatedBox* box
    Window* window
    Place* places


cdef int note_boxes(SampleTable table, const floating* boxes, int columns, const int64_t* image, int sampling_ratio,
                    bint aligned, bint degrees, bint clockwise, bint by_first_row, int threads) except -1:
    cdef int64_t count = table.rois, k, i
    cdef Place* places = <Place*> table.reserve(count, sizeof(Place))
    cdef Window* given = <Window*> table.reserve(count, sizeof(Window))
    cdef RotatedBox* box = <RotatedBox*> table.reserve(count, sizeof(RotatedBox))
    cdef double* cost = <double*> table.reserve(count, sizeof(double))
    cdef Window* window
    cdef Noting noting
    table.box = <RotatedBox*> table.reserve(count, sizeof(RotatedBox))
    table.window = <Window*> table.reserve(count, sizeof(Window))
    table.room = <int64_t*> table.reserve(count + 1, sizeof(int64_t))
    noting = Noting(
        table=<void*> table, boxes=boxes + columns - 5, single=floating is float, columns=columns, rois=count,
        image=image, sampling_ratio=sampling_ratio, aligned=aligned, degrees=degrees, clockwise=clockwise,
        by_first_row=by_first_row, box=box, window=given, places=places,
    )
    run_pieces(note_piece, &noting, (count + ROIS_OF_A_PIECE - 1) // ROIS_OF_A_PIECE,
               <int> min(threads, count // ROIS_OF_A_THREAD + 1))
    table.arrange(places)
    table.room[0] = 0
    table.widest = table.tallest = 0
    for k in range(count):
        table.box[k] = box[places[k].roi]
        table.window[k] = given[places[k].roi]
        table.room[k + 1] = table.room[k] + places[k].room_y
        table.most_pixels = max(table.most_pixels, places[k].extent)
        window = table.window + k
        cost[k] = (window.bottom - window.top) * <double> (window.right - window.left)
        table.tallest = max(table.tallest, window.bottom - window.top)
        table.widest = max(table.widest, window.right - window.left)
    table.summarise(image, cost)
    table.work = max(table.work, <double> table.room[count])
    table.tile_left = <int32_t*> table.reserve(table.images, sizeof(int32_t))
    table.tile_columns = <int32_t*> table.reserve(table.images, sizeof(int32_t))
    for i in range(table.images):
        table.tile_left[i] = table.width
        table.tile_columns[i] = 0
        for k in range(table.image_start[i], table.image_start[i + 1]):
            if table.window[k].bottom > table.window[k].top:
                table.tile_left[i] = min(table.tile_left[i], table.window[k].left)
                table.tile_columns[i] = max(table.tile_columns[i], table.window[k].right)
        table.tile_columns[i] = max(0, table.tile_columns[i] - table.tile_left[i])
    return 0


cdef void note_piece(void* settled, int64_t number, int thread) noexcept nogil:
    cdef Noting* n = <Noting*> settled
    cdef int64_t k
    for k in range(number * ROIS_OF_A_PIECE, min(n.rois, (number + 1) * ROIS_OF_A_PIECE)):
        if n.single:
            note_box(<SampleTable> n.table, <const float*> n.boxes + k * n.columns, k, n)
        else:
            note_box(<SampleTable> n.table, <const double*> n.boxes + k * n.columns, k, n)


cdef void note_box(SampleTable table, const floating* row, int64_t roi, Noting* n) noexcept nogil:
    cdef Window* window = n.window + roi
    n.box[roi] = box_of(row, table.spatial_scale, n.sampling_ratio, n.aligned, n.degrees, n.clockwise, table.rows,
                        table.columns)
    n.places[roi] = place_of(n.box + roi, row[0], n.image[roi], roi, table.rows, table.columns, table.height,
                             table.width, window)
    n.places[roi].row = window.top if n.by_first_row else window.bottom
    n.places[roi].column = window.left


cdef inline size_t tap_bytes(SampleTable table) noexcept:
    cdef size_t real = sizeof(double) if table.double else sizeof(float)
    return sizeof(int32_t) + real * (1 + (SLOPES if table.sloped else 0))


cdef int divide(SampleTable table, bint whole_rows) except -1:
    # Chunks of as many RoIs as fit, one at the least, and how pixels are loaded; `whole_rows` for the adjoint.
    cdef double pooled = 0, mapped = 0
    cdef int64_t k, i, begin = 0, most = chunk_bytes // tap_bytes(table)
    table.chunk = <int64_t*> table.reserve(table.rois + 1, sizeof(int64_t))
    table.chunk[0] = 0
    table.chunks = 0
    for k in range(table.rois):
        if k > begin and table.room[k + 1] - table.room[begin] > most:
            table.chunks += 1
            table.chunk[table.chunks] = begin = k
    table.chunks += 1
    table.chunk[table.chunks] = table.rois
    for i in range(table.images):
        pooled += table.bin_pixels[i]
        mapped += table.map_pixels[i]
        if whole_rows or 4 * <int64_t> table.tile_columns[i] > 3 * <int64_t> table.width or table.tile_columns[i] == 0:
            table.tile_left[i], table.tile_columns[i] = 0, table.width
    table.alone = not whole_rows and pooled < ALONE_SHARE * mapped
    return 0


cdef size_t lay_out(SampleTable table, Samples* samples, int64_t rois, int64_t taps, char* memory) except? 0:
    # Arrays for so many RoIs and taps, in the table's own memory or in `memory`; returns the bytes that they take.
    cdef size_t real = sizeof(double) if table.double else sizeof(float), bins = table.rows * <size_t> table.columns
    cdef size_t size[7]
    cdef void* part[7]
    cdef size_t total = 0
    cdef int i
    size[0] = rois * sizeof(int64_t)
    size[1] = bytes_of(rois, bins, sizeof(int32_t))
    size[2] = taps * sizeof(int32_t)
    size[3] = taps * real
    size[4] = taps * real * SLOPES if table.sloped else 0
    size[5] = rois * bins if table.spreading else 0
    size[6] = rois if table.spreading else 0
    for i in range(7):
        if memory != NULL:
            part[i] = memory + total
            fence(memory + total + size[i], ((size[i] + 63) & ~(<size_t> 63)) + FENCE_BYTES - size[i])
        elif samples != NULL:
            part[i] = table.reserve(size[i], 1)
        total += ((size[i] + 63) & ~(<size_t> 63)) + FENCE_BYTES
    if samples != NULL:
        samples.first = 0
        samples.tap_start = <int64_t*> part[0]
        samples.tap_count = <int32_t*> part[1]
        samples.offset = <int32_t*> part[2]
        samples.weight = part[3]
        samples.slope = part[4]
        samples.full = <uint8_t*> part[5]
        samples.ever_full = <uint8_t*> part[6]
    return total


cdef struct Filling:
    # what the RoIs of a chunk are filled from
    void* table
    Samples* samples
    int64_t first, last
    Scratch* scratch        # (threads)


cdef class Bench:
    """What the threads work on that fill chunks of up to so many RoIs."""

    cdef Scratch* scratch       # (threads)
    cdef int threads
    cdef double* _memory

    def __cinit__(self, SampleTable table, int64_t rois, int threads):
        cdef int64_t pixels = max(1, table.most_pixels), slopes = SLOPES if table.sloped else 0, i
        self.threads = <int> max(1, min(threads, rois // ROIS_OF_A_THREAD + 1))
        self.scratch = <Scratch*> malloc(self.threads * sizeof(Scratch))
        self._memory = <double*> malloc(self.threads * pixels * (1 + slopes) * sizeof(double))
        if self.scratch == NULL or self._memory == NULL:
            raise MemoryError("roicy: no memory for the sample tables' scratch")
        with nogil:
            for i in range(self.threads * pixels):
                self._memory[i] = -0.0
            for i in range(self.threads * pixels, self.threads * pixels * (1 + slopes)):
                self._memory[i] = 0
            for i in range(self.threads):
                self.scratch[i].weight = self._memory + i * pixels
                self.scratch[i].slope = self._memory + (self.threads + i * slopes) * pixels if slopes else self._memory

    def __dealloc__(self):
        free(self.scratch)
        free(self._memory)


cdef int fill_chunk(SampleTable table, Samples* samples, int chunk, Bench bench) except -1:
    cdef int64_t first = table.chunk[chunk], last = table.chunk[chunk + 1]
    cdef int threads = <int> max(1, min(bench.threads, (last - first) // ROIS_OF_A_THREAD + 1))
    cdef Filling filling = Filling(table=<void*> table, samples=samples, first=first, last=last, scratch=bench.scratch)
    samples.first = first
    run_pieces(fill_piece, &filling, (last - first + ROIS_OF_A_PIECE - 1) // ROIS_OF_A_PIECE, threads)
    if CHECKED:
        check_samples(table, samples, first, last)
    if table.spreading:
        with nogil:
            note_full(table, samples, first, last)
    return 0


cdef inline bint count_taps(uint32_t* held, const int32_t* offset, int taps) noexcept nogil:
    # Counts a term on each of a bin's pixels; whether one of them had so many that all of these begin again.
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


cdef void note_terms(SampleTable table, Samples* samples, int64_t first, int64_t last) noexcept nogil:
    # The bins at places first to last of which a pixel has so many terms.
    cdef int64_t k, i, at, bins = table.rows * <int64_t> table.columns
    cdef int32_t* taps
    cdef uint8_t* full
    cdef uint32_t* held
    cdef const Window* window
    memset(table.held, 0, (table.last_row - table.first_row) * <size_t> table.width * sizeof(uint32_t))
    for k in range(first, last):
        window = table.window + k
        if window.bottom == window.top:
            continue
        held = table.held + (window.top - table.first_row) * <int64_t> table.width + window.left
        taps = samples.tap_count + (k - samples.first) * bins
        full = samples.full + (k - samples.first) * bins
        samples.ever_full[k - samples.first] = False
        at = samples.tap_start[k - samples.first]
        for i in range(bins):
            full[i] = count_taps(held, samples.offset + at, taps[i])
            if full[i]:
                samples.ever_full[k - samples.first] = True
            at += taps[i]


cdef bint many_terms(SampleTable table, Samples* samples, int64_t first, int64_t last) noexcept nogil:
    # Whether a pixel gets very many of the terms of the RoIs at these places.
    cdef int64_t k, i, at, pixels = (table.last_row - table.first_row) * <int64_t> table.width
    cdef int64_t bins = table.rows * <int64_t> table.columns, taps
    cdef uint32_t* held
    cdef uint32_t most = 0
    memset(table.held, 0, pixels * sizeof(uint32_t))
    for k in range(first, last):
        if table.window[k].bottom == table.window[k].top:
            continue
        held = table.held + (table.window[k].top - table.first_row) * <int64_t> table.width + table.window[k].left
        taps = 0
        for i in range((k - samples.first) * bins, (k - samples.first + 1) * bins):
            taps += samples.tap_count[i]
        at = samples.tap_start[k - samples.first]
        for i in range(at, at + taps):
            held[samples.offset[i]] += 1
    for i in range(pixels):
        most = max(most, table.held[i])
    return most > MANY


cdef void note_full(SampleTable table, Samples* samples, int64_t first, int64_t last) noexcept nogil:
    # Which pixels get so many terms that they are summed in pieces; a chunk begins with none.
    cdef int64_t image, begin, end
    memset(samples.ever_full, 0, last - first)
    for image in range(table.images):
        begin, end = max(first, table.image_start[image]), min(last, table.image_start[image + 1])
        if begin < end and many_terms(table, samples, begin, end):
            note_terms(table, samples, begin, end)


cdef void check_samples(SampleTable table, Samples* samples, int64_t first, int64_t last) noexcept:
    cdef int64_t k, image = 0, i, taps, bins = table.rows * <int64_t> table.columns, stride, at
    cdef int64_t height, width
    for k in range(max(first, table.image_start[0] if table.images else last), last):
        while table.image_start[image + 1] <= k:
            image += 1
        taps = 0
        for i in range((k - first) * bins, (k - first + 1) * bins):
            taps += samples.tap_count[i]
        check_inside(taps, 0, table.room[k + 1] - table.room[k] + 1)
        height = table.window[k].bottom - table.window[k].top
        width = table.window[k].right - table.window[k].left
        stride = table.stride(image, k)
        at = samples.tap_start[k - first]
        for i in range(at, at + taps):
            check_inside(samples.offset[i] // stride, 0, height)
            check_inside(samples.offset[i] % stride, 0, width)


cdef void fill_piece(void* settled, int64_t number, int thread) noexcept nogil:
    cdef Filling* f = <Filling*> settled
    cdef int64_t first = f.first + number * ROIS_OF_A_PIECE
    fill_rois(<SampleTable> f.table, f.samples, first, min(f.last, first + ROIS_OF_A_PIECE), f.scratch + thread)


cdef void fill_rois(SampleTable table, Samples* samples, int64_t begin, int64_t end, Scratch* scratch) noexcept nogil:
    cdef int64_t k, image = 0
    cdef int stride
    for k in range(begin, end):
        while image < table.images and table.image_start[image + 1] <= k:
            image += 1
        stride = table.stride(image, k) if image < table.images else 0      # no image, no pixels
        if table.single:
            fill_box(table, samples, k, <float> 0, stride, scratch)
        else:
            fill_box(table, samples, k, <double> 0, stride, scratch)


cdef class SampleChunk:
    """The taps of a table, one chunk at a time; of a table with one chunk, those that it holds itself."""

    def __cinit__(self, SampleTable table, int threads):
        cdef int64_t rois = 0, taps = 0
        cdef size_t size
        cdef int i
        self.table = table
        if table.chunks == 1:
            self.samples = table.samples
            return
        for i in range(table.chunks):
            rois = max(rois, table.chunk[i + 1] - table.chunk[i])
            taps = max(taps, table.room[table.chunk[i + 1]] - table.room[table.chunk[i]])
        size = lay_out(table, NULL, rois, taps, NULL)
        if size >= most_bytes():
            raise MemoryError("roicy: no memory for the taps of this many bins")
        self._memory = borrow(size)
        lay_out(table, &self.samples, rois, taps, <char*> self._memory)
        self._bench = Bench(table, rois, threads)

    def __dealloc__(self):
        give_back(self._memory)

    cdef Samples* take(self, int chunk) except NULL:
        """Return the taps of this chunk, in place of those of the last one; takes no memory."""
        if self.table.chunks > 1:
            fill_chunk(self.table, &self.samples, chunk, <Bench> self._bench)
        return &self.samples
