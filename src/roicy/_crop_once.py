"""Plans of crops that are used once: how the public functions handle their arguments."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from roicy import _arguments as settle
from roicy._backend import adopt, adopted
from roicy._images import named, named_outs, settled_images, settled_shapes
from roicy._kinds import CROP, Kind, sampling_of_crops
from roicy._types import AnyArray, Layout, Ndarray, OutputSize, Size
from roicy.cpu.runtime.calls import Known
from roicy.crop_plan import CropPlan, GivenCrops, finish_of

if TYPE_CHECKING:
    from roicy._protocols import Backend

_CROPPED = "boxes", "batch_indices", "out", "images"

#: An object for each kind of calls whose options were checked.
_known = Known(256, Kind)


def crop(
    kind: Kind,
    given: GivenCrops,
    images: Any,
    output_size: OutputSize,
    finish: dict[str, Any],
    out: AnyArray | None,
) -> Any:
    """Cut boxes out of images."""
    arrays: Sequence[Any]
    if isinstance(images, (list, tuple)):
        kernels, boxes, batch_indices, out, *arrays = adopt(
            boxes=given.boxes, batch_indices=given.batch_indices, out=out, **named(images)
        )
    else:
        kernels, boxes, batch_indices, out, *arrays = adopted(
            _CROPPED, given.boxes, given.batch_indices, out, images
        )

    asked = kind, kernels, given, boxes, batch_indices, (images, arrays), _given_size(output_size), finish
    if kernels.again is None or not _is_alone(given, images, boxes):
        plan, sources = _planned(*asked)
        return plan._pool(sources, out)
    return _again(asked, arrays[0], output_size, out)


def _given_size(output_size: OutputSize) -> Callable[[Layout], Size]:
    return lambda _: settle.output_size(output_size)


def _again(asked: tuple[Any, ...], image: Ndarray, output_size: OutputSize, out: Any) -> Any:
    # the crops of ``_planned(*asked)``, or what repeats an earlier call
    kind, kernels, given, boxes, batch_indices, _, _, finish = asked
    plain = [tuple(value) if type(value) is list else value for value in finish.values()]
    invalid = given.invalid
    call = kind, given.layout, image.shape, output_size, boxes.dtype, tuple(given.options), invalid, *plain

    def fresh() -> tuple[Any, Any]:
        plan, sources = _planned(*asked)
        crops, settled = plan._pool(sources, out), _known.get(call)
        if settled is None:
            settled = object()
            _known.put(call, settled)
        return settled, crops

    return kernels.again.run(_known.get(call), "crops", (image, boxes, batch_indices), out, fresh)


def _is_alone(given: GivenCrops, images: Any, boxes: Any) -> bool:
    # whether the work of a call depends on one array of whole images, one array of boxes, and options
    return (
        type(boxes) is not tuple
        and not isinstance(images, (list, tuple))
        and given.window is None
        and type(given.invalid) is str
        and given.invalid in ("nan", "raise")
    )


def learn(again: Any, settings: tuple[Any, ...], images: Any) -> None:
    """Keep the checked options of a call for calls like it; `again` is `roicy.cpu.crops_again`."""
    like = again.like(settings, images)
    if like is None:
        return
    (size, options, fill, mean, std, reverse, layout, out_layout, dtype, invalid), _, channels = like
    images_dtype = images.dtype
    if images_dtype in settle.WIDE_LABELS:
        return
    try:
        size, sampling = settle.output_size(size), CROP.settle(options, images_dtype, size)
        finish = settle.finish(
            *(channels, layout),
            fill=fill,
            mean=mean,
            std=std,
            reverse_channels=reverse,
            dtype=dtype,
            out_layout=out_layout,
            chosen=sampling[1] == "nearest",
        )
        accumulate, _ = settle.features(images, images.shape)
        dtypes = images_dtype, finish.result_dtype(images_dtype)
    except (TypeError, ValueError):  # an argument was changed during the call
        return
    numbers = finish.numbers(accumulate, sampling[3] != "edge")
    sums = sampling_of_crops(sampling, "forward"), accumulate, numbers
    again.learn(like, layout == "NCHW", size, invalid == "raise", finish, dtypes, sums)


def crop_backward(
    kind: Kind, given: GivenCrops, grad_output: Ndarray, input_shape: Any, finish: dict[str, Any], out: Any
) -> Any:
    """Return the gradient with respect to the images."""
    layout = settle.layout(given.layout)
    shapes = settled_shapes(input_shape, layout)
    kernels, grad_output, boxes, batch_indices, *arrays = adopt(
        grad_output=grad_output,
        boxes=given.boxes,
        batch_indices=given.batch_indices,
        **named_outs(out, shapes),
    )
    settled = finish_of(finish, shapes, layout, given)
    size = settle.grad_output_size(grad_output, settled.layout)
    given = GivenCrops(boxes, batch_indices, layout, *given[3:])
    grads = CropPlan(kind, kernels, given, shapes, size, settled)._backward(grad_output, arrays or None)
    return grads if shapes.listed else grads[0]


def crop_backward_boxes(
    kind: Kind, given: GivenCrops, grad_output: Ndarray, images: Any, finish: dict[str, Any], out: Any
) -> Any:
    """Return the gradient with respect to the boxes."""
    kernels, grad_output, boxes, batch_indices, out, *arrays = adopt(
        grad_output=grad_output,
        boxes=given.boxes,
        batch_indices=given.batch_indices,
        out=out,
        **named(images),
    )
    plan, sources = _planned(
        kind,
        kernels,
        given,
        boxes,
        batch_indices,
        (images, arrays),
        lambda layout: settle.grad_output_size(grad_output, layout),
        finish,
    )
    return plan._backward_boxes(grad_output, sources, out)


def _planned(
    kind: Kind,
    kernels: Backend,
    given: GivenCrops,
    boxes: Any,
    batch_indices: Any,
    images: tuple[Any, list[Ndarray]],
    size: Callable[[Layout], Size],
    finish: dict[str, Any],
) -> tuple[CropPlan[Any], tuple[Ndarray, ...]]:
    # a plan of settled arrays, and the images with four axes each; `size` is that of crops of a layout
    layout = settle.layout(given.layout)
    asked, arrays = images
    shapes, sources = settled_images(tuple(arrays) if isinstance(asked, (list, tuple)) else arrays[0], layout)
    settled = finish_of(finish, shapes, layout, given)
    output_size = size(settled.layout)
    given = GivenCrops(boxes, batch_indices, layout, *given[3:])
    return CropPlan(kind, kernels, given, shapes, output_size, settled), sources
