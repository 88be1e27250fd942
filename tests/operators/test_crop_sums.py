"""Crops of bytes: integer sums have the same bits as float sums."""

import numpy as np
import pytest
from closeness import assert_same_bits

import roicy


@pytest.mark.parametrize("stretch", [0.3, 1, 1.34, 1.9, 2.6, 2.86, 4.9, 6.68, 7.3])
def test_bytes_in_far_rows_have_the_sums_of_floats(stretch):
    """From row 256 on, weights of rows are multiples of 2^-15, so that sums can be made in integers."""
    rng = np.random.default_rng(6)
    image = rng.integers(0, 256, (272, 300, 3), np.uint8)
    side = 37 * stretch
    boxes = np.array(
        [
            [9.3, 257.2, 9.3 + side, 265],
            [300 - side, 255, 300, 271.7],
            [-5, 200, side - 5, 290],
            [side, 263, 0.4, 256],
            [3, 260, 3 + side, 265],  # rows of the picture
        ],
        np.float32,
    )
    for options in ({}, {"mean": 100, "std": 50, "fill": 7, "reverse_channels": True}):
        for layout in ("NHWC", "NCHW"):
            crops = (
                roicy.crop_and_resize(x, boxes, (21, 37), out_layout=layout, dtype="float32", **options)
                for x in (image, image.astype(np.float32))
            )
            assert_same_bits(*crops)


@pytest.mark.parametrize("weight", [2.03060045e-38, 1.96920045e-38, 2.75700064e-38, 2.6880007e-38])
def test_sums_of_subnormal_numbers_are_rounded_once(weight):
    image = np.zeros((258, 4, 3), np.uint8)
    image[256, 1] = 1
    row = 256.6875 - 2**-15
    box = np.array([[weight, row, weight, row]], np.float32)
    crops = (
        roicy.crop_and_resize(x, box, (1, 16), sampling="corners", out_layout="NCHW", dtype="float32")
        for x in (image, image.astype(np.float32))
    )
    assert_same_bits(*crops)
