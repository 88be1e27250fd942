"""`roicy.compat.caffe2`: Caffe2's names, arguments, defaults and results."""

import inspect

import numpy as np
import pytest
import reference.average
import reference.pool
import reference.rotated
from closeness import assert_close, assert_same_bits, assert_same_sums
from operators.roi_pool import pool_problems
from operators.rotated import rotated_problems
from strategies import contested_values, given_some, problems, random_values

import roicy
from roicy.compat import caffe2

pytestmark = pytest.mark.usefixtures("backend")

FLOAT32 = [np.dtype("float32")]
TYPE, VALUE = TypeError, ValueError
EITHER = (TypeError, ValueError)

ALIGN_ARGUMENTS = {
    "order": "NCHW",
    "spatial_scale": 1.0,
    "pooled_h": 1,
    "pooled_w": 1,
    "sampling_ratio": -1,
    "aligned": False,
}
POOL_ARGUMENTS = {
    "order": "NCHW",
    "spatial_scale": 1.0,
    "pooled_h": 1,
    "pooled_w": 1,
    "is_test": 0,
}
OPERATORS = {
    "RoIAlign": (["X", "rois"], ALIGN_ARGUMENTS),
    "RoIAlignGradient": (["X", "rois", "dY"], ALIGN_ARGUMENTS),
    "RoIAlignRotated": (["X", "rois"], ALIGN_ARGUMENTS),
    "RoIAlignRotatedGradient": (["X", "rois", "dY"], ALIGN_ARGUMENTS),
    "RoIPool": (["X", "rois"], POOL_ARGUMENTS),
    "RoIPoolGradient": (["X", "rois", "argmaxes", "dY"], POOL_ARGUMENTS),
    "RMACRegions": (["X"], {"scales": 3, "overlap": 0.4}),
}


@pytest.mark.parametrize("name", OPERATORS)
def test_inputs_arguments_and_defaults(name):
    parameters = inspect.signature(getattr(caffe2, name)).parameters.values()
    inputs, arguments = OPERATORS[name]
    assert [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD] == inputs
    assert {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY} == arguments


def arguments_of(problem):
    """Options as Caffe2 names them; the angle of a rotated box is in degrees, counter-clockwise."""
    named = {"pooled_h": problem.output_size[0], "pooled_w": problem.output_size[1]}
    known = ("spatial_scale", "sampling_ratio", "aligned")
    return {**named, **{name: problem.options[name] for name in known if name in problem.options}}


def sizes(problem, *, rotated):
    """Height and width of each box in feature pixels, rounded as the operator rounds them."""
    boxes, real = problem.rois[:, 1:], problem.rois.dtype.type
    scaled = boxes * real(problem.options["spatial_scale"])
    if rotated:
        return scaled[:, [3, 2]]
    half = real(0.5)
    with np.errstate(over="ignore"):
        return (scaled[:, 2:] - half) - (scaled[:, :2] - half)


def check_align(problem, function, gradient, twin, twin_gradient, *, rotated):
    arguments = arguments_of(problem)
    options = {k: v for k, v in problem.options.items() if k in arguments}
    features, rois = problem.features, problem.rois
    grad_output = problem.grad_output()
    adaptive = options["sampling_ratio"] <= 0
    size = sizes(problem, rotated=rotated)
    if options["aligned"] and (size < 0).any():
        row = int((size < 0).any(axis=1).argmax())
        with pytest.raises(ValueError, match=rf"\brois\b.*\b{row}\b"):
            function(features, rois, **arguments)
        with pytest.raises(ValueError, match=rf"\brois\b.*\b{row}\b"):
            gradient(features, rois, grad_output, **arguments)
        return
    expected = twin(features, rois, problem.output_size, **options)
    if options["aligned"] and adaptive:
        expected[(size == 0).any(axis=1)] = np.nan  # a sum of nothing, divided by nothing
    assert_close(function(features, rois, **arguments), expected)
    last = np.ascontiguousarray(features.transpose(0, 2, 3, 1))
    assert_close(function(last, rois, order="NHWC", **arguments).transpose(0, 3, 1, 2), expected)

    expected = twin_gradient(grad_output, rois, features.shape, **options)
    assert_close(gradient(features, rois, grad_output, **arguments), expected)


@given_some(problems(dtypes=FLOAT32, box_dtypes=FLOAT32, most_channels=9))
def test_roi_align(problem):
    check_align(
        problem,
        caffe2.RoIAlign,
        caffe2.RoIAlignGradient,
        reference.average.roi_align,
        reference.average.roi_align_backward,
        rotated=False,
    )


@given_some(rotated_problems(dtypes=FLOAT32, box_dtypes=FLOAT32, most_channels=9))
def test_roi_align_rotated(problem):
    check_align(
        problem,
        caffe2.RoIAlignRotated,
        caffe2.RoIAlignRotatedGradient,
        reference.rotated.roi_align_rotated,
        reference.rotated.roi_align_rotated_backward,
        rotated=True,
    )


def test_the_scale_is_rounded_to_float32():
    """Whatever the boxes are: 5 * 0.7 is 3.5, but what float32 makes of 0.7 is less than that."""
    X = np.arange(5, dtype=np.float32).reshape(1, 1, 1, 5)
    rois = np.array([[0, 5, 0, 5, 0]], np.float64)
    assert caffe2.RoIPool(X, rois, spatial_scale=0.7, is_test=1) == 3
    maps, dY = MAPS.astype(np.float64), np.ones((3, 5, 1, 1))
    held = {"spatial_scale": float(np.float32(0.7)), "aligned": False}
    for name, twin in {"RoIAlign": "roi_align", "RoIAlignRotated": "roi_align_rotated"}.items():
        function, gradient = getattr(caffe2, name), getattr(caffe2, name + "Gradient")
        rois = ALIGNS[name].astype(np.float64)
        pooled = getattr(roicy, twin)(maps, rois, 1, **held)
        assert_same_bits(function(maps, rois, spatial_scale=0.7), pooled)
        twin = getattr(roicy, twin + "_backward")
        grad = gradient(maps, rois, dY, spatial_scale=0.7)
        assert_same_bits(grad, twin(dY, rois, maps.shape, **held))
        with pytest.raises(VALUE, match=r"\bspatial_scale\b.*float32"):
            function(maps, rois, spatial_scale=1e-60)
        with pytest.raises(VALUE, match=r"\bspatial_scale\b.*float32"):
            gradient(maps, rois, dY, spatial_scale=1e-60)


@given_some(pool_problems(dtypes=FLOAT32, most_channels=9, roundings=("round",)))
def test_roi_pool(problem):
    arguments = arguments_of(problem)
    features, rois = problem.features, problem.rois
    held = float(np.float32(arguments["spatial_scale"]))
    expected, expected_argmax = reference.pool.roi_pool(
        features, rois, problem.output_size, spatial_scale=held
    )
    outputs = caffe2.RoIPool(features, rois, **arguments)
    assert isinstance(outputs, tuple)
    assert_same_bits(outputs[0], expected.astype(np.float32))
    assert_same_bits(outputs[1], expected_argmax.astype(np.int32))
    for is_test in (1, True):
        alone = caffe2.RoIPool(features, rois, is_test=is_test, **arguments)
        np.testing.assert_array_equal(alone, expected.astype(np.float32))
    grad_output = problem.grad_output()
    grad = caffe2.RoIPoolGradient(features, rois, outputs[1], grad_output, **arguments)
    expected = reference.pool.roi_pool_backward(grad_output, expected_argmax, rois, features.shape)
    assert_close(grad, expected)


MAPS = random_values(np.random.default_rng(0), (2, 5, 12, 10), np.dtype("float32"))
ROIS = np.array([[1, 0, 1, 5, 6], [0, 2, 2, 9, 11], [1, 3, 0, 4, 12]], np.float32)
TURNED = np.array([[1, 3, 4, 5, 6, 30], [0, 5, 6, 9, 3, -80], [1, 3, 0, 4, 12, 200]], np.float32)
ALIGNS = {"RoIAlign": ROIS, "RoIAlignRotated": TURNED}


@pytest.fixture(params=ALIGNS)
def align(request, backend):
    """An operator that averages, its gradient and boxes, which work where the backend says."""
    name = request.param
    return getattr(caffe2, name), getattr(caffe2, name + "Gradient"), ALIGNS[name]


def test_without_batch_indices_all_boxes_are_of_the_first_image(align):
    function, gradient, rois = align
    arguments = {"pooled_h": 2, "pooled_w": 3, "sampling_ratio": 2}
    first = rois.copy()
    first[:, 0] = 0
    expected = function(MAPS, first, **arguments)
    assert_same_bits(function(MAPS, rois[:, 1:], **arguments), expected)
    assert expected.shape == (3, 5, 2, 3)
    grad = gradient(MAPS, rois[:, 1:], expected, **arguments)
    assert_same_bits(grad, gradient(MAPS, first, expected, **arguments))
    assert not grad[1].any()


def test_gradients_in_the_other_order(align, backend):
    _, gradient, rois = align
    arguments = {"pooled_h": 2, "pooled_w": 3}
    grad_output = random_values(np.random.default_rng(1), (3, 5, 2, 3), np.dtype("float32"))
    expected = gradient(MAPS, rois, grad_output, **arguments)
    last, grad_last = (np.ascontiguousarray(a.transpose(0, 2, 3, 1)) for a in (MAPS, grad_output))
    grad = gradient(last, rois, grad_last, order="NHWC", **arguments)
    # on a GPU sums in another order
    same = assert_same_bits if backend == "cpu" else assert_same_sums
    same(grad.transpose(0, 3, 1, 2), expected)


@pytest.mark.parametrize("aligned", [0, 1, False, True])
def test_switches_may_be_numbers(align, aligned):
    function, gradient, rois = align
    expected = function(MAPS, rois, aligned=bool(aligned))
    assert_same_bits(function(MAPS, rois, aligned=aligned), expected)
    assert_same_bits(
        gradient(MAPS, rois, expected, aligned=aligned), gradient(MAPS, rois, expected, aligned=bool(aligned))
    )


@pytest.mark.parametrize("shape", [(0,), (0, 0), (0, 4), (0, 5), (0, 6)])
def test_no_boxes(align, shape):
    function, _, _ = align
    out = function(MAPS, np.empty(shape, np.float32), pooled_h=2, pooled_w=3)
    assert out.shape == (0, 5, 2, 3)
    out = function(MAPS, np.empty(shape, np.float32), pooled_h=2, pooled_w=3, order="NHWC")
    assert out.shape == (0, 2, 3, 10)


@pytest.mark.parametrize("scales", [1, 3, 5])
def test_regions(scales):
    for shape in [(1, 3, 7, 9), (2, 3, 32, 2), (3, 1, 5, 5)]:
        X = np.zeros(shape, np.float32)
        expected = reference.pool.rmac_regions(shape[0], *shape[2:], scales, 0.25)
        assert_same_bits(caffe2.RMACRegions(X, scales=scales, overlap=0.25), expected)
    for shape in [(0, 3, 7, 9), (2, 0, 7, 9), (2, 3, 0, 9)]:
        assert caffe2.RMACRegions(np.zeros(shape, np.float32)).shape == (0, 5)


# ---------------------------------------------------------------- by name


@pytest.mark.numpy_only(reason="says device='cpu'")
def test_run_operator():
    arguments = {"pooled_h": 3, "pooled_w": 2, "spatial_scale": 0.5}
    for name, boxes in (("RoIAlign", ROIS), ("RoIAlignRotated", TURNED)):
        outputs = caffe2.run_operator(name, [MAPS, boxes], **arguments)
        assert isinstance(outputs, tuple)
        assert len(outputs) == 1
        assert_same_bits(outputs[0], getattr(caffe2, name)(MAPS, boxes, **arguments))
        gradient = caffe2.gradient_operator(name)
        assert gradient == name + "Gradient"
        (grad,) = caffe2.run_operator(gradient, (MAPS, boxes, outputs[0]), **arguments)
        assert_same_bits(grad, getattr(caffe2, gradient)(MAPS, boxes, outputs[0], **arguments))

    Y, argmaxes = caffe2.run_operator("RoIPool", [MAPS, ROIS], device="cpu", **arguments)
    assert_same_bits(Y, caffe2.RoIPool(MAPS, ROIS, **arguments)[0])
    assert len(caffe2.run_operator("RoIPool", [MAPS, ROIS], is_test=1, **arguments)) == 1
    gradient = caffe2.gradient_operator("RoIPool")
    (grad,) = caffe2.run_operator(gradient, [MAPS, ROIS, argmaxes, Y], **arguments)
    assert_same_bits(grad, caffe2.RoIPoolGradient(MAPS, ROIS, argmaxes, Y, **arguments))

    (regions,) = caffe2.run_operator("RMACRegions", [MAPS], scales=2)
    assert_same_bits(regions, roicy.rmac_regions(MAPS.shape, scales=2))


@pytest.mark.parametrize("name", ["ROIAlign", "RoiAlign", "", None, 5, "run_operator"])
def test_unknown_operators(name):
    with pytest.raises(VALUE, match=r"\bname\b.*RoIAlign,.*RoIPool") as caught:
        caffe2.run_operator(name, [MAPS, ROIS])
    assert repr(name) in str(caught.value)
    with pytest.raises(VALUE, match=r"\bname\b"):
        caffe2.gradient_operator(name)


@pytest.mark.parametrize("name", ["RMACRegions", "RoIAlignGradient", "RoIPoolGradient"])
def test_operators_without_a_gradient(name):
    with pytest.raises(VALUE, match=f"{name}.*gradient"):
        caffe2.gradient_operator(name)


@pytest.mark.parametrize(
    "error, inputs, arguments, says",
    [
        (VALUE, [MAPS], {}, r"\binputs\b.*\b2\b.*\b1\b"),
        (VALUE, [MAPS, ROIS, MAPS], {}, r"\binputs\b.*\b2\b.*\b3\b"),
        (TYPE, MAPS, {}, r"\binputs\b"),
        (TYPE, None, {}, r"\binputs\b"),
        (VALUE, [MAPS, ROIS], {"device": "cuda"}, r"\bdevice\b.*cuda"),
        (TYPE, [MAPS, ROIS], {"layout": "NHWC"}, r"RoIAlign.*\blayout\b.*\border\b"),
        (TYPE, [MAPS, ROIS], {"is_test": 1}, r"RoIAlign.*\bis_test\b"),
        (TYPE, [MAPS, ROIS], {"rois": ROIS}, r"\brois\b"),
        (VALUE, [MAPS, ROIS], {"pooled_h": 0}, r"\bpooled_h\b"),
    ],
)
def test_bad_calls_by_name(error, inputs, arguments, says):
    with pytest.raises(error, match=says):
        caffe2.run_operator("RoIAlign", inputs, **arguments)


# ---------------------------------------------------------------- errors name Caffe2's arguments


def changed(row, column, value, rois=ROIS):
    rois = rois.copy()
    rois[row, column] = value
    return rois


DY = np.ones((3, 5, 1, 1), np.float32)


@pytest.mark.parametrize(
    "error, name, X, rois, arguments",
    [
        (TYPE, "X", MAPS.tolist(), ROIS, {}),
        (TYPE, "X", MAPS.astype(int), ROIS, {}),
        (VALUE, "X", MAPS[0], ROIS, {}),
        (TYPE, "rois", MAPS, [ROIS], {}),
        (VALUE, "rois", MAPS, ROIS[:, :3].copy(), {}),
        (VALUE, "rois", MAPS, changed(1, 0, 2), {}),
        (VALUE, "rois", MAPS, changed(1, 0, -1), {}),
        (VALUE, "rois", MAPS, changed(1, 3, np.nan), {}),
        (EITHER, "order", MAPS, ROIS, {"order": "HWCN"}),
        (VALUE, "spatial_scale", MAPS, ROIS, {"spatial_scale": 0.0}),
        (TYPE, "spatial_scale", MAPS, ROIS, {"spatial_scale": "1"}),
        (VALUE, "pooled_h", MAPS, ROIS, {"pooled_h": 0}),
        (TYPE, "pooled_w", MAPS, ROIS, {"pooled_w": 2.5}),
        (TYPE, "sampling_ratio", MAPS, ROIS, {"sampling_ratio": 1.5}),
        (TYPE, "aligned", MAPS, ROIS, {"aligned": 2}),
        (TYPE, "aligned", MAPS, ROIS, {"aligned": None}),
    ],
)
def test_bad_arguments(error, name, X, rois, arguments):
    with pytest.raises(error, match=rf"\b{name}\b") as caught:
        caffe2.RoIAlign(X, rois, **arguments)
    for foreign in ("features", "layout", "output_size", "invalid"):
        assert foreign not in str(caught.value)
    if X is MAPS:
        with pytest.raises(error, match=rf"\b{name}\b"):
            caffe2.RoIAlignGradient(X, rois, DY, **arguments)


@pytest.mark.parametrize(
    "error, name, changes",
    [
        (VALUE, "dY", {"dY": np.ones((3, 5, 2, 2), np.float32)}),
        (VALUE, "dY", {"dY": np.ones((2, 5, 1, 1), np.float32)}),
        (TYPE, "dY", {"dY": DY.astype(int)}),
        (TYPE, "dY", {"dY": None}),
        (TYPE, "argmaxes", {"argmaxes": np.zeros((3, 5, 1, 1), np.int64)}),
        (VALUE, "argmaxes", {"argmaxes": np.zeros((3, 5, 1, 2), np.int32)}),
        (VALUE, "argmaxes", {"argmaxes": np.full((3, 5, 1, 1), 120, np.int32)}),
        (TYPE, "argmaxes", {"argmaxes": None}),
        (VALUE, "order", {"order": "NHWC"}),
        (VALUE, "rois", {"rois": ROIS[:, 1:].copy()}),
        (VALUE, "rois", {"rois": changed(0, 0, 2)}),
        (VALUE, "is_test", {"is_test": 1}),
        (TYPE, "is_test", {"is_test": 2}),
    ],
)
def test_bad_arguments_of_the_gradient_of_pooling(error, name, changes):
    good = {"X": MAPS, "rois": ROIS, "argmaxes": np.zeros((3, 5, 1, 1), np.int32), "dY": DY}
    caffe2.RoIPoolGradient(**good)
    with pytest.raises(error, match=rf"\b{name}\b"):
        caffe2.RoIPoolGradient(**{**good, **changes})
    if name in ("order", "rois"):
        with pytest.raises(error, match=rf"\b{name}\b"):
            caffe2.RoIPool(**{"X": MAPS, "rois": ROIS, **changes})


def test_gradients_of_another_size(align):
    _, gradient, rois = align
    for arguments in ({"pooled_h": 2}, {"pooled_w": 2}):
        with pytest.raises(VALUE, match=r"pooled_h.*dY"):
            gradient(MAPS, rois, DY, **arguments)


def test_pooling_of_contested_values():
    """The same bits as `roi_pool`, for the layouts of a view."""
    features = contested_values(np.random.default_rng(3), (2, 5, 12, 10), np.dtype("float32"))
    strided = np.ascontiguousarray(features.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    Y, argmaxes = caffe2.RoIPool(strided, ROIS, pooled_h=3, pooled_w=4)
    expected, expected_argmax = reference.pool.roi_pool(features, ROIS, (3, 4))
    assert_same_bits(Y, expected.astype(np.float32))
    assert_same_bits(argmaxes, expected_argmax.astype(np.int32))
