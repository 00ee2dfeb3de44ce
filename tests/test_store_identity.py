"""The store's folders carry its identity: no store removes what may be another's, whatever the two are called."""

import json
import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from droplab.data.disk import ABANDONED
from droplab.study.store import Store
from store_help import check_whole, make_dataset, make_run, make_trained, plan_pack, save_many, weights_files


def old(*paths: Path) -> None:
    """Let files be as old as what nothing needs must be before it goes."""
    for path in paths:
        before = path.stat().st_mtime - 2 * ABANDONED
        os.utime(path, (before, before))


def unmark(path: Path) -> None:
    """A store as it was before folders carried an identity."""
    for folder in ("weights", "checkpoints"):
        (path.with_name(f"{path.stem}-{folder}") / ".droplab-store.json").unlink()


def test_stores_of_one_stem_have_folders_of_their_own(tmp_path: Path) -> None:
    with Store(tmp_path / "s.sqlite") as one, Store(tmp_path / "s.db") as two:
        assert one.files.weights == tmp_path / "s-weights"
        assert {one.files.weights, one.files.checkpoints}.isdisjoint({two.files.weights, two.files.checkpoints})
        save_many(one, range(3))
        save_many(two, range(3))
        old(*weights_files(one), *weights_files(two))
        assert two.delete([make_run(0).key]) == 1
        assert two.forget() == 0
        assert len(check_whole(one)) == 3
        assert len(check_whole(two)) == 2
    with Store(tmp_path / "s.db") as again:
        assert len(check_whole(again)) == 2, "it finds its folders again"


def test_a_new_store_in_the_place_of_a_damaged_one_leaves_its_files(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    with Store(path) as store:
        save_many(store, range(2))
        kept = weights_files(store)
        old(*kept)
    path.rename(tmp_path / "damaged")
    with Store(path) as store:
        save_many(store, range(5, 7))
        store.delete([make_run(5).key])
        store.forget()
        assert len(check_whole(store)) == 1
    path.unlink()
    (tmp_path / "damaged").rename(path)
    assert all(file.exists() for file in kept)
    with Store(path) as store:
        assert len(check_whole(store)) == 2


@pytest.mark.parametrize("first", ["s.sqlite", "s.db"])
def test_older_stores_that_shared_a_folder_part(tmp_path: Path, first: str) -> None:
    one, two = tmp_path / "s.sqlite", tmp_path / "s.db"
    with Store(one) as store:
        save_many(store, range(2))
    with Store(tmp_path / "else.sqlite") as store:
        save_many(store, range(1, 4))
        shutil.copytree(store.files.weights, tmp_path / "s-weights", dirs_exist_ok=True)
    (tmp_path / "else.sqlite").rename(two)
    unmark(one)
    for path in sorted((one, two), key=lambda path: path.name != first):
        with Store(path) as store:
            assert len(check_whole(store)) in (2, 3)
            old(*weights_files(store))
            store.delete([make_run(1).key])
    for path, keys in ((one, {0}), (two, {2, 3})):
        with Store(path) as store:
            assert check_whole(store) == {make_run(seed).key for seed in keys}


def test_an_older_store_alone_keeps_its_folder(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    with Store(path) as store:
        save_many(store, range(2))
    unmark(path)
    with Store(path) as store:
        assert store.files.weights == tmp_path / "s-weights"
        assert len(check_whole(store)) == 2
        store.delete([make_run(0).key])
        assert len(weights_files(store)) == 1


def test_a_store_that_was_renamed_with_its_folders_is_itself_and_a_copy_is_another(tmp_path: Path) -> None:
    with Store(tmp_path / "s.sqlite") as store:
        save_many(store, range(2))
    for name in ("s.sqlite", "s-weights", "s-checkpoints"):
        (tmp_path / name).rename(tmp_path / name.replace("s", "t", 1))
    with Store(tmp_path / "t.sqlite") as store:
        assert store.files.weights == tmp_path / "t-weights"
        store.delete([make_run(0).key])
        assert len(weights_files(store)) == 1
    shutil.copy(tmp_path / "t.sqlite", tmp_path / "t.db")
    with Store(tmp_path / "t.db") as copy, Store(tmp_path / "t.sqlite") as store:
        assert len(check_whole(copy)) == 1
        copy.delete([make_run(1).key])
        assert len(check_whole(store)) == 1


def test_files_of_nobody_in_folders_of_the_name_are_left_alone(tmp_path: Path) -> None:
    mine = tmp_path / "s-weights" / "ab" / f"{'ab' * 32}.safetensors"
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"mine")
    old(mine)
    with Store(tmp_path / "s.sqlite") as store:
        save_many(store, range(1))
        store.delete([make_run(0).key])
        store.forget()
    assert mine.read_bytes() == b"mine"


@pytest.mark.parametrize("mark", [b"", b"[]", b'{"store": "another", "database": "gone.sqlite"}', None])
def test_nothing_goes_where_the_mark_is_gone_or_anothers(tmp_path: Path, mark: bytes | None) -> None:
    with Store(tmp_path / "s.sqlite") as store:
        save_many(store, range(2))
        plan_pack(store, 1, range(5, 7))
        before = weights_files(store)
        for folder in (store.files.weights, store.files.checkpoints):
            if mark is None:
                (folder / ".droplab-store.json").unlink()
            else:
                (folder / ".droplab-store.json").write_bytes(mark)
        old(*before)
        assert store.delete([make_run(0).key]) == 1
        assert store.forget() == 2
        assert weights_files(store) == before


def test_a_store_found_in_anothers_folders_moves_out_with_its_weights(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    with Store(path) as store:
        save_many(store, range(2))
    for folder in ("s-weights", "s-checkpoints"):
        (tmp_path / folder / ".droplab-store.json").write_text(json.dumps({"store": "x", "database": "x.db"}))
    with Store(path) as store:
        assert store.files.weights.name != "s-weights"
        assert len(check_whole(store)) == 2
    with closing(sqlite3.connect(path)) as database:
        (suffix,) = database.execute("SELECT value FROM meta WHERE name = 'suffix'").fetchone()
    assert store.files.weights == tmp_path / f"s{suffix}-weights"
    with Store(path) as store:
        store.save(make_run(9), make_dataset(), make_trained(make_run(9)))
        assert len(check_whole(store)) == 3
