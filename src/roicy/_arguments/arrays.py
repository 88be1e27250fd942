"""Feature maps, their gradients, and argmax."""

from __future__ import annotations

import sys
from reprlib import repr as short_repr
from typing import Any

import numpy as np
from numpy import ndarray

from roicy._arguments import instead
from roicy._arguments.numbers import FLOAT32, INT32_MAX, few_bins, integer, is_row, shown
from roicy._types import Accumulate, ArgmaxError, DType, Layout, Ndarray, Shape, Size
from roicy.cpu.runtime.outputs import new_array

INT32 = np.dtype(np.int32)
FLOAT64: DType = np.dtype(np.float64)
_INT64_MAX = 2**63 - 1

# dtype of a feature map: the type that its sums are kept in, and the dtype of what is pooled from it.
# bfloat16 joins when the first such array arrives.
_PRECISIONS: dict[DType, tuple[Accumulate, DType]] = {
    np.dtype(np.float16): ("float32", np.dtype(np.float16)),
    FLOAT32: ("float32", FLOAT32),
    FLOAT64: ("float64", FLOAT64),
    **{np.dtype(name): ("float32", FLOAT32) for name in ("uint8", "int8", "uint16", "int16", "bool")},
}
#: Integers that no sum is kept in: images of them are labels.
WIDE_LABELS = frozenset(np.dtype(name) for name in ("int32", "uint32", "int64", "uint64"))


def input_shape(value: Any, layout: Layout, name: str = "input_shape") -> Shape:
    """Return the shape of a feature map, in the order of its layout."""
    if not is_row(value):
        of_map = ": pass its shape" if hasattr(value, "shape") else ""
        raise TypeError(f"{name} must be a tuple of 4 ints {_axes(layout)}, got {shown(value)}{of_map}")
    shape = tuple([integer(f"{name}[{axis}]", length) for axis, length in enumerate(value)])
    if len(shape) != 4 or min(shape) < 0:
        raise ValueError(f"{name} must be 4 ints >= 0 {_axes(layout)}, got {short_repr(value)}")
    return _bounded(name, shape, layout)


def features_shape(features: Ndarray, layout: Layout, name: str = "features") -> Shape:
    """Return the shape of a feature map, in the order of its layout."""
    shape = features.shape
    if len(shape) != 4:
        raise ValueError(
            f"{name} must have 4 axes {_axes(layout)}, got shape {shape}{instead.of_map(name, shape, layout)}"
        )
    return _bounded(name, shape, layout)


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
        raise ValueError(
            f"{name} must have 4 axes {_output_axes(layout)}, got shape {shape}{instead.of_pooled(shape)}"
        )
    size: Size = shape[2:] if layout == "NCHW" else shape[1:3]
    if not (1 <= size[0] <= INT32_MAX and 1 <= size[1] <= INT32_MAX):
        raise ValueError(f"{name} must have 1 to {INT32_MAX} rows and columns of bins, got shape {shape}")
    return size


def _bounded(name: str, shape: Shape, layout: Layout) -> Shape:
    if max(shape) <= INT32_MAX:
        return shape
    height, width = shape[2:] if layout == "NCHW" else shape[1:3]
    if height > INT32_MAX or width > INT32_MAX:
        raise ValueError(f"{name} must have at most {INT32_MAX} rows and columns, got shape {shape}")
    if max(shape) > _INT64_MAX:
        raise ValueError(f"{name} must have axes of at most {_INT64_MAX}, got shape {shape}")
    return shape


def channels_of_bins(shape: Shape, layout: Layout, size: Size, name: str = "features") -> int:
    """Return the channels of the output, for a position-sensitive map with as many channels for each bin."""
    channels = shape[1 if layout == "NCHW" else 3]
    rows, columns = size
    if channels % (rows * columns):
        raise ValueError(
            f"{name} must have a multiple of {rows} * {columns} channels, one for each bin, got {channels} "
            f"in {shape}"
        )
    return channels // (rows * columns)


def features(array: Ndarray, shape: tuple[int, ...], name: str = "features") -> tuple[Accumulate, DType]:
    """Return the accumulation type for a feature map, and the dtype of the output."""
    if array.shape != shape:
        same_shape(name, array, shape)
    dtype = array.dtype
    return _PRECISIONS.get(dtype) or _precision(name, dtype)


def grad_output(array: Ndarray, shape: tuple[int, ...]) -> tuple[Accumulate, DType]:
    """Return the accumulation type for a gradient, and its dtype."""
    same_shape("grad_output", array, shape)
    accumulate, dtype = _precision("grad_output", array.dtype)
    if dtype != array.dtype:
        raise TypeError(
            f"grad_output must be {_dtypes('grad_output')}, got {array.dtype}"
            f"{instead.of_dtype('grad_output', array.dtype)}"
        )
    return accumulate, dtype


def grad_output_of(features: Ndarray, array: Ndarray, shape: tuple[int, ...]) -> None:
    """Check that a gradient has the dtype of what is pooled from the features."""
    same_shape("grad_output", array, shape)
    expected = _precision("features", features.dtype)[1]
    if array.dtype != expected:
        raise TypeError(
            f"grad_output must be {expected}, the dtype of what is pooled from {features.dtype} features, "
            f"got {array.dtype}: pass grad_output.astype('{expected}')"
        )


def same_shape(name: str, array: Ndarray, shape: tuple[int, ...]) -> None:
    """Check the shape of an array."""
    if array.shape != shape:
        raise ValueError(f"{name} must have shape {shape}, got {array.shape}")


def _precision(name: str, dtype: DType) -> tuple[Accumulate, DType]:
    found = _PRECISIONS.get(dtype)
    if found is None:
        if not is_bfloat16(dtype):
            raise TypeError(f"{name} must be {_dtypes(name)}, got {dtype}{instead.of_dtype(name, dtype)}")
        found = _PRECISIONS[dtype] = ("float32", dtype)
    return found


def _dtypes(name: str) -> str:
    integers = ", float64, uint8, int8, uint16, int16 or bool"
    last = " or float64" if name.startswith("grad") else integers
    return f"float16, bfloat16, float32{last}"


def is_bfloat16(dtype: DType) -> bool:
    """Return whether a dtype is that of ml_dtypes."""
    if dtype.itemsize != 2 or dtype.name != "bfloat16":
        return False
    import ml_dtypes  # the caller made a bfloat16 array, so the package is there

    return bool(dtype == ml_dtypes.bfloat16)


def nchw(array: Ndarray, layout: Layout) -> Ndarray:
    """Return the array seen as (image or RoI, channel, row, column); a copy where its items are unaligned."""
    if isinstance(array, ndarray) and not array.flags.aligned:
        array = aligned(array)
    return array if layout == "NCHW" else array.transpose(0, 3, 1, 2)


def aligned(array: Ndarray) -> Ndarray:
    """Return an array, or a copy of it where its items are unaligned, as a network's often are."""
    if is_aligned(array):
        return array
    copy = new_array(array.shape, array.dtype, False)  # memory that is kept: later calls have no page faults
    copy[...] = array
    return copy


def _axes(layout: Layout) -> str:
    return "(N, C, H, W)" if layout == "NCHW" else "(N, H, W, C)"


def _output_axes(layout: Layout) -> str:
    return "(K, C, PH, PW)" if layout == "NCHW" else "(K, PH, PW, C)"


def argmax(array: Ndarray, shape: tuple[int, ...]) -> None:
    """Check that an array can hold the argmax of an output of a shape."""
    if array is None:
        raise TypeError(f"argmax must be an array of int32 and shape {shape}, got None")
    if array.dtype != INT32:
        whole = instead.of_dtype("argmax", array.dtype, "int32") if array.dtype.kind in "iu" else ""
        raise TypeError(f"argmax must be int32, got {array.dtype}{whole}")
    same_shape("argmax", array, shape)


def pixel_count(shape: tuple[int, ...], size: Size, window: object, name: str = "window") -> None:
    """Check that argmax can count the pixels of the whole map, of which the features may be a part."""
    if size[0] * size[1] > INT32_MAX:
        if window is not None:
            raise ValueError(
                f"{name} must be of a map with at most {INT32_MAX} pixels for argmax, got {window}"
            )
        raise ValueError(f"features must have at most {INT32_MAX} pixels for argmax, got shape {shape}")


def argmax_error(found: ArgmaxError, layout: Layout) -> ValueError:
    """Return the error for a value of argmax, found at ((k, c, p, q), value, limit)."""
    (k, c, p, q), value, limit = found
    index = (k, c, p, q) if layout == "NCHW" else (k, p, q, c)
    return ValueError(
        f"argmax[{', '.join(map(str, index))}] must lie between -1 and {limit - 1}, got {value}; "
        "-1 stands for nothing chosen"
    )


def library_of(array: Ndarray) -> Any:
    """Return the library that an array comes from: `numpy`, or `cupy`, which made it."""
    return np if isinstance(array, ndarray) else sys.modules["cupy"]


def on_host(array: Ndarray) -> Any:
    """Return an array as a NumPy array; waits for the device."""
    return array if isinstance(array, (np.ndarray, np.generic)) else array.get()


def is_aligned(array: Ndarray) -> bool:
    """Return whether the items of an array are aligned."""
    # those of a device are known to be (`roicy.cuda.Kernels.check_arrays`)
    return array.flags.aligned if isinstance(array, ndarray) else True
