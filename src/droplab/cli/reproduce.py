"""`droplab reproduce`: a paper's table or figure by one command."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from droplab.cli import completion, options, outputs
from droplab.cli.say import say

if TYPE_CHECKING:
    from droplab.study.reproduction import Reproduced


def reproduce(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="Of a reproduction; `droplab presets` lists them.",
            autocompletion=completion.reproductions,
        ),
    ],
    budget: Annotated[
        str,
        typer.Option(metavar="smoke|short|paper", help="How long each network is trained; paper is the full count."),
    ] = "short",
    seeds: Annotated[int | None, typer.Option(min=1, help="How many.", show_default="3; 1 for smoke")] = None,
    rows: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TEXT|all",
            help="Only the row of that name, or rows with that text in their name; may be given several times.",
            show_default="the usual ones",
        ),
    ] = None,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    workers: options.Workers = None,
    store: options.StorePath = None,
    files: options.Files = None,
    backend: options.Backend = "local",
    address: options.Address = None,
    out: Annotated[
        Path | None,
        typer.Option(
            parser=outputs.path, metavar="DIR", help="Where to write.", show_default="droplab-out/NAME-BUDGET[-rows]"
        ),
    ] = None,
    force: outputs.Force = False,
    raw: outputs.Raw = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what it would take, and train nothing.")] = False,
    quiet: options.Quiet = False,
) -> None:
    """Train what a paper's table or figure takes, and write the published values beside ours.

    What it takes is said first. What the store already has is not trained again, so it goes on where it was stopped.

    Example: droplab reproduce srivastava-table10 --budget short --seeds 3
    """
    from droplab.study.reproduction import load_reproduction

    found = load_reproduction(name)  # what is mistyped is said before PyTorch is imported
    from droplab.cli.live import watch
    from droplab.cli.study import typed_command
    from droplab.data.output import Folder
    from droplab.errors import TrainingError
    from droplab.report.reproduction import REPORT, write_reproduction
    from droplab.reproduce import Reproduce

    count = seeds if seeds is not None else 1 if budget == "smoke" else 3
    wanted = Reproduce(found.select(rows or ()), budget, count)
    what = wanted.reproduction
    if not quiet:
        say(f"{what.title}\n{what.source}")
    target = out or Path("droplab-out") / f"{what.name}-{wanted.budget}{'-rows' if rows else ''}"
    outputs.open_folder(target, REPORT, force, (), store, dry_run)
    where: dict[str, Any] = {
        "store": store,
        "files": files,
        "device": device,
        "precision": precision,
        "workers": workers,
        "backend": backend,
        "address": address,
    }
    if dry_run:
        for row in what.rows:
            say(f"  {row.name}" + (f" ({len(row.tried)} recipes tried)" if row.tried else ""))
        forecast = wanted.foretell(notify=say, **where)
        say(f"{what.updates[wanted.budget]:,} updates a network; {forecast.words}")
        return
    try:
        with watch(quiet) as observer:
            result = wanted.run(observer=observer, **where)
    except KeyboardInterrupt:  # before the first epoch, or for the second time
        say("stopped at once: every finished network is kept; the same command goes on from there")
        raise typer.Exit(130) from None
    if any(found.runs for found in result.rows):
        write_reproduction(Folder(target, force), result, typed_command(), say, raw)
        _say(result)
        say(f"report: {target / 'report.md'}")
    if result.summary.interrupted:
        say("stopped: every finished network is kept; the same command goes on from there")
        raise typer.Exit(128 + result.summary.signal)
    if failures := result.summary.failures:
        raise TrainingError(
            f"{len(failures)} networks could not be trained, the others are kept. "
            + " ".join(sorted({str(failure) for failure in failures}))
        )


def _say(result: Reproduced) -> None:
    """The table and the claims, and whether they mean nothing."""
    from droplab.cli.tables import print_table
    from droplab.report.reproduction import SMOKE, beside_table
    from droplab.study.published import claims_told

    if result.budget == "smoke":
        say(SMOKE)
    shown = beside_table(result)
    print_table(shown.head, shown.rows)
    for told in claims_told(result):
        say(f"{told.claim.text} {told.words}")
