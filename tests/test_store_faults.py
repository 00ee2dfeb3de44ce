"""The store: whole runs only, whatever fails in the disk or the database, and damage is named."""

import io
import os
import pickle
import re
import sqlite3
import zipfile
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from droplab.errors import ConfigError, ModelFileError, StoreError
from droplab.study.store import Store
from store_help import check_whole, largest_file, make_dataset, make_run, make_trained, save_many, weights_files


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
        with largest_file(size), pytest.raises(StoreError, match=r"cannot be (kept|written|read)") as caught:
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


class TestDamage:
    @pytest.mark.parametrize("how", ["a bit", "cut", "empty", "missing", "a folder", "a pipe", "another run's"])
    def test_damaged_weights_are_named_and_can_be_trained_again(self, store: Store, how: str) -> None:
        run, other = save_many(store, range(2))
        record = store.load([run.key])[run.key]
        path = store.files.path("weights", record.weights_hash)
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
            path.write_bytes(store.files.path("weights", store.load([other.key])[other.key].weights_hash).read_bytes())
        with pytest.raises(StoreError, match=re.escape(str(path))) as caught:
            store.read_weights(record)
        assert "Run the study again, which trains it anew" in str(caught.value)
        assert store.damaged([run.key, other.key]).keys() == {run.key}
        if how != "a folder":
            save_many(store, range(1))
            assert len(check_whole(store)) == 2
            assert store.damaged([run.key, other.key]) == {}

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
            ("runs", "compiled", 7),
            ("runs", "stacked", "abacus"),
            ("runs", "finished", "yesterday"),
            ("arrays", "npz", b""),
            ("arrays", "npz", b"PK\x03\x04" + bytes(90)),
            ("arrays", "npz", b"\x93NUMPY"),
        ],
    )
    def test_a_damaged_record_is_named_and_can_be_trained_again(self, store: Store, table, column, value) -> None:
        run, other = save_many(store, range(2))
        with closing(sqlite3.connect(store.path)) as database, database:
            database.execute(f"UPDATE {table} SET {column} = ? WHERE key = ?", (value, run.key))
        with pytest.raises(StoreError, match=f"the record of run {run.key[:12]} must be as it was saved") as caught:
            store.load([other.key, run.key])
        assert "\n" not in str(caught.value)
        told: list[str] = []
        assert list(store.load([other.key, run.key], told.append)) == [other.key]
        assert told == [str(caught.value)] == list(store.damaged([other.key, run.key]).values())
        save_many(store, range(1))
        assert check_whole(store) == {run.key, other.key}

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

    def test_what_no_reader_would_take_is_not_written(self, store: Store) -> None:
        run = make_run()
        object.__setattr__(run.settings, "epochs", 0)  # as no validated copy could be
        with pytest.raises(ConfigError, match=f"run {run.key[:12]}: epochs: input should be greater"):
            store.save(run, make_dataset(), make_trained(make_run()))
        assert check_whole(store) == set()
        assert weights_files(store) == set()
