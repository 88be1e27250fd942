"""Tables on the terminal: columns if they fit, else a block of lines for each row."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print ``rows`` of strings; a column whose name starts with ``>`` is aligned to the right."""
    right = [column.startswith(">") for column in columns]
    names = [column.lstrip(">") for column in columns]
    widths = [max(len(row[i]) for row in [names, *rows]) for i in range(len(names))]
    try:
        from rich import box
        from rich.console import Console
        from rich.table import Table
    except ImportError:
        _print_rows(title, columns, widths, rows)
        return
    console = Console()
    if not console.is_terminal:  # a file or a pipe is as wide as the table
        console.width = 200
    elif sum(widths) + 3 * len(widths) > console.width:
        _print_rows(title, columns, widths, rows)
        return
    table = Table(box=box.SIMPLE_HEAD)
    for name, is_right in zip(names, right, strict=True):
        table.add_column(name, justify="right" if is_right else "left", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    console.print(f"\n[bold]{title}[/bold]", highlight=False)
    console.print(table)


def _print_rows(
    title: str, columns: Sequence[str], widths: Sequence[int], rows: Sequence[Sequence[str]]
) -> None:
    lines = Lines(columns, widths)
    print(f"\n{title}\n")
    lines.head()
    for row in rows:
        lines.begin(row[0])
        lines.end(row[1:])
    print()


class Lines:
    """A table whose rows are printed as they come.

    Parameters
    ----------
    columns : sequence of str
        Names; one that starts with ``>`` is aligned to the right.
    widths : sequence of int
        Characters of each column at least.
    """

    def __init__(self, columns: Sequence[str], widths: Sequence[int]) -> None:
        self._right = [column.startswith(">") for column in columns]
        self._names = [column.lstrip(">") for column in columns]
        self._widths = [max(width, len(name)) for width, name in zip(widths, self._names, strict=True)]
        needed = sum(self._widths) + 2 * len(self._widths)
        wide = not sys.stdout.isatty() or needed <= shutil.get_terminal_size().columns
        self._in_columns = wide

    def head(self) -> None:
        """Print the names of the columns."""
        if self._in_columns:
            print(self._line(self._names))
            print(self._line(["-" * width for width in self._widths]), flush=True)

    def begin(self, first: str) -> None:
        """Print the first cell of a row, whose others take their time."""
        if self._in_columns:
            print(f"  {first.ljust(self._widths[0])}", end="", flush=True)
        else:
            print(first, flush=True)

    def end(self, cells: Sequence[str]) -> None:
        """Print the other cells of the row that was begun."""
        if self._in_columns:
            print(self._line(["", *cells])[2 + self._widths[0] :], flush=True)
            return
        longest = max(map(len, self._names[1:]))
        of_numbers = max(len(cell) for cell, right in zip(cells, self._right[1:], strict=True) if right)
        for name, cell, right in zip(self._names[1:], cells, self._right[1:], strict=True):
            if cell:
                print(f"  {name.ljust(longest)}  {cell.rjust(of_numbers) if right else cell}", flush=True)

    def _line(self, cells: Sequence[str]) -> str:
        aligned = [
            text.rjust(width) if right else text.ljust(width)
            for text, width, right in zip(cells, self._widths, self._right, strict=True)
        ]
        return ("  " + "  ".join(aligned)).rstrip()
