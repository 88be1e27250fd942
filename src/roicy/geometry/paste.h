/* Masks on images: which pixels of the image a mask reaches along an axis, and between which pixels of the mask each
 * of them lies. Computed in the dtype of the boxes, in the order of operations of the system that the rule is from.
 *
 *     CENTRES     detectron2: the mask is stretched over the box, and sampled at the centres of the image's pixels,
 *                 those in the box and one pixel around it
 *     WHOLE_BOX   torchvision: a mask with a frame of zeros is resized to a box that is enlarged as much and
 *                 then cut to whole pixels
 *
 * Around a mask there are zeros: both neighbours of a position that is off the mask are zeros. */

#ifndef ROICY_PASTE_H
#define ROICY_PASTE_H

enum { CENTRES, WHOLE_BOX };

typedef struct {
    /* one axis of one mask; pixels [low, high) of the image, of which the first has what `origin` says */
    int low, high;
    KEPT start, size; /* of the box; WHOLE_BOX: nothing, and pixels of the mask for one of the image */
    int64 origin;     /* WHOLE_BOX: the pixel of the image where the box begins */
    int length, rule; /* pixels of the mask */
} PasteSide;

typedef struct {
    /* the pixel of the mask before a position, from -1 to the length, and how far behind it that is, in pixels */
    int before;
    KEPT fraction;
} MaskPlace;

/* More pixels than any image has; sums of such numbers fit int64. */
#define FAR_OFF 1152921504606846976.0

GEOMETRY int64 cut_to_whole(double value) {
    return (int64)(value > -FAR_OFF ? (value < FAR_OFF ? value : FAR_OFF) : -FAR_OFF);
}

#endif

/* `width` is that of the mask, by which torchvision enlarges the box along both axes; `limit` the image's pixels. */
GEOMETRY PasteSide OF(paste_side)(BOX first, BOX second, int length, int width, int limit, int rule) {
    PasteSide side = {0, 0, first, second - first, 0, length, rule};
    if (rule == CENTRES) {
        side.low = clipped((double)((BOX)floor((double)first) - 1), 0, limit);
        side.high = clipped((double)((BOX)ceil((double)second) + 1), 0, limit);
    } else {
        const BOX scale = (BOX)((width + 2.0) / width);
        const BOX half = (second - first) * (BOX)0.5 * scale, centre = (second + first) * (BOX)0.5;
        const int64 low = cut_to_whole((double)(centre - half)), high = cut_to_whole((double)(centre + half));
        side.origin = low;
        side.size = (BOX)(length + 2) / (BOX)(high - low + 1 > 1 ? high - low + 1 : 1);
        side.low = clipped((double)low, 0, limit);
        side.high =
            isfinite((double)half) && isfinite((double)centre) ? clipped((double)high + 1, 0, limit) : 0;
    }
    if (side.high < side.low)
        side.high = side.low;
    return side;
}

/* Where the image's pixel at `index` is on the mask. */
GEOMETRY MaskPlace OF(paste_at)(PasteSide side, int index) {
    MaskPlace found = {side.length, 0};
    if (side.rule == CENTRES) {
        const BOX part = ((BOX)index + (BOX)0.5 - (BOX)side.start) / (BOX)side.size * 2 - 1;
        const BOX at = ((part + 1) * (BOX)side.length - 1) / 2;
        if (at > -1 && at < (BOX)side.length) {
            const int towards_zero = (int)at;
            found.before = towards_zero - ((BOX)towards_zero > at);
            found.fraction = at - (BOX)found.before;
        }
        return found;
    }
    const BOX from = (BOX)side.size * ((BOX)(index - side.origin) + (BOX)0.5) - (BOX)0.5;
    const BOX at = from > 0 ? from : 0; /* on the mask with its frame */
    const int pixel = clipped(floor((double)at), 0, side.length + 1);
    const BOX fraction = at - (BOX)pixel;
    found.before = pixel - 1;
    found.fraction = fraction < 1 ? fraction : 1;
    return found;
}
