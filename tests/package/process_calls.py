"""Calls for programs of their own.

`every` is one small call of each public function, `large` are calls with work for several threads, `wrong`
are calls that fail.
"""

import contextlib

import numpy as np
from arrays import array_calls
from arrays.array_calls import FEATURES, GRAD, GRAD_TURNED, MAPS, OF_BINS, ROIS, SHAPES, TURNED, argmax_of

import roicy
from roicy.compat import caffe2, mxnet, onnx, torchvision


def plain(function, *arguments, **options):
    return getattr(roicy, function)(*arguments, **options)


def in_turn(function, *arguments, **options):
    # the same with an invalid row, a shape that does not fit, and a word that is none
    for more in ({"layout": "NWHC"}, {"out": np.zeros(3)}, {"invalid": "ignore"}):
        with contextlib.suppress(TypeError, ValueError):
            getattr(roicy, function)(*arguments, **{**options, **more})
    beyond = [a + np.float32(9) if a is ROIS or a is TURNED else a for a in arguments]
    with contextlib.suppress(TypeError, ValueError):
        getattr(roicy, function)(*beyond, **options)


def planned(plan, argmax=None, features=FEATURES):
    more = {} if argmax is None else {"argmax": argmax}
    grad = GRAD[: plan.output_shape[0]]
    return plan(features), plan.backward(grad, **more), plan.backward_rois(grad, features, **more)


def counted():
    with roicy.num_threads(3):
        roicy.set_num_threads(2)
    return roicy.get_num_threads()


def cached():
    before = roicy.show_config("dicts")["Memory"]["output cache bytes"]
    roicy.set_output_cache(2**20)
    roicy.empty_output_cache()
    roicy.set_output_cache(before)
    return before


def of_caffe2():
    _, argmaxes = caffe2.RoIPool(FEATURES, ROIS, pooled_h=3, pooled_w=2)
    sizes = {"pooled_h": 3, "pooled_w": 2}
    caffe2.RoIPoolGradient(FEATURES, ROIS, argmaxes, GRAD, **sizes)
    caffe2.RoIAlign(FEATURES, ROIS, **sizes)
    caffe2.RoIAlignGradient(FEATURES, ROIS, GRAD, **sizes)
    caffe2.RoIAlignRotated(FEATURES, TURNED, **sizes)
    caffe2.RoIAlignRotatedGradient(FEATURES, TURNED, GRAD_TURNED, **sizes)
    caffe2.RMACRegions(FEATURES)
    caffe2.run_operator("RoIAlign", [FEATURES, ROIS], **sizes)
    caffe2.gradient_operator("RoIAlign")


def of_mxnet():
    _, argmax = mxnet.ROIPooling(FEATURES, ROIS, (3, 2), 1.0, return_argmax=True)
    mxnet.ROIPooling_backward(GRAD, ROIS, argmax, FEATURES.shape)
    mxnet.ROIAlign(FEATURES, ROIS, (3, 2), 1.0)
    mxnet.ROIAlign_backward(GRAD, ROIS, FEATURES.shape, 1.0)
    _, x, y = mxnet.MaxROIAlign(FEATURES, ROIS, (3, 2), 1.0)
    mxnet.MaxROIAlign_backward(GRAD, ROIS, x, y, FEATURES.shape, 1.0)


def of_onnx():
    onnx.RoiAlign(FEATURES, ROIS[:, 1:], ROIS[:, 0].astype(np.int64), output_height=3, output_width=2)
    onnx.MaxRoiPool(FEATURES, ROIS, pooled_shape=(3, 2))


def of_torchvision():
    listed = [ROIS[ROIS[:, 0] == 0, 1:]]
    torchvision.roi_align(FEATURES, listed, (3, 2))
    torchvision.roi_align_backward(GRAD, ROIS, FEATURES.shape)
    _, argmax = torchvision.roi_pool(FEATURES, ROIS, (3, 2), return_argmax=True)
    torchvision.roi_pool_backward(GRAD, ROIS, argmax, FEATURES.shape)
    torchvision.ps_roi_align(FEATURES, ROIS, (5, 1))
    torchvision.ps_roi_align_backward(GRAD, ROIS, (2, 30, 12, 17))
    torchvision.PSRoIAlign((1, 5), 1.0, 2)(FEATURES, ROIS)
    torchvision.ps_roi_pool(FEATURES, ROIS, (5, 1))
    torchvision.ps_roi_pool_backward(GRAD, ROIS, (2, 30, 12, 17))
    torchvision.PSRoIPool((1, 5), 1.0)(FEATURES, ROIS)
    maps = {"fine": FEATURES, "coarse": FEATURES[:, :, :6]}
    layer = torchvision.MultiScaleRoIAlign(["fine", "coarse"], (3, 2), 2)
    layer(maps, listed, [(24, 34)])
    layer.backward(GRAD[: len(listed[0])], listed, {name: array.shape for name, array in maps.items()})
    torchvision.RoIAlign((3, 2), 1.0, 2)(FEATURES, ROIS)
    torchvision.RoIPool((3, 2), 1.0)(FEATURES, listed)


every = {name: lambda call=call: call(plain) for name, call in array_calls.CALLS.items()}
every |= {
    "rmac_regions": lambda: roicy.rmac_regions(FEATURES.shape),
    "rotated_corners": lambda: roicy.rotated_corners(TURNED),
    "fpn_levels": lambda: roicy.fpn_levels(ROIS, 4),
    "paste_masks windows": lambda: roicy.paste_masks(array_calls.MASKS, ROIS[:, 1:], (12, 17), to="windows"),
    "paste_masks rle": lambda: roicy.paste_masks(array_calls.MASKS, ROIS[:, 1:], (12, 17), to="rle"),
    "plan": lambda: planned(roicy.roi_align_plan(ROIS, FEATURES.shape, (3, 2))),
    "plan max": lambda: planned(
        roicy.roi_align_plan(ROIS, FEATURES.shape, (3, 2), mode="max"), argmax_of("max")
    ),
    "plan rotated": lambda: planned(roicy.roi_align_rotated_plan(TURNED, FEATURES.shape, (3, 2))),
    "plan precise": lambda: planned(roicy.prroi_pool_plan(ROIS, FEATURES.shape, (3, 2))),
    "plan deform": lambda: roicy.deform_roi_pool_plan(
        ROIS, array_calls.OFFSETS, FEATURES.shape, (3, 2)
    ).backward_offsets(GRAD, FEATURES),
    "plan mean": lambda: roicy.roi_pool_plan(ROIS, FEATURES.shape, (3, 2), mode="avg").backward(GRAD),
    "plan by position": lambda: planned(
        roicy.ps_roi_align_plan(ROIS, OF_BINS.shape, (3, 2)), features=OF_BINS
    ),
    "plan pool by position": lambda: roicy.ps_roi_pool_plan(ROIS, OF_BINS.shape, (3, 2)).backward(GRAD),
    "plan pool": lambda: roicy.roi_pool_plan(ROIS, FEATURES.shape, (3, 2)).backward(
        GRAD, argmax=argmax_of("pool")
    ),
    "plan levels": lambda: planned(
        roicy.multi_scale_roi_align_plan(ROIS, SHAPES, (3, 2), spatial_scales=(1, 0.5)), features=MAPS
    ),
    "plan levels rotated": lambda: planned(
        roicy.multi_scale_roi_align_rotated_plan(TURNED, SHAPES, (3, 2), spatial_scales=(1, 0.5)),
        features=MAPS,
    ),
    "plan levels pool": lambda: roicy.multi_scale_roi_pool_plan(
        ROIS, SHAPES, (3, 2), spatial_scales=(1, 0.5)
    ).backward(GRAD, argmax=argmax_of("levels")),
    "plan rmac": lambda: roicy.rmac_plan(FEATURES.shape)(FEATURES),
    "plan crops": lambda: roicy.crop_and_resize_plan(ROIS, array_calls.IMAGES.shape, (3, 2))(
        array_calls.IMAGES
    ),
    "windows": lambda: roicy.rois_windows(ROIS, FEATURES.shape, (3, 2)),
    "window": lambda: np.array(roicy.rois_window(ROIS, FEATURES.shape, (3, 2))),
    "output cache": cached,
    "threads": counted,
    "caffe2": of_caffe2,
    "mxnet": of_mxnet,
    "onnx": of_onnx,
    "torchvision": of_torchvision,
}

rng = np.random.default_rng(0)
maps = rng.random((2, 48, 60, 80), np.float32)
corners = np.sort(rng.uniform(-5, 85, (120, 2, 2)), axis=1).reshape(-1, 4)
boxes = np.column_stack([rng.integers(2, size=120), corners]).astype(np.float32)
angles = rng.uniform(-180, 180, 120)
turned = np.column_stack([boxes[:, :3], boxes[:, 3:] - boxes[:, 1:3], angles]).astype(np.float32)
grads = rng.random((120, 48, 7, 7), np.float32)
moves = rng.standard_normal((120, 2, 7, 7)).astype(np.float32)
_, chosen = roicy.roi_pool(maps, boxes, 7, return_argmax=True)
large = {
    "roi_align": lambda: roicy.roi_align(maps, boxes, 7),
    "roi_align_backward": lambda: roicy.roi_align_backward(grads, boxes, maps.shape),
    "roi_align_backward_rois": lambda: roicy.roi_align_backward_rois(grads, maps, boxes),
    "roi_align max": lambda: roicy.roi_align(maps, boxes, 7, mode="max", return_argmax=True),
    "roi_align_rotated": lambda: roicy.roi_align_rotated(maps, turned, 7, sampling_ratio=2),
    "prroi_pool": lambda: roicy.prroi_pool(maps, boxes, 7),
    "deform_roi_pool": lambda: roicy.deform_roi_pool(maps, boxes, moves, 7, sampling_ratio=2),
    "deform_roi_pool_backward_offsets": lambda: roicy.deform_roi_pool_backward_offsets(
        grads, maps, boxes, moves
    ),
    "ps_roi_align": lambda: roicy.ps_roi_align(maps, boxes, 4),
    "roi_pool": lambda: roicy.roi_pool(maps, boxes, 7),
    "roi_pool_backward": lambda: roicy.roi_pool_backward(grads, chosen, boxes, maps.shape),
    "roi_pool avg": lambda: roicy.roi_pool(maps, boxes, 7, mode="avg"),
    "paste_masks": lambda: roicy.paste_masks(grads[:, 0], boxes[:, 1:], (600, 800)),
}


def bits(found):
    return b"".join(bits(part) for part in found) if isinstance(found, (tuple, list)) else found.tobytes()


def results(calls):
    return {name: bits(call()) for name, call in calls.items()}


wrong = {f"{name} wrong": lambda call=call: call(in_turn) for name, call in array_calls.CALLS.items()}
