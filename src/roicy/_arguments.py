"""Every argument of the public functions, settled once for all backends.

A function here takes one argument as the caller gave it and returns it as the kernels want it, or raises an
error that names the argument, what it was and what is expected: TypeError where the kind of thing is wrong,
ValueError where its value or shape is. Nothing is written anywhere. That arrays are arrays is known before
(`roicy._backend`).
"""

from __future__ import annotations

import math
import numbers
import operator
import sys
from collections.abc import Sequence
from reprlib import repr as short_repr
from typing import Any, Literal, TypeVar

import numpy as np

from roicy._types import (
    Accumulate,
    Aggregate,
    AngleUnit,
    ArgmaxError,
    DType,
    Invalid,
    Layout,
    LevelRule,
    MaxRule,
    Mode,
    Ndarray,
    NumPyArray,
    Rounding,
    Shape,
    Size,
)

Word = TypeVar("Word", bound=str)

_INT32_MAX = 2**31 - 1
_INT64_MAX = 2**63 - 1
_OUTPUT_SIZE = "an int or a pair of ints (height, width)"
_MAX_SAMPLING_RATIO = 65536
# Samples of turned boxes share neither rows nor columns: each is a sample on its own, and costs time.
_MAX_ROTATED_SAMPLING_RATIO = 128
_MOST_BINS = 2**30  # of a box, where all of them are held at once
_MAX_THREADS = 4096
_MOST_LEVELS = 64  # of a pyramid: each has half the rows of the one before
# How hard to look for a shared element in arrays whose memory interlocks, before they count as overlapping.
_OVERLAP_WORK: Any = 1_000_000  # NumPy's own types know its special values only

#: What a row of boxes holds after the batch index.
CORNERS = ("x1", "y1", "x2", "y2")
ROTATED = ("cx", "cy", "w", "h", "angle")

_INT32 = np.dtype(np.int32)
_FLOAT32: DType = np.dtype(np.float32)
_FLOAT64: DType = np.dtype(np.float64)
_FLOAT32_MAX = float(np.finfo(_FLOAT32).max)
_FLOAT32_LEAST = float(np.finfo(_FLOAT32).smallest_subnormal)

# dtype of a feature map: the type that its sums are kept in, and the dtype of what is pooled from it.
# bfloat16 joins when the first such array arrives.
_PRECISIONS: dict[DType, tuple[Accumulate, DType]] = {
    np.dtype(np.float16): ("float32", np.dtype(np.float16)),
    _FLOAT32: ("float32", _FLOAT32),
    _FLOAT64: ("float64", _FLOAT64),
    np.dtype(np.uint8): ("float32", _FLOAT32),
}


# ---------------------------------------------------------------- words and numbers


def layout(value: object) -> Layout:
    """Return the layout, "NCHW" or "NHWC"."""
    return _choice("layout", value, ("NCHW", "NHWC"))


def invalid(value: object) -> Invalid:
    """Return what to do about invalid rows, "raise" or "nan"."""
    return _choice("invalid", value, ("raise", "nan"))


def mode(value: object) -> Mode:
    """Return what is made of the samples of a bin, "avg" or "max"."""
    return _choice("mode", value, ("avg", "max"))


def max_rule(value: object) -> MaxRule:
    """Return what the value of a sample is for a maximum, "bilinear" or "onnx"."""
    return _choice("max_rule", value, ("bilinear", "onnx"))


def angle_unit(value: object) -> AngleUnit:
    """Return the unit of angles, "degrees" or "radians"."""
    return _choice("angle_unit", value, ("degrees", "radians"))


def rounding(value: object) -> Rounding:
    """Return what becomes of the corners of a box, "round" or "none"."""
    return _choice("rounding", value, ("round", "none"))


def aggregate(value: object) -> Aggregate:
    """Return how the regions of an image are put together, "sum" or "concat"."""
    return _choice("aggregate", value, ("sum", "concat"))


def flag(name: str, value: object) -> bool:
    """Return a switch, True or False."""
    if value is True or value is False:
        return value
    if isinstance(value, np.bool_):
        return bool(value)
    raise TypeError(f"{name} must be True or False, got {_shown(value)}")


def output_size(value: Any) -> Size:
    """Return the output size as (rows, columns)."""
    if isinstance(value, (tuple, list)):
        value = tuple(value)
        if len(value) != 2:
            raise ValueError(f"output_size must be {_OUTPUT_SIZE}, got {short_repr(value)}")
        rows, columns = _integer("output_size[0]", value[0]), _integer("output_size[1]", value[1])
    else:
        rows = columns = _integer("output_size", value, _OUTPUT_SIZE)
    if not (1 <= rows <= _INT32_MAX and 1 <= columns <= _INT32_MAX):
        raise ValueError(f"output_size must lie between 1 and {_INT32_MAX}, got {short_repr(value)}")
    return rows, columns


def few_bins(name: str, size: Size) -> Size:
    """Return the rows and columns of the bins of a box, all of which are held at once."""
    rows, columns = size
    if rows * columns > _MOST_BINS:
        raise ValueError(f"{name} must have at most {_MOST_BINS} bins a box, got {rows} x {columns}")
    return size


def sampling_ratio(value: Any) -> int:
    """Return the samples per bin and axis, 0 for as many as the bin covers pixels."""
    ratio = _integer("sampling_ratio", value)
    if ratio > _MAX_SAMPLING_RATIO:
        raise ValueError(
            f"sampling_ratio must be at most {_MAX_SAMPLING_RATIO} (0 or less for adaptive), got {ratio}"
        )
    return max(ratio, 0)


def rotated_sampling_ratio(value: Any) -> int:
    """Return the samples per bin and axis of rotated boxes, 0 for as many as the bin covers pixels."""
    ratio = _integer("sampling_ratio", value)
    if ratio > _MAX_ROTATED_SAMPLING_RATIO:
        raise ValueError(
            f"sampling_ratio must be at most {_MAX_ROTATED_SAMPLING_RATIO} for rotated boxes "
            f"(0 or less for adaptive), got {ratio}"
        )
    return max(ratio, 0)


def spatial_scale(value: Any, boxes_dtype: DType) -> float:
    """Return the scale as a float that is finite and positive in the boxes' dtype too."""
    scale = _real("spatial_scale", value)
    if not 0.0 < scale < math.inf:
        raise ValueError(f"spatial_scale must be finite and greater than 0, got {short_repr(value)}")
    if boxes_dtype == _FLOAT32 and not _FLOAT32_LEAST <= scale <= _FLOAT32_MAX:
        raise ValueError(
            f"spatial_scale must be finite and above 0 in float32, in which it is used, got {scale}"
        )
    return scale


def scales(value: Any) -> int:
    """Return the number of scales of regions."""
    count = _integer("scales", value)
    if count < 1:
        raise ValueError(f"scales must be at least 1, got {count}")
    return count


def overlap(value: Any) -> float:
    """Return the overlap of neighbouring regions that is aimed at, as a part of their size."""
    part = _real("overlap", value)
    if not 0.0 <= part < 1.0:
        raise ValueError(f"overlap must be at least 0 and less than 1, got {short_repr(value)}")
    return part


def eps(value: Any) -> float:
    """Return the least length that a vector is divided by."""
    least = _real("eps", value)
    if not 0.0 < least < math.inf:
        raise ValueError(f"eps must be finite and greater than 0, got {short_repr(value)}")
    return least


def level_rule(value: object) -> LevelRule:
    """Return whose decisions about levels are taken."""
    return _choice("rule", value, ("torchvision", "detectron2", "mmdet", "openvino", "tensorrt"))


def num_levels(value: Any) -> int:
    """Return the number of maps of a pyramid."""
    count = _integer("num_levels", value)
    if not 1 <= count <= _MOST_LEVELS:
        raise ValueError(f"num_levels must lie between 1 and {_MOST_LEVELS}, got {count}")
    return count


def level(name: str, value: Any) -> int:
    """Return the number of a level of a pyramid."""
    number = _integer(name, value)
    if abs(number) > _MOST_LEVELS:
        raise ValueError(f"{name} must lie between {-_MOST_LEVELS} and {_MOST_LEVELS}, got {number}")
    return number


def canonical_size(value: Any) -> float:
    """Return the side of a box that belongs to the canonical level."""
    size = _real("canonical_size", value)
    if not 1e-6 <= size <= 1e9:
        raise ValueError(f"canonical_size must lie between 1e-6 and 1e9, got {short_repr(value)}")
    return size


def image_size_of_levels(value: Any, rule: LevelRule, rotated: bool) -> Size | None:
    """Return the rows and columns of the image that boxes are parts of, for the one rule that asks for it."""
    if value is None:
        return None
    if rule != "tensorrt" or rotated:
        where = "rotated boxes" if rule == "tensorrt" else rule
        raise ValueError(f"image_size must be None for {where}, got {short_repr(value)}")
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        raise TypeError(f"image_size must be a pair of ints (height, width), got {_shown(value)}")
    rows, columns = (_integer(f"image_size[{axis}]", length) for axis, length in enumerate(value))
    if not (1 <= rows <= _INT32_MAX and 1 <= columns <= _INT32_MAX):
        raise ValueError(f"image_size must lie between 1 and {_INT32_MAX}, got {short_repr(value)}")
    return rows, columns


def thread_count(value: Any) -> int:
    """Return a number of threads."""
    count = _integer("n", value)
    if not 1 <= count <= _MAX_THREADS:
        raise ValueError(f"n must be a number of threads between 1 and {_MAX_THREADS}, got {count}")
    return count


def config_mode(value: object) -> Literal["stdout", "dicts"]:
    """Return how the configuration is wanted, "stdout" or "dicts"."""
    return _choice("mode", value, ("stdout", "dicts"))


def _choice(name: str, value: object, allowed: tuple[Word, ...]) -> Word:
    if isinstance(value, str) and value in allowed:
        return value  # pyright: ignore[reportReturnType]
    raise ValueError(f"{name} must be {' or '.join(map(repr, allowed))}, got {short_repr(value)}")


def _integer(name: str, value: Any, expected: str = "an int") -> int:
    if type(value) is int:
        return value
    try:
        if not isinstance(value, bool):
            return operator.index(value)
    except TypeError:
        pass
    raise TypeError(f"{name} must be {expected}, got {_shown(value)}")


def _real(name: str, value: Any) -> float:
    if type(value) is float:
        return value
    if not isinstance(value, numbers.Real) or isinstance(value, bool):
        raise TypeError(f"{name} must be a real number, got {_shown(value)}")
    try:
        return float(value)
    except OverflowError:
        return -math.inf if value < 0 else math.inf


def _shown(value: object) -> str:
    return f"{short_repr(value)} of type {type(value).__name__}"


# ---------------------------------------------------------------- feature maps and their gradients


def input_shape(value: Any, layout: Layout) -> Shape:
    """Return the shape of a feature map, in the order of its layout."""
    if not isinstance(value, (tuple, list)):
        raise TypeError(f"input_shape must be a tuple of 4 ints {_axes(layout)}, got {_shown(value)}")
    shape = tuple([_integer(f"input_shape[{axis}]", length) for axis, length in enumerate(value)])
    if len(shape) != 4 or min(shape) < 0:
        raise ValueError(f"input_shape must be 4 ints >= 0 {_axes(layout)}, got {short_repr(value)}")
    return _bounded("input_shape", shape, layout)


def features_shape(features: Ndarray, layout: Layout) -> Shape:
    """Return the shape of a feature map, in the order of its layout."""
    shape = features.shape
    if len(shape) != 4:
        raise ValueError(f"features must have 4 axes {_axes(layout)}, got shape {shape}")
    return _bounded("features", shape, layout)


def grad_output_size(grad_output: Ndarray, layout: Layout) -> Size:
    """Return the output size (rows, columns) that a gradient belongs to."""
    return few_bins("grad_output", _size_of("grad_output", grad_output, layout))


def argmax_size(argmax: Ndarray, layout: Layout) -> Size:
    """Return the output size (rows, columns) that an argmax belongs to."""
    if argmax is None:
        raise TypeError(f"argmax must be an array of int32 with 4 axes {_output_axes(layout)}, got None")
    return _size_of("argmax", argmax, layout)


def _size_of(name: str, array: Ndarray, layout: Layout) -> Size:
    shape = array.shape
    if len(shape) != 4:
        raise ValueError(f"{name} must have 4 axes {_output_axes(layout)}, got shape {shape}")
    size: Size = shape[2:] if layout == "NCHW" else shape[1:3]
    if not (1 <= size[0] <= _INT32_MAX and 1 <= size[1] <= _INT32_MAX):
        raise ValueError(f"{name} must have 1 to {_INT32_MAX} rows and columns of bins, got shape {shape}")
    return size


def _bounded(name: str, shape: Shape, layout: Layout) -> Shape:
    height, width = shape[2:] if layout == "NCHW" else shape[1:3]
    if height > _INT32_MAX or width > _INT32_MAX:
        raise ValueError(f"{name} must have at most {_INT32_MAX} rows and columns, got shape {shape}")
    if max(shape) > _INT64_MAX:
        raise ValueError(f"{name} must have axes of at most {_INT64_MAX}, got shape {shape}")
    return shape


def features(array: Ndarray, shape: tuple[int, ...]) -> tuple[Accumulate, DType]:
    """Return what sums over a feature map are kept in and the dtype of what is pooled from it."""
    _same_shape("features", array, shape)
    return _precision("features", array.dtype)


def grad_output(array: Ndarray, shape: tuple[int, ...]) -> tuple[Accumulate, DType]:
    """Return what sums over a gradient are kept in and its dtype."""
    _same_shape("grad_output", array, shape)
    accumulate, dtype = _precision("grad_output", array.dtype)
    if dtype != array.dtype:
        raise TypeError(f"grad_output must be {_dtypes('grad_output')}, got {array.dtype}")
    return accumulate, dtype


def grad_output_of(features: Ndarray, array: Ndarray, shape: tuple[int, ...]) -> None:
    """Check that a gradient has the dtype of what is pooled from the features."""
    _same_shape("grad_output", array, shape)
    expected = _precision("features", features.dtype)[1]
    if array.dtype != expected:
        raise TypeError(
            f"grad_output must be {expected}, the dtype of what is pooled from {features.dtype} features, "
            f"got {array.dtype}"
        )


def _same_shape(name: str, array: Ndarray, shape: tuple[int, ...]) -> None:
    if array.shape != shape:
        raise ValueError(f"{name} must have shape {shape}, got {array.shape}")


def _precision(name: str, dtype: DType) -> tuple[Accumulate, DType]:
    found = _PRECISIONS.get(dtype)
    if found is None:
        if not _is_bfloat16(dtype):
            order = "" if dtype.isnative else " in foreign byte order"
            raise TypeError(f"{name} must be {_dtypes(name)}, got {dtype}{order}")
        found = _PRECISIONS[dtype] = ("float32", dtype)
    return found


def _dtypes(name: str) -> str:
    last = ", float64 or uint8" if name == "features" else " or float64"
    return f"float16, bfloat16, float32{last} in native byte order"


def _is_bfloat16(dtype: DType) -> bool:
    if dtype.itemsize != 2 or dtype.name != "bfloat16":
        return False
    import ml_dtypes  # such an array has arrived: whoever made it has it

    return bool(dtype == ml_dtypes.bfloat16)


def nchw(array: Ndarray, layout: Layout) -> Ndarray:
    """Return the array seen as (image or RoI, channel, row, column); a copy where its items are unaligned."""
    if not _aligned(array):
        array = array.copy()
    return array if layout == "NCHW" else array.transpose(0, 3, 1, 2)


def _axes(layout: Layout) -> str:
    return "(N, C, H, W)" if layout == "NCHW" else "(N, H, W, C)"


def _output_axes(layout: Layout) -> str:
    return "(K, C, PH, PW)" if layout == "NCHW" else "(K, PH, PW, C)"


# ---------------------------------------------------------------- whitening


def whiten(value: Any, channels: int, dtype: DType) -> Any:
    """Return what whitens rows: None, a function, or mean and matrix of a dtype."""
    if value is None or callable(value):
        return value
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        raise TypeError(f"whiten must be None, a function or a pair (mean, matrix), got {_shown(value)}")
    mean, matrix = value
    for index, array in enumerate(value):
        if array.dtype.kind not in "fiu" and not _is_bfloat16(array.dtype):
            raise TypeError(f"whiten[{index}] must be real numbers, got {array.dtype}")
    if mean.shape != (channels,):
        raise ValueError(f"whiten[0] must be a mean of shape {(channels,)}, got {mean.shape}")
    if matrix.ndim != 2 or matrix.shape[1] != channels:
        raise ValueError(f"whiten[1] must be a matrix of shape (D, {channels}), got {matrix.shape}")
    return mean.astype(dtype), matrix.astype(dtype)


def whitened(value: Any, rows: int, xp: Any = np) -> Ndarray:
    """Check what a function made of rows."""
    if not isinstance(value, xp.ndarray) or value.dtype.kind not in "fiu":
        raise TypeError(f"whiten must return a {xp.__name__}.ndarray of real numbers, got {_shown(value)}")
    if value.ndim != 2 or len(value) != rows:
        raise ValueError(f"whiten must return an array of shape ({rows}, D), got {value.shape}")
    return value


# ---------------------------------------------------------------- boxes


class Rois:
    """Boxes as the kernels want them, in memory of their own, and how the caller gave them.

    Tables are measured from the boxes and then filled from them: what another thread writes into the caller's
    arrays in between must not show.

    Attributes
    ----------
    boxes : array, (K, columns) or (K, columns + 1), float32 or float64, C-contiguous
        The numbers of each box: `CORNERS` or `ROTATED`. With one column more the batch index comes first.
    columns : int
        How many numbers a box has.
    images : array, (K,), int64, C-contiguous, or None where the batch index is a column
        Batch indices, in range or not.
    lengths : list of int or None
        How many boxes each image has, where the caller gave one array per image.
    given : tuple of array
        The caller's own arrays, which an output must not overlap.
    """

    __slots__ = ("boxes", "columns", "given", "images", "lengths")

    def __init__(
        self,
        boxes: Ndarray,
        columns: int,
        images: Ndarray,
        lengths: list[int] | None,
        given: tuple[Ndarray, ...],
    ) -> None:
        self.boxes = boxes
        self.columns = columns
        self.images = images
        self.lengths = lengths
        self.given = given

    def invalid_row(self, row: int, images: int) -> ValueError:
        """Return the error for a row that no pooling can be done for."""
        values = on_host(self.boxes[row])
        if not np.isfinite(values).all():
            found, expected = "is not finite", "finite numbers only"
        else:
            if self.images is None:
                found = f"has batch index {values[0]!s}"
            else:  # as the caller gave it: one beyond int64 has not survived the conversion
                found = f"has batch_indices[{row}] = {self.given[-1][row]}"
            expected = f"a batch index of at least 0 and below N = {images}"
        return ValueError(f"{self._place(row)} {found}: expected {expected}; invalid='nan' accepts such rows")

    def too_fine_row(self, row: int) -> ValueError:
        """Return the error for a row with more samples in a bin than argmax can count."""
        return ValueError(
            f"{self._place(row)} has more than {_INT32_MAX} samples in a bin, which argmax cannot count: "
            "expected a smaller box, or a sampling_ratio"
        )

    def _place(self, row: int) -> str:
        if self.lengths is None:
            place = f"rois row {row}"
        else:
            image = int(self.images[row])
            place = f"rois[{image}] row {row - sum(self.lengths[:image])}"
        return f"{place}, [{', '.join(map(str, on_host(self.boxes[row])))}],"


def rois(
    value: Any, batch_indices: Ndarray, images: int, xp: Any = np, names: Sequence[str] = CORNERS
) -> Rois:
    """Return the boxes of a call on so many images as `Rois`; `names` are the numbers of each box.

    `xp` is the library of the call's arrays.
    """
    if isinstance(value, (list, tuple)):
        return _rois_per_image(value, batch_indices, images, xp, names)
    shape = value.shape
    columns = len(names)
    if len(shape) != 2 or not columns <= shape[1] <= columns + 1:
        row = ", ".join(names)
        raise ValueError(
            f"rois must have shape (K, {columns + 1}), rows [batch index, {row}], "
            f"or (K, {columns}), rows [{row}], got {shape}"
        )
    boxes = _own(value, _box_dtype("rois", value.dtype))
    if batch_indices is None:
        if shape[1] != columns:
            return Rois(boxes, columns, None, None, (value,))
        if images != 1:
            raise ValueError(
                f"rois of shape {shape} say no batch index and N is {images}, not 1: "
                f"pass batch_indices, or rois of shape (K, {columns + 1}) with the batch index in column 0"
            )
        return Rois(boxes, columns, xp.zeros(len(boxes), np.int64), None, (value,))
    if shape[1] != columns:
        raise ValueError(
            f"batch_indices must be None for rois of shape {shape}, which have the batch index in column 0"
        )
    if batch_indices.dtype.kind not in "iu":
        raise TypeError(f"batch_indices must have an integer dtype, got {batch_indices.dtype}")
    if batch_indices.shape != shape[:1]:
        raise ValueError(
            f"batch_indices must have shape {shape[:1]}, one for each row of rois, got {batch_indices.shape}"
        )
    # Unsigned numbers beyond int64 become negative ones: out of range as well.
    images = _own(batch_indices, np.dtype(np.int64))
    return Rois(boxes, columns, images, None, (value, batch_indices))


def _rois_per_image(
    arrays: Sequence[Ndarray], batch_indices: Ndarray, images: int, xp: Any, names: Sequence[str]
) -> Rois:
    if batch_indices is not None:
        raise ValueError("batch_indices must be None for rois that are one array of boxes per image")
    if len(arrays) != images:
        raise ValueError(f"rois must be one array for each of N = {images} images, got {len(arrays)} arrays")
    dtype = _FLOAT32
    columns = len(names)
    for image, array in enumerate(arrays):
        if array.ndim != 2 or array.shape[1] != columns:
            row = ", ".join(names)
            raise ValueError(f"rois[{image}] must have shape (L, {columns}), rows [{row}], got {array.shape}")
        if _box_dtype(f"rois[{image}]", array.dtype) == _FLOAT64:
            dtype = _FLOAT64
    lengths = [len(array) for array in arrays]
    boxes = xp.concatenate([xp.empty((0, columns), dtype), *(array.astype(dtype) for array in arrays)])
    indices = xp.asarray(np.repeat(np.arange(images, dtype=np.int64), lengths))
    return Rois(boxes, columns, indices, lengths, tuple(arrays))


def _box_dtype(name: str, dtype: DType) -> DType:
    # float32 and float64 stay, other real numbers are converted up: float32 holds 16 bits, float64 the rest
    if dtype in (_FLOAT32, _FLOAT64):
        return dtype
    if dtype.kind == "f" and dtype.itemsize in (4, 8):  # in foreign byte order
        return dtype.newbyteorder("=")
    if dtype.kind in "iu":
        return _FLOAT32 if dtype.itemsize <= 2 else _FLOAT64
    if (dtype.kind == "f" and dtype.itemsize == 2) or _is_bfloat16(dtype):
        return _FLOAT32
    raise TypeError(f"{name} must be float32 or float64, or integers or smaller floats, got {dtype}")


def _own(array: Ndarray, dtype: DType) -> Ndarray:
    # a plain C-contiguous copy
    return library_of(array).array(array, dtype, order="C")


# ---------------------------------------------------------------- the chosen samples of a maximum


def argmax(array: Ndarray, shape: tuple[int, ...]) -> None:
    """Check that an array can hold the argmax of an output of a shape."""
    if array is None:
        raise TypeError(f"argmax must be an array of int32 and shape {shape}, got None")
    if array.dtype != _INT32:
        raise TypeError(f"argmax must be int32 in native byte order, got {array.dtype}")
    _same_shape("argmax", array, shape)


def pixel_count(shape: tuple[int, ...], pixels: int) -> None:
    """Check that argmax can count the pixels of a feature map of a shape."""
    if pixels > _INT32_MAX:
        raise ValueError(f"features must have at most {_INT32_MAX} pixels for argmax, got shape {shape}")


def argmax_error(found: ArgmaxError, layout: Layout) -> ValueError:
    """Return the error for a value of argmax, found at ((k, c, p, q), value, limit)."""
    (k, c, p, q), value, limit = found
    index = (k, c, p, q) if layout == "NCHW" else (k, p, q, c)
    return ValueError(
        f"argmax[{', '.join(map(str, index))}] must lie between -1 and {limit - 1}, got {value}; "
        "-1 stands for nothing chosen"
    )


# ---------------------------------------------------------------- output


def out(value: Any, shape: tuple[int, ...], dtype: DType, *inputs: Ndarray, name: str = "out") -> Ndarray:
    """Return the array that is the result: the caller's, once it is known to do no harm, or a new one."""
    xp = library_of(inputs[0])
    if value is None:
        return new(name, shape, dtype, xp)
    if not isinstance(value, xp.ndarray):
        raise TypeError(f"{name} must be one {xp.__name__}.ndarray, got a {type(value).__name__}")
    if value.shape != shape:
        raise ValueError(f"{name} must have shape {shape}, got {value.shape}")
    if value.dtype != dtype:
        raise ValueError(f"{name} must have dtype {dtype} in native byte order, got {value.dtype}")
    memory = _memory(value)
    if not memory.flags.carray:
        if not memory.flags.writeable:
            raise ValueError(f"{name} must be writeable, got a read-only array")
        if _overlaps_itself(value):
            raise ValueError(
                f"{name} must not overlap itself, got strides {value.strides} for shape {shape} of {dtype}"
            )
    for array in inputs:
        if _overlap(memory, _memory(array)):
            raise ValueError(f"{name} must not overlap an input array, got memory that both use")
    return value


def new(name: str, shape: tuple[int, ...], dtype: DType, xp: Any = np) -> Ndarray:
    """Return a new array of the library `xp` for what is called `name`, with any values."""
    try:
        return xp.empty(shape, dtype)
    except ValueError:
        raise ValueError(f"{name} would have shape {shape} of {dtype}, which no array can have") from None


def outs(value: Any, shape: tuple[int, ...], dtype: DType, *inputs: Ndarray) -> tuple[Ndarray, Ndarray]:
    """Return the two arrays that are the result: pooled values and their argmax."""
    if type(value) is not tuple:
        return out(value, shape, dtype, *inputs), library_of(inputs[0]).empty(shape, _INT32)
    if len(value) != 2:
        raise ValueError(f"out must be an array or a tuple (values, argmax), got a tuple of {len(value)}")
    values = out(value[0], shape, dtype, *inputs, name="out[0]")
    chosen = out(value[1], shape, _INT32, *inputs, name="out[1]")
    if _overlap(_memory(values), _memory(chosen)):
        raise ValueError("out[0] must not overlap out[1], got memory that both use")
    return values, chosen


def written_to(out: Ndarray, at_once: bool) -> Ndarray:
    """Return the array that the kernels fill: `out`, or one to copy from.

    The latter where the items of `out` are unaligned, or it must be written `at_once` when nothing can fail
    any more.
    """
    return out if _aligned(out) and not at_once else library_of(out).empty(out.shape, out.dtype)


def _overlaps_itself(array: Ndarray) -> bool:
    # Slices, transposes and fields of an array pass: each stride steps over all that the smaller ones reach.
    axes = zip(map(abs, array.strides), array.shape, strict=True)
    reach = array.itemsize
    for stride, length in sorted((stride, length) for stride, length in axes if length > 1):
        if stride < reach:
            return True
        reach += stride * (length - 1)
    return False


def _overlap(first: Ndarray, second: Ndarray) -> bool:
    if not np.may_share_memory(first, second):
        return False
    try:
        return np.shares_memory(first, second, max_work=_OVERLAP_WORK)
    except np.exceptions.TooHardError:
        return True


# ---------------------------------------------------------------- arrays of either library


def library_of(array: Ndarray) -> Any:
    """Return the library that an array comes from: `numpy`, or `cupy`, which made it."""
    return np if isinstance(array, np.ndarray) else sys.modules["cupy"]


def on_host(array: Ndarray) -> Any:
    """Return an array as a NumPy array; waits for the device."""
    return array if isinstance(array, (np.ndarray, np.generic)) else array.get()


def _aligned(array: Ndarray) -> bool:
    # those of a device are known to be (`roicy.cuda.Kernels.check_arrays`)
    return array.flags.aligned if isinstance(array, np.ndarray) else True


class _Memory:
    # What a device's array occupies, described as NumPy describes its own.

    def __init__(self, array: Ndarray) -> None:
        self.__array_interface__ = {
            "version": 3,
            "data": (array.data.ptr, False),
            "shape": array.shape,
            "strides": array.strides,
            "typestr": f"|V{array.itemsize}",
        }


def _memory(array: Ndarray) -> NumPyArray:
    # An array whose addresses can be compared, and only those: what it shows may lie on a device.
    if isinstance(array, np.ndarray):
        return array
    return np.asarray(_Memory(array)) if array.size else np.empty(0)
