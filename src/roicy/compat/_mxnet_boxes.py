"""Boxes as MXNet's operators take them."""

from __future__ import annotations

from typing import Any

import numpy as np

from roicy import _arguments as settle
from roicy._given import Given
from roicy._types import Flag, Integer, Ndarray, Real, Shape, Size
from roicy.compat._boxes import aligned_sizes, check_batch_column, check_rows, scale_in_float32
from roicy.compat._unit_steps import UnitSteps
from roicy.compat._words import Words

WORDS = Words(
    features="data",
    grad_output="out_grad",
    input_shape="data_shape",
    output_size="pooled_size",
    sampling_ratio="sample_ratio",
)


def unit_steps(
    xp: Any, rois: Ndarray, input_shape: Shape, output_size: Size, spatial_scale: Real
) -> tuple[UnitSteps, Given, tuple[float]]:
    """Return where samples lie, and what a plan is made of."""
    check_batch_column(rois)
    boxes = settle.rois(rois, None, input_shape[0], xp).boxes
    check_rows(xp.isfinite(boxes).all(axis=1), rois, "finite numbers")
    scale = scale_in_float32(spatial_scale)
    steps = UnitSteps(xp, boxes[:, 1:], input_shape, output_size, scale)
    return steps, Given(rois, None, "NCHW", "raise"), (scale,)


def images_of(xp: Any, rois: Ndarray, images: int) -> Ndarray:
    """Return which image each box belongs to, int64; -1 and N stand for all that is below or beyond."""
    check_batch_column(rois)
    boxes = settle.rois(rois, None, images, xp).boxes
    check_rows(xp.isfinite(boxes).all(axis=1), rois, "finite numbers")
    return xp.trunc(xp.clip(boxes[:, 0].astype(np.float64), -1, images)).astype(np.int64)


def planes(xp: Any, images: Ndarray, channels: int) -> Ndarray:
    """Return which plane of the features each plane of the output is made of."""
    return (images[:, None] * channels + xp.arange(channels))[:, :, None, None]


def align_options(
    xp: Any, rois: Ndarray, images: int, spatial_scale: Real, sample_ratio: Integer, aligned: Flag
) -> tuple[Ndarray, dict[str, Any]]:
    """Return which boxes are left out, and what the functions of roicy are called with."""
    image = images_of(xp, rois, images)
    check_rows(image < images, rois, f"a batch index below N = {images}")
    boxes = settle.rois(rois, None, images, xp).boxes[:, 1:]
    scale = scale_in_float32(spatial_scale)
    skipped = image < 0
    if settle.flag("aligned", aligned):
        sizes = (aligned_sizes(boxes, scale) > 0).all(axis=1)
        check_rows(sizes | skipped, rois, "width and height greater than 0, as aligned is True")
    return skipped, {
        "spatial_scale": scale,
        "sampling_ratio": sample_ratio,
        "aligned": aligned,
        "invalid": "nan",
    }
