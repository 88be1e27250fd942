"""MNN's RoIAlign and RoIPool, where it is installed."""

import numpy as np
import pytest

import roicy
from implementations.peers_problems import random_problem
from implementations.test_peers import places, pooled, samples, signed


@pytest.fixture
def mnn(parity):
    parity.needs("MNN")
    from implementations import peers_mnn

    return peers_mnn


def without_empty_boxes(problem):
    """Without those that have no samples, of which it takes the mean and the largest all the same."""
    return problem._replace(rois=problem.rois[(samples(problem) > 0).all(axis=1)])


@pytest.mark.parametrize("seed", range(20))
def test_roi_align(seed, mnn, parity):
    problem = without_empty_boxes(random_problem(seed, dtype="float32"))
    parity.close("roi_align avg: forward", "MNN", pooled(problem), mnn.roi_align(problem))
    shape = len(problem.rois), problem.features.shape[1], *problem.output_size
    grad_output = np.random.default_rng(seed).random(shape, np.float32)
    ours = roicy.roi_align_backward(grad_output, problem.rois, problem.features.shape, **problem.options)
    parity.close("roi_align avg: backward", "MNN", ours, mnn.roi_align_backward(problem, grad_output))


@pytest.mark.parametrize("seed", range(20))
def test_the_largest_sample(seed, mnn, parity):
    problem = signed(without_empty_boxes(random_problem(seed, dtype="float32")))
    theirs, bound = mnn.roi_align(problem, mode="max"), places(problem)
    parity.close(
        "roi_align max: forward", "MNN", pooled(problem, mode="max"), theirs, bound=bound / theirs.max()
    )


@pytest.mark.parametrize("seed", range(20))
def test_roi_pool(seed, mnn, parity):
    """In as many bins as float32 divides by exactly: it finds their edges in an order of its own."""
    problem = random_problem(seed, dtype="float32")._replace(output_size=(2, 8))
    features, rois, output_size, options = problem
    ours = roicy.roi_pool(features, rois, output_size, spatial_scale=options["spatial_scale"])
    parity.same("roi_pool: forward", "MNN", ours, mnn.roi_pooling(problem))
