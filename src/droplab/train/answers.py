"""Answers: what a kept network says of rows, in each inference mode."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from droplab.errors import DataError, ModelFileError
from droplab.model.file import ModelInfo, separate, settings_of
from droplab.model.network import Network, is_noisy, layers_of, used_by
from droplab.model.regularizers import TABLE
from droplab.train.device import has_bf16_units
from droplab.train.evaluate import Evaluation, evaluate
from droplab.train.examples import Part
from droplab.train.outcome import Inference


def row_words(number: int) -> str:
    """A row by its place."""
    return f"row {number + 1}"


class Answer(NamedTuple):
    """What a model says of N rows in one inference mode, the mean over its networks.

    Attributes:
        logs: log-probabilities, shape (N, classes); (N, 0) where it says numbers.
        single_entropy: mean over networks and masks of the entropy of each, in nats, shape (N,); 0 where `mc` was not
            asked.
    """

    logs: NDArray[np.float32]
    single_entropy: NDArray[np.float32]
    numbers: NDArray[np.float32] | None = None
    """Of a network of numbers these, in the unit of its targets, shape (N,)."""


def answers(
    weights: Mapping[str, NDArray[np.float32]],
    info: ModelInfo,
    features: NDArray[np.uint8 | np.float32],
    modes: Sequence[Inference] = ("off",),
    samples: int = 20,
    seed: int = 0,
    scale: float | None = None,
    first: int = 0,
    call: Callable[[int], str] = row_words,
) -> dict[Inference, Answer]:
    """What a model says of rows, in each inference mode; arguments as those of `predict.predict`.

    What bytes are multiplied by is `scale`, where it is given, else as in training, else 1/255.

    Raises:
        DataError: if there is no row, or the network has no finite answer for one.
        ModelFileError: if a mode needs the noise of a plugin that is not loaded.
    """
    if not len(features):
        raise DataError("there must be at least one row to predict; found none.")
    if set(modes) != {"off"} and (lacking := [name for name in info.plugin_noise if name not in TABLE]):
        raise ModelFileError(
            f"a network's noise must be known to leave it on; found none called {', '.join(lacking)}, of a plugin. "
            "Name its file in DROPLAB_PLUGINS."
        )
    precision = info.precision if info.precision == "fp32" or has_bf16_units("cpu") else "fp32"
    if features.dtype == np.float32:
        scale = 1.0
    elif scale is None:
        scale = info.scale if info.scale != 1 else 1 / 255
    unknown = np.zeros(len(features), np.float64 if info.is_of_numbers else np.int64)
    part = Part.of(features, unknown, np.arange(len(features)), scale)
    settings = settings_of(info)
    network = Network.of([settings], features.shape[1], info.outputs, precision)
    strengths = network.strengths([used_by(settings)]).float()
    said = [
        evaluate(
            network,
            layers_of(one),
            part,
            strengths,
            modes,
            [seed + number],
            samples=samples,
            keep=len(part),
            first=first,
        )
        for number, one in enumerate(separate(weights, info))
    ]
    found = {mode: _mean([each[mode] for each in said]) for mode in modes}
    for answer in found.values():
        numbers = answer.numbers
        finite = ~np.isnan(answer.logs).any(axis=1) if numbers is None else np.isfinite(numbers)
        if not finite.all():
            row = int(finite.argmin())
            column = int(np.abs(features[row].astype(np.float64)).argmax())
            names = info.preprocessing.feature_names if info.preprocessing else ()
            raise DataError(
                f"the network must have an answer for each row; found none for {call(row)}, whose largest value, in "
                f"{repr(names[column]) if names else f'feature {column + 1}'}, is too large to compute with. Correct "
                "it."
            )
    return found


def _mean(said: Sequence[Evaluation]) -> Answer:
    """The mean of what networks say, each of all its masks where it has some."""
    if not said[0].kept:
        numbers = torch.stack([one.predictions[0] for one in said]).mean(dim=0).numpy()
        return Answer(np.empty((len(numbers), 0), np.float32), np.zeros(len(numbers), np.float32), numbers)
    logs = torch.stack([one.kept[max(one.kept)][0] for one in said]).logsumexp(dim=0) - math.log(len(said))
    entropies = [one.single[0] if one.single is not None else torch.zeros(len(logs)) for one in said]
    return Answer(logs.numpy(), torch.stack(entropies).mean(dim=0).numpy())


def has_noise(info: ModelInfo) -> bool:
    """Whether a network says something else with dropout or noise on than with it off."""
    return bool(info.plugin_noise) or is_noisy(settings_of(info))
