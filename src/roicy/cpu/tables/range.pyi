from typing import Self

from roicy._types import Regions
from roicy.cpu.tables.rois import RoiTable

class RangeTable(RoiTable):
    shared: bool

    def __new__(cls, regions: Regions, spatial_scale: float, rule: int, accumulate: str) -> Self: ...
