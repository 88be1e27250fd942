"""Repeated calls that wait for the device, to see whether boxes and argmax are valid: the default."""

import shutil

import numpy as np
import pytest
from arrays.array_calls import CALLS
from cuda_host.arrays import Waits, ndarray
from recorded_passes import PASSES, Pass, anew, assert_alike, checked, counted_plans, on_device

import roicy
from roicy import _crop_once, _pyramid_once, cuda
from roicy.cuda import again

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler")

MAXIMA = [name for name in PASSES if {"pixels", "samples"} & set(PASSES[name].names)]


@pytest.fixture(autouse=True)
def calls(monkeypatch):
    """How often arguments were handled one by one."""
    return counted_plans(monkeypatch)


@pytest.fixture(params=PASSES)
def tested(request):
    """A pass whose boxes are checked."""
    return checked(request.param)


def assert_refused(tested, given, calls):
    """Refused as if there had been no other call, and an output stays as it was."""
    with pytest.raises(ValueError) as expected:
        anew(tested, given)
    like = anew(tested, tested.drawn(0))
    outs = [ndarray(np.full_like(array, 7)) for array in like]
    for out in (None, tuple(outs) if len(outs) == 2 else outs[0]):
        made = calls.count
        with pytest.raises(ValueError) as found:
            tested(on_device(given), out)
        assert str(found.value) == str(expected.value)
        assert calls.count == made + 1
    for out in outs:
        assert (out._array == 7).all()


def test_other_numbers(tested, calls):
    """The third call makes no plan, waits as often as one that does, and has its results."""
    for seed in range(5):
        given = tested.drawn(seed)
        Waits.count = 0
        expected, waits, made = anew(tested, given), Waits.count, calls.count
        assert waits
        Waits.count = 0
        assert_alike(tested(on_device(given)), expected)
        assert Waits.count == waits
        assert calls.count == made + (seed < 2)


@pytest.mark.parametrize("name", CALLS)
def test_every_function_waits_as_often_as_before(name):
    """Whatever it waits for: a call that is repeated must not do without."""
    waits = []

    def on_the_device(function, *arguments, **options):
        own, named = moved(arguments), {key: moved(value) for key, value in options.items()}
        Waits.count = 0
        result = getattr(roicy, function)(*own, **named)
        waits.append(Waits.count)
        return result

    def moved(value):
        if isinstance(value, (list, tuple)):
            return type(value)(map(moved, value))
        return ndarray(value.copy()) if isinstance(value, np.ndarray) else value

    for _ in range(4):
        CALLS[name](on_the_device)
    assert waits == waits[:1] * 4


def test_each_launch_is_made_once(tested, monkeypatch):
    """Those before the host waits, and those after it."""
    for seed in range(3):
        tested(on_device(tested.drawn(seed)))
    (call,), done, do = cuda.kernels().again._calls.values(), [], again.do
    monkeypatch.setattr(again, "do", lambda steps, addresses: done.extend(steps) or do(steps, addresses))
    tested(on_device(tested.drawn(3)))
    assert list(map(id, done)) == list(map(id, call._steps))


@pytest.mark.parametrize("before", [0, 1, 4])
def test_boxes_that_are_invalid(tested, calls, before):
    """They are refused as ever, whichever call it is, and later calls are repeated nevertheless."""
    for seed in range(before):
        tested(on_device(tested.drawn(seed)))
    for row, value in ((0, np.nan), (2, np.inf), (4, -np.inf)):
        given = tested.drawn(7)
        given["rois"][row, -1] = value
        assert_refused(tested, given, calls)
    given = tested.drawn(7)
    images = given["batch_indices"] if "batch_indices" in given else given["rois"][:, 0]
    images[3] = 2
    assert_refused(tested, given, calls)
    for seed in range(4):
        given = tested.drawn(seed)
        expected, made = anew(tested, given), calls.count
        assert_alike(tested(on_device(given)), expected)
        assert calls.count == made or seed < 2


def test_boxes_with_too_many_samples(calls):
    """Those of a bin have numbers below 2**31."""
    tested = Pass("roi_align", "features", "rois", results=2, mode="max", invalid="raise")
    for seed in range(3):
        tested(on_device(tested.drawn(seed)))
    given = tested.drawn(3)
    given["rois"][3, 1:] = [0, 0, 3e5, 3e5]
    assert_refused(tested, given, calls)


@pytest.mark.parametrize("name", MAXIMA)
def test_an_argmax_that_is_wrong(name, calls):
    tested = checked(name)
    for seed in range(4):
        tested(on_device(tested.drawn(seed)))
    argmax = "pixels" if "pixels" in tested.names else "samples"
    for place, value in (((0, 0, 0, 0), -2), ((4, 3, 1, 2), 1000), ((2, 1, 0, 1), 2**31 - 1)):
        given = tested.drawn(5)
        given[argmax][place] = value
        assert_refused(tested, given, calls)
    made = calls.count
    tested(on_device(tested.drawn(6)))
    assert calls.count == made


@pytest.mark.parametrize("name", MAXIMA)
def test_an_argmax_that_changes_while_the_call_is_recorded(name, calls, monkeypatch):
    """A number that is right again when it is looked at is no example for others in its place."""
    tested = checked(name)
    argmax = "pixels" if "pixels" in tested.names else "samples"
    tested(on_device(tested.drawn(0)))
    given = tested.drawn(1)
    given[argmax][2, 1, 0, 1] = 1000
    own, kernels = on_device(given), cuda.kernels()
    launch = kernels.launch

    def mended(source, kernel, *arguments):
        if kernel == "first_wrong":
            own[argmax]._array[2, 1, 0, 1] = 0
        launch(source, kernel, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(kernels, "launch", mended)
        tested(own)
    assert all(kernels.again._calls.values())
    assert_refused(tested, given, calls)


def test_a_graph(tested, calls):
    """Nobody can wait for a stream that records one: there is the usual path for such calls."""
    import cupy

    for seed in range(4):
        tested(on_device(tested.drawn(seed)))
    made, stream = calls.count, cupy.cuda.Stream()
    with stream:
        stream.begin_capture()
        tested(on_device(tested.drawn(4)))
    assert calls.count == made + 1


def test_crops(monkeypatch):
    """Calls that differ in what is done about invalid boxes, in turn."""
    counted, planned = [], _crop_once._planned
    monkeypatch.setattr(_crop_once, "_planned", lambda *asked: counted.append(1) or planned(*asked))
    rng = np.random.default_rng(0)
    out = np.full((3, 4, 5, 3), 7, np.float32)
    for turn in range(5):
        images = rng.integers(0, 255, (2, 10, 12, 3), np.uint8)
        boxes = rng.uniform(0, 10, (3, 4)).astype(np.float32)
        boxes = np.column_stack([[0, 1, 1], boxes[:, :2], boxes[:, :2] + 1 + boxes[:, 2:]]).astype(np.float32)
        given = {"output_size": (4, 5), "mean": (1, 2, 3)}
        expected = roicy.crop_and_resize(images, boxes, **given)
        for invalid in ("raise", "nan"):
            counted.clear()
            Waits.count = 0
            found = roicy.crop_and_resize(ndarray(images.copy()), ndarray(boxes), **given, invalid=invalid)
            np.testing.assert_allclose(found._array, expected, rtol=0, atol=1e-4)
            assert Waits.count == (invalid == "raise")
            assert len(counted) == (turn < 1 + (invalid == "raise"))
        boxes[1, 3] = np.inf
        wrong = {"boxes": boxes.copy()} | given
        with pytest.raises(ValueError) as refused:
            roicy.crop_and_resize(images, **wrong)
        with pytest.raises(ValueError) as found:
            roicy.crop_and_resize(
                ndarray(images.copy()), **wrong | {"boxes": ndarray(boxes)}, out=ndarray(out)
            )
        assert str(found.value) == str(refused.value)
        assert (out == 7).all()
        nan = roicy.crop_and_resize(
            ndarray(images.copy()), **wrong | {"boxes": ndarray(boxes)}, invalid="nan"
        )
        assert np.isnan(nan._array[1]).all()
        assert not np.isnan(nan._array[[0, 2]]).any()


def pyramid(rng, turned):
    """Return maps, boxes and a gradient of what is pooled from them."""
    maps = [rng.standard_normal((2, 3, 12 >> level, 16 >> level)).astype(np.float32) for level in range(3)]
    corners = rng.uniform(0, 20, (6, 2))
    rois = [rng.integers(0, 2, 6), corners, corners + rng.uniform(1, 30, (6, 2)), corners[:, 0]]
    rois = np.column_stack(rois).astype(np.float32)[:, : 6 if turned else 5]
    return maps, rois, rng.standard_normal((6, 3, 2, 3)).astype(np.float32)


def of_pyramid(function, maps, rois, grad, device=False, out=None):
    """Return the result of a function of a pyramid."""
    if device:
        maps, rois, grad = [ndarray(m.copy()) for m in maps], ndarray(rois.copy()), ndarray(grad)
    options = {"spatial_scales": (1, 1 / 2, 1 / 4), "out": out}
    if function.endswith("backward_rois"):
        return getattr(roicy, function)(grad, maps, rois, **options)
    if function.endswith("backward"):
        return getattr(roicy, function)(grad, rois, [one.shape for one in maps], **options)
    return getattr(roicy, function)(maps, rois, (2, 3), **options)


@pytest.mark.parametrize(
    "function",
    [
        "multi_scale_roi_align",
        "multi_scale_roi_align_backward",
        "multi_scale_roi_align_backward_rois",
        "multi_scale_roi_pool",
        "multi_scale_roi_align_rotated",
        "multi_scale_roi_align_rotated_backward",
    ],
)
def test_pyramids(function, monkeypatch):
    """Calls whose boxes are valid are repeated, and others are refused as ever."""
    counted, planned = [], _pyramid_once._plan
    monkeypatch.setattr(_pyramid_once, "_plan", lambda *asked: counted.append(1) or planned(*asked))
    rng = np.random.default_rng(0)
    for turn in range(5):
        maps, rois, grad = pyramid(rng, "rotated" in function)
        expected = of_pyramid(function, maps, rois, grad)
        counted.clear()
        Waits.count = 0
        found = of_pyramid(function, maps, rois, grad, device=True)
        assert Waits.count == 1
        assert len(counted) == (turn < 2)
        listed = isinstance(expected, list)
        for one, other in zip(found if listed else [found], expected if listed else [expected], strict=True):
            np.testing.assert_allclose(one._array, other, rtol=0, atol=3e-5)
        rois[turn, 2] = np.nan
        with pytest.raises(ValueError) as refused:
            of_pyramid(function, maps, rois, grad)
        out = [np.full_like(one, 7) for one in (expected if listed else [expected])]
        own = list(map(ndarray, out))
        with pytest.raises(ValueError) as found:
            of_pyramid(function, maps, rois, grad, device=True, out=own if listed else own[0])
        assert str(found.value) == str(refused.value)
        assert all((one == 7).all() for one in out)


@pytest.mark.parametrize("times", [1, 4])
def test_levels_that_are_given(times):
    """They are checked each time."""
    maps, rois, _ = pyramid(np.random.default_rng(0), False)
    options = {"output_size": (2, 3), "spatial_scales": (1, 1 / 2, 1 / 4)}

    def pool(levels):
        return roicy.multi_scale_roi_align(
            [ndarray(one.copy()) for one in maps], ndarray(rois.copy()), levels=ndarray(levels), **options
        )

    for _ in range(times):
        pool(np.array([0, 1, 2, -1, 0, 1], np.int32))
    with pytest.raises(ValueError, match="levels"):
        pool(np.array([0, 1, 2, -1, 3, 1], np.int32))


def test_pyramids_that_differ_in_what_is_done_about_invalid_boxes():
    """Calls that look at no box are no example for those that do."""
    maps, rois, _ = pyramid(np.random.default_rng(0), False)
    options = {"output_size": (2, 3), "spatial_scales": (1, 1 / 2, 1 / 4)}

    def pool(invalid):
        own = [ndarray(one.copy()) for one in maps]
        return roicy.multi_scale_roi_align(own, ndarray(rois.copy()), invalid=invalid, **options)

    for invalid in ("nan", "raise") * 4:
        Waits.count = 0
        pool(invalid)
        assert Waits.count == (invalid == "raise")
    rois[3, 2] = np.nan
    assert np.isnan(pool("nan")._array[3]).all()
    with pytest.raises(ValueError, match="rois row 3"):
        pool("raise")
