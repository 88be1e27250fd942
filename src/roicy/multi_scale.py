"""Plans of boxes on the maps of a pyramid, each pooled from the map of its level or from all of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Generic, Literal, overload

from roicy import _arguments as settle
from roicy._backend import adopt
from roicy._given import Given, Sharing
from roicy._kinds import Kind
from roicy._types import AnyArray, Array, InputShape, Layout, Out, OutputSize, Shape, Size
from roicy.pyramid import Pyramid


class MultiScalePlan(Pyramid, Generic[Array]):
    """Boxes on the maps of a pyramid; made by functions such as `roicy.multi_scale_roi_align_plan`.

    Call it with a list of maps to pool; `backward` and `backward_rois` are the gradients.
    """

    __slots__ = ("__weakref__",)

    @property
    def input_shapes(self) -> tuple[Shape, ...]:
        """Shapes of the maps, in the order of `layout`."""
        return self._input_shapes

    @property
    def output_size(self) -> Size:
        """Rows and columns of the output."""
        return self._output_size

    @property
    def output_shape(self) -> Shape:
        """Shape of the output, in the order of `layout`."""
        return self._output_shape

    @property
    def layout(self) -> Layout:
        """Order of the axes, "NCHW" or "NHWC"."""
        return self._layout

    @overload
    def __call__(
        self, features: Sequence[Array], out: AnyArray | None = None, *, return_argmax: Literal[False] = False
    ) -> Array: ...

    @overload
    def __call__(
        self, features: Sequence[Array], out: Out = None, *, return_argmax: Literal[True]
    ) -> tuple[Array, Array]: ...

    @overload
    def __call__(
        self, features: Sequence[Array], out: Out = None, *, return_argmax: bool
    ) -> Array | tuple[Array, Array]: ...

    def __call__(
        self, features: Sequence[Array], out: Out = None, *, return_argmax: bool = False
    ) -> Array | tuple[Array, Array]:
        """Pool from the maps of a pyramid.

        Parameters
        ----------
        features : list of ndarray, shapes `input_shapes`
            float16, bfloat16, float32, float64, or integers of up to 16 bits or bool, all alike.
        out : ndarray, shape `output_shape`, or tuple of two, optional
            Where to write the result; of the result's dtype and without overlap with `features`. With
            `return_argmax`, a tuple says where the argmax goes too.
        return_argmax : bool, optional
            For a maximum: whether to return what was chosen as well.

        Returns
        -------
        ndarray, shape `output_shape`, or tuple of two
            As the plan's function returns it: `out` where that is given.
        """
        _, out, _, *maps = adopt(out=out, rois=self._rois.boxes, **settle.of_maps("features", features))
        pooled: Array | tuple[Array, Array] = self._pool(maps, out, return_argmax)
        return pooled

    def backward(
        self,
        grad_output: Array,
        out: Sequence[AnyArray] | None = None,
        *,
        argmax: AnyArray | None = None,
    ) -> list[Array]:
        """Return the gradients with respect to the maps.

        Parameters
        ----------
        grad_output : ndarray, shape `output_shape`
            Gradient with respect to what the plan returns; float16, bfloat16, float32 or float64.
        out : list of ndarray, shapes `input_shapes`, optional
            Where to write the result; overwritten, not added to.
        argmax : ndarray, int32, optional
            For a maximum: what was chosen, as the plan returns it.

        Returns
        -------
        list of ndarray, shapes `input_shapes`, dtype of `grad_output`
            As the gradient of the plan's function returns it: the arrays of `out` where that is given.
        """
        _, grad_output, argmax, _, out = adopt(
            grad_output=grad_output,
            argmax=argmax,
            rois=self._rois.boxes,
            out=settle.sequence("out", out, or_none=True),
        )
        grad_features: list[Array] = self._backward(grad_output, argmax, out)
        return grad_features

    def backward_rois(
        self,
        grad_output: Array,
        features: Sequence[AnyArray],
        out: AnyArray | None = None,
        *,
        argmax: AnyArray | None = None,
    ) -> Array | Any:
        """Return the gradient with respect to the boxes.

        Parameters
        ----------
        grad_output : ndarray, shape `output_shape`
            Gradient with respect to what the plan returns for `features`, and of the dtype of that.
        features : list of ndarray, shapes `input_shapes`
            The maps that were pooled from.
        out : ndarray, optional
            Where to write the result; not where the plan was made from a sequence of arrays.
        argmax : ndarray, int32, optional
            For a maximum: what was chosen, as the plan returns it.

        Returns
        -------
        ndarray or list of ndarray
            As the gradient of the plan's function returns it: `out` where that is given.
        """
        _, grad_output, argmax, _, out, *maps = adopt(
            grad_output=grad_output,
            argmax=argmax,
            rois=self._rois.boxes,
            out=out,
            **settle.of_maps("features", features),
        )
        grad_rois: Array | Any = self._backward_rois(grad_output, maps, argmax, out)
        return grad_rois

    def __repr__(self) -> str:
        named = zip(self._kind.options[1:], self._plans[0]._options[1:], strict=False)
        options = "".join(f"{name}={value!r}, " for name, value in named)
        return (
            f"{type(self).__name__}({self._kind.operator}, {len(self._rois.boxes)} rois, "
            f"input_shapes={self._input_shapes}, output_size={self.output_size}, "
            f"spatial_scales={self._scales}, merge={self._merge!r}, {options}layout={self._layout!r}"
            f"{f', windows={self._windows}' if any(self._windows) else ''})"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        # What is copied or pickled are the arguments, as of other plans; levels are those that were found.
        rois = self._rois
        images = rois.images if rois.lengths is None else None
        levels: Any = "torchvision" if self._levels is None else self._levels
        arguments = {
            "given": Given(rois.as_given(rois.boxes), images, self._layout, self._invalid),
            "sharing": Sharing(self._scales, levels, self._merge, self._windows),
            "input_shapes": self._input_shapes,
            "output_size": self.output_size,
            "options": self._options,
        }
        return _made_again, (self._kind, arguments)


def keep(
    kind: Kind,
    given: Given,
    sharing: Sharing,
    input_shapes: Sequence[InputShape],
    output_size: OutputSize,
    options: Sequence[Any],
) -> MultiScalePlan[Any]:
    """Return a plan, with its first tables, of arguments as a caller gives them."""
    given.layout = layout = settle.layout(given.layout)
    kernels, given.rois, given.batch_indices, levels = adopt(
        rois=given.rois, batch_indices=given.batch_indices, levels=settle.no_rule(sharing.levels)
    )
    shapes, size = settle.input_shapes(input_shapes, layout), settle.output_size(output_size)
    settle.as_many_scales("input_shapes", len(shapes), sharing.spatial_scales)
    plan: MultiScalePlan[Any] = MultiScalePlan(
        kind, kernels, given, sharing.adopted(levels), shapes, size, options
    )
    plan._keep()
    return plan


def _made_again(kind: Kind, arguments: dict[str, Any]) -> MultiScalePlan[Any]:
    try:
        return keep(kind, **arguments)
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(
            f"a stored MultiScalePlan must hold the arguments that make one, got others: {error}"
        ) from error
