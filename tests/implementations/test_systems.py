"""The pages of docs/systems: their programs and their calls give what is said there."""

import importlib.util
import inspect
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import roicy
from roicy.compat import mxnet, torchvision

DOCS = Path(__file__).parents[2] / "docs"
pytestmark = pytest.mark.skipif(not DOCS.is_dir(), reason="the documentation is not here")


def program(name):
    """A module of docs/systems."""
    spec = importlib.util.spec_from_file_location(name, DOCS / "systems" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# ---------------------------------------------------------------- the calls of the tables


def cells_of(page, column=1):
    """What the rows of a page's table have in a column, without the head."""
    for row in re.split(r"^    \* - ", (DOCS / "systems" / page).read_text(), flags=re.MULTILINE)[2:]:
        cells = re.split(r"^      - ", row, flags=re.MULTILINE)
        if len(cells) == 3:
            yield " ".join(cells[column].split())


def calls_of(page, column=1):
    """The expressions with a call in a column."""
    for cell in cells_of(page, column):
        yield from (code for code in re.findall(r"``(.+?)``", cell) if "(" in code)


def tables():
    """All calls of the middle columns that are ours."""
    pages = sorted(page.name for page in (DOCS / "systems").glob("*.rst"))
    ours = r"(np\.\w+\()?(compat|deform|multi_scale|paste|prroi|ps_roi|rmac|roi)"
    return [(page, code) for page in pages for code in calls_of(page) if re.match(ours, code)]


FEATURES, SIZE = np.random.default_rng(0).random((2, 12, 20, 16)).astype(np.float32), (2, 3)
ROIS = np.array([[0, 1.5, 2, 9, 14], [1, 0, 3, 12.5, 11], [1, 2, 2, 5, 7]], np.float32)
TURNED = np.array([[0, 7, 8, 9, 6, 0.3], [1, 5, 9, 4, 8, -0.2], [1, 6, 6, 5, 7, 1.2]], np.float32)
MASKS = (np.random.default_rng(1).random((3, 1, 20, 16)) > 0.5).astype(np.float32)
POOLED = roicy.roi_pool(FEATURES, ROIS, SIZE, spatial_scale=0.5, return_argmax=True)
#: What an ellipsis stands for, and the names of the pages.
OPTIONS = {"spatial_scale": 0.5, "sampling_ratio": 2, "batch_indices": np.array([0, 1, 1])}
NAMES = dict(
    **dict.fromkeys(("x", "X", "data"), FEATURES),
    **dict.fromkeys(("rois", "boxes"), ROIS),
    **dict.fromkeys(("dY", "grad"), POOLED[0]),
    **dict.fromkeys(("size", "output_size", "pooled_size", "pooled_shape", "group_size"), SIZE),
    **dict.fromkeys(("pooled_h", "output_height"), SIZE[0]),
    **dict.fromkeys(("pooled_w", "output_width"), SIZE[1]),
    order="NCHW",
    s=0.5,
    r=2,
    a=False,
    aligned=True,
    clockwise=True,
    clockwise_mode=False,
    argmaxes=POOLED[1],
    maps=[FEATURES[:, :, : 20 >> level, : 16 >> level] for level in range(4)],
    offset=np.random.default_rng(2).uniform(-2, 2, (3, 2, *SIZE)).astype(np.float32),
    gamma=0.1,
    scales=2,
    overlap=0.4,
    masks=MASKS,
    m=SIZE,
    height=20,
    width=16,
    image=FEATURES[0].transpose(1, 2, 0),
    whole=np.array([[0, 0, 16, 20]]),
    w=8,
    h=10,
    cx=7,
    cy=9,
    np=np,
)


def completed(function, code):
    """The function, which takes ``...`` for what a row leaves out."""
    boxes = TURNED if "rotated" in function.__name__ else ROIS
    usual = (POOLED[0], boxes, FEATURES.shape) if "backward" in function.__name__ else (FEATURES, boxes, SIZE)
    if function.__module__.endswith("mxnet"):
        usual += (0.5,)

    def call(*given, **options):
        places = [place for place, value in enumerate(given) if value is ...]
        if places:
            given = given[: places[0]] + usual[places[0] :]
        options = {name: OPTIONS[name] if value is ... else value for name, value in options.items()}
        if "masks" in code or "batch_indices" in options:  # their boxes have no column for them
            given = (*given[:1], given[1][:, -(boxes.shape[1] - 1) :], *given[2:])
        elif boxes is TURNED:
            given = tuple(boxes if value is ROIS else value for value in given)
        return function(*given, **options)

    return call


@pytest.mark.parametrize("page, code", tables())
def test_calls_of_the_tables_run(page, code):
    names = dict(NAMES)
    for name in (
        "roi_align",
        "roi_align_backward",
        "roi_align_rotated",
        "roi_align_rotated_backward",
        "roi_pool",
        "deform_roi_pool",
        "prroi_pool",
        "ps_roi_align",
        "ps_roi_pool",
    ):
        names[name] = completed(getattr(roicy, name), code)
    for name in "multi_scale_roi_align", "roi_pool_backward", "rmac", "rmac_regions":
        names[name] = getattr(roicy, name)
    align = SimpleNamespace(ROIAlign=completed(mxnet.ROIAlign, code))
    names["compat"] = SimpleNamespace(mxnet=align, torchvision=torchvision)
    if code.startswith("paste"):
        names |= {"paste_masks": roicy.paste_masks, "boxes": ROIS[:, 1:]}
    found = eval(code, names)
    values = found[0] if isinstance(found, tuple) else found
    assert np.isfinite(values).all()
    assert values.any()


def other_code():
    """What the middle columns have beside these calls: other expressions, names, options."""
    known = set(tables())
    for page in sorted(page.name for page in (DOCS / "systems").glob("*.rst")):
        for cell in cells_of(page):
            code = re.findall(r"``(.+?)``", cell)
            calls = [one for one in code if (page, one) in known]
            yield from ((page, one, calls[0] if calls else None) for one in code if one not in calls)


@pytest.mark.parametrize("page, code, call", list(other_code()))
def test_other_code_of_the_tables_is_there(page, code, call):
    functions = functions_of_pages()
    if re.fullmatch(r"\w+=.+", code) and call is not None:  # instead of what the call has
        name = code.partition("=")[0]
        test_calls_of_the_tables_run(page, re.sub(rf"\b{name}=(\"\w+\"|\w+)", code, call))
    elif re.fullmatch(r"\w+=\w+", code):
        name = code.partition("=")[0]
        assert any(name in inspect.signature(function).parameters for function in functions.values())
    elif re.fullmatch(r"[\w.]+", code) and code not in NAMES:
        names = {"compat": roicy.compat, **vars(roicy), **functions}
        assert callable(eval(code, names))
    else:
        assert np.isfinite(eval(code, NAMES | {"eps": 1e-6, "x": FEATURES})).all()


def functions_of_pages():
    """The functions of the programs that the pages show."""
    shown = [vars(program(path.stem)) for path in (DOCS / "systems").glob("*.py")]
    return {name: value for names in shown for name, value in names.items() if callable(value)}


def test_calls_of_opencvs_table_agree():
    """Both columns of the rows that are calls, side by side; the image is smaller by whole factors."""
    cv2 = pytest.importorskip("cv2")
    image = np.random.default_rng(1).random((20, 16, 3)).astype(np.float32)
    names = {**NAMES, "cv2": cv2, "roi_align": roicy.roi_align, "image": image}
    for w, h in (8, 10), (4, 5):
        names |= {"w": w, "h": h, "cx": 7.25, "cy": 9.5}
        theirs = [code for code in calls_of("opencv.rst", column=0) if "(image, (w, h)" in code]
        ours = [code for code in calls_of("opencv.rst") if "image" in code]
        assert len(ours) == 3
        for there, here in zip(theirs, ours, strict=True):
            np.testing.assert_allclose(eval(here, names), eval(there, names), atol=1e-5)


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
    maps = pyramid(rng, 3, 4)
    boxes = [boxes_of_an_image(rng, 40), np.empty((0, 4), np.float32), boxes_of_an_image(rng, 7)]
    scales, options = [1 / 4, 1 / 8, 1 / 16, 1 / 32], {"sampling_ratio": 2, "aligned": False}
    pooled = iter(roicy.multi_scale_roi_align(maps, boxes, output_size, spatial_scales=scales, **options))
    seen = set()
    for image, some in enumerate(boxes):
        for box in some:
            area = float(box[2] - box[0]) * float(box[3] - box[1])
            if area < 0:
                level, expected = None, np.zeros((4, *np.broadcast_to(output_size, 2)))
            else:
                # a box of 224 x 224 pixels belongs to level 4, and one of half its side to the one below
                level = 2 + sum(area >= side**2 for side in (112, 224, 448))
                features = maps[level - 2][[image]]
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


def test_pasted_masks_are_zero_outside_of_their_boxes():
    rng = np.random.default_rng(2)
    masks = rng.random((9, 1, 6, 5)).astype(np.float32)
    corners = rng.uniform(-12, 20, (9, 2))
    boxes = np.concatenate([corners, corners + np.exp(rng.uniform(-1, 4, (9, 2)))], axis=1).astype(np.float32)
    pasted = roicy.paste_masks(masks, boxes, (30, 24), threshold=None)
    for mask, box, image in zip(masks[:, 0], boxes, pasted, strict=True):
        left, top = np.maximum(np.floor(box[:2]).astype(int) - 1, 0)
        right, bottom = np.maximum(np.ceil(box[2:]).astype(int) + 1, 0)
        expected = np.zeros((30, 24))
        part = slice(top, bottom), slice(left, right)
        expected[part] = pasted_by_hand(mask, box, 30, 24)[part]
        np.testing.assert_allclose(image, expected, atol=1e-5)


@pytest.mark.parametrize("low, high", [(100, 380), (100, 128), (7, 452)])
def test_a_full_mask_fills_its_box(low, high):
    """From its first pixel to its last one, and nothing beside it; interpolation rounds off its corners."""
    mask = np.ones((1, 1, 28, 28), np.float32)
    (pasted,) = roicy.paste_masks(mask, np.array([[low, low, high, high]], np.float32), (480, 470))
    expected = np.zeros((480, 470), bool)
    expected[low:high, low:high] = True
    assert not (pasted & ~expected).any()
    missing = np.argwhere(expected & ~pasted)
    depth = np.minimum(missing - low, high - 1 - missing)  # pixels from the edges
    assert (depth < (high - low) / 28 / 2).all()
    for line in (pasted[(low + high) // 2], pasted[:, (low + high) // 2]):
        assert np.flatnonzero(line)[[0, -1]].tolist() == [low, high - 1]


# ---------------------------------------------------------------- cirtorch's R-MAC


def regions_of_cirtorch(height, width, scales):
    """Its regions x, y, size, one number at a time, in float32 as PyTorch computes."""
    real = np.float32
    shorter, longer = min(height, width), max(height, width)
    best, more = np.inf, 0
    for steps in range(1, 7):
        distance = (real(1) / real(steps)) * real(longer - shorter)
        share = (real(shorter**2) - real(shorter) * distance) / real(shorter**2)
        if abs(share - real(0.4)) < best:
            best, more = abs(share - real(0.4)), steps
    for scale in range(1, scales + 1):
        size = 2 * shorter // (scale + 1)
        half = real(np.floor(size / 2 - 1))
        starts = {}
        for name, side, is_longer in (("y", height, height > width), ("x", width, width > height)):
            last = scale - 1 + (more if is_longer else 0)
            distance = real((side - size) / last if last else 0)
            starts[name] = [int(np.floor(half + real(i) * distance) - half) for i in range(last + 1)]
        if size:
            yield from ((x, y, size) for y in starts["y"] for x in starts["x"])


def rmac_of_cirtorch(features, scales, eps=1e-6):
    """One image and region at a time, in float64."""
    vectors = []
    for image in features.astype(np.float64):
        height, width = image.shape[1:]
        parts = [
            image,
            *(image[:, y : y + s, x : x + s] for x, y, s in regions_of_cirtorch(height, width, scales)),
        ]
        maxima = [part.max(axis=(1, 2)) for part in parts]
        vectors.append(sum(vector / (np.sqrt((vector**2).sum()) + eps) for vector in maxima))
    return np.array(vectors)


def test_regions_are_cirtorchs():
    """Over all small maps. Those of two maps were asked of cirtorch itself: there Caffe2's are others."""
    cirtorch = program("cirtorch_rmac")
    for height, width in np.ndindex(40, 40):
        for scales in (1, 3):
            whole, *found = cirtorch.regions(height + 1, width + 1, scales).tolist()
            assert whole == [0, 0, width, height]
            expected = regions_of_cirtorch(height + 1, width + 1, scales)
            assert found == [[x, y, x + size - 1, y + size - 1] for x, y, size in expected]
    found = cirtorch.regions(72, 16).tolist()
    assert len(found) == 1 + 50
    assert [0, 62, 9, 71] in found
    assert [6, 62, 15, 71] in found
    assert (
        len(cirtorch.regions(11, 47)) == 1 + 50
    )  # a tie between five and six regions more, but for rounding


@pytest.mark.parametrize(
    "shape", [(1, 2, 1, 1), (2, 16, 20, 31), (3, 5, 72, 16), (1, 8, 11, 47), (2, 3, 7, 7)]
)
@pytest.mark.parametrize("scales", [1, 3, 5])
def test_rmac_is_cirtorchs(shape, scales):
    features = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    found = program("cirtorch_rmac").rmac(features, scales)
    assert found.dtype == np.float32
    expected = rmac_of_cirtorch(features, scales)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6 * np.abs(expected).max())
    zeros = program("cirtorch_rmac").rmac(0 * features, scales)
    assert not zeros.any()
