from typing import Self

from roicy._types import DType, NumPyArray, Regions

class RoiTable:
    rois: int
    first_invalid: int
    beyond: tuple[int, tuple[int, int, int, int]] | None
    doubtful: bool
    images: int
    height: int
    width: int
    double: bool
    accumulate: str
    def in_pieces(self, purpose: str, dtype: DType) -> bool: ...
    def touched(self) -> NumPyArray: ...

class ImageTable(RoiTable):
    def __new__(cls, regions: Regions) -> Self: ...

def doubts(regions: Regions, scale: float) -> str | None: ...
