"""A record for each function: what its arguments are to a graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from roicy import _arguments as settle


class Operator(NamedTuple):
    """What a function of `roicy` takes and returns, as far as chunks matter.

    Attributes
    ----------
    name : str
        The function, in `roicy` and here.
    returns : {"boxes", "maps", "slopes", "vectors", "masks"}
        What a row of the result is: what is pooled from a box, an image of a gradient, the gradient of what
        belongs to a box, which is a sum over all channels, or what is made of a row of each argument in
        `rows`.
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
    returns: Literal["boxes", "maps", "slopes", "vectors", "masks"]
    maps: str = "features"
    boxes: str = "rois"
    numbers: Sequence[str] = settle.CORNERS
    rows: tuple[str, ...] = ()
    channels: Literal["apart", "bins", "together"] = "apart"


def _gradient(operator: Operator, *also: str) -> Operator:
    # that of the maps
    return operator._replace(
        name=f"{operator.name}_backward",
        returns="maps",
        maps="input_shape",
        rows=("grad_output", *also, *operator.rows),
    )


def _slopes(operator: Operator, of: str, *also: str) -> Operator:
    return operator._replace(
        name=f"{operator.name}_backward_{of}", returns="slopes", rows=("grad_output", *also, *operator.rows)
    )


_ALIGN = Operator("roi_align", "boxes")
_ROTATED = Operator("roi_align_rotated", "boxes", numbers=settle.ROTATED)
_POOL = Operator("roi_pool", "boxes")
_PRECISE = Operator("prroi_pool", "boxes")
_PS_ALIGN = Operator("ps_roi_align", "boxes", channels="bins")
_PS_POOL = Operator("ps_roi_pool", "boxes", channels="bins")
_DEFORM = Operator("deform_roi_pool", "boxes", rows=("offsets", "mask"))
_CROP = Operator("crop_and_resize", "boxes", maps="images", boxes="boxes", channels="together")

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
        Operator("rmac", "vectors", maps="", boxes="", rows=("features",)),
        Operator("rmac_backward", "vectors", maps="", boxes="", rows=("grad_output", "features")),
        Operator("paste_masks", "masks", maps="", boxes="", rows=("masks", "boxes")),
    )
}
