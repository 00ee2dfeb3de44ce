"""Mapped data: memory stays flat in every process, the bits are those of data in memory, and changes are noticed."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import threading
from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import numpy as np
import pytest
import torch

from droplab.data.folder import load_folder
from droplab.data.mapped import MappedArray, row_chunks
from droplab.errors import DataError
from droplab.study.backends import LocalProcesses
from droplab.study.runner import run_all
from droplab.study.store import Store
from droplab.train.examples import Examples
from study_help import LONG, Watcher, bits, direct_bits, one_by_one, python, toy_plan
from toy import toy_dataset, toy_examples

MIB = 1 << 20


def toy_folder(folder: Path) -> Path:
    folder.mkdir()
    toy = toy_dataset()
    for key in ("train_x", "train_y", "test_x", "test_y"):
        np.save(folder / f"{key}.npy", getattr(toy, key))
    return folder


def large_folder(folder: Path, dtype: str = "u1") -> Path:
    """A training table of 400 MiB of zeros that take no room on disk."""
    folder.mkdir()
    rows = 400 * MIB // 1024 // np.dtype(dtype).itemsize
    np.lib.format.open_memmap(folder / "train_x.npy", "w+", dtype, (rows, 1024))
    np.save(folder / "train_y.npy", np.arange(rows, dtype=np.uint8) % 2)
    np.save(folder / "test_x.npy", np.zeros((64, 1024), dtype))
    np.save(folder / "test_y.npy", np.arange(64, dtype=np.uint8) % 2)
    return folder


def mapped_examples(folder: Path) -> Examples:
    return Examples.of(load_folder(folder), 1 / 6, 1)


def test_a_mapped_part_gives_the_batches_of_one_in_memory(tmp_path: Path) -> None:
    there, here = mapped_examples(toy_folder(tmp_path / "toy")), toy_examples()
    picked = torch.tensor([[3, 1, 2], [0, 0, 79]])
    for split in ("train", "valid", "test"):
        for mine, expected in zip(there.part(split).batch(picked), here.part(split).batch(picked), strict=True):
            assert mine.dtype == expected.dtype
            assert torch.equal(mine, expected)
        (start, features, labels), *_ = there.part(split).chunks()
        part = here.part(split)
        assert (start, features.dtype) == (0, torch.uint8)
        assert torch.equal(features[0], part.features[part.rows])
        assert torch.equal(labels[0], part.labels[part.rows])


def test_a_mapped_part_travels_as_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    toy_folder(Path("toy"))
    there = mapped_examples(Path("toy"))
    monkeypatch.chdir("/")
    sent = bytes(ForkingPickler.dumps(there.share()))
    assert len(sent) < 4000
    assert not there.train.features.is_shared()  # sent as shared memory, it would have been copied there
    again = pickle.loads(sent)  # noqa: S301 - by this test
    assert again.train.files == there.train.files
    assert torch.equal(again.train.features, there.train.features)
    assert torch.equal(again.valid.rows, there.valid.rows)
    assert again.valid.features is again.train.features
    assert torch.equal(again.test.batch(again.test.rows[None])[0], there.test.batch(there.test.rows[None])[0])
    assert again.train.first(3).files == there.train.files


def test_a_mapped_part_on_another_device_is_mapped_no_more(tmp_path: Path) -> None:
    there = mapped_examples(toy_folder(tmp_path / "toy"))
    moved = there.to(torch.device("meta"))
    assert moved.valid.features is moved.train.features
    assert (moved.train.files, moved.valid.files, moved.test.files) == ({}, {}, {})
    assert moved.valid.rows.shape == there.valid.rows.shape


def test_nothing_derived_from_a_mapped_array_is_taken_for_its_file(tmp_path: Path) -> None:
    whole = load_folder(toy_folder(tmp_path / "toy")).train_x
    assert isinstance(whole, MappedArray)
    assert whole.file is not None
    for derived in (whole[1:], whole.T, whole.reshape(-1), whole.view(np.int8), whole + 1, whole.copy()):
        assert getattr(derived, "file", None) is None


def test_chunks_are_all_rows_in_order() -> None:
    array = np.arange(3 * 20 * MIB, dtype=np.uint8).reshape(-1, 1 * MIB)
    chunks = list(row_chunks(array))
    assert [start for start, _ in chunks] == [0, 16, 32, 48]
    np.testing.assert_array_equal(np.concatenate([rows for _, rows in chunks]), array)
    assert [start for start, _ in row_chunks(array.reshape(3, -1))] == [0, 1, 2]


LIMITED = """
import resource, sys
from pathlib import Path
import torch
from droplab.data.contents import inspect
from droplab.data.folder import load_folder
from droplab.train.examples import Examples
from toy import toy_examples

def memory(*names):
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text("utf-8").splitlines())
    return sum(int(lines[name].split()[0]) for name in names) / 1024

torch.set_num_threads(1)
toy_examples()  # imports all that is needed
before = memory("RssAnon", "RssShmem")
resource.setrlimit(resource.RLIMIT_DATA, (int((memory("VmData") + 100) * 2**20), resource.RLIM_INFINITY))
dataset = load_folder(Path(sys.argv[1]))
examples = Examples.of(dataset, 1 / 6, 1).share()
if sys.argv[2] == "gathers":
    touched = memory("RssFile")
    examples.train.batch(torch.randint(len(examples.train), (1, 20)))
    assert memory("RssFile") - touched < 40, memory("RssFile") - touched
    for _ in range(50):
        examples.train.batch(torch.randint(len(examples.train), (1, 256)))
else:
    dataset.fingerprint
    inspect(Path(sys.argv[1]))
assert memory("RssAnon", "RssShmem") - before < 60, memory("RssAnon", "RssShmem") - before
"""
"""Memory that no file backs may grow by at most 100 MiB at any moment: the system refuses more."""


@pytest.mark.parametrize(("dtype", "what"), [("u1", "gathers"), ("u1", "reads all"), ("f4", "reads all")])
def test_loading_checking_and_gathering_takes_no_memory_of_its_own(tmp_path: Path, dtype: str, what: str) -> None:
    with python("-c", LIMITED, large_folder(tmp_path / "large", dtype), what) as process:
        assert (process.communicate(timeout=100)[1], process.returncode) == ("", 0)


def own_memory(pid: int) -> float:
    """MiB of a process that no file backs; 0 for one that is gone."""
    try:
        text = Path(f"/proc/{pid}/status").read_text("utf-8")
        lines = dict(line.split(":", 1) for line in text.splitlines())
        return sum(int(lines[name].split()[0]) for name in ("RssAnon", "RssShmem")) / 1024
    except (OSError, KeyError):
        return 0


def peak_of_worker(examples: Examples) -> float:
    """The most memory of its own that a worker has while it trains a small network on `examples`, in MiB."""
    peak, done = 0.0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.005):
            peak = max([peak, *(own_memory(child.pid) for child in multiprocessing.active_children())])

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        runs = toy_plan(depths=[1], epochs=1, dropout=[], seeds=1, batch_size=1024).runs
        list(LocalProcesses(1).execute([runs], examples, lambda *_: None, print, lambda: False))
    finally:
        done.set()
        thread.join()
    return peak


def test_a_worker_trains_on_the_file_itself(tmp_path: Path) -> None:
    usual = peak_of_worker(toy_examples())
    assert usual > 10
    assert peak_of_worker(mapped_examples(large_folder(tmp_path / "large"))) < usual + 100


def test_workers_give_the_bits_of_data_in_memory(tmp_path: Path) -> None:
    runs = toy_plan(depths=[2]).runs
    examples = mapped_examples(toy_folder(tmp_path / "toy"))
    results = LocalProcesses(2).execute([(run,) for run in runs], examples, lambda *_: None, print, lambda: False)
    assert {run.key: bits(result) for run, result in one_by_one(results)} == direct_bits(runs)


def grow(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"x")


def touch(path: Path) -> None:
    os.utime(path, ns=(0, 0))


CHANGES = [
    pytest.param(grow, "must stay as it is .* bytes then", id="grown"),
    pytest.param(lambda path: os.truncate(path, 200), "must stay as it is .* 200 now", id="truncated"),
    pytest.param(touch, "must stay as it is", id="written in place"),
    pytest.param(Path.unlink, "must stay where it is .*No such file", id="taken away"),
]


@pytest.mark.parametrize(("change", "says"), CHANGES)
@pytest.mark.parametrize("file", ["train_x.npy", "test_x.npy"])
def test_a_file_that_is_changed_is_noticed(tmp_path: Path, file: str, change, says: str) -> None:
    examples = mapped_examples(toy_folder(tmp_path / "toy"))
    examples.check_files()
    sent = bytes(ForkingPickler.dumps(examples))
    change(tmp_path / "toy" / file)
    with pytest.raises(DataError, match=rf"{file}: {says}"):
        examples.check_files()
    with pytest.raises(DataError, match=rf"{file}: (must stay as it is|no such file)"):
        pickle.loads(sent)  # noqa: S301 - by this test


def test_a_file_that_shrinks_under_a_worker_is_one_error(tmp_path: Path) -> None:
    examples = mapped_examples(toy_folder(tmp_path / "toy"))
    watcher = Watcher(lambda *_: os.truncate(tmp_path / "toy" / "train_x.npy", 0))
    packs = [(run,) for run in toy_plan(epochs=LONG, seeds=1).runs]
    with pytest.raises(DataError, match=r"train_x\.npy: must stay as it is"):
        list(LocalProcesses(1).execute(packs, examples, watcher.progress, watcher.notice, lambda: False))
    assert len(watcher.notices) == 1
    assert multiprocessing.active_children() == []


def test_nothing_is_filed_that_may_not_belong_to_the_fingerprint(tmp_path: Path) -> None:
    dataset = load_folder(toy_folder(tmp_path / "toy"))
    watcher = Watcher(lambda *_: touch(tmp_path / "toy" / "train_x.npy"))
    with Store(tmp_path / "store.sqlite") as store:
        with pytest.raises(DataError, match=r"train_x\.npy: must stay as it is"):
            run_all(toy_plan(depths=[1], seeds=1).runs, dataset, store, watcher, 1)
        assert store.summaries() == []


def no_room(*_: object) -> None:
    raise RuntimeError("unable to allocate shared memory(shm) for file </torch_1_2_3>: No space left on device (28)")


def test_data_without_room_in_shared_memory_go_through_a_file_that_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DROPLAB_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(torch.Tensor, "share_memory_", no_room)
    runs, said = toy_plan(depths=[2]).runs, []
    results = LocalProcesses(2).execute(
        [(run,) for run in runs], toy_examples(), lambda *_: None, said.append, lambda: False
    )
    assert {run.key: bits(result) for run, result in one_by_one(results)} == direct_bits(runs)
    assert said == ["the shared memory (/dev/shm) has no room for the data; workers read them from a mapped file"]
    assert list(tmp_path.iterdir()) == []


def test_spilled_examples_are_the_same_in_another_process(monkeypatch: pytest.MonkeyPatch) -> None:
    here = toy_examples()
    with monkeypatch.context() as patch:
        patch.setattr(torch.Tensor, "share_memory_", no_room)
        shared = here.share()
    sent = bytes(ForkingPickler.dumps(shared))
    assert len(sent) < 6000
    there = pickle.loads(sent)  # noqa: S301 - by this test
    for split in ("train", "valid", "test"):
        for name in ("features", "labels", "rows"):
            assert torch.equal(getattr(there.part(split), name), getattr(here.part(split), name))
    assert there.valid.features is there.train.features
    fewer = there.fewer(20, 0)
    assert torch.equal(fewer.train.rows, here.fewer(20, 0).train.rows)
    assert "rows" not in fewer.train.files
