/* Kernels about all RoIs at once: their images, where those start, the first invalid row; and the regions of R-MAC. */
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

/* order[start[n]] ... order[start[n + 1] - 1] = the rows of image n, ascending. A block looks for those of an image. */
KERNEL __launch_bounds__(SORTERS)
    order_by_image(const int64 *image, int64 rois, int64 images, int64 *order, int64 *start) {
    __shared__ int64 met[SORTERS];
    __shared__ int counts[SORTERS / 32];
    for (int64 n = blockIdx.x; n < images; n += gridDim.x) {
        int64 at = 0;
        for (int64 k = threadIdx.x; k < rois; k += SORTERS)
            at += image[k] < n;
        at = sum_of_block(at, met);
        if (threadIdx.x == 0)
            start[n] = at;
        for (int64 first = 0; first < rois; first += SORTERS) {
            const int64 k = first + threadIdx.x;
            const int found = gather_met(k < rois && image[k] == n, k, met, counts);
            if (threadIdx.x < found)
                order[at + threadIdx.x] = met[threadIdx.x];
            at += found;
        }
        if (n == images - 1 && threadIdx.x == 0)
            start[images] = at;
    }
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

/* The regions of R-MAC on a map: at each scale as many squares along an axis as its number and the steps. */
struct Cover {
    int64 height, width, steps_y, steps_x, regions;
};

/* The first pixel of the region `number` of those of a size that are spread along a side: all as in cpu/tables/cover.py,
 * in float, and truncated. */
INLINE int64 region_start(int64 side, int64 size, int64 regions, int64 number) {
    const float apart = regions > 1 ? (float)((double)(side - size) / (double)(regions - 1)) : 0;
    const int64 start = (int64)(apart * (float)number);
    return start < side - size ? start : side - size;
}

/* boxes = rows [image, x1, y1, x2, y2] of the regions of each image: by scale, then by x, then by y. */
KERNEL __launch_bounds__(128) cover(const Cover cover, int64 images, BOX *boxes) {
    const int64 shorter = cover.height < cover.width ? cover.height : cover.width;
    for (int64 k = blockIdx.x * (int64)blockDim.x + threadIdx.x; k < images * cover.regions;
         k += gridDim.x * (int64)blockDim.x) {
        const int64 image = k / cover.regions;
        int64 number = k - image * cover.regions, scale = 1, down = 1 + cover.steps_y,
              along = 1 + cover.steps_x;
        for (; number >= down * along; scale++)
            number -= down++ * along++;
        const int64 size = 2 * shorter / (scale + 1);
        const int64 x = region_start(cover.width, size, along, number / down);
        const int64 y = region_start(cover.height, size, down, number % down);
        BOX *box = boxes + 5 * k;
        box[0] = (BOX)image;
        box[1] = (float)x;
        box[2] = (float)y;
        box[3] = (float)(x + size - 1);
        box[4] = (float)(y + size - 1);
    }
}
