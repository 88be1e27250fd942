"""One call of each public function on arrays, for tests of what arrays may be.

A call is a function of how to call: ``CALLS[name](f)`` calls ``f(function, *arguments, **options)``, where
the function is a name of roicy's and arrays, or lists and tuples of them, are NumPy's.
"""

import numpy as np

import roicy

RNG = np.random.default_rng(5)
FEATURES = RNG.standard_normal((2, 5, 12, 17)).astype(np.float32)
ROIS = np.array([[0, 1, 2, 9, 8], [1, -3, 0.5, 5, 11], [1, 4, 4, 4.5, 6], [0, 8, 8, 2, 2]], np.float32)
TURNED = np.array([[0, 5, 6, 8, 4, 30], [1, 8, 2, 5, 9, -75], [1, 0, 0, 30, 30, 400]], np.float32)
GRAD = RNG.standard_normal((4, 5, 3, 2)).astype(np.float32)
GRAD_TURNED = GRAD[:3]
OFFSETS = RNG.standard_normal((4, 2, 3, 2)).astype(np.float32)
MASK = RNG.random((4, 1, 3, 2), np.float32)
OF_BINS = np.tile(FEATURES, (1, 6, 1, 1))  # channels for each bin
IMAGES = FEATURES[:, :3].transpose(0, 2, 3, 1).copy()
GRAD_CROPS = GRAD[:, :3].transpose(0, 2, 3, 1).copy()
QUADS = np.array([[[1, 2], [9, 1], [11, 8], [2, 9]], [[8, -2], [9, 9], [-1, 8], [0, 0]]], np.float32)
IMAGES_OF_QUADS = np.array([1, 0])
MAPS = [FEATURES, FEATURES[:, :, ::2, ::2].copy()]
MASKS = RNG.random((4, 7, 7)).astype(np.float32)
LEVELS = np.array([1, 0, -1, 0], np.int32)
SHAPES = [FEATURES.shape, (2, 5, 6, 9)]


def argmax_of(mode_or_pool):
    if mode_or_pool == "levels":
        return roicy.multi_scale_roi_pool(MAPS, ROIS, (3, 2), spatial_scales=(1, 0.5), return_argmax=True)[1]
    if mode_or_pool == "pool":
        return roicy.roi_pool(FEATURES, ROIS, (3, 2), return_argmax=True)[1]
    return roicy.roi_align(FEATURES, ROIS, (3, 2), mode="max", return_argmax=True)[1]


WHITENING = (RNG.standard_normal(5).astype(np.float32), RNG.standard_normal((4, 5)).astype(np.float32))
CALLS = {
    "roi_align": lambda f: f("roi_align", FEATURES, ROIS, (3, 2)),
    "roi_align list": lambda f: f("roi_align", FEATURES, [ROIS[::2, 1:], ROIS[1:2, 1:]], (3, 2)),
    "roi_align batch_indices": lambda f: f(
        "roi_align", FEATURES, ROIS[:, 1:], 3, batch_indices=ROIS[:, 0].astype(np.uint8)
    ),
    "roi_align max": lambda f: f("roi_align", FEATURES, ROIS, (3, 2), mode="max", return_argmax=True),
    "roi_align onnx": lambda f: f("roi_align", FEATURES, ROIS, (3, 2), mode="max", max_rule="onnx"),
    "roi_align_backward": lambda f: f("roi_align_backward", GRAD, ROIS, FEATURES.shape),
    "roi_align_backward max": lambda f: f(
        "roi_align_backward", GRAD, ROIS, FEATURES.shape, mode="max", argmax=argmax_of("max")
    ),
    "roi_align_backward_rois": lambda f: f("roi_align_backward_rois", GRAD, FEATURES, ROIS),
    "roi_align_backward_rois list": lambda f: f(
        "roi_align_backward_rois", GRAD[:3], FEATURES, [ROIS[:2, 1:], ROIS[2:3, 1:]]
    ),
    "roi_align_backward_rois max": lambda f: f(
        "roi_align_backward_rois", GRAD, FEATURES, ROIS, mode="max", argmax=argmax_of("max")
    ),
    "roi_align_argmax_positions": lambda f: f("roi_align_argmax_positions", argmax_of("max"), ROIS),
    "roi_align_rotated": lambda f: f("roi_align_rotated", FEATURES, TURNED, (3, 2)),
    "roi_align_rotated_backward": lambda f: f(
        "roi_align_rotated_backward", GRAD_TURNED, TURNED, FEATURES.shape
    ),
    "roi_align_rotated_backward_rois": lambda f: f(
        "roi_align_rotated_backward_rois", GRAD_TURNED, FEATURES, TURNED
    ),
    "prroi_pool": lambda f: f("prroi_pool", FEATURES, ROIS, (3, 2)),
    "prroi_pool_backward": lambda f: f("prroi_pool_backward", GRAD, ROIS, FEATURES.shape),
    "prroi_pool_backward_rois": lambda f: f("prroi_pool_backward_rois", GRAD, FEATURES, ROIS),
    "deform_roi_pool": lambda f: f("deform_roi_pool", FEATURES, ROIS, OFFSETS, (3, 2), mask=MASK),
    "deform_roi_pool plain": lambda f: f("deform_roi_pool", FEATURES, ROIS, None, (3, 2)),
    "deform_roi_pool_backward": lambda f: f("deform_roi_pool_backward", GRAD, ROIS, OFFSETS, FEATURES.shape),
    "deform_roi_pool_backward_offsets": lambda f: f(
        "deform_roi_pool_backward_offsets", GRAD, FEATURES, ROIS, OFFSETS, mask=MASK
    ),
    "deform_roi_pool_backward_mask": lambda f: f(
        "deform_roi_pool_backward_mask", GRAD, FEATURES, ROIS, OFFSETS, MASK
    ),
    "crop_and_resize": lambda f: f("crop_and_resize", IMAGES, ROIS, (3, 2), mean=(1, 2, 3), fill=2),
    "crop_and_resize list": lambda f: f(
        "crop_and_resize", [IMAGES[0], IMAGES[1, 2:]], ROIS, (3, 2), reverse_channels=True
    ),
    "crop_quads": lambda f: f(
        "crop_quads", IMAGES, QUADS, (3, 2), batch_indices=IMAGES_OF_QUADS, sampling_ratio=2, mean=3
    ),
    "crop_quads list": lambda f: f(
        "crop_quads", [IMAGES[0], IMAGES[1, 2:]], QUADS, (3, 2), batch_indices=IMAGES_OF_QUADS
    ),
    "crop_and_resize_backward": lambda f: f("crop_and_resize_backward", GRAD_CROPS, ROIS, IMAGES.shape),
    "crop_and_resize_backward_boxes": lambda f: f("crop_and_resize_backward_boxes", GRAD_CROPS, IMAGES, ROIS),
    "ps_roi_align": lambda f: f("ps_roi_align", OF_BINS, ROIS, (3, 2)),
    "ps_roi_align_backward": lambda f: f("ps_roi_align_backward", GRAD, ROIS, OF_BINS.shape),
    "ps_roi_align_backward_rois": lambda f: f("ps_roi_align_backward_rois", GRAD, OF_BINS, ROIS),
    "ps_roi_pool": lambda f: f("ps_roi_pool", OF_BINS, ROIS, (3, 2)),
    "ps_roi_pool_backward": lambda f: f("ps_roi_pool_backward", GRAD, ROIS, OF_BINS.shape),
    "roi_pool": lambda f: f("roi_pool", FEATURES, ROIS, (3, 2), return_argmax=True),
    "roi_pool_backward": lambda f: f("roi_pool_backward", GRAD, argmax_of("pool"), ROIS, FEATURES.shape),
    "roi_pool avg": lambda f: f("roi_pool", FEATURES, ROIS, (3, 2), mode="avg"),
    "roi_pool_backward avg": lambda f: f("roi_pool_backward", GRAD, None, ROIS, FEATURES.shape, mode="avg"),
    "multi_scale_roi_align": lambda f: f(
        "multi_scale_roi_align", MAPS, ROIS, (3, 2), spatial_scales=(1, 0.5), levels=LEVELS
    ),
    "multi_scale_roi_align sum": lambda f: f(
        "multi_scale_roi_align", MAPS, ROIS, (3, 2), spatial_scales=(1, 0.5), merge="sum"
    ),
    "multi_scale_roi_align_backward": lambda f: f(
        "multi_scale_roi_align_backward", GRAD, ROIS, SHAPES, spatial_scales=(1, 0.5), levels=LEVELS
    ),
    "multi_scale_roi_align_backward_rois": lambda f: f(
        "multi_scale_roi_align_backward_rois", GRAD, MAPS, ROIS, spatial_scales=(1, 0.5), levels=LEVELS
    ),
    "multi_scale_roi_align_rotated": lambda f: f(
        "multi_scale_roi_align_rotated", MAPS, TURNED, (3, 2), spatial_scales=(1, 0.5)
    ),
    "multi_scale_roi_align_rotated_backward": lambda f: f(
        "multi_scale_roi_align_rotated_backward", GRAD_TURNED, TURNED, SHAPES, spatial_scales=(1, 0.5)
    ),
    "multi_scale_roi_align_rotated_backward_rois": lambda f: f(
        "multi_scale_roi_align_rotated_backward_rois", GRAD_TURNED, MAPS, TURNED, spatial_scales=(1, 0.5)
    ),
    "multi_scale_roi_pool": lambda f: f(
        "multi_scale_roi_pool", MAPS, ROIS, (3, 2), spatial_scales=(1, 0.5), return_argmax=True
    ),
    "multi_scale_roi_pool_backward": lambda f: f(
        "multi_scale_roi_pool_backward", GRAD, argmax_of("levels"), ROIS, SHAPES, spatial_scales=(1, 0.5)
    ),
    "paste_masks": lambda f: f("paste_masks", MASKS, ROIS[:, 1:], (12, 17)),
    "paste_masks soft": lambda f: f("paste_masks", MASKS, ROIS[:, 1:], (12, 17), threshold=None),
    "rmac": lambda f: f("rmac", FEATURES),
    "rmac whitened": lambda f: f("rmac", FEATURES, whiten=WHITENING, aggregate="concat"),
    "rmac_backward": lambda f: f("rmac_backward", FEATURES[:, :, 0, 0].copy(), FEATURES, whiten=None),
}
