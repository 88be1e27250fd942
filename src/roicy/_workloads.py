"""The RoIAlign workloads that roicy is measured on: what real detectors and croppers ask for.

``roicy bench`` times this installation on them; ``benchmarks/`` in the repository adds the peers.
"""

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Workload:
    """One call of ``roi_align`` on random data: spatial scale 1, aligned, float32 unless said otherwise."""

    name: str
    about: str
    input_shape: tuple  # (N, C, H, W)
    rois: int
    output_size: int
    sampling_ratio: int
    side: tuple  # the shortest and the longest side of a square box, in feature pixels

    @property
    def output_shape(self):
        return (self.rois, self.input_shape[1], self.output_size, self.output_size)

    def features(self, rng, dtype="float32"):
        """Draw normally distributed feature maps, (N, C, H, W)."""
        return rng.standard_normal(self.input_shape, dtype=np.float32).astype(dtype, copy=False)

    def grad_output(self, rng):
        """Draw a normally distributed gradient for the output, (K, C, PH, PW)."""
        return rng.standard_normal(self.output_shape, dtype=np.float32)

    def boxes(self, rng):
        """Draw rows [image, x1, y1, x2, y2] inside the map, sizes and shapes even on a log scale."""
        images, _, height, width = self.input_shape
        side = np.exp(rng.uniform(math.log(self.side[0]), math.log(self.side[1]), self.rois))
        aspect = np.exp(rng.uniform(math.log(0.5), math.log(2.0), self.rois))
        box_width = np.minimum(side * np.sqrt(aspect), width)
        box_height = np.minimum(side / np.sqrt(aspect), height)
        x1 = rng.uniform(0.0, 1.0, self.rois) * (width - box_width)
        y1 = rng.uniform(0.0, 1.0, self.rois) * (height - box_height)
        image = rng.integers(0, images, self.rois)
        return np.stack([image, x1, y1, x1 + box_width, y1 + box_height], axis=1).astype(np.float32)


WORKLOADS = {
    workload.name: workload
    for workload in (
        Workload(
            "box_7x7_adaptive",
            "box head of a detector, adaptive sampling",
            (2, 256, 200, 272), 1000, 7, 0, (4.0, 60.0),
        ),
        Workload(
            "box_7x7_sr2",
            "box head of a detector, 2 x 2 samples per bin",
            (2, 256, 200, 272), 1000, 7, 2, (4.0, 60.0),
        ),
        Workload(
            "mask_14x14_sr2",
            "mask head of a detector",
            (1, 256, 200, 272), 100, 14, 2, (8.0, 100.0),
        ),
        Workload(
            "c4_14x14_adaptive",
            "detector with one coarse, deep feature map",
            (1, 1024, 50, 68), 300, 14, 0, (4.0, 45.0),
        ),
        Workload(
            "crops_224_sr1",
            "crops of a video frame for a classifier",
            (1, 3, 1080, 1920), 32, 224, 1, (100.0, 700.0),
        ),
        Workload(
            "one_box",
            "a single box: what a call costs",
            (1, 256, 50, 68), 1, 7, 2, (10.0, 30.0),
        ),
    )
}  # fmt: skip


def select(names):
    """Return the workloads called ``names`` (None: all) in their own order, or raise ValueError."""
    if names is None:
        return list(WORKLOADS.values())
    unknown = [name for name in names if name not in WORKLOADS]
    if unknown:
        raise ValueError(f"no workload is called {unknown[0]!r}; there are {', '.join(WORKLOADS)}")
    return [workload for name, workload in WORKLOADS.items() if name in names]
