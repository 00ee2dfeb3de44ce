"""The store where writing is not to be had, where others write, and where a log cannot be."""

import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner

from droplab import cli
from droplab.errors import StoreBusyError, StoreError
from droplab.study import filing, sqlite
from droplab.study.backends import Here, InProcess
from droplab.study.runner import run_all
from droplab.study.sqlite import SQLite, is_on_network
from droplab.study.store import Store
from store_help import check_whole, make_dataset, make_run, make_trained, save_many, weights_files, without_privileges
from study_help import Watcher, toy_plan
from toy import toy_dataset

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


class TestBusy:
    def hold(self, path: Path, seconds: float) -> threading.Thread:
        """Another program's write lock, for a while."""
        held = threading.Event()

        def keep() -> None:
            with closing(sqlite3.connect(path, isolation_level=None)) as other:
                other.execute("BEGIN IMMEDIATE")
                held.set()
                time.sleep(seconds)

        thread = threading.Thread(target=keep)
        thread.start()
        assert held.wait(10)
        return thread

    def test_a_store_that_is_busy_says_so(self, store: Store) -> None:
        thread = self.hold(store.path, 1)
        with pytest.raises(StoreBusyError, match="database is locked"):
            store.save_pack([(make_run(), make_trained(make_run()))], make_dataset(), patience=0.1)
        thread.join()

    @pytest.mark.parametrize("until_end", [False, True])
    def test_a_study_goes_on_while_the_store_is_busy_and_files_all(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, until_end: bool
    ) -> None:
        monkeypatch.setattr(Here, "backend", lambda *_: InProcess())
        monkeypatch.setattr(filing, "BETWEEN", 0.1)
        plan, watcher, threads = toy_plan(epochs=2), Watcher(), []
        with Store(tmp_path / "store.sqlite") as store:

            def hold(*_: object) -> None:
                if not threads:
                    threads.append(self.hold(store.path, 3 if until_end else 0.3))

            watcher.at_progress = hold
            summary = run_all(plan.runs, toy_dataset(), store, watcher, workers=1)
            assert (summary.trained, len(check_whole(store))) == (10, 10)
        assert any("waits to be filed, and is tried again" in text for text in watcher.notices)

    def test_what_can_never_be_filed_is_an_error_at_the_end_and_the_rest_is_trained(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(Here, "backend", lambda *_: InProcess())
        plan, watcher = toy_plan(epochs=1), Watcher()
        trained = {run.key for run in plan.runs}
        with Store(tmp_path / "store.sqlite") as store:
            with closing(sqlite3.connect(store.path)) as database:
                database.execute("CREATE TRIGGER full BEFORE INSERT ON runs BEGIN SELECT RAISE(ABORT, 'full'); END")
            with pytest.raises(StoreError, match="the store cannot be written: full"):
                run_all(plan.runs, toy_dataset(), store, watcher, workers=1)
            assert {run.key for run, progress in watcher.progressed if progress.epoch == 1} == trained
            with closing(sqlite3.connect(store.path)) as database:
                database.execute("DROP TRIGGER full")
            assert store.planned(trained).keys() == trained
            assert store.claimed(trained) == {}


def test_all_runs_whose_weights_are_lost_are_trained_again_in_one_go(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(Here, "backend", lambda *_: InProcess())
    plan, watcher = toy_plan(epochs=1), Watcher()
    with Store(tmp_path / "store.sqlite") as store:
        run_all(plan.runs, toy_dataset(), store, Watcher(), workers=1)
        bits = {path.name for path in weights_files(store)}
        for path in weights_files(store):
            path.unlink()
        summary = run_all(plan.runs, toy_dataset(), store, watcher, workers=1)
        assert (summary.trained, summary.reused) == (10, 0)
        assert {path.name for path in weights_files(store)} == bits
        assert len(check_whole(store)) == 10
    assert any(text.startswith("10 runs are damaged in the store and trained again") for text in watcher.notices)


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
