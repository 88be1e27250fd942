"""Boxes on the maps of a pyramid: the passes that `roicy.multi_scale.MultiScalePlan` makes.

The boxes of a level are a plan of their own (`roicy.plan`), whose tables know which rows they are: kernels
write straight into the result of all boxes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from roicy import _arguments as settle
from roicy import _doubts
from roicy._backend import put
from roicy._given import Given, Sharing
from roicy._kinds import Kind
from roicy._types import Accumulate, Invalid, Layout, Merge, Ndarray, Purpose, Regions, Shape, Size
from roicy.level_plan import LevelPlan, shared_out

if TYPE_CHECKING:
    from roicy._protocols import Backend


class Pyramid:
    """Boxes that are settled, on maps of settled shapes, and the passes with arrays of one library."""

    __slots__ = (
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
        "_output_size",
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
        lent: bool = False,
    ) -> None:
        # arrays, layout, input_shapes and output_size come settled, the rest as the caller gave it
        rois, layout, images = given.rois, given.layout, input_shapes[0][0]
        settled = settle.rois(rois, given.batch_indices, images, kernels.xp, kind.numbers, lent)
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
        checked = self._invalid == "raise"
        shared = shared_out(
            kernels, self._merge, sharing.levels, rois, settled, self._scales, checked, images
        )
        self._levels, self._nowhere = shared.found, shared.nowhere
        self._plans: tuple[LevelPlan[Any], ...] = tuple(
            LevelPlan(
                kind,
                kernels,
                Given(own, None, layout, "nan", window),  # invalid rows are looked for in all of them
                shape,
                output_size,
                (scale, *options),
                (shared.of_level, level, shared.apart),
            )
            for level, (own, shape, scale, window) in enumerate(
                zip(shared.rois, input_shapes, self._scales, self._windows, strict=True)
            )
        )
        self._options, self._output_shape = tuple(options), self._plans[0].output_shape
        self._output_size = output_size

    # ------------------------------------------------ the passes, with arrays of the plan's library

    def _pool(self, features: Sequence[Ndarray], out: Ndarray, return_argmax: bool) -> Any:
        kind, kernels, layout = self._kind, self._kernels, self._layout
        if settle.flag("return_argmax", return_argmax) and not kind.argmax:
            raise ValueError(f"return_argmax must be False for {kind.no_argmax}, got True")
        settle.as_many("features", features, len(self._plans))
        accumulate, dtype = settle.pyramid(features, self._input_shapes)
        inputs = (*features, *self._rois.given)
        given, argmax, last = out is not None, None, None
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
            pooled, last = self._sum(features, chosen, tables, accumulate)
        if moved and chosen is not None:
            chosen = settle.argmax_of_maps(chosen, [plan._regions for plan in self._plans])
        if self._merge == "sum":
            kernels.add_part(pooled, last, out)
        elif pooled is not out:
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
    ) -> tuple[Ndarray, Ndarray | None]:
        # what is pooled from all maps but the last, added one after the other in the type of sums, and what
        # is pooled from the last one if there are several
        several, layout = len(tables) > 1, self._layout
        total = self._kernels.empty(self._output_shape, accumulate)
        part = self._kernels.empty(self._output_shape, accumulate) if several else None
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
            if 0 < level < len(tables) - 1:
                self._kernels.add_part(total, part, total)
        return total, part

    def _clear(self, pooled: Ndarray, chosen: Ndarray | None) -> None:
        # rows that are on no map: zeros, whose bytes are alike in all dtypes
        if self._nowhere is not None:
            put(pooled.view(f"u{pooled.itemsize}"), self._nowhere, 0, self._kernels.xp)
            if chosen is not None:
                put(chosen, self._nowhere, -1, self._kernels.xp)

    def _backward(self, grad_output: Ndarray, argmax: Ndarray, out: Sequence[Ndarray] | None) -> Any:
        spread = self._plans[0]._gradient(self._kind.backward, argmax, self._pooling)
        accumulate, dtype = settle.grad_output(grad_output, self._output_shape)
        settle.few_bins("grad_output", self._output_size)
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
        settle.few_bins("grad_output", self._output_size)
        argmaxes, inputs = self._settled_argmax(argmax, grad_output, *features)
        rois.check_out(out)
        at_once = out is not None and self._kernels.streams is None
        out = settle.out(out, rois.boxes.shape, rois.boxes.dtype, *inputs)
        tables = self._tables(accumulate, "backward_rois")
        self._check_argmax(tables, argmaxes)
        written = settle.written_to(out, at_once)
        gradient = settle.nchw(grad_output, self._layout)
        used = [level for level, table in enumerate(tables) if table is not None and features[level].size]
        parts = self._kernels.gradient_rows((len(used), len(rois.boxes), rois.columns))
        for number, level in enumerate(used):
            source = settle.nchw(features[level], self._layout)
            slope(self._kernels, tables[level], gradient, argmaxes[level], source, parts[number])
        self._kernels.put_rows(parts, written)  # a batch index has no gradient
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
            everything = Regions(rois.boxes, rois.images, shape, self._output_size, window=self._windows[0])
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
