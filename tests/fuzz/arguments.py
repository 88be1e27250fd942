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


def number(value):
    return value[()] if isinstance(value, np.ndarray) and value.ndim == 0 else value


def integer(value):
    value = number(value)
    if isinstance(value, (bool, np.bool_)):
        raise Meaningless("a switch for a number")
    if isinstance(value, (float, np.floating)) and value.is_integer():
        return int(value)
    try:
        return operator.index(value)
    except TypeError:
        raise Meaningless("no integer") from None


def flag(value):
    value = number(value)
    if not isinstance(value, (bool, np.bool_, int, np.integer)) or value not in (0, 1):
        raise Meaningless("no switch")
    return bool(value)


def in_a_row(value):
    return isinstance(value, (tuple, list)) or (isinstance(value, np.ndarray) and value.ndim == 1)


def size_of(value):
    pair = tuple(value) if in_a_row(value) else (value, value)
    pair = tuple(map(integer, pair))
    if len(pair) != 2 or min(pair) < 1:
        raise Meaningless("no size")
    return pair


def input_shape_of(value):
    if not in_a_row(value):
        raise Meaningless("no shape")
    shape = tuple(map(integer, value))
    if len(shape) != 4 or min(shape) < 0:
        raise Meaningless("no shape")
    return shape


def array_of(value):
    value = as_numpy(value)
    if not isinstance(value, np.ndarray) or isinstance(value, np.ma.MaskedArray):
        raise Meaningless("no array")
    return value if value.dtype.isnative else value.astype(value.dtype.newbyteorder("="))


def indices_of(value):
    # an array, or a list that stands for one
    if isinstance(value, (tuple, list)):
        value = np.array(value) if len(value) else np.empty(0, int)
    return array_of(value)


#: Of feature maps: small integers are those that float32 has.
MAP_DTYPES = [*FEATURE_DTYPES, *map(np.dtype, ("int8", "uint16", "int16", "bool"))]


def map_of(value, layout, dtypes=MAP_DTYPES):
    # an array of four axes, seen as NCHW
    value = array_of(value)
    if value.ndim != 4 or value.dtype not in dtypes:
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


def _is_row_of_numbers(item):
    return isinstance(item, (list, tuple)) and len(item) > 0 and not isinstance(item[0], (list, tuple))


def rois_of(rois, batch_indices, images, columns):
    # rows with the batch index first, which is -1 for every image that does not exist
    rows = isinstance(rois, (list, tuple)) and all(_is_row_of_numbers(item) for item in rois)
    if rows and (len(rois) or images):
        rois = np.array(rois) if len(rois) else np.empty(0, np.float32)
    if isinstance(rois, (list, tuple)):
        arrays = [
            np.array(item, ndmin=1) if isinstance(item, (list, tuple)) else array_of(item) for item in rois
        ]
        arrays = [array.reshape(0, columns) if array.shape == (0,) else array for array in arrays]
        if batch_indices is not None or len(arrays) != images:
            raise Meaningless("not one array per image")
        if any(array.ndim != 2 or array.shape[1] != columns for array in arrays):
            raise Meaningless("no boxes")
        dtype = max([REAL[0], *map(box_dtype, arrays)], key=lambda dtype: dtype.itemsize)
        rows = [np.column_stack([np.full(len(a), i), a.astype(dtype)]) for i, a in enumerate(arrays)]
        return np.concatenate([np.empty((0, columns + 1)), *rows]).astype(dtype)
    rois = array_of(rois)
    if rois.shape == (0,):
        rois = rois.reshape(0, columns + (batch_indices is None))
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
        found = indices_of(batch_indices)
        if found.dtype.kind not in "iu" or found.shape != (len(boxes),):
            raise Meaningless("batch indices")
    known = [int(index) if 0 <= int(index) < images else -1 for index in found]
    return np.column_stack([np.array(known, boxes.dtype), boxes])
