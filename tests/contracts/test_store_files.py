"""The files of a store: one contract, wherever they are kept."""

import pickle
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from droplab.errors import DroplabError, StoreAwayError, StoreError
from droplab.study import folders, pieces, remote
from droplab.study.files import Files
from droplab.study.store import Store
from store_help import check_whole, make_run, names_in, pack_name, plan_pack, save_many

ONE, TWO, THREE = (pack_name(number) for number in range(3))


@pytest.fixture(params=["folders", "shared folder", "URL", pytest.param("pieces", marks=pytest.mark.postgres)])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """A store with its files in one of the places."""
    elsewhere = {"shared folder": str(tmp_path / "shared"), "URL": f"memory://{tmp_path.name}"}
    location = request.getfixturevalue("postgres_url") if request.param == "pieces" else tmp_path / "store.sqlite"
    with Store(location, elsewhere.get(request.param)) as opened:
        yield opened


@pytest.fixture
def files(store: Store, monkeypatch: pytest.MonkeyPatch) -> Files:
    monkeypatch.setattr(pieces, "_PIECE", 10)
    return store.files


@pytest.mark.parametrize("kind", ["weights", "checkpoints"])
def test_what_is_written_last_comes_back_whole(files: Files, kind) -> None:
    for content in (b"", b"1234567890", bytes(range(256)), b"12345678901", b"x"):
        files.write(kind, [(ONE, content), (TWO, content[::-1])])
        assert files.read(kind, ONE) == content
        assert files.read(kind, TWO) == content[::-1]
        assert {(file.name, file.size) for file in files.listed(kind, ())} == {
            (ONE, len(content)),
            (TWO, len(content)),
        }
    assert files.there(kind, [ONE, THREE]) == {ONE: len(files.read(kind, ONE))}
    for name in (TWO, ""):
        assert name in files.where(kind, name)


def test_what_is_removed_or_was_never_there_is_named(files: Files) -> None:
    files.write("checkpoints", [(ONE, b"1"), (TWO, b"2")])
    files.write("weights", [(ONE, b"3")])
    files.remove("checkpoints", [ONE, THREE])
    assert ({file.name for file in files.listed("checkpoints", ())}, files.read("weights", ONE)) == ({TWO}, b"3")
    with pytest.raises(DroplabError, match=re.escape(files.where("checkpoints", ONE))) as caught:
        files.read("checkpoints", ONE)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["weights", "checkpoints"])
def test_what_nothing_needs_goes_after_an_hour(files: Files, kind, monkeypatch) -> None:
    files.write(kind, [(ONE, b"1"), (TWO, b"2")])
    files.sweep(kind, {ONE})
    assert files.there(kind, [ONE, TWO]).keys() == {ONE, TWO}
    for module in (folders, pieces, remote):
        monkeypatch.setattr(module, "ABANDONED", -60)
    assert {(file.name, file.orphan) for file in files.listed(kind, {ONE})} == {(ONE, False), (TWO, True)}
    files.sweep(kind, {ONE})
    assert files.there(kind, [ONE, TWO]).keys() == {ONE}


def test_a_place_goes_to_another_process(files: Files) -> None:
    place = pickle.loads(pickle.dumps(files.place("checkpoints", ONE)))  # noqa: S301
    assert place.read() is None
    place.write(b"12345678901")
    assert files.read("checkpoints", ONE) == place.read() == b"12345678901"


def test_a_place_that_is_away_is_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> bytes:
        raise ConnectionResetError

    with Store(tmp_path / "store.sqlite", f"memory://{tmp_path.name}") as store, store.waiting_until(lambda: True):
        (run,) = save_many(store, range(1))
        record = store.load([run.key])[run.key]
        with monkeypatch.context() as patch:
            for method in ("cat_file", "info"):
                patch.setattr(MemoryFileSystem, method, fail)
            for ask in (lambda: store.damaged([run.key]), lambda: store.read_model(record)):
                with pytest.raises(StoreAwayError, match="cannot be read"):
                    ask()
        assert store.damaged([run.key]) == {}


def test_a_place_that_cannot_be_used_is_refused_before_anything_is_trained(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for files, match in (
        (str(tmp_path / "file"), "cannot be written"),
        ("ftp://127.0.0.1:1/x", "refused"),
        ("memory://me:secret@host/x", "without a password"),
        ("", "empty"),
    ):
        with pytest.raises(DroplabError, match=match) as caught:
            Store(tmp_path / "store.sqlite", files)
        assert "secret" not in str(caught.value)
    with Store(tmp_path / "store.sqlite") as store:
        plan_pack(store, 1, range(1))
        with pytest.raises(StoreError, match="must stay"):
            Store(tmp_path / "store.sqlite", str(tmp_path / "elsewhere"))


def test_a_store_keeps_its_runs_there_and_deletes_them(store: Store) -> None:
    save_many(store, range(3))
    assert len(check_whole(store)) == 3
    use = store.disk_use()
    store.delete([make_run(0).key])
    assert len(check_whole(store)) == len(names_in(store, "weights")) == 2
    assert 0 < store.disk_use().weights_bytes < use.weights_bytes
