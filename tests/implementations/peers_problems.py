"""Random problems to compare implementations on, each with boxes of one kind."""

from typing import NamedTuple

import battery
import numpy as np

KINDS = ("mixed", "borders", "reversed", "tiny", "huge")
OUTPUT_SIZES = [(1, 1), (7, 7), (3, 5), (1, 9)]
#: Scales that float32 has exactly, for peers that keep the scale in it.
EXACT = (1, 0.5, 0.25, 1 / 16, 2)
ANY = (*EXACT, 0.7, 1 / 3)


class Problem(NamedTuple):
    features: np.ndarray
    rois: np.ndarray  # (K, 5)
    output_size: tuple[int, int]
    options: dict


def random_problem(seed, *, scales=EXACT, dtype=None, aligned=None, kinds=KINDS):
    """Features between 0 and 1, and 30 boxes, in one dtype, as the other systems want them.

    Seeds go through the kinds of boxes in turn and through float32 and float64, unless a dtype is given.
    """
    rng = np.random.default_rng(seed)
    kind = kinds[seed % len(kinds)]
    dtype = np.dtype(dtype or ["float32", "float64"][seed // len(kinds) % 2])
    n, c, height, width = rng.integers(1, 4), rng.integers(1, 20), *rng.integers(4, 30, 2)
    options = {
        "spatial_scale": float(rng.choice(scales)),
        "sampling_ratio": int(rng.choice([0, 0, 1, 2, 3, 5])),
        "aligned": bool(rng.integers(2)) if aligned is None else aligned,
    }
    corners = boxes(rng, kind, 30, height, width)
    if options["aligned"] and options["sampling_ratio"] == 0:
        corners = without_contradictions(corners)
    rois = np.column_stack([rng.integers(n, size=30), corners / options["spatial_scale"]])
    features = rng.random((n, c, height, width)).astype(dtype)
    return Problem(features, rois.astype(dtype), OUTPUT_SIZES[rng.integers(len(OUTPUT_SIZES))], options)


def boxes(rng, kind, count, height, width):
    """Boxes (count, 4) of a kind, in feature pixels."""
    if kind == "mixed":
        return battery.random_boxes(rng, count, height, width)
    sides = np.array([width, height])
    if (
        kind == "borders"
    ):  # centres and edges of the outer pixels and beyond, where samples begin to be outside
        corners = rng.integers(-4, 5, (count, 2, 2)) / 2 + rng.integers(2, size=(count, 2, 2)) * sides
        return np.sort(corners, axis=1).reshape(count, 4)
    if kind == "tiny":
        first = rng.uniform(-1.5, sides + 1.5, (count, 2))
        sizes = rng.choice([0, 1e-6, 1e-3, 0.1, 0.5, 0.999], (count, 2))
        return np.concatenate([first, first + sizes], axis=1)
    if kind == "huge":
        reach = rng.choice([1.0, 3.0, 6.0], (count, 1))
        first, second = (rng.uniform(-reach * sides, (1 + reach) * sides) for _ in range(2))
        return np.concatenate([np.minimum(first, second), np.maximum(first, second)], axis=1)
    if kind == "smooth":  # of some size, nowhere on whole numbers
        first = rng.uniform(-3, sides - 1, (count, 2))
        return np.concatenate([first, first + rng.uniform(1.01, 9, (count, 2))], axis=1)
    assert kind == "reversed"
    corners = np.sort(rng.uniform(-3, sides + 3, (count, 2, 2)), axis=1)
    for axis in range(2):
        turned = rng.random(count) < 0.6
        corners[turned, :, axis] = corners[turned, ::-1, axis]
    return corners.reshape(count, 4)


def without_contradictions(corners):
    """Put boxes in order that are reversed along one axis only.

    Where the number of samples follows the size, others take that for a huge number of samples.
    """
    first, second = corners[:, :2], corners[:, 2:]
    wrong = (np.sign(second - first).prod(axis=1) < 0)[:, None]
    return np.concatenate(
        [
            np.where(wrong, np.minimum(first, second), first),
            np.where(wrong, np.maximum(first, second), second),
        ],
        axis=1,
    )
