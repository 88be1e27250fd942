"""Crops of quadrangles: their launches."""

from __future__ import annotations

import numpy as np

from roicy._types import Ndarray, NumPyArray, Size
from roicy.cuda.apply.numbers import FINISHING, finishing
from roicy.cuda.device import Device, channels_last, index_type, name_of, quad_options
from roicy.cuda.structs import POINTER, Layout, view
from roicy.cuda.tables.quad import QuadTable
from roicy.cuda.tuning import CONSTANTS

#: As in quad_forward.cu.
CROPS = Layout(
    views=POINTER,
    count=np.int64,
    first=np.int64,
    images=np.int64,
    numbers=FINISHING,
    channels=np.int32,
    rows=np.int32,
    columns=np.int32,
    height=np.int32,
    width=np.int32,
    top=np.int32,
    left=np.int32,
    border=np.int32,
    nearest=np.int32,
    dtype=np.int32,
    last=np.int32,
)
_DTYPES = ("float32", "float64", "float16", "bfloat16", "uint8", "int8", "uint16", "int16", "bool")


class QuadKernels(Device):
    """What `roicy.cpu` has for quadrangles."""

    def quad_table(
        self,
        corners: Ndarray,
        images: Ndarray | None,
        count: int,
        image_size: Size,
        output_size: Size,
        sampling_ratio: int,
    ) -> QuadTable:
        """Return the views of quadrangles (K, 8) on this many images; see `QuadTable`."""
        return QuadTable(self, corners, images, count, output_size, sampling_ratio)

    def quad_forward(
        self,
        table: QuadTable,
        images: tuple[Ndarray, ...],
        out: Ndarray,
        numbers: NumPyArray | None,
        rule: tuple[int, bool],
        window: tuple[int, int, int, int] | None = None,
    ) -> None:
        """Fill `out` (K, C, PH, PW) with what the views show of arrays (N, C, H, W) of as many images each.

        `numbers` are rows of fill, mean and scale of each channel, None for nothing; `rule` is what lies
        outside, and whether a sample is the nearest pixel. Images are whole, or the part of larger ones in a
        `window`.
        """
        k, channels, rows, columns = out.shape
        top, left, height, width = window or (0, 0, 0, 0)
        last, (border, nearest) = channels_last(out), rule
        result = name_of(out.dtype)
        constants = CONSTANTS["quad_forward"]
        blocks = -(-k * -(-channels // constants["QUAD"]) * rows * columns // constants["THREADS"])
        readable = [self.readable(array) for array in images]
        first = 0
        for array in readable:
            crops = CROPS(
                views=table.views,
                count=k,
                first=first,
                images=len(array),
                numbers=finishing(numbers, channels, self.xp),
                channels=channels,
                rows=rows,
                columns=columns,
                height=height or array.shape[2],
                width=width or array.shape[3],
                top=top,
                left=left,
                border=border,
                nearest=nearest,
                dtype=_DTYPES.index(result),
                last=last,
            )
            options = quad_options(name_of(array.dtype), result, self.index or index_type(array, out))
            arguments = *view(array), *view(out), crops
            self.launch("quad_forward", "quad_forward", options, blocks, constants["THREADS"], arguments)
            first += len(array)
