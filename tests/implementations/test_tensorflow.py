"""`roicy.compat.tensorflow`: TensorFlow's `crop_and_resize` and its gradients, beside TensorFlow itself.

It is not among the peers that `make peers` installs: it takes 1.5 GB. In an environment of its own,
``pip install tensorflow-cpu pytest hypothesis`` and this file with ``PYTHONPATH=src`` run them.
"""

import inspect

import numpy as np
import pytest
import reference.crop
from closeness import assert_close, assert_sums_close

from roicy.compat import tensorflow

PARAMETERS = {
    "crop_and_resize": {
        "image": inspect.Parameter.empty,
        "boxes": inspect.Parameter.empty,
        "box_indices": inspect.Parameter.empty,
        "crop_size": inspect.Parameter.empty,
        "method": "bilinear",
        "extrapolation_value": 0.0,
    },
    "crop_and_resize_gradient_image": {
        **dict.fromkeys(("grad", "boxes", "box_indices", "image_shape"), inspect.Parameter.empty),
        "method": "bilinear",
    },
    "crop_and_resize_gradient_boxes": dict.fromkeys(
        ("grad", "image", "boxes", "box_indices"), inspect.Parameter.empty
    ),
}
SIZES = [(1, 1), (7, 7), (1, 4), (5, 1), (14, 3)]
METHODS = ["bilinear", "nearest"]


def problem(seed, size, dtype=np.float32):
    """Images, boxes of every kind, their images, and a gradient of crops."""
    rng = np.random.default_rng(seed)
    shape = (3, *rng.integers(1, 30, 2), 5)
    image = (rng.random(shape) * 200).astype(dtype)
    inside = np.sort(rng.random((40, 2, 2)), axis=1).reshape(40, 4)
    whole = np.tile([0.0, 0, 1, 1], (4, 1))
    around = rng.random((20, 4)) * 3 - 1
    pixels = rng.integers(-1, 4, (20, 4)) / np.maximum(np.tile(np.subtract(shape[1:3], 1), 2), 1)
    boxes = np.concatenate(
        [inside, inside[:5][:, [2, 3, 0, 1]], whole, around, pixels, [[0.5] * 4, [3, 3, 4, 4]]]
    )
    indices = rng.integers(0, 3, len(boxes)).astype(np.int32)
    return image, boxes.astype(np.float32), indices, rng.random((len(boxes), *size, 5)).astype(np.float32)


def rows_of(boxes, indices):
    """Rows as the reference has them."""
    return np.column_stack([indices, boxes[:, [1, 0, 3, 2]]]).astype(np.float32)


def options(slopes=False, method="bilinear"):
    corners = reference.crop.Corners(unit=True, slopes=slopes)
    return {"sampling": corners, "interpolation": method, "border": "reject"}


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters(name):
    parameters = inspect.signature(getattr(tensorflow, name)).parameters
    assert {key: value.default for key, value in parameters.items()} == PARAMETERS[name]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", ["float32", "uint8", "float64"])
def test_crops(size, method, dtype):
    image, boxes, indices, _ = problem(1, size, dtype)
    crops = tensorflow.crop_and_resize(image, boxes, indices, size, method, -7)
    expected = reference.crop.crop_and_resize(
        list(image), rows_of(boxes, indices), size, fill=-7, **options(method=method)
    )
    assert crops.dtype == np.float32
    np.testing.assert_array_equal(crops == -7, expected == -7)
    assert_close(crops, expected)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("method", METHODS)
def test_gradient_of_images(size, method):
    image, boxes, indices, grad = problem(2, size)
    gradient = tensorflow.crop_and_resize_gradient_image(grad, boxes, indices, image.shape, method)
    expected = reference.crop.crop_and_resize_backward(
        grad, rows_of(boxes, indices), [image.shape[1:]] * 3, **options(method=method)
    )
    assert_close(gradient, np.stack(expected))


@pytest.mark.parametrize("size", SIZES)
def test_gradient_of_boxes(size):
    image, boxes, indices, grad = problem(3, size)
    gradient = tensorflow.crop_and_resize_gradient_boxes(grad, image, boxes, indices)
    expected, terms = reference.crop.crop_and_resize_backward_boxes(
        grad, list(image), rows_of(boxes, indices), **options(slopes=True)
    )
    order = [2, 1, 4, 3]
    assert_sums_close(gradient, expected[:, order], terms[:, order], "float32")


def test_boxes_of_whole_images_lose_the_pixels_that_they_lose_there():
    # as counted in TensorFlow 2.21
    lost = 0
    for side in range(2, 300):
        image = np.ones((1, 1, side, 1), np.float32)
        for crop in range(2, 65):
            crops = tensorflow.crop_and_resize(image, np.array([[0, 0, 1, 1]]), np.array([0]), (1, crop))
            lost += int(crops[0, 0, -1, 0] == 0)
    assert lost == 562


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"boxes": np.zeros((1, 5))}, ValueError, r"boxes must have shape \(num_boxes, 4\)"),
        ({"box_indices": np.array([3])}, ValueError, "boxes row 0, .* has box_indices"),
        ({"boxes": np.full((1, 4), np.nan)}, ValueError, "boxes row 0, .* is not finite"),
        ({"image": np.zeros((4, 4, 1))}, ValueError, "image must have 4 axes"),
        ({"method": "area"}, ValueError, "method must be 'bilinear' or 'nearest', got 'area'"),
        ({"crop_size": (0, 2)}, ValueError, "crop_size must lie between 1"),
        ({"extrapolation_value": "0"}, TypeError, "extrapolation_value must be a real number"),
    ],
)
def test_errors(change, error, message):
    arguments = {
        "image": np.zeros((1, 4, 4, 1)),
        "boxes": np.zeros((1, 4)),
        "box_indices": np.array([0]),
        "crop_size": (2, 2),
    }
    with pytest.raises(error, match=message):
        tensorflow.crop_and_resize(**{**arguments, **change})


# ---------------------------------------------------------------- TensorFlow itself


@pytest.fixture
def theirs(parity):
    """TensorFlow's operators, on one thread."""
    parity.needs("tensorflow")
    import tensorflow as installed

    return installed


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("method", METHODS)
def test_crops_are_theirs(seed, size, method, theirs, parity):
    image, boxes, indices, _ = problem(seed, size)
    expected = theirs.image.crop_and_resize(image, boxes, indices, size, method, -7).numpy()
    crops = tensorflow.crop_and_resize(image, boxes, indices, size, method, -7)
    np.testing.assert_array_equal(crops == -7, expected == -7)  # what is outside: to the bit
    parity.close(f"crop_and_resize {method}: forward", "tensorflow", crops, expected)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("method", METHODS)
def test_gradients_are_theirs(seed, size, method, theirs, parity):
    image, boxes, indices, grad = problem(seed, size)
    ops = theirs.raw_ops
    expected = ops.CropAndResizeGradImage(
        grads=grad, boxes=boxes, box_ind=indices, image_size=image.shape, T=theirs.float32, method=method
    ).numpy()
    gradient = tensorflow.crop_and_resize_gradient_image(grad, boxes, indices, image.shape, method)
    parity.close(f"crop_and_resize {method}: backward", "tensorflow", gradient, expected)
    if method == "bilinear":
        expected = ops.CropAndResizeGradBoxes(
            grads=grad, image=image, boxes=boxes, box_ind=indices, method=method
        ).numpy()
        gradient = tensorflow.crop_and_resize_gradient_boxes(grad, image, boxes, indices)
        parity.close("crop_and_resize bilinear: backward_boxes", "tensorflow", gradient, expected)
