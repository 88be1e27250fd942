"""Plans that are used once: how the public functions handle their arguments.

The checked options depend on the shapes of maps and bins and on dtypes, not on the boxes or their number. So
they are cached and reused by later calls with the same options. In other calls, arguments are checked one by
one, and the error names the first wrong one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, cast

from roicy import _arguments as settle
from roicy._backend import adopted
from roicy._given import Given
from roicy._kinds import Kind
from roicy._types import AnyArray, Array, InputShape, Layout, Ndarray, Out, OutputSize, Shape, Size
from roicy.cpu.runtime.calls import Known
from roicy.deform_plan import DeformRoIPoolPlan
from roicy.plan import Plan

if TYPE_CHECKING:
    from roicy._protocols import Backend

_POOLED = "features", "rois", "batch_indices", "offsets", "mask", "out"
_BACK = "grad_output", "rois", "argmax", "batch_indices", "offsets", "mask", "out"
_BACK_TO_ROIS = "grad_output", "features", "rois", "argmax", "batch_indices", "out"
_BACK_TO_BINS = "grad_output", "features", "rois", "batch_indices", "offsets", "mask", "out"

#: The cache: checked options by call.
_known = Known(256, Kind)


def _plan(
    kind: Kind,
    kernels: Backend,
    given: Given,
    shapes: tuple[Any, Any],
    options: Sequence[Any],
    settle_shapes: Callable[..., tuple[Shape, Size]],
    *arrays: Any,
    made: type[Plan[Any]] = Plan,
) -> Plan[Any]:
    # `shapes` (of arrays, or as the caller gave them) are the sizes of maps and outputs. If they are not
    # cached, `settle_shapes` returns the shape of the maps and the bins of a box.
    rois: Any = given.rois
    offsets: Any = given.offsets
    several = type(rois) is tuple
    dtypes = None if several else (rois.dtype, None if offsets is None else offsets.dtype)
    call = kind, given.layout, *shapes, dtypes, given.invalid, *options
    known = None if several else _known.get(call)
    if known is not None:
        given.layout = known[0]
        return made(kind, kernels, given, known[1], known[2], options, lent=True, known=known)
    given.layout = layout = settle.layout(given.layout)
    shape, size = settle_shapes(kind, layout, *arrays)
    plan = made(kind, kernels, given, shape, size, options, lent=True)
    if not several:
        _known.put(call, plan._settled)
    return plan


def _of_features(_: Kind, layout: Layout, features: Ndarray, output_size: OutputSize) -> tuple[Shape, Size]:
    return settle.features_shape(features, layout), settle.output_size(output_size)


def _of_gradient(
    kind: Kind, layout: Layout, grad_output: Ndarray, input_shape: InputShape
) -> tuple[Shape, Size]:
    size = settle.grad_output_size(grad_output, layout)
    shape = settle.input_shape(input_shape, layout)
    if kind.position_sensitive:
        settle.channels_of_bins(shape, layout, size, "input_shape")
    return shape, size


def _of_both(_: Kind, layout: Layout, features: Ndarray, grad_output: Ndarray) -> tuple[Shape, Size]:
    return settle.features_shape(features, layout), settle.grad_output_size(grad_output, layout)


def pool(
    kind: Kind,
    given: Given,
    features: Array,
    output_size: OutputSize,
    options: Sequence[Any],
    out: Out,
    return_argmax: bool = False,
) -> Any:
    """Pool a feature map, with arguments as a caller gives them."""
    kernels, features, given.rois, given.batch_indices, given.offsets, given.mask, out = adopted(
        _POOLED, features, given.rois, given.batch_indices, given.offsets, given.mask, out
    )
    shapes = features.shape, output_size
    if kernels.again is not None and _is_alone(given) and type(return_argmax) is bool:
        make = kind, kernels, given, shapes, options, _of_features, features, output_size
        inputs = features, given.rois, given.batch_indices, given.offsets, given.mask
        how = "forward", return_argmax
        return _again(make, how, inputs, out, Plan._pool, features, out, return_argmax)
    plan = _plan(kind, kernels, given, shapes, options, _of_features, features, output_size)
    return plan._pool(features, out, return_argmax)


def _is_alone(given: Given) -> bool:
    # whether the work of a call depends on whole maps, one array of boxes, and options
    return (
        type(given.rois) is not tuple
        and given.window is None
        and type(given.invalid) is str
        and given.invalid in ("nan", "raise")
    )


def _again(
    make: tuple[Any, ...],
    how: Any,
    inputs: tuple[Any, ...],
    out: Any,
    apply: Callable[..., Any],
    *arguments: Any,
    made: type[Plan[Any]] = Plan,
) -> Any:
    # ``apply(plan, *arguments)`` of ``_plan(*make)``, or what repeats an earlier call
    kind, kernels, given, shapes, options, *_ = make
    dtypes = given.rois.dtype, None if given.offsets is None else given.offsets.dtype
    known = _known.get((kind, given.layout, *shapes, dtypes, given.invalid, *options))  # as `_plan` does

    def fresh() -> tuple[Any, Any]:
        plan = _plan(*make, made=made)
        return plan._settled, apply(plan, *arguments)

    return kernels.again.run(known, how, inputs, out, fresh)


def backward(
    kind: Kind,
    given: Given,
    grad_output: Array,
    input_shape: InputShape,
    options: Sequence[Any],
    out: AnyArray | None,
    argmax: AnyArray | None = None,
) -> Any:
    """Return the gradient with respect to the features."""
    kernels, grad_output, given.rois, argmax, given.batch_indices, given.offsets, given.mask, out = adopted(
        _BACK, grad_output, given.rois, argmax, given.batch_indices, given.offsets, given.mask, out
    )
    shapes = input_shape, grad_output.shape[1:]
    if kernels.again is not None and _is_alone(given):
        make = kind, kernels, given, shapes, options, _of_gradient, grad_output, input_shape
        inputs = grad_output, given.rois, argmax, given.batch_indices, given.offsets, given.mask
        return _again(make, "backward", inputs, out, Plan._backward, grad_output, argmax, out)
    plan = _plan(kind, kernels, given, shapes, options, _of_gradient, grad_output, input_shape)
    return plan._backward(grad_output, argmax, out)


def backward_rois(
    kind: Kind,
    given: Given,
    grad_output: Array,
    features: Ndarray,
    options: Sequence[Any],
    out: AnyArray | None,
    argmax: AnyArray | None = None,
) -> Any:
    """Return the gradient with respect to the boxes."""
    kernels, grad_output, features, given.rois, argmax, given.batch_indices, out = adopted(
        _BACK_TO_ROIS, grad_output, features, given.rois, argmax, given.batch_indices, out
    )
    shapes = features.shape, grad_output.shape[1:]
    if kernels.again is not None and _is_alone(given):
        make = kind, kernels, given, shapes, options, _of_both, features, grad_output
        inputs = grad_output, features, given.rois, argmax, given.batch_indices
        return _again(make, "slopes", inputs, out, Plan._backward_rois, grad_output, features, argmax, out)
    plan = _plan(kind, kernels, given, shapes, options, _of_both, features, grad_output)
    return plan._backward_rois(grad_output, features, argmax, out)


def backward_bins(
    of: Literal["offsets", "mask"],
    kind: Kind,
    given: Given,
    grad_output: Array,
    features: Ndarray,
    options: Sequence[Any],
    out: AnyArray | None,
) -> Any:
    """Return the gradient with respect to the offsets of bins, or to the mask."""
    kernels, grad_output, features, given.rois, given.batch_indices, given.offsets, given.mask, out = adopted(
        _BACK_TO_BINS, grad_output, features, given.rois, given.batch_indices, given.offsets, given.mask, out
    )
    shapes, made = (features.shape, grad_output.shape[1:]), DeformRoIPoolPlan
    if kernels.again is not None and _is_alone(given):
        make = kind, kernels, given, shapes, options, _of_both, features, grad_output
        inputs = grad_output, features, given.rois, given.batch_indices, given.offsets, given.mask
        apply = DeformRoIPoolPlan._backward_bins
        return _again(make, of, inputs, out, apply, of, grad_output, features, out, made=made)
    plan = _plan(kind, kernels, given, shapes, options, _of_both, features, grad_output, made=made)
    return cast(Any, plan)._backward_bins(of, grad_output, features, out)
