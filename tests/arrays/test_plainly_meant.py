"""What is plainly meant is taken: lists for boxes and indices, numbers of other types, any byte order."""

import inspect
from fractions import Fraction

import numpy as np
import pytest
from closeness import assert_same_bits

import roicy
from arrays.array_calls import CALLS, FEATURES, ROIS, TURNED
from arrays.bad_calls import good_arguments as arguments_of
from arrays.bad_calls import other_byte_order, that_take
from roicy.compat import caffe2, mxnet, onnx, torchvision

pytestmark = [
    pytest.mark.usefixtures("backend"),
    pytest.mark.numpy_only(reason="lists, and arrays that no device has"),
]

BOXES = "rois", "boxes"
FOUR, INDICES = ROIS[:, 1:].astype(np.float64), ROIS[:, 0].astype(np.int64)


def parts(result):
    return list(result) if isinstance(result, (list, tuple)) else [result]


def assert_same(found, wanted):
    assert type(found) is type(wanted)
    for one, other in zip(parts(found), parts(wanted), strict=True):
        assert_same_bits(one, other)


def with_arguments(change):
    """A way to call: arguments by name, each changed by a function of its name and value."""

    def call(name, *arguments, **options):
        function = getattr(roicy, name)
        bound = inspect.signature(function).bind(*arguments, **options).arguments
        return function(**{key: change(key, value) for key, value in bound.items()})

    return call


def as_arrays(name, value):
    """What a list stands for: boxes in float64."""
    if name in BOXES:
        return [v.astype(np.float64) for v in value] if isinstance(value, list) else value.astype(np.float64)
    return value


def as_lists(name, value):
    if name in BOXES and isinstance(value, list):
        return [array.tolist() for array in value]
    if name in (*BOXES, "batch_indices", "levels") and isinstance(value, np.ndarray):
        return value.tolist()
    return value


def as_tuples(name, value):
    lists = as_lists(name, value)
    if name in BOXES:
        return tuple(tuple(map(tuple, item)) if isinstance(value, list) else tuple(item) for item in lists)
    return tuple(lists) if name in ("batch_indices", "levels") and isinstance(lists, list) else lists


def in_foreign_order(name, value):
    if isinstance(value, (list, tuple)):
        return type(value)(in_foreign_order(name, item) for item in value)
    return other_byte_order(value) if isinstance(value, np.ndarray) else value


@pytest.mark.parametrize("change", [as_lists, as_tuples])
@pytest.mark.parametrize("name", CALLS)
def test_lists_are_the_arrays_that_numpy_makes_of_them(name, change):
    """Of every public function, pyramids and both gradients included."""
    call = CALLS[name]
    assert_same(call(with_arguments(change)), call(with_arguments(as_arrays)))


@pytest.mark.parametrize("name", CALLS)
def test_arrays_in_foreign_byte_order(name):
    call = CALLS[name]
    assert_same(call(with_arguments(in_foreign_order)), call(with_arguments(lambda name, value: value)))


@pytest.mark.cpu_only(reason="a device has its own way with rare dtypes")
@pytest.mark.parametrize("dtype", ["int8", "uint16", "int16", "bool"])
def test_features_of_integers_are_float32(dtype):
    """Of every operator, as those of uint8 are."""

    def with_features(change):
        def changed(name, value):
            if name != "features":
                return value
            return [change(each) for each in value] if isinstance(value, list) else change(value)

        return with_arguments(changed)

    def integers(array):
        return np.abs(100 * array).astype(dtype)

    for name, call in CALLS.items():
        found = call(with_features(integers))
        assert_same(found, call(with_features(lambda array: integers(array).astype(np.float32)))), name


def test_how_deep_a_list_is_says_what_it_is():
    of_images = [FOUR[image == INDICES] for image in (0, 1)]
    wanted = roicy.roi_align(FEATURES, of_images, 3)
    for rois in (
        [boxes.tolist() for boxes in of_images],
        [of_images[0], of_images[1].tolist()],
        tuple(list(boxes) for boxes in of_images),  # an array for each box
        [[[Fraction(number) for number in box] for box in boxes] for boxes in of_images],
    ):
        assert_same(roicy.roi_align(FEATURES, rois, 3), wanted)
    one = FEATURES[:1]
    assert_same(roicy.roi_align(one, FOUR.tolist(), 3), roicy.roi_align(one, FOUR, 3))
    assert_same(roicy.roi_align(one, [FOUR.tolist()], 3), roicy.roi_align(one, FOUR, 3))
    some = [FOUR[:0], FOUR]
    assert_same(roicy.roi_align(FEATURES, [[], FOUR.tolist()], 3), roicy.roi_align(FEATURES, some, 3))
    assert_same(roicy.roi_align(FEATURES, [np.array([]), FOUR], 3), roicy.roi_align(FEATURES, some, 3))


@pytest.mark.parametrize("rois", [[], (), [[], []], np.array([])], ids=repr)
def test_no_boxes(rois):
    assert roicy.roi_align(FEATURES, rois, (3, 2)).shape == (0, 5, 3, 2)
    assert roicy.roi_align_rotated(FEATURES, rois, (3, 2)).shape == (0, 5, 3, 2)
    if len(rois) == 0:
        assert roicy.roi_align(FEATURES, rois, (3, 2), batch_indices=[]).shape == (0, 5, 3, 2)
        assert roicy.roi_align_plan(rois, (1, 5, 8, 8), 2).output_shape == (0, 5, 2, 2)


def test_numbers_of_lists_keep_what_they_are():
    """The dtype is that of np.asarray: nothing is rounded that was not before."""
    third = 1 / 3
    plan = roicy.roi_align_plan([[third, 0, 2, 2]], (1, 1, 4, 4), 2)
    grad = plan.backward_rois(np.ones((1, 1, 2, 2), np.float32), np.ones((1, 1, 4, 4), np.float32))
    assert grad.dtype == np.float64
    single = [[np.float32(number) for number in FOUR[0]]]
    grad = roicy.roi_align_backward_rois(np.ones((1, 5, 2, 2), np.float32), FEATURES[:1], single)
    assert grad.dtype == np.float32


def test_lists_for_other_systems_operators():
    """Those that take one array take lists that stand for one."""
    options = {"output_height": 3, "output_width": 2, "sampling_ratio": 2}
    assert_same(
        onnx.RoiAlign(FEATURES, FOUR.tolist(), INDICES.tolist(), **options),
        onnx.RoiAlign(FEATURES, FOUR, INDICES, **options),
    )
    rows = ROIS.astype(np.float64)
    for call in (
        lambda rois: onnx.MaxRoiPool(FEATURES, rois, pooled_shape=(3, 2)),
        lambda rois: mxnet.ROIAlign(FEATURES, rois, (3, 2), 0.5),
        lambda rois: caffe2.RoIPool(FEATURES, rois, pooled_h=3, pooled_w=2)[0],
        lambda rois: caffe2.run_operator("RoIAlign", [FEATURES, rois], pooled_h=3, pooled_w=2)[0],
        lambda rois: torchvision.roi_align(FEATURES, rois, (3, 2), sampling_ratio=2),
        lambda rois: roicy.fpn_levels(rois, 3),
    ):
        assert_same(call(rows.tolist()), call(rows))
    of_images = [FOUR[image == INDICES] for image in (0, 1)]
    pool = torchvision.MultiScaleRoIAlign(["0"], 3, 2)
    wanted = pool({"0": FEATURES}, of_images, [(12, 17)])
    assert_same(pool({"0": FEATURES}, [boxes.tolist() for boxes in of_images], [(12, 17)]), wanted)
    with pytest.raises(TypeError, match="one array"):
        onnx.MaxRoiPool(FEATURES, [FOUR.tolist()], pooled_shape=(3, 2))


@pytest.mark.parametrize(
    "name, value, plain",
    [
        ("sampling_ratio", 0.0, 0),
        ("sampling_ratio", np.float32(2), 2),
        ("aligned", 1, True),
        ("aligned", np.int64(0), False),
        ("clockwise", 1, True),
        ("output_size", np.array([2, 4]), (2, 4)),
        ("output_size", (2.0, np.float64(4)), (2, 4)),
        ("input_shape", np.array([2, 5, 12, 10]), (2, 5, 12, 10)),
        ("return_argmax", 0, False),
    ],
    ids=repr,
)
def test_numbers_of_other_types(name, value, plain):
    for function in that_take(name):
        arguments = arguments_of(function)
        found, wanted = (function(**{**arguments, name: number}) for number in (value, plain))
        if function.__name__.endswith("_plan"):
            assert repr(found) == repr(wanted)
        else:
            assert_same(found, wanted)


def test_numbers_of_other_types_elsewhere():
    assert_same(
        roicy.fpn_levels(TURNED, 3.0, rotated=1, finest_level=2.0), roicy.fpn_levels(TURNED, 3, rotated=True)
    )
    size = {"rule": "tensorrt", "image_size": np.array([480, 640])}
    assert_same(
        roicy.fpn_levels(ROIS, 3, **size), roicy.fpn_levels(ROIS, 3, **size | {"image_size": (480, 640)})
    )
    assert_same(roicy.roi_align(FEATURES, ROIS, 2.0), roicy.roi_align(FEATURES, ROIS, 2))
    image, boxes = FEATURES[:1], FOUR[:2]
    crops = roicy.crop_and_resize(image, boxes, np.array([3, 2]), layout="NCHW")
    assert_same(roicy.crop_and_resize(image, boxes.tolist(), (3.0, 2), layout="NCHW"), crops)
    assert roicy.crop_and_resize(image, boxes, np.int64(3), layout="NCHW").shape == (2, 5, 3, 3)
    with roicy.num_threads(2.0):
        assert roicy.get_num_threads() == 2


def test_an_out_in_foreign_byte_order_is_not_converted():
    """It is written to."""
    out = other_byte_order(np.zeros((4, 5, 3, 2), np.float32))
    with pytest.raises(ValueError, match="native byte order"):
        roicy.roi_align(FEATURES, ROIS, (3, 2), out=out)


class Vector:
    """Numbers of another library: an array of one axis, or of none."""

    def __init__(self, numbers):
        self._numbers = np.asarray(numbers)
        self.ndim = self._numbers.ndim

    def __len__(self):
        return len(self._numbers)

    def __iter__(self):
        return map(Vector, self._numbers)

    def item(self):
        return self._numbers.item()


@pytest.mark.parametrize("of", [np.array, Vector])
def test_numbers_in_arrays(of):
    """Without an axis they are one number, with one they are several: NumPy's, and any other library's."""
    one = {"spatial_scale": 0.5, "sampling_ratio": 2, "aligned": False}
    assert_same(
        roicy.roi_align(FEATURES, ROIS, of([3, 2]), **{name: of(value) for name, value in one.items()}),
        roicy.roi_align(FEATURES, ROIS, (3, 2), **one),
    )
    assert_same(roicy.roi_align(FEATURES, ROIS, of(3.0)), roicy.roi_align(FEATURES, ROIS, 3))
    maps, scales = [FEATURES, FEATURES[:, :, ::2, ::2]], [1, 0.5]
    assert_same(
        roicy.multi_scale_roi_align(maps, ROIS, 3, spatial_scales=of(scales)),
        roicy.multi_scale_roi_align(maps, ROIS, 3, spatial_scales=scales),
    )
    image, mean = FEATURES[0], [1, 2, 3, 4, 5]
    boxes, options = ROIS[:, 1:], {"layout": "NCHW", "std": 2}
    assert_same(
        roicy.crop_and_resize(image, boxes, 3, mean=of(mean), **options),
        roicy.crop_and_resize(image, boxes, 3, mean=mean, **options),
    )
    masks = np.ones((len(boxes), 5, 5), np.float32)
    assert_same(roicy.paste_masks(masks, boxes, of([9, 8])), roicy.paste_masks(masks, boxes, (9, 8)))


class Eager(Vector):
    """Numbers of a library whose arrays are asked for no item, as TensorFlow's."""

    item = property()

    def __iter__(self):
        return map(Eager, self._numbers)

    def __array__(self, *_, **__):
        return self._numbers


class Symbol:
    """A number of a library that does not know it yet."""

    ndim = 0

    def item(self):
        raise RuntimeError("no number yet")

    __array__ = item


def test_numbers_without_items():
    assert_same(
        roicy.roi_align(FEATURES, ROIS, Eager([3, 2]), spatial_scale=Eager(0.5), sampling_ratio=Eager(2)),
        roicy.roi_align(FEATURES, ROIS, (3, 2), spatial_scale=0.5, sampling_ratio=2),
    )
    for name in ("spatial_scale", "sampling_ratio", "aligned"):
        with pytest.raises(TypeError, match=f"^{name} must be"):
            roicy.roi_align(FEATURES, ROIS, 3, **{name: Symbol()})
