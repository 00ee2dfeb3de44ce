"""What the store keeps of a run: the record that comes back, and the way from it to rows of the tables and back."""

from __future__ import annotations

import io
import json
import math
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter
from sqlalchemy import Row

from droplab.config import RunSettings, mean_rate
from droplab.data.dataset import Dataset, DatasetCard
from droplab.data.look import Look
from droplab.model.file import ModelInfo
from droplab.model.regularizers import plugin_noise
from droplab.stats.intervals import normal_interval, prediction_interval
from droplab.stats.measure import Measure
from droplab.stats.metrics import number_metrics
from droplab.study.files import checked
from droplab.study.plan import Run
from droplab.study.schema import arrays_table, datasets_table, is_sound, labels_table, plans_table, runs_table, sealed
from droplab.train.outcome import Curves, Metric, Outcome, Way

_WAY = TypeAdapter(Way)
_LOOK = TypeAdapter(Look)
_HEAD = 10  # bytes before the header of an array: a mark, a version, its length
_SMALL = 512  # bytes of an array, below which compressing it takes longer than writing and reading all of it
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
        test_labels: of its data set, or the numbers that are its targets, shape (test examples,); `None` in a
            store whose runs are all older than these.
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
    test_labels: NDArray[Any] | None = None

    @property
    def numerics(self) -> int | None:
        """The numerics version under which it was trained; `None` where its settings have been renamed since."""
        return self.settings.numerics_of(self.key, self.fingerprint, self.way.precision)

    @property
    def disagrees(self) -> bool:
        """Whether its accuracy (RMSE) on test is not that of its predictions: then one of the two is wrong."""
        name = "rmse" if self.settings.is_of_numbers else "accuracy"
        said = [one.value for one in self.outcome.metrics if one[:3] == ("off", "test", name)]
        if self.test_labels is None or not said:
            return False
        predicted = self.outcome.ledger["test"]
        if predicted.shape != self.test_labels.shape:
            return True
        if self.settings.is_of_numbers:
            return not math.isclose(said[0], number_metrics(self.test_labels, predicted)["rmse"], rel_tol=1e-4)
        return not math.isclose(said[0], np.mean(predicted == self.test_labels), abs_tol=1e-6)

    @property
    def valid_accuracy(self) -> float:
        """Accuracy on valid with dropout off, in [0, 1]: the number that choices are made by."""
        return self.outcome.metric("off", "valid", "accuracy")

    def merit(self, measure: Measure) -> float:
        """The metric on valid with dropout off, times its sign: of two networks the better has more."""
        return measure.sign * self.outcome.metric("off", "valid", measure.name)

    def test_interval(self, measure: Measure) -> tuple[float, float] | None:
        """Where the metric may be on other test examples, as many as these, with dropout off: a 95 % interval.

        Returns:
            `None` where the store has no test labels, or the run is of a droplab that did not keep what it takes.
        """
        if measure.name == "nll":
            said = {one.name: one.value for one in self.outcome.metrics if one[:2] == ("off", "test")}
            found = normal_interval(said["nll"], said["nll_error"]) if "nll_error" in said else None
            return found and (max(found.low, 0.0), found.high)
        if self.test_labels is None:
            return None
        return prediction_interval(measure.name, self.test_labels, self.outcome.ledger["test"])

    @property
    def right(self) -> NDArray[np.bool_] | None:
        """Which test examples it classifies rightly with dropout off, shape (test examples,); `None` as the labels.

        It is `None`, too, where targets are numbers.
        """
        return (
            None
            if self.test_labels is None or self.settings.is_of_numbers
            else self.outcome.ledger["test"] == self.test_labels
        )


@dataclass(frozen=True)
class RunSummary:
    """One line of a listing; `test_accuracy`, of numbers `test_rmse`, is that of inference mode `off`."""

    key: str
    settings: RunSettings
    dataset: str
    fingerprint: str
    way: Way
    test_accuracy: float | None
    test_rmse: float | None
    train_seconds: float
    evaluate_seconds: float
    weights_bytes: int
    finished: datetime

    @property
    def numerics(self) -> int | None:
        """As that of `RunRecord`."""
        return self.settings.numerics_of(self.key, self.fingerprint, self.way.precision)


@dataclass(frozen=True)
class Planned:
    """How a run that is not finished is to be executed: a resume does just that.

    Attributes:
        way: its way of execution.
        pack: name of the pack that it is trained in, 64 hexadecimal digits; that of the pack's checkpoint, too.

    Raises:
        ValueError: if `pack` is no such name.
    """

    way: Way
    pack: str

    def __post_init__(self) -> None:
        checked(self.pack)


def row_of(run: Run, dataset: Dataset, outcome: Outcome) -> dict[str, Any]:
    """Return the columns of `runs` but for the weights' and the time.

    Raises:
        ConfigError: if the settings are none that could be read again.
    """
    metrics = [(*metric[:3], float(metric.value)) for metric in outcome.metrics]
    settings = run.settings.model_dump_json()
    RunSettings.parse(json.loads(settings), f"run {run.key[:12]}")
    return {
        "key": run.key,
        "dataset": dataset.name,
        "fingerprint": dataset.fingerprint,
        "seed": run.settings.seed,
        "depth": run.settings.depth,
        "dropout": mean_rate(run.settings.dropout),
        **asdict(run.way),
        "compiled": int(run.way.compiled),
        "stacked": int(run.way.stacked),
        "test_accuracy": _test_metric(metrics, "accuracy"),
        "train_seconds": float(outcome.train_seconds),
        "evaluate_seconds": float(outcome.evaluate_seconds),
        "settings": settings,
        "environment": json.dumps(outcome.environment),
        "metrics": json.dumps(metrics),  # the json module keeps every bit of a float, and NaN
    }


def _test_metric(metrics: Sequence[Sequence[Any]], name: str) -> float | None:
    """A metric on test with dropout off, of rows of mode, split, name and value."""
    return next((value for *what, value in metrics if what == ["off", "test", name]), None)


def record_of(row: Row[Any]) -> RunRecord:
    """Build the record from a row of `runs` with `npz` and digest of its arrays, as `arrays_digest`.

    Damage in it makes whatever its reader raises.
    """
    run = row._mapping
    _check(is_sound(runs_table, run))
    _check(is_sound(arrays_table, {"key": row.key, "npz": row.npz, "digest": row.arrays_digest}, run))
    curves, ledger, reliability, best_epoch = unpack_arrays(row.npz)
    outcome = Outcome(
        metrics=_METRICS.validate_python(json.loads(row.metrics)),
        curves=curves,
        ledger=ledger,
        reliability=reliability,
        best_epoch=best_epoch,
        train_seconds=row.train_seconds,
        evaluate_seconds=row.evaluate_seconds,
        environment=json.loads(row.environment),
    )
    return RunRecord(
        key=row.key,
        settings=RunSettings.model_validate_json(row.settings),
        dataset=row.dataset,
        fingerprint=row.fingerprint,
        way=_way_of(row),
        outcome=outcome,
        weights_hash=row.weights_hash,
        weights_bytes=row.weights_bytes,
        finished=datetime.fromisoformat(row.finished),
    )


def plan_row(key: str, planned: Planned, when: str) -> dict[str, Any]:
    """Return the columns of `plans` but for the claim."""
    row = {"key": key, "way": _WAY.dump_json(planned.way).decode(), "pack": planned.pack, "planned": when}
    return sealed(plans_table, row)


def planned_of(row: Row[Any]) -> Planned:
    """Build what was planned from a row of `plans`; damage in it makes whatever its reader raises."""
    _check(is_sound(plans_table, row._mapping))
    return Planned(_WAY.validate_json(row.way), row.pack)


def card_of(row: Row[Any]) -> DatasetCard:
    """Build a data set's card from a row of `datasets`; damage in it makes whatever its reader raises."""
    _check(is_sound(datasets_table, row._mapping))
    look = None if row.look is None else _LOOK.validate_json(row.look)
    told = {name: value for name, value in row._mapping.items() if name != "digest"}
    return DatasetCard(**{**told, "classes": tuple(json.loads(row.classes)), "look": look})


def summary_of(row: Row[Any]) -> RunSummary:
    """Build the line of a listing from the `LISTED` columns of a row, and its metrics as `numbers` without an accuracy.

    Damage in it makes whatever its reader raises.
    """
    _check(is_sound(runs_table, row._mapping))
    return RunSummary(
        key=row.key,
        settings=RunSettings.model_validate_json(row.settings),
        dataset=row.dataset,
        fingerprint=row.fingerprint,
        way=_way_of(row),
        test_accuracy=row.test_accuracy,
        test_rmse=_test_metric(json.loads(row.numbers or "[]"), "rmse"),
        train_seconds=row.train_seconds,
        evaluate_seconds=row.evaluate_seconds,
        weights_bytes=row.weights_bytes,
        finished=datetime.fromisoformat(row.finished),
    )


def pack_arrays(outcome: Outcome) -> bytes:
    """Return curves, ledger, reliability and best epoch as the bytes of a compressed npz.

    The fastest level: a ledger is close to its entropy at any (10,000 predictions of ten classes: 5,085 bytes at level
    1, 5,074 at level 9).
    """
    arrays = {f"curves.{field.name}": getattr(outcome.curves, field.name) for field in fields(Curves)}
    arrays |= {f"ledger.{split}": predicted for split, predicted in outcome.ledger.items()}
    if outcome.reliability is not None:
        arrays["reliability"] = outcome.reliability
    if outcome.best_epoch is not None:
        arrays["best_epoch"] = np.array(outcome.best_epoch)
    return _packed(arrays)


def unpack_arrays(npz: bytes) -> tuple[Curves, dict[str, NDArray[Any]], NDArray[np.float32] | None, int | None]:
    """Return what `pack_arrays` packed: curves, the ledger by split; reliability and best epoch where kept."""
    arrays = _unpacked(npz)
    curves = Curves(**{field.name: arrays[f"curves.{field.name}"] for field in fields(Curves)})
    ledger = {name.removeprefix("ledger."): array for name, array in arrays.items() if name.startswith("ledger.")}
    best_epoch = int(arrays["best_epoch"]) if "best_epoch" in arrays else None
    return curves, ledger, arrays.get("reliability"), best_epoch


def pack_labels(dataset: Dataset) -> bytes:
    """Return the test labels of a data set, or its test targets, as the bytes of a compressed npz."""
    kind = np.dtype(np.float64) if dataset.is_of_numbers else np.min_scalar_type(len(dataset.classes) - 1)
    return _packed({"test": dataset.test_y.astype(kind)})


def labels_of(row: Row[Any]) -> NDArray[Any]:
    """Return what `pack_labels` packed, from a row of `labels`; damage in it makes whatever its reader raises."""
    _check(is_sound(labels_table, row._mapping))
    with np.load(io.BytesIO(row.npz), allow_pickle=False) as arrays:
        labels: NDArray[Any] = arrays["test"]
    return labels


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
        activation=run.settings.activation,
        pieces=run.settings.pieces if run.settings.activation == "maxout" else 1,
        regularizers=run.settings.regularizers,
        loss=run.settings.loss,
        preprocessing=dataset.preprocessing,
        background=dataset.background,
        plugin_noise=plugin_noise(name for name, _ in run.settings.regularizers),
    )


def _packed(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, array in arrays.items():
            member = io.BytesIO()
            np.lib.format.write_array(member, np.asarray(array), allow_pickle=False)
            kind = zipfile.ZIP_STORED if member.tell() < _SMALL else zipfile.ZIP_DEFLATED
            archive.writestr(f"{name}.npy", member.getvalue(), kind)
    return packed.getvalue()


def _unpacked(npz: bytes) -> dict[str, NDArray[Any]]:
    """What `_packed` packed; four times as fast as `np.load`, which parses every header anew."""
    with zipfile.ZipFile(io.BytesIO(npz)) as archive:
        members = {name.removesuffix(".npy"): archive.read(name) for name in archive.namelist()}
    return {name: _array_of(content) for name, content in members.items()}


def _array_of(content: bytes) -> NDArray[Any]:
    start = _HEAD + int.from_bytes(content[_HEAD - 2 : _HEAD], "little")
    shape, order, kind = _header_of(content[:start])
    return np.frombuffer(content, kind, offset=start).reshape(shape, order=order).copy()


@lru_cache(1024)
def _header_of(header: bytes) -> tuple[tuple[int, ...], Literal["C", "F"], np.dtype[Any]]:
    """Shape, order and type that the beginning of an array's bytes says."""
    file = io.BytesIO(header)
    version = np.lib.format.read_magic(file)
    shape, in_columns, kind = np.lib.format.read_array_header_1_0(file)
    if version != (1, 0) or kind.hasobject:
        raise ValueError("an array is not as droplab writes it")
    return shape, "F" if in_columns else "C", kind


def _check(sound: bool) -> None:
    if not sound:
        raise ValueError("it has changed since it was saved")


def _way_of(row: Row[Any]) -> Way:
    return _WAY.validate_python({field.name: row._mapping[field.name] for field in fields(Way)})
