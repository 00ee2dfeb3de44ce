"""The store: what is finished comes back bit for bit, whole runs only, whatever happens to the process or the disk."""

import hashlib
import io
import os
import pickle
import re
import resource
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sqlalchemy import event

from droplab.config import RunSettings
from droplab.data.dataset import Dataset
from droplab.errors import ModelFileError, StoreError
from droplab.study.plan import Run
from droplab.study.records import RunRecord
from droplab.study.sqlite import store_path
from droplab.study.store import Store
from droplab.train.outcome import Curves, Metric, Outcome, Trained, Way

FEATURES, CLASSES = 4, ("a", "b", "c")


def make_dataset(name: str = "toy") -> Dataset:
    x = np.arange(6 * FEATURES, dtype=np.uint8).reshape(6, FEATURES)
    y = np.array([0, 1, 2, 0, 1, 2])
    return Dataset(name, x, y, x[:3], y[:3], CLASSES, scale=1 / 255, image_shape=(2, 2))


def make_run(seed: int = 0, *, widths: tuple[int, ...] = (3,), dropout: float = 0.5) -> Run:
    run_settings = RunSettings(widths=widths, dropout=dropout, seed=seed, epochs=3)
    way = Way("cpu", "fp32")
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
        Metric("off", "test", "accuracy", 0.1 + 0.2 + marked),
        Metric("off", "valid", "nll", float("inf")),
        Metric("mc", "test", "accuracy_class_2", float("nan")),
    )
    ledger = {"valid": np.array([0, 2, 1], np.uint8), "test": np.array([2, 65535, 0], np.uint16)}
    environment = {"device": "a CPU", "threads": 2, "versions": {"torch": "2.13.0"}, "cores": [0, 1]}
    return Trained(Outcome(metrics, curves, ledger, 1.5, 0.25, environment), weights)


def save_many(store: Store, seeds: range) -> list[Run]:
    runs = [make_run(seed) for seed in seeds]
    for run in runs:
        store.save(run, make_dataset(), make_trained(run))
    return runs


def weights_files(store: Store) -> set[Path]:
    return {path for path in store.weights_folder.rglob("*") if path.is_file()}


def check_whole(store: Store) -> set[str]:
    """Check that the database is sound and every run in it is complete; return the keys."""
    with closing(sqlite3.connect(store.path)) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        rows = {key for (key,) in database.execute("SELECT key FROM runs")}
        assert {key for (key,) in database.execute("SELECT key FROM arrays")} == rows
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


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "store.sqlite") as opened:
        yield opened


class TestRoundTrip:
    def check(self, store: Store, run: Run, dataset: Dataset, trained: Trained) -> RunRecord:
        before = datetime.now(UTC)
        store.save(run, dataset, trained)
        record = store.load([run.key])[run.key]
        assert (record.key, record.settings, record.way) == (run.key, run.settings, run.way)
        assert (record.dataset, record.fingerprint) == (dataset.name, dataset.fingerprint)
        assert before <= record.finished <= datetime.now(UTC)
        assert record.finished.utcoffset() == timedelta(0)

        then, now = trained.outcome, record.outcome
        assert repr(now.metrics) == repr(then.metrics), "repr tells every bit of a float, and NaN from NaN"
        assert all(type(metric) is Metric for metric in now.metrics)
        assert now.environment == then.environment
        assert (now.train_seconds, now.evaluate_seconds) == (then.train_seconds, then.evaluate_seconds)
        assert now.ledger.keys() == then.ledger.keys()
        pairs = [(now.ledger[split], then.ledger[split]) for split in then.ledger]
        pairs += [(getattr(now.curves, name), getattr(then.curves, name)) for name in vars(then.curves)]
        for array, expected in pairs:
            assert (array.dtype, array.shape) == (expected.dtype, expected.shape)
            assert array.tobytes() == expected.tobytes()

        weights, info = store.read_weights(record)
        assert {name: array.tobytes() for name, array in weights.items()} == {
            name: array.tobytes() for name, array in trained.weights.items()
        }
        assert (info.widths, info.dropout, info.key) == (run.settings.widths, run.settings.dropout, run.key)
        assert (info.features, info.classes, info.scale) == (dataset.features, dataset.classes, dataset.scale)
        assert (info.image_shape, info.data, info.fingerprint) == (
            dataset.image_shape,
            dataset.name,
            dataset.fingerprint,
        )
        path = store.weights_path(record)
        assert hashlib.sha256(path.read_bytes()).hexdigest() == record.weights_hash
        assert path.stat().st_size == record.weights_bytes
        return record

    def test_every_field_of_a_run_comes_back(self, store: Store) -> None:
        self.check(store, make_run(), make_dataset(), make_trained(make_run()))

    @settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(data=st.data())
    def test_any_values_come_back_bit_for_bit(self, store: Store, data: st.DataObject) -> None:
        floats = hnp.arrays(np.float32, st.integers(0, 5).map(lambda points: (2, points)))
        json_values = st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
            lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(), values, max_size=3),
            max_leaves=6,
        )
        metric = st.builds(
            Metric,
            st.sampled_from(["off", "on", "mc"]),
            st.sampled_from(["train", "valid", "test"]),
            st.text(),
            st.floats(),
        )
        seconds = st.floats(0, 1e9)
        outcome = data.draw(
            st.builds(
                Outcome,
                metrics=st.lists(metric, max_size=4).map(tuple),
                curves=st.builds(
                    Curves,
                    train_loss=hnp.arrays(np.float32, st.integers(0, 5)),
                    points=hnp.arrays(np.int32, st.integers(0, 5)),
                    losses=floats,
                    accuracies=floats,
                ),
                ledger=st.dictionaries(
                    st.sampled_from(["valid", "test"]),
                    hnp.arrays(st.sampled_from([np.uint8, np.uint16]), st.integers(0, 9)),
                ),
                train_seconds=seconds,
                evaluate_seconds=seconds,
                environment=st.dictionaries(st.text(), json_values, max_size=3),
            )
        )
        run_settings = data.draw(
            st.builds(
                RunSettings,
                widths=st.lists(st.integers(1, 6), max_size=4).map(tuple),
                dropout=st.floats(0, 1, exclude_max=True),
                seed=st.integers(0, 2**31 - 1),
                learning_rate=st.floats(0, 9, exclude_min=True),
                momentum=st.floats(0, 1, exclude_max=True),
            )
        )
        dataset = make_dataset(data.draw(st.text()))
        way = Way(data.draw(st.sampled_from(["cpu", "cuda"])), data.draw(st.sampled_from(["fp32", "bf16"])))
        run = Run(run_settings.content_key(dataset.fingerprint, way.precision), run_settings, way, ())
        store.delete([run.key])
        self.check(store, run, dataset, Trained(outcome, make_trained(run).weights))

    def test_runs_come_back_in_the_order_asked_for_and_unknown_keys_are_left_out(self, store: Store) -> None:
        runs = save_many(store, range(4))
        keys = [runs[2].key, "f" * 64, runs[0].key]
        assert list(store.load(keys)) == [runs[2].key, runs[0].key]
        assert store.finished(keys) == {runs[2].key, runs[0].key}

    def test_more_keys_than_sqlite_takes_variables_are_no_matter(self, store: Store) -> None:
        def limit_as_before_version_3_32(connection: sqlite3.Connection, _: object) -> None:
            connection.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, 999)

        event.listen(store._engine, "connect", limit_as_before_version_3_32)
        run = save_many(store, range(1))[0]
        keys = [f"{number:064x}" for number in range(5000)] + [run.key]
        assert store.finished(iter(keys)) == {run.key}
        assert list(store.load(iter(keys))) == [run.key]
        assert store.delete(iter(keys)) == 1

    def test_a_store_opened_again_has_its_runs(self, tmp_path: Path) -> None:
        with Store(tmp_path / "new" / "folder" / "store.sqlite") as store:
            runs = save_many(store, range(2))
        with Store(f"sqlite:///{tmp_path}/new/folder/store.sqlite") as store:
            assert check_whole(store) == {run.key for run in runs}
        left = {path.name for path in (tmp_path / "new" / "folder").iterdir()}
        assert left == {"store.sqlite", "store-weights"}, "an idle store is one file and its weights"


class TestOneTransaction:
    def test_a_failure_between_the_two_rows_leaves_neither(self, store: Store) -> None:
        with closing(sqlite3.connect(store.path)) as database:
            database.execute("CREATE TRIGGER fail BEFORE INSERT ON arrays BEGIN SELECT RAISE(ABORT, 'in between'); END")
        with pytest.raises(StoreError, match="the store cannot be written: in between"):
            save_many(store, range(1))
        assert check_whole(store) == set()
        with closing(sqlite3.connect(store.path)) as database:
            database.execute("DROP TRIGGER fail")
        save_many(store, range(1))
        assert len(check_whole(store)) == 1

    def test_a_failure_between_the_two_deletions_keeps_both(self, store: Store) -> None:
        runs = save_many(store, range(2))
        with closing(sqlite3.connect(store.path)) as database:
            database.execute("CREATE TRIGGER fail BEFORE DELETE ON runs BEGIN SELECT RAISE(ABORT, 'in between'); END")
        with pytest.raises(StoreError, match="in between"):
            store.delete([run.key for run in runs])
        assert check_whole(store) == {run.key for run in runs}

    @pytest.mark.parametrize("size", [100, 30_000])
    def test_a_full_disk_loses_nothing_finished(self, store: Store, size: int) -> None:
        """100 bytes: no weights can be written; 30,000: the weights fit, the database cannot grow."""
        kept = {run.key for run in save_many(store, range(2))}
        with largest_file(size), pytest.raises(StoreError, match=r"cannot be (kept|written)") as caught:
            save_many(store, range(2, 200))
        assert "\n" not in str(caught.value)
        whole = check_whole(store)
        assert kept <= whole
        assert whole < {make_run(seed).key for seed in range(200)}
        save_many(store, range(200, 202))
        assert len(check_whole(store)) == len(whole) + 2

    def test_weights_of_another_network_are_refused_before_anything_is_written(self, store: Store) -> None:
        with pytest.raises(ModelFileError):
            store.save(make_run(widths=(5,)), make_dataset(), make_trained(make_run(widths=(3,))))
        assert check_whole(store) == set()
        assert weights_files(store) == set()


WRITER = """
import sys, time
sys.path.insert(0, {tests!r})
from test_store import *
with Store({path!r}) as store:
    print("ready", flush=True)
    sys.stdin.readline()
    for seed in range({start}, {stop}):
        run = make_run(seed)
        store.save(run, make_dataset(), make_trained(run, marked={marked}))
        print(run.key, flush=True)
"""


def start_writer(path: Path, start: int, stop: int, marked: float = 0.0) -> "subprocess.Popen[str]":
    code = WRITER.format(tests=str(Path(__file__).parent), path=str(path), start=start, stop=stop, marked=marked)
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_killed_at_any_moment_a_store_holds_whole_runs_only(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    random = np.random.default_rng(0)
    promised: set[str] = set()
    for attempt in range(6):
        # Every other writer begins with runs that are there, so that some die writing a file again.
        writer = start_writer(path, start := attempt % 2 * attempt * 1000, start + 1000)
        assert writer.stdin is not None
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
        writer.stdin.write("\n")
        writer.stdin.flush()
        time.sleep(random.uniform(0.02, 0.25))
        writer.send_signal(signal.SIGKILL)
        out, err = writer.communicate()
        assert err == ""
        promised |= {line for line in out.split("\n")[:-1] if len(line) == 64}
        with Store(path) as store:
            assert promised <= check_whole(store), "a run that was reported as saved is lost"
    assert promised
    with Store(path) as store:
        store.delete([])
        for part in store.weights_folder.rglob("*.part"):  # an hour later they are cleaned too
            os.utime(part, (0, 0))
        store.delete([])
        assert weights_files(store) == {
            store.weights_path(record) for record in store.load(check_whole(store)).values()
        }


def test_two_processes_may_make_and_fill_one_store(tmp_path: Path) -> None:
    """Both save the runs 10 … 19, with other weights; whichever comes first wins, whole."""
    path = tmp_path / "store.sqlite"
    writers = [start_writer(path, 0, 20, marked=1.0), start_writer(path, 10, 30, marked=2.0)]
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("\n")
        writer.stdin.flush()
    outputs = [writer.communicate() for writer in writers]
    assert [(writer.returncode, err) for writer, (_, err) in zip(writers, outputs, strict=True)] == [(0, "")] * 2
    with Store(path) as store:
        keys = check_whole(store)
        assert keys == {make_run(seed).key for seed in range(30)}
        for record in store.load(keys).values():
            bias = store.read_weights(record)[0]["layers.0.bias"][0]
            assert record.outcome.metrics[0].value == 0.1 + 0.2 + bias, "weights of one process, metrics of the other"
        assert len(weights_files(store)) == 30, "the losers' weights are gone"


def test_many_processes_may_make_one_store_at_once(tmp_path: Path) -> None:
    """Each of 25 stores is opened by 4 processes at the same moment."""
    code = (
        "import sys, time\nfrom droplab.study.store import Store\nprint('ready', flush=True)\n"
        "start = float(sys.stdin.readline())\n"
        "for number in range(25):\n"
        "    time.sleep(max(0, start + 0.08 * number - time.time()))\n"
        f"    Store(f'{tmp_path}/{{number}}.sqlite').close()\n"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    openers = [subprocess.Popen([sys.executable, "-W", "error", "-c", code], **pipes) for _ in range(4)]
    assert [opener.stdout.readline() for opener in openers] == ["ready\n"] * 4
    start = time.time() + 0.1
    for opener in openers:
        opener.stdin.write(f"{start}\n")
        opener.stdin.flush()
    assert [(*opener.communicate(), opener.returncode) for opener in openers] == [("", "", 0)] * 4
    for path in tmp_path.glob("*.sqlite"):
        with closing(sqlite3.connect(path)) as database:
            assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
            assert database.execute("SELECT count(*) FROM meta").fetchone() == (1,)


def test_the_first_of_two_savings_stays(store: Store) -> None:
    run = make_run()
    for marked in (1.0, 2.0):
        store.save(run, make_dataset(), make_trained(run, marked=marked))
    record = store.load([run.key])[run.key]
    assert record.outcome.metrics[0].value == 0.1 + 0.2 + 1.0
    assert store.read_weights(record)[0]["layers.0.bias"][0] == 1.0
    assert weights_files(store) == {store.weights_path(record)}


def test_weights_that_a_deletion_swept_away_before_the_row_came_are_written_again(store: Store, monkeypatch) -> None:
    run = make_run()
    write = Store._write_weights

    def write_then_lose_once(self: Store, weights_hash: str, model: bytes) -> None:
        write(self, weights_hash, model)
        monkeypatch.setattr(Store, "_write_weights", write)
        with Store(store.path) as other:
            other.delete([])

    monkeypatch.setattr(Store, "_write_weights", write_then_lose_once)
    store.save(run, make_dataset(), make_trained(run))
    assert check_whole(store) == {run.key}


class TestLookingAndDeleting:
    def test_summaries_come_in_the_order_of_finishing(self, store: Store) -> None:
        runs = save_many(store, range(5))
        summaries = store.summaries()
        assert [summary.key for summary in summaries] == [run.key for run in runs]
        assert summaries[0].settings == runs[0].settings
        assert summaries[0].test_accuracy == 0.1 + 0.2
        assert (summaries[0].dataset, summaries[0].way) == ("toy", Way("cpu", "fp32"))
        record = store.load([runs[0].key])[runs[0].key]
        assert (summaries[0].finished, summaries[0].weights_bytes) == (record.finished, record.weights_bytes)

    def test_summaries_do_not_read_what_is_bulky(self, store: Store) -> None:
        save_many(store, range(2))
        with closing(sqlite3.connect(store.path)) as database:
            database.execute("PRAGMA foreign_keys=OFF")
            database.execute("DROP TABLE arrays")
        assert len(store.summaries()) == 2

    def test_a_key_is_found_by_its_beginning(self, store: Store) -> None:
        keys = sorted(run.key for run in save_many(store, range(40)))
        assert store.resolve(keys[7]) == keys[7]
        assert store.resolve(keys[7][:16].upper()) == keys[7]
        first = next(one for one, two in pairwise(keys) if one[0] == two[0])[0]
        with pytest.raises(StoreError, match=rf"must name one run; found .* for '{first}'. Give more digits"):
            store.resolve(first)
        with pytest.raises(StoreError, match="found no key that begins with"):
            store.resolve("0123456789")
        for wrong in ("", "%", "_", "xyz", "a'"):
            with pytest.raises(StoreError, match="must be hexadecimal"):
                store.resolve(wrong)

    def test_deleting_removes_rows_and_weights_of_these_runs_only(self, store: Store) -> None:
        runs = save_many(store, range(4))
        assert store.delete([runs[0].key, runs[1].key, runs[0].key, "0" * 64]) == 2
        assert check_whole(store) == {runs[2].key, runs[3].key}
        assert len(weights_files(store)) == 2
        save_many(store, range(1))
        assert len(check_whole(store)) == 3

    def test_disk_use_counts_what_there_is_and_deleting_removes_orphans(self, store: Store) -> None:
        runs = save_many(store, range(2))
        folder = store.weights_folder / "ab"
        folder.mkdir(exist_ok=True)
        orphan, part = folder / f"{'ab' * 32}.safetensors", folder / f".{'ab' * 32}.safetensors.0123.part"
        foreign = folder / "notes.txt"
        for path in (orphan, part, foreign):
            path.write_bytes(b"12345")
        use = store.disk_use()
        assert use.runs == 2
        assert use.weights_bytes == sum(record.weights_bytes for record in store.load(r.key for r in runs).values()) + 5
        assert (use.orphans, use.orphan_bytes) == (1, 5), "a part may still have its writer"
        assert use.database_bytes >= store.path.stat().st_size > 0
        os.utime(part, (0, 0))
        assert store.disk_use().orphans == 2
        assert store.delete([]) == 0
        assert not orphan.exists()
        assert not part.exists()
        assert foreign.exists()
        assert len(check_whole(store)) == 2


class TestDamage:
    @pytest.mark.parametrize("how", ["a bit", "cut", "empty", "missing", "a folder", "a pipe", "another run's"])
    def test_damaged_weights_are_named_and_can_be_trained_again(self, store: Store, how: str) -> None:
        run, other = save_many(store, range(2))
        record = store.load([run.key])[run.key]
        path = store.weights_path(record)
        model = path.read_bytes()
        path.unlink()
        if how == "a bit":
            path.write_bytes(model[:-1] + bytes([model[-1] ^ 1]))
        elif how == "cut":
            path.write_bytes(model[:100])
        elif how == "empty":
            path.touch()
        elif how == "a folder":
            path.mkdir()
        elif how == "a pipe":
            os.mkfifo(path)
        elif how == "another run's":
            path.write_bytes(store.weights_path(store.load([other.key])[other.key]).read_bytes())
        with pytest.raises(StoreError, match=re.escape(str(path))) as caught:
            store.read_weights(record)
        assert f"`droplab runs delete {run.key[:12]}` and run the study again" in str(caught.value)
        if how != "a folder":
            store.delete([run.key])
            save_many(store, range(1))
            assert len(check_whole(store)) == 2

    @pytest.mark.parametrize(
        ("table", "column", "value"),
        [
            ("runs", "settings", "{"),
            ("runs", "settings", '{"epochs": 0}'),
            ("runs", "settings", '{"epoch": 1}'),
            ("runs", "metrics", '[["off", "test"]]'),
            ("runs", "metrics", '[["sideways", "test", "accuracy", 1]]'),
            ("runs", "environment", ""),
            ("runs", "device", "abacus"),
            ("runs", "finished", "yesterday"),
            ("arrays", "npz", b""),
            ("arrays", "npz", b"PK\x03\x04" + bytes(90)),
            ("arrays", "npz", b"\x93NUMPY"),
        ],
    )
    def test_a_damaged_record_is_named_and_can_be_deleted(self, store: Store, table, column, value) -> None:
        run, other = save_many(store, range(2))
        with closing(sqlite3.connect(store.path)) as database, database:
            database.execute(f"UPDATE {table} SET {column} = ? WHERE key = ?", (value, run.key))
        with pytest.raises(StoreError, match=f"the record of run {run.key[:12]} must be as it was saved") as caught:
            store.load([other.key, run.key])
        assert "\n" not in str(caught.value)
        store.delete([run.key])
        assert check_whole(store) == {other.key}

    def test_a_lost_half_of_a_run_is_named(self, store: Store) -> None:
        (run,) = save_many(store, range(1))
        with closing(sqlite3.connect(store.path)) as database, database:
            database.execute("DELETE FROM arrays")
        with pytest.raises(StoreError, match=f"the record of run {run.key[:12]}"):
            store.load([run.key])

    def test_no_pickle_is_read(self, store: Store, tmp_path: Path) -> None:
        (run,) = save_many(store, range(1))
        proof = tmp_path / "executed"

        class Evil:
            def __reduce__(self) -> tuple[object, ...]:
                return Path.touch, (proof,)

        packed = io.BytesIO()
        np.savez(packed, **{"curves.train_loss": np.array([Evil()], object)})
        for npz in (packed.getvalue(), pickle.dumps(Evil())):
            with closing(sqlite3.connect(store.path)) as database, database:
                database.execute("UPDATE arrays SET npz = ?", (npz,))
            with pytest.raises(StoreError, match="the record of run"):
                store.load([run.key])
        assert not proof.exists()

    def test_no_pickle_is_written(self, store: Store) -> None:
        trained = make_trained(make_run())
        trained.outcome.ledger["test"] = np.array([{}], object)
        with pytest.raises(ValueError, match="pickle"):
            store.save(make_run(), make_dataset(), trained)
        assert check_whole(store) == set()

    def test_a_flipped_bit_in_the_packed_arrays_is_noticed(self, store: Store) -> None:
        (run,) = save_many(store, range(1))
        with closing(sqlite3.connect(store.path)) as database, database:
            (npz,) = database.execute("SELECT npz FROM arrays").fetchone()
            with zipfile.ZipFile(io.BytesIO(npz)) as archive:
                middle = archive.getinfo("curves.losses.npy").header_offset + 80
            database.execute(
                "UPDATE arrays SET npz = ?", (npz[:middle] + bytes([npz[middle] ^ 4]) + npz[middle + 1 :],)
            )
        with pytest.raises(StoreError, match="the record of run"):
            store.load([run.key])


def opening_fails(location: object, match: str) -> str:
    with pytest.raises(StoreError, match=match) as caught:
        Store(location)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    return str(caught.value)


class TestOpening:
    def test_a_newer_schema_is_refused_untouched(self, tmp_path: Path) -> None:
        path = tmp_path / "store.sqlite"
        with Store(path) as store:
            save_many(store, range(1))
        for version in ("2", "one"):
            with closing(sqlite3.connect(path)) as database, database:
                database.execute("UPDATE meta SET value = ?", (version,))
            before = path.read_bytes()
            opening_fails(path, f"schema version 1; found version {version}. Use the droplab that wrote it")
            assert path.read_bytes() == before
        with closing(sqlite3.connect(path)) as database, database:
            database.execute("DELETE FROM meta")
        opening_fails(path, "found version None")

    def test_a_database_of_another_program_is_refused_untouched(self, tmp_path: Path) -> None:
        path = tmp_path / "browser.sqlite"
        with closing(sqlite3.connect(path)) as database:
            database.execute("CREATE TABLE bookmarks (url)")
        before = path.read_bytes()
        opening_fails(path, "must be a store of droplab; found a database with the tables bookmarks")
        assert path.read_bytes() == before
        with closing(sqlite3.connect(path)) as database:
            database.execute("CREATE TABLE meta (url)")
        opening_fails(path, "cannot be read: no such column")

    @pytest.mark.parametrize("content", [b"hello", b"SQLite format 3\0" + bytes(2000), b"\x89PNG" * 999])
    def test_a_file_that_is_no_database_is_refused_untouched(self, tmp_path: Path, content: bytes) -> None:
        path = tmp_path / "store.sqlite"
        path.write_bytes(content)
        opening_fails(path, "the store cannot be read: file is not a database. Name another file")
        assert path.read_bytes() == content

    def test_a_corrupt_database_gives_one_error(self, tmp_path: Path) -> None:
        path = tmp_path / "store.sqlite"
        with Store(path) as store:
            keys = [run.key for run in save_many(store, range(30))]
        whole = path.read_bytes()
        random = np.random.default_rng(0)
        messages: list[str] = []
        for _ in range(30):
            damaged = np.frombuffer(whole, np.uint8).copy()
            start = int(random.integers(0, len(damaged) - 4096))
            damaged[start : start + 4096] = random.integers(0, 256, 4096)
            path.write_bytes(damaged.tobytes())
            try:
                with Store(path) as store:
                    store.summaries()
                    store.load(keys)
            except StoreError as error:
                messages.append(str(error))
        assert len(messages) > 10
        assert all(str(path) in message and "\n" not in message for message in messages)

    def test_what_is_no_file_is_refused_at_once(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe")
        (tmp_path / "file").touch()
        (tmp_path / "loop").symlink_to(tmp_path / "loop")
        opening_fails(tmp_path, "a store must be a file; found a folder")
        opening_fails(tmp_path / "pipe", "a store must be a file")
        opening_fails(tmp_path / "file" / "store.sqlite", "the store's folder cannot be used")
        opening_fails(tmp_path / "loop", str(tmp_path))
        opening_fails(tmp_path / "nul\0", "a store must be a path")
        opening_fails("/proc/droplab/store.sqlite", "the store's folder cannot be used")

    def test_a_read_only_folder_or_unreadable_file_is_refused(self) -> None:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            with Store(folder / "store.sqlite"):
                pass
            folder.chmod(0o755)
            with without_privileges():
                opening_fails(folder / "new.sqlite", "unable to open database file. Check the file, its folder")
                opening_fails(folder / "sub" / "new.sqlite", "the store's folder cannot be used: Permission denied")
            (folder / "store.sqlite").chmod(0)
            with without_privileges():
                opening_fails(folder / "store.sqlite", "the store cannot be read: unable to open database file")
            folder.chmod(0)
            with without_privileges():
                opening_fails(folder / "store.sqlite", "Permission denied|unable to open")
            folder.chmod(0o700)

    @pytest.mark.parametrize("url", ["postgresql://me:secret@host/db", "mysql+pymysql://host/db", "SQLITE:///x", "://"])
    def test_other_databases_are_refused_and_no_password_is_shown(self, url: str) -> None:
        message = opening_fails(url, "SQLite is what this version has")
        assert "secret" not in message

    @pytest.mark.parametrize(
        "url", ["sqlite://", "sqlite:///", "sqlite:///:memory:", "sqlite:///a?mode=ro", "sqlite://h/x"]
    )
    def test_a_url_must_name_a_file(self, url: str) -> None:
        opening_fails(url, "must be sqlite:///PATH")

    def test_an_empty_file_becomes_a_store(self, tmp_path: Path) -> None:
        (tmp_path / "store.sqlite").touch()
        with Store(tmp_path / "store.sqlite") as store:
            save_many(store, range(1))
            assert len(check_whole(store)) == 1

    def test_the_default_place_is_the_environments_then_the_users(self, tmp_path: Path, monkeypatch) -> None:
        monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
        monkeypatch.delenv("DROPLAB_STORE", raising=False)
        assert store_path() == tmp_path / "data" / "droplab" / "store.sqlite"
        monkeypatch.setenv("DROPLAB_STORE", str(tmp_path / "mine.sqlite"))
        assert store_path() == tmp_path / "mine.sqlite"
        monkeypatch.setenv("DROPLAB_STORE", f"sqlite:///{tmp_path}/url.sqlite")
        assert store_path() == tmp_path / "url.sqlite"
        assert store_path(tmp_path / "named.sqlite") == tmp_path / "named.sqlite"

    def test_a_link_and_its_target_are_one_store(self, tmp_path: Path) -> None:
        (tmp_path / "link.sqlite").symlink_to(tmp_path / "store.sqlite")
        with Store(tmp_path / "link.sqlite") as link, Store(tmp_path / "store.sqlite") as store:
            save_many(link, range(1))
            assert len(check_whole(store)) == 1
