"""Rows of boxes: all forms in which they may be given, and invalid rows."""

from dataclasses import replace

import battery
import numpy as np
import pytest
from closeness import assert_close, assert_same_bits
from operators import of_all
from strategies import FEATURE_DTYPES, random_values, result_dtype

from roicy import _backend
from roicy._kinds import AVERAGE, LARGEST_PIXEL, PRECISE_AVERAGE, ROTATED
from roicy._types import Regions, Sampling

pytestmark = pytest.mark.usefixtures("backend")

SHAPE = (3, 5, 12, 10)
IMAGES = [2, 0, 2, 1]
CORNERS = [[0, 1, 5, 6], [2, 2, 9, 11], [3, 0, 4, 12], [1, 1, 2, 2]]
ORDER = [1, 3, 0, 2]  # by image


@of_all
def test_forms_of_rois(operator):
    """A column of batch indices, an array of them, an array of boxes for each image, and a single image."""
    rng = np.random.default_rng(7)
    shape = operator.map_shape(SHAPE, (2, 3))
    features = random_values(rng, shape, np.dtype("float32"))
    rois = np.round(operator.rois(rng, IMAGES, CORNERS))  # that integers hold, too
    grad_output = random_values(rng, (4, 5, 2, 3), np.dtype("float32"))
    expected, argmax = operator.both(features, rois, (2, 3))
    grad = operator.backward(grad_output, rois, shape, argmax)
    apart = {"batch_indices": rois[:, 0].astype(np.uint8)}
    per_image = [rois[[1], 1:], rois[[3], 1:], rois[[0, 2], 1:]]
    by_image = None if argmax is None else argmax[ORDER]

    assert_same_bits(operator.forward(features, rois[:, 1:], (2, 3), **apart), expected)
    assert_same_bits(operator.forward(features, per_image, (2, 3)), expected[ORDER])
    assert_same_bits(operator.forward(features, tuple(per_image), (2, 3)), expected[ORDER])
    assert_same_bits(operator.forward(features, rois.astype(np.int16), (2, 3)), expected)
    one = operator.forward(features[:1], rois[:, 1:], (2, 3))
    assert_same_bits(one[1], expected[1])

    apart = {"batch_indices": rois[:, 0].astype(np.int8)}
    assert_same_bits(operator.backward(grad_output, rois[:, 1:], shape, argmax, **apart), grad)
    assert_same_bits(operator.backward(grad_output[ORDER], per_image, shape, by_image), grad)
    one = operator.backward(grad_output, rois[:, 1:], (1, *shape[1:]), argmax)
    assert_close(one, grad.astype(np.float64).sum(axis=0, keepdims=True))
    if not operator.has_slopes:
        return

    slopes = operator.backward_rois(grad_output, features, rois, argmax)
    assert slopes.shape == rois.shape
    assert slopes.dtype == np.float32
    assert not slopes[:, 0].any()
    apart = {"batch_indices": rois[:, 0].astype(np.uint64)}
    found = operator.backward_rois(grad_output, features, rois[:, 1:], argmax, **apart)
    assert_same_bits(found, slopes[:, 1:])
    found = operator.backward_rois(grad_output[ORDER], features, per_image, by_image)
    assert isinstance(found, list)
    assert [grad.shape for grad in found] == [(n, operator.numbers) for n in (1, 1, 2)]
    assert_same_bits(np.vstack(found), slopes[ORDER, 1:])


def with_invalid_rows(rois):
    """Rows of all invalid kinds between those of `rois`, and which of them are invalid."""
    numbers = rois.shape[1] - 1
    bad = np.repeat(rois[:1], 6 + numbers, axis=0)
    bad[:5, 0] = -1, 3, 1e30, np.nan, -np.inf
    for column in range(1, 1 + numbers):
        bad[4 + column, column] = [np.nan, np.inf, -np.inf][column % 3]
    bad[-1] = np.nan
    mixed = np.vstack([rois[:2], bad[:4], rois[2:3], bad[4:], rois[3:]])
    invalid = np.array([False] * 2 + [True] * 4 + [False] + [True] * (2 + numbers) + [False])
    return mixed, invalid


@of_all
@pytest.mark.parametrize("dtype", FEATURE_DTYPES, ids=str)
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("box_dtype", ["float32", "float64"])
def test_invalid_rows(operator, dtype, layout, box_dtype):
    """NaN, and no part in a gradient: not even with gradients of NaN and an argmax that names something."""
    rng = np.random.default_rng(2)
    features = random_values(rng, operator.map_shape((3, 18, 12, 10), (2, 3)), dtype)
    features = np.ascontiguousarray(battery.to_layout(features, layout))
    rois = operator.rois(rng, IMAGES, CORNERS, box_dtype)
    mixed, invalid = with_invalid_rows(rois)
    options = {"layout": layout, "invalid": "nan"}
    values, argmax = operator.both(features, mixed, (2, 3), **options)
    expected, expected_argmax = operator.both(features, rois, (2, 3), **options)
    assert np.isnan(values[invalid].astype(np.float32)).all()
    assert_same_bits(values[~invalid], expected)
    if argmax is not None:
        assert (argmax[invalid] == -1).all()
        assert_same_bits(argmax[~invalid], expected_argmax)
        argmax[invalid] = 5

    gradient = values.astype(result_dtype(dtype))
    grad = operator.backward(gradient, mixed, features.shape, argmax, **options)
    expected = operator.backward(gradient[~invalid], rois, features.shape, expected_argmax, **options)
    assert_same_bits(grad, expected)
    if operator.has_slopes:
        grad = operator.backward_rois(gradient, features, mixed, argmax, **options)
        assert not grad[invalid].any()
        expected = operator.backward_rois(gradient[~invalid], features, rois, expected_argmax, **options)
        assert_same_bits(grad[~invalid], expected)


OPTIONS = {
    AVERAGE: Sampling(0.5, 2, True),
    PRECISE_AVERAGE: (0.5,),
    LARGEST_PIXEL: (0.5, "round"),
    ROTATED: (0.5, 2, True, "degrees", False),
}


@pytest.mark.numpy_only(reason="of tables, behind the public functions")
@pytest.mark.parametrize("kind", OPTIONS, ids=lambda kind: kind.name)
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("level", [0, 1, 2])
def test_tables_of_the_boxes_of_one_level(kind, layout, level):
    """The rows of other levels stay as they are, and an invalid one is named as it is among all."""
    kernels = _backend.cpu  # whichever that is
    rng = np.random.default_rng(4)
    levels = np.array([1, 0, 1, 0, -1, 1, 0], np.int32)
    images = np.array([2, 0, 3, 1, 7, 0, 5])  # of which rows 2, 4 and 6 are invalid
    boxes = rng.uniform(2, 20, (7, len(kind.numbers))).astype(np.float32)
    features = np.ascontiguousarray(
        battery.to_layout(random_values(rng, (3, 40, 12, 10), np.dtype("f4")), layout)
    )
    whole, some = (
        np.full(battery.to_layout(np.empty((7, 40, 2, 3)), layout).shape, 7, np.float32) for _ in "12"
    )
    regions = Regions(boxes, images, (3, 40, 12, 10), (2, 3))
    for out, chosen in ((whole, {}), (some, {"levels": levels, "level": level})):
        table = kind.table(kernels, replace(regions, **chosen), OPTIONS[kind], "float32", "forward")
        assert table.first_invalid == {0: 6, 1: 2, 2: -1}[level] if chosen else 2
        arrays = (battery.from_layout(array, layout) for array in (features, out))
        kind.forward(kernels, table, *arrays, None)
    assert_same_bits(some[levels == level], whole[levels == level])
    assert (some[levels != level] == 7).all()
