"""How values of crops are filled up and normalised before they are stored, and the same for gradients."""

from __future__ import annotations

from reprlib import repr as short_repr
from typing import Any, NamedTuple

import numpy as np

from roicy._arguments.arrays import WIDE_LABELS, is_bfloat16
from roicy._arguments.numbers import FLOAT32, flag, is_row, real, shown
from roicy._arguments.numbers import layout as settled_layout
from roicy._types import Accumulate, DType, Layout, Ndarray, NumPyArray
from roicy.cpu.runtime.calls import Known

#: Numbers behind those of the channels: kernels read whole vectors of them.
_MORE = 16
_MOST = float(np.finfo(np.float32).max)
_NAMED = frozenset((FLOAT32, np.dtype(np.float16), np.dtype(np.uint8)))


class Finish(NamedTuple):
    """Options of a call for finishing values: (value + fill outside of the image - mean) / std.

    Attributes
    ----------
    fill, mean, std : ndarray, (C,), float64
        Of the channels of the result; `mean` and `std` are None where none was given.
    reversed : bool
        Whether the first channel of the result is the last one of the image.
    dtype : dtype or None
        That of the result, where one was asked for.
    layout : {"NCHW", "NHWC"}
        Order of the axes of the result.
    chosen : bool
        Whether values are single pixels, which stay in their own dtype.
    filled : bool
        Whether a channel has another fill than 0.
    """

    fill: NumPyArray
    mean: NumPyArray | None
    std: NumPyArray | None
    reversed: bool
    dtype: DType | None
    layout: Layout
    chosen: bool
    filled: bool

    def result_dtype(self, images: DType) -> DType:
        """Return the dtype of crops of images of a dtype."""
        own = self.dtype is None and self.chosen and self.mean is None and self.std is None
        dtype = images if own else self.dtype or FLOAT32
        if images in WIDE_LABELS:
            if not self.chosen:
                raise TypeError(
                    f"images of {images} must be cut with interpolation='nearest', which keeps every bit"
                )
            if dtype != images or self.mean is not None or self.std is not None:
                raise ValueError(f"dtype must be {images} for images of {images}, without mean and std")
        elif dtype not in _NAMED and not is_bfloat16(dtype) and dtype != images:
            raise TypeError(
                "dtype must be float32, float16, bfloat16, uint8 or that of the images, "
                f"{images}, got {dtype}"
            )
        return dtype

    def numbers(self, accumulate: Accumulate, bordered: bool) -> NumPyArray | None:
        """Return the rows fill, mean and scale that kernels finish values with; None for nothing to do.

        `bordered` says whether something outside of the image has the value of `fill`.
        """
        if self.mean is None and self.std is None and not (bordered and self.filled):
            return None
        numbers = np.zeros((3, len(self.fill) + _MORE), accumulate)
        channels = slice(len(self.fill))
        numbers[0, channels] = self.fill
        numbers[1, channels] = 0 if self.mean is None else self.mean
        numbers[2, channels] = 1 if self.std is None else 1 / self.std
        return numbers

    def ordered(self, images: Ndarray) -> Ndarray:
        """Return arrays (image, channel, row, column) with the channels in the result's order, or back."""
        return images[:, ::-1] if self.reversed else images

    def gradient(self, grad_output: Ndarray, xp: Any) -> Ndarray:
        """Return the gradient with respect to unfinished values, (box, channel, row, column)."""
        if self.std is None:
            return grad_output
        scale = xp.asarray((1 / self.std)[:, None, None].astype(np.float64))
        with np.errstate(all="ignore"):
            return (grad_output * scale).astype(np.float64 if grad_output.dtype == np.float64 else np.float32)


_known = Known(256)


def finish(
    channels: int,
    layout: Layout,
    *,
    fill: Any = 0.0,
    mean: Any = None,
    std: Any = None,
    reverse_channels: Any = False,
    dtype: Any = None,
    out_layout: Any = None,
    chosen: bool = False,
) -> Finish:
    """Return these options of a call on images with this many channels."""
    arguments = channels, layout, fill, mean, std, reverse_channels, dtype, out_layout, chosen
    known: Finish | None = _known.get(arguments)
    if known is None:
        known = _settled(arguments)
        _known.put(arguments, known)
    return known


def _settled(arguments: tuple[Any, ...]) -> Finish:
    # those of `finish`, in its order
    channels, layout, fill, mean, std, reverse_channels, dtype, out_layout, chosen = arguments
    stds = None if std is None else _per_channel("std", std, channels)
    if stds is not None and (stds <= 0).any():
        raise ValueError(f"std must be greater than 0, got {short_repr(std)}")
    if stds is not None and (stds < 1 / _MOST).any():  # whose inverse float32 does not hold
        raise ValueError(f"std must be at least {1 / _MOST:.2g}, got {short_repr(std)}")
    fills = _per_channel("fill", fill, channels)
    return Finish(
        fills,
        None if mean is None else _per_channel("mean", mean, channels),
        stds,
        flag("reverse_channels", reverse_channels),
        None if dtype is None else _dtype(dtype),
        layout if out_layout is None else settled_layout(out_layout, "out_layout"),
        chosen,
        bool(fills.any()),
    )


def _per_channel(name: str, value: Any, channels: int) -> NumPyArray:
    # a number of each channel of the result
    several = f"a number or {channels} numbers, one for each channel"
    if is_row(value):
        if len(value) != channels:
            raise ValueError(f"{name} must be {several}, got {len(value)}")
        numbers = [_finite(f"{name}[{channel}]", number) for channel, number in enumerate(value)]
    else:
        numbers = [_finite(name, value, several)]
    try:
        array = np.array(numbers if is_row(value) else numbers * channels, np.float64)
    except MemoryError:
        raise MemoryError(f"roicy: no memory for {name} of {channels} channels") from None
    array.flags.writeable = False  # other calls have the same
    return array


def _finite(name: str, value: Any, expected: str = "a real number") -> float:
    number = real(name, value, expected)
    if not abs(number) <= _MOST:
        raise ValueError(f"{name} must be a number that is finite in float32, got {short_repr(value)}")
    return number


def _dtype(value: Any) -> DType:
    if isinstance(value, str) and value == "bfloat16":
        import ml_dtypes  # the caller asks for bfloat16, so the package is there

        value = ml_dtypes.bfloat16
    try:
        dtype: DType = np.dtype(value)
    except (TypeError, ValueError):
        raise TypeError(f"dtype must be a dtype or its name, got {shown(value)}") from None
    if not dtype.isnative:  # whose name is the same
        raise TypeError(f"dtype must be in native byte order, got {dtype.str}")
    return dtype
