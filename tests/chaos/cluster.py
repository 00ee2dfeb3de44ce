"""Studies on a simulated Ray cluster, and on a PostgreSQL that restarts; several at once on one store."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from random import Random

from chaos.studies import Process, Study, whole
from postgres import Postgres
from ray_cluster import RayCluster, kill

NODES = 3


def clustered(
    folder: Path,
    cache: Path,
    random: Random,
    *,
    kind: str = "clustered",
    nodes: int = 0,
    workers: int = 0,
    drivers: int = 0,
    restarts: int | None = None,
) -> list[str]:
    """A study on three nodes, while so many nodes, workers and drivers are killed at random moments.

    Args:
        folder: for its store and what it writes.
        cache: where compiled programs are.
        random: of the moments.
        kind: of the study.
        nodes: to be killed; for each another begins.
        workers: to be killed.
        drivers: to be killed; the same command is typed again.
        restarts: of the server whose database is the store, every other one a crash; `None` for a store in a file.
    """
    study = Study(kind, folder, cache)
    with RayCluster(NODES) as cluster, _server(study, restarts) as server:
        study.more = ["--backend", "ray", "--address", cluster.address]
        deeds: list[Callable[[], object]] = [
            *[lambda: _replace_node(cluster, random)] * nodes,
            *[lambda: _kill_worker(cluster, random)] * workers,
            *[
                lambda number=number: server.restart("immediate" if number % 2 else "fast")
                for number in range(restarts or 0)
            ],
        ]
        random.shuffle(deeds)
        stops = [list(deeds[part :: drivers + 1]) for part in range(drivers + 1)]
        found: list[str] = []
        for number, part in enumerate(stops):
            process = study.start()
            if not process.wait_until(cluster.training):
                found.append(f"it ended before it could be disturbed: {process.end().text[-300:]!r}")
            if spared := _disturb(process, part, random):
                found.append(f"it ended before it was disturbed {spared} times more")
            if number < drivers:
                process.popen.kill()
                process.popen.wait()
                found += _over(cluster, 20)
            else:
                found += process.end(900).faults(0)
        found += study.differs()
        tables = [out / "results.csv" for out in (study.out, whole(kind, cache) / "out")]
        same = all(table.exists() for table in tables) and tables[0].read_bytes() == tables[1].read_bytes()
        return found if same else [*found, "results.csv is another"]


def several(folder: Path, cache: Path, random: Random, studies: int = 6) -> list[str]:
    """So many studies at once on one database, each of which shares half of its networks with the next."""
    with Postgres() as server:
        url = server.new_database()
        each = [Study(f"shared {number}", folder / str(number), cache) for number in range(studies)]
        for study in each:
            study.store, study.filed, study.more = url, folder / "filed.txt", ["--workers", 1]
        processes = []
        for study in each:
            processes.append(study.start())
            time.sleep(random.uniform(0, 1))
        found = [fault for process in processes for fault in process.end(900).faults(0)]
        expected = {key: bits for study in each for key, bits in study.expected().items()}
        there = each[0].bits()
        wrong = [key[:12] for key in expected if there.get(key) != expected[key]]
        again = [key[:12] for key, count in Counter(each[0].trainings()).items() if count > 1]
        found += [f"{len(wrong)} of {len(expected)} networks are others or lost"] if wrong else []
        return found + ([f"{len(again)} networks were trained more than once"] if again else [])


@contextmanager
def _server(study: Study, restarts: int | None) -> Iterator[Postgres]:
    """The server whose database is a study's store, where it is to have one."""
    if restarts is None:
        yield None  # type: ignore[misc]
        return
    with Postgres(durable=True) as server:
        study.store = server.new_database()
        yield server


def _disturb(process: Process, deeds: list[Callable[[], object]], random: Random) -> int:
    """Do what is to be done, at random moments, as long as the study goes on; how much was not done."""
    for done, deed in enumerate(deeds):
        time.sleep(random.uniform(0.5, 4))
        if process.popen.poll() is not None:
            return len(deeds) - done
        deed()
    return 0


def _replace_node(cluster: RayCluster, random: Random) -> None:
    cluster.kill_node(random.choice(cluster.nodes))
    cluster.add()


def _kill_worker(cluster: RayCluster, random: Random) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if pids := cluster.training():
            with suppress(ProcessLookupError):
                kill(random.choice(pids))
            return
        time.sleep(0.05)


def _over(cluster: RayCluster, seconds: float) -> list[str]:
    """What is wrong if tasks of a driver that was killed go on so many seconds later."""
    deadline = time.monotonic() + seconds
    while cluster.training() and time.monotonic() < deadline:
        time.sleep(0.2)
    return [f"{len(left)} tasks of a killed driver go on"] if (left := cluster.training()) else []
