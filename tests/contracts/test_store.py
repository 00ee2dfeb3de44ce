"""The store: what is finished comes back bit for bit, and only what is asked to go goes."""

import hashlib
import sqlite3
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sqlalchemy import event

from droplab.config import RunSettings
from droplab.data.dataset import Dataset
from droplab.errors import StoreError
from droplab.study.plan import Run
from droplab.study.records import RunRecord
from droplab.study.store import Store
from droplab.train.outcome import Curves, Metric, Outcome, Trained, Way
from store_help import (
    check_whole,
    let_age,
    make_dataset,
    make_run,
    make_trained,
    names_in,
    pack_name,
    raw,
    save_many,
)


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
        assert store.summaries()[-1].way == run.way
        model = store.files.read("weights", record.weights_hash)
        assert hashlib.sha256(model).hexdigest() == record.weights_hash
        assert len(model) == record.weights_bytes
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
        words = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))  # PostgreSQL takes no NUL
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
        dataset = make_dataset(data.draw(words))
        way = data.draw(st.builds(Way))
        run = Run(run_settings.content_key(dataset.fingerprint, way.precision), run_settings, way, ())
        store.delete([run.key])
        self.check(store, run, dataset, Trained(outcome, make_trained(run).weights))

    def test_runs_come_back_in_the_order_asked_for_and_unknown_keys_are_left_out(self, store: Store) -> None:
        runs = save_many(store, range(4))
        keys = [runs[2].key, "f" * 64, runs[0].key]
        assert list(store.load(keys)) == [runs[2].key, runs[0].key]
        assert store.finished(keys) == {runs[2].key, runs[0].key}

    def test_more_keys_than_a_database_takes_variables_are_no_matter(self, store: Store) -> None:
        def limit_as_before_version_3_32(connection: sqlite3.Connection, _: object) -> None:
            connection.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, 999)

        if store.path:
            event.listen(store._database.engine, "connect", limit_as_before_version_3_32)
        run = save_many(store, range(1))[0]
        keys = [f"{number:064x}" for number in range(5000)] + [run.key]
        assert store.finished(iter(keys)) == {run.key}
        assert list(store.load(iter(keys))) == [run.key]
        assert store.delete(iter(keys)) == 1

    def test_a_store_opened_again_has_its_runs(self, location: str) -> None:
        with Store(location) as store:
            runs = save_many(store, range(2))
        with Store(location) as store:
            assert check_whole(store) == {run.key for run in runs}


def test_the_first_of_two_savings_stays(store: Store) -> None:
    run = make_run()
    for marked in (1.0, 2.0):
        store.save(run, make_dataset(), make_trained(run, marked=marked))
    record = store.load([run.key])[run.key]
    assert record.outcome.metrics[0].value == 0.1 + 0.2 + 1.0
    assert store.read_weights(record)[0]["layers.0.bias"][0] == 1.0
    assert names_in(store, "weights") == {record.weights_hash}


def test_a_run_saved_again_with_the_same_bits_keeps_its_weights(store: Store) -> None:
    for _ in range(2):
        store.save(make_run(), make_dataset(), make_trained(make_run()))
    assert check_whole(store) == {make_run().key}


def test_weights_that_are_gone_before_the_row_came_are_written_again(store: Store, monkeypatch) -> None:
    run = make_run()
    write = Store._write_weights

    def write_then_lose_once(self: Store, *arguments: Any) -> object:
        written = write(self, *arguments)
        monkeypatch.setattr(Store, "_write_weights", write)
        self.files.remove("weights", names_in(self, "weights"))
        return written

    monkeypatch.setattr(Store, "_write_weights", write_then_lose_once)
    store.save(run, make_dataset(), make_trained(run))
    assert check_whole(store) == {run.key}


class TestLookingAndDeleting:
    def test_summaries_come_in_the_order_of_finishing(self, store: Store) -> None:
        runs = save_many(store, range(5))
        summaries = store.summaries()
        assert [summary.key for summary in summaries] == [run.key for run in runs]
        assert summaries[0].settings == runs[0].settings
        assert summaries[0].test_accuracy == 1 / 3
        assert (summaries[0].dataset, summaries[0].way) == ("toy", Way("cpu", "fp32"))
        record = store.load([runs[0].key])[runs[0].key]
        assert (summaries[0].finished, summaries[0].weights_bytes) == (record.finished, record.weights_bytes)

    def test_summaries_do_not_read_what_is_bulky(self, store: Store) -> None:
        save_many(store, range(2))
        with raw(store) as connection:
            connection.exec_driver_sql("DROP TABLE arrays")
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
        assert len(names_in(store, "weights")) == 2
        save_many(store, range(1))
        assert len(check_whole(store)) == 3

    def test_disk_use_counts_what_there_is_and_deleting_removes_orphans(self, store: Store) -> None:
        kept = store.load(run.key for run in save_many(store, range(2))).values()
        store.files.write("weights", [(pack_name(0), b"12345")])
        use = store.disk_use()
        assert (use.runs, use.weights_bytes) == (2, sum(record.weights_bytes for record in kept) + 5)
        assert use.orphans == 0, "somebody may be about to need it"
        assert use.database_bytes > 0
        assert store.delete([]) == 0
        assert len(names_in(store, "weights")) == 3
        let_age(store)
        assert (store.disk_use().orphans, store.disk_use().orphan_bytes) == (1, 5)
        assert store.delete([]) == 0
        assert names_in(store, "weights") == {record.weights_hash for record in kept}
        assert len(check_whole(store)) == 2
