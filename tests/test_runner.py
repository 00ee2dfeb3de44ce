"""The runner: nothing finished is trained twice, nothing finished is lost, and a resumed study has the same bits."""

import multiprocessing
import os
import random
import signal
import time
from pathlib import Path

import pytest

from droplab.data.dataset import Dataset
from droplab.errors import StoreError, TrainingError
from droplab.study import forecast, packs
from droplab.study.backends import Here, InProcess
from droplab.study.plan import Run
from droplab.study.runner import run_all
from droplab.study.store import Store
from droplab.train import checkpoint
from droplab.train.outcome import Trained, Way
from droplab.train.state import Progress
from study_help import WITHOUT_REPORT, Watcher, python, run_toy, stored_bits, toy_plan, toy_spec, wait_until
from toy import toy_dataset


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Train here: no worker process has to be started."""
    monkeypatch.setattr(Here, "backend", lambda *_: InProcess())


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store.sqlite"


def finished(store: Path) -> int:
    if not store.exists():
        return 0
    with Store(store) as opened:
        return len(opened.summaries())


def keys(values: dict[str, object]) -> set[str]:
    return {run.key for run in toy_plan(**values).runs}


@pytest.mark.usefixtures("in_process")
def test_finished_runs_are_never_trained_again(store: Path) -> None:
    first, again = Watcher(), Watcher()
    summary = run_toy(store, first)
    assert (summary.reused, summary.trained, len(first.todo), finished(store)) == (0, 10, 10, 10)
    before = stored_bits(store)
    summary = run_toy(store, again)
    assert (summary.reused, summary.trained, again.todo, again.progressed) == (10, 0, [], [])
    assert stored_bits(store) == before


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize("more", [{"seeds": 3}, {"seeds": [1, 7]}, {"depths": [1, 2, 3, 4]}, {"dropout": [0.2, 0.5]}])
def test_a_grown_study_trains_only_what_is_new(store: Path, more: dict[str, object]) -> None:
    run_toy(store)
    watcher = Watcher()
    summary = run_toy(store, watcher, **more)
    assert {run.key for run in watcher.todo} == keys(more) - keys({})
    assert (summary.trained, summary.reused) == (len(keys(more) - keys({})), len(keys(more) & keys({})))


@pytest.mark.usefixtures("in_process")
def test_a_study_of_other_settings_shares_nothing(store: Path) -> None:
    run_toy(store)
    assert run_toy(store, epochs=2).reused == 0


@pytest.mark.usefixtures("in_process")
def test_a_batch_larger_than_the_data_is_clipped_and_it_is_said(store: Path) -> None:
    watcher = Watcher()
    summary = run_toy(store, watcher, batch_size=10**9, depths=[2])
    assert watcher.notices == summary.notices
    assert watcher.notices[0] == "batch_size=1000000000 is clipped to the 400 training examples there are"
    assert summary.trained == 4


@pytest.mark.usefixtures("in_process")
def test_two_empty_stores_come_to_identical_numbers_and_another_seed_to_others(tmp_path: Path) -> None:
    run_toy(tmp_path / "a.sqlite")
    run_toy(tmp_path / "b.sqlite")
    run_toy(tmp_path / "c.sqlite", seeds=[2, 3])
    a, b, c = (stored_bits(tmp_path / f"{name}.sqlite") for name in "abc")
    assert a == b
    assert len(a) == len(c) == 10
    assert not set(a.values()) & set(c.values())


@pytest.mark.usefixtures("in_process")
def test_a_run_that_diverges_is_told_and_not_filed_and_the_others_are(store: Path) -> None:
    watcher = Watcher()
    sound, wreck = toy_plan(depths=[2], seeds=1).runs, toy_plan(depths=[3], seeds=1, learning_rate=1e30).runs
    with Store(store) as opened:
        summary = run_all([*wreck, *sound], toy_dataset(), opened, watcher)
        assert opened.finished(run.key for run in (*wreck, *sound)) == {run.key for run in sound}
    assert (summary.trained, len(summary.failures), summary.interrupted) == (2, 2, False)
    assert sum(isinstance(result, TrainingError) for _, result in watcher.results) == 2


@pytest.mark.usefixtures("in_process")
def test_a_store_that_fails_in_mid_study_keeps_what_was_filed(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved: list[tuple[Run, Trained]] = []

    def fill_up(self: Store, results: list[tuple[Run, Trained]], dataset: Dataset, patience: float) -> None:
        if len(saved) == 3:
            raise StoreError("no space left")
        saved.extend(results)
        save_pack(self, results, dataset)

    save_pack = Store.save_pack
    monkeypatch.setattr(Store, "save_pack", fill_up)
    with pytest.raises(StoreError, match="no space"):
        run_toy(store)
    monkeypatch.undo()
    assert finished(store) == 3


STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize("number", STOPPING)
def test_a_signal_keeps_what_is_finished_and_gives_the_old_handler_back(store: Path, number: signal.Signals) -> None:
    before = [signal.getsignal(each) for each in STOPPING]
    watcher = Watcher()
    watcher.at_progress = lambda *_: len(watcher.results) == 4 and os.kill(os.getpid(), number)
    summary = run_toy(store, watcher)
    assert (summary.interrupted, summary.signal, summary.trained, finished(store)) == (True, number, 4, 4)
    assert [signal.getsignal(each) for each in STOPPING] == before
    summary = run_toy(store)
    assert (summary.interrupted, summary.reused, summary.trained) == (False, 4, 6)


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize("number", STOPPING)
def test_a_second_one_is_the_usual_interrupt(store: Path, number: signal.Signals) -> None:
    watcher = Watcher()

    def twice(*_: object) -> None:
        if len(watcher.results) == 4:
            os.kill(os.getpid(), number)
            os.kill(os.getpid(), number)

    before = [signal.getsignal(each) for each in STOPPING]
    watcher.at_progress = twice
    with pytest.raises(KeyboardInterrupt):
        run_toy(store, watcher)
    assert [signal.getsignal(each) for each in STOPPING] == before
    assert finished(store) == 4


@pytest.mark.usefixtures("in_process")
def test_ctrl_c_at_the_very_end_is_no_interruption(store: Path) -> None:
    watcher = Watcher()
    watcher.finished = lambda *_: finished(store) == 10 and os.kill(os.getpid(), signal.SIGINT)
    assert not run_toy(store, watcher).interrupted


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize("number", STOPPING)
def test_a_study_that_is_to_ignore_a_signal_does(store: Path, number: signal.Signals) -> None:
    """As `nohup` has it."""
    before = signal.signal(number, signal.SIG_IGN)
    try:
        summary = run_toy(store, Watcher(lambda *_: os.kill(os.getpid(), number)), depths=[2])
    finally:
        signal.signal(number, before)
    assert (summary.interrupted, summary.trained) == (False, 4)


HERE = "from droplab.study import backends; backends.Here.backend = lambda *_: backends.InProcess()\n"
WORKERS = "from droplab.study import forecast; forecast.WORKER_SECONDS = 0.0\n"
RUN = "import sys; from pathlib import Path; from study_help import run_toy\nrun_toy(Path(sys.argv[1]), epochs=60)"


@pytest.mark.usefixtures("in_process")
def test_a_study_killed_again_and_again_ends_with_the_bits_it_would_have_had(tmp_path: Path, store: Path) -> None:
    run_toy(tmp_path / "uninterrupted.sqlite", epochs=60)
    for backend in (HERE, WORKERS):
        had = finished(store)
        with python("-c", backend + RUN, store) as study:
            wait_until(lambda had=had: finished(store) > had, what="a finished run")
            time.sleep(random.uniform(0, 0.2))
            study.kill()
        assert finished(store) > had
    assert finished(store) < 10, "the study was over before it could be killed"
    kept = stored_bits(store)
    summary = run_toy(store, epochs=60)
    assert summary.reused == len(kept)
    assert stored_bits(store) == stored_bits(tmp_path / "uninterrupted.sqlite")


@pytest.mark.usefixtures("in_process")
def test_a_stacked_study_killed_in_mid_pack_keeps_its_packs_and_ends_with_the_same_bits(
    tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also though it is gone on with by another number of workers, which would be packed otherwise."""
    run_toy(tmp_path / "uninterrupted.sqlite", workers=2, stacked=True, epochs=20)
    monkeypatch.setattr(checkpoint, "EVERY_SECONDS", 0.0)
    monkeypatch.setattr(checkpoint, "MOST_SHARE", 1e9)
    watcher = Watcher()

    def die(_: Run, progress: Progress) -> None:
        if watcher.results and progress.epoch > 10:
            raise SystemError("killed")

    watcher.at_progress = die
    with pytest.raises(SystemError):
        run_toy(store, watcher, workers=2, stacked=True, epochs=20)
    with Store(store) as opened:
        assert len(list(opened.files.checkpoints.glob("*.safetensors"))) == 1
    again = Watcher()
    run_toy(store, again, workers=1, stacked=True, epochs=20)
    first = {run.key: progress.epoch for run, progress in reversed(again.progressed)}
    assert 11 in first.values()
    assert stored_bits(store) == stored_bits(tmp_path / "uninterrupted.sqlite")
    with Store(store) as opened:
        assert list(opened.files.checkpoints.glob("*.safetensors")) == []


@pytest.mark.usefixtures("in_process")
def test_the_way_of_a_plan_is_obeyed_though_now_another_would_be_chosen(store: Path) -> None:
    """Planned stacked, gone on with while stacking is off: the pack is trained as it was planned."""
    watcher = Watcher(lambda *_: (_ for _ in ()).throw(SystemError("killed")))
    with pytest.raises(SystemError):
        run_toy(store, watcher, workers=1, stacked=True, depths=[2])
    run_toy(store, workers=1, stacked=False, depths=[2])
    with Store(store) as opened:
        ways = {record.way for record in opened.load([s.key for s in opened.summaries()]).values()}
    assert ways == {Way("cpu", "fp32", compiled=False, stacked=True)}


@pytest.mark.usefixtures("in_process")
def test_threads_of_a_plan_are_kept_though_the_machine_is_busy_now(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their bits are those that the study would have had."""
    monkeypatch.setattr(packs, "THREADED_SECONDS", 0)
    for name in ("study.limits.cores", "study.limits.idle_cores"):
        monkeypatch.setattr(f"droplab.{name}", lambda: 2)
    monkeypatch.setattr("torch.get_num_threads", lambda: 2)
    one_network = {"depths": [3], "dropout": [], "seeds": 1}
    watcher = Watcher(lambda *_: (_ for _ in ()).throw(SystemError("killed")))
    with pytest.raises(SystemError):
        run_toy(store, watcher, **one_network)
    monkeypatch.setattr("droplab.study.limits.idle_cores", lambda: 1)
    run_toy(store, **one_network)
    with Store(store) as opened:
        (record,) = opened.load([summary.key for summary in opened.summaries()]).values()
    assert record.way == Way("cpu", "fp32", threads=2)
    assert record.way.words == "fp32, uncompiled, separate, 2 threads"


@pytest.mark.usefixtures("in_process")
def test_two_studies_at_once_share_one_store(tmp_path: Path, store: Path) -> None:
    with python("-c", HERE + RUN, store) as one, python("-c", HERE + RUN, store) as other:
        assert [study.communicate(timeout=100) for study in (one, other)] == [("", ""), ("", "")]
        assert (one.returncode, other.returncode) == (0, 0)
    run_toy(tmp_path / "alone.sqlite", epochs=60)
    assert stored_bits(store) == stored_bits(tmp_path / "alone.sqlite")


@pytest.mark.parametrize("number", STOPPING)
def test_a_signal_to_the_command_line_keeps_what_is_done_and_says_how_to_go_on(
    tmp_path: Path, store: Path, number: signal.Signals
) -> None:
    """Sent to all of its processes, as a terminal does."""
    arguments = ["study", toy_spec(tmp_path), "--store", store, "--out", tmp_path / "out"]
    arguments += ["--epochs", 300, "--seeds", 100]
    with python("-c", WORKERS + WITHOUT_REPORT, *arguments, "--workers", 1) as study:
        wait_until(lambda: study.stdout.readline().startswith("trained "))
        os.killpg(study.pid, number)
        out, errors = study.communicate(timeout=30)
    assert (study.returncode, errors) == (128 + number, "")
    assert 0 < finished(store) < 300
    assert f"stopped: {finished(store)} of 300 networks are kept; the same command goes on from there" in out


def test_work_that_takes_less_than_a_worker_to_start_is_done_in_this_process(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a small study would wait for workers for most of its time."""

    def refuse(_: object) -> None:
        raise AssertionError("a process is started")

    monkeypatch.setattr("multiprocessing.process.BaseProcess.start", refuse)
    watcher = Watcher()
    assert run_toy(store, watcher, workers=2, depths=[2]).trained == 4
    assert (watcher.forecast.workers, watcher.notices) == (0, [])
    assert "in this process" in watcher.forecast.words


def test_a_varied_split_trains_what_a_study_on_that_split_does(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By one worker, which gets the examples of each split in turn."""
    start, started = multiprocessing.process.BaseProcess.start, []
    monkeypatch.setattr("multiprocessing.process.BaseProcess.start", lambda process: started.append(start(process)))
    monkeypatch.setattr(forecast, "WORKER_SECONDS", 0.0)
    varied = {"depths": [2], "seeds": 1, "vary": {"split_seed": [1, 2], "valid_fraction": [0.2, 0.3]}}
    summary = run_toy(store, workers=1, **varied)
    assert (summary.trained, summary.failures, len(started)) == (8, [], 1)
    for split_seed, valid_fraction in [(1, 0.2), (2, 0.3)]:
        alone = {"depths": [2], "seeds": 1, "split_seed": split_seed, "valid_fraction": valid_fraction}
        assert run_toy(store, **alone).reused == 2, "they have the same keys"
        apart = store.with_name(f"{split_seed}.sqlite")
        run_toy(apart, workers=1, **alone)
        keys = [run.key for run in toy_plan(**alone).runs]
        with Store(store) as one, Store(apart) as other:
            ours, theirs = one.load(keys), other.load(keys)
        for key in keys:
            assert ours[key].weights_hash == theirs[key].weights_hash
