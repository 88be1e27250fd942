"""R-MAC on a GPU: its regions and sums are made there, and calls are repeated, against calls made anew."""

import shutil
import threading
import weakref

import ml_dtypes
import numpy as np
import pytest
from closeness import assert_same_bits
from cuda_host import arrays
from cuda_host.arrays import ndarray

import roicy
from roicy import _regions, _rmac_once, cpu, cuda
from roicy.cuda.tables import rois

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler")

SHAPE = 2, 5, 6, 9


class Calls:
    """How often arguments were handled one by one."""

    count = 0


@pytest.fixture(autouse=True)
def calls(monkeypatch):
    """Count plans on the stand-in for a device, whose kernels are told of addresses alone."""
    arrays.install(monkeypatch, by_address=True)
    counted, planned = Calls(), _rmac_once._planned

    def plan(features, *arguments):
        counted.count += isinstance(features, ndarray)
        return planned(features, *arguments)

    monkeypatch.setattr(_rmac_once, "_planned", plan)
    monkeypatch.setattr(_rmac_once, "_known", type(_rmac_once._known)(256))
    return counted


def vectors(given, options, out=None):
    found = roicy.rmac(given["features"], **options)
    if out is not None:
        out[...] = found
    return found


def gradient(given, options, out=None):
    found = roicy.rmac_backward(given["grad_output"], given["features"], **options, out=out)
    assert out is None or found is out
    return found


class Pass:
    """A function with options; `names` are its arrays."""

    def __init__(self, call, names, **options):
        self.call, self.names, self.options = call, names, options

    def drawn(self, seed, shape=SHAPE, dtype="float32"):
        rng = np.random.default_rng(seed)
        features = (3 * rng.standard_normal(shape)).astype(dtype)
        if self.options.get("layout") == "NHWC":
            features = np.ascontiguousarray(features.transpose(0, 2, 3, 1))
        like = roicy.rmac(features, **self.options)
        found = {"features": features, "grad_output": rng.standard_normal(like.shape).astype(like.dtype)}
        return {name: found[name] for name in self.names}

    def __call__(self, given, out=None):
        """Return the result as NumPy's."""
        return self.call(given, self.options, out)._array.copy()


FORWARD, BACK = ("features",), ("grad_output", "features")
PASSES = {
    "sum": Pass(vectors, FORWARD),
    "concat": Pass(vectors, FORWARD, aggregate="concat"),
    "other regions": Pass(vectors, FORWARD, scales=4, overlap=0.7, eps=0.5),
    "channels last": Pass(vectors, FORWARD, layout="NHWC"),
    "backward": Pass(gradient, BACK),
    "concat backward": Pass(gradient, BACK, aggregate="concat", scales=2),
    "channels last backward": Pass(gradient, BACK, layout="NHWC", eps=2.0),
}


@pytest.fixture(params=PASSES)
def tested(request):
    """A pass."""
    return PASSES[request.param]


def on_device(given):
    return {name: ndarray(array.copy()) for name, array in given.items()}


def anew(tested, given, out=None):
    """Return the result of a call that knows of none before it."""
    kernels = cuda.kernels()
    again, kernels.__dict__["again"] = kernels.again, None
    try:
        return tested(on_device(given), out)
    finally:
        kernels.__dict__["again"] = again


# ---------------------------------------------------------------- regions and sums


def test_regions():
    """To the bit, also where float32 leaves out pixels."""
    rng = np.random.default_rng(0)
    sides = [(height, width) for height in range(12) for width in range(12)]
    sides += [tuple(int(10**power) for power in rng.uniform(0, 9, 2)) for _ in range(300)]
    for number, (height, width) in enumerate(sides):
        cover = _regions.cover_of(height, width, 1 + number % 8, float(rng.uniform(0, 1)))
        found = cuda.kernels().cover_boxes(cover, 1 + number % 3)
        assert_same_bits(found._array, cpu.cover_boxes(cover, 1 + number % 3))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("count", [1, 2, 255, 256, 257, 511, 512, 65_536, 65_800, 66_100])
def test_sums_of_very_many_rows(dtype, count):
    """They are added in the CPU's order: pieces of 256, and pieces of these, and what is left over."""
    rows = np.random.default_rng(count).standard_normal((3 * count, 2)).astype(dtype)
    sums, least = 3, float(2**40)  # rows that are no longer than this are divided by it: no bit is lost
    found, lengths = cuda.kernels().unit_rows(ndarray(rows), least, sums)
    expected, long = cpu.unit_rows(rows, least, sums)
    assert_same_bits(found._array, expected)
    np.testing.assert_allclose(lengths._array, long, rtol=1e-12)


@pytest.mark.parametrize("dtype", ["float16", ml_dtypes.bfloat16], ids=["float16", "bfloat16"])
def test_halves_are_rounded_once(dtype):
    """As those of the CPU, which rounds a float32."""
    rows = np.random.default_rng(0).standard_normal((40, 300)).astype(dtype)
    wide = rows.astype(np.float32)
    kernels = cuda.kernels()
    for sums in (None, 40, 8, 1):
        found, _ = kernels.unit_rows(ndarray(rows), 1e-12, sums, rows.dtype)
        units, lengths = kernels.unit_rows(ndarray(wide), 1e-12, sums)
        assert_same_bits(found._array, units._array.astype(dtype))
        grad = kernels.unit_rows_backward(ndarray(rows[:1]), units, lengths, 1e-12, rows.dtype)
        expected = kernels.unit_rows_backward(ndarray(wide[:1]), units, lengths, 1e-12)
        assert_same_bits(grad._array, expected._array.astype(dtype))


# ---------------------------------------------------------------- repeated calls


def test_other_numbers(tested, calls):
    """The third call makes no plan, and computes with the numbers that it was given."""
    for seed in range(5):
        given = tested.drawn(seed)
        expected, made = anew(tested, given), calls.count
        assert_same_bits(tested(on_device(given)), expected)
        assert calls.count == made + (seed < 2)


def test_shapes_and_dtypes_in_turn(tested, calls):
    for seed in range(4):
        for shape in (SHAPE, (1, 7, 9, 6), (4, 5, 9, 3)):
            for dtype in ("float32", "float64", "float16", ml_dtypes.bfloat16, "uint8"):
                given = tested.drawn(seed, shape, dtype)
                expected, made = anew(tested, given), calls.count
                assert_same_bits(tested(on_device(given)), expected)
                assert calls.count == made + (seed < 2)


@pytest.mark.parametrize(
    "shape, dtype",
    [(SHAPE, "int8"), ((2, 5, 0, 9), "float32"), ((0, 5, 6, 9), "float32"), ((2, 0, 6, 9), "f8")],
)
def test_what_cannot_be_repeated(tested, calls, shape, dtype):
    """Maps that are converted first, and those without anything to do."""
    for seed in range(4):
        given = tested.drawn(seed, shape, dtype)
        expected, made = anew(tested, given), calls.count
        assert_same_bits(tested(on_device(given)), expected)
        assert calls.count == made + 1


@pytest.mark.parametrize("function", [vectors, gradient])
def test_very_many_regions(function, calls):
    """Thousands of rows are added in several launches; for gradients so many regions are sorted by image."""
    tested = Pass(function, BACK, scales=12)
    for seed in range(4):
        given = tested.drawn(seed, (2, 3, 7, 7))
        expected, made = anew(tested, given), calls.count
        assert_same_bits(tested(on_device(given)), expected)
        assert calls.count == made + (seed < 2)


def test_options_are_told_apart(calls):
    """Those that equal others are refused if these are, and calls with others are other calls."""
    maps = PASSES["sum"].drawn(0)["features"]
    for _ in range(3):
        roicy.rmac(ndarray(maps), scales=1)
    refused = {"scales": True}, {"layout": "NCWH"}, {"eps": True}, {"overlap": False}, {"aggregate": "mean"}
    for wrong in refused:
        with pytest.raises((TypeError, ValueError)):
            roicy.rmac(ndarray(maps), **{"scales": 1, **wrong})
    several = {}, {"scales": 1}, {"overlap": 0.8}, {"aggregate": "concat"}, {"eps": 1.0}, {"layout": "NHWC"}
    for _ in range(3):
        for options in several:
            found = roicy.rmac(ndarray(maps), **options)._array
            np.testing.assert_allclose(found, roicy.rmac(maps, **options), rtol=0, atol=1e-6)


def test_what_is_wrong_is_found_later_too(tested):
    for seed in range(3):
        tested(on_device(tested.drawn(seed)))
    given = tested.drawn(3)
    for name in tested.names:
        for wrong in (given[name][..., None], given[name].astype(complex)):
            with pytest.raises((TypeError, ValueError), match=name):
                tested(on_device({**given, name: wrong}))


@pytest.mark.parametrize("options", [{}, {"aggregate": "concat"}])
def test_whitened_vectors(calls, options):
    """A matrix product is CuPy's: such calls are made anew, with arrays that may be others each time."""
    for seed in range(4):
        rng = np.random.default_rng(seed)
        mean, matrix = rng.standard_normal(5), rng.standard_normal((3, 5))
        maps, made = PASSES["sum"].drawn(seed)["features"], calls.count
        found = roicy.rmac(ndarray(maps), whiten=(ndarray(mean), ndarray(matrix)), **options)
        expected = roicy.rmac(maps, whiten=(mean, matrix), **options)
        np.testing.assert_allclose(found._array, expected, rtol=0, atol=1e-5)
        grad = roicy.rmac_backward(
            found, ndarray(maps), whiten=(ndarray(mean), ndarray(matrix)), **options
        )._array
        wanted = roicy.rmac_backward(found._array, maps, whiten=(mean, matrix), **options)
        np.testing.assert_allclose(grad, wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())
        assert calls.count == made + 2
    assert not cuda.kernels().again._seen


@pytest.mark.parametrize("name", [name for name in PASSES if "backward" in name])
def test_outputs(name, calls):
    """Where they are is up to each call; those that overlap are found in later calls, too."""
    tested = PASSES[name]
    for seed in range(4):
        given = tested.drawn(seed)
        expected, made = anew(tested, given), calls.count
        out = ndarray(np.full_like(expected, 7))
        assert_same_bits(tested(on_device(given), out), expected)
        assert calls.count == made + (seed < 2)
        wide = np.full((*expected.shape[:3], 2 * expected.shape[3]), 7, expected.dtype)
        tested(on_device(given), ndarray(wide)[..., ::2])
        assert_same_bits(wide[..., ::2], expected)
        assert (wide[..., 1::2] == 7).all()
    for taken in tested.names:
        array = given[taken]
        room = np.zeros(expected.nbytes + array.nbytes, np.uint8)
        for begin in (expected.nbytes - array.itemsize, expected.nbytes):
            part = room[begin:][: array.nbytes].view(array.dtype).reshape(array.shape)
            part[...] = array
            out = ndarray(room[: expected.nbytes].view(expected.dtype).reshape(expected.shape))
            own = {**on_device(given), taken: ndarray(part)}
            if begin < expected.nbytes:
                with pytest.raises(ValueError, match="overlap"):
                    tested(own, out)
            else:
                assert_same_bits(tested(own, out), expected)
    for wrong in (expected.astype(np.float64), expected[:1], expected[..., 1:]):
        with pytest.raises(ValueError, match="out"):
            tested(on_device(given), ndarray(wrong.copy()))


def test_memory_that_was_given_back(tested, calls, monkeypatch):
    """A repeated call takes memory of its own, and nothing from the memory of earlier ones."""
    kernels, taken = cuda.kernels(), []
    room, empty = kernels.room, kernels.empty
    monkeypatch.setattr(kernels, "room", lambda size: taken.append(room(size)) or taken[-1])
    monkeypatch.setattr(kernels, "empty", lambda *given: taken.append(empty(*given)) or taken[-1])
    given = [tested.drawn(seed) for seed in range(6)]
    expected = [anew(tested, one) for one in given]
    for one, wanted in zip(given, expected, strict=True):
        for memory in taken:  # what was in it is gone
            array = memory._array if isinstance(memory, ndarray) else memory._items
            array.view(np.uint8)[...] = 0xFF
        taken.clear()
        assert_same_bits(tested(on_device(one)), wanted)
    assert len(taken) == 1  # all that the last call has taken for itself
    (call,) = cuda.kernels().again._calls.values()
    for step in call._steps:
        for staying in step[3]:
            assert not any(getattr(staying, "arrays", {}).values())
            assert not isinstance(staying, (ndarray, arrays.Memory))


@pytest.mark.parametrize("begun", [0, 2, 3])
def test_a_graph(tested, calls, begun):
    """A call that a stream records is like any other: all that it needs is made on the device."""
    import cupy

    for seed in range(6):
        given, stream = tested.drawn(seed), cupy.cuda.Stream()
        expected, made = anew(tested, given), calls.count
        with stream:
            if seed < begun or seed % 2:
                stream.begin_capture()
            assert_same_bits(tested(on_device(given)), expected)
        assert calls.count == made + (seed < 2)
        assert not stream.waits_for
    assert not arrays.Waits.count


def test_threads(tested):
    """Each has its own numbers, and the same calls."""
    given = [tested.drawn(seed, (*SHAPE[:2], 6 + seed % 2, 9)) for seed in range(6)]
    expected = [anew(tested, one) for one in given]
    wrong = []

    def work(number):
        for one, wanted in list(zip(given, expected, strict=True))[number:] * 3:
            if tested(on_device(one)).tobytes() != wanted.tobytes():
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


# ---------------------------------------------------------------- plans


class Planned:
    """A pass of a plan, which a test makes."""

    def __init__(self, name, plan):
        self.plan, self.back = plan, "backward" in name

    def __call__(self, given, out=None):
        """Return the result as NumPy's."""
        if not self.back:
            return self.plan(given["features"])._array.copy()
        found = self.plan.backward(given["grad_output"], given["features"], out)
        assert out is None or found is out
        return found._array.copy()


@pytest.fixture
def described(monkeypatch):
    """Count calls of plans that are made anew."""
    counted = Calls()
    for name in ("_describe", "_adjoint"):
        made = getattr(roicy.RMACPlan, name)

        def call(plan, kernels, *arrays, made=made):
            counted.count += plan._kept and kernels is not cpu
            return made(plan, kernels, *arrays)

        monkeypatch.setattr(roicy.RMACPlan, name, call)
    return counted


def planned(tested):
    plan = roicy.rmac_plan(tested.drawn(0)["features"].shape, **tested.options)
    return Planned("backward" if "grad_output" in tested.names else "", plan)


def blocks(plan):
    """The memory of the tables of a plan."""
    tables = (table for one in plan._plans.values() for table in one._tables.values())
    return [
        memory._block for table in tables for memory in (table.memory, table._sorted) if memory is not None
    ]


def test_plans(tested, described):
    """The third call of a plan is repeated, with other numbers and dtypes, and is that of the function."""
    for plan in (planned(tested), planned(tested)):
        for seed in range(4):
            for dtype in ("float32", "float64", "float16", ml_dtypes.bfloat16, "int8"):
                given = tested.drawn(seed, dtype=dtype)
                expected, made = anew(tested, given), described.count
                assert_same_bits(plan(on_device(given)), expected)
                assert described.count == made + (seed < 2 or dtype == "int8")
                if plan.back:
                    out = ndarray(np.full_like(expected, 7))
                    assert_same_bits(plan(on_device(given), out), expected)


@pytest.mark.parametrize("many", [False, True])
def test_a_plan_keeps_its_tables(tested, described, monkeypatch, many):
    """Repeated calls fill no table and read those of the plan, while all other memory was given back."""
    if many:  # regions, so that a gradient sorts them
        monkeypatch.setattr(rois, "UNSORTED", 1)
    kernels, taken, launched = cuda.kernels(), [], []
    room, empty, launch = kernels.room, kernels.empty, kernels.launch
    monkeypatch.setattr(kernels, "room", lambda size: taken.append(room(size)) or taken[-1])
    monkeypatch.setattr(kernels, "empty", lambda *given: taken.append(empty(*given)) or taken[-1])
    monkeypatch.setattr(kernels, "launch", lambda *given: launched.append(given[1]) or launch(*given))
    plan = planned(tested)
    for seed in range(6):
        given = tested.drawn(seed)
        expected = anew(tested, given)
        for memory in taken:
            if isinstance(memory, ndarray):
                memory._array.view(np.uint8)[...] = 0xFF
            elif not any(memory is block for block in blocks(plan.plan)):
                memory._items[...] = 0xFF
        launched.clear()
        assert_same_bits(plan(on_device(given)), expected)
        assert not seed or not {"cover", "fill", "find_images", "order_by_image"} & set(launched)
    assert len(blocks(plan.plan)) == 1 + plan.back * (1 + many)
    assert described.count == 2


def test_plans_that_are_dropped(tested):
    """Their tables go with them, and calls that were kept."""
    plan = planned(tested)
    for seed in range(4):
        plan(on_device(tested.drawn(seed)))
    (again,) = plan.plan._repeated.values()
    (call,) = again._calls.values()
    references = [weakref.ref(made) for made in (plan.plan, again, call, *call._held)]
    assert len(references) == 4 + plan.back
    del plan, again, call
    assert not any(reference() for reference in references)


def test_tables_of_another_stream(tested, described):
    """A repeated call waits for them, too, until they are filled."""
    import cupy

    first, second = cupy.cuda.Stream(), cupy.cuda.Stream()
    plan = planned(tested)
    with first:
        for seed in range(2):
            plan(on_device(tested.drawn(seed)))
    assert not first.waits_for
    with second:
        for seed in range(2):
            plan(on_device(tested.drawn(seed)))
    assert described.count == 2
    assert {event.stream for event in second.waits_for} == {first}
    for event in second.waits_for:
        event.done = True
    second.waits_for.clear()
    with second:
        plan(on_device(tested.drawn(0)))
    assert not second.waits_for
    assert not any(one._events for one in plan.plan._plans.values())  # which are not asked again


@pytest.mark.parametrize("before", [0, 1, 2, 3])
def test_a_graph_of_a_plan(tested, monkeypatch, before):
    """What a graph is to make, nobody has made while it is recorded: other calls do not use it."""
    import cupy

    kernels, launch = cuda.kernels(), cuda.kernels().launch

    def launched(*given):
        if not cupy.cuda.get_current_stream().is_capturing():
            launch(*given)

    monkeypatch.setattr(kernels, "launch", launched)
    plan = planned(tested)
    for seed in range(before + 5):
        given, stream = tested.drawn(seed), cupy.cuda.Stream()
        if before <= seed < before + 2:
            with stream:
                stream.begin_capture()
                plan(on_device(given))
            assert not stream.waits_for
        else:
            assert_same_bits(plan(on_device(given)), anew(tested, given))
