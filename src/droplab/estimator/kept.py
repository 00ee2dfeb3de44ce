"""A fitted estimator as plain values: arrays, dicts, texts for pickle and skops, one safetensors file for `save`.

What `plain` makes of a droplab object is a dict with its kind under `droplab`; `restored` knows the kinds below alone,
so that no file names a class of its own.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors import numpy as safetensors
from sklearn.preprocessing import LabelBinarizer

from droplab import __version__
from droplab.data.disk import open_regular, write_atomically
from droplab.data.preprocessing import Preprocessing
from droplab.errors import ConfigError, DataError, ModelFileError
from droplab.estimator.history import Epoch, HeldOut, History
from droplab.estimator.labels import Labels
from droplab.estimator.numbers import Numbers
from droplab.estimator.parameters import ClassifierParameters, Parameters, RegressorParameters
from droplab.model.file import weights_hash
from droplab.model.network import Network
from droplab.train.networks import Networks
from droplab.train.optimizers import Optimizer

_KINDS: dict[str, Any] = {
    kind.__name__: kind
    for kind in (
        *(Networks, Network, Optimizer, History, Epoch, HeldOut, Labels, Numbers),
        *(ClassifierParameters, RegressorParameters, Preprocessing, LabelBinarizer),
    )
}
_KIND = "droplab"
_ENTRY = "droplab_estimator"
_FORMAT = 1


def plain(value: Any) -> Any:
    """A value in arrays, dicts, lists, tuples, texts and numbers; what it does not know it leaves."""
    name = type(value).__name__
    if isinstance(value, torch.Tensor):
        return {_KIND: "Tensor", "array": value.numpy()}
    if isinstance(value, np.dtype):
        return {_KIND: "dtype", "name": value.str}
    if isinstance(value, Preprocessing):
        return {_KIND: name, "json": value.model_dump_json()}
    if _KINDS.get(name) is type(value):
        names = (
            [each.name for each in fields(value)]
            if is_dataclass(value)
            else getattr(value, "_fields", None) or vars(value)
        )
        return {_KIND: name} | {each: plain(getattr(value, each)) for each in names}
    if isinstance(value, dict):
        told = {key: plain(each) for key, each in value.items()}
        return {_KIND: "dict", "pairs": list(told.items())} if _KIND in told else told  # a class may have that name
    return type(value)(plain(each) for each in value) if type(value) in (list, tuple) else value


def restored(value: Any) -> Any:
    """What `plain` was given.

    Raises:
        ModelFileError: for a kind that is none of droplab's.
    """
    if type(value) in (list, tuple):
        return type(value)(restored(each) for each in value)
    if not isinstance(value, dict):
        return value
    parts = {key: restored(each) for key, each in value.items()}
    if _KIND not in parts:
        return parts
    name = parts.pop(_KIND)
    if name == "dict":
        return dict(parts["pairs"])
    if name == "Tensor":
        return torch.from_numpy(parts["array"])
    if name == "dtype":
        return np.dtype(parts["name"])
    if (kind := _KINDS.get(name)) is None:
        raise ModelFileError(f"an estimator must be made of what droplab knows; found {name!r}. Update droplab.")
    if kind is Preprocessing:
        return Preprocessing.model_validate_json(parts["json"])
    if kind is LabelBinarizer:
        made = LabelBinarizer()
        vars(made).update(parts)
        return made
    if issubclass(kind, Parameters):
        return kind.model_construct(**parts)
    try:
        return kind(**parts)
    except TypeError as fault:
        raise ModelFileError(
            f"an estimator must be made as droplab {__version__} makes it; found another {name}: {fault}. Use the "
            "droplab that fitted it, or fit anew."
        ) from None


def write(path: Path, owner: str, state: dict[str, Any]) -> None:
    """Write an estimator of class `owner`, whose state is plain.

    Raises:
        ConfigError: if a parameter is an object, which a file without pickle cannot hold.
        DataError: as `write_atomically`.
    """
    arrays: dict[str, NDArray[Any]] = {}
    told = {"format": _FORMAT, "version": __version__, "class": owner, "state": _written(state, "", arrays)}
    content = safetensors.save(arrays, {_ENTRY: json.dumps(told | {"digest": _digest(told, arrays)})})
    with write_atomically(path) as file:
        file.write(content)


def read(path: Path, owner: str) -> dict[str, Any]:
    """The state that `write` was given.

    Raises:
        ModelFileError: if it is no file of an estimator of that class, or damaged.
    """
    try:
        with open_regular(path) as file:
            content = file.read()
        arrays = safetensors.load(content)
        length = int.from_bytes(content[:8], "little")
        told = json.loads(json.loads(content[8 : 8 + length])["__metadata__"][_ENTRY])
        found = f"format {told['format']} of {told['class']}"
        is_whole = found == f"format {_FORMAT} of {owner}" and told["digest"] == _digest(told, arrays)
        state: dict[str, Any] = _read(told["state"], arrays) if is_whole else {}
    except (DataError, SafetensorError, KeyError, TypeError, ValueError, RecursionError) as fault:
        raise ModelFileError(
            f"{path}: must be a file that an estimator's save wrote; found {str(fault).rstrip('.')}."
        ) from None
    if not is_whole:
        raise ModelFileError(f"{path}: must be a whole {owner} of format {_FORMAT}; found {found}, or damage.")
    return state


def _digest(told: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> str:
    """Of all that a file holds: parameters are restored as they are, so nothing in it may have been changed."""
    return hashlib.sha256((json.dumps(told["state"]) + weights_hash(arrays)).encode()).hexdigest()


def _written(value: Any, place: str, arrays: dict[str, NDArray[Any]]) -> Any:
    """As JSON has it: `{form: …}` for what JSON lacks; numeric arrays go into `arrays` by their place."""
    if isinstance(value, np.ndarray | np.generic) and value.dtype.kind in "biuf":
        arrays[place] = np.array(value, dtype=value.dtype.newbyteorder("="), order="C")
        return {"scalar" if isinstance(value, np.generic) else "array": place}
    if isinstance(value, np.ndarray) and all(isinstance(each, str) for each in value.flat):
        return {"texts": value.tolist(), "dtype": value.dtype.str}
    if isinstance(value, tuple):
        return {"tuple": [_written(each, f"{place}.{k}", arrays) for k, each in enumerate(value)]}
    if isinstance(value, list):
        return [_written(each, f"{place}.{k}", arrays) for k, each in enumerate(value)]
    if isinstance(value, dict):
        pairs = enumerate(value.items())
        return {"dict": [[_written(pair[k], f"{place}.{n}{'kv'[k]}", arrays) for k in (0, 1)] for n, pair in pairs]}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise ConfigError(
        f"save keeps numbers, texts, arrays and lists of them; found {value!r}. Change it, or use pickle."
    )


def _read(value: Any, arrays: dict[str, NDArray[Any]]) -> Any:
    if isinstance(value, list):
        return [_read(each, arrays) for each in value]
    if not isinstance(value, dict):
        return value
    form, held = next(iter(value.items()))
    if form == "texts":
        return np.array(held, dtype=value["dtype"])
    if form == "dict":
        return {_read(key, arrays): _read(each, arrays) for key, each in held}
    if form == "tuple":
        return tuple(_read(each, arrays) for each in held)
    return arrays[held][()] if form == "scalar" else arrays[held]
