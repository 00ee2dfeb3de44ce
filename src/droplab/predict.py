"""What a kept network says of rows: features → a frame."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from droplab.errors import ConfigError, DataError, ModelFileError
from droplab.model.families import TABLE
from droplab.model.file import ModelInfo, separate, settings_of
from droplab.model.general import general_of
from droplab.model.network import layers_of
from droplab.model.regularizers import Dropout
from droplab.stats.calibration import entropy
from droplab.train.device import has_bf16_units
from droplab.train.evaluate import Evaluation, evaluate
from droplab.train.examples import Part
from droplab.train.outcome import Inference


def _row(number: int) -> str:
    return f"row {number + 1}"


def predict(
    weights: Mapping[str, NDArray[np.float32]],
    info: ModelInfo,
    features: NDArray[np.uint8 | np.float32],
    *,
    probabilities: bool = False,
    uncertainty: bool = False,
    samples: int = 20,
    seed: int = 0,
    scale: float | None = None,
    first: int = 0,
    call: Callable[[int], str] = _row,
) -> pd.DataFrame:
    """What a network says of rows.

    Args:
        weights: as a model file holds them.
        info: what the network is.
        features: as `inputs.features_of` gives them, shape (rows, features).
        probabilities: whether each class's probability is told, dropout off.
        uncertainty: whether `samples` masks are asked, too.
        samples: how many.
        seed: of the masks.
        scale: what bytes are multiplied by; `None` for what `answers` says.
        first: how many rows were asked before, where they are asked some at a time; a mask depends on a row's number.
        call: how messages call a row, by its place in `features`.

    Returns:
        Columns `row` (from `first` + 1), `class` (the likeliest, dropout off); with probabilities `p_CLASS` each; with
        uncertainty `mc_class` and `mc_p` (the likeliest by the mean over masks, and its probability), `entropy` of that
        mean and `mutual_information`, in nats.

    Raises:
        ConfigError: if uncertainty is asked of a network in which nothing is random.
        DataError: if there is no row, or the network has no finite answer for one.
    """
    if uncertainty and not is_noisy(info):
        raise ConfigError(
            "uncertainty needs a network with dropout or noise; this one was trained without. Leave it out."
        )
    modes: tuple[Inference, ...] = ("off", "mc") if uncertainty else ("off",)
    said = answers(weights, info, features, modes, samples, seed, scale, first, call)
    names = np.asarray(info.classes, dtype=object)
    off = said["off"].logs
    frame = pd.DataFrame({"row": np.arange(first + 1, first + len(off) + 1), "class": names[off.argmax(axis=1)]})
    if probabilities:
        table = pd.DataFrame(np.exp(off), columns=[f"p_{name}" for name in names])
        frame = pd.concat([frame, table], axis=1)
    if uncertainty:
        logs = said["mc"].logs
        frame["mc_class"], frame["mc_p"] = names[logs.argmax(axis=1)], np.exp(logs.max(axis=1))
        frame["entropy"] = entropy(logs)
        frame["mutual_information"] = np.maximum(frame["entropy"] - said["mc"].single_entropy, 0)
    return frame


class Answer(NamedTuple):
    """What a model says of N rows in one inference mode, the mean over its networks.

    Attributes:
        logs: log-probabilities, shape (N, classes).
        single_entropy: mean over networks and masks of the entropy of each, in nats, shape (N,); 0 where `mc` was not
            asked.
    """

    logs: NDArray[np.float32]
    single_entropy: NDArray[np.float32]


def answers(
    weights: Mapping[str, NDArray[np.float32]],
    info: ModelInfo,
    features: NDArray[np.uint8 | np.float32],
    modes: Sequence[Inference] = ("off",),
    samples: int = 20,
    seed: int = 0,
    scale: float | None = None,
    first: int = 0,
    call: Callable[[int], str] = _row,
) -> dict[Inference, Answer]:
    """What a model says of rows, in each inference mode; arguments as those of `predict`.

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
    part = Part.of(features, np.zeros(len(features), np.int64), np.arange(len(features)), scale)
    general = general_of(settings_of(info), precision)
    said = [
        evaluate(
            layers_of(one),
            part,
            "test",
            precision,
            modes,
            Dropout.of([seed + number], [info.dropout]),
            samples,
            keep=len(part),
            general=general,
            first=first,
        )
        for number, one in enumerate(separate(weights, info))
    ]
    found = {mode: _mean([each[mode] for each in said]) for mode in modes}
    for answer in found.values():
        if not (finite := ~np.isnan(answer.logs).any(axis=1)).all():
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
    logs = torch.stack([one.kept[max(one.kept)][0] for one in said]).logsumexp(dim=0) - math.log(len(said))
    entropies = [one.single[0] if one.single is not None else torch.zeros(len(logs)) for one in said]
    return Answer(logs.numpy(), torch.stack(entropies).mean(dim=0).numpy())


def is_noisy(info: ModelInfo) -> bool:
    """Whether a network says something else with dropout or noise on than with it off."""
    general = general_of(settings_of(info), info.precision)
    return bool(info.dropout or info.plugin_noise) or (general is not None and general.is_noisy)
