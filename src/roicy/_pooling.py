"""What all pooling of boxes has in common: boxes on maps of one shape, tables that are kept, `out`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Generic, cast

import numpy as np

from roicy import _arguments as settle
from roicy._backend import adopt
from roicy._types import (
    AnyArray,
    ArgmaxError,
    Array,
    Boxes,
    InputShape,
    Invalid,
    Kernels,
    Layout,
    Ndarray,
    OutputSize,
    Shape,
    Size,
)


class Pooling(Generic[Array]):
    """Boxes on feature maps of one shape.

    Each call checks its arrays, gets a table and only then writes. What the table is, and what kernels are
    applied with it, a subclass says:

    - ``_fill(accumulate, purpose)`` makes the table for sums in a type, for the purpose "forward", "backward"
      or "backward_rois";
    - ``_pool(table, features, out, argmax)``, ``_spread(table, grad_output, argmax, grad_features)`` and
      ``_slope(table, grad_output, argmax, features, grad_boxes)`` apply it, with arrays as the kernels take
      them and `argmax` None where there is none;
    - ``_argmax_error(table, argmax)`` finds a value of argmax that is out of range: None, or
      ``((k, c, p, q), value, limit)``;
    - ``_made_of()`` is for plans: their class, and the arguments that `planned` makes them of.
    """

    __slots__ = (
        "__weakref__",
        "_captured",
        "_input_shape",
        "_invalid",
        "_kernels",
        "_layout",
        "_moments",
        "_output_shape",
        "_output_size",
        "_planned",
        "_rois",
        "_shape",
        "_tables",
    )

    def __init__(
        self,
        kernels: Kernels,
        rois: Boxes,
        input_shape: Shape,
        output_size: Size,
        batch_indices: AnyArray | None,
        layout: Layout,
        invalid: Invalid,
        names: Sequence[str] = settle.CORNERS,
    ) -> None:
        # kernels, input_shape, output_size and layout come settled, the rest as the caller gave it
        if layout == "NCHW":
            n, c, h, w = input_shape
        else:
            n, h, w, c = input_shape
        settled = settle.rois(rois, batch_indices, n, kernels.xp, names)
        k = len(settled.boxes)
        rows, columns = output_size
        self._kernels = kernels
        self._rois = settled
        self._layout: Layout = layout
        self._shape = (n, c, h, w)
        self._input_shape = input_shape
        self._output_size = output_size
        self._output_shape = (k, c, rows, columns) if layout == "NCHW" else (k, rows, columns, c)
        self._invalid = settle.invalid(invalid)
        self._tables: dict[tuple[str, str], Any] = {}
        self._planned = False
        self._captured: list[Any] = []  # tables that are parts of CUDA graphs
        self._moments: list[Any] = []  # when other streams may use what this one made of the plan

    if TYPE_CHECKING:

        def _fill(self, accumulate: str, purpose: str, /) -> Any: ...

        def _pool(self, table: Any, features: Ndarray, out: Ndarray, argmax: Ndarray, /) -> None: ...

        def _spread(
            self, table: Any, grad_output: Ndarray, argmax: Ndarray, grad_features: Ndarray, /
        ) -> None: ...

        def _slope(
            self, table: Any, grad_output: Ndarray, argmax: Ndarray, features: Ndarray, grad_boxes: Ndarray, /
        ) -> None: ...

        def _argmax_error(self, table: Any, argmax: Ndarray, /) -> ArgmaxError | None: ...

        def _made_of(self) -> tuple[Any, dict[str, Any]]: ...

    @property
    def input_shape(self) -> Shape:
        """Shape of the feature maps, in the order of `layout`."""
        return self._input_shape

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

    def _forward(self, features: Ndarray, out: Ndarray, return_argmax: bool) -> Any:
        _, features, _, out = adopt(features=features, rois=self._rois.boxes, out=out)
        accumulate, dtype = settle.features(features, self._input_shape)
        inputs = (features, *self._rois.given)
        given = out is not None
        if return_argmax:
            out, argmax = settle.outs(out, self._output_shape, dtype, *inputs)
        else:
            out, argmax = settle.out(out, self._output_shape, dtype, *inputs), None
        table = self._table(accumulate, "forward")
        if return_argmax and table is not None:
            self._check_countable(table)
        if out.size:
            layout = self._layout
            at_once = given and self._kernels.in_pieces(table, "forward", dtype)
            pooled = settle.written_to(out, at_once)
            chosen = None if argmax is None else settle.written_to(argmax, at_once)
            self._pool(
                table,
                settle.nchw(features, layout),
                settle.nchw(pooled, layout),
                None if chosen is None else settle.nchw(chosen, layout),
            )
            if pooled is not out:
                out[...] = pooled
            if chosen is not argmax and argmax is not None:
                argmax[...] = chosen
        return out if argmax is None else (out, argmax)

    def _backward(self, grad_output: Ndarray, argmax: Ndarray, out: Ndarray) -> Any:
        _, grad_output, argmax, _, out = adopt(
            grad_output=grad_output, argmax=argmax, rois=self._rois.boxes, out=out
        )
        accumulate, dtype = settle.grad_output(grad_output, self._output_shape)
        settle.few_bins("grad_output", self._output_size)
        argmax, inputs = self._settled_argmax(argmax, grad_output)
        given = out is not None
        out = settle.out(out, self._input_shape, dtype, *inputs)
        table = self._table(accumulate, "backward")
        self._check_argmax(table, argmax)
        if table is None:
            out[...] = 0
        elif out.size:
            at_once = given and self._kernels.in_pieces(table, "backward", dtype)
            gradient = settle.written_to(out, at_once)
            self._spread(
                table, settle.nchw(grad_output, self._layout), argmax, settle.nchw(gradient, self._layout)
            )
            if gradient is not out:
                out[...] = gradient
        return out

    def _backward_rois(self, grad_output: Ndarray, features: Ndarray, argmax: Ndarray, out: Ndarray) -> Any:
        rois = self._rois
        _, grad_output, features, argmax, _, out = adopt(
            grad_output=grad_output, features=features, argmax=argmax, rois=rois.boxes, out=out
        )
        accumulate, _ = settle.features(features, self._input_shape)
        settle.grad_output_of(features, grad_output, self._output_shape)
        settle.few_bins("grad_output", self._output_size)
        argmax, inputs = self._settled_argmax(argmax, grad_output, features)
        if out is not None and rois.lengths is not None:
            raise ValueError("out must be None for rois that are one array per image: the result is a list")
        given = out is not None
        out = settle.out(out, rois.boxes.shape, rois.boxes.dtype, *inputs)
        table = self._table(accumulate, "backward_rois")
        self._check_argmax(table, argmax)
        written = settle.written_to(out, given)
        gradient = self._kernels.xp.zeros((len(rois.boxes), rois.columns))
        if table is not None and features.size:
            self._slope(
                table,
                settle.nchw(grad_output, self._layout),
                argmax,
                settle.nchw(features, self._layout),
                gradient,
            )
        with np.errstate(all="ignore"):  # what float32 cannot hold becomes infinite, never an error half-way
            written[:, -rois.columns :] = gradient
        written[:, : -rois.columns] = 0  # the batch index has no gradient
        if written is not out:
            out[...] = written
        return self._as_given(out)

    def _as_given(self, rows: Ndarray) -> Any:
        # rows that belong to the boxes, in one array or in a list, as the caller gave the boxes
        lengths = self._rois.lengths
        if lengths is None:
            return rows
        return [rows[end - length : end] for end, length in zip(np.cumsum(lengths), lengths, strict=True)]

    def _settled_argmax(self, argmax: Ndarray, *inputs: Ndarray) -> tuple[Ndarray, tuple[Ndarray, ...]]:
        # argmax as the kernels take it, and the arrays that an output must not overlap
        if argmax is None:
            return None, (*inputs, *self._rois.given)
        settle.argmax(argmax, self._output_shape)
        return settle.nchw(argmax, self._layout), (argmax, *inputs, *self._rois.given)

    def _may_wait(self) -> bool:
        # whether a question that needs the tables' or the arrays' values may be asked
        return self._invalid == "raise" or not self._kernels.asynchronous

    def _check_countable(self, table: Any, /) -> None:
        if self._may_wait() and table.first_too_fine >= 0:
            raise self._rois.too_fine_row(table.first_too_fine)

    def _check_argmax(self, table: Any, argmax: Ndarray) -> None:
        if argmax is not None and argmax.size and self._may_wait():
            found = self._argmax_error(table, argmax)
            if found is not None:
                raise settle.argmax_error(found, self._layout)

    def _keep(self) -> None:
        # From here on the caller's arrays may change: the boxes are the plan's own and known to be good.
        self._planned = True
        settle.new("out", self._output_shape, np.dtype(np.uint8))  # no table for what no memory could hold
        self._table("float32", "forward")
        self._rois.given = ()

    def __reduce__(self) -> tuple[Any, ...]:
        # What is copied or pickled are the arguments: the tables are made again, where the copy will be used.
        attributes, slots = cast(Any, object.__getstate__(self))
        own = {
            name
            for kind in type(self).__mro__
            if kind.__module__.startswith("roicy.")
            for name in vars(kind).get("__slots__", ())
        }
        slots = {name: value for name, value in slots.items() if name not in own}
        state = (attributes, slots) if attributes or slots else None  # a subclass may have some
        return _made_again, (type(self), *self._made_of()), state

    def _boxes_arguments(self) -> dict[str, Any]:
        # those of `planned` that all kinds of boxes have
        rois = self._rois
        return {
            "rois": self._as_given(rois.boxes),
            "input_shape": self._input_shape,
            "output_size": self._output_size,
            "batch_indices": rois.images if rois.lengths is None else None,
            "layout": self._layout,
            "invalid": self._invalid,
        }

    def _table(self, accumulate: str, purpose: str) -> Any:
        # Made when first asked for, and before anything is written: this is where invalid rows show.
        if not len(self._rois.boxes):
            return None
        if self._moments:
            self._moments = self._kernels.wait_for(self._moments)
        key = accumulate, self._made_for(purpose)
        table = self._tables.get(key)
        # The streams of a device do not wait for one another, and who uses a plan cannot see what it holds: a
        # table that is kept is complete, and when it will be there is noted.
        kept = self._planned and self._kernels.asynchronous
        if table is None or (kept and not table.serves(purpose)):
            captured = kept and self._kernels.captures()
            if table is None or captured:
                table = self._fill(*key)
                if self._invalid == "raise" and table.first_invalid >= 0:
                    raise self._rois.invalid_row(table.first_invalid, self._shape[0])
            if kept:
                table.serve(purpose)
            if (
                captured
            ):  # which the graph fills anew each time: nobody else may count on it, and its memory stays
                self._captured.append(table)
                return table
            self._tables[key] = table
            if kept:
                self._moments = self._kernels.note(self._moments)
        return table

    def _made_for(self, purpose: str) -> str:
        # the purpose that a table is made for, which may serve others as well
        return purpose


def planned(
    plan: Any,
    kind: Any,
    rois: Boxes,
    input_shape: InputShape,
    output_size: OutputSize,
    batch_indices: AnyArray | None,
    layout: Layout,
    **options: Any,
) -> Any:
    """Make `plan`, of class `kind` or a derived one, of arguments as a caller gives them."""
    layout = settle.layout(layout)
    kernels, rois, batch_indices = adopt(rois=rois, batch_indices=batch_indices)
    kind.__init__(
        plan,
        kernels,
        rois,
        settle.input_shape(input_shape, layout),
        settle.output_size(output_size),
        batch_indices=batch_indices,
        layout=layout,
        **options,
    )
    plan._keep()
    return plan


def _made_again(derived: Any, kind: Any, arguments: dict[str, Any]) -> Any:
    try:
        return planned(derived.__new__(derived), kind, **arguments)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"a stored {kind.__name__} must hold the arguments that make one, got others: {error}"
        ) from error
