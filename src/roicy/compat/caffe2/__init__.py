"""Caffe2's operators on regions of interest: its names, inputs in its order, its arguments and defaults.

==================================== ==================================================
`RoIAlign`, `RoIAlignGradient`       average over boxes
`RoIAlignRotated`,                   average over rotated boxes
`RoIAlignRotatedGradient`
`RoIPool`, `RoIPoolGradient`         maximum over boxes rounded to pixels
`RMACRegions`                        boxes of R-MAC
`run_operator`                       any of these by name, with a list of inputs
`gradient_operator`                  the name of an operator's gradient
==================================== ==================================================

Inputs are positional, arguments are keywords. Arrays of float32 are what Caffe2 has; those of other dtypes
are treated as `roicy` treats them. `spatial_scale` and `overlap` are rounded to float32, which is what Caffe2
keeps of an argument. Arrays of CuPy run on its device, as elsewhere.
"""

from roicy.compat.caffe2.align import (
    RoIAlign,
    RoIAlignGradient,
    RoIAlignRotated,
    RoIAlignRotatedGradient,
)
from roicy.compat.caffe2.by_name import gradient_operator, run_operator
from roicy.compat.caffe2.pool import RMACRegions, RoIPool, RoIPoolGradient

__all__ = [
    "RMACRegions",
    "RoIAlign",
    "RoIAlignGradient",
    "RoIAlignRotated",
    "RoIAlignRotatedGradient",
    "RoIPool",
    "RoIPoolGradient",
    "gradient_operator",
    "run_operator",
]
