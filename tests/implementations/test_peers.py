"""Other implementations of RoIAlign, if they are installed: their results equal ours.

Averages, maxima and rotated boxes, and the gradients of those that have any. How far apart they are is
printed at the end of the run.
"""

import functools

import numpy as np
import pytest
import reference.average
from closeness import RELATIVE_BOUND, assert_close

import roicy
from implementations import peers_onnx, peers_openvino
from implementations.peers_problems import ANY, EXACT, KINDS, Problem, random_problem
from roicy.compat import mxnet

#: What a maximum is called.
RULES = {"avg": "avg", "max": "max, onnx's rule"}
#: In float64, where places of samples go through fractions of the map.
NORMALISED = 1e-13


def pooled(problem, **options):
    return roicy.roi_align(problem.features, problem.rois, problem.output_size, **problem.options, **options)


def gradients(problem, **options):
    """A gradient for the output, and with it those for the features and for the boxes."""
    features, rois, output_size, more = problem
    shape = (len(rois), features.shape[1], *output_size)
    grad_output = np.random.default_rng(len(rois)).standard_normal(shape).astype(features.dtype)
    rotated = "_rotated" * (rois.shape[1] == 6)
    to_features = getattr(roicy, f"roi_align{rotated}_backward")
    to_rois = getattr(roicy, f"roi_align{rotated}_backward_rois")
    return (
        grad_output,
        to_features(grad_output, rois, features.shape, **more, **options),
        to_rois(grad_output, features, rois, **more, **options),
    )


def signed(problem):
    """The same with negative features, too."""
    return problem._replace(features=(problem.features - 0.3).astype(problem.features.dtype))


def samples(problem):
    """How many samples a bin of each box has along x and y, (K, 2); less than none for a negative size."""
    _, rois, output_size, options = problem
    real = rois.dtype.type
    corners = rois[:, 1:] * real(options["spatial_scale"]) - real(0.5 * options["aligned"])
    sizes = np.maximum(corners[:, 2:] - corners[:, :2], -np.inf if options["aligned"] else 1)
    adaptive = np.ceil(sizes / np.array(output_size[::-1], real))
    return np.full_like(adaptive, options["sampling_ratio"]) if options["sampling_ratio"] else adaptive


def places(problem):
    """A bound for samples whose places are computed in another order in float32, of pixels that differ by 1.

    A place may be off by the last bit of a coordinate, along both axes.
    """
    coordinates = problem.rois[:, 1:] * np.float32(problem.options["spatial_scale"])
    return RELATIVE_BOUND["float32"] + 2 * float(np.spacing(np.abs(coordinates).max()))


# ---------------------------------------------------------------- onnx


@pytest.mark.parametrize("name", ["aligned_false", "aligned_true", "mode_max"])
def test_onnx_node_tests(name, parity, monkeypatch):
    parity.needs("onnx")
    features, boxes, images, attributes, expected = peers_onnx.node_test(name, monkeypatch)
    mode = attributes.get("mode", b"avg").decode()
    convention = attributes.get("coordinate_transformation_mode", b"half_pixel").decode()
    assert mode == ("max" if name == "mode_max" else "avg")
    out = roicy.roi_align(
        features,
        boxes,
        (attributes["output_height"], attributes["output_width"]),
        spatial_scale=attributes["spatial_scale"],
        sampling_ratio=attributes["sampling_ratio"],
        aligned=peers_onnx.CONVENTIONS[convention],
        mode=mode,
        max_rule="onnx",
        batch_indices=images,
    )
    assert out.dtype == expected.dtype
    assert np.abs(expected).max() < 1
    # four digits were written down
    parity.close(f"roi_align {RULES[mode]}: forward", "onnx node tests", out, expected, bound=1e-4)


@pytest.mark.parametrize("mode", ["avg", "max"])
@pytest.mark.parametrize("seed", range(10))
def test_onnx_reference_evaluator(seed, mode, parity):
    """By the newest of the operator's versions; for the older ones there is onnxruntime."""
    parity.needs("onnx")
    problem = random_problem(seed, kinds=KINDS[:3])
    features, rois = np.ascontiguousarray(problem.features[:, :2]), problem.rois[:6]
    problem = signed(problem._replace(features=features, rois=rois))
    theirs = peers_onnx.roi_align(peers_onnx.reference, problem, mode=mode, opset=22)
    ours = pooled(problem, mode=mode, max_rule="onnx" if mode == "max" else "bilinear")
    parity.close(f"roi_align {RULES[mode]}: forward", "onnx reference", ours, theirs)


# ---------------------------------------------------------------- onnxruntime


@pytest.mark.parametrize("opset", peers_onnx.OPSETS)
@pytest.mark.parametrize("seed", range(60))
def test_onnxruntime(seed, opset, parity):
    parity.needs("onnxruntime", "onnx")
    # It keeps the scale as float32: only scales that float32 has exactly are comparable in float64.
    problem = random_problem(seed, scales=EXACT, aligned=False if opset == 10 else None)
    theirs = peers_onnx.roi_align(peers_onnx.onnxruntime, problem, opset=opset)
    parity.close("roi_align avg: forward", "onnxruntime", pooled(problem), theirs)


@pytest.mark.parametrize("opset", peers_onnx.OPSETS)
@pytest.mark.parametrize("seed", range(40))
def test_onnxruntime_takes_the_largest_corner(seed, opset, parity):
    """Its maximum is that of single weighted pixels, as in the specification."""
    parity.needs("onnxruntime", "onnx")
    problem = signed(random_problem(seed, scales=EXACT, aligned=False if opset == 10 else None))
    theirs = peers_onnx.roi_align(peers_onnx.onnxruntime, problem, mode="max", opset=opset)
    ours = pooled(problem, mode="max", max_rule="onnx")
    parity.close("roi_align max, onnx's rule: forward", "onnxruntime", ours, theirs)
    assert not np.allclose(pooled(problem, mode="max"), theirs)


def test_onnxruntime_keeps_a_nan_that_comes_first(parity):
    """The first weighted pixel of a bin that is NaN makes it NaN there; here none does."""
    parity.needs("onnxruntime", "onnx")
    features = np.ones((1, 4, 4, 4), np.float32)
    for channel, pixel in enumerate([(0, 0), (0, 1), (1, 0), (2, 2)]):
        features[(0, channel, *pixel)] = np.nan
    options = {"spatial_scale": 1.0, "sampling_ratio": 2, "aligned": True}
    problem = Problem(features, np.array([[0, 0, 0, 4, 4]], np.float32), (1, 1), options)
    theirs = peers_onnx.roi_align(peers_onnx.onnxruntime, problem, mode="max")
    assert np.isnan(theirs[0, :, 0, 0]).tolist() == [True, False, False, False]
    ours = pooled(problem, mode="max", max_rule="onnx")
    np.testing.assert_array_equal(ours[:, 1:], theirs[:, 1:])
    assert np.isfinite(ours).all()


@pytest.mark.parametrize("mode", ["avg", "max"])
@pytest.mark.parametrize("seed", range(10))
def test_onnxruntime_in_half_precision(seed, mode, parity):
    """Computed in float32, as here."""
    parity.needs("onnxruntime", "onnx")
    problem = signed(random_problem(seed, scales=EXACT, dtype="float16"))
    theirs = peers_onnx.roi_align(peers_onnx.onnxruntime, problem, mode=mode)
    ours = pooled(problem, mode=mode, max_rule="onnx" if mode == "max" else "bilinear")
    parity.close(f"roi_align {RULES[mode]}: forward", "onnxruntime", ours, theirs)


# ---------------------------------------------------------------- openvino


@pytest.mark.parametrize("convention", peers_openvino.CONVENTIONS)
@pytest.mark.parametrize("seed", range(10))
def test_openvino(seed, convention, parity):
    parity.needs("openvino")
    problem, here = in_convention(convention, seed)
    theirs = peers_openvino.roi_align(problem, convention=convention)
    ours, empty = pooled(here), (samples(here) == 0).any(axis=1)
    # it divides nothing by nothing
    assert np.isnan(theirs[empty]).all()
    assert not ours[empty].any()
    parity.close("roi_align avg: forward", "openvino", ours[~empty], theirs[~empty])


@pytest.mark.parametrize("convention", peers_openvino.CONVENTIONS)
@pytest.mark.parametrize("seed", range(10))
def test_openvino_takes_the_largest_sample_or_zero(seed, convention, parity):
    parity.needs("openvino")
    problem, here = map(signed, in_convention(convention, seed))
    theirs = peers_openvino.roi_align(problem, convention=convention, mode="max")
    ours = np.maximum(pooled(here, mode="max"), 0)
    bound = places(here) / theirs.max()
    parity.close("roi_align max: forward", "openvino", ours, theirs, bound=bound)


@pytest.mark.parametrize("seed", range(5))
def test_openvino_before_it_had_conventions(seed, parity):
    parity.needs("openvino")
    problem = random_problem(seed, dtype="float32", aligned=False)
    parity.close(
        "roi_align avg: forward", "openvino", pooled(problem), peers_openvino.roi_align_before(problem)
    )


def in_convention(convention, seed):
    """A problem as it is there, and with the boxes that it has here."""
    aligned, shift = peers_openvino.CONVENTIONS[convention]
    problem = random_problem(seed, dtype="float32", aligned=aligned)
    rois = problem.rois + np.array([0, shift, shift, shift, shift], np.float32)
    return problem, problem._replace(rois=rois)


@pytest.mark.parametrize("clockwise", [False, True])
@pytest.mark.parametrize("seed", range(10))
def test_openvino_rotated(seed, clockwise, parity):
    """Angles in radians."""
    parity.needs("openvino")
    features, rois, output_size, options = rotated(random_problem(seed, dtype="float32", aligned=True))
    del options["aligned"]
    images, boxes = rois[:, 0].astype(int), np.ascontiguousarray(rois[:, 1:])
    theirs = peers_openvino.roi_align_rotated(
        features, boxes, images, output_size, clockwise=clockwise, **options
    )
    ours = roicy.roi_align_rotated(
        features,
        boxes,
        output_size,
        angle_unit="radians",
        clockwise=clockwise,
        batch_indices=images,
        **options,
    )
    parity.close("roi_align_rotated: forward", "openvino", ours, theirs)


def rotated(problem):
    """The problem with rows [image, cx, cy, w, h, angle] of the same centres and sizes, turned by radians."""
    rois = problem.rois
    angles = np.random.default_rng(len(rois)).uniform(-4, 4, len(rois))
    first, second = rois[:, 1:3], rois[:, 3:]
    sizes = np.abs(second - first)
    boxes = np.column_stack([rois[:, 0], (first + second) / 2, sizes, angles]).astype(rois.dtype)
    return problem._replace(rois=boxes)


# ---------------------------------------------------------------- torchvision


@pytest.mark.parametrize("seed", range(60))
def test_torchvision(seed, torchvision, parity):
    problem = random_problem(seed, scales=ANY)
    ours = pooled(problem)
    grad_output, grad, _ = gradients(problem)
    theirs, their_grad = torchvision.roi_align(problem, grad_output)
    parity.close("roi_align avg: forward", "torchvision", ours, theirs)
    # In float32 its sums run over single samples, hundreds on a pixel, and are off by more than ours may be.
    # Which samples there are can be compared nevertheless; ours are held to the reference, with float64 sums.
    single = grad.dtype == np.float32
    parity.close("roi_align avg: backward", "torchvision", grad, their_grad, bound=2e-5 if single else None)
    if single:
        features, rois, _, options = problem
        assert_close(grad, reference.average.roi_align_backward(grad_output, rois, features.shape, **options))


@pytest.mark.parametrize("seed", range(30))
def test_torchvision_position_sensitive(seed, torchvision, parity):
    """`roicy.compat.mxnet` has it; a box of no size is an error there."""
    problem = random_problem(seed, scales=ANY, aligned=True, kinds=["mixed", "huge", "borders"])
    rois = problem.rois[(problem.rois[:, 3:] - problem.rois[:, 1:3] > 1e-2).all(axis=1)]
    features = np.repeat(problem.features, problem.output_size[0] * problem.output_size[1], axis=1)
    features *= np.random.default_rng(seed).random((1, features.shape[1], 1, 1)).astype(features.dtype)
    problem = problem._replace(features=features, rois=rois)
    options = {
        "spatial_scale": problem.options["spatial_scale"],
        "sample_ratio": problem.options["sampling_ratio"],
        "position_sensitive": True,
        "aligned": True,
    }
    ours = mxnet.ROIAlign(features, rois, problem.output_size, **options)
    grad_output = np.random.default_rng(seed).standard_normal(ours.shape).astype(ours.dtype)
    grad = mxnet.ROIAlign_backward(grad_output, rois, features.shape, **options)
    theirs, their_grad = torchvision.ps_roi_align(problem, grad_output)
    parity.close("roi_align position-sensitive: forward", "torchvision", ours, theirs)
    parity.close("roi_align position-sensitive: backward", "torchvision", grad, their_grad)


@pytest.mark.parametrize("mode", ["avg", "max"])
@pytest.mark.parametrize("seed", range(10))
def test_grid_sample(seed, mode, torchvision, parity):
    """RoIAlign of samples that torch takes, with the gradients that it derives, for the boxes, too."""
    compare_with_grid_sample(smooth_problem(seed), f"roi_align {mode}", mode, torchvision, parity)


@pytest.mark.parametrize("seed", range(10))
def test_grid_sample_rotated(seed, torchvision, parity):
    problem = smooth_problem(seed)
    turned = rotated(problem)
    turned.rois[:, 5] *= 180 / np.pi
    compare_with_grid_sample(turned, "roi_align_rotated", "avg", torchvision, parity)


def smooth_problem(seed):
    """Samples between pixels, where a sample has a slope, and boxes that have a size."""
    return signed(random_problem(seed, scales=ANY, dtype="float64", kinds=["smooth", "huge"]))


def compare_with_grid_sample(problem, name, mode, torchvision, parity):
    features, rois, output_size, options = problem
    if rois.shape[1] == 6:
        ours, more = roicy.roi_align_rotated(features, rois, output_size, **options), {}
    elif mode == "avg":
        ours, more = pooled(problem), {}
    else:
        ours, argmax = pooled(problem, mode="max", return_argmax=True)
        more = {"mode": "max", "argmax": argmax}
    grad_output, grad, grad_rois = gradients(problem, **more)
    theirs, their_grad, their_grad_rois = torchvision.sampled(problem, grad_output, mode=mode)
    parity.close(f"{name}: forward", "torch grid_sample", ours, theirs, bound=NORMALISED)
    parity.close(f"{name}: backward", "torch grid_sample", grad, their_grad, bound=NORMALISED)
    parity.close(f"{name}: box gradient", "torch grid_sample", grad_rois, their_grad_rois, bound=NORMALISED)


# ---------------------------------------------------------------- opencv


@pytest.mark.parametrize("mode", ["avg", "max"])
@pytest.mark.parametrize("seed", range(20))
def test_opencv_network(seed, mode, opencv, parity):
    """Its layer has one maximum, that of ONNX."""
    parity.needs("cv2", "onnx", version=(5, 0))
    problem = signed(random_problem(seed, dtype="float32"))
    theirs = opencv.roi_align(problem, mode=mode)
    rule = {"mode": mode, "max_rule": "onnx" if mode == "max" else "bilinear"}
    some = (samples(problem) > 0).all(axis=1)
    name = f"roi_align {RULES[mode]}: forward"
    bound = places(problem) / np.abs(theirs).max() if mode == "max" else None
    parity.close(name, "cv2 dnn", pooled(problem, **rule)[some], theirs[some], bound=bound)

    # where there is none here, it takes one, along either axis
    single = ~some & (samples(problem) <= 1).all(axis=1)
    alone = problem._replace(rois=problem.rois[single], options=problem.options | {"sampling_ratio": 1})
    parity.close(name, "cv2 dnn", pooled(alone, **rule), theirs[single], bound=bound)


# ---------------------------------------------------------------- where there are no numbers to compare


@pytest.mark.parametrize("peer", ["onnxruntime", "torchvision"])
def test_a_box_reversed_along_one_axis_is_zero_here_and_an_error_there(peer, parity, request):
    """Where the number of samples follows the size; reversed along both axes it is zero everywhere.

    OpenVINO is not asked: with one thread it does not notice the error, and reads what is not its own.
    """
    features = np.random.default_rng(0).random((1, 2, 8, 9)).astype(np.float32)
    options = {"spatial_scale": 1.0, "sampling_ratio": 0, "aligned": True}
    both, one = (
        Problem(features, np.array([[0, *box]], np.float32), (2, 2), options)
        for box in ([5, 6, 2, 2], [5, 2, 2, 6])
    )
    if peer == "torchvision":
        call = request.getfixturevalue("torchvision").roi_align
    else:
        parity.needs("onnxruntime", "onnx")
        call = functools.partial(peers_onnx.roi_align, peers_onnx.onnxruntime)
    parity.same("roi_align avg: forward", peer, pooled(both), call(both))
    assert not pooled(both).any()
    assert not pooled(one).any()
    with pytest.raises(Exception, match=r"overflow|max_size"):
        call(one)
