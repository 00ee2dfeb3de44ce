"""The store's folders beside its file: what lies in them, what is not the store's, and disks that are full."""

import os
import re
from pathlib import Path

import pytest

from droplab.errors import StoreError
from droplab.study.store import Store
from store_help import (
    check_whole,
    keys_of,
    largest_file,
    make_dataset,
    make_run,
    pack_name,
    plan_pack,
    save_many,
)


def test_they_lie_beside_the_database(store: Store) -> None:
    name = pack_name(1)
    assert store.checkpoint(name).name == name
    assert store.files.path("checkpoints", name) == store.path.parent / "store-checkpoints" / f"{name}.safetensors"
    (run,) = save_many(store, range(1))
    path = Path(store.where(store.load([run.key])[run.key]))
    assert path.is_relative_to(store.path.parent / "store-weights")
    assert path.exists()


def test_half_written_and_orphaned_weights_go_after_an_hour_and_what_is_not_ours_stays(store: Store) -> None:
    save_many(store, range(2))
    folder = store.files.weights / "ab"
    folder.mkdir(exist_ok=True)
    orphan, part = folder / f"{'ab' * 32}.safetensors", folder / f".{'ab' * 32}.safetensors.0123.part"
    foreign = folder / "notes.txt"
    for path in (orphan, part, foreign):
        path.write_bytes(b"12345")
    assert store.disk_use().orphans == 0, "both may still have a writer, or somebody who is about to need them"
    assert store.delete([]) == 0
    assert orphan.exists()
    for path in (orphan, part, foreign):
        os.utime(path, (0, 0))
    assert (store.disk_use().orphans, store.disk_use().orphan_bytes) == (2, 10)
    assert store.delete([]) == 0
    assert (orphan.exists(), part.exists(), foreign.exists()) == (False, False, True)
    assert len(check_whole(store)) == 2


def test_a_half_written_checkpoint_may_have_its_writer_for_an_hour_and_what_is_not_ours_stays(store: Store) -> None:
    plan_pack(store, 1, range(1))
    store.checkpoint(pack_name(1)).write(b"12345")
    path = store.files.path("checkpoints", pack_name(1))
    part, foreign = path.with_name(f".{path.name}.0123abcd.part"), path.with_name("notes.txt")
    part.write_bytes(b"123")
    foreign.write_bytes(b"mine")
    os.utime(foreign, (0, 0))
    use = store.disk_use()
    assert (use.checkpoints, use.checkpoint_bytes, use.orphans) == (1, 8, 0)
    store.delete([])
    assert part.exists()
    os.utime(part, (0, 0))
    use = store.disk_use()
    assert (use.checkpoints, use.checkpoint_bytes, use.orphans, use.orphan_bytes) == (1, 5, 1, 3)
    store.delete([])
    assert (path.exists(), part.exists(), foreign.exists()) == (True, False, True)


def test_a_checkpoint_that_cannot_be_removed_is_named(store: Store) -> None:
    path = store.files.path("checkpoints", pack_name(1))
    path.mkdir(parents=True)
    with pytest.raises(StoreError, match=re.escape(str(path))):
        store.drop_checkpoint(pack_name(1))


@pytest.mark.parametrize("how", ["a folder", "a pipe"])
def test_what_has_the_name_of_weights_and_is_no_file_is_damage(store: Store, how: str) -> None:
    run, other = save_many(store, range(2))
    path = Path(store.where(store.load([run.key])[run.key]))
    path.unlink()
    path.mkdir() if how == "a folder" else os.mkfifo(path)
    assert str(path) in store.damaged([run.key, other.key])[run.key]
    if how == "a pipe":
        save_many(store, range(1))
        assert len(check_whole(store)) == 2


@pytest.mark.parametrize("size", [100, 30_000])
def test_a_full_disk_loses_nothing_finished(store: Store, size: int) -> None:
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


@pytest.mark.parametrize("size", [100, 30_000])
def test_a_full_disk_files_a_pack_whole_or_not_at_all(store: Store, size: int) -> None:
    pack = plan_pack(store, 1, range(200))
    with largest_file(size), pytest.raises(StoreError, match=r"cannot be (kept|written|read)"):
        store.save_pack(pack, make_dataset())
    assert check_whole(store) == set()
    assert store.planned(keys_of(pack)).keys() == keys_of(pack)
    assert not list(store.files.weights.rglob("*.part"))
