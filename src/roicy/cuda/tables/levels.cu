/* Which map of a pyramid each box is pooled from: for the table of each map the images of its boxes. A thread takes
 * a box. */
#include "tables/rois.cuh"

/* The rules, as in levels.py: what has the areas that follow belongs to the second map, the third, ... */
enum {
    FROM,      /* this or more; to no map belongs what is no area */
    FROM_SOME, /* the same, and what has none */
    ABOVE      /* more; sides are sorted, and any box has a map */
};

/* NaN behind the areas of the last map. */
struct Areas {
    double second, third, fourth, fifth, sixth, seventh, eighth;
};

/* How boxes are assigned to `maps`: by levels that are given, as either integer, or else by areas in BOX or,
 * where `single`, in float. A level of -1 is none. */
struct Sharing {
    const int *levels;
    const int64 *long_levels;
    Areas least;
    int maps, rule, single, numbers; /* numbers of a box: 4 or 5 */
};

/* What is found: copies of the boxes, for each map the image of each box, and the maps. */
struct Shared {
    BOX *boxes;
    int64 *images;
    int *levels;
};

enum { NO_LEVEL = -1, NO_SUCH_LEVEL = -2 };

template <class T> INLINE int level_by_area(const BOX *box, const Sharing &sharing) {
    T width, height;
    if (sharing.numbers == 5) {
        width = (T)box[2];
        height = (T)box[3];
    } else {
        const T x1 = (T)box[0], y1 = (T)box[1], x2 = (T)box[2], y2 = (T)box[3];
        if (sharing.rule == ABOVE) {
            width = fmax(x1, x2) - fmin(x1, x2);
            height = fmax(y1, y2) - fmin(y1, y2);
        } else {
            width = x2 - x1;
            height = y2 - y1;
        }
    }
    const double area = width * height;
    if (sharing.rule == FROM ? !(area >= 0) : sharing.rule == FROM_SOME && !(area > 0))
        return NO_LEVEL;
    const Areas &least = sharing.least;
    const double each[] = {least.second, least.third,   least.fourth, least.fifth,
                           least.sixth,  least.seventh, least.eighth};
    int level = 0;
#pragma unroll
    for (int i = 0; i < 7; i++)
        level += sharing.rule == ABOVE ? area > each[i] : area >= each[i];
    return level;
}

INLINE int level_of(const BOX *box, int64 k, const Sharing &sharing) {
    if (sharing.levels || sharing.long_levels) {
        const int64 given = sharing.levels ? sharing.levels[k] : sharing.long_levels[k];
        return given < NO_LEVEL || given >= sharing.maps ? NO_SUCH_LEVEL : (int)given;
    }
    return sharing.single ? level_by_area<float>(box, sharing) : level_by_area<BOX>(box, sharing);
}

/* Each box is read only once, because the caller may overwrite it meanwhile. Invalid boxes, and those of a wrong
 * level, are invalid ones of the first map; those of no map are written by the first one. */
KERNEL __launch_bounds__(128)
    share_out(const Boxes boxes, int64 count, int64 images, const Sharing sharing, const Shared shared) {
    for (int64 k = blockIdx.x * (int64)blockDim.x + threadIdx.x; k < count;
         k += gridDim.x * (int64)blockDim.x) {
        Row row = row_of(boxes, k);
        BOX own[MOST_COLUMNS];
#pragma unroll
        for (int i = 0; i < MOST_COLUMNS; i++)
            if (i < row.columns)
                shared.boxes[k * row.columns + i] = own[i] = row.numbers[i];
        row.numbers = own;
        int64 image = image_of(row, images);
        int level = level_of(own + row.columns - sharing.numbers, k, sharing), map = level;
        if (level == NO_SUCH_LEVEL)
            image = -1;
        if (level < 0) {
            map = 0;
            if (image < 0)
                level = level == NO_SUCH_LEVEL ? level : 0;
            else
                image = ON_NO_MAP;
        }
        for (int i = 0; i < sharing.maps; i++)
            shared.images[i * count + k] = i == map ? image : ELSEWHERE;
        shared.levels[k] = level;
    }
}
