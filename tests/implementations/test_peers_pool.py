"""Other implementations of RoIPool, R-MAC, crops and a pyramid's pooling, where they are installed."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import reference.pool
from closeness import RELATIVE_BOUND

import roicy
from implementations import peers_onnx, peers_openvino
from implementations.peers_problems import ANY, random_problem

SYSTEMS = Path(__file__).parents[2] / "docs" / "systems"


def pooled(problem):
    """Values and argmax."""
    features, rois, output_size, options = problem
    scale = options["spatial_scale"]
    return roicy.roi_pool(features, rois, output_size, spatial_scale=scale, return_argmax=True)


def signed(problem):
    """The same with features of which half are negative."""
    return problem._replace(features=(problem.features - 0.5).astype(problem.features.dtype))


# ---------------------------------------------------------------- RoIPool


@pytest.mark.parametrize("seed", range(60))
def test_torchvision(seed, torchvision, parity):
    """Values, argmax and gradients."""
    problem = signed(random_problem(seed, scales=ANY))
    values, argmax = pooled(problem)
    grad_output = np.random.default_rng(seed).standard_normal(values.shape).astype(values.dtype)
    grad = roicy.roi_pool_backward(grad_output, argmax, problem.rois, problem.features.shape)
    theirs, their_argmax, their_grad = torchvision.roi_pool(problem, grad_output)
    parity.same("roi_pool: forward", "torchvision", values, theirs)
    parity.same("roi_pool: argmax", "torchvision", argmax, their_argmax)
    parity.same("roi_pool: backward", "torchvision", grad, their_grad)


@pytest.mark.parametrize("seed", range(40))
def test_onnxruntime(seed, parity):
    parity.needs("onnxruntime", "onnx")
    problem = signed(random_problem(seed, dtype="float32"))
    parity.same("roi_pool: forward", "onnxruntime", pooled(problem)[0], peers_onnx.max_roi_pool(problem))


@pytest.mark.parametrize("seed", range(20))
def test_openvino_has_bins_of_whole_numbers(seed, parity):
    """Where float32 has the edges of a bin elsewhere, and there alone, it differs from everyone else."""
    parity.needs("openvino")
    features, rois, _, options = signed(random_problem(seed, dtype="float32"))
    features, rois = np.tile(features[:, :3], (1, 1, 1, 3)), rois * np.array([1, 3, 1, 3, 1], np.float32)
    scale, output_size = options["spatial_scale"], (7, 13)
    theirs = peers_openvino.roi_pooling(features, rois, output_size, spatial_scale=scale)
    ours = roicy.roi_pool(features, rois, output_size, spatial_scale=scale)
    alike = bins_alike(rois, features.shape[2:], output_size, scale)
    per_channel = alike[:, None] & np.ones(ours.shape, bool)
    parity.same("roi_pool: forward", "openvino", ours[per_channel], theirs[per_channel])

    whole = roicy.roi_pool(features, rois, output_size, spatial_scale=scale, rounding="whole")
    parity.same("roi_pool whole: forward", "openvino", whole, theirs)


@pytest.mark.parametrize("mode", ["max", "avg"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_adaptive_pooling_of_whole_maps(mode, dtype, torchvision, parity):
    """Of maps larger and smaller than their bins, some of a size for which floats have other edges."""
    rng = np.random.default_rng(0)
    for shape, size in (((30, 39), (22, 33)), ((7, 12), (7, 49)), ((14, 14), (7, 1)), ((5, 1), (35, 3))):
        features = rng.standard_normal((2, 5, *shape)).astype(dtype)
        grad_output = rng.standard_normal((2, 5, *size)).astype(dtype)
        theirs, their_grad = torchvision.adaptive_pool(features, size, mode, grad_output)
        rois = [np.array([[0, 0, shape[1] - 1, shape[0] - 1]], np.float32)] * 2
        plan = roicy.roi_pool_plan(rois, features.shape, size, mode=mode, rounding="whole")
        argmax = plan(features, return_argmax=True)[1] if mode == "max" else None
        grad = plan.backward(grad_output, argmax=argmax)
        parity.close(f"roi_pool {mode}: forward", "torch adaptive", plan(features), theirs)
        parity.close(f"roi_pool {mode}: backward", "torch adaptive", grad, their_grad)


@pytest.mark.parametrize("edge", [0, 1], ids=["start", "end"])
def test_openvino_has_a_pixel_less_where_float32_rounds_outwards(edge, parity):
    """Pixels are numbered from the other edge, so that the largest one of a bin is the one at this edge."""
    parity.needs("openvino")
    width, bins, wrong = next(found for found in strips() if found[2][edge].any())
    pixels = np.arange(width, dtype=np.float32).reshape(1, 1, 1, width)
    pixels = pixels if edge else pixels[..., ::-1].copy()
    theirs = peers_openvino.roi_pooling(pixels, strip(width), (1, bins))[0, 0, 0]
    ours = roicy.roi_pool(pixels, strip(width), (1, bins))[0, 0, 0]
    np.testing.assert_array_equal(ours, theirs + wrong[edge])


def strips():
    """Widths, numbers of bins, and in which bins the two arithmetics have another start, another end."""
    for width in range(1, 200):
        for bins in range(1, width):
            pairs = zip(*(axis_ranges(strip(width)[0, 1::2], width, bins)), strict=True)
            yield width, bins, np.array([np.not_equal(*pair) for pair in pairs]).T


def strip(width):
    """A box that covers a row of pixels."""
    return np.array([[0, 0, 0, width - 1, 0]], np.float32)


def bins_alike(rois, sides, output_size, scale):
    """Which bins (K, PH, PW) have the same pixels, computed in whole numbers or in float32."""

    def alike(edges, axis):
        pairs = zip(*axis_ranges(edges, sides[axis], output_size[axis], scale), strict=True)
        return np.array([one == other for one, other in pairs])

    return np.array([np.outer(alike(roi[2::2], 0), alike(roi[1::2], 1)) for roi in rois])


def axis_ranges(edges, side, bins, scale=1.0):
    """The ranges of a box's bins along one axis, in whole numbers and in float32."""
    low, high = edges
    both = reference.pool.whole_ranges, reference.pool.rounded_ranges
    return [ranges(low, high, side, bins, scale) for ranges in both]


# ---------------------------------------------------------------- R-MAC


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("seed", range(5))
def test_rmac_over_torchvisions_roi_pool(seed, dtype, torchvision, parity):
    rng = np.random.default_rng(seed)
    shape = rng.integers(1, 4), rng.integers(1, 30), *rng.integers(5, 30, 2)
    features = rng.standard_normal(shape).astype(dtype)
    ours = roicy.rmac(features)
    grad_output = rng.standard_normal(ours.shape).astype(dtype)
    grad = roicy.rmac_backward(grad_output, features)
    theirs, their_grad = torchvision.rmac(features, roicy.rmac_regions(shape), grad_output)
    parity.close("rmac: forward", "torchvision", ours, theirs)
    parity.close("rmac: backward", "torchvision", grad, their_grad)


# ---------------------------------------------------------------- pages of docs/systems


@pytest.fixture
def page():
    """Import a program of the pages."""
    if not SYSTEMS.is_dir():
        pytest.skip("the documentation is not here")

    def load(name):
        spec = importlib.util.spec_from_file_location(name, SYSTEMS / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


@pytest.mark.parametrize("peer", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("seed", range(20))
def test_crop_and_resize(seed, peer, page, parity):
    """TensorFlow's operator, which two others have, and its page's function: alike, but right at a border."""
    rng = np.random.default_rng(seed)
    shape = rng.integers(1, 4), rng.integers(1, 8), *rng.integers(4, 40, 2)
    size = [(1, 1), (7, 7), (3, 5), (1, 9)][seed % 4]
    features, images = rng.random(shape).astype(np.float32), rng.integers(shape[0], size=20)
    boxes = rng.uniform(-0.3, 1.3, (20, 4)).astype(np.float32)  # any of them reversed
    boxes[:5] = rng.choice([0, 1, 0.5], (5, 4))
    if peer == "onnxruntime":
        parity.needs("onnxruntime", "onnx")
        outside = 5.0
        theirs = peers_onnx.crop_and_resize(features, boxes, images, size, outside)
    else:
        parity.needs("openvino")
        outside = 0.0
        rois = np.column_stack([images, boxes[:, [1, 0, 3, 2]]]).astype(np.float32)
        theirs = peers_openvino.roi_pooling(features, rois, size, method="bilinear")
    crop_and_resize = page("crop_and_resize").crop_and_resize
    ours = crop_and_resize(features.transpose(0, 2, 3, 1), boxes, images, size, outside).transpose(0, 3, 1, 2)

    near = [at_the_border(boxes[:, axis], boxes[:, axis + 2], shape[2 + axis], size[axis]) for axis in (0, 1)]
    apart = ~(near[0][:, None, :, None] | near[1][:, None, None, :]) & np.ones(ours.shape, bool)
    last_bits = 2 * float(np.spacing(np.float32(1.3 * max(shape[2:]))))  # of a place, along both axes
    bound = RELATIVE_BOUND["float32"] + last_bits / theirs.max()
    parity.close("crop_and_resize: forward", peer, ours[apart], theirs[apart], bound=bound)
    assert apart[5:].all()


def at_the_border(first, last, side, bins):
    """Which places of an axis (K, bins) are within rounding of the first or the last pixel."""
    steps = np.linspace(0, 1, bins) if bins > 1 else np.array([0.5])
    places = (side - 1) * (first[:, None] + (last - first).astype(np.float64)[:, None] * steps)
    return np.minimum(np.abs(places), np.abs(places - (side - 1))) < 1e-4


# ---------------------------------------------------------------- crops


@pytest.mark.parametrize("size", [(30, 20), (100, 90), (37, 53)])
def test_opencv_resized(size, opencv, parity):
    image = np.random.default_rng(0).random((60, 80, 3)).astype(np.float32)
    whole = np.array([[0, 0, 80, 60]], np.float32)
    ours = roicy.roi_align(image[None], whole, size, sampling_ratio=1, layout="NHWC")[0]
    theirs = opencv.resized(image, size)
    parity.close("roi_align avg: forward", "cv2 resize", ours, theirs, bound=places(image))


@pytest.mark.parametrize("size", [(30, 40), (12, 10), (60, 80)])
def test_opencv_resized_by_means(size, opencv, parity):
    """Adaptive bins of whole pixels have a sample on each of them."""
    image = np.random.default_rng(0).random((60, 80, 3)).astype(np.float32)
    whole = np.array([[0, 0, 80, 60]], np.float32)
    ours = roicy.roi_align(image[None], whole, size, layout="NHWC")[0]
    parity.close("roi_align avg: forward", "cv2 resize", ours, opencv.resized(image, size, whole_pixels=True))


@pytest.mark.parametrize("seed", range(10))
def test_opencv_rectangle(seed, opencv, parity):
    rng = np.random.default_rng(seed)
    image = rng.random((60, 80, 3)).astype(np.float32)
    size = rng.integers(1, 25, 2)
    half = size[::-1] / 2
    centre = rng.uniform(half + 1, [79, 59] - half)
    box = np.concatenate([[0], centre - half, centre + half]).astype(np.float32)
    ours = roicy.roi_align(image[None], box[None], tuple(size), sampling_ratio=1, layout="NHWC")[0]
    theirs = opencv.rectangle(image, centre.tolist(), tuple(size.tolist()))
    parity.close("roi_align avg: forward", "cv2 getRectSubPix", ours, theirs, bound=places(image))


@pytest.mark.parametrize("angle", [0, 30, -135, 90])
@pytest.mark.parametrize("seed", range(5))
def test_opencv_warped(seed, angle, opencv, parity):
    parity.needs("cv2", version=(5, 0))  # before, places had 5 binary digits
    rng = np.random.default_rng(seed)
    image, size = rng.random((60, 80, 3)).astype(np.float32), tuple(rng.integers(1, 50, 2).tolist())
    centre, sides = rng.uniform([30, 25], [50, 35]), rng.uniform(5, 34, 2)
    roi = np.array([[0, *centre, *sides, angle]], np.float32)
    options = {"sampling_ratio": 1, "layout": "NHWC"}
    theirs = opencv.warped(image, centre, sides, angle, size)
    ours = roicy.roi_align_rotated(image[None], roi, size, **options)[0]
    parity.close("roi_align_rotated: forward", "cv2 warpAffine", ours, theirs, bound=places(image))
    if angle == 0:
        box = np.array([[0, *(centre - sides / 2), *(centre + sides / 2)]], np.float32)
        ours = roicy.roi_align(image[None], box, size, **options)[0]
        parity.close("roi_align avg: forward", "cv2 warpAffine", ours, theirs, bound=places(image))


def places(image):
    """A bound: the last bit of a place, along both axes, for pixels that differ by 1 at the most."""
    return 2 * float(np.spacing(np.float32(max(image.shape))))
