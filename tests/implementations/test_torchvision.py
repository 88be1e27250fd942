"""`roicy.compat.torchvision`: its names, arguments, defaults and results, beside it where it is installed."""

import inspect

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
    "RoIAlign": ["output_size", "spatial_scale", "sampling_ratio", ("aligned", False)],
    "RoIPool": ["output_size", "spatial_scale"],
}
#: Those of which torchvision has one of that name.
THEIRS = ["roi_align", "roi_pool", "RoIAlign", "RoIPool"]


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


ERRORS = [
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


@pytest.mark.parametrize("name, given", [("RoIAlign", (7, 0.5, 2)), ("RoIPool", ((3, 2), 0.5))])
def test_layers_are_shown_alike(name, given, torchvision):
    assert repr(getattr(ours, name)(*given)) == repr(torchvision.ops(name)(*given))


def by_image(rois):
    """Boxes as a list of the first images."""
    return [rois[rois[:, 0] == image, 1:] for image in range(int(rois[:, 0].max(initial=0)) + 1)]
