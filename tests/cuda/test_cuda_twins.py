"""The CUDA kernels, compiled for the processor, against the CPU backend.

Beside these, most other tests of public functions run on both backends: see `backend` in conftest.py.
"""

import inspect
from typing import NamedTuple

import battery
import numpy as np
import pytest
from closeness import assert_same_bits, assert_same_sums
from hypothesis import given, settings
from hypothesis import strategies as st
from operators import AVERAGE, MAX, PRECISE, of_all
from strategies import (
    BOX_DTYPES,
    FEATURE_DTYPES,
    distinct_values,
    problems,
    random_values,
    result_dtype,
)

import roicy
from roicy import _backend, cpu


def few(*arguments):
    """`hypothesis.given`, with a quarter of the examples."""
    return lambda test: settings(max_examples=settings.default.max_examples // 4)(given(*arguments)(test))


@pytest.fixture(scope="module")
def both(host_kernels):
    """Make a call on the CUDA kernels and on the CPU backend, and return both results."""

    def run(call):
        expected = call()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(_backend, "cpu", host_kernels)
            return call(), expected

    return run


def aligned(array):
    """The array, copied if its items are where CUDA's cannot be."""
    whole = all(stride % array.itemsize == 0 for stride in array.strides)
    return array if array.flags.aligned and whole else array.copy()


def agree(found, expected, precision):
    """Hold results together; the gradients of boxes may be of another precision than the sums are."""
    for array, wanted in zip(found, expected, strict=True):
        if array.dtype == wanted.dtype == np.float64:
            array, wanted = array.astype(precision), wanted.astype(precision)
        assert_same_sums(array, wanted)


def precision_of(features):
    return "float64" if features.dtype == np.float64 else "float32"


# ---------------------------------------------------------------- every operator, on problems of all kinds


@of_all
def test_problems_of_all_kinds(both, operator, examples):
    """Maxima of pixels are exactly the same; those of samples where no two are as good as equal."""
    values = distinct_values if operator is MAX else operator.values

    @examples(operator.problems(values=values), st.sampled_from(["NCHW", "NHWC"]), share=1 / 4)
    def hold(problem, layout):
        features = aligned(battery.to_layout(problem.features, layout))
        grad_output = battery.to_layout(problem.grad_output(), layout)
        options = dict(problem.options, layout=layout)

        def call():
            pooled, argmax = operator.both(features, problem.rois, problem.output_size, **options)
            grad = operator.backward(grad_output, problem.rois, features.shape, argmax, **options)
            return (pooled, grad) if argmax is None else (pooled, grad, argmax)

        found, expected = both(call)
        if operator.exact:
            same_bits(found, expected)
        else:
            agree(found, expected, precision_of(features))


@few(problems(values=distinct_values), st.sampled_from(["NCHW", "NHWC"]))
def test_the_rule_of_onnx(both, problem, layout):
    features = aligned(battery.to_layout(problem.features, layout))
    options = dict(problem.options, layout=layout, mode="max", max_rule="onnx")

    def call():
        return (roicy.roi_align(features, problem.rois, problem.output_size, **options),)

    agree(*both(call), precision_of(features))


@few(
    problems(),
    st.sampled_from(["NCHW", "NHWC"]),
    st.lists(st.sampled_from(["nan", "infinite", "below", "above", "between"]), max_size=4),
    st.booleans(),
)
def test_invalid_rows(both, problem, layout, faults, apart):
    """Rows that no pooling can be done for: NaN and no gradient, or the same error, with nothing written."""
    features = aligned(battery.to_layout(problem.features, layout))
    rois = problem.rois.copy()
    for k, fault in enumerate(faults[: len(rois)]):
        column, value = {
            "nan": (1, np.nan),
            "infinite": (4, -np.inf),
            "below": (0, -1),
            "above": (0, len(features)),
            "between": (0, len(features) + 0.5),
        }[fault]
        rois[k, column] = value
    if apart and np.isfinite(rois[:, 0]).all():
        given = {"rois": rois[:, 1:], "batch_indices": np.floor(rois[:, 0]).astype(np.int16)}
    else:
        given = {"rois": rois}
    grad_output = battery.to_layout(problem.grad_output(), layout)
    options = dict(problem.options, layout=layout, **given)

    def call():
        rois, more = options["rois"], {key: value for key, value in options.items() if key != "rois"}
        return (
            roicy.roi_align(features, rois, problem.output_size, invalid="nan", **more),
            roicy.roi_align_backward(grad_output, rois, features.shape, invalid="nan", **more),
        )

    agree(*both(call), precision_of(features))

    def message():
        rois, more = options["rois"], {key: value for key, value in options.items() if key != "rois"}
        out = np.full(grad_output.shape, 7, result_dtype(features.dtype))
        try:
            roicy.roi_align(features, rois, problem.output_size, out=out, **more)
        except ValueError as error:
            assert (out == 7).all()
            return str(error)
        return None

    found, expected = both(message)
    assert found == expected


# ---------------------------------------------------------------- decisions, to the bit


@st.composite
def places(draw, count, length, dtype):
    """Coordinates around those where something is decided: the borders, whole and half pixels."""
    whole = st.sampled_from(
        [-1.5, -1.0, -0.5, 0.0, 0.5, length - 1.5, length - 1.0, length - 0.5, float(length)]
    )
    near = st.tuples(whole, st.integers(-3, 3)).map(
        lambda pair: pair[0] + pair[1] * float(np.spacing(dtype.type(abs(pair[0]) + 0.5)))
    )
    anywhere = st.floats(-3, length + 3, width=32)
    huge = st.sampled_from([1e30, -1e30, 1e9])
    return np.array([draw(st.one_of(near, anywhere, huge)) for _ in range(count)], dtype)


def ramps(height, width):
    """float64 maps that say where they were sampled: one of the columns, one of the rows, one of ones."""
    y, x = np.mgrid[:height, :width].astype(np.float64)
    return np.stack([x, y, np.ones_like(x)])[None]


@few(st.data(), st.sampled_from(BOX_DTYPES), st.sampled_from([1, 2, 3, 0]), st.booleans())
def test_where_samples_lie(both, data, dtype, sampling_ratio, aligned):
    height, width = 5, 7
    x, y = (data.draw(places(8, length, dtype)) for length in (width, height))
    x, y = x.reshape(4, 2), y.reshape(4, 2)
    if not sampling_ratio:
        # neither 1e30 samples, nor a reversed box, which has none
        x, y = (np.sort(np.clip(ends, -20, 20), axis=1) for ends in (x, y))
    rois = np.column_stack([np.zeros(4), x[:, 0], y[:, 0], x[:, 1], y[:, 1]]).astype(dtype)

    def call():
        features, options = ramps(height, width), {"sampling_ratio": sampling_ratio, "aligned": aligned}
        return roicy.roi_align(features, rois, (1, 1), **options), roicy.roi_align(
            features, rois, 3, **options
        )

    found, expected = both(call)
    for array, wanted in zip(found, expected, strict=True):
        if sampling_ratio == 1 and dtype == np.float32:  # weights are exact, and there is no sum to speak of
            np.testing.assert_array_equal(array, wanted)
        np.testing.assert_allclose(array, wanted, rtol=0, atol=2e-14 * (width + height))


@few(st.data(), st.sampled_from(BOX_DTYPES), st.sampled_from([1, 2, 0]), st.booleans())
def test_where_samples_of_turned_boxes_lie(both, data, dtype, sampling_ratio, clockwise):
    height, width = 5, 7
    x, y = (data.draw(places(4, length, dtype)) for length in (width, height))
    size = np.array([[data.draw(st.floats(-2, 12, width=32)) for _ in range(2)] for _ in range(4)])
    angle = np.array([data.draw(st.floats(-400, 400, width=32)) for _ in range(4)])
    rois = np.column_stack([np.zeros(4), x, y, size, angle]).astype(dtype)

    def call():
        features, options = ramps(height, width), {"sampling_ratio": sampling_ratio, "clockwise": clockwise}
        return (
            roicy.roi_align_rotated(features, rois, (1, 1), **options),
            roicy.roi_align_rotated(features, rois, (2, 3), **options),
        )

    found, expected = both(call)
    for array, wanted in zip(found, expected, strict=True):
        if sampling_ratio == 1 and dtype == np.float32:
            np.testing.assert_array_equal(array, wanted)
        np.testing.assert_allclose(array, wanted, rtol=0, atol=2e-14 * (width + height))


# ---------------------------------------------------------------- the same bits, however it is launched


class Work(NamedTuple):
    """A problem that is large enough to be split over blocks."""

    shape: tuple[int, int, int, int]
    boxes: int
    output_size: tuple[int, int]
    dtype: str
    layout: str
    box_dtype: str = "float32"


WORK = [
    Work((2, 19, 13, 11), 40, (3, 5), "float32", "NCHW"),
    Work((2, 40, 13, 11), 17, (7, 7), "float16", "NHWC"),
    Work((1, 3, 31, 40), 9, (14, 14), "uint8", "NCHW", "float64"),
    Work((3, 33, 9, 8), 30, (2, 2), "float64", "NHWC"),
    Work((2, 8, 16, 16), 25, (1, 1), "bfloat16", "NCHW", "float64"),
]
WORK_IDS = [f"{work.dtype}-{work.layout}" for work in WORK]


def outputs(operator, work):
    """All results of an operator and its gradients."""
    dtype = next(dtype for dtype in FEATURE_DTYPES if dtype.name == work.dtype)
    rng = np.random.default_rng(work.boxes)
    n, _, height, width = work.shape
    features = random_values(rng, operator.map_shape(work.shape, work.output_size), dtype)
    corners = battery.random_boxes(rng, work.boxes, height, width)
    rois = operator.rois(rng, rng.integers(n, size=work.boxes), corners, work.box_dtype)
    # adaptive as well: of averages, whose samples are those of the pixels
    options = {"sampling_ratio": 0} if operator is AVERAGE else {}
    return operator.outputs(features, rois, work.output_size, layout=work.layout, **options)


def that_agree(operator, found):
    """Those of the outputs that are as close as their values say: the gradient of a box may cancel."""
    return found[:-1] if operator.has_slopes else found


def same_bits(found, expected):
    for array, wanted in zip(found, expected, strict=True):
        assert_same_bits(array, wanted)


@pytest.fixture
def backwards(host_kernels):
    from cuda_host.module import HostModule

    def turn(on):
        HostModule.set_order(on)

    yield turn
    HostModule.set_order(0)


@pytest.mark.parametrize("work", WORK, ids=WORK_IDS)
@of_all
def test_launches(on_cuda, backwards, monkeypatch, operator, work):
    """Neither another run, nor threads' and blocks' order or number, nor wider offsets change a bit."""
    from cuda_host.module import HostModule

    expected = outputs(operator, work)
    same_bits(outputs(operator, work), expected)
    backwards(True)
    monkeypatch.setattr(HostModule, "fences", "before")
    same_bits(outputs(operator, work), expected)
    backwards(False)
    monkeypatch.setattr(on_cuda, "most_blocks", 3)
    same_bits(outputs(operator, work), expected)
    monkeypatch.setattr(on_cuda, "index", "int64")
    same_bits(outputs(operator, work), expected)


@of_all
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_many_boxes_on_several_images(both, operator, layout):
    """So many that the boxes of an image are looked up in a list."""
    found, expected = both(lambda: outputs(operator, Work((4, 3, 10, 9), 1100, (2, 2), "float32", layout)))
    agree(that_agree(operator, found), that_agree(operator, expected), "float32")


@pytest.mark.parametrize("sampling_ratio", [0, 1])
def test_position_sensitive_bins_across_tiles(both, sampling_ratio):
    """Such a bin may begin in one tile of the gradient and end beyond the next, or miss the map."""
    rng = np.random.default_rng(6)
    corners = rng.uniform(-60, 60, (40, 2))
    rois = np.column_stack([np.zeros(40), corners, corners + rng.uniform(1, 150, (40, 2))]).astype(np.float32)
    grad = rng.standard_normal((40, 3, 2, 2), dtype=np.float32)
    found, expected = both(
        lambda: roicy.ps_roi_align_backward(grad, rois, (1, 12, 80, 70), sampling_ratio=sampling_ratio)
    )
    agree([found], [expected], "float32")


@pytest.mark.parametrize("output_size", [(1, 150), (150, 1), (20, 70), (7, 7)], ids=str)
@pytest.mark.parametrize("channels", [1, 6, 13, 70])
@pytest.mark.parametrize("operator", [AVERAGE, PRECISE], ids=lambda it: it.name)
def test_gradients_of_many_bins(both, operator, channels, output_size):
    """More of them for a pixel, a row or a tile than a warp has room for; boxes that are reversed, too."""
    height, width = 21, 70
    corners = np.array(
        [
            [3, 4, 3.5, 4.25],
            [1, 1, 68, 20],
            [9, 2, 12, 19],
            [30, 15, 20, 3],
            [-40, -9, 99, 40],
            [60, 3, 68, 3],
        ],
        np.float32,
    )
    rng = np.random.default_rng(channels)
    rois = operator.rois(rng, np.zeros(len(corners)), corners)
    grad = rng.standard_normal((len(rois), channels, *output_size), dtype=np.float32)
    ratios = (0, 1, 3) if operator is AVERAGE else (None,)

    def call():
        options = [{} if ratio is None else {"sampling_ratio": ratio} for ratio in ratios]
        return [operator.backward(grad, rois, (1, channels, height, width), None, **some) for some in options]

    agree(*both(call), "float32")


@pytest.mark.parametrize("output_size", [(7, 7), (9, 3), (2, 40)], ids=str)
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("operator", [AVERAGE, PRECISE], ids=lambda it: it.name)
def test_bins_of_many_pixels(both, operator, layout, output_size):
    """Wider than a tile, of more taps than a piece or than a warp keeps, beside small and empty ones."""
    channels, height, width = 11, 90, 300
    corners = np.array(
        [
            [2, 3, 297, 88],
            [10, 5, 200, 75],
            [40, 1, 59, 89],
            [1, 40, 299, 41],
            [100, 20, 104, 26],
            [-400, -90, 500, 300],
            [290, 80, 340, 99],
            [-50, 4, -20, 9],
        ],
        np.float32,
    )
    rng = np.random.default_rng(len(corners))
    rois = operator.rois(rng, np.zeros(len(corners)), corners)
    features = random_values(rng, (1, channels, height, width), np.dtype(np.float32))
    ratios = (0, 3) if operator is AVERAGE else (None,)

    def call():
        options = [{} if ratio is None else {"sampling_ratio": ratio} for ratio in ratios]
        return [operator.outputs(features, rois, output_size, layout=layout, **some) for some in options]

    for found, expected in zip(*both(call), strict=True):
        agree(that_agree(operator, found), that_agree(operator, expected), "float32")
        slopes = expected[-1]
        np.testing.assert_allclose(found[-1], slopes, rtol=1e-5, atol=1e-5 * np.abs(slopes).max())


@pytest.mark.parametrize("columns", [24, 26, 32])
@pytest.mark.parametrize("breadth", [2, 6])
def test_about_as_many_taps_of_columns_as_a_warp_keeps(both, columns, breadth):
    """That is 96; of bins that are `breadth` pixels wide, all columns are read, or a part of them."""
    features = random_values(np.random.default_rng(0), (1, 5, 3, 230), np.dtype("float32"))
    right = 1.3 + columns * np.linspace(breadth, 1.15 * breadth, 24)
    boxes = np.column_stack([np.zeros(24), np.full(24, 1.3), np.zeros(24), right, np.full(24, 3)])
    found, expected = both(lambda: roicy.roi_align(features, boxes, (2, columns), sampling_ratio=2))
    assert_same_sums(found, expected)


@pytest.mark.parametrize("channels", [1, 3, 33])
def test_no_warp_is_without_work(on_cuda, monkeypatch, channels):
    """A warp has a row of bins or more, in four channels or more, or in all there are."""
    warps = {}

    def noted(source, kernel, options, blocks, threads, arguments):
        warps[kernel] = blocks * threads // 32
        launch(source, kernel, options, blocks, threads, arguments)

    launch = on_cuda.launch
    monkeypatch.setattr(on_cuda, "launch", noted)
    outputs(AVERAGE, Work((1, channels, 20, 20), 300, (14, 14), "float32", "NCHW"))
    tasks = 300 * 14 * -(-channels // 4)
    for kernel in "axis_forward", "axis_backward_rois":
        assert warps[kernel] <= tasks, kernel


@of_all
def test_steps_beyond_32_bits(both, operator):
    """Offsets that only fit into 64 bits, into memory that is reserved and hardly used."""
    shape = operator.map_shape((2, 5, 6, 7), (2, 3))
    features = random_values(np.random.default_rng(0), shape, np.dtype("float16"))
    wide = np.lib.stride_tricks.as_strided
    items = 3 * 2**31 + features.size
    memory = np.zeros(items, np.float16)
    spread = wide(memory, features.shape, (2 * 3 * 2**31, *features.strides[1:]))
    spread[...] = features
    rois = operator.rois(np.random.default_rng(0), [1, 0], [[0.5, 0.25, 6, 5], [1, 1, 3, 3]])

    def call():
        found = operator.both(spread, rois, (2, 3))
        return found if operator.exact else found[:1]

    agree(*both(call), "float32")


# ---------------------------------------------------------------- the twins


def test_functions_have_the_same_signatures():
    """Each function of one backend has a twin in the other; type checkers compare their types."""
    from roicy._protocols import Backend
    from roicy.cuda import Kernels

    of_threads = {"compiler", "get_num_threads", "level", "levels", "openmp", "set_num_threads", "threads"}
    values = {"again", "crops_again", "pyramids", "streams", "xp"}
    names = set(cpu.__all__) - of_threads - values
    for name in names:
        own = list(inspect.signature(getattr(cpu, name)).parameters)
        for kind in (Backend, Kernels):
            assert list(inspect.signature(getattr(kind, name)).parameters) == ["self", *own], name
    assert {name for name in vars(Backend) if not name.startswith("_")} - values == names
    base = {
        "answer",
        "captures",
        "check_arrays",
        "feature_options",
        "gives",
        "launch",
        "most_maps",
        "note",
        "readable",
        "recording",
        "room",
        "serve",
        "serves",
        "share_out",
        "wait_for",
    }
    calls = {"take", "run"}  # as what `together` returns
    assert {name for name in dir(Kernels) if not name.startswith("_")} - base - calls - values == names
    assert cpu.streams is None
    assert cpu.again is None
    assert cpu.pyramids is None
