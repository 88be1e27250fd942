"""Boxes as torchvision takes them, and errors in its words."""

from __future__ import annotations

from typing import Any

from roicy import _arguments as settle
from roicy._backend import adopt
from roicy._types import Boxes, Ndarray
from roicy.compat._boxes import check_batch_column
from roicy.compat._words import Words

WORDS = Words(features="input", rois="boxes")


def adopted(features: Ndarray, boxes: Boxes) -> tuple[Any, Ndarray, dict[str, Any]]:
    """Return the array library of a call, its feature maps, and its boxes as options of `roicy`."""
    kernels, features, boxes = adopt(features=features, rois=boxes)
    images = settle.features_shape(features, "NCHW")[0]
    return kernels.xp, features, boxes_of(kernels.xp, boxes, images)


def boxes_of(xp: Any, boxes: Any, images: int) -> dict[str, Any]:
    """Return `rois` and `batch_indices` of boxes of five columns, or of a list of arrays.

    A list that has fewer arrays than there are images is one of the first of these.
    """
    if not isinstance(boxes, (list, tuple)):
        check_batch_column(boxes)
        return {"rois": boxes}
    if len(boxes) >= images:
        return {"rois": boxes}
    of_first = settle.rois(boxes, None, len(boxes), xp)
    return {"rois": of_first.boxes, "batch_indices": of_first.images}
