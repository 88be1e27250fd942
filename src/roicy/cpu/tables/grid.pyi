from collections.abc import Iterator
from typing import Self, TypeAlias

from roicy._types import DType, NumPyArray, Shape, Size
from roicy.cpu.tables.rois import RoiTable

# input_shape, output_size, spatial_scale, sampling_ratio, aligned, from_edge
Geometry: TypeAlias = tuple[Shape, Size, float, int, bool, bool]

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

class GridTables:
    accumulate: str
    first_invalid: int
    first_too_fine: int
    def __init__(
        self, boxes: NumPyArray, images: NumPyArray | None, geometry: Geometry, accumulate: str
    ) -> None: ...
    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[tuple[slice, GridTable]]: ...
    def in_pieces(self, purpose: str, dtype: DType) -> bool: ...

def hold(samples: int) -> None: ...
