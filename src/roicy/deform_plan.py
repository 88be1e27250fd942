"""Plans of deformable RoI pooling, which have gradients of their own."""

from __future__ import annotations

from typing import Any, Literal

from roicy import _arguments as settle
from roicy._backend import adopt
from roicy._types import AnyArray, Array, Ndarray
from roicy.plan import Plan


class DeformRoIPoolPlan(Plan[Array]):
    """Boxes, offsets and mask on feature maps of one shape; made by `roicy.deform_roi_pool_plan`."""

    __slots__ = ()

    def backward_offsets(self, grad_output: Array, features: AnyArray, out: AnyArray | None = None) -> Array:
        """Return the gradient with respect to the offsets.

        Parameters
        ----------
        grad_output : ndarray, shape `output_shape`
            Gradient with respect to what the plan returns for `features`, and of the dtype of that.
        features : ndarray, shape `input_shape`
            The feature map that was pooled.
        out : ndarray, shape (K, 2, PH, PW), optional
            Where to write the result.

        Returns
        -------
        ndarray, shape (K, 2, PH, PW)
            As `roicy.deform_roi_pool_backward_offsets` returns it: `out` where that is given.
        """
        grad_offsets: Array = self._gradient_of("offsets", grad_output, features, out)
        return grad_offsets

    def backward_mask(self, grad_output: Array, features: AnyArray, out: AnyArray | None = None) -> Array:
        """Return the gradient with respect to the mask.

        Parameters
        ----------
        grad_output : ndarray, shape `output_shape`
            Gradient with respect to what the plan returns for `features`, and of the dtype of that.
        features : ndarray, shape `input_shape`
            The feature map that was pooled.
        out : ndarray, shape of the mask, optional
            Where to write the result.

        Returns
        -------
        ndarray, shape of the mask
            As `roicy.deform_roi_pool_backward_mask` returns it: `out` where that is given.
        """
        grad_mask: Array = self._gradient_of("mask", grad_output, features, out)
        return grad_mask

    def _gradient_of(
        self, of: Literal["offsets", "mask"], grad_output: Array, features: AnyArray, out: AnyArray | None
    ) -> Any:
        _, grad_output, features, _, out = adopt(
            grad_output=grad_output, features=features, rois=self._rois.boxes, out=out
        )
        return self._backward_bins(of, grad_output, features, out)

    def _backward_bins(
        self, of: Literal["offsets", "mask"], grad_output: Ndarray, features: Ndarray, out: Ndarray
    ) -> Any:
        rois, kernels = self._rois, self._kernels
        like = rois.offsets if of == "offsets" else rois.mask
        if like is None:
            raise ValueError(f"{of} must be an array for the gradient with respect to them, got None")
        accumulate, _ = settle.features(features, self._input_shape)
        settle.grad_output_of(features, grad_output, self._output_shape)
        settle.few_bins("grad_output", self.output_size)
        # memory that a kernel writes to as rows is one piece
        at_once = out is not None and (kernels.streams is None or not out.flags.c_contiguous)
        out = settle.out(out, like.shape, like.dtype, grad_output, features, *rois.given)
        table = self._table(accumulate, "backward_offsets" if of == "offsets" else "backward_mask")
        written = settle.written_to(out, at_once)
        numbers = 2 if of == "offsets" else 1
        shape = len(rois.boxes), numbers, *self.output_size
        if table is None or not features.size:
            gradient = kernels.xp.zeros(shape)
        else:
            gradient = kernels.gradient_rows(shape)
            kernels.sample_backward_bins(
                table,
                settle.nchw(grad_output, self._layout),
                settle.nchw(features, self._layout),
                gradient,
            )
        rows = len(rois.boxes), numbers * self.output_size[0] * self.output_size[1]
        kernels.put_rows(gradient.reshape(rows), written.reshape(rows))
        if written is not out:
            out[...] = written
        return out
