from typing import Self

from roicy._types import NumPyArray, Shape, Size
from roicy.cpu.tables.rois import RoiTable

class SampleTable(RoiTable):
    chunks: int
    def __new__(
        cls,
        boxes: NumPyArray,
        images: NumPyArray | None,
        input_shape: Shape,
        output_size: Size,
        spatial_scale: float,
        sampling_ratio: int,
        aligned: bool,
        degrees: bool,
        clockwise: bool,
        accumulate: str,
        purpose: str,
        threads: int,
    ) -> Self: ...
