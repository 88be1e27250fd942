"""`deform_roi_pool`: which offsets and masks are valid, their gradients, and cases with known results.

What every operator promises of its boxes and maps it is asked in `tests/promises`.
"""

import pickle

import numpy as np
import pytest
import reference.deform
from closeness import assert_close, assert_same_bits, assert_sums_close
from hypothesis import strategies as st
from strategies import BFLOAT16, random_values

import roicy
from operators.deform import deform_problems, offsets_of

pytestmark = pytest.mark.usefixtures("backend")

RNG = np.random.default_rng(0)
FEATURES = RNG.standard_normal((2, 5, 9, 12)).astype(np.float32)
ROIS = np.array([[0, 1, 2, 9, 8], [1, -3, 0.5, 5, 11], [1, 4, 4, 4.5, 6], [0, 8, 8, 2, 2]], np.float32)
SIZE = (3, 2)
BINS = (len(ROIS), *SIZE)
OFFSETS = RNG.uniform(-3, 3, (len(ROIS), 2, *SIZE)).astype(np.float32)
MASK = RNG.uniform(-1, 2, (len(ROIS), 1, *SIZE)).astype(np.float32)
GRAD = RNG.standard_normal((len(ROIS), 5, *SIZE)).astype(np.float32)


# ---------------------------------------------------------------- mmcv's own numbers

#: Map, box, result and the gradient of its sum where no bin is moved, in the tests of mmcv (Apache-2.0).
PUBLISHED = [
    ([[1, 2], [3, 4]], 1, [[1, 1.25], [1.5, 1.75]], [[3.0625, 0.4375], [0.4375, 0.0625]]),
    ([[4, 3], [2, 1]], 1, [[4, 3.75], [3.5, 3.25]], [[3.0625, 0.4375], [0.4375, 0.0625]]),
    (
        [[1, 2, 5, 6], [3, 4, 7, 8], [9, 10, 13, 14], [11, 12, 15, 16]],
        3,
        [[1.9375, 4.75], [7.5625, 10.375]],
        [
            [0.47265625, 0.4296875, 0.4296875, 0.04296875],
            [0.4296875, 0.390625, 0.390625, 0.0390625],
            [0.4296875, 0.390625, 0.390625, 0.0390625],
            [0.04296875, 0.0390625, 0.0390625, 0.00390625],
        ],
    ),
]


@pytest.mark.parametrize("offsets", [None, np.zeros((1, 2, 2, 2), np.float32)], ids=["none", "zeros"])
@pytest.mark.parametrize("pixels, side, pooled, gradient", PUBLISHED, ids=[0, 1, 2])
def test_published_numbers(pixels, side, pooled, gradient, offsets):
    features = np.array([[pixels]], np.float32)
    rois = np.array([[0, 0, 0, side, side]], np.float32)
    out = roicy.deform_roi_pool(features, rois, offsets, 2, sampling_ratio=2)
    np.testing.assert_allclose(out[0, 0], pooled, rtol=1e-6)
    grad = roicy.deform_roi_pool_backward(np.ones_like(out), rois, offsets, features.shape, sampling_ratio=2)
    np.testing.assert_allclose(grad[0, 0], gradient, rtol=1e-6)


# ---------------------------------------------------------------- against the reference


@st.composite
def masked_problems(draw):
    """Problems with offsets of any size and a mask, or without; offsets and mask are not of the boxes."""
    problem = draw(deform_problems(most_channels=20))
    k, dtype = len(problem.rois), problem.rois.dtype
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    offsets = mask = None
    if draw(st.integers(0, 4)):
        spread = draw(st.sampled_from([0.0, 1.0, 5.0, 100.0]))
        offsets = (spread * rng.standard_normal((k, 2, *problem.output_size))).astype(dtype)
        if draw(st.booleans()):
            huge = rng.random(offsets.shape) < 0.2
            offsets[huge] = rng.choice([1e9, -1e30, 3e38, -3e38], huge.sum())
    if offsets is None or draw(st.booleans()):
        mask_dtype = draw(st.sampled_from([np.float32, np.float64, np.float16]))
        mask = rng.uniform(-0.5, 2, (k, *problem.output_size)).astype(mask_dtype)
        mask[rng.random(mask.shape) < 0.1] = 0
        if draw(st.booleans()):
            mask = mask[:, None]
    return problem, offsets, mask


def scale_of(problem, offsets, mask):
    """How large the terms of a result are, where a mask of both signs has them cancel."""
    sizes = None if mask is None else np.abs(mask)
    call = problem.features, problem.rois, problem.output_size
    expected = reference.deform.deform_roi_pool(*call, offsets=offsets, mask=sizes, **problem.options)
    return np.abs(expected).max(initial=0)


def test_offsets_and_mask(examples):
    @examples(masked_problems(), share=2 / 3)
    def hold(drawn):
        problem, offsets, mask = drawn
        options = {**problem.options, "mask": mask}
        expected = reference.deform.deform_roi_pool(
            problem.features, problem.rois, problem.output_size, offsets=offsets, **options
        )
        out = roicy.deform_roi_pool(problem.features, problem.rois, offsets, problem.output_size, **options)
        assert_close(out, expected, scale=scale_of(problem, offsets, mask))


def test_gradients(examples):
    """... of the features, of the offsets and of the mask."""

    @examples(masked_problems(), st.integers(0, 99), share=2 / 3)
    def hold(drawn, seed):
        problem, offsets, mask = drawn
        features, rois, options = problem.features, problem.rois, problem.options
        grad_output = random_values(np.random.default_rng(seed), problem.grad_output().shape, np.float32)
        grad_output = grad_output.astype(problem.grad_output().dtype)
        grad = roicy.deform_roi_pool_backward(
            grad_output, rois, offsets, features.shape, mask=mask, **options
        )
        call = grad_output, rois, features.shape
        sizes = None if mask is None else np.abs(mask)
        scale = reference.deform.deform_roi_pool_backward(*call, offsets=offsets, mask=sizes, **options)
        expected = reference.deform.deform_roi_pool_backward(*call, offsets=offsets, mask=mask, **options)
        assert_close(grad, expected, scale=np.abs(scale).max(initial=0))
        precision = "float64" if features.dtype == np.float64 else "float32"
        if offsets is not None:
            grad = roicy.deform_roi_pool_backward_offsets(
                grad_output, features, rois, offsets, mask=mask, **options
            )
            assert grad.dtype == rois.dtype
            expected, terms = reference.deform.deform_roi_pool_backward_offsets(
                grad_output, features, rois, offsets=offsets, mask=mask, **options
            )
            # slopes are differences of values: these are the terms
            values = np.abs(features.astype(np.float64)).max(initial=0) * np.abs(grad_output).astype(
                np.float64
            )
            corners = rois.astype(np.float64)
            reach = np.abs(corners[:, 3:] - corners[:, 1:3]) * abs(options["gamma"])
            bound = 2 * values.sum(axis=1).max(initial=0) * reach * options["spatial_scale"]
            if mask is not None:
                bound = bound * np.abs(mask).max(initial=0)
            terms = np.maximum(terms, np.broadcast_to(bound[:, :, None, None], terms.shape))
            both = "float64" if precision == "float64" and grad.dtype == np.float64 else "float32"
            with np.errstate(over="ignore"):
                held = terms < np.finfo(grad.dtype).max / 8
            assert_sums_close(grad[held], expected[held], terms[held], both)
        if mask is not None:
            grad = roicy.deform_roi_pool_backward_mask(grad_output, features, rois, offsets, mask, **options)
            assert grad.shape == mask.shape
            expected, terms = reference.deform.deform_roi_pool_backward_mask(
                grad_output, features, rois, offsets=offsets, mask=mask, **options
            )
            both = "float64" if precision == "float64" and grad.dtype == np.float64 else "float32"
            assert_sums_close(grad.reshape(terms.shape), expected, terms, both)


def test_gradients_are_those_of_differences():
    """Near the border, too, where upstream's is another: there samples do not follow."""
    rng = np.random.default_rng(3)
    features = rng.standard_normal((1, 3, 5, 6))
    rois = np.array([[0, -1.1, -0.9, 3.3, 2.7], [0, 2.2, 1.9, 6.6, 6.1], [0, 1, 1, 4.3, 3.9]])
    offsets = rng.uniform(-1, 1, (3, 2, 2, 3))
    mask = rng.uniform(0, 2, (3, 1, 2, 3))
    grad_output = rng.standard_normal((3, 3, 2, 3))
    step, options = 2.0**-22, {"sampling_ratio": 2, "gamma": 0.3}

    def total(offsets, mask):
        pooled = roicy.deform_roi_pool(features, rois, offsets, (2, 3), mask=mask, **options)
        return (pooled * grad_output).sum(axis=1)

    found = roicy.deform_roi_pool_backward_offsets(grad_output, features, rois, offsets, mask=mask, **options)
    for channel in range(2):
        move = np.zeros(offsets.shape)
        move[:, channel] = step
        slope = (total(offsets + move, mask) - total(offsets - move, mask)) / (2 * step)
        np.testing.assert_allclose(found[:, channel], slope, atol=1e-7)
    found = roicy.deform_roi_pool_backward_mask(grad_output, features, rois, offsets, mask, **options)
    np.testing.assert_allclose(
        found[:, 0], total(offsets, mask + 0.5) - total(offsets, mask - 0.5), atol=1e-12
    )


def test_beyond_the_outermost_centres():
    """Along y the value is constant above the first row; mmcv has a slope there."""
    features = np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4)
    rois = np.array([[0, 1, 0, 2, 0.5]], np.float32)  # its sample lies at y = -0.25
    offsets, grad_output = np.zeros((1, 2, 1, 1), np.float32), np.ones((1, 1, 1, 1), np.float32)
    found = roicy.deform_roi_pool_backward_offsets(
        grad_output, features, rois, offsets, sampling_ratio=1, gamma=1.0
    )
    np.testing.assert_allclose(found.ravel(), [1, 0])


# ---------------------------------------------------------------- layouts, threads, plans


def everything(features=FEATURES, rois=ROIS, offsets=OFFSETS, mask=MASK, grad=GRAD, **options):
    """The result and all gradients."""
    size = grad.shape[2:] if options.get("layout") != "NHWC" else grad.shape[1:3]
    options = {"sampling_ratio": 2, **options}
    return [
        roicy.deform_roi_pool(features, rois, offsets, size, mask=mask, **options),
        roicy.deform_roi_pool_backward(grad, rois, offsets, features.shape, mask=mask, **options),
        roicy.deform_roi_pool_backward_offsets(grad, features, rois, offsets, mask=mask, **options),
        roicy.deform_roi_pool_backward_mask(grad, features, rois, offsets, mask, **options),
    ]


def test_layout():
    """Of offsets and mask it is the same in either."""
    axes = (0, 2, 3, 1)
    features, grad = (np.ascontiguousarray(array.transpose(axes)) for array in (FEATURES, GRAD))
    found = everything(features, grad=grad, layout="NHWC")
    for number, (result, expected) in enumerate(zip(found, everything(), strict=True)):
        assert_close(result, (expected.transpose(axes) if number < 2 else expected).astype(np.float64))


def test_threads():
    rng = np.random.default_rng(5)
    rois = np.column_stack([np.zeros(200), rng.uniform(-5, 60, (200, 4))]).astype(np.float32)
    call = {
        "features": rng.standard_normal((1, 70, 50, 60)).astype(np.float32),
        "rois": rois,
        "offsets": rng.standard_normal((200, 2, 3, 2)).astype(np.float32),
        "mask": rng.random((200, 3, 2)).astype(np.float32),
        "grad": rng.standard_normal((200, 70, 3, 2)).astype(np.float32),
    }
    with roicy.num_threads(1):
        expected = everything(**call)
    for threads in (2, 3, 4):
        with roicy.num_threads(threads):
            for found, wanted in zip(everything(**call), expected, strict=True):
                assert_same_bits(found, wanted)


@pytest.mark.parametrize("forms", ["rows", "batch_indices", "lists"])
def test_boxes_in_any_form(forms):
    order = np.argsort(ROIS[:, 0], kind="stable")
    rois, offsets, mask, grad = ROIS[order], OFFSETS[order], MASK[order], GRAD[order]
    expected = everything(FEATURES, rois, offsets, mask, grad)
    options = {}
    if forms == "batch_indices":
        rois, options = rois[:, 1:], {"batch_indices": rois[:, 0].astype(np.uint8)}
    elif forms == "lists":
        rois = [rois[:2, 1:], rois[2:, 1:]]
    for found, wanted in zip(
        everything(FEATURES, rois, offsets, mask, grad, **options), expected, strict=True
    ):
        assert_same_bits(found, wanted)


def test_out():
    """Strided, and untouched where offsets are wrong."""
    for number, expected in enumerate(everything()):
        out = np.full((*expected.shape[:-1], 2 * expected.shape[-1]), 7, np.float32)[..., ::2]
        calls = [
            lambda o, out=out: roicy.deform_roi_pool(
                FEATURES, ROIS, o, SIZE, mask=MASK, sampling_ratio=2, out=out
            ),
            lambda o, out=out: roicy.deform_roi_pool_backward(
                GRAD, ROIS, o, FEATURES.shape, mask=MASK, sampling_ratio=2, out=out
            ),
            lambda o, out=out: roicy.deform_roi_pool_backward_offsets(
                GRAD, FEATURES, ROIS, o, mask=MASK, sampling_ratio=2, out=out
            ),
            lambda o, out=out: roicy.deform_roi_pool_backward_mask(
                GRAD, FEATURES, ROIS, o, MASK, sampling_ratio=2, out=out
            ),
        ]
        wrong = OFFSETS.copy()
        wrong[2, 1, 0, 1] = np.inf
        with pytest.raises(ValueError, match=r"offsets\[2, 1, 0, 1\] is inf.*finite numbers"):
            calls[number](wrong)
        assert (out == 7).all()
        assert calls[number](OFFSETS) is out
        assert_same_bits(out, expected)


@pytest.mark.parametrize("mask", [MASK, MASK[:, 0], None], ids=["1", "flat", "none"])
def test_plan(mask):
    """The results of the functions; a copy of a plan has the offsets and the mask, too."""
    rois, offsets = ROIS.copy(), OFFSETS.copy()
    given = None if mask is None else mask.copy()
    plan = roicy.deform_roi_pool_plan(rois, offsets, FEATURES.shape, SIZE, sampling_ratio=2, mask=given)
    rois[:], offsets[:] = 0, 9
    if given is not None:
        given[:] = 5
    options = {"sampling_ratio": 2, "mask": mask}
    for one in (plan, pickle.loads(pickle.dumps(plan))):
        assert isinstance(one, roicy.DeformRoIPoolPlan)
        assert_same_bits(one(FEATURES), roicy.deform_roi_pool(FEATURES, ROIS, OFFSETS, SIZE, **options))
        assert_same_bits(
            one.backward(GRAD), roicy.deform_roi_pool_backward(GRAD, ROIS, OFFSETS, FEATURES.shape, **options)
        )
        assert_same_bits(
            one.backward_offsets(GRAD, FEATURES),
            roicy.deform_roi_pool_backward_offsets(GRAD, FEATURES, ROIS, OFFSETS, **options),
        )
        if mask is None:
            with pytest.raises(ValueError, match="mask must be an array"):
                one.backward_mask(GRAD, FEATURES)
        else:
            assert_same_bits(
                one.backward_mask(GRAD, FEATURES),
                roicy.deform_roi_pool_backward_mask(GRAD, FEATURES, ROIS, OFFSETS, mask, sampling_ratio=2),
            )
    with pytest.raises(ValueError, match="no gradient with respect to boxes"):
        plan.backward_rois(GRAD, FEATURES)
    for part in ("deform_roi_pool", "4 rois", "gamma=0.1", "sampling_ratio=2"):
        assert part in repr(plan)


# ---------------------------------------------------------------- what offsets and mask may be


FOREIGN = pytest.param(">f4", marks=pytest.mark.numpy_only(reason="CuPy has no foreign byte order"))


@pytest.mark.parametrize("dtype", [np.float16, np.float64, np.int8, np.int64, FOREIGN, *BFLOAT16], ids=str)
def test_dtypes(dtype):
    """Positions are computed in the wider dtype of boxes and offsets, and so is the gradient."""
    offsets, mask = OFFSETS.astype(dtype), np.round(4 * MASK).astype(dtype)
    wide = np.float64 if np.dtype(dtype).itemsize == 8 else np.float32
    found = everything(offsets=offsets, mask=mask)
    expected = everything(offsets=offsets.astype(wide), mask=mask.astype(wide), rois=ROIS.astype(wide))
    assert found[2].dtype == found[3].dtype == wide
    for result, wanted in zip(found, expected, strict=True):
        assert_same_bits(result, wanted)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", ["offsets", "mask"])
def test_rows_that_are_not_finite(where, value):
    """NaN with invalid="nan", and no gradient; the other rows as they are."""
    offsets, mask = OFFSETS.copy(), MASK.copy()
    {"offsets": offsets, "mask": mask}[where][1, 0, 2, 1] = value
    with pytest.raises(ValueError, match=rf"{where}\[1, 0, 2, 1\] is {value}: expected finite numbers only"):
        everything(offsets=offsets, mask=mask)
    found = everything(offsets=offsets, mask=mask, invalid="nan")
    rois = ROIS.copy()
    rois[1, 2] = np.nan
    for number, (result, wanted) in enumerate(zip(found, everything(rois=rois, invalid="nan"), strict=True)):
        assert_same_bits(result, wanted)
        if number != 1:
            assert np.isnan(result[1]).all() if number == 0 else not result[1].any()


@pytest.mark.parametrize("gamma", [1.0, 1e30, -3e38, 0.0])
@pytest.mark.parametrize("size", [3e38, -3e38, 1e30, 2.0**31, -(2.0**63), 1e-45])
def test_huge_offsets(size, gamma):
    """They move bins off the map, and nothing else."""
    offsets = np.zeros_like(OFFSETS)
    offsets[:, 0, 1, 0], offsets[:, 1, 2, 1] = size, -size
    found = everything(offsets=offsets, gamma=gamma)
    assert all(np.isfinite(result).all() for result in found[:2])
    expected = reference.deform.deform_roi_pool(
        FEATURES, ROIS, SIZE, offsets=offsets, mask=MASK, gamma=gamma, sampling_ratio=2
    )
    assert_close(found[0], expected)


BAD = {
    "offsets": [
        (OFFSETS[:3], ValueError, r"offsets must have shape \(4, 2, 3, 2\).*got \(3, 2, 3, 2\)"),
        (OFFSETS[:, :1], ValueError, "offsets must have shape"),
        (OFFSETS.transpose(0, 2, 3, 1), ValueError, "offsets must have shape"),
        (OFFSETS.astype(complex), TypeError, "offsets must be float32 or float64"),
        (OFFSETS.astype(bool), TypeError, "offsets must be float32 or float64"),
        (OFFSETS.tolist(), TypeError, "offsets must be a NumPy or CuPy array"),
        (0.5, TypeError, "offsets must be a NumPy or CuPy array"),
    ],
    "mask": [
        (MASK[:3], ValueError, r"mask must have shape \(4, 1, 3, 2\) or \(4, 3, 2\).*got \(3, 1, 3, 2\)"),
        (np.ones((4, 5, 3, 2), np.float32), ValueError, "mask must have shape"),
        (MASK.astype("datetime64[s]"), TypeError, "mask must be float32 or float64"),
        (1.0, TypeError, "mask must be a NumPy or CuPy array"),
    ],
    "gamma": [
        ("0.1", TypeError, "gamma must be a real number"),
        (np.nan, ValueError, "gamma must be finite"),
        (np.inf, ValueError, "gamma must be finite"),
        (1e39, ValueError, "gamma must be finite in float32"),
    ],
    "sampling_ratio": [(129, ValueError, "at most 128 for bins that are moved")],
}


@pytest.mark.parametrize(
    "name, value, error, says", [(name, *case) for name, cases in BAD.items() for case in cases], ids=str
)
def test_errors(name, value, error, says):
    with pytest.raises(error, match=says):
        everything(**{name: value})


def test_gradients_of_what_is_not_there():
    with pytest.raises(ValueError, match="offsets must be an array"):
        roicy.deform_roi_pool_backward_offsets(GRAD, FEATURES, ROIS, None)
    with pytest.raises(ValueError, match="mask must be an array"):
        roicy.deform_roi_pool_backward_mask(GRAD, FEATURES, ROIS, OFFSETS, None)


def test_outputs_that_share_memory_with_offsets():
    offsets = np.zeros((4, 2, 3, 2), np.float32)
    with pytest.raises(ValueError, match="out must not overlap"):
        roicy.deform_roi_pool_backward_offsets(GRAD, FEATURES, ROIS, offsets, out=offsets)
    with pytest.raises(ValueError, match="out must not overlap"):
        roicy.deform_roi_pool_backward_mask(GRAD, FEATURES, ROIS, OFFSETS, MASK, out=MASK)


def test_no_boxes_and_no_channels():
    for rois, channels in ((ROIS[:0], 5), (ROIS, 0)):
        k = len(rois)
        found = everything(FEATURES[:, :channels], rois, OFFSETS[:k], MASK[:k], GRAD[:k, :channels])
        shapes = (k, channels, *SIZE), (2, channels, 9, 12), (k, 2, *SIZE), (k, 1, *SIZE)
        assert tuple(result.shape for result in found) == shapes
        assert not any(result.any() for result in found)


def test_bins_move_with_their_offsets():
    """By whole pixels: what another box has there."""
    rois = np.array([[0, 1, 1, 5, 3]], np.float32)
    features = RNG.standard_normal((1, 2, 9, 12)).astype(np.float32)
    offsets = np.empty((1, 2, 2, 2), np.float32)
    offsets[:, 0], offsets[:, 1] = 2.5, 10  # of 0.1 * 4 and of 0.1 * 2
    moved = roicy.deform_roi_pool(features, rois, offsets, 2, sampling_ratio=2)
    expected = roicy.roi_align(features, rois + np.float32([0, 1, 2, 1, 2]), 2, sampling_ratio=2)
    np.testing.assert_allclose(moved, expected, rtol=1e-5, atol=1e-6)


def test_offsets_of_the_record_move_bins():
    """What the promises are asked with is no plain `roi_align`."""
    offsets = offsets_of(ROIS, SIZE)
    assert offsets.std() > 0.5
    assert offsets.dtype == np.float32
