"""Every operator beside the average with its gradients in one call, for tests that ask the same of all."""

import battery
import numpy as np
from strategies import random_values, result_dtype

import roicy

NAMES = ["max", "rotated", "pool"]


def new(shape, dtype):
    return np.full(shape, 7, dtype)


def outputs(name, features, rois, output_size, *, layout="NCHW", take=np.asarray, give=new):
    """The results of an operator and of its gradients, for NCHW features and boxes along the axes.

    Every array of a layout that is passed in goes through `take` before; every result but the gradient of the
    boxes is written to an array that `give` makes of a shape and a dtype.
    """
    real = result_dtype(features.dtype)
    shape = battery.to_layout(features, layout).shape
    bins = (len(rois), features.shape[1], *output_size)
    grad_output = random_values(np.random.default_rng(1), bins, real)
    bins = battery.to_layout(grad_output, layout).shape
    features, grad_output = (
        take(np.ascontiguousarray(battery.to_layout(array, layout))) for array in (features, grad_output)
    )
    out, grad = give(bins, real), give(shape, real)
    options = {"layout": layout, "sampling_ratio": 2}

    if name == "rotated":
        low, high = rois[:, 1:3], rois[:, 3:]
        angles = 40 * np.arange(len(rois))
        rois = np.column_stack([rois[:, 0], (low + high) / 2, high - low, angles]).astype(rois.dtype)
        roicy.roi_align_rotated(features, rois, output_size, out=out, **options)
        roicy.roi_align_rotated_backward(grad_output, rois, shape, out=grad, **options)
        return out, grad, roicy.roi_align_rotated_backward_rois(grad_output, features, rois, **options)

    argmax = give(bins, np.dtype(np.int32))
    if name == "pool":
        options = {"layout": layout}
        roicy.roi_pool(features, rois, output_size, out=(out, argmax), return_argmax=True, **options)
        chosen = take(np.ascontiguousarray(argmax))
        roicy.roi_pool_backward(grad_output, chosen, rois, shape, out=grad, **options)
        return out, argmax, grad

    options["mode"] = "max"
    roicy.roi_align(features, rois, output_size, out=(out, argmax), return_argmax=True, **options)
    options["argmax"] = take(np.ascontiguousarray(argmax))
    roicy.roi_align_backward(grad_output, rois, shape, out=grad, **options)
    return out, argmax, grad, roicy.roi_align_backward_rois(grad_output, features, rois, **options)
