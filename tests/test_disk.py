"""Files on disk: many written together are each whole or not there, and durable before the caller goes on."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from droplab.data import disk
from droplab.data.disk import open_regular, write_atomically, write_together
from droplab.errors import DataError
from store_help import largest_file


def everything(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_files_written_together_take_the_place_of_older_ones(tmp_path: Path) -> None:
    write_together(tmp_path / "new", [("a/one", b"1"), ("a/two", b""), ("b/one", b"3")])
    write_together(tmp_path / "new", iter([("a/one", b"4" * 100_000)]))
    write_together(tmp_path / "new", [])
    assert everything(tmp_path) == {"new/a/one": b"4" * 100_000, "new/a/two": b"", "new/b/one": b"3"}


@pytest.mark.parametrize("size", [99, 150])
def test_a_full_disk_leaves_the_older_file_and_no_half_of_a_newer(tmp_path: Path, size: int) -> None:
    write_together(tmp_path, [("old", b"old")])
    with largest_file(size), pytest.raises(DataError, match="cannot be written: File too large"):
        write_together(tmp_path, [("old", b"1" * 90), ("new", b"2" * 200)])
    assert everything(tmp_path) == {"old": b"old"}


def test_what_fails_while_the_files_are_made_leaves_none(tmp_path: Path) -> None:
    def files() -> Iterator[tuple[str, bytes]]:
        yield "one", b"1"
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        write_together(tmp_path, files())
    assert everything(tmp_path) == {}


def test_each_file_is_on_disk_before_it_takes_its_place_and_each_folder_after(tmp_path: Path, monkeypatch) -> None:
    done: list[tuple[str, str]] = []
    sync, replace = os.fsync, Path.replace

    def listen_sync(descriptor: int) -> None:
        sync(descriptor)
        done.append(("sync", Path(f"/proc/self/fd/{descriptor}").readlink().name))

    def listen_replace(part: Path, path: Path) -> Path:
        assert ("sync", part.name) in done
        done.append(("replace", path.name))
        return replace(part, path)

    monkeypatch.setattr(os, "fsync", listen_sync)
    monkeypatch.setattr(Path, "replace", listen_replace)
    folder = tmp_path / "folder"
    write_together(folder, [("a/one", b"1"), ("a/two", b"2"), ("b/three", b"3")])
    renamed = [place for place, (what, _) in enumerate(done) if what == "replace"]
    assert [name for _, name in done[renamed[0] : renamed[-1] + 1]] == ["one", "two", "three"]
    assert sorted(name for _, name in done[renamed[-1] + 1 :]) == sorted(["a", "b", "folder", tmp_path.name])


def test_what_is_no_regular_file_is_said_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError) as caught:
        open_regular(tmp_path / "pipe")
    assert str(caught.value) == (
        f"{tmp_path / 'pipe'}: must be a regular file; found a pipe, socket or device. Save it to a file first."
    )


def test_what_a_killed_writer_left_of_a_file_goes_once_it_is_old_and_the_file_is_written_again(tmp_path: Path) -> None:
    part, old = ".a.csv.0123456789ab.part", (0, 0)
    kept = [part.replace("01", "cd"), ".b.csv.0123456789ab.part", ".a.csv.0123456789AB.part", "a.csv.0123456789ab.part"]
    kept += [".a.csv.0123456789ab.part.bak", ".a.csv.part", ".aXcsv.0123456789ab.part"]
    for name in (part, *kept):
        (tmp_path / name).write_text("half")
        os.utime(tmp_path / name, None if name is kept[0] else old)
    with write_atomically(tmp_path / "a.csv") as handle:
        handle.write(b"2")
    assert sorted(everything(tmp_path)) == sorted(["a.csv", *kept])


def test_files_are_waited_for_where_no_thread_can_be_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    synced: list[Path] = []
    monkeypatch.setattr("threading.Thread.start", refuse)
    monkeypatch.setattr(disk, "_sync_file", synced.append)
    write_together(tmp_path, [("one", b"1"), ("two", b"2")])
    assert len(synced) == 2
    assert everything(tmp_path) == {"one": b"1", "two": b"2"}
