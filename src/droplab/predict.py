"""What a kept network says of new rows: a model file and a table or an array → a frame."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from droplab.data.arrays import flat_features
from droplab.data.disk import is_folder
from droplab.data.images import image_files, is_image, stacked_images
from droplab.data.npz import FEATURES, open_npz
from droplab.data.pairs import open_array
from droplab.data.tables import is_table, read_stream, read_table
from droplab.errors import ConfigError, DataError, ModelFileError
from droplab.model.file import ModelInfo, separate, settings_of
from droplab.model.general import general_of
from droplab.model.network import layers_of
from droplab.model.regularizers import Dropout
from droplab.train.calibration import entropy
from droplab.train.device import has_bf16_units
from droplab.train.evaluate import Evaluation, evaluate
from droplab.train.examples import Part
from droplab.train.outcome import Inference

_NPZ_KEYS = (*FEATURES, "test_x")


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
    if uncertainty and not is_noisy(info):
        raise ConfigError(
            "uncertainty needs a network with dropout or noise; this one was trained without. Leave it out."
        )
    modes: tuple[Inference, ...] = ("off", "mc") if uncertainty else ("off",)
    said = answers(weights, info, features, modes, samples, seed)
    names = np.asarray(info.classes, dtype=object)
    off = said["off"].logs
    frame = pd.DataFrame({"row": np.arange(1, len(off) + 1), "class": names[off.argmax(axis=1)]})
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
) -> dict[Inference, Answer]:
    """What a model says of rows, in each inference mode; arguments as those of `predict`.

    What bytes are multiplied by is `scale`, where it is given, else as in training, else 1/255.

    Raises:
        DataError: if there is no row.
    """
    if not len(features):
        raise DataError("there must be at least one row to predict; found none.")
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
        )
        for number, one in enumerate(separate(weights, info))
    ]
    return {mode: _mean([each[mode] for each in said]) for mode in modes}


def _mean(said: Sequence[Evaluation]) -> Answer:
    """The mean of what networks say, each of all its masks where it has some."""
    logs = torch.stack([one.kept[max(one.kept)][0] for one in said]).logsumexp(dim=0) - math.log(len(said))
    entropies = [one.single[0] if one.single is not None else torch.zeros(len(logs)) for one in said]
    return Answer(logs.numpy(), torch.stack(entropies).mean(dim=0).numpy())


def is_noisy(info: ModelInfo) -> bool:
    """Whether a network says something else with dropout or noise on than with it off."""
    general = general_of(settings_of(info), info.precision)
    return bool(info.dropout) if general is None else general.is_noisy


def features_of_files(
    info: ModelInfo, sources: Sequence[str], notify: Callable[[str], None]
) -> tuple[NDArray[np.uint8 | np.float32], pd.DataFrame]:
    """The features of the rows of several files, one after the other, and where each row comes from.

    Args:
        info: what the network is.
        sources: files, as `features_of` takes them.
        notify: told what is assumed.

    Returns:
        Shape (rows, features); and columns `file`, and `row` in it from 1. Of a folder of images each is a file.

    Raises:
        DataError: as `features_of`; if one has bytes and another scaled numbers, or standard input is named twice.
        ModelFileError: as `features_of`.
    """
    if sources.count("-") > 1:
        raise DataError("standard input can be read once; found - several times.")
    parts = [features_of(info, source, notify) for source in sources]
    if len({part.dtype for part in parts}) > 1:
        kinds = ", ".join(f"{source}: {part.dtype}" for source, part in zip(sources, parts, strict=True))
        raise DataError(f"files must all hold bytes or all scaled numbers; found {kinds}. Ask them one by one.")
    places: list[tuple[str, int]] = []
    for source, part in zip(sources, parts, strict=True):
        if info.preprocessing is None and is_folder(Path(source)):
            places += [(str(file), 1) for file in image_files(Path(source))]
        else:
            places += [(source, row + 1) for row in range(len(part))]
    return parts[0] if len(parts) == 1 else np.concatenate(parts), pd.DataFrame(places, columns=["file", "row"])


def features_of(info: ModelInfo, source: str, notify: Callable[[str], None]) -> NDArray[np.uint8 | np.float32]:
    """The features of a file's rows, as the network takes them.

    Args:
        info: what the network is.
        source: a table for a network that was trained on one (`-` for CSV on standard input), whose columns are found
            by name; else an npy or IDX file, an npz file with the array `x` or `test_x`, an image, or a folder of
            images. Bytes are scaled as in training; other numbers must be scaled already.
        notify: told what is assumed.

    Raises:
        DataError: if the file is not what it must be.
        ModelFileError: if the network takes other features.
    """
    if info.preprocessing is not None:
        return info.preprocessing.transform(table_of(source))
    if source == "-":
        raise ConfigError(
            "standard input is for CSV, and this network was not trained on a table. Name an image, npy or npz file."
        )
    array = _array(Path(source))
    features = flat_features(source, array)
    shape = array.shape[1:] if array.ndim == 3 else None
    if features.shape[1] != info.features or (shape and info.image_shape and shape != info.image_shape):
        wanted = f"images of {' × '.join(map(str, info.image_shape))}" if info.image_shape else "rows"
        raise ModelFileError(
            f"{source}: must hold {wanted}, {info.features} features each, as the network's data ({info.data}); found "
            f"shape {array.shape}."
        )
    if features.dtype == np.float32 and info.scale != 1:
        notify(f"{source}: taken as scaled already, as bytes times {info.scale:g} would be")
    return features


def table_of(source: str) -> pd.DataFrame:
    """The rows of a table; `-` for CSV on standard input.

    Raises:
        DataError: if it is none.
    """
    if is_image(Path(source)) or Path(source).suffix in (".npy", ".npz"):
        raise DataError(f"{source}: must be a table, as this network was trained on one. Name a CSV or Parquet file.")
    return read_stream("standard input", _stdin()) if source == "-" else read_table(Path(source))


def _array(path: Path) -> NDArray[Any]:
    """Features as their file holds them, (rows, …)."""
    if is_folder(path):
        return stacked_images(image_files(path))
    if is_image(path):
        return stacked_images([path])
    if is_table(path):
        raise DataError(f"{path}: must hold images or an array, as this network was not trained on a table.")
    if path.suffix != ".npz":
        return open_array(path)
    with open_npz(path) as members:
        for key in _NPZ_KEYS:
            if key in members.names:
                return members.read(key)
        raise DataError(
            f"{path}: must hold the features as {' or '.join(_NPZ_KEYS)}; found {', '.join(members.names) or 'none'}."
        )


def _stdin() -> BinaryIO:
    return sys.stdin.buffer
