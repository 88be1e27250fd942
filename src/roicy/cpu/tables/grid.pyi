from collections.abc import Iterator
from typing import Self

from roicy._types import DType, Regions, Sampling
from roicy.cpu.tables.rois import RoiTable

class GridTable(RoiTable):
    first_too_fine: int
    def __new__(cls, regions: Regions, sampling: Sampling, accumulate: str) -> Self: ...

class GridTables:
    accumulate: str
    first_invalid: int
    doubtful: bool
    first_too_fine: int
    def __init__(self, regions: Regions, sampling: Sampling, accumulate: str) -> None: ...
    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[tuple[slice, GridTable]]: ...
    def in_pieces(self, purpose: str, dtype: DType) -> bool: ...

def hold(samples: int) -> None: ...
