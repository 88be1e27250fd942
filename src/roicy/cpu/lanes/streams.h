/* Rows of a result that are stored past the cache ("streamed"), each while the next one is computed. Ordinary stores
 * would first read from memory the lines that they overwrite. Streaming stores wait for each other unless there is
 * other work between them.
 *
 *     sums of row p ──▶ buffer p % 2          buffer (p - 1) % 2 ── line by line ──▶ result
 *
 * A row has one piece, or one for each channel. A piece of a row lies right behind that of the row before in the
 * result. Only whole cache lines are streamed: if a piece ends inside of a line, its last bytes are kept and streamed
 * together with the first ones of the next row's piece. */
#ifndef ROICY_STREAMS_H
#define ROICY_STREAMS_H

#include "blocks.h"

enum { LINE = 64, PIECES = 4 }; /* bytes of a cache line; most pieces of a row */

typedef struct {
    char *buffer[2];
    int pieces, rate;     /* pieces of a row; lines of each piece that are streamed at a time */
    ptrdiff_t size, step; /* bytes of a piece, at least a line; bytes from piece to piece in a buffer */
    ptrdiff_t apart;      /* bytes from piece to piece in the result */
    int turn, follows;    /* which buffer the next row goes to; whether a row was taken before */
    /* The row that is being streamed. Of each piece: the next line in the buffer and in the result, and the number of
     * lines left. `least` is the smallest of these numbers. */
    const char *source[PIECES];
    char *target[PIECES];
    ptrdiff_t lines[PIECES], least;
} row_streams;

/* Bytes from piece to piece in a buffer. There is room for a line in front of each piece, where the last bytes of the
 * row before go, and for a vector behind it. */
ROICY_INLINE ptrdiff_t streams_step(ptrdiff_t size) { return LINE + (size + 2 * LINE - 1) / LINE * LINE; }

/* Starts with rows of `columns`. `buffers` is aligned to a cache line and has room for both buffers. `rate` is such
 * that a row is streamed in the time of the next one, some lines at every DEPTH-th vector of columns. */
ROICY_INLINE void streams_start(row_streams *of, char *buffers, int pieces, ptrdiff_t size, ptrdiff_t apart,
                                ptrdiff_t columns) {
    const ptrdiff_t times = columns / (LANES * DEPTH), lines = size / LINE;
    of->step = streams_step(size);
    of->buffer[0] = buffers, of->buffer[1] = buffers + pieces * of->step;
    of->pieces = pieces, of->size = size, of->apart = apart;
    of->rate = times && lines > times ? (int)(lines / times) : 1;
    of->turn = of->follows = 0, of->least = 0;
    for (int c = 0; c < pieces; c++)
        of->lines[c] = 0;
}

/* Where to write the first piece of the next row; the other pieces follow, `step` bytes apart. */
ROICY_INLINE char *streams_place(const row_streams *of) { return of->buffer[of->turn] + LINE; }

ROICY_INLINE void streams_line(const char *source, char *target) {
    for (int i = 0; i < LINE; i += ROICY_LANE_BYTES)
        lanes_stream(lanes_load_own(source + i), target + i);
}

/* The row that is being streamed, as local variables of a loop over the next row. Bytes of each piece: `at` are
 * streamed, `end` are to be streamed in this loop, `more` at a time. */
typedef struct {
    const char *source[PIECES];
    char *target[PIECES];
    ptrdiff_t at, end, more;
} streams_part;

ROICY_INLINE streams_part streams_part_of(const row_streams *of) {
    streams_part part = {{0}, {0}, 0, 0, 0};
    if (of == NULL)
        return part;
    memcpy(part.source, of->source, sizeof part.source);
    memcpy(part.target, of->target, sizeof part.target);
    part.end = of->least * LINE, part.more = of->rate * LINE;
    return part;
}

/* Streams the next lines of each of `pieces` pieces: `more` bytes, or as many as are left. */
ROICY_INLINE void streams_some(streams_part *part, const int pieces) {
    const ptrdiff_t end = part->end - part->at < part->more ? part->end : part->at + part->more;
    for (; part->at < end; part->at += LINE)
        for (int c = 0; c < pieces; c++)
            streams_line(part->source[c] + part->at, part->target[c] + part->at);
}

/* Streams one line of each piece, if there is one left. */
ROICY_INLINE void streams_once(streams_part *part, const int pieces) {
    if (part->at >= part->end)
        return;
    for (int c = 0; c < pieces; c++)
        streams_line(part->source[c] + part->at, part->target[c] + part->at);
    part->at += LINE;
}

/* Notes what a loop has streamed; `of` is NULL if it streams nothing. */
ROICY_INLINE void streams_done(row_streams *of, const streams_part *part) {
    for (int c = 0; of && c < of->pieces; c++) {
        of->source[c] += part->at, of->target[c] += part->at;
        of->lines[c] -= part->at / LINE;
    }
}

/* Streams all remaining lines of the row. */
ROICY_NOINLINE void streams_rest(row_streams *of) {
    for (int c = 0; c < of->pieces; c++) {
        const char *source = of->source[c];
        char *target = of->target[c];
        for (ptrdiff_t left = of->lines[c]; left > 0; left--, source += LINE, target += LINE)
            streams_line(source, target);
        of->source[c] = source, of->target[c] = target;
        of->lines[c] = 0;
    }
    of->least = 0;
}

/* Takes the row that was written to streams_place(): it is streamed next, its first piece to `target`. If a piece
 * begins inside of a line, the last bytes of the row before are copied in front of it, so that the line is whole. The
 * first row has none before it: its bytes up to the first whole line are stored as usual. */
ROICY_NOINLINE void streams_take(row_streams *of, char *target) {
    char *place = streams_place(of);
    const char *before = of->buffer[1 - of->turn] + LINE;
    streams_rest(of);
    for (int c = 0; c < of->pieces; c++, place += of->step, before += of->step, target += of->apart) {
        ptrdiff_t front =
            (ptrdiff_t)((uintptr_t)target % LINE); /* bytes of its first line that belong to the row before */
        if (of->follows) {
            memcpy(place - front, before + of->size - front, (size_t)front);
        } else if (front) {
            front -= LINE;
            memcpy(target, place, (size_t)-front);
        }
        of->source[c] = place - front, of->target[c] = target - front;
        of->lines[c] = (of->size + front) / LINE;
        if (c == 0 || of->lines[c] < of->least)
            of->least = of->lines[c];
    }
    of->turn = 1 - of->turn, of->follows = 1;
}

/* Writes all that is left of the rows that were taken; the last bytes, less than a line, are stored as usual. */
ROICY_NOINLINE void streams_end(row_streams *of) {
    const char *last = of->buffer[1 - of->turn] + LINE + of->size;
    streams_rest(of);
    for (int c = 0; of->follows && c < of->pieces; c++, last += of->step)
        memcpy(of->target[c], of->source[c], (size_t)(last - of->source[c]));
    of->follows = 0;
}

#endif
