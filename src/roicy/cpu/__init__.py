"""The CPU backend: what the public functions call once their arguments are settled.

Arrays come shaped (image or RoI, channel, row, column) with any strides: a layout is just strides. Whoever
adds a backend writes a package with the same functions.
"""

import importlib

from roicy.cpu import selection, threads
from roicy.cpu.axis_table import AxisTable
from roicy.cpu.threads import compiler, get_num_threads, openmp, set_num_threads

_level = selection.choose()
_separable = {
    "float32": importlib.import_module(f"roicy.cpu._separable_f32_{_level}"),
    "float64": importlib.import_module(f"roicy.cpu._separable_f64_{_level}"),
}


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
    _separable["float64" if table.double else "float32"].forward(
        table, features, out, threads.threads_to_enter()
    )
