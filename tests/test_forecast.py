"""What is foretold of a study: what is there, what is to do, and what it takes."""

from pathlib import Path

from droplab.study.forecast import WORKER_BYTES, WORKER_SECONDS
from droplab.study.runner import foretell
from droplab.study.store import Store
from study_help import Watcher, run_toy, toy_dataset, toy_plan


def test_a_forecast_counts_what_the_store_has(tmp_path: Path) -> None:
    plan = toy_plan(depths=[2, 3], seeds=2)
    before = foretell(plan.runs, toy_dataset(), None, workers=1)
    assert (before.runs, before.stored) == (8, 0)
    assert before.packs > 0
    assert before.seconds > 0
    watcher = Watcher()
    run_toy(tmp_path / "s.sqlite", watcher, workers=1, depths=[2], seeds=2)
    assert (watcher.forecast.runs, watcher.forecast.stored) == (4, 0)
    with Store(tmp_path / "s.sqlite") as store:
        after = foretell(plan.runs, toy_dataset(), store, workers=1)
        assert after.stored == 4
        assert after.seconds < before.seconds
        assert not store.planned([run.key for run in plan.runs]), "foretelling keeps nothing"
        assert foretell(toy_plan(depths=[2], seeds=2).runs, toy_dataset(), store).words == (
            "plan: 4 networks, all in the store"
        )


def test_only_work_that_takes_longer_than_a_worker_to_start_is_given_to_workers() -> None:
    small, large = (
        foretell(toy_plan(depths=[3], seeds=8, epochs=epochs).runs, toy_dataset(), None, workers=2)
        for epochs in (3, 40_000)
    )
    assert (small.workers, large.workers) == (0, 2)
    assert small.seconds < WORKER_SECONDS < large.seconds
    assert large.memory > small.memory + 2 * WORKER_BYTES


def test_masks_that_are_averaged_over_take_time() -> None:
    few, many = (
        foretell(toy_plan(depths=[3], mc_samples=masks).runs, toy_dataset(), None, workers=1)
        for masks in (1, 10_000_000)
    )
    assert many.seconds > 2 * few.seconds


def test_the_pieces_of_maxout_units_count() -> None:
    relu, maxout = (
        foretell(toy_plan(depths=[3], first_width=256, activation="maxout", pieces=pieces).runs, toy_dataset(), None)
        for pieces in (2, 20)
    )
    assert maxout.disk > 5 * relu.disk
    assert maxout.memory > relu.memory


def test_twice_the_epochs_take_about_twice_the_time_and_no_more_disk() -> None:
    short, long = (
        foretell(toy_plan(depths=[3], seeds=8, epochs=epochs).runs, toy_dataset(), None, workers=1)
        for epochs in (20_000, 40_000)
    )
    assert 1.5 < long.seconds / short.seconds < 2.1
    assert long.disk == short.disk
