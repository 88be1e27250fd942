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
from hypothesis import strategies as st
from operators import BATTERY, of_battery, of_planned
from strategies import (
    FEATURE_DTYPES,
    FLOAT_DTYPES,
    given_some,
    problems,
    random_values,
    rising_values,
)

import roicy
from roicy import _kinds
from roicy._backend import adopt
from roicy._given import Given

pytestmark = pytest.mark.usefixtures("backend")

SHAPE = (2, 5, 12, 10)
IMAGES = [1, 0, 1]
CORNERS = [[0, 1, 5, 6], [2, 2, 9, 11], [3, 0, 4, 12]]
ROIS = np.column_stack([IMAGES, CORNERS]).astype(np.float32)
TURNED = np.array([[1, 3, 4, 5, 6, 30], [0, 5, 6, 7, 5, 200], [1, 6, 6, 4, 12, -45]], np.float32)


def both(plan, features):
    """What a plan pools, and its argmax where it has one."""
    return plan(features, return_argmax=True)


def assert_same_results(operator, plan, problem, seed=1):
    """Hold what a plan makes of a problem against what the functions make of it, to the bit."""
    features, rois, size, options = problem
    shape, grad_output = features.shape, problem.grad_output(seed)
    values, argmax = operator.both(features, rois, size, **options)
    assert_same_bits(plan(features), operator.forward(features, rois, size, **options))
    more = {}
    if argmax is not None:
        for found, expected in zip(both(plan, features), (values, argmax), strict=True):
            assert_same_bits(found, expected)
        out = np.full_like(values, np.nan), np.full_like(argmax, 99)
        assert plan(features, out, return_argmax=True)[1] is out[1]
        assert_same_bits(out[0], values)
        assert_same_bits(out[1], argmax)
        more = {"argmax": argmax}
    expected = operator.backward(grad_output, rois, shape, **more, **options)
    assert_same_bits(plan.backward(grad_output, **more), expected)
    if operator.has_slopes:
        expected = operator.backward_rois(grad_output, features, rois, **more, **options)
        slopes = plan.backward_rois(grad_output, features, **more)
        if not isinstance(expected, list):
            slopes, expected = [slopes], [expected]
        for found, wanted in zip(slopes, expected, strict=True):
            assert_same_bits(found, wanted)


@of_planned
def test_same_bits_as_the_functions(operator, examples):
    @examples(operator.problems(), st.integers(0, 99), share=operator.share)
    def hold(problem, seed):
        plan = operator.plan(problem.rois, problem.features.shape, problem.output_size, **problem.options)
        assert_same_results(operator, plan, problem, seed)


@given_some(problems())
def test_same_bits_by_the_rule_of_onnx(problem):
    features, rois, output_size, options = problem
    options = {"mode": "max", "max_rule": "onnx", **options}
    plan = roicy.roi_align_plan(rois, features.shape, output_size, **options)
    assert_same_bits(plan(features), roicy.roi_align(features, rois, output_size, **options))


@of_battery([(o, case) for o, case in BATTERY if o.planned and case in battery.SELECTION])
def test_battery(operator, case):
    problem = battery.build(operator, case)
    features = battery.to_layout(problem.features, case.layout)
    grad_output = battery.to_layout(problem.grad_output(), case.layout)
    argmax = operator.chosen(problem, case.boxes)
    more = {} if argmax is None else {"argmax": battery.to_layout(argmax, case.layout)}
    call = problem.rois, features.shape, case.output_size
    plan = operator.plan(*call, layout=case.layout, **problem.options)
    out = plan(features)
    assert_same_bits(battery.from_layout(out, case.layout), battery.forward(operator, case))
    grad = plan.backward(grad_output, **more)
    assert_same_bits(battery.from_layout(grad, case.layout), battery.backward(operator, case))
    if operator.has_slopes:
        rising = battery.to_layout(battery.build(operator, case, rising_values).features, case.layout)
        slopes = plan.backward_rois(grad_output, rising, **more)
        assert_same_bits(slopes, battery.backward_rois(operator, case))
    assert_same_bits(plan(features), out)  # nothing of the first round is left in the plan


def problem_of(operator, dtype="float32", box_dtype="float32", size=(2, 3), **options):
    """A small problem, and boxes that are no whole numbers."""
    shape = operator.map_shape(SHAPE, size)
    features = random_values(np.random.default_rng(1), shape, np.dtype(dtype))
    corners = np.add(CORNERS, [0.1, 0.2, 0.3, 0.4])
    rois = operator.rois(np.random.default_rng(2), IMAGES, corners, box_dtype)
    return operator.problem(features, rois, size, options)


def planned(operator, problem, **more):
    call = problem.rois, problem.features.shape, problem.output_size
    return operator.plan(*call, **problem.options, **more)


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


def test_a_plan_says_that_it_takes_maxima():
    assert "max" in repr(roicy.roi_align_plan(ROIS, SHAPE, 2, mode="max"))
    assert "onnx" in repr(roicy.roi_align_plan(ROIS, SHAPE, 2, mode="max", max_rule="onnx"))


def test_a_plan_of_roi_pool():
    plan = roicy.roi_pool_plan(ROIS, (2, 12, 10, 5), 7, layout="NHWC", rounding="none")
    assert plan.__class__ is roicy.Plan
    assert plan.output_shape == (3, 7, 7, 5)
    for part in ("roi_pool", "3 rois", "(2, 12, 10, 5)", "(7, 7)", "NHWC", "rounding='none'"):
        assert part in repr(plan)
    grad_output = np.ones(plan.output_shape, np.float32)
    with pytest.raises(ValueError, match="argmax must be given for mode='max': roi_pool returns it"):
        plan.backward(grad_output)
    with pytest.raises(ValueError, match="roi_pool has no gradient with respect to boxes"):
        plan.backward_rois(grad_output, np.ones(plan.input_shape, np.float32))


@of_planned
@pytest.mark.parametrize("box_dtype", ["float32", "float64"])
def test_one_plan_for_features_of_every_dtype(operator, box_dtype):
    """A plan does not know the dtype beforehand; the precision still is that of the features."""
    plan = planned(operator, problem_of(operator, box_dtype=box_dtype, sampling_ratio=2))
    for dtype in [*FEATURE_DTYPES, *FEATURE_DTYPES[::-1]]:
        problem = problem_of(operator, dtype, box_dtype, sampling_ratio=2)
        assert_same_results(operator, plan, problem)


@of_planned
def test_the_plan_keeps_its_boxes(operator):
    """Changing the array afterwards changes nothing."""
    problem = problem_of(operator)
    rois, indices = problem.rois.copy(), np.array(IMAGES)
    shape = problem.features.shape
    with_column = operator.plan(rois, shape, (2, 3))
    with_indices = operator.plan(rois[:, 1:], shape, (2, 3), batch_indices=indices)
    rois[...] = 0
    indices[...] = 0
    assert_same_results(operator, with_column, problem)
    apart = problem._replace(rois=problem.rois[:, 1:], options={"batch_indices": np.array(IMAGES)})
    assert_same_results(operator, with_indices, apart)


@of_planned
def test_forms_of_rois(operator):
    problem = problem_of(operator)
    rois = problem.rois
    per_image = problem._replace(rois=[rois[[1], 1:], rois[[0, 2], 1:]])
    plan = planned(operator, per_image)
    features, grad_output = problem.features, problem.grad_output()
    pooled = operator.both(features, per_image.rois, (2, 3))
    assert_same_bits(plan(features), operator.forward(features, per_image.rois, (2, 3)))
    more = {} if pooled[1] is None else {"argmax": pooled[1]}
    grad = operator.backward(grad_output, per_image.rois, features.shape, **more)
    assert_same_bits(plan.backward(grad_output, **more), grad)
    one = operator.plan(rois[:, 1:], (1, *features.shape[1:]), (2, 3))
    pooled = operator.both(features[:1], rois[:, 1:], (2, 3))
    assert_same_bits(one(features[:1]), pooled[0])
    if operator.has_slopes:
        grads = plan.backward_rois(grad_output, features, **more)
        expected = operator.backward_rois(grad_output, features, per_image.rois, **more)
        assert [grad.shape for grad in grads] == [(n, operator.numbers) for n in (1, 2)]
        for grad, other in zip(grads, expected, strict=True):
            assert_same_bits(grad, other)
        more = {} if pooled[1] is None else {"argmax": pooled[1]}
        assert one.backward_rois(grad_output, features[:1], **more).shape == (3, operator.numbers)


@of_planned
@pytest.mark.parametrize("column", [3, -1])
def test_invalid_rows(operator, column):
    problem = problem_of(operator)
    problem.rois[1, column] = np.nan
    with pytest.raises(ValueError, match=r"(?s)(rois|boxes).*\b1\b"):
        planned(operator, problem)
    plan = planned(operator, problem, invalid="nan")
    assert np.isnan(plan(problem.features)).all(axis=(1, 2, 3)).tolist() == [False, True, False]
    assert_same_results(operator, plan, problem._replace(options={"invalid": "nan"}))


@of_planned
@pytest.mark.parametrize("dtype", FLOAT_DTYPES, ids=str)
def test_out(operator, dtype):
    problem = problem_of(operator, dtype)
    plan, features, grad_output = planned(operator, problem), problem.features, problem.grad_output()
    argmax = operator.both(features, problem.rois, (2, 3))[1]
    more = {} if argmax is None else {"argmax": argmax}
    out = np.full((3, 5, 2, 3), np.nan, dtype)
    assert plan(features, out=out) is out
    assert_same_bits(out, plan(features))
    out = np.full(features.shape, np.nan, dtype)
    assert plan.backward(grad_output, out=out, **more) is out
    assert_same_bits(out, plan.backward(grad_output, **more))
    if operator.has_slopes:
        out = np.full(problem.rois.shape, np.nan, np.float32)
        assert plan.backward_rois(grad_output, features, out=out, **more) is out
        assert_same_bits(out, plan.backward_rois(grad_output, features, **more))


@of_planned
def test_no_boxes(operator):
    shape = operator.map_shape(SHAPE, (2, 2))
    plan = operator.plan(np.empty((0, 1 + operator.numbers), np.float32), shape, 2)
    assert plan.output_shape == (0, 5, 2, 2)
    assert plan(np.ones(shape, np.float32)).shape == (0, 5, 2, 2)
    more = {"argmax": np.empty((0, 5, 2, 2), np.int32)} if operator.has_argmax else {}
    assert not plan.backward(np.empty((0, 5, 2, 2), np.float32), **more).any()


@of_planned
def test_one_plan_from_several_python_threads(operator):
    case = battery.CASES[battery.CASE_IDS.index("many-boxes")]
    problem = battery.build(operator, case)
    plan, doubled = planned(operator, problem), problem.features.astype(np.float64)
    expected = plan(problem.features), plan(doubled)

    # A fresh plan, so that whatever it prepares on first use is prepared under contention.
    plan = planned(operator, problem)
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(plan, [problem.features, doubled] * 6))
    for index, out in enumerate(results):
        assert_same_bits(out, expected[index % 2])


@pytest.mark.numpy_only(reason="a device has more memory, and a plan asks for none for outputs")
@of_planned
@pytest.mark.parametrize("size", [2**21, 2**31 - 1])
def test_outputs_that_no_memory_could_hold(operator, size):
    """No time is lost on their tables."""
    rois = operator.rois(np.random.default_rng(0), [0], [[3, 3, 2, 2]])
    with pytest.raises(
        (MemoryError, ValueError), match=r"allocate|no array can have|at most 1073741824 bins"
    ):
        operator.plan(rois, operator.map_shape((1, 2, 8, 8), (size, size)), (size, size))


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
    "precise": (roicy.prroi_pool_plan, {"spatial_scale": 0.7, "layout": "NHWC"}),
    "position-sensitive": (roicy.ps_roi_align_plan, {"spatial_scale": 0.7, "layout": "NHWC"}),
    "pixels": (roicy.roi_pool_plan, {"spatial_scale": 0.7, "rounding": "none", "layout": "NHWC"}),
    "means": (roicy.roi_pool_plan, {"spatial_scale": 0.7, "rounding": "none", "mode": "avg"}),
}


def made(kind, boxes):
    make, options = PLANS[kind]
    rois, more = BOXES[boxes](TURNED if make is roicy.roi_align_rotated_plan else ROIS)
    shape = (2, 12, 10, 5) if options.get("layout") == "NHWC" else SHAPE
    if make is roicy.ps_roi_align_plan:
        shape = (2, 12, 10, 30)
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
    if kind in ("pixels", "means"):
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
