"""Numbers, words and switches."""

from __future__ import annotations

import math
import numbers
import operator
import sys
from reprlib import repr as short_repr
from typing import Any, Literal, TypeVar

import numpy as np

from roicy._types import (
    AngleUnit,
    Border,
    DType,
    Interpolation,
    Invalid,
    Layout,
    LevelRule,
    MaxRule,
    Mode,
    Rounding,
    SamplePlaces,
    Size,
)

Word = TypeVar("Word", bound=str)

INT32_MAX = 2**31 - 1
MOST_LEVELS = 64  # of a pyramid: each has half the rows of the one before
FLOAT32: DType = np.dtype(np.float32)
_OUTPUT_SIZE = "an int or a pair of ints (height, width)"
_MAX_SAMPLING_RATIO = 65536
# Samples of turned boxes and of moved bins share no rows of a box: each is one on its own, and costs time.
_MAX_ROTATED_SAMPLING_RATIO = 128
_MOST_BINS = 2**30  # of a box, where all of them are held at once
_MAX_THREADS = 4096
_MAX_BYTES = 2**48
_FLOAT32_MAX = float(np.finfo(FLOAT32).max)
_FLOAT32_LEAST = float(np.finfo(FLOAT32).smallest_subnormal)


def layout(value: object, name: str = "layout") -> Layout:
    """Return the layout, "NCHW" or "NHWC"."""
    return choice(name, value, ("NCHW", "NHWC"))


def invalid(value: object) -> Invalid:
    """Return what to do about invalid rows, "raise" or "nan"."""
    return choice("invalid", value, ("raise", "nan"))


def mode(value: object) -> Mode:
    """Return what is made of the samples of a bin, "avg" or "max"."""
    return choice("mode", value, ("avg", "max"))


def max_rule(value: object) -> MaxRule:
    """Return what the value of a sample is for a maximum, "bilinear" or "onnx"."""
    return choice("max_rule", value, ("bilinear", "onnx"))


def angle_unit(value: object) -> AngleUnit:
    """Return the unit of angles, "degrees" or "radians"."""
    return choice("angle_unit", value, ("degrees", "radians"))


def rounding(value: object) -> Rounding:
    """Return how the corners of a box and of its bins are rounded, "round", "none" or "whole"."""
    return choice("rounding", value, ("round", "none", "whole"))


def sampling(value: object) -> SamplePlaces:
    """Return where the samples of crops lie, "half_pixel" or "corners"."""
    return choice("sampling", value, ("half_pixel", "corners"))


def interpolation(value: object) -> Interpolation:
    """Return what the value of a sample is, "bilinear" or "nearest"."""
    return choice("interpolation", value, ("bilinear", "nearest"))


def border(value: object) -> Border:
    """Return what lies outside of images, "constant", "edge" or "reject"."""
    return choice("border", value, ("constant", "edge", "reject"))


def flag(name: str, value: object) -> bool:
    """Return a switch, True or False, which may be said as 1 or 0."""
    if value is True or value is False:
        return value
    whole = _number(value)
    if isinstance(whole, (np.bool_, int, np.integer)) and whole in (0, 1):
        return bool(whole)
    raise TypeError(f"{name} must be True or False, got {shown(value)}")


def output_size(value: Any) -> Size:
    """Return the output size as (rows, columns)."""
    if type(value) is not int and is_row(value):
        value = tuple(value)
        if len(value) != 2:
            raise ValueError(f"output_size must be {_OUTPUT_SIZE}, got {short_repr(value)}")
        rows, columns = integer("output_size[0]", value[0]), integer("output_size[1]", value[1])
    else:
        rows = columns = integer("output_size", value, _OUTPUT_SIZE)
    if not (1 <= rows <= INT32_MAX and 1 <= columns <= INT32_MAX):
        raise ValueError(f"output_size must lie between 1 and {INT32_MAX}, got {short_repr(value)}")
    return rows, columns


def few_bins(name: str, size: Size) -> Size:
    """Return the rows and columns of the bins of a box, all of which are held at once."""
    rows, columns = size
    if rows * columns > _MOST_BINS:
        raise ValueError(f"{name} must have at most {_MOST_BINS} bins a box, got {rows} x {columns}")
    return size


def sampling_ratio(value: Any) -> int:
    """Return the samples per bin and axis, 0 for as many as the bin covers pixels."""
    ratio = integer("sampling_ratio", value, "an int (0 for adaptive)")
    if ratio > _MAX_SAMPLING_RATIO:
        raise ValueError(
            f"sampling_ratio must be at most {_MAX_SAMPLING_RATIO} (0 or less for adaptive), got {ratio}"
        )
    return max(ratio, 0)


def gamma(value: Any, boxes_dtype: DType) -> float:
    """Return how far an offset of 1 moves a bin, in sizes of its box."""
    factor = real("gamma", value)
    if not abs(factor) <= (_FLOAT32_MAX if boxes_dtype == FLOAT32 else sys.float_info.max):
        raise ValueError(
            f"gamma must be finite in {boxes_dtype}, in which it is used, got {short_repr(value)}"
        )
    return factor


def rotated_sampling_ratio(value: Any, boxes: str = "rotated boxes") -> int:
    """Return the samples per bin and axis where they share no rows, 0 for as many as it covers pixels."""
    ratio = integer("sampling_ratio", value, "an int (0 for adaptive)")
    if ratio > _MAX_ROTATED_SAMPLING_RATIO:
        raise ValueError(
            f"sampling_ratio must be at most {_MAX_ROTATED_SAMPLING_RATIO} for {boxes} "
            f"(0 or less for adaptive), got {ratio}"
        )
    return max(ratio, 0)


def spatial_scale(value: Any, boxes_dtype: DType, name: str = "spatial_scale") -> float:
    """Return the scale as a float that is finite and positive in the boxes' dtype too."""
    if is_row(value):
        raise TypeError(
            f"{name} must be one number, got {shown(value)}: scale the boxes where x and y differ"
        )
    scale = real(name, value)
    if not 0.0 < scale < math.inf:
        raise ValueError(f"{name} must be finite and greater than 0, got {short_repr(value)}")
    if boxes_dtype == FLOAT32 and not _FLOAT32_LEAST <= scale <= _FLOAT32_MAX:
        raise ValueError(f"{name} must be finite and above 0 in float32, in which it is used, got {scale}")
    return scale


def level_rule(value: object, name: str = "rule") -> LevelRule:
    """Return the rule for levels: the system whose levels are computed."""
    return choice(name, value, ("torchvision", "detectron2", "mmdet", "openvino", "tensorrt"))


def num_levels(value: Any) -> int:
    """Return the number of maps of a pyramid."""
    number = ": pass len(num_levels)" if isinstance(value, (list, tuple)) else ""
    count = integer("num_levels", value, instead=number)
    if not 1 <= count <= MOST_LEVELS:
        raise ValueError(f"num_levels must lie between 1 and {MOST_LEVELS}, got {count}")
    return count


def level(name: str, value: Any) -> int:
    """Return the number of a level of a pyramid."""
    number = integer(name, value)
    if abs(number) > MOST_LEVELS:
        raise ValueError(f"{name} must lie between {-MOST_LEVELS} and {MOST_LEVELS}, got {number}")
    return number


def canonical_size(value: Any) -> float:
    """Return the side of a box that belongs to the canonical level."""
    size = real("canonical_size", value)
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
    return image_size(value)


def image_size(value: Any) -> Size:
    """Return the rows and columns of an image."""
    if not is_row(value) or len(value) != 2:
        of_image = ""
        if getattr(value, "ndim", 0) >= 2:
            of_image = ": pass its shape, rows and columns"
        elif is_row(value) and len(value) == 3:
            of_image = ": pass image_size[:2]"
        raise TypeError(f"image_size must be a pair of ints (height, width), got {shown(value)}{of_image}")
    rows, columns = (integer(f"image_size[{axis}]", length) for axis, length in enumerate(value))
    if not (1 <= rows <= INT32_MAX and 1 <= columns <= INT32_MAX):
        raise ValueError(f"image_size must lie between 1 and {INT32_MAX}, got {short_repr(value)}")
    return rows, columns


def thread_count(value: Any) -> int:
    """Return a number of threads."""
    count = integer("n", value)
    if not 1 <= count <= _MAX_THREADS:
        raise ValueError(f"n must be a number of threads between 1 and {_MAX_THREADS}, got {count}")
    return count


def byte_count(name: str, value: Any) -> int:
    """Return a number of bytes."""
    count = integer(name, value)
    if not 0 <= count <= _MAX_BYTES:
        raise ValueError(f"{name} must be a number of bytes between 0 and {_MAX_BYTES}, got {count}")
    return count


def config_mode(value: object) -> Literal["stdout", "dicts"]:
    """Return how the configuration is wanted, "stdout" or "dicts"."""
    return choice("mode", value, ("stdout", "dicts"))


def choice(name: str, value: object, allowed: tuple[Word, ...]) -> Word:
    """Return one of the words that are allowed."""
    if isinstance(value, str) and value in allowed:
        return value  # pyright: ignore[reportReturnType]
    raise ValueError(f"{name} must be {' or '.join(map(repr, allowed))}, got {short_repr(value)}")


def is_row(value: object) -> bool:
    """Return whether this is several numbers in a row: a tuple, a list or any library's array of one axis."""
    return isinstance(value, (tuple, list)) or getattr(value, "ndim", None) == 1


def _number(value: Any) -> Any:
    # what an array without axes holds, of any library; everything else as it is
    if getattr(value, "ndim", None) != 0 or isinstance(value, np.generic):
        return value
    try:
        return value.item() if hasattr(value, "item") else np.asarray(value)[()]
    except Exception:  # a library's own, of an array that has no number yet
        return value


def integer(name: str, value: Any, expected: str = "an int", instead: str = "") -> int:
    """Return an int, which may be said as a float that is whole."""
    if type(value) is int:
        return value
    given, value = value, _number(value)
    if isinstance(value, (float, np.floating)) and value.is_integer():
        return int(value)
    try:
        if not isinstance(value, bool):
            whole: int = operator.index(value)  # pyright: ignore[reportArgumentType]
            return whole
    except TypeError:
        pass
    raise TypeError(f"{name} must be {expected}, got {shown(given)}{instead}")


def real(name: str, value: Any, expected: str = "a real number") -> float:
    """Return a float, infinite where none is large enough."""
    if type(value) is float:
        return value
    given, value = value, _number(value)
    if not isinstance(value, numbers.Real) or isinstance(value, bool):
        raise TypeError(f"{name} must be {expected}, got {shown(given)}")
    try:
        return float(value)
    except OverflowError:
        return -math.inf if value < 0 else math.inf


def shown(value: object) -> str:
    """Return what a value is, for errors."""
    return f"{short_repr(value)} of type {type(value).__name__}"
