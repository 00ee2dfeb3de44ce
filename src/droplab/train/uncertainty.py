"""Uncertainty: what the probabilities that a final evaluation kept come to, as metrics and a reliability curve."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from droplab.stats.calibration import (
    BINS,
    brier,
    calibration_error,
    entropy,
    fit_temperature,
    mean_nll,
    reliability,
    tempered,
)
from droplab.train.evaluate import Evaluation
from droplab.train.outcome import Inference, Metric


class Beliefs(NamedTuple):
    """What R networks say of a split, by mode, with probabilities kept; and its labels, shape (N,)."""

    said: Mapping[Inference, Evaluation]
    labels: NDArray[np.int64]

    def of(self, mode: Inference, run: int) -> dict[int, NDArray[np.float32]]:
        """The log-probabilities of one run, shape (n, C), by the number of masks."""
        return {masks: table[run].cpu().numpy() for masks, table in self.said[mode].kept.items()}


def judge(run: int, masked: bool, valid: Beliefs | None, test: Beliefs) -> tuple[list[Metric], NDArray[np.float32]]:
    """Judge the probabilities of one run.

    Args:
        run: its place among the R.
        masked: whether its units are dropped; else nothing is said of masks, which others of its pack may have.
        valid: in mode `off`; `None` where nothing was held out, and then there is no temperature.
        test: in all modes.

    Returns:
        The metrics that `Metric` tells of, and the reliability curves of test with dropout off: of shape (2, 3, bins),
        as it is and at the temperature fitted on valid (NaN without one); confidence, accuracy, examples.
    """
    metrics: list[Metric] = []
    for mode in test.said:
        by_masks = test.of(mode, run)
        logs = by_masks[max(by_masks)]
        labels = test.labels[: len(logs)]
        right = logs.argmax(axis=1) == labels
        metrics.append(Metric(mode, "test", "brier", brier(logs, labels)))
        metrics.append(Metric(mode, "test", "ece", calibration_error(reliability(logs, labels))))
        unsure = entropy(logs)
        metrics += _means(mode, "entropy", unsure, right)
        single = test.said[mode].single
        if single is None or not masked:
            continue
        metrics += _means(mode, "mutual_information", unsure - single[run].cpu().numpy(), right)
        for masks, after in by_masks.items():
            metrics.append(Metric(mode, "test", f"accuracy_k{masks}", float((after.argmax(axis=1) == labels).mean())))
            metrics.append(Metric(mode, "test", f"nll_k{masks}", mean_nll(after, labels)))
            metrics.append(Metric(mode, "test", f"ece_k{masks}", calibration_error(reliability(after, labels))))
    (logs,) = test.of("off", run).values()
    labels = test.labels[: len(logs)]
    curves = np.full((2, 3, min(BINS, len(logs))), np.nan, np.float32)
    curves[0] = reliability(logs, labels)
    if valid is not None:
        (held_out,) = valid.of("off", run).values()
        temperature = fit_temperature(held_out, valid.labels[: len(held_out)])
        calibrated = tempered(logs, temperature)
        curves[1] = reliability(calibrated, labels)
        metrics.append(Metric("off", "valid", "temperature", temperature))
        metrics.append(Metric("off", "test", "nll_calibrated", mean_nll(calibrated, labels)))
        metrics.append(Metric("off", "test", "ece_calibrated", calibration_error(reliability(calibrated, labels))))
    return metrics, curves


def _means(mode: Inference, name: str, values: NDArray[np.float64], right: NDArray[np.bool_]) -> list[Metric]:
    """The mean over test, and over what is classified rightly and wrongly, where there is any."""
    parts = {name: values, f"{name}_right": values[right], f"{name}_wrong": values[~right]}
    return [Metric(mode, "test", called, float(part.mean())) for called, part in parts.items() if len(part)]
