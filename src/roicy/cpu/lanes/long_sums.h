/* Sums of many terms, in pieces and with compensation.
 *
 * A chain of multiply-adds rounds each term at the magnitude of the sum. Equal terms round the same way, so the
 * error grows with the number of terms. A sum of more than PIECE terms is therefore made of pieces, each a chain.
 * The rounding error of adding a piece is kept, and added at the end.
 */
#ifndef ROICY_LONG_SUMS_H
#define ROICY_LONG_SUMS_H

#include "lanes.h"

enum { PIECE = 24 }; /* terms of a chain, at the most */

/* sum + piece, rounded; what the rounding took away is added to `lost`. */
ROICY_INLINE lanes lanes_join(lanes piece, lanes sum, lanes *lost) {
    const lanes total = lanes_madd(1, piece, sum);
    const lanes joined = lanes_madd(-1, sum, total); /* of the piece */
    const lanes stayed = lanes_madd(-1, joined, total);
    *lost = lanes_madd(1, lanes_madd(-1, stayed, sum), lanes_madd(1, lanes_madd(-1, joined, piece), *lost));
    return total;
}

/* The sum with its rounding error; a NaN or infinite sum stays as it is. */
ROICY_INLINE lanes lanes_restore(lanes sum, lanes lost) {
#if defined(__GNUC__)
    const lanes kept = (lanes)((lost == lost) & (__typeof__(lost == lost))lost);
#else
    lanes kept = lanes_zero();
    ROICY_EACH(l) kept.lane[l] = lost.lane[l] == lost.lane[l] ? lost.lane[l] : 0;
#endif
    return lanes_madd(1, kept, sum);
}

/* sum[v] = the sum over taps j of weight[j] * x, an expression of j and v, for v < width. */
#define ROICY_LONG_SUM(sum, weight, taps, width, x)                                                          \
    do {                                                                                                     \
        lanes piece_[width], lost_[width];                                                                   \
        for (int v = 0; v < (width); v++)                                                                    \
            (sum)[v] = lost_[v] = lanes_zero();                                                              \
        for (int begin_ = 0; begin_ < (taps); begin_ += PIECE) {                                             \
            const int end_ = (taps) - begin_ < PIECE ? (taps) : begin_ + PIECE;                              \
            int j = begin_;                                                                                  \
            for (int v = 0; v < (width); v++)                                                                \
                piece_[v] = lanes_scale((weight)[j], x);                                                     \
            for (j++; j < end_; j++)                                                                         \
                for (int v = 0; v < (width); v++)                                                            \
                    piece_[v] = lanes_madd((weight)[j], x, piece_[v]);                                       \
            for (int v = 0; v < (width); v++)                                                                \
                (sum)[v] = begin_ ? lanes_join(piece_[v], (sum)[v], lost_ + v) : piece_[v];                  \
        }                                                                                                    \
        for (int v = 0; v < (width); v++)                                                                    \
            (sum)[v] = lanes_restore((sum)[v], lost_[v]);                                                    \
    } while (0)

#endif
