from roicy._types import NumPyArray

def copy_rectangles(
    sources: list[NumPyArray], targets: list[NumPyArray], axes: tuple[int, int], copies: NumPyArray
) -> None: ...
