"""The CPU backend: what the public functions call once their arguments are settled.

Arrays come shaped (image or RoI, channel, row, column) with any strides: a layout is just strides. Whoever
adds a backend writes a package with the same functions.
"""

import importlib

from roicy.cpu import selection, threads
from roicy.cpu.axis_table import AxisTable
from roicy.cpu.threads import compiler, get_num_threads, openmp, set_num_threads

__all__ = [
    "axis_table",
    "compiler",
    "get_num_threads",
    "level",
    "levels",
    "openmp",
    "separable",
    "separable_adjoint",
    "separable_box_gradient",
    "set_num_threads",
    "threads",
]

#: Up to so many channels, lanes run along rows instead.
FEW_CHANNELS = 4

_level = selection.choose()


def _kernels(name):
    # a module of kernels for each type of accumulation, compiled for the level in use
    return {
        f"float{bits}": importlib.import_module(f"roicy.cpu._{name}_f{bits}_{_level}") for bits in (32, 64)
    }


_separable = _kernels("separable")
_channels_last = _kernels("channels_last")
_crops = _kernels("crops")
_adjoint = _kernels("adjoint")
_box_gradient = _kernels("box_gradient")


def level():
    """Return the name of the CPU level in use."""
    return _level


def levels():
    """Return the names of the CPU levels that could be used here."""
    return selection.available()


def axis_table(
    boxes, images, input_shape, output_size, spatial_scale, sampling_ratio, aligned, accumulate, purpose
):
    """Return the axis tables of the boxes; see `roicy.cpu.axis_table.AxisTable`."""
    return AxisTable(
        boxes,
        images,
        input_shape,
        output_size,
        spatial_scale,
        sampling_ratio,
        aligned,
        accumulate,
        purpose,
        threads.threads_to_enter(),
    )


def separable(table, features, out):
    """Fill `out` with the features pooled under the table."""
    channels = features.shape[1]
    if channels <= FEW_CHANNELS:
        kernels = _crops
    elif features.strides[1] == features.itemsize and features.dtype == table.accumulate:
        kernels = _channels_last
    else:
        kernels = _separable
    kernels[table.accumulate].forward(table, features, out, threads.threads_to_enter())


def separable_adjoint(table, grad_output, grad_features):
    """Fill `grad_features` with the adjoint of the table applied to `grad_output`."""
    _adjoint[table.accumulate].backward(table, grad_output, grad_features, threads.threads_to_enter())


def separable_box_gradient(table, grad_output, features, grad_boxes):
    """Fill `grad_boxes` (K, 4) with the gradient with respect to x1, y1, x2, y2."""
    _box_gradient[table.accumulate].backward_rois(
        table, grad_output, features, grad_boxes, threads.threads_to_enter()
    )
