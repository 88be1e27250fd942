/* Kernels about all RoIs at once: their images, where those start, the first invalid row. */
#include "lanes/reduce.cuh"
#include "tables/rois.cuh"

/* first[0] = the first RoI whose image[k] is -1, or `rois`. One block. */
KERNEL __launch_bounds__(256) first_invalid(const Rois rois, int64 *first) {
    __shared__ int64 room[256];
    int64 found = rois.count;
    for (int64 k = threadIdx.x; k < rois.count && found == rois.count; k += 256)
        if (rois.image[k] == -1)
            found = k;
    found = least_of_block(found, room);
    if (threadIdx.x == 0)
        first[0] = found;
}

/* start[n] = how many of the ascending numbers image[...] lie below n, for n <= images. */
KERNEL __launch_bounds__(128) image_starts(const int64 *image, int64 rois, int64 images, int64 *start) {
    for (int64 n = blockIdx.x * (int64)blockDim.x + threadIdx.x; n <= images;
         n += gridDim.x * (int64)blockDim.x) {
        int64 low = 0, high = rois;
        while (low < high) {
            const int64 middle = low + (high - low) / 2;
            if (image[middle] < n)
                low = middle + 1;
            else
                high = middle;
        }
        start[n] = low;
    }
}

/* image[k] = the image of row k, or what is instead of it. */
KERNEL __launch_bounds__(128) find_images(const Boxes boxes, const Rois rois) {
    for (int64 k = blockIdx.x * (int64)blockDim.x + threadIdx.x; k < rois.count;
         k += gridDim.x * (int64)blockDim.x)
        rois.image[k] = image_of(row_of(boxes, k), rois.images);
}

/* out[k] = zeros, and then the numbers of rows[k]; where `parts` is not negative, so many arrays of rows follow each
 * other, whose numbers are added to 0. Steps are in numbers. */
KERNEL __launch_bounds__(128) put_rows(const double *rows, int numbers, int parts, BOX *out, int64 row_step,
                                       int64 column_step, int64 count, int columns) {
    for (int64 i = blockIdx.x * (int64)blockDim.x + threadIdx.x; i < count * columns;
         i += gridDim.x * (int64)blockDim.x) {
        const int64 k = i / columns;
        const int column = (int)(i - k * columns), at = column - (columns - numbers);
        double value = 0;
        if (at >= 0) {
            const double *row = rows + k * numbers + at;
            if (parts < 0)
                value = row[0];
            for (int part = 0; part < parts; part++)
                value += row[part * count * numbers];
        }
        out[k * row_step + column * column_step] = (BOX)value;
    }
}
