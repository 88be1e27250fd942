"""Plans of pyramids that are used once: how the public functions handle their arguments."""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING, Any

from roicy import _arguments as settle
from roicy._backend import adopted
from roicy._given import Given, Sharing
from roicy._kinds import Kind
from roicy._types import AnyArray, Array, InputShape, Ndarray, Out, OutputSize, Shape, Size
from roicy.cpu.runtime.calls import Known
from roicy.multi_scale import MultiScalePlan

if TYPE_CHECKING:
    from roicy._protocols import Backend

_POOLED = "rois", "batch_indices", "levels", "out"
_BACK = "grad_output", "rois", "argmax", "batch_indices", "levels", "out"

#: An object for each kind of calls whose options were checked.
_known = Known(256, Kind)


@functools.cache
def _names(names: tuple[str, ...], maps: int) -> tuple[str, ...]:
    return *names, *(f"features[{level}]" for level in range(maps))


class _Call:
    # A call of a kind, with arrays as the kernels take them. `sizes` are the shapes of the maps and the
    # bins, as the caller gave them or as they come from arrays.
    def __init__(
        self,
        kind: Kind,
        kernels: Backend,
        given: Given,
        sharing: Sharing,
        sizes: tuple[Any, Any],
        options: Sequence[Any],
    ) -> None:
        self.kind, self.kernels, self.given, self.sharing = kind, kernels, given, sharing
        self.sizes, self.options = sizes, options

    def run(
        self,
        how: Hashable | None,
        inputs: tuple[Ndarray | None, ...],
        out: Any,
        settle_sizes: Callable[[], tuple[tuple[Shape, ...], Size]],
        apply: Callable[[MultiScalePlan[Any]], Any],
    ) -> Any:
        """Return ``apply(plan)``, or what repeats an earlier call that was like this one.

        `how` is None if an option is not known to be right.
        """
        again, given, sharing = self.kernels.again, self.given, self.sharing
        if again is None or how is None or not self._is_alone():
            return apply(self._plan(*settle_sizes()))
        rule = sharing.levels if isinstance(sharing.levels, str) else None
        scales, dtype = tuple(sharing.spatial_scales), given.rois.dtype  # type: ignore[union-attr]
        call = self.kind, given.layout, *self.sizes, dtype, scales, rule, sharing.merge, *self.options

        def fresh() -> tuple[Any, Any]:
            result = apply(self._plan(*settle_sizes()))
            settled = _known.get(call)
            if settled is None:
                settled = object()
                _known.put(call, settled)
            return settled, result

        inputs = *inputs, given.rois, given.batch_indices, None if rule is not None else sharing.levels
        return again.run(_known.get(call), how, inputs, out, fresh)

    def _is_alone(self) -> bool:
        # whether the work of a call depends on whole maps, one array of boxes, which are not checked, and
        # options
        given, sharing = self.given, self.sharing
        return (
            type(given.rois) is not tuple
            and sharing.windows is None
            and type(given.invalid) is str
            and given.invalid == "nan"
            and type(sharing.spatial_scales) in (list, tuple)
            and (isinstance(sharing.levels, str) is (type(sharing.levels) is str))
        )

    def _plan(self, shapes: tuple[Shape, ...], size: Size) -> MultiScalePlan[Any]:
        return MultiScalePlan(
            self.kind, self.kernels, self.given, self.sharing, shapes, size, self.options, True
        )


def pool_levels(
    kind: Kind,
    given: Given,
    sharing: Sharing,
    features: Sequence[Any],
    output_size: OutputSize,
    options: Sequence[Any],
    out: Out,
    return_argmax: bool = False,
) -> Any:
    """Pool from the maps of a pyramid."""
    given_maps = settle.sequence("features", features)
    names, levels = _names(_POOLED, len(given_maps)), settle.no_rule(sharing.levels)
    kernels, given.rois, given.batch_indices, levels, out, *maps = adopted(
        names, given.rois, given.batch_indices, levels, out, *given_maps
    )

    def settle_sizes() -> tuple[tuple[Shape, ...], Size]:
        given.layout = layout = settle.layout(given.layout)
        shapes, size = settle.maps(maps, layout), settle.output_size(output_size)
        settle.as_many_scales("features", len(maps), sharing.spatial_scales)
        return shapes, size

    sizes = tuple([array.shape for array in maps]), output_size
    call = _Call(kind, kernels, given, sharing.adopted(levels), sizes, options)
    how = ("levels forward", return_argmax) if type(return_argmax) is bool else None
    return call.run(how, tuple(maps), out, settle_sizes, lambda plan: plan._pool(maps, out, return_argmax))


def backward_levels(
    kind: Kind,
    given: Given,
    sharing: Sharing,
    grad_output: Array,
    input_shapes: Sequence[InputShape],
    options: Sequence[Any],
    out: Sequence[AnyArray] | None,
    argmax: AnyArray | None = None,
) -> Any:
    """Return the gradients with respect to the maps of a pyramid."""
    levels, outs = settle.no_rule(sharing.levels), settle.sequence("out", out, or_none=True)
    kernels, grad_output, given.rois, argmax, given.batch_indices, levels, outs = adopted(
        _BACK, grad_output, given.rois, argmax, given.batch_indices, levels, outs
    )

    def settle_sizes() -> tuple[tuple[Shape, ...], Size]:
        given.layout = layout = settle.layout(given.layout)
        size = settle.grad_output_size(grad_output, layout)
        shapes = settle.input_shapes(input_shapes, layout)
        settle.as_many_scales("input_shapes", len(shapes), sharing.spatial_scales)
        return shapes, size

    of_maps = tuple(input_shapes) if type(input_shapes) is list else input_shapes
    sizes = of_maps, grad_output.shape[1:]
    call = _Call(kind, kernels, given, sharing.adopted(levels), sizes, options)
    return list(
        call.run(
            "levels backward",
            (grad_output, argmax),
            outs,
            settle_sizes,
            lambda plan: tuple(plan._backward(grad_output, argmax, outs)),
        )
    )


def backward_rois_levels(
    kind: Kind,
    given: Given,
    sharing: Sharing,
    grad_output: Array,
    features: Sequence[AnyArray],
    options: Sequence[Any],
    out: AnyArray | None,
    argmax: AnyArray | None = None,
) -> Any:
    """Return the gradient with respect to the boxes on the maps of a pyramid."""
    given_maps = settle.sequence("features", features)
    names, levels = _names(_BACK, len(given_maps)), settle.no_rule(sharing.levels)
    kernels, grad_output, given.rois, argmax, given.batch_indices, levels, out, *maps = adopted(
        names, grad_output, given.rois, argmax, given.batch_indices, levels, out, *given_maps
    )

    def settle_sizes() -> tuple[tuple[Shape, ...], Size]:
        given.layout = layout = settle.layout(given.layout)
        shapes, size = settle.maps(maps, layout), settle.grad_output_size(grad_output, layout)
        settle.as_many_scales("features", len(maps), sharing.spatial_scales)
        return shapes, size

    sizes = tuple([array.shape for array in maps]), grad_output.shape[1:]
    call = _Call(kind, kernels, given, sharing.adopted(levels), sizes, options)
    return call.run(
        "levels slopes",
        (grad_output, argmax, *maps),
        out,
        settle_sizes,
        lambda plan: plan._backward_rois(grad_output, maps, argmax, out),
    )
