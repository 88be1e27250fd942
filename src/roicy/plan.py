"""Plans: boxes on maps of one shape, settled once and applied to one map after another.

The functions of all operators make a plan and use it once (`roicy._once`), or return it (`keep`). Each call
checks its arrays, gets a table, and only then writes. The plan's `roicy._kinds.Kind` says how to fill the
table and which kernels apply it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, cast, overload

import numpy as np

from roicy import _arguments as settle
from roicy import _doubts
from roicy._backend import adopt, adopted
from roicy._given import Given
from roicy._kinds import Kind, Settled, settled_kind
from roicy._types import (
    Accumulate,
    AnyArray,
    Array,
    InputShape,
    Layout,
    Ndarray,
    Out,
    OutputSize,
    Purpose,
    Regions,
    Shape,
    Size,
)

if TYPE_CHECKING:
    from roicy._protocols import Backend, Table

#: Arrays of the calls of a plan.
_CALLED = "features", "rois", "out"
_BACK = "grad_output", "argmax", "rois", "out"
_BACK_TO_ROIS = "grad_output", "features", "argmax", "rois", "out"


class Plan(Generic[Array]):
    """Boxes on feature maps of one shape; made by functions such as `roicy.roi_pool_plan`.

    Call it with a feature map to pool; `backward` and `backward_rois` are the gradients.
    """

    __slots__ = (
        "__weakref__",
        "_captured",
        "_events",
        "_input_shape",
        "_invalid",
        "_kept",
        "_kernels",
        "_kind",
        "_layout",
        "_looked_at",
        "_options",
        "_output_shape",
        "_regions",
        "_rois",
        "_settled",
        "_tables",
        "_window",
    )
    _window_name = "window"

    def __init__(
        self,
        kind: Kind,
        kernels: Backend,
        given: Given,
        input_shape: Shape,
        output_size: Size,
        options: Sequence[Any],
        of_level: tuple[Ndarray | None, int, bool] = (None, 0, False),
        *,
        lent: bool = False,
        known: Settled | None = None,
    ) -> None:
        # arrays, layout, input_shape and output_size come settled, the rest as the caller gave it or as it is
        # `known`; boxes of a pyramid are settled, too, and come with their levels and that of this plan
        settled: Any = given.rois
        offsets, mask, window = given.offsets, given.mask, given.window
        self._looked_at: bool = isinstance(settled, settle.Rois)  # by a plan of several maps
        if not self._looked_at:
            n = input_shape[0]
            settled = settle.rois(settled, given.batch_indices, n, kernels.xp, kind.numbers, lent)
        if offsets is not None or mask is not None:
            settled.put_bins(offsets, mask, output_size, lent)
        boxes, offsets, mask, (levels, level, apart) = settled.boxes, settled.offsets, settled.mask, of_level
        if known is None:
            shapes = given.layout, input_shape, output_size
            known = settled_kind(kind, *shapes, boxes.dtype, given.invalid, *options)
        self._settled = known
        self._layout, self._input_shape, _, planes, of_box, self._invalid, self._options = known
        self._output_shape: Shape = len(boxes), of_box[0], of_box[1], of_box[2]
        self._kind, self._kernels, self._rois = kind, kernels, settled
        self._window = window = None if window is None else settle.window(window, input_shape, known[0])
        own = offsets, mask, window, apart, settled.alone
        self._regions = Regions(boxes, settled.images, planes, output_size, levels, level, *own)
        self._tables: dict[tuple[Accumulate, Purpose], Table] = {}
        self._kept = False
        self._captured: tuple[Table, ...] = ()  # tables that are parts of CUDA graphs
        self._events: Any = ()  # when other streams may use what this one made of the plan

    @property
    def input_shape(self) -> Shape:
        """Shape of the feature maps, in the order of `layout`."""
        return self._input_shape

    @property
    def output_size(self) -> Size:
        """Rows and columns of the output."""
        return self._regions.output_size

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
            float16, bfloat16, float32, float64, or integers of up to 16 bits or bool, strided.
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
        _, features, _, out = adopted(_CALLED, features, self._rois.boxes, out)
        pooled: Array | tuple[Array, Array] = self._pool(features, out, return_argmax)
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
            For a maximum: what was chosen, as the plan returns it.

        Returns
        -------
        ndarray, shape `input_shape`, dtype of `grad_output`
            As the gradient of the plan's function returns it: `out` where that is given.
        """
        _, grad_output, argmax, _, out = adopted(_BACK, grad_output, argmax, self._rois.boxes, out)
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
            For a maximum: what was chosen, as the plan returns it.

        Returns
        -------
        ndarray or list of ndarray
            As the gradient of the plan's function returns it: `out` where that is given.
        """
        _, grad_output, features, argmax, _, out = adopted(
            _BACK_TO_ROIS, grad_output, features, argmax, self._rois.boxes, out
        )
        grad_rois: Array | Any = self._backward_rois(grad_output, features, argmax, out)
        return grad_rois

    def __repr__(self) -> str:
        named = zip(self._kind.options, self._options, strict=False)
        options = "".join(f"{name}={value!r}, " for name, value in named)
        return (
            f"{type(self).__name__}({self._kind.operator}, {len(self._rois.boxes)} rois, "
            f"input_shape={self._input_shape}, output_size={self.output_size}, {options}{self._kind.words}"
            f"layout={self._layout!r}{'' if self._window is None else f', window={self._window}'})"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        # Copies and pickles contain the arguments only; the copy fills its tables again when it is used.
        attributes, slots = cast(Any, object.__getstate__(self))
        own = {
            name
            for kind in type(self).__mro__
            if kind.__module__.startswith("roicy.")
            for name in vars(kind).get("__slots__", ())
        }
        slots = {name: value for name, value in slots.items() if name not in own}
        state = (attributes, slots) if attributes or slots else None  # a subclass may have some
        rois = self._rois
        arguments = {
            "rois": rois.as_given(rois.boxes),
            "batch_indices": rois.images if rois.lengths is None else None,
            "layout": self._layout,
            "invalid": self._invalid,
            "input_shape": self._input_shape,
            "output_size": self.output_size,
            "options": tuple(self._options)[: len(self._kind.options)],
            "offsets": rois.offsets,
            "mask": rois.mask,
            "window": self._window,
        }
        return _made_again, (type(self), self._kind, arguments), state

    # ------------------------------------------------ the passes, with arrays of the plan's library

    def _pool(self, features: Ndarray, out: Ndarray, return_argmax: bool) -> Any:
        kind = self._kind
        if return_argmax is not False and settle.flag("return_argmax", return_argmax) and not kind.argmax:
            raise ValueError(f"return_argmax must be False for {kind.no_argmax}, got True")
        accumulate, dtype = settle.features(features, self._input_shape)
        given = out is not None
        argmax = None
        if return_argmax:
            out, argmax = settle.outs(out, self._output_shape, dtype, features, *self._rois.given)
        elif given:
            out = settle.out(out, self._output_shape, dtype, features, *self._rois.given)
        else:
            out = settle.new("out", self._output_shape, dtype, self._kernels.xp)
        table = self._table(accumulate, "forward")
        if return_argmax and table is not None:
            self._check_countable(table)
        if table is not None and out.size:
            layout = self._layout
            moved = argmax is not None and kind.argmax == "pixel" and self._window is not None
            at_once = given and (moved or self._kernels.in_pieces(table, "forward", dtype))
            pooled = settle.written_to(out, at_once) if given else out
            chosen = None if argmax is None else settle.written_to(argmax, at_once)
            kind.forward(
                self._kernels,
                table,
                settle.nchw(features, layout),
                settle.nchw(pooled, layout),
                None if chosen is None else settle.nchw(chosen, layout),
            )
            if moved and chosen is not None:
                chosen = settle.argmax_of_map(chosen, self._regions)
            if pooled is not out:
                out[...] = pooled
            if chosen is not argmax and argmax is not None:
                argmax[...] = chosen
        return out if argmax is None else (out, argmax)

    def _backward(self, grad_output: Ndarray, argmax: Ndarray, out: Ndarray) -> Any:
        spread = self._gradient(self._kind.backward, argmax)
        accumulate, dtype = settle.grad_output(grad_output, self._output_shape)
        settle.few_bins("grad_output", self.output_size)
        argmax, inputs = self._settled_argmax(argmax, grad_output)
        given = out is not None
        out = settle.out(out, self._input_shape, dtype, *inputs)
        table = self._table(accumulate, "backward")
        self._check_argmax(table, argmax)
        if self._kind.argmax == "pixel":
            named = self._layout, self._may_wait(), self._window_name
            argmax = settle.argmax_of_part(argmax, self._regions, *named)
        if table is None:
            out[...] = 0
        elif out.size:
            layout = self._layout
            at_once = given and self._kernels.in_pieces(table, "backward", dtype)
            gradient = settle.written_to(out, at_once)
            spread(
                self._kernels,
                table,
                settle.nchw(grad_output, layout),
                argmax,
                settle.nchw(gradient, layout),
            )
            if gradient is not out:
                out[...] = gradient
        return out

    def _backward_rois(self, grad_output: Ndarray, features: Ndarray, argmax: Ndarray, out: Ndarray) -> Any:
        rois = self._rois
        slope = self._gradient(self._kind.backward_rois, argmax)
        accumulate, _ = settle.features(features, self._input_shape)
        settle.grad_output_of(features, grad_output, self._output_shape)
        settle.few_bins("grad_output", self.output_size)
        argmax, inputs = self._settled_argmax(argmax, grad_output, features)
        rois.check_out(out)
        at_once = out is not None and self._kernels.streams is None
        out = settle.out(out, rois.boxes.shape, rois.boxes.dtype, *inputs)
        table = self._table(accumulate, "backward_rois")
        self._check_argmax(table, argmax)
        written = settle.written_to(out, at_once)
        shape = len(rois.boxes), rois.columns
        if table is None or not features.size:
            gradient = self._kernels.xp.zeros(shape)
        else:
            gradient = self._kernels.gradient_rows(shape)
            grad, maps = settle.nchw(grad_output, self._layout), settle.nchw(features, self._layout)
            slope(self._kernels, table, grad, argmax, maps, gradient)
        self._kernels.put_rows(gradient, written)  # a batch index has no gradient
        if written is not out:
            out[...] = written
        return rois.as_given(out)

    # ------------------------------------------------ checks

    def _gradient(
        self, kernel: Callable[..., None] | str, argmax: Ndarray, pooling: str = ""
    ) -> Callable[..., None]:
        # Return the kernel of a gradient, or raise if there is none, or if an argmax is missing or
        # superfluous. `pooling` names the function that returns the argmax; by default the operator's.
        kind = self._kind
        if isinstance(kernel, str):
            raise ValueError(kernel)
        if argmax is not None:
            if not kind.argmax:
                raise ValueError(f"argmax must be None for {kind.no_argmax}")
        elif kind.argmax_from:
            pooling = pooling or kind.operator
            raise ValueError(
                f"argmax must be given for {kind.argmax_from}: {pooling} returns it with return_argmax=True"
            )
        elif kind.argmax:
            settle.argmax(argmax, self._output_shape)
        return kernel

    def _settled_argmax(self, argmax: Ndarray, *inputs: Ndarray) -> tuple[Ndarray, tuple[Ndarray, ...]]:
        # argmax as the kernels take it, and the arrays that an output must not overlap
        if argmax is None:
            return None, (*inputs, *self._rois.given)
        settle.argmax(argmax, self._output_shape)
        return settle.nchw(argmax, self._layout), (argmax, *inputs, *self._rois.given)

    def _may_wait(self) -> bool:
        # whether we may wait for the device, to check the values of tables or arrays
        return self._invalid == "raise" or self._kernels.streams is None

    def _check_countable(self, table: Any) -> None:
        if self._kind.argmax == "pixel":
            settle.pixel_count(self._input_shape, self._regions.map_size, self._window, self._window_name)
        elif self._may_wait() and table.first_too_fine >= 0:
            raise self._rois.too_fine_row(table.first_too_fine)

    def _check_argmax(self, table: Any, argmax: Ndarray) -> None:
        find = self._kind.argmax_error
        if find is not None and argmax.size and self._may_wait():
            found = find(self._kernels, self._regions, table, argmax)
            if found is not None:
                raise settle.argmax_error(found, self._layout)

    # ------------------------------------------------ tables

    def _keep(self) -> None:
        # From here on the caller's arrays may change: the plan has its own copy of the boxes, which are
        # checked.
        self._kept = True
        settle.new("out", self._output_shape, np.dtype(np.uint8))  # raises if no memory could hold the output
        self._table("float32", "forward")
        self._rois.given = ()

    def _table(self, accumulate: Accumulate, purpose: Purpose) -> Table | None:
        # Fill the table at first use, before anything is written, and raise for invalid rows.
        if not self._output_shape[0]:
            return None
        kernels, kind = self._kernels, self._kind
        streams = kernels.streams if self._kept else None
        if streams is not None and self._events:
            self._events = streams.wait_for(self._events)
        made_for: Purpose = "forward" if kind.one_table else purpose
        table = self._tables.get((accumulate, made_for))
        # The streams of a device do not wait for one another, and callers cannot synchronise them for tables
        # that they do not see. So the plan keeps complete tables, and the event after which each is filled.
        if table is None or (streams is not None and not streams.serves(table, purpose)):
            captured = streams is not None and streams.captures()
            if table is None or captured:
                table = kind.table(kernels, self._regions, self._options, accumulate, made_for)
                if self._invalid == "raise" and table.first_invalid >= 0:
                    raise self._rois.invalid_row(table.first_invalid, self._regions.input_shape[0])
                if self._window is not None and table.beyond is not None:
                    raise settle.outside_error(self._rois, table.beyond, self._regions, self._window_name)
                if table.doubtful and purpose == "forward" and not self._looked_at:
                    _doubts.warn(kernels.doubts(self._regions, self._options[0]))
            if streams is not None:
                streams.serve(table, purpose)
            if captured:
                # the graph fills this table at each launch: other calls must not use it; its memory stays
                self._captured += (table,)
                return table
            self._tables[accumulate, made_for] = table
            if streams is not None:
                self._events = streams.note(self._events)
        return table


class RoIAlignPlan(Plan[Array]):
    """RoIAlign of fixed boxes on feature maps of a fixed shape; made by `roicy.roi_align_plan`."""

    __slots__ = ()


class RoIAlignRotatedPlan(Plan[Array]):
    """RoIAlign of fixed rotated boxes on maps of a fixed shape; made by `roicy.roi_align_rotated_plan`."""

    __slots__ = ()


AnyPlan = TypeVar("AnyPlan", bound=Plan[Any])


def keep(
    made: type[AnyPlan],
    kind: Kind,
    given: Given,
    input_shape: InputShape,
    output_size: OutputSize,
    options: Sequence[Any],
) -> AnyPlan:
    """Return a plan of a class with its first table, from arguments as a caller gives them."""
    given.layout = layout = settle.layout(given.layout)
    kernels, given.rois, given.batch_indices, given.offsets, given.mask = adopt(
        rois=given.rois, batch_indices=given.batch_indices, offsets=given.offsets, mask=given.mask
    )
    shape, size = settle.input_shape(input_shape, layout), settle.output_size(output_size)
    if kind.position_sensitive:
        settle.channels_of_bins(shape, layout, size, "input_shape")
    plan = made.__new__(made)  # whose initialiser may be one of a subclass
    Plan.__init__(plan, kind, kernels, given, shape, size, options)
    plan._keep()
    return plan


def _made_again(made: type[AnyPlan], kind: Kind, arguments: dict[str, Any]) -> AnyPlan:
    try:
        return _kept(made, kind, **arguments)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"a stored {made.__name__} must hold the arguments that make one, got others: {error}"
        ) from error


def _kept(
    made: type[AnyPlan],
    kind: Kind,
    *,
    input_shape: InputShape,
    output_size: OutputSize,
    options: Sequence[Any],
    **given: Any,
) -> AnyPlan:
    return keep(made, kind, Given(**given), input_shape, output_size, options)
