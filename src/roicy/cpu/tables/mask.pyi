from roicy._types import Accumulate, Ndarray, NumPyArray, Pasting, Size

class MaskTable:
    masks: int
    accumulate: Accumulate
    def __init__(self, boxes: Ndarray, mask_size: Size, pasting: Pasting, accumulate: Accumulate) -> None: ...
    def windows(self) -> NumPyArray: ...
