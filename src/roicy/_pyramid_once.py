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


def _of_features(
    given: Given, sharing: Sharing, maps: Sequence[Ndarray], output_size: OutputSize
) -> tuple[tuple[Shape, ...], Size]:
    shapes, size = settle.maps(maps, given.layout), settle.output_size(output_size)
    settle.as_many_scales("features", len(maps), sharing.spatial_scales)
    return shapes, size


def _of_gradient(
    given: Given, sharing: Sharing, grad_output: Ndarray, input_shapes: Sequence[InputShape]
) -> tuple[tuple[Shape, ...], Size]:
    size = settle.grad_output_size(grad_output, given.layout)
    shapes = settle.input_shapes(input_shapes, given.layout)
    settle.as_many_scales("input_shapes", len(shapes), sharing.spatial_scales)
    return shapes, size


def _of_both(
    given: Given, sharing: Sharing, maps: Sequence[Ndarray], grad_output: Ndarray
) -> tuple[tuple[Shape, ...], Size]:
    shapes, size = settle.maps(maps, given.layout), settle.grad_output_size(grad_output, given.layout)
    settle.as_many_scales("features", len(maps), sharing.spatial_scales)
    return shapes, size


def _plan(
    kind: Kind,
    kernels: Backend,
    given: Given,
    sharing: Sharing,
    options: Sequence[Any],
    settle_sizes: Callable[..., tuple[tuple[Shape, ...], Size]],
    *sizes: Any,
) -> MultiScalePlan[Any]:
    # `settle_sizes` returns the shapes of maps and the bins of a box, from what says these
    given.layout = settle.layout(given.layout)
    shapes, size = settle_sizes(given, sharing, *sizes)
    return MultiScalePlan(kind, kernels, given, sharing, shapes, size, options, True)


def _is_alone(given: Given, sharing: Sharing) -> bool:
    # whether the work of a call depends on whole maps, one array of boxes, options, and levels, which are
    # not checked
    return (
        type(given.rois) is not tuple
        and sharing.windows is None
        and type(given.invalid) is str
        and (given.invalid == "nan" or (given.invalid == "raise" and isinstance(sharing.levels, str)))
        and type(sharing.spatial_scales) in (list, tuple)
        and (isinstance(sharing.levels, str) is (type(sharing.levels) is str))
    )


def _again(
    make: tuple[Any, ...],
    shapes: tuple[Any, Any],
    how: Hashable,
    inputs: tuple[Ndarray | None, ...],
    out: Any,
    apply: Callable[..., Any],
    *arguments: Any,
) -> Any:
    # ``apply(plan, *arguments)`` of ``_plan(*make)``, or what repeats an earlier call; `shapes` are those of
    # maps and outputs, as the caller gave them or as arrays have them
    kind, kernels, given, sharing, options, *_ = make
    rule, levels = (sharing.levels, None) if isinstance(sharing.levels, str) else (None, sharing.levels)
    scales, dtype = tuple(sharing.spatial_scales), given.rois.dtype
    call = kind, given.layout, *shapes, dtype, scales, rule, sharing.merge, given.invalid, *options

    def fresh() -> tuple[Any, Any]:
        result, settled = apply(_plan(*make), *arguments), _known.get(call)
        if settled is None:
            settled = object()
            _known.put(call, settled)
        return settled, result

    inputs = *inputs, given.rois, given.batch_indices, levels
    return kernels.again.run(_known.get(call), how, inputs, out, fresh)


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

    sharing = sharing.adopted(levels)
    make = kind, kernels, given, sharing, options, _of_features, maps, output_size
    if kernels.again is None or not _is_alone(given, sharing) or type(return_argmax) is not bool:
        return _plan(*make)._pool(maps, out, return_argmax)
    shapes, how = tuple([array.shape for array in maps]), ("forward", return_argmax)
    arguments = maps, out, return_argmax
    return _again(make, (shapes, output_size), how, tuple(maps), out, MultiScalePlan._pool, *arguments)


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

    sharing = sharing.adopted(levels)
    make = kind, kernels, given, sharing, options, _of_gradient, grad_output, input_shapes
    if kernels.again is None or not _is_alone(given, sharing):
        return _plan(*make)._backward(grad_output, argmax, outs)
    shapes = tuple(input_shapes) if type(input_shapes) is list else input_shapes, grad_output.shape[1:]
    inputs, arguments = (grad_output, argmax), (grad_output, argmax, outs)
    return list(_again(make, shapes, "backward", inputs, outs, _gradients, *arguments))


def _gradients(plan: MultiScalePlan[Any], *arguments: Any) -> tuple[Ndarray, ...]:
    return tuple(plan._backward(*arguments))


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

    sharing = sharing.adopted(levels)
    make = kind, kernels, given, sharing, options, _of_both, maps, grad_output
    if kernels.again is None or not _is_alone(given, sharing):
        return _plan(*make)._backward_rois(grad_output, maps, argmax, out)
    shapes = tuple([array.shape for array in maps]), grad_output.shape[1:]
    inputs, arguments = (grad_output, argmax, *maps), (grad_output, maps, argmax, out)
    return _again(make, shapes, "slopes", inputs, out, MultiScalePlan._backward_rois, *arguments)
