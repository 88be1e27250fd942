"""Score boxes in two threads at once, and compare with the same in Python."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from detector import Detector

import roicy

BOXES = np.array([[30, 40, 110, 130], [5, 8, 60, 200], [100, 20, 315, 238]], np.float32)


def score(seed):
    """Return the scores of a detector of its own, and what they should be."""
    detector = Detector(30, 40)
    scores = np.empty(len(BOXES), np.float32)
    detector.score(seed, BOXES, scores)
    pooled = roicy.roi_align(np.asarray(detector.features()), BOXES, 7, spatial_scale=1 / 8)
    return scores, pooled.max(axis=(1, 2, 3))


def main():
    """Score the boxes on eight maps."""
    with ThreadPoolExecutor(2) as threads:
        results = list(threads.map(score, np.linspace(0.1, 0.8, 8)))
    for scores, expected in results:
        assert np.array_equal(scores, expected)
    print(f"scores of {len(BOXES)} boxes on eight maps, the same as in Python")


if __name__ == "__main__":
    main()
