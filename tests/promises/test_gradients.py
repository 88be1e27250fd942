"""Gradients against the reference, by the adjoint's identity and by differences."""

import battery
import numpy as np
import pytest
from closeness import RELATIVE_BOUND, assert_close, assert_same_bits
from hypothesis import assume
from hypothesis import strategies as st
from operators import BATTERY, MAX, OPERATORS, POOL, of_all, of_battery, of_sloped, those
from strategies import FLOAT_DTYPES, LAYOUTS, random_values, rising_values

pytestmark = pytest.mark.usefixtures("backend")

REAL_DTYPES = [np.dtype("float32"), np.dtype("float64")]


def arranged(layout, array):
    return array if array is None else layout(array)


@of_all
def test_backward(operator, examples):
    """Of maxima, with an argmax that names anything."""

    @examples(
        operator.problems(dtypes=FLOAT_DTYPES),
        st.sampled_from(LAYOUTS),
        st.integers(0, 99),
        share=operator.share,
    )
    def hold(problem, layout, seed):
        plain, argmax = problem.grad_output(seed), operator.chosen(problem, seed)
        grad_output = layout(plain)
        shape = problem.features.shape
        grad = operator.backward(
            grad_output, problem.rois, shape, arranged(layout, argmax), **problem.options
        )
        assert grad.dtype == grad_output.dtype
        assert_close(grad, operator.expected_backward(problem, plain, argmax))


@of_sloped
def test_backward_rois(operator, examples):
    @examples(
        operator.problems(values=rising_values),
        st.sampled_from(LAYOUTS),
        st.integers(0, 99),
        share=operator.share,
    )
    def hold(problem, layout, seed):
        plain, argmax, features = problem.grad_output(seed), operator.chosen(problem, seed), problem.features
        grad = operator.backward_rois(
            layout(plain), layout(features), problem.rois, arranged(layout, argmax), **problem.options
        )
        assert grad.dtype == problem.rois.dtype
        assert grad.shape == problem.rois.shape
        assert not grad[:, 0].any()
        operator.hold_slopes(grad, operator.expected_backward_rois(problem, plain, argmax), features.dtype)


@of_battery(BATTERY)
def test_battery(operator, case):
    assert_close(battery.backward(operator, case), battery.expected_backward(operator, case))


@of_battery([pair for pair in BATTERY if pair[0].has_slopes])
def test_battery_of_boxes(operator, case):
    battery.check(operator, case, "backward_rois", battery.backward_rois(operator, case))


@of_all
def test_adjoint_identity(operator, examples):
    """<A x, g> = <x, A' g>, with values of both signs; A picks what a maximum picked."""

    @examples(operator.problems(dtypes=REAL_DTYPES), st.integers(0, 99), share=operator.share)
    def hold(problem, seed):
        rng = np.random.default_rng(seed)
        dtype = problem.features.dtype
        features = rng.standard_normal(problem.features.shape).astype(dtype)
        grad_output = rng.standard_normal(problem.grad_output().shape).astype(dtype)
        call = problem.rois, problem.output_size
        out, argmax = operator.both(features, *call, **problem.options)
        grad = operator.backward(grad_output, problem.rois, features.shape, argmax, **problem.options)
        forward_side = (out.astype(np.float64) * grad_output).sum()
        backward_side = (features.astype(np.float64) * grad).sum()
        # the absolute terms of the sum, so that it may cancel
        terms = operator.forward(np.abs(features), *call, **problem.options).astype(np.float64)
        scale = (terms * np.abs(grad_output)).sum()
        assert abs(forward_side - backward_side) <= RELATIVE_BOUND[dtype.name] * scale


@of_all
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_boxes_add_up(operator, layout, backend):
    """The gradient of many boxes is the sum of the gradients of each, whatever image they are on."""
    name = "nhwc-16" if operator.position_sensitive else "many-boxes-flat-bins"
    case = battery.CASES[battery.CASE_IDS.index(name)]
    problem = battery.build(operator, case)
    argmax = operator.chosen(problem, 0)
    options = {"layout": layout, **problem.options}
    grad_output = np.ascontiguousarray(battery.to_layout(problem.grad_output().astype(np.float64), layout))
    argmax = None if argmax is None else np.ascontiguousarray(battery.to_layout(argmax, layout))
    rois = problem.rois.astype(np.float64)
    shape = battery.to_layout(problem.features, layout).shape
    together = operator.backward(grad_output, rois, shape, argmax, **options)
    few = 16 if backend == "cuda" else 1  # fewer than CUDA's kernels take at a time
    added = np.zeros(shape)
    for k in range(0, len(rois), few):
        own = None if argmax is None else argmax[k : k + few]
        added += operator.backward(grad_output[k : k + few], rois[k : k + few], shape, own, **options)
    assert_close(together, added)


@those([operator for operator in OPERATORS if operator.kinks])
def test_central_differences(operator, examples):
    """Between kinks, of each of a box's numbers."""

    @examples(
        operator.problems(
            dtypes=[np.dtype("float64")],
            box_dtypes=[np.dtype("float64")],
            output_sizes=[(1, 1), (2, 3), (3, 2)],
            most_channels=3,
        ),
        st.integers(0, 99),
        share=operator.share,
    )
    def hold(problem, seed):
        assume(problem.rois.size and problem.features.size)
        rng = np.random.default_rng(seed)
        rois = problem.rois[(abs(problem.rois) < 1e3).all(axis=1)]
        # away from whole numbers, where there are kinks
        rois[:, 1:] += rng.uniform(-0.3, 0.3, (len(rois), operator.numbers))
        problem = problem._replace(rois=rois)
        assume(rois.size and not operator.kinks(problem, operator.step))
        features = rng.standard_normal(problem.features.shape)
        grad_output = rng.standard_normal(problem.grad_output().shape)
        grad = operator.backward_rois(grad_output, features, rois, **problem.options)

        def loss(column, move):
            """The sum that the gradient is of, for each box on its own."""
            moved = rois.copy()
            moved[:, column] += move
            out = operator.forward(features, moved, problem.output_size, **problem.options)
            return (out * grad_output).sum(axis=(1, 2, 3))

        for column in range(1, 1 + operator.numbers):
            difference = (loss(column, operator.step) - loss(column, -operator.step)) / (2 * operator.step)
            np.testing.assert_allclose(grad[:, column], difference, rtol=operator.bound, atol=operator.bound)


@pytest.mark.cpu_only(reason="the CPU sums blocks of channels")
@of_sloped
def test_more_boxes_than_are_summed_at_once(operator):
    """So many at a time that their channels' parts fit into some memory: the same as those boxes alone."""
    count, rng = 20000, np.random.default_rng(0)
    features = random_values(rng, (3, 256, 6, 7), "float32")
    images, corners = rng.integers(3, size=count), battery.random_boxes(rng, count, 6, 7)
    rois = operator.rois(rng, images, corners)
    rois[::1999, 1] = np.nan
    grad_output = random_values(rng, (count, 256, 1, 1), "float32")
    argmax = rng.integers(0, 4, grad_output.shape).astype(np.int32) if operator.has_argmax else None

    def of(part):
        chosen = None if argmax is None else argmax[part]
        options = {"sampling_ratio": 2, "invalid": "nan"}
        return operator.backward_rois(grad_output[part], features, rois[part], chosen, **options)

    grad = of(np.s_[:])
    for part in (np.s_[:700], np.s_[12345:13000], np.s_[19500:]):
        assert_same_bits(grad[part], of(part))
    assert (grad[:, 1:] != 0).any(axis=0).all()


@of_all
@pytest.mark.parametrize("dtype", [t for t in FLOAT_DTYPES if t.itemsize == 2], ids=str)
def test_half_precision_gradients_accumulate_in_float32(operator, dtype):
    """Thousands of boxes on the same pixels: summed in half precision they would soon grow no more."""
    rois = operator.rois(np.random.default_rng(0), np.zeros(4000), np.tile([1, 1, 2, 2], (4000, 1)))
    grad_output = np.full((4000, 3, 1, 1), 0.25, dtype)
    argmax = None
    if operator.has_argmax:  # the only sample, or the pixel
        argmax = np.full(grad_output.shape, 5 if operator.exact else 0, np.int32)
    options = {"sampling_ratio": 1, "gamma": 0.0}  # bins stay where their sample has four pixels alike
    grad = operator.backward(grad_output, rois, (1, 3, 4, 4), argmax, **options)
    one = operator.backward(
        grad_output[:1].astype(np.float64),
        rois[:1],
        (1, 3, 4, 4),
        None if argmax is None else argmax[:1],
        **options,
    )
    np.testing.assert_array_equal(grad.astype(np.float64), 4000 * one)
    assert grad.astype(np.float64).sum() == 3000


@pytest.mark.parametrize("operator, limit", [(MAX, 6), (POOL, 144)], ids=lambda value: str(value))
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("beyond", [-2, 0, 2**31 - 1, -(2**31)])
@pytest.mark.parametrize("place", [(0, 0, 0, 0), (1, 3, 1, 2), (1, 4, 1, 2)])
def test_an_argmax_that_names_nothing(operator, limit, layout, beyond, place):
    """The error says where, in the caller's own order of axes; nothing is written."""
    value = beyond or limit
    rois = operator.rois(np.random.default_rng(0), [0, 0], [[0, 0, 9, 4], [2, 2, 11, 6]])
    argmax = np.zeros((2, 5, 2, 3), np.int32)
    argmax[place] = value
    argmax = np.ascontiguousarray(battery.to_layout(argmax, layout))
    index = place if layout == "NCHW" else (place[0], place[2], place[3], place[1])
    features = np.ascontiguousarray(battery.to_layout(np.ones((1, 5, 12, 12), np.float32), layout))
    gradient, out = np.ones(argmax.shape, np.float32), np.full(features.shape, 7, np.float32)
    message = r"\bargmax\[" + ", ".join(map(str, index)) + rf"\].*\b{limit - 1}\b.*{value}"
    with pytest.raises(ValueError, match=message):
        operator.backward(gradient, rois, features.shape, argmax, layout=layout, out=out)
    assert (out == 7).all()
    if operator.has_slopes:
        with pytest.raises(ValueError, match=message):
            operator.backward_rois(gradient, features, rois, argmax, layout=layout)
