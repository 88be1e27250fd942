"""Operators by their names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

from roicy._backend import adopt_single
from roicy._types import Array
from roicy.compat.caffe2.align import (
    RoIAlign,
    RoIAlignGradient,
    RoIAlignRotated,
    RoIAlignRotatedGradient,
)
from roicy.compat.caffe2.pool import RMACRegions, RoIPool, RoIPoolGradient


def run_operator(
    name: str, inputs: Sequence[Array], device: Literal["cpu", "cuda"] | None = None, **arguments: Any
) -> tuple[Array, ...]:
    """Run an operator by its name, on a list of inputs.

    Parameters
    ----------
    name : str
        One of the operators of this module: "RoIAlign", "RoIAlignGradient", "RoIAlignRotated",
        "RoIAlignRotatedGradient", "RoIPool", "RoIPoolGradient", "RMACRegions".
    inputs : sequence of ndarray
        The operator's inputs, in its order.
    device : {None, "cpu", "cuda"}, optional
        Where to run: with NumPy arrays "cpu", with CuPy arrays "cuda". The arrays say it as well.
    **arguments
        The operator's arguments.

    Returns
    -------
    tuple of ndarray
        The operator's outputs, also where there is one.

    Raises
    ------
    TypeError
        Where the operator has no argument of such a name, or as the operator does.
    ValueError
        Where there is no such operator or device, or the operator has another number of inputs, or as the
        operator does.

    See Also
    --------
    gradient_operator : The name of an operator's gradient.

    Examples
    --------
    >>> import numpy as np
    >>> from roicy.compat import caffe2
    >>> X = np.array([[[[1, 5], [3, 2]]]], np.float32)
    >>> rois = np.array([[0, 0, 0, 1, 1]], np.float32)
    >>> Y, argmaxes = caffe2.run_operator("RoIPool", [X, rois], pooled_h=1, pooled_w=2)
    >>> Y[0, 0]
    array([[3., 5.]], dtype=float32)
    >>> name = caffe2.gradient_operator("RoIPool")
    >>> (dX,) = caffe2.run_operator(name, [X, rois, argmaxes, 2 * Y], pooled_h=1, pooled_w=2)
    >>> dX[0, 0]
    array([[ 0., 10.],
           [ 6.,  0.]], dtype=float32)
    """
    function, names, _ = _operator(name)
    if not isinstance(inputs, (list, tuple)):
        raise TypeError(f"inputs must be a list or tuple of arrays, got {type(inputs).__name__}")
    if len(inputs) != len(names):
        raise ValueError(f"inputs must be the {len(names)} of {name} ({', '.join(names)}), got {len(inputs)}")
    if device is not None and not (isinstance(device, str) and device in _LIBRARIES):
        raise ValueError(f"device must be None, 'cpu' or 'cuda', got {device!r}")
    kernels, *inputs = adopt_single(**dict(zip(names, inputs, strict=True)))
    library = kernels.xp.__name__
    if device is not None and library != _LIBRARIES[device]:
        raise ValueError(f"device must be None or where the {library} arrays are, got {device!r}")
    known = function.__kwdefaults__ or {}
    for argument in arguments:
        if argument not in known:
            raise TypeError(f"{name} has no argument {argument!r}: its arguments are {', '.join(known)}")
    outputs = function(*inputs, **arguments)
    return outputs if isinstance(outputs, tuple) else (outputs,)


def gradient_operator(name: str) -> str:
    """Return the name of the operator that is the gradient of an operator.

    Parameters
    ----------
    name : str
        An operator of this module.

    Returns
    -------
    str
        The gradient's name. Its inputs are those of the operator, then argmaxes for "RoIPool", then dY; its
        output is dX, and its arguments are the same.

    Raises
    ------
    ValueError
        Where there is no such operator, or it has no gradient: "RMACRegions", and the gradients themselves.

    See Also
    --------
    run_operator : Runs either.

    Examples
    --------
    >>> from roicy.compat import caffe2
    >>> caffe2.gradient_operator("RoIAlign")
    'RoIAlignGradient'
    """
    gradient = _operator(name)[2]
    if gradient is None:
        raise ValueError(f"{name} has no gradient")
    return gradient


# whose arrays are on a device
_LIBRARIES = {"cpu": "numpy", "cuda": "cupy"}
# name of an operator: the function, the names of its inputs, the name of its gradient
_OPERATORS: dict[str, tuple[Callable[..., Any], tuple[str, ...], str | None]] = {
    "RMACRegions": (RMACRegions, ("X",), None),
    "RoIAlign": (RoIAlign, ("X", "RoIs"), "RoIAlignGradient"),
    "RoIAlignGradient": (RoIAlignGradient, ("X", "RoIs", "dY"), None),
    "RoIAlignRotated": (RoIAlignRotated, ("X", "RoIs"), "RoIAlignRotatedGradient"),
    "RoIAlignRotatedGradient": (RoIAlignRotatedGradient, ("X", "RoIs", "dY"), None),
    "RoIPool": (RoIPool, ("X", "rois"), "RoIPoolGradient"),
    "RoIPoolGradient": (RoIPoolGradient, ("X", "rois", "argmaxes", "dY"), None),
}


def _operator(name: object) -> tuple[Callable[..., Any], tuple[str, ...], str | None]:
    if not isinstance(name, str) or name not in _OPERATORS:
        raise ValueError(f"name must be one of {', '.join(_OPERATORS)}, got {name!r}")
    return _OPERATORS[name]
