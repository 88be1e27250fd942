"""Caffe2's operators on regions of interest: its names, inputs in its order, its arguments and defaults.

==================================== ==================================================
`RoIAlign`, `RoIAlignGradient`       average over boxes
`RoIAlignRotated`,                   average over rotated boxes
`RoIAlignRotatedGradient`
`RoIPool`, `RoIPoolGradient`         maximum over boxes rounded to pixels
`RMACRegions`                        boxes of R-MAC
`run_operator`                       any of these by name, with a list of inputs
`gradient_operator`                  the name of an operator's gradient
==================================== ==================================================

Inputs are positional, arguments are keywords. Arrays of float32 are what Caffe2 has; those of other dtypes
are treated as `roicy` treats them. `spatial_scale` and `overlap` are rounded to float32, which is what Caffe2
keeps of an argument. Arrays of CuPy run on its device, as elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, overload

import numpy as np

import roicy
from roicy import _arguments as settle
from roicy._backend import adopt_single
from roicy._types import AnyArray, Array, Flag, Integer, Layout, Ndarray, Real, Size
from roicy.compat._boxes import aligned_sizes, check_rows, scale_in_float32
from roicy.compat._words import Words

__all__ = [
    "RMACRegions",
    "RoIAlign",
    "RoIAlignGradient",
    "RoIAlignRotated",
    "RoIAlignRotatedGradient",
    "RoIPool",
    "RoIPoolGradient",
    "gradient_operator",
    "run_operator",
]

_WORDS = Words(
    features="X",
    grad_output="dY",
    argmax="argmaxes",
    layout="order",
    output_size="(pooled_h, pooled_w)",
    input_shape="X.shape",
)


def RoIAlign(
    X: Array,
    rois: AnyArray,
    *,
    order: Layout = "NCHW",
    spatial_scale: Real = 1.0,
    pooled_h: Integer = 1,
    pooled_w: Integer = 1,
    sampling_ratio: Integer = -1,
    aligned: Flag | Literal[0, 1] = False,
) -> Array:
    """Average each box of a feature map over bins, as Caffe2's RoIAlign.

    Parameters
    ----------
    X : ndarray, shape (N, C, H, W)
        Feature maps; with ``order="NHWC"`` of shape (N, H, W, C).
    rois : ndarray, shape (R, 5) or (R, 4)
        Rows ``[batch index, x1, y1, x2, y2]``; or ``[x1, y1, x2, y2]``, all of them boxes of image 0.
    order : {"NCHW", "NHWC"}, optional
        Order of the axes of `X` and of the result.
    spatial_scale : float, optional
        Feature pixels per unit of `rois`.
    pooled_h, pooled_w : int, optional
        Rows and columns of bins.
    sampling_ratio : int, optional
        Samples per bin along each axis; 0 or less for adaptive.
    aligned : bool, optional
        Whether the centre of pixel ``i`` lies at ``i + 0.5`` (True) or at ``i``; 0 and 1 will do.

    Returns
    -------
    ndarray, shape (R, C, pooled_h, pooled_w)
        Pooled features; with ``order="NHWC"`` of shape (R, pooled_h, pooled_w, C).

    Raises
    ------
    TypeError, ValueError
        As `roicy.roi_align` does, and ValueError where ``aligned=True`` and a box has a negative size.

    See Also
    --------
    roicy.roi_align : The same with other defaults, and its conventions.
    RoIAlignGradient : Its gradient.

    Notes
    -----
    Kept of Caffe2: ``aligned=True`` and a box of negative size is an error (its last CPU version); with
    ``aligned=True``, adaptive, a box without width or height has no samples and gives NaN; no boxes in any
    shape of size 0.

    Not kept: a batch index out of range is read from memory there, and an error here. The order of a sum and
    of a division differ, that is the last bit of results.

    Examples
    --------
    >>> import numpy as np
    >>> from roicy.compat import caffe2
    >>> X = np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4)
    >>> rois = np.array([[0.5, 0.5, 2.5, 2.5]], np.float32)
    >>> caffe2.RoIAlign(X, rois, pooled_h=2, pooled_w=2, sampling_ratio=1)[0, 0]
    array([[ 5.,  6.],
           [ 9., 10.]], dtype=float32)
    """
    pooled: Array = _align(
        roicy.roi_align,
        settle.CORNERS,
        X,
        rois,
        (pooled_h, pooled_w),
        order,
        spatial_scale,
        sampling_ratio,
        aligned,
    )
    return pooled


def RoIAlignGradient(
    X: AnyArray,
    rois: AnyArray,
    dY: Array,
    *,
    order: Layout = "NCHW",
    spatial_scale: Real = 1.0,
    pooled_h: Integer = 1,
    pooled_w: Integer = 1,
    sampling_ratio: Integer = -1,
    aligned: Flag | Literal[0, 1] = False,
) -> Array:
    """Gradient of `RoIAlign` with respect to the features.

    Parameters
    ----------
    X : ndarray, shape (N, C, H, W)
        Feature maps that were pooled, of which the shape is used.
    rois : ndarray, shape (R, 5) or (R, 4)
        Boxes, as in `RoIAlign`.
    dY : ndarray, shape (R, C, pooled_h, pooled_w)
        Gradient with respect to the output of `RoIAlign`.
    order, spatial_scale, pooled_h, pooled_w, sampling_ratio, aligned : optional
        As in `RoIAlign`.

    Returns
    -------
    ndarray, shape of `X`
        Gradient with respect to `X`, of the dtype of `dY`.

    Raises
    ------
    TypeError, ValueError
        As `RoIAlign` does, and ValueError where `dY` has not the shape that `RoIAlign` returns.

    See Also
    --------
    RoIAlign : The operator, and what is kept of Caffe2.
    roicy.roi_align_backward : The same with other defaults.

    Notes
    -----
    Caffe2 has this for ``order="NCHW"`` only.

    Examples
    --------
    >>> import numpy as np
    >>> from roicy.compat import caffe2
    >>> X = np.zeros((1, 1, 3, 3), np.float32)
    >>> rois = np.array([[0, 0, 1, 1]], np.float32)
    >>> caffe2.RoIAlignGradient(X, rois, np.ones((1, 1, 1, 1), np.float32))[0, 0]
    array([[0.25, 0.25, 0.  ],
           [0.25, 0.25, 0.  ],
           [0.  , 0.  , 0.  ]], dtype=float32)
    """
    dX: Array = _align_gradient(
        roicy.roi_align_backward,
        settle.CORNERS,
        X,
        rois,
        dY,
        (pooled_h, pooled_w),
        order,
        spatial_scale,
        sampling_ratio,
        aligned,
    )
    return dX


def RoIAlignRotated(
    X: Array,
    rois: AnyArray,
    *,
    order: Layout = "NCHW",
    spatial_scale: Real = 1.0,
    pooled_h: Integer = 1,
    pooled_w: Integer = 1,
    sampling_ratio: Integer = -1,
    aligned: Flag | Literal[0, 1] = False,
) -> Array:
    """Average each rotated box of a feature map over bins, as Caffe2's RoIAlignRotated.

    Parameters
    ----------
    X : ndarray, shape (N, C, H, W)
        Feature maps; with ``order="NHWC"`` of shape (N, H, W, C).
    rois : ndarray, shape (R, 6) or (R, 5)
        Rows ``[batch index, cx, cy, w, h, angle]``; or ``[cx, cy, w, h, angle]``, all of them boxes of image
        0. Angles are in degrees, counter-clockwise.
    order, spatial_scale, pooled_h, pooled_w, sampling_ratio, aligned : optional
        As in `RoIAlign`.

    Returns
    -------
    ndarray, shape (R, C, pooled_h, pooled_w)
        Pooled features; with ``order="NHWC"`` of shape (R, pooled_h, pooled_w, C).

    Raises
    ------
    TypeError, ValueError
        As `roicy.roi_align_rotated` does, and ValueError where ``aligned=True`` and a box has a negative
        size.

    See Also
    --------
    roicy.roi_align_rotated : The same with other defaults, and its conventions.
    RoIAlignRotatedGradient : Its gradient.

    Notes
    -----
    What is kept of Caffe2 and what not is the same as in `RoIAlign`; `sampling_ratio` is at most 128.

    Examples
    --------
    >>> import numpy as np
    >>> from roicy.compat import caffe2
    >>> X = np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4)
    >>> rois = np.array([[1.5, 1.5, 2, 2, 90]], np.float32)
    >>> caffe2.RoIAlignRotated(X, rois, pooled_h=2, pooled_w=2, sampling_ratio=1)[0, 0].round(3)
    array([[ 9.,  5.],
           [10.,  6.]], dtype=float32)
    """
    pooled: Array = _align(
        roicy.roi_align_rotated,
        settle.ROTATED,
        X,
        rois,
        (pooled_h, pooled_w),
        order,
        spatial_scale,
        sampling_ratio,
        aligned,
    )
    return pooled


def RoIAlignRotatedGradient(
    X: AnyArray,
    rois: AnyArray,
    dY: Array,
    *,
    order: Layout = "NCHW",
    spatial_scale: Real = 1.0,
    pooled_h: Integer = 1,
    pooled_w: Integer = 1,
    sampling_ratio: Integer = -1,
    aligned: Flag | Literal[0, 1] = False,
) -> Array:
    """Gradient of `RoIAlignRotated` with respect to the features.

    Parameters
    ----------
    X : ndarray, shape (N, C, H, W)
        Feature maps that were pooled, of which the shape is used.
    rois : ndarray, shape (R, 6) or (R, 5)
        Rotated boxes, as in `RoIAlignRotated`.
    dY : ndarray, shape (R, C, pooled_h, pooled_w)
        Gradient with respect to the output of `RoIAlignRotated`.
    order, spatial_scale, pooled_h, pooled_w, sampling_ratio, aligned : optional
        As in `RoIAlign`.

    Returns
    -------
    ndarray, shape of `X`
        Gradient with respect to `X`, of the dtype of `dY`.

    Raises
    ------
    TypeError, ValueError
        As `RoIAlignRotated` does, and ValueError where `dY` has not the shape that it returns.

    See Also
    --------
    RoIAlignRotated : The operator.
    roicy.roi_align_rotated_backward : The same with other defaults.

    Notes
    -----
    Caffe2 has this on CUDA only, for ``order="NCHW"`` and six columns.

    Examples
    --------
    >>> import numpy as np
    >>> from roicy.compat import caffe2
    >>> X = np.zeros((1, 1, 3, 3), np.float32)
    >>> rois = np.array([[0, 0.5, 0.5, 1, 1, 30]], np.float32)
    >>> caffe2.RoIAlignRotatedGradient(X, rois, np.ones((1, 1, 1, 1), np.float32))[0, 0]
    array([[0.25, 0.25, 0.  ],
           [0.25, 0.25, 0.  ],
           [0.  , 0.  , 0.  ]], dtype=float32)
    """
    dX: Array = _align_gradient(
        roicy.roi_align_rotated_backward,
        settle.ROTATED,
        X,
        rois,
        dY,
        (pooled_h, pooled_w),
        order,
        spatial_scale,
        sampling_ratio,
        aligned,
    )
    return dX


@overload
def RoIPool(
    X: Array,
    rois: AnyArray,
    *,
    order: Layout = "NCHW",
    spatial_scale: Real = 1.0,
    pooled_h: Integer = 1,
    pooled_w: Integer = 1,
    is_test: Literal[0, False] = 0,
) -> tuple[Array, Array]: ...


@overload
def RoIPool(
    X: Array,
    rois: AnyArray,
    *,
    order: Layout = "NCHW",
    spatial_scale: Real = 1.0,
    pooled_h: Integer = 1,
    pooled_w: Integer = 1,
    is_test: Literal[1, True],
) -> Array: ...


@overload
def RoIPool(
    X: Array,
    rois: AnyArray,
    *,
    order: Layout = "NCHW",
    spatial_scale: Real = 1.0,
    pooled_h: Integer = 1,
    pooled_w: Integer = 1,
    is_test: Flag | Literal[0, 1],
) -> Array | tuple[Array, Array]: ...


def RoIPool(
    X: Array,
    rois: AnyArray,
    *,
    order: Layout = "NCHW",
    spatial_scale: Real = 1.0,
    pooled_h: Integer = 1,
    pooled_w: Integer = 1,
    is_test: Flag | Literal[0, 1] = 0,
) -> Array | tuple[Array, Array]:
    """Take the maximum over the bins of boxes rounded to pixels, as Caffe2's RoIPool.

    Parameters
    ----------
    X : ndarray, shape (N, C, H, W)
        Feature maps.
    rois : ndarray, shape (R, 5)
        Rows ``[batch index, x1, y1, x2, y2]``; the last pixel belongs to a box.
    order : {"NCHW"}, optional
        Order of the axes; Caffe2 has no other one here.
    spatial_scale : float, optional
        Feature pixels per unit of `rois`, greater than 0.
    pooled_h, pooled_w : int, optional
        Rows and columns of bins.
    is_test : int or bool, optional
        1 or True: without `argmaxes`.

    Returns
    -------
    Y : ndarray, shape (R, C, pooled_h, pooled_w)
        Pooled features.
    argmaxes : ndarray, shape of `Y`, int32
        Unless `is_test`: the chosen pixels, ``row * W + column``, or -1.

    Raises
    ------
    TypeError, ValueError
        As `roicy.roi_pool` does; a batch index out of range is an error, as in Caffe2.

    See Also
    --------
    roicy.roi_pool : The same with other defaults, and its conventions.
    RoIPoolGradient : Its gradient.

    Notes
    -----
    The results are Caffe2's, bit for bit. Kept of Caffe2: five columns only, ``order="NCHW"`` only, and a
    batch index out of range is an error (its CPU version).

    Examples
    --------
    >>> import numpy as np
    >>> from roicy.compat import caffe2
    >>> X = np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4)
    >>> rois = np.array([[0, 1, 1, 2, 2]], np.float32)
    >>> Y, argmaxes = caffe2.RoIPool(X, rois)
    >>> Y, argmaxes
    (array([[[[10.]]]], dtype=float32), array([[[[10]]]], dtype=int32))
    """
    with _WORDS:
        _, X, rois = adopt_single(X=X, rois=rois)
        _only_nchw(order)
        _batch_column(rois)
        return roicy.roi_pool(
            X,
            rois,
            (pooled_h, pooled_w),
            spatial_scale=scale_in_float32(spatial_scale),
            return_argmax=not _switch("is_test", is_test),
        )


def RoIPoolGradient(
    X: AnyArray,
    rois: AnyArray,
    argmaxes: AnyArray,
    dY: Array,
    *,
    order: Layout = "NCHW",
    spatial_scale: Real = 1.0,
    pooled_h: Integer = 1,
    pooled_w: Integer = 1,
    is_test: Flag | Literal[0, 1] = 0,
) -> Array:
    """Gradient of `RoIPool` with respect to the features.

    Parameters
    ----------
    X : ndarray, shape (N, C, H, W)
        Feature maps that were pooled, of which the shape is used.
    rois : ndarray, shape (R, 5)
        Boxes, as in `RoIPool`; only their batch indices are used.
    argmaxes : ndarray, shape of `dY`, int32
        The chosen pixels, as `RoIPool` returns them.
    dY : ndarray, shape (R, C, pooled_h, pooled_w)
        Gradient with respect to the first output of `RoIPool`.
    order, spatial_scale, pooled_h, pooled_w, is_test : optional
        As in `RoIPool`, of which a gradient operator has all arguments; `is_test` must not be set.

    Returns
    -------
    ndarray, shape of `X`
        Gradient with respect to `X`, of the dtype of `dY`.

    Raises
    ------
    TypeError, ValueError
        As `RoIPool` does, and ValueError where `dY` has not the shape that it returns, or `argmaxes` holds a
        number that is no pixel's and not -1.

    See Also
    --------
    RoIPool : The operator.
    roicy.roi_pool_backward : The same.

    Notes
    -----
    Caffe2 has this on CUDA only.

    Examples
    --------
    >>> import numpy as np
    >>> from roicy.compat import caffe2
    >>> X = np.array([[[[1, 5], [3, 2]]]], np.float32)
    >>> rois = np.array([[0, 0, 0, 1, 1]], np.float32)
    >>> Y, argmaxes = caffe2.RoIPool(X, rois)
    >>> caffe2.RoIPoolGradient(X, rois, argmaxes, np.ones_like(Y))[0, 0]
    array([[0., 1.],
           [0., 0.]], dtype=float32)
    """
    with _WORDS:
        _, maps, boxes, argmaxes, dY = adopt_single(X=X, rois=rois, argmaxes=argmaxes, dY=dY)
        _only_nchw(order)
        _batch_column(boxes)
        scale_in_float32(spatial_scale)
        _bins(dY, settle.output_size((pooled_h, pooled_w)), "NCHW")
        if _switch("is_test", is_test):
            raise ValueError(f"is_test must be 0 for a gradient, got {is_test!r}")
        return roicy.roi_pool_backward(dY, argmaxes, boxes, maps.shape)


def RMACRegions(X: Array, *, scales: Integer = 3, overlap: Real = 0.4) -> Array:
    """Boxes of the regions of R-MAC for all images, as Caffe2's RMACRegions.

    Parameters
    ----------
    X : ndarray, shape (N, C, H, W)
        Feature maps of any dtype, of which the shape is used.
    scales : int, optional
        Number of scales, at least 1.
    overlap : float, optional
        Overlap of neighbouring regions that is aimed at, at least 0 and less than 1.

    Returns
    -------
    ndarray, shape (N * M, 5), float32
        Rows ``[batch index, x1, y1, x2, y2]`` for `RoIPool`, those of image 0 first.

    Raises
    ------
    TypeError, ValueError
        As `roicy.rmac_regions` does.

    See Also
    --------
    roicy.rmac_regions : The same, from a shape.
    roicy.rmac : The vectors that they are for.

    Notes
    -----
    Kept of Caffe2: its arithmetic in float32, and no regions for an `X` without elements. The operator has no
    gradient.

    Examples
    --------
    >>> import numpy as np
    >>> from roicy.compat import caffe2
    >>> caffe2.RMACRegions(np.zeros((1, 8, 4, 6), np.float32), scales=1)
    array([[0., 0., 0., 3., 3.],
           [0., 2., 0., 5., 3.]], dtype=float32)
    """
    with _WORDS:
        kernels, X = adopt_single(X=X)
        regions = roicy.rmac_regions(settle.features_shape(X, "NCHW"), scales=scales, overlap=overlap)
        boxes: Array = kernels.xp.asarray(regions if X.size else regions[:0])
        return boxes


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


def _align(
    function: Callable[..., Any],
    names: Sequence[str],
    X: Ndarray,
    rois: Ndarray,
    size: Any,
    order: Layout,
    spatial_scale: Real,
    sampling_ratio: Integer,
    aligned: Flag | Literal[0, 1],
) -> Any:
    with _WORDS:
        kernels, X, rois = adopt_single(X=X, rois=rois)
        xp = kernels.xp
        rois = _rows(xp, rois, names)
        size = settle.output_size(size)
        options, boxes = _options(xp, names, rois, order, spatial_scale, sampling_ratio, aligned)
        pooled = function(X, rois, size, **options)
        if options["aligned"] and options["sampling_ratio"] == 0:
            bins = xp.asarray(np.array(size[::-1], boxes.dtype))
            sizes = aligned_sizes(boxes, options["spatial_scale"], names) / bins
            pooled[(sizes == 0).any(axis=1)] = np.nan  # 0 / 0: no samples
        return pooled


def _align_gradient(
    function: Callable[..., Any],
    names: Sequence[str],
    X: Ndarray,
    rois: Ndarray,
    dY: Ndarray,
    size: Any,
    order: Layout,
    spatial_scale: Real,
    sampling_ratio: Integer,
    aligned: Flag | Literal[0, 1],
) -> Any:
    with _WORDS:
        kernels, X, rois, dY = adopt_single(X=X, rois=rois, dY=dY)
        rois = _rows(kernels.xp, rois, names)
        options, _ = _options(kernels.xp, names, rois, order, spatial_scale, sampling_ratio, aligned)
        _bins(dY, settle.output_size(size), options["layout"])
        return function(dY, rois, X.shape, **options)


def _rows(xp: Any, rois: Ndarray, names: Sequence[str]) -> Ndarray:
    # no boxes may have any shape of size 0
    return rois if rois.size else xp.empty((0, 1 + len(names)), rois.dtype)


def _options(
    xp: Any,
    names: Sequence[str],
    rois: Ndarray,
    order: Layout,
    spatial_scale: Real,
    sampling_ratio: Integer,
    aligned: Flag | Literal[0, 1],
) -> tuple[dict[str, Any], Ndarray]:
    # what the functions of roicy are called with, and the boxes as they use them, without batch indices
    images = None
    if rois.ndim == 2 and rois.shape[1] == len(names):
        images = xp.zeros(len(rois), np.int64)
    boxes = settle.rois(rois, images, 1, xp, names).boxes[:, -len(names) :]
    scale = scale_in_float32(spatial_scale)
    aligned = _switch("aligned", aligned)
    if aligned:
        negative = (aligned_sizes(boxes, scale, names) < 0).any(axis=1)
        check_rows(~negative, rois, "no negative size, as aligned is True")
    options = {
        "layout": settle.layout(order),
        "spatial_scale": scale,
        "sampling_ratio": settle.sampling_ratio(sampling_ratio),
        "aligned": aligned,
        "batch_indices": images,
    }
    return options, boxes


def _bins(dY: Ndarray, size: Size, layout: Layout) -> None:
    expected = settle.grad_output_size(dY, layout)
    if expected != size:
        raise ValueError(f"(pooled_h, pooled_w) must be {expected}, the rows and columns of dY, got {size}")


def _batch_column(rois: Ndarray) -> None:
    if rois.ndim != 2 or rois.shape[1] != 5:
        raise ValueError(f"rois must have shape (R, 5), rows [batch index, x1, y1, x2, y2], got {rois.shape}")


def _only_nchw(order: object) -> None:
    if settle.layout(order) != "NCHW":
        raise ValueError(f"order must be 'NCHW' for this operator, got {order!r}")


def _switch(name: str, value: object) -> bool:
    # arguments of Caffe2 are switched by 0 and 1, too
    return bool(value) if type(value) is int and value in (0, 1) else settle.flag(name, value)
