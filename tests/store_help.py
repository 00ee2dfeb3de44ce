"""What the tests of the store share: runs that nobody trained, a check that a store is whole, and disks that fail."""

import hashlib
import os
import resource
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import pairwise
from pathlib import Path

import numpy as np

from droplab.config import RunSettings
from droplab.data.dataset import Dataset
from droplab.study.plan import Run
from droplab.study.records import Planned
from droplab.study.store import Store
from droplab.train.outcome import Curves, Metric, Outcome, Trained, Way

FEATURES, CLASSES = 4, ("a", "b", "c")


def make_dataset(name: str = "toy") -> Dataset:
    x = np.arange(6 * FEATURES, dtype=np.uint8).reshape(6, FEATURES)
    y = np.array([0, 1, 2, 0, 1, 2])
    return Dataset(name, x, y, x[:3], y[:3], CLASSES, scale=1 / 255, image_shape=(2, 2))


FP32 = Way("cpu", "fp32")


def make_run(seed: int = 0, *, widths: tuple[int, ...] = (3,), dropout: float = 0.5, way: Way = FP32) -> Run:
    run_settings = RunSettings(widths=widths, dropout=dropout, seed=seed, epochs=3)
    return Run(run_settings.content_key(make_dataset().fingerprint, way.precision), run_settings, way, ())


def make_trained(run: Run, *, marked: float = 0.0) -> Trained:
    """What a training of `run` might leave; `marked` sets two trainings apart."""
    random = np.random.default_rng(run.settings.seed)
    units = (FEATURES, *run.settings.widths, len(CLASSES))
    weights = {}
    for layer, (inputs, outputs) in enumerate(pairwise(units)):
        weights[f"layers.{layer}.weight"] = random.standard_normal((outputs, inputs)).astype(np.float32)
        weights[f"layers.{layer}.bias"] = np.full(outputs, marked, np.float32)
    curves = Curves(
        train_loss=np.linspace(2, 1, 3, dtype=np.float32),
        points=np.array([1, 3], np.int32),
        losses=random.random((2, 2), np.float32),
        accuracies=random.random((2, 2), np.float32),
    )
    metrics = (
        Metric("off", "test", "nll", 0.1 + 0.2 + marked),
        Metric("off", "test", "accuracy", 1 / 3),
        Metric("off", "valid", "nll", float("inf")),
        Metric("mc", "test", "accuracy_class_2", float("nan")),
    )
    ledger = {"valid": np.array([0, 2, 1], np.uint8), "test": np.array([0, 65535, 0], np.uint16)}
    environment = {"device": "a CPU", "threads": 2, "versions": {"torch": "2.13.0"}, "cores": [0, 1]}
    return Trained(Outcome(metrics, curves, ledger, 1.5, 0.25, environment), weights)


def save_many(store: Store, seeds: range) -> list[Run]:
    runs = [make_run(seed) for seed in seeds]
    for run in runs:
        store.save(run, make_dataset(), make_trained(run))
    return runs


def pack_name(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


def plan_pack(store: Store, number: int, seeds: range) -> list[tuple[Run, Trained]]:
    """Plan a pack in the store; its runs, and what training them might leave."""
    results = [(run, make_trained(run)) for run in map(make_run, seeds)]
    store.claim([{run.key: Planned(run.way, pack_name(number)) for run, _ in results}])
    return results


def keys_of(results: list[tuple[Run, Trained]]) -> set[str]:
    return {run.key for run, _ in results}


def weights_files(store: Store) -> set[Path]:
    return {path for path in Path(store.files.where("weights")).rglob("*.safetensors") if path.is_file()}


def check_whole(store: Store) -> set[str]:
    """Check that the database is sound and every run in it is complete; return the keys."""
    with closing(sqlite3.connect(store.path)) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        rows = {key for (key,) in database.execute("SELECT key FROM runs")}
        assert {key for (key,) in database.execute("SELECT key FROM arrays")} == rows
        assert not rows & {key for (key,) in database.execute("SELECT key FROM plans")}, "planned, yet finished"
    records = store.load(rows)
    assert records.keys() == rows
    for record in records.values():
        weights, info = store.read_weights(record)
        assert info.key == record.key
        assert info.widths == record.settings.widths
        assert weights
    return rows


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """A disk on which no file can grow beyond `size` bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextmanager
def without_privileges() -> Iterator[None]:
    """For root, who may write anywhere: be somebody else for a while."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)
