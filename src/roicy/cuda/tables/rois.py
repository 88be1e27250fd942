"""What every table knows of the RoIs of a call, on the device."""

from __future__ import annotations

import numpy as np

from roicy._types import Regions
from roicy.cuda.device import Arguments, Device, name_of, table_options
from roicy.cuda.structs import POINTER, Layout, Struct

#: RoIs up to which a block looks at those of all images instead of at a list of its image's.
UNSORTED = 1024
#: In the place of an image, as in rois.cuh: a row that is none of the table's.
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


class RoiTable:
    """The RoIs of a call; the tables of the operators derive from it.

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
    image : array, (K,), int64
        The image of each RoI, -1 where the row is invalid; filled by the kernel that fills the table. Those
        of other levels stay in the table, as `ELSEWHERE`: how many there are the host would have to wait for.
    window : array, (K, 4), int32
        The part of the map that a RoI reads: top, bottom, left, right. Likewise.
    """

    def __init__(
        self,
        device: Device,
        regions: Regions,
        accumulate: str,
    ) -> None:
        boxes, images, input_shape, output_size, levels, level = regions
        if input_shape[1] > _INT32_MAX:
            raise ValueError(
                f"features must have at most {_INT32_MAX} channels on a GPU, got {input_shape[1]}"
            )
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
        self.image = device.xp.empty(self.rois, np.int64)
        self.window = device.xp.empty((self.rois, 4), np.int32)
        self._options = table_options(name_of(boxes.dtype), accumulate)
        self._first_invalid: int | None = None
        self._by_image: Struct | None = None
        #: What kernels are told of the RoIs: a struct Rois.
        self.packed_rois = ROIS(
            image=self.image,
            window=self.window,
            count=self.rois,
            images=input_shape[0],
            height=input_shape[2],
            width=input_shape[3],
            rows=output_size[0],
            columns=output_size[1],
        )

    def launch_table(
        self, kernel: str, blocks: int, threads: int, arguments: Arguments, source: str = "rois"
    ) -> None:
        """Run a kernel that is specialised for the dtype of the boxes and the type of the weights."""
        self.device.launch(source, kernel, self._options, blocks, threads, arguments)

    def packed_boxes(self) -> Struct:
        """Return what a kernel that fills the table is told of the boxes: a struct Boxes."""
        columns = self.boxes.shape[1]
        return BOXES(numbers=self.boxes, images=self.images, columns=columns, given=self._given)

    def rows(self) -> Arguments:
        """Return the arguments that say what the boxes are: (boxes, columns, images, given, K, N)."""
        return (
            self.boxes,
            np.int32(self.boxes.shape[1]),
            self.images if self._given else self.image,
            np.int32(self._given),
            np.int64(self.rois),
            np.int64(self.input_shape[0]),
        )

    @property
    def first_invalid(self) -> int:
        """First row that no pooling can be done for, -1 where there is none; waits for the device."""
        if self._first_invalid is None:
            first = self.device.xp.empty(1, np.int64)
            self.launch_table("first_invalid", 1, 256, (self.image, np.int64(self.rois), first))
            found = int(first[0])
            self._first_invalid = -1 if found == self.rois else found
        return self._first_invalid

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
                order = xp.argsort(self.image, kind="stable").astype(np.int64, copy=False)
                start = xp.empty(n + 1, np.int64)
                sorted_images = self.image[order]
                arguments = (sorted_images, np.int64(self.rois), np.int64(n), start)
                self.launch_table("image_starts", -(-(n + 1) // 128), 128, arguments)
                self._by_image = BY_IMAGE(order=order, start=start)
        return self._by_image

    def by_image(self) -> Arguments:
        """Return the same as arguments one by one: image, K, order, start, sorted."""
        arrays = self.packed_by_image().arrays
        order, start = (arrays.get(name, self.image) for name in ("order", "start"))
        return self.image, np.int64(self.rois), order, start, np.int32(bool(arrays))


class ImageTable(RoiTable):
    """Which image each RoI belongs to, and nothing else."""

    def __init__(self, device: Device, regions: Regions) -> None:
        super().__init__(device, regions, "float32")
        self.launch_table("find_images", -(-self.rois // 128), 128, (self.packed_boxes(), self.packed_rois))
