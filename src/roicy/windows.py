"""Which part of a map boxes read: what a call with `window` must be given."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from roicy import _arguments as settle
from roicy._backend import adopt
from roicy._given import Given, Sharing
from roicy._kinds import (
    AVERAGE,
    CROP,
    DEFORMED,
    POSITION_SENSITIVE_AVERAGE,
    POSITION_SENSITIVE_PIXELS,
    PRECISE_AVERAGE,
    ROTATED,
    Kind,
    of_roi_align,
    of_roi_pool,
)
from roicy._types import (
    AnyArray,
    Boxes,
    Indices,
    InputShape,
    Invalid,
    Layout,
    Ndarray,
    NumPyArray,
    OutputSize,
    Size,
)
from roicy.align import roi_align
from roicy.crop import crop_and_resize
from roicy.deform import deform_roi_pool
from roicy.multi_scale import MultiScalePlan
from roicy.multi_scale_align import multi_scale_roi_align
from roicy.multi_scale_pool import multi_scale_roi_pool
from roicy.multi_scale_rotated import multi_scale_roi_align_rotated
from roicy.plan import Plan
from roicy.pool import roi_pool
from roicy.precise import prroi_pool
from roicy.ps_align import ps_roi_align
from roicy.ps_pool import ps_roi_pool
from roicy.quads import crop_quads, quads_windows
from roicy.rotated import roi_align_rotated

#: Rows and columns of bins that are looked at together.
_BINS_AT_ONCE = 1 << 18
#: Options of pyramids that say from which map a box is pooled.
_OF_MAPS = "spatial_scales", "levels", "merge"
#: Those of quadrangles that say where samples lie.
_OF_QUADS = "interpolation", "sampling_ratio", "border"
#: Of each operator, its function, the options that choose its kind, and which one that is.
_OPERATORS: dict[str, tuple[Callable[..., Any], tuple[str, ...], Callable[..., Kind]]] = {
    "roi_align": (roi_align, ("mode", "max_rule"), of_roi_align),
    "roi_align_rotated": (roi_align_rotated, (), lambda: ROTATED),
    "roi_pool": (roi_pool, ("mode",), of_roi_pool),
    "prroi_pool": (prroi_pool, (), lambda: PRECISE_AVERAGE),
    "ps_roi_align": (ps_roi_align, (), lambda: POSITION_SENSITIVE_AVERAGE),
    "ps_roi_pool": (ps_roi_pool, (), lambda: POSITION_SENSITIVE_PIXELS),
    "deform_roi_pool": (deform_roi_pool, (), lambda: DEFORMED),
    "crop_and_resize": (crop_and_resize, (), lambda: CROP),
    "crop_quads": (crop_quads, (), lambda: CROP),
    "multi_scale_roi_align": (multi_scale_roi_align, (), lambda: AVERAGE),
    "multi_scale_roi_align_rotated": (multi_scale_roi_align_rotated, (), lambda: ROTATED),
    "multi_scale_roi_pool": (multi_scale_roi_pool, ("mode",), of_roi_pool),
}


def rois_windows(
    rois: Boxes,
    input_shape: InputShape | Sequence[InputShape],
    output_size: OutputSize,
    *,
    operator: str = "roi_align",
    offsets: AnyArray | None = None,
    batch_indices: Indices | None = None,
    layout: Layout = "NCHW",
    invalid: Invalid = "raise",
    **options: Any,
) -> Any:
    """Find which part of its map each box reads.

    A call with `window` pools from a part of a map what it would from the whole map. The part must hold all
    that the boxes read: for each box this returns exactly that, in the coordinates of the whole map. It is a
    little more than the box where samples lie between pixels.

    Parameters
    ----------
    rois : ndarray, shape (K, 5) or (K, 4), or sequence of N ndarrays, shape (L_i, 4)
        Boxes, as the operator takes them; for "crop_quads" corners.
    input_shape : tuple of 4 ints, or list of tuple of 4 ints
        Shape of the whole maps, (N, C, H, W) or, with ``layout="NHWC"``, (N, H, W, C); a list of shapes for
        the maps of a pyramid.
    output_size : int or (int, int)
        Rows and columns of bins, as in the operator.
    operator : str, optional
        Name of the function that the boxes are for: "roi_align", "roi_align_rotated", "roi_pool",
        "prroi_pool", "ps_roi_align", "ps_roi_pool", "deform_roi_pool", "crop_and_resize", "crop_quads",
        "multi_scale_roi_align", "multi_scale_roi_align_rotated" or "multi_scale_roi_pool".
    offsets : ndarray, shape (K, 2, PH, PW), optional
        For `deform_roi_pool`.
    batch_indices, layout, invalid : optional
        As in the operator. With ``invalid="nan"`` an invalid row reads nothing.
    **options
        Those of the operator that say where samples lie, `spatial_scale` or `spatial_scales` and `levels`
        among them; with its defaults.

    Returns
    -------
    ndarray, shape (K, 4), int64, or list of ndarray
        Rows ``[top, left, bottom, right]``: the box reads no pixel before row ``top`` and column ``left`` of
        its map, none from row ``bottom`` and column ``right`` on, and some in the first and the last of these
        rows and columns. Zeros for a box that reads nothing. Of a pyramid, there is such an array for each
        map, with zeros for boxes that are not pooled from it.

    Raises
    ------
    TypeError, ValueError
        As the operator does.

    See Also
    --------
    rois_window : The part that all boxes together read.

    Examples
    --------
    >>> import numpy as np
    >>> import roicy
    >>> rois = np.array([[0, 40, 20, 44, 30], [0, 90, 15, 93, 18], [0, -50, 0, -40, 9]], np.float32)
    >>> roicy.rois_windows(rois, (1, 3, 64, 96), 7)
    array([[19, 39, 31, 45],
           [14, 89, 19, 94],
           [ 0,  0,  0,  0]])
    """
    kind, chosen = options_of(settle.choice("operator", operator, tuple(_OPERATORS)), options)
    for name in options:
        if name not in chosen:
            known = ", ".join(map(repr, chosen))
            raise TypeError(f"{operator} has the options {known} for where samples lie, got {name!r}")
    of_maps = [chosen.pop(name) for name in _OF_MAPS if name in chosen]
    values = tuple(chosen[name] for name in chosen if name not in _OPERATORS[operator][1])
    if offsets is not None and kind is not DEFORMED:
        raise ValueError(f"offsets must be None for {operator}, whose bins are not moved")
    given = Given(rois, batch_indices, settle.layout(layout), invalid)
    size = settle.output_size(output_size)
    if of_maps:
        return _windows_of_levels(kind, given, Sharing(*of_maps), input_shape, size, values)
    shape = settle.input_shape(input_shape, given.layout)
    if operator == "crop_quads":
        return quads_windows(given, shape, size, values)
    kernels, given.rois, given.batch_indices, given.offsets = adopt(
        rois=rois, batch_indices=batch_indices, offsets=offsets
    )
    plan: Plan[Any] = Plan(kind, kernels, given, shape, size, values, lent=True)
    return _windows(plan, np.arange(len(plan._regions.boxes)))


def options_of(operator: str, options: Mapping[str, Any]) -> tuple[Kind, dict[str, Any]]:
    """Return the kind of an operator, and those of its options that say where samples lie, or their defaults.

    Options that choose the kind come first, then those that say from which map of a pyramid a box is pooled.
    """
    function, choosing, kind_of = _OPERATORS[operator]
    defaults = inspect.signature(function).parameters
    kind = kind_of(*[options.get(name, defaults[name].default) for name in choosing])
    of_maps = _OF_MAPS if operator.startswith("multi_scale") else ()
    of_kind = _OF_QUADS if function is crop_quads else kind.options[bool(of_maps) :]
    names = *choosing, *of_maps, *of_kind
    return kind, {name: options.get(name, defaults[name].default) for name in names}


def _windows_of_levels(
    kind: Kind, given: Given, sharing: Sharing, input_shapes: Any, size: Size, options: Sequence[Any]
) -> list[Ndarray]:
    kernels, given.rois, given.batch_indices, levels = adopt(
        rois=given.rois, batch_indices=given.batch_indices, levels=settle.no_rule(sharing.levels)
    )
    shapes = settle.input_shapes(input_shapes, given.layout, "input_shape")
    settle.as_many_scales("input_shape", len(shapes), sharing.spatial_scales)
    plan: MultiScalePlan[Any] = MultiScalePlan(
        kind, kernels, given, sharing.adopted(levels), shapes, size, options
    )
    plan._check("backward")
    found = []
    for level in plan._plans:
        own, windows = level._regions.levels, kernels.xp.zeros((len(level._regions.boxes), 4), np.int64)
        rows = np.arange(len(windows))
        if own is not None:
            rows = np.flatnonzero(settle.on_host(own) == level._regions.level)
        windows[kernels.xp.asarray(rows)] = _windows(level, rows)
        found.append(windows)
    return found


def _windows(plan: Plan[Any], rows: NumPyArray) -> Ndarray:
    # with a table of some boxes at a time, of a part that has no pixel: all that is read lies beyond it
    xp, (n, c, h, w) = plan._kernels.xp, plan._regions.input_shape
    regions = replace(plan._regions, input_shape=(n, c, 0, 0), window=(0, 0, h, w), levels=None)
    at_once = max(1, _BINS_AT_ONCE // sum(regions.output_size))
    parts = [xp.zeros((0, 4), np.int64)]
    for first in range(0, len(rows), at_once):
        given = {name: getattr(regions, name) for name in ("boxes", "images", "offsets")}
        chosen = xp.asarray(rows[first : first + at_once])
        some = {name: array[chosen] for name, array in given.items() if array is not None}
        own = replace(regions, **some)
        table = plan._kind.table(plan._kernels, own, plan._options, "float32", "forward")
        if plan._invalid == "raise" and table.first_invalid >= 0:
            raise plan._rois.invalid_row(first + table.first_invalid, n)
        parts.append(table.touched())
    return xp.concatenate(parts)


def rois_window(
    rois: Boxes, input_shape: InputShape | Sequence[InputShape], output_size: OutputSize, **options: Any
) -> Any:
    """Find which part of their maps boxes read.

    Parameters
    ----------
    rois, input_shape, output_size, **options
        As in `rois_windows`.

    Returns
    -------
    top, left, bottom, right : int
        The smallest part of the maps that holds all that the boxes read: rows from ``top`` and columns from
        ``left`` on, up to ``bottom`` and ``right``, not included. Zeros where they read nothing. Of a
        pyramid, a list of such tuples, one for each map.

    Raises
    ------
    TypeError, ValueError
        As the operator does.

    See Also
    --------
    rois_windows : The part that each box reads.

    Notes
    -----
    Part and result go together as here: the part is cut out of the map, and `window` says where it lies. The
    part may be larger than what the boxes read, but not smaller. For boxes of several images it is the same
    part of each; where images are cut out one by one, so are their boxes looked at.

    Examples
    --------
    A map that is too large to be read as a whole is read where the boxes are:

    >>> import numpy as np
    >>> import roicy
    >>> slide = np.arange(1000 * 2000, dtype=np.float32).reshape(1, 1, 1000, 2000)
    >>> rois = np.array([[0, 1500, 300, 1540, 330], [0, 1520, 310, 1530, 350]], np.float32)
    >>> top, left, bottom, right = roicy.rois_window(rois, slide.shape, 7)
    >>> top, left, bottom, right
    (299, 1499, 351, 1541)
    >>> part = slide[:, :, top:bottom, left:right]
    >>> pooled = roicy.roi_align(part, rois, 7, window=(top, left, 1000, 2000))
    >>> np.array_equal(pooled, roicy.roi_align(slide, rois, 7))
    True
    """
    windows = rois_windows(rois, input_shape, output_size, **options)
    return [_around(one) for one in windows] if isinstance(windows, list) else _around(windows)


def _around(windows: Ndarray) -> tuple[int, int, int, int]:
    # the smallest part that holds all of these
    windows = settle.on_host(windows)
    reading = windows[windows[:, 2] > windows[:, 0]]
    if not len(reading):
        return 0, 0, 0, 0
    top, left = reading[:, :2].min(axis=0).tolist()
    bottom, right = reading[:, 2:].max(axis=0).tolist()
    return top, left, bottom, right
