"""The store: whole runs only, whatever is killed and whoever else writes."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from droplab.study.records import Planned
from droplab.study.store import Store
from store_help import FP32, check_whole, make_dataset, make_run, make_trained, pack_name, weights_files

WRITER = """
import sys, time
sys.path.insert(0, {tests!r})
from droplab.study.store import Store
from store_help import *
with Store({path!r}) as store:
    print("ready", flush=True)
    sys.stdin.readline()
    for seed in range({start}, {stop}):
        run = make_run(seed)
        store.save(run, make_dataset(), make_trained(run, marked={marked}))
        print(run.key, flush=True)
"""


def start_writer(path: Path, first: int, stop: int, marked: float = 0.0) -> "subprocess.Popen[str]":
    tests = str(Path(__file__).parent)
    return start(WRITER.format(tests=tests, path=str(path), start=first, stop=stop, marked=marked))


def start(code: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_killed_at_any_moment_a_store_holds_whole_runs_only(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    random = np.random.default_rng(0)
    promised: set[str] = set()
    for attempt in range(6):
        # Every other writer begins with runs that are there, so that some die writing a file again.
        writer = start_writer(path, first := attempt % 2 * attempt * 1000, first + 1000)
        assert writer.stdin is not None
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
        writer.stdin.write("\n")
        writer.stdin.flush()
        time.sleep(random.uniform(0.02, 0.25))
        writer.send_signal(signal.SIGKILL)
        out, err = writer.communicate()
        assert err == ""
        promised |= {line for line in out.split("\n")[:-1] if len(line) == 64}
        with Store(path) as store:
            assert promised <= check_whole(store), "a run that was reported as saved is lost"
    assert promised
    with Store(path) as store:
        store.delete([])
        for part in store.files.weights.rglob("*.safetensors*"):  # an hour later they are cleaned too
            os.utime(part, (0, 0))
        store.delete([])
        assert weights_files(store) == {
            store.files.path("weights", record.weights_hash) for record in store.load(check_whole(store)).values()
        }


PACK = 5
PACK_WRITER = """
import os, signal, sys
sys.path.insert(0, {tests!r})
from sqlalchemy import event
from droplab.data import disk
from droplab.study.store import Store
from store_help import *
def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)
store = Store({path!r})
packs = [plan_pack(store, number, range(number * {pack}, (number + 1) * {pack})) for number in range({packs})]
print("ready", flush=True)
sys.stdin.readline()
{then}
for number, pack in enumerate(packs):
    store.save_pack(pack, make_dataset())
    print(number, flush=True)
"""
AFTER = """
@event.listens_for(store._database.engine, "after_cursor_execute")
def listen(connection, cursor, statement, *_):
    if statement.startswith("{}"):
        die()
"""


def start_pack_writer(path: Path, packs: int, then: str) -> "subprocess.Popen[str]":
    """A process that plans packs, waits for a line, and files one after the other."""
    code = PACK_WRITER.format(tests=str(Path(__file__).parent), path=str(path), pack=PACK, packs=packs, then=then)
    writer = start(code)
    assert writer.stdout is not None
    assert writer.stdin is not None
    assert writer.stdout.readline() == "ready\n"
    writer.stdin.write("\n")
    writer.stdin.flush()
    return writer


def whole_packs(path: Path, packs: int) -> set[int]:
    """Which packs are there; each is, without a plan, or is not and has all its plans."""
    there = set()
    with Store(path) as store:
        finished = check_whole(store)
        for number in range(packs):
            keys = {make_run(seed).key for seed in range(number * PACK, (number + 1) * PACK)}
            if keys & finished:
                there.add(number)
                assert keys <= finished, "a pack is there in part"
                assert store.planned(keys) == {}
            else:
                assert store.planned(keys) == dict.fromkeys(keys, Planned(FP32, pack_name(number)))
    return there


def test_killed_at_any_moment_a_store_holds_whole_packs_or_their_plans(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    in_the_middle = 0
    for attempt in range(4):
        path = tmp_path / f"{attempt}.sqlite"
        writer = start_pack_writer(path, 30, "")
        time.sleep(random.uniform(0.02, 0.3))
        writer.send_signal(signal.SIGKILL)
        out, err = writer.communicate()
        assert err == ""
        promised = {int(line) for line in out.split("\n")[:-1]}
        there = whole_packs(path, 30)
        assert promised <= there, "a pack that was reported as saved is lost"
        in_the_middle += 0 < len(there) < 30
    assert in_the_middle, "no writer was killed in its work"


@pytest.mark.parametrize(
    ("then", "filed"),
    [
        pytest.param("disk.os.fsync = die", set(), id="weights half-written"),
        pytest.param("disk._sync_folder = die", set(), id="weights written"),
        pytest.param(AFTER.format("INSERT INTO runs"), set(), id="half the rows written"),
        pytest.param(AFTER.format("DELETE FROM plans"), set(), id="all written but not committed"),
        pytest.param('event.listen(store._database.engine, "commit", die)', set(), id="about to commit"),
        pytest.param("print = die", {0}, id="committed"),
    ],
)
def test_killed_at_each_step_a_pack_is_there_without_plans_or_its_plans_are(
    tmp_path: Path, then: str, filed: set[int]
) -> None:
    path = tmp_path / "store.sqlite"
    writer = start_pack_writer(path, 2, then)
    assert writer.communicate() == ("", "")
    assert writer.returncode == -signal.SIGKILL
    assert whole_packs(path, 2) == filed
    with Store(path) as store:
        for number in range(2):
            pack = [(run, make_trained(run)) for run in map(make_run, range(number * PACK, (number + 1) * PACK))]
            store.save_pack(pack, make_dataset())
        assert len(check_whole(store)) == 2 * PACK
    assert whole_packs(path, 2) == {0, 1}


def test_two_processes_may_make_and_fill_one_store(tmp_path: Path) -> None:
    """Both save the runs 10 … 19, with other weights; whichever comes first wins, whole."""
    path = tmp_path / "store.sqlite"
    writers = [start_writer(path, 0, 20, marked=1.0), start_writer(path, 10, 30, marked=2.0)]
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("\n")
        writer.stdin.flush()
    outputs = [writer.communicate() for writer in writers]
    assert [(writer.returncode, err) for writer, (_, err) in zip(writers, outputs, strict=True)] == [(0, "")] * 2
    with Store(path) as store:
        keys = check_whole(store)
        assert keys == {make_run(seed).key for seed in range(30)}
        for record in store.load(keys).values():
            bias = store.read_weights(record)[0]["layers.0.bias"][0]
            assert record.outcome.metrics[0].value == 0.1 + 0.2 + bias, "weights of one process, metrics of the other"
        assert len(weights_files(store)) == 30, "the losers' weights are gone"


def test_many_processes_may_make_one_store_at_once(tmp_path: Path) -> None:
    """Each of 25 stores is opened by 4 processes at the same moment."""
    code = (
        "import sys, time\nfrom droplab.study.store import Store\nprint('ready', flush=True)\n"
        "start = float(sys.stdin.readline())\n"
        "for number in range(25):\n"
        "    time.sleep(max(0, start + 0.08 * number - time.time()))\n"
        f"    Store(f'{tmp_path}/{{number}}.sqlite').close()\n"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    openers = [subprocess.Popen([sys.executable, "-W", "error", "-c", code], **pipes) for _ in range(4)]
    assert [opener.stdout.readline() for opener in openers] == ["ready\n"] * 4
    start = time.time() + 0.1
    for opener in openers:
        opener.stdin.write(f"{start}\n")
        opener.stdin.flush()
    assert [(*opener.communicate(), opener.returncode) for opener in openers] == [("", "", 0)] * 4
    for path in tmp_path.glob("*.sqlite"):
        with closing(sqlite3.connect(path)) as database:
            assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
            assert database.execute("SELECT count(*) FROM meta").fetchone() == (3,)
