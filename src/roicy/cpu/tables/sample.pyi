from typing import Self

from roicy._types import Moving, Regions, Sampling, Turn
from roicy.cpu.tables.rois import RoiTable

class SampleTable(RoiTable):
    chunks: int
    def __new__(
        cls,
        regions: Regions,
        sampling: Sampling,
        how: Turn | Moving,
        accumulate: str,
        purpose: str,
        threads: int,
    ) -> Self: ...
