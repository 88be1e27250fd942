"""The workloads that roicy is measured on: what real detectors, croppers and image searches ask for.

``roicy bench`` times this installation on them; ``benchmarks/`` in the repository adds the peers.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

import roicy

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Workload:
    """A call of an operator on random data: spatial scale 1, aligned, float32 unless said otherwise."""

    name: str
    about: str
    operator: str  # the function of roicy
    input_shape: tuple[int, int, int, int]  # (N, C, H, W); of a pyramid, that of the first map
    rois: int = 0  # none where the operator makes its own
    output_size: int | tuple[int, int] = 1
    sampling_ratio: int = 0
    # the shortest and the longest side of a square box, in feature pixels, of a pyramid in the image's
    side: tuple[float, ...] = ()
    aspect: tuple[float, float] = (0.5, 2.0)  # width over height
    turned: float = 180.0  # the largest angle, of rotated boxes and of quadrangles
    mode: str = "avg"
    dtype: str = "float32"  # of the maps; those of bytes are pictures
    levels: int = 1  # maps of a pyramid, of stride 4, 8, ...; a map without a pyramid has stride 1

    @property
    def maps_of_bins(self) -> int:
        """Channels of the map for each of the result: one for each bin of a position-sensitive operator."""
        return math.prod(self.bins) if self.operator.startswith("ps_") else 1

    @property
    def bins(self) -> tuple[int, int]:
        """Rows and columns of bins."""
        size = self.output_size
        return size if isinstance(size, tuple) else (size, size)

    @property
    def output_shape(self) -> tuple[int, ...]:
        if self.operator == "rmac":
            return self.input_shape[:2]
        if self.operator == "paste_masks":
            return (self.rois, *self.input_shape[2:])
        channels = self.input_shape[1] // self.maps_of_bins
        return (self.rois, channels, *self.bins)

    @property
    def input_shapes(self) -> list[tuple[int, int, int, int]]:
        """Shapes of all maps."""
        images, channels, height, width = self.input_shape
        return [(images, channels, height >> level, width >> level) for level in range(self.levels)]

    def maps(self, features: Any) -> list[Any]:
        """Return the maps that `features` are, or are made of."""
        if self.levels == 1:
            return [features]
        ends = list(itertools.accumulate(math.prod(shape) for shape in self.input_shapes))
        return [
            features[begin:end].reshape(shape)
            for begin, end, shape in zip([0, *ends], ends, self.input_shapes, strict=False)
        ]

    def smaller(self, input_shape: tuple[int, int, int, int], rois: int, output_size: int) -> Workload:
        """Return it on maps (N, C, H, W) of C channels in the result, with at most these boxes and bins."""
        images, channels, height, width = input_shape
        bins = min(self.bins[0], output_size), min(self.bins[1], output_size)
        few = replace(
            self, rois=min(self.rois, rois), output_size=bins[0] if self.bins[0] == self.bins[1] else bins
        )
        return replace(few, input_shape=(images, channels * few.maps_of_bins, height, width))

    @property
    def takes_maxima(self) -> bool:
        return self.mode == "max" or self.operator in ("roi_pool", "rmac")

    @property
    def options(self) -> dict[str, Any]:
        """Keyword arguments of the operator and its gradients, those aside that say where things go."""
        options: dict[str, Any] = {}
        if self.operator in ("roi_align", "roi_align_rotated", "ps_roi_align", "deform_roi_pool"):
            options["sampling_ratio"] = self.sampling_ratio
        if self.levels > 1:  # as torchvision has it
            scales = [2.0 ** -(2 + level) for level in range(self.levels)]
            options |= {"spatial_scales": scales, "sampling_ratio": self.sampling_ratio, "aligned": False}
        if self.operator == "crop_and_resize" and self.dtype != "uint8":
            options |= {"sampling": "corners", "border": "reject"}  # as TensorFlow has it
        elif self.operator in ("crop_and_resize", "crop_quads"):
            options |= {"mean": 118.0, "std": 57.0, "reverse_channels": True, "out_layout": "NCHW"}
        if self.mode != "avg":
            options["mode"] = self.mode
        return options

    def features(self, rng: np.random.Generator, dtype: str = "float32") -> NDArray[Any]:
        """Draw normally distributed feature maps, (N, C, H, W); all items of a pyramid's in one row; masks.

        For maxima, their absolute values: what a ReLU leaves is not negative, and where it were, peers would
        disagree about a maximum below zero.
        """
        if self.dtype == "uint8":
            return rng.integers(0, 256, self.input_shape, dtype=np.uint8)
        if self.operator == "paste_masks":
            return self._masks(rng).astype(dtype, copy=False)
        row = (sum(map(math.prod, self.input_shapes)),)
        shape: tuple[int, ...] = self.input_shape if self.levels == 1 else row
        features: NDArray[Any] = rng.standard_normal(shape, dtype=np.float32)
        if self.takes_maxima:
            np.abs(features, out=features)
        return features.astype(dtype, copy=False)

    def _masks(self, rng: np.random.Generator) -> NDArray[np.float32]:
        # discs that fade out, of several sizes, with some noise, (K, 1, rows, columns)
        size = self.bins[0]
        y, x = (np.mgrid[:size, :size] + 0.5) / size - 0.5
        radius = rng.uniform(0.3, 0.6, (self.rois, 1, 1, 1))
        noise = rng.normal(0, 0.1, (self.rois, 1, size, size))
        values: NDArray[Any] = np.clip(0.5 + 4 * (radius - np.hypot(y, x)) + noise, 0, 1)
        return values.astype(np.float32)

    def grad_output(self, rng: np.random.Generator) -> NDArray[np.float32]:
        """Draw a normally distributed gradient for the output; none where nothing asks for one."""
        if self.dtype == "uint8" or self.operator in ("crop_and_resize", "paste_masks"):
            return np.empty(0, np.float32)
        return rng.standard_normal(self.output_shape, dtype=np.float32)

    def offsets(self) -> NDArray[np.float32]:
        """Draw by how much bins are moved: normally distributed, by a tenth of the box."""
        rng = np.random.default_rng(self.rois)
        return rng.standard_normal((self.rois, 2, *self.bins), dtype=np.float32)

    def boxes(self, rng: np.random.Generator) -> NDArray[np.float32] | None:
        """Draw rows [image, x1, y1, x2, y2] inside the map, sizes and shapes even on a log scale.

        For rotated boxes, rows [image, cx, cy, w, h, angle], for quadrangles rows of the image and of four
        corners, as a perspective view has them. None where `rois` is 0.
        """
        if not self.rois:
            return None
        images, _, height, width = self.input_shape
        if self.levels > 1:
            height, width = 4 * height, 4 * width
        side = np.exp(rng.uniform(math.log(self.side[0]), math.log(self.side[1]), self.rois))
        aspect = np.exp(rng.uniform(math.log(self.aspect[0]), math.log(self.aspect[1]), self.rois))
        box_width = np.minimum(side * np.sqrt(aspect), width)
        box_height = np.minimum(side / np.sqrt(aspect), height)
        place_x, place_y = rng.uniform(0.0, 1.0, self.rois), rng.uniform(0.0, 1.0, self.rois)
        image = rng.integers(0, images, self.rois)
        if self.levels > 1:  # in the order of the images, as a detector's come
            image.sort()
        if self.operator not in ("roi_align_rotated", "crop_quads"):
            x1, y1 = place_x * (width - box_width), place_y * (height - box_height)
            rows = [image, x1, y1, x1 + box_width, y1 + box_height]
            return np.stack(rows, axis=1).astype(np.float32)
        angle = rng.uniform(-self.turned, self.turned, self.rois)
        reach_x, reach_y = box_width, box_height
        if self.turned < 180:  # text is inside of the picture as a whole
            cosine, sine = np.abs([np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))])
            reach_x = np.minimum(box_width * cosine + box_height * sine, width)
            reach_y = np.minimum(box_width * sine + box_height * cosine, height)
        centre_x = place_x * (width - reach_x) + reach_x / 2
        centre_y = place_y * (height - reach_y) + reach_y / 2
        turned = np.stack([centre_x, centre_y, box_width, box_height, angle], axis=1)
        if self.operator == "roi_align_rotated":
            return np.insert(turned, 0, image, axis=1).astype(np.float32)
        corners: NDArray[Any] = roicy.rotated_corners(turned).reshape(-1, 8)
        corners += rng.normal(0.0, 0.06, corners.shape) * box_height[:, None]
        return np.insert(corners, 0, image, axis=1).astype(np.float32)


WORKLOADS = {
    workload.name: workload
    for workload in (
        Workload(
            "box_7x7_adaptive",
            "box head of a detector, adaptive sampling",
            "roi_align", (2, 256, 200, 272), 1000, 7, 0, (4.0, 60.0),
        ),
        Workload(
            "box_7x7_sr2",
            "box head of a detector, 2 x 2 samples per bin",
            "roi_align", (2, 256, 200, 272), 1000, 7, 2, (4.0, 60.0),
        ),
        Workload(
            "mask_14x14_sr2",
            "mask head of a detector",
            "roi_align", (1, 256, 200, 272), 100, 14, 2, (8.0, 100.0),
        ),
        Workload(
            "c4_14x14_adaptive",
            "detector with one coarse, deep feature map",
            "roi_align", (1, 1024, 50, 68), 300, 14, 0, (4.0, 45.0),
        ),
        Workload(
            "crops_224_sr1",
            "crops of a video frame for a classifier",
            "roi_align", (1, 3, 1080, 1920), 32, 224, 1, (100.0, 700.0),
        ),
        Workload(
            "one_box",
            "a single box: what a call costs",
            "roi_align", (1, 256, 50, 68), 1, 7, 2, (10.0, 30.0),
        ),
        Workload(
            "max_7x7_sr2",
            "box head with the largest of 2 x 2 samples per bin",
            "roi_align", (2, 256, 200, 272), 1000, 7, 2, (4.0, 60.0), mode="max",
        ),
        Workload(
            "rotated_7x7_sr2",
            "rotated boxes, 2 x 2 samples per bin",
            "roi_align_rotated", (1, 256, 200, 272), 500, 7, 2, (4.0, 60.0),
        ),
        Workload(
            "rotated_7x7_adaptive",
            "rotated boxes, adaptive sampling",
            "roi_align_rotated", (1, 256, 200, 272), 500, 7, 0, (4.0, 60.0),
        ),
        Workload(
            "deform_7x7",
            "bins moved by offsets, 2 x 2 samples per bin",
            "deform_roi_pool", (1, 256, 200, 272), 500, 7, 2, (4.0, 60.0),
        ),
        Workload(
            "pool_7x7",
            "RoIPool on one coarse feature map",
            "roi_pool", (1, 512, 38, 63), 300, 7, side=(3.0, 35.0),
        ),
        Workload(
            "pool_box_7x7",
            "RoIPool on the box head's feature map",
            "roi_pool", (2, 256, 200, 272), 1000, 7, side=(4.0, 60.0),
        ),
        Workload(
            "ps_7x7",
            "position-sensitive maps of R-FCN's size, 2 x 2 samples per bin",
            "ps_roi_align", (1, 49 * 21, 38, 63), 300, 7, 2, (3.0, 35.0),
        ),
        Workload(
            "ps_pool_7x7",
            "the same maps, means of whole pixels",
            "ps_roi_pool", (1, 49 * 21, 38, 63), 300, 7, side=(3.0, 35.0),
        ),
        Workload(
            "pyramid_7x7_adaptive",
            "box head of a detector with a feature pyramid, adaptive sampling",
            "multi_scale_roi_align", (2, 256, 200, 272), 1000, 7, 0, (16.0, 700.0), levels=4,
        ),
        Workload(
            "pyramid_7x7_sr2",
            "box head of a detector with a feature pyramid, 2 x 2 samples per bin",
            "multi_scale_roi_align", (2, 256, 200, 272), 1000, 7, 2, (16.0, 700.0), levels=4,
        ),
        Workload(
            "cropped_224",
            "crops of a picture of bytes, normalised for a classifier",
            "crop_and_resize", (1, 3, 1080, 1920), 32, 224, 1, (100.0, 700.0), dtype="uint8",
        ),
        Workload(
            "cropped_112",
            "the same, smaller",
            "crop_and_resize", (1, 3, 1080, 1920), 32, 112, 1, (100.0, 700.0), dtype="uint8",
        ),
        Workload(
            "cropped_14",
            "crops of a map with its channels last, by TensorFlow's rule",
            "crop_and_resize", (1, 256, 50, 68), 300, 14, 1, (4.0, 45.0),
        ),
        Workload(
            "text_line",
            "a tilted line of text, cut out of a picture of bytes",
            "roi_align_rotated", (1, 3, 1000, 1400), 1, (50, 441), 1, (140.0, 160.0),
            aspect=(8.0, 10.0), turned=30.0, dtype="uint8",
        ),
        Workload(
            "text_lines",
            "the same, all lines of a page",
            "roi_align_rotated", (1, 3, 1000, 1400), 12, (48, 480), 1, (63.0, 190.0),
            aspect=(9.0, 11.0), turned=30.0, dtype="uint8",
        ),
        Workload(
            "text_quads",
            "lines of text seen in perspective, straightened and normalised",
            "crop_quads", (1, 3, 1080, 1920), 64, (32, 320), 1, (63.0, 190.0),
            aspect=(9.0, 11.0), turned=30.0, dtype="uint8",
        ),
        Workload(
            "paste_28x28",
            "masks of a detector, pasted into the image",
            "paste_masks", (1, 1, 800, 1333), 100, 28, side=(16.0, 400.0),
        ),
        Workload(
            "rmac",
            "descriptors of eight images for a search",
            "rmac", (8, 512, 24, 32),
        ),
    )
}  # fmt: skip


def select(names: Iterable[str] | None) -> list[Workload]:
    """Return the workloads called ``names`` (None: all) in their own order, or raise ValueError."""
    if names is None:
        return list(WORKLOADS.values())
    unknown = [name for name in names if name not in WORKLOADS]
    if unknown:
        raise ValueError(f"no workload is called {unknown[0]!r}; there are {', '.join(WORKLOADS)}")
    return [workload for name, workload in WORKLOADS.items() if name in names]
