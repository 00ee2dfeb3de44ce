"""The store: whole runs only, whatever fails in the database or its files, and damage is named."""

import io
import pickle
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import select, update

from droplab.errors import ConfigError, ModelFileError, StoreError
from droplab.study.schema import arrays_table, tables
from droplab.study.store import Store
from store_help import check_whole, failing, make_dataset, make_run, make_trained, names_in, raw, save_many


class TestOneTransaction:
    def test_a_failure_between_the_two_rows_leaves_neither(self, store: Store) -> None:
        with (
            failing(store, "BEFORE INSERT ON arrays"),
            pytest.raises(StoreError, match="the store cannot be written: in between"),
        ):
            save_many(store, range(1))
        assert check_whole(store) == set()
        save_many(store, range(1))
        assert len(check_whole(store)) == 1

    def test_a_failure_between_the_two_deletions_keeps_both(self, store: Store) -> None:
        runs = save_many(store, range(2))
        with failing(store, "BEFORE DELETE ON runs"), pytest.raises(StoreError, match="in between"):
            store.delete([run.key for run in runs])
        assert check_whole(store) == {run.key for run in runs}

    def test_weights_of_another_network_are_refused_before_anything_is_written(self, store: Store) -> None:
        with pytest.raises(ModelFileError):
            store.save(make_run(widths=(5,)), make_dataset(), make_trained(make_run(widths=(3,))))
        assert check_whole(store) == set()
        assert names_in(store, "weights") == set()


class TestDamage:
    @pytest.mark.parametrize("how", ["a bit", "cut", "empty", "missing", "another run's"])
    def test_damaged_weights_are_named_and_can_be_trained_again(self, store: Store, how: str) -> None:
        run, other = save_many(store, range(2))
        record, another = store.load([run.key, other.key]).values()
        model = store.read_model(record)
        damaged = {
            "a bit": model[:-1] + bytes([model[-1] ^ 1]),
            "cut": model[:100],
            "empty": b"",
            "another run's": store.read_model(another),
        }
        store.files.remove("weights", [record.weights_hash])
        if how in damaged:
            store.files.write("weights", [(record.weights_hash, damaged[how])])
        with pytest.raises(StoreError, match=re.escape(store.where(record))) as caught:
            store.read_weights(record)
        assert "Run the study again, which trains it anew" in str(caught.value)
        assert store.damaged([run.key, other.key]).keys() == {run.key}
        save_many(store, range(1))
        assert len(check_whole(store)) == 2
        assert store.damaged([run.key, other.key]) == {}

    def test_a_damaged_record_is_named_and_can_be_trained_again(self, store: Store) -> None:
        for table, column, value in (
            ("runs", "settings", "{"),
            ("runs", "settings", '{"epochs": 0}'),
            ("runs", "settings", '{"epoch": 1}'),
            ("runs", "metrics", '[["off", "test"]]'),
            ("runs", "metrics", '[["sideways", "test", "accuracy", 1]]'),
            ("runs", "environment", ""),
            ("runs", "device", "abacus"),
            ("runs", "compiled", 7),
            ("runs", "stacked", -1),
            ("runs", "finished", "yesterday"),
            ("arrays", "npz", b""),
            ("arrays", "npz", b"PK\x03\x04" + bytes(90)),
            ("arrays", "npz", b"\x93NUMPY"),
        ):
            run, other = save_many(store, range(2))
            with raw(store) as connection:
                what = tables.tables[table]
                connection.execute(update(what).where(what.c.key == run.key).values({column: value}))
            with pytest.raises(StoreError, match=f"the record of run {run.key[:12]} must be as it was saved") as caught:
                store.load([other.key, run.key])
            assert "\n" not in str(caught.value)
            told: list[str] = []
            assert list(store.load([other.key, run.key], told.append)) == [other.key], (column, value)
            assert told == [str(caught.value)] == list(store.damaged([other.key, run.key]).values())
            save_many(store, range(1))
            assert check_whole(store) == {run.key, other.key}

    def test_a_lost_half_of_a_run_is_named(self, store: Store) -> None:
        (run,) = save_many(store, range(1))
        with raw(store) as connection:
            connection.exec_driver_sql("DELETE FROM arrays")
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
            with raw(store) as connection:
                connection.execute(update(arrays_table).values(npz=npz))
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
        with raw(store) as connection:
            npz = connection.scalar(select(arrays_table.c.npz))
            with zipfile.ZipFile(io.BytesIO(npz)) as archive:
                middle = archive.getinfo("curves.losses.npy").header_offset + 80
            flipped = npz[:middle] + bytes([npz[middle] ^ 4]) + npz[middle + 1 :]
            connection.execute(update(arrays_table).values(npz=flipped))
        with pytest.raises(StoreError, match="the record of run"):
            store.load([run.key])

    def test_what_no_reader_would_take_is_not_written(self, store: Store) -> None:
        run = make_run()
        object.__setattr__(run.settings, "epochs", 0)  # as no validated copy could be
        with pytest.raises(ConfigError, match=f"run {run.key[:12]}: epochs: input should be greater"):
            store.save(run, make_dataset(), make_trained(make_run()))
        assert check_whole(store) == set()
        assert names_in(store, "weights") == set()
