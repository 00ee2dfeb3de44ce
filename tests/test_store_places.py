"""The store where writing is not to be had, where others write, and where a log cannot be."""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from droplab import cli
from droplab.errors import StoreError
from droplab.study import sqlite
from droplab.study.sqlite import SQLite, is_on_network
from droplab.study.store import Store
from store_help import check_whole, make_dataset, save_many, without_privileges

MOUNTS = """\
22 1 254:0 / / rw - ext4 /dev/vda rw
23 22 0:5 / /nfs rw,relatime shared:9 master:2 - nfs4 server:/export rw
24 22 0:6 / /nfs/local rw - tmpfs none rw
25 22 0:7 / /a\\040share rw - cifs //server/share rw
26 22 0:8 / /ssh rw - fuse.sshfs me@host: rw
27 22 0:9 / /usb rw - fuseblk /dev/sdb1 rw
garbage
"""


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that other users may look into; those of pytest are its own user's."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)
        Path(name).chmod(0o755)  # so that it can be removed


class TestReadOnly:
    @pytest.mark.parametrize("what", ["folder", "file"])
    def test_a_store_that_cannot_be_written_is_looked_into(self, open_folder: Path, what: str) -> None:
        path = open_folder / "store.sqlite"
        with Store(path) as store:
            runs = save_many(store, range(2))
            check_whole(store)  # imports what another user may not read
        open_folder.chmod(0o777 if what == "file" else 0o555)
        path.chmod(0o444 if what == "file" else 0o644)
        before = {file: file.stat().st_mtime_ns for file in open_folder.rglob("*")}
        with without_privileges():
            with Store(path) as store:
                assert [one.key for one in store.summaries()] == [run.key for run in runs]
                assert len(store.load(run.key for run in runs)) == 2
                assert store.damaged(run.key for run in runs) == {}
                assert store.disk_use().runs == 2
                store.keep_data(make_dataset())  # it is there
                for change in (lambda: store.delete([runs[0].key]), lambda: save_many(store, range(3)), store.forget):
                    with pytest.raises(StoreError, match="must be writable for this; found it"):
                        change()
            listed = CliRunner().invoke(cli.app, ["runs", "list", "--store", str(path)], catch_exceptions=False)
        assert listed.exit_code == 0
        assert listed.output.count("toy") == 2
        assert {file: file.stat().st_mtime_ns for file in open_folder.rglob("*")} == before

    def test_what_a_killed_process_left_in_the_log_is_seen(self, open_folder: Path) -> None:
        path = open_folder / "store.sqlite"
        code = (
            f"import os, sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
            f"from store_help import *; store = Store({str(path)!r}); save_many(store, range(2))\n"
            "kept = store._database.engine.connect(); kept.exec_driver_sql('SELECT 1 FROM runs').fetchall()\n"
            "save_many(store, range(2, 3)); os._exit(0)"
        )
        subprocess.run([sys.executable, "-c", code], check=True)
        assert path.with_name("store.sqlite-wal").stat().st_size > 0
        for file in open_folder.rglob("*"):
            file.chmod(0o755 if file.is_dir() else 0o644)
        with without_privileges(), Store(path) as store:
            assert len(store.summaries()) == 3


class TestNetworkDisks:
    @pytest.mark.parametrize(
        ("path", "network"),
        [
            ("/home/s.sqlite", False),
            ("/nfs/me/s.sqlite", True),
            ("/nfs/local/s.sqlite", False),
            ("/a share/s.sqlite", True),
            ("/ssh/s.sqlite", True),
            ("/usb/s.sqlite", False),
        ],
    )
    def test_they_are_known_by_what_is_mounted(self, tmp_path: Path, path: str, network: bool) -> None:
        (tmp_path / "mountinfo").write_text(MOUNTS)
        assert is_on_network(Path(path), tmp_path / "mountinfo") == network
        assert not is_on_network(Path(path), tmp_path / "gone")

    def test_there_a_store_has_no_log_and_one_that_comes_with_it_loses_it(self, tmp_path: Path, monkeypatch) -> None:
        path = tmp_path / "store.sqlite"
        with Store(path) as store:
            save_many(store, range(1))
            assert SQLite(path)._has_log()
        monkeypatch.setattr(sqlite, "is_on_network", lambda _: True)
        with Store(path) as store:
            save_many(store, range(1, 3))
            assert not SQLite(path)._has_log()
            assert len(check_whole(store)) == 3
        with Store(tmp_path / "new.sqlite") as store:
            save_many(store, range(1))
            assert not SQLite(store.path)._has_log()
