from roicy._types import NumPyArray, Size

class QuadTable:
    quads: int
    first_invalid: int
    look: str | None
    samples: float
    def __init__(
        self,
        corners: NumPyArray,
        images: NumPyArray,
        count: int,
        image_size: Size,
        output_size: Size,
        sampling_ratio: int,
    ) -> None: ...
    def touched(self, map_size: Size, output_size: Size, rule: tuple[int, bool]) -> NumPyArray: ...
