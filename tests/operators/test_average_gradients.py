"""`roi_align_backward_rois`: the gradient with respect to the boxes."""

import battery
import numpy as np
import pytest
from closeness import assert_same_bits
from strategies import random_values

import roicy

pytestmark = pytest.mark.usefixtures("backend")


# ---------------------------------------------------------------- central differences


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("sampling_ratio", [0, 2])
def test_moving_a_box_over_a_ramp(aligned, sampling_ratio):
    """On a ramp of slope 3 to the right and 5 downwards each edge of the box carries its share."""
    y, x = np.mgrid[:20, :20].astype(np.float64)
    ramp = (3 * x + 5 * y)[None, None]
    rois = np.array([[0, 8.0, 12.0, 24.0, 30.0]])
    options = {"spatial_scale": 0.5, "sampling_ratio": sampling_ratio, "aligned": aligned}
    grad = roicy.roi_align_backward_rois(np.ones((1, 1, 1, 1)), ramp, rois, **options)
    np.testing.assert_allclose(grad, [[0, 0.75, 1.25, 0.75, 1.25]], rtol=1e-14)
    # The left of two columns lies a quarter of the way from x1 to x2.
    left = np.array([1.0, 0.0]).reshape(1, 1, 1, 2)
    grad = roicy.roi_align_backward_rois(left, ramp, rois, **options)
    np.testing.assert_allclose(grad, [[0, 1.5 * 0.75, 1.25, 1.5 * 0.25, 1.25]], rtol=1e-14)


# ---------------------------------------------------------------- kinks, each with its rule


def one_sample(box, features, **options):
    """Gradient of a single sample in the middle of a box, in pixel coordinates (not aligned)."""
    grad_output = np.ones((1, features.shape[1], 1, 1), features.dtype)
    rois = np.array([[0, *box]], np.float64)
    options = {"sampling_ratio": 1, "aligned": False, **options}
    return roicy.roi_align_backward_rois(grad_output, features, rois, **options)[0, 1:].tolist()


def steps(*values):
    """A map of one row with the given differences between neighbours."""
    return np.cumsum([0.0, *values]).reshape(1, 1, 1, -1)


def test_whole_numbers_take_the_slope_to_the_right():
    features = steps(1, 10, 100)
    for position, slope in [(0.5, 1), (1.0, 10), (1.5, 10), (2.0, 100), (0.0, 1)]:
        gradient = one_sample((position - 2, 0, position + 2, 1), features)
        assert gradient == [slope / 2, 0, slope / 2, 0]


def test_clamped_positions_are_flat():
    """At the left border positions below 0, at the right border everything from the last pixel on."""
    features = steps(1, 10, 100)
    for position in (-1.0, -0.5, -1e-9, 3.0, 3.5, 4.0):
        assert one_sample((position - 2, 0, position + 2, 1), features) == [0, 0, 0, 0]


def test_samples_off_the_map_are_flat():
    features = steps(1, 10, 100)
    for position in (-1.001, 4.001, 1e9, -1e30):
        assert one_sample((position - 2, 0, position + 2, 1), features) == [0, 0, 0, 0]
    # Off the map in y, though x is inside.
    assert one_sample((0, 50, 3, 52), features) == [0, 0, 0, 0]


def test_a_single_row_has_no_slope_in_y():
    gradient = one_sample((0, 0, 3, 1), steps(1, 10, 100))
    assert gradient == [5, 0, 5, 0]


def test_boxes_widened_to_one_pixel_only_move():
    """Not aligned, a width below 1 counts as 1 from x1 on: x2 has no say."""
    features = steps(1, 10, 100)
    assert one_sample((0.75, 0, 1.5, 1), features) == [10, 0, 0, 0]
    assert one_sample((0.75, 0, -7.0, 1), features) == [10, 0, 0, 0]
    assert one_sample((0.75, 0, 1.75, 1), features) == [5, 0, 5, 0]  # a width of exactly 1 is no less
    assert one_sample((1.5, 0, 3.0, 2), features, spatial_scale=0.5) == [5, 0, 0, 0]


def test_aligned_boxes_without_size():
    features = steps(1, 10, 100)
    assert one_sample((2, 0, 2, 1), features, aligned=True) == [5, 0, 5, 0]
    assert one_sample((2, 0, 2, 1), features, aligned=True, sampling_ratio=0) == [0, 0, 0, 0]
    assert one_sample((3, 0, 2, 1), features, aligned=True, sampling_ratio=0) == [0, 0, 0, 0]


def test_mirrored_boxes():
    """Aligned with a given number of samples, a reversed box samples from right to left."""
    features = steps(1, 10, 100)
    rois = np.array([[0, 3.0, 0.5, 1.0, 0.5]])
    first_bin = np.array([1.0, 0.0]).reshape(1, 1, 1, 2)
    grad = roicy.roi_align_backward_rois(first_bin, features, rois, sampling_ratio=1)
    # Its sample lies at 3 - 0.5 - 0.5 = 2, a quarter of the way along the box; the slope to the right is 100.
    assert grad.tolist() == [[0, 75, 0, 25, 0]]


# ---------------------------------------------------------------- forms of arguments

ROIS = np.array([[2, 0, 1, 5, 6], [0, 2, 2, 9, 11], [2, 3, 0, 4, 12], [1, 1, 1, 2, 2]], np.float32)
FEATURES = random_values(np.random.default_rng(3), (3, 5, 12, 10), np.dtype("float32"))
GRAD_OUTPUT = random_values(np.random.default_rng(4), (4, 5, 2, 3), np.dtype("float32"))


@pytest.mark.parametrize(
    "box_dtype, dtype",
    [("float16", "float32"), ("int16", "float32"), ("int32", "float64"), ("float64", "float64")],
)
def test_dtype_of_the_gradient(box_dtype, dtype):
    grad = roicy.roi_align_backward_rois(GRAD_OUTPUT, FEATURES, ROIS.astype(box_dtype))
    assert grad.dtype == dtype


@pytest.mark.cpu_only(reason="the CPU sums blocks of channels")
@pytest.mark.parametrize("operator", ["average", "max", "rotated"])
def test_more_boxes_than_are_summed_at_once(operator):
    """So many at a time that their channels' parts fit into some memory: the same as those boxes alone."""
    count, rng = 20000, np.random.default_rng(0)
    features = random_values(rng, (3, 256, 6, 7), "float32")
    corners = battery.random_boxes(rng, count, 6, 7)
    rois = np.column_stack([rng.integers(3, size=count), corners]).astype(np.float32)
    rois[::1999, 1] = np.nan
    grad_output = random_values(rng, (count, 256, 1, 1), "float32")
    options = {"sampling_ratio": 2, "invalid": "nan"}
    gradient = roicy.roi_align_backward_rois
    argmax = None
    if operator == "rotated":
        gradient = roicy.roi_align_rotated_backward_rois
        rois = np.column_stack([rois, rng.uniform(-180, 180, count)]).astype(np.float32)
    if operator == "max":
        options["mode"] = "max"
        argmax = rng.integers(0, 4, grad_output.shape).astype(np.int32)

    def of(part):
        chosen = {} if argmax is None else {"argmax": argmax[part]}
        return gradient(grad_output[part], features, rois[part], **chosen, **options)

    grad = of(np.s_[:])
    for part in (np.s_[:700], np.s_[12345:13000], np.s_[19500:]):
        assert_same_bits(grad[part], of(part))
    assert (grad[:, 1:] != 0).any(axis=0).all()
