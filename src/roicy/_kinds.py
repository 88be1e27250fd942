"""Kinds of pooling: a record for each operator says how its tables are made and which kernels apply them.

An operator is a record here and its public functions, which hand both to `roicy.plan`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from roicy import _arguments as settle
from roicy._types import (
    CONSTANT,
    CORNERS,
    EDGE,
    EXACT,
    HALF_PIXEL,
    OPEN,
    PRECISE,
    REJECT,
    ROUNDED,
    SCALED,
    SHORT,
    UNIT_CORNERS,
    UNIT_SLOPES,
    UNIT_STEP,
    WHOLE,
    Accumulate,
    AngleUnit,
    ArgmaxError,
    Border,
    DType,
    Interpolation,
    Invalid,
    Layout,
    Moving,
    Ndarray,
    Purpose,
    Regions,
    Rounding,
    Sampling,
    Shape,
    Size,
    Turn,
)
from roicy.cpu.runtime.calls import Known

if TYPE_CHECKING:
    from roicy._protocols import Backend, Table


@dataclass(frozen=True, slots=True, eq=False)
class Kind:
    """What makes an operator.

    Attributes
    ----------
    name : str
        Of the record, in this module.
    operator : str
        Of the public function, for errors.
    numbers : sequence of str
        What a row of boxes holds after the batch index.
    options : sequence of str
        Names of the operator's own options.
    settle : callable
        ``settle(options, dtype of the boxes, output_size)`` returns these as the table takes them, in their
        order before what else it may want, or raises what is wrong.
    table : callable
        ``table(kernels, regions, options, accumulate, purpose)`` makes the table for sums in a type, for the
        purpose "forward", "backward" or that of another gradient.
    forward, backward, backward_rois : callable
        Apply a table to arrays as the kernels take them. For a gradient that does not exist: a sentence that
        says so.
    argmax : {"", "sample", "pixel"}
        What an argmax counts; without one, `argmax` is None in all calls.
    argmax_error : callable
        ``argmax_error(kernels, regions, table, argmax)`` finds a number that is out of range: None, or
        ``((k, c, p, q), value, limit)``.
    position_sensitive : bool
        Whether a bin takes from channels of its own: (p, q) of channel c from channel (c PH + p) PW + q.
    one_table : bool
        Whether the table of the forward pass serves every purpose.
    words : str
        Which of the operator's kinds this is, for the representation of plans.
    no_argmax : str
        What has no argmax, for errors.
    argmax_from : str
        What needs an argmax and where it comes from, for errors.
    """

    name: str
    operator: str
    numbers: Sequence[str]
    options: Sequence[str]
    settle: Callable[[Sequence[Any], DType, Size], tuple[Any, ...]]
    table: Callable[[Backend, Regions, Any, Accumulate, Purpose], Table]
    forward: Callable[[Backend, Table, Ndarray, Ndarray, Ndarray], None]
    backward: Callable[[Backend, Table, Ndarray, Ndarray, Ndarray], None] | str
    backward_rois: Callable[[Backend, Table, Ndarray, Ndarray, Ndarray, Ndarray], None] | str
    argmax: Literal["", "sample", "pixel"] = ""
    argmax_error: Callable[[Backend, Regions, Table, Ndarray], ArgmaxError | None] | None = None
    position_sensitive: bool = False
    one_table: bool = False
    words: str = ""
    no_argmax: str = ""
    argmax_from: str = ""

    def __reduce__(self) -> str:
        """Return the name: what is copied or stored is the kind itself."""
        return self.name


#: What `settled_kind` returns.
Settled: TypeAlias = tuple[Layout, Shape, Size, Shape, tuple[int, int, int], Invalid, tuple[Any, ...]]


_known = Known(256, Kind)


def settled_kind(
    kind: Kind,
    layout: Layout,
    input_shape: Shape,
    output_size: Size,
    boxes: DType,
    invalid: Invalid,
    *options: Any,
) -> Settled:
    """Return what is the same for all boxes of a dtype, or raise what is wrong.

    Returns
    -------
    tuple
        The layout, the shape of the maps in its order, the rows and columns of bins, as they are given; the
        shape (N, C, H, W) of the maps, that of a box's output, `invalid`, and the options as the table takes
        them.
    """
    numbers = kind, layout, input_shape, output_size, boxes, invalid, *options
    known: Settled | None = _known.get(numbers)
    if known is not None:
        return known
    if layout == "NCHW":
        n, c, h, w = input_shape
    else:
        n, h, w, c = input_shape
    rows, columns = output_size
    pooled = settle.channels_of_bins(input_shape, layout, output_size) if kind.position_sensitive else c
    of_box = (pooled, rows, columns) if layout == "NCHW" else (rows, columns, pooled)
    settled = settle.invalid(invalid), kind.settle(options, boxes, output_size)
    known = layout, input_shape, output_size, (n, c, h, w), of_box, *settled
    _known.put(numbers, known)
    return known


# ---------------------------------------------------------------- RoIAlign


def _sampling(options: Sequence[Any], boxes: DType, _size: Size) -> Sampling:
    spatial_scale, sampling_ratio, aligned = options
    return Sampling(
        settle.spatial_scale(spatial_scale, boxes),
        settle.sampling_ratio(sampling_ratio),
        settle.flag("aligned", aligned),
    )


AVERAGE = Kind(
    name="AVERAGE",
    operator="roi_align",
    numbers=settle.CORNERS,
    options=("spatial_scale", "sampling_ratio", "aligned"),
    settle=_sampling,
    table=lambda kernels, regions, options, accumulate, purpose: kernels.axis_table(
        regions, options, accumulate, purpose
    ),
    forward=lambda kernels, table, features, out, _: kernels.axis_forward(table, features, out),
    backward=lambda kernels, table, grad_output, _, grad_features: kernels.axis_backward(
        table, grad_output, grad_features
    ),
    backward_rois=lambda kernels, table, grad_output, _, features, grad_boxes: kernels.axis_backward_rois(
        table, grad_output, features, grad_boxes
    ),
    no_argmax="mode='avg', which chooses no sample",
)

PRECISE_AVERAGE = replace(
    AVERAGE,
    name="PRECISE_AVERAGE",
    operator="prroi_pool",
    options=("spatial_scale",),
    settle=lambda options, boxes, _: (settle.spatial_scale(options[0], boxes),),
    table=lambda kernels, regions, options, accumulate, purpose: kernels.axis_table(
        regions, Sampling(options[0], 0, False, PRECISE), accumulate, purpose
    ),
    no_argmax="an average, which chooses no sample",
)

POSITION_SENSITIVE_AVERAGE = replace(
    AVERAGE,
    name="POSITION_SENSITIVE_AVERAGE",
    operator="ps_roi_align",
    position_sensitive=True,
    no_argmax=PRECISE_AVERAGE.no_argmax,
)

LARGEST_SAMPLE = Kind(
    name="LARGEST_SAMPLE",
    operator="roi_align",
    numbers=settle.CORNERS,
    options=("spatial_scale", "sampling_ratio", "aligned"),
    settle=_sampling,
    table=lambda kernels, regions, options, accumulate, _: kernels.grid_table(regions, options, accumulate),
    forward=lambda kernels, table, features, out, argmax: kernels.grid_forward(
        table, features, out, argmax, "bilinear"
    ),
    backward=lambda kernels, table, grad_output, argmax, grad_features: kernels.grid_backward(
        table, grad_output, argmax, grad_features
    ),
    backward_rois=lambda kernels, table, grad_output, argmax, features, grad_boxes: (
        kernels.grid_backward_rois(table, grad_output, argmax, features, grad_boxes)
    ),
    argmax="sample",
    argmax_error=lambda kernels, _, table, argmax: kernels.grid_argmax_error(table, argmax),
    one_table=True,
    words="mode='max', max_rule='bilinear', ",
    argmax_from="mode='max'",
)

LARGEST_PRODUCT = replace(
    LARGEST_SAMPLE,
    name="LARGEST_PRODUCT",
    forward=lambda kernels, table, features, out, argmax: kernels.grid_forward(
        table, features, out, argmax, "onnx"
    ),
    backward="max_rule must be 'bilinear' for a gradient, got 'onnx'",
    backward_rois="max_rule must be 'bilinear' for a gradient, got 'onnx'",
    argmax="",
    argmax_error=None,
    words="mode='max', max_rule='onnx', ",
    no_argmax="max_rule='onnx'",
)


_OF_ROI_ALIGN: dict[tuple[object, object], Kind] = {
    ("avg", "bilinear"): AVERAGE,
    ("avg", "onnx"): AVERAGE,
    ("max", "bilinear"): LARGEST_SAMPLE,
    ("max", "onnx"): LARGEST_PRODUCT,
}


def of_roi_align(mode: object, max_rule: object = "bilinear") -> Kind:
    """Return the kind that two options of `roicy.roi_align` choose."""
    try:
        kind = _OF_ROI_ALIGN.get((mode, max_rule))
    except Exception:  # one cannot be hashed, whatever its hash raises
        kind = None
    return kind or _OF_ROI_ALIGN[settle.mode(mode), settle.max_rule(max_rule)]


# ---------------------------------------------------------------- crops

_PLACES = {"half_pixel": HALF_PIXEL, "corners": CORNERS, "unit_corners": UNIT_CORNERS}
_BORDERS = {"edge": EDGE, "constant": CONSTANT, "reject": REJECT}


def _crop_sampling(options: Sequence[Any], _boxes: DType, _size: Size) -> tuple[Any, ...]:
    return settle.sampling(options[0]), *_samples_of_crops(options)


def _samples_of_crops(options: Sequence[Any]) -> tuple[Interpolation, int, Border]:
    _, interpolation, sampling_ratio, border = options
    interpolation, ratio = settle.interpolation(interpolation), settle.sampling_ratio(sampling_ratio)
    if interpolation == "nearest" and ratio != 1:
        raise ValueError(f"sampling_ratio must be 1 for interpolation='nearest', got {sampling_ratio}")
    return interpolation, ratio, settle.border(border)


def _crop_table(
    kernels: Backend, regions: Regions, options: tuple[Any, ...], accumulate: Accumulate, purpose: Purpose
) -> Table:
    return kernels.axis_table(regions, sampling_of_crops(options, purpose), accumulate, purpose)


def sampling_of_crops(options: tuple[Any, ...], purpose: Purpose) -> Sampling:
    """Return the sampling of a table for checked options."""
    places, interpolation, ratio, border = options
    rule = _PLACES[places]
    if rule == UNIT_CORNERS and purpose == "backward_rois":
        rule = UNIT_SLOPES
    nearest, aligned = interpolation == "nearest", rule == HALF_PIXEL
    return Sampling(1.0, ratio, aligned, rule, _BORDERS[border], nearest)


CROP = replace(
    AVERAGE,
    name="CROP",
    operator="crop_and_resize",
    options=("sampling", "interpolation", "sampling_ratio", "border"),
    settle=_crop_sampling,
    table=_crop_table,
    no_argmax=PRECISE_AVERAGE.no_argmax,
)

#: TensorFlow's, of boxes in which 1 is the centre of the last pixel.
UNIT_CROP = replace(
    CROP,
    name="UNIT_CROP",
    settle=lambda options, boxes, size: ("unit_corners", *_samples_of_crops(options)),
)


# ---------------------------------------------------------------- RoIAlignRotated


def _turned_sampling(
    options: Sequence[Any], boxes: DType, size: Size
) -> tuple[float, int, bool, AngleUnit, bool]:
    spatial_scale, sampling_ratio, aligned, angle_unit, clockwise = options
    settle.few_bins("output_size", size)
    return (
        settle.spatial_scale(spatial_scale, boxes),
        settle.rotated_sampling_ratio(sampling_ratio),
        settle.flag("aligned", aligned),
        settle.angle_unit(angle_unit),
        settle.flag("clockwise", clockwise),
    )


ROTATED = Kind(
    name="ROTATED",
    operator="roi_align_rotated",
    numbers=settle.ROTATED,
    options=("spatial_scale", "sampling_ratio", "aligned", "angle_unit", "clockwise"),
    settle=_turned_sampling,
    table=lambda kernels, regions, options, accumulate, purpose: kernels.sample_table(
        regions, Sampling(*options[:3]), Turn(options[3] == "degrees", options[4]), accumulate, purpose
    ),
    forward=lambda kernels, table, features, out, _: kernels.sample_forward(table, features, out),
    backward=lambda kernels, table, grad_output, _, grad_features: kernels.sample_backward(
        table, grad_output, grad_features
    ),
    backward_rois=lambda kernels, table, grad_output, _, features, grad_boxes: kernels.sample_backward_rois(
        table, grad_output, features, grad_boxes
    ),
    no_argmax="rotated boxes, of which no sample is chosen",
)


# ---------------------------------------------------------------- deformable RoI pooling


def _moved_sampling(options: Sequence[Any], boxes: DType, size: Size) -> tuple[float, int, float]:
    spatial_scale, sampling_ratio, gamma = options
    settle.few_bins("output_size", size)
    return (
        settle.spatial_scale(spatial_scale, boxes),
        settle.rotated_sampling_ratio(sampling_ratio, "bins that are moved"),
        settle.gamma(gamma, boxes),
    )


DEFORMED = replace(
    ROTATED,
    name="DEFORMED",
    operator="deform_roi_pool",
    numbers=settle.CORNERS,
    options=("spatial_scale", "sampling_ratio", "gamma"),
    settle=_moved_sampling,
    table=lambda kernels, regions, options, accumulate, purpose: kernels.sample_table(
        regions, Sampling(options[0], options[1], True), Moving(options[2]), accumulate, purpose
    ),
    backward_rois="deform_roi_pool has no gradient with respect to boxes: what is learned are its offsets",
    no_argmax=PRECISE_AVERAGE.no_argmax,
)


# ---------------------------------------------------------------- RoIPool


def _ranges(options: Sequence[Any], boxes: DType, _size: Size) -> tuple[float, Rounding]:
    spatial_scale, rounding = options
    return settle.spatial_scale(spatial_scale, boxes), settle.rounding(rounding)


#: The rule of tables for each word that `roicy.roi_pool` has.
_RULES = {"round": ROUNDED, "none": EXACT, "whole": WHOLE}


def _range_table(
    kernels: Backend, regions: Regions, options: tuple[Any, ...], accumulate: Accumulate, purpose: Purpose
) -> Table:
    if purpose == "forward":
        return kernels.range_table(regions, options[0], _RULES[options[1]], accumulate)
    return kernels.image_table(regions)  # where the maxima were is all that the gradient needs


def _range_argmax_error(
    kernels: Backend, regions: Regions, table: Table, argmax: Ndarray
) -> ArgmaxError | None:
    limit = regions.map_size[0] * regions.map_size[1]
    found = kernels.range_argmax_error(table, argmax, limit)
    return None if found is None else (*found, limit)


LARGEST_PIXEL = Kind(
    name="LARGEST_PIXEL",
    operator="roi_pool",
    numbers=settle.CORNERS,
    options=("spatial_scale", "rounding"),
    settle=_ranges,
    table=_range_table,
    forward=lambda kernels, table, features, out, argmax: kernels.range_forward(table, features, out, argmax),
    backward=lambda kernels, table, grad_output, argmax, grad_features: kernels.range_backward(
        table, grad_output, argmax, grad_features
    ),
    backward_rois="roi_pool has no gradient with respect to boxes: it rounds them to pixels",
    argmax="pixel",
    argmax_error=_range_argmax_error,
    argmax_from="mode='max'",
)

PIXEL_AVERAGE = replace(
    AVERAGE,
    name="PIXEL_AVERAGE",
    operator="roi_pool",
    options=LARGEST_PIXEL.options,
    settle=_ranges,
    table=lambda kernels, regions, options, accumulate, purpose: kernels.axis_table(
        regions, Sampling(options[0], 0, False, _RULES[options[1]]), accumulate, purpose
    ),
    backward_rois=LARGEST_PIXEL.backward_rois,
    words="mode='avg', ",
    no_argmax="mode='avg', which chooses no pixel",
)


POSITION_SENSITIVE_PIXELS = replace(
    PIXEL_AVERAGE,
    name="POSITION_SENSITIVE_PIXELS",
    operator="ps_roi_pool",
    options=PRECISE_AVERAGE.options,
    settle=PRECISE_AVERAGE.settle,
    table=lambda kernels, regions, options, accumulate, purpose: kernels.axis_table(
        regions, Sampling(options[0], 0, False, SCALED), accumulate, purpose
    ),
    backward_rois="ps_roi_pool has no gradient with respect to boxes: it rounds them to pixels",
    position_sensitive=True,
    words="",
    no_argmax=PRECISE_AVERAGE.no_argmax,
)

#: torchvision's, whose forward pass alone leaves out the last row and column of the map.
POSITION_SENSITIVE_CLIPPED = replace(
    POSITION_SENSITIVE_PIXELS,
    name="POSITION_SENSITIVE_CLIPPED",
    table=lambda kernels, regions, options, accumulate, purpose: kernels.axis_table(
        regions,
        Sampling(options[0], 0, False, SHORT if purpose == "forward" else OPEN),
        accumulate,
        purpose,
    ),
)


def of_roi_pool(mode: object) -> Kind:
    """Return the kind that an option of `roicy.roi_pool` chooses."""
    return LARGEST_PIXEL if settle.mode(mode) == "max" else PIXEL_AVERAGE


# ---------------------------------------------------------------- MXNet's maximum of samples


LARGEST_UNIT_STEP = replace(
    LARGEST_SAMPLE,
    name="LARGEST_UNIT_STEP",
    operator="MaxROIAlign",
    options=("spatial_scale",),
    settle=lambda options, boxes, _: (settle.spatial_scale(options[0], boxes),),
    table=lambda kernels, regions, options, accumulate, _: kernels.grid_table(
        regions, Sampling(options[0], 0, False, UNIT_STEP), accumulate
    ),
    backward_rois="MaxROIAlign has no gradient with respect to boxes",
    words="",
    argmax_from="",
)
