"""The page of a reproduction, as Markdown: published values beside ours, claims, the choice on valid, the recipe."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from droplab import __version__
from droplab.config import regularizer_words, strength_words
from droplab.data.spreadsheet import csv_text
from droplab.report.card import bullets
from droplab.report.cells import Table
from droplab.report.drawing import FILES
from droplab.report.markdown import code, escaped, table
from droplab.report.published_charts import reproduction
from droplab.report.words import duration_words, seeds_words, value_words
from droplab.report.write import save_figures
from droplab.stats.compare import points
from droplab.study.origin import environments
from droplab.study.published import Beside, beside, claims_told, results_frame

if TYPE_CHECKING:
    from droplab.data.output import Folder
    from droplab.study.records import RunRecord
    from droplab.study.reproduction import Reproduced

SMOKE = (
    "The numbers of a smoke run mean nothing: it shows that everything works, with networks that are hardly trained. "
    "For numbers there is --budget short, and paper for the full count."
)

_SMALL = f"**{SMOKE}** A network with fewer updates than an epoch has is trained on fewer examples."

_OWN_ERROR = (
    "The interval of the difference also counts the published value's own standard error: the one printed behind ±, or "
    "else the binomial one in brackets. `agrees`: it holds 0."
)

_BY_ROW = {"epochs", "widths", "dropout", "regularizers", "seed", "train_examples"}
"""Settings that a row or a budget gives."""

REPORT = ("results.csv", "report.md", *(f"figures/reproduction.{kind}" for kind in FILES))
"""The files that a reproduction writes."""


def write_reproduction(
    folder: Folder, reproduced: Reproduced, command: str, notify: Callable[[str], None], raw: bool = False
) -> list[Path]:
    """Write `results.csv`, `report.md` and `figures/reproduction.{svg,png}` into a folder.

    Args:
        folder: of the output.
        reproduced: with at least one network finished.
        command: what repeats it, as typed.
        notify: told that figures could not be drawn, if so.
        raw: whether text goes into `results.csv` as it is, as `csv_text` has it.

    Raises:
        DataError: if the folder or a file in it cannot be written.
    """
    written = [
        folder.write("results.csv", csv_text(results_frame(reproduced), raw).encode()),
        folder.write("report.md", render_reproduction(reproduced, command).encode()),
        *save_figures({"reproduction": reproduction(reproduced)}, folder, notify),
    ]
    folder.finish()
    return written


def render_reproduction(reproduced: Reproduced, command: str) -> str:
    """The page as Markdown.

    Args:
        reproduced: with at least one network finished.
        command: what repeats it, as typed.
    """
    what, budget, published = reproduced.reproduction, reproduced.budget, _is_published(reproduced)
    full = "" if budget == "paper" else f"; the full count is {what.updates['paper']:,}"
    told = claims_told(reproduced)
    final = ", ".join(f"{name} {value_words(value)}" for name, value in what.final.items())
    parts = [
        f"# {escaped(what.title)}",
        f"{escaped(what.source)}. Budget `{budget}`: {what.updates[budget]:,} updates a network (to whole epochs), "
        f"{seeds_words(len(reproduced.seeds))}{full}.",
        _SMALL if budget == "smoke" else "",
        reproduced.missing and f"**{reproduced.missing}.** The others are not finished, or could not be trained.",
        code(command),
        "![Test error of every row, with 95 % intervals](figures/reproduction.png)",
        "## Published beside ours" if published else "## Test error",
        table(beside_table(reproduced)),
        "Test error in % of the examples: the mean over the seeds with its 95 % t interval. "
        + (_OWN_ERROR if published else "The paper has no numbers to stand beside."),
        "## What the paper claims" if told else "",
        bullets(f"{escaped(one.claim.text)} **{escaped(one.words)}**" for one in told),
    ]
    if any(result.tried for result in reproduced.rows):
        parts += [
            "## What valid chose",
            f"{escaped(what.tried_why)} Each recipe was trained with seed {reproduced.seeds[0]}; the lowest error on "
            "valid is chosen. What the test split says of the others is not shown and chose nothing. The store keeps "
            "them all.",
            table(choice_table(reproduced)),
        ]
    parts += [
        "## The recipe",
        table(recipe_table(reproduced)),
        final and f"The networks that the test split is for are trained with {final}.",
        bullets(map(escaped, what.notes)),
        "## Where it was run",
        bullets(_origin_words(reproduced)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def beside_table(reproduced: Reproduced) -> Table:
    """A row for each of the paper's; nothing is said of published values where there are none."""
    head: tuple[str, ...] = ("row", "test error (%)", "95 % interval", "seeds")
    if _is_published(reproduced):
        head += ("published (%)", "ours − published (points)", "95 % interval", "reading")
    rows = []
    for result in reproduced.rows:
        found = beside(result, reproduced.dataset.test_examples)
        ours = "–" if found.error is None else f"{found.error:.2f}"
        interval = "–" if found.low is None or found.high is None else f"{found.low:.2f} to {found.high:.2f}"
        cells = (result.row.name, ours, interval, str(found.seeds), *_published_cells(found))
        rows.append(cells[: len(head)])
    return Table(head, rows)


def _is_published(reproduced: Reproduced) -> bool:
    return any(result.row.error is not None for result in reproduced.rows)


def _published_cells(found: Beside) -> tuple[str, ...]:
    published = "–"
    if found.published is not None:
        own = f"± {found.published_sd:.2f}" if found.is_printed else f"({found.published_sd:.2f})"
        published = f"{found.published:.2f} {own}"
    if found.difference is None or found.difference_low is None or found.difference_high is None:
        return published, "–", "–", "–"
    both = f"{points(found.difference_low / 100)} to {points(found.difference_high / 100)}"
    return published, points(found.difference / 100), both, found.reading


def choice_table(reproduced: Reproduced) -> Table:
    """Every recipe that was tried, with its error on valid and what it took."""
    rows = []
    for result in reproduced.rows:
        for place, (record, recipe) in enumerate(zip(result.tried, result.row.tried, strict=bool(result.tried))):
            found = ("not trained", "–")
            if record is not None:
                found = (f"{100 * (1 - record.valid_accuracy):.2f}", f"{record.outcome.train_seconds:.0f}")
            rows.append((result.row.name, _settings_words(recipe), *found, "chosen" if place == result.option else ""))
    return Table(("row", "recipe", "valid error (%)", "training (s)", ""), rows)


def recipe_table(reproduced: Reproduced) -> Table:
    """Every setting that the paper states, every one that is chosen here, with the reason, and droplab's defaults."""
    what = reproduced.reproduction
    rows = [(name, _value_words(name, value), "stated", "") for name, value in what.stated.items()]
    rows += [(name, _value_words(name, one.value), "chosen", one.why) for name, one in what.chosen.items()]
    for row in what.rows:
        of = f"row {row.name}"
        rows += [(of, _settings_words(row.settings), "stated", "")] if row.settings else []
        rows += [(of, _settings_words({name: one.value}), "chosen", one.why) for name, one in row.chosen.items()]
    some = what.recipe(what.rows[0], 0, reproduced.budget, reproduced.dataset.train_examples)
    told = what.stated.keys() | what.chosen.keys() | what.final.keys() | what.rows[0].settings.keys() | _BY_ROW
    own = {name: value for name, value in some.told().items() if name not in told and value}
    rows += [(name, _value_words(name, value), "chosen", "droplab's default") for name, value in own.items()]
    return Table(("setting", "value", "", "why"), rows)


def _origin_words(reproduced: Reproduced) -> list[str]:
    """What was trained, for how long, on what."""
    choice = [record for result in reproduced.rows for record in result.tried if record is not None]
    final = list({record.key: record for result in reproduced.rows for record in result.runs.values()}.values())
    summary, data = reproduced.summary, reproduced.dataset
    tried = f"; {_networks(choice)} to choose among, in {_training(choice)}" if choice else ""
    lines = [
        f"{_networks(final)} for the test split, trained in {_training(final)}{tried}. The run that wrote this page "
        f"trained {summary.trained} of them in {duration_words(summary.seconds)}; {summary.reused} came from the store."
    ]
    by_way: dict[str, list[RunRecord]] = {}
    for record in (*final, *choice):
        by_way.setdefault(f"{record.way.device}, {record.way.precision}", []).append(record)
    lines += [
        f"{found['runs']} on {found['device']}, {found['threads']} thread{'s' if found['threads'] > 1 else ''} each, "
        f"{way}, PyTorch {found['torch']}, Python {found['python']}."
        for way, records in by_way.items()
        for found in environments(records)
    ]
    lines.append(f"Data: {escaped(data.name)} (fingerprint `{data.fingerprint[:12]}`). droplab {__version__}.")
    return [*lines, *map(escaped, summary.notices)]


def _networks(records: Sequence[RunRecord]) -> str:
    return f"{len(records)} network{'' if len(records) == 1 else 's'}"


def _training(records: Sequence[RunRecord]) -> str:
    return f"{duration_words(sum(record.outcome.train_seconds for record in records))} of training"


def _settings_words(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {_value_words(name, value)}" for name, value in settings.items()) or "–"


def _value_words(name: str, value: Any) -> str:
    if name == "regularizers":
        return regularizer_words(tuple((k, tuple(v) if isinstance(v, list) else v) for k, v in value.items()))
    return strength_words(tuple(value)) if name == "dropout" and isinstance(value, list) else value_words(value)
