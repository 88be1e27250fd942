"""The pages of docs/systems: their programs and their calls give what is said there."""

import ast
import importlib.util
from pathlib import Path

import numpy as np
import pytest

import roicy

DOCS = Path(__file__).parents[1] / "docs"
pytestmark = pytest.mark.skipif(not DOCS.is_dir(), reason="the documentation is not here")


def program(name):
    """A module of docs/systems."""
    spec = importlib.util.spec_from_file_location(name, DOCS / "systems" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def function_of_example(example, name):
    """A function that a program of the gallery defines, without the program."""
    tree = ast.parse((DOCS / "examples" / f"{example}.py").read_text())
    tree.body = [part for part in tree.body if isinstance(part, ast.FunctionDef) and part.name == name]
    names = {"np": np, "roicy": roicy}
    exec(compile(tree, example, "exec"), names)
    return names[name]


# ---------------------------------------------------------------- TensorFlow: crop_and_resize


def test_crop_and_resize_is_tensorflows():
    """Against its definition: a sample for each pixel, first and last on the box's edges."""
    module = program("crop_and_resize")
    rng = np.random.default_rng(0)
    for _ in range(20):
        image = rng.random((2, *rng.integers(1, 12, 2), 3)).astype(np.float32)
        boxes, images = rng.uniform(-0.4, 1.4, (5, 4)).astype(np.float32), rng.integers(2, size=5)
        size = tuple(rng.integers(1, 6, 2).tolist())
        expected = [
            _crop(image[index], box, size)
            for index, box in zip(images, boxes.astype(np.float64), strict=True)
        ]
        crops = module.crop_and_resize(image, boxes, images, size, extrapolation_value=-7)
        np.testing.assert_allclose(crops, expected, atol=1e-4)


def _crop(image, box, size):
    places = []
    for axis in (0, 1):
        first, last = box[axis] * (image.shape[axis] - 1), box[axis + 2] * (image.shape[axis] - 1)
        places.append(np.linspace(first, last, size[axis]) if size[axis] > 1 else [(first + last) / 2])
    crop = np.full((*size, image.shape[2]), -7.0)
    for p, y in enumerate(places[0]):
        for q, x in enumerate(places[1]):
            if 0 <= y <= image.shape[0] - 1 and 0 <= x <= image.shape[1] - 1:
                top, left = int(np.floor(y)), int(np.floor(x))
                bottom, right = int(np.ceil(y)), int(np.ceil(x))
                above = image[top, left] + (image[top, right] - image[top, left]) * (x - left)
                below = image[bottom, left] + (image[bottom, right] - image[bottom, left]) * (x - left)
                crop[p, q] = above + (below - above) * (y - top)
    return crop


def test_crops_lose_the_border_where_tensorflow_rounds_beyond_it():
    """The whole image: its last position is a product of float32 numbers, as the page counts them."""
    crop_and_resize = program("crop_and_resize").crop_and_resize

    def rounds_beyond(side, bins):
        last, steps = np.float32(side - 1), np.float32(bins - 1)
        return bool(bins > 1 and steps * (last / steps) > last)

    counts = {}
    for side in (100, 128, 224, 300, 1920):
        image = np.ones((1, side, side, 1), np.float32)
        counts[side] = 0
        for bins in range(1, 129):
            crops = crop_and_resize(image, [[0, 0, 1, 1]], [0], (bins, bins), extrapolation_value=-7)
            crop = crops[0, :, :, 0]
            lost = rounds_beyond(side, bins)
            assert (crop[-1] == -7).all() == (crop[:, -1] == -7).all() == lost
            assert (crop[:-1, :-1] == 1).all()
            counts[side] += lost
    assert counts == {100: 5, 128: 16, 224: 5, 300: 0, 1920: 13}
    shapes = [rounds_beyond(side, bins) for side in range(2, 300) for bins in range(2, 65)]
    assert (sum(shapes), len(shapes)) == (562, 18774)


def test_crops_have_the_samples_outside_that_tensorflow_has():
    """Boxes whose edges lie on the border: whether rounding leaves them there is decided as there."""
    crop_and_resize = program("crop_and_resize").crop_and_resize
    rng, f = np.random.default_rng(3), np.float32
    outside = 0
    for _ in range(2000):
        side, bins = (int(n) for n in rng.integers(1, 70, 2))
        low, high = rng.choice([f(0), f(1), f(rng.random()), f(1 / 3)], 2)
        last = f(side - 1)
        if bins > 1:
            step = (high - low) * last / f(bins - 1)
            places = [low * last + f(p) * step for p in range(bins)]
        else:
            places = [f(0.5 * float(low + high) * float(last))]
        expected = [not 0 <= place <= last for place in places]
        image = np.ones((1, side, 1, 1), np.float32)
        crop = crop_and_resize(image, [[low, 0, high, 0]], [0], (bins, 1), extrapolation_value=-7)
        assert (crop.ravel() == -7).tolist() == expected
        outside += sum(expected)
    assert outside


# ---------------------------------------------------------------- torchvision: levels of a pyramid


def pyramid(rng, images, channels):
    shapes = [(images, channels, 256 >> level, 320 >> level) for level in (2, 3, 4, 5)]
    return [rng.random(shape, dtype=np.float32) for shape in shapes]


def boxes_of_an_image(rng, count):
    """Of all levels, some beyond the image, the last ones without area and reversed along one axis."""
    corners = rng.uniform(-20, 200, (count, 2))
    sizes = np.exp(rng.uniform(2, 7, (count, 1)) + rng.uniform(-0.5, 0.5, (count, 2)))
    boxes = np.concatenate([corners, corners + sizes], axis=1)
    return np.concatenate([boxes, [[9, 9, 9, 9], [80, 20, 40, 90]]]).astype(np.float32)


@pytest.mark.parametrize("output_size", [3, (2, 5)])
def test_levels_of_a_pyramid_of_several_images(output_size):
    """Each box on its own, from the one map that it belongs to."""
    rng = np.random.default_rng(0)
    module = program("pyramid")
    maps = pyramid(rng, 3, 4)
    boxes = [boxes_of_an_image(rng, 40), np.empty((0, 4), np.float32), boxes_of_an_image(rng, 7)]
    pooled = iter(module.multi_scale_roi_align(maps, boxes, output_size, 2))
    seen = set()
    for image, some in enumerate(boxes):
        for box in some:
            area = float(box[2] - box[0]) * float(box[3] - box[1])
            if area < 0:
                level, expected = None, np.zeros((4, *np.broadcast_to(output_size, 2)))
            else:
                # a box of 224 x 224 pixels belongs to level 4, and one of half its side to the one below
                level = 2 + sum(area >= side**2 for side in (112, 224, 448))
                features, options = maps[level - 2][[image]], {"sampling_ratio": 2, "aligned": False}
                expected = roicy.roi_align(
                    features, box[None], output_size, spatial_scale=0.5**level, **options
                )[0]
            seen.add(level)
            np.testing.assert_array_equal(next(pooled), expected)
    assert seen == {None, 2, 3, 4, 5}
    assert next(pooled, None) is None


# ---------------------------------------------------------------- detectron2: masks pasted back


def pasted_by_hand(mask, box, height, width):
    """A pixel's centre on the mask, and four pixels around it that are 0 outside of it."""
    rows, columns = mask.shape
    x1, y1, x2, y2 = map(float, box)
    framed = np.zeros((rows + 4, columns + 4))
    framed[2:-2, 2:-2] = mask
    image = np.zeros((height, width))
    for row in range(height):
        for column in range(width):
            y = (row + 0.5 - y1) / (y2 - y1) * rows - 0.5
            x = (column + 0.5 - x1) / (x2 - x1) * columns - 0.5
            y, x = np.clip(y, -1.5, rows + 0.5) + 2, np.clip(x, -1.5, columns + 0.5) + 2
            top, left = int(np.floor(y)), int(np.floor(x))
            (a, b), (c, d) = framed[top : top + 2, left : left + 2]
            upper, lower = a + (b - a) * (x - left), c + (d - c) * (x - left)
            image[row, column] = upper + (lower - upper) * (y - top)
    return image


def test_pasted_masks_are_zero_outside():
    rng = np.random.default_rng(2)
    paste = function_of_example("plot_mask_crops", "paste")
    masks = rng.random((9, 1, 6, 5)).astype(np.float32)
    corners = rng.uniform(-12, 20, (9, 2))
    boxes = np.concatenate([corners, corners + np.exp(rng.uniform(-1, 4, (9, 2)))], axis=1).astype(np.float32)
    pasted = paste(masks, boxes, 30, 24)
    for mask, box, image in zip(masks[:, 0], boxes, pasted, strict=True):
        np.testing.assert_allclose(image, pasted_by_hand(mask, box, 30, 24), atol=1e-5)


@pytest.mark.parametrize("low, high", [(100, 380), (100, 128), (7, 452)])
def test_a_full_mask_fills_its_box(low, high):
    """From its first pixel to its last one, and nothing beside it; interpolation rounds off its corners."""
    paste = function_of_example("plot_mask_crops", "paste")
    mask = np.ones((1, 1, 28, 28), np.float32)
    pasted = paste(mask, np.array([[low, low, high, high]], np.float32), 480, 470)[0] >= 0.5
    expected = np.zeros((480, 470), bool)
    expected[low:high, low:high] = True
    assert not (pasted & ~expected).any()
    missing = np.argwhere(expected & ~pasted)
    depth = np.minimum(missing - low, high - 1 - missing)  # pixels from the edges
    assert (depth < (high - low) / 28 / 2).all()
    for line in (pasted[(low + high) // 2], pasted[:, (low + high) // 2]):
        assert np.flatnonzero(line)[[0, -1]].tolist() == [low, high - 1]
