"""Crops of quadrangles, in perspective."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from roicy import _arguments as settle
from roicy import _doubts, _labels
from roicy._arguments import instead
from roicy._backend import adopt
from roicy._given import Given
from roicy._images import check_alike, named, settled_images
from roicy._types import (
    CONSTANT,
    EDGE,
    REJECT,
    AnyArray,
    Array,
    Border,
    Flag,
    Indices,
    Integer,
    Interpolation,
    Invalid,
    Layout,
    Ndarray,
    OutputSize,
    PerChannel,
    Quads,
    Regions,
    Shape,
    Size,
    Window,
)
from roicy.cpu.runtime.calls import Known

if TYPE_CHECKING:
    from roicy._protocols import Backend

_BORDERS = {"edge": EDGE, "constant": CONSTANT, "reject": REJECT}
#: What the numbers of a quadrangle are.
NUMBERS = tuple(f"{axis}{corner}" for corner in range(1, 5) for axis in "xy")

#: An object for each kind of calls whose options were checked.
_known = Known(256)


def crop_quads(
    images: Array | Sequence[Array],
    corners: Quads,
    output_size: OutputSize,
    *,
    batch_indices: Indices | None = None,
    interpolation: Interpolation = "bilinear",
    sampling_ratio: Integer = 1,
    border: Border = "constant",
    fill: PerChannel = 0.0,
    mean: PerChannel | None = None,
    std: PerChannel | None = None,
    reverse_channels: Flag = False,
    layout: Layout = "NHWC",
    out_layout: Layout | None = None,
    dtype: Any = None,
    invalid: Invalid = "raise",
    window: Window | None = None,
    out: AnyArray | None = None,
) -> Array:
    """Cut quadrangles out of images, each straightened into a rectangle, and normalise what is cut.

    A line of text on a poster, or a number plate, is seen in perspective. Its crop shows it as it looks from
    straight ahead, and is made ready for the next model in one pass over the pixels.

    Parameters
    ----------
    images : ndarray, shape (N, H, W, C) or (H, W, C), or sequence of ndarray, shape (H_i, W_i, C)
        Images of at least one pixel, as in `crop_and_resize`: an array, or a list or tuple of images of
        different sizes, all of one dtype. With ``layout="NCHW"`` the channels come before the rows.
    corners : ndarray, shape (K, 4, 2), or sequence of N ndarrays, shape (L_i, 4, 2)
        x and y of the corners that become top left, top right, bottom right and bottom left, in pixels of the
        image, where pixel ``i`` reaches from ``i`` to ``i + 1``; a list or tuple has those of image 0, 1, ...
        `rotated_corners` finds those of rotated boxes and of OpenCV's rectangles; for OpenCV's own functions,
        subtract 0.5.
    output_size : int or (int, int)
        Rows and columns of a crop (PH, PW); an int is both.
    batch_indices : ndarray, shape (K,), any integer dtype, or list of int, optional
        The image of each quadrangle, where there are several, and `corners` is one array.
    interpolation : {"bilinear", "nearest"}, optional
        What a sample is: a mean of the four pixels around it, or the pixel that it lies in. "nearest" is for
        labels.
    sampling_ratio : int, optional
        Samples along either axis for each pixel of a crop, which is their mean; 128 at the most. 0 is for as
        many as it covers pixels of the image along the quadrangle's longer sides, up to 128: a crop that is
        smaller than its quadrangle has no aliasing then. 1 with ``interpolation="nearest"``.
    border, fill, mean, std, reverse_channels, layout, out_layout, dtype : optional
        As in `crop_and_resize`.
    invalid : {"raise", "nan"}, optional
        What to do about rows whose batch index lies outside 0 ... N - 1 or that hold a NaN or an infinity.
        "raise": ValueError that names the first such row. "nan": the crop is NaN, in integers 0.
    window : tuple of 4 ints, optional
        As in `crop_and_resize`: `images` are an array of parts of larger images, on which the corners lie.
    out : ndarray, optional
        Where to write the result: of its exact shape and dtype, strided in any way.

    Returns
    -------
    ndarray, shape (K, PH, PW, C)
        Crops, with ``out_layout="NCHW"`` of shape (K, C, PH, PW); `out` where that is given.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as listed, or a row of `corners` is invalid and ``invalid="raise"``.

    See Also
    --------
    crop_and_resize : The same of boxes, and its gradients.
    rotated_corners : The corners of rotated boxes.

    Notes
    -----
    The middle of pixel (p, q) of a crop is where the perspective view that lays the corners of the crop on
    those of the quadrangle has the point ((p + 0.5) / PH, (q + 0.5) / PW); several samples are in the middle
    of as many equal parts of the pixel. Of a parallelogram, and so of a rotated box, that is as in
    `roi_align_rotated` with the same ``sampling_ratio``, to rounding, inside of the image. What lies behind
    the horizon is `fill`. Of three corners in a line there is no such view: what the crop holds then has no
    meaning, but is finite.

    With the matrix that ``cv2.getPerspectiveTransform`` finds between these corners, less 0.5, and those of
    the crop, (-0.5, -0.5), (PW - 0.5, -0.5), (PW - 0.5, PH - 0.5) and (-0.5, PH - 0.5),
    ``cv2.warpPerspective`` gives the same to its own rounding; with corners at (0, 0), (PW, 0), ..., as is
    often seen, what is cut is half a pixel off.

    Samples are placed and summed in float32; labels of wider integers keep every bit. Results do not depend
    on the number of threads. An image in host memory has at most 2 GiB.

    Examples
    --------
    >>> import numpy as np
    >>> import roicy
    >>> image = np.arange(16, dtype=np.uint8).reshape(4, 4, 1)
    >>> corners = np.array([[[4, 0], [4, 4], [0, 4], [0, 0]]])
    >>> roicy.crop_quads(image, corners, 4)[0, :, :, 0]
    array([[ 3.,  7., 11., 15.],
           [ 2.,  6., 10., 14.],
           [ 1.,  5.,  9., 13.],
           [ 0.,  4.,  8., 12.]], dtype=float32)
    """
    quads: Any = corners
    given = Given(quads, batch_indices, layout, invalid, window)
    samples = interpolation, sampling_ratio, border
    finish = {
        "fill": fill,
        "mean": mean,
        "std": std,
        "reverse_channels": reverse_channels,
        "dtype": dtype,
        "out_layout": out_layout,
    }
    crops: Array = _crop(given, images, output_size, samples, finish, out)
    return crops


def _crop(
    given: Given,
    images: Any,
    output_size: OutputSize,
    samples: tuple[Any, ...],
    finish: dict[str, Any],
    out: Any,
) -> Any:
    kernels, given.rois, given.batch_indices, out, *arrays = adopt(
        corners=given.rois, batch_indices=given.batch_indices, out=out, **named(images)
    )
    listed = isinstance(images, (list, tuple))
    sources = tuple(arrays) if listed else arrays[0]
    cut = kernels, given, sources, output_size, samples, finish, out
    if kernels.again is None or given.window is not None or not _is_alone(given):
        return _cut(*cut)
    return _again(cut, arrays, listed)


def _is_alone(given: Given) -> bool:
    # whether the work of a call depends on one array of quadrangles, which are not checked, and options
    return type(given.rois) is not tuple and type(given.invalid) is str and given.invalid == "nan"


def _again(cut: tuple[Any, ...], arrays: Sequence[Ndarray], listed: bool) -> Any:
    # ``_cut(*cut)``, or what repeats an earlier call
    kernels, given, _, output_size, samples, finish, out = cut
    plain = [tuple(value) if type(value) is list else value for value in finish.values()]
    shapes = tuple([array.shape for array in arrays])
    call = listed, given.layout, shapes, output_size, given.rois.dtype, samples, *plain

    def fresh() -> tuple[Any, Any]:
        crops, known = _cut(*cut), _known.get(call)
        if known is None:
            known = object()
            _known.put(call, known)
        return known, crops

    return kernels.again.run(
        _known.get(call), "quads", (*arrays, given.rois, given.batch_indices), out, fresh
    )


def _cut(
    kernels: Backend,
    given: Given,
    images: Any,
    output_size: OutputSize,
    samples: tuple[Any, ...],
    options: dict[str, Any],
    out: Any,
) -> Any:
    # with arrays as the kernels take them
    order = settle.layout(given.layout)
    shapes, sources = settled_images(images, order)
    maps = tuple(settle.nchw(source, order) for source in sources)
    if given.window is None:
        check_pixels(maps, shapes.listed)
    elif shapes.listed:
        raise ValueError("window must be None for a list of images, which are given as a whole")
    part = settle.window(given.window, maps[0].shape, "NCHW")
    check_alike(maps)
    size: Size = settle.output_size(output_size)
    quads = settled(kernels, given.rois, given.batch_indices, shapes.total)
    ratio, rule = _samples(*samples)
    channels, dtype_in = maps[0].shape[1], maps[0].dtype
    finish = settle.finish(channels, order, **options, chosen=rule[1])
    labels = dtype_in in settle.WIDE_LABELS
    if not labels:
        settle.features(maps[0], maps[0].shape, "images")
    result = finish.result_dtype(dtype_in)
    raising = settle.invalid(given.invalid) == "raise"
    k = len(quads.boxes)
    crop_shape = (k, channels, *size) if finish.layout == "NCHW" else (k, *size, channels)
    crops: Ndarray = settle.out(out, crop_shape, result, *sources, *quads.given)
    sizes = [array.shape[2:] for array in maps] if part is None else [part[2:]]
    image_size: Size = max(height for height, _ in sizes), max(width for _, width in sizes)
    table = _table(kernels, quads, shapes.total, image_size, size, ratio)
    if raising and table.first_invalid >= 0:
        raise quads.invalid_row(table.first_invalid, shapes.total)
    if part is not None:
        regions = Regions(quads.boxes, quads.images, maps[0].shape, size, window=part)
        read = table.touched(image_size, size, rule)
        maps = (_of_part(kernels.xp, maps[0], read, quads, regions),)
    _doubts.warn(table.look, "corners")
    if not crops.size:
        return crops
    written = settle.written_to(crops, False)
    target = settle.nchw(written, finish.layout)
    if labels:
        ordered = [finish.ordered(array) for array in maps]
        for parts, of_target, numbers in _labels.runs(ordered, target, finish, True):
            kernels.quad_forward(table, tuple(parts), of_target, numbers, rule, part)
    else:
        numbers = finish.numbers("float32", True)
        if numbers is not None and finish.reversed:  # here the target is, whose last channel comes first
            numbers[:, :channels] = numbers[:, :channels][:, ::-1].copy()
        kernels.quad_forward(table, maps, finish.ordered(target), numbers, rule, part)
    if written is not crops:
        crops[...] = written
    return crops


def quads_windows(given: Given, shape: Shape, size: Size, options: Sequence[Any]) -> Ndarray:
    """Return what quadrangles read of images of a shape, as `roicy.rois_windows` has it.

    Options are those that say where samples lie: interpolation, sampling_ratio and border.
    """
    kernels, corners, batch_indices = adopt(corners=given.rois, batch_indices=given.batch_indices)
    images = shape[0]
    height, width = shape[2:] if given.layout == "NCHW" else shape[1:3]
    if not (height and width):
        raise ValueError(f"input_shape must have at least one pixel, got {height} rows and {width} columns")
    quads = settled(kernels, corners, batch_indices, images)
    ratio, rule = _samples(*options)
    table = _table(kernels, quads, images, (height, width), size, ratio)
    if settle.invalid(given.invalid) == "raise" and table.first_invalid >= 0:
        raise quads.invalid_row(table.first_invalid, images)
    return table.touched((height, width), size, rule)


def _samples(
    interpolation: Interpolation, sampling_ratio: Integer, border: Border
) -> tuple[int, tuple[int, bool]]:
    # how many there are of a pixel, what lies outside, and whether one is the nearest pixel
    nearest = settle.interpolation(interpolation) == "nearest"
    ratio = settle.rotated_sampling_ratio(sampling_ratio, "quadrangles")
    if nearest and ratio != 1:
        raise ValueError(f"sampling_ratio must be 1 for interpolation='nearest', got {sampling_ratio}")
    return ratio, (_BORDERS[settle.border(border)], nearest)


def _table(
    kernels: Backend, quads: settle.Rois, images: int, image_size: Size, size: Size, ratio: int
) -> Any:
    # zeros that no call has to make are none of the addresses that another one repeats
    indices = None if quads.alone and kernels.again is not None else quads.images
    return kernels.quad_table(quads.boxes, indices, images, image_size, size, ratio)


def _of_part(xp: Any, image: Ndarray, read: Ndarray, quads: settle.Rois, regions: Regions) -> Ndarray:
    # the part of images that is given, which holds what is read of them; where that is nothing, some pixel
    top, left, _, _ = regions.window or (0, 0, 0, 0)
    n, channels, rows, columns = image.shape
    reads = read[:, 2] > read[:, 0]
    beyond = reads & ((read[:, 0] < top) | (read[:, 1] < left))
    beyond |= reads & ((read[:, 2] > top + rows) | (read[:, 3] > left + columns))
    if beyond.any():
        row = int(settle.on_host(beyond).argmax())
        raise settle.outside_error(quads, (row, tuple(read[row].tolist())), regions, "window")
    return image if rows and columns else xp.zeros((n, channels, 1, 1), image.dtype)


def check_pixels(maps: tuple[Ndarray, ...], listed: bool) -> None:
    """Check that images (N, C, H, W) have pixels."""
    for number, array in enumerate(maps):
        if not (array.shape[2] and array.shape[3]):
            name = f"images[{number}]" if listed else "images"
            raise ValueError(f"{name} must have at least one pixel, got shape {array.shape}")


def settled(kernels: Backend, corners: Any, batch_indices: Any, images: int) -> settle.Rois:
    """Return eight numbers of each quadrangle, and its image, in memory of their own."""
    listed = isinstance(corners, tuple) and bool(corners or not images)
    given: tuple[Any, ...] = (corners,)
    if isinstance(corners, tuple):
        given = corners if listed else (kernels.xp.empty(0, np.float32),)
    if not listed and given[0].shape == (0,) and batch_indices is None:  # an empty list, of whatever images
        batch_indices = kernels.xp.empty(0, np.int64)
    for number, array in enumerate(given):
        if array.shape != (0,) and (array.ndim != 3 or array.shape[1:] != (4, 2)):
            name, axis = (f"corners[{number}]", "L") if listed else ("corners", "K")
            raise ValueError(
                f"{name} must have shape ({axis}, 4, 2), x and y of four corners, got {array.shape}"
                f"{instead.of_quads(name, array.shape)}"
            )
    if batch_indices is None and images != 1 and not listed:
        raise ValueError(
            f"batch_indices must say the image of each of the corners where N is {images}, got None"
        )
    flat = tuple(array.reshape(-1, len(NUMBERS)) for array in given)
    rows: Any = flat if listed else flat[0]
    # each number is read once: where a device computes, they may be the caller's
    return settle.rois(rows, batch_indices, images, kernels.xp, NUMBERS, True, name="corners")
