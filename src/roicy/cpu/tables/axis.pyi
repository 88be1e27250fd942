from typing import Self

from roicy._types import Regions, Sampling
from roicy.cpu.tables.rois import RoiTable

class AxisTable(RoiTable):
    def __new__(
        cls, regions: Regions, sampling: Sampling, accumulate: str, purpose: str, threads: int
    ) -> Self: ...
