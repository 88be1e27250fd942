"""Sums of very many terms: what is equal everywhere stays so, to a few units in the last place.

A chain of additions rounds equal terms alike, again and again. Random values hide that, constants do not.
"""

import numpy as np
import pytest
from closeness import assert_same_bits

import roicy

pytestmark = pytest.mark.usefixtures("backend")

#: The most that an average of equal values may be off by, as a part of it.
BOUND = 1e-6


def constants(shape, layout, seed=0):
    """Features whose channels are constants, (N, C, H, W) or (N, H, W, C), and these constants."""
    n, channels, height, width = shape
    values = np.random.default_rng(seed).uniform(1, 2, channels).astype(np.float32)
    features = np.broadcast_to(values, (n, height, width, channels))
    if layout == "NCHW":
        features = features.transpose(0, 3, 1, 2)
    return np.ascontiguousarray(features), values


def off_by(pooled, values, layout):
    """How far a result is from its channels' constants, as a part of them."""
    if layout == "NCHW":
        pooled = pooled.transpose(0, 2, 3, 1)
    return np.abs(pooled.astype(np.float64) / values - 1).max()


#: Layout, channels, boxes and size of the output: tiles, planes, images of few channels, channels last.
PATHS = {
    "tile": ("NCHW", 40, 9, (1, 1)),
    "tile, several rows": ("NCHW", 17, 9, (9, 2)),
    "planes": ("NCHW", 33, 1, (1, 1)),
    "image": ("NCHW", 3, 1, (2, 40)),
    "image, channels last": ("NHWC", 3, 1, (40, 2)),
    "channels last": ("NHWC", 37, 2, (1, 1)),
}


@pytest.mark.parametrize("side", [24, 26, 50, 100, 1000])
@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_averages_of_equal_values(path, side):
    layout, channels, boxes, (rows, columns) = path
    height, width = (max(side, 8 * bins) for bins in (rows, columns))
    features, values = constants((1, channels, height + 2, width + 2), layout)
    rois = np.array([[0, 1, 1, width + 1, height + 1]] * boxes, np.float32)
    for operator, more in ((roicy.roi_align, {}), (roicy.roi_pool, {"mode": "avg"})):
        pooled = operator(features, rois, (rows, columns), layout=layout, **more)
        assert off_by(pooled, values, layout) <= BOUND


@pytest.mark.parametrize("side", [12, 14, 50, 100, 600])
@pytest.mark.parametrize(("layout", "channels"), [("NCHW", 17), ("NCHW", 40), ("NHWC", 37)])
def test_averages_of_equal_values_in_rotated_boxes(layout, channels, side):
    edge = 3 * side // 2
    features, values = constants((1, channels, edge, edge), layout)
    rois = np.array([[0, edge / 2, edge / 2, side, side, 30]] * 2, np.float32)
    pooled = roicy.roi_align_rotated(features, rois, (1, 2), layout=layout)
    assert off_by(pooled, values, layout) <= BOUND


@pytest.mark.parametrize("samples", [7, 8, 30, 61, 128])
@pytest.mark.parametrize(("layout", "channels"), [("NCHW", 3), ("NHWC", 5)])
def test_averages_of_equal_values_in_quadrangles(layout, channels, samples):
    """A pixel of the crop has this many samples along each axis; some of them lie outside."""
    features, values = constants((1, channels, 300, 300), layout)
    corners = roicy.rotated_corners(np.array([[150, 150, 180, 180, 30], [0, 90, 60, 90, 10]], np.float32))
    options = {"batch_indices": [0, 0], "layout": layout, "sampling_ratio": samples}
    inside = roicy.crop_quads(features, corners[:1], (2, 5), **{**options, "batch_indices": [0]})
    assert off_by(inside, values, layout) <= BOUND
    cut = roicy.crop_quads(features, corners, (2, 5), fill=values, **options)
    assert off_by(cut, values, layout) <= BOUND


@pytest.mark.cpu_only("of other layouts a GPU sums in another order")
@pytest.mark.parametrize("sides", [(60, 45), (23, 300), (300, 23), (130, 1)])
def test_the_bits_of_a_long_sum_do_not_depend_on_the_path(sides):
    """Rows of the box, or its columns, or both have more pixels than are summed in one piece."""
    height, width = sides
    rng = np.random.default_rng(1)
    features = rng.standard_normal((1, 40, height + 4, width + 4), dtype=np.float32)
    box = [0, 1.3, 0.8, width + 1.1, height + 2.2]
    one = roicy.roi_align(features, np.array([box], np.float32), (1, 2))
    many = roicy.roi_align(features, np.array([box] * 9, np.float32), (1, 2))
    image = roicy.roi_align(np.ascontiguousarray(features[:, :3]), np.array([box], np.float32), (1, 2))
    last = np.ascontiguousarray(features.transpose(0, 2, 3, 1))
    last = roicy.roi_align(last, np.array([box], np.float32), (1, 2), layout="NHWC").transpose(0, 3, 1, 2)
    assert_same_bits(many[8:], one)
    assert_same_bits(image, one[:, :3])
    assert_same_bits(last, one)


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_what_is_no_number_stays_in_a_long_sum(value):
    features = np.ones((1, 3, 90, 90), np.float32)
    features[0, 1, 50, 60] = value
    upright = roicy.roi_align(features, np.array([[0, 0, 0, 90, 90]], np.float32), 1)
    rotated = roicy.roi_align_rotated(features, np.array([[0, 45, 45, 80, 80, 20]], np.float32), 1)
    for pooled in (upright, rotated):
        np.testing.assert_array_equal(pooled[0, 1, 0, 0], value)
        assert np.isfinite(pooled[0, [0, 2]]).all()


def fewer(backend, count, most):
    """The count; at most so many where CUDA's kernels run on the processor: behind all their borders, too."""
    return min(count, most) if backend == "cuda" else count


def same_box(k, box):
    return np.array([[0, *box]] * k, np.float32)


@pytest.mark.parametrize("boxes", [30, 50, 61, 100, 300, 400, 3000])
def test_gradients_of_very_many_boxes_on_the_same_pixels(backend, boxes):
    """A pixel gets the same share from each; up to 320 of them are one chain on the CPU."""
    bound = 5 * BOUND if backend == "cpu" and 60 < boxes <= 320 else BOUND
    values = np.random.default_rng(2).uniform(1, 2, 37).astype(np.float32)
    upright, rotated = same_box(boxes, (3, 3, 7, 7)), same_box(boxes, (5, 5, 4, 4, 90))
    planes = np.broadcast_to(values[:, None, None], (boxes, 37, 1, 1))
    pixels = np.broadcast_to(values, (boxes, 1, 1, 37))
    for backward, rois in [(roicy.roi_align_backward, upright), (roicy.roi_align_rotated_backward, rotated)]:
        by_plane = backward(planes, rois, (1, 37, 40, 9))[0, :, 4:6, 4:6].transpose(1, 2, 0)
        by_pixel = backward(pixels, rois, (1, 40, 9, 37), layout="NHWC")[0, 4:6, 4:6]
        for shares in (by_plane, by_pixel):
            assert np.abs(shares / (values * (boxes / 16.0)) - 1).max() <= bound


@pytest.mark.parametrize("bins", [30, 50, 300, 1500])
def test_gradients_of_very_many_bins_on_the_same_pixels(backend, bins):
    """The shares of the pixels of a column of a small map add up to what is sent back."""
    values = np.random.default_rng(3).uniform(1, 2, 5).astype(np.float32)
    for output_size in [(bins, 3), (3, bins), (fewer(backend, bins // 2, 150),) * 2]:
        grad = np.broadcast_to(values[:, None, None], (1, 5, *output_size))
        total = values.astype(np.float64) * (output_size[0] * output_size[1])
        spread = roicy.roi_align_backward(grad, same_box(1, (1, 1, 7, 7)), (1, 5, 8, 8), sampling_ratio=1)
        assert np.abs(spread[0].astype(np.float64).sum((1, 2)) / total - 1).max() <= BOUND
        grad_of_pixels = np.broadcast_to(values, (1, *output_size, 5))
        options = {"sampling_ratio": 1, "layout": "NHWC"}
        spread = roicy.roi_align_backward(grad_of_pixels, same_box(1, (1, 1, 7, 7)), (1, 8, 8, 5), **options)
        assert np.abs(spread[0].astype(np.float64).sum((0, 1)) / total - 1).max() <= BOUND
        spread = roicy.roi_align_rotated_backward(
            grad, same_box(1, (4, 4, 6, 6, 30)), (1, 5, 8, 8), sampling_ratio=1
        )
        assert np.abs(spread[0].astype(np.float64).sum((1, 2)) / total - 1).max() <= BOUND


def peak(value_of_channel, layout="NCHW"):
    """Maps whose largest number is at row 5 and column 5."""
    features = np.zeros((1, 12, 12, len(value_of_channel)), np.float32)
    features[0, 5, 5] = 1
    return features if layout == "NHWC" else np.ascontiguousarray(features.transpose(0, 3, 1, 2))


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("boxes", [400, 3000, 20000])
def test_gradients_of_the_maxima_of_very_many_boxes(backend, boxes, layout):
    boxes = fewer(backend, boxes, 6000)
    values = np.random.default_rng(6).uniform(1, 2, 19).astype(np.float32)
    features, rois = peak(values, layout), same_box(boxes, (3, 3, 7, 7))
    shape = (boxes, 19, 1, 1) if layout == "NCHW" else (boxes, 1, 1, 19)
    grad = np.ascontiguousarray(np.broadcast_to(values.reshape(shape[1:]), shape))
    _, argmax = roicy.roi_pool(features, rois, 1, return_argmax=True, layout=layout)
    pooled = roicy.roi_pool_backward(grad, argmax, rois, features.shape, layout=layout)
    assert (
        np.abs(pooled.sum((0, 2, 3) if layout == "NCHW" else (0, 1, 2)) / (values * boxes) - 1).max() <= BOUND
    )


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("sampling_ratio", [1, 7])
@pytest.mark.parametrize(
    ("boxes", "size"), [(61, 1), (100, 1), (300, 1), (3000, 1), (7, 20), (1, 100), (2, 400)]
)
def test_gradients_of_the_largest_samples_of_very_many_bins(backend, boxes, size, sampling_ratio, layout):
    """The four pixels around a sample share its gradient, whole numbers of quarters."""
    size = fewer(backend, size, 120)
    values = np.random.default_rng(7).uniform(1, 2, 19).astype(np.float32)
    features, rois = peak(values, layout), same_box(boxes, (5, 5, 6, 6))
    options = {"sampling_ratio": sampling_ratio, "mode": "max", "layout": layout}
    shape = (boxes, 19, size, size) if layout == "NCHW" else (boxes, size, size, 19)
    grad = np.ascontiguousarray(np.broadcast_to(values if layout == "NHWC" else values[:, None, None], shape))
    _, argmax = roicy.roi_align(features, rois, size, return_argmax=True, **options)
    found = roicy.roi_align_backward(grad, rois, features.shape, argmax=argmax, **options)
    exact = roicy.roi_align_backward(grad.astype(np.float64), rois, features.shape, argmax=argmax, **options)
    assert np.abs(found - exact).max() <= BOUND * np.abs(exact).max()


def test_boxes_beside_the_map_get_nothing_of_very_many_terms():
    """Along one axis they have samples, along the other none."""
    features = peak(np.ones(3))
    rois = same_box(80, (3, 3, 7, 7))
    rois[::2, [1, 3]] += 1000
    options = {"sampling_ratio": 2, "mode": "max"}
    _, argmax = roicy.roi_align(features, rois, 5, return_argmax=True, **options)
    grad = np.ones((80, 3, 5, 5), np.float32)
    both = roicy.roi_align_backward(grad, rois, features.shape, argmax=argmax, **options)
    inside = roicy.roi_align_backward(grad[1::2], rois[1::2], features.shape, argmax=argmax[1::2], **options)
    np.testing.assert_allclose(both, inside, rtol=2 * BOUND)


@pytest.mark.cpu_only("the CUDA kernels sum the slopes of a box in double precision")
@pytest.mark.parametrize("size", [8, 14, 17, 100, 300])
def test_gradients_of_large_boxes_of_maxima(size):
    features, grad, _ = combs((2 * size + 2, 2 * size + 2), (size, size), "x")
    rois = same_box(1, (0, 0, 2 * size, 2 * size))
    options = {"sampling_ratio": 2, "mode": "max"}
    _, argmax = roicy.roi_align(features, rois, size, return_argmax=True, **options)
    found = roicy.roi_align_backward_rois(grad, features, rois, argmax=argmax, **options)
    wide = grad.astype(np.float64), features.astype(np.float64), rois
    exact = roicy.roi_align_backward_rois(*wide, argmax=argmax, **options)
    assert np.abs(found - exact).max() <= BOUND / 4 * np.abs(exact).max()


@pytest.mark.parametrize("operator", ["roi_align", "roi_align_rotated"])
def test_gradients_in_pieces_have_the_same_bits_for_any_number_of_threads(operator):
    rng = np.random.default_rng(4)
    rois = np.column_stack([np.zeros(600), *rng.uniform(8, 24, (2, 600)), *rng.uniform(6, 30, (2, 600))])
    if operator == "roi_align_rotated":
        rois = np.column_stack([rois, rng.uniform(-180, 180, 600)])
    grad = rng.standard_normal((600, 20, 3, 3), dtype=np.float32)
    backward = getattr(roicy, f"{operator}_backward")
    results = []
    for threads in (1, 2, 5):
        with roicy.num_threads(threads):
            results.append(backward(grad, rois.astype(np.float32), (1, 20, 90, 40)))
    exact = backward(grad.astype(np.float64), rois.astype(np.float32), (1, 20, 90, 40))
    assert np.abs(results[0] - exact).max() <= BOUND * np.abs(exact).max()
    for result in results[1:]:
        assert_same_bits(result, results[0])


@pytest.mark.parametrize("axis", ["x", "y"])
@pytest.mark.parametrize(
    ("size", "sampling_ratio"), [((300, 300), 1), ((1, 1500), 1), ((1500, 1), 1), ((20, 20), 10)]
)
def test_gradients_of_large_boxes(size, sampling_ratio, axis):
    """All samples lie between a zero and a constant: every edge gets half of it from each bin."""
    check_gradients_of_a_large_box(size, sampling_ratio, axis)


@pytest.mark.parametrize("axis", ["x", "y"])
def test_gradients_of_a_bin_of_very_many_samples(axis):
    check_gradients_of_a_large_box((1, 1), 500, axis)


def check_gradients_of_a_large_box(size, sampling_ratio, axis):
    height, width = (2 * sampling_ratio * bins for bins in size)
    features, grad, slope = combs((height + 2, width + 2), size, axis)
    found = roicy.roi_align_backward_rois(
        grad, features, same_box(1, (0, 0, width, height)), sampling_ratio=sampling_ratio
    )
    x, y = (0.5, 0) if axis == "x" else (0, 0.5)
    assert np.abs(found[0, 1:] / slope - [x, y, x, y]).max() <= BOUND


@pytest.mark.parametrize("axis", ["x", "y"])
@pytest.mark.parametrize(
    ("size", "sampling_ratio"),
    [
        ((1, 1), 128),
        ((8, 8), 1),
        ((17, 17), 1),
        ((300, 300), 1),
        ((1, 1500), 1),
        ((1500, 1), 1),
        ((20, 20), 10),
    ],
)
def test_gradients_of_large_rotated_boxes(size, sampling_ratio, axis):
    """The centre gets a constant from each bin."""
    height, width = (2 * sampling_ratio * bins for bins in size)
    features, grad, slope = combs((height + 2, width + 2), size, axis)
    box = (width / 2, height / 2, width, height, 0)
    found = roicy.roi_align_rotated_backward_rois(
        grad, features, same_box(1, box), sampling_ratio=sampling_ratio
    )
    assert np.abs(found[0, 1:3] / slope - ([1, 0] if axis == "x" else [0, 1])).max() <= BOUND


def combs(shape, size, axis):
    """Columns (rows) of zero and of the channel's constant in turn, equal gradients, and what both make."""
    values = np.random.default_rng(5).uniform(1, 2, (2, 3)).astype(np.float32)
    comb = np.arange(shape[1]) % 2 if axis == "x" else np.arange(shape[0])[:, None] % 2
    features = values[0][None, :, None, None] * np.broadcast_to(comb, shape).astype(np.float32)
    grad = np.broadcast_to(values[1][None, :, None, None], (1, 3, *size))
    return features, grad, np.prod(values, axis=0, dtype=np.float64).sum() * size[0] * size[1]
