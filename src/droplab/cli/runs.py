"""`droplab runs`: look into the store, delete from it, and forget what is not finished."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from droplab.cli.commands import Commands
from droplab.cli.options import StorePath
from droplab.cli.tables import print_table
from droplab.errors import ConfigError, StoreError

if TYPE_CHECKING:
    from droplab.study.records import RunSummary
    from droplab.study.store import Store

_KEY_DIGITS = 12

app = typer.Typer(
    name="runs",
    cls=Commands,
    help="List, show and delete finished runs; forget unfinished ones. Options without a command list.",
    no_args_is_help=True,
    invoke_without_command=True,
)

Where = Annotated[
    list[str] | None,
    typer.Option(
        "--where",
        metavar="'NAME OP VALUE'",
        help="Only runs that meet it: 'depth=5', 'dropout<0.6', 'data=mnist', 'seed!=0'; repeat it to ask for more.",
    ),
]


@app.callback()
def _list_by_default(context: typer.Context, where: Where = None, store: StorePath = None) -> None:
    if context.invoked_subcommand is None:
        list_runs(where, store)
    elif where or store is not None:
        raise ConfigError(
            f"options stand behind the command; found {'--where' if where else '--store'} before "
            f"{context.invoked_subcommand}. Type: droplab runs {context.invoked_subcommand} …"
        )


@app.command("list")
def list_runs(where: Where = None, store: StorePath = None) -> None:
    """List the runs of the store, the last finished at the end.

    A condition of --where is a name, one of = != < <= > >= and a value, in quotes, for the shell takes < and > for
    itself. The name is a setting of a run (epochs, learning_rate, widths, dropout, seed …), data, depth, precision,
    device, compiled, stacked, threads, numerics, test_accuracy, test_rmse, train_seconds or
    evaluate_seconds.

    Example: droplab runs list --where 'depth=5' --where 'test_accuracy>=0.98'
    """
    from droplab.study.where import parse_condition

    conditions = [parse_condition(text) for text in where or ()]  # before a store is asked for
    with open_existing(store) as runs:
        found = runs.summaries(warn)
    lines = [_listed(run) for run in found if all(condition.holds(run) for condition in conditions)]
    header = [
        "key",
        "data",
        "depth",
        "widths",
        "dropout",
        "seed",
        "epochs",
        "precision",
        "accuracy/RMSE",
        "seconds",
        "finished",
    ]
    print_table(header, lines)
    if found and not lines:
        typer.echo(f"none of the {count(len(found), 'run')} of the store meets every condition", err=True)


@app.command()
def show(
    key: Annotated[str, typer.Argument(help="A run's key, or its first digits.")], store: StorePath = None
) -> None:
    """Show one run: settings, metrics, times, environment, and where its weights lie.

    Example: droplab runs show 3fa85f64
    """
    with open_existing(store) as runs:
        key = runs.resolve(key)
        record = runs.load([key])[key]
        where = runs.where(record)
    outcome = record.outcome
    print_table(
        ["of", "name", "value"],
        [
            ("run", "key", record.key),
            ("run", "finished", record.finished.isoformat(timespec="seconds")),
            ("run", "weights", where),
            ("run", "weights bytes", str(record.weights_bytes)),
            ("data", "name", record.dataset),
            ("data", "fingerprint", record.fingerprint),
            *(("settings", name, str(value)) for name, value in record.settings.model_dump(mode="json").items()),
            *(("way", name, str(value)) for name, value in asdict(record.way).items()),
            *((f"{m.split}, dropout {m.inference}", m.name, f"{m.value:.6g}") for m in outcome.metrics),
            ("times", "train seconds", f"{outcome.train_seconds:.2f}"),
            ("times", "evaluate seconds", f"{outcome.evaluate_seconds:.2f}"),
            *(("environment", name, str(value)) for name, value in outcome.environment.items()),
        ],
    )


@app.command()
def delete(
    keys: Annotated[list[str], typer.Argument(metavar="KEY", help="Keys of runs, or their first digits.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    store: StorePath = None,
) -> None:
    """Delete runs and their weights from the store; a study that needs them trains them again.

    Example: droplab runs delete 3fa85f64 09ab12cd --yes
    """
    with open_existing(store) as runs:
        found = list(dict.fromkeys(runs.resolve(key) for key in keys))
        what = count(len(found), "run")
        if not yes:
            confirm("deleting runs", f"Delete {what} ({', '.join(key[:_KEY_DIGITS] for key in found)})?")
        runs.delete(found)
    typer.echo(f"deleted {what}")


@app.command()
def forget(
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    store: StorePath = None,
) -> None:
    """Forget all runs that are planned and not finished, with their checkpoints: of studies that nobody will continue.

    A study that is run again plans them anew and trains them from the start. One that is at work goes on, but if it is
    stopped, it cannot be continued from where it was.

    Example: droplab runs forget --yes
    """
    with open_existing(store) as runs:
        use = runs.disk_use()
        what = f"{count(use.planned, 'planned run')} and {count(use.checkpoints, 'checkpoint')}"
        if not yes:
            confirm("forgetting runs", f"Forget {what} ({use.checkpoint_bytes} bytes)?")
        runs.forget()
    typer.echo(f"forgot {what}")


@app.command()
def disk(store: StorePath = None) -> None:
    """Say what the store takes on disk; what nothing needs is removed by the next `runs delete` or `runs forget`.

    Example: droplab runs disk
    """
    with open_existing(store) as runs:
        use = runs.disk_use()
        name, weights, checkpoints = runs.name, runs.files.where("weights"), runs.files.where("checkpoints")
    print_table(
        ["what", "count", "bytes", "where"],
        [
            ("runs", str(use.runs), str(use.database_bytes), name),
            ("weights", str(use.runs), str(use.weights_bytes), weights),
            ("planned runs", str(use.planned), "", name),
            ("checkpoints", str(use.checkpoints), str(use.checkpoint_bytes), checkpoints),
            ("weights and checkpoints that nothing needs", str(use.orphans), str(use.orphan_bytes), ""),
        ],
    )


def warn(fault: str) -> None:
    """Name what is left out of a listing because it is damaged."""
    typer.echo(f"warning: {fault}", err=True)


def count(number: int, thing: str) -> str:
    """So many things, in words."""
    return f"{number} {thing}{'' if number == 1 else 's'}"


def confirm(doing: str, question: str) -> None:
    """Ask on the terminal, and end the command unless the answer is yes."""
    if not sys.stdin.isatty():
        raise ConfigError(f"{doing} must be confirmed; found no terminal to ask on. Add --yes.")
    typer.confirm(question, abort=True)


def open_existing(location: str | None) -> Store:
    """Open a store that is there: looking must not make an empty one where a name was mistyped."""
    from droplab.study.location import database_at
    from droplab.study.store import Store

    database = database_at(location)
    if not database.exists:
        raise StoreError(
            f"{database.name}: there must be a store to look into; found none. A study makes it, --store names it."
        )
    return Store(location)


def _told(number: float | None, form: str) -> str:
    return "" if number is None else format(number, form)


def _listed(run: RunSummary) -> Sequence[str]:
    from droplab.config import strength_words

    settings = run.settings
    return (
        run.key[:_KEY_DIGITS],
        run.dataset,
        str(settings.depth),
        ",".join(map(str, settings.widths)),
        strength_words(settings.dropout),
        str(settings.seed),
        str(settings.epochs),
        run.way.precision,
        _told(run.test_accuracy, ".4f") or _told(run.test_rmse, ".4g"),
        f"{run.train_seconds + run.evaluate_seconds:.1f}",
        f"{run.finished:%Y-%m-%d %H:%M:%S}Z",
    )
