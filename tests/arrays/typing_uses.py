"""How roicy is used, and what a type checker makes of it: read by mypy and pyright (`make types`), never run.

Lines marked as errors have to be errors: both checkers complain about a mark that hides nothing.
"""

from __future__ import annotations

from typing import Any, Literal, assert_type

import numpy as np
from numpy.typing import NDArray

import roicy
from roicy import RoIAlignPlan, RoIAlignRotatedPlan
from roicy.compat import caffe2, mxnet, onnx, torchvision

Array = NDArray[Any]
Regions = np.ndarray[tuple[int, int], np.dtype[np.float32]]
FEATURES = np.zeros((2, 3, 8, 8), np.float32)
PIXELS = np.zeros((2, 8, 8, 3), np.uint8)
ROIS = np.array([[0, 1, 1, 6, 6]], np.float32)
WIDE = ROIS.astype(np.float64)
TURNED = np.array([[0, 4, 4, 3, 2, 30]])
LISTED = [np.zeros((2, 4)), np.zeros((3, 4))]
MIXED = np.zeros((2, 4), np.float32), np.zeros((3, 4), np.int64)


# ---------------------------------------------------------------- pooling


def align() -> None:
    assert_type(roicy.roi_align(FEATURES, ROIS, 7), Array)
    assert_type(roicy.roi_align(PIXELS, WIDE, (7, np.int64(7)), layout="NHWC"), Array)
    assert_type(roicy.roi_align(FEATURES, ROIS[:, 1:], [7, 7], batch_indices=np.zeros(1, np.int32)), Array)
    assert_type(roicy.roi_align(FEATURES, LISTED, 7, spatial_scale=np.float32(0.5)), Array)
    assert_type(roicy.roi_align(FEATURES, MIXED, 7, aligned=False, sampling_ratio=np.int8(2)), Array)
    assert_type(roicy.roi_align(FEATURES, [[1, 1, 6.5, 6]], np.array([7, 7]), batch_indices=[0]), Array)
    assert_type(roicy.roi_align(FEATURES, [[[1, 1, 6, 6]], []], 7, aligned=1), Array)
    assert_type(roicy.roi_align(FEATURES, ROIS, 7, invalid="nan", out=np.empty((1, 3, 7, 7))), Array)


def argmax(wanted: bool) -> None:
    pooled, chosen = roicy.roi_align(FEATURES, ROIS, 7, mode="max", return_argmax=True)
    assert_type(pooled, Array)
    assert_type(chosen, Array)
    assert_type(roicy.roi_align_argmax_positions(chosen, LISTED, aligned=False), tuple[Array, Array])
    both = roicy.roi_align(FEATURES, ROIS, 7, mode="max", return_argmax=True, out=(pooled, chosen))
    assert_type(both, tuple[Array, Array])
    assert_type(roicy.roi_align(FEATURES, ROIS, 7, mode="max", max_rule="onnx", return_argmax=False), Array)
    either = roicy.roi_align(FEATURES, ROIS, 7, mode="max", return_argmax=wanted)
    assert_type(either, Array | tuple[Array, Array])
    assert_type(roicy.roi_pool(FEATURES, ROIS, 7, rounding="none", mode="avg"), Array)
    assert_type(roicy.roi_pool(FEATURES, ROIS, 7, return_argmax=True), tuple[Array, Array])
    assert_type(roicy.roi_pool(FEATURES, ROIS, 7, return_argmax=wanted), Array | tuple[Array, Array])


def rotated() -> None:
    assert_type(roicy.roi_align_rotated(FEATURES, TURNED, 7, angle_unit="radians", clockwise=True), Array)


def precise() -> None:
    grad = np.ones((1, 3, 7, 7), np.float32)
    assert_type(roicy.prroi_pool(FEATURES, ROIS, 7, spatial_scale=0.5), Array)
    assert_type(roicy.prroi_pool_backward(grad, LISTED, FEATURES.shape), Array)
    assert_type(roicy.prroi_pool_backward_rois(grad, FEATURES, ROIS), Array)
    assert_type(roicy.prroi_pool_backward_rois(grad, FEATURES, LISTED), list[Array])
    assert_type(roicy.prroi_pool_plan(ROIS, FEATURES.shape, 7)(FEATURES), Array)


def deformed() -> None:
    grad, offsets = np.ones((1, 3, 7, 7), np.float32), np.zeros((1, 2, 7, 7), np.float32)
    mask = np.ones((1, 1, 7, 7), np.float32)
    assert_type(roicy.deform_roi_pool(FEATURES, ROIS, offsets, 7, gamma=0.2, mask=mask), Array)
    assert_type(roicy.deform_roi_pool(FEATURES, LISTED, None, 7), Array)
    assert_type(roicy.deform_roi_pool_backward(grad, LISTED, offsets, FEATURES.shape), Array)
    assert_type(roicy.deform_roi_pool_backward_offsets(grad, FEATURES, ROIS, offsets), Array)
    assert_type(roicy.deform_roi_pool_backward_mask(grad, FEATURES, LISTED, offsets, mask), Array)
    plan = roicy.deform_roi_pool_plan(ROIS, offsets, FEATURES.shape, 7)
    assert_type(plan(FEATURES), Array)
    assert_type(plan.backward_offsets(grad, FEATURES), Array)


def position_sensitive() -> None:
    maps, grad = np.ones((1, 49, 9, 9), np.float32), np.ones((1, 1, 7, 7), np.float32)
    assert_type(roicy.ps_roi_align(maps, ROIS, 7, sampling_ratio=2, aligned=False), Array)
    assert_type(roicy.ps_roi_align_backward(grad, LISTED, maps.shape), Array)
    assert_type(roicy.ps_roi_align_backward_rois(grad, maps, ROIS), Array)
    assert_type(roicy.ps_roi_align_backward_rois(grad, maps, LISTED), list[Array])
    assert_type(roicy.ps_roi_align_plan(ROIS, maps.shape, 7)(maps), Array)
    assert_type(roicy.ps_roi_pool(maps, LISTED, 7, spatial_scale=0.5), Array)
    assert_type(roicy.ps_roi_pool_backward(grad, ROIS, maps.shape), Array)
    assert_type(roicy.ps_roi_pool_plan(ROIS, maps.shape, 7)(maps), Array)


def pyramids(wanted: bool) -> None:
    grad, maps, scales = np.ones((1, 3, 7, 7), np.float32), [FEATURES, FEATURES], (1, 0.5)
    shapes, levels = [FEATURES.shape, (2, 3, 4, 4)], np.zeros(1, np.int64)
    assert_type(roicy.multi_scale_roi_align(maps, ROIS, 7, spatial_scales=scales, levels="mmdet"), Array)
    assert_type(roicy.multi_scale_roi_align_rotated(maps, TURNED, 7, spatial_scales=scales), Array)
    found = roicy.multi_scale_roi_align_backward(grad, LISTED, shapes, spatial_scales=scales, levels=levels)
    assert_type(found, list[Array])
    rois_of = roicy.multi_scale_roi_align_backward_rois
    assert_type(rois_of(grad, maps, ROIS, spatial_scales=scales, merge="sum"), Array)
    assert_type(rois_of(grad, maps, LISTED, spatial_scales=scales, aligned=False), list[Array])
    assert_type(roicy.multi_scale_roi_align_plan(ROIS, shapes, 7, spatial_scales=scales)(maps), Array)
    pool = roicy.multi_scale_roi_pool
    assert_type(pool(maps, ROIS, 7, spatial_scales=scales, rounding="none"), Array)
    assert_type(pool(maps, ROIS, 7, spatial_scales=scales, return_argmax=True), tuple[Array, Array])
    either = pool(maps, ROIS, 7, spatial_scales=scales, return_argmax=wanted)
    assert_type(either, Array | tuple[Array, Array])


def regions() -> None:
    assert_type(roicy.rmac_regions(FEATURES.shape), Regions)
    assert_type(roicy.rmac_regions((1, 256, 32, 24), scales=2, overlap=0.5), Regions)
    mean, matrix = np.zeros(3), np.zeros((2, 3), np.float32)
    assert_type(roicy.rmac(FEATURES), Array)
    assert_type(roicy.rmac(FEATURES, whiten=(mean, matrix), aggregate="concat"), Array)
    assert_type(roicy.rmac(FEATURES, whiten=lambda rows: rows[:, :2]), Array)
    grad = np.ones((2, 3), np.float32)
    assert_type(roicy.rmac_backward(grad, FEATURES, whiten=[mean, matrix], eps=1e-6), Array)


# ---------------------------------------------------------------- gradients


def gradients() -> None:
    grad = np.ones((1, 3, 7, 7), np.float32)
    pooled, chosen = roicy.roi_pool(FEATURES, ROIS, 7, return_argmax=True)
    assert_type(roicy.roi_align_backward(grad, ROIS, FEATURES.shape), Array)
    assert_type(roicy.roi_align_backward(grad, LISTED, [2, 3, 8, 8], mode="max", argmax=chosen), Array)
    assert_type(roicy.roi_align_rotated_backward(grad, TURNED, (2, 3, 8, 8)), Array)
    assert_type(roicy.roi_pool_backward(pooled, chosen, ROIS, FEATURES.shape), Array)
    assert_type(roicy.roi_pool_backward(pooled, None, ROIS, FEATURES.shape, mode="avg"), Array)


def gradients_of_boxes(either: Array | list[Array]) -> None:
    grad = np.ones((1, 3, 7, 7), np.float32)
    assert_type(roicy.roi_align_backward_rois(grad, FEATURES, ROIS), Array)
    assert_type(roicy.roi_align_backward_rois(grad, FEATURES, ROIS, out=np.empty((1, 5))), Array)
    assert_type(roicy.roi_align_backward_rois(grad, FEATURES, LISTED), list[Array])
    assert_type(roicy.roi_align_backward_rois(grad, FEATURES, MIXED), list[Array])
    assert_type(roicy.roi_align_backward_rois(grad, FEATURES, either), Array | list[Array])
    assert_type(roicy.roi_align_rotated_backward_rois(grad, FEATURES, TURNED), Array)
    assert_type(roicy.roi_align_rotated_backward_rois(grad, FEATURES, [TURNED]), list[Array])


# ---------------------------------------------------------------- plans


def plans() -> None:
    plan = roicy.roi_align_plan(ROIS, FEATURES.shape, (7, 5), mode="max")
    assert_type(plan, RoIAlignPlan[Array])
    assert_type(plan(FEATURES), Array)
    assert_type(plan(FEATURES, return_argmax=True), tuple[Array, Array])
    pooled, chosen = plan(FEATURES, return_argmax=True)
    assert_type(plan.backward(pooled, argmax=chosen), Array)
    grad_rois = plan.backward_rois(pooled, FEATURES, argmax=chosen)  # an array, or a list of them
    assert_type(grad_rois, Array | Any)
    moved: Array = ROIS - 0.1 * grad_rois
    plan(moved)
    assert_type(plan.output_size, tuple[int, int])
    assert_type(plan.output_shape, tuple[int, int, int, int])
    assert_type(plan.layout, Literal["NCHW", "NHWC"])
    assert_type(roicy.roi_align_plan(LISTED, (2, 3, 8, 8), 7), RoIAlignPlan[Array])
    turned = roicy.roi_align_rotated_plan(TURNED, (2, 3, 8, 8), 7)
    assert_type(turned, RoIAlignRotatedPlan[Array])
    assert_type(turned(FEATURES), Array)
    assert_type(turned.backward(turned(FEATURES)), Array)


class Head:
    """A plan in an annotation."""

    def __init__(self, plan: RoIAlignPlan[NDArray[Any]]) -> None:
        self.plan = plan

    def __call__(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        return self.plan(features)


def numbers() -> None:
    """Boxes as lists: all of them, and those of each image."""
    grad, rows, of_images = np.ones((1, 3, 7, 7), np.float32), [[0, 1, 1, 6.5, 6]], [[[1, 1, 6, 6]], []]
    turned, shape, scales = [[0, 4, 4, 3, 2, 30]], (2, 3, 8, 8), (1, 0.5)
    plan: RoIAlignPlan[Array] = roicy.roi_align_plan(rows, shape, 7)
    assert_type(plan(FEATURES), Array)
    plan = roicy.roi_align_plan(of_images, shape, 7)
    roicy.roi_align_plan([row[1:] for row in rows], shape, 7, batch_indices=[1])
    roicy.roi_align_rotated_plan(turned, shape, 7)
    roicy.roi_pool_plan(of_images, shape, 7)
    roicy.prroi_pool_plan(rows, shape, 7)
    roicy.deform_roi_pool_plan(of_images, None, shape, 7)
    roicy.ps_roi_align_plan(rows, (1, 49, 8, 8), 7)
    roicy.ps_roi_pool_plan(of_images, (1, 49, 8, 8), 7)
    roicy.multi_scale_roi_align_plan(rows, [shape, shape], 7, spatial_scales=scales)
    roicy.multi_scale_roi_align_rotated_plan(turned, [shape, shape], 7, spatial_scales=scales)
    roicy.multi_scale_roi_pool_plan(of_images, [shape, shape], 7, spatial_scales=scales)
    levels: Array = roicy.fpn_levels(of_images, 4)
    levels = roicy.fpn_levels(rows, 4)
    assert_type(roicy.roi_align_backward_rois(grad, FEATURES, rows), Array)
    assert_type(roicy.roi_align_backward_rois(grad, FEATURES, of_images), list[Array])
    assert_type(roicy.roi_align_rotated_backward_rois(grad, FEATURES, turned), Array)
    assert_type(roicy.prroi_pool_backward_rois(grad, FEATURES, of_images), list[Array])
    assert_type(roicy.ps_roi_align_backward_rois(grad, FEATURES, rows), Array)
    rois_of = roicy.multi_scale_roi_align_backward_rois
    assert_type(rois_of(grad, [FEATURES], of_images, spatial_scales=[1], levels=levels), list[Array])
    rois_of_turned = roicy.multi_scale_roi_align_rotated_backward_rois
    assert_type(rois_of_turned(grad, [FEATURES], turned, spatial_scales=[1]), Array)
    roicy.deform_roi_pool(FEATURES, [[1, 1, 6, 6]], None, 7, batch_indices=[1])
    assert_type(roicy.roi_align_argmax_positions(levels, of_images), tuple[Array, Array])
    caffe2.RoIAlign(FEATURES, rows)
    mxnet.ROIAlign(FEATURES, rows, 7, 0.5)
    onnx.RoiAlign(FEATURES, [[1, 1, 6, 6]], [0])


# ---------------------------------------------------------------- arrays of no known type, such as CuPy's


def of_unknown_type(features: Any, rois: Any) -> None:
    assert_type(roicy.roi_align(features, rois, 7), Any)
    assert_type(roicy.roi_align(features, rois, 7, return_argmax=True), tuple[Any, Any])
    assert_type(roicy.roi_align_backward_rois(features, features, rois), Any)
    assert_type(roicy.roi_align_plan(rois, (2, 3, 8, 8), 7)(features), Any)
    assert_type(roicy.rmac(features), Any)


# ---------------------------------------------------------------- the rest of the package


def settings() -> None:
    assert_type(roicy.__version__, str)
    assert_type(roicy.get_num_threads(), int)
    with roicy.num_threads(2):
        roicy.set_num_threads(1)
    roicy.show_config()
    assert_type(roicy.show_config("dicts"), dict[str, dict[str, Any]])


def other_systems(test: bool) -> None:
    assert_type(caffe2.RoIAlign(FEATURES, ROIS, pooled_h=7, pooled_w=7, aligned=1), Array)
    assert_type(caffe2.RoIAlignGradient(FEATURES, WIDE, FEATURES), Array)
    assert_type(caffe2.RoIPool(FEATURES, ROIS), tuple[Array, Array])
    assert_type(caffe2.RoIPool(FEATURES, ROIS, is_test=1), Array)
    assert_type(caffe2.RoIPool(FEATURES, ROIS, is_test=test), Array | tuple[Array, Array])
    assert_type(caffe2.RMACRegions(FEATURES, scales=2), Array)
    assert_type(caffe2.run_operator("RoIAlign", [FEATURES, FEATURES], "cpu", pooled_h=7), tuple[Array, ...])
    assert_type(caffe2.gradient_operator("RoIAlign"), str)
    assert_type(mxnet.ROIPooling(FEATURES, ROIS, 7, 1.0), Array)
    assert_type(mxnet.ROIPooling(FEATURES, ROIS, (7, 7), 1.0, return_argmax=True), tuple[Array, Array])
    assert_type(mxnet.ROIAlign(FEATURES, WIDE, 7, 0.5, position_sensitive=True), Array)
    pooled, x, y = mxnet.MaxROIAlign(FEATURES, ROIS, 7, 1.0)
    assert_type(mxnet.MaxROIAlign_backward(pooled, ROIS, x, y, FEATURES.shape, 1.0), Array)
    assert_type(onnx.RoiAlign(FEATURES, ROIS[:, 1:], ROIS[:, 0], mode="max", opset=16), Array)
    assert_type(onnx.MaxRoiPool(FEATURES, ROIS, pooled_shape=(7, 7)), Array)
    assert_type(torchvision.roi_align(FEATURES, LISTED, 7, 0.5, 2), Array)
    assert_type(torchvision.roi_align_backward(pooled, ROIS, FEATURES.shape), Array)
    assert_type(torchvision.roi_pool(FEATURES, ROIS, 7), Array)
    chosen, argmax = torchvision.roi_pool(FEATURES, LISTED, 7, return_argmax=True)
    assert_type(torchvision.roi_pool_backward(chosen, LISTED, argmax, FEATURES.shape), Array)
    assert_type(torchvision.RoIAlign(7, 0.5, 2)(FEATURES, ROIS), Array)
    assert_type(torchvision.RoIPool((3, 2), 0.5)(FEATURES, LISTED), Array)
    assert_type(torchvision.ps_roi_align(FEATURES, ROIS, 7, 0.5), Array)
    assert_type(torchvision.ps_roi_align_backward(pooled, ROIS, FEATURES.shape, 0.5), Array)
    assert_type(torchvision.PSRoIAlign(7, 0.5, 2)(FEATURES, ROIS), Array)
    assert_type(torchvision.ps_roi_pool(FEATURES, LISTED, 7, 0.5), Array)
    assert_type(torchvision.ps_roi_pool_backward(pooled, ROIS, FEATURES.shape, 0.5), Array)
    assert_type(torchvision.PSRoIPool(7, 0.5)(FEATURES, ROIS), Array)
    layer = torchvision.MultiScaleRoIAlign(["0"], 7, 2, canonical_level=3)
    assert_type(layer({"0": FEATURES}, LISTED, [(480, 640)]), Array)
    assert_type(layer.backward(pooled, LISTED, {"0": FEATURES.shape}), dict[str, Array])


# ---------------------------------------------------------------- errors


def errors(word: str) -> None:
    roicy.roi_align([[1.0]], ROIS, 7)  # type: ignore[call-overload]
    roicy.roi_align(FEATURES, [["0", 1, 1, 6, 6]], 7)  # type: ignore[arg-type]
    roicy.roi_align(FEATURES, ROIS, 7.0)  # type: ignore[call-overload]
    roicy.roi_align(FEATURES, ROIS)  # type: ignore[call-overload]
    roicy.roi_align(FEATURES, ROIS, 7, layout="CHWN")  # type: ignore[call-overload]
    roicy.roi_align(FEATURES, ROIS, 7, layout=word)  # type: ignore[call-overload]
    roicy.roi_align(FEATURES, ROIS, 7, 0.5)  # type: ignore[call-overload]
    roicy.roi_align_backward(FEATURES, ROIS, (2, 3, 8, 8), mode="mean")  # type: ignore[arg-type]
    roicy.roi_align_backward_rois(FEATURES, FEATURES, LISTED, out=ROIS)  # type: ignore[arg-type]
    roicy.roi_pool(FEATURES, ROIS, 7, out=(FEATURES, FEATURES))  # type: ignore[call-overload]
    roicy.roi_align_plan(ROIS, "NCHW", 7)  # type: ignore[arg-type]
    roicy.show_config("text")  # type: ignore[call-overload]
    roicy.roi_allign  # type: ignore[attr-defined]  # noqa: B018
