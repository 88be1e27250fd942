"""Boxes as torchvision takes them, and errors in its words."""

from __future__ import annotations

from typing import Any

import numpy as np

from roicy import _arguments as settle
from roicy._backend import adopt
from roicy._types import Boxes, Ndarray
from roicy.compat._boxes import check_batch_column
from roicy.compat._words import Words

WORDS = Words(features="input", rois="boxes")
#: Of gradients, which know no more of the features than their shape.
SHAPE_WORDS = Words(features="input_shape", rois="boxes")


def adopted(features: Ndarray, boxes: Boxes) -> tuple[Any, Ndarray, Any]:
    """Return the array library of a call, its feature maps, and its boxes as `roicy` takes them."""
    kernels, features, boxes = adopt(features=features, rois=boxes)
    images = settle.features_shape(features, "NCHW")[0]
    return kernels.xp, features, boxes_of(kernels.xp, boxes, images)


def boxes_of(xp: Any, boxes: Any, images: int) -> Any:
    """Return boxes of five columns, or a list of as many arrays as there are images.

    A shorter list is one of the first images.
    """
    if not isinstance(boxes, (list, tuple)):
        check_batch_column(boxes)
        return boxes
    nothing = xp.empty((0, 4), np.float32)
    return [*boxes, *[nothing] * (images - len(boxes))]
