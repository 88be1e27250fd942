"""The operators of MNN on the CPU, in float32."""

import MNN.expr as mnn
import numpy as np

MODES = {"avg": mnn.AVEPOOL, "max": mnn.MAXPOOL}


def roi_align(problem, *, mode="avg"):
    features, rois, size, options = problem
    numbers = options["spatial_scale"], options["sampling_ratio"], options["aligned"], MODES[mode]
    return values(mnn.roi_align(blocks(features), variable(rois), *size, *numbers))


def roi_align_backward(problem, grad_output):
    """The gradient of averages with respect to the features."""
    features, rois, size, options = problem
    numbers = options["spatial_scale"], options["sampling_ratio"], options["aligned"], MODES["avg"]
    gradient = mnn.roi_align(blocks(features), variable(rois), *size, *numbers, True, blocks(grad_output))
    return values(gradient)


def roi_pooling(problem):
    features, rois, size, options = problem
    return values(mnn.roi_pooling(blocks(features), variable(rois), *size, options["spatial_scale"]))


def variable(array):
    return mnn.const(np.ascontiguousarray(array), list(array.shape), mnn.NCHW, mnn.float)


def blocks(array):
    """In its own layout, blocks of four channels."""
    return mnn.convert(variable(array), mnn.NC4HW4)


def values(result):
    return np.array(mnn.convert(result, mnn.NCHW).read())
