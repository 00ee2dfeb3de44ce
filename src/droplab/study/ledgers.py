"""Ledgers: from the finished runs of two arms, of one study or of two, to what can be said of them without training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from droplab.config import regularizer_words, strength_words
from droplab.errors import DataError
from droplab.stats.compare import Comparison, compare, compare_differences

if TYPE_CHECKING:
    from droplab.study.records import RunRecord


def by_seed(runs: Sequence[RunRecord], what: str) -> dict[int, RunRecord]:
    """The runs of one arm by seed, in the seeds' order.

    Args:
        runs: at least one.
        what: names the arm in an error.

    Raises:
        DataError: if they differ in anything else than the seed.
    """
    differing = {
        name: values
        for name, values in _told(runs).items()
        if name != "seed" and len(set(values)) > 1  # a dict: the order of settings
    }
    if differing:
        told = "; ".join(f"{name} {', '.join(dict.fromkeys(values))}" for name, values in differing.items())
        raise DataError(
            f"the runs of an arm must differ in their seed only; those of {what!r} differ in {told}. "
            f"Say which: {what},{next(iter(differing))}=…"
        )
    return {run.settings.seed: run for run in sorted(runs, key=lambda run: run.settings.seed)}


def differences(a: RunRecord, b: RunRecord) -> dict[str, tuple[str, str]]:
    """In what two runs differ but for the seed, as typed: name → (a's, b's)."""
    told = _told([a, b])
    return {name: (here, there) for name, (here, there) in told.items() if here != there and name != "seed"}


def compare_accuracies(
    a: Sequence[RunRecord], b: Sequence[RunRecord], margin: float = 0.001, confidence: float = 0.95
) -> Comparison:
    """Compare test accuracies (of numbers RMSEs) with dropout off, seed by seed: this holds for these test examples.

    Args:
        a: of the one arm, one run a seed.
        b: of the other, in the same order.
        margin: as in `stats.compare`; of numbers as a share of the standard deviation of the test targets, times ten.
        confidence: likewise.
    """
    measure = a[0].settings.usual
    ours, theirs = ([run.outcome.metric("off", "test", measure.name) for run in runs] for runs in (a, b))
    if not measure.is_of_targets:
        return compare(ours, theirs, margin=margin, confidence=confidence)
    spread = 1.0 if a[0].test_labels is None else float(a[0].test_labels.std()) or 1.0
    differences = measure.sign * (np.array(ours) - np.array(theirs))
    scaled = 10 * margin * spread  # 0.001 of accuracy is for numbers what MEASURES has
    return compare_differences(differences, margin=scaled, confidence=confidence).told_as("rmse")


def compare_examples(
    a: Sequence[RunRecord], b: Sequence[RunRecord], margin: float = 0.001, confidence: float = 0.95
) -> Comparison | None:
    """Compare right and wrong example by example, so that what is said holds for new test examples, too.

    Args:
        a: of the one arm, one run a seed.
        b: of the other, in the same order.
        margin: as in `stats.compare`.
        confidence: likewise.

    Returns:
        `None` where the store has no test labels of these runs, or there is a single test example.

    Raises:
        DataError: if the test examples are not the same.
    """
    if {run.fingerprint for run in (*a, *b)} != {a[0].fingerprint}:
        raise DataError("arms must be compared on the same test examples; found runs on different data.")
    right = [[run.right for run in runs] for runs in (a, b)]
    if any(one is None or len(one) < 2 for runs in right for one in runs):
        return None
    by_example = (np.stack([one for one in runs if one is not None]) for runs in right)
    return compare(*by_example, margin=margin, confidence=confidence)


def _told(runs: Sequence[RunRecord]) -> Mapping[str, list[str]]:
    """What decides a run, as typed: name → each run's."""
    told: list[dict[str, Any]] = [
        {
            "data": run.dataset,
            "fingerprint": run.fingerprint,
            **run.settings.model_dump(),
            "dropout": strength_words(run.settings.dropout),
            "regularizers": regularizer_words(run.settings.regularizers) or "none",
            "precision": run.way.precision,
            "numerics": run.numerics,
        }
        for run in runs
    ]
    return {name: [_typed(one[name]) for one in told] for name in told[0]}


def _typed(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(map(str, value)) or "(none)"
    return f"{value:.12g}" if isinstance(value, float) else str(value)
