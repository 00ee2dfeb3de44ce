"""Tables on the command line: drawn on a terminal, tab-separated lines elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence

import typer


def print_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table on a terminal, where no word is cut; else lines of tab-separated values: one row a line.

    Where a terminal is too narrow for its words, lines go on below, as the terminal breaks them.
    """
    lines = [[printable(cell) for cell in row] for row in (header, *rows)]
    if not sys.stdout.isatty():
        typer.echo("\n".join("\t".join(line) for line in lines))
        return
    from rich import box
    from rich.cells import cell_len
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    columns = list(zip(*lines, strict=True))
    least = [max(cell_len(word) for cell in cells for word in cell.split(" ")) for cells in columns]
    widths = [max(map(cell_len, cells)) for cells in columns]
    whole = [max(small, *map(cell_len, cells[1:])) for small, cells in zip(least, columns, strict=True)]
    between = 2 * len(columns) - 1
    if sum(least) + between > console.width:
        console.width = sum(widths) + between
    while sum(widths) + between > console.width:  # heads are broken before cells, then what has most to spare
        place = max(range(len(widths)), key=lambda k: (widths[k] > whole[k], widths[k] - least[k]))
        widths[place] -= 1
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    for name, width in zip(lines[0], widths, strict=True):
        table.add_column(name, width=width)
    for line in lines[1:]:
        table.add_row(*map(Text, line))
    console.print(table)


def printable(text: str) -> str:
    """Replace what would end a cell or a line, or drive the terminal: a file may hold any text."""
    return "".join(letter if letter.isprintable() else "�" for letter in text)
