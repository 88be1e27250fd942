"""Repeated calls for crops and for quadrangles, against calls made anew."""

import shutil

import numpy as np
import pytest
from closeness import assert_same_bits
from cuda_host import arrays
from cuda_host.arrays import ndarray

import roicy
from roicy import _crop_once, cuda, quads

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler")

HEIGHT, WIDTH, COUNT, SIZE = 10, 12, 5, (3, 4)


class Calls:
    """How often arguments were handled one by one."""

    count = 0


@pytest.fixture(autouse=True)
def calls(monkeypatch):
    """Count them on the stand-in for a device, whose kernels are told of addresses alone."""
    arrays.install(monkeypatch, by_address=True)
    counted = Calls()
    for module, name in ((_crop_once, "_planned"), (quads, "_cut")):
        monkeypatch.setattr(module, name, counting(counted, getattr(module, name)))
        monkeypatch.setattr(module, "_known", type(module._known)(256, _crop_once.Kind))
    return counted


def counting(counted, function):
    def call(*arguments, **options):
        counted.count += 1
        return function(*arguments, **options)

    return call


class Crop:
    """Boxes or quadrangles of images of a shape."""

    def __init__(
        self, function="crop_and_resize", shape=(HEIGHT, WIDTH, 3), dtype="uint8", indexed=False, **options
    ):
        self.function, self.shape, self.dtype, self.indexed = function, shape, dtype, indexed
        self.options = {"invalid": "nan", **options}

    def drawn(self, seed):
        rng = np.random.default_rng(seed)
        images = (100 * rng.random(self.shape)).astype(self.dtype)
        if self.function == "crop_quads":
            boxes = rng.uniform(-2, 11, (COUNT, 4, 2))
        else:
            corners = rng.uniform(-2, 8, (COUNT, 2))
            boxes = np.column_stack([corners, corners + rng.uniform(1, 8, (COUNT, 2))])
        given = {"images": images, "boxes": boxes.astype(np.float32)}
        if self.indexed:
            given["batch_indices"] = rng.integers(0, self.shape[0], COUNT)
        return given

    def __call__(self, given, out=None, **options):
        more = {"batch_indices": given["batch_indices"]} if self.indexed else {}
        function = getattr(roicy, self.function)
        found = function(given["images"], given["boxes"], SIZE, **self.options, **more, out=out, **options)
        assert out is None or found is out
        return found._array.copy()


FINISHED = {"mean": (40, 50, 60), "std": (3, 2, 1.5), "fill": 7}
QUADS = {"function": "crop_quads"}
CROPS = {
    "plain": Crop(),
    "finished": Crop(**FINISHED),
    "numbers in lists": Crop(mean=[40, 50, 60], std=[3, 2, 1.5]),
    "bytes": Crop(dtype="uint8", **FINISHED),
    "reversed": Crop(reverse_channels=True, fill=(1, 2, 3)),
    "reversed, first": Crop(reverse_channels=True, out_layout="NCHW", **FINISHED),
    "channels first": Crop(shape=(2, 4, HEIGHT, WIDTH), layout="NCHW", indexed=True, mean=3),
    "several": Crop(shape=(3, HEIGHT, WIDTH, 3), indexed=True, sampling_ratio=0, border="edge"),
    "rejected": Crop(sampling="corners", border="reject", fill=9),
    "nearest": Crop(interpolation="nearest"),
    "floats": Crop(dtype="float32", std=2),
    "one channel": Crop(shape=(HEIGHT, WIDTH, 1), mean=20, fill=3),
    "six channels": Crop(shape=(HEIGHT, WIDTH, 6)),
    "quads": Crop(**QUADS),
    "quads, finished": Crop(**QUADS, **FINISHED),
    "quads, reversed": Crop(**QUADS, reverse_channels=True, border="edge", **FINISHED),
    "quads, first": Crop(**QUADS, shape=(2, 3, HEIGHT, WIDTH), layout="NCHW", indexed=True),
    "quads, nearest": Crop(**QUADS, interpolation="nearest", fill=5),
    "quads, several samples": Crop(**QUADS, sampling_ratio=2, border="reject", fill=9),
}
#: Whose numbers are copied to the device by each call, or that are read as floats; labels have parts.
ALONE = {
    "quads, labels": Crop(**QUADS, dtype="int32", interpolation="nearest", fill=70000),
    "many channels, finished": Crop(shape=(HEIGHT, WIDTH, 6), mean=3),
    "quads of many channels": Crop(**QUADS, shape=(HEIGHT, WIDTH, 6), fill=3),
    "short": Crop(dtype="int16"),
    "halves": Crop(dtype="float16"),
    "labels": Crop(dtype="int64", interpolation="nearest"),
}
for name in ("bytes",):
    CROPS[name].options["dtype"] = "uint8"


@pytest.fixture(params=CROPS)
def tested(request):
    """A kind of crops."""
    return CROPS[request.param]


def as_it_is(array):
    return ndarray(array.copy())


def on_device(given):
    return {name: as_it_is(array) for name, array in given.items()}


def anew(tested, given, out=None, **options):
    """Return the crops of a call that knows of none before it, of arrays in host memory or on the device."""
    kernels = cuda.kernels()
    again, kernels.__dict__["again"] = kernels.again, None
    try:
        return tested(given if type(given["images"]) is not np.ndarray else on_device(given), out, **options)
    finally:
        kernels.__dict__["again"] = again


def test_other_numbers(tested, calls):
    """The third call makes no table in Python, and computes with the numbers that it was given."""
    for seed in range(5):
        given = tested.drawn(seed)
        if seed == 3:
            given["boxes"][2] = np.nan
            if tested.indexed:
                given["batch_indices"][1] = tested.shape[0]
        expected, made = anew(tested, given), calls.count
        found = tested(on_device(given))
        assert_same_bits(found, expected)
        assert found.any()
        assert calls.count == made + (seed < 2)


@pytest.mark.parametrize("name", ALONE)
def test_what_is_not_repeated(name):
    tested = ALONE[name]
    for seed in range(4):
        given = tested.drawn(seed)
        assert_same_bits(tested(on_device(given)), anew(tested, given))


def test_numbers_of_the_processor(tested):
    for seed in range(4):
        given = tested.drawn(seed)
        found = tested(on_device(given))
        more = {"batch_indices": given["batch_indices"]} if tested.indexed else {}
        function = getattr(roicy, tested.function)
        wanted = function(given["images"], given["boxes"], SIZE, **tested.options, **more)
        if wanted.dtype.kind == "f":
            np.testing.assert_allclose(found, wanted, rtol=0, atol=2e-4)
        else:
            assert np.abs(found.astype(int) - wanted.astype(int)).max() <= 1


def test_finishing_with_other_numbers(calls):
    """They are options: calls with others are others."""
    for seed in range(4):
        for mean in (3, 4.0, (1, 2, 3), (1, 2, 4), None):
            for name in ("plain", "quads"):
                tested, given = CROPS[name], CROPS[name].drawn(seed)
                assert_same_bits(tested(on_device(given), mean=mean), anew(tested, given, mean=mean))
    assert len([call for call in cuda.kernels().again._calls.values() if call]) == 10


def test_lists_that_change(calls):
    """Numbers of a list are those that it has in each call."""
    mean = [1, 2, 3]
    tested = CROPS["plain"]
    for seed in range(8):
        mean[seed % 3] = seed // 3
        given = tested.drawn(seed)
        assert_same_bits(tested(on_device(given), mean=mean), anew(tested, given, mean=list(mean)))


def test_outputs(tested, calls):
    for seed in range(4):
        given = tested.drawn(seed)
        expected = anew(tested, given)
        out, made = as_it_is(np.full_like(expected, 7)), calls.count
        assert_same_bits(tested(on_device(given), out), expected)
        assert calls.count == made + (seed < 2)
        wide, other = (
            np.full((*expected.shape[:-1], 2 * expected.shape[-1]), 7, expected.dtype) for _ in "ab"
        )
        anew(tested, given, ndarray(other)[..., ::2])
        made = calls.count
        tested(on_device(given), ndarray(wide)[..., ::2])
        assert_same_bits(wide, other)
        assert (wide[..., 1::2] == 7).all()
        assert calls.count == made + (seed < 2)
    for name in given:
        room = np.zeros(expected.nbytes + given[name].nbytes + 8, np.uint8)
        begin = expected.nbytes - max(8, given[name].itemsize)
        begin -= begin % 8
        own = on_device(given)
        part = room[begin:][: given[name].nbytes].view(given[name].dtype).reshape(given[name].shape)
        part[...] = given[name]
        own[name] = ndarray(part)
        out = ndarray(room[: expected.nbytes].view(expected.dtype).reshape(expected.shape))
        with pytest.raises(ValueError, match="overlap"):
            tested(own, out)
    with pytest.raises(ValueError, match="out"):
        tested(on_device(given), as_it_is(expected[1:]))


def test_boxes_with_a_batch_index():
    """In a column, as float64, and as integers, which are converted."""
    tested = Crop(shape=(3, HEIGHT, WIDTH, 3))
    for seed in range(4):
        given = tested.drawn(seed)
        given["boxes"] = np.column_stack([np.arange(COUNT) % 4, given["boxes"]])
        for dtype in ("float32", "float64", "int16"):
            own = {**given, "boxes": given["boxes"].astype(dtype)}
            assert_same_bits(tested(on_device(own)), anew(tested, own))


def test_images_with_gaps(tested):
    for seed in range(4):
        given = tested.drawn(seed)
        wide = np.repeat(given["images"], 2, axis=-1)
        own = on_device(given) | {"images": ndarray(wide)[..., ::2]}
        assert_same_bits(tested(own), anew(tested, own))
        own = on_device(given) | {"images": ndarray(given["images"][::-1].copy())[::-1]}
        assert_same_bits(tested(own), anew(tested, own))


def test_lists_of_images(calls):
    tested = Crop("crop_quads", indexed=True)
    for seed in range(4):
        given = tested.drawn(seed)
        images = [given["images"], given["images"][1:, ::-1].copy()]
        given["batch_indices"] = np.arange(COUNT) % 2
        own = on_device({name: given[name] for name in ("boxes", "batch_indices")})
        expected = anew(tested, own | {"images": [as_it_is(image) for image in images]})
        made = calls.count
        assert_same_bits(tested(own | {"images": [as_it_is(image) for image in images]}), expected)
        assert calls.count == made + (seed < 2)


def test_what_is_wrong_is_found_later_too(tested):
    for seed in range(3):
        tested(on_device(tested.drawn(seed)))
    given = tested.drawn(3)
    for name in given:
        wrong = on_device(given)
        wrong[name] = ndarray(np.zeros((*given[name].shape, 1, 1), given[name].dtype))
        with pytest.raises((TypeError, ValueError)):
            tested(wrong)
        wrong[name] = ndarray(given[name].astype(complex))
        with pytest.raises(TypeError):
            tested(wrong)
    for options in ({"layout": "HWC"}, {"window": (0, 0)}, {"output": 3}):
        if set(options) <= set(tested.options):
            continue
        with pytest.raises((TypeError, ValueError)):
            tested(on_device(given), **options)
    bad = {**given, "boxes": np.full_like(given["boxes"], np.inf)}
    tested.options["invalid"] = "raise"
    try:
        with pytest.raises(ValueError, match="row 0"):
            tested(on_device(bad))
    finally:
        tested.options["invalid"] = "nan"


def test_parts_of_images(calls):
    """They are not repeated: whether boxes read beyond them is looked at."""
    tested = Crop(border="edge")
    for seed in range(3):
        given = tested.drawn(seed)
        given["boxes"] = given["boxes"].clip(3, 6) + np.float32([0, 0, 1, 1])
        whole = np.pad(given["images"], ((2, 3), (1, 4), (0, 0)))
        expected = tested(on_device({**given, "images": whole}))
        made = calls.count
        found = tested(on_device(given), window=(2, 1, *whole.shape[:2]))
        assert_same_bits(found, expected)
        assert calls.count == made + 1


def test_graphs(tested, calls):
    import cupy

    for seed in range(6):
        given, stream = tested.drawn(seed), cupy.cuda.Stream()
        expected, made = anew(tested, given), calls.count
        with stream:
            if seed % 2:
                stream.begin_capture()
            assert_same_bits(tested(on_device(given)), expected)
        assert calls.count == made + (seed < 2)


@pytest.mark.parametrize("function", ["crop_and_resize", "crop_quads"])
def test_other_options_are_other_calls(function):
    """Each call has its own size, samples and border, after any other calls with the same arrays."""
    given = Crop(function).drawn(0)
    arrays, device = tuple(given.values()), tuple(on_device(given).values())
    several = {}, {"sampling_ratio": 2}, {"border": "edge"}, {"interpolation": "nearest"}, {"fill": 9}
    for _ in range(3):
        for size in (SIZE, SIZE[::-1], 4):
            for options in several:
                options = {"sampling_ratio": 1, "border": "constant", **options, "invalid": "nan"}
                found = getattr(roicy, function)(*device, size, **options)._array
                expected = getattr(roicy, function)(*arrays, size, **options)
                np.testing.assert_allclose(found, expected, rtol=0, atol=1e-3)
