"""`droplab study`, `droplab report` and `droplab presets`."""

from __future__ import annotations

import sys
import webbrowser
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from droplab.cli import completion, options, outputs
from droplab.cli.say import say

if TYPE_CHECKING:
    from droplab.api import Study, StudyResult

Spec = Annotated[
    str,
    typer.Argument(metavar="SPEC", help="A preset's name or a TOML file.", autocompletion=completion.studies),
]
Form = Annotated[
    str | None,
    typer.Option(
        "--format",
        metavar="html|md|csv",
        help="Only the page as a file, or Markdown or the results as CSV on the screen.",
        show_default="the whole folder",
    ),
]
Refit = Annotated[
    bool, typer.Option("--refit", help="At the end, train what valid chose again, on train and valid together.")
]
Probabilities = Annotated[
    bool,
    typer.Option("--probabilities", help="Also write what every network says of every example of valid and test."),
]
Figures = Annotated[
    str | None, typer.Option(metavar="pdf", help="Draw figures as PDF, too.", show_default="SVG and PNG alone")
]
Open = Annotated[bool, typer.Option("--open", help="At the end, open the report in the browser.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only show the plan: arms, time, memory, disk.")]
Out = Annotated[
    Path | None,
    typer.Option(parser=outputs.path, metavar="DIR", help="Where to write.", show_default="droplab-out/NAME"),
]


@options.takes(options.STUDY)
def study(
    spec: Spec,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    workers: options.Workers = None,
    store: options.StorePath = None,
    files: options.Files = None,
    backend: options.Backend = "local",
    address: options.Address = None,
    out: Out = None,
    refit: Refit = False,
    probabilities: Probabilities = False,
    dry_run: DryRun = False,
    force: outputs.Force = False,
    raw: outputs.Raw = False,
    figures: Figures = None,
    open_it: Open = False,
    quiet: options.Quiet = False,
    **flags: Any,
) -> None:
    """Train what a study needs and write its report.

    What the store already has is not trained again, so a study goes on where it was stopped. --dry-run shows the arms
    and what lies ahead (time, memory, disk), and trains nothing.

    Example: droplab study mnist-depth --depths 2,5 --seeds 3 --epochs 40
    """
    from droplab.config import load_study

    settings = load_study(spec).override(**options.given(flags))  # what is mistyped is said before PyTorch is imported
    from droplab.api import Study
    from droplab.cli.live import watch
    from droplab.report.words import published_differences
    from droplab.train.device import resolve_way

    wanted, kinds = Study(settings), _kinds(figures)
    if backend == "local":
        resolve_way(device, precision)  # before anything is said or fetched
    target = _target(wanted, spec, out, wanted.files(probabilities), force, store, dry_run)
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
        _foretell(wanted, where)
        return
    if not quiet:
        say(f"{wanted.settings.name}: {wanted.settings.question or 'a study'}")
        if differences := published_differences(wanted.settings):
            say(differences)
    try:
        asked = settings.measure if settings.metric != "accuracy" else None
        with watch(quiet, asked) as observer:
            result = wanted.run(observer=observer, refit=refit, **where)
    except KeyboardInterrupt:  # before the first epoch, or for the second time
        say("stopped at once: every finished network is kept; the same command goes on from there")
        raise typer.Exit(130) from None
    _conclude(result, target, open_it, quiet, probabilities=probabilities, force=force, raw=raw, figures=kinds)


@options.takes(options.STUDY)
def report(
    spec: Spec,
    precision: options.Precision = "auto",
    store: options.StorePath = None,
    out: Out = None,
    form: Form = None,
    probabilities: Probabilities = False,
    force: outputs.Force = False,
    raw: outputs.Raw = False,
    figures: Figures = None,
    open_it: Open = False,
    **flags: Any,
) -> None:
    """Write a study's report, tables, figures and models from the store alone; nothing is trained.

    With --format md, Markdown that fits in a pull request is printed and no file written; with csv, all results, a
    value a line; with html, only the page is written.

    Example: droplab report mnist-depth-quick --out here
    """
    from droplab.errors import ConfigError

    if form not in (None, "html", "md", "csv"):
        raise ConfigError(f"--format must be html, md or csv; found {form!r}. Without it the whole folder is written.")
    if form is not None and figures:
        raise ConfigError(f"--figures belongs to the whole folder; found --format {form}. Leave one out.")
    if form is not None and probabilities:
        raise ConfigError(f"--probabilities belongs to the whole folder; found --format {form}. Leave one out.")
    if raw and form not in (None, "csv"):
        raise ConfigError(f"--raw is of CSV; found --format {form}. Leave one out.")
    if form in ("md", "csv") and force:
        raise ConfigError(f"--force is of files, and --format {form} goes to the screen. Leave one out.")
    if form in ("md", "csv") and open_it:
        raise ConfigError(f"--open is of the page, and --format {form} goes to the screen. Leave one out.")
    if form in ("md", "csv") and out is not None:
        raise ConfigError(
            f"--format {form} goes to the screen, and --out is where files are written; found both. Leave one out, or "
            "send the output to a file with >."
        )
    from droplab.config import load_study

    settings = load_study(spec).override(**options.given(flags))
    from droplab.api import Study
    from droplab.cli.runs import warn
    from droplab.data.spreadsheet import csv_text

    wanted, kinds = Study(settings), _kinds(figures)
    if form in ("md", "csv"):
        result = wanted.recall(store=store, precision=precision, notify=warn)
        text = csv_text(result.results(), raw) if form == "csv" else result.markdown(typed_command())
        typer.echo(text, nl=False)
        return
    names = wanted.files(probabilities) if form is None else ["report.html"]
    target = _target(wanted, spec, out, names, force, store)
    result = wanted.recall(store=store, precision=precision, notify=warn)
    if form is None:
        writing = {"probabilities": probabilities, "force": force, "raw": raw, "figures": kinds}
        _conclude(result, target, open_it, quiet=False, **writing)
    else:
        result.write_page(target, typed_command(), force=force, notify=say)
        _tell_report(target, open_it)


def presets() -> None:
    """List the studies and the reproductions that come with droplab.

    Example: droplab presets
    """
    from droplab.config import load_study
    from droplab.presets import preset_names, reproduction_names
    from droplab.study.plan import study_arms
    from droplab.study.reproduction import load_reproduction

    say("studies (droplab study NAME):")
    for name in preset_names():
        settings = load_study(name)
        most = "up to " if settings.until else ""
        seeds = f"{most}{len(settings.seeds)} seed{'s' if len(settings.seeds) > 1 else ''}"
        arms = study_arms(settings)
        controls = sum(arm.is_control for arm in arms)
        say(
            f"{name}: {len(arms)} arms, {controls} of them controls, × {seeds}, {settings.epochs} epochs on "
            f"{settings.data}\n  {settings.question}"
        )
    say("\nreproductions (droplab reproduce NAME):")
    for name in reproduction_names():
        say(f"{name}: {load_reproduction(name).title}")


def _foretell(wanted: Study, where: Mapping[str, Any]) -> None:
    """Print the arms of a study and its forecast."""
    plan, forecast = wanted.foretell(notify=say, **where)
    seeds = len(plan.settings.seeds)
    most = "up to " if plan.settings.until else ""
    say(f"{len(plan.arms)} arms × {most}{seeds} seed{'s' if seeds > 1 else ''}:")
    for arm in plan.arms:
        say(f"  {arm.name}")
    say(forecast.words)


def _target(
    wanted: Study,
    spec: str,
    out: Path | None,
    names: Sequence[str],
    force: bool,
    store: str | None,
    dry: bool = False,
) -> Path:
    """The output folder, checked and, unless `dry`, made."""
    from droplab.data.output import file_names

    settings = wanted.settings
    out = out or Path("droplab-out", *file_names([settings.name]).values())
    return outputs.open_folder(out, names, force, (spec, settings.data, settings.test), store, dry)


def typed_command() -> str:
    """What repeats a study or reproduction: as typed, but `report` as `study`, and without words about the screen."""
    words = iter(sys.argv[2:])
    kept = []
    for word in words:
        if word == "--format":
            next(words, None)
        elif word not in ("-q", "--quiet", "--open") and not word.startswith("--format="):
            kept.append(word)
    command = "reproduce" if sys.argv[1:2] == ["reproduce"] else "study"
    return outputs.command([command, *kept])


def _kinds(figures: str | None) -> list[str]:
    """The kinds of files that figures are asked for as, beside the usual ones."""
    from droplab.report.write import check_kinds

    kinds = [kind.strip() for kind in figures.split(",")] if figures is not None else []
    check_kinds(kinds)
    return kinds


def _conclude(result: StudyResult, target: Path, open_it: bool, quiet: bool, **writing: Any) -> None:
    """Say what a study comes to, then write everything, and say where the report is and what is missing.

    `writing` are options of `StudyResult.write`.
    """
    from droplab.cli.conclusion import conclude
    from droplab.errors import TrainingError

    summary = result.summary
    total = result.findings.wanted
    if summary.interrupted:
        say(f"stopped: {len(result.records)} of {total} networks are kept; the same command goes on from there")
    if result.records:
        command = typed_command()
        conclude(result.findings, command)
        if not quiet:
            say("drawing the figures and writing the report …")
        result.write(target, command, notify=say, **writing)
        _tell_report(target, open_it)
    if summary.interrupted:
        raise typer.Exit(128 + summary.signal)
    if summary.failures:
        raise TrainingError(
            f"{len(summary.failures)} of {total} networks could not be trained, the others are kept. "
            + " ".join(sorted({str(failure) for failure in summary.failures}))
        )


def _tell_report(target: Path, open_it: bool) -> None:
    """Say where the report is, and open it in a browser if asked to."""
    page = target / "report.html"
    say(f"report: {page}")
    if open_it and not webbrowser.open(page.resolve().as_uri()):
        say(f"no browser could be opened: open {page} in one", err=True)
