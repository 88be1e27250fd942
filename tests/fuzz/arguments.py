"""What each argument of a call means, or that it has no meaning."""

import operator

import numpy as np
from strategies import FEATURE_DTYPES

from fuzz.calls import as_numpy


class Meaningless(Exception):
    """The arguments are an error."""


def word(value, *allowed):
    if not isinstance(value, str) or value not in allowed:
        raise Meaningless(f"{value!r} is none of {allowed}")
    return value


def integer(value):
    if isinstance(value, (bool, np.bool_)):
        raise Meaningless("a switch for a number")
    try:
        return operator.index(value)
    except TypeError:
        raise Meaningless("no integer") from None


def flag(value):
    if not isinstance(value, (bool, np.bool_)):
        raise Meaningless("no switch")
    return bool(value)


def size_of(value):
    pair = (value, value) if not isinstance(value, (tuple, list)) else tuple(value)
    pair = tuple(map(integer, pair))
    if len(pair) != 2 or min(pair) < 1:
        raise Meaningless("no size")
    return pair


def input_shape_of(value):
    if not isinstance(value, (tuple, list)):
        raise Meaningless("no shape")
    shape = tuple(map(integer, value))
    if len(shape) != 4 or min(shape) < 0:
        raise Meaningless("no shape")
    return shape


def array_of(value):
    value = as_numpy(value)
    if not isinstance(value, np.ndarray) or isinstance(value, np.ma.MaskedArray):
        raise Meaningless("no array")
    return value


def map_of(value, layout, dtypes=FEATURE_DTYPES):
    # an array of four axes, seen as NCHW
    value = array_of(value)
    if value.ndim != 4 or value.dtype not in dtypes or not value.dtype.isnative:
        raise Meaningless("no feature map or gradient")
    return nchw(value, layout)


def nchw(value, layout):
    return value if layout == "NCHW" else value.transpose(0, 3, 1, 2)


FLOATS = [dtype for dtype in FEATURE_DTYPES if dtype != np.uint8]
REAL = np.dtype(np.float32), np.dtype(np.float64)


def box_dtype(array):
    dtype = array.dtype.newbyteorder("=")
    if dtype in REAL:
        return dtype
    if dtype.kind in "iu":
        return REAL[dtype.itemsize > 2]
    if dtype.name in ("float16", "bfloat16"):
        return REAL[0]
    raise Meaningless(f"boxes of {dtype}")


def rois_of(rois, batch_indices, images, columns):
    # rows with the batch index first, which is -1 for every image that does not exist
    if isinstance(rois, (list, tuple)):
        arrays = [array_of(item) for item in rois]
        if batch_indices is not None or len(arrays) != images:
            raise Meaningless("not one array per image")
        if any(array.ndim != 2 or array.shape[1] != columns for array in arrays):
            raise Meaningless("no boxes")
        dtype = max([REAL[0], *map(box_dtype, arrays)], key=lambda dtype: dtype.itemsize)
        rows = [np.column_stack([np.full(len(a), i), a.astype(dtype)]) for i, a in enumerate(arrays)]
        return np.concatenate([np.empty((0, columns + 1)), *rows]).astype(dtype)
    rois = array_of(rois)
    if rois.ndim != 2 or rois.shape[1] not in (columns, columns + 1):
        raise Meaningless("no boxes")
    boxes = rois.astype(box_dtype(rois))
    if rois.shape[1] == columns + 1:
        if batch_indices is not None:
            raise Meaningless("batch indices twice")
        return boxes
    if batch_indices is None:
        if images != 1:
            raise Meaningless("no batch indices")
        found = np.zeros(len(boxes), int)
    else:
        found = array_of(batch_indices)
        if found.dtype.kind not in "iu" or found.shape != (len(boxes),):
            raise Meaningless("batch indices")
    known = [int(index) if 0 <= int(index) < images else -1 for index in found]
    return np.column_stack([np.array(known, boxes.dtype), boxes])
