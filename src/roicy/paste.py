"""Masks of boxes laid back over the images that they are of."""

from __future__ import annotations

from typing import Any, Literal, overload

import numpy as np

from roicy import _arguments as settle
from roicy import _doubts
from roicy._backend import adopt
from roicy._types import (
    AnyArray,
    Array,
    BoxArray,
    DType,
    Integer,
    Invalid,
    Ndarray,
    PastedAs,
    PasteRule,
    Pasting,
    Real,
    Regions,
)

_BOOL: DType = np.dtype(np.bool_)
_FLOAT32: DType = np.dtype(np.float32)
_UINT8: DType = np.dtype(np.uint8)


@overload
def paste_masks(
    masks: Array,
    boxes: BoxArray,
    image_size: tuple[Integer, Integer],
    *,
    threshold: Real | None = 0.5,
    rule: PasteRule = "detectron2",
    to: Literal["masks"] = "masks",
    invalid: Invalid = "raise",
    out: AnyArray | None = None,
) -> Array: ...


@overload
def paste_masks(
    masks: Array,
    boxes: BoxArray,
    image_size: tuple[Integer, Integer],
    *,
    threshold: Real | None = 0.5,
    rule: PasteRule = "detectron2",
    to: Literal["windows"],
    invalid: Invalid = "raise",
    out: None = None,
) -> list[tuple[int, int, Array]]: ...


@overload
def paste_masks(
    masks: AnyArray,
    boxes: BoxArray,
    image_size: tuple[Integer, Integer],
    *,
    threshold: Real | None = 0.5,
    rule: PasteRule = "detectron2",
    to: Literal["rle"],
    invalid: Invalid = "raise",
    out: None = None,
) -> list[dict[str, list[int]]]: ...


def paste_masks(
    masks: Any,
    boxes: BoxArray,
    image_size: tuple[Integer, Integer],
    *,
    threshold: Real | None = 0.5,
    rule: PasteRule = "detectron2",
    to: PastedAs = "masks",
    invalid: Invalid = "raise",
    out: Any = None,
) -> Any:
    """Lay the masks of boxes, each stretched over its box, over an image.

    A mask head predicts 28 x 28 values, say, for each box. They become masks of the image: as whole images,
    as the parts of it that the masks reach, or as run lengths. The latter two never hold whole images.

    Parameters
    ----------
    masks : ndarray, shape (K, M, N) or (K, 1, M, N)
        A mask for each box: bool, uint8, float16, bfloat16, float32 or float64. They are interpolated in
        float32, those of float64 in float64.
    boxes : ndarray, shape (K, 4), or list of rows
        Rows [x1, y1, x2, y2] in pixels of the image.
    image_size : (int, int)
        Rows and columns of the image, H and W.
    threshold : float or None, optional
        The value, in units of `masks` and above 0, from which on a pixel is part of the mask. None for the
        values themselves.
    rule : {"detectron2", "torchvision"}, optional
        Whose numbers these are: see Notes.
    to : {"masks", "windows", "rle"}, optional
        What is returned.
    invalid : {"raise", "nan"}, optional
        What a box with a NaN or an infinity leads to: ValueError, with nothing written, or NaN in the whole
        image. A mask of bool has no NaN and is then empty.
    out : ndarray, shape (K, H, W), optional
        Where whole images go: bool, or float32 without a threshold. May be strided.

    Returns
    -------
    ndarray, shape (K, H, W), bool or float32
        With ``to="masks"``, False or 0 where a mask does not reach. Without `out` these are zeros that the
        system clears when they are first touched: what lies around the masks costs next to nothing.
    list of (int, int, ndarray)
        With ``to="windows"``, the first row and column of the part of the image that each mask reaches, and
        what is there; all of them views of one array. Empty for a mask beside the image.
    list of dict
        With ``to="rle"``, COCO's uncompressed run lengths, ``{"size": [H, W], "counts": [...]}``: how many
        zeros, ones, zeros, ... follow each other down the columns. `pycocotools.mask.frPyObjects` compresses
        them. They are made on the host: masks on a GPU, which are small, are copied there.

    Raises
    ------
    TypeError
        If an argument is not an array, a number or a word as listed.
    ValueError
        If an array has the wrong shape, a box is invalid, the threshold is not above 0, or `out` is given for
        windows or run lengths.

    Notes
    -----
    =========== ==================================================================================
    detectron2  ``paste_masks_in_image`` on the CPU, and mmdet's. A pixel's centre is looked up in the mask
                between its four neighbours, around it are zeros; pixels of the box and of one pixel around
                it. The values of the whole-image form on a GPU differ in what fades out beyond.
    torchvision ``paste_masks_in_image``: a mask with a frame of zeros, resized to the box, which is enlarged
                as much and cut to whole pixels. It returns values, as ``threshold=None`` does.
    =========== ==================================================================================

    Values are those of these systems but for rounding, and so is each decision where a value is not that
    close to the threshold. In which form they are returned changes no decision.

    A box without area is empty, but by torchvision's rule, which has at least one pixel. A reversed one is
    empty; by detectron2's rule one of less than two pixels mirrors what it has of its mask.

    Examples
    --------
    >>> import numpy as np
    >>> import roicy
    >>> masks = np.array([[[0, 1], [1, 1]]], np.float32)
    >>> boxes = np.array([[1, 1, 5, 5]], np.float32)
    >>> roicy.paste_masks(masks, boxes, (6, 6))[0].astype(int)
    array([[0, 0, 0, 0, 0, 0],
           [0, 0, 0, 1, 1, 0],
           [0, 0, 0, 1, 1, 0],
           [0, 1, 1, 1, 1, 0],
           [0, 1, 1, 1, 1, 0],
           [0, 0, 0, 0, 0, 0]])
    >>> roicy.paste_masks(masks, boxes, (6, 6), to="rle")
    [{'size': [6, 6], 'counts': [9, 2, 4, 2, 2, 4, 2, 4, 7]}]
    """
    kernels, masks, boxes, out = adopt(masks=masks, boxes=boxes, out=out)
    given: Ndarray = settle.masks(masks)
    count = len(given)
    corners = settle.mask_boxes(boxes, count, kernels.xp)
    form = settle.pasted_as(to)
    rows, columns = settle.image_size(image_size)
    pasting = Pasting((rows, columns), settle.paste_rule(rule), settle.threshold(threshold, form))
    raising = settle.invalid(invalid) == "raise"
    if form != "masks" and out is not None:
        raise ValueError(f"out must be None for to={form!r}: whole images alone have a size that is known")
    dtype = _FLOAT32 if pasting.threshold is None else _BOOL
    images = None
    if out is not None:  # in no memory of the caller's, where it has boxes
        inputs = (masks,) if isinstance(boxes, tuple) else (masks, boxes)
        images = settle.out(out, (count, rows, columns), dtype, *inputs)
    if raising:
        finite = kernels.xp.isfinite(corners).all(axis=1)
        if not finite.all():
            raise settle.invalid_box(corners, int(settle.on_host(finite).argmin()))
    of_one = kernels.xp.zeros(count, np.int64)
    _doubts.warn(kernels.doubts(Regions(corners, of_one, (1, 1, rows, columns), (1, 1)), 1.0), "boxes")
    if form == "rle":
        lengths = kernels.mask_runs(given, corners, pasting)
        return [{"size": [rows, columns], "counts": counts} for counts in lengths]
    if form == "windows":
        return _windows(kernels, given, corners, pasting, dtype)
    if images is None:
        images = settle.new("out", (count, rows, columns), dtype, kernels.xp, blank=True)
        kernels.mask_paste(given, corners, pasting, _as_bytes(images), blank=True)
        return images
    target = settle.written_to(images, False)
    kernels.mask_paste(given, corners, pasting, _as_bytes(target))
    if target is not images:
        images[...] = target
    return images


def _windows(kernels: Any, masks: Ndarray, boxes: Ndarray, pasting: Pasting, dtype: DType) -> Any:
    # one after the other in one array
    edges = kernels.mask_windows(boxes, masks.shape[1:], pasting).astype(np.int64)
    heights, widths = (edges[:, 2:] - edges[:, :2]).T
    ends = np.cumsum(heights * widths)
    starts = np.concatenate([[0], ends]).astype(np.int64)
    items = settle.new("out", (int(starts[-1]),), dtype, kernels.xp)
    kernels.mask_paste(masks, boxes, pasting, _as_bytes(items), starts[:-1])
    parts = zip(edges.tolist(), starts.tolist(), ends.tolist(), strict=False)
    return [
        (top, left, items[start:end].reshape(bottom - top, right - left))
        for (top, left, bottom, right), start, end in parts
    ]


def _as_bytes(array: Ndarray) -> Ndarray:
    return array.view(_UINT8) if array.dtype == _BOOL else array
