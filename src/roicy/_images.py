"""Images that crops are cut from: an array of them, or a list of images of different sizes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from roicy import _arguments as settle
from roicy._arguments import instead
from roicy._types import Layout, Ndarray, Shape


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


def settled_images(images: Any, layout: Layout) -> tuple[Images, tuple[Ndarray, ...]]:
    """Return the shapes of images, and the arrays with four axes each; a tuple of arrays is a list."""
    listed = isinstance(images, tuple)
    arrays, shapes, given = [], [], []
    for number, array in enumerate(images if listed else (images,)):
        name = f"images[{number}]" if listed else "images"
        if array.ndim == 3:
            whole = array[None]
        elif listed or array.ndim != 4:
            raise ValueError(
                f"{name} must have {_axes(layout, listed)}, got shape {array.shape}"
                f"{instead.of_image(name, array.shape, layout)}"
            )
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
    """Return the shapes of images: given as one shape of 3 or 4 axes, or as a list of shapes of 3 axes."""
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


def named_outs(out: Any, images: Images) -> dict[str, Any]:
    """Return where gradients of images go, by the names that errors have for them; nothing for None."""
    if out is None:
        return {}
    several = isinstance(out, (list, tuple))
    if several != images.listed or (several and len(out) != len(images.shapes)):
        expected = f"a list of {len(images.shapes)} arrays" if images.listed else "an array"
        raise TypeError(f"out must be {expected}, as input_shape is, got {type(out).__name__}")
    return {f"out[{number}]": array for number, array in enumerate(out)} if several else {"out": out}
