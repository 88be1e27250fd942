"""`roicy.compat.torchvision`: its names, arguments, defaults and results, beside it where it is installed."""

import inspect
import warnings

import numpy as np
import pytest
from closeness import assert_same_bits
from strategies import random_values

import roicy
from implementations.peers_problems import ANY, random_problem
from roicy.compat import torchvision as ours

VALUE = ValueError
ALIGN = [("spatial_scale", 1.0), ("sampling_ratio", -1), ("aligned", False)]
SIGNATURES = {
    "roi_align": ["input", "boxes", "output_size", *ALIGN],
    "roi_align_backward": ["grad_output", "boxes", "input_shape", *ALIGN],
    "roi_pool": ["input", "boxes", "output_size", ("spatial_scale", 1.0), ("return_argmax", False)],
    "roi_pool_backward": ["grad_output", "boxes", "argmax", "input_shape"],
    "ps_roi_align": ["input", "boxes", "output_size", *ALIGN[:2]],
    "ps_roi_align_backward": ["grad_output", "boxes", "input_shape", *ALIGN[:2]],
    "ps_roi_pool": ["input", "boxes", "output_size", ("spatial_scale", 1.0)],
    "ps_roi_pool_backward": ["grad_output", "boxes", "input_shape", ("spatial_scale", 1.0)],
    "RoIAlign": ["output_size", "spatial_scale", "sampling_ratio", ("aligned", False)],
    "RoIPool": ["output_size", "spatial_scale"],
    "PSRoIPool": ["output_size", "spatial_scale"],
    "PSRoIAlign": ["output_size", "spatial_scale", "sampling_ratio"],
    "MultiScaleRoIAlign": [
        *["featmap_names", "output_size", "sampling_ratio"],
        *[("canonical_scale", 224), ("canonical_level", 4)],
    ],
}
#: Those of which torchvision has one of that name.
THEIRS = [name for name in SIGNATURES if not name.endswith("_backward")]


def parameters(function, *, beyond=()):
    found = inspect.signature(function).parameters.values()
    return [p.name if p.default is p.empty else (p.name, p.default) for p in found if p.name not in beyond]


@pytest.mark.parametrize("name", SIGNATURES)
def test_arguments_and_defaults(name):
    assert parameters(getattr(ours, name)) == SIGNATURES[name]


@pytest.mark.parametrize("name", THEIRS)
def test_arguments_and_defaults_are_theirs(name, torchvision):
    assert parameters(getattr(ours, name), beyond=["return_argmax"]) == parameters(torchvision.ops(name))


INPUT = random_values(np.random.default_rng(0), (3, 5, 12, 10), np.dtype("float32"))
BOXES = np.array([[1, 0, 1, 5, 6], [0, 2, 2, 9, 11], [1, 3, 0, 4, 12]], np.float32)
LISTED = [BOXES[1:2, 1:], BOXES[::2, 1:]]
IN_ORDER = np.concatenate([BOXES[1:2], BOXES[::2]])


def test_results_are_those_of_roicy():
    options = {"spatial_scale": 0.7, "sampling_ratio": 2}
    out = ours.roi_align(INPUT, BOXES, (3, 2), 0.7, 2)
    assert_same_bits(out, roicy.roi_align(INPUT, BOXES, (3, 2), aligned=False, **options))
    grad = roicy.roi_align_backward(out, BOXES, INPUT.shape, aligned=False, **options)
    assert_same_bits(ours.roi_align_backward(out, BOXES, INPUT.shape, 0.7, 2), grad)
    out, argmax = ours.roi_pool(INPUT, BOXES, (3, 2), 0.7, return_argmax=True)
    expected, chosen = roicy.roi_pool(INPUT, BOXES, (3, 2), spatial_scale=0.7, return_argmax=True)
    assert_same_bits(out, expected)
    assert_same_bits(argmax, chosen)
    grad = roicy.roi_pool_backward(out, argmax, BOXES, INPUT.shape)
    assert_same_bits(ours.roi_pool_backward(out, BOXES, argmax, INPUT.shape), grad)


@pytest.mark.parametrize("form", [list, tuple])
def test_lists_of_boxes_may_be_shorter(form):
    """One array for each of the first images."""
    listed = form(LISTED)
    assert_same_bits(ours.roi_align(INPUT, listed, 2), ours.roi_align(INPUT, IN_ORDER, 2))
    out, argmax = ours.roi_pool(INPUT, listed, 2, return_argmax=True)
    assert_same_bits(out, ours.roi_pool(INPUT, IN_ORDER, 2))
    grad = ours.roi_align_backward(out, listed, INPUT.shape)
    assert_same_bits(grad, ours.roi_align_backward(out, IN_ORDER, INPUT.shape))
    grad = ours.roi_pool_backward(out, listed, argmax, INPUT.shape)
    assert_same_bits(grad, ours.roi_pool_backward(out, IN_ORDER, argmax, INPUT.shape))
    assert ours.roi_align(INPUT, form([]), 2).shape == (0, 5, 2, 2)


def test_layers():
    layer = ours.RoIAlign((3, 2), 0.5, 2, aligned=True)
    assert_same_bits(layer(INPUT, LISTED), ours.roi_align(INPUT, IN_ORDER, (3, 2), 0.5, 2, True))
    assert repr(layer) == "RoIAlign(output_size=(3, 2), spatial_scale=0.5, sampling_ratio=2, aligned=True)"
    layer = ours.RoIPool(7, 0.5)
    assert_same_bits(layer(INPUT, BOXES), ours.roi_pool(INPUT, BOXES, 7, 0.5))
    assert repr(layer) == "RoIPool(output_size=7, spatial_scale=0.5)"


def test_position_sensitive():
    maps = np.concatenate([INPUT] * 12, axis=1)
    options = {"spatial_scale": 0.7, "sampling_ratio": 2}
    out = ours.ps_roi_align(maps, LISTED, (3, 2), 0.7, 2)
    assert_same_bits(out, roicy.ps_roi_align(maps, IN_ORDER, (3, 2), **options))
    grad = roicy.ps_roi_align_backward(out, IN_ORDER, maps.shape, **options)
    assert_same_bits(ours.ps_roi_align_backward(out, LISTED, maps.shape, 0.7, 2), grad)
    assert_same_bits(ours.PSRoIAlign((3, 2), 0.7, 2)(maps, IN_ORDER), out)


def test_the_last_row_and_column_have_a_gradient_alone():
    """A box over the corner of a map of 6 x 8 pixels, without its own last pixel."""
    maps = np.arange(48.0).reshape(1, 1, 6, 8)
    for boxes in (np.array([[0.0, 5, 3, 8, 6]]), [np.array([[5.0, 3, 8, 6]])]):
        out = ours.ps_roi_pool(maps, boxes, 1)
        assert out[0, 0, 0, 0] == maps[0, 0, 3:5, 5:7].mean()
        grad = ours.ps_roi_pool_backward(np.full_like(out, 9), boxes, maps.shape)
        expected = np.zeros((6, 8))
        expected[3:, 5:] = 1
        np.testing.assert_allclose(grad[0, 0], expected, rtol=1e-14)
        assert_same_bits(ours.PSRoIPool(1, 1.0)(maps, boxes), out)


def pyramid(shapes=(40, 20, 10), channels=5, dtype="float32", seed=0):
    """Maps by their names, of an image of 160 x 200."""
    rng = np.random.default_rng(seed)
    shaped = [(2, channels, rows, rows * 5 // 4) for rows in shapes]
    return {
        f"p{rows}": random_values(rng, shape, np.dtype(dtype))
        for rows, shape in zip(shapes, shaped, strict=True)
    }


MAPS = pyramid()
TALL = [np.array([[0, 0, 110, 110], [9, 9, 60, 80]], np.float32), np.array([[3, 4, 150, 190]], np.float32)]


def test_levels_of_a_pyramid():
    """Of the maps that were named, in the order in which they are given."""
    layer = ours.MultiScaleRoIAlign([*MAPS, "other"], 3, 2)
    assert layer.scales is None
    out = layer({"unused": None, **MAPS}, TALL, [(160, 180), (120, 200)])
    assert layer.scales == [1 / 4, 1 / 8, 1 / 16]
    options = {"spatial_scales": layer.scales, "sampling_ratio": 2, "aligned": False}
    assert_same_bits(out, roicy.multi_scale_roi_align([*MAPS.values()], TALL, 3, **options))
    assert_same_bits(layer(MAPS, TALL, []), out)  # the scales stay
    shapes = {name: array.shape for name, array in MAPS.items()}
    grads = layer.backward(out, TALL, shapes)
    assert list(grads) == list(MAPS)
    expected = roicy.multi_scale_roi_align_backward(out, TALL, [*shapes.values()], **options)
    for grad, other in zip(grads.values(), expected, strict=True):
        assert_same_bits(grad, other)


def test_scales_follow_from_the_rows_alone():
    maps = {"fine": np.ones((1, 2, 40, 100), np.float32), "coarse": np.ones((1, 2, 20, 50), np.float32)}
    layer = ours.MultiScaleRoIAlign(["fine", "coarse"], 2, 2)
    layer(maps, TALL[:1], [(160, 400)])
    assert layer.scales == [1 / 4, 1 / 8]


def test_maps_from_coarse_to_fine_have_no_boxes():
    """The first map's level is above the last one's: no level lies between them."""
    maps = {"coarse": np.ones((1, 2, 10, 12), np.float32), "fine": np.ones((1, 2, 40, 50), np.float32)}
    out = ours.MultiScaleRoIAlign(["coarse", "fine"], 2, 2)(maps, TALL[:1], [(160, 200)])
    assert len(out) == len(TALL[0])
    assert not out.any()


def test_one_map_has_all_boxes():
    layer = ours.MultiScaleRoIAlign(["p10"], (2, 3), 2)
    out = layer(MAPS, TALL[:1], [(160, 200)])
    assert_same_bits(out, ours.roi_align(MAPS["p10"], TALL[:1], (2, 3), 1 / 16, 2))


ERRORS = [
    (
        lambda: ours.MultiScaleRoIAlign(["p1"], 3, 2)(MAPS, TALL, [(160, 200)]),
        r"x must have at least one of \['p1'\], got \['p40', 'p20', 'p10'\]",
    ),
    (lambda: ours.MultiScaleRoIAlign([*MAPS], 3, 2)(MAPS, TALL, []), "image_shapes must have at least one"),
    (
        lambda: ours.MultiScaleRoIAlign([*MAPS], 3, 2).backward(
            np.ones((3, 5, 3, 3)), TALL, {"p40": (1, 5, 4, 4)}
        ),
        "scales must be known",
    ),
    (lambda: ours.ps_roi_align(INPUT, BOXES, 2), r"input must have a multiple of 2 \* 2 channels"),
    (
        lambda: ours.ps_roi_align_backward(np.ones((3, 2, 2, 2)), BOXES, INPUT.shape),
        r"^input_shape must have a multiple of 2 \* 2 channels, .* got 5 in \(3, 5, 12, 10\)",
    ),
    (lambda: ours.roi_align(INPUT, BOXES[:, 1:], 2), r"boxes must have shape \(R, 5\)"),
    (lambda: ours.roi_pool(INPUT[:1], BOXES[:, 1:], 2), r"boxes must have shape \(R, 5\)"),
    (
        lambda: ours.roi_align(INPUT, [*LISTED] * 2, 2),
        "boxes must be one array for each of N = 3 images, got 4",
    ),
    (lambda: ours.roi_align(INPUT, [BOXES], 2), r"boxes\[0\] must have shape \(L, 4\)"),
    (lambda: ours.roi_pool(INPUT[:1], BOXES, 2), "boxes row 0, .* has batch index 1"),
    (lambda: ours.roi_align(INPUT, LISTED, 2, 0.0), "spatial_scale must be finite and greater than 0"),
    (lambda: ours.roi_align(INPUT[0], LISTED, 2), r"input must have 4 axes"),
    (
        lambda: ours.roi_pool_backward(np.ones((3, 5, 2, 2)), BOXES, None, INPUT.shape),
        "argmax must be given",
    ),
]


@pytest.mark.parametrize("call, message", ERRORS)
def test_errors_are_in_its_words(call, message):
    with pytest.raises(VALUE, match=message):
        call()


# ---------------------------------------------------------------- beside torchvision


@pytest.mark.parametrize("listed", [False, True])
@pytest.mark.parametrize("seed", range(12))
def test_roi_align(seed, listed, torchvision, parity):
    """The result, and its gradient, of positional arguments."""
    features, rois, size, options = random_problem(seed, scales=ANY)
    boxes = by_image(rois) if listed else rois
    given = size, options["spatial_scale"], options["sampling_ratio"], options["aligned"]
    out = ours.roi_align(features, boxes, *given)
    grad_output = np.random.default_rng(seed).random(out.shape).astype(out.dtype)
    theirs, their_grad = torchvision.pooled("roi_align", features, boxes, given, grad_output)
    parity.close("compat roi_align: forward", "torchvision", out, theirs)
    if features.dtype == np.float64:  # sums of floats are off by as much as the bound there
        grad = ours.roi_align_backward(grad_output, boxes, features.shape, *given[1:])
        parity.close("compat roi_align: backward", "torchvision", grad, their_grad)


@pytest.mark.parametrize("listed", [False, True])
@pytest.mark.parametrize("seed", range(12))
def test_roi_pool(seed, listed, torchvision, parity):
    features, rois, size, options = random_problem(seed, scales=ANY)
    boxes = by_image(rois) if listed else rois
    given = size, options["spatial_scale"]
    out, argmax = ours.roi_pool(features, boxes, *given, return_argmax=True)
    grad_output = np.random.default_rng(seed).random(out.shape).astype(out.dtype)
    theirs, their_grad = torchvision.pooled("roi_pool", features, boxes, given, grad_output)
    parity.same("compat roi_pool: forward", "torchvision", out, theirs)
    grad = ours.roi_pool_backward(grad_output, boxes, argmax, features.shape)
    parity.same("compat roi_pool: backward", "torchvision", grad, their_grad)


@pytest.mark.parametrize("sampling_ratio", [-1, 2])
@pytest.mark.parametrize("seed", range(12))
def test_ps_roi_align(seed, sampling_ratio, torchvision, parity):
    """A box without width or height is NaN, if its samples are to be as many as it is wide."""
    features, rois, size, options = random_problem(seed, scales=ANY)
    scale = options["spatial_scale"]
    features = np.concatenate([features[:, :2]] * (size[0] * size[1]), axis=1)
    rois[0, 3] = rois[0, 1]
    given = size, scale, sampling_ratio
    out = ours.ps_roi_align(features, rois, *given)
    assert np.isnan(out[0]).all() == (sampling_ratio < 0)
    grad_output = np.random.default_rng(seed).random(out.shape).astype(out.dtype)
    theirs, their_grad = torchvision.pooled("ps_roi_align", features, rois, given, grad_output)
    parity.close("compat ps_roi_align: forward", "torchvision", out, theirs)
    if features.dtype == np.float64:
        grad = ours.ps_roi_align_backward(grad_output, rois, features.shape, *given[1:])
        parity.close("compat ps_roi_align: backward", "torchvision", grad, their_grad)


@pytest.mark.parametrize("listed", [False, True])
@pytest.mark.parametrize("seed", range(12))
def test_ps_roi_pool(seed, listed, torchvision, parity):
    """Of numbers that float32 has: its gradient rounds those of float64 to it."""
    features, rois, size, options = random_problem(seed)
    features = np.concatenate([features[:, :2]] * (size[0] * size[1]), axis=1)
    rois = rois.astype(np.float32).astype(rois.dtype)
    boxes = by_image(rois) if listed else rois
    given = size, options["spatial_scale"]
    out = ours.ps_roi_pool(features, boxes, *given)
    grad_output = np.random.default_rng(seed).random(out.shape).astype(out.dtype)
    theirs, their_grad = torchvision.pooled("ps_roi_pool", features, boxes, given, grad_output)
    parity.close("compat ps_roi_pool: forward", "torchvision", out, theirs)
    grad = ours.ps_roi_pool_backward(grad_output, boxes, features.shape, *given[1:])
    parity.close("compat ps_roi_pool: backward", "torchvision", grad, their_grad)


@pytest.mark.parametrize("names", [["p40", "p20", "p10"], ["p40", "p10"], ["p20"]])
@pytest.mark.parametrize("seed", range(6))
def test_multi_scale_roi_align(seed, names, torchvision, parity):
    """Of maps that leave out a level, too: then boxes are pooled from the next one, or from none."""
    rng = np.random.default_rng(seed)
    maps = pyramid(dtype="float64", seed=seed)
    sides = np.exp(rng.uniform(np.log(5), np.log(600), (30, 2)))
    corners = rng.uniform(-20, 150, (30, 2))
    boxes = np.concatenate([corners, corners + sides], axis=1)
    boxes[:3, 2:] = boxes[:3, :2] + [[224], [112], [448]]  # the first of a level
    boxes[3:5, 2:] = boxes[3:5, :2] + [[0], [-40]]  # no area, and reversed along both axes
    boxes[5, 2] = boxes[5, 0] - 9  # along one: of no level
    listed, more = [boxes[:12], boxes[12:]], {"canonical_scale": 200, "canonical_level": 3 + seed % 2}
    given = names, (3, 2), [0, 2][seed % 2]
    layer = ours.MultiScaleRoIAlign(*given, **more)
    out = layer(maps, listed, [(160, 200), (150, 170)])
    grad_output = rng.random(out.shape)
    call = given, more, maps, listed, [(160, 200), (150, 170)], grad_output
    theirs, their_grads, scales = torchvision.multi_scale_pooled(*call)
    assert layer.scales == scales
    parity.close("compat MultiScaleRoIAlign: forward", "torchvision", out, theirs)
    grads = layer.backward(grad_output, listed, {name: array.shape for name, array in maps.items()})
    for name in names:
        parity.close("compat MultiScaleRoIAlign: backward", "torchvision", grads[name], their_grads[name])


LAYERS = [
    ("RoIAlign", (7, 0.5, 2)),
    ("RoIPool", ((3, 2), 0.5)),
    ("PSRoIAlign", (7, 0.5, -1)),
    ("PSRoIPool", ((3, 2), 0.5)),
    ("MultiScaleRoIAlign", (["0", "1"], 7, 2)),
]


@pytest.mark.parametrize("name, given", LAYERS)
def test_layers_are_shown_alike(name, given, torchvision):
    assert repr(getattr(ours, name)(*given)) == repr(torchvision.ops(name)(*given))


def by_image(rois):
    """Boxes as a list of the first images."""
    return [rois[rois[:, 0] == image, 1:] for image in range(int(rois[:, 0].max(initial=0)) + 1)]


# ---------------------------------------------------------------- masks pasted back


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_pasted_masks(torchvision, seed, dtype):
    """`paste_masks_in_image`, of boxes inside and over the border, some of less than a pixel."""
    rng = np.random.default_rng(seed)
    masks = rng.random((12, 1, 28, 28)).astype(dtype)
    corners = rng.uniform(-20, 65, (12, 2))
    sizes = np.exp(rng.uniform(-1, 4.5, (12, 2)))
    far = np.maximum(corners + sizes, 2)  # one beside the image is an error there
    boxes = np.concatenate([corners, far], axis=1).astype(dtype)
    boxes[::3] = np.round(boxes[::3])
    theirs = torchvision.pasted_masks(masks, boxes, (70, 83))
    ours = roicy.paste_masks(masks, boxes, (70, 83), rule="torchvision", threshold=None)
    np.testing.assert_allclose(ours, theirs[:, 0], rtol=0, atol=2e-6)


@pytest.mark.parametrize("seed", range(4))
def test_pasted_masks_of_detectron2(torchvision, seed):
    """Its formula, with torch's grid_sample: values, and the same decisions away from the threshold."""
    rng = np.random.default_rng(seed)
    masks = rng.random((12, 28, 28)).astype(np.float32)
    corners = rng.uniform(-20, 60, (12, 2))
    boxes = np.concatenate([corners, corners + np.exp(rng.uniform(0, 4.5, (12, 2)))], axis=1)
    boxes = boxes.clip(0, [83, 70, 83, 70]).astype(np.float32)
    boxes = boxes[(boxes[:, 2:] > boxes[:, :2]).all(axis=1)]
    masks = masks[: len(boxes)]
    theirs = torchvision.pasted_masks_of_detectron2(masks, boxes, (70, 83))
    np.testing.assert_allclose(
        roicy.paste_masks(masks, boxes, (70, 83), threshold=None), theirs, rtol=0, atol=2e-5
    )
    decided = np.abs(theirs - 0.5) > 2e-5
    pasted = roicy.paste_masks(masks, boxes, (70, 83))
    np.testing.assert_array_equal(pasted[decided], (theirs >= 0.5)[decided])


def test_run_lengths_are_cocos(parity):
    """pycocotools makes masks of them."""
    parity.needs("pycocotools")
    from pycocotools import mask as coco

    rng = np.random.default_rng(0)
    masks = rng.random((9, 14, 14)).astype(np.float32)
    corners = rng.uniform(-20, 60, (9, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(1, 90, (9, 2))], axis=1).astype(np.float32)
    boxes[0] = -50, -50, 200, 200
    pasted = roicy.paste_masks(masks, boxes, (70, 83))
    runs = roicy.paste_masks(masks, boxes, (70, 83), to="rle")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # how it makes arrays is not NumPy 2's
        decoded = coco.decode(coco.frPyObjects(runs, 70, 83))
    np.testing.assert_array_equal(decoded.transpose(2, 0, 1), pasted)
