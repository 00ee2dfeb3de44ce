"""`droplab compare`: two arms from the store's ledgers, of one study or of two, without training."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from droplab.cli.options import StorePath
from droplab.cli.tables import print_table
from droplab.errors import ConfigError, StoreError

if TYPE_CHECKING:
    from droplab.stats.measure import Measure
    from droplab.study.records import RunRecord
    from droplab.study.store import Store

_ARM = "depth=5,dropout=0.5"


def compare(
    a: Annotated[str, typer.Argument(metavar="ARM", help=f"Conditions with commas between, as {_ARM}.")],
    b: Annotated[str, typer.Argument(metavar="ARM", help="What it is compared with; `control` stands for dropout=0.")],
    margin: Annotated[float, typer.Option(help="Largest difference that does not matter; 0.001 is 0.1 points.")] = 1e-3,
    confidence: Annotated[float, typer.Option(help="Of the intervals, in (0, 1).")] = 0.95,
    store: StorePath = None,
) -> None:
    """Compare two arms on the test examples, from what the store keeps of their runs; nothing is trained.

    An arm is what all its runs have in common, written as the conditions of `runs --where`: its runs may differ in
    their seed only. Runs of both arms are paired by seed, and must have been tested on the same examples.

    Example: droplab compare data=mnist,depth=5,dropout=0.5 data=mnist,depth=5,control
    """
    from droplab.cli.runs import open_existing
    from droplab.study import ledgers

    with open_existing(store) as opened:
        ours, theirs = (ledgers.by_seed(_runs(opened, arm), arm) for arm in (a, b))
    seeds = [seed for seed in ours if seed in theirs]
    if not seeds:
        raise StoreError(
            f"two arms must share a seed; found {_listed(ours)} for {a!r} and {_listed(theirs)} for {b!r}. "
            "Train the missing ones: droplab study, with --seeds."
        )
    mine, other = ([runs[seed] for seed in seeds] for runs in (ours, theirs))
    varied = ledgers.differences(mine[0], other[0])
    if not varied:
        raise ConfigError(f"two arms must differ; {a!r} and {b!r} are the same runs. Add conditions that tell them.")
    measure = mine[0].settings.usual
    head = measure.headed(f"test {measure.label}")
    on_these = ledgers.compare_accuracies(mine, other, margin, confidence)
    on_new = ledgers.compare_examples(mine, other, margin, confidence)
    print_table(
        ["", a, b],
        [
            *((name, *values) for name, values in varied.items()),
            *((f"{head}, seed {seed}", *_values(measure, ours[seed], theirs[seed])) for seed in seeds),
        ],
    )
    typer.echo(
        f"difference: {measure.change_words(on_these.difference)} of test {measure.label}, over {len(seeds)} seeds"
    )
    typer.echo(f"new seeds on these test examples: {on_these.words}")
    if measure.is_of_targets:
        typer.echo("new examples: not known of numbers, which are not compared example by example")
    elif on_new is None:
        typer.echo("new examples: not known, since the store has no test labels of these runs; train one run more")
    else:
        typer.echo(f"new seeds and new examples: {on_new.words}")


def _runs(store: Store, arm: str) -> Sequence[RunRecord]:
    """The runs of the store that an arm's conditions mean."""
    from droplab.cli.runs import warn
    from droplab.study.where import parse_condition

    # A comma ends a condition where the next one begins: widths=512,256,dropout=0.5 has two.
    parts = re.split(r",(?=\s*[A-Za-z])", arm)
    conditions = [parse_condition("dropout=0" if part.strip() == "control" else part) for part in parts]
    found = store.summaries(warn)
    keys = [run.key for run in found if all(condition.holds(run) for condition in conditions)]
    if not keys:
        raise StoreError(f"{store.name}: must hold runs of the arm {arm!r}; found none. See `droplab runs list`.")
    return list(store.load(keys, warn).values())


def _values(measure: Measure, *runs: RunRecord) -> list[str]:
    return [measure.value(run.outcome.metric("off", "test", measure.name)) for run in runs]


def _listed(runs: dict[int, RunRecord]) -> str:
    return "seeds " + ", ".join(map(str, runs))
