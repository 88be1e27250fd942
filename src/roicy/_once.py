"""Plans that are used once: what the public functions do with their arguments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from roicy import _arguments as settle
from roicy._backend import adopt
from roicy._given import Given, Sharing
from roicy._kinds import Kind
from roicy._types import AnyArray, Array, InputShape, Out, OutputSize
from roicy.deform_plan import DeformRoIPoolPlan
from roicy.multi_scale import MultiScalePlan
from roicy.plan import Plan


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
    kernels, features, given.rois, given.batch_indices, given.offsets, given.mask, out = adopt(
        features=features,
        rois=given.rois,
        batch_indices=given.batch_indices,
        offsets=given.offsets,
        mask=given.mask,
        out=out,
    )
    given.layout = layout = settle.layout(given.layout)
    shape, size = settle.features_shape(features, layout), settle.output_size(output_size)
    return Plan(kind, kernels, given, shape, size, options, lent=True)._pool(features, out, return_argmax)


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
    kernels, grad_output, given.rois, argmax, given.batch_indices, given.offsets, given.mask, out = adopt(
        grad_output=grad_output,
        rois=given.rois,
        argmax=argmax,
        batch_indices=given.batch_indices,
        offsets=given.offsets,
        mask=given.mask,
        out=out,
    )
    given.layout = layout = settle.layout(given.layout)
    size = settle.grad_output_size(grad_output, layout)
    shape = settle.input_shape(input_shape, layout)
    if kind.position_sensitive:
        settle.channels_of_bins(shape, layout, size, "input_shape")
    return Plan(kind, kernels, given, shape, size, options, lent=True)._backward(grad_output, argmax, out)


def backward_rois(
    kind: Kind,
    given: Given,
    grad_output: Array,
    features: AnyArray,
    options: Sequence[Any],
    out: AnyArray | None,
    argmax: AnyArray | None = None,
) -> Any:
    """Return the gradient with respect to the boxes."""
    kernels, grad_output, features, given.rois, argmax, given.batch_indices, out = adopt(
        grad_output=grad_output,
        features=features,
        rois=given.rois,
        argmax=argmax,
        batch_indices=given.batch_indices,
        out=out,
    )
    given.layout = layout = settle.layout(given.layout)
    shape, size = settle.features_shape(features, layout), settle.grad_output_size(grad_output, layout)
    return Plan(kind, kernels, given, shape, size, options, lent=True)._backward_rois(
        grad_output, features, argmax, out
    )


def backward_bins(
    of: Literal["offsets", "mask"],
    kind: Kind,
    given: Given,
    grad_output: Array,
    features: AnyArray,
    options: Sequence[Any],
    out: AnyArray | None,
) -> Any:
    """Return the gradient with respect to the offsets of bins, or to the mask."""
    kernels, grad_output, features, given.rois, given.batch_indices, given.offsets, given.mask, out = adopt(
        grad_output=grad_output,
        features=features,
        rois=given.rois,
        batch_indices=given.batch_indices,
        offsets=given.offsets,
        mask=given.mask,
        out=out,
    )
    given.layout = layout = settle.layout(given.layout)
    shape, size = settle.features_shape(features, layout), settle.grad_output_size(grad_output, layout)
    plan: DeformRoIPoolPlan[Any] = DeformRoIPoolPlan(kind, kernels, given, shape, size, options, lent=True)
    return plan._backward_bins(of, grad_output, features, out)


# ---------------------------------------------------------------- pyramids


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
    kernels, given.rois, given.batch_indices, levels, out, *maps = adopt(
        rois=given.rois,
        batch_indices=given.batch_indices,
        levels=settle.no_rule(sharing.levels),
        out=out,
        **settle.of_maps("features", features),
    )
    given.layout = layout = settle.layout(given.layout)
    shapes, size = settle.maps(maps, layout), settle.output_size(output_size)
    settle.as_many_scales("features", len(maps), sharing.spatial_scales)
    plan: MultiScalePlan[Any] = MultiScalePlan(
        kind, kernels, given, sharing.adopted(levels), shapes, size, options
    )
    return plan._pool(maps, out, return_argmax)


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
    kernels, grad_output, given.rois, argmax, given.batch_indices, levels, out = adopt(
        grad_output=grad_output,
        rois=given.rois,
        argmax=argmax,
        batch_indices=given.batch_indices,
        levels=settle.no_rule(sharing.levels),
        out=settle.sequence("out", out, or_none=True),
    )
    given.layout = layout = settle.layout(given.layout)
    size = settle.grad_output_size(grad_output, layout)
    shapes = settle.input_shapes(input_shapes, layout)
    settle.as_many_scales("input_shapes", len(shapes), sharing.spatial_scales)
    plan: MultiScalePlan[Any] = MultiScalePlan(
        kind, kernels, given, sharing.adopted(levels), shapes, size, options
    )
    return plan._backward(grad_output, argmax, out)


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
    kernels, grad_output, given.rois, argmax, given.batch_indices, levels, out, *maps = adopt(
        grad_output=grad_output,
        rois=given.rois,
        argmax=argmax,
        batch_indices=given.batch_indices,
        levels=settle.no_rule(sharing.levels),
        out=out,
        **settle.of_maps("features", features),
    )
    given.layout = layout = settle.layout(given.layout)
    shapes, size = settle.maps(maps, layout), settle.grad_output_size(grad_output, layout)
    settle.as_many_scales("features", len(maps), sharing.spatial_scales)
    plan: MultiScalePlan[Any] = MultiScalePlan(
        kind, kernels, given, sharing.adopted(levels), shapes, size, options
    )
    return plan._backward_rois(grad_output, maps, argmax, out)
