"""Sentences on the command line: wrapped between words on a terminal, whole lines elsewhere."""

from __future__ import annotations

import shutil
import sys
import textwrap
from typing import TextIO

import typer


def say(text: str, err: bool = False) -> None:
    """Print lines of text.

    Args:
        text: what is said.
        err: whether to stderr.
    """
    typer.echo(wrapped(text, sys.stderr if err else sys.stdout), err=err)


def wrapped(text: str, stream: TextIO) -> str:
    """Lines no wider than the terminal that a stream is, each going on below under its own beginning; else as it is."""
    if not stream.isatty():
        return text
    width = shutil.get_terminal_size().columns
    lines = []
    for line in text.split("\n"):
        indent = " " * (len(line) - len(line.lstrip()))
        lines.append(
            textwrap.fill(line, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
        )
    return "\n".join(lines)
