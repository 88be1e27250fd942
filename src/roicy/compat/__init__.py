"""The operators of other systems, over the same kernels: their names, arguments, defaults and conventions.

============= =================================================================================
`caffe2`      RoIAlign, RoIAlignRotated, RoIPool and their gradients, RMACRegions, and a way to run
              them by name
`mxnet`       ROIPooling, the contributed ROIAlign, an example's maximum ROIAlign, and their gradients
`onnx`        RoiAlign, MaxRoiPool
`tensorflow`  crop_and_resize and its gradients
`torchvision` roi_align, roi_pool, ps_roi_align, ps_roi_pool, MultiScaleRoIAlign; layers, gradients
============= =================================================================================

Not imported by ``import roicy``; ``import roicy.compat`` or ``from roicy.compat import caffe2`` does.
"""

from roicy.compat import caffe2, mxnet, onnx, tensorflow, torchvision

__all__ = ["caffe2", "mxnet", "onnx", "tensorflow", "torchvision"]
