"""Sample tables: the pixels and weights that each bin averages, for rotated boxes and for bins that are moved.

These samples lie on no grid of rows and columns, so every bin has a list of pixels of its own::

    box ──▶ sample positions ──▶ bin (p, q): (pixel, weight) (pixel, weight) ...
                                 samples on the same pixel merge, weights are divided by the count

Lists can be long. A chunk holds the lists of as many RoIs as fit into a fixed amount of memory; chunks follow each
other.
"""

from libc.math cimport M_PI
from libc.stdint cimport uint8_t, uint32_t

from roicy._types import Moving

from roicy.cpu cimport arrays as cnp
from roicy.cpu.runtime.checks cimport CHECKED, FENCE_BYTES, check_inside, fence
from roicy.cpu.runtime.memory cimport allocate, borrow, bytes_of, deallocate, give_back, most_bytes, try_bytes
from roicy.cpu.runtime.parallel cimport run_pieces
from roicy.cpu.tables.rois cimport Place, Window
from roicy.cpu.tables.rotated cimport Point, RotatedBox, Turn, reach_of, rotated_box, upright_box
from roicy.cpu.tables.samples cimport Sampling, sampling_of
from roicy.cpu.tuning cimport SAMPLE_ALONE_SHARE, SAMPLE_TABLE_ROIS_OF_A_THREAD

cnp.import_array()

include "sample_taps.pyx"
include "sample_terms.pyx"

cdef enum:
    ROIS_OF_A_PIECE = 8
    # Boxes on maps of so few channels with so few samples a bin along an axis need no lists (sample_forward_turned).
    UNLISTED_CHANNELS = 4
    UNLISTED_RATIO = 2

# Of all RoIs of a table: bytes of more could not be counted.
cdef int64_t MOST_TAPS = <int64_t> 1 << 57

# Bytes of the taps that are held at a time.
cdef int64_t chunk_bytes = 3 << 23


def hold(int64_t size):
    """Set how many bytes of taps tables hold at a time."""
    global chunk_bytes
    chunk_bytes = size


cdef class SampleTable(RoiTable):
    """The geometry of K RoIs, and their taps where all of them fit into one chunk; RoIs by bands of their last rows (of
    their first ones for the adjoint).

    Parameters
    ----------
    regions : Regions
        Boxes (K, 5) or (K, 6): centre, width, height and angle; maps and bins.
    sampling : Sampling
        Where samples lie in them.
    how : Turn or Moving
        Unit and direction of angles; or, for upright boxes (K, 4) or (K, 5), how far offsets move their bins.
    accumulate : {"float32", "float64"}
        Type of the weights.
    purpose : {"forward", "backward", "backward_rois", "backward_offsets", "backward_mask"}
        What the table is for.
    threads : int
        Threads that may be used.
    """

    def __cinit__(self, regions, sampling, how, str accumulate, str purpose, int threads):
        cdef cnp.ndarray boxes
        cdef Noting noting
        cdef int numbers
        boxes, images = self.choose(regions)
        self.describe(regions, accumulate, boxes)
        if self.height * <int64_t> self.width > 0x7fffffff:
            raise ValueError(f"features must have at most 2147483647 pixels a plane, got {self.height} x {self.width}")
        self.slopes = {"backward_rois": SLOPES, "backward_offsets": BIN_SLOPES}.get(purpose, 0)
        self.spreading = purpose == "backward"
        self.single = cnp.PyArray_TYPE(boxes) == cnp.NPY_FLOAT32
        self.sampling = sampling_of(sampling)
        self.scale = self.sampling.spatial_scale
        self.upright = isinstance(how, Moving)
        if self.upright:
            noting.gamma = how.gamma
            noting.image = self.find_images(boxes, images, self.find_bins(regions))
            if purpose == "backward_mask":
                self.factor = NULL      # what the mask is multiplied by
        else:
            noting.turn = Turn(degrees=how.degrees, clockwise=how.clockwise)
            self.turn = (-1 if how.clockwise else 1) * (M_PI / 180 if how.degrees else 1)
            noting.image = self.find_images(boxes, images)
        numbers = 4 if self.upright else 5
        noting.step = cnp.PyArray_DIM(boxes, 1) * cnp.PyArray_ITEMSIZE(boxes)
        noting.boxes = <const char*> cnp.PyArray_DATA(boxes) + noting.step - numbers * cnp.PyArray_ITEMSIZE(boxes)
        noting.count = self.rois
        noting.by_first_row = self.spreading
        self.listed = (self.upright or purpose != "forward" or not self.single or self.double
                       or regions.input_shape[1] > UNLISTED_CHANNELS
                       or not 0 < self.sampling.sampling_ratio <= UNLISTED_RATIO
                       or 4.0 * UNLISTED_CHANNELS * self.map_height * self.map_width > 0x7fffffff)
        if self.listed:
            # of one RoI at the least, and there may be too many to count
            try_bytes(bytes_of(self.rows, self.columns, sizeof(int32_t)))
        note_boxes(self, &noting, threads)
        if not self.listed or self.beyond is not None:
            self.chunks = 1
            return
        divide(self, self.spreading)
        if self.spreading:
            prepare_to_count(self)
        if self.chunks == 1:
            lay_out(self, &self.samples, self.rois, self.room[self.rois], NULL)
            fill_chunk(self, &self.samples, 0, Bench(self, self.rois, threads))

    cdef tuple find_bins(self, regions):
        """Note what belongs to each bin; return its arrays."""
        self.reach = <Point*> self.reserve(self.rois, sizeof(Point))
        self.given = <int64_t*> self.reserve(self.rois, sizeof(int64_t))
        if regions.offsets is not None:
            self.offsets = cnp.PyArray_DATA(<cnp.ndarray> regions.offsets)
        if regions.mask is not None:
            self.factor = cnp.PyArray_DATA(<cnp.ndarray> regions.mask)
            self.single_factor = cnp.PyArray_TYPE(<cnp.ndarray> regions.mask) == cnp.NPY_FLOAT32
        self.arrays = tuple([array for array in (regions.offsets, regions.mask) if array is not None])
        return self.arrays

    def in_pieces(self, str purpose, dtype):
        """As `RoiTable.in_pieces`: chunks add to the gradient one after the other, in the accumulation type."""
        return purpose == "backward" and self.chunks > 1 and dtype != self.accumulate

    def joins(self, str purpose, channels):
        """As `RoiTable.joins`: only with a single chunk, since memory holds one at a time."""
        return self.chunks == 1

    cdef int stride(self, int64_t image, int64_t k) noexcept nogil:
        # Pixels from a row to the next where the RoI's pixels are loaded.
        return self.window[k].right - self.window[k].left if self.alone else self.tile_columns[image]


cdef int prepare_to_count(SampleTable table) except -1:
    cdef Terms* terms = &table.terms
    cdef int64_t k
    terms.first_row = table.height
    terms.last_row = 0
    for k in range(table.rois):
        if table.window[k].bottom > table.window[k].top:
            terms.first_row = min(terms.first_row, table.window[k].top)
            terms.last_row = max(terms.last_row, table.window[k].bottom)
    terms.first_row = min(terms.first_row, terms.last_row)
    terms.width = table.width
    terms.bins = table.rows * <int64_t> table.columns
    terms.window = table.window
    terms.held = <uint32_t*> table.reserve(counters(terms), sizeof(uint32_t))
    return 0


cdef RotatedRois rotated_rois(SampleTable table) noexcept:
    return RotatedRois(
        box=table.box, window=table.window, room=table.room, rows=table.rows, columns=table.columns,
        height=table.map_height, width=table.map_width, top=table.part.top, left=table.part.left,
        sampling=table.sampling, turn=table.turn,
        single=table.single, double_=table.double, slopes=table.slopes, offsets=table.offsets, reach=table.reach,
        factor=table.factor, single_factor=table.single_factor, given=table.given,
    )


cdef struct Noting:
    # what a table's boxes are noted from; box k is at `boxes` + k * step
    RotatedRois rois
    const char* boxes
    int64_t step
    int64_t count
    const int64_t* image
    Turn turn
    bint upright
    double gamma
    Point* reach            # as the table has it
    bint by_first_row
    # (K) in the order given
    RotatedBox* box
    Window* window
    Place* place
    Room* room


cdef int note_boxes(SampleTable table, Noting* noting, int threads) except -1:
    cdef int64_t count = table.rois, k, i, roi
    cdef Place* place = <Place*> table.reserve(count, sizeof(Place))
    cdef Room* room = <Room*> table.reserve(count, sizeof(Room))
    cdef double* cost = <double*> table.reserve(count, sizeof(double))
    cdef Window* window
    noting.place = place
    noting.room = room
    noting.window = <Window*> table.reserve(count, sizeof(Window))
    noting.box = <RotatedBox*> table.reserve(count, sizeof(RotatedBox))
    noting.rois = rotated_rois(table)
    noting.upright = table.upright
    noting.reach = table.reach
    table.box = <RotatedBox*> table.reserve(count, sizeof(RotatedBox))
    table.window = <Window*> table.reserve(count, sizeof(Window))
    table.room = <int64_t*> table.reserve(count + 1, sizeof(int64_t))
    run_pieces(note_piece, noting, (count + ROIS_OF_A_PIECE - 1) // ROIS_OF_A_PIECE,
               <int> min(threads, count // SAMPLE_TABLE_ROIS_OF_A_THREAD + 1))
    table.arrange(noting.image, place)
    table.room[0] = 0
    table.widest = table.tallest = 0
    for k in range(count):
        roi = table.order[k]
        table.box[k] = noting.box[roi]
        table.window[k] = noting.window[roi]
        if room[roi].taps > MOST_TAPS - table.room[k]:
            raise MemoryError("roicy: no memory for the taps of this many bins")
        table.room[k + 1] = table.room[k] + room[roi].taps
        if table.upright:
            table.given[k] = roi
        table.most_pixels = max(table.most_pixels, room[roi].pixels)
        window = table.window + k
        cost[k] = (window.bottom - window.top) * <double> (window.right - window.left)
        table.tallest = max(table.tallest, window.bottom - window.top)
        table.widest = max(table.widest, window.right - window.left)
    if table.windowed:
        find_read(table, threads)
    table.summarise(noting.image, cost)
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


cdef struct Reading:
    # input for new windows; the old ones were limited by the whole map only
    RotatedRois rois
    Window* window
    Window part


cdef int find_read(SampleTable table, int threads) except -1:
    """Shrink windows that reach beyond the given part of the map.

    Windows include a margin for rounding. If what the box really reads lies in the part, the window is cut to the part;
    else it becomes exactly what the box reads.
    """
    cdef Reading reading = Reading(rois=rotated_rois(table), window=table.window, part=table.part)
    run_pieces(read_piece, &reading, table.rois, threads)
    return 0


cdef inline bint within(const Window* window, const Window* part) noexcept nogil:
    return (window.top >= part.top and window.bottom <= part.bottom and window.left >= part.left
            and window.right <= part.right)


cdef void read_piece(void* settled, int64_t k, int thread) noexcept nogil:
    cdef Reading* reading = <Reading*> settled
    cdef Window* window = reading.window + k
    cdef const Window* part = &reading.part
    cdef Window read
    if within(window, part):
        return
    read = read_by_box(&reading.rois, k)
    if read.bottom > read.top and within(&read, part):
        # cut, and no more: RoIs are in the order of these windows
        read = Window(top=max(window.top, part.top), bottom=min(window.bottom, part.bottom),
                      left=max(window.left, part.left), right=min(window.right, part.right))
    window[0] = read


cdef void note_piece(void* settled, int64_t number, int thread) noexcept nogil:
    cdef Noting* n = <Noting*> settled
    cdef int64_t k
    for k in range(number * ROIS_OF_A_PIECE, min(n.count, (number + 1) * ROIS_OF_A_PIECE)):
        note_box(n, k)


cdef void note_box(Noting* n, int64_t roi) noexcept nogil:
    cdef RotatedBox* box = n.box + roi
    cdef const char* row = n.boxes + roi * n.step
    cdef Window window = Window(top=0, bottom=0, left=0, right=0)
    cdef Room room = Room(taps=0, pixels=0)
    if n.upright:
        box[0] = upright_box(row, n.rois.single, n.rois.sampling, n.rois.rows, n.rois.columns)
        n.reach[roi] = reach_of(row, n.rois.single, n.rois.sampling, n.gamma)
    else:
        box[0] = rotated_box(row, n.rois.single, n.rois.sampling, n.turn, n.rois.rows, n.rois.columns)
    if n.image[roi] >= 0:
        window = give_room(&n.rois, box, roi, &room)
    n.window[roi] = window
    n.place[roi] = Place(row=window.top if n.by_first_row else window.bottom, column=window.left)
    n.room[roi] = room


cdef inline size_t tap_bytes(SampleTable table) noexcept:
    cdef size_t real = sizeof(double) if table.double else sizeof(float)
    return sizeof(int32_t) + real * (1 + table.slopes)


cdef int divide(SampleTable table, bint whole_rows) except -1:
    # Chunks of as many RoIs as fit, one at the least, and how pixels are loaded; `whole_rows` for the adjoint.
    cdef double pooled = 0, mapped = 0
    cdef int64_t k, i, begin = 0, most = chunk_bytes // tap_bytes(table)
    table.chunk = <int64_t*> table.reserve(max(<int64_t> 1, table.rois) + 1, sizeof(int64_t))   # no RoIs are one chunk
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
    table.alone = not whole_rows and pooled < SAMPLE_ALONE_SHARE * mapped
    return 0


cdef size_t lay_out(SampleTable table, Samples* samples, int64_t rois, int64_t taps, char* memory) except? 0:
    # Arrays for the RoIs and taps, in the table's own memory or in `memory`; returns the bytes that they take.
    cdef size_t real = sizeof(double) if table.double else sizeof(float), bins = table.rows * <size_t> table.columns
    cdef size_t size[7]
    cdef void* part[7]
    cdef size_t total = 0
    cdef int i
    size[0] = rois * sizeof(int64_t)
    size[1] = bytes_of(rois, bins, sizeof(int32_t))
    size[2] = taps * sizeof(int32_t)
    size[3] = taps * real
    size[4] = taps * real * table.slopes
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


cdef class Bench:
    """Scratch of the threads that fill chunks of at most `rois` RoIs."""

    cdef Scratch* scratch       # (threads)
    cdef int threads
    cdef double* _memory

    def __cinit__(self, SampleTable table, int64_t rois, int threads):
        cdef int64_t pixels = max(1, table.most_pixels), slopes = table.slopes, i
        self.threads = <int> max(1, min(threads, rois // SAMPLE_TABLE_ROIS_OF_A_THREAD + 1))
        self.scratch = <Scratch*> allocate(self.threads * sizeof(Scratch))
        self._memory = <double*> allocate(self.threads * pixels * (1 + slopes) * sizeof(double))
        with nogil:
            for i in range(self.threads * pixels):
                self._memory[i] = -0.0
            for i in range(self.threads * pixels, self.threads * pixels * (1 + slopes)):
                self._memory[i] = 0
            for i in range(self.threads):
                self.scratch[i].weight = self._memory + i * pixels
                self.scratch[i].slope = self._memory + (self.threads + i * slopes) * pixels if slopes else self._memory

    def __dealloc__(self):
        deallocate(self.scratch)
        deallocate(self._memory)


cdef struct Chunk:
    # what the taps of a chunk are listed from
    void* table
    RotatedRois rois
    Samples* samples
    int64_t first, last
    Scratch* scratch        # (threads)


cdef int fill_chunk(SampleTable table, Samples* samples, int number, Bench bench) except -1:
    cdef int64_t first = table.chunk[number], last = table.chunk[number + 1]
    cdef int threads = <int> max(1, min(bench.threads, (last - first) // SAMPLE_TABLE_ROIS_OF_A_THREAD + 1))
    cdef Chunk chunk = Chunk(table=<void*> table, rois=rotated_rois(table), samples=samples, first=first, last=last,
                             scratch=bench.scratch)
    samples.first = first
    run_pieces(fill_piece, &chunk, (last - first + ROIS_OF_A_PIECE - 1) // ROIS_OF_A_PIECE, threads)
    if CHECKED:
        check_samples(table, samples, first, last)
    if table.spreading:
        table.terms.samples = samples
        with nogil:
            note_full(&table.terms, table.image_start, table.images, first, last)
    return 0


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
    cdef Chunk* chunk = <Chunk*> settled
    cdef int64_t first = chunk.first + number * ROIS_OF_A_PIECE
    fill_rois(<SampleTable> chunk.table, chunk, first, min(chunk.last, first + ROIS_OF_A_PIECE),
              chunk.scratch + thread)


cdef void fill_rois(SampleTable table, Chunk* chunk, int64_t begin, int64_t end, Scratch* scratch) noexcept nogil:
    cdef int64_t k, image = 0
    cdef int stride
    for k in range(begin, end):
        while image < table.images and table.image_start[image + 1] <= k:
            image += 1
        stride = table.stride(image, k) if image < table.images else 0      # no image, no pixels
        fill_box(&chunk.rois, chunk.samples, k, stride, scratch)


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
