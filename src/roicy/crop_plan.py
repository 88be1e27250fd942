"""Boxes on images that crops are cut from: an array of images, or a list of images of different sizes.

The boxes of each array of images are a plan (`roicy.plan`). Of a list each image is what the map of a level
is to a pyramid: tables know which rows they are of, and kernels write straight into the result of all boxes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from roicy import _arguments as settle
from roicy import _doubts, _labels
from roicy._backend import adopt
from roicy._kinds import Kind
from roicy._types import (
    Accumulate,
    AnyArray,
    Boxes,
    Indices,
    Invalid,
    Layout,
    Ndarray,
    OutputSize,
    Purpose,
    Regions,
    Shape,
    Size,
    Window,
)
from roicy.plan import Plan

if TYPE_CHECKING:
    from roicy._protocols import Backend


class GivenCrops(NamedTuple):
    """What every function on crops is told, as the caller gave it: boxes, and options of the geometry."""

    boxes: Boxes
    batch_indices: Indices | None
    layout: Layout
    invalid: Invalid
    options: Sequence[Any]
    window: Window | None = None


class Images(NamedTuple):
    """Shapes of images: one of four axes, or one with a single image for each item of a list.

    Attributes
    ----------
    shapes : tuple of Shape
    given : tuple of tuple of int
        As the caller has them, of three axes for a single image.
    listed : bool
        Whether there is a list.
    """

    shapes: tuple[Shape, ...]
    given: tuple[tuple[int, ...], ...]
    listed: bool

    @property
    def total(self) -> int:
        """How many images there are."""
        return len(self.shapes) if self.listed else self.shapes[0][0]


class CropPlan:
    """Boxes on images of fixed shapes."""

    def __init__(
        self,
        kind: Kind,
        kernels: Backend,
        given: GivenCrops,
        images: Images,
        output_size: Size,
        finish: settle.Finish,
    ) -> None:
        # arrays, layout, shapes and output_size come settled, the rest as the caller gave it
        boxes, batch_indices, layout, invalid, options, window = given
        if window is not None and images.listed:
            raise ValueError("window must be None for a list of images, each of which is whole")
        self._kernels = kernels
        self._rois = settle.rois(
            boxes, batch_indices, images.total, kernels.xp, kind.numbers, lent=not images.listed, name="boxes"
        )
        self._layout: Layout = layout
        self._images = images
        self._invalid = settle.invalid(invalid)
        self._finish = finish
        self._channels = images.shapes[0][1 if layout == "NCHW" else 3]
        shared, levels, invalid = self._rois, None, self._invalid
        if images.listed:
            shared, levels = _shared_out(self._rois, images.total, kernels.xp)
            invalid = "nan"  # invalid rows are looked for in all of them
        self._plans = tuple(
            Plan(
                kind,
                kernels,
                (shared, None, layout, invalid, None, None, window),
                shape,
                output_size,
                options,
                (levels, number),
                True,
            )
            for number, shape in enumerate(images.shapes)
        )
        rows, columns = output_size
        k = len(self._rois.boxes)
        self._output_shape: Shape = (
            (k, self._channels, rows, columns)
            if finish.layout == "NCHW"
            else (k, rows, columns, self._channels)
        )

    # ------------------------------------------------ the passes, with arrays of the plan's library

    def pool(self, images: Sequence[Ndarray], out: Ndarray) -> Ndarray:
        """Cut the boxes out of the images."""
        check_alike(images)
        finish, kernels = self._finish, self._kernels
        dtype = finish.result_dtype(images[0].dtype)
        labels = images[0].dtype in settle.WIDE_LABELS
        accumulate: Accumulate = (
            "float32" if labels else settle.features(images[0], images[0].shape, "images")[0]
        )
        out = settle.out(out, self._output_shape, dtype, *images, *self._rois.given)
        tables = self._tables(accumulate, "forward")
        if not out.size:
            return out
        written = settle.written_to(out, False)
        sources = [finish.ordered(settle.nchw(image, self._layout)) for image in images]
        target = settle.nchw(written, finish.layout)
        bordered = self._plans[0]._options[3] != "edge"
        if labels:
            for maps, parts, fill in _labels.runs(sources, target, finish, bordered, kernels.xp):
                self._apply(tables, maps, parts, fill)
        else:
            self._apply(tables, sources, target, finish.numbers(accumulate, bordered, kernels.xp))
        if written is not out:
            out[...] = written
        return out

    def _apply(
        self, tables: Sequence[Any], images: Sequence[Ndarray], target: Ndarray, numbers: Ndarray | None
    ) -> None:
        together = self._kernels.together(tables, "forward", target.shape[1]) if len(tables) > 1 else None
        kernels: Any = together or self._kernels
        for table, image in zip(tables, images, strict=True):
            kernels.axis_forward(table, image, target, numbers)
        if together is not None:
            together.take()
            together.run()

    def backward(self, grad_output: Ndarray, out: Any) -> list[Ndarray]:
        """Return the gradient with respect to each array of images."""
        accumulate, dtype = settle.grad_output(grad_output, self._output_shape)
        shapes = self._images.given
        outs = settle.out_of_each(out, shapes, dtype, grad_output, *self._rois.given)
        tables = self._tables(accumulate, "backward")
        finish, kernels = self._finish, self._kernels
        gradient = finish.gradient(settle.nchw(grad_output, finish.layout), kernels.xp)
        written = [settle.written_to(array, False) for array in outs]
        together = None
        if len(tables) > 1 and tables[0] is not None:
            together = kernels.together(tables, "backward", self._channels)
        applied: Any = together or kernels
        for table, target, shape in zip(tables, written, self._images.shapes, strict=True):
            if table is None:
                target[...] = 0
            elif target.size:
                # the gradient of reversed channels is that of their reverse
                nchw = settle.nchw(target.reshape(shape), self._layout)
                applied.axis_backward(table, gradient, finish.ordered(nchw))
        if together is not None:
            together.take()
            together.run()
        for array, target in zip(outs, written, strict=True):
            if target is not array:
                array[...] = target
        return outs

    def backward_boxes(self, grad_output: Ndarray, images: Sequence[Ndarray], out: Ndarray) -> Any:
        """Return the gradient with respect to the boxes."""
        rois, finish, kernels = self._rois, self._finish, self._kernels
        xp = kernels.xp
        if finish.chosen:
            raise ValueError("interpolation must be 'bilinear' for a gradient of boxes, got 'nearest'")
        check_alike(images)
        accumulate, real = settle.features(images[0], images[0].shape, "images")
        settle.grad_output(grad_output, self._output_shape)
        rois.check_out(out)
        out = settle.out(out, rois.boxes.shape, rois.boxes.dtype, grad_output, *images, *rois.given)
        tables = self._tables(accumulate, "backward_rois")
        gradient = finish.gradient(settle.nchw(grad_output, finish.layout), xp)
        gradient = gradient.astype(accumulate, copy=False)
        total = xp.zeros((len(rois.boxes), rois.columns))
        if self._plans[0]._options[3] == "constant" and finish.fill.any():
            fill = xp.asarray(finish.fill.astype(accumulate))[:, None, None]
        else:
            fill = None
        for table, image in zip(tables, images, strict=True):
            if table is None or not image.size:
                continue
            source = finish.ordered(settle.nchw(image, self._layout))
            if real.itemsize == 2:
                source = source.astype(accumulate)
            part = xp.zeros(total.shape)
            kernels.axis_backward_rois(table, gradient, source, part)
            with np.errstate(all="ignore"):
                total += part
                if fill is not None:  # what moves out of the image is the pixel less the fill that comes in
                    part = xp.zeros(total.shape)
                    kernels.axis_backward_rois(table, gradient, xp.broadcast_to(fill, source.shape), part)
                    total -= part
        written = settle.written_to(out, False)
        kernels.put_rows(total, written)
        if written is not out:
            out[...] = written
        return rois.as_given(out)

    # ------------------------------------------------ checks and tables

    def _tables(self, accumulate: Accumulate, purpose: Purpose) -> list[Any]:
        # all of them before anything is written: this is where invalid rows show
        rois, sizes = self._rois, [plan._regions.map_size for plan in self._plans]
        h, w = map(max, zip(*sizes, strict=True))
        everything = Regions(rois.boxes, rois.images, (self._images.total, self._channels, h, w), (1, 1))
        if self._images.listed and self._invalid == "raise" and len(rois.boxes):
            first = self._kernels.image_table(everything).first_invalid
            if first >= 0:
                raise rois.invalid_row(first, self._images.total)
        tables = [plan._table(accumulate, purpose) for plan in self._plans]
        if purpose == "forward" and self._plans[0]._options[0] != "unit_corners":  # those are normalised
            _doubts.warn(self._kernels.doubts(everything, 1.0), "boxes")
        return tables


def _shared_out(rois: settle.Rois, images: int, xp: Any) -> tuple[settle.Rois, Ndarray]:
    # the boxes with the image of each as a level; those that are invalid are with the first one, as such
    columns = rois.columns
    boxes, numbers = rois.boxes[:, -columns:].copy(), rois.images
    if numbers is None:
        column = rois.boxes[:, 0].copy()
        column[~((column > -1) & (column < images))] = -1
        numbers = column.astype(np.int64)
    valid = xp.isfinite(boxes).all(axis=1) & (numbers >= 0) & (numbers < images)
    levels = xp.where(valid, numbers, 0).astype(np.int32)
    within = xp.where(valid, 0, -1).astype(np.int64)
    return settle.Rois(boxes, columns, within, None, rois.given, "boxes"), levels


# ---------------------------------------------------------------- with arguments as a caller gives them


def settled_images(images: Any, layout: Layout) -> tuple[Images, tuple[Ndarray, ...]]:
    """Return the shapes of images, and the arrays with four axes each; a tuple of arrays is a list."""
    listed = isinstance(images, tuple)
    arrays, shapes, given = [], [], []
    for number, array in enumerate(images if listed else (images,)):
        name = f"images[{number}]" if listed else "images"
        if array.ndim == 3:
            whole = array[None]
        elif listed or array.ndim != 4:
            raise ValueError(f"{name} must have {_axes(layout, listed)}, got shape {array.shape}")
        else:
            whole = array
        arrays.append(whole)
        shapes.append(settle.features_shape(whole, layout, name))
        given.append(array.shape)
    _check_channels("images", shapes, layout)
    return Images(tuple(shapes), tuple(given), listed), tuple(arrays)


def check_alike(images: Sequence[Ndarray]) -> None:
    """Check that images are of one dtype."""
    for number, image in enumerate(images):
        if image.dtype != images[0].dtype:
            raise TypeError(
                f"images[{number}] must be {images[0].dtype}, the dtype of images[0], got {image.dtype}"
            )


def settled_shapes(value: Any, layout: Layout) -> Images:
    """Return the shapes of images that a caller gives, of three or four axes, or a list of such of three."""
    listed = isinstance(value, list) and all(isinstance(shape, (list, tuple)) for shape in value) and value
    shapes: list[Shape] = []
    given: list[tuple[int, ...]] = []
    for number, shape in enumerate(value if listed else (value,)):
        name = f"input_shape[{number}]" if listed else "input_shape"
        if not isinstance(shape, (tuple, list)):
            raise TypeError(f"{name} must be a tuple of ints, got {settle.shown(shape)}")
        if len(shape) == 3:
            shapes.append(settle.input_shape((1, *shape), layout, name))
            given.append(shapes[-1][1:])
        elif listed or len(shape) != 4:
            raise ValueError(f"{name} must have {_axes(layout, bool(listed))}, got {shape}")
        else:
            shapes.append(settle.input_shape(shape, layout, name))
            given.append(shapes[-1])
    _check_channels("input_shape", shapes, layout)
    return Images(tuple(shapes), tuple(given), bool(listed))


def _axes(layout: Layout, listed: bool) -> str:
    three, four = ("(C, H, W)", "(N, C, H, W)") if layout == "NCHW" else ("(H, W, C)", "(N, H, W, C)")
    return f"3 axes {three}" if listed else f"3 axes {three} or 4 axes {four}"


def _check_channels(name: str, shapes: Sequence[Shape], layout: Layout) -> None:
    axis = 1 if layout == "NCHW" else 3
    for number, shape in enumerate(shapes):
        if shape[axis] != shapes[0][axis]:
            raise ValueError(
                f"{name}[{number}] must have {shapes[0][axis]} channels, as {name}[0] has, got {shape[axis]}"
            )


def named(images: Any) -> dict[str, Any]:
    """Return images by the names that errors have for them."""
    if not isinstance(images, (list, tuple)):
        return {"images": images}
    if not images:
        raise ValueError("images must be an array or a list of at least one array, got an empty list")
    return {f"images[{number}]": image for number, image in enumerate(images)}


def crop(
    kind: Kind,
    given: GivenCrops,
    images: Any,
    output_size: OutputSize,
    finish: dict[str, Any],
    out: AnyArray | None,
) -> Any:
    """Cut boxes out of images."""
    kernels, boxes, batch_indices, out, *arrays = adopt(
        boxes=given.boxes, batch_indices=given.batch_indices, out=out, **named(images)
    )
    plan, sources = _planned(
        kind,
        kernels,
        given,
        boxes,
        batch_indices,
        (images, arrays),
        lambda _: settle.output_size(output_size),
        finish,
    )
    return plan.pool(sources, out)


def crop_backward(
    kind: Kind, given: GivenCrops, grad_output: Ndarray, input_shape: Any, finish: dict[str, Any], out: Any
) -> Any:
    """Return the gradient with respect to the images."""
    several = isinstance(out, (list, tuple))
    outs = {f"out[{number}]": array for number, array in enumerate(out)} if several else {"out": out}
    if out is None:
        outs = {}
    kernels, grad_output, boxes, batch_indices, *arrays = adopt(
        grad_output=grad_output, boxes=given.boxes, batch_indices=given.batch_indices, **outs
    )
    layout = settle.layout(given.layout)
    shapes = settled_shapes(input_shape, layout)
    if out is not None and (several != shapes.listed or len(arrays) != len(shapes.shapes)):
        expected = f"a list of {len(shapes.shapes)} arrays" if shapes.listed else "an array"
        raise TypeError(f"out must be {expected}, as input_shape is, got {type(out).__name__}")
    settled = _finish(finish, shapes, layout, given)
    size = settle.grad_output_size(grad_output, settled.layout)
    given = given._replace(boxes=boxes, batch_indices=batch_indices, layout=layout)
    grads = CropPlan(kind, kernels, given, shapes, size, settled).backward(grad_output, arrays or None)
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
    return plan.backward_boxes(grad_output, sources, out)


def _planned(
    kind: Kind,
    kernels: Backend,
    given: GivenCrops,
    boxes: Any,
    batch_indices: Any,
    images: tuple[Any, list[Ndarray]],
    size: Callable[[Layout], Size],
    finish: dict[str, Any],
) -> tuple[CropPlan, tuple[Ndarray, ...]]:
    # a plan of settled arrays, and the images with four axes each; `size` is that of crops of a layout
    layout = settle.layout(given.layout)
    asked, arrays = images
    shapes, sources = settled_images(tuple(arrays) if isinstance(asked, (list, tuple)) else arrays[0], layout)
    settled = _finish(finish, shapes, layout, given)
    output_size = size(settled.layout)
    given = given._replace(boxes=boxes, batch_indices=batch_indices, layout=layout)
    return CropPlan(kind, kernels, given, shapes, output_size, settled), sources


def _finish(finish: dict[str, Any], images: Images, layout: Layout, given: GivenCrops) -> settle.Finish:
    channels = images.shapes[0][1 if layout == "NCHW" else 3]
    chosen = settle.interpolation(given.options[1]) == "nearest"
    return settle.finish(channels, layout, chosen=chosen, **finish)
