"""Plans: the same results as the functions', from tables that are kept."""

import copy
import gc
import pickle
import weakref
from concurrent.futures import ThreadPoolExecutor

import battery
import numpy as np
import pytest
from closeness import assert_same_bits
from hypothesis import given
from hypothesis import strategies as st
from operators import AVERAGE, ROTATED
from operators.roi_pool import pool_problems
from operators.rotated import rotated_problems
from strategies import (
    FEATURE_DTYPES,
    FLOAT_DTYPES,
    given_some,
    problems,
    random_values,
    result_dtype,
    rising_values,
)

import roicy
from roicy import _kinds
from roicy._backend import adopt
from roicy.plan import Given

pytestmark = pytest.mark.usefixtures("backend")


@given(problems())
def test_same_bits_as_the_functions(problem):
    features, rois, output_size, options = problem
    plan = roicy.roi_align_plan(rois, features.shape, output_size, **options)
    assert_same_bits(plan(features), roicy.roi_align(features, rois, output_size, **options))
    grad_output = problem.grad_output()
    assert_same_bits(
        plan.backward(grad_output),
        roicy.roi_align_backward(grad_output, rois, features.shape, **options),
    )
    assert_same_bits(
        plan.backward_rois(grad_output, features),
        roicy.roi_align_backward_rois(grad_output, features, rois, **options),
    )


@pytest.mark.parametrize("case", battery.SELECTION, ids=battery.SELECTION_IDS)
def test_battery(case):
    problem = battery.build(AVERAGE, case)
    features = battery.to_layout(problem.features, case.layout)
    grad_output = battery.to_layout(problem.grad_output(), case.layout)
    plan = roicy.roi_align_plan(
        problem.rois, features.shape, case.output_size, layout=case.layout, **problem.options
    )
    out = plan(features)
    assert_same_bits(battery.from_layout(out, case.layout), battery.forward(AVERAGE, case))
    grad = plan.backward(grad_output)
    assert_same_bits(battery.from_layout(grad, case.layout), battery.backward(AVERAGE, case))
    rising = battery.to_layout(battery.build(AVERAGE, case, rising_values).features, case.layout)
    assert_same_bits(plan.backward_rois(grad_output, rising), battery.backward_rois(AVERAGE, case))
    assert_same_bits(plan(features), out)  # nothing of the first round is left in the plan


ROIS = np.array([[1, 0, 1, 5, 6], [0, 2, 2, 9, 11], [1, 3, 0, 4, 12]], np.float32)
SHAPE = (2, 5, 12, 10)


def test_attributes():
    plan = roicy.roi_align_plan(ROIS, SHAPE, (2, 3))
    assert plan.input_shape == SHAPE
    assert plan.output_size == (2, 3)
    assert plan.layout == "NCHW"
    assert plan.output_shape == (3, 5, 2, 3)
    plan = roicy.roi_align_plan(ROIS, [2, 12, 10, 5], 7, layout="NHWC")
    assert plan.input_shape == (2, 12, 10, 5)
    assert plan.output_size == (7, 7)
    assert plan.layout == "NHWC"
    assert plan.output_shape == (3, 7, 7, 5)
    assert isinstance(plan, roicy.RoIAlignPlan)


def test_repr_says_what_the_plan_is_for():
    text = repr(roicy.roi_align_plan(ROIS, SHAPE, (2, 3)))
    for part in ("RoIAlignPlan", "(2, 5, 12, 10)", "(2, 3)", "NCHW", "3"):
        assert part in text


@pytest.mark.parametrize("box_dtype", ["float32", "float64"])
def test_one_plan_for_features_of_every_dtype(box_dtype):
    """A plan does not know the dtype beforehand; the precision still is that of the features."""
    rois = ROIS.astype(box_dtype) + np.array([0, 0.1, 0.2, 0.3, 0.4], box_dtype)
    plan = roicy.roi_align_plan(rois, SHAPE, (2, 3), sampling_ratio=2)
    for dtype in [*FEATURE_DTYPES, *FEATURE_DTYPES[::-1]]:
        features = random_values(np.random.default_rng(1), SHAPE, dtype)
        out = plan(features)
        assert_same_bits(out, roicy.roi_align(features, rois, (2, 3), sampling_ratio=2))
        grad_output = random_values(np.random.default_rng(2), out.shape, result_dtype(dtype))
        assert_same_bits(
            plan.backward(grad_output),
            roicy.roi_align_backward(grad_output, rois, SHAPE, sampling_ratio=2),
        )
        assert_same_bits(
            plan.backward_rois(grad_output, features),
            roicy.roi_align_backward_rois(grad_output, features, rois, sampling_ratio=2),
        )


def test_the_plan_keeps_its_boxes():
    """Changing the array afterwards changes nothing."""
    rois = ROIS.copy()
    indices = np.array([1, 0, 1])
    with_column = roicy.roi_align_plan(rois, SHAPE, 2)
    with_indices = roicy.roi_align_plan(rois[:, 1:], SHAPE, 2, batch_indices=indices)
    rois[...] = 0
    indices[...] = 0
    features = random_values(np.random.default_rng(1), SHAPE, np.dtype("float32"))
    grad_output = random_values(np.random.default_rng(2), (3, 5, 2, 2), np.dtype("float32"))
    for plan in (with_column, with_indices):
        assert_same_bits(plan(features), roicy.roi_align(features, ROIS, 2))
        assert_same_bits(plan.backward(grad_output), roicy.roi_align_backward(grad_output, ROIS, SHAPE))
    assert_same_bits(
        with_column.backward_rois(grad_output, features),
        roicy.roi_align_backward_rois(grad_output, features, ROIS),
    )


def test_forms_of_rois():
    features = random_values(np.random.default_rng(1), SHAPE, np.dtype("float32"))
    per_image = [ROIS[[1], 1:], ROIS[[0, 2], 1:]]
    plan = roicy.roi_align_plan(per_image, SHAPE, 2)
    assert_same_bits(plan(features), roicy.roi_align(features, per_image, 2))
    grad_output = random_values(np.random.default_rng(2), (3, 5, 2, 2), np.dtype("float32"))
    grads = plan.backward_rois(grad_output, features)
    expected = roicy.roi_align_backward_rois(grad_output, features, per_image)
    assert [grad.shape for grad in grads] == [(1, 4), (2, 4)]
    for grad, other in zip(grads, expected, strict=True):
        assert_same_bits(grad, other)
    four = roicy.roi_align_plan(ROIS[:, 1:], (1, *SHAPE[1:]), 2)
    assert four.backward_rois(grad_output, features[:1]).shape == (3, 4)


def test_invalid_rows():
    rois = ROIS.copy()
    rois[1, 3] = np.nan
    with pytest.raises(ValueError, match=r"(?s)rois.*\b1\b"):
        roicy.roi_align_plan(rois, SHAPE, 2)
    plan = roicy.roi_align_plan(rois, SHAPE, 2, invalid="nan")
    features = random_values(np.random.default_rng(1), SHAPE, np.dtype("float32"))
    assert np.isnan(plan(features)).all(axis=(1, 2, 3)).tolist() == [False, True, False]
    grad_output = np.ones((3, 5, 2, 2), np.float32)
    expected = roicy.roi_align_backward(grad_output, rois, SHAPE, invalid="nan")
    assert_same_bits(plan.backward(grad_output), expected)
    assert not plan.backward_rois(grad_output, features)[1].any()


@pytest.mark.parametrize("dtype", FLOAT_DTYPES, ids=str)
def test_out(dtype):
    plan = roicy.roi_align_plan(ROIS, SHAPE, 2)
    features = random_values(np.random.default_rng(1), SHAPE, dtype)
    grad_output = random_values(np.random.default_rng(2), (3, 5, 2, 2), dtype)
    out = np.full((3, 5, 2, 2), np.nan, dtype)
    assert plan(features, out=out) is out
    assert_same_bits(out, plan(features))
    out = np.full(SHAPE, np.nan, dtype)
    assert plan.backward(grad_output, out=out) is out
    assert_same_bits(out, plan.backward(grad_output))
    out = np.full((3, 5), np.nan, np.float32)
    assert plan.backward_rois(grad_output, features, out=out) is out
    assert_same_bits(out, plan.backward_rois(grad_output, features))


def test_no_boxes():
    plan = roicy.roi_align_plan(np.empty((0, 5), np.float32), SHAPE, 2)
    assert plan.output_shape == (0, 5, 2, 2)
    assert plan(np.ones(SHAPE, np.float32)).shape == (0, 5, 2, 2)
    assert not plan.backward(np.empty((0, 5, 2, 2), np.float32)).any()


def test_one_plan_from_several_python_threads():
    case = battery.CASES[battery.CASE_IDS.index("many-boxes")]
    problem = battery.build(AVERAGE, case)
    plan = roicy.roi_align_plan(problem.rois, problem.features.shape, case.output_size, **problem.options)
    doubled = problem.features.astype(np.float64)
    expected = plan(problem.features), plan(doubled)

    # A fresh plan, so that whatever it prepares on first use is prepared under contention.
    plan = roicy.roi_align_plan(problem.rois, problem.features.shape, case.output_size, **problem.options)
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(plan, [problem.features, doubled] * 6))
    for index, out in enumerate(results):
        assert_same_bits(out, expected[index % 2])


# ---------------------------------------------------------------- maxima


@given_some(problems(), st.integers(0, 99))
def test_same_bits_for_maxima(problem, seed):
    features, rois, output_size, options = problem
    plan = roicy.roi_align_plan(rois, features.shape, output_size, mode="max", **options)
    call = {"mode": "max", **options}
    values, argmax = roicy.roi_align(features, rois, output_size, return_argmax=True, **call)
    assert_same_bits(plan(features), values)
    for found, expected in zip(plan(features, return_argmax=True), (values, argmax), strict=True):
        assert_same_bits(found, expected)
    out = np.full_like(values, np.nan), np.full_like(argmax, 99)
    assert plan(features, out, return_argmax=True)[1] is out[1]
    assert_same_bits(out[0], values)
    assert_same_bits(out[1], argmax)
    grad_output = problem.grad_output(seed)
    assert_same_bits(
        plan.backward(grad_output, argmax=argmax),
        roicy.roi_align_backward(grad_output, rois, features.shape, argmax=argmax, **call),
    )
    assert_same_bits(
        plan.backward_rois(grad_output, features, argmax=argmax),
        roicy.roi_align_backward_rois(grad_output, features, rois, argmax=argmax, **call),
    )
    plan = roicy.roi_align_plan(rois, features.shape, output_size, max_rule="onnx", **call)
    assert_same_bits(plan(features), roicy.roi_align(features, rois, output_size, max_rule="onnx", **call))


def test_maxima_of_every_dtype():
    plan = roicy.roi_align_plan(ROIS, SHAPE, (2, 3), mode="max")
    for dtype in [*FEATURE_DTYPES, *FEATURE_DTYPES[::-1]]:
        features = random_values(np.random.default_rng(1), SHAPE, dtype)
        values, argmax = plan(features, return_argmax=True)
        expected, _ = roicy.roi_align(features, ROIS, (2, 3), mode="max", return_argmax=True)
        assert_same_bits(values, expected)
        grad_output = random_values(np.random.default_rng(2), values.shape, result_dtype(dtype))
        assert_same_bits(
            plan.backward(grad_output, argmax=argmax),
            roicy.roi_align_backward(grad_output, ROIS, SHAPE, mode="max", argmax=argmax),
        )


def test_a_plan_says_that_it_takes_maxima():
    assert "max" in repr(roicy.roi_align_plan(ROIS, SHAPE, 2, mode="max"))
    assert "onnx" in repr(roicy.roi_align_plan(ROIS, SHAPE, 2, mode="max", max_rule="onnx"))


# ---------------------------------------------------------------- rotated boxes


@given_some(rotated_problems())
def test_same_bits_for_rotated_boxes(problem):
    features, rois, output_size, options = problem
    plan = roicy.roi_align_rotated_plan(rois, features.shape, output_size, **options)
    assert_same_bits(plan(features), roicy.roi_align_rotated(features, rois, output_size, **options))
    grad_output = problem.grad_output()
    assert_same_bits(
        plan.backward(grad_output),
        roicy.roi_align_rotated_backward(grad_output, rois, features.shape, **options),
    )
    assert_same_bits(
        plan.backward_rois(grad_output, features),
        roicy.roi_align_rotated_backward_rois(grad_output, features, rois, **options),
    )


TURNED = np.array([[1, 3, 4, 5, 6, 30], [0, 5, 6, 7, 5, 200], [1, 6, 6, 4, 12, -45]], np.float32)


def test_attributes_of_a_rotated_plan():
    plan = roicy.roi_align_rotated_plan(TURNED, (2, 12, 10, 5), 7, layout="NHWC", clockwise=True)
    assert isinstance(plan, roicy.RoIAlignRotatedPlan)
    assert plan.input_shape == (2, 12, 10, 5)
    assert plan.output_size == (7, 7)
    assert plan.layout == "NHWC"
    assert plan.output_shape == (3, 7, 7, 5)
    for part in ("RoIAlignRotatedPlan", "(2, 12, 10, 5)", "(7, 7)", "NHWC", "3", "degrees", "clockwise=True"):
        assert part in repr(plan)
    text = repr(roicy.roi_align_rotated_plan(TURNED, SHAPE, 7, angle_unit="radians"))
    assert "radians" in text
    assert "clockwise=False" in text


def test_one_rotated_plan_for_features_of_every_dtype():
    plan = roicy.roi_align_rotated_plan(TURNED, SHAPE, (2, 3), sampling_ratio=2)
    for dtype in [*FEATURE_DTYPES, *FEATURE_DTYPES[::-1]]:
        features = random_values(np.random.default_rng(1), SHAPE, dtype)
        out = plan(features)
        assert_same_bits(out, roicy.roi_align_rotated(features, TURNED, (2, 3), sampling_ratio=2))
        grad_output = random_values(np.random.default_rng(2), out.shape, result_dtype(dtype))
        assert_same_bits(
            plan.backward(grad_output),
            roicy.roi_align_rotated_backward(grad_output, TURNED, SHAPE, sampling_ratio=2),
        )
        assert_same_bits(
            plan.backward_rois(grad_output, features),
            roicy.roi_align_rotated_backward_rois(grad_output, features, TURNED, sampling_ratio=2),
        )


def test_a_rotated_plan_keeps_its_boxes():
    rois = TURNED.copy()
    plan = roicy.roi_align_rotated_plan(rois, SHAPE, 2)
    rois[...] = 0
    features = random_values(np.random.default_rng(1), SHAPE, np.dtype("float32"))
    grad_output = random_values(np.random.default_rng(2), (3, 5, 2, 2), np.dtype("float32"))
    assert_same_bits(plan(features), roicy.roi_align_rotated(features, TURNED, 2))
    expected = roicy.roi_align_rotated_backward(grad_output, TURNED, SHAPE)
    assert_same_bits(plan.backward(grad_output), expected)
    expected = roicy.roi_align_rotated_backward_rois(grad_output, features, TURNED)
    assert_same_bits(plan.backward_rois(grad_output, features), expected)


def test_forms_of_rotated_rois_and_invalid_rows():
    features = random_values(np.random.default_rng(1), SHAPE, np.dtype("float32"))
    grad_output = random_values(np.random.default_rng(2), (3, 5, 2, 2), np.dtype("float32"))
    per_image = [TURNED[[1], 1:], TURNED[[0, 2], 1:]]
    plan = roicy.roi_align_rotated_plan(per_image, SHAPE, 2)
    assert_same_bits(plan(features), roicy.roi_align_rotated(features, per_image, 2))
    assert [grad.shape for grad in plan.backward_rois(grad_output, features)] == [(1, 5), (2, 5)]

    rois = TURNED.copy()
    rois[1, 5] = np.nan
    with pytest.raises(ValueError, match=r"(?s)rois.*\b1\b"):
        roicy.roi_align_rotated_plan(rois, SHAPE, 2)
    plan = roicy.roi_align_rotated_plan(rois, SHAPE, 2, invalid="nan")
    assert np.isnan(plan(features)).all(axis=(1, 2, 3)).tolist() == [False, True, False]
    assert not plan.backward_rois(grad_output, features)[1].any()


def test_one_rotated_plan_from_several_python_threads():
    case = battery.CASES[battery.CASE_IDS.index("many-boxes")]
    problem = battery.build(ROTATED, case)
    call = (problem.rois, problem.features.shape, case.output_size)
    doubled = problem.features.astype(np.float64)
    plan = roicy.roi_align_rotated_plan(*call, **problem.options)
    expected = plan(problem.features), plan(doubled)
    plan = roicy.roi_align_rotated_plan(*call, **problem.options)
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(plan, [problem.features, doubled] * 6))
    for index, out in enumerate(results):
        assert_same_bits(out, expected[index % 2])


# ---------------------------------------------------------------- maxima over pixels


@given_some(pool_problems(), st.integers(0, 99))
def test_same_bits_for_roi_pool(problem, seed):
    features, rois, output_size, options = problem
    plan = roicy.roi_pool_plan(rois, features.shape, output_size, **options)
    values, argmax = roicy.roi_pool(features, rois, output_size, return_argmax=True, **options)
    assert_same_bits(plan(features), roicy.roi_pool(features, rois, output_size, **options))
    out = np.full_like(values, np.nan), np.full_like(argmax, 99)
    assert plan(features, out, return_argmax=True)[1] is out[1]
    assert_same_bits(out[0], values)
    assert_same_bits(out[1], argmax)
    grad_output = problem.grad_output(seed)
    expected = roicy.roi_pool_backward(grad_output, argmax, rois, features.shape)
    assert_same_bits(plan.backward(grad_output, argmax=argmax), expected)


def test_a_plan_of_roi_pool():
    plan = roicy.roi_pool_plan(ROIS, (2, 12, 10, 5), 7, layout="NHWC", rounding="none")
    assert type(plan) is roicy.Plan
    assert plan.output_shape == (3, 7, 7, 5)
    for part in ("roi_pool", "3 rois", "(2, 12, 10, 5)", "(7, 7)", "NHWC", "rounding='none'"):
        assert part in repr(plan)
    grad_output = np.ones(plan.output_shape, np.float32)
    with pytest.raises(TypeError, match="argmax must be an array of int32 and shape"):
        plan.backward(grad_output)
    with pytest.raises(ValueError, match="roi_pool has no gradient with respect to boxes"):
        plan.backward_rois(grad_output, np.ones(plan.input_shape, np.float32))


@pytest.mark.parametrize("make", [roicy.roi_align_plan, roicy.roi_align_rotated_plan, roicy.roi_pool_plan])
@pytest.mark.parametrize("size", [2**21, 2**31 - 1])
def test_outputs_that_no_memory_could_hold(make, size):
    """No time is lost on their tables."""
    rois = np.array([[0, 3, 3, 2, 2, 10]], np.float32)
    rois = rois if make is roicy.roi_align_rotated_plan else rois[:, :5]
    with pytest.raises(
        (MemoryError, ValueError), match=r"allocate|no array can have|at most 1073741824 bins"
    ):
        make(rois, (1, 2, 8, 8), (size, size))


# ---------------------------------------------------------------- copies

COPIES = [
    copy.copy,
    copy.deepcopy,
    *(lambda plan, p=p: pickle.loads(pickle.dumps(plan, p)) for p in range(pickle.HIGHEST_PROTOCOL + 1)),
]
COPY_IDS = ["copy", "deepcopy", *(f"protocol-{p}" for p in range(pickle.HIGHEST_PROTOCOL + 1))]

BOXES = {
    "column": lambda rois: (rois, {}),
    "indices": lambda rois: (rois[:, 1:], {"batch_indices": rois[:, 0].astype(np.uint8)}),
    "lists": lambda rois: ([rois[[1], 1:], rois[[0, 2], 1:]], {}),
    "lists, float64": lambda rois: ([rois[[1], 1:], rois[[0, 2], 1:].astype(np.float64) + 1e-9], {}),
    "none": lambda rois: (rois[:0], {}),
    "invalid": lambda rois: (np.where(rois == 2, np.nan, rois), {"invalid": "nan"}),
}
PLANS = {
    "average": (roicy.roi_align_plan, {"spatial_scale": 0.7, "sampling_ratio": 2, "aligned": False}),
    "adaptive": (roicy.roi_align_plan, {"spatial_scale": 0.7, "layout": "NHWC"}),
    "maximum": (roicy.roi_align_plan, {"mode": "max", "layout": "NHWC"}),
    "onnx": (roicy.roi_align_plan, {"mode": "max", "max_rule": "onnx"}),
    "degrees": (roicy.roi_align_rotated_plan, {"spatial_scale": 0.7, "clockwise": True, "layout": "NHWC"}),
    "radians": (
        roicy.roi_align_rotated_plan,
        {"sampling_ratio": 3, "aligned": False, "angle_unit": "radians"},
    ),
    "pixels": (roicy.roi_pool_plan, {"spatial_scale": 0.7, "rounding": "none", "layout": "NHWC"}),
}


def made(kind, boxes):
    make, options = PLANS[kind]
    rois, more = BOXES[boxes](TURNED if make is roicy.roi_align_rotated_plan else ROIS)
    shape = (2, 12, 10, 5) if options.get("layout") == "NHWC" else SHAPE
    return make(rois, shape, (2, 3), **options, **more)


def results(plan, kind):
    """What all methods of a plan return."""
    features = random_values(np.random.default_rng(1), plan.input_shape, np.dtype("float32"))
    grad = random_values(np.random.default_rng(2), plan.output_shape, np.dtype("float32"))
    found = [plan(features), plan(features.astype(np.float64))]
    if kind == "onnx":
        return found
    chosen = kind in ("maximum", "pixels")
    more = {"argmax": plan(features, return_argmax=True)[1]} if chosen else {}
    if kind == "pixels":
        return [*found, *more.values(), plan.backward(grad, **more)]
    slopes = plan.backward_rois(grad, features, **more)
    return [*found, plan.backward(grad, **more), *(slopes if isinstance(slopes, list) else [slopes])]


@pytest.mark.parametrize("duplicate", COPIES, ids=COPY_IDS)
@pytest.mark.parametrize("kind", PLANS)
@pytest.mark.parametrize("boxes", BOXES)
@pytest.mark.numpy_only(reason="a plan is behind what moves its arrays")
def test_copies_are_plans_of_their_own(kind, boxes, duplicate):
    """The same results, to the bit, before the original was used, after that, and when it is gone."""
    plan = made(kind, boxes)
    twins = [duplicate(plan)]
    expected = results(plan, kind)
    twins += [duplicate(plan), duplicate(twins[0])]
    text = repr(plan)
    del plan
    for twin in twins:
        assert repr(twin) == text
        found = results(twin, kind)
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_same_bits(one, other)


@pytest.mark.numpy_only(reason="a plan is behind what moves its arrays")
def test_a_pickle_is_as_large_as_the_boxes():
    plan = roicy.roi_align_plan(np.tile(ROIS, (500, 1)), (2, 64, 120, 100), 7)
    assert len(pickle.dumps(plan)) < 1500 * 5 * 4 + 1000


@pytest.mark.numpy_only(reason="a plan is behind what moves its arrays")
def test_plans_can_be_referred_to_weakly():
    """And nothing but its users holds a plan."""
    for kind in PLANS:
        plan = made(kind, "column")
        reference = weakref.ref(plan)
        results(plan, kind)
        assert reference() is plan
        kept = weakref.WeakKeyDictionary({plan: 1})
        gc.disable()
        try:
            del plan
            assert reference() is None
        finally:
            gc.enable()
        assert not kept


class Named(roicy.RoIAlignPlan):
    """A plan with attributes of its own, in a slot and in a dictionary."""

    __slots__ = ("__dict__", "name")

    def __init__(self, name):
        kernels, rois = adopt(rois=ROIS)
        super().__init__(
            _kinds.AVERAGE, kernels, Given(rois, None, "NCHW", "raise"), SHAPE, (2, 2), (1, 0, True)
        )
        self.name = name


@pytest.mark.numpy_only(reason="a plan is behind what moves its arrays")
@pytest.mark.parametrize("duplicate", COPIES, ids=COPY_IDS)
def test_copies_of_a_derived_plan(duplicate):
    plan = Named("mine")
    plan.notes = ["a note"]
    twin = duplicate(plan)
    assert type(twin) is Named
    assert (twin.name, twin.notes) == ("mine", ["a note"])
    features = random_values(np.random.default_rng(1), SHAPE, np.dtype("float32"))
    assert_same_bits(twin(features), plan(features))


@pytest.mark.numpy_only(reason="a plan is behind what moves its arrays")
@pytest.mark.parametrize(
    "damage",
    [
        lambda arguments: arguments.pop("layout"),
        lambda arguments: arguments.update(layout="NWHC"),
        lambda arguments: arguments.update(unknown=1),
        lambda arguments: arguments.update(rois=arguments["rois"][:, :3]),
        lambda arguments: arguments.update(rois=[[1.0, 2.0]]),
        lambda arguments: arguments.update(input_shape=(2, -5, 12, 10)),
        lambda arguments: arguments.update(options=(1.0, 1e9, True)),
        lambda arguments: arguments.update(options=(1.0, 0)),
    ],
)
def test_damaged_pickles_say_so(damage):
    make, (derived, kind, arguments), _ = roicy.roi_align_plan(ROIS, SHAPE, 2).__reduce__()
    make(derived, kind, arguments)
    damage(arguments)
    with pytest.raises(ValueError, match="a stored RoIAlignPlan must hold the arguments"):
        make(derived, kind, arguments)
