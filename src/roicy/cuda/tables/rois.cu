/* Small questions about all RoIs at once. */
#include "tables/rois.cuh"

/* first[0] = the first RoI with image[k] below zero, `rois` where there is none. One block. */
KERNEL __launch_bounds__(256) first_invalid(const int64 *image, int64 rois, int64 *first) {
    __shared__ int64 least[256];
    int64 found = rois;
    for (int64 k = threadIdx.x; k < rois && found == rois; k += 256)
        if (image[k] < 0)
            found = k;
    least[threadIdx.x] = found;
    for (int half = 128; half > 0; half /= 2) {
        __syncthreads();
        if (threadIdx.x < half && least[threadIdx.x + half] < least[threadIdx.x])
            least[threadIdx.x] = least[threadIdx.x + half];
    }
    if (threadIdx.x == 0)
        first[0] = least[0];
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

/* image[k] = the image of row k, -1 where it is invalid. */
KERNEL __launch_bounds__(128) find_images(const BOX *boxes, int columns, const int64 *images, int given,
                                          int64 rois, int64 count, int64 *image) {
    for (int64 k = blockIdx.x * (int64)blockDim.x + threadIdx.x; k < rois; k += gridDim.x * (int64)blockDim.x)
        image[k] = image_of(boxes + k * columns, columns, images, given, k, count);
}
