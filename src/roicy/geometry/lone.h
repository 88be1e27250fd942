/* Bins of one sample: the positions of samples along one axis, for LONE boxes side by side. Pixels and weights equal
 * those of `align_taps` bit for bit. */

#ifndef ROICY_LONE_H
#define ROICY_LONE_H

enum { LONE = 16 }; /* boxes that are looked at together */

typedef struct {
    /* of one bin of each box: the pixel below its sample, what that one counts and the next one, and how many of
     * them there are: none where the sample misses the map */
    int low[LONE], taps[LONE];
    double weight[2][LONE];
} Lone;

#endif

/* Where the sides of boxes begin that are `columns` numbers apart, and how large their bins are. */
GEOMETRY void OF(lone_sides)(const BOX *boxes, int columns, Sampling sampling, int bins, BOX *start,
                             BOX *size) {
    sampling.sampling_ratio = 1;
    for (int i = 0; i < LONE; i++) {
        const Side side = OF(side_of)(boxes[i * columns], boxes[i * columns + 2], sampling, bins, 0);
        start[i] = (BOX)side.start;
        size[i] = (BOX)side.size;
    }
}

/* The samples of bin p of each, on a map of at most PLAIN_LENGTH pixels. */
GEOMETRY void OF(lone_samples)(const BOX *start, const BOX *size, int p, int length, Lone *lone) {
    const Span span = {1, 0, 0, false};
    const BOX edge = (BOX)(length - 1);
    for (int i = 0; i < LONE; i++) {
        const BOX position = OF(position_at)(OF(bin_base)(start[i], size[i], p), size[i], span, 0),
                  after = position > 0 ? position : 0, held = after < edge ? after : edge;
        const int low = (int)held, hit = (position >= -1) & (position <= length);
        const double fraction = (double)(held - (BOX)low);
        lone->low[i] = low;
        lone->taps[i] = hit * (1 + (low < length - 1));
        lone->weight[0][i] = 1 - fraction;
        lone->weight[1][i] = fraction;
    }
}

/* Those of all bins of boxes, along an axis: 0 is x. */
GEOMETRY void OF(lone_bins)(const BOX *boxes, int columns, int axis, Sampling sampling, int bins, int length,
                            Lone *lone) {
    BOX start[LONE], size[LONE];
    OF(lone_sides)(boxes + axis, columns, sampling, bins, start, size);
    for (int p = 0; p < bins; p++)
        OF(lone_samples)(start, size, p, length, lone + p);
}
