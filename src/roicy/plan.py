"""A plan: where boxes sample maps of one shape, settled once and applied to one map after another."""

import numpy as np

from roicy import _arguments as settle
from roicy._backend import kernels_for


class RoIAlignPlan:
    """RoIAlign of fixed boxes on feature maps of a fixed shape; made by `roicy.roi_align_plan`.

    Call it with a feature map to pool, `backward` and `backward_rois` are the gradients. The functions of
    `roicy.align` are plans that are used once.
    """

    __slots__ = (
        "_geometry",
        "_input_shape",
        "_invalid",
        "_kernels",
        "_layout",
        "_output_shape",
        "_output_size",
        "_rois",
        "_tables",
    )

    def __init__(
        self,
        kernels,
        rois,
        input_shape,
        output_size,
        spatial_scale,
        sampling_ratio,
        aligned,
        mode,
        batch_indices,
        layout,
        invalid,
    ):
        # kernels, input_shape, output_size and layout come settled, the rest as the caller gave it
        settle.mode(mode)
        if layout == "NCHW":
            n, c, h, w = input_shape
        else:
            n, h, w, c = input_shape
        rois = settle.rois(rois, batch_indices, n)
        boxes = rois.boxes
        k = len(boxes)
        rows, columns = output_size
        self._kernels = kernels
        self._rois = rois
        self._layout = layout
        self._input_shape = input_shape
        self._output_size = output_size
        self._output_shape = (k, c, rows, columns) if layout == "NCHW" else (k, rows, columns, c)
        self._invalid = settle.invalid(invalid)
        self._geometry = (
            (n, c, h, w),
            output_size,
            settle.spatial_scale(spatial_scale, boxes.dtype),
            settle.sampling_ratio(sampling_ratio),
            settle.aligned(aligned),
        )
        self._tables = {}

    def __call__(self, features, out=None):
        """Pool a feature map.

        Parameters
        ----------
        features : ndarray, shape `input_shape`
            float16, bfloat16, float32, float64 or uint8, strided as it likes.
        out : ndarray, shape `output_shape`, optional
            Where to write the result; of the result's dtype and without overlap with `features`.

        Returns
        -------
        ndarray, shape `output_shape`
            As `roicy.roi_align` returns it: `out` where that is given.
        """
        kernels = kernels_for(features=features, rois=self._rois.boxes, out=out)
        accumulate, dtype = settle.features(features, self._input_shape)
        out = settle.out(out, self._output_shape, dtype, features, *self._rois.given)
        table = self._table(accumulate, "forward")
        if out.size:
            pooled = settle.written_to(out)
            kernels.separable(table, settle.nchw(features, self._layout), settle.nchw(pooled, self._layout))
            if pooled is not out:
                out[...] = pooled
        return out

    def backward(self, grad_output, out=None):
        """Return the gradient with respect to the feature map.

        Parameters
        ----------
        grad_output : ndarray, shape `output_shape`
            Gradient with respect to what the plan returns; float16, bfloat16, float32 or float64.
        out : ndarray, shape `input_shape`, optional
            Where to write the result; overwritten, not added to.

        Returns
        -------
        ndarray, shape `input_shape`, dtype of `grad_output`
            As `roicy.roi_align_backward` returns it: `out` where that is given.
        """
        kernels = kernels_for(grad_output=grad_output, rois=self._rois.boxes, out=out)
        accumulate, dtype = settle.grad_output(grad_output, self._output_shape)
        out = settle.out(out, self._input_shape, dtype, grad_output, *self._rois.given)
        table = self._table(accumulate, "backward")
        if table is None:
            out[...] = 0
        elif out.size:
            gradient = settle.written_to(out)
            kernels.separable_adjoint(
                table, settle.nchw(grad_output, self._layout), settle.nchw(gradient, self._layout)
            )
            if gradient is not out:
                out[...] = gradient
        return out

    def backward_rois(self, grad_output, features, out=None):
        """Return the gradient with respect to the boxes.

        Parameters
        ----------
        grad_output : ndarray, shape `output_shape`
            Gradient with respect to what the plan returns for `features`, and of the dtype of that.
        features : ndarray, shape `input_shape`
            The feature map that was pooled.
        out : ndarray, optional
            Where to write the result; not where the plan was made from a sequence of arrays.

        Returns
        -------
        ndarray or list of ndarray
            As `roicy.roi_align_backward_rois` returns it: `out` where that is given.
        """
        kernels = kernels_for(grad_output=grad_output, features=features, rois=self._rois.boxes, out=out)
        rois = self._rois
        accumulate, _ = settle.features(features, self._input_shape)
        settle.grad_output_of(features, grad_output, self._output_shape)
        if out is not None and rois.lengths is not None:
            raise ValueError("out must be None for rois that are one array per image: the result is a list")
        out = settle.out(out, rois.boxes.shape, rois.boxes.dtype, grad_output, features, *rois.given)
        table = self._table(accumulate, "backward_rois")
        gradient = np.zeros((len(rois.boxes), 4))
        if table is not None and features.size:
            kernels.separable_box_gradient(
                table, settle.nchw(grad_output, self._layout), settle.nchw(features, self._layout), gradient
            )
        with np.errstate(all="ignore"):  # what float32 cannot hold becomes infinite, never an error half-way
            out[:, -4:] = gradient
        out[:, :-4] = 0  # the batch index has no gradient
        if rois.lengths is None:
            return out
        return np.split(out, np.cumsum(rois.lengths)[:-1]) if rois.lengths else []

    @property
    def input_shape(self):
        """Shape of the feature maps, in the order of `layout`."""
        return self._input_shape

    @property
    def output_size(self):
        """Rows and columns of the output."""
        return self._output_size

    @property
    def output_shape(self):
        """Shape of the output, in the order of `layout`."""
        return self._output_shape

    @property
    def layout(self):
        """Order of the axes, "NCHW" or "NHWC"."""
        return self._layout

    def __repr__(self):
        _, _, spatial_scale, sampling_ratio, aligned = self._geometry
        return (
            f"RoIAlignPlan({len(self._rois.boxes)} rois, input_shape={self._input_shape}, "
            f"output_size={self._output_size}, spatial_scale={spatial_scale}, "
            f"sampling_ratio={sampling_ratio}, aligned={aligned}, layout={self._layout!r})"
        )

    def _keep(self):
        # From here on the caller's arrays may change: the boxes are the plan's own and known to be good.
        self._rois = self._rois.copy()
        self._table("float32", "forward")
        self._rois.given = ()

    def _table(self, accumulate, purpose):
        # Built when first asked for, and before anything is written: this is where invalid rows show.
        if not len(self._rois.boxes):
            return None
        table = self._tables.get((accumulate, purpose))
        if table is None:
            rois = self._rois
            table = self._kernels.axis_table(rois.boxes, rois.images, *self._geometry, accumulate, purpose)
            if table.first_invalid >= 0 and self._invalid == "raise":
                raise rois.invalid_row(table.first_invalid, self._geometry[0][0])
            self._tables[accumulate, purpose] = table
        return table


def roi_align_plan(
    rois,
    input_shape,
    output_size,
    *,
    spatial_scale=1.0,
    sampling_ratio=0,
    aligned=True,
    mode="avg",
    batch_indices=None,
    layout="NCHW",
    invalid="raise",
):
    """Settle once what `roi_align` derives from the boxes, for several feature maps of one shape.

    The tables that say which pixels each bin averages depend on the boxes and on the shape of the map, not on
    its values. A plan keeps them: for the maps of several models or frames, and for the gradients of a pass
    that has been computed. The results are the same, bit for bit, as those of `roi_align`,
    `roi_align_backward` and `roi_align_backward_rois`.

    Parameters
    ----------
    rois : ndarray, shape (K, 5) or (K, 4), or sequence of N ndarrays, shape (L_i, 4)
        Boxes as in `roi_align`. They are copied: changing the array later does not change the plan.
    input_shape : tuple of 4 ints
        Shape of the feature maps, (N, C, H, W) or, with ``layout="NHWC"``, (N, H, W, C).
    output_size : int or (int, int)
        Rows and columns of bins, as in `roi_align`.
    spatial_scale : float, optional
        Feature pixels per unit of `rois`, as in `roi_align`.
    sampling_ratio : int, optional
        Samples per bin and axis, 0 or less for adaptive, as in `roi_align`.
    aligned : bool, optional
        Whether pixel centres lie at half-integer coordinates, as in `roi_align`.
    mode : {"avg"}, optional
        What is made of the samples of a bin.
    batch_indices : ndarray, shape (K,), any integer dtype, optional
        The image of each box, for `rois` of shape (K, 4).
    layout : {"NCHW", "NHWC"}, optional
        Order of the axes of feature maps, of results and of `input_shape`.
    invalid : {"raise", "nan"}, optional
        What to do about rows that no pooling can be done for, as in `roi_align`.

    Returns
    -------
    RoIAlignPlan
        ``plan(features, out=None)`` pools, ``plan.backward(grad_output, out=None)`` and
        ``plan.backward_rois(grad_output, features, out=None)`` are the gradients. Its attributes are
        `input_shape`, `output_size`, `output_shape` and `layout`. A plan can be used by several threads.

    Raises
    ------
    TypeError, ValueError, NotImplementedError
        As `roi_align` does; invalid rows are found when the plan is made.

    See Also
    --------
    roi_align : The function of which this is the part that depends on the boxes.

    Notes
    -----
    The table for pooling float16, bfloat16, float32 and uint8 maps is made with the plan, those for float64
    maps and for the gradients when they are first asked for. All are kept as long as the plan.

    Examples
    --------
    >>> import numpy as np
    >>> import roicy
    >>> rois = np.array([[0, 0, 0, 4, 4]], np.float32)
    >>> plan = roicy.roi_align_plan(rois, (1, 1, 4, 4), 2, sampling_ratio=1)
    >>> plan.output_shape
    (1, 1, 2, 2)
    >>> features = np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4)
    >>> plan(features)[0, 0]
    array([[ 2.5,  4.5],
           [10.5, 12.5]], dtype=float32)
    >>> plan(2 * features)[0, 0]
    array([[ 5.,  9.],
           [21., 25.]], dtype=float32)
    """
    layout = settle.layout(layout)
    plan = RoIAlignPlan(
        kernels_for(rois=rois, batch_indices=batch_indices),
        rois,
        settle.input_shape(input_shape, layout),
        settle.output_size(output_size),
        spatial_scale,
        sampling_ratio,
        aligned,
        mode,
        batch_indices,
        layout,
        invalid,
    )
    plan._keep()
    return plan
