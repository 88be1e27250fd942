"""What every table knows of the RoIs of a call: their images, their order, the part of the map that each reads."""

from libc.math cimport floor, isfinite
from libc.stdint cimport uint64_t
from libc.stdlib cimport qsort
from libc.string cimport memcpy, memset

cimport cython
import numpy as np

from roicy.cpu.runtime.checks cimport CHECKED, FENCE_BYTES, check, check_inside, fence
from roicy.cpu.runtime.memory cimport borrow, give_back, most_bytes
from roicy.cpu.runtime.parallel cimport Listener, hears, listener

cnp.import_array()


cdef extern from "geometry/cpu.h" nogil:
    int64_t image_of(const void* row, bint single, int columns, bint given, int64_t image, int64_t images)


cdef enum:
    FIRST_BLOCK = 1 << 15       # bytes; the next ones are four times as large, or as large as is asked for
    GROWN_BLOCK = 1 << 23       # what they grow to: of larger ones few could lie idle until the next call
    SORTED_AT_ONCE = 1 << 16    # RoIs, before signals are looked for
    FEW_SORTED = 32             # RoIs up to which they are sorted without digits, of so many bits
    DIGIT = 8
    FEW_PIXELS = 4              # along an axis: on a map that small a box of one pixel is nothing to wonder about
    FAR = 4                     # maps, which no box reaches that is meant


# What most boxes look like, as `roicy._doubts` has it.
cdef enum:
    PLAIN, FRACTIONS, NORMALISED, REVERSED, OUTSIDE

WORDS = None, "fractions", "normalised", "reversed", "outside"


cdef struct Looks:
    # how many rows are finite, and how many of them are not as boxes are
    int64_t rows, fractions, reversed_, outside, far
    bint within_one, empty
    int verdict


cdef class RoiTable:
    """The RoIs of a call; the tables of the operators derive from it.

    Attributes
    ----------
    first_invalid : int
        First row with a batch index outside [0, N) or a number that is not finite, or -1.
    beyond : tuple or None
        Of the first row that reads beyond the part of the maps that is given: which one it is, and from which row and
        column of a whole map to which it reads, (row, (top, left, bottom, right)). Such a table is not to be used.
    doubtful : bool
        Whether boxes may look as if something else was meant: `doubts` knows.
    """

    def __dealloc__(self):
        cdef int i
        for i in range(self._blocks):
            give_back(self._block[i])

    def in_pieces(self, str purpose, dtype):
        """Return whether a kernel takes memory between writes to an array of this dtype.

        Where it may run out of that, an array of the caller's is written when the last piece is done.
        """
        return False

    def joins(self, str purpose, channels):
        """Return whether a call for a purpose can wait for others, and then run with them."""
        return True

    cdef tuple choose(self, regions):
        """Return the boxes and the batch indices that the table is of, and note which rows they are."""
        if regions.levels is None:
            return regions.boxes, regions.images
        self.chosen = np.flatnonzero(regions.levels == regions.level).astype(np.int64, copy=False)
        self.row_of = <const int64_t*> cnp.PyArray_DATA(<cnp.ndarray> self.chosen)
        return regions.boxes[self.chosen], regions.images[self.chosen]

    cdef void* reserve(self, size_t count, size_t size) except NULL:
        # Pieces of a few blocks, each larger than the last. A plan may keep them for long, a single call returns them.
        # A block of each array's own would cost a call of 4 boxes 28 % (20 to 25.6 us), one of 64 boxes 7 %.
        cdef size_t bytes = ((max(count * size, <size_t> 1) + 63) & ~(<size_t> 63)) + FENCE_BYTES
        if count >= most_bytes() // size:
            raise MemoryError(f"roicy: no memory for tables of {count} rows, images or samples")
        if bytes > self._left:
            if self._blocks == MOST_BLOCKS:
                raise MemoryError("roicy: no memory for the tables")
            self._left = max(bytes, min(<size_t> GROWN_BLOCK, <size_t> FIRST_BLOCK << (2 * min(self._blocks, 8))))
            self._block[self._blocks] = self._at = <char*> borrow(self._left)
            self._blocks += 1
        fence(self._at + count * size, bytes - count * size)
        self._at += bytes
        self._left -= bytes
        return self._at - bytes

    cdef int describe(self, regions, str accumulate, cnp.ndarray boxes) except -1:
        """Note the call's shapes."""
        cdef int top = 0, left = 0
        self.rois = cnp.PyArray_DIM(boxes, 0)
        self.images, _, self.height, self.width = regions.input_shape
        self.map_height, self.map_width = self.height, self.width
        self.windowed = regions.window is not None
        if self.windowed:
            top, left, self.map_height, self.map_width = regions.window
        self.part = Window(top=top, bottom=top + self.height, left=left, right=left + self.width)
        self.rows, self.columns = regions.output_size
        self.accumulate = accumulate
        self.double = accumulate == "float64"
        self.first_invalid = -1
        return 0

    cdef int64_t* find_images(self, cnp.ndarray boxes, images, of_bins=()) except NULL:
        """Return (K) the image of each row, -1 where the row is invalid.

        `of_bins` are arrays of other numbers that belong to each row.
        """
        cdef int64_t* image = <int64_t*> self.reserve(self.rois, sizeof(int64_t))
        cdef const int64_t* given = NULL
        cdef const char* row = <const char*> cnp.PyArray_DATA(boxes)
        cdef int64_t columns = cnp.PyArray_DIM(boxes, 1), step = columns * cnp.PyArray_ITEMSIZE(boxes), k
        cdef bint single = cnp.PyArray_TYPE(boxes) == cnp.NPY_FLOAT32
        if images is not None:
            given = <const int64_t*> cnp.PyArray_DATA(<cnp.ndarray> images)
        if self.rois <= FEW_SORTED:     # Python's lock, given back, may not come again for long
            put_images(image, row, step, single, <int> columns, given, self.rois, self.images)
        else:
            with nogil:
                put_images(image, row, step, single, <int> columns, given, self.rois, self.images)
        for array in of_bins:
            find_finite(array, self.rois, image)
        for k in range(self.rois):
            if image[k] < 0:
                self.first_invalid = self.row_of[k] if self.row_of != NULL else k
                break
        self.doubtful = look_at(boxes, given == NULL, self.scale, self.map_height, self.map_width).verdict != PLAIN
        return image

    cdef int arrange(self, SortKey* keys) except -1:
        """Sort the keys and note the order."""
        cdef int64_t k
        for k in range(self.rois):
            keys[k].row //= BAND
            if keys[k].row % 2:
                keys[k].column = -keys[k].column
        sort(keys, self.rois)
        self.order = <int64_t*> self.reserve(self.rois, sizeof(int64_t))
        for k in range(self.rois):
            self.order[k] = keys[k].roi
        return 0

    cdef int summarise(self, const int64_t* image, const double* cost) except -1:
        """Note where each image's RoIs are and how much work they are, given the windows and (K) their own work."""
        cdef Py_ssize_t at = 0, i, count = self.rois
        cdef int64_t top, bottom
        cdef Window* window
        if self.windowed:
            self.move_windows()
        self.image_start = <int64_t*> self.reserve(<size_t> self.images + 1, sizeof(int64_t))
        self.bin_pixels = <double*> self.reserve(self.images, sizeof(double))
        self.map_pixels = <double*> self.reserve(self.images, sizeof(double))
        while at < count and image[self.order[at]] < 0:
            at += 1
        self.work = 0
        self.span = 0
        for i in range(self.images):
            self.image_start[i] = at
            self.bin_pixels[i] = 0
            top, bottom = self.height, 0
            while at < count and image[self.order[at]] == i:
                window = self.window + at
                if window.bottom > window.top:
                    self.bin_pixels[i] += cost[at]
                    self.work += cost[at]
                    top = min(top, <int64_t> window.top)
                    bottom = max(bottom, <int64_t> window.bottom)
                    self.span = max(self.span, min(self.height - BAND, window.bottom - window.top) + BAND)
                at += 1
            self.map_pixels[i] = max(<int64_t> 0, bottom - top) * <double> self.width
        self.image_start[self.images] = at
        self.doubtful = self.doubtful or self.work == 0
        if CHECKED and self.beyond is None:
            check_windows(self, image)
        if self.row_of != NULL:     # nothing asks for boxes any more
            for at in range(count):
                self.order[at] = self.row_of[self.order[at]]
        return 0

    cdef int move_windows(self) except -1:
        """Count windows from where the part of the maps begins that is given; note the first row that reads beyond it.

        From here on the map is the part.
        """
        cdef int64_t k, first = -1
        cdef Window* window
        for k in range(self.rois):
            window = self.window + k
            if window.bottom == window.top:
                window[0] = Window(top=0, bottom=0, left=0, right=0)
                continue
            if ((window.top < self.part.top or window.bottom > self.part.bottom or window.left < self.part.left
                    or window.right > self.part.right) and (first < 0 or self.order[k] < self.order[first])):
                first = k
            window.top -= self.part.top
            window.bottom -= self.part.top
            window.left -= self.part.left
            window.right -= self.part.left
        if first >= 0:
            window = self.window + first
            k = self.order[first]
            self.beyond = (self.row_of[k] if self.row_of != NULL else k,
                           (window.top + self.part.top, window.left + self.part.left,
                            window.bottom + self.part.top, window.right + self.part.left))
        return 0

    def touched(self):
        """Return (K, 4), int64: from which row and column of a whole map to which boxes read that read beyond the part.

        Zeros for those that read nothing.
        """
        cdef cnp.ndarray found = np.zeros((self.rois, 4), np.int64)
        cdef int64_t* numbers = <int64_t*> cnp.PyArray_DATA(found)
        cdef int64_t k
        cdef Window* window
        for k in range(self.rois):
            window = self.window + k
            if window.bottom > window.top:
                numbers[4 * self.order[k]] = window.top + self.part.top
                numbers[4 * self.order[k] + 1] = window.left + self.part.left
                numbers[4 * self.order[k] + 2] = window.bottom + self.part.top
                numbers[4 * self.order[k] + 3] = window.right + self.part.left
        return found


cdef void put_images(int64_t* image, const char* row, int64_t step, bint single, int columns, const int64_t* given,
                     int64_t rois, int64_t images) noexcept nogil:
    cdef int64_t k
    for k in range(rois):
        image[k] = image_of(row + k * step, single, columns, given != NULL, given[k] if given != NULL else 0, images)


cdef int find_finite(cnp.ndarray array, int64_t rows, int64_t* image) except -1:
    # Rows of an array with numbers that are not finite have no image.
    cdef const void* numbers = cnp.PyArray_DATA(array)
    cdef bint single = cnp.PyArray_TYPE(array) == cnp.NPY_FLOAT32
    cdef int64_t count = cnp.PyArray_SIZE(array) // max(<int64_t> 1, rows), k
    with nogil:
        for k in range(rows):
            if not all_finite(numbers, single, k * count, count):
                image[k] = -1
    return 0


cdef struct Digits:
    # a key as one number, and which of the keys it is
    uint64_t number
    int64_t key


cdef int sort(SortKey* keys, int64_t count) except -1:
    # So many at a time, and then runs of them are merged, two by two: between, there is time to look for signals.
    cdef SortKey* spare
    if count <= FEW_SORTED:
        qsort(keys, count, sizeof(SortKey), by_key)
        return 0
    spare = <SortKey*> borrow(count * sizeof(SortKey) + 2 * min(count, <int64_t> SORTED_AT_ONCE) * sizeof(Digits))
    try:
        sort_and_merge(keys, spare, count)
    finally:        # which sets an error aside: what is given back is so under Python's lock
        give_back(spare)
    return 0


cdef int sort_and_merge(SortKey* keys, SortKey* spare, int64_t count) except -1:
    cdef Listener ear = listener()
    cdef bint ended
    with nogil:
        ended = sort_runs(keys, spare, count, &ear) and merge_runs(keys, spare, count, &ear)
    return 0 if ended else -1       # the error is set


cdef bint sort_runs(SortKey* keys, SortKey* spare, int64_t count, Listener* ear) noexcept nogil:
    cdef int64_t begin = 0
    while begin < count:
        sort_run(keys + begin, spare, <Digits*> (spare + count), min(<int64_t> SORTED_AT_ONCE, count - begin))
        if count > SORTED_AT_ONCE and hears(ear, SORTED_AT_ONCE):
            return False
        begin += SORTED_AT_ONCE
    return True


cdef void sort_run(SortKey* keys, SortKey* spare, Digits* digits, int64_t count) noexcept nogil:
    # By digits, the last one first; `spare` has room for the keys, `digits` for twice as many.
    cdef SortKey low = keys[0], high = keys[0]
    cdef Digits* source = digits
    cdef Digits* target = digits + count
    cdef int64_t[1 << DIGIT] begin
    cdef int64_t k, at, total
    cdef int columns, rows, images, shift = 0, digit
    for k in range(count):
        low.image, high.image = min(low.image, keys[k].image), max(high.image, keys[k].image)
        low.row, high.row = min(low.row, keys[k].row), max(high.row, keys[k].row)
        low.column, high.column = min(low.column, keys[k].column), max(high.column, keys[k].column)
    columns, rows = bits_of(high.column - low.column), bits_of(high.row - low.row)
    images = bits_of(high.image - low.image)
    if columns + rows + images > 64:
        qsort(keys, count, sizeof(SortKey), by_key)
        return
    for k in range(count):
        digits[k].key = k       # those of one number stay in the order of their RoIs
        digits[k].number = ((<uint64_t> (keys[k].image - low.image) << rows | <uint64_t> (keys[k].row - low.row))
                            << columns | <uint64_t> (keys[k].column - low.column))
    while shift < columns + rows + images:
        memset(begin, 0, sizeof(begin))
        for k in range(count):
            begin[source[k].number >> shift & ((1 << DIGIT) - 1)] += 1
        at = 0
        for digit in range(1 << DIGIT):
            total = begin[digit]
            begin[digit] = at
            at += total
        for k in range(count):
            digit = source[k].number >> shift & ((1 << DIGIT) - 1)
            target[begin[digit]] = source[k]
            begin[digit] += 1
        source, target = target, source
        shift += DIGIT
    for k in range(count):
        spare[k] = keys[source[k].key]
    memcpy(keys, spare, count * sizeof(SortKey))


cdef inline int bits_of(int64_t number) noexcept nogil:
    cdef int bits = 0
    while bits < 63 and number >> bits:
        bits += 1
    return bits


cdef bint merge_runs(SortKey* keys, SortKey* spare, int64_t count, Listener* ear) noexcept nogil:
    cdef SortKey* source = keys
    cdef SortKey* target = spare
    cdef int64_t length = SORTED_AT_ONCE, begin, i, j, k, middle, end
    while length < count:
        begin = 0
        while begin < count:
            middle, end = min(count, begin + length), min(count, begin + 2 * length)
            i, j = begin, middle
            for k in range(begin, end):
                if j == end or (i < middle and by_key(source + i, source + j) < 0):
                    target[k] = source[i]
                    i += 1
                else:
                    target[k] = source[j]
                    j += 1
                if hears(ear, 1):
                    return False
            begin = end
        source, target = target, source
        length *= 2
    if source != keys:
        memcpy(keys, source, count * sizeof(SortKey))
    return True


cdef void check_windows(RoiTable table, const int64_t* image) noexcept:
    cdef Window* window
    cdef int64_t i, k
    check(table.image_start[table.images] == table.rois)
    for i in range(table.images):
        for k in range(table.image_start[i], table.image_start[i + 1]):
            check_inside(table.order[k], 0, table.rois)
            check(image[table.order[k]] == i)
            window = table.window + k
            check_inside(window.top, 0, <int64_t> window.bottom + 1)
            check_inside(window.left, 0, <int64_t> window.right + 1)
            check_inside(window.bottom, 0, <int64_t> table.height + 1)
            check_inside(window.right, 0, <int64_t> table.width + 1)


cdef int by_key(const void* a, const void* b) noexcept nogil:
    cdef const SortKey* p = <const SortKey*> a
    cdef const SortKey* q = <const SortKey*> b
    if p.image != q.image:
        return -1 if p.image < q.image else 1
    if p.row != q.row:
        return -1 if p.row < q.row else 1
    if p.column != q.column:
        return -1 if p.column < q.column else 1
    return -1 if p.roi < q.roi else 1


cdef class ImageTable(RoiTable):
    """Which image each RoI belongs to, and nothing else: RoIs by image, then as they were given.

    Parameters
    ----------
    regions : Regions
        Boxes, maps and bins.
    """

    def __cinit__(self, regions):
        cdef cnp.ndarray boxes
        cdef int64_t k
        cdef int64_t* image
        cdef SortKey* keys
        cdef double* cost
        boxes, images = self.choose(regions)
        self.describe(regions, "float32", boxes)
        image = self.find_images(boxes, images)
        keys = <SortKey*> self.reserve(self.rois, sizeof(SortKey))
        cost = <double*> self.reserve(self.rois, sizeof(double))
        self.window = <Window*> self.reserve(self.rois, sizeof(Window))
        for k in range(self.rois):
            keys[k] = SortKey(image=image[k], row=0, column=0, roi=k, room_y=0, room_x=0, extent=0)
            self.window[k] = self.part
            cost[k] = <double> self.rows * self.columns
        self.arrange(keys)
        self.summarise(image, cost)


@cython.binding(True)   # its twin's signature is held against it
def doubts(regions, double scale):
    """Return a word of `roicy._doubts` for boxes most of which were meant otherwise, or None."""
    height, width = regions.map_size
    cdef Looks looks = look_at(regions.boxes, regions.images is None, scale, height, width)
    return WORDS[looks.verdict]


cdef Looks look_at(cnp.ndarray boxes, bint numbered, double scale, double height, double width) noexcept:
    """Return what boxes look like; `numbered`: with batch indices. `scale` is feature pixels per unit of theirs."""
    cdef int64_t columns = cnp.PyArray_DIM(boxes, 1), step = columns * cnp.PyArray_ITEMSIZE(boxes), k
    cdef bint single = cnp.PyArray_TYPE(boxes) == cnp.NPY_FLOAT32, turned = columns - numbered == 5
    cdef const char* row = <const char*> cnp.PyArray_DATA(boxes)
    cdef Looks looks = Looks(rows=0, fractions=0, reversed_=0, outside=0, far=0, within_one=scale <= 1,
                             empty=True, verdict=PLAIN)
    for k in range(cnp.PyArray_DIM(boxes, 0)):
        look_at_row(row + k * step, single, numbered, turned, scale, height, width, &looks)
    if 2 * looks.fractions > looks.rows:
        looks.verdict = FRACTIONS
    elif looks.within_one and not looks.empty and height > FEW_PIXELS and width > FEW_PIXELS:
        looks.verdict = NORMALISED
    elif 2 * looks.reversed_ > looks.rows:
        looks.verdict = REVERSED
    elif height > 0 and width > 0 and looks.rows > 0:
        if looks.outside == looks.rows or 2 * looks.far > looks.rows:
            looks.verdict = OUTSIDE
    return looks


cdef inline void look_at_row(const char* row, bint single, bint numbered, bint turned, double scale, double height,
                             double width, Looks* looks) noexcept nogil:
    cdef double a = coordinate(row, single, numbered), b = coordinate(row, single, numbered + 1)
    cdef double c = coordinate(row, single, numbered + 2), d = coordinate(row, single, numbered + 3)
    cdef double first = coordinate(row, single, 0) if numbered else 0, radius
    cdef double right = max(a, c), bottom = max(b, d)
    if not isfinite(a + b + c + d + first):
        return
    looks.rows += 1
    looks.fractions += first != floor(first)
    looks.within_one = looks.within_one and min(min(a, b), min(c, d)) >= 0 and max(max(a, b), max(c, d)) <= 1
    looks.empty = looks.empty and a == 0 and b == 0 and c == 0 and d == 0
    if turned:      # centre and sides: corners of a square that it lies in
        radius = min(abs(c), abs(d)) / 2
        right, bottom = a + radius, b + radius  # a long side may lie along the other axis
        radius = (abs(c) + abs(d)) / 2
        a, b, c, d = a - radius, b - radius, a + radius, b + radius
    looks.reversed_ += c < a or d < b
    looks.far += right * scale > FAR * width or bottom * scale > FAR * height
    looks.outside += max(a, c) < 0 or max(b, d) < 0 or min(a, c) * scale > width or min(b, d) * scale > height
