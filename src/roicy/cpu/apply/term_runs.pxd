"""Which pixels of a gradient get so many terms that they are summed in pieces, and where each piece ends.

If a RoI would bring a pixel's piece above PILE terms, the piece is first added to a sum beside the tile. That depends
on the boxes only, so it is computed once for all blocks of channels.
"""

from libc.stddef cimport size_t
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t
from libc.string cimport memset

from roicy.cpu.lanes.lanes cimport lanes
from roicy.cpu.lanes.piles cimport piles_count, piles_finish, piles_join
from roicy.cpu.runtime.memory cimport allocate, allocate_zeros, deallocate, reallocate
from roicy.cpu.runtime.work cimport Task
from roicy.cpu.tables.rois cimport PILE, RoiTable, Window


cdef struct Run:
    # neighbours in a row of the map
    int32_t row, column, length


cdef struct Runs:
    int64_t* start          # (K + 1), where the runs begin whose pieces end before a RoI; NULL if no sum is in pieces
    Run* run
    int64_t count, room
    # while they are noted: for the rows from `top` on how many terms each pixel's piece has
    uint16_t* held
    int64_t top, bottom
    int64_t longest         # rows or columns of a window


cdef struct Pieces:
    # of a task: sums and what they lost for a tile of `rows` rows, where row y of the map has slot (y - first) % rows
    lanes* sum
    lanes* lost
    char* used              # (rows) whether the row has any
    int64_t first, rows, columns


cdef inline Runs no_runs() noexcept:
    return Runs(start=NULL, run=NULL, count=0, room=0, held=NULL, top=0, bottom=0, longest=0)


cdef inline int begin_runs(Runs* runs, RoiTable table) except -1:
    # Room for what is noted; the caller frees it, by free_runs.
    cdef const Window* window
    cdef int64_t k
    runs.top = table.height
    for k in range(table.rois):
        window = table.window + k
        if window.bottom > window.top:
            runs.top = min(runs.top, <int64_t> window.top)
            runs.bottom = max(runs.bottom, <int64_t> window.bottom)
            runs.longest = max(runs.longest, <int64_t> window.bottom - window.top, <int64_t> window.right - window.left)
    runs.top = min(runs.top, runs.bottom)
    runs.start = <int64_t*> allocate_zeros((table.rois + 1) * sizeof(int64_t))
    try:
        runs.held = <uint16_t*> allocate((runs.bottom - runs.top) * table.width * sizeof(uint16_t))
    except MemoryError:
        free_runs(runs)
        raise
    return 0


cdef inline void free_runs(Runs* runs) noexcept:
    deallocate(runs.start)
    deallocate(runs.run)
    deallocate(runs.held)
    runs[0] = no_runs()


cdef inline void start_image(Runs* runs, RoiTable table) noexcept nogil:
    memset(runs.held, 0, (runs.bottom - runs.top) * table.width * sizeof(uint16_t))


cdef inline int end_runs(Runs* runs, RoiTable table, bint noted, bint wanted) except -1:
    # `noted`: whether there was memory; `wanted`: keep the runs even if there are none.
    runs.start[table.rois] = runs.count
    deallocate(runs.held)
    runs.held = NULL
    if not noted or not (wanted or runs.count):
        free_runs(runs)
    if not noted:
        raise MemoryError("roicy: no memory to note which pixels get very many terms")
    return 0


cdef inline bint count_window(Runs* runs, const Window* window, int width, const uint8_t* down,
                              int limit) noexcept nogil:
    # As note_window, with `down` alone: whether a pixel has more than `limit` terms.
    cdef int64_t row
    for row in range(window.top, window.bottom):
        if piles_count(runs.held + (row - runs.top) * width + window.left, window.right - window.left,
                       down[row - window.top], NULL, limit):
            return True
    return False


cdef inline bint note_window(Runs* runs, int64_t k, const Window* window, int width, const uint8_t* down,
                             const uint8_t* along) noexcept nogil:
    # Count the next RoI: each pixel of its window gets `down` of its row times `along` of its column terms, 1
    # where `along` is NULL. Returns whether there was memory for the runs.
    cdef int64_t row, last
    cdef int x, columns = window.right - window.left
    cdef uint16_t* held
    cdef Run* more
    runs.start[k] = runs.count
    for row in range(window.top, window.bottom):
        held = runs.held + (row - runs.top) * width + window.left
        if not piles_count(held, columns, down[row - window.top], along, PILE):
            continue
        if runs.count + columns > runs.room:
            more = <Run*> reallocate(runs.run, (2 * runs.room + columns) * sizeof(Run))
            if more == NULL:
                return False
            runs.run = more
            runs.room = 2 * runs.room + columns
        last = -1
        for x in range(columns):
            if held[x] <= PILE:
                last = -1
                continue
            held[x] = down[row - window.top] * (along[x] if along != NULL else 1)
            if last < 0:
                last = runs.count
                runs.count += 1
                runs.run[last] = Run(row=<int32_t> row, column=window.left + x, length=0)
            runs.run[last].length += 1
    return True


cdef inline void use_sums(Pieces* pieces, int64_t slot) noexcept nogil:
    # A row of sums begins with zeros.
    if not pieces.used[slot]:
        memset(pieces.sum + slot * pieces.columns, 0, pieces.columns * sizeof(lanes))
        memset(pieces.lost + slot * pieces.columns, 0, pieces.columns * sizeof(lanes))
        pieces.used[slot] = True


cdef inline void join_runs(Runs* runs, int64_t k, Task* task, lanes* tile, Pieces* pieces) noexcept nogil:
    # Add the pieces that end before RoI k to their sums.
    cdef const Run* run
    cdef int64_t i, slot, at
    for i in range(runs.start[k], runs.start[k + 1]):
        run = runs.run + i
        if task.top <= run.row < task.bottom:
            slot = (run.row - pieces.first) % pieces.rows
            use_sums(pieces, slot)
            at = slot * pieces.columns + run.column
            piles_join(tile + at, run.length, pieces.sum + at, pieces.lost + at)


cdef inline void finish_row(lanes* tile, Pieces* pieces, int64_t slot) noexcept nogil:
    cdef int64_t at = slot * pieces.columns
    if pieces.used[slot]:
        piles_finish(tile + at, pieces.columns, pieces.sum + at, pieces.lost + at)


cdef inline size_t pieces_bytes(int64_t rows, int64_t columns) noexcept nogil:
    return rows * (2 * columns * sizeof(lanes) + 1)


cdef inline Pieces pieces_in(char* memory, int64_t first, int64_t rows, int64_t columns) noexcept nogil:
    cdef Pieces pieces = Pieces(sum=<lanes*> memory, lost=<lanes*> memory + rows * columns, used=NULL, first=first,
                                rows=rows, columns=columns)
    pieces.used = <char*> (pieces.lost + rows * columns)
    return pieces
