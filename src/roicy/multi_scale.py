"""Plans of boxes on the maps of a pyramid, each pooled from the map of its level or from all of them.

The boxes of a level are a plan of their own (`roicy.plan`), whose tables know which rows they are: kernels
write straight into the result of all boxes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Generic, Literal, overload

import numpy as np

from roicy import _arguments as settle
from roicy import _doubts
from roicy._backend import adopt, put
from roicy._given import Given, Sharing
from roicy._kinds import Kind
from roicy._types import (
    Accumulate,
    AnyArray,
    Array,
    InputShape,
    Invalid,
    Layout,
    Merge,
    Ndarray,
    Out,
    OutputSize,
    Purpose,
    Regions,
    Shape,
    Size,
)
from roicy.level_plan import LevelPlan, shared_out

if TYPE_CHECKING:
    from roicy._protocols import Backend


class MultiScalePlan(Generic[Array]):
    """Boxes on the maps of a pyramid; made by functions such as `roicy.multi_scale_roi_align_plan`.

    Call it with a list of maps to pool; `backward` and `backward_rois` are the gradients.
    """

    __slots__ = (
        "__weakref__",
        "_checked",
        "_input_shapes",
        "_invalid",
        "_kernels",
        "_kind",
        "_layout",
        "_levels",
        "_merge",
        "_nowhere",
        "_options",
        "_output_shape",
        "_plans",
        "_rois",
        "_scales",
        "_windows",
    )

    def __init__(
        self,
        kind: Kind,
        kernels: Backend,
        given: Given,
        sharing: Sharing,
        input_shapes: tuple[Shape, ...],
        output_size: Size,
        options: Sequence[Any],
    ) -> None:
        # arrays, layout, input_shapes and output_size come settled, the rest as the caller gave it
        rois, layout = given.rois, given.layout
        of = images, xp = input_shapes[0][0], kernels.xp
        settled = settle.rois(rois, given.batch_indices, images, xp, kind.numbers)
        self._kind = kind
        self._kernels = kernels
        self._rois = settled
        self._layout: Layout = layout
        self._input_shapes = input_shapes
        self._invalid: Invalid = settle.invalid(given.invalid)
        self._checked = False
        self._merge: Merge = settle.merge(sharing.merge)
        self._scales = settle.spatial_scales(sharing.spatial_scales, settled.boxes.dtype)
        self._windows = settle.windows(sharing.windows, input_shapes, layout)
        shared, self._levels, of_level, self._nowhere = shared_out(
            sharing.levels, self._merge, rois, settled, self._scales, self._invalid == "raise", of
        )
        self._plans: tuple[LevelPlan[Any], ...] = tuple(
            LevelPlan(
                kind,
                kernels,
                Given(shared, None, layout, "nan", window),  # invalid rows are looked for in all of them
                shape,
                output_size,
                (scale, *options),
                (of_level, level),
            )
            for level, (shape, scale, window) in enumerate(
                zip(input_shapes, self._scales, self._windows, strict=True)
            )
        )
        self._options, self._output_shape = tuple(options), self._plans[0].output_shape

    @property
    def input_shapes(self) -> tuple[Shape, ...]:
        """Shapes of the maps, in the order of `layout`."""
        return self._input_shapes

    @property
    def output_size(self) -> Size:
        """Rows and columns of the output."""
        return self._plans[0].output_size

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

    # ------------------------------------------------ the passes, with arrays of the plan's library

    def _pool(self, features: Sequence[Ndarray], out: Ndarray, return_argmax: bool) -> Any:
        kind, kernels, layout = self._kind, self._kernels, self._layout
        if settle.flag("return_argmax", return_argmax) and not kind.argmax:
            raise ValueError(f"return_argmax must be False for {kind.no_argmax}, got True")
        settle.as_many("features", features, len(self._plans))
        accumulate, dtype = settle.pyramid(features, self._input_shapes)
        inputs = (*features, *self._rois.given)
        given, argmax = out is not None, None
        if return_argmax:
            out, argmax = settle.outs(out, self._output_shape, dtype, *inputs, argmax=self._argmax_shape())
        else:
            out = settle.out(out, self._output_shape, dtype, *inputs)
        tables = self._tables(accumulate, "forward")
        if return_argmax:
            for plan, table in zip(self._plans, tables, strict=True):
                plan._check_countable(table)
        if not out.size:
            return out if argmax is None else (out, argmax)
        moved = argmax is not None and kind.argmax == "pixel" and any(self._windows)
        if self._merge == "assigned":
            maps = [settle.nchw(array, layout) for array in features]
            together = kernels.together(tables, "forward", maps[0].shape[1])
            at_once = given and (together is None or moved)
            pooled = settle.written_to(out, at_once)
            chosen = None if argmax is None else settle.written_to(argmax, at_once)
            if together is None:
                self._clear(pooled, chosen)
            kernel: Any = together or kernels
            for table, source in zip(tables, maps, strict=True):
                kind.forward(
                    kernel,
                    table,
                    source,
                    settle.nchw(pooled, layout),
                    None if chosen is None else settle.nchw(chosen, layout),
                )
            if together is not None:
                together.take()
                self._clear(pooled, chosen)
                together.run()
        else:
            chosen = None if argmax is None else settle.written_to(argmax, given)
            pooled = self._sum(features, chosen, tables, accumulate)
        if moved and chosen is not None:
            chosen = settle.argmax_of_maps(chosen, [plan._regions for plan in self._plans])
        if pooled is not out:
            with np.errstate(all="ignore"):
                out[...] = pooled
        if chosen is not argmax and argmax is not None:
            argmax[...] = chosen
        return out if argmax is None else (out, argmax)

    def _sum(
        self,
        features: Sequence[Ndarray],
        chosen: Ndarray | None,
        tables: Sequence[Any],
        accumulate: Accumulate,
    ) -> Ndarray:
        # what is pooled from all maps, added one after the other in the type of sums and not rounded yet
        total, part = (self._kernels.xp.empty(self._output_shape, accumulate) for _ in range(2))
        layout = self._layout
        for level, table in enumerate(tables):
            features_of_level = features[level]
            if features_of_level.dtype.kind != "u":
                features_of_level = features_of_level.astype(accumulate, copy=False)
            self._kind.forward(
                self._kernels,
                table,
                settle.nchw(features_of_level, layout),
                settle.nchw(part if level else total, layout),
                None if chosen is None else settle.nchw(chosen[level], layout),
            )
            if level:
                with np.errstate(all="ignore"):
                    total += part
        return total

    def _clear(self, pooled: Ndarray, chosen: Ndarray | None) -> None:
        # rows that are on no map: zeros, whose bytes are alike in all dtypes
        if self._nowhere is not None:
            put(pooled.view(f"u{pooled.itemsize}"), self._nowhere, 0, self._kernels.xp)
            if chosen is not None:
                put(chosen, self._nowhere, -1, self._kernels.xp)

    def _backward(self, grad_output: Ndarray, argmax: Ndarray, out: Sequence[Ndarray] | None) -> Any:
        spread = self._plans[0]._gradient(self._kind.backward, argmax, self._pooling)
        accumulate, dtype = settle.grad_output(grad_output, self._output_shape)
        settle.few_bins("grad_output", self.output_size)
        argmaxes, inputs = self._settled_argmax(argmax, grad_output)
        if out is not None:
            settle.as_many("out", out, len(self._plans))
        outs = settle.out_of_each(out, self._input_shapes, dtype, *inputs)
        tables = self._tables(accumulate, "backward")
        self._check_argmax(tables, argmaxes)
        given = zip(argmaxes, self._plans, strict=True)
        argmaxes = [plan._argmax_of_part(argmax, self._may_wait()) for argmax, plan in given]
        gradient = settle.nchw(grad_output, self._layout)
        together = None
        if tables[0] is not None:
            together = self._kernels.together(tables, "backward", gradient.shape[1])
        written = [settle.written_to(array, out is not None and together is None) for array in outs]
        kernels: Any = together or self._kernels
        for table, chosen, target in zip(tables, argmaxes, written, strict=True):
            if table is None:
                target[...] = 0
            elif target.size:
                spread(kernels, table, gradient, chosen, settle.nchw(target, self._layout))
        if together is not None:
            together.take()
            together.run()
        for array, target in zip(outs, written, strict=True):
            if target is not array:
                array[...] = target
        return outs

    def _backward_rois(
        self, grad_output: Ndarray, features: Sequence[Ndarray], argmax: Ndarray, out: Ndarray
    ) -> Any:
        rois = self._rois
        slope = self._plans[0]._gradient(self._kind.backward_rois, argmax, self._pooling)
        settle.as_many("features", features, len(self._plans))
        accumulate, _ = settle.pyramid(features, self._input_shapes)
        settle.grad_output_of(features[0], grad_output, self._output_shape)
        settle.few_bins("grad_output", self.output_size)
        argmaxes, inputs = self._settled_argmax(argmax, grad_output, *features)
        rois.check_out(out)
        at_once = out is not None and self._kernels.streams is None
        out = settle.out(out, rois.boxes.shape, rois.boxes.dtype, *inputs)
        tables = self._tables(accumulate, "backward_rois")
        self._check_argmax(tables, argmaxes)
        written = settle.written_to(out, at_once)
        gradient = settle.nchw(grad_output, self._layout)
        total = self._kernels.xp.zeros((len(rois.boxes), rois.columns))
        for level, table in enumerate(tables):
            if table is not None and features[level].size:
                part = self._kernels.xp.zeros(total.shape)
                source = settle.nchw(features[level], self._layout)
                slope(self._kernels, table, gradient, argmaxes[level], source, part)
                with np.errstate(all="ignore"):
                    total += part
        self._kernels.put_rows(total, written)  # a batch index has no gradient
        if written is not out:
            out[...] = written
        return rois.as_given(out)

    # ------------------------------------------------ checks and tables

    @property
    def _pooling(self) -> str:
        return f"multi_scale_{self._kind.operator}"

    def _may_wait(self) -> bool:
        return self._invalid == "raise" or self._kernels.streams is None

    def _argmax_shape(self) -> tuple[int, ...]:
        # one for each box, or where each is pooled from all maps for each of these
        return self._output_shape if self._merge == "assigned" else (len(self._plans), *self._output_shape)

    def _settled_argmax(
        self, argmax: Ndarray, *inputs: Ndarray
    ) -> tuple[Sequence[Ndarray], tuple[Ndarray, ...]]:
        # each map's argmax as the kernels take it, and the arrays that an output must not overlap
        inputs = (*inputs, *self._rois.given)
        if argmax is None:
            return [None] * len(self._plans), inputs
        settle.argmax(argmax, self._argmax_shape())
        if self._merge == "assigned":
            return [settle.nchw(argmax, self._layout)] * len(self._plans), (argmax, *inputs)
        return [settle.nchw(each, self._layout) for each in argmax], (argmax, *inputs)

    def _check_argmax(self, tables: Sequence[Any], argmaxes: Sequence[Ndarray]) -> None:
        find = self._kind.argmax_error
        if find is None or not argmaxes[0].size or not self._may_wait():
            return
        found = [
            find(self._kernels, plan._regions, table, argmax)
            for plan, table, argmax in zip(self._plans, tables, argmaxes, strict=True)
        ]
        if any(found):
            raise settle.argmax_error(min(error for error in found if error), self._layout)

    def _tables(self, accumulate: Accumulate, purpose: Purpose) -> list[Any]:
        # all of them before anything is written
        self._check(purpose)
        return [plan._table(accumulate, purpose) for plan in self._plans]

    def _check(self, purpose: Purpose) -> None:
        # this is where invalid rows show
        if not self._checked and len(self._rois.boxes):
            rois, shape = self._rois, self._plans[0]._regions.input_shape
            everything = Regions(rois.boxes, rois.images, shape, self.output_size, window=self._windows[0])
            if self._invalid == "raise":
                first = self._kernels.image_table(everything).first_invalid
                if first >= 0:
                    raise rois.invalid_row(first, shape[0])
            if purpose == "forward":
                _doubts.warn(self._kernels.doubts(everything, self._scales[0]))
            self._checked = True

    def _keep(self) -> None:
        # From here on the caller's arrays may change: the boxes are the plan's own and known to be good.
        self._check("forward")
        for plan in self._plans:
            plan._keep()
        self._rois.given = ()


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
