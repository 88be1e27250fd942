"""Images and quadrangles for tests of `crop_quads`."""

import numpy as np
from hypothesis import strategies as st

IMAGE = np.random.default_rng(0).integers(0, 256, (20, 31, 3), dtype=np.uint8)
QUADS = np.array(
    [
        [[3, 2], [25, 5], [22, 16], [5, 12]],
        [[-4, 3], [15, -6], [35, 12], [8, 24]],
        [[9, 9], [9, 1], [1, 1], [1, 9]],
    ],
    np.float32,
)


def smooth(channels, height, width, seed):
    """Images in which a sample that lies a little off is no other one."""
    y, x = np.mgrid[:height, :width] / 7
    phases = np.random.default_rng(seed).uniform(0, 6, (channels, 1, 1))
    return (100 + 50 * np.sin(x + phases) * np.cos(y - phases)).astype(np.float32)


@st.composite
def quads(draw, height, width):
    """Convex quadrangles in, over and beside an image, turned and mirrored."""
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    angles = np.sort(rng.uniform(0, 2 * np.pi, 4) * 0.2 + np.arange(4) * np.pi / 2)
    size = rng.uniform(2, 20)
    points = rng.uniform(-5, (width + 5, height + 5)) + size * np.column_stack(
        [np.cos(angles), np.sin(angles)]
    )
    return points[::-1] if draw(st.booleans()) else points
