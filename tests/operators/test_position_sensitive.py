"""Position-sensitive pooling, in cases with known results."""

import functools

import numpy as np
import pytest
from closeness import assert_same_bits, assert_same_sums

import roicy
from roicy import _backend, _kinds
from roicy import _once as once
from roicy._given import Given
from roicy.compat import mxnet

pytestmark = pytest.mark.usefixtures("backend")

RNG = np.random.default_rng(0)
ROIS = np.array([[0, 1.2, 0.4, 8.3, 6.1], [1, -2, 3, 6, 20], [0, 3, 3, 3.2, 3.1]], np.float32)


def own_bins(full, output_size):
    """Of all channels in all bins, those that a bin has of its own."""
    rows, columns = output_size
    p, q = np.ogrid[:rows, :columns]
    return full.reshape(len(full), -1, rows, columns, rows, columns)[:, :, p, q, p, q]


def in_own_bins(grad, output_size):
    """The way back: all channels in all bins, of which only those are not 0."""
    rows, columns = output_size
    p, q = np.ogrid[:rows, :columns]
    full = np.zeros((*grad.shape[:2], rows, columns, rows, columns), grad.dtype)
    full[:, :, p, q, p, q] = grad
    return full.reshape(len(grad), -1, rows, columns)


@pytest.mark.parametrize("output_size", [(7, 7), (2, 3), (1, 5), (1, 1)])
@pytest.mark.parametrize("channels", [1, 2, 16, 21])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("ratio", [0, 2])
def test_bits_are_those_of_roi_align(output_size, channels, layout, ratio):
    """Of a box's bins in all channels, as many times the work, each bin keeps its own."""
    axes = (0, 1, 2, 3) if layout == "NCHW" else (0, 2, 3, 1)
    shape = (2, channels * np.prod(output_size), 10, 12)
    features, options = RNG.random(shape, np.float32), {"sampling_ratio": ratio}
    maps = np.ascontiguousarray(features.transpose(axes))
    out = roicy.ps_roi_align(maps, ROIS, output_size, layout=layout, **options)
    full = roicy.roi_align(features, ROIS, output_size, **options)
    same = assert_same_bits if _backend.cpu is roicy.cpu else assert_same_sums
    same(out if layout == "NCHW" else out.transpose(0, 3, 1, 2), own_bins(full, output_size))

    plain = RNG.random((3, channels, *output_size), np.float32)
    spread = in_own_bins(plain, output_size)
    grad_output = np.ascontiguousarray(plain.transpose(axes))
    grad = roicy.ps_roi_align_backward(grad_output, ROIS, maps.shape, layout=layout, **options)
    same(grad, roicy.roi_align_backward(spread, ROIS, shape, **options).transpose(axes))
    slopes = roicy.ps_roi_align_backward_rois(grad_output, maps, ROIS, layout=layout, **options)
    wanted = roicy.roi_align_backward_rois(spread, features, ROIS, **options)
    np.testing.assert_allclose(slopes, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("channels", [5, 21, 70])
def test_small_boxes_all_over_a_tall_map(channels, layout):
    """Some of whose rows are held at a time."""
    rng = np.random.default_rng(channels)
    first = rng.uniform(-4, (9, 70), (300, 2))
    rois = np.column_stack([np.zeros(300), first, first + rng.uniform(0.3, 12, (300, 2))]).astype(np.float32)
    features = rng.random((1, channels * 6, 70, 9), np.float32)
    axes = (0, 1, 2, 3) if layout == "NCHW" else (0, 2, 3, 1)
    maps = np.ascontiguousarray(features.transpose(axes))
    out = roicy.ps_roi_align(maps, rois, (2, 3), layout=layout)
    full = roicy.roi_align(features, rois, (2, 3))
    same = assert_same_bits if _backend.cpu is roicy.cpu else assert_same_sums
    same(out if layout == "NCHW" else out.transpose(0, 3, 1, 2), own_bins(full, (2, 3)))


def test_other_channels_are_not_looked_at():
    """Not even where they are no numbers."""
    features = RNG.random((1, 12, 9, 9), np.float32)
    features[:, [k for k in range(12) if k % 4 != 2]] = np.nan
    out = roicy.ps_roi_align(features, ROIS[[0, 2]], 2)
    assert np.isfinite(out[:, :, 1, 0]).all()
    out[:, :, 1, 0] = np.nan
    assert np.isnan(out).all()


@pytest.mark.parametrize("output_size", [(7, 7), (2, 9), (3, 1), (1, 17)])
@pytest.mark.parametrize("channels", [5, 70])
def test_many_boxes_have_the_values_of_few(backend, output_size, channels):
    """Boxes so many that the values of several bins of some of them are stored together, in any layout."""
    count = 1100 if backend == "cpu" and channels == 5 else 40
    rng = np.random.default_rng(1)
    features = rng.random((2, channels * np.prod(output_size), 11, 13), np.float32)
    features[1] = np.finfo(np.float32).max  # sums overflow
    features[1, 1::3] /= 2
    corners = rng.uniform(-3, 15, (count, 2, 2))
    rois = np.concatenate([rng.integers(0, 2, (count, 1)), corners.min(1), corners.max(1)], axis=1)
    few = np.concatenate(
        [roicy.ps_roi_align(features, rois[i : i + 2], output_size) for i in range(0, count, 2)]
    )
    assert np.isfinite(few).all() and few.max() > 3e38
    for order in "CF":
        many = np.full_like(few, np.nan, order=order)
        roicy.ps_roi_align(features, rois, output_size, out=many)
        assert_same_bits(many, few)


def test_averages_whose_sums_overflow():
    """They are looked at once more, in the channel and the bin that they belong to."""
    features = np.full((1, 8, 40, 40), np.finfo(np.float32).max)
    features[0, 5] = 1
    rois = np.tile(np.array([0, 0.3, 0.7, 39.1, 38.4], np.float32), (40, 1))
    rois[::3, 3:] = 1e-3
    out = roicy.ps_roi_align(features, rois, 2)
    wanted = np.full((40, 2, 2, 2), np.finfo(np.float32).max)
    wanted[:, 1, 0, 1] = 1
    wanted[::3] = 0
    np.testing.assert_allclose(out, wanted, rtol=1e-6)


def test_bins_of_more_pixels_than_a_sum_has_at_a_time():
    """Along x, and along y."""
    features = RNG.random((1, 8, 2, 900), np.float32)
    rois = np.array([[0, 0, 0, 900, 2], [0, 3, 0, 890, 1]], np.float32)
    for maps, boxes in ((features, rois), (features.transpose(0, 1, 3, 2), rois[:, [0, 2, 1, 4, 3]])):
        found = roicy.ps_roi_align(maps, boxes, (1, 2) if maps is features else (2, 1))
        full = roicy.roi_align(maps, boxes, found.shape[2:])
        same = assert_same_bits if _backend.cpu is roicy.cpu else assert_same_sums
        same(found, own_bins(full, found.shape[2:]))


@pytest.mark.numpy_only(reason="counts what the backend is asked for")
def test_one_table_and_one_pass(monkeypatch):
    """A box costs what its bins cost, not as many times as much as there are bins."""
    kernels, made = _backend.cpu, []

    def counted(name, call, *given):
        made.append(name)
        return call(*given)

    for name in ("axis_table", "axis_forward", "axis_backward"):
        monkeypatch.setattr(kernels, name, functools.partial(counted, name, getattr(kernels, name)))
    data = RNG.random((2, 21 * 49, 9, 9), np.float32)
    out = mxnet.ROIAlign(data, ROIS, 7, 1.0, 2, position_sensitive=True)
    mxnet.ROIAlign_backward(out, ROIS, data.shape, 1.0, 2, position_sensitive=True)
    assert made == ["axis_table", "axis_forward", "axis_table", "axis_backward"]


@pytest.mark.parametrize("shape", [(1, 5, 8, 8), (1, 3, 8, 8)])
def test_channels_that_cannot_be_divided(shape):
    boxes, grad = ROIS[:1], np.ones((1, 1, 2, 2), np.float32)
    says = rf"must have a multiple of 2 \* 2 channels, one for each bin, got {shape[1]} in \({shape[0]},"
    features = np.ones(shape, np.float32)
    with pytest.raises(ValueError, match=rf"^features {says}"):
        roicy.ps_roi_align_backward_rois(grad, features, boxes)
    for name in ("ps_roi_align", "ps_roi_pool"):
        with pytest.raises(ValueError, match=rf"^features {says}"):
            getattr(roicy, name)(features, boxes, 2)
        with pytest.raises(ValueError, match=rf"^input_shape {says}"):
            getattr(roicy, f"{name}_backward")(grad, boxes, shape)
        with pytest.raises(ValueError, match=rf"^input_shape {says}"):
            getattr(roicy, f"{name}_plan")(boxes, shape, 2)


@pytest.mark.parametrize("channels", [2, 4, 8])
def test_gradients_of_other_channels(channels):
    """A gradient has as many channels as the result."""
    with pytest.raises(ValueError, match=r"grad_output must have shape \(1, 3, 2, 2\)"):
        roicy.ps_roi_align_backward(np.ones((1, channels, 2, 2), np.float32), ROIS[:1], (1, 12, 8, 8))


def test_words_of_a_plan():
    plan = roicy.ps_roi_align_plan(ROIS, (2, 12, 7, 9), 2, spatial_scale=0.5)
    for part in ("ps_roi_align", "3 rois", "(2, 12, 7, 9)", "(2, 2)", "spatial_scale=0.5"):
        assert part in repr(plan)
    assert plan.output_shape == (3, 3, 2, 2)
    with pytest.raises(ValueError, match="return_argmax must be False for an average"):
        plan(np.ones((2, 12, 7, 9), np.float32), return_argmax=True)


# ---------------------------------------------------------------- means of whole pixels


@pytest.mark.parametrize(
    "corners, columns",
    [
        ((0, 3), [(0, 2), (2, 4)]),  # the last pixel is part of the box
        ((-0.5, 2.5), [(0, 2), (1, 4)]),  # halves go away from zero: from -1 up to 3
        ((1, 3), [(1, 3), (2, 4)]),  # a pixel may be in two bins
        ((4, 4), [(4, 5), (4, 5)]),
        ((5, 2), [(5, 6), (5, 6)]),  # at least a tenth of a pixel
        ((7, 20), [(0, 0), (0, 0)]),
    ],
)
def test_pixels_of_a_bin(corners, columns):
    ramp = np.arange(1.0, 8).reshape(1, 1, 1, 7) * np.array([1, 10]).reshape(1, 2, 1, 1)
    rois = np.array([[0, corners[0], 0, corners[1], 0]])
    out = roicy.ps_roi_pool(ramp, rois, (1, 2))[0, 0, 0]
    means = [ramp[0, k, 0, start:end].mean() if start < end else 0 for k, (start, end) in enumerate(columns)]
    np.testing.assert_allclose(out, means, rtol=1e-14)


def test_corners_are_rounded_before_they_are_scaled():
    ramp = np.arange(16.0).reshape(1, 1, 1, 16)
    rois = np.array([[0, 5.5, 0, 8.6, 0]])  # from 6 to 10, which is 3 to 5 on the map
    assert roicy.ps_roi_pool(ramp, rois, 1, spatial_scale=0.5)[0, 0, 0, 0] == 3.5


@pytest.mark.parametrize(("first", "scale", "mean"), [(14, 1 / 16, 0), (19, 1 / 20, 0.5)])
def test_a_box_is_a_tenth_of_a_pixel_at_the_least(first, scale, mean):
    """Without width it begins at 14 / 16 and ends in the same pixel; at 19 / 20 it reaches the next one."""
    ramp = np.arange(16.0).reshape(1, 1, 1, 16)
    rois = np.array([[0, first, 0, first - 1.0, 0]])
    assert roicy.ps_roi_pool(ramp, rois, 1, spatial_scale=scale)[0, 0, 0, 0] == mean


@pytest.mark.numpy_only(reason="of a kind of its own, behind the public functions")
@pytest.mark.parametrize("clipped", [False, True])
def test_the_last_row_and_column(clipped):
    """They are part of the map. torchvision leaves them out on the way forward, and there alone."""
    kind = _kinds.POSITION_SENSITIVE_CLIPPED if clipped else _kinds.POSITION_SENSITIVE_PIXELS
    last = np.zeros((1, 1, 6, 6))
    last[..., -1, :] = last[..., -1] = 1
    rois = np.array([[0, 0.0, 0, 6, 6]])
    given = Given(rois, None, "NCHW", "raise")
    out = once.pool(kind, given, last, 1, (1.0,), None)
    np.testing.assert_allclose(out[0, 0, 0, 0], 0 if clipped else 11 / 36, rtol=1e-14)
    grad = once.backward(kind, given, np.ones((1, 1, 1, 1)), last.shape, (1.0,), None)
    np.testing.assert_allclose(grad, np.full(last.shape, 1 / 36), rtol=1e-14)


def test_no_gradient_of_boxes():
    plan = roicy.ps_roi_pool_plan(ROIS, (2, 12, 7, 9), 2)
    with pytest.raises(ValueError, match="ps_roi_pool has no gradient with respect to boxes"):
        plan.backward_rois(np.ones((3, 3, 2, 2), np.float32), np.ones((2, 12, 7, 9), np.float32))
