"""Cut rectangles out of a map's tiles: one task for each tile, for all groups of boxes that read it.

With a task for each group, the tile would stay in memory until the last of them, and each would cost Dask's
overhead.
"""

from __future__ import annotations

from typing import Any

from roicy._types import NumPyArray
from roicy.dask import _tasks
from roicy.dask._graph import Task, TaskRef


class Cuts:
    """The tasks that cut the rectangles which groups of boxes read out of tiles.

    Parameters
    ----------
    name : str
        What the tasks are called.
    axes : (int, int)
        Those of rows and columns.
    """

    def __init__(self, name: str, axes: tuple[int, int]) -> None:
        self._name, self._axes = name, axes
        self._asked: dict[Any, list[NumPyArray]] = {}

    def ask(self, tile: Any, rectangles: NumPyArray) -> tuple[Any, int]:
        """Return the key of a tile's task, and the index of a group's rectangles in its result."""
        asked = self._asked.setdefault(tile, [])
        asked.append(rectangles)
        return self._key(tile), len(asked) - 1

    def tasks(self) -> dict[Any, Any]:
        """Return the tasks."""
        return {
            self._key(tile): Task(self._key(tile), _tasks.cuts, TaskRef(tile), self._axes, asked)
            for tile, asked in self._asked.items()
        }

    def _key(self, tile: Any) -> Any:
        return (self._name, *tile[1:])
