from typing import Self

from roicy._types import NumPyArray, Shape, Size
from roicy.cpu.tables.rois import RoiTable

class RangeTable(RoiTable):
    shared: bool

    def __new__(
        cls,
        boxes: NumPyArray,
        images: NumPyArray | None,
        input_shape: Shape,
        output_size: Size,
        spatial_scale: float,
        rounding: str,
        accumulate: str,
    ) -> Self: ...
