"""What every table knows of the RoIs of a call, on the device."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np

from roicy._types import Ndarray, Regions, Sampling, Shape, Size
from roicy.cuda.device import Arguments, Device, name_of, table_options
from roicy.cuda.memory import Memory, Wanted
from roicy.cuda.structs import POINTER, Address, Layout, Struct, address

#: RoIs up to which a block looks at those of all images instead of at a list of its image's.
UNSORTED = 1024
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
    rows=np.int32,
    columns=np.int32,
)
BOXES = Layout(numbers=POINTER, images=POINTER, columns=np.int32, given=np.int32)
BY_IMAGE = Layout(order=POINTER, start=POINTER)
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
        What kernels are told of the table.
    packed_rois : Struct
        What they are told of the RoIs: a struct Rois.
    doubtful : bool
        Whether boxes may look as if something else was meant: nobody waits for the device to know.
    """

    doubtful = False
    beyond: tuple[int, tuple[int, int, int, int]] | None = None
    memory: Memory
    packed: Struct
    packed_rois: Struct

    def __init__(self, device: Device, regions: Regions, accumulate: str) -> None:
        boxes, images, input_shape, output_size, levels, level = regions[:6]
        if input_shape[1] > _INT32_MAX:
            raise ValueError(
                f"features must have at most {_INT32_MAX} channels on a GPU, got {input_shape[1]}"
            )
        if regions.window is not None:
            raise ValueError("window must be None for arrays on a GPU")
        self.device = device
        self.boxes = boxes
        self.images = images
        self._given = 0 if images is None else 1
        if levels is not None:
            self.images = device.xp.where(levels == level, images, np.int64(ELSEWHERE))
            self._given = 2
        self.rois = len(boxes)
        self.input_shape = input_shape
        self.output_size = output_size
        self.accumulate = accumulate
        self._options = table_options(name_of(boxes.dtype), accumulate)
        self._first_invalid: int | None = None
        self._by_image: Struct | None = None

    def keep(self, wanted: Wanted) -> None:
        """Take memory for what the table keeps."""
        self.memory = Memory(self.device.xp, self.device.allocate, wanted)
        self.packed_rois = self.memory.packed(_rois, self.rois, self.input_shape, self.output_size)

    def numbers(self) -> Struct:
        """Return what kernels are told of the RoIs without memory: a struct Rois that points nowhere."""
        return _rois({"image": None, "window": None}, self.rois, self.input_shape, self.output_size)

    def launch_table(
        self, kernel: str, blocks: int, threads: int, arguments: Arguments, source: str = "rois"
    ) -> None:
        """Run a kernel that is specialised for the dtype of the boxes and the type of the weights."""
        self.device.launch(source, kernel, self._options, blocks, threads, arguments)

    def packed_boxes(self) -> Struct:
        """Return what a kernel that fills the table is told of the boxes: a struct Boxes."""
        columns = self.boxes.shape[1]
        if self.device.allocate is None:
            return BOXES(numbers=self.boxes, images=self.images, columns=columns, given=self._given)
        images = 0 if self.images is None else address(self.images)
        return _boxes(address(self.boxes), images, columns, self._given)

    @property
    def first_invalid(self) -> int:
        """First invalid row, -1 if all are valid; waits for the device."""
        if self._first_invalid is None:
            first = self.device.xp.empty(1, np.int64)
            self.launch_table("first_invalid", 1, 256, (self.packed_rois, first))
            found = int(first[0])
            self._first_invalid = -1 if found == self.rois else found
        return self._first_invalid

    def touched(self) -> Ndarray:
        """Return (K, 4), int64: from which row and column to which each box reads; zeros for none."""
        top, bottom, left, right = self.memory.array("window").astype(np.int64).T
        return self.device.xp.stack([top, left, bottom, right], axis=1) * (bottom > top)[:, None]

    def serves(self, purpose: str) -> bool:
        """Return whether the table has all that the kernels of a purpose will ask for."""
        return purpose != "backward" or self._by_image is not None

    def serve(self, purpose: str) -> None:
        """Make what the kernels of a purpose will ask for."""
        if purpose == "backward":
            self.packed_by_image()

    def packed_by_image(self) -> Struct:
        """Return by what a kernel finds an image's RoIs: a struct ByImage."""
        if self._by_image is None:
            n, xp = self.input_shape[0], self.device.xp
            if n == 1 or self.rois <= UNSORTED:
                self._by_image = BY_IMAGE(order=None, start=None)
            else:
                image = self.memory.array("image")
                order = xp.argsort(image, kind="stable").astype(np.int64, copy=False)
                start = xp.empty(n + 1, np.int64)
                sorted_images = image[order]
                arguments = (sorted_images, np.int64(self.rois), np.int64(n), start)
                self.launch_table("image_starts", -(-(n + 1) // 128), 128, arguments)
                self._by_image = BY_IMAGE(order=order, start=start)
        return self._by_image


class ImageTable(RoiTable):
    """Which image each RoI belongs to, and nothing else."""

    def __init__(self, device: Device, regions: Regions) -> None:
        super().__init__(device, regions, "float32")
        self.keep(wanted_of_rois(self.rois))
        self.launch_table("find_images", -(-self.rois // 128), 128, (self.packed_boxes(), self.packed_rois))


def of_rois(rois: int) -> dict[str, Any]:
    """Return what every table keeps, as `Wanted` takes it."""
    return {"image": ((rois,), np.int64), "window": ((rois, 4), np.int32)}


@functools.lru_cache(64)
def wanted_of_rois(rois: int) -> Wanted:
    """Return that and nothing else."""
    return Wanted(**of_rois(rois))


def _rois(parts: Mapping[str, Any], rois: int, input_shape: Shape, output_size: Size) -> Struct:
    images, _, height, width = input_shape
    rows, columns = output_size
    return ROIS(
        image=parts["image"],
        window=parts["window"],
        count=rois,
        images=images,
        height=height,
        width=width,
        rows=rows,
        columns=columns,
    )


@functools.lru_cache(256)
def _boxes(numbers: int, images: int, columns: int, given: int) -> Struct:
    return BOXES(numbers=Address(numbers), images=Address(images), columns=columns, given=given)


@functools.lru_cache(64)
def packed_sampling(sampling: Sampling) -> Struct:
    """Return what a kernel that fills a table is told of how samples lie: a struct Sampling."""
    return SAMPLING(**sampling._asdict())
