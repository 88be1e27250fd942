"""roicy's own calls on a workload: the forward pass, with its argmax or without, and the gradients.

A pass is a function ``(workload, ...) -> prepare``, and ``prepare(features, rois, grad_output)`` gets the
arrays of one round and returns the call that is timed. Results go to the same arrays again and again, with
``fresh=True`` to new ones. ``xp`` is the library that all arrays come from, further options are the
operator's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

import roicy
from roicy._cli.race import Call
from roicy._cli.workloads import Workload
from roicy._types import Layout, Ndarray

Prepare: TypeAlias = Callable[[Ndarray, Ndarray, Ndarray], Call]

AXES = {"NCHW": (0, 1, 2, 3), "NHWC": (0, 2, 3, 1)}
BACK = {"NCHW": (0, 1, 2, 3), "NHWC": (0, 3, 1, 2)}


def forward(
    workload: Workload,
    fresh: bool = False,
    layout: Layout = "NCHW",
    dtype: str = "float32",
    xp: Any = np,
    **options: Any,
) -> Prepare:
    """Prepare the operator itself; the call's result is in NCHW."""
    if workload.operator in ("crop_and_resize", "crop_quads"):
        return _cropped(workload, xp, fresh, "float32", {**workload.options, **options})
    if workload.operator == "paste_masks":
        return _pasted(workload, xp, fresh, **options)
    if workload.operator == "rmac":  # which has no out
        return lambda features, rois, grad_output: lambda: roicy.rmac(features)
    function, axes, back = _function(workload, "", xp), AXES[layout], BACK[layout]
    out = None if fresh else xp.empty([workload.output_shape[axis] for axis in axes], dtype)
    options = {**workload.options, "layout": layout, "out": out, **options}
    taken = "uint8" if workload.dtype == "uint8" else dtype

    def prepare(features: Ndarray, rois: Ndarray, grad_output: Ndarray) -> Call:
        maps = [
            xp.ascontiguousarray(each.astype(taken, copy=False).transpose(axes))
            for each in workload.maps(features)
        ]
        x = maps if workload.levels > 1 else maps[0]
        return lambda: function(x, rois, workload.output_size, **options).transpose(back)

    return prepare


def _function(workload: Workload, ending: str, xp: Any) -> Callable[..., Any]:
    # a function of the operator, of maps or a gradient, boxes, and what comes behind them
    function: Callable[..., Any] = getattr(roicy, workload.operator + ending)
    if workload.operator != "deform_roi_pool":
        return function
    offsets = xp.asarray(workload.offsets())
    return lambda first, rois, last, **options: function(first, rois, offsets, last, **options)


def as_rotated(workload: Workload) -> Prepare:
    """Prepare upright boxes pooled as rotated ones, at an angle of 0."""
    out = np.empty(workload.output_shape, np.float32)

    def prepare(features: Ndarray, rois: Ndarray, grad_output: Ndarray) -> Call:
        low, high = rois[:, 1:3], rois[:, 3:]
        turned = np.column_stack([rois[:, 0], (low + high) / 2, high - low, np.zeros(len(rois), np.float32)])
        size = workload.output_size
        return lambda: roicy.roi_align_rotated(features, turned, size, **workload.options, out=out)

    return prepare


def offset_gradient(workload: Workload, xp: Any = np, **options: Any) -> Prepare:
    """Prepare the gradient with respect to the offsets of bins."""
    offsets = xp.asarray(workload.offsets())
    options = {**workload.options, **options}
    gradient = roicy.deform_roi_pool_backward_offsets
    return lambda features, rois, grad_output: (
        lambda: gradient(grad_output, features, rois, offsets, **options)
    )


def channels_last(workload: Workload, fresh: bool = False, xp: Any = np, **options: Any) -> Prepare:
    """Prepare the operator on a picture as it comes; the call's result is in NCHW."""
    return forward(workload, fresh, "NHWC", xp=xp, **options)


def _cropped(workload: Workload, xp: Any, fresh: bool, dtype: str, options: dict[str, Any]) -> Prepare:
    last = options.get("out_layout", "NHWC") == "NHWC"
    axes = AXES["NHWC" if last else "NCHW"]
    back = BACK["NHWC"] if last and dtype != "uint8" else BACK["NCHW"]
    out = None if fresh else xp.empty([workload.output_shape[axis] for axis in axes], dtype)
    options = {**options, "out": out, "dtype": dtype}

    def prepare(features: Ndarray, rois: Ndarray, grad_output: Ndarray) -> Call:
        images = xp.ascontiguousarray(features.transpose(AXES["NHWC"]))
        if workload.operator == "crop_and_resize":
            crop: Callable[..., Any] = roicy.crop_and_resize
            boxes, more = rois, options
        else:
            crop, boxes = roicy.crop_quads, rois[:, 1:].reshape(-1, 4, 2)
            more = {**options, "batch_indices": rois[:, 0].astype(np.int64)}
        return lambda: crop(images, boxes, workload.output_size, **more).transpose(back)

    return prepare


def as_bytes(workload: Workload, fresh: bool = False, xp: Any = np, **options: Any) -> Prepare:
    """Prepare crops of bytes, in the image's layout."""
    return _cropped(workload, xp, fresh, "uint8", options)


def _pasted(workload: Workload, xp: Any, fresh: bool, **options: Any) -> Prepare:
    if not fresh:
        options["out"] = xp.empty(workload.output_shape, np.bool_)
    size = workload.input_shape[2:]
    return lambda masks, rois, grad_output: lambda: roicy.paste_masks(masks, rois[:, 1:], size, **options)


def as_runs(workload: Workload, fresh: bool = True, xp: Any = np, **options: Any) -> Prepare:
    """Prepare masks pasted as run lengths."""
    return _pasted(workload, xp, True, to="rle", **options)


def level_by_level(workload: Workload) -> Prepare:
    """Prepare what pools from a pyramid without `multi_scale_roi_align`: a call for each map, and copies."""
    out, options = np.empty(workload.output_shape, np.float32), workload.options
    scales = options.pop("spatial_scales")

    def prepare(features: Ndarray, rois: Ndarray, grad_output: Ndarray) -> Call:
        maps = workload.maps(features)

        def call() -> Ndarray:
            levels = roicy.fpn_levels(rois, workload.levels)
            for level, (each, scale) in enumerate(zip(maps, scales, strict=True)):
                own = levels == level
                out[own] = roicy.roi_align(
                    each, rois[own], workload.output_size, spatial_scale=scale, **options
                )
            return out

        return call

    return prepare


def with_argmax(workload: Workload, fresh: bool = False, xp: Any = np, **options: Any) -> Prepare:
    """Prepare the operator with its argmax; the call returns both."""
    function, shape = getattr(roicy, workload.operator), workload.output_shape
    out = None if fresh else (xp.empty(shape, np.float32), xp.empty(shape, np.int32))
    options = {**workload.options, "return_argmax": True, "out": out, **options}

    def prepare(features: Ndarray, rois: Ndarray, grad_output: Ndarray) -> Call:
        return lambda: function(features, rois, workload.output_size, **options)

    return prepare


def backward(workload: Workload, fresh: bool = False, xp: Any = np, **options: Any) -> Prepare:
    """Prepare the gradient with respect to the features; an argmax is found untimed."""
    gradient, shape = _function(workload, "_backward", xp), workload.input_shape
    if workload.levels > 1:
        return _backward_levels(workload, fresh, xp, options)
    options = {**workload.options, "out": None if fresh else xp.empty(shape, np.float32), **options}

    def prepare(features: Ndarray, rois: Ndarray, grad_output: Ndarray) -> Call:
        if workload.operator == "rmac":
            return lambda: gradient(grad_output, features, **options)
        if workload.operator == "roi_pool":
            argmax = _argmax(workload, features, rois)
            return lambda: gradient(grad_output, argmax, rois, shape, **options)
        more = {**options, **_argmax_option(workload, features, rois)}
        return lambda: gradient(grad_output, rois, shape, **more)

    return prepare


def _backward_levels(workload: Workload, fresh: bool, xp: Any, options: dict[str, Any]) -> Prepare:
    # the gradients of all maps, a tuple
    shapes = workload.input_shapes
    out = None if fresh else [xp.empty(shape, np.float32) for shape in shapes]
    gradient = getattr(roicy, f"{workload.operator}_backward")
    options = {**workload.options, "out": out, **options}

    def prepare(features: Ndarray, rois: Ndarray, grad_output: Ndarray) -> Call:
        return lambda: tuple(gradient(grad_output, rois, shapes, **options))

    return prepare


def box_gradient(workload: Workload, xp: Any = np, **options: Any) -> Prepare:
    """Prepare the gradient with respect to the boxes; an argmax is found untimed."""
    gradient = getattr(roicy, f"{workload.operator}_backward_rois")

    def prepare(features: Ndarray, rois: Ndarray, grad_output: Ndarray) -> Call:
        more = {**workload.options, **options, **_argmax_option(workload, features, rois)}
        x = workload.maps(features) if workload.levels > 1 else features
        return lambda: gradient(grad_output, x, rois, **more)

    return prepare


def passes(workload: Workload) -> dict[str, Callable[..., Prepare]]:
    """Return the passes that the workload's operator has, by name."""
    found: dict[str, Callable[..., Prepare]] = {"forward": forward}
    if workload.operator == "roi_align_rotated" and workload.dtype == "uint8":
        return {"forward": channels_last, "channels first": forward}
    if workload.dtype == "uint8":
        return found | {"to bytes": as_bytes}
    if workload.operator == "crop_and_resize":
        return found
    if workload.operator == "paste_masks":
        return found | {"as run lengths": as_runs}
    if workload.takes_maxima and workload.operator != "rmac":
        found["with argmax"] = with_argmax
    found["backward"] = backward
    if workload.operator in ("roi_align", "roi_align_rotated", "ps_roi_align", "multi_scale_roi_align"):
        found["box gradient"] = box_gradient
    if workload.operator == "deform_roi_pool":
        found["offset gradient"] = offset_gradient
    return found


def _argmax_option(workload: Workload, features: Ndarray, rois: Ndarray) -> dict[str, Ndarray]:
    return {"argmax": _argmax(workload, features, rois)} if workload.mode == "max" else {}


def _argmax(workload: Workload, features: Ndarray, rois: Ndarray) -> Ndarray:
    return with_argmax(workload, fresh=True)(features, rois, None)()[1]
