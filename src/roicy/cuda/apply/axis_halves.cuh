/* Averages of bins of axis tables that overflowed, summed once more. */
#pragma once
#include "lanes/overflow.cuh"
#include "tables/axis.cuh"

/* Half the average of a bin, of one channel. */
INLINE double half_of_axes(const Tap *row, int rows, const Tap *columns, int count,
                           const STORED *__restrict__ plane, INDEX row_step, INDEX column_step) {
    double total = 0;
#pragma unroll 1
    for (int i = 0; i < rows; i++) {
        const STORED *source = plane + row_step * row[i].at;
        double half = 0;
#pragma unroll 1
        for (int j = 0; j < count; j++)
            overflow_add(half, columns[j].weight, source[column_step * columns[j].at]);
        total += row[i].weight * half;
    }
    return total;
}
