"""Tables on the command line: drawn on a terminal, tab-separated lines elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence

import typer


def print_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table on a terminal, where no word is cut; else lines of tab-separated values: one row a line.

    A terminal that is too narrow for its words gets such lines, too.
    """
    lines = [[printable(cell) for cell in row] for row in (header, *rows)]
    if sys.stdout.isatty():
        from rich import box
        from rich.cells import cell_len
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table, console = Table(box=box.SIMPLE_HEAD), Console()
        for cells in zip(*lines, strict=True):
            words = [word for cell in cells for word in cell.split(" ")]
            # a name or key stays whole, to be copied
            table.add_column(cells[0], min_width=max(map(cell_len, words)), no_wrap=len(words) == len(cells))
        for line in lines[1:]:
            table.add_row(*map(Text, line))
        with console.capture() as drawn:
            console.print(table, crop=False)
        text = drawn.get()
        if max(map(cell_len, Text.from_ansi(text).plain.split("\n"))) <= console.width:
            typer.echo(text, nl=False)
            return
    typer.echo("\n".join("\t".join(line) for line in lines))


def printable(text: str) -> str:
    """Replace what would end a cell or a line, or drive the terminal: a file may hold any text."""
    return "".join(letter if letter.isprintable() else "�" for letter in text)
