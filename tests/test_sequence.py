"""Studies trained look by look: what is trained, what the store keeps of it, and how a budget ends it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from droplab.study.backends import Here, InProcess
from droplab.study.plan import Plan
from droplab.study.sequence import keep_looks, looks_ahead, run_study
from droplab.study.store import Store
from droplab.study.verdicts import due
from study_help import Watcher, stored_bits, toy_plan
from toy import toy_dataset

VALUES = {"depths": [2], "dropout": [0.5, 0.9], "seeds": 6, "until": "decided", "epochs": 2}


@pytest.fixture(autouse=True)
def _in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Here, "backend", lambda *_: InProcess())


def run(store: Path, watcher: Watcher | None = None, **values: object) -> tuple[Plan, set[str]]:
    """Run a study, and return its plan and the keys of what the store then has."""
    plan = toy_plan(**VALUES | values)
    with Store(store) as opened:
        plan = plan.looked_at(opened.looks(plan.identity))
        run_study(plan, toy_dataset(), opened, watcher or Watcher(), 1)
        keep_looks(plan, opened.load([run.key for run in plan.runs]), opened)  # as the lab does
        return plan, opened.finished([run.key for run in plan.runs])


def _stop_after(most: int) -> Callable[..., None]:
    """What interrupts at the `most`-th progress."""
    count = iter(range(1, most + 1))

    def at_progress(*_: object) -> None:
        if next(count) == most:
            raise KeyboardInterrupt

    return at_progress


def looks(store: Path, plan: Plan) -> list[int]:
    with Store(store) as opened:
        return [len(seeds) for seeds in opened.looks(plan.identity)]


def test_all_looks_have_one_crew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each would wait for workers to start else."""
    crews = list[object]()

    def choose(site: Here, *_: object) -> InProcess:
        crews.append(site.crew)
        return InProcess()

    monkeypatch.setattr(Here, "backend", choose)
    plan, _ = run(tmp_path / "s.sqlite")
    assert len(crews) == len(looks(tmp_path / "s.sqlite", plan)) > 1
    assert len(set(map(id, crews))) == 1


def test_a_study_trains_just_what_its_looks_need_and_keeps_them(tmp_path: Path) -> None:
    watcher = Watcher()
    plan, finished = run(tmp_path / "s.sqlite", watcher)
    with Store(tmp_path / "s.sqlite") as store:
        records = store.load(finished)
    assert due(plan, records) is None
    assert looks(tmp_path / "s.sqlite", plan) == list(plan.settings.looks)[: len(looks(tmp_path / "s.sqlite", plan))]
    assert watcher.looks[0].startswith("looks at 3, 5, 6 seeds")
    assert any(text.startswith("look at 3 seeds: ") for text in watcher.looks)
    again = Watcher()
    assert run(tmp_path / "s.sqlite", again)[1] == finished
    assert again.todo == []


def test_one_that_was_stopped_goes_on_to_the_same_networks(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole.sqlite")[1]
    for most in (5, 21):  # in the first look, and in the second
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "parts.sqlite", Watcher(_stop_after(most)))
    found = run(tmp_path / "parts.sqlite")[1]
    assert found == whole
    assert stored_bits(tmp_path / "parts.sqlite") == stored_bits(tmp_path / "whole.sqlite")


def test_a_budget_that_is_used_up_ends_it_after_the_first_look(tmp_path: Path) -> None:
    watcher = Watcher()
    plan, finished = run(tmp_path / "s.sqlite", watcher, budget="0.001s", dropout=[0.01])
    assert finished == {one.key for one in plan.runs if one.settings.seed in (0, 1, 2)}
    told = " ".join(watcher.looks)
    assert "the budget of 0.001s is less than the first look takes, which is trained all the same" in told
    assert "the same command goes on from here" in told
    assert looks(tmp_path / "s.sqlite", plan) == [3]
    later, more = run(tmp_path / "s.sqlite", dropout=[0.01])
    assert more > finished, "without the budget it goes on"
    assert later.look_numbers[0] == 1


def test_a_study_asked_again_with_more_seeds_is_at_its_second_look(tmp_path: Path) -> None:
    first, _ = run(tmp_path / "s.sqlite", until=None, seeds=2)
    assert first.look_numbers == (1,)
    second, _ = run(tmp_path / "s.sqlite", until=None, seeds=4)
    assert second.look_numbers == (2,)
    assert run(tmp_path / "s.sqlite", until=None, seeds=2)[0].look_numbers == (1,)
    assert looks(tmp_path / "s.sqlite", second) == [2, 4]


def test_what_lies_ahead_is_said_look_by_look_and_trains_nothing() -> None:
    plan = toy_plan(**VALUES | {"budget": "10m"})
    lines = looks_ahead(plan, set(), toy_dataset(), 1)
    assert [line.split()[:2] for line in lines[1:4]] == [["3", "seeds:"], ["5", "seeds:"], ["6", "seeds:"]]
    assert "at most 9 networks" in lines[1]
    assert "the budget of 10m holds the look at 6 seeds" in lines[-1]
