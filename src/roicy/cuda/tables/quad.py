"""The views of quadrangles that crops are cut from."""

from __future__ import annotations

import numpy as np

from roicy import _arguments as settle
from roicy._types import Ndarray, Size
from roicy.cuda.device import Device
from roicy.cuda.structs import POINTER, Layout
from roicy.cuda.tuning import CONSTANTS

#: As in quad.cuh.
QUADS = Layout(
    corners=POINTER,
    image=POINTER,
    count=np.int64,
    images=np.int64,
    rows=np.int32,
    columns=np.int32,
    sampling_ratio=np.int32,
    double_corners=np.int32,
)
READS = Layout(
    views=POINTER,
    count=np.int64,
    rows=np.int32,
    columns=np.int32,
    height=np.int32,
    width=np.int32,
    border=np.int32,
    nearest=np.int32,
)
#: Numbers of eight bytes of a struct QuadView, as in geometry/quad.h, and which one the image is.
_VIEW, _IMAGE = 11, 9
#: Larger than any row or column.
_FAR = np.iinfo(np.int32).max


class QuadTable:
    """Views of K quadrangles.

    Parameters
    ----------
    device : Device
        Where the table is.
    corners : array, shape (K, 8), float32 or float64, C-contiguous
        x and y of the corners that become top left, top right, bottom right and bottom left.
    images : array, shape (K,), int64, C-contiguous, or None
        The image of each; None where that is 0.
    count : int
        How many images there are.
    output_size : tuple of int
        Rows and columns of a crop.
    sampling_ratio : int
        Samples of a pixel along either axis; 0 for as many as it covers.

    Attributes
    ----------
    views : array, shape (K, 11)
        A struct QuadView of each.
    look : None
        What quadrangles look like: nobody waits for the device to know.
    """

    look = None

    def __init__(
        self,
        device: Device,
        corners: Ndarray,
        images: Ndarray | None,
        count: int,
        output_size: Size,
        sampling_ratio: int,
    ) -> None:
        self.device = device
        self.quads = len(corners)
        self.views = device.empty((self.quads, _VIEW), np.float64)
        rows, columns = output_size
        quads = QUADS(
            corners=corners,
            image=images,
            count=self.quads,
            images=count,
            rows=rows,
            columns=columns,
            sampling_ratio=sampling_ratio,
            double_corners=corners.dtype == np.float64,
        )
        threads = CONSTANTS["quad"]["THREADS"]
        device.launch("quad", "quad_views", (), -(-self.quads // threads), threads, (quads, self.views))

    @property
    def first_invalid(self) -> int:
        """First invalid row, -1 if all are valid; waits for the device."""
        invalid = settle.on_host(self.views.view(np.int64)[:, _IMAGE] < 0)
        return int(invalid.argmax()) if invalid.any() else -1

    def touched(self, map_size: Size, output_size: Size, rule: tuple[int, bool]) -> Ndarray:
        """As of `roicy.cpu.tables.quad.QuadTable`; one row for each quadrangle."""
        xp, (rows, columns), (height, width) = self.device.xp, output_size, map_size
        found = xp.zeros((self.quads, 4), np.int32)
        found[:, :2] = _FAR
        reads = READS(
            views=self.views,
            count=self.quads,
            rows=rows,
            columns=columns,
            height=height,
            width=width,
            border=rule[0],
            nearest=rule[1],
        )
        threads = CONSTANTS["quad"]["THREADS"]
        blocks = -(-self.quads * rows // threads)
        self.device.launch("quad", "quad_windows", (), blocks, threads, (reads, found))
        return xp.where(found[:, 2:3] > 0, found, 0).astype(np.int64)
