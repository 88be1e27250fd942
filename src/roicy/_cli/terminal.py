"""A table on the terminal: drawn by rich where that is installed, plain columns otherwise."""

from __future__ import annotations

from collections.abc import Sequence


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print ``rows`` of strings; a column whose name starts with ``>`` is aligned to the right."""
    right = [column.startswith(">") for column in columns]
    names = [column.lstrip(">") for column in columns]
    try:
        from rich import box
        from rich.console import Console
        from rich.table import Table
    except ImportError:
        _print_plain(title, names, right, rows)
        return
    table = Table(box=box.SIMPLE_HEAD)
    for name, is_right in zip(names, right, strict=True):
        table.add_column(name, justify="right" if is_right else "left", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    console = Console()
    if not console.is_terminal:  # a file or a pipe is as wide as the table
        console.width = 200
    console.print(f"\n[bold]{title}[/bold]", highlight=False)
    console.print(table)


def _print_plain(
    title: str, names: Sequence[str], right: Sequence[bool], rows: Sequence[Sequence[str]]
) -> None:
    widths = [max(len(row[i]) for row in [names, *rows]) for i in range(len(names))]
    print(f"\n{title}\n")
    for row in [names, ["-" * width for width in widths], *rows]:
        cells = [
            text.rjust(width) if is_right else text.ljust(width)
            for text, width, is_right in zip(row, widths, right, strict=True)
        ]
        print(("  " + "  ".join(cells)).rstrip())
    print()
