"""A record for each function: which of its arguments are maps, boxes or rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from roicy import _arguments as settle
from roicy import quads

#: What a row of a function's result is.
Returns = Literal[
    "boxes", "maps", "slopes", "vectors", "masks", "levels", "gradients of levels", "slopes of levels"
]


class Operator(NamedTuple):
    """What a function of `roicy` takes and returns, as far as chunks matter.

    Attributes
    ----------
    name : str
        The function, in `roicy` and here.
    pools : str
        The function itself, or for a gradient the function that it is the gradient of.
    returns : Returns
        What a row of the result is: what is pooled from a box, an image of a gradient, the gradient of what
        belongs to a box, which is a sum over all channels, or what is made of a row of each argument in
        `rows`; the first three of the maps of a pyramid, too.
    maps : str
        The argument with the maps, or with their shape.
    boxes : str
        The argument with the boxes.
    numbers : sequence of str
        What the numbers of a box are.
    rows : tuple of str
        Other arguments with a row for each box, or for each row of the result.
    channels : {"apart", "bins", "together"}
        What may be computed apart: every channel; those of one channel of the result, which has one for each
        bin; none, as options differ from channel to channel.
    """

    name: str
    pools: str
    returns: Returns
    maps: str = "features"
    boxes: str = "rois"
    numbers: Sequence[str] = settle.CORNERS
    rows: tuple[str, ...] = ()
    channels: Literal["apart", "bins", "together"] = "apart"


def _pooling(name: str, **more: Any) -> Operator:
    return Operator(name, name, "boxes", **more)


def _rowwise(name: str, returns: Literal["vectors", "masks"], rows: tuple[str, ...]) -> Operator:
    return Operator(name, name, returns, maps="", boxes="", rows=rows)


def _pyramid(name: str, **more: Any) -> Operator:
    return Operator(name, name, "levels", **more)


def _gradient(operator: Operator, *also: str) -> Operator:
    # that of the maps
    of_levels = operator.returns == "levels"
    return operator._replace(
        name=f"{operator.name}_backward",
        returns="gradients of levels" if of_levels else "maps",
        maps="input_shapes" if of_levels else "input_shape",
        rows=("grad_output", *also, *operator.rows),
    )


def _slopes(operator: Operator, of: str, *also: str) -> Operator:
    return operator._replace(
        name=f"{operator.name}_backward_{of}",
        returns="slopes of levels" if operator.returns == "levels" else "slopes",
        rows=("grad_output", *also, *operator.rows),
    )


_ALIGN = _pooling("roi_align")
_ROTATED = _pooling("roi_align_rotated", numbers=settle.ROTATED)
_POOL = _pooling("roi_pool")
_PRECISE = _pooling("prroi_pool")
_PS_ALIGN = _pooling("ps_roi_align", channels="bins")
_PS_POOL = _pooling("ps_roi_pool", channels="bins")
_DEFORM = _pooling("deform_roi_pool", rows=("offsets", "mask"))
_CROP = _pooling("crop_and_resize", maps="images", boxes="boxes", channels="together")
_QUADS = _pooling("crop_quads", maps="images", boxes="corners", numbers=quads.NUMBERS, channels="together")
_LEVELS = _pyramid("multi_scale_roi_align")
_ROTATED_LEVELS = _pyramid("multi_scale_roi_align_rotated", numbers=settle.ROTATED)
_POOL_LEVELS = _pyramid("multi_scale_roi_pool")

OPERATORS = {
    operator.name: operator
    for operator in (
        _ALIGN,
        _gradient(_ALIGN, "argmax"),
        _slopes(_ALIGN, "rois", "argmax"),
        _ROTATED,
        _gradient(_ROTATED),
        _slopes(_ROTATED, "rois"),
        _POOL,
        _gradient(_POOL, "argmax"),
        _PRECISE,
        _gradient(_PRECISE),
        _slopes(_PRECISE, "rois"),
        _PS_ALIGN,
        _gradient(_PS_ALIGN),
        _slopes(_PS_ALIGN, "rois"),
        _PS_POOL,
        _gradient(_PS_POOL),
        _DEFORM,
        _gradient(_DEFORM),
        _slopes(_DEFORM, "offsets"),
        _slopes(_DEFORM, "mask"),
        _CROP,
        _gradient(_CROP),
        _slopes(_CROP, "boxes"),
        _QUADS,
        _LEVELS,
        _gradient(_LEVELS),
        _slopes(_LEVELS, "rois"),
        _ROTATED_LEVELS,
        _gradient(_ROTATED_LEVELS),
        _slopes(_ROTATED_LEVELS, "rois"),
        _POOL_LEVELS,
        _gradient(_POOL_LEVELS, "argmax"),
        _rowwise("rmac", "vectors", ("features",)),
        _rowwise("rmac_backward", "vectors", ("grad_output", "features")),
        _rowwise("paste_masks", "masks", ("masks", "boxes")),
    )
}
