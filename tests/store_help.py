"""What the tests of the store share: runs that nobody trained, a way behind a store's back, and disks that fail."""

import hashlib
import os
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import numpy as np
from sqlalchemy import Connection, NullPool, create_engine, select, update

from droplab.config import RunSettings
from droplab.data.dataset import Dataset
from droplab.study.files import Kind
from droplab.study.plan import Run
from droplab.study.records import Planned
from droplab.study.schema import arrays_table, pieces_table, plans_table, runs_table
from droplab.study.store import Store
from droplab.train.checkpoint import Checkpoint
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


def keep_checkpoint(store: Store, number: int) -> None:
    """Keep a checkpoint of a pack, of no network."""
    Checkpoint(store.checkpoint(pack_name(number)), FP32).write([])


def keys_of(results: list[tuple[Run, Trained]]) -> set[str]:
    return {run.key for run, _ in results}


def weights_files(store: Store) -> set[Path]:
    return {path for path in Path(store.files.where("weights")).rglob("*.safetensors") if path.is_file()}


def names_in(store: Store, kind: Kind) -> set[str]:
    """What the files of a kind are called."""
    return {file.name for file in store.files.listed(kind, ()) if not file.part}


def let_age(store: Store) -> None:
    """Have all files been written so long ago that those which nothing needs may go."""
    if store.path is None:
        with raw(store) as connection:
            connection.execute(update(pieces_table).values(written=0))
    for kind in () if store.path is None else ("weights", "checkpoints"):
        for path in Path(store.files.where(kind)).rglob("*.safetensors*"):
            os.utime(path, (0, 0))


def location_of(store: Store) -> str:
    """Where it is, for another process."""
    return str(store.path or store._database.engine.url.render_as_string(hide_password=False))


@contextmanager
def raw(store: Store | str | Path) -> Iterator[Connection]:
    """A transaction in the database of a store, or at its location, behind its back: nothing is looked after."""
    location = location_of(store) if isinstance(store, Store) else str(store)
    engine = create_engine(location if "://" in location else f"sqlite:///{location}", poolclass=NullPool)
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.exec_driver_sql("SET LOCAL session_replication_role = replica")  # no foreign keys, no triggers
        yield connection


@contextmanager
def failing(store: Store, when: str, row: str = "1 = 1", state: str = "P0001") -> Iterator[None]:
    """A database that fails "in between".

    Args:
        store: its store.
        when: as `BEFORE INSERT ON runs`.
        row: which row it fails at, as `NEW.seed = 3`.
        state: how, where PostgreSQL says so.
    """
    trigger = f"CREATE TRIGGER fail {when} FOR EACH ROW WHEN ({row})"
    table = when.rpartition(" ")[2]
    with raw(store) as connection:
        if store.path:
            connection.exec_driver_sql(f"{trigger} BEGIN SELECT RAISE(ABORT, 'in between'); END")
        else:
            body = f"LANGUAGE plpgsql AS $$ BEGIN RAISE 'in between' USING ERRCODE = '{state}'; END $$"
            connection.exec_driver_sql(f"CREATE FUNCTION fail() RETURNS trigger {body}")
            connection.exec_driver_sql(f"{trigger} EXECUTE FUNCTION fail()")
    yield
    with raw(store) as connection:
        connection.exec_driver_sql("DROP TRIGGER fail" if store.path else f"DROP TRIGGER fail ON {table}")
        if not store.path:
            connection.exec_driver_sql("DROP FUNCTION fail")


def check_whole(store: Store) -> set[str]:
    """Check that the database is sound and every run in it is complete; return the keys."""
    with raw(store) as connection:
        if store.path:
            assert connection.exec_driver_sql("PRAGMA integrity_check").fetchall() == [("ok",)]
        rows, arrays, plans = (
            set(connection.scalars(select(table.c.key))) for table in (runs_table, arrays_table, plans_table)
        )
        assert arrays == rows
        assert not rows & plans, "planned, yet finished"
    records = store.load(rows)
    assert records.keys() == rows
    for record in records.values():
        weights, info = store.read_weights(record)
        assert info.key == record.key
        assert info.widths == record.settings.widths
        assert weights
    return rows


def said(store: Store, seeds: range = range(6)) -> dict[str, object]:
    """All that a store says of some runs and their data, but for what it says is damaged."""
    keys = [make_run(seed).key for seed in seeds]
    records = store.load(keys, lambda _: None)
    told: dict[str, object] = {
        key: repr((one.settings, one.way, one.outcome.metrics, one.finished, one.dataset, one.weights_hash))
        + repr([array.tolist() for array in (*one.outcome.ledger.values(), *vars(one.outcome.curves).values())])
        + repr((one.outcome.environment, one.outcome.train_seconds))
        for key, one in records.items()
    }
    told |= {f"labels {one.fingerprint}": repr(one.test_labels) for one in records.values() if one.right is not None}
    told |= {f"line {one.key}": repr(one) for one in store.summaries(lambda _: None)}
    told |= {f"card {card.fingerprint}": repr(card) for card in store.datasets("toy")}
    return told | {f"plan {key}": plan for key, plan in store.planned(keys).items()}


def wait_for(condition: Callable[[], bool], seconds: float = 30) -> None:
    """Wait until something holds, or for so long."""
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)


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
