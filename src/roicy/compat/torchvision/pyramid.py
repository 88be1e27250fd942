"""Boxes on the maps of a feature pyramid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

import roicy
from roicy import _arguments as settle
from roicy._backend import adopt
from roicy._types import (
    Array,
    BoxesOfImages,
    InputShape,
    Integer,
    Ndarray,
    OutputSize,
    Real,
)
from roicy.compat._words import Words
from roicy.compat.torchvision.inputs import boxes_of

_WORDS = Words(features="x", rois="boxes")


class MultiScaleRoIAlign:
    """`roi_align` of each box on the map of its level, as torchvision's layer.

    Call it with maps, boxes and the sizes of the images; `backward` is the gradient. The scales of the maps
    are found at the first call and kept.

    Parameters
    ----------
    featmap_names : list of str
        Names of the maps to pool from.
    output_size : int or (int, int)
        Rows and columns of bins (PH, PW).
    sampling_ratio : int
        Samples per bin along each axis; 0 or less for adaptive.
    canonical_scale : float, optional
        Side of a box of `canonical_level`, in pixels of the image.
    canonical_level : int, optional
        Its level: 4 for a map with a sixteenth of the image's rows.

    Attributes
    ----------
    scales : list of float or None
        Pixels of each map per pixel of the image, once they are known.

    See Also
    --------
    roicy.multi_scale_roi_align : The same, with scales that are given; also in a plan.
    roicy.fpn_levels : The levels.

    Notes
    -----
    Kept of torchvision: maps are taken in the order of `x`; a scale is the power of two that is closest to
    the rows of a map over those of the highest image; with a single map there are no levels; a level that no
    map has, as that of a box reversed along one axis, gives zeros; pixels are centred at ``i``, as in
    `roi_align`.

    Not kept: maps of several dtypes are an error here.

    Examples
    --------
    >>> import numpy as np
    >>> from roicy.compat import torchvision
    >>> x = {"0": np.ones((1, 5, 64, 64), np.float32), "1": np.ones((1, 5, 32, 32), np.float32)}
    >>> boxes = [np.array([[10, 10, 50, 60], [0, 0, 250, 250]], np.float32)]
    >>> pool = torchvision.MultiScaleRoIAlign(["0", "1"], 3, 2)
    >>> pool(x, boxes, [(256, 256)]).shape
    (2, 5, 3, 3)
    >>> pool.scales
    [0.25, 0.125]
    """

    scales: list[float] | None

    def __init__(
        self,
        featmap_names: Sequence[str],
        output_size: OutputSize,
        sampling_ratio: Integer,
        *,
        canonical_scale: Real = 224,
        canonical_level: Integer = 4,
    ) -> None:
        self.featmap_names = featmap_names
        self.output_size = settle.output_size(output_size)
        self.sampling_ratio = sampling_ratio
        self.canonical_scale = canonical_scale
        self.canonical_level = canonical_level
        self.scales = None

    def __call__(
        self,
        x: Mapping[str, Array],
        boxes: BoxesOfImages,
        image_shapes: Sequence[tuple[int, int]],
    ) -> Array:
        """Pool the boxes.

        Parameters
        ----------
        x : dict of str to ndarray, shape (N, C, H, W)
            Maps by their names, the finest first.
        boxes : list of ndarray, shape (L, 4)
            Rows ``[x1, y1, x2, y2]``, in pixels of the image; an array for each image.
        image_shapes : list of (int, int)
            Rows and columns of each image; looked at in the first call only.

        Returns
        -------
        ndarray, shape (R, C, PH, PW)
            Pooled features, in the order of the boxes.
        """
        with _WORDS:
            named = self._chosen(x)
            kernels, rois, *maps = _adopted(boxes, {f"x[{name!r}]": value for name, value in named.items()})
            shapes = [settle.features_shape(features, "NCHW") for features in maps]
            scales = self.scales = self.scales or _scales(shapes, image_shapes)
            given = boxes_of(kernels.xp, rois, shapes[0][0])
            options = given | self._options(given["rois"], scales)
            pooled: Array = roicy.multi_scale_roi_align(maps, output_size=self.output_size, **options)
            return pooled

    def backward(
        self, grad_output: Array, boxes: BoxesOfImages, input_shapes: Mapping[str, InputShape]
    ) -> dict[str, Array]:
        """Return the gradients with respect to the maps, of a call that was made before.

        Parameters
        ----------
        grad_output : ndarray, shape (R, C, PH, PW)
            Gradient with respect to what the call returned.
        boxes : list of ndarray, shape (L, 4)
            The boxes of the call.
        input_shapes : dict of str to tuple of 4 ints
            Shapes of the maps by their names.

        Returns
        -------
        dict of str to ndarray
            The gradient of each map that was pooled from, of the dtype of `grad_output`.
        """
        with _WORDS:
            named = self._chosen(input_shapes)
            kernels, rois, grad_output = _adopted(boxes, {"grad_output": grad_output})
            if self.scales is None:
                raise ValueError("scales must be known for a gradient: the first call finds them")
            scales = self.scales
            shapes = [settle.input_shape(shape, "NCHW") for shape in named.values()]
            given = boxes_of(kernels.xp, rois, shapes[0][0])
            options = given | self._options(given["rois"], scales)
            grads = roicy.multi_scale_roi_align_backward(grad_output, input_shapes=shapes, **options)
            return dict(zip(named, grads, strict=True))

    def _chosen(self, x: Mapping[str, Any]) -> dict[str, Any]:
        named = {name: value for name, value in x.items() if name in self.featmap_names}
        if not named:
            raise ValueError(f"x must have at least one of {list(self.featmap_names)}, got {list(x)}")
        if self.scales is not None and len(named) != len(self.scales):
            raise ValueError(
                f"x must have {len(self.scales)} of the maps, as in the first call, got {len(named)}"
            )
        return named

    def _options(self, boxes: Ndarray, scales: list[float]) -> dict[str, Any]:
        options = {"spatial_scales": scales, "sampling_ratio": self.sampling_ratio, "aligned": False}
        if len(scales) == 1:
            return options
        finest, coarsest = (int(-np.log2(scale)) for scale in (scales[0], scales[-1]))
        count = coarsest - finest + 1
        levels: Ndarray = roicy.fpn_levels(
            boxes,
            max(count, 1),
            canonical_size=self.canonical_scale,
            canonical_level=self.canonical_level,
            finest_level=finest,
        )
        levels[levels >= min(count, len(scales))] = -1
        return {**options, "levels": levels}

    def __repr__(self) -> str:
        return (
            f"MultiScaleRoIAlign(featmap_names={self.featmap_names}, output_size={self.output_size}, "
            f"sampling_ratio={self.sampling_ratio})"
        )


def _adopted(boxes: Any, named: Mapping[str, Any]) -> tuple[Any, ...]:
    # the kernels of a call, its boxes, and its other arrays
    if not isinstance(boxes, (list, tuple)):
        raise TypeError(f"boxes must be a list of arrays, got {settle.shown(boxes)}")
    return adopt(rois=boxes, **named)


def _scales(shapes: Sequence[tuple[int, ...]], image_shapes: Sequence[tuple[int, int]]) -> list[float]:
    # powers of two, by the rows alone
    if not image_shapes:
        raise ValueError("image_shapes must have at least one image")
    highest = max(settle.integer("image_shapes", rows) for rows, _ in image_shapes)
    ratios = np.array([shape[2] / highest for shape in shapes], np.float32)
    powers = np.round(np.log2(ratios.astype(np.float64)).astype(np.float32))
    return [float(2.0**power) for power in powers]
