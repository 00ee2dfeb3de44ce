"""A kept network in forms that need no droplab: ONNX, a `torch.export` program, plain tensors.

What is exported takes rows as they are in the file (bytes not scaled, numbers with gaps) and gives the probability of
each class: filling, centring, scaling, the networks and the mean over them are inside. What cannot be inside is text:
a category goes in as its number, and a table says which.

N rows, K columns, F features, R networks, C classes.
"""

from __future__ import annotations

import io
import json
import logging
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from droplab import __version__
from droplab.data.catalog import CATALOG
from droplab.data.files import dataset_at_hand
from droplab.data.preprocessing import Number, Preprocessing
from droplab.errors import ConfigError, ExportError
from droplab.inputs import features_of, table_pieces
from droplab.model.file import ModelInfo, separate, settings_of
from droplab.model.losses import numbers_of
from droplab.model.network import Layer, Network
from droplab.train.answers import answers

Ran = Literal["onnx", "torch"]
FORMS = {"onnx": ".onnx", "torch": ".pt2", "safetensors": ".tensors.safetensors"}
"""What a network can be exported to, each with the ending of its files."""

LARGEST_DIFFERENCE = 1e-4
"""A probability of an exported network differs from droplab's by at most so much, or nothing is exported; of numbers
by such a share of the largest."""

_ENTRY = "droplab"


@dataclass(frozen=True)
class Exported:
    """An exported network.

    Attributes:
        content: of its file.
        difference: the largest between its probabilities and droplab's in fp32; of numbers as a share of the largest.
        rows: on how many rows that was found.
    """

    content: bytes
    difference: float
    rows: int


class Whole(nn.Module):
    """All that a model does: input as a file has it, shape (N, K) or (N, F) → probabilities, shape (N, C), or numbers.

    Numbers have shape (N, 1).
    """

    def __init__(self, weights: Mapping[str, NDArray[np.float32]], info: ModelInfo) -> None:
        super().__init__()
        networks = separate(weights, info)
        self.prepare = _Scale(info.scale) if info.preprocessing is None else Columns(info.preprocessing)
        self.layers = nn.ModuleList(
            _Stacked(*(np.stack([one[f"layers.{k}.{part}"] for one in networks]) for part in Layer._fields))
            for k in range(len(info.widths) + 1)
        )
        self._network = Network.of([settings_of(info)], info.features, info.outputs, "fp32")

    def forward(self, x: Tensor) -> Tensor:
        """The probabilities, or numbers."""
        layers = [Layer(one.weight, one.bias) for one in cast("list[_Stacked]", self.layers)]
        features = self.prepare(x).expand(layers[0].weight.shape[0], -1, -1)
        _, logits = self._network.after_first(layers, self._network.first(layers, features))
        output = self._network.output
        return (torch.softmax(logits, dim=2) if output == "softmax" else numbers_of(output, logits)).mean(dim=0)


class _Stacked(nn.Module):
    """A layer of R networks."""

    weight: Tensor
    bias: Tensor

    def __init__(self, weight: NDArray[np.float32], bias: NDArray[np.float32]) -> None:
        super().__init__()
        self.weight, self.bias = nn.Buffer(torch.from_numpy(weight)), nn.Buffer(torch.from_numpy(bias))


class _Scale(nn.Module):
    """Features as stored → as the first layer takes them."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = nn.Buffer(torch.tensor(scale, dtype=torch.float32))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale


class Columns(nn.Module):
    """Columns of a table, categories as their numbers → features, in `float64` until they are centred.

    What is filled in and taken away is kept as tensors: a number in the code would be rounded to `float32` in ONNX.
    """

    def __init__(self, preprocessing: Preprocessing) -> None:
        super().__init__()
        columns = preprocessing.columns
        numbers = [
            (one.fill, one.mean, one.scale) if isinstance(one, Number) else (len(one.categories), 0.0, 1.0)
            for one in columns
        ]
        fill, mean, deviation = (
            nn.Buffer(torch.tensor(each, dtype=torch.float64)) for each in zip(*numbers, strict=True)
        )
        self.fill, self.mean, self.deviation = fill, mean, deviation
        most = max(len(one.feature_names) for one in columns)
        self.categories = nn.Buffer(torch.arange(most, dtype=torch.float64))
        if edges := [edge for one in columns if isinstance(one, Number) for edge in one.edges]:
            self.edges = nn.Buffer(torch.tensor(edges, dtype=torch.float64))
        self._columns = columns

    def forward(self, x: Tensor) -> Tensor:
        """The features, shape (N, F)."""
        missing = torch.isnan(x)
        filled = torch.where(missing, self.fill, x)
        centred = (filled - self.mean) / self.deviation
        made, told = [], 0
        for k, column in enumerate(self._columns):
            if isinstance(column, Number):
                if column.edges:
                    edges = self.edges[told : (told := told + len(column.edges))]
                    made.append(((filled[:, k : k + 1] - edges[:-1]) / (edges[1:] - edges[:-1])).clamp(0, 1))
                else:
                    made.append(centred[:, k : k + 1])
                if column.indicator:
                    made.append(missing[:, k : k + 1].to(x.dtype))
            else:
                made.append((filled[:, k : k + 1] == self.categories[: len(column.feature_names)]).to(x.dtype))
        return torch.cat(made, dim=1).to(torch.float32)


def export(
    weights: Mapping[str, NDArray[np.float32]],
    info: ModelInfo,
    form: Ran,
    inputs: NDArray[np.floating],
    features: NDArray[np.uint8 | np.float32],
) -> Exported:
    """Export a network as a program, and compare what it says of real rows with what droplab says.

    Args:
        weights: as a model file holds them.
        info: what the network is.
        form: `onnx` or `torch`.
        inputs: rows as the exported network takes them, shape (N, K) or (N, F), N ≥ 1.
        features: the same rows as droplab takes them, shape (N, F).

    Raises:
        ExportError: if an answer differs by more than `LARGEST_DIFFERENCE`, or what exports is not installed.
    """
    example = torch.from_numpy(np.ascontiguousarray(np.concatenate([inputs, inputs])[:2]))
    told = json.dumps(description(info), ensure_ascii=False)
    program = onnx_of if form == "onnx" else _torch
    content, run = program(Whole(weights, info).eval(), example, told, output_name(info))
    said = answers(weights, info.model_copy(update={"precision": "fp32"}), features)["off"]
    ours = np.exp(said.logs) if said.numbers is None else said.numbers[:, None]
    alone = np.abs(run(inputs[:1]) - ours[:1]).max()  # the batch is free: one row, and all of them
    difference = float(max(np.abs(run(inputs) - ours).max(), alone) / max(1.0, np.abs(ours).max()))
    if not difference <= LARGEST_DIFFERENCE:
        raise ExportError(
            f"an exported network must say what droplab says, to {LARGEST_DIFFERENCE:g}; on {len(inputs)} rows the "
            f"largest difference of an answer is {difference:.2g}. Nothing was written; please report it."
        )
    return Exported(content, difference, len(inputs))


def tensors(weights: Mapping[str, NDArray[np.float32]], info: ModelInfo) -> bytes:
    """A network's tensors as safetensors, with `description` in the metadata: for whoever writes the program.

    `layers.K.weight` of shape (outputs, inputs) and `layers.K.bias`, of several networks with these as the first axis;
    `prepare.scale`, or what a table's columns are filled with, less by and divided by: `prepare.fill`, `prepare.mean`,
    `prepare.deviation`, shape (K,) each; `prepare.edges`: of the bins of all columns that have them, one after another.
    """
    from safetensors.torch import save

    told = json.dumps(description(info), ensure_ascii=False)
    found = Whole(weights, info).state_dict()
    single = {name: one.squeeze(0) if one.ndim > 1 and len(one) == 1 else one for name, one in found.items()}
    return save({name: one.contiguous() for name, one in single.items()}, {_ENTRY: told})


def rows_of(
    info: ModelInfo, source: str | None, notify: Callable[[str], None]
) -> tuple[NDArray[np.floating], NDArray[np.uint8 | np.float32]]:
    """Rows to compare on, as the exported network takes them and as droplab does.

    Args:
        info: what the network is.
        source: a file as `inputs.features_of` takes it; `None` for the test examples of the data set of the catalog
            that it was trained on, if they are at hand.
        notify: told what is assumed.

    Raises:
        ConfigError: if there is no source and no such data set at hand.
        DataError: if the file is not what it must be.
        ModelFileError: if the network takes other features.
    """
    if source is None:
        dataset = dataset_at_hand(info.data, info.fingerprint) if info.data in CATALOG else None
        if dataset is None:
            raise ConfigError(
                "an exported network is compared with droplab's on real rows, and the data it was trained on "
                f"({info.data}) are not at hand by that name. Name a file of rows: --check FILE."
            )
        features = dataset.test_x
    elif info.preprocessing is not None:
        made = info.preprocessing
        read = [(table, made.read(table)) for table in table_pieces(info, source)]
        made_of = [made.features_of(numbers, table) for table, numbers in read]
        return np.concatenate([numbers for _, numbers in read]), np.concatenate(made_of)
    else:
        features = features_of(info, source, notify)
    stored = features.astype(np.float32)
    if features.dtype != np.uint8:
        return stored / np.float32(info.scale), features
    return (stored if info.scale != 1 else stored / 255), features


def description(info: ModelInfo) -> dict[str, Any]:
    """What a user of an exported network must know: its input, the names of the classes, how it computes."""
    takes: dict[str, Any] = {"dtype": "float32", "features": info.features, "image_shape": info.image_shape}
    takes["multiplied_by"] = info.scale
    if info.preprocessing is not None:
        takes = {"dtype": "float64", "columns": info.preprocessing.model_dump(mode="json")["columns"]}
    return {
        "droplab": __version__,
        "input": takes,
        "output": output_name(info),
        "classes": list(info.classes),
        "networks": info.networks,
        "widths": list(info.widths),
        "activation": info.activation,
        "pieces": info.pieces,
        "data": info.data,
        "key": info.key,
    }


def output_name(info: ModelInfo) -> str:
    """What an exported network gives."""
    return "numbers" if info.is_of_numbers else "probabilities"


def columns_table(preprocessing: Preprocessing) -> pd.DataFrame:
    """Which column of the input is which, and the number of each category.

    Returns:
        Columns `input` (from 0), `column`, `kind`, `category`, `number`: a row a column of numbers, where a gap is NaN;
        a row a category, and one without a category for a gap (NaN does, too). An unknown category is −1.
    """
    rows: list[tuple[int, str, str, str | None, int | None]] = []
    for place, column in enumerate(preprocessing.columns):
        if isinstance(column, Number):
            rows.append((place, column.name, "number", None, None))
        else:
            numbered = list(enumerate(column.categories))
            rows += [(place, column.name, "category", text, number) for number, text in numbered]
            rows += [(place, column.name, "missing", None, len(numbered))] if column.missing else []
    frame = pd.DataFrame(rows, columns=["input", "column", "kind", "category", "number"])
    return frame.astype({"number": "Int64"})


Run = Callable[[NDArray[np.floating]], NDArray[np.float32]]


def onnx_of(whole: nn.Module, example: Tensor, told: str, output: str) -> tuple[bytes, Run]:
    """A program in ONNX, and a function that runs it in ONNX Runtime.

    Args:
        whole: what it computes.
        example: of its input, shape (2, K).
        told: what the file says of it.
        output: the name of what it gives.

    Raises:
        ExportError: if what exports is not installed.
    """
    try:
        import onnxruntime
        import onnxscript  # noqa: F401  # what torch exports with
    except ImportError as error:
        raise ExportError(
            f"export to ONNX needs the packages of droplab[onnx]; found no {error.name}. "
            "Install them: pip install 'droplab[onnx]'"
        ) from None
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it warns of packages that nothing here needs
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter, about itself
        program = torch.onnx.export(
            whole,
            (example,),
            dynamo=True,
            verbose=False,
            input_names=["x"],
            output_names=[output],
            dynamic_shapes={"x": {0: torch.export.Dim("rows")}},
        )
    assert program is not None
    proto = program.model_proto
    entry = proto.metadata_props.add()
    entry.key, entry.value = _ENTRY, told
    content = proto.SerializeToString()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return content, lambda rows: session.run(None, {"x": rows})[0]


def _torch(whole: Whole, example: Tensor, told: str, _: str) -> tuple[bytes, Run]:
    program = torch.export.export(whole, (example,), dynamic_shapes={"x": {0: torch.export.Dim("rows")}})
    file = io.BytesIO()
    torch.export.save(program, file, extra_files={f"{_ENTRY}.json": told})
    run = program.module()
    return file.getvalue(), lambda rows: run(torch.from_numpy(np.ascontiguousarray(rows))).numpy()
