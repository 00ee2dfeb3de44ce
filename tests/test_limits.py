"""Limits of the machine: whatever tree of control groups a process lies in, the tightest of them counts."""

import os
import resource
from pathlib import Path

import pytest

from droplab.study import limits, packs
from droplab.study.backends import Here
from droplab.train.outcome import Way
from toy import toy_examples

MIB = 1 << 20
V2 = "30 20 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate"
V1_CPU = r"31 20 0:27 / /sys/fs/cgroup/cpu\040acct rw - cgroup cgroup rw,cpuacct,cpu"
V1_MEMORY = "32 20 0:28 /docker/abc /sys/fs/cgroup/memory rw master:9 - cgroup cgroup rw,memory"


@pytest.fixture(autouse=True)
def _four_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3}, raising=False)


def tree(root: Path, own: str, mounts: list[str], files: dict[str, str]) -> Path:
    """A file system in which this process is in the group `own`; files are named below /sys/fs/cgroup."""
    content = {f"sys/fs/cgroup/{name}": text for name, text in files.items()}
    content |= {
        "proc/self/cgroup": own,
        "proc/self/mountinfo": "\n".join(["22 1 8:1 / / rw - ext4 /dev/sda rw", *mounts]),
    }
    for name, text in ({"proc/meminfo": f"MemTotal: 1 kB\nMemAvailable: {8 << 20} kB\n"} | content).items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    return root


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"a/b/cpu.max": "50000 100000\n"}, 1),
        ({"a/b/cpu.max": "350000 100000\n"}, 3),
        ({"a/b/cpu.max": "max 100000\n"}, 4),
        ({"a/b/cpu.max": "max 100000\n", "a/cpu.max": "200000 100000\n"}, 2),
        ({"cpu.max": "200000 100000\n"}, 2),
        ({"other/cpu.max": "100000 100000\n"}, 4),
        ({"a/b/cpu.max": "900000 100000\n"}, 4),
        ({"a/b/cpu.max": "nonsense"}, 4),
        ({"a/b/cpu.max": ""}, 4),
        ({"a/b/cpu.max": "100000 0"}, 4),
        ({}, 4),
    ],
)
def test_a_quota_of_processor_time_is_that_many_whole_cores(tmp_path: Path, files: dict, cores: int) -> None:
    assert limits.cores(tree(tmp_path, "0::/a/b\n", [V2], files)) == cores


@pytest.mark.parametrize(("quota", "cores"), [("50000", 1), ("210000", 2), ("-1", 4), ("x", 4)])
def test_the_first_version_has_a_tree_for_each_kind_of_limit(tmp_path: Path, quota: str, cores: int) -> None:
    files = {"cpu acct/job/cpu.cfs_quota_us": quota, "cpu acct/job/cpu.cfs_period_us": "100000"}
    own = "4:memory:/docker/abc\n3:cpu,cpuacct:/job/7\n1:name=systemd:/x\n0::/\n"
    hybrid = ["40 20 0:41 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw"]
    assert limits.cores(tree(tmp_path, own, [V1_CPU, V1_MEMORY, *hybrid], files)) == cores


@pytest.mark.parametrize(
    ("files", "mebibytes"),
    [
        ({"a/b/memory.max": 450, "a/b/memory.current": 300}, 150),
        ({"a/b/memory.max": 450, "a/b/memory.current": 300, "a/b/memory.stat": "anon 1\ninactive_file {100}\n"}, 250),
        ({"a/b/memory.max": "max", "a/memory.max": 700, "a/memory.current": 100}, 600),
        ({"a/b/memory.max": 900, "a/b/memory.high": 500, "a/b/memory.current": 100}, 400),
        ({"a/b/memory.max": 450}, 450),
        ({"a/b/memory.max": 450, "a/b/memory.current": 500}, 0),
        ({"a/b/memory.max": "\x00garbage"}, 8192),
        ({}, 8192),
    ],
)
def test_memory_is_what_every_group_around_has_left(tmp_path: Path, files: dict, mebibytes: int) -> None:
    texts = {
        name: str(value * MIB) if isinstance(value, int) else value.replace("{100}", str(100 * MIB))
        for name, value in files.items()
    }
    assert limits.free_memory(tree(tmp_path, "0::/a/b\n", [V2], texts)) == mebibytes * MIB


def test_memory_of_the_first_version_below_the_part_of_the_tree_that_a_container_sees(tmp_path: Path) -> None:
    files = {"memory/memory.limit_in_bytes": f"{600 * MIB}", "memory/memory.usage_in_bytes": f"{100 * MIB}"}
    files["memory/job/memory.limit_in_bytes"] = "9223372036854771712"
    for own in ("4:memory:/docker/abc/job\n", "4:memory:/docker/abc\n", "4:memory:/elsewhere\n", "4:memory:/../x\n"):
        assert limits.free_memory(tree(tmp_path, own, [V1_MEMORY], files)) == 500 * MIB


@pytest.mark.parametrize("missing", ["proc/self/cgroup", "proc/self/mountinfo", "proc/meminfo"])
def test_what_cannot_be_read_limits_nothing(tmp_path: Path, missing: str) -> None:
    root = tree(tmp_path, "0::/\n", [V2], {"cpu.max": "max 100000"})
    (root / missing).unlink()
    assert limits.cores(root) == 4
    assert limits.free_memory(root) > MIB
    (root / missing).write_bytes(b"\xff::\n - \n1 2 - cgroup2\n" * 3)
    assert limits.cores(root) == 4


def test_this_machine_has_some_room() -> None:
    assert limits.cores() >= 1
    assert limits.free_memory() > 0


@pytest.mark.parametrize(("taken", "idle"), [(None, 4), (0.0, 4), (0.05, 4), (0.3, 3), (0.5, 2), (1.0, 1)])
def test_cores_that_others_keep_busy_are_not_idle(
    monkeypatch: pytest.MonkeyPatch, taken: float | None, idle: int
) -> None:
    monkeypatch.setattr(limits, "cores", lambda: 4)
    monkeypatch.setattr(limits, "watch_others", lambda: lambda: taken)
    assert limits.idle_cores() == idle


def test_workers_are_as_many_as_cores_and_memory_allow_unless_a_number_is_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    way = Way("cpu", "fp32")
    for free, workers in ((1e12, 4), (2.5 * limits.WORKER_MEMORY, 2), (0.5 * limits.WORKER_MEMORY, 1)):
        monkeypatch.setattr(limits, "free_memory", lambda *_, free=free: free)
        assert Here().workers(way, None, 100) == workers
    assert Here().workers(way, 3, 100) == 3


def test_packs_are_as_small_as_the_memory_and_the_addresses_of_a_process_want(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two workers have half of the memory each, less what they take by themselves; `ulimit -v` holds for each."""
    monkeypatch.setattr(limits, "free_memory", lambda *_: 4 * limits.WORKER_MEMORY)
    assert packs.free_memory("cpu", toy_examples(), 2) == limits.WORKER_MEMORY
    pages = int(Path("/proc/self/statm").read_text("utf-8").split()[0]) * os.sysconf("SC_PAGE_SIZE")
    monkeypatch.setattr(resource, "getrlimit", lambda _: (pages + 100 * MIB, -1))
    assert packs.free_memory("cpu", toy_examples(), 2) == pytest.approx(100 * MIB, abs=50 * MIB)
