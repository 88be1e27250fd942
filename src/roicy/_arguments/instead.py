"""Hints at the end of error messages: what the caller should probably write instead."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from numbers import Number
from typing import Any

import numpy as np

from roicy._types import DType, Layout, Ndarray

_BOXES = frozenset(("boxes", "rois", "RoIs"))
_INDICES = frozenset(("batch_indices", "levels"))
_MAPS = frozenset(("features", "images", "masks"))
_COLOURS = 4  # channels that an image has at most


def of_no_array(name: str, value: Any) -> str:
    """Return what to write for something that is no array."""
    of = name.partition("[")[0]
    if of == "out":
        return ""
    if value is None:
        none = {
            "images": "cv2.imread returns None where there is no image",
            **dict.fromkeys(_BOXES, "[] says that there are none"),
        }
        return f": {none[of]}" if of in none else ""
    if isinstance(value, (str, os.PathLike)):
        return ": read the file first, np.asarray(PIL.Image.open(path)) for instance" if of in _MAPS else ""
    if isinstance(value, Mapping):
        return f": pass one of the arrays that it holds, {name}[...]"
    if isinstance(value, (Number, np.generic)):
        if of in _INDICES:
            return f": pass np.full(K, {value}) for K boxes"
        return ": [[...]] is one box" if of in _BOXES else ""
    if isinstance(value, (list, tuple)):
        return _of_list(name, of, value)
    if type(value).__name__.endswith("Tracer"):
        return ": jax.pure_callback calls roicy inside of jit"
    if hasattr(value, "__array__") or hasattr(value, "__array_interface__"):
        return f": pass np.asarray({name})"
    if isinstance(value, Iterable):
        return (
            f": pass list({name})"
            if of in _BOXES | _INDICES | {"corners"}
            else f": pass np.array(list({name}), np.float32)"
        )
    return ""


def _of_list(name: str, of: str, value: list[Any] | tuple[Any, ...]) -> str:
    if of == "features":
        if value and hasattr(value[0], "shape"):
            return ": the maps of a pyramid are for multi_scale_roi_align and its like"
        if isinstance(value, tuple) and all(isinstance(item, int) for item in value):
            return ": pass the map, not its shape"
    if of == "argmax" and value and hasattr(value[-1], "shape"):
        return ": it is the second of what a call with return_argmax=True returns"
    return f": pass np.array({name}, np.{'int32' if of == 'argmax' else 'float32'})"


def of_dtype(name: str, dtype: DType, wanted: str = "float32") -> str:
    """Return what to write for an array of an unsupported dtype."""
    if dtype.kind == "c":
        return f": pass {name}.real"
    # text, objects, and the small floats of ml_dtypes
    return f": pass {name}.astype('{wanted}')" if dtype.kind in "biufOSU" or _is_small_float(dtype) else ""


def _is_small_float(dtype: DType) -> bool:
    return dtype.kind == "V" and dtype.names is None and "float" in dtype.name


def of_map(name: str, shape: tuple[int, ...], layout: Layout) -> str:
    """Return what to write for a feature map whose axes are not four."""
    if len(shape) == 2:
        if shape[1] in (4, 5, 6):
            return ": boxes come after the maps"
        axes = "None, None" if layout == "NCHW" else "None, :, :, None"
        return f": {name}[{axes}] is a batch of one map of one channel"
    if len(shape) == 3:
        if layout == "NCHW" and shape[2] <= _COLOURS < shape[0]:
            return f": {name}[None] is a batch of one, and layout='NHWC' says that channels come last"
        return f": {name}[None] is a batch of one"
    return f": pass {name}[0]" if len(shape) == 5 and shape[0] == 1 else ""


def of_image(name: str, shape: tuple[int, ...], layout: Layout) -> str:
    """Return what to write for images whose axes are neither three nor four."""
    if len(shape) == 2 and shape[1] in (4, 5, 6):
        return ": boxes come after the images"
    if len(shape) == 2:
        return f": {name}[{'None' if layout == 'NCHW' else '..., None'}] has one channel"
    return f": pass {name}[0]" if len(shape) in (4, 5) and shape[0] == 1 else ""


def of_pooled(shape: tuple[int, ...]) -> str:
    """Return what to write for gradients or argmax of pooled boxes whose axes are not four."""
    return ": boxes come after it" if len(shape) == 2 and shape[1] in (4, 5, 6) else ""


def of_boxes(name: str, boxes: Ndarray, columns: int) -> str:
    """Return what to write for an array whose rows have neither `columns` numbers nor one more."""
    shape, kind = boxes.shape, boxes.dtype.kind
    if boxes.dtype.names:
        return f": numpy.lib.recfunctions.structured_to_unstructured({name}) makes rows of numbers"
    if len(shape) == 1:
        if kind in "OSU":
            return f": pass np.array({name}.tolist(), float)"
        if shape[0] in (columns, columns + 1):
            return f": {name}[None] is one box"
        return "" if shape[0] % columns else f": pass np.reshape({name}, (-1, {columns}))"
    if len(shape) == 2:
        if shape[1] > columns + 1:
            first = f"{name}[:, :{columns}] where a box comes first"
            return f": pass {first}, {name}[:, :{columns + 1}] where the batch index does"
        if shape[0] in (columns, columns + 1):
            return f": pass {name}.T"
        return ": boxes without an angle are for roi_align and its like" if shape[1] == 4 else ""
    if len(shape) == 3:
        if shape[0] == 1 and shape[2] == columns:
            return f": pass {name}[0]"
        if shape[2] == columns:
            return f": pass list({name}) for one array of boxes for each image"
        if shape[1] * shape[2] == columns:
            return f": pass np.reshape({name}, (-1, {columns}))"
    return ""


def of_rows(name: str, arrays: Sequence[Ndarray], columns: int) -> str:
    """Return what to write for arrays that are boxes, and not those of an image each."""
    alone = len(arrays) > 0 and all(array.shape in ((columns,), (columns + 1,)) for array in arrays)
    return f": pass np.stack({name}) where each is one box" if alone else ""


def of_quads(name: str, shape: tuple[int, ...]) -> str:
    """Return what to write for an array that is no quadrangles (K, 4, 2)."""
    if shape == (4, 2):
        return f": {name}[None] is one quadrangle"
    if len(shape) == 2 and shape[1] in (4, 5):
        if shape[1] == 4:
            return ": upright boxes are for crop_and_resize"
        return f": rotated_corners({name}) makes them of rotated boxes"
    if shape and shape[-1] in (2, 8) and np.prod(shape[1:]) in (2, 8) and np.prod(shape) % 8 == 0:
        return f": pass np.reshape({name}, (-1, 4, 2))"
    if len(shape) == 3 and shape[1:] == (5, 2):
        return f": pass {name}[:, :4] where the last corner is the first again"
    return (
        ": cv2.minAreaRect finds a box around other polygons"
        if len(shape) == 3 and shape[1] > 4 and shape[2] == 2
        else ""
    )


def of_masks(shape: tuple[int, ...]) -> str:
    """Return what to write for masks whose shape is not (K, rows, columns)."""
    if len(shape) == 4:
        return ": masks[np.arange(K), classes] are those of the class of each box"
    if len(shape) == 2:
        return ": masks come before their boxes" if shape[1] == 4 else ": masks[None] is one mask"
    return ""


def of_scales(scales: Sequence[float]) -> str:
    """Return what to write for scales that are not those of the levels of a rule."""
    if scales[0] > 1 or any(scale > scales[0] for scale in scales):
        return "pass 1 / stride for each map, the finest first"
    return "pass levels as an array"


def of_several(name: str, value: Any) -> str:
    """Return what to write for something that is no list of arrays, shapes or numbers, one for each map."""
    if isinstance(value, Mapping):
        return f": pass list({name}.values())"
    axes = getattr(value, "ndim", None)
    if isinstance(value, (float, int)) or axes == 4:
        return f": pass [{name}] for one map"
    if axes == 3:
        return f": pass [{name}[None]] for one map"
    plain = not isinstance(value, (str, bytes)) and axes is None
    return f": pass list({name})" if axes == 5 or (plain and isinstance(value, Iterable)) else ""
