"""Repeated calls on the maps of a pyramid: what a call made the device do, done again with other arrays."""

import shutil
import threading

import numpy as np
import pytest
from closeness import assert_same_bits
from cuda_host import arrays
from cuda_host.arrays import ndarray

import roicy
from roicy import _backend, _pyramid_once, cuda

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler")

IMAGES, CHANNELS, ROIS = 2, 3, 7
SIZES = (16, 20), (8, 10), (4, 5), (2, 3), (1, 2)
BINS = 2, 3
OUTPUT = ROIS, CHANNELS, *BINS
SCALES = tuple(1 / 4 / 2**level for level in range(5))


class Calls:
    """How often arguments were handled one by one."""

    count = 0


@pytest.fixture(autouse=True)
def calls(monkeypatch):
    """Count plans on the stand-in for a device, whose kernels are told of addresses alone."""
    arrays.install(monkeypatch, by_address=True)
    counted = Calls()

    class MultiScalePlan(_pyramid_once.MultiScalePlan):
        __slots__ = ()

        def __init__(self, kind, kernels, *arguments):
            counted.count += kernels is not _backend.cpu
            super().__init__(kind, kernels, *arguments)

    monkeypatch.setattr(_pyramid_once, "MultiScalePlan", MultiScalePlan)
    monkeypatch.setattr(_pyramid_once, "_known", type(_pyramid_once._known)(256, _pyramid_once.Kind))
    return counted


def boxes(rng, dtype=np.float32):
    """Boxes of all levels, one reversed, which the rules give to no map, or to the first one."""
    corners = rng.uniform(0, 60, (ROIS, 2))
    sides = np.exp(rng.uniform(np.log(8), np.log(1500), (ROIS, 1))) * rng.uniform(0.7, 1.4, (ROIS, 2))
    sides[2, 0] *= -1
    return np.column_stack([rng.integers(0, IMAGES, ROIS), corners, corners + sides]).astype(dtype)


def turned(rng, dtype=np.float32):
    sides = np.exp(rng.uniform(np.log(8), np.log(1500), (ROIS, 1))) * rng.uniform(0.7, 1.4, (ROIS, 2))
    sides[2, 0] *= -1
    rows = [rng.integers(0, IMAGES, ROIS), rng.uniform(5, 50, (ROIS, 2)), sides, rng.uniform(-90, 90, ROIS)]
    return np.column_stack(rows).astype(dtype)


class Pass:
    """A function of arrays that are drawn, by name."""

    def __init__(self, function, *names, results=1, draw=boxes, maps=4, **options):
        self.function, self.names, self.results, self.draw = function, names, results, draw
        self.maps = maps
        self.options = {"invalid": "nan", "spatial_scales": SCALES[:maps], **options}

    @property
    def shapes(self):
        return [(IMAGES, CHANNELS, *size) for size in SIZES[: self.maps]]

    def drawn(self, seed, dtype="float32", levels="int64"):
        rng = np.random.default_rng(seed)
        found = {
            "features": [rng.standard_normal(shape).astype(dtype) for shape in self.shapes],
            "grad_output": rng.standard_normal(OUTPUT).astype(dtype),
            "rois": self.draw(rng),
            "pixels": rng.integers(-1, 6, OUTPUT).astype(np.int32),
            "levels": rng.integers(-1, self.maps, ROIS).astype(levels),
            "batch_indices": rng.integers(0, IMAGES, ROIS),
        }
        return {name: found[name] for name in self.names}

    def __call__(self, given, out=None, **options):
        """Return the results as NumPy's arrays."""
        words = {"levels": "levels", "batch_indices": "batch_indices"}
        more = {word: given[name] for name, word in words.items() if name in self.names}
        first = [given[name] for name in self.names if name not in words]
        if "backward" not in self.function:
            first.append(BINS)
        elif "_rois" not in self.function:
            first.append(self.shapes)
        if self.results == 2:
            more["return_argmax"] = True
        found = getattr(roicy, self.function)(*first, **{**self.options, **more, **options}, out=out)
        if type(out) is tuple or type(out) is list:
            assert all(one is other for one, other in zip(found, out, strict=True))
        else:
            assert out is None or found is out
        assert type(found) is (
            list if "backward" in self.function and type(found) is not ndarray else type(found)
        )
        return [array._array.copy() for array in (found if type(found) in (tuple, list) else (found,))]


ALIGN, SLOPES = "multi_scale_roi_align", "multi_scale_roi_align_backward_rois"
PASSES = {
    "align": Pass(ALIGN, "features", "rois", sampling_ratio=2),
    "adaptive": Pass(ALIGN, "features", "rois", maps=5),
    "one map": Pass(ALIGN, "features", "rois", maps=1),
    "two maps, openvino": Pass(ALIGN, "features", "rois", maps=2, levels="openvino"),
    "one map, openvino": Pass(ALIGN, "features", "rois", maps=1, levels="openvino"),
    "detectron2": Pass(ALIGN, "features", "rois", levels="detectron2"),
    "mmdet": Pass(ALIGN, "features", "rois", levels="mmdet"),
    "tensorrt": Pass(ALIGN, "features", "rois", levels="tensorrt"),
    "doubles": Pass(ALIGN, "features", "rois", draw=lambda rng: boxes(rng, np.float64)),
    "doubles, detectron2": Pass(
        ALIGN, "features", "rois", draw=lambda rng: boxes(rng, np.float64), levels="detectron2"
    ),
    "levels": Pass(ALIGN, "features", "rois", "levels"),
    "batch indices": Pass(ALIGN, "features", "rois", "levels", "batch_indices"),
    "sum": Pass(ALIGN, "features", "rois", merge="sum"),
    "sum of two": Pass(ALIGN, "features", "rois", merge="sum", maps=2),
    "sum of one": Pass(ALIGN, "features", "rois", merge="sum", maps=1),
    "backward": Pass("multi_scale_roi_align_backward", "grad_output", "rois", sampling_ratio=2),
    "backward, levels": Pass("multi_scale_roi_align_backward", "grad_output", "rois", "levels", maps=5),
    "sum backward": Pass("multi_scale_roi_align_backward", "grad_output", "rois", merge="sum"),
    "box gradient": Pass(SLOPES, "grad_output", "features", "rois"),
    "box gradient, levels": Pass(SLOPES, "grad_output", "features", "rois", "levels", maps=5),
    "sum box gradient": Pass(SLOPES, "grad_output", "features", "rois", merge="sum"),
    "pool": Pass("multi_scale_roi_pool", "features", "rois"),
    "pool, argmax": Pass("multi_scale_roi_pool", "features", "rois", results=2),
    "pool, argmax, levels": Pass("multi_scale_roi_pool", "features", "rois", "levels", results=2),
    "pool, sum": Pass("multi_scale_roi_pool", "features", "rois", results=2, merge="sum"),
    "pool, mean": Pass("multi_scale_roi_pool", "features", "rois", "levels", mode="avg"),
    "pool backward": Pass("multi_scale_roi_pool_backward", "grad_output", "pixels", "rois", "levels"),
    "rotated": Pass("multi_scale_roi_align_rotated", "features", "rois", draw=turned, sampling_ratio=2),
    "rotated backward": Pass("multi_scale_roi_align_rotated_backward", "grad_output", "rois", draw=turned),
    "rotated box gradient": Pass(
        "multi_scale_roi_align_rotated_backward_rois", "grad_output", "features", "rois", draw=turned
    ),
}
PASSES["batch indices"].draw = lambda rng: boxes(rng)[:, 1:].copy()


@pytest.fixture(params=PASSES)
def tested(request):
    """A pass."""
    return PASSES[request.param]


def moved(value, way):
    return [way(array) for array in value] if isinstance(value, list) else way(value)


def as_it_is(array):
    return ndarray(array.copy())


def last_axis_far(array):
    """Return a view of four axes whose second one is the last in memory."""
    if array.ndim != 4:
        return as_it_is(array)
    return ndarray(np.ascontiguousarray(array.transpose(0, 2, 3, 1))).transpose(0, 3, 1, 2)


def every_second(array):
    """Return a view with gaps between the items of a row."""
    wide = np.zeros((*array.shape[:-1], 2 * array.shape[-1]), array.dtype)
    wide[..., ::2] = array
    return ndarray(wide)[..., ::2]


def on_device(given, way=as_it_is):
    return {name: moved(array, way) for name, array in given.items()}


def anew(tested, given, way=as_it_is, out=None, **options):
    """Return the results of a call that knows of none before it."""
    kernels = cuda.kernels()
    again, kernels.__dict__["again"] = kernels.again, None
    try:
        return tested(on_device(given, way), out, **options)
    finally:
        kernels.__dict__["again"] = again


def assert_alike(found, expected):
    for one, other in zip(found, expected, strict=True):
        assert_same_bits(one, other)


def as_given(tested, out):
    """Outputs as a caller passes them."""
    if tested.function.endswith("_backward"):
        return list(out)
    return tuple(out) if tested.results == 2 else out[0]


def test_other_numbers(tested, calls):
    """The third call makes no plan, and computes with the numbers that it was given."""
    for seed in range(5):
        given = tested.drawn(seed)
        if seed == 3:
            given["rois"][2] = np.nan
            given["rois"][3, 0] = IMAGES
        if seed == 4 and "levels" in given:
            given["levels"][1], given["levels"][4] = tested.maps, -2
        expected, made = anew(tested, given), calls.count
        assert_alike(tested(on_device(given)), expected)
        assert calls.count == made + (seed < 2)


@pytest.mark.parametrize("name", [name for name in PASSES if "backward" not in PASSES[name].function])
def test_the_numbers_of_the_processor(name):
    """Rows without a level are zeros, others have the rows that the processor finds."""
    tested = PASSES[name]
    for seed in range(4):
        given = tested.drawn(seed)
        given["rois"][4] = np.nan
        found = tested(on_device(given))
        words = {name: given[name] for name in ("levels", "batch_indices") if name in given}
        more = {"return_argmax": True} if tested.results == 2 else {}
        options = {**tested.options, **words, **more}
        wanted = getattr(roicy, tested.function)(given["features"], given["rois"], BINS, **options)
        for one, other in zip(found, wanted if tested.results == 2 else (wanted,), strict=True):
            np.testing.assert_allclose(one, other, rtol=0, atol=1e-5)
            none = other == 0
            assert_same_bits(one[none], other[none])


@pytest.mark.parametrize("levels", ["int32", "int64", "int16", "uint8", "uint64"])
def test_levels_of_all_integers(levels, calls):
    for seed in range(4):
        for name in ("levels", "backward, levels", "pool, argmax, levels"):
            tested = PASSES[name]
            given = tested.drawn(seed, levels=levels)
            expected, made = anew(tested, given), calls.count
            assert_alike(tested(on_device(given)), expected)
            assert calls.count == made + (seed < 2 or levels not in ("int32", "int64"))


def test_memory_laid_out_in_other_ways(tested, calls):
    for seed in range(4):
        for way in (as_it_is, last_axis_far, every_second):
            given = tested.drawn(seed)
            expected, made = anew(tested, given, way), calls.count
            assert_alike(tested(on_device(given, way)), expected)
            if way is not every_second:
                assert calls.count == made + (seed < 2)


def test_maps_of_other_dtypes(tested):
    for seed in range(4):
        for dtype in ("float32", "float64", "float16"):
            given = tested.drawn(seed, dtype)
            assert_alike(tested(on_device(given)), anew(tested, given))


@pytest.mark.parametrize("name", ["align", "sum", "backward", "box gradient", "pool, argmax"])
def test_pyramids_in_turn(name, calls):
    """Of other numbers of maps, other sizes, scales and options."""
    first, second = PASSES[name], PASSES[name]
    fewer = Pass(
        first.function,
        *first.names,
        results=first.results,
        maps=3,
        **{**first.options, "spatial_scales": SCALES[:3]},
    )
    other = Pass(
        first.function, *first.names, results=first.results, **{**first.options, "spatial_scales": SCALES[1:]}
    )
    for seed in range(4):
        for tested in (first, fewer, second, other):
            given = tested.drawn(seed)
            assert_alike(tested(on_device(given)), anew(tested, given))
    assert len(cuda.kernels().again._calls) == 3


def test_outputs_that_are_given(tested, calls):
    for seed in range(4):
        for way in (as_it_is, last_axis_far, every_second):
            given = tested.drawn(seed)
            expected = anew(tested, given)
            out = [way(np.full_like(array, 7)) for array in expected]
            wanted = [way(np.full_like(array, 7)) for array in expected]
            anew(tested, given, out=as_given(tested, wanted))
            made = calls.count
            tested(on_device(given), as_given(tested, out))
            # with several steps on memory of their own, gradients are written at once, by a copy
            assert calls.count <= made + (
                seed < 2 or tested in (PASSES["pool backward"], PASSES["pool, sum"])
            )
            for one, other in zip(out, wanted, strict=True):
                assert_same_bits(one._array, other._array)
                if way is every_second:
                    assert not one._array.base[..., 1::2].any()


def test_outputs_that_overlap(tested):
    """With any input, and with each other."""
    given = tested.drawn(0)
    expected = anew(tested, given)
    for _ in range(3):
        tested(on_device(given), as_given(tested, [as_it_is(np.zeros_like(array)) for array in expected]))
    several = [(name, None) for name in tested.names if name != "features"]
    if "features" in given:
        several += [("features", level) for level in range(tested.maps)]
    for name, level in several:
        for place, array in enumerate(expected):
            input_ = given[name] if level is None else given[name][level]
            room = np.zeros(array.nbytes + input_.nbytes + 8, np.uint8)
            begin = array.nbytes - input_.itemsize
            begin -= begin % 8
            out = [as_it_is(np.zeros_like(other)) for other in expected]
            out[place] = ndarray(room[: array.nbytes].view(array.dtype).reshape(array.shape))
            own = on_device(given)
            part = room[begin:][: input_.nbytes].view(input_.dtype).reshape(input_.shape)
            part[...] = input_
            if level is None:
                own[name] = ndarray(part)
            else:
                own[name][level] = ndarray(part)
            with pytest.raises(ValueError, match="overlap"):
                tested(own, as_given(tested, out))
    if len(expected) > 1:
        sizes = [array.nbytes for array in expected]
        room = np.zeros(sum(sizes), np.uint8)
        out = [as_it_is(np.zeros_like(array)) for array in expected]
        for place in (0, 1):
            array = expected[place]
            out[place] = ndarray(room[: array.nbytes].view(array.dtype).reshape(array.shape))
        with pytest.raises(ValueError, match="overlap"):
            tested(on_device(given), as_given(tested, out))
    for wrong in ([as_it_is(expected[0])] * (len(expected) + 1), [as_it_is(expected[0].astype(complex))]):
        with pytest.raises((TypeError, ValueError), match="out"):
            tested(on_device(given), wrong if len(wrong) > 1 else as_given(tested, wrong))


def test_memory_that_comes_and_goes(tested):
    """Arrays of later calls lie where those of earlier ones were, or anywhere else."""
    kept = []
    for seed in range(12):
        given = tested.drawn(seed)
        own = on_device(given)
        if seed % 3:
            kept.append(own)
        assert_alike(tested(own), anew(tested, given))


def test_no_array_is_kept(tested):
    for seed in range(4):
        tested(on_device(tested.drawn(seed)))
    (call,) = cuda.kernels().again._calls.values()
    for step in call._steps:
        for staying in step[3]:
            assert not any(getattr(staying, "arrays", {}).values())
            assert not isinstance(staying, (ndarray, arrays.Memory))


def test_nothing_waits(tested):
    for seed in range(4):
        own, before = on_device(tested.drawn(seed)), arrays.Waits.count
        tested(own)
        assert arrays.Waits.count == before


def test_other_options_are_other_calls(tested, calls):
    for seed in range(3):
        tested(on_device(tested.drawn(seed)))
    given = tested.drawn(3)
    changed = [{"spatial_scales": [1 / 2 / 2**level for level in range(tested.maps)]}, {"invalid": "raise"}]
    if "align" in tested.function:
        changed += [{"aligned": False}, {"sampling_ratio": 3}]
    if "levels" not in tested.names:
        changed += [{"levels": "mmdet"}, {"levels": "tensorrt"}]
    for options in changed:
        made = calls.count
        if options == {"invalid": "raise"}:
            with pytest.raises(ValueError, match="row 4"):
                bad = {**given, "rois": given["rois"].copy()}
                bad["rois"][4] = np.inf
                tested(on_device(bad), **options)
            assert calls.count == made + 1
            continue
        expected = anew(tested, given, **options)
        assert_alike(tested(on_device(given), **options), expected)
    for wrong in ({"spatial_scales": (0.25,) * tested.maps + (1,)}, {"merge": "mean"}, {"layout": "HWC"}):
        with pytest.raises((TypeError, ValueError)):
            tested(on_device(given), **wrong)


def test_what_is_wrong_is_found_later_too(tested):
    for seed in range(3):
        tested(on_device(tested.drawn(seed)))
    given = tested.drawn(3)
    for name in tested.names:
        for change in (lambda array: array[..., None], lambda array: array.astype(complex)):
            wrong = on_device(given)
            if name == "features":
                wrong[name][-1] = ndarray(change(given[name][-1]))
            else:
                wrong[name] = ndarray(change(given[name]))
            with pytest.raises((TypeError, ValueError)):
                tested(wrong)
    if "features" in given and tested.maps > 1:
        for maps in (given["features"][:-1], given["features"][::-1]):
            with pytest.raises(ValueError, match="features"):
                tested(
                    on_device({**given, "features": maps}),
                    **({} if len(maps) < tested.maps else {"spatial_scales": SCALES[:1]}),
                )


def test_nothing_to_do(tested):
    """No boxes."""
    for seed in range(4):
        given = {
            name: array if name == "features" else array[:0] for name, array in tested.drawn(seed).items()
        }
        assert_alike(tested(on_device(given)), anew(tested, given))


def test_maps_without_pixels(tested):
    for seed in range(4):
        given = tested.drawn(seed)
        if "features" in given:
            given["features"][-1] = given["features"][-1][:, :, :0]
            assert_alike(tested(on_device(given)), anew(tested, given))


def test_windows_are_not_repeated(calls):
    tested = PASSES["pool, argmax, levels"]
    windows = [(0, 0, *size) for size in SIZES[:4]]
    for seed in range(4):
        given, made = tested.drawn(seed), calls.count
        found = tested(on_device(given), windows=windows)
        assert calls.count == made + 1
        assert_alike(found, anew(tested, given))


def test_a_graph(tested, calls):
    """What a graph records may be repeated, too."""
    import cupy

    for seed in range(6):
        given, stream = tested.drawn(seed), cupy.cuda.Stream()
        expected, made = anew(tested, given), calls.count
        with stream:
            if seed % 2:
                stream.begin_capture()
            assert_alike(tested(on_device(given)), expected)
        assert calls.count == made + (seed < 2)


@pytest.mark.parametrize("name, value", [("index", "int64"), ("most_blocks", 1)])
def test_launches_that_are_others(tested, calls, monkeypatch, name, value):
    for seed in range(3):
        tested(on_device(tested.drawn(seed)))
    monkeypatch.setattr(cuda.kernels(), name, value)
    given, made = tested.drawn(3), calls.count
    assert_alike(tested(on_device(given)), anew(tested, given))
    assert calls.count == made + 2


def test_threads():
    """Each gets the numbers of its own arrays."""
    wrong = []

    def work(first):
        for seed in range(first, first + 6):
            for name in ("align", "backward", "pool, argmax"):
                found = PASSES[name](on_device(PASSES[name].drawn(seed)))
                for one, other in zip(found, expected[name, seed], strict=True):
                    if not np.array_equal(one, other, equal_nan=True):
                        wrong.append((name, seed))

    seeds = range(12)
    names = ("align", "backward", "pool, argmax")
    expected = {
        (name, seed): anew(PASSES[name], PASSES[name].drawn(seed)) for name in names for seed in seeds
    }
    threads = [threading.Thread(target=work, args=(first,)) for first in (0, 2, 4, 6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
