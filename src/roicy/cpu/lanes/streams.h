/* Rows of a result that pass by the cache, each while the next one is found: stores past the cache wait for each other
 * where nothing else is between them, and others read first from memory what they write over.
 *
 *     sums of row p ──▶ buffer p % 2          buffer (p - 1) % 2 ── line by line ──▶ result
 *
 * A row has one piece, or one for each channel. Only whole cache lines are streamed: what a row begins of a
 * line, the next one ends, which lies behind it in the result. */
#ifndef ROICY_STREAMS_H
#define ROICY_STREAMS_H

#include "blocks.h"

enum { LINE = 64, PIECES = 4 }; /* bytes of a cache line; pieces of a row, at the most */

typedef struct {
    char *buffer[2];
    int pieces, rate;     /* of a row; lines of each to stream at a time */
    ptrdiff_t size, step; /* bytes of a piece, at least a line; from one to the next in a buffer */
    ptrdiff_t apart;      /* from one to the next in the result */
    int turn, follows;    /* the buffer that the next row goes to, and whether there was one before */
    /* what is left to stream of the row before: of each piece, the next line, and how many; how many of all of them */
    const char *source[PIECES];
    char *target[PIECES];
    ptrdiff_t lines[PIECES], least;
} row_streams;

/* Bytes from piece to piece in a buffer: there is a line in front of each one, and a vector behind it. */
ROICY_INLINE ptrdiff_t streams_step(ptrdiff_t size) { return LINE + (size + 2 * LINE - 1) / LINE * LINE; }

/* For rows of `columns`. The buffers, one behind the other, begin where a cache line does. */
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

/* Where the first piece of the next row is to be put; the others lie `step` apart. */
ROICY_INLINE char *streams_place(const row_streams *of) { return of->buffer[of->turn] + LINE; }

ROICY_INLINE void streams_line(const char *source, char *target) {
    for (int i = 0; i < LINE; i += ROICY_LANE_BYTES)
        lanes_stream(lanes_load_own(source + i), target + i);
}

/* What is left of the row before, as a loop uses it that streams some of it. */
typedef struct {
    const char *source[PIECES];
    char *target[PIECES];
    ptrdiff_t at, end,
        more; /* bytes of all pieces that are streamed, and that are to be, so many at a time */
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

/* Some lines of each of `pieces`. */
ROICY_INLINE void streams_some(streams_part *part, const int pieces) {
    const ptrdiff_t end = part->end - part->at < part->more ? part->end : part->at + part->more;
    for (; part->at < end; part->at += LINE)
        for (int c = 0; c < pieces; c++)
            streams_line(part->source[c] + part->at, part->target[c] + part->at);
}

/* One line of each, where there is one. */
ROICY_INLINE void streams_once(streams_part *part, const int pieces) {
    if (part->at >= part->end)
        return;
    for (int c = 0; c < pieces; c++)
        streams_line(part->source[c] + part->at, part->target[c] + part->at);
    part->at += LINE;
}

ROICY_INLINE void streams_done(row_streams *of, const streams_part *part) {
    for (int c = 0; of && c < of->pieces; c++) {
        of->source[c] += part->at, of->target[c] += part->at;
        of->lines[c] -= part->at / LINE;
    }
}

/* What is left of the row before. */
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

/* The row that has been put into its place is the next to be streamed, its first piece to `target`. */
ROICY_NOINLINE void streams_take(row_streams *of, char *target) {
    char *place = streams_place(of);
    const char *before = of->buffer[1 - of->turn] + LINE;
    streams_rest(of);
    for (int c = 0; c < of->pieces; c++, place += of->step, before += of->step, target += of->apart) {
        ptrdiff_t front =
            (ptrdiff_t)((uintptr_t)target % LINE); /* bytes of its first line that are not its own */
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

/* All that was taken is in the result, then. */
ROICY_NOINLINE void streams_end(row_streams *of) {
    const char *last = of->buffer[1 - of->turn] + LINE + of->size;
    streams_rest(of);
    for (int c = 0; of->follows && c < of->pieces; c++, last += of->step)
        memcpy(of->target[c], of->source[c], (size_t)(last - of->source[c]));
    of->follows = 0;
}

#endif
