"""Other implementations of position-sensitive pooling, where they are installed."""

import numpy as np
import pytest

import roicy
from implementations import peers_openvino
from implementations.peers_problems import ANY, random_problem
from roicy import _once as once
from roicy._given import Given
from roicy._kinds import POSITION_SENSITIVE_CLIPPED


def with_own_channels(problem, seed):
    """The same with a channel for each bin."""
    bins = int(np.prod(problem.output_size))
    n, c, height, width = problem.features.shape
    shape = n, min(c, 4) * bins, height, width
    features = np.random.default_rng(seed).random(shape).astype(problem.features.dtype)
    return problem._replace(features=features)


@pytest.mark.parametrize("seed", range(30))
def test_align_as_torchvision(seed, torchvision, parity):
    """A box without samples is NaN there."""
    problem = with_own_channels(random_problem(seed, scales=ANY, aligned=True), seed)
    features, rois, output_size, options = problem
    ours = roicy.ps_roi_align(features, rois, output_size, **options)
    grad_output = np.random.default_rng(seed).standard_normal(ours.shape).astype(ours.dtype)
    grad = roicy.ps_roi_align_backward(grad_output, rois, features.shape, **options)
    theirs, their_grad = torchvision.ps_roi_align(problem, grad_output)
    empty = np.isnan(theirs)
    assert not ours[empty].any()
    parity.close("ps_roi_align: forward", "torchvision", ours, np.where(empty, ours.dtype.type(0), theirs))
    parity.close("ps_roi_align: backward", "torchvision", grad, their_grad)


@pytest.mark.parametrize("seed", range(30))
def test_pool_as_torchvision(seed, torchvision, parity):
    """Its boxes are rounded in another way, and the last row and column are left out on the way forward.

    Its gradient rounds numbers of float64 to float32 before: here to those that float32 has.
    """
    problem = with_own_channels(random_problem(seed), seed)
    problem = problem._replace(rois=problem.rois.astype(np.float32).astype(problem.rois.dtype))
    features, rois, output_size, options = problem
    call = POSITION_SENSITIVE_CLIPPED, Given(rois, None, "NCHW", "raise")
    scale = (options["spatial_scale"],)
    ours = once.pool(*call, features, output_size, scale, None)
    grad_output = np.random.default_rng(seed).standard_normal(ours.shape).astype(ours.dtype)
    grad = once.backward(*call, grad_output, features.shape, scale, None)
    theirs, their_grad = torchvision.ps_roi_pool(problem, grad_output)
    parity.close("ps_roi_pool clipped: forward", "torchvision", ours, theirs)
    parity.close("ps_roi_pool clipped: backward", "torchvision", grad, their_grad)


@pytest.mark.parametrize("seed", range(20))
def test_pool_as_openvino(seed, parity):
    """Of as many rows as columns of bins, and of boxes whose ends are not negative halves."""
    parity.needs("openvino")
    problem = random_problem(seed, dtype="float32")._replace(output_size=(3, 3))
    features, rois, output_size, options = with_own_channels(problem, seed)
    rois[:, 3:] = np.maximum(rois[:, 3:], 0)
    scale = options["spatial_scale"]
    ours = roicy.ps_roi_pool(features, rois, output_size, spatial_scale=scale)
    theirs = peers_openvino.psroi_pooling(features, rois, output_size[0], spatial_scale=scale)
    parity.close("ps_roi_pool: forward", "openvino", ours, theirs)


@pytest.mark.parametrize("seed", range(10))
def test_moved_bins_as_openvino(seed, parity):
    """Whose samples begin with the bin, half a step before ours; each bin keeps its own channels."""
    parity.needs("openvino")
    rng = np.random.default_rng(seed)
    size, channels, samples = [(2, 3, 2), (3, 2, 4), (7, 1, 3)][seed % 3]
    features = rng.random((2, channels * size**2, 40, 50), np.float32)
    first, sides = rng.integers(40, 90, (20, 2)), rng.integers(10, 60, (20, 2))
    rois = np.column_stack([rng.integers(2, size=20), first, first + sides - 1]).astype(np.float32)
    offsets = rng.uniform(-1, 1, (20, 2, size, size)).astype(np.float32)
    step = sides / (size * samples)
    boxes = np.column_stack([rois[:, :1], first - step / 2, first + sides - step / 2]).astype(np.float32)
    options = {"spatial_scale": 0.25, "gamma": 0.1}
    ours = roicy.deform_roi_pool(features, boxes, offsets, size, sampling_ratio=samples, **options)
    p, q = np.ogrid[:size, :size]
    ours = ours.reshape(20, channels, size, size, size, size)[:, :, p, q, p, q]
    theirs = peers_openvino.deformable_psroi_pooling(
        features, rois, offsets, size, samples=samples, **options
    )
    parity.close("deform_roi_pool: forward", "openvino", ours, theirs)
