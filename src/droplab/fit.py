"""One network, or some that are averaged, on someone's data: the short way, without a study."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from droplab.config import RunSettings
from droplab.data.dataset import Dataset
from droplab.model.file import ModelInfo, stacked, to_bytes, weights_hash
from droplab.predict import answers
from droplab.report.fitted import render_fitted_card
from droplab.stats.intervals import Estimate, metric_intervals
from droplab.study.lab import Lab, Ready
from droplab.study.origin import Origin, split_counts
from droplab.study.plan import Run
from droplab.study.records import RunRecord
from droplab.study.runner import Summary

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
        log_probabilities: what it says of the test examples with dropout off, shape (examples, classes).
    """

    weights: dict[str, NDArray[np.float32]]
    info: ModelInfo
    dataset: Dataset
    runs: tuple[Run, ...]
    records: tuple[RunRecord, ...]
    summary: Summary
    log_probabilities: NDArray[np.float32]

    def content(self, card: str) -> bytes:
        """The model file, which names its card by a hash, as the card names the weights."""
        return to_bytes(self.weights, self.info, card)

    @cached_property
    def metrics(self) -> list[Estimate]:
        """How good it is on test, with intervals."""
        return metric_intervals(self.dataset.test_y, self.log_probabilities)

    def card(self, data: str, file: str, command: str) -> str:
        """Its card as Markdown.

        Args:
            data: the data as they were asked for.
            file: the name of the model file.
            command: what repeats it, as typed.
        """
        valid = len(self.records[0].outcome.ledger.get("valid", ()))
        examples = split_counts(self.dataset.card, valid, self.runs[0].settings.train_examples)
        return render_fitted_card(
            self.runs,
            self.records,
            Origin.of(self.dataset.card, examples, self.summary, command),
            self.info,
            weights_hash(self.weights),
            self.dataset.test_y,
            self.log_probabilities,
            self.metrics,
            data,
            file,
            grouped=self.dataset.train_groups is not None,
        )


def fit(lab: Lab, ready: Ready, settings: RunSettings, seeds: Sequence[int]) -> Fitted | None:
    """Train a network with each seed, and make one model of them; what the store has is not trained again.

    Args:
        lab: where.
        ready: what is trained on, as the lab has read it.
        settings: of each network; `seed` aside.
        seeds: of the networks, each once.

    Returns:
        `None` where it was interrupted; the same call goes on.

    Raises:
        DroplabError: if a network cannot be trained, or the store does not work.
    """
    each = [RunSettings.parse(settings.model_dump() | {"seed": seed}) for seed in seeds]
    with lab.opened() as store:
        runs, found, summary = lab.networks(each, ready, store)
        if summary.interrupted:
            return None
        records = tuple(found[run.key] for run in runs)
        weights, info = stacked([store.read_weights(record) for record in records])
    dataset = ready.dataset
    said = answers(weights, info, dataset.test_x, scale=dataset.scale, call=dataset.call_test)
    return Fitted(weights, info, dataset, runs, records, summary, said["off"].logs)
