"""Passes that a device repeats, each a function of arrays that are drawn by name."""

import numpy as np
from closeness import assert_same_bits
from cuda_host import arrays
from cuda_host.arrays import ndarray

import roicy
from roicy import _backend, _once, cuda

IMAGES, CHANNELS, HEIGHT, WIDTH, ROIS = 2, 4, 10, 12, 5
SHAPE = IMAGES, CHANNELS, HEIGHT, WIDTH
BINS = 2, 3
OUTPUT = ROIS, CHANNELS, *BINS


class Calls:
    """How often arguments were handled one by one."""

    count = 0


def counted_plans(monkeypatch):
    """Count plans on the stand-in for a device, whose kernels are told of addresses alone."""
    arrays.install(monkeypatch, by_address=True)
    counted, settled = Calls(), _once._plan

    def plan(kind, kernels, *arguments, **options):
        counted.count += kernels is not _backend.cpu
        return settled(kind, kernels, *arguments, **options)

    monkeypatch.setattr(_once, "_plan", plan)
    monkeypatch.setattr(_once, "_known", type(_once._known)(256, _once.Kind))
    return counted


def boxes(rng):
    corners = rng.uniform(0, 6, (ROIS, 2))
    rows = [rng.integers(0, IMAGES, ROIS), corners, corners + rng.uniform(1, 5, (ROIS, 2))]
    return np.column_stack(rows).astype(np.float32)


def turned(rng):
    rows = [rng.integers(0, IMAGES, ROIS), rng.uniform(2, 8, (ROIS, 4)), rng.uniform(-90, 90, ROIS)]
    return np.column_stack(rows).astype(np.float32)


class Pass:
    """A function of arrays that are drawn, by name."""

    def __init__(self, function, *names, results=1, draw=boxes, **options):
        self.function, self.names, self.results, self.draw = function, names, results, draw
        self.options = {"invalid": "nan", **options}

    def drawn(self, seed, dtype="float32"):
        rng = np.random.default_rng(seed)
        found = {
            "features": rng.standard_normal(SHAPE).astype(dtype),
            "grad_output": rng.standard_normal(OUTPUT).astype(dtype),
            "rois": self.draw(rng),
            "pixels": rng.integers(-1, HEIGHT * WIDTH, OUTPUT).astype(np.int32),
            "samples": rng.integers(-1, 4, OUTPUT).astype(np.int32),
            "offsets": rng.uniform(-1, 1, (ROIS, 2, *BINS)).astype(np.float32),
            "batch_indices": rng.integers(0, IMAGES, ROIS),
            "mask": rng.uniform(0, 1, (ROIS, 1, *BINS)).astype(np.float32),
        }
        return {name: found[name] for name in self.names}

    def __call__(self, given, out=None):
        """Return the results as NumPy's arrays."""
        words = {"samples": "argmax", "batch_indices": "batch_indices", "mask": "mask"}
        more = {word: given[name] for name, word in words.items() if name in self.names}
        first = [given[name] for name in self.names if name not in words]
        if "backward" not in self.function:
            first.append(BINS)
        elif "_rois" not in self.function:
            first.append(SHAPE)
        if self.results == 2:
            more["return_argmax"] = True
        found = getattr(roicy, self.function)(*first, **self.options, **more, out=out)
        assert out is None or found is out or (len(found) == 2 and found[0] is out[0] and found[1] is out[1])
        return [array._array.copy() for array in (found if type(found) is tuple else (found,))]


PASSES = {
    "align": Pass("roi_align", "features", "rois", sampling_ratio=2),
    "align, adaptive": Pass("roi_align", "features", "rois"),
    "align, batch indices": Pass("roi_align", "features", "rois", "batch_indices"),
    "align backward": Pass("roi_align_backward", "grad_output", "rois", sampling_ratio=2),
    "align box gradient": Pass("roi_align_backward_rois", "grad_output", "features", "rois"),
    "max": Pass("roi_align", "features", "rois", mode="max", sampling_ratio=2),
    "max, argmax": Pass("roi_align", "features", "rois", results=2, mode="max", sampling_ratio=2),
    "max, onnx": Pass("roi_align", "features", "rois", mode="max", max_rule="onnx"),
    "max backward": Pass(
        "roi_align_backward", "grad_output", "rois", "samples", mode="max", sampling_ratio=2
    ),
    "max box gradient": Pass(
        "roi_align_backward_rois", "grad_output", "features", "rois", "samples", mode="max", sampling_ratio=2
    ),
    "pool": Pass("roi_pool", "features", "rois"),
    "pool, argmax": Pass("roi_pool", "features", "rois", results=2),
    "pool, mean": Pass("roi_pool", "features", "rois", mode="avg"),
    "pool backward": Pass("roi_pool_backward", "grad_output", "pixels", "rois"),
    "rotated": Pass("roi_align_rotated", "features", "rois", draw=turned, sampling_ratio=2),
    "rotated backward": Pass("roi_align_rotated_backward", "grad_output", "rois", draw=turned),
    "rotated box gradient": Pass(
        "roi_align_rotated_backward_rois", "grad_output", "features", "rois", draw=turned
    ),
    "deform": Pass("deform_roi_pool", "features", "rois", "offsets"),
    "deform, mask": Pass("deform_roi_pool", "features", "rois", "offsets", "mask"),
    "deform backward": Pass("deform_roi_pool_backward", "grad_output", "rois", "offsets"),
    "precise": Pass("prroi_pool", "features", "rois"),
    "precise backward": Pass("prroi_pool_backward", "grad_output", "rois"),
}
PASSES["align, batch indices"].draw = lambda rng: boxes(rng)[:, 1:].copy()


def checked(name):
    """Return a pass whose boxes are checked."""
    given = PASSES[name]
    options = given.options | {"invalid": "raise"}
    return Pass(given.function, *given.names, results=given.results, draw=given.draw, **options)


def as_it_is(array):
    return ndarray(array.copy())


def on_device(given, way=as_it_is):
    return {name: way(array) for name, array in given.items()}


def anew(tested, given, way=as_it_is, out=None):
    """Return the results of a call that knows of none before it."""
    kernels = cuda.kernels()
    again, kernels.__dict__["again"] = kernels.again, None
    try:
        return tested(on_device(given, way), out)
    finally:
        kernels.__dict__["again"] = again


def assert_alike(found, expected):
    for one, other in zip(found, expected, strict=True):
        assert_same_bits(one, other)
