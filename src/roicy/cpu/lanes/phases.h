/* Time the parts of a kernel (only with ROICY_BUILD=phases, see setup.py; empty in other builds).
 *
 * Use one thread: with more, the counts of threads mix and mean nothing. Entering a part takes some ten nanoseconds.
 */
#ifndef ROICY_PHASES_H
#define ROICY_PHASES_H

#include <stdint.h>

/* The columns of `roicy bench --phases`, in this order. ROWS: the row pass, or the sums of taps of kernels without two
 * passes. TURN: results are transposed, if that is a step before they are stored. */
enum { PHASE_OTHER, PHASE_LOAD, PHASE_ROWS, PHASE_COLUMNS, PHASE_TURN, PHASE_STORE, PHASES };

#ifdef ROICY_PHASES

#include <x86intrin.h>

#include "lanes.h"

enum { PHASES_TOLD = 1 };

static uint64_t phase_ticks[PHASES], phase_since;
static int phase_now;

/* Starts a phase; returns the phase before it. */
static inline __attribute__((unused)) int phase_enter(int phase) {
    const uint64_t now = __rdtsc();
    const int before = phase_now;
    phase_ticks[before] += now - phase_since;
    phase_since = now;
    phase_now = phase;
    return before;
}

enum { PHASE_SUMS = 8 }; /* that are made at a time: as many as multiply-adds are in flight */

/* Multiply-adds of vectors from the first-level cache, PHASE_SUMS in each round, as fast as they can be. */
static __attribute__((unused, noinline)) void phase_peak(int64_t rounds) {
    static lanes pixel[PHASE_SUMS];
    const lanes *const x = pixel;
    const lanes w = lanes_fill(0.5f);
    lanes a = x[0], b = x[0], c = x[0], d = x[0], e = x[0], f = x[0], g = x[0], h = x[0];
    for (int64_t i = 0; i < rounds; i++) {
        a = lanes_multiply_add(w, x[0], a), b = lanes_multiply_add(w, x[1], b);
        c = lanes_multiply_add(w, x[2], c), d = lanes_multiply_add(w, x[3], d);
        e = lanes_multiply_add(w, x[4], e), f = lanes_multiply_add(w, x[5], f);
        g = lanes_multiply_add(w, x[6], g), h = lanes_multiply_add(w, x[7], h);
        __asm__ volatile("" ::: "memory"); /* and they are read again */
    }
    pixel[0] = a + b + c + d + e + f + g + h;
}

#else

enum { PHASES_TOLD = 0, PHASE_SUMS = 0 };
static uint64_t phase_ticks[PHASES];
#define phase_enter(phase) ((void)phase_ticks, 0)
#define phase_peak(rounds) ((void)(rounds))

#endif

#endif
