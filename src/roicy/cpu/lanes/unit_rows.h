/* Rows over their lengths, and back; sums are in double whatever the rows are. */
#ifndef ROICY_UNIT_ROWS_H
#define ROICY_UNIT_ROWS_H

#include "lanes.h"

#include <math.h>

enum {
    DOT_SUMS = 16,  /* sums side by side, which compilers keep in vectors */
    DOT_TERMS = 256 /* terms of each that are added one to the other: of very many, rounding would add up */
};

ROICY_INLINE double row_dot(const real *a, const real *b, ptrdiff_t count) {
    double total[DOT_SUMS] = {0};
    ptrdiff_t i = 0;
    while (i < count) {
        const ptrdiff_t left = count - i, most = left / DOT_SUMS;
        const ptrdiff_t steps = most < DOT_TERMS ? most : DOT_TERMS;
        double sum[DOT_SUMS] = {0};
        for (ptrdiff_t step = 0; step < steps; step++, i += DOT_SUMS)
            for (int s = 0; s < DOT_SUMS; s++)
                sum[s] += (double)a[i + s] * (double)b[i + s];
        if (steps == 0)
            for (int s = 0; i < count; s++, i++)
                sum[s] = (double)a[i] * (double)b[i];
        for (int s = 0; s < DOT_SUMS; s++)
            total[s] += sum[s];
    }
    for (int half = DOT_SUMS / 2; half; half /= 2)
        for (int s = 0; s < half; s++)
            total[s] += total[s + half];
    return total[0];
}

/* Between these, of doubles that came of floats, nothing below overflows or underflows. */
#define LEAST_DIVISOR 1e-100
#define MOST_DIVISOR 1e100

/* Whether rows can be divided by products: twelve times as fast, and the same bits. */
ROICY_INLINE int divides_by_products(double divisor) {
#if defined(__FMA__) && !defined(ROICY_DOUBLE)
    return divisor > LEAST_DIVISOR && divisor < MOST_DIVISOR;
#else
    (void)divisor;
    return 0;
#endif
}

/* a / b, correctly rounded: a quotient that is nearly right is corrected twice by what is beyond a (Markstein: the
 * first correction makes it one of the two next to the exact one, the second the nearer of them). A zero keeps its
 * sign, as the negative of a fused sum might not. */
ROICY_INLINE double quotient(double a, double b, double over_b) {
#if defined(__FMA__)
    const double rough = a * over_b;
    const double near = __builtin_fma(__builtin_fma(rough, b, -a), -over_b, rough);
    return __builtin_fma(__builtin_fma(near, b, -a), -over_b, near);
#else
    (void)over_b;
    return a / b;
#endif
}

/* At least `eps`; a NaN stays one. */
ROICY_INLINE double row_divisor(double length, double eps) { return length <= eps ? eps : length; }

/* One row; returns its length. */
ROICY_NOINLINE double unit_row(const real *row, ptrdiff_t count, double eps, real *unit) {
    const double length = sqrt(row_dot(row, row, count)), divisor = row_divisor(length, eps);
    if (divides_by_products(divisor)) {
        const double over = 1 / divisor;
        for (ptrdiff_t i = 0; i < count; i++)
            unit[i] = (real)quotient(row[i], divisor, over);
        return length;
    }
    for (ptrdiff_t i = 0; i < count; i++)
        unit[i] = (real)((double)row[i] / divisor);
    return length;
}

/* The gradient of a row that was made `unit`: a unit only turns, so what lies along it is taken away; a
 * shorter row than `eps` was divided by a constant. */
ROICY_NOINLINE void unit_row_backward(const real *grad, const real *unit, ptrdiff_t count, double length,
                                      double eps, real *target) {
    const double along = length > eps ? row_dot(grad, unit, count) : 0, divisor = row_divisor(length, eps);
    if (length > eps && along - along == 0 && divides_by_products(divisor)) { /* all is finite */
        const double over = 1 / divisor;
        for (ptrdiff_t i = 0; i < count; i++)
            target[i] = (real)quotient((double)grad[i] - along * (double)unit[i], divisor, over);
        return;
    }
    for (ptrdiff_t i = 0; i < count; i++)
        target[i] = (real)(((double)grad[i] - along * (double)unit[i]) / divisor);
}

#endif
