"""Outputs that the caller gives: in any memory layout, filled and returned."""

import numpy as np
import pytest
from closeness import assert_same_bits, assert_same_sums
from operators import of_all
from strategies import FEATURE_DTYPES, LAYOUTS, random_values, result_dtype

import roicy
from roicy import _backend

pytestmark = pytest.mark.usefixtures("backend")

SHAPE = (3, 5, 12, 10)
IMAGES = [2, 0, 2, 1]
CORNERS = [[0, 1, 5, 6], [2, 2, 9, 11], [3, 0, 4, 12], [1, 1, 2, 2]]


def same_sums(out, expected):
    """On a GPU a way of going through channels suits both arrays: averages are sums in another order."""
    (assert_same_bits if _backend.cpu is roicy.cpu else assert_same_sums)(out, expected)


@of_all
@pytest.mark.parametrize("dtype", FEATURE_DTYPES, ids=str)
@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.__name__)
def test_forward(operator, dtype, layout):
    rng = np.random.default_rng(4)
    features = random_values(rng, operator.map_shape(SHAPE, (2, 3)), dtype)
    rois = operator.rois(rng, IMAGES, CORNERS)
    expected, expected_argmax = operator.both(layout(features), rois, (2, 3))
    out = layout(np.full_like(expected, np.nan))
    assert operator.forward(layout(features), rois, (2, 3), out=out) is out
    if expected_argmax is None:
        same_sums(out, expected)
        return
    assert_same_bits(out, expected)

    out[...] = np.nan
    returned = operator.both(layout(features), rois, (2, 3), out=out)
    assert returned[0] is out
    assert_same_bits(out, expected)
    assert_same_bits(returned[1], expected_argmax)

    out[...] = np.nan
    argmax = layout(np.full_like(expected_argmax, 99))
    returned = operator.both(layout(features), rois, (2, 3), out=(out, argmax))
    assert returned[0] is out
    assert returned[1] is argmax
    assert_same_bits(out, expected)
    assert_same_bits(argmax, expected_argmax)


@of_all
@pytest.mark.parametrize("dtype", FEATURE_DTYPES, ids=str)
@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.__name__)
def test_gradients(operator, dtype, layout):
    rng = np.random.default_rng(4)
    shape = operator.map_shape(SHAPE, (2, 3))
    features, rois = random_values(rng, shape, dtype), operator.rois(rng, IMAGES, CORNERS)
    argmax = operator.both(features, rois, (2, 3))[1]
    moved = None if argmax is None else layout(argmax)
    gradient = random_values(rng, (4, 5, 2, 3), result_dtype(dtype))
    expected = operator.backward(gradient, rois, shape, argmax)
    out = layout(np.full(shape, np.nan, gradient.dtype))
    assert operator.backward(layout(gradient), rois, shape, moved, out=out) is out
    (same_sums if argmax is None else assert_same_bits)(out, expected)
    if not operator.has_slopes:
        return
    for columns in operator.numbers, 1 + operator.numbers:
        options = {} if columns > operator.numbers else {"batch_indices": np.array(IMAGES)}
        boxes = rois[:, -columns:]
        expected = operator.backward_rois(gradient, features, boxes, argmax, **options)
        for out in (
            np.full((4, columns), np.nan, np.float32),
            np.full((8, 2 * columns), np.nan, np.float32)[::2, ::2],
            np.full((8, columns + 5), np.nan, np.float32)[::2, :columns],
        ):
            given = layout(gradient), layout(features), boxes, moved
            assert operator.backward_rois(*given, out=out, **options) is out
            assert_same_bits(out, expected)
