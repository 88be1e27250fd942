"""Thresholds and block sizes: when to use threads, which path to take, how much to handle at a time.

They decide how fast a call is, never its result. Figures are of one thread of an AMD EPYC (Zen 4) at level v4. "Box" is
1000 boxes on 256 channels of 200 x 272, "c4" 300 on 1024 channels of 38 x 63, "crops" 32 crops of 224 x 224 of an image
of 1080 x 1920; all of these are in ``roicy bench``. Where a number has no figure, the comment gives the reason for it.
"""

# ---- least work of a call that is worth a second thread ---
#
# In multiply-adds, comparisons or sums. One box of 22 x 22 pixels with just enough channels takes this time, to compare
# with the time to wake a helper: 60 us (axis_forward), 40 and 40 (its gradients), 55, 35 and 20 (rotated), 25, 110 and
# 90 (maxima of samples), 75 (RoIPool), 40 (in ranges that bins share) and 45 (RoIPool's gradient).
cdef enum:
    AXIS_FORWARD_SERIAL_WORK = 1 << 18
    AXIS_FORWARD_PIXELS_SERIAL_WORK = 1 << 18
    # A crop of 224 x 224 takes 50 us, and two threads 1.1 to 1.2 of one's time on a virtual machine, whose idle
    # processors take as long to wake; two take 1.05, eight 0.83.
    AXIS_FORWARD_CROPS_SERIAL_WORK = 1 << 20
    AXIS_FORWARD_LONE_SERIAL_WORK = 1 << 15
    AXIS_BACKWARD_SERIAL_WORK = 1 << 17
    AXIS_BACKWARD_ROIS_SERIAL_WORK = 1 << 17
    SAMPLE_FORWARD_SERIAL_WORK = 1 << 18
    SAMPLE_BACKWARD_SERIAL_WORK = 1 << 17
    SAMPLE_BACKWARD_ROIS_SERIAL_WORK = 1 << 16
    GRID_FORWARD_SERIAL_WORK = 1 << 16
    GRID_BACKWARD_SERIAL_WORK = 1 << 14
    GRID_BACKWARD_ROIS_SERIAL_WORK = 1 << 14
    RANGE_FORWARD_SERIAL_WORK = 1 << 18
    RANGE_FORWARD_SHARED_SERIAL_WORK = 1 << 18
    RANGE_BACKWARD_SERIAL_WORK = 1 << 16
    MASK_PASTE_SERIAL_WORK = 1 << 18
    MASK_RUNS_SERIAL_WORK = 1 << 20

# ---- least share of the map that boxes use for a tile to pay; below it, each box is loaded alone ---
#
# The share counts a pixel as often as boxes use it.
#
# Boxes of 10 to 40 pixels on 128 channels of 100 x 136: alone took 0.51 to 0.61 times the tile's time at a share of
# 0.06 to 0.3, 0.88 at 0.85, 1.14 at 1.7 (axis_forward, which needs no tile then); 0.81, 0.88 and 1.9 at 0.2, 0.3 and
# 0.85 (maxima of samples); 0.76, 0.87 and 1.5 (RoIPool); 0.81, 0.95 and 1.3 (gradients of maxima with respect to
# boxes). Of position-sensitive maps (300 boxes of 3 to 35 pixels on 49 x 21 channels of 38 x 63, and some of them) bins
# are loaded alone up to about 50 boxes, a share of 0.2.
cdef extern from *:
    """
    #define AXIS_FORWARD_DIRECT_SHARE 0.4
    #define AXIS_FORWARD_DIRECT_SHARE_OF_BINS 0.2
    #define GRID_FORWARD_ALONE_SHARE 0.5
    #define GRID_BACKWARD_ROIS_ALONE_SHARE 0.5
    #define RANGE_FORWARD_ALONE_SHARE 0.5
    #define SAMPLE_ALONE_SHARE 0.7
    #define SHARED_MUST_PAY 1.5
    #define CROP_KEPT_SHARE 1.4
    """
    const double AXIS_FORWARD_DIRECT_SHARE
    const double AXIS_FORWARD_DIRECT_SHARE_OF_BINS
    const double GRID_FORWARD_ALONE_SHARE
    const double GRID_BACKWARD_ROIS_ALONE_SHARE
    const double RANGE_FORWARD_ALONE_SHARE
    const double SAMPLE_ALONE_SHARE
    # how many times longer the estimate with a tile must be than the estimate with shared ranges, to use the latter
    const double SHARED_MUST_PAY
    # rows of the picture to an output row of a crop, below which what is taken of one is kept for the next, where its
    # weights are no wholes (whole_bytes.h): on an Intel
    # Xeon with VBMI that took 0.72 of the time at 0.4, 0.88 at 1, 0.9 at 1.2, 0.96 at 1.5 and 1.02 at 1.9
    const double CROP_KEPT_SHARE

cdef enum:
    # ---- which path ---

    # Lanes run along a row (axis_forward_crops) up to this many channels: with more, a pixel fills half a vector of v3.
    FEW_CHANNELS = 4
    # Columns of bins of small boxes, at the most, and how often, at the least, these have a pixel between them: then a
    # tile is worth its loading, and lanes are few channels. 5000 boxes of 4 to 8 pixels on 64 x 64 took 0.43 (one
    # channel) to 0.25 (four) of the time in 1 x 1 bins, 0.66 to 0.34 in 4 x 4, 0.82 to 0.32 in 8 x 8, 1.15 to 0.47 in
    # 12 x 12; 500 of 30 to 60 on 400 x 400, which share nothing, 3 to 1.3 in 4 x 4.
    FEW_COLUMNS = 8
    SHARED_BY_SMALL = 4
    # Values of a box, of bins of one sample each, up to which these are found as boxes come (axis_forward_lone), of
    # maps of few channels and of others: an order, lists of taps and a tile do not pay. 20 to 20 000 boxes of 1 to 8
    # pixels on 64 x 64 to 1080 x 1920 took 0.12 to 0.7 of the time in 1 x 1 bins of 1 or 16 channels, 0.22 to 0.7 in
    # 4 x 4 of three, 0.35 to 0.9 in 7 x 7 of three or 14 x 14 of one, 0.5 to 1.0 in 1 x 1 of 64 or 2 x 2 of 16; 1.2 in
    # 28 x 28 of one, 0.6 to 1.4 in 7 x 7 of eight, 0.5 to 1.4 in 1 x 1 of 256.
    LONE_VALUES_OF_FEW = 256
    LONE_VALUES = 64
    # In bins of at most this many samples each one is gone through, for all channels at once; above, the chosen sample
    # of each channel is looked up. 24 is more than the 4 x 4 samples of usual bins, and of the order of the lanes.
    ALL_SAMPLES = 24
    # Bytes of a result from which on it passes by the cache: about the second-level cache (0.5 to 1 MB a core), box's
    # result is 50 MB.
    STREAM_BYTES = 1 << 20

    # ---- how much at a time ---

    # RoIs after which a task looks whether an average has overflowed: asking takes the processor as long as a bin.
    SETTLED_ROIS = 16
    # Blocks of channels of a task about one bin (axis_forward of position-sensitive maps), at the most: they share what
    # a bin takes beside its sums, and 4 of a map of 38 x 63 fit the second-level cache.
    BLOCKS_OF_A_BIN = 4
    # Bins of a row that such a task is about, and RoIs, at the most: their values are stored together, in a part of a
    # cache line, for which processors then wait less often. On an Intel Xeon two threads took 1.3 of one's time on
    # ps_7x7 where each bin was stored by itself, and take 0.7; one thread takes 0.9 of what it took. The values of
    # as many RoIs are half a megabyte, or a whole one of four blocks.
    BINS_TOGETHER = 8
    ROIS_TOGETHER = 512
    # Blocks of channels that axis_forward takes together, at the most, and the bytes of their tile: what a RoI takes
    # beside its sums is shared, but tiles are to fit the second-level cache. c4 took 0.96 of the time of one block
    # alone, pyramid_7x7_adaptive 0.97; in tiles of any size 1.02 and 1.02, and box_7x7_sr2 1.24. At level v3, which
    # takes two anyway, both took 1.04, so that only single ones are joined.
    TOGETHER_BYTES = 3 << 18
    MOST_BLOCKS_TOGETHER = 4
    # Bytes that the loader of a tile fetches planes ahead: four cache lines of each, in box and c4.
    PREFETCH_BYTES = 256
    # Bytes of the next RoI's gradient, of a block of channels, up to which they are fetched while a RoI's is sent back:
    # those of box are 3 kB, of c4 12. box took 0.87 of the time, c4 0.88; with a fetch to the first-level cache, where
    # they are in the way of the sums, 0.94 and 0.99.
    FETCHED_BINS_BYTES = 1 << 14
    # Bins of a RoI up to which they are stored at once, else a group of rows at a time: masks (14 x 14, 28 x 28) are
    # one piece, the lanes of 1024 bins are 64 kB.
    WHOLE_BINS = 1024
    # Output rows of a crop that are a task: few enough for each of two threads to have one of crops' bands.
    CROP_ROWS = 64
    # Bytes of output rows of a crop that are written together: they stay in the first-level cache, and streams are
    # long.
    CROP_CHUNK_BYTES = 1 << 13
    # Bytes of what columns take of a row of bytes, up to which that is kept for the next output row: two of these are
    # half of the first-level cache, and crops of 224 have 5 kB.
    CROP_KEPT_BYTES = 1 << 13
    # Bytes of a result of crops of bytes from which on rows pass by the cache one by one. On an Intel Xeon 19 MB
    # (cropped_224) took 2.36 ms in turn with OpenCV instead of 2.67; 5 MB (cropped_112), of which more is still in the
    # cache then, 0.93 instead of 0.89.
    CROP_STREAM_BYTES = 1 << 23
    # Output rows from the one in work to the one whose rows are fetched, in crops.
    CROP_ROWS_AHEAD = 4
    # Bytes of rows of bins that axis_forward_pixels writes together: the same, but a row of cropped_14 has 14 kB.
    PIXELS_CHUNK_BYTES = 1 << 14
    # Bytes of a rotated box's part of the map up to which the pixels that it reads are joined from planes; of the
    # memory for the part, these alone are touched.
    JOINED_BYTES = 1 << 22
    # Planes whose gradient is summed together in place (range_backward): more share a look at the RoI's list, fewer
    # fit the cache; pool_7x7 has 512 planes of 38 x 63, of 9.6 kB each.
    PLANES_TOGETHER = 4
    # Bytes of the gradient of a maximum, of one bin a RoI and few RoIs, from which on its planes pass by the cache, and
    # bytes of these. On an Intel Xeon planes of 3 kB, 12.6 MB, took 0.4 to 0.5 of the time where the result is in no
    # near cache and 0.8 to 0.95 in a loop of calls; of 16 kB 0.55 and 1.08; of 0.8 kB, 3 MB, 0.7 to 0.9 and 1.1; of
    # 0.2 kB 1.0 and 1.5.
    PLANES_STREAM_BYTES = 1 << 23
    LEAST_STREAMED_PLANE = 1 << 10
    MOST_STREAMED_PLANE = 1 << 14
    # Bytes of the parts of gradients with respect to boxes, which bound the RoIs of a round: box takes 0.5 MB, one
    # round.
    PARTS_BYTES = 1 << 23
    # Channels of a gradient that adds up in the accumulation type before they are rounded to a shorter one: what that
    # takes beside the gradient is bounded, and blocks of channels are whole.
    WIDE_CHANNELS = 32

    # ---- what range_forward_shared is thought to take, in vector operations ---
    #
    # Against range_forward it took 0.20 to 0.61 of the time for R-MAC (512 x 31 x 31: 0.14 and 0.23 ms, 512 x 62 x
    # 64: 0.28 and 1.0, 2048 x 24 x 32: 0.38 and 0.79), 0.53 to 0.68 for one or two boxes of 30 to 44 pixels and 1 to
    # 3 bins a row, 0.49 and 0.54 for 16 and 32 of one bin, 0.12 for 32 that have four ranges of rows between them.

    # To join the columns of a bin, beside one for each of its columns.
    SHARED_JOIN_COLUMNS = 60
    # To bring a pixel of the map into a tile.
    SHARED_PIXEL_TO_TILE = 3
    # Pixels of the ranges of an image, which are held for a block of channels, at the most.
    SHARED_MOST_PIXELS = 1 << 14

    # Elements of rows that are made units, by more than one thread: 80 000 take 0.05 ms.
    UNIT_ROWS_SERIAL_ELEMENTS = 1 << 16

    # ---- how tables are filled ---

    # RoIs of a thread, at the least: box's 1000 take 0.2 ms (two samples a bin and axis) to 0.35 (adaptive), rotated
    # ones 3.8 to 22 ms.
    AXIS_TABLE_ROIS_OF_A_THREAD = 256
    SAMPLE_TABLE_ROIS_OF_A_THREAD = 16
