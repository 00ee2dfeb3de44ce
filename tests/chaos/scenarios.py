"""What is done to studies, and what must hold then. A trial gives back what is wrong: nothing, if all is well."""

import json
import os
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np
from safetensors import numpy as safetensors

from chaos.cluster import clustered, several
from chaos.disks import own_mounts, read_only, resize, small_disk
from chaos.studies import KINDS, Study, locked

OTHER_USER = 64321
"""A user who has no process, so that limits of processes count from nought."""

SHORT = 10
"""Seconds in which a study that is told to stop has to end."""


class NotHereError(Exception):
    """This machine cannot be brought into the state that is meant."""


@dataclass(frozen=True)
class Scenario:
    """One row of the table.

    Attributes:
        name: what is done.
        must: what has to hold.
        trial: does it in an empty folder, with a cache and a source of random numbers; gives what is wrong.
        times: how often.
    """

    name: str
    must: str
    trial: Callable[[Path, Path, Random], list[str]]
    times: int = 1


SCENARIOS: list[Scenario] = []


def scenario(name: str, must: str, times: int = 1) -> Callable[[Callable[..., list[str]]], Callable[..., list[str]]]:
    def add(trial: Callable[..., list[str]]) -> Callable[..., list[str]]:
        SCENARIOS.append(Scenario(name, must, trial, times))
        return trial

    return add


def kill(kind: str, folder: Path, cache: Path, random: Random) -> list[str]:
    """`kill -9` of a study at a random moment; then it goes on."""
    study = Study(kind, folder, cache)
    moment = random.uniform(0, study.seconds)
    process = study.start()
    time.sleep(moment)
    process.popen.kill()
    process.popen.wait()
    return study.finishes() + process.leftovers()


def kills(times: int) -> list[Scenario]:
    """So many kills, over all kinds of study alike."""
    must = "the same command goes on; all networks are those of an undisturbed study, bit for bit; no process is left"
    return [
        Scenario(f"kill -9, {kind}", must, lambda *given, kind=kind: kill(kind, *given), count)
        for place, kind in enumerate(KINDS)
        if (count := len(range(place, times, len(KINDS))))
    ]


@scenario("kill -9 of a worker", "the study itself ends well, with the same networks", 3)
def worker(folder: Path, cache: Path, random: Random) -> list[str]:
    study = Study("stacked", folder, cache)
    process = study.start()
    if not process.wait_until(study.checkpoints):
        return ["it ended before it could be disturbed"]
    workers = [pid for pid in process.family() if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    os.kill(random.choice(workers), signal.SIGKILL)
    return process.end().faults(0) + study.differs()


def stopped(number: signal.Signals, folder: Path, cache: Path) -> list[str]:
    study = Study("stacked", folder, cache)
    process = study.start()
    if not process.wait_until(study.checkpoints):
        return ["it ended before it could be disturbed"]
    kept = study.checkpoints()[-1]
    before = kept.stat().st_mtime_ns if kept.exists() else 0
    os.kill(process.popen.pid, number)
    begun = time.monotonic()
    said = process.end(60)
    took = time.monotonic() - begun
    found = said.faults(128 + number, -number) if said.code != 0 else []  # 0: it was done just then
    if took > SHORT:
        found.append(f"ends after {took:.0f} s")
    if said.code and "goes on" not in said.text:
        found.append(f"does not say how to go on: {said.text[-200:]!r}")
    if said.code and before and kept.exists() and kept.stat().st_mtime_ns == before:
        found.append("no last checkpoint is written")
    return found + process.leftovers() + study.finishes()


for _number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    scenario(
        f"{_number.name} in training",
        f"ends within {SHORT} s, writes a last checkpoint, says how to go on, leaves no process; then the same bits",
        3,
    )(lambda folder, cache, random, number=_number: stopped(number, folder, cache))


def compiling(number: signal.Signals, folder: Path) -> list[str]:
    study = Study("compiled", folder, folder / "cache")
    process = study.start()
    if not process.wait_until(lambda: _compilers(study.cache)):
        return ["it ended before it compiled"]
    time.sleep(2)
    begun = time.monotonic()
    os.kill(process.popen.pid, number)
    said = process.end(120)
    took = time.monotonic() - begun
    found = [f"ends after {took:.0f} s"] if took > SHORT else []
    if number != signal.SIGKILL:
        found += said.faults(128 + number, -number)
    found += process.leftovers(5)
    deadline = time.monotonic() + 5
    while (living := _compilers(study.cache)) and time.monotonic() < deadline:
        time.sleep(0.1)
    return [*found, f"{len(living)} compilers live 5 s later"] if living else found


def _compilers(cache: Path) -> list[str]:
    """The processes that compile for this cache, whatever session they are in."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            ours = str(cache).encode() in (folder / "environ").read_bytes()
            command = (folder / "cmdline").read_bytes() if ours else b""
            if any(part in command for part in (b"train.program", b"g++", b"cc1plus")):
                found.append(folder.name)
        except OSError:
            continue
    return found


for _number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
    scenario(f"{_number.name} while a program is compiled", f"ends within {SHORT} s; no compiler lives 5 s later")(
        lambda folder, cache, random, number=_number: compiling(number, folder)
    )


def with_checkpoint(folder: Path, cache: Path, kind: str = "stacked") -> Study:
    """A study that was killed when it had checkpoints."""
    study = Study(kind, folder, cache)
    process = study.start()
    process.wait_until(study.checkpoints)
    process.popen.kill()
    process.popen.wait()
    process.leftovers()
    return study


@scenario("bits of checkpoints flipped between kill and resume", "a training begins anew; the same bits", 3)
def flipped(folder: Path, cache: Path, random: Random) -> list[str]:
    study = with_checkpoint(folder, cache)
    for path in study.checkpoints():
        content = bytearray(path.read_bytes())
        content[random.randrange(len(content) // 2, len(content))] ^= 1 << random.randrange(8)
        path.write_bytes(content)
    return study.finishes() if study.checkpoints() else ["there was no checkpoint to damage"]


@scenario("positions in checkpoints set far beyond the end", "a training begins anew; the same bits")
def moved(folder: Path, cache: Path, random: Random) -> list[str]:
    study = with_checkpoint(folder, cache)
    for path in study.checkpoints():
        content = path.read_bytes()
        metadata = safetensors_metadata(content)
        tensors = {
            name: np.array([10**6, 0]) if "position" in name else array
            for name, array in safetensors.load(content).items()
        }
        path.write_bytes(safetensors.save(tensors, metadata))
    return study.finishes() if study.checkpoints() else ["there was no checkpoint to damage"]


def safetensors_metadata(content: bytes) -> dict[str, str]:
    length = int.from_bytes(content[:8], "little")
    found: dict[str, str] = json.loads(content[8 : 8 + length])["__metadata__"]
    return found


@scenario("weights deleted between two runs", "one run heals all of them; the same bits")
def deleted(folder: Path, cache: Path, random: Random) -> list[str]:
    study = Study("stacked", folder, cache)
    if found := study.run().faults(0):
        return found
    for path in folder.glob("store*weights*/*/*.safetensors"):
        path.unlink()
    return study.finishes()


@scenario("the same study twice at once", "both end well; each network is trained once", 3)
def twice(folder: Path, cache: Path, random: Random) -> list[str]:
    study = Study("general", folder, cache)
    moment = random.uniform(0, study.seconds / 2)
    first = study.start()
    time.sleep(moment)
    second = study.start()
    found = first.end().faults(0) + second.end().faults(0) + study.differs()
    again = {key[:12]: count for key, count in Counter(study.trainings()).items() if count > 1}
    return [*found, f"{len(again)} networks were trained more than once"] if again else found


@scenario("killed while another does the same study", "the other takes over after a while; each network is there", 2)
def orphaned(folder: Path, cache: Path, random: Random) -> list[str]:
    study = Study("general", folder, cache)
    moment = random.uniform(0, study.seconds / 2)
    first = study.start()
    first.wait_until(study.store.exists)
    second = study.start()
    time.sleep(moment)
    first.popen.kill()
    first.popen.wait()
    return second.end().faults(0) + study.differs() + first.leftovers()


@scenario(
    "the store locked by another program for 75 s", "the study waits or goes on, ends well, and trains nothing twice"
)
def busy(folder: Path, cache: Path, random: Random) -> list[str]:
    study = Study("stacked", folder, cache)
    process = study.start()
    if not process.wait_until(study.checkpoints):
        return ["it ended before it could be disturbed"]
    with locked(study.store):
        time.sleep(75)
    found = process.end().faults(0) + study.differs()
    return [*found, "networks were trained twice"] if max(Counter(study.trainings()).values(), default=1) > 1 else found


@scenario("a read-only store", "`runs list` and `report` show what is there")
def unwritable(folder: Path, cache: Path, random: Random) -> list[str]:
    _needs_mounts()
    study = Study("stacked", folder, cache)
    if found := study.run().faults(0):
        return found
    kept, elsewhere = folder / "kept", folder / "elsewhere"
    kept.mkdir()
    for path in folder.glob("store*"):
        shutil.move(path, kept / path.name)
    study.store = kept / "store.sqlite"
    with read_only(kept):
        listed = study.run("runs", "list")
        reported = study.run("report", folder / "mine.toml", "--out", elsewhere)
    found = listed.faults(0) + reported.faults(0)
    return found if listed.text.count("\n") >= len(study.trainings()) else [*found, "runs are missing in the list"]


def _needs_mounts() -> None:
    if not own_mounts():
        raise NotHereError("needs root and a mount namespace")


@scenario("a disk that is full in mid-study", "one line of error; when there is room, it goes on to the same bits", 3)
def full(folder: Path, cache: Path, random: Random) -> list[str]:
    _needs_mounts()
    with small_disk(folder / "disk", f"{random.choice((60, 150, 300, 600))}k"):
        study = Study("stacked", folder / "disk", cache, notes=folder / "notes")
        found = study.run().faults(0, 1)
        resize(folder / "disk", "200m")
        return found + study.finishes()


@scenario("ulimit -f: no file beyond 40 to 200 kB", "one line of error; without the limit, the same bits", 3)
def short_files(folder: Path, cache: Path, random: Random) -> list[str]:
    study = Study("stacked", folder, cache)
    found = study.start(before=("prlimit", f"--fsize={random.choice((40, 100, 200))}000")).end().faults(0, 1)
    return found + study.finishes()


@scenario("ulimit -v: 4 GB of addresses, with charts", "ends well or with one line of error; the tables are written")
def few_addresses(folder: Path, cache: Path, random: Random) -> list[str]:
    study = Study("stacked", folder, cache)
    found = study.start(before=("prlimit", f"--as={4 << 30}"), charts=True).end().faults(0, 1)
    return found if (study.out / "results.csv").exists() else [*found, "there is no results.csv"]


@scenario("ulimit -n: 64 open files", "ends well or with one line of error; then goes on to the same bits")
def few_files(folder: Path, cache: Path, random: Random) -> list[str]:
    study = Study("stacked", folder, cache)
    return study.start(before=("prlimit", "--nofile=64")).end().faults(0, 1) + study.finishes()


@scenario(
    "ulimit -u: 8 processes and threads", "does not hang: ends well or with one line of error; then the same bits"
)
def few_processes(folder: Path, cache: Path, random: Random) -> list[str]:
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        raise NotHereError("needs root, to be another user")
    study = Study("stacked", folder, cache)
    study.filed.touch()
    for path in (folder, *folder.rglob("*")):
        os.chown(path, OTHER_USER, OTHER_USER)
    # The other user may read what root alone may, where Python lies there; the limit holds for it none the less.
    reading = ("--inh-caps=+dac_override,+dac_read_search", "--ambient-caps=+dac_override,+dac_read_search")
    user = (f"--reuid={OTHER_USER}", f"--regid={OTHER_USER}", "--clear-groups", *reading)
    as_other = ("setpriv", *user, "prlimit", "--nproc=8")
    found = study.start(before=as_other).end(180).faults(0, 1)
    return found + study.finishes()


@scenario("/dev/shm of 64 MB, a table of 108 MB", "ends well, and says what it does instead")
def small_memory(folder: Path, cache: Path, random: Random) -> list[str]:
    _needs_mounts()
    if folder.is_relative_to("/dev/shm"):
        raise NotHereError("the folder of the trials is in /dev/shm")
    study = Study("mapped", folder, cache)
    features = np.random.default_rng(0).normal(size=(27_000, 1000)).astype(np.float32)
    labels = np.arange(27_000) % 4
    np.savez(folder / "large.npz", train_x=features, train_y=labels, test_x=features[:99], test_y=labels[:99])
    text = f'data = "{folder / "large.npz"}"\nwidths = [4]\ndropout = [0.5]\nepochs = 1\nseeds = 2\nbatch_size = 4096\n'
    (folder / "mine.toml").write_text(text + "learning_rate = 0.1\n", "utf-8")
    script = 'mount -t tmpfs -o size=64m none /dev/shm && exec "$@"'
    said = study.start(before=("unshare", "-m", "sh", "-c", script, "sh")).end()
    return said.faults(0) + ([] if "/dev/shm" in said.text else ["says nothing of /dev/shm"])


@scenario("two studies at once on one store", "both end well; all networks are there", 2)
def different(folder: Path, cache: Path, random: Random) -> list[str]:
    studies = [Study("stacked", folder, cache), Study("refit", folder / "other", cache)]
    studies[1].store = studies[0].store
    processes = [study.start() for study in studies]
    found = [fault for process in processes for fault in process.end().faults(0)]
    said = studies[0].bits()
    for study in studies:
        wrong = [key for key, bits in study.expected().items() if said.get(key) != bits]
        found += [f"{len(wrong)} networks of {study.kind} are others"] if wrong else []
    return found


@scenario(
    "10 nodes, 10 workers and the driver twice killed, of 60 networks on a Ray cluster of 3 nodes",
    "results.csv and weights are those of one machine, bit for bit; a killed driver's tasks end",
)
def cluster(folder: Path, cache: Path, random: Random) -> list[str]:
    return clustered(folder, cache, random, nodes=10, workers=10, drivers=2)


@scenario("the same on PostgreSQL, whose server restarts three times", "the same")
def cluster_on_server(folder: Path, cache: Path, random: Random) -> list[str]:
    return clustered(folder, cache, random, nodes=10, workers=10, drivers=2, restarts=3)


@scenario(
    "six studies at once on one PostgreSQL, each sharing half of its networks with the next",
    "every network is trained once, none is lost",
)
def at_once_on_server(folder: Path, cache: Path, random: Random) -> list[str]:
    return several(folder, cache, random)
