"""Calls of `crop_and_resize` and its gradients, and the expected results of valid ones."""

import inspect

import numpy as np
import reference.crop
from closeness import assert_close, finfo
from hypothesis import strategies as st
from strategies import FLOAT_DTYPES

from fuzz.arguments import array_of
from fuzz.calls import FUNCTIONS
from fuzz.hostile import HOSTILE, MEMORY
from fuzz.pooling import Expected
from fuzz.scenes import arrays

LAYOUTS = ("NHWC", "NCHW")
IMAGE_DTYPES = [*map(str, FLOAT_DTYPES), "uint8", "int8", "uint16", "int16", "bool"]
KINDS = ["random", "fill", "numbered"]
#: Of the results that the reference is asked for.
VALUES = 4000


@st.composite
def crops(draw, name):
    """Descriptions of calls, good and hostile ones."""
    parameters = inspect.signature(FUNCTIONS[name]).parameters
    side = st.integers(0, 12)
    channels, count = draw(st.sampled_from([0, 1, 2, 3, 4, 5, 16, 33])), draw(st.integers(1, 3))
    listed = draw(st.booleans())
    sizes = [(draw(side), draw(side)) for _ in range(count)] if listed else [(draw(side), draw(side))] * count
    size = [draw(st.integers(1, 9)), draw(st.integers(1, 9))]
    layout, out_layout = draw(st.sampled_from(LAYOUTS)), draw(st.sampled_from([None, *LAYOUTS]))
    nearest = "boxes" not in name.rpartition("_")[2] and draw(st.integers(0, 3)) == 0
    dtype = draw(st.sampled_from(["float32", "uint8"] if not nearest else IMAGE_DTYPES))
    if "_backward" in name:
        dtype = draw(st.sampled_from(["float32", "float64"]))
    shapes = [placed((*size_of_image, channels), layout) for size_of_image in sizes]
    k = draw(st.integers(0, 4))
    rows = [
        [float(draw(st.integers(0, count - 1))), *(draw(st.floats(-8, 20, width=16)) for _ in range(4))]
        for _ in range(k)
    ]
    apart = draw(st.booleans())
    boxes = {"dtype": draw(st.sampled_from(["float32", "float64"])), "shape": [k, 4 if apart else 5]}
    boxes |= {"rows": [row[apart:] for row in rows], "memory": draw(MEMORY)}
    indices = {"dtype": "int64", "shape": [k], "rows": [row[0] for row in rows]}
    per_channel = st.one_of(st.floats(0.5, 4, width=16), st.just([0.5 + 0.25 * c for c in range(channels)]))

    def of_images(shape_of):
        return list(map(shape_of, shapes)) if listed else shape_of([count, *shapes[0]])

    choices = {
        "images": lambda: of_images(lambda shape: arrays(draw, dtype, shape, KINDS)),
        "input_shape": lambda: of_images(lambda shape: {"tuple": list(shape)}),
        "grad_output": lambda: arrays(
            draw, dtype, [k, *placed((*size, channels), out_layout or layout)], ["random"]
        ),
        "boxes": lambda: {"array": boxes},
        "batch_indices": lambda: {"array": indices} if apart else None,
        "output_size": lambda: size,
        "sampling": lambda: draw(st.sampled_from(["half_pixel", "corners"])),
        "interpolation": lambda: "nearest" if nearest else "bilinear",
        "sampling_ratio": lambda: 1 if nearest else draw(st.sampled_from([1, 0, 2, 3])),
        "border": lambda: draw(st.sampled_from(["constant", "edge", "reject"])),
        "fill": lambda: draw(per_channel),
        "mean": lambda: draw(st.one_of(st.none(), per_channel)),
        "std": lambda: draw(st.one_of(st.none(), per_channel)),
        "reverse_channels": lambda: draw(st.booleans()),
        "layout": lambda: layout,
        "out_layout": lambda: out_layout,
        "dtype": lambda: draw(st.sampled_from([None, "float32", "float16", "uint8"])),
        "invalid": lambda: draw(st.sampled_from(["raise", "nan"])),
        "window": lambda: None,
        "out": lambda: None,
    }
    arguments = {parameter: choices[parameter]() for parameter in parameters}
    description = {"function": name, "arguments": arguments, "good": True}
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 1, 2]))):
        description["good"] = False
        arguments[draw(st.sampled_from(sorted(arguments)))] = draw(HOSTILE)
    return description


def placed(shape, layout):
    """The shape (H, W, C) of an image in the order of a layout, without the images' axis."""
    return list(shape) if layout == "NHWC" else [shape[2], shape[0], shape[1]]


def cropped(name, call, given):
    """What a call returns; None where nothing is known of it."""
    if not call.good or "_plan" in name:
        return None
    rows, options = rows_of(given), geometry_of(given)
    out_layout = given.out_layout or given.layout
    if hasattr(given, "images"):
        images = images_of(given.images, given.layout)
        shapes = [image.shape for image in images]
    else:
        shapes = shapes_of(given.input_shape, given.layout)
    finish = {
        key: np.asarray(value) if isinstance(value, list) else value
        for key, value in vars(given).items()
        if key in ("fill", "mean", "std", "reverse_channels") and value is not None
    }
    if hasattr(given, "grad_output"):
        grads = array_of(given.grad_output)
        wide = seen_as_nhwc(grads.astype(np.float64), out_layout)
    if name.endswith("_boxes"):
        wanted, terms = reference.crop.crop_and_resize_backward_boxes(wide, images, rows, **options, **finish)
        boxes = array_of(given.boxes)
        bound = 1e-5 * terms[:, -4:].max(initial=1)

        def hold(found):
            np.testing.assert_allclose(found[:, -4:], wanted[:, -4:], rtol=0, atol=bound)

        return [Expected(boxes.shape, boxes.dtype, hold)]
    if name.endswith("_backward"):
        wanted = reference.crop.crop_and_resize_backward(wide, rows, shapes, **options, **finish)
        listed = isinstance(given.input_shape, list)
        found = [grad if given.layout == "NHWC" else grad.transpose(2, 0, 1) for grad in wanted]
        found = found if listed else [np.stack(found)]
        return [
            Expected(grad.shape, grads.dtype, lambda own, grad=grad: assert_close(own, grad))
            for grad in found
        ]
    return [of_crops(given, images, rows, out_layout, options, finish)]


def of_crops(given, images, rows, out_layout, options, finish):
    """The crops of a good call."""
    kept = given.interpolation == "nearest" and given.mean is None and given.std is None
    dtype = images[0].dtype if kept else np.dtype(np.float32)
    if given.dtype is not None:
        dtype = np.dtype(given.dtype)
    size = given.output_size
    shape = len(rows), *placed((*size, images[0].shape[2]), out_layout)
    if np.prod(shape) > VALUES:
        return Expected(shape, dtype)
    wanted = reference.crop.crop_and_resize(images, rows, size, **options, **finish)
    wanted = wanted if out_layout == "NHWC" else wanted.transpose(0, 3, 1, 2)
    largest = max(float(np.abs(image.astype(np.float64)).max(initial=0)) for image in images)
    largest += sum(np.abs(finish.get(key, 0)).max(initial=0) for key in ("fill", "mean"))
    scale = largest / np.min(finish.get("std", 1), initial=1)

    def hold(found):
        if dtype.kind in "iub":
            low, high = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
            off = np.abs(found.astype(np.float64) - np.clip(wanted, low, high))
            assert (off <= 0.5 + 1e-5 * max(scale, 1)).all()
        elif np.abs(wanted).max(initial=0) < float(finfo(dtype).max):
            assert_close(found, wanted, scale=scale)

    return Expected(shape, dtype, hold)


def rows_of(given):
    """The rows [image, x1, y1, x2, y2] of a good call."""
    boxes = array_of(given.boxes)
    if boxes.shape[1] == 5:
        return boxes
    return np.column_stack([array_of(given.batch_indices), boxes]).astype(boxes.dtype)


def geometry_of(given):
    return {key: getattr(given, key) for key in ("sampling", "interpolation", "sampling_ratio", "border")}


def seen_as_nhwc(array, layout):
    return array if layout == "NHWC" else array.transpose(0, 2, 3, 1)


def images_of(given, layout):
    """A list of images (H, W, C)."""
    images = list(map(array_of, given)) if isinstance(given, list) else list(array_of(given))
    return images if layout == "NHWC" else [image.transpose(1, 2, 0) for image in images]


def shapes_of(given, layout):
    """Their shapes (H, W, C)."""
    shapes = given if isinstance(given, list) else [given[1:]] * given[0]
    return [shape if layout == "NHWC" else (*shape[1:], shape[0]) for shape in shapes]
