"""Tables on the command line: drawn on a terminal, tab-separated lines elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence

import typer


def print_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table on a terminal, else lines of tab-separated values: never folded, one row a line."""
    lines = [[printable(cell) for cell in row] for row in (header, *rows)]
    if not sys.stdout.isatty():
        typer.echo("\n".join("\t".join(line) for line in lines))
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*lines[0], box=box.SIMPLE_HEAD)
    table.columns[0].no_wrap = True  # a name or key stays whole, to be copied
    for line in lines[1:]:
        table.add_row(*map(Text, line))
    Console().print(table)


def printable(text: str) -> str:
    """Replace what would end a cell or a line, or drive the terminal: a file may hold any text."""
    return "".join(letter if letter.isprintable() else "�" for letter in text)
