"""Boxes on images that crops are cut from: an array of images, or a list of images of different sizes.

The boxes of each array of images are a plan (`roicy.plan`). Of a list each image is what the map of a level
is to a pyramid: tables know which rows they are of, and kernels write straight into the result of all boxes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Generic, NamedTuple

import numpy as np

from roicy import _arguments as settle
from roicy import _doubts, _labels
from roicy._backend import adopt
from roicy._given import Given
from roicy._images import Images, check_alike, named, named_outs, settled_images, settled_shapes
from roicy._kinds import Kind
from roicy._types import (
    Accumulate,
    AnyArray,
    Array,
    Boxes,
    Indices,
    Invalid,
    Layout,
    Ndarray,
    NumPyArray,
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
    """The arguments that all functions on crops share, as the caller gave them: boxes and geometry."""

    boxes: Boxes
    batch_indices: Indices | None
    layout: Layout
    invalid: Invalid
    options: Sequence[Any]
    window: Window | Sequence[Window | None] | None = None


class _ImagePlan(Plan[Array]):
    """The boxes on one image of a list, as a plan."""

    __slots__ = ()

    @property
    def _window_name(self) -> str:  # type: ignore[override]
        return f"window[{self._regions.level}]"


class CropPlan(Generic[Array]):
    """Boxes on images of fixed shapes; made by `roicy.crop_and_resize_plan`.

    Call it with images to cut the boxes out of them; `backward` and `backward_boxes` are the gradients.
    """

    def __init__(
        self,
        kind: Kind,
        kernels: Backend,
        given: GivenCrops,
        images: Images,
        output_size: Size,
        finish: settle.Finish,
        lent: bool = True,
    ) -> None:
        # arrays, layout, shapes and output_size come settled, the rest as the caller gave it
        boxes, batch_indices, layout, invalid, options, window = given
        windows = _windows(window, images, layout)
        self._kernels = kernels
        lent = lent and not images.listed
        self._rois = settle.rois(
            boxes, batch_indices, images.total, kernels.xp, kind.numbers, lent, name="boxes"
        )
        self._kind = kind
        self._checked = False
        self._layout: Layout = layout
        self._images = images
        self._invalid: Invalid = settle.invalid(invalid)
        self._finish = finish
        self._channels = images.shapes[0][1 if layout == "NCHW" else 3]
        shared, levels, invalid = self._rois, None, self._invalid
        if images.listed:
            shared, levels = _shared_out(self._rois, images.total, kernels.xp)
            invalid = "nan"  # invalid rows are looked for in all of them
        made: type[Plan[Any]] = _ImagePlan if images.listed else Plan
        self._plans = tuple(
            made(
                kind,
                kernels,
                Given(shared, None, layout, invalid, own),
                shape,
                output_size,
                options,
                (levels, number, False),
                lent=True,
            )
            for number, (shape, own) in enumerate(zip(images.shapes, windows, strict=True))
        )
        rows, columns = output_size
        k = len(self._rois.boxes)
        self._output_shape: Shape = (
            (k, self._channels, rows, columns)
            if finish.layout == "NCHW"
            else (k, rows, columns, self._channels)
        )

    @property
    def input_shape(self) -> tuple[int, ...] | list[tuple[int, ...]]:
        """Shape of the images, in the order of `layout`; a list of shapes for a list of images."""
        given = self._images.given
        return list(given) if self._images.listed else given[0]

    @property
    def output_size(self) -> Size:
        """Rows and columns of a crop."""
        return self._plans[0].output_size

    @property
    def output_shape(self) -> Shape:
        """Shape of the crops, in the order of `out_layout`."""
        return self._output_shape

    @property
    def layout(self) -> Layout:
        """Order of the axes of the images, "NCHW" or "NHWC"."""
        return self._layout

    @property
    def out_layout(self) -> Layout:
        """Order of the axes of the crops, "NCHW" or "NHWC"."""
        return self._finish.layout

    def __call__(self, images: Array | Sequence[Array], out: AnyArray | None = None) -> Array:
        """Cut the boxes out of images.

        Parameters
        ----------
        images : ndarray, shape `input_shape`, or sequence of ndarray
            As in `roicy.crop_and_resize`, of the shapes that the plan was made for.
        out : ndarray, shape `output_shape`, optional
            Where to write the result.

        Returns
        -------
        ndarray, shape `output_shape`
            As `roicy.crop_and_resize` returns it: `out` where that is given.
        """
        _, _, out, *arrays = adopt(rois=self._rois.boxes, out=out, **named(images))
        crops: Array = self._pool(self._as_planned(images, arrays), out)
        return crops

    def backward(self, grad_output: Array, out: AnyArray | Sequence[AnyArray] | None = None) -> Any:
        """Return the gradient with respect to the images.

        Parameters
        ----------
        grad_output : ndarray, shape `output_shape`
            Gradient with respect to the crops; float16, bfloat16, float32 or float64.
        out : ndarray, shape `input_shape`, or list of ndarray, optional
            Where to write the result; overwritten, not added to.

        Returns
        -------
        ndarray or list of ndarray
            As `roicy.crop_and_resize_backward` returns it: `out` where that is given.
        """
        _, grad_output, _, *arrays = adopt(
            grad_output=grad_output, rois=self._rois.boxes, **named_outs(out, self._images)
        )
        grads = self._backward(grad_output, arrays or None)
        return grads if self._images.listed else grads[0]

    def backward_boxes(
        self, grad_output: Array, images: AnyArray | Sequence[AnyArray], out: AnyArray | None = None
    ) -> Array | list[Array]:
        """Return the gradient with respect to the boxes.

        Parameters
        ----------
        grad_output : ndarray, shape `output_shape`
            Gradient with respect to the crops.
        images : ndarray, shape `input_shape`, or sequence of ndarray
            What was cut.
        out : ndarray, optional
            Where to write the result; not where the plan was made from a sequence of arrays.

        Returns
        -------
        ndarray or list of ndarray
            As `roicy.crop_and_resize_backward_boxes` returns it: `out` where that is given.
        """
        _, grad_output, _, out, *arrays = adopt(
            grad_output=grad_output, rois=self._rois.boxes, out=out, **named(images)
        )
        grads: Array | list[Array] = self._backward_boxes(grad_output, self._as_planned(images, arrays), out)
        return grads

    def __repr__(self) -> str:
        named_options = zip(self._kind.options, self._plans[0]._options, strict=False)
        window = self._window()
        options = "".join(f"{name}={value!r}, " for name, value in named_options)
        return (
            f"{type(self).__name__}({self._kind.operator}, {len(self._rois.boxes)} boxes, "
            f"input_shape={self.input_shape}, output_size={self.output_size}, {options}"
            f"layout={self._layout!r}, out_layout={self.out_layout!r}"
            f"{'' if window is None else f', window={window}'})"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        # what is copied or pickled are the arguments: the tables are made again, where the copy will be used
        rois, finish = self._rois, self._finish
        given = GivenCrops(
            rois.as_given(rois.boxes),
            rois.images if rois.lengths is None else None,
            self._layout,
            self._invalid,
            self._plans[0]._options,
            self._window(),
        )
        finishing = {
            "fill": finish.fill,
            "mean": finish.mean,
            "std": finish.std,
            "reverse_channels": finish.reversed,
            "dtype": finish.dtype,
            "out_layout": finish.layout,
        }
        return _made_again, (self._kind, tuple(given), self.input_shape, self.output_size, finishing)

    # ------------------------------------------------ the passes, with arrays of the plan's library

    def _pool(self, images: Sequence[Ndarray], out: Ndarray) -> Ndarray:
        """Cut the boxes out of the images."""
        check_alike(images)
        finish = self._finish
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
            for maps, parts, fill in _labels.runs(sources, target, finish, bordered):
                self._apply(tables, maps, parts, fill)
        else:
            self._apply(tables, sources, target, finish.numbers(accumulate, bordered))
        if written is not out:
            out[...] = written
        return out

    def _apply(
        self, tables: Sequence[Any], images: Sequence[Ndarray], target: Ndarray, numbers: NumPyArray | None
    ) -> None:
        together = self._kernels.together(tables, "forward", target.shape[1]) if len(tables) > 1 else None
        kernels: Any = together or self._kernels
        for table, image in zip(tables, images, strict=True):
            kernels.axis_forward(table, image, target, numbers)
        if together is not None:
            together.take()
            together.run()

    def _backward(self, grad_output: Ndarray, out: Any) -> list[Ndarray]:
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

    def _backward_boxes(self, grad_output: Ndarray, images: Sequence[Ndarray], out: Ndarray) -> Any:
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
        if self._plans[0]._options[3] == "constant" and finish.filled:
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

    def _as_planned(self, images: Any, arrays: list[Ndarray]) -> tuple[Ndarray, ...]:
        # images as a caller has them, with four axes each, of the plan's shapes
        listed = isinstance(images, (list, tuple))
        shapes, sources = settled_images(tuple(arrays) if listed else arrays[0], self._layout)
        if listed != self._images.listed or shapes.given != self._images.given:
            got = list(shapes.given) if listed else shapes.given[0]
            raise ValueError(f"images must have shape {self.input_shape}, as the plan has it, got {got}")
        return sources

    def _tables(self, accumulate: Accumulate, purpose: Purpose) -> list[Any]:
        # all of them before anything is written: this is where invalid rows show
        if self._checked:
            return [plan._table(accumulate, purpose) for plan in self._plans]
        if self._images.listed:
            self._check_rows()
        tables = [plan._table(accumulate, purpose) for plan in self._plans]
        if purpose == "forward":
            self._look_at(tables)
        return tables

    def _window(self) -> Any:
        # as a caller gives it
        windows = [plan._regions.window for plan in self._plans]
        return (windows if any(windows) else None) if self._images.listed else windows[0]

    def _everything(self) -> Regions:
        rois, sizes = self._rois, [plan._regions.map_size for plan in self._plans]
        h, w = map(max, zip(*sizes, strict=True))
        return Regions(rois.boxes, rois.images, (self._images.total, self._channels, h, w), (1, 1))

    def _check_rows(self) -> None:
        # those of a list, of which no plan says that a row is invalid
        if self._images.listed and self._invalid == "raise" and len(self._rois.boxes):
            first = self._kernels.image_table(self._everything()).first_invalid
            if first >= 0:
                raise self._rois.invalid_row(first, self._images.total)

    def _look_at(self, tables: Sequence[Any]) -> None:
        # the tables of a list are of the boxes of one image each
        doubtful = self._images.listed or (tables[0] is not None and tables[0].doubtful)
        if doubtful and self._plans[0]._options[0] != "unit_corners":  # those are normalised
            _doubts.warn(self._kernels.doubts(self._everything(), 1.0), "boxes")

    def _keep(self) -> None:
        # From here on the caller's arrays may change: the boxes are the plan's own and known to be good.
        self._check_rows()
        for plan in self._plans:
            plan._keep()
        self._look_at([plan._tables.get(("float32", "forward")) for plan in self._plans])
        self._checked = True
        self._rois.given = ()


def _windows(window: Any, images: Images, layout: Layout) -> Sequence[Any]:
    # that of each array of images
    if not images.listed:
        return (window,)
    if window is None:
        return (None,) * images.total
    if not isinstance(window, (list, tuple)):
        raise TypeError(
            f"window must be a list of windows, one for each image of a list, got {type(window).__name__}"
        )
    if len(window) != images.total:
        raise ValueError(
            f"window must have {images.total} items for a list of so many images, got {len(window)}"
        )
    return [
        settle.window(own, shape, layout, f"window[{number}]")
        for number, (own, shape) in enumerate(zip(window, images.shapes, strict=True))
    ]


def _shared_out(rois: settle.Rois, images: int, xp: Any) -> tuple[settle.Rois, Ndarray]:
    # the boxes, with the image of each as its level; invalid boxes go to the first image and stay invalid
    columns = rois.columns
    boxes, numbers = rois.boxes[:, -columns:].copy(), settle.image_numbers(rois, images, xp)
    valid = xp.isfinite(boxes).all(axis=1) & (numbers >= 0) & (numbers < images)
    levels = xp.where(valid, numbers, 0).astype(np.int32)
    within = xp.where(valid, 0, -1).astype(np.int64)
    return settle.Rois(boxes, columns, within, None, rois.given, "boxes"), levels


# ---------------------------------------------------------------- with arguments as a caller gives them


def finish_of(finish: dict[str, Any], images: Images, layout: Layout, given: GivenCrops) -> settle.Finish:
    """Return the options for finishing values, from arguments as a caller gives them."""
    channels = images.shapes[0][1 if layout == "NCHW" else 3]
    chosen = settle.interpolation(given.options[1]) == "nearest"
    return settle.finish(channels, layout, chosen=chosen, **finish)


def keep(
    kind: Kind, given: GivenCrops, input_shape: Any, output_size: OutputSize, finish: dict[str, Any]
) -> CropPlan[Any]:
    """Return a plan with its first tables, from arguments as a caller gives them."""
    layout = settle.layout(given.layout)
    kernels, boxes, batch_indices = adopt(boxes=given.boxes, batch_indices=given.batch_indices)
    shapes, size = settled_shapes(input_shape, layout), settle.output_size(output_size)
    settled = finish_of(finish, shapes, layout, given)
    given = GivenCrops(boxes, batch_indices, layout, *given[3:])
    plan: CropPlan[Any] = CropPlan(kind, kernels, given, shapes, size, settled, lent=False)
    plan._keep()
    return plan


def _made_again(
    kind: Kind, given: tuple[Any, ...], input_shape: Any, output_size: Size, finish: dict[str, Any]
) -> CropPlan[Any]:
    try:
        return keep(kind, GivenCrops(*given), input_shape, output_size, finish)
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(
            f"a stored CropPlan must hold the arguments that make one, got others: {error}"
        ) from error
