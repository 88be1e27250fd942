from typing import Self

from roicy._types import Regions, Sampling, Turn
from roicy.cpu.tables.rois import RoiTable

class SampleTable(RoiTable):
    chunks: int
    def __new__(
        cls,
        regions: Regions,
        sampling: Sampling,
        turn: Turn,
        accumulate: str,
        purpose: str,
        threads: int,
    ) -> Self: ...
