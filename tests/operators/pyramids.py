"""Maps of a pyramid with boxes and their levels, and what is called with them."""

from typing import NamedTuple

import battery
import numpy as np
from hypothesis import strategies as st
from strategies import BOX_DTYPES, CHANNELS, FEATURE_DTYPES, random_values, result_dtype

import roicy
from operators import those
from operators.average import AVERAGE
from operators.operator import Operator
from operators.roi_pool import MEAN, POOL
from operators.rotated import ROTATED

#: The operators that pool from pyramids, and those with a gradient of boxes.
of_all = those((AVERAGE, ROTATED, POOL, MEAN))
of_sloped = those((AVERAGE, ROTATED))
SCALES = (1 / 4, 1 / 8, 1 / 16, 1 / 32)


class Pyramid(NamedTuple):
    """Maps NCHW, boxes with their images in front, and the level of each."""

    operator: Operator
    maps: list
    rois: np.ndarray
    levels: np.ndarray
    layout: str
    bins: tuple

    @property
    def shapes(self):
        return [battery.to_layout(features, self.layout).shape for features in self.maps]

    @property
    def scales(self):
        return SCALES[: len(self.maps)]

    def out(self, dtype=None, rows=None):
        """An array for the result, or for some rows of it, of neighbours that are none."""
        dtype = dtype or result_dtype(self.maps[0].dtype)
        rows = len(self.rois) if rows is None else rows
        shape = battery.to_layout(np.empty((rows, self.maps[0].shape[1], *self.bins)), self.layout).shape
        return np.full((*shape[:-1], 2 * shape[-1]), 7, dtype)[..., ::2]

    def given(self):
        """The maps as a caller has them, the second one flipped and the third one in steps."""
        found = [np.ascontiguousarray(battery.to_layout(features, self.layout)) for features in self.maps]
        if len(found) > 1:
            found[1] = found[1][:, ::-1].copy()[:, ::-1]
        if len(found) > 2:
            found[2] = np.repeat(found[2], 2, axis=3)[..., ::2]
        return found

    def call(self, ending="", **arguments):
        function = getattr(roicy, f"multi_scale_{self.operator.function}{ending}")
        options = {"spatial_scales": self.scales, "levels": self.levels, "layout": self.layout}
        if self.operator is MEAN and ending == "_backward":
            options["argmax"] = None
        return function(rois=self.rois, **{**options, **self.options(), **arguments})

    def options(self):
        if self.operator in (POOL, MEAN):
            return {"rounding": "none", **self.operator.options}
        return {"sampling_ratio": 2, "aligned": False}

    def one(self, level, ending="", chosen=None, **arguments):
        """The same of the rows of a level, by the operator on one map."""
        chosen = self.levels == level if chosen is None else chosen
        name = self.operator.function + ending
        if self.operator is MEAN and ending == "_backward":
            arguments["argmax"] = None
        options = {"layout": self.layout, "spatial_scale": SCALES[level], **self.options()}
        return getattr(roicy, name)(rois=self.rois[chosen], **options, **arguments)

    def pooled(self, **options):
        """Values and argmax; None for operators without."""
        found = self.call(features=self.given(), output_size=self.bins, **options)
        return found if isinstance(found, tuple) else (found, None)

    def argmax_wanted(self):
        return {"return_argmax": True} if self.operator.has_argmax else {}


def pyramid(
    operator,
    seed=0,
    *,
    dtype="float32",
    box_dtype="float32",
    layout="NCHW",
    channels=5,
    images=2,
    count=12,
    levels=3,
    bins=(3, 2),
):
    rng = np.random.default_rng(seed)
    maps = [
        random_values(rng, (images, channels, 40 >> level, 28 >> level), np.dtype(dtype))
        for level in range(levels)
    ]
    corners = np.sort(rng.uniform(-10, 140, (count, 2, 2)), axis=1).reshape(count, 4)
    rois = operator.rois(rng, rng.integers(images, size=count), corners, box_dtype)
    return Pyramid(operator, maps, rois, rng.integers(-1, levels, count).astype(np.int64), layout, bins)


@st.composite
def pyramids(draw, operator):
    return pyramid(
        operator,
        draw(st.integers(0, 2**32)),
        dtype=draw(st.sampled_from(FEATURE_DTYPES)),
        box_dtype=draw(st.sampled_from(BOX_DTYPES)),
        layout=draw(st.sampled_from(("NCHW", "NHWC"))),
        channels=draw(st.sampled_from(CHANNELS)),
        images=draw(st.integers(1, 3)),
        count=draw(st.integers(0, 30)),
        levels=draw(st.integers(1, 4)),
        bins=draw(st.sampled_from([(1, 1), (7, 7), (3, 5)])),
    )
