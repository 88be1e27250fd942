from typing import Self

from roicy._types import NumPyArray, Shape, Size
from roicy.cpu.tables.rois import RoiTable

class GridTable(RoiTable):
    first_too_fine: int
    def __new__(
        cls,
        boxes: NumPyArray,
        images: NumPyArray | None,
        input_shape: Shape,
        output_size: Size,
        spatial_scale: float,
        sampling_ratio: int,
        aligned: bool,
        from_edge: bool,
        accumulate: str,
    ) -> Self: ...

def entries(
    boxes: NumPyArray,
    images: NumPyArray | None,
    input_shape: Shape,
    output_size: Size,
    spatial_scale: float,
    sampling_ratio: int,
    aligned: bool,
    from_edge: bool,
) -> NumPyArray: ...
