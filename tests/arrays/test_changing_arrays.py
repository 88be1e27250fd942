"""Arrays that change while a call runs: the result may differ, but nothing may break.

What boxes and batch indices hold is settled once. An argmax is too large to copy: what a kernel finds in it
after it was checked is looked at once more, and writes nothing where it is out of range.
"""

import numpy as np
import pytest
from closeness import assert_same_bits
from operators import AVERAGE, OPERATORS

import roicy
from arrays.array_calls import FEATURES, GRAD, IMAGES, LEVELS, MASKS, QUADS, ROIS, SHAPES, TURNED, argmax_of
from roicy import _backend
from roicy._types import Regions
from roicy.compat import caffe2, mxnet

SHAPE = FEATURES.shape
SAMPLES, PIXELS = argmax_of("max"), argmax_of("pool")


def first_column(boxes):
    return boxes[:, 1:], boxes[:, 0].astype(np.int64)


def shared(boxes, call):
    """A call on boxes, and on batch indices of their own, which a caller's hands can still reach."""
    boxes, images = first_column(boxes)
    boxes = np.ascontiguousarray(boxes)
    return (boxes, images), lambda: call(boxes, batch_indices=images)


def of_columns(boxes, call):
    boxes = boxes.copy()
    return (boxes,), lambda: call(boxes)


def of_lists(boxes, call):
    boxes, images = first_column(boxes)
    boxes = [boxes[images == image].copy() for image in range(SHAPE[0])]
    return tuple(boxes), lambda: call(boxes)


def calls_of(operator):
    """Everything that an operator has, each a function of boxes and of options."""
    grad, shape = GRAD[: len(boxes_of(operator))], operator.map_shape(SHAPE, (3, 2))
    features = np.resize(FEATURES, shape)
    argmax = operator.both(features, boxes_of(operator), (3, 2))[1]
    chosen = {} if argmax is None else {"argmax": argmax}

    def planned(boxes, **options):
        plan = operator.plan(boxes, shape, (3, 2), **options)
        slopes = [plan.backward_rois(grad, features, **chosen)] if operator.has_slopes else []
        return plan(features), plan.backward(grad, **chosen), *slopes

    yield "forward", lambda boxes, **options: operator.both(features, boxes, (3, 2), **options)
    yield "backward", lambda boxes, **options: operator.backward(grad, boxes, shape, **chosen, **options)
    if operator.has_slopes:
        yield (
            "backward_rois",
            lambda boxes, **options: operator.backward_rois(grad, features, boxes, **chosen, **options),
        )
    yield "plan", planned


def boxes_of(operator):
    return TURNED if operator.numbers == 5 else ROIS


def mxnet_largest(boxes):
    return mxnet.MaxROIAlign(FEATURES, boxes, (3, 2), 1.0)


def caffe2_aligned(boxes):
    return caffe2.RoIAlign(FEATURES, boxes, pooled_h=3, pooled_w=2)


CASES = {
    f"{operator}-{name}-{given.__name__}": (given, boxes_of(operator), call)
    for operator in OPERATORS
    for name, call in calls_of(operator)
    for given in (of_columns, shared)
}
CASES |= {
    f"average-{name}-of_lists": (of_lists, ROIS[[0, 3, 1, 2]], call)
    for name, call in calls_of(AVERAGE)
    if name in ("forward", "backward")
}
CASES["mxnet_largest"] = of_columns, ROIS, mxnet_largest
CASES["caffe2_aligned"] = of_columns, ROIS, caffe2_aligned


def of_quads(call):
    corners, images = QUADS.copy(), np.array([1, 0])
    return (corners, images), lambda: call(corners, batch_indices=images)


def of_levels(call):
    boxes, images, levels = *first_column(ROIS), LEVELS.copy()
    boxes = np.ascontiguousarray(boxes)
    options = {"batch_indices": images, "levels": levels, "spatial_scales": (1, 0.5)}
    return (boxes, images, levels), lambda: call(boxes, options)


def of_masks(call):
    boxes = ROIS[:, 1:].copy()
    return (boxes,), lambda: call(boxes)


MAPS = [FEATURES, FEATURES[:, :, ::2, ::2].copy()]
#: Boxes in other forms, and what else says where samples lie: with the calls, arrays that may change.
OTHERS = {
    "quads": lambda: of_quads(lambda corners, **more: roicy.crop_quads(IMAGES, corners, 5, **more)),
    "quads of a list": lambda: of_quads(
        lambda corners, **more: roicy.crop_quads([IMAGES[0], IMAGES[1, 2:]], corners, 5, **more)
    ),
    "masks": lambda: of_masks(lambda boxes: roicy.paste_masks(MASKS, boxes, (12, 17))),
    "levels": lambda: of_levels(lambda boxes, o: roicy.multi_scale_roi_align(MAPS, boxes, (3, 2), **o)),
    "levels, backward": lambda: of_levels(
        lambda boxes, o: roicy.multi_scale_roi_align_backward(GRAD, boxes, SHAPES, **o)
    ),
    "levels, backward_rois": lambda: of_levels(
        lambda boxes, o: roicy.multi_scale_roi_align_backward_rois(GRAD, MAPS, boxes, **o)
    ),
    "levels, largest": lambda: of_levels(lambda boxes, o: roicy.multi_scale_roi_pool(MAPS, boxes, 3, **o)),
}


class Meddled:
    """A backend, and somebody who writes into the caller's arrays before tables and gradients are made."""

    def __init__(self, kernels, change):
        self._kernels, self._change = kernels, change

    def __getattr__(self, name):
        value = getattr(self._kernels, name)
        if not name.endswith(("_table", "_backward", "_backward_rois", "mask_paste")):
            return value

        def meddled(*arguments, **options):
            self._change(name)
            return value(*arguments, **options)

        return meddled


@pytest.fixture(params=["cpu", "cuda"])
def meddle(request, monkeypatch):
    kernels = _backend.cpu if request.param == "cpu" else request.getfixturevalue("host_kernels")

    def install(change):
        monkeypatch.setattr(_backend, "cpu", Meddled(kernels, change))

        def regions(*arguments):
            change("axis_table")
            return Regions(*arguments)

        if kernels.crops_again is not None:  # it makes tables without the backend
            monkeypatch.setattr(kernels.crops_again, "Regions", regions)

    monkeypatch.setattr(_backend, "cpu", kernels)
    return install


def results(value):
    many = value if isinstance(value, (tuple, list)) else (value,)
    return [array for array in many if array is not None]


@pytest.mark.parametrize("given, boxes, call", CASES.values(), ids=CASES)
def test_boxes_are_read_once(meddle, given, boxes, call):
    _, undisturbed = given(boxes, call)
    expected = undisturbed()
    arrays, disturbed = given(boxes, call)

    def change(_):
        for array in arrays:
            array[...] = 0 if array.ndim == 1 else 1e4 * np.arange(array.size).reshape(array.shape)

    meddle(change)
    for found, wanted in zip(results(disturbed()), results(expected), strict=True):
        assert_same_bits(found, wanted)
    assert arrays[0].max() >= 1e4


@pytest.mark.parametrize("given", OTHERS.values(), ids=OTHERS)
def test_what_else_says_where_samples_lie_is_read_once(meddle, given):
    _, undisturbed = given()
    expected = undisturbed()
    arrays, disturbed = given()

    def change(_):
        for array in arrays:
            array[...] = 1 if array.ndim == 1 else 1e4 * np.arange(array.size).reshape(array.shape)

    meddle(change)
    for found, wanted in zip(results(disturbed()), results(expected), strict=True):
        assert_same_bits(found, wanted)
    assert arrays[0].max() >= 1e4


@pytest.mark.parametrize("value", [-(2**31), -2, 10**6, 2**31 - 1])
@pytest.mark.parametrize("name", ["max", "max rois", "pool"])
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
def test_an_argmax_out_of_range_writes_nothing(meddle, name, value, dtype):
    chosen = (PIXELS if name == "pool" else SAMPLES).copy()
    grad = GRAD.astype(dtype)

    def change(function):
        if not function.endswith("_table"):
            chosen[...] = value

    meddle(change)
    room = np.full((SHAPE[0] + 2, *SHAPE[1:]), 7, dtype)
    out = room[1:-1]
    if name == "max":
        roicy.roi_align_backward(grad, ROIS, SHAPE, mode="max", argmax=chosen, out=out)
    elif name == "pool":
        roicy.roi_pool_backward(grad, chosen, ROIS, SHAPE, out=out)
    else:
        out = roicy.roi_align_backward_rois(grad, FEATURES.astype(dtype), ROIS, mode="max", argmax=chosen)
    assert (chosen == value).all()
    assert not out.any()
    assert (room[[0, -1]] == 7).all()


class Mended(np.ndarray):
    """An argmax that is wrong until somebody has a second look at it."""

    def __lt__(self, other):
        self[...] = -1
        return super().__lt__(other)

    def copy(self, order="C"):
        self[...] = -1
        return super().copy(order)


@pytest.mark.parametrize("name", ["max", "max rois", "pool"])
def test_an_error_that_is_gone_when_it_is_looked_for(name):
    chosen = np.full(GRAD.shape, 12345, np.int32).view(Mended)
    if name == "max":
        out = roicy.roi_align_backward(GRAD, ROIS, SHAPE, mode="max", argmax=chosen)
    elif name == "pool":
        out = roicy.roi_pool_backward(GRAD, chosen, ROIS, SHAPE)
    else:
        out = roicy.roi_align_backward_rois(GRAD, FEATURES, ROIS, mode="max", argmax=chosen)
    assert not out.any()


class Growing:
    """An array of a list that gets longer when somebody asks where it is."""

    def __init__(self, array, boxes):
        self._array, self._boxes = array, boxes

    def __dlpack_device__(self):
        self._boxes.append(self)
        return self._array.__dlpack_device__()

    def __dlpack__(self, **options):
        return self._array.__dlpack__(**options)


def test_a_list_that_changes():
    boxes = []
    boxes += [Growing(ROIS[:1, 1:].copy(), boxes), Growing(ROIS[1:2, 1:].copy(), boxes)]
    out = roicy.roi_align(FEATURES, boxes, (3, 2))
    assert len(boxes) > 2
    images = np.array([0, 1])
    assert_same_bits(out, roicy.roi_align(FEATURES, ROIS[:2, 1:], (3, 2), batch_indices=images))


BESIDE_A_WRITER = """
import itertools, threading, time
import numpy as np
import roicy

rng = np.random.default_rng(0)
maps = rng.random((2, 3, 60, 70), np.float32)
of_bins = np.repeat(maps, 4, axis=1)
small = np.tile([[1, 3, 3, 4, 4]], (400, 1)).astype(np.float32)
large = np.tile([[0, -5, -5, 80, 70]], (400, 1)).astype(np.float32)
turned = [np.tile(box, (400, 1)).astype(np.float32) for box in ([1, 3, 3, 1, 1, 4], [0, 30, 30, 85, 75, 70])]
rois, rotated = large.copy(), turned[1].copy()
offsets, mask = np.zeros((400, 2, 2, 2), np.float32), np.ones((400, 1, 2, 2), np.float32)
images, levels = np.zeros((2, 400), np.int64)
views = [roicy.rotated_corners(boxes[:, 1:]) for boxes in turned]
corners = views[1].copy()
pictures, masks = np.ascontiguousarray(maps.transpose(0, 2, 3, 1)), rng.random((400, 5, 6), np.float32)
several = [pictures[0, :40], pictures[1]]
pyramid, scaled = [maps, maps], {"spatial_scales": (1, 0.5), "batch_indices": images, "levels": levels}
pooled, pixels = roicy.roi_pool(maps, rois, 2, return_argmax=True)
_, samples = roicy.roi_align(maps, rois, 2, mode="max", return_argmax=True)
chosen = [pixels.copy(), samples.copy()]
done = False


def write():
    for i in itertools.count():
        rois[...] = small if i % 2 else large
        rotated[...] = turned[i % 2]
        offsets[...] = 8 * (i % 3 - 1)
        mask[...] = i % 2
        images[...] = i % 2
        levels[...] = i // 2 % 2
        corners[...] = views[i % 2]
        for array in chosen:
            array[...] = rng.integers(-(2**31), 2**31, array.shape) if i % 4 == 3 else -1
        time.sleep(0)
        if done:
            return


calls = [
    lambda: roicy.roi_align(maps, rois, 2),
    lambda: roicy.roi_align_backward(pooled, rois, maps.shape),
    lambda: roicy.roi_align_backward_rois(pooled, maps, rois),
    lambda: roicy.roi_align(maps, rois, 2, mode="max"),
    lambda: roicy.roi_align_backward(pooled, rois, maps.shape, mode="max", argmax=chosen[1]),
    lambda: roicy.roi_align_backward_rois(pooled, maps, rois, mode="max", argmax=chosen[1]),
    lambda: roicy.roi_align_rotated(maps, rotated, 2),
    lambda: roicy.roi_align_rotated_backward(pooled, rotated, maps.shape),
    lambda: roicy.roi_align_rotated_backward_rois(pooled, maps, rotated),
    lambda: roicy.prroi_pool(maps, rois, 2),
    lambda: roicy.prroi_pool_backward(pooled, rois, maps.shape),
    lambda: roicy.prroi_pool_backward_rois(pooled, maps, rois),
    lambda: roicy.deform_roi_pool(maps, rois, offsets, 2, mask=mask),
    lambda: roicy.deform_roi_pool_backward(pooled, rois, offsets, maps.shape, mask=mask),
    lambda: roicy.deform_roi_pool_backward_offsets(pooled, maps, rois, offsets, mask=mask),
    lambda: roicy.deform_roi_pool_backward_mask(pooled, maps, rois, offsets, mask),
    lambda: roicy.ps_roi_align(of_bins, rois, 2),
    lambda: roicy.ps_roi_align_backward(pooled, rois, of_bins.shape),
    lambda: roicy.ps_roi_align_backward_rois(pooled, of_bins, rois),
    lambda: roicy.ps_roi_pool(of_bins, rois, 2),
    lambda: roicy.ps_roi_pool_backward(pooled, rois, of_bins.shape),
    lambda: roicy.multi_scale_roi_align(pyramid, rois, 2, spatial_scales=(0.25, 0.125)),
    lambda: roicy.multi_scale_roi_align(pyramid, rois[:, 1:], 2, **scaled),
    lambda: roicy.multi_scale_roi_align_backward(pooled, rois[:, 1:], [maps.shape] * 2, **scaled),
    lambda: roicy.multi_scale_roi_pool(pyramid, rois[:, 1:], 2, **scaled),
    lambda: roicy.crop_and_resize(pictures, rois, 9),
    lambda: roicy.crop_and_resize(several, rois[:, 1:], 9, batch_indices=images, border="edge"),
    lambda: roicy.crop_and_resize_backward(pooled, rois, maps.shape, layout="NCHW"),
    lambda: roicy.crop_and_resize_backward_boxes(pooled, maps, rois, layout="NCHW"),
    lambda: roicy.crop_quads(pictures, corners, 9, batch_indices=images),
    lambda: roicy.crop_quads(several, corners, 9, batch_indices=images, border="edge"),
    lambda: roicy.paste_masks(masks, rois[:, 1:], (60, 70)),
    lambda: roicy.paste_masks(masks, rois[:, 1:], (60, 70), to="windows"),
    lambda: roicy.paste_masks(masks, rois[:, 1:], (60, 70), to="rle"),
    lambda: roicy.roi_align(maps[:, :, :6, :6], rois, 2, window=(0, 0, 60, 70)),
    lambda: roicy.crop_quads(pictures[:, :9, :9], corners, 2, batch_indices=images, window=(0, 0, 60, 70)),
    lambda: roicy.roi_pool(maps, rois, 2),
    lambda: roicy.roi_pool_backward(pooled, chosen[0], rois, maps.shape),
    lambda: roicy.roi_pool(maps, rois, 2, mode="avg"),
    lambda: roicy.roi_pool_backward(pooled, None, rois, maps.shape, mode="avg"),
]
writer = threading.Thread(target=write)
writer.start()
for call in calls:
    end = time.perf_counter() + 0.08
    while time.perf_counter() < end:
        try:
            call()
        except ValueError as error:
            assert str(error).startswith(("argmax[", "window must hold all that ")), error
done = True
writer.join()
print("unharmed")
"""


@pytest.mark.parametrize("count", [1, 2])
def test_beside_a_thread_that_writes(run_python, count):
    source = f"import roicy; roicy.set_num_threads({count})\n" + BESIDE_A_WRITER
    assert run_python(source).strip() == "unharmed"
