"""One network, or some that are averaged, on someone's data: the short way, without a study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from droplab.config import TABULAR, RunSettings, strength_words
from droplab.data.dataset import Dataset
from droplab.data.tables import is_table, listed
from droplab.errors import ConfigError, DataError
from droplab.model.file import Calibration, ModelInfo, stacked, to_bytes, weights_hash
from droplab.report.card import render_fitted_card
from droplab.stats.calibration import calibration_error, reliability
from droplab.stats.conformal import bounds_by_class, class_scores, class_sets, distance_scores, fewest_rows, score_bound
from droplab.stats.intervals import Estimate, metric_intervals, number_intervals, set_intervals
from droplab.stats.metrics import classification_metrics
from droplab.study.lab import Lab, Ready
from droplab.study.origin import Origin, split_counts
from droplab.study.plan import Run, refit_settings
from droplab.study.rates import Rates
from droplab.study.records import RunRecord
from droplab.study.runner import Summary
from droplab.train.answers import answers
from droplab.train.examples import split_rows

RECIPE: dict[str, Any] = {
    "widths": (256, 128),
    "dropout": 0.5,
    "optimizer": "adam",
    "learning_rate": 0.001,
    "batch_size": 128,
    "epochs": 100,
    "valid_fraction": 0.0,
}
"""What is trained where nothing else is said; no example is held out for valid, since nothing is chosen on it."""

RATES = (TABULAR["dropout"], 0.5)
"""The dropout rates that are compared with none where no rate is given."""

HELD_OUT = 1 / 6
"""Share of the training examples that they are compared on where no other is given."""

SET_APART = 1 / 6
"""Share of the training examples that nothing is trained on where sets of classes are calibrated."""

FEWEST = 50
"""Fewest training examples of which some are held out to compare rates on."""


def recipe_of(data: str, held_out: float) -> dict[str, Any]:
    """What is trained on data of that path where nothing else is said: on a table `TABULAR`.

    Args:
        data: as `load_dataset` takes it.
        held_out: the share held out, by which a network for a table stops early if it is above 0.
    """
    if not is_table(Path(data)):
        return RECIPE | {"valid_fraction": held_out}
    return TABULAR | {"valid_fraction": held_out} | ({} if held_out else {"regularizers": {}})


@dataclass(frozen=True)
class Fitted:
    """A model, and what is known of it.

    Attributes:
        weights: as its file holds them.
        info: what it is.
        dataset: what it was trained on.
        runs: its networks, alike but for their seeds.
        records: what came of each.
        summary: what was trained now, and what was said on the way.
        said: log-probabilities of the test examples with dropout off, shape (examples, classes), or numbers, shape
            (examples,).
        rates: the dropout rates that valid chose among; `None` where the rate was given.
    """

    weights: dict[str, NDArray[np.float32]]
    info: ModelInfo
    dataset: Dataset
    runs: tuple[Run, ...]
    records: tuple[RunRecord, ...]
    summary: Summary
    said: NDArray[np.float32]
    rates: Rates | None = None

    def content(self, card: str) -> bytes:
        """The model file, which names its card by a hash, as the card names the weights."""
        return to_bytes(self.weights, self.info, card)

    @cached_property
    def metrics(self) -> list[Estimate]:
        """How good it is on test, with intervals."""
        truth, calibration = self.dataset.test_y, self.info.calibration
        if self.info.is_of_numbers:
            return number_intervals(truth, self.said, float(calibration.bound[0]) if calibration else None)
        found = metric_intervals(truth, self.said)
        return found + (set_intervals(class_sets(np.exp(self.said), calibration.bound), truth) if calibration else [])

    def card(self, data: str, file: str, command: str) -> str:
        """Its card as Markdown.

        Args:
            data: the data as they were asked for.
            file: the name of the model file.
            command: what repeats it, as typed.
        """
        by_class, error = {}, None
        if not self.info.is_of_numbers:
            truth = self.dataset.test_y
            by_class = classification_metrics(truth, self.said.argmax(axis=1), len(self.info.classes))
            error = calibration_error(reliability(self.said, truth))
        valid = len(self.records[0].outcome.ledger.get("valid", ()))
        examples = split_counts(self.dataset.card, valid, self.runs[0].settings.train_examples)
        return render_fitted_card(
            self.runs,
            self.records,
            Origin.of(self.dataset.card, examples, self.summary, command),
            self.info,
            weights_hash(self.weights),
            self.metrics,
            by_class,
            error,
            data,
            file,
            grouped=self.dataset.train_groups is not None,
            rates=self.rates,
        )


def fit(
    lab: Lab,
    ready: Ready,
    settings: RunSettings,
    seeds: Sequence[int],
    rates: Sequence[float] = (),
    confidence: float | None = None,
    by_class: bool = False,
) -> Fitted | None:
    """Train a network with each seed, and make one model of them; what the store has is not trained again.

    With `rates`, networks without dropout and with each of them are trained first, `settings.valid_fraction` of the
    training examples held out. The rate with the highest accuracy on these, of numbers the lowest RMSE, is the model's,
    whose networks are trained on all training examples. The test split chooses nothing. Where too few examples can be
    held out, or dropout cannot act, that is said, and the rate is that of `settings`.

    Args:
        lab: where.
        ready: what is trained on, as the lab has read it.
        settings: of each network; `seed` aside.
        seeds: of the networks, each once.
        rates: dropout rates to compare with none; empty for that of `settings`.
        confidence: how often sets of classes, or intervals of numbers, are to hold the true one; they are calibrated on
            `SET_APART` of the training examples, which have no part in anything else. `None` for none.
        by_class: whether that is to hold within each class.

    Returns:
        `None` where it was interrupted; the same call goes on.

    Raises:
        ConfigError: if `by_class` is asked of numbers.
        DataError: if too few examples can be set apart.
        DroplabError: if a network cannot be trained, or the store does not work.
    """
    if by_class and ready.dataset.is_of_numbers:
        raise ConfigError("by class is for classes alone; found numbers as targets. Leave it out.")
    settings = settings.for_targets(ready.dataset.is_of_numbers)  # before copies, which forget what was given
    apart = None
    if confidence is not None:
        ready, apart = _set_apart(ready, settings.split_seed, fewest_rows(confidence))
    valid = _held_out(lab, ready.dataset, settings) if rates else None
    if rates and valid is None:
        used = {name: strength for name, strength in settings.regularizers if name != "early_stopping"}
        settings = settings.model_copy(update={"valid_fraction": 0.0, "regularizers": used})
    each = [settings.model_copy(update={"seed": seed}) for seed in seeds]
    chosen, summary = None, Summary(reused=0)
    with lab.opened() as store:
        if valid is not None:
            tried = [one.model_copy(update={"dropout": rate}) for rate in (0.0, *rates) for one in each]
            runs, found, now = lab.networks(tried, ready, store)
            summary.add(now)
            if summary.interrupted:
                return None
            chosen = _compared(runs, found, ready.dataset.train_y[valid])
            rate = f"dropout {chosen.chosen:g}" if chosen.chosen else "no dropout"
            lab.watcher.notice(f"valid chose {rate}: trained again on train and valid together")
            best = [run for run in runs if run.settings.dropout == chosen.chosen]
            each = [refit_settings(run.settings, found[run.key].outcome) for run in best]
        runs, found, now = lab.networks(each, ready, store)
        summary.add(now)
        if summary.interrupted:
            return None
        records = tuple(found[run.key] for run in runs)
        weights, info = stacked([store.read_weights(record) for record in records])
    dataset = ready.dataset
    if apart is not None and confidence is not None:
        calibration = _calibrated(weights, info, apart, confidence, by_class)
        info = info.model_copy(update={"calibration": calibration})
        if lacking := [name for name, one in zip(info.classes, calibration.bounds, strict=False) if one is None]:
            lab.watcher.notice(f"too few examples to calibrate by: {listed(lacking)} will be in every set")
    said = answers(weights, info, dataset.test_x, scale=dataset.scale, call=dataset.call_test)["off"]
    told = said.logs if said.numbers is None else said.numbers
    return Fitted(weights, info, dataset, runs, records, summary, told, chosen)


def _set_apart(ready: Ready, split_seed: int, fewest: int) -> tuple[Ready, Dataset]:
    """Data without some of their training examples, and a data set that is trained on these alone."""
    dataset = ready.dataset
    kept, apart = split_rows(dataset, SET_APART, split_seed)
    if len(apart) < fewest:
        raise DataError(
            f"{dataset.name}: answers of such confidence need {fewest} examples set apart; found {len(apart)}. Ask for "
            "less confidence, or add examples."
        )
    return replace(ready, dataset=dataset.only(kept)), dataset.only(apart)


def _calibrated(
    weights: dict[str, NDArray[np.float32]], info: ModelInfo, apart: Dataset, confidence: float, by_class: bool
) -> Calibration:
    """What the model's sets or intervals are made by, from examples that nothing was trained on."""
    said = answers(weights, info, apart.train_x, scale=apart.scale)["off"]
    if said.numbers is None:
        scores = class_scores(np.exp(said.logs), apart.train_y)
    else:
        scores = distance_scores(apart.train_y, said.numbers)
    if by_class:
        bounds = bounds_by_class(scores, apart.train_y, len(info.classes), confidence)
    else:
        bounds = np.array([score_bound(scores, confidence)])
    told = tuple(float(one) if np.isfinite(one) else None for one in bounds)
    return Calibration(confidence=confidence, bounds=told, rows=len(scores))


def _held_out(lab: Lab, dataset: Dataset, settings: RunSettings) -> NDArray[np.int64] | None:
    """The training examples that rates are compared on; `None`, and why is said, where there can be none."""
    examples = len(dataset.train_y)
    if not settings.widths:
        reason = "without a hidden layer dropout changes nothing"
    elif not settings.valid_fraction:
        reason = "no examples are held out for valid"
    elif examples < FEWEST:
        reason = f"{examples} training examples are too few to hold some out; it takes {FEWEST}"
    else:
        try:
            _, valid = split_rows(dataset, settings.valid_fraction, settings.split_seed)
        except DataError as error:
            reason = f"no examples can be held out: {error}"
        else:
            if len(valid) > 1:
                return valid
            reason = "a single example is held out"
    used = f"; dropout {strength_words(settings.dropout)} is used untried" if settings.widths else ""
    lab.watcher.notice(f"whether dropout earns its place is not found out: {reason}{used}")
    return None


def _compared(runs: Sequence[Run], records: Mapping[str, RunRecord], truth: NDArray[Any]) -> Rates:
    """What networks of several rates come to on valid, whose classes or numbers are `truth`."""
    found: dict[float, list[NDArray[Any]]] = {}
    of_numbers = runs[0].settings.is_of_numbers
    for run in runs:
        said = records[run.key].outcome.ledger["valid"]
        each = (said - truth) ** 2 if of_numbers else said == truth
        found.setdefault(max(run.settings.rates), []).append(each)
    by_rate = {rate: np.stack(one) for rate, one in found.items()}
    return Rates.of_errors(by_rate) if of_numbers else Rates.of(by_rate)
