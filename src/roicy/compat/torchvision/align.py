"""Averages over boxes and their gradient."""

from __future__ import annotations

import roicy
from roicy import _arguments as settle
from roicy._backend import adopt
from roicy._types import Array, Boxes, Flag, InputShape, Integer, OutputSize, Real
from roicy.compat.torchvision.inputs import WORDS, adopted, boxes_of


def roi_align(
    input: Array,
    boxes: Boxes,
    output_size: OutputSize,
    spatial_scale: Real = 1.0,
    sampling_ratio: Integer = -1,
    aligned: Flag = False,
) -> Array:
    """Average each box of a feature map over bins, as torchvision's roi_align.

    Parameters
    ----------
    input : ndarray, shape (N, C, H, W)
        Feature maps.
    boxes : ndarray, shape (R, 5), or sequence of ndarrays, shape (L, 4)
        Rows ``[image, x1, y1, x2, y2]``; or an array of rows ``[x1, y1, x2, y2]`` for each image.
    output_size : int or (int, int)
        Rows and columns of bins (PH, PW).
    spatial_scale : float, optional
        Feature pixels per unit of `boxes`.
    sampling_ratio : int, optional
        Samples per bin along each axis; 0 or less for adaptive.
    aligned : bool, optional
        Whether the centre of pixel ``i`` lies at ``i + 0.5`` (True) or at ``i``.

    Returns
    -------
    ndarray, shape (R, C, PH, PW)
        Pooled features.

    Raises
    ------
    TypeError, ValueError
        As `roicy.roi_align` does, and ValueError for boxes (R, 4) that are no list.

    See Also
    --------
    roicy.roi_align : The same with other defaults, and its conventions.
    roi_align_backward : Its gradient.
    RoIAlign : It with some arguments.

    Notes
    -----
    Kept of torchvision: an array of boxes has five columns; a list of boxes may be shorter than there are
    images.

    Not kept: an image out of range is read from memory there, NaN and infinite coordinates may end the
    process, and both are errors here; ``aligned=True``, adaptive, a box that is reversed along one axis is an
    error there on the CPU, and 0 here; float16 boxes are used in float32 here, and all that is computed of
    them rounded to float16 there.

    Examples
    --------
    >>> import numpy as np
    >>> from roicy.compat import torchvision
    >>> input = np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4)
    >>> boxes = [np.array([[0.5, 0.5, 2.5, 2.5]], np.float32)]
    >>> torchvision.roi_align(input, boxes, 2)[0, 0]
    array([[ 5.,  6.],
           [ 9., 10.]], dtype=float32)
    """
    with WORDS:
        _, input, given = adopted(input, boxes)
        pooled: Array = roicy.roi_align(
            input,
            output_size=output_size,
            spatial_scale=spatial_scale,
            sampling_ratio=sampling_ratio,
            aligned=aligned,
            **given,
        )
        return pooled


def roi_align_backward(
    grad_output: Array,
    boxes: Boxes,
    input_shape: InputShape,
    spatial_scale: Real = 1.0,
    sampling_ratio: Integer = -1,
    aligned: Flag = False,
) -> Array:
    """Gradient of `roi_align` with respect to the features.

    Parameters
    ----------
    grad_output : ndarray, shape (R, C, PH, PW)
        Gradient with respect to the output of `roi_align`.
    boxes : ndarray, shape (R, 5), or sequence of ndarrays, shape (L, 4)
        Boxes, as in `roi_align`.
    input_shape : tuple of 4 ints
        Shape of the features, (N, C, H, W).
    spatial_scale, sampling_ratio, aligned : optional
        As in `roi_align`.

    Returns
    -------
    ndarray, shape `input_shape`
        Gradient with respect to the features, of the dtype of `grad_output`.

    Raises
    ------
    TypeError, ValueError
        As `roi_align` does.

    See Also
    --------
    roi_align : The operator, and what is kept of torchvision.
    roicy.roi_align_backward : The same with other defaults.
    roicy.roi_align_backward_rois : Gradient with respect to the boxes.

    Examples
    --------
    >>> import numpy as np
    >>> from roicy.compat import torchvision
    >>> boxes = np.array([[0, 0, 0, 1, 1]], np.float32)
    >>> torchvision.roi_align_backward(np.ones((1, 1, 1, 1), np.float32), boxes, (1, 1, 3, 3))[0, 0]
    array([[0.25, 0.25, 0.  ],
           [0.25, 0.25, 0.  ],
           [0.  , 0.  , 0.  ]], dtype=float32)
    """
    with WORDS:
        kernels, grad_output, given = adopt(grad_output=grad_output, rois=boxes)
        shape = settle.input_shape(input_shape, "NCHW")
        grad: Array = roicy.roi_align_backward(
            grad_output,
            input_shape=shape,
            spatial_scale=spatial_scale,
            sampling_ratio=sampling_ratio,
            aligned=aligned,
            **boxes_of(kernels.xp, given, shape[0]),
        )
        return grad


class RoIAlign:
    """`roi_align` with some arguments, as torchvision's layer.

    Call it with `input` and `rois`.

    Parameters
    ----------
    output_size, spatial_scale, sampling_ratio, aligned
        As in `roi_align`.

    Examples
    --------
    >>> import numpy as np
    >>> from roicy.compat import torchvision
    >>> pool = torchvision.RoIAlign(2, spatial_scale=0.5, sampling_ratio=2)
    >>> pool(np.ones((1, 8, 10, 10), np.float32), [np.array([[2, 4, 12, 16]], np.float32)]).shape
    (1, 8, 2, 2)
    """

    def __init__(
        self, output_size: OutputSize, spatial_scale: Real, sampling_ratio: Integer, aligned: Flag = False
    ) -> None:
        self.output_size = output_size
        self.spatial_scale = spatial_scale
        self.sampling_ratio = sampling_ratio
        self.aligned: Flag = aligned

    def __call__(self, input: Array, rois: Boxes) -> Array:
        """Pool the boxes.

        Parameters
        ----------
        input : ndarray, shape (N, C, H, W)
            Feature maps.
        rois : ndarray, shape (R, 5), or sequence of ndarrays, shape (L, 4)
            Boxes.

        Returns
        -------
        ndarray, shape (R, C, PH, PW)
            As `roi_align` returns it.
        """
        pooled: Array = roi_align(
            input, rois, self.output_size, self.spatial_scale, self.sampling_ratio, self.aligned
        )
        return pooled

    def __repr__(self) -> str:
        return (
            f"RoIAlign(output_size={self.output_size}, spatial_scale={self.spatial_scale}, "
            f"sampling_ratio={self.sampling_ratio}, aligned={self.aligned})"
        )
