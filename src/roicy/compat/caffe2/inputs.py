"""Inputs and arguments as Caffe2 has them, and errors in its words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from roicy import _arguments as settle
from roicy._backend import adopt_single, put
from roicy._types import Flag, Integer, Layout, Ndarray, Real, Size
from roicy.compat._boxes import aligned_sizes, check_rows, scale_in_float32
from roicy.compat._words import Words

WORDS = Words(
    features="X",
    grad_output="dY",
    argmax="argmaxes",
    layout="order",
    output_size="(pooled_h, pooled_w)",
    input_shape="X.shape",
)


class Sampling(NamedTuple):
    """The arguments that say where samples lie, as the caller gave them."""

    order: Layout
    spatial_scale: Real
    sampling_ratio: Integer
    aligned: Flag


def align(
    function: Callable[..., Any],
    names: Sequence[str],
    X: Ndarray,
    rois: Ndarray,
    size: Any,
    sampling: Sampling,
) -> Any:
    """Run an operator that averages, as Caffe2 does."""
    with WORDS:
        kernels, X, rois = adopt_single(X=X, rois=rois)
        xp = kernels.xp
        rois = _rows(xp, rois, names)
        size = settle.output_size(size)
        options, boxes = _options(xp, names, rois, sampling)
        pooled = function(X, rois, size, **options)
        if options["aligned"] and options["sampling_ratio"] == 0:
            bins = xp.asarray(np.array(size[::-1], boxes.dtype))
            sizes = aligned_sizes(boxes, options["spatial_scale"], names) / bins
            put(pooled, (sizes == 0).any(axis=1), np.nan, xp)  # 0 / 0: no samples
        return pooled


def align_gradient(
    function: Callable[..., Any],
    names: Sequence[str],
    X: Ndarray,
    rois: Ndarray,
    dY: Ndarray,
    size: Any,
    sampling: Sampling,
) -> Any:
    """Run the gradient of one."""
    with WORDS:
        kernels, X, rois, dY = adopt_single(X=X, rois=rois, dY=dY)
        rois = _rows(kernels.xp, rois, names)
        options, _ = _options(kernels.xp, names, rois, sampling)
        check_bins(dY, settle.output_size(size), options["layout"])
        return function(dY, rois, X.shape, **options)


def _rows(xp: Any, rois: Ndarray, names: Sequence[str]) -> Ndarray:
    # no boxes may have any shape of size 0
    return rois if rois.size else xp.empty((0, 1 + len(names)), rois.dtype)


def _options(
    xp: Any,
    names: Sequence[str],
    rois: Ndarray,
    sampling: Sampling,
) -> tuple[dict[str, Any], Ndarray]:
    # what the functions of roicy are called with, and the boxes as they use them, without batch indices
    order, spatial_scale, sampling_ratio, aligned = sampling
    images = None
    if rois.ndim == 2 and rois.shape[1] == len(names):
        images = xp.zeros(len(rois), np.int64)
    boxes = settle.rois(rois, images, 1, xp, names).boxes[:, -len(names) :]
    scale = scale_in_float32(spatial_scale)
    aligned = settle.flag("aligned", aligned)
    if aligned:
        negative = (aligned_sizes(boxes, scale, names) < 0).any(axis=1)
        check_rows(~negative, rois, "no negative size, as aligned is True")
    options = {
        "layout": settle.layout(order),
        "spatial_scale": scale,
        "sampling_ratio": settle.sampling_ratio(sampling_ratio),
        "aligned": aligned,
        "batch_indices": images,
    }
    return options, boxes


def check_bins(dY: Ndarray, size: Size, layout: Layout) -> None:
    """Check that a gradient has the bins that the operator was told of."""
    expected = settle.grad_output_size(dY, layout)
    if expected != size:
        raise ValueError(f"(pooled_h, pooled_w) must be {expected}, the rows and columns of dY, got {size}")


def check_nchw(order: object) -> None:
    """Check that the order is the one that this operator has."""
    if settle.layout(order) != "NCHW":
        raise ValueError(f"order must be 'NCHW' for this operator, got {order!r}")
