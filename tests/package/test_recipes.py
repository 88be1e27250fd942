"""The functions of the page of recipes, held against what they stand for."""

import importlib
from pathlib import Path

import numpy as np
import pytest
import reference.average
from closeness import assert_close, assert_same_bits

import roicy

DOCS = Path(__file__).parents[2] / "docs"
RNG = np.random.default_rng(0)

pytestmark = pytest.mark.skipif(not DOCS.is_dir(), reason="the documentation is not here")


@pytest.fixture
def recipe(monkeypatch):
    """Import a module of the page."""
    monkeypatch.syspath_prepend(str(DOCS))
    return lambda name: importlib.import_module(f"recipes.{name}")


def weights(low, high, length, bins, **options):
    """What each pixel weighs in each bin along one axis, (bins, pixels)."""
    options = {"spatial_scale": 1.0, "sampling_ratio": 0, "aligned": True, **options}
    samples = reference.average.axis(np.float64(low), np.float64(high), length, bins, **options)
    found = np.zeros((bins, length))
    for p, of_bin in enumerate(samples.bins):
        for sample in of_bin:
            found[p, sample.lower] += (1 - sample.fraction) / samples.count
            found[p, sample.upper] += sample.fraction / samples.count
    return found


OPTIONS = [{}, {"aligned": False}, {"sampling_ratio": 2, "spatial_scale": 0.5}]


# ---------------------------------------------------------------- whole maps


@pytest.mark.parametrize("mode", ["avg", "max"])
@pytest.mark.parametrize(("height", "width"), [(13, 18), (30, 39), (3, 1)])
def test_adaptive_pooling(mode, height, width, recipe):
    features = RNG.standard_normal((2, 3, height, width))
    rows, columns = 22, 33
    rois = recipe("spatial_pyramid").whole_maps(features)
    pooled = roicy.roi_pool(features, rois, (rows, columns), mode=mode, rounding="whole")
    for p in range(rows):
        for q in range(columns):
            part = features[
                :,
                :,
                p * height // rows : -(-(p + 1) * height // rows),
                q * width // columns : -(-(q + 1) * width // columns),
            ]
            expected = part.mean(axis=(2, 3)) if mode == "avg" else part.max(axis=(2, 3))
            assert_close(pooled[:, :, p, q], expected)


def test_spatial_pyramid(recipe):
    features = RNG.standard_normal((1, 3, 16, 8))
    whole = recipe("spatial_pyramid").whole_maps(features)
    found = recipe("spatial_pyramid").spatial_pyramid(features, whole, (1, 2, 4), mode="max")
    grids = [features.reshape(3, n, 16 // n, n, 8 // n).max(axis=(2, 4)) for n in (1, 2, 4)]
    assert_same_bits(found, np.concatenate([grid.reshape(1, -1) for grid in grids], axis=1))
    assert recipe("spatial_pyramid").spatial_pyramid(features, np.empty((0, 5))).shape == (0, 63)


# ---------------------------------------------------------------- time


@pytest.mark.parametrize("options", OPTIONS)
def test_segments(options, recipe):
    signals = RNG.standard_normal((2, 3, 11))
    segments = np.array([[0, 1.3, 7.2], [1, -2, 4], [1, 6, 6.3], [0, 9, 30]])
    bins = 4
    matrices = [weights(*segment[1:], 11, bins, **options) for segment in segments]
    expected = [
        signals[int(segment[0])] @ matrix.T for segment, matrix in zip(segments, matrices, strict=True)
    ]
    module = recipe("segments")
    assert_close(module.pool_segments(signals, segments, bins, **options), np.stack(expected))
    grad_output = RNG.standard_normal((4, 3, bins))
    grad = np.zeros_like(signals)
    for segment, matrix, own in zip(segments, matrices, grad_output, strict=True):
        grad[int(segment[0])] += own @ matrix
    assert_close(module.pool_segments_backward(grad_output, segments, signals.shape, **options), grad)


def test_frames_as_channels():
    """The bits of each frame by itself."""
    clips = RNG.standard_normal((2, 8, 4, 13, 18)).astype(np.float32)
    rois = np.array([[0, 2, 3, 11, 9], [1, 0, 0, 17, 12]], np.float32)
    pooled = roicy.roi_align(clips.reshape(2, 32, 13, 18), rois, 7).reshape(2, 8, 4, 7, 7)
    plan = roicy.roi_align_plan(rois, (2, 8, 13, 18), 7)
    for frame in range(4):
        assert_same_bits(pooled[:, :, frame], plan(clips[:, :, frame]))


# ---------------------------------------------------------------- volumes


@pytest.mark.parametrize("options", OPTIONS)
def test_volumes(options, recipe):
    volumes = RNG.standard_normal((2, 3, 6, 7, 9))
    low = RNG.uniform(-2, 5, (5, 3))
    rois = np.column_stack([[0, 1, 1, 0, 1], low, low + RNG.uniform(0, 8, (5, 3))])
    size = planes, rows, columns = 2, 3, 4
    expected, grad = np.empty((5, 3, *size)), np.zeros_like(volumes)
    grad_output = RNG.standard_normal(expected.shape)
    for k, (image, x1, y1, z1, x2, y2, z2) in enumerate(rois):
        z = weights(z1, z2, 6, planes, **options)
        y, x = weights(y1, y2, 7, rows, **options), weights(x1, x2, 9, columns, **options)
        expected[k] = np.einsum("pz,qy,rx,czyx->cpqr", z, y, x, volumes[int(image)])
        grad[int(image)] += np.einsum("pz,qy,rx,cpqr->czyx", z, y, x, grad_output[k])
    module = recipe("volumes")
    assert_close(module.pool_volumes(volumes, rois, size, **options), expected)
    assert_close(module.pool_volumes_backward(grad_output, rois, volumes.shape, **options), grad)
    assert module.pool_volumes(volumes, rois[:0], size).shape == (0, 3, *size)
