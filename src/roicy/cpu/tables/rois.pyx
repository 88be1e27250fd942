"""What every table knows of the RoIs of a call: their images, their order, the part of the map that each reads."""

from libc.math cimport floor, isfinite
from libc.stdint cimport uint64_t
from libc.string cimport memset

cimport cython
import numpy as np

from roicy.cpu.runtime.checks cimport CHECKED, FENCE_BYTES, check, check_inside, fence
from roicy.cpu.runtime.memory cimport borrow, give_back, most_bytes
from roicy.cpu.runtime.parallel cimport Listener, hears, listener

cnp.import_array()


cdef extern from "geometry/cpu.h" nogil:
    int64_t image_of(const void* row, bint single, int columns, bint given, int64_t image, int64_t images)


cdef enum:
    FIRST_BLOCK = 1 << 15       # bytes; each next block is four times as large, or as large as requested
    GROWN_BLOCK = 1 << 23       # largest size they grow to, so that many can be kept for the next call
    SORTED_AT_ONCE = 1 << 16    # RoIs between two checks for signals
    FEW_SORTED = 32             # up to this many RoIs are sorted by comparisons, not by digits
    DIGIT = 8                   # bits of one, and of so many RoIs
    MANY_DIGIT = 11
    MANY_SORTED = 4096
    FEW_PIXELS = 4              # pixels along an axis: on so small a map, a box of one pixel is no reason for a warning
    FAR = 4                     # in sizes of the map: no sensible box reaches further


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
        The first row that reads beyond the given part of the maps, and what it reads of the whole map, as
        (row, (top, left, bottom, right)). Do not use a table for which this is set.
    doubtful : bool
        Whether boxes look as if their format were another one; `doubts` says which.
    """

    def __dealloc__(self):
        cdef int i
        for i in range(self._blocks):
            give_back(self._block[i])

    def in_pieces(self, str purpose, dtype):
        """Return whether a kernel allocates memory between writes to an array of this dtype.

        If so, it may run out of memory halfway, and a caller's array is written only when the last piece is done.
        """
        return False

    def joins(self, str purpose, channels):
        """Return whether a call for this purpose can wait for others and then run together with them."""
        return True

    cdef tuple choose(self, regions):
        """Return the boxes and batch indices of the table, and note which rows these are."""
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
        if self.rois <= FEW_SORTED:     # once released, Python's lock may take long to come back
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

    cdef int arrange(self, const int64_t* image, Place* place) except -1:
        """Note the order of RoIs with these images and places, which it changes."""
        cdef int64_t k
        for k in range(self.rois):
            place[k].row //= BAND
            if place[k].row % 2:
                place[k].column = -place[k].column
        self.order = <int64_t*> self.reserve(self.rois, sizeof(int64_t))
        return sort(image, place, self.rois, self.order)

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


cdef struct Sorting:
    # RoIs to be sorted, and numbers that begin with what they are sorted by and end with which RoI it is
    const int64_t* image
    const Place* place
    int64_t count
    int64_t* order
    int64_t images, rows, columns   # the least ones
    int image_bits, row_bits, column_bits, roi_bits
    uint64_t* numbers
    uint64_t* spare
    Listener ear


cdef int sort(const int64_t* image, const Place* place, int64_t count, int64_t* order) except -1:
    cdef uint64_t[2 * FEW_SORTED] few
    cdef Sorting s
    cdef bint ended
    s.image, s.place, s.count, s.order, s.ear = image, place, count, order, listener()
    find_bits(&s)
    if count <= FEW_SORTED:
        s.numbers, s.spare = few, few + FEW_SORTED
        sort_places(&s)
        return 0
    s.numbers = <uint64_t*> borrow(2 * count * sizeof(uint64_t))
    s.spare = s.numbers + count
    try:
        with nogil:
            ended = sort_places(&s)
    finally:        # which sets an error aside: what is given back is so under Python's lock
        give_back(min(s.numbers, s.spare))
    return 0 if ended else -1       # the error is set


cdef void find_bits(Sorting* s) noexcept nogil:
    cdef int64_t image = 0, row = 0, column = 0, k
    for k in range(s.count):
        if k == 0:
            image, row, column = s.image[0], s.place[0].row, s.place[0].column
            s.images, s.rows, s.columns = image, row, column
        image, s.images = max(image, s.image[k]), min(s.images, s.image[k])
        row, s.rows = max(row, <int64_t> s.place[k].row), min(s.rows, <int64_t> s.place[k].row)
        column, s.columns = max(column, <int64_t> s.place[k].column), min(s.columns, <int64_t> s.place[k].column)
    s.image_bits, s.row_bits = bits_of(image - s.images), bits_of(row - s.rows)
    s.column_bits, s.roi_bits = bits_of(column - s.columns), bits_of(s.count)


cdef bint sort_places(Sorting* s) noexcept nogil:
    # Where a number cannot hold all: by what counts least, and then those that are alike stay as they are.
    cdef int64_t k
    for k in range(s.count):
        s.order[k] = k
    if s.image_bits + s.row_bits + s.column_bits + s.roi_bits <= 64:
        return sort_by(s, True, True, True)
    return sort_by(s, False, False, True) and sort_by(s, False, True, False) and sort_by(s, True, False, False)


cdef bint sort_by(Sorting* s, bint images, bint rows, bint columns) noexcept nogil:
    cdef int64_t k, roi
    cdef uint64_t number
    for k in range(s.count):
        roi, number = s.order[k], 0
        if images:
            number = <uint64_t> (s.image[roi] - s.images)
        if rows:
            number = number << s.row_bits | <uint64_t> (s.place[roi].row - s.rows)
        if columns:
            number = number << s.column_bits | <uint64_t> (s.place[roi].column - s.columns)
        s.numbers[k] = number << s.roi_bits | <uint64_t> roi
    if s.count <= FEW_SORTED:
        insert_numbers(s)
    elif not sort_numbers(s, images * s.image_bits + rows * s.row_bits + columns * s.column_bits):
        return False
    for k in range(s.count):
        s.order[k] = s.numbers[k] & ((<uint64_t> 1 << s.roi_bits) - 1)
    return True


cdef void insert_numbers(Sorting* s) noexcept nogil:
    cdef int64_t k, at
    cdef uint64_t number
    for k in range(1, s.count):
        number, at = s.numbers[k], k
        while at > 0 and s.numbers[at - 1] >> s.roi_bits > number >> s.roi_bits:
            s.numbers[at] = s.numbers[at - 1]
            at -= 1
        s.numbers[at] = number


cdef bint sort_numbers(Sorting* s, int bits) noexcept nogil:
    # By digits, the last one first. Between pieces there is time to look for signals.
    cdef int most = MANY_DIGIT if s.count >= MANY_SORTED else DIGIT, passes = (bits + most - 1) // most, i, shift
    cdef int64_t[1 << MANY_DIGIT] begin
    cdef int64_t at = 0, digits, k, run, total
    for i in range(passes):
        shift = bits * i // passes
        digits = <int64_t> 1 << bits * (i + 1) // passes - shift
        shift += s.roi_bits
        memset(begin, 0, digits * sizeof(int64_t))
        for run in range((s.count - 1) // SORTED_AT_ONCE + 1):
            for k in range(run * SORTED_AT_ONCE, min(s.count, (run + 1) * SORTED_AT_ONCE)):
                begin[s.numbers[k] >> shift & (digits - 1)] += 1
            if s.count > SORTED_AT_ONCE and hears(&s.ear, SORTED_AT_ONCE):
                return False
        at = 0
        for k in range(digits):
            total = begin[k]
            begin[k] = at
            at += total
        for run in range((s.count - 1) // SORTED_AT_ONCE + 1):
            for k in range(run * SORTED_AT_ONCE, min(s.count, (run + 1) * SORTED_AT_ONCE)):
                total = s.numbers[k] >> shift & (digits - 1)
                s.spare[begin[total]] = s.numbers[k]
                begin[total] += 1
            if s.count > SORTED_AT_ONCE and hears(&s.ear, SORTED_AT_ONCE):
                return False
        s.numbers, s.spare = s.spare, s.numbers
    return True


cdef inline int bits_of(int64_t number) noexcept nogil:
    cdef int bits = 0
    while bits < 63 and number >> bits:
        bits += 1
    return bits


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
        cdef Place* place
        cdef double* cost
        boxes, images = self.choose(regions)
        self.describe(regions, "float32", boxes)
        image = self.find_images(boxes, images)
        place = <Place*> self.reserve(self.rois, sizeof(Place))
        cost = <double*> self.reserve(self.rois, sizeof(double))
        self.window = <Window*> self.reserve(self.rois, sizeof(Window))
        for k in range(self.rois):
            place[k] = Place(row=0, column=0)
            self.window[k] = self.part
            cost[k] = <double> self.rows * self.columns
        self.arrange(image, place)
        self.summarise(image, cost)


@cython.binding(True)   # its twin's signature is held against it
def doubts(regions, double scale):
    """Return a word of `roicy._doubts` if most boxes were probably meant otherwise, else None."""
    height, width = regions.map_size
    cdef Looks looks = look_at(regions.boxes, regions.images is None, scale, height, width)
    return WORDS[looks.verdict]


cdef Looks look_at(cnp.ndarray boxes, bint numbered, double scale, double height, double width) noexcept:
    """Return what boxes look like; `numbered`: with batch indices. `scale`: feature pixels per unit of the boxes."""
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
