"""Thresholds and block sizes: when to use threads, which path to take, how much to handle at a time.

They decide how fast a call is, never its result. A comment gives the measurements behind a number, or its reason.

Times were measured on one thread of an AMD EPYC (Zen 4) at level v4, unless a comment names another processor. "Took
0.8" means: 0.8 times the time of the alternative. "Box" is 1000 boxes on 256 channels of 200 x 272, "c4" 300 boxes on
1024 channels of 38 x 63, "crops" 32 crops of 224 x 224 from an image of 1080 x 1920; all are in ``roicy bench``.
"""

# ---- least work of a call for a second thread to pay ---
#
# In multiply-adds, comparisons or sums. What the work must outweigh is the time to wake a helper. One box of 22 x 22
# pixels with just enough channels for this work takes 60 us (axis_forward), 40 and 40 (its gradients), 55, 35 and 20
# (rotated), 25, 110 and 90 (maxima of samples), 75 (RoIPool), 40 (RoIPool by ranges that bins share) and 45 (RoIPool's
# gradient).
cdef enum:
    AXIS_FORWARD_SERIAL_WORK = 1 << 18
    AXIS_FORWARD_PIXELS_SERIAL_WORK = 1 << 18
    # One crop of 224 x 224 takes 50 us. On a virtual machine, whose idle processors take as long to wake, two threads
    # took 1.1 to 1.2 of one thread's time for one crop, 1.05 for two crops, 0.83 for eight.
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

# ---- least share of the map that boxes must read for a tile to pay; below it, each box is loaded alone ---
#
# The share counts a pixel once for each box that reads it.
#
# Loading boxes alone, of 10 to 40 pixels on 128 channels of 100 x 136, took this part of the time with a tile:
#
#     axis_forward, which needs no tile then      0.51 to 0.61 at a share of 0.06 to 0.3, 0.88 at 0.85, 1.14 at 1.7
#     maxima of samples                           0.81 at 0.2, 0.88 at 0.3, 1.9 at 0.85
#     RoIPool                                     0.76, 0.87 and 1.5 at the same shares
#     gradients of maxima with respect to boxes   0.81, 0.95 and 1.3
#
# Bins of position-sensitive maps (up to 300 boxes of 3 to 35 pixels on 49 x 21 channels of 38 x 63) are faster alone up
# to about 50 boxes, a share of 0.2.
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
    # Shared ranges are used if the estimated time with a tile is more than this many times theirs.
    const double SHARED_MUST_PAY
    # Rows of the picture for each output row of a crop. Below this number, the pixels picked from a row are kept for
    # the next output row, unless rows are summed in integers (whole_bytes.h). On an Intel Xeon with VBMI keeping them
    # took 0.72 of the time at 0.4 rows, 0.88 at 1, 0.9 at 1.2, 0.96 at 1.5 and 1.02 at 1.9.
    const double CROP_KEPT_SHARE

cdef enum:
    # ---- which path ---

    # Most channels for lanes to run along a row (axis_forward_crops). With more, a pixel fills half a vector of v3.
    FEW_CHANNELS = 4
    # Most columns of bins, and least number of times that small boxes read a pixel on average, for a tile to pay
    # although its lanes are few channels. 5000 boxes of 4 to 8 pixels on 64 x 64 took 0.43 (one channel) to 0.25 (four)
    # of the time in 1 x 1 bins, 0.66 to 0.34 in 4 x 4, 0.82 to 0.32 in 8 x 8, 1.15 to 0.47 in 12 x 12. 500 boxes of 30
    # to 60 pixels on 400 x 400, which share nothing, took 3 to 1.3 in 4 x 4.
    FEW_COLUMNS = 8
    SHARED_BY_SMALL = 4
    # Most values of a box (of maps with few channels, of other maps) whose bins have one sample each, to compute them
    # in the order of the boxes (axis_forward_lone), without sorting, lists of taps or a tile. 20 to 20 000 boxes of 1
    # to 8 pixels on 64 x 64 to 1080 x 1920 took 0.12 to 0.7 of the time in 1 x 1 bins of 1 or 16 channels, 0.22 to 0.7
    # in 4 x 4 of three, 0.35 to 0.9 in 7 x 7 of three or 14 x 14 of one, 0.5 to 1.0 in 1 x 1 of 64 or 2 x 2 of 16; 1.2
    # in 28 x 28 of one, 0.6 to 1.4 in 7 x 7 of eight, 0.5 to 1.4 in 1 x 1 of 256.
    LONE_VALUES_OF_FEW = 256
    LONE_VALUES = 64
    # Most samples of a bin to visit all of them, for all channels at once. With more samples, the chosen sample of each
    # channel is looked up. 24 is more than the 4 x 4 samples of usual bins, and about the number of lanes.
    ALL_SAMPLES = 24
    # Least bytes of a result that is stored past the cache: about the second-level cache (0.5 to 1 MB a core). The
    # result of box has 50 MB.
    STREAM_BYTES = 1 << 20

    # ---- how much at a time ---

    # RoIs between two checks of a task for an average that overflowed: a check takes as long as a bin.
    SETTLED_ROIS = 16
    # Most blocks of channels of a task for one bin (axis_forward of position-sensitive maps). They share the work of a
    # bin other than its sums, and 4 blocks of a map of 38 x 63 fit the second-level cache.
    BLOCKS_OF_A_BIN = 4
    # Most bins of a row, and most RoIs, of such a task. Values of these bins are stored together, as parts of the same
    # cache line, so that processors wait for each other's lines less often. On an Intel Xeon, ps_7x7 on two threads
    # took 0.7 of one thread's time, instead of 1.3 where each bin was stored by itself; on one thread it took 0.9 of
    # the time. The values of this many RoIs are half a megabyte, or a whole one with four blocks.
    BINS_TOGETHER = 8
    ROIS_TOGETHER = 512
    # Most bytes of a tile of several blocks of channels, and most of these blocks, in axis_forward. They share the work
    # of a RoI other than its sums, but the tile should fit the second-level cache. c4 took 0.96 of the time of one
    # block alone, pyramid_7x7_adaptive 0.97; in tiles of any size both took 1.02, and box_7x7_sr2 1.24. At level v3,
    # which takes two blocks anyway, both took 1.04, so only single blocks are joined.
    TOGETHER_BYTES = 3 << 18
    MOST_BLOCKS_TOGETHER = 4
    # Bytes that the loader of a tile prefetches ahead in each plane: four cache lines, in box and c4.
    PREFETCH_BYTES = 256
    # Most bytes of the next RoI's gradient (of a block of channels) to prefetch it during the backward pass of a RoI.
    # Box has 3 kB, c4 12. Box took 0.87 of the time, c4 0.88; prefetched to the first-level cache, where they displace
    # the sums, 0.94 and 0.99.
    FETCHED_BINS_BYTES = 1 << 14
    # Most bins of a RoI to store all at once; with more, a group of rows at a time. Masks (14 x 14, 28 x 28) are stored
    # at once. The lanes of 1024 bins are 64 kB.
    WHOLE_BINS = 1024
    # Output rows of a crop in a task: few enough for two threads to share a crop of 224 rows.
    CROP_ROWS = 64
    # Bytes of output rows of a crop that are written together: they fit the first-level cache, yet make long streams.
    CROP_CHUNK_BYTES = 1 << 13
    # Most bytes of the pixels picked from a row of bytes to keep them for the next output row. Those of two rows then
    # fill half of the first-level cache. Crops of 224 have 5 kB.
    CROP_KEPT_BYTES = 1 << 13
    # Least bytes of a result of crops of bytes whose rows are stored past the cache one by one. On an Intel Xeon, in
    # turn with OpenCV, 19 MB (cropped_224) took 2.36 ms instead of 2.67; 5 MB (cropped_112), of which more is still in
    # the cache then, took 0.93 instead of 0.89.
    CROP_STREAM_BYTES = 1 << 23
    # How many output rows ahead crops prefetch the rows of the picture.
    CROP_ROWS_AHEAD = 4
    # As CROP_CHUNK_BYTES, for rows of bins in axis_forward_pixels: a row of cropped_14 has 14 kB.
    PIXELS_CHUNK_BYTES = 1 << 14
    # Most bytes of a rotated box's part of the map to join the pixels that it reads from planes. Of the memory for the
    # part, only these pixels are touched.
    JOINED_BYTES = 1 << 22
    # Planes whose gradient is summed together in place (range_backward). With more planes, a RoI's list is read less
    # often; with fewer, they fit the cache. pool_7x7 has 512 planes of 38 x 63, of 9.6 kB each.
    PLANES_TOGETHER = 4
    # A gradient of maxima with one bin a RoI and few RoIs is stored past the cache if it has at least this many bytes
    # and its planes are between these sizes. On an Intel Xeon, planes of 3 kB (12.6 MB in all) took 0.4 to 0.5 of the
    # time if the result is in no near cache, and 0.8 to 0.95 in a loop of calls; planes of 16 kB 0.55 and 1.08; of 0.8
    # kB (3 MB) 0.7 to 0.9 and 1.1; of 0.2 kB 1.0 and 1.5.
    PLANES_STREAM_BYTES = 1 << 23
    LEAST_STREAMED_PLANE = 1 << 10
    MOST_STREAMED_PLANE = 1 << 14
    # Bytes of the partial sums of gradients with respect to boxes. They limit the RoIs of a round. Box takes 0.5 MB, so
    # one round.
    PARTS_BYTES = 1 << 23
    # Channels of a gradient that are summed in the accumulation type before they are rounded to a shorter type. This
    # limits the memory beside the gradient, and makes whole blocks of channels.
    WIDE_CHANNELS = 32

    # ---- estimated cost of range_forward_shared, in vector operations ---
    #
    # It took 0.20 to 0.61 of range_forward's time for R-MAC (512 x 31 x 31: 0.14 and 0.23 ms, 512 x 62 x 64: 0.28 and
    # 1.0, 2048 x 24 x 32: 0.38 and 0.79), 0.53 to 0.68 for one or two boxes of 30 to 44 pixels and 1 to 3 bins a row,
    # 0.49 and 0.54 for 16 and 32 boxes of one bin, 0.12 for 32 boxes that have four ranges of rows between them.

    # To reduce the columns of a bin, besides one operation for each column.
    SHARED_JOIN_COLUMNS = 60
    # To load a pixel of the map into a tile.
    SHARED_PIXEL_TO_TILE = 3
    # Most pixels of an image's ranges, which are held in memory for a block of channels.
    SHARED_MOST_PIXELS = 1 << 14

    # Least elements to normalise rows on more than one thread: 80 000 take 0.05 ms.
    UNIT_ROWS_SERIAL_ELEMENTS = 1 << 16

    # ---- how tables are filled ---

    # Least RoIs of a thread. The 1000 RoIs of box take 0.2 ms (two samples a bin and axis) to 0.35 (adaptive), rotated
    # ones 3.8 to 22 ms.
    AXIS_TABLE_ROIS_OF_A_THREAD = 256
    SAMPLE_TABLE_ROIS_OF_A_THREAD = 16
