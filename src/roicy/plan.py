"""Plans: where boxes sample maps of one shape, settled once and applied to one map after another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, overload

from roicy import _arguments as settle
from roicy._pooling import Pooling, planned
from roicy._types import (
    AngleUnit,
    AnyArray,
    ArgmaxError,
    Array,
    Boxes,
    Flag,
    InputShape,
    Integer,
    Invalid,
    Kernels,
    Layout,
    MaxRule,
    Mode,
    Ndarray,
    Out,
    OutputSize,
    Real,
    Shape,
    Size,
)


class RoIAlignPlan(Pooling[Array]):
    """RoIAlign of fixed boxes on feature maps of a fixed shape; made by `roicy.roi_align_plan`.

    Call it with a feature map to pool, `backward` and `backward_rois` are the gradients. The functions of
    `roicy.align` are plans that are used once.
    """

    __slots__ = ("_geometry", "_max_rule", "_mode")

    def __init__(
        self,
        kernels: Kernels,
        rois: Boxes,
        input_shape: Shape,
        output_size: Size,
        spatial_scale: Real,
        sampling_ratio: Integer,
        aligned: Flag,
        mode: Mode,
        max_rule: MaxRule,
        batch_indices: AnyArray | None,
        layout: Layout,
        invalid: Invalid,
    ) -> None:
        # kernels, input_shape, output_size and layout come settled, the rest as the caller gave it
        self._mode = settle.mode(mode)
        self._max_rule = settle.max_rule(max_rule)
        super().__init__(kernels, rois, input_shape, output_size, batch_indices, layout, invalid)
        self._geometry = (
            self._shape,
            output_size,
            settle.spatial_scale(spatial_scale, self._rois.boxes.dtype),
            settle.sampling_ratio(sampling_ratio),
            settle.flag("aligned", aligned),
        )

    @overload
    def __call__(
        self, features: Array, out: AnyArray | None = None, *, return_argmax: Literal[False] = False
    ) -> Array: ...

    @overload
    def __call__(
        self, features: Array, out: Out = None, *, return_argmax: Literal[True]
    ) -> tuple[Array, Array]: ...

    @overload
    def __call__(
        self, features: Array, out: Out = None, *, return_argmax: bool
    ) -> Array | tuple[Array, Array]: ...

    def __call__(
        self, features: Array, out: Out = None, *, return_argmax: bool = False
    ) -> Array | tuple[Array, Array]:
        """Pool a feature map.

        Parameters
        ----------
        features : ndarray, shape `input_shape`
            float16, bfloat16, float32, float64 or uint8, strided as it likes.
        out : ndarray, shape `output_shape`, or tuple of two, optional
            Where to write the result; of the result's dtype and without overlap with `features`. With
            `return_argmax`, a tuple says where the argmax goes too.
        return_argmax : bool, optional
            For ``mode="max"``: whether to return the chosen samples as well.

        Returns
        -------
        ndarray, shape `output_shape`, or tuple of two
            As `roicy.roi_align` returns it: `out` where that is given.
        """
        if settle.flag("return_argmax", return_argmax):
            if self._mode == "avg":
                raise ValueError(
                    "return_argmax must be False for mode='avg', which chooses no sample, got True"
                )
            if self._max_rule == "onnx":
                raise ValueError("return_argmax must be False for max_rule='onnx', got True")
        pooled: Array | tuple[Array, Array] = self._forward(features, out, return_argmax)
        return pooled

    def backward(
        self, grad_output: Array, out: AnyArray | None = None, *, argmax: AnyArray | None = None
    ) -> Array:
        """Return the gradient with respect to the feature map.

        Parameters
        ----------
        grad_output : ndarray, shape `output_shape`
            Gradient with respect to what the plan returns; float16, bfloat16, float32 or float64.
        out : ndarray, shape `input_shape`, optional
            Where to write the result; overwritten, not added to.
        argmax : ndarray, shape `output_shape`, int32, optional
            For ``mode="max"``: the chosen samples, as the plan returns them.

        Returns
        -------
        ndarray, shape `input_shape`, dtype of `grad_output`
            As `roicy.roi_align_backward` returns it: `out` where that is given.
        """
        self._check_gradient(argmax)
        grad_features: Array = self._backward(grad_output, argmax, out)
        return grad_features

    def backward_rois(
        self,
        grad_output: Array,
        features: AnyArray,
        out: AnyArray | None = None,
        *,
        argmax: AnyArray | None = None,
    ) -> Array | Any:
        """Return the gradient with respect to the boxes.

        Parameters
        ----------
        grad_output : ndarray, shape `output_shape`
            Gradient with respect to what the plan returns for `features`, and of the dtype of that.
        features : ndarray, shape `input_shape`
            The feature map that was pooled.
        out : ndarray, optional
            Where to write the result; not where the plan was made from a sequence of arrays.
        argmax : ndarray, shape `output_shape`, int32, optional
            For ``mode="max"``: the chosen samples, as the plan returns them.

        Returns
        -------
        ndarray or list of ndarray
            As `roicy.roi_align_backward_rois` returns it: `out` where that is given.
        """
        self._check_gradient(argmax)
        grad_rois: Array | Any = self._backward_rois(grad_output, features, argmax, out)
        return grad_rois

    def __repr__(self) -> str:
        _, _, spatial_scale, sampling_ratio, aligned = self._geometry
        mode = "" if self._mode == "avg" else f"mode='max', max_rule={self._max_rule!r}, "
        return (
            f"RoIAlignPlan({len(self._rois.boxes)} rois, input_shape={self._input_shape}, "
            f"output_size={self._output_size}, spatial_scale={spatial_scale}, "
            f"sampling_ratio={sampling_ratio}, aligned={aligned}, {mode}layout={self._layout!r})"
        )

    def _made_of(self) -> tuple[Any, dict[str, Any]]:
        _, _, spatial_scale, sampling_ratio, aligned = self._geometry
        return RoIAlignPlan, {
            **self._boxes_arguments(),
            "spatial_scale": spatial_scale,
            "sampling_ratio": sampling_ratio,
            "aligned": aligned,
            "mode": self._mode,
            "max_rule": self._max_rule,
        }

    def _check_gradient(self, argmax: AnyArray | None) -> None:
        if self._mode == "avg":
            if argmax is not None:
                raise ValueError("argmax must be None for mode='avg', which chooses no sample")
        elif self._max_rule == "onnx":
            raise ValueError("max_rule must be 'bilinear' for a gradient, got 'onnx'")
        elif argmax is None:
            raise ValueError(
                "argmax must be given for mode='max': roi_align returns it with return_argmax=True"
            )

    def _made_for(self, purpose: str) -> str:
        return purpose if self._mode == "avg" else "forward"  # the samples of a maximum serve every purpose

    def _fill(self, accumulate: str, purpose: str) -> Any:
        rois = self._rois
        if self._mode == "avg":
            return self._kernels.axis_table(rois.boxes, rois.images, *self._geometry, accumulate, purpose)
        return self._kernels.grid_table(rois.boxes, rois.images, *self._geometry, accumulate)

    def _pool(self, table: Any, features: Ndarray, out: Ndarray, argmax: Ndarray) -> None:
        if self._mode == "avg":
            self._kernels.axis_forward(table, features, out)
        else:
            self._kernels.grid_forward(table, features, out, argmax, self._max_rule)

    def _argmax_error(self, table: Any, argmax: Ndarray) -> ArgmaxError | None:
        found: ArgmaxError | None = self._kernels.grid_argmax_error(table, argmax)
        return found

    def _spread(self, table: Any, grad_output: Ndarray, argmax: Ndarray, grad_features: Ndarray) -> None:
        if self._mode == "avg":
            self._kernels.axis_backward(table, grad_output, grad_features)
        else:
            self._kernels.grid_backward(table, grad_output, argmax, grad_features)

    def _slope(
        self, table: Any, grad_output: Ndarray, argmax: Ndarray, features: Ndarray, grad_boxes: Ndarray
    ) -> None:
        if self._mode == "avg":
            self._kernels.axis_backward_rois(table, grad_output, features, grad_boxes)
        else:
            self._kernels.grid_backward_rois(table, grad_output, argmax, features, grad_boxes)


class RoIAlignRotatedPlan(Pooling[Array]):
    """RoIAlign of fixed rotated boxes on maps of a fixed shape; made by `roicy.roi_align_rotated_plan`.

    Call it with a feature map to pool, `backward` and `backward_rois` are the gradients. The functions of
    `roicy.rotated` are plans that are used once.
    """

    __slots__ = ("_geometry",)

    def __init__(
        self,
        kernels: Kernels,
        rois: Boxes,
        input_shape: Shape,
        output_size: Size,
        spatial_scale: Real,
        sampling_ratio: Integer,
        aligned: Flag,
        angle_unit: AngleUnit,
        clockwise: Flag,
        batch_indices: AnyArray | None,
        layout: Layout,
        invalid: Invalid,
    ) -> None:
        # kernels, input_shape, output_size and layout come settled, the rest as the caller gave it
        settle.few_bins("output_size", output_size)
        super().__init__(
            kernels, rois, input_shape, output_size, batch_indices, layout, invalid, settle.ROTATED
        )
        self._geometry = (
            self._shape,
            output_size,
            settle.spatial_scale(spatial_scale, self._rois.boxes.dtype),
            settle.rotated_sampling_ratio(sampling_ratio),
            settle.flag("aligned", aligned),
            settle.angle_unit(angle_unit) == "degrees",
            settle.flag("clockwise", clockwise),
        )

    def __call__(self, features: Array, out: AnyArray | None = None) -> Array:
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
            As `roicy.roi_align_rotated` returns it: `out` where that is given.
        """
        pooled: Array = self._forward(features, out, False)
        return pooled

    def backward(self, grad_output: Array, out: AnyArray | None = None) -> Array:
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
            As `roicy.roi_align_rotated_backward` returns it: `out` where that is given.
        """
        grad_features: Array = self._backward(grad_output, None, out)
        return grad_features

    def backward_rois(
        self, grad_output: Array, features: AnyArray, out: AnyArray | None = None
    ) -> Array | Any:
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
            As `roicy.roi_align_rotated_backward_rois` returns it: `out` where that is given.
        """
        grad_rois: Array | Any = self._backward_rois(grad_output, features, None, out)
        return grad_rois

    def __repr__(self) -> str:
        _, _, spatial_scale, sampling_ratio, aligned, degrees, clockwise = self._geometry
        return (
            f"RoIAlignRotatedPlan({len(self._rois.boxes)} rois, input_shape={self._input_shape}, "
            f"output_size={self._output_size}, spatial_scale={spatial_scale}, "
            f"sampling_ratio={sampling_ratio}, aligned={aligned}, "
            f"angle_unit={'degrees' if degrees else 'radians'!r}, clockwise={clockwise}, "
            f"layout={self._layout!r})"
        )

    def _made_of(self) -> tuple[Any, dict[str, Any]]:
        _, _, spatial_scale, sampling_ratio, aligned, degrees, clockwise = self._geometry
        return RoIAlignRotatedPlan, {
            **self._boxes_arguments(),
            "spatial_scale": spatial_scale,
            "sampling_ratio": sampling_ratio,
            "aligned": aligned,
            "angle_unit": "degrees" if degrees else "radians",
            "clockwise": clockwise,
        }

    def _fill(self, accumulate: str, purpose: str) -> Any:
        rois = self._rois
        return self._kernels.sample_table(rois.boxes, rois.images, *self._geometry, accumulate, purpose)

    def _pool(self, table: Any, features: Ndarray, out: Ndarray, _argmax: AnyArray | None) -> None:
        self._kernels.sample_forward(table, features, out)

    def _spread(
        self, table: Any, grad_output: Ndarray, _argmax: AnyArray | None, grad_features: Ndarray
    ) -> None:
        self._kernels.sample_backward(table, grad_output, grad_features)

    def _slope(
        self,
        table: Any,
        grad_output: Ndarray,
        _argmax: AnyArray | None,
        features: Ndarray,
        grad_boxes: Ndarray,
    ) -> None:
        self._kernels.sample_backward_rois(table, grad_output, features, grad_boxes)


def roi_align_plan(
    rois: Array | Sequence[Array],
    input_shape: InputShape,
    output_size: OutputSize,
    *,
    spatial_scale: Real = 1.0,
    sampling_ratio: Integer = 0,
    aligned: Flag = True,
    mode: Mode = "avg",
    max_rule: MaxRule = "bilinear",
    batch_indices: AnyArray | None = None,
    layout: Layout = "NCHW",
    invalid: Invalid = "raise",
) -> RoIAlignPlan[Array]:
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
    mode : {"avg", "max"}, optional
        What is made of the samples of a bin, as in `roi_align`.
    max_rule : {"bilinear", "onnx"}, optional
        For ``mode="max"``: the value of a sample, as in `roi_align`.
    batch_indices : ndarray, shape (K,), any integer dtype, optional
        The image of each box, for `rois` of shape (K, 4).
    layout : {"NCHW", "NHWC"}, optional
        Order of the axes of feature maps, of results and of `input_shape`.
    invalid : {"raise", "nan"}, optional
        What to do about rows that no pooling can be done for, as in `roi_align`.

    Returns
    -------
    RoIAlignPlan
        ``plan(features, out=None, *, return_argmax=False)`` pools,
        ``plan.backward(grad_output, out=None, *, argmax=None)`` and
        ``plan.backward_rois(grad_output, features, out=None, *, argmax=None)`` are the gradients. Its
        attributes are `input_shape`, `output_size`, `output_shape` and `layout`. A plan can be used by
        several threads, copied and pickled.

    Raises
    ------
    TypeError, ValueError
        As `roi_align` does; invalid rows are found when the plan is made.

    See Also
    --------
    roi_align : The function of which this is the part that depends on the boxes.
    roi_align_rotated_plan : The same for rotated boxes.

    Notes
    -----
    The table for pooling float16, bfloat16, float32 and uint8 maps is made with the plan, those for float64
    maps and for the gradients when they are first asked for. All are kept as long as the plan. With
    ``mode="max"`` one table serves pooling and gradients. What is copied or pickled are the boxes and
    options: tables are made again.

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
    plan: RoIAlignPlan[Array] = planned(
        RoIAlignPlan.__new__(RoIAlignPlan),
        RoIAlignPlan,
        rois,
        input_shape,
        output_size,
        batch_indices,
        layout,
        spatial_scale=spatial_scale,
        sampling_ratio=sampling_ratio,
        aligned=aligned,
        mode=mode,
        max_rule=max_rule,
        invalid=invalid,
    )
    return plan


def roi_align_rotated_plan(
    rois: Array | Sequence[Array],
    input_shape: InputShape,
    output_size: OutputSize,
    *,
    spatial_scale: Real = 1.0,
    sampling_ratio: Integer = 0,
    aligned: Flag = True,
    angle_unit: AngleUnit = "degrees",
    clockwise: Flag = False,
    batch_indices: AnyArray | None = None,
    layout: Layout = "NCHW",
    invalid: Invalid = "raise",
) -> RoIAlignRotatedPlan[Array]:
    """Settle once what `roi_align_rotated` derives from the boxes, for several feature maps of one shape.

    The samples of each box and their weights depend on the boxes and on the shape of the map, not on its
    values. A plan keeps them: for the maps of several models or frames, and for the gradients of a pass that
    has been computed. The results are the same, bit for bit, as those of `roi_align_rotated`,
    `roi_align_rotated_backward` and `roi_align_rotated_backward_rois`.

    Parameters
    ----------
    rois : ndarray, shape (K, 6) or (K, 5), or sequence of N ndarrays, shape (L_i, 5)
        Rotated boxes as in `roi_align_rotated`. They are copied: changing the array later does not change
        the plan.
    input_shape : tuple of 4 ints
        Shape of the feature maps, (N, C, H, W) or, with ``layout="NHWC"``, (N, H, W, C).
    output_size : int or (int, int)
        Rows and columns of bins, as in `roi_align_rotated`.
    spatial_scale : float, optional
        Feature pixels per unit of `rois`, as in `roi_align_rotated`.
    sampling_ratio : int, optional
        Samples per bin and axis, 0 or less for adaptive, as in `roi_align_rotated`.
    aligned : bool, optional
        Whether pixel centres lie at half-integer coordinates, as in `roi_align_rotated`.
    angle_unit : {"degrees", "radians"}, optional
        Unit of the angles.
    clockwise : bool, optional
        Whether positive angles turn boxes clockwise.
    batch_indices : ndarray, shape (K,), any integer dtype, optional
        The image of each box, for `rois` of shape (K, 5).
    layout : {"NCHW", "NHWC"}, optional
        Order of the axes of feature maps, of results and of `input_shape`.
    invalid : {"raise", "nan"}, optional
        What to do about rows that no pooling can be done for, as in `roi_align_rotated`.

    Returns
    -------
    RoIAlignRotatedPlan
        ``plan(features, out=None)`` pools, ``plan.backward(grad_output, out=None)`` and
        ``plan.backward_rois(grad_output, features, out=None)`` are the gradients. Its attributes are
        `input_shape`, `output_size`, `output_shape` and `layout`. A plan can be used by several threads,
        copied and pickled.

    Raises
    ------
    TypeError, ValueError
        As `roi_align_rotated` does; invalid rows are found when the plan is made.

    See Also
    --------
    roi_align_rotated : The function of which this is the part that depends on the boxes.
    roi_align_plan : The same for boxes along the axes.

    Notes
    -----
    The table for pooling float16, bfloat16, float32 and uint8 maps is made with the plan, those for float64
    maps and for the gradients when they are first asked for. All are kept as long as the plan. What is copied
    or pickled are the boxes and options: tables are made again.

    Examples
    --------
    >>> import numpy as np
    >>> import roicy
    >>> rois = np.array([[0, 2, 2, 4, 4, 90]], np.float32)
    >>> plan = roicy.roi_align_rotated_plan(rois, (1, 1, 4, 4), 2, sampling_ratio=1)
    >>> plan.output_shape
    (1, 1, 2, 2)
    >>> features = np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4)
    >>> plan(features)[0, 0].round(3)
    array([[10.5,  2.5],
           [12.5,  4.5]], dtype=float32)
    """
    plan: RoIAlignRotatedPlan[Array] = planned(
        RoIAlignRotatedPlan.__new__(RoIAlignRotatedPlan),
        RoIAlignRotatedPlan,
        rois,
        input_shape,
        output_size,
        batch_indices,
        layout,
        spatial_scale=spatial_scale,
        sampling_ratio=sampling_ratio,
        aligned=aligned,
        angle_unit=angle_unit,
        clockwise=clockwise,
        invalid=invalid,
    )
    return plan
