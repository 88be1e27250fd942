"""What a call made the device do, done again with other arrays: each pass, against calls made anew."""

import shutil
import threading

import numpy as np
import pytest
from closeness import assert_same_bits
from cuda_host import arrays
from cuda_host.arrays import ndarray
from recorded_passes import (
    BINS,
    CHANNELS,
    IMAGES,
    OUTPUT,
    PASSES,
    ROIS,
    SHAPE,
    anew,
    as_it_is,
    assert_alike,
    checked,
    counted_plans,
    on_device,
)

import roicy
from roicy import _kinds, _once, cuda
from roicy.cuda import again
from roicy.cuda.recording import NotAlike, Recording, _Places

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler")


@pytest.fixture(autouse=True)
def calls(monkeypatch):
    """How often arguments were handled one by one."""
    return counted_plans(monkeypatch)


@pytest.fixture(params=PASSES)
def tested(request):
    """A pass."""
    return PASSES[request.param]


def every_second(array):
    """Return a view with gaps between the items of a row."""
    wide = np.zeros((*array.shape[:-1], 2 * array.shape[-1]), array.dtype)
    wide[..., ::2] = array
    return ndarray(wide)[..., ::2]


def backwards(array):
    """Return a view whose rows are in memory in the other order."""
    return ndarray(array[::-1].copy())[::-1]


def channels_last(array, beyond=0):
    """Return a view whose second axis is the last one in memory, some items beyond a multiple of 16 bytes."""
    if array.ndim != 4:
        return as_it_is(array)
    room = np.zeros(array.size + 64, array.dtype)
    begin = -(room.ctypes.data // array.itemsize) % 16 + beyond
    moved = array.transpose(0, 2, 3, 1)
    room[begin : begin + array.size] = moved.ravel()
    return ndarray(room[begin : begin + array.size].reshape(moved.shape)).transpose(0, 3, 1, 2)


def one_further(array):
    return channels_last(array, 1)


WAYS = as_it_is, every_second, backwards, channels_last, one_further


def test_other_numbers(tested, calls):
    """The third call makes no plan, and computes with the numbers that it was given."""
    for seed in range(5):
        given = tested.drawn(seed)
        if seed == 3:
            given["rois"][2] = np.nan
        expected, made = anew(tested, given), calls.count
        assert_alike(tested(on_device(given)), expected)
        assert calls.count == made + (seed < 2)


def test_memory_laid_out_in_other_ways(tested, calls):
    """Each way has calls of its own, which are not mixed up."""
    for seed in range(4):
        for way in WAYS:
            given = tested.drawn(seed)
            expected, made = anew(tested, given, way), calls.count
            assert_alike(tested(on_device(given, way)), expected)
            copied = way in (every_second, backwards) or (way is not as_it_is and "offsets" in tested.names)
            if not copied:
                assert calls.count == made + (seed < 2)


def test_maps_of_other_dtypes(tested):
    for seed in range(4):
        for dtype in ("float32", "float64", "float16"):
            given = tested.drawn(seed, dtype)
            assert_alike(tested(on_device(given)), anew(tested, given))


def test_outputs_that_are_given(tested, calls):
    """Where they are, how they are laid out and how many there are is up to each call."""
    for seed in range(4):
        for way in WAYS:
            given = tested.drawn(seed)
            expected = anew(tested, given)
            out = tuple(way(np.full_like(array, 7)) for array in expected)
            wanted = tuple(way(np.full_like(array, 7)) for array in expected)
            anew(tested, given, out=wanted if len(out) == 2 else wanted[0])
            made = calls.count
            tested(on_device(given), out if len(out) == 2 else out[0])
            assert calls.count <= made + (seed < 2)
            for one, other in zip(out, wanted, strict=True):
                assert_same_bits(one._array, other._array)
                if way is every_second:
                    assert not one._array.base[..., 1::2].any()
            if len(out) == 2:  # the second result is made
                found = getattr(roicy, tested.function)
                arrays_of = [on_device(given)[name] for name in tested.names]
                more = {**tested.options, "return_argmax": True}
                pooled, chosen = found(*arrays_of, BINS, **more, out=out[0])
                assert pooled is out[0]
                assert_alike((pooled._array, chosen._array), expected)


def test_outputs_that_overlap(tested):
    """They are found in later calls, too, as are wrong ones."""
    given = tested.drawn(0)
    expected = anew(tested, given)
    for _ in range(3):
        out = tuple(as_it_is(np.zeros_like(array)) for array in expected)
        tested(on_device(given), out if len(out) == 2 else out[0])
    for name in tested.names:
        for place, array in enumerate(expected):
            input_ = given[name]
            room = np.zeros(array.nbytes + input_.nbytes, np.uint8)
            for begin in (array.nbytes - input_.itemsize, array.nbytes):
                begin -= begin % 8
                out = [as_it_is(np.zeros_like(other)) for other in expected]
                out[place] = ndarray(room[: array.nbytes].view(array.dtype).reshape(array.shape))
                own = on_device(given)
                part = room[begin:][: input_.nbytes].view(input_.dtype).reshape(input_.shape)
                part[...] = input_
                own[name] = ndarray(part)
                if begin < array.nbytes:
                    with pytest.raises(ValueError, match="overlap"):
                        tested(own, tuple(out) if len(out) == 2 else out[0])
                else:
                    assert_alike(tested(own, tuple(out) if len(out) == 2 else out[0]), expected)
    with pytest.raises((TypeError, ValueError), match="out"):
        tested(on_device(given), (as_it_is(expected[0]),))
    if len(expected) == 2:
        both = as_it_is(np.zeros_like(expected[1]))
        with pytest.raises(ValueError, match="overlap"):
            tested(on_device(given), (both.view(expected[0].dtype), both))


@pytest.mark.parametrize(
    "way, begin",
    [(backwards, 0), (every_second, 2 * np.prod(SHAPE) - np.prod(OUTPUT))],
    ids=["backwards", "every_second"],
)
def test_outputs_that_overlap_far_from_the_first_item(way, begin, calls):
    """Arrays reach to where their strides lead, before the first item, too."""
    tested = PASSES["align"]
    for seed in range(4):
        given, made = tested.drawn(seed), calls.count
        own = on_device(given) | {"features": way(given["features"])}
        out = as_it_is(np.zeros(OUTPUT, np.float32))
        tested(own, out)
        assert calls.count == made + (seed < 2)
    room = own["features"]._array.base
    while room.base is not None:
        room = room.base
    part = room.reshape(-1)[begin:][: out.size].reshape(OUTPUT)
    with pytest.raises(ValueError, match="overlap"):
        tested(own, ndarray(part))


def test_what_cannot_be_repeated_is_recorded_once(monkeypatch):
    made = []
    monkeypatch.setattr(again, "Recording", lambda: made.append(Recording()) or made[-1])
    tested = PASSES["align"]
    for seed in range(5):
        given = tested.drawn(seed)
        given["rois"] = given["rois"].astype(np.int64)  # which are converted
        tested(on_device(given))
    assert len(made) == 1
    assert list(cuda.kernels().again._calls.values()) == [None]


def test_one_array_in_two_places():
    """What points to it may be meant for either."""
    tested = PASSES["align box gradient"]
    for seed in range(6):
        given = tested.drawn(seed)
        given["features"] = given["grad_output"].copy()
        given["rois"] = np.column_stack([np.arange(ROIS) % ROIS, given["rois"][:, 1:] / 5]).astype(np.float32)
        own = on_device(given)
        if seed in (0, 1, 4):
            own["features"] = own["grad_output"]
        else:
            given["features"] += np.float32(seed)
            own["features"] = ndarray(given["features"])
        assert_alike(tested(own), anew(tested, given))


def test_no_array_is_kept(tested):
    """Neither those of a call nor the memory that it took."""
    for seed in range(4):
        tested(on_device(tested.drawn(seed)))
    (call,) = cuda.kernels().again._calls.values()
    for step in call._steps:
        for staying in step[3]:
            assert not any(getattr(staying, "arrays", {}).values())
            assert not isinstance(staying, (ndarray, arrays.Memory))


@pytest.mark.parametrize("begun, known", [(0, 4), (2, 4), (3, 6)])
def test_a_graph(tested, calls, begun, known):
    """What a graph records is no example for other calls where it differs, nor the other way round."""
    import cupy

    differs = tested is PASSES["max backward"]  # which takes no memory then that the graph would not keep
    for seed in range(8):
        given, stream = tested.drawn(seed), cupy.cuda.Stream()
        expected, made = anew(tested, given), calls.count
        with stream:
            is_graph = seed < begun or seed % 2
            if is_graph:
                stream.begin_capture()
            assert_alike(tested(on_device(given)), expected)
        if not differs:
            assert calls.count == made + (seed < 2)
        elif is_graph:
            assert calls.count == made + 1
        else:
            assert calls.count == made + (seed < known)


@pytest.mark.parametrize("name, value", [("index", "int64"), ("most_blocks", 1)])
def test_launches_that_are_others(tested, calls, monkeypatch, name, value):
    """Offsets of another type, or fewer blocks."""
    for seed in range(3):
        tested(on_device(tested.drawn(seed)))
    monkeypatch.setattr(cuda.kernels(), name, value)
    given, made = tested.drawn(3), calls.count
    assert_alike(tested(on_device(given)), anew(tested, given))
    assert calls.count == made + 2


def test_another_device(tested, calls):
    """It has kernels of its own."""
    import cupy

    chosen = 0
    cupy.cuda.runtime.getDevice = lambda: chosen
    for chosen in (0, 1):
        for seed in range(4):
            given, made = tested.drawn(seed), calls.count
            tested(on_device(given, lambda array: ndarray(array.copy(), chosen)))  # noqa: B023
            assert calls.count == made + (seed < 2)


@pytest.mark.parametrize("name", [name for name in PASSES if name.endswith("box gradient")])
@pytest.mark.parametrize("channels", [1, CHANNELS, 70])
def test_gradients_of_boxes_that_read_nothing(name, channels):
    """They are zeros, which the kernels write: as float64, garbage would show."""
    tested = PASSES[name]
    for seed in range(4):
        given = tested.drawn(seed)
        for maps in ("features", "grad_output"):
            given[maps] = np.repeat(given[maps][:, :1], channels, axis=1)
        if "samples" in given:
            given["samples"] = np.repeat(given["samples"][:, :1], channels, axis=1)
        given["rois"] = given["rois"].astype(np.float64)
        given["rois"][0, 1:3] += 1000  # beyond the map
        given["rois"][2, 0], given["rois"][3, 1] = IMAGES, np.nan
        (found,) = tested(on_device(given))
        assert not found[[0, 2, 3]].any()
        assert found[1].any()


def test_nothing_to_do(tested):
    """Arrays without items have no address that anything could be known by."""
    for seed in range(4):
        given = {name: array[:0] for name, array in tested.drawn(seed).items() if name != "features"}
        given |= {name: array for name, array in tested.drawn(seed).items() if name == "features"}
        assert_alike(tested(on_device(given)), anew(tested, given))


def test_what_is_wrong_is_found_later_too(tested):
    for seed in range(3):
        tested(on_device(tested.drawn(seed)))
    given = tested.drawn(3)
    for name in tested.names:
        wrong = on_device(given)
        wrong[name] = ndarray(np.zeros((*given[name].shape, 1), given[name].dtype))
        with pytest.raises((TypeError, ValueError)):
            tested(wrong)
        wrong[name] = ndarray(given[name].astype(complex))
        with pytest.raises(TypeError):
            tested(wrong)


def test_a_recording_that_ends_meanwhile():
    """Another thread ends it between any two steps of a call that it does not belong to."""
    own = cuda.kernels()

    class Ending(type(own)):
        reads = 0

        @property
        def recording(self):
            self.reads += 1
            return Recording() if self.reads == 1 else None

        @recording.setter
        def recording(self, _):
            pass

    for step in (lambda made: made.room(8), lambda made: made.empty(3), lambda made: made.captures()):
        made = Ending(own.xp, own._module, own._current_device, own._current_stream, own.allocate)
        step(made)
        assert made.reads == 1
    made = Ending(own.xp, own._module, own._current_device, own._current_stream, own.allocate)
    rows, out = made.xp.zeros((1, 4)), made.xp.zeros((1, 4))
    made.put_rows(rows, out)
    assert made.reads == 1


def test_calls_in_other_threads_are_no_part_of_a_recording(calls, monkeypatch):
    """Neither what they launch nor what they ask."""
    tested, other, kernels = PASSES["align"], checked("pool"), cuda.kernels()
    settled, sizes = _once._plan, []

    def plan(*arguments, **options):
        if kernels.recording is not None and threading.current_thread() is threading.main_thread():
            thread = threading.Thread(target=other, args=(on_device(other.drawn(0)),))
            thread.start()
            thread.join()
        return settled(*arguments, **options)

    for beside in (settled, plan):
        monkeypatch.setattr(_once, "_plan", beside)
        kernels.again._calls.clear()
        for seed in range(4):
            given = tested.drawn(seed)
            assert_alike(tested(on_device(given)), anew(tested, given))
        (call,) = (call for call in kernels.again._calls.values() if not call._questions)
        sizes.append(call._size)
    assert len(sizes) == 2
    assert sizes[0] == sizes[1]


def test_addresses_that_belong_to_nothing():
    places = _Places((), [(4096, 256), (8192, 100), (8448, 8)])
    assert [places.of(pointer) for pointer in (4096, 4351, 8291, 8448)] == [
        (0, 0),
        (0, 255),
        (0, 355),
        (0, 512),
    ]
    for pointer in (4095, 4352, 8292, 8456):
        with pytest.raises(NotAlike):
            places.of(pointer)


def test_options_that_are_forgotten_meanwhile(monkeypatch):
    """What a call is known by stays with it, so that no other options get its number."""
    tested, settled = PASSES["align"], _once._plan
    monkeypatch.setattr(_kinds, "_known", type(_kinds._known)(256, _once.Kind))

    def plan(*arguments, **options):  # as if another thread had made calls with many other options
        for module in (_once, _kinds):
            monkeypatch.setattr(module, "_known", type(module._known)(256, _once.Kind))
        return settled(*arguments, **options)

    tested(on_device(tested.drawn(0)))
    monkeypatch.setattr(_once, "_plan", plan)
    tested(on_device(tested.drawn(1)))
    ((like, call),) = cuda.kernels().again._calls.items()
    assert id(call._settled) == like[0]
