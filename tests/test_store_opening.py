"""The store in a file: what is opened, what is refused, where it lies, and what its oldest versions become."""

import os
import sqlite3
import tempfile
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from droplab.errors import StoreError
from droplab.study import schema
from droplab.study.location import database_at
from droplab.study.records import Planned
from droplab.study.store import Store
from droplab.train.outcome import Way
from store_help import (
    check_whole,
    keys_of,
    make_dataset,
    make_run,
    make_trained,
    pack_name,
    plan_pack,
    raw,
    said,
    save_many,
    without_privileges,
)


def opening_fails(location: object, match: str) -> str:
    with pytest.raises(StoreError, match=match) as caught:
        Store(location)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    return str(caught.value)


class TestOpening:
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

    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(data=st.data())
    def test_flipped_bits_change_no_figure(self, tmp_path: Path, data: st.DataObject) -> None:
        path = tmp_path / "store.sqlite"
        if not path.exists():
            with Store(path) as store:
                save_many(store, range(3))
                plan_pack(store, 1, range(3, 6))
            (tmp_path / "whole").write_bytes(path.read_bytes())
        whole = (tmp_path / "whole").read_bytes()
        path.write_bytes(whole)
        with Store(path) as store:
            before = said(store)
        damaged = bytearray(whole)
        for place in data.draw(st.lists(st.integers(0, 8 * len(whole) - 1), min_size=1, max_size=4)):
            damaged[place // 8] ^= 1 << place % 8
        path.write_bytes(damaged)
        try:
            with Store(path) as store:
                assert said(store).items() <= before.items()
        except StoreError:
            pass

    def test_what_no_column_should_hold_is_damage_of_its_row(self, store: Store) -> None:
        runs, pack = save_many(store, range(4)), plan_pack(store, 1, range(4, 6))
        with raw(store) as database:
            damage = ("settings = x'fffe'", "dataset = CAST(x'fffe' AS TEXT)", "stacked = 'x'")
            for run, what in zip(runs[1:], damage, strict=True):
                database.exec_driver_sql(f"UPDATE runs SET {what} WHERE key = '{run.key}'")
            database.exec_driver_sql(f"UPDATE plans SET pack = x'ff' WHERE key = '{pack[0][0].key}'")
        told: list[str] = []
        assert [one.key for one in store.summaries(told.append)] == [runs[0].key]
        assert [run.key[:12] in line for run, line in zip(runs[1:], told, strict=True)] == [True] * 3
        assert store.planned(keys_of(pack)).keys() == {pack[1][0].key}

    def test_an_idle_store_has_no_log(self, tmp_path: Path) -> None:
        with Store(f"sqlite:///{tmp_path}/new/folder/store.sqlite") as store:
            save_many(store, range(2))
            check_whole(store)
        left = {path.name for path in (tmp_path / "new" / "folder").iterdir()}
        assert left == {"store.sqlite", "store-weights", "store-checkpoints"}

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

    @pytest.mark.parametrize("url", ["mysql+pymysql://me:secret@host/db", "SQLITE:///x", "://"])
    def test_other_databases_are_refused_and_no_password_is_shown(self, url: str) -> None:
        message = opening_fails(url, "Name one of these")
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
        assert database_at().path == tmp_path / "data" / "droplab" / "store.sqlite"
        monkeypatch.setenv("DROPLAB_STORE", str(tmp_path / "mine.sqlite"))
        assert database_at().path == tmp_path / "mine.sqlite"
        monkeypatch.setenv("DROPLAB_STORE", f"sqlite:///{tmp_path}/url.sqlite")
        assert database_at().path == tmp_path / "url.sqlite"
        assert database_at(tmp_path / "named.sqlite").path == tmp_path / "named.sqlite"

    def test_a_link_and_its_target_are_one_store(self, tmp_path: Path) -> None:
        (tmp_path / "link.sqlite").symlink_to(tmp_path / "store.sqlite")
        with Store(tmp_path / "link.sqlite") as link, Store(tmp_path / "store.sqlite") as store:
            save_many(link, range(1))
            assert len(check_whole(store)) == 1


VERSION_1 = """
CREATE TABLE meta (name VARCHAR NOT NULL, value VARCHAR NOT NULL, PRIMARY KEY (name));
CREATE TABLE datasets (
    fingerprint VARCHAR NOT NULL, name VARCHAR NOT NULL, source VARCHAR NOT NULL, classes VARCHAR NOT NULL,
    train_examples INTEGER NOT NULL, test_examples INTEGER NOT NULL, PRIMARY KEY (fingerprint)
);
CREATE INDEX ix_datasets_name ON datasets (name);
CREATE TABLE runs (
    "key" VARCHAR NOT NULL, finished VARCHAR NOT NULL, dataset VARCHAR NOT NULL, fingerprint VARCHAR NOT NULL,
    seed INTEGER NOT NULL, depth INTEGER NOT NULL, dropout FLOAT NOT NULL, device VARCHAR NOT NULL,
    precision VARCHAR NOT NULL, test_accuracy FLOAT, train_seconds FLOAT NOT NULL, evaluate_seconds FLOAT NOT NULL,
    weights_hash VARCHAR NOT NULL, weights_bytes INTEGER NOT NULL, settings VARCHAR NOT NULL,
    environment VARCHAR NOT NULL, metrics VARCHAR NOT NULL, PRIMARY KEY ("key")
);
CREATE INDEX ix_runs_weights_hash ON runs (weights_hash);
CREATE INDEX ix_runs_finished ON runs (finished);
CREATE TABLE arrays (
    "key" VARCHAR NOT NULL, npz BLOB NOT NULL, PRIMARY KEY ("key"), FOREIGN KEY("key") REFERENCES runs ("key")
);
INSERT INTO meta VALUES ('schema', '1');
"""
"""What droplab 0.1.0's first stores are made of."""


def make_version_1(path: Path, seeds: range) -> None:
    """A store as it was before plans, with the runs of `seeds`: its old columns hold what they do today."""
    with Store(path) as store:
        save_many(store, seeds)
    with closing(sqlite3.connect(path)) as database:
        old = sqlite3.connect(":memory:")
        old.executescript(VERSION_1)
        for table in ("datasets", "runs", "arrays"):
            names = ", ".join(f'"{row[1]}"' for row in old.execute(f"PRAGMA table_info({table})"))
            rows = database.execute(f"SELECT {names} FROM {table}").fetchall()
            old.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' * len(rows[0]))})", rows)
        old.commit()
    path.unlink()
    with closing(sqlite3.connect(path)) as database:
        old.backup(database)
        database.execute("PRAGMA journal_mode=WAL")
    old.close()


def layout(path: Path) -> dict[str, object]:
    """Tables with their columns in no order, and what is indexed."""
    with closing(sqlite3.connect(path)) as database:
        tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        found: dict[str, object] = {
            table: {
                (name, kind, notnull, default and default.strip("'"), primary)
                for _, name, kind, notnull, default, primary in database.execute(f"PRAGMA table_info({table})")
            }
            for table in tables
        }
        found["indices"] = {
            (table, unique, *(name for _, _, name in database.execute(f"PRAGMA index_info({index})")))
            for table in tables
            for _, index, unique, *_ in database.execute(f"PRAGMA index_list({table})")
        }
        return found


def version_of(path: Path) -> str:
    with closing(sqlite3.connect(path)) as database:
        (version,) = database.execute("SELECT value FROM meta WHERE name = 'schema'").fetchone()
        return str(version)


class TestOlderStores:
    def test_one_of_version_1_opens_lists_loads_and_takes_plans_and_runs(self, tmp_path: Path) -> None:
        path = tmp_path / "store.sqlite"
        make_version_1(path, range(3))
        assert version_of(path) == "1"
        keys = [make_run(seed).key for seed in range(3)]
        with Store(path) as store:
            assert [summary.key for summary in store.summaries()] == keys
            assert {summary.way for summary in store.summaries()} == {Way("cpu", "fp32", False, False)}
            assert check_whole(store) == set(keys)
            for seed, record in enumerate(store.load(keys).values()):
                assert record.way == Way("cpu", "fp32", False, False)
                assert repr(record.outcome.metrics) == repr(make_trained(make_run(seed)).outcome.metrics)
            assert store.datasets("toy") == [replace(make_dataset().card, look=None)]
            pack = plan_pack(store, 1, range(3, 6))
            way = Way("cuda", "bf16", compiled=True, stacked=True)
            new = make_run(9, way=way)
            store.claim([{new.key: Planned(way, pack_name(2))}])
            assert store.planned([new.key]) == {new.key: Planned(way, pack_name(2))}
            store.save_pack([*pack, (new, make_trained(new))], make_dataset())
            assert store.delete(keys[:1]) == 1
        with Store(path) as store:
            assert len(check_whole(store)) == 6
            assert store.load([new.key])[new.key].way == way
        assert version_of(path) == str(schema.SCHEMA_VERSION)

    def test_one_brought_up_to_date_has_the_layout_of_a_new_one(self, tmp_path: Path) -> None:
        make_version_1(tmp_path / "old.sqlite", range(1))
        for name in ("old", "new"):
            Store(tmp_path / f"{name}.sqlite").close()
        assert layout(tmp_path / "old.sqlite") == layout(tmp_path / "new.sqlite")

    def test_rows_sealed_before_there_were_threads_stay_sound(self, tmp_path: Path) -> None:
        path, run = tmp_path / "store.sqlite", make_run(1)
        with Store(path) as store:
            store.save(run, make_dataset(), make_trained(run))
        with closing(sqlite3.connect(path)) as older, older:
            older.execute("ALTER TABLE runs DROP COLUMN threads")
            older.executescript("DROP TABLE pieces; DROP TABLE suspects")
            older.execute("UPDATE meta SET value = '6' WHERE name = 'schema'")
        with Store(path) as store:
            assert check_whole(store) == {run.key}
            assert [summary.way for summary in store.summaries()] == [Way("cpu", "fp32")]
