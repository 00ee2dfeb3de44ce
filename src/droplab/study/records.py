"""What the store keeps of a run: its tables, the record that comes back, and the way from one to the other."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter
from sqlalchemy import Column, Float, ForeignKey, Integer, LargeBinary, MetaData, Row, String, Table

from droplab.config import RunSettings
from droplab.data.dataset import Dataset, DatasetCard
from droplab.model.file import ModelInfo
from droplab.study.plan import Run
from droplab.train.outcome import Curves, Metric, Outcome, Way

schema = MetaData()
meta_table = Table("meta", schema, Column("name", String, primary_key=True), Column("value", String, nullable=False))
datasets_table = Table(
    "datasets",
    schema,
    Column("fingerprint", String, primary_key=True),
    Column("name", String, nullable=False, index=True),
    Column("source", String, nullable=False),
    Column("classes", String, nullable=False),  # JSON
    Column("train_examples", Integer, nullable=False),
    Column("test_examples", Integer, nullable=False),
)
runs_table = Table(  # what listings read stands first: SQLite reads a row's later pages only where they are asked for
    "runs",
    schema,
    Column("key", String, primary_key=True),
    Column("finished", String, nullable=False, index=True),  # ISO 8601, UTC, microseconds: sorts as it reads
    Column("dataset", String, nullable=False),
    Column("fingerprint", String, nullable=False),
    Column("seed", Integer, nullable=False),
    Column("depth", Integer, nullable=False),
    Column("dropout", Float, nullable=False),
    Column("device", String, nullable=False),
    Column("precision", String, nullable=False),
    Column("test_accuracy", Float),  # inference mode `off`, where the metrics hold it
    Column("train_seconds", Float, nullable=False),
    Column("evaluate_seconds", Float, nullable=False),
    Column("weights_hash", String, nullable=False, index=True),
    Column("weights_bytes", Integer, nullable=False),
    Column("settings", String, nullable=False),  # JSON, as the next two
    Column("environment", String, nullable=False),
    Column("metrics", String, nullable=False),
)
arrays_table = Table(
    "arrays",
    schema,
    Column("key", String, ForeignKey("runs.key"), primary_key=True),
    Column("npz", LargeBinary, nullable=False),
)
SUMMARY_COLUMNS = [column for column in runs_table.c if column.name not in ("environment", "metrics")]
_WAY = TypeAdapter(Way)
_METRICS = TypeAdapter(tuple[Metric, ...])


@dataclass(frozen=True, eq=False)
class RunRecord:
    """One finished run, but for its weights (`Store.read_weights`).

    Attributes:
        key: its content key.
        settings: what was trained.
        dataset: name of the data set.
        fingerprint: that data set's.
        way: how it was executed.
        outcome: metrics, curves, ledger, times, environment.
        weights_hash: SHA-256 of its model file, in hexadecimal.
        weights_bytes: size of that file.
        finished: when it was saved, UTC.
    """

    key: str
    settings: RunSettings
    dataset: str
    fingerprint: str
    way: Way
    outcome: Outcome
    weights_hash: str
    weights_bytes: int
    finished: datetime


@dataclass(frozen=True)
class RunSummary:
    """One line of a listing; `test_accuracy` is that of inference mode `off`."""

    key: str
    settings: RunSettings
    dataset: str
    way: Way
    test_accuracy: float | None
    train_seconds: float
    evaluate_seconds: float
    weights_bytes: int
    finished: datetime


def row_of(run: Run, dataset: Dataset, outcome: Outcome) -> dict[str, Any]:
    """Return the columns of `runs` but for the weights' and the time."""
    metrics = [(*metric[:3], float(metric.value)) for metric in outcome.metrics]
    return {
        "key": run.key,
        "dataset": dataset.name,
        "fingerprint": dataset.fingerprint,
        "seed": run.settings.seed,
        "depth": run.settings.depth,
        "dropout": run.settings.dropout,
        "device": run.way.device,
        "precision": run.way.precision,
        "test_accuracy": next((value for *what, value in metrics if what == ["off", "test", "accuracy"]), None),
        "train_seconds": float(outcome.train_seconds),
        "evaluate_seconds": float(outcome.evaluate_seconds),
        "settings": run.settings.model_dump_json(),
        "environment": json.dumps(outcome.environment),
        "metrics": json.dumps(metrics),  # the json module keeps every bit of a float, and NaN
    }


def record_of(row: Row[Any]) -> RunRecord:
    """Build the record from a row of `runs` with its `npz`; damage in it makes whatever its reader raises."""
    curves, ledger = unpack_arrays(row.npz)
    outcome = Outcome(
        metrics=_METRICS.validate_python(json.loads(row.metrics)),
        curves=curves,
        ledger=ledger,
        train_seconds=row.train_seconds,
        evaluate_seconds=row.evaluate_seconds,
        environment=json.loads(row.environment),
    )
    return RunRecord(
        key=row.key,
        settings=RunSettings.model_validate_json(row.settings),
        dataset=row.dataset,
        fingerprint=row.fingerprint,
        way=_WAY.validate_python({"device": row.device, "precision": row.precision}),
        outcome=outcome,
        weights_hash=row.weights_hash,
        weights_bytes=row.weights_bytes,
        finished=datetime.fromisoformat(row.finished),
    )


def card_of(row: Row[Any]) -> DatasetCard:
    """Build a data set's card from a row of `datasets`."""
    return DatasetCard(**{**row._mapping, "classes": tuple(json.loads(row.classes))})


def summary_of(row: Row[Any]) -> RunSummary:
    """Build the line of a listing from the `SUMMARY_COLUMNS` of a row."""
    return RunSummary(
        key=row.key,
        settings=RunSettings.model_validate_json(row.settings),
        dataset=row.dataset,
        way=_WAY.validate_python({"device": row.device, "precision": row.precision}),
        test_accuracy=row.test_accuracy,
        train_seconds=row.train_seconds,
        evaluate_seconds=row.evaluate_seconds,
        weights_bytes=row.weights_bytes,
        finished=datetime.fromisoformat(row.finished),
    )


def pack_arrays(outcome: Outcome) -> bytes:
    """Return curves and ledger as the bytes of a compressed npz."""
    arrays = {f"curves.{field.name}": getattr(outcome.curves, field.name) for field in fields(Curves)}
    arrays |= {f"ledger.{split}": predicted for split, predicted in outcome.ledger.items()}
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w") as member:
                np.lib.format.write_array(member, np.asarray(array), allow_pickle=False)
    return packed.getvalue()


def unpack_arrays(npz: bytes) -> tuple[Curves, dict[str, NDArray[Any]]]:
    """Return what `pack_arrays` packed: curves, and the ledger by split."""
    with np.load(io.BytesIO(npz), allow_pickle=False) as arrays:
        curves = Curves(**{field.name: arrays[f"curves.{field.name}"] for field in fields(Curves)})
        ledger = {name.removeprefix("ledger."): arrays[name] for name in arrays.files if name.startswith("ledger.")}
    return curves, ledger


def model_info(run: Run, dataset: Dataset) -> ModelInfo:
    """Return what the model file of a run says beside its weights."""
    return ModelInfo(
        widths=run.settings.widths,
        dropout=run.settings.dropout,
        features=dataset.features,
        classes=dataset.classes,
        scale=dataset.scale,
        image_shape=dataset.image_shape,
        data=dataset.name,
        fingerprint=dataset.fingerprint,
        key=run.key,
        precision=run.way.precision,
    )
