from typing import Any

from roicy._arguments import Finish
from roicy._types import Accumulate, DType, NumPyArray, Sampling, Size

def crop(settings: tuple[Any, ...], images: Any, boxes: Any, batch_indices: Any, out: Any) -> Any: ...
def like(settings: tuple[Any, ...], images: Any) -> tuple[tuple[Any, ...], int, int] | None: ...
def learn(
    call: tuple[Any, ...],
    first: bool,
    output_size: Size,
    refuses: bool,
    finish: Finish,
    dtypes: tuple[DType, DType],
    sums: tuple[Sampling, Accumulate, NumPyArray | None],
) -> None: ...
