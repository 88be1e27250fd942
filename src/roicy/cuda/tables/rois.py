"""The RoIs of a call, on the device: the base of all tables."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np

from roicy._types import Cover, Ndarray, Regions, Sampling, Shape, Size
from roicy.cuda.device import Arguments, Device, name_of, table_options
from roicy.cuda.memory import Memory, Wanted
from roicy.cuda.structs import POINTER, Address, Layout, Struct, address
from roicy.cuda.tuning import CONSTANTS

#: RoIs up to which a block looks at those of all images instead of at a list of its image's.
UNSORTED = 1024
#: RoIs, times images, up to which a block looks at all RoIs for those of its image; more are sorted.
LOOKED_AT = 2**25
#: Instead of an image, as in rois.cuh: the row belongs to another table.
ELSEWHERE = -2
_INT32_MAX = 2**31 - 1

#: As in rois.cuh.
ROIS = Layout(
    image=POINTER,
    window=POINTER,
    count=np.int64,
    images=np.int64,
    height=np.int32,
    width=np.int32,
    map_height=np.int32,
    map_width=np.int32,
    top=np.int32,
    left=np.int32,
    rows=np.int32,
    columns=np.int32,
)
BOXES = Layout(numbers=POINTER, images=POINTER, columns=np.int32, given=np.int32)
BY_IMAGE = Layout(order=POINTER, start=POINTER)
#: As in rois.cu.
COVER = Layout(height=np.int64, width=np.int64, steps_y=np.int64, steps_x=np.int64, regions=np.int64)
#: As in samples.h.
SAMPLING = Layout(
    spatial_scale=np.float64,
    sampling_ratio=np.int32,
    aligned=np.int32,
    rule=np.int32,
    border=np.int32,
    nearest=np.int32,
)


class RoiTable:
    """The RoIs of a call; the tables of the operators derive from it.

    A table has a `Memory`, with two arrays beside the operator's: ``image``, (K,), int64, the image of each
    RoI, -1 where the row is invalid; and ``window``, (K, 4), int32, the part of the map that it reads: top,
    bottom, left, right. Rows of other levels stay in the table, as `ELSEWHERE`: how many there are the host
    would have to wait for. The kernel that fills the table fills both.

    Parameters
    ----------
    device : Device
        Where the table is.
    regions : Regions
        Boxes, maps and bins.
    accumulate : {"float32", "float64"}
        Type of the weights.

    Attributes
    ----------
    memory : Memory
        What the table keeps.
    packed : Struct
        The table as an argument of kernels.
    packed_rois : Struct
        The RoIs as an argument of kernels: a struct Rois.
    doubtful : bool
        Whether boxes may look as if something else was meant: nobody waits for the device to know.
    map_size : tuple of int
        Rows and columns of whole maps, on which samples lie.
    begin : tuple of int or None
        Where on them the arrays begin that are given; None where these are all.
    beyond : tuple or None
        Of the first row that reads beyond what is given: which one it is, and from which row and column to
        which it reads, (row, (top, left, bottom, right)). Such a table is not to be used.
    """

    doubtful = False
    beyond: tuple[int, tuple[int, int, int, int]] | None = None
    memory: Memory
    packed: Struct
    packed_rois: Struct

    def __init__(self, device: Device, regions: Regions, accumulate: str) -> None:
        boxes, images, input_shape = regions.boxes, regions.images, regions.input_shape
        if input_shape[1] > _INT32_MAX:
            raise ValueError(
                f"features must have at most {_INT32_MAX} channels on a GPU, got {input_shape[1]}"
            )
        self.device = device
        self.boxes = boxes
        self.images = None if regions.alone else images
        self._given = 0 if images is None else 1
        if regions.levels is not None:
            self._given = 2
            if not regions.apart:
                self.images = device.xp.where(regions.levels == regions.level, images, np.int64(ELSEWHERE))
        self.rois = len(boxes)
        self.input_shape = input_shape
        self.map_size = regions.map_size
        self.begin: Size | None = None if regions.window is None else regions.window[:2]
        self.output_size = regions.output_size
        self.accumulate = accumulate
        self._options = table_options(name_of(boxes.dtype), accumulate)
        self._first_invalid: int | None = None
        self._by_image: Struct | None = None
        self._sorted: Memory | None = None

    def keep(self, wanted: Wanted) -> None:
        """Take memory for what the table keeps."""
        self.memory = Memory(self.device, wanted)
        self.packed_rois = self.memory.packed(packed_numbers, *self._shapes())

    def numbers(self) -> Struct:
        """Return the argument for the RoIs without memory: a struct Rois with null pointers."""
        return packed_numbers({"image": None, "window": None}, *self._shapes())

    def _shapes(self) -> tuple[int, Shape, Size, Size, Size]:
        return self.rois, self.input_shape, self.map_size, self.begin or (0, 0), self.output_size

    def launch_table(
        self, kernel: str, blocks: int, threads: int, arguments: Arguments, source: str = "rois"
    ) -> None:
        """Run a kernel that is specialised for the dtype of the boxes and the type of the weights."""
        self.device.launch(source, kernel, self._options, blocks, threads, arguments)

    def packed_boxes(self) -> Struct:
        """Return the boxes as an argument of the kernel that fills the table: a struct Boxes."""
        return packed_boxes(self.device, self.boxes, self.images, self._given)

    @property
    def first_invalid(self) -> int:
        """First invalid row, -1 if all are valid; waits for the device."""
        if self._first_invalid is None:
            first = self.device.empty(1, np.int64)
            self.launch_table("first_invalid", 1, 256, (self.packed_rois, first))
            (found,) = self.device.answer(first, (self.rois,))
            self._first_invalid = -1 if found == self.rois else found
        return self._first_invalid

    @property
    def extents(self) -> list[tuple[int, int]]:
        """Where its memories begin, and how many bytes they have."""
        return [memory.extent for memory in (self.memory, self._sorted) if memory is not None]

    def touched(self) -> Ndarray:
        """As of `roicy.cpu.tables.rois.RoiTable`, of a part that begins where the map does."""
        top, bottom, left, right = self.memory.array("window").astype(np.int64).T
        reads = (bottom > top) & (right > left)
        return self.device.xp.stack([top, left, bottom, right], axis=1) * reads[:, None]

    def move(self) -> Ndarray:
        """Count windows from where the part of the maps begins that is given; return which boxes read.

        Of a box that reads beyond, the first one is noted as `beyond`; waits for the device.
        """
        xp, (y, x) = self.device.xp, self.begin or (0, 0)
        _, _, height, width = self.input_shape
        window = self.memory.array("window")
        reads = (window[:, 1] > window[:, 0]) & (window[:, 3] > window[:, 2])
        window[...] = xp.where(reads[:, None], window - xp.asarray([y, y, x, x], np.int32), 0)
        top, bottom, left, right = window.T
        wrong = reads & ((top < 0) | (bottom > height) | (left < 0) | (right > width))
        if bool(wrong.any()):
            row = int(wrong.argmax())
            top, bottom, left, right = window[row].tolist()
            self.beyond = row, (top + y, left + x, bottom + y, right + x)
        return reads

    def serves(self, purpose: str) -> bool:
        """Return whether the table has all that the kernels of a purpose will ask for."""
        return purpose != "backward" or self._by_image is not None

    def serve(self, purpose: str) -> None:
        """Make what the kernels of a purpose will ask for."""
        if purpose == "backward":
            self.packed_by_image()

    def packed_by_image(self) -> Struct:
        """Return the RoIs sorted by image, as an argument of kernels: a struct ByImage."""
        if self._by_image is None:
            n, rois = self.input_shape[0], self.rois
            if n == 1 or rois <= UNSORTED:
                self._by_image = BY_IMAGE(order=None, start=None)
            elif n * rois <= LOOKED_AT:
                self._sorted = Memory(self.device, _wanted_of_order(rois, n))
                order, start = self._sorted.parts["order"], self._sorted.parts["start"]
                arguments: Arguments = self.memory.parts["image"], np.int64(rois), np.int64(n), order, start
                self.launch_table("order_by_image", n, CONSTANTS["rois"]["SORTERS"], arguments)
                self._by_image = BY_IMAGE(order=order, start=start)
            else:
                xp, image = self.device.xp, self.memory.array("image")
                order = xp.argsort(image, kind="stable").astype(np.int64, copy=False)
                start = xp.empty(n + 1, np.int64)
                arguments = image[order], np.int64(rois), np.int64(n), start
                self.launch_table("image_starts", -(-(n + 1) // 128), 128, arguments)
                self._by_image = BY_IMAGE(order=order, start=start)
        return self._by_image


class ImageTable(RoiTable):
    """Which image each RoI belongs to, and nothing else."""

    def __init__(self, device: Device, regions: Regions) -> None:
        super().__init__(device, regions, "float32")
        self.keep(wanted_of_rois(self.rois))
        self.launch_table("find_images", -(-self.rois // 128), 128, (self.packed_boxes(), self.packed_rois))


def cover_boxes(device: Device, cover: Cover, images: int) -> Ndarray:
    """Return the regions of R-MAC of all images."""
    boxes = device.empty((images * cover.regions, 5))
    options = table_options("float64", "float32")
    arguments = packed_cover(cover), np.int64(images), boxes
    device.launch("rois", "cover", options, -(-len(boxes) // 128), 128, arguments)
    return boxes


@functools.lru_cache(64)
def packed_cover(cover: Cover) -> Struct:
    """Return what describes them as an argument of a kernel: a struct Cover."""
    return COVER(**{name: value for name, value in cover._asdict().items() if name != "scales"})


def of_rois(rois: int) -> dict[str, Any]:
    """Return what every table keeps, as `Wanted` takes it."""
    return {"image": ((rois,), np.int64), "window": ((rois, 4), np.int32)}


@functools.lru_cache(64)
def _wanted_of_order(rois: int, images: int) -> Wanted:
    return Wanted(order=((rois,), np.int64), start=((images + 1,), np.int64))


@functools.lru_cache(64)
def wanted_of_rois(rois: int) -> Wanted:
    """Return that and nothing else."""
    return Wanted(**of_rois(rois))


def packed_numbers(
    parts: Mapping[str, Any], rois: int, input_shape: Shape, map_size: Size, begin: Size, output_size: Size
) -> Struct:
    """Return the RoIs as an argument of kernels: a struct Rois."""
    images, _, height, width = input_shape
    rows, columns = output_size
    return ROIS(
        image=parts["image"],
        window=parts["window"],
        count=rois,
        images=images,
        height=height,
        width=width,
        map_height=map_size[0],
        map_width=map_size[1],
        top=begin[0],
        left=begin[1],
        rows=rows,
        columns=columns,
    )


def packed_boxes(device: Device, boxes: Ndarray, images: Ndarray | None, given: int) -> Struct:
    """Return boxes as an argument of a kernel that fills a table: a struct Boxes."""
    columns = boxes.shape[1]
    if device.allocate is None:
        return BOXES(numbers=boxes, images=images, columns=columns, given=given)
    return _boxes(address(boxes), 0 if images is None else address(images), columns, given)


@functools.lru_cache(256)
def _boxes(numbers: int, images: int, columns: int, given: int) -> Struct:
    return BOXES(numbers=Address(numbers), images=Address(images), columns=columns, given=given)


@functools.lru_cache(64)
def packed_sampling(sampling: Sampling) -> Struct:
    """Return the sampling as an argument of the kernel that fills a table: a struct Sampling."""
    return SAMPLING(**sampling._asdict())
