"""What a kept network says of rows: features → a frame."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from droplab.errors import ConfigError
from droplab.model.file import ModelInfo
from droplab.stats.calibration import entropy
from droplab.stats.conformal import class_sets, widened
from droplab.train.answers import answers, has_noise, row_words
from droplab.train.outcome import Inference


def predict(
    weights: Mapping[str, NDArray[np.float32]],
    info: ModelInfo,
    features: NDArray[np.uint8 | np.float32],
    *,
    probabilities: bool = False,
    uncertainty: bool = False,
    sets: bool = False,
    interval: bool = False,
    samples: int = 20,
    seed: int = 0,
    scale: float | None = None,
    first: int = 0,
    call: Callable[[int], str] = row_words,
) -> pd.DataFrame:
    """What a network says of rows.

    Args:
        weights: as a model file holds them.
        info: what the network is.
        features: as `inputs.features_of` gives them, shape (rows, features).
        probabilities: whether each class's probability is told, dropout off.
        uncertainty: whether `samples` masks are asked, too.
        sets: whether the set of classes is told that holds the true one as often as the model was calibrated for.
        interval: whether of numbers an interval is told, likewise.
        samples: how many.
        seed: of the masks.
        scale: what bytes are multiplied by; `None` for what `answers` says.
        first: how many rows were asked before, where they are asked some at a time; a mask depends on a row's number.
        call: how messages call a row, by its place in `features`.

    Returns:
        Columns `row` (from `first` + 1), `class` (the likeliest, dropout off); with probabilities `p_CLASS` each; with
        uncertainty `mc_class` and `mc_p` (the likeliest by the mean over masks, and its probability), `entropy` of that
        mean and `mutual_information`, in nats; with sets `set`, classes in their order with ` | ` between, empty where
        none is likely enough. Of a network of numbers `row`, `prediction`, and with an interval `lower` and `upper`.

    Raises:
        ConfigError: if uncertainty is asked of a network in which nothing is random, or sets of one that was not
            calibrated; if what classes have is asked of numbers, or the other way round.
        DataError: if there is no row, or the network has no finite answer for one.
    """
    asked = {"probabilities": probabilities, "uncertainty": uncertainty, "sets": sets}
    asked = asked if info.is_of_numbers else {"interval": interval}
    if idle := [name for name, one in asked.items() if one]:
        kinds = ("classes", "numbers") if info.is_of_numbers else ("numbers", "classes")
        raise ConfigError(f"{idle[0]} can be asked of {kinds[0]} alone; this model says {kinds[1]}. Leave it out.")
    if uncertainty and not has_noise(info):
        raise ConfigError(
            "uncertainty needs a network with dropout or noise; this one was trained without. Leave it out."
        )
    if (sets or interval) and info.calibration is None:
        raise ConfigError(
            "sets and intervals need a model whose answers were calibrated; this one's were not. Make it with droplab "
            "fit --confidence 0.9."
        )
    modes: tuple[Inference, ...] = ("off", "mc") if uncertainty else ("off",)
    said = answers(weights, info, features, modes, samples, seed, scale, first, call)
    if (numbers := said["off"].numbers) is not None:
        frame = pd.DataFrame({"row": np.arange(first + 1, first + len(numbers) + 1), "prediction": numbers})
        if interval and info.calibration:
            frame["lower"], frame["upper"] = widened(numbers, numbers, info.calibration.bound[0])
        return frame
    names = np.asarray(info.classes, dtype=object)
    off = said["off"].logs
    frame = pd.DataFrame({"row": np.arange(first + 1, first + len(off) + 1), "class": names[off.argmax(axis=1)]})
    if probabilities:
        table = pd.DataFrame(np.exp(off), columns=[f"p_{name}" for name in names])
        frame = pd.concat([frame, table], axis=1)
    if sets and info.calibration:
        within = class_sets(np.exp(off), info.calibration.bound)
        frame["set"] = [" | ".join(names[row]) for row in within]
    if uncertainty:
        logs = said["mc"].logs
        frame["mc_class"], frame["mc_p"] = names[logs.argmax(axis=1)], np.exp(logs.max(axis=1))
        frame["entropy"] = entropy(logs)
        frame["mutual_information"] = np.maximum(frame["entropy"] - said["mc"].single_entropy, 0)
    return frame
