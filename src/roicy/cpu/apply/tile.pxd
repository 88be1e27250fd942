"""The rows of the map that a kernel works on: a tile ``[row][column][lane]`` of the accumulation type.

The lanes are the channels of one block, or of a few blocks side by side. There are two kinds of tiles:

- A ring: row y lies at y modulo the number of rows.
- A sheet, if the rows of a RoI must be consecutive in memory, since taps of sample tables are offsets. It has room for
  twice as many rows, and moves them up when it is full. With a sheet, axis_forward took 1.03 to 1.07 times as long as
  with a ring (1000 boxes of 4 to 60 pixels on 256 channels of 200 x 272; level v4).
"""

from libc.stddef cimport ptrdiff_t
from libc.stdint cimport int64_t
from libc.string cimport memmove

from roicy.cpu.apply.view cimport View, load_pixels
from roicy.cpu.lanes.lanes cimport LANES, lanes
from roicy.cpu.runtime.checks cimport check_inside
from roicy.cpu.tables.rois cimport Window

# ---- a ring of rows ---


cdef struct Ring:
    # A tile of `rows` rows, as many as the furthest reaching RoI needs; row y of the map lies at y modulo `rows`.
    # RoIs come by bands of their last rows, so that an older row is never asked for again.
    int64_t rows
    int64_t left, columns   # the part of each row that is held
    int64_t filled          # rows up to here have been there
    int depth               # vectors a pixel: blocks of channels that are held side by side


cdef inline Ring ring_for(View* view, const Window* window, int64_t first, int64_t last, int64_t rows) noexcept nogil:
    # Hold the columns that any of these RoIs uses; all columns if that is most of them and rows are contiguous.
    cdef Ring ring
    cdef int64_t left = view.columns, right = 0, top = view.rows, k
    for k in range(first, last):
        if window[k].bottom > window[k].top:
            left = min(left, <int64_t> window[k].left)
            right = max(right, <int64_t> window[k].right)
            top = min(top, <int64_t> window[k].top)
    if right <= left or 4 * (right - left) > 3 * view.columns and view.rows_joined:
        left, right = 0, view.columns
    ring.rows = rows
    ring.left = left
    ring.columns = right - left
    ring.filled = top
    ring.depth = 1
    return ring


cdef inline void load_rows(View* view, const char* source, int channels, int64_t last, Ring* ring,
                           lanes* tile) noexcept nogil:
    # Load the rows before `last`.
    cdef int64_t row = ring.filled, slot, rows
    cdef int v
    check_inside(row, 0, view.rows + 1)
    check_inside(last, 0, view.rows + 1)
    while row < last:
        slot = row % ring.rows
        rows = min(last - row, ring.rows - slot) if view.rows_joined and ring.columns == view.columns else 1
        for v in range(min(ring.depth, (channels + LANES - 1) // LANES)):
            load_pixels(view, source + row * view.row + ring.left * view.column + v * LANES * view.channel,
                        min(LANES, channels - v * LANES), rows * ring.columns,
                        tile + slot * ring.columns * ring.depth + v, ring.depth)
        row += rows
    ring.filled = max(last, ring.filled)


cdef inline void check_held(const Window* window, Ring* ring) noexcept nogil:
    # Check that the tile holds the window: no row of it was overwritten by a later one.
    check_inside(window.bottom, 0, ring.filled + 1)
    check_inside(window.top, ring.filled - ring.rows, ring.filled)
    check_inside(window.left, ring.left, ring.left + ring.columns)
    check_inside(window.right, ring.left, ring.left + ring.columns + 1)


cdef inline void window_rows(const Window* window, Ring* ring, const char* tile, const char** row) noexcept nogil:
    # Where the rows of a RoI's window begin in the tile.
    cdef int64_t slot = window.top % ring.rows, i
    check_held(window, ring)
    for i in range(window.bottom - window.top):
        row[i] = tile + (slot * ring.columns + window.left - ring.left) * ring.depth * <ptrdiff_t> sizeof(lanes)
        slot += 1
        if slot == ring.rows:
            slot = 0


# ---- a sheet of rows: as a ring, but a RoI's rows lie one after the other ---


cdef struct Sheet:
    int64_t rows            # that there is room for
    int64_t first           # row of the map that comes first
    int64_t left, columns   # the part of each row that is held
    int64_t filled          # rows up to here have been there
    int depth               # vectors a pixel: blocks of channels that are held side by side


cdef inline lanes* sheet_at(Sheet* sheet, char* tile, int64_t row, int64_t column) noexcept nogil:
    return <lanes*> tile + ((row - sheet.first) * sheet.columns + column - sheet.left) * sheet.depth


cdef inline void turn_sheet(Sheet* sheet, char* tile, int64_t first) noexcept nogil:
    # Drop the rows before `first` and move the others up.
    if sheet.filled > first:
        memmove(tile, sheet_at(sheet, tile, first, sheet.left),
                (sheet.filled - first) * sheet.columns * sheet.depth * sizeof(lanes))
    sheet.first = first
    sheet.filled = max(sheet.filled, first)


cdef inline void load_sheet(View* view, const char* source, int channels, const Window* window, int64_t span,
                            Sheet* sheet, char* tile) noexcept nogil:
    # Load the rows of the window into the sheet. No later window begins more than `span` rows before the end of this
    # one.
    cdef int64_t rows, row
    cdef int v
    check_inside(window.bottom, 0, view.rows + 1)
    if window.bottom > sheet.first + sheet.rows:
        turn_sheet(sheet, tile, window.bottom - span)
    row = sheet.filled
    while row < window.bottom:
        rows = window.bottom - row if view.rows_joined and sheet.columns == view.columns else 1
        for v in range(min(sheet.depth, (channels + LANES - 1) // LANES)):
            load_pixels(view, source + row * view.row + sheet.left * view.column + v * LANES * view.channel,
                        min(LANES, channels - v * LANES), rows * sheet.columns,
                        sheet_at(sheet, tile, row, sheet.left) + v, sheet.depth)
        row += rows
    sheet.filled = max(sheet.filled, <int64_t> window.bottom)
    check_inside(window.top, sheet.first, sheet.filled)
    check_inside(sheet.filled, sheet.first, sheet.first + sheet.rows + 1)
    check_inside(window.left, sheet.left, sheet.left + sheet.columns)
    check_inside(window.right, sheet.left, sheet.left + sheet.columns + 1)
