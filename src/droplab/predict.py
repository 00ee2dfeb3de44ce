"""What a kept network says of new rows: a model file and a table or an array → a frame."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from droplab.data import npy
from droplab.data.arrays import flat_features
from droplab.data.npz import open_npz
from droplab.data.tables import read_stream, read_table
from droplab.errors import ConfigError, DataError, ModelFileError
from droplab.model.file import ModelInfo, settings_of
from droplab.model.general import general_of
from droplab.model.network import layers_of
from droplab.model.regularizers import Dropout
from droplab.train.calibration import entropy
from droplab.train.device import has_bf16_units
from droplab.train.evaluate import evaluate
from droplab.train.examples import Part
from droplab.train.outcome import Inference

_NPZ_KEYS = ("x", "X", "test_x")


def predict(
    weights: Mapping[str, NDArray[np.float32]],
    info: ModelInfo,
    features: NDArray[np.uint8 | np.float32],
    *,
    probabilities: bool = False,
    uncertainty: bool = False,
    samples: int = 20,
    seed: int = 0,
) -> pd.DataFrame:
    """What a network says of rows.

    Args:
        weights: as a model file holds them.
        info: what the network is.
        features: as `features_of` gives them, shape (rows, features).
        probabilities: whether each class's probability is told, dropout off.
        uncertainty: whether `samples` masks are asked, too.
        samples: how many.
        seed: of the masks.

    Returns:
        Columns `row` (from 1), `class` (the likeliest, dropout off); with probabilities `p_CLASS` each; with
        uncertainty `mc_class` and `mc_p` (the likeliest by the mean over masks, and its probability), `entropy` of that
        mean and `mutual_information`, in nats.

    Raises:
        ConfigError: if uncertainty is asked of a network in which nothing is random.
        DataError: if there is no row.
    """
    if not len(features):
        raise DataError("there must be at least one row to predict; found none.")
    precision = info.precision if info.precision == "fp32" or has_bf16_units("cpu") else "fp32"
    scale = 1.0 if features.dtype == np.float32 else info.scale if info.scale != 1 else 1 / 255
    part = Part.of(features, np.zeros(len(features), np.int64), np.arange(len(features)), scale)
    general = general_of(settings_of(info), precision)
    if uncertainty and not (info.dropout if general is None else general.is_noisy):
        raise ConfigError(
            "uncertainty needs a network with dropout or noise; this one was trained without. Leave it out."
        )
    modes: tuple[Inference, ...] = ("off", "mc") if uncertainty else ("off",)
    said = evaluate(
        layers_of(weights),
        part,
        "test",
        precision,
        modes,
        Dropout.of([seed], [info.dropout]),
        samples,
        keep=len(part),
        general=general,
    )
    names = np.asarray(info.classes, dtype=object)
    frame = pd.DataFrame({"row": np.arange(1, len(part) + 1), "class": names[said["off"].predictions[0].numpy()]})
    if probabilities:
        table = said["off"].kept[0][0].exp().numpy()
        frame = pd.concat([frame, pd.DataFrame(table, columns=[f"p_{name}" for name in names])], axis=1)
    if uncertainty:
        logs, single = said["mc"].kept[samples][0].numpy(), said["mc"].single
        assert single is not None
        frame["mc_class"], frame["mc_p"] = names[logs.argmax(axis=1)], np.exp(logs.max(axis=1))
        frame["entropy"] = entropy(logs)
        frame["mutual_information"] = np.maximum(frame["entropy"] - single[0].numpy(), 0)
    return frame


def features_of(info: ModelInfo, source: str, notify: Callable[[str], None]) -> NDArray[np.uint8 | np.float32]:
    """The features of a file's rows, as the network takes them.

    Args:
        info: what the network is.
        source: a table for a network that was trained on one (`-` for CSV on standard input), whose columns are found
            by name; else an npy file, or an npz file with the array `x` or `test_x`. Bytes are scaled as in training;
            other numbers must be scaled already.
        notify: told what is assumed.

    Raises:
        DataError: if the file is not what it must be.
        ModelFileError: if the network takes other features.
    """
    if info.preprocessing is not None:
        frame = read_stream("standard input", _stdin()) if source == "-" else read_table(Path(source))
        return info.preprocessing.transform(frame)
    if source == "-":
        raise ConfigError(
            "standard input is for CSV, and this network was not trained on a table. Name an npy or npz file."
        )
    array = _array(Path(source))
    features = flat_features(source, array)
    if features.shape[1] != info.features:
        raise ModelFileError(
            f"{source}: rows must have {info.features} features, as the network's data ({info.data}); found "
            f"{features.shape[1]}."
        )
    if features.dtype == np.float32 and info.scale != 1:
        notify(f"{source}: taken as scaled already, as bytes times {info.scale:g} would be")
    return features


def _array(path: Path) -> NDArray[np.generic]:
    if path.suffix == ".npy":
        return npy.open_mapped(path)
    with open_npz(path) as members:
        for key in _NPZ_KEYS:
            if key in members.names:
                return members.read(key)
        raise DataError(
            f"{path}: must hold the features as {' or '.join(_NPZ_KEYS)}; found {', '.join(members.names) or 'none'}."
        )


def _stdin() -> BinaryIO:
    return sys.stdin.buffer
