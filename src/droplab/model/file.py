"""The file a network is kept in: safetensors, with what the network is told in its metadata.

The tensors are `layers.K.weight` of shape (outputs, inputs) and `layers.K.bias` of shape (outputs,), K counted from 0,
all `float32`; of several networks whose probabilities are averaged, each has the networks as its first axis. One
metadata entry, `droplab`, holds a `ModelInfo` as JSON, the `format`, the SHA-256 of the `card` written beside it if
there is one, and a `sha256` of all of it, which catches damage that leaves a file in shape. (One entry, because
safetensors writes several in no fixed order, and the same network must give the same bytes.)

Formats: 1 has no `format` and no hash, and is read as ever; 2 has both; 3 may tell how a table's numbers are spelt,
what says that a value is missing, the card, and the channels and background of images; 4 may have a dropout rate a
hidden layer; 5 may have no classes, since its network gives numbers, or what its answers are calibrated by.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Annotated, BinaryIO, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, ConfigDict, Field, ValidationError, model_validator
from safetensors import numpy as safetensors

from droplab.config import (
    Activation,
    Dropout,
    RecipeLoss,
    Regularizers,
    RunSettings,
    Validated,
    Width,
    with_one_dropout,
)
from droplab.data.disk import open_regular
from droplab.data.preprocessing import Preprocessing
from droplab.errors import ConfigError, DataError, ModelFileError, line, reading

_ENTRY = "droplab"
_FORMAT = 5
_OWN = ("format", "card", "sha256")  # what a file says of itself
_LATER = (
    "loss",
    "activation",
    "pieces",
    "regularizers",
    "preprocessing",
    "networks",
    "background",
    "plugin_noise",
    "calibration",
)
_LONGEST_HEADER = 16 << 20  # bytes; safetensors takes 100 million, which JSON makes 3 GB of
_MOST_PARTS = 300_000  # values in a header, each of which takes far more memory than its bytes
_ADVICE = "Take the file from its source again, or train the network anew."


def _of_an_image(shape: tuple[int, ...]) -> tuple[int, ...]:
    if len(shape) == 2 or shape[2:] == (3,):
        return shape
    raise ValueError(f"must be (rows, columns) or (rows, columns, 3), found {shape}")


class Calibration(Validated):
    """What makes a model's answers sets that hold the truth as often as they say (`stats.conformal`).

    Attributes:
        confidence: how often.
        bounds: of the scores that are in a set: one, or one a class; `None` where rows were too few for any.
        rows: how many rows they come from, on which nothing was trained.
    """

    model_config = ConfigDict(strict=True)

    confidence: float = Field(gt=0, lt=1)
    bounds: tuple[float | None, ...] = Field(min_length=1)
    rows: int = Field(ge=1)

    @property
    def bound(self) -> NDArray[np.float64]:
        """The bounds as `conformal.class_sets` takes them, shape (1,) or (classes,)."""
        return np.array([np.inf if one is None else one for one in self.bounds])


class ModelInfo(Validated):
    """What a network is, beside its weights: enough to use it on new data.

    Attributes:
        widths: units of each hidden layer.
        dropout: drop probability it was trained with, or that of each hidden layer.
        features: features of an example.
        classes: the name of each class, in the order of the logits; none where its one output is a number.
        scale: what a stored feature is multiplied by before the first layer.
        image_shape: (rows, columns) where the features are a grey image, (rows, columns, 3) where they are one in
            colour; `None` where they are no image, and for one in colour in files of old.
        data: name of the data set it was trained on.
        fingerprint: that data set's.
        key: content key of the run that trained it; of several networks those of all, with commas between.
        precision: what it was trained in.
        activation: of its hidden layers.
        pieces: products of a hidden unit, neighbours in its layer; more than one for maxout.
        regularizers: what else it was trained with, by name, with the strengths.
        preprocessing: what makes its features of a table's columns, where it was trained on a table.
        networks: how many there are, alike but for their seeds; their probabilities are averaged.
        plugin_noise: those of a plugin among them that act at inference, too, where dropout is left on; others of a
            plugin act in training alone, and need not be known to use the network.
        loss: what it was trained by: outputs of `poisson` are the logarithms of numbers.
        background: what lies behind what its grey images show, 0 (black) … 255; `None` where that is not known.
        calibration: what makes its answers sets of classes; `None` where no rows were set apart for that.
    """

    model_config = ConfigDict(strict=True)

    widths: tuple[Width, ...]
    dropout: Dropout
    features: int = Field(ge=1)
    classes: tuple[str, ...]
    scale: float
    image_shape: Annotated[tuple[Annotated[int, Field(ge=1)], ...], AfterValidator(_of_an_image)] | None
    data: str
    fingerprint: str
    key: str
    precision: Literal["fp32", "bf16"]
    activation: Activation = "relu"
    pieces: int = Field(1, ge=1)
    regularizers: Regularizers = ()
    preprocessing: Preprocessing | None = None
    networks: int = Field(1, ge=1)
    loss: RecipeLoss = "cross_entropy"
    background: int | None = Field(None, ge=0, le=255)
    plugin_noise: tuple[str, ...] = ()
    calibration: Calibration | None = None

    @model_validator(mode="after")
    def _bounds_of_classes(self) -> Self:
        if self.calibration and len(self.calibration.bounds) not in (1, len(self.classes)):
            raise ValueError(f"calibration must have one bound, or one a class; found {len(self.calibration.bounds)}")
        return self

    @model_validator(mode="after")
    def _pieces_of_maxout(self) -> Self:
        if self.pieces > 1 and self.activation != "maxout":
            raise ValueError(f"pieces={self.pieces} belongs to maxout; found activation={self.activation}")
        return self

    @model_validator(mode="after")
    def _classes_or_numbers(self) -> Self:
        if len(self.classes) < 2 and (self.classes or self.loss == "cross_entropy"):
            raise ValueError(f"a classifier has at least 2 classes; found {len(self.classes)}")
        if self.classes and self.loss != "cross_entropy":
            raise ValueError(f"loss={self.loss} belongs to numbers; found classes")
        return self

    @property
    def is_of_numbers(self) -> bool:
        """Whether its output is a number, in the unit of the targets that it was trained on."""
        return not self.classes

    @property
    def outputs(self) -> int:
        """How many there are: one a class, or one number."""
        return len(self.classes) or 1

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name and shape of each tensor of the file."""
        stacked = (self.networks,) if self.networks > 1 else ()
        units = (self.features, *self.widths, self.outputs)
        shapes: dict[str, tuple[int, ...]] = {}
        for layer, (inputs, width) in enumerate(pairwise(units)):
            outputs = width * (self.pieces if layer < len(self.widths) else 1)
            shapes[f"layers.{layer}.weight"] = (*stacked, outputs, inputs)
            shapes[f"layers.{layer}.bias"] = (*stacked, outputs)
        return shapes

    @property
    def parameters(self) -> int:
        """Number of weights and biases."""
        return sum(math.prod(shape) for shape in self.shapes.values())


def to_bytes(weights: Mapping[str, NDArray[np.float32]], info: ModelInfo, card: str | None = None) -> bytes:
    """The model file of a network; the same network gives the same bytes.

    Args:
        weights: of the names and shapes that `info.shapes` says, `float32`, in any memory layout.
        info: what the network is.
        card: the text of the card that is written beside it.

    Raises:
        ModelFileError: if the weights are not those of the network that `info` describes.

    Example:
        >>> info = ModelInfo(widths=(), dropout=0.0, features=2, classes=("no", "yes"), scale=1.0, image_shape=None,
        ...                  data="toy", fingerprint="", key="", precision="fp32")
        >>> weights = {"layers.0.weight": np.eye(2, dtype="f4"), "layers.0.bias": np.zeros(2, "f4")}
        >>> from_bytes(to_bytes(weights, info))[1] == info
        True
    """
    _check_tensors(weights, info, "weights")
    # safetensors reads memory from the first element on and trusts it to be in row order: a transposed view would be
    # kept scrambled.
    rows = {name: np.ascontiguousarray(array) for name, array in weights.items()}
    told = _told(info) | ({} if card is None else {"card": hashlib.sha256(card.encode()).hexdigest()})
    entry = json.dumps(told | {"sha256": _hash(told, rows)}, sort_keys=True)
    content = safetensors.save(rows, {_ENTRY: entry})
    length = int.from_bytes(content[:8], "little")
    _check_header(length, content[8 : 8 + length], "weights")
    return content


def stacked(
    networks: Sequence[tuple[Mapping[str, NDArray[np.float32]], ModelInfo]],
) -> tuple[dict[str, NDArray[np.float32]], ModelInfo]:
    """Networks alike but for their seeds as one model, whose probabilities are the mean of theirs."""
    (first, info), count = networks[0], len(networks)
    if count == 1:
        return dict(first), info
    weights = {name: np.stack([each[name] for each, _ in networks]) for name in first}
    return weights, info.model_copy(update={"networks": count, "key": ",".join(one.key for _, one in networks)})


def separate(weights: Mapping[str, NDArray[np.float32]], info: ModelInfo) -> list[dict[str, NDArray[np.float32]]]:
    """The weights of each network of a model, with the names and shapes of a single one."""
    if info.networks == 1:
        return [dict(weights)]
    return [{name: array[place] for name, array in weights.items()} for place in range(info.networks)]


def settings_of(info: ModelInfo) -> RunSettings:
    """The settings that say how a network computes; the others are at their defaults.

    A regularizer that is not known here is left out: with dropout off none acts.
    """
    from droplab.model.regularizers import TABLE  # here, because it imports torch

    pieces = {"pieces": info.pieces} if info.activation == "maxout" else {}
    return RunSettings(
        widths=info.widths,
        dropout=info.dropout,
        activation=info.activation,
        loss=info.loss,
        regularizers=tuple((name, strength) for name, strength in info.regularizers if name in TABLE),
        **pieces,
    )


def _told(info: ModelInfo) -> dict[str, object]:
    """What is written of a network: of what came later only what is not as it was before."""
    later = {name for name in _LATER if getattr(info, name) == ModelInfo.model_fields[name].default}
    return info.model_dump(mode="json", exclude=later) | {
        "format": _FORMAT if info.is_of_numbers or info.calibration else 4
    }


def _hash(told: Mapping[str, object], weights: Mapping[str, NDArray[np.float32]]) -> str:
    """SHA-256 of what is told and of every tensor's name and bytes, in the order of the names."""
    return _digest(json.dumps(told, sort_keys=True).encode(), weights)


def weights_hash(weights: Mapping[str, NDArray[np.float32]]) -> str:
    """SHA-256 of every tensor's name and bytes, in the order of the names."""
    return _digest(b"", weights)


def _digest(start: bytes, weights: Mapping[str, NDArray[np.float32]]) -> str:
    digest = hashlib.sha256(start)
    for name in sorted(weights):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(weights[name]).data)
    return digest.hexdigest()


def read(path: str | Path) -> tuple[dict[str, NDArray[np.float32]], ModelInfo]:
    """Read a model file.

    Returns:
        The weights, as `to_bytes` takes them, and what the network is.

    Raises:
        ModelFileError: if the path is no readable regular file, or the file is damaged, truncated, not droplab's, or
            holds other tensors than it says.
    """
    try:
        with open_regular(Path(path)) as handle:
            return _parse(handle, os.fstat(handle.fileno()).st_size, str(path))
    except DataError as error:
        raise ModelFileError(str(error)) from None


def from_bytes(data: bytes, origin: str = "model bytes") -> tuple[dict[str, NDArray[np.float32]], ModelInfo]:
    """Read a model file from its bytes; `origin` names them in errors.

    Raises:
        ModelFileError: as `read`.
    """
    return _parse(io.BytesIO(data), len(data), origin)


def _parse(handle: BinaryIO, size: int, origin: str) -> tuple[dict[str, NDArray[np.float32]], ModelInfo]:
    start = handle.read(8)
    length = int.from_bytes(start, "little")
    if len(start) < 8 or length > size - 8:
        raise ModelFileError(
            f"{origin}: a model file must begin with the length of its header; found {size} bytes that do not. "
            + _ADVICE
        )
    _check_header(length, b"", origin)
    with reading(origin, "a safetensors file", _ADVICE, ModelFileError):
        header = handle.read(length)
        _check_header(length, header, origin)
        told = _parse_told(header, origin)
        info = _parse_info({name: value for name, value in told.items() if name not in _OWN}, origin)
        expected = 8 + length + 4 * info.parameters
        if size != expected:
            raise ModelFileError(f"{origin}: must be {expected} bytes, as its header says; found {size}. {_ADVICE}")
        weights = safetensors.load(start + header + handle.read())
    _check_tensors(weights, info, origin)
    if "format" in told:
        found = _hash({name: value for name, value in told.items() if name != "sha256"}, weights)
        if found != told.get("sha256"):
            raise ModelFileError(
                f"{origin}: its content must have the SHA-256 that its header names, {told.get('sha256')}; found "
                f"{found}. The file is damaged or was edited. {_ADVICE}"
            )
    return weights, info


def _check_header(length: int, header: bytes, origin: str) -> None:
    """Raise `ModelFileError` where a header takes more than a description of a network may."""
    parts = sum(header.count(mark) for mark in (b",", b"[", b"{"))
    if length > _LONGEST_HEADER or parts > _MOST_PARTS:
        raise ModelFileError(
            f"{origin}: a model file's header may have {_LONGEST_HEADER:,} bytes and {_MOST_PARTS:,} values; found "
            f"{length:,} and {parts:,}. Of a table, leave out columns of many categories."
        )


def _parse_told(header: bytes, origin: str) -> dict[str, object]:
    """What a file says of its network, and of itself in `format` and `sha256`."""
    try:
        told = json.loads(json.loads(header)["__metadata__"][_ENTRY])
    except (ValueError, RecursionError):
        raise ModelFileError(
            f"{origin}: must be a safetensors file; found a header that is no JSON. {_ADVICE}"
        ) from None
    except (KeyError, TypeError, IndexError):
        raise ModelFileError(
            f"{origin}: must be a model that droplab wrote; found no {_ENTRY!r} entry in its metadata. "
            "Only networks that droplab trained can be read."
        ) from None
    if not isinstance(told, dict):
        raise ModelFileError(f"{origin}: its {_ENTRY!r} metadata must describe a network; found {told!r}. {_ADVICE}")
    made = told.get("format", 1)
    if isinstance(made, int) and made > _FORMAT:
        raise ModelFileError(
            f"{origin}: must be a model file of format {_FORMAT} or older; found format {made}, which a newer droplab "
            "wrote. Update droplab."
        )
    if "format" in told and made not in range(2, _FORMAT + 1):
        must = f"must be 2 to {_FORMAT} where it names one"
        raise ModelFileError(f"{origin}: its format {must}; found {made!r}. {_ADVICE}")
    return told


def _parse_info(told: Mapping[str, object], origin: str) -> ModelInfo:
    try:
        return ModelInfo.model_validate_json(json.dumps(with_one_dropout(told)))
    except ConfigError as error:
        raise ModelFileError(f"{origin}: {error} {_ADVICE}") from None
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(map(str, fault['loc'])) or 'entry'}: {line(fault['msg'])}" for fault in error.errors()[:4]
        )
        raise ModelFileError(
            f"{origin}: its {_ENTRY!r} metadata must describe a network; found {faults}. {_ADVICE}"
        ) from None


def _check_tensors(weights: Mapping[str, NDArray[np.float32]], info: ModelInfo, origin: str) -> None:
    shapes = info.shapes
    if weights.keys() != shapes.keys():
        odd = sorted(weights.keys() ^ shapes.keys())
        raise ModelFileError(
            f"{origin}: a network with hidden widths {list(info.widths)} must have the tensors layers.0.weight … "
            f"layers.{len(info.widths)}.bias; found {odd[0]!r} missing or too many. {_ADVICE}"
        )
    for name, shape in shapes.items():
        array = weights[name]
        if array.shape != shape or array.dtype != np.float32:
            raise ModelFileError(
                f"{origin}: {name} must be float32 of shape {shape}; found {array.dtype} of shape {array.shape}. "
                + _ADVICE
            )
