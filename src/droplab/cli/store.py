"""`droplab store`: copy a store, and find and mend what is wrong with one."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from droplab.cli.commands import Commands
from droplab.cli.options import Files, StorePath
from droplab.cli.runs import confirm, count, open_existing, warn
from droplab.cli.tables import print_table

_NAMED = 10
"""Faults that are named one by one."""

app = typer.Typer(
    name="store", cls=Commands, help="Copy a store, or find what is wrong with one.", no_args_is_help=True
)


@app.command()
def copy(
    source: Annotated[str, typer.Argument(metavar="FROM", help="The store to copy: a file or a URL.")],
    target: Annotated[str, typer.Argument(metavar="TO", help="The store to copy into; a file is made.")],
    files: Files = None,
) -> None:
    """Copy all runs, weights, data sets, looks and unfinished work into another store, checked by their hashes.

    What is there already stays, so a copy that was stopped goes on when the command is typed again.

    Example: droplab store copy store.sqlite postgresql+psycopg://me@host/lab
    """
    from droplab.study.copying import copy_store
    from droplab.study.store import Store

    with open_existing(source) as old, Store(target, files) as new, _bar("copying runs") as progress:
        copied = copy_store(old, new, progress)
    kinds = sorted(copied.new.keys() | copied.there.keys())
    print_table(
        ["what", "copied", "there already"], [(kind, str(copied.new[kind]), str(copied.there[kind])) for kind in kinds]
    )
    for fault in copied.faults[:_NAMED]:
        warn(fault)
    if copied.faults:
        typer.echo(f"{count(len(copied.faults), 'thing')} of {source} found damaged: droplab store check", err=True)
        raise typer.Exit(1)


@app.command()
def check(
    mend: Annotated[bool, typer.Option("--mend", help="Mend what can be mended.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    store: StorePath = None,
) -> None:
    """Find what is damaged, missing or left over in the store; the exit code is 1 if anything is, and stays.

    Mending deletes runs that are damaged or lack their weights: the next study that needs them trains them anew.

    Example: droplab store check --mend
    """
    from droplab.study.checking import check_store

    with open_existing(store) as runs:
        with _bar("checking runs") as progress:
            found = check_store(runs, progress=progress)
        if not found:
            typer.echo(f"nothing is wrong with {runs.name}")
            return
        rows = [(one.what, str(one.times), one.example, one.mending) for one in found]
        print_table(["what", "count", "example", "mending"], rows)
        mendable = [one for one in found if one.can_be_mended]
        if mend and mendable:
            what = ", ".join(f"{one.times} {one.what}" for one in mendable)
            if not yes:
                confirm("mending a store", f"Mend {what}?")
            check_store(runs, mend=True)
            typer.echo(f"mended {what}")
    if len(found) > (len(mendable) if mend else 0):
        raise typer.Exit(1)


@contextmanager
def _bar(doing: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on a terminal, as long as the block lasts."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not sys.stderr.isatty(), transient=True) as bar:
        task = bar.add_task(doing, total=None)
        yield lambda seen, total: bar.update(task, completed=seen, total=total)
