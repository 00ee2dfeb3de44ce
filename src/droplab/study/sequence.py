"""Sequence: a study trained look by look, so that seeds go where a verdict still needs them."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from droplab.data.dataset import Dataset
from droplab.stats.looks import level_of
from droplab.stats.planning import smallest_shown
from droplab.study.backends import Here, Site
from droplab.study.forecast import span_words
from droplab.study.plan import Arm, Plan, Run
from droplab.study.records import RunRecord
from droplab.study.runner import Observer, Summary, foretell, run_all
from droplab.study.store import Store
from droplab.study.verdicts import ERROR, Due, contenders_of, control_pairs, due, looks_reached, verdicts


def run_study(
    plan: Plan,
    dataset: Dataset,
    store: Store,
    observer: Observer,
    workers: int | None = None,
    site: Site | None = None,
) -> Summary:
    """Train what a study needs, all at once or look by look.

    With `until`, an arm that is decided gets no more seeds, and no look begins that the budget is foretold not to hold;
    of the arms that go on the most promising come first. What a look needs follows from the finished runs alone, so a
    study that was stopped goes on as if it had not been.

    Args:
        plan: the study's, with the looks before it.
        dataset: its data.
        store: where results are and go.
        observer: told of everything.
        workers: processes on a CPU; `None` for one a core.
        site: where they are trained; `None` for this machine.

    Raises:
        DroplabError: as `run_all`.
    """
    with site or Here() as ready:  # one for all looks
        if plan.settings.until is None:
            return run_all(plan.runs, dataset, store, observer, workers, ready)
        return _Looks(plan, dataset, store, observer, workers, ready).run()


def keep_looks(plan: Plan, records: Mapping[str, RunRecord], store: Store) -> None:
    """Keep the looks at a study that its finished runs allow, in the plan's order, whoever trained these.

    Args:
        plan: the study's.
        records: the finished runs by content key.
        store: where looks are kept.

    Raises:
        StoreError: if it cannot be written.
    """
    for seeds in looks_reached(plan, records):
        store.keep_look(plan.identity, seeds)


def looks_ahead(
    plan: Plan, finished: Collection[str], dataset: Dataset, workers: int | None, site: Site | None = None
) -> list[str]:
    """What the looks of a study may take, and what they can tell, a line each; and how far its budget reaches.

    Args:
        plan: of a study with `until`.
        finished: the keys of its finished runs.
        dataset: its data.
        workers: processes on a CPU; `None` for one a core.
        site: where they would be trained; `None` for this machine.
    """
    settings, held, unknown = plan.settings, 0, False
    pairs = len({(arm.name, other.name) for arm, other in control_pairs(plan)} - plan.twins)
    leaves = "is decided" if settings.until == "decided" else "is surely worse on valid than the best"
    lines = [f"looks at {', '.join(map(str, settings.looks))} seeds; an arm that {leaves} gets no more:"]
    for number, seeds in zip(plan.look_numbers, settings.looks, strict=True):
        first = settings.seeds[:seeds]
        todo = [run for run in plan.runs if run.settings.seed in first and run.key not in finished]
        seconds = foretell(todo, dataset, None, workers, site).seconds
        time_told = "time unknown on a GPU" if seconds is None else f"about {span_words(seconds)} from now"
        shown = "one seed decides nothing"
        if seeds > 1:
            size = smallest_shown(seeds, max(pairs, 1), level_of(number, ERROR))
            shown = f"shows differences of {size:.1f} times their spread over seeds"
        lines.append(f"  {seeds} seed{'s' if seeds > 1 else ''}: at most {len(todo)} networks, {time_told}; {shown}")
        held = seeds if seconds is not None and seconds <= settings.budget_seconds else held
        unknown = seconds is None
    if settings.budget:
        reach = f"holds the look at {held} seeds for all arms, and more where arms leave"
        short = "is less than the first look takes, which is trained all the same, and nothing after it"
        on_gpu = "holds what it holds: times on a GPU are known after the first look, which is trained in any case"
        lines.append(f"  the budget of {settings.budget} {on_gpu if unknown else reach if held else short}")
    return lines


class _Looks:
    """A study that is trained look by look."""

    def __init__(
        self, plan: Plan, dataset: Dataset, store: Store, observer: Observer, workers: int | None, site: Site
    ) -> None:
        self.plan, self.dataset, self.store, self.observer = plan, dataset, store, observer
        self.workers, self.site = workers, site
        self.summary = Summary(reused=0)
        self.ends = time.monotonic() + plan.settings.budget_seconds
        self.taken = self.foretold = 0.0
        self.trained = 0

    def run(self) -> Summary:
        """Train until all is decided, the seeds are used up, or the budget is."""
        keys = [run.key for run in self.plan.runs]
        records = self.store.load(keys, self._notice)
        for line in looks_ahead(self.plan, records, self.dataset, self.workers, self.site):
            self.observer.looked(line)
        finished = tuple(run for run in self.plan.runs if run.key in records)
        failed: set[str] = set()
        while following := due(self.plan, records, failed):
            affordable = self._affordable(following)
            if affordable is None:
                break
            later = self._train((*finished, *affordable.runs))
            finished = ()  # found sound once
            self.taken += later.seconds
            self.trained += later.trained
            self.summary.add(later)
            records = self.store.load(keys, self._notice)
            keep_looks(self.plan, records, self.store)
            if later.interrupted:
                break
            failed |= {run.key for run in affordable.runs if run.key not in records}
            self._say(following, records)
            if affordable is not following:
                break
        if finished:  # all was there before, or the budget holds no more
            self.summary.add(self._train(finished))
        return self.summary

    def _train(self, runs: Sequence[Run]) -> Summary:
        return run_all(runs, self.dataset, self.store, self.observer, self.workers, self.site)

    def _affordable(self, following: Due) -> Due | None:
        """What the rest of the budget holds of a look: all of it, or its most promising arms; `None` for none.

        The first look is trained in any case.
        """
        left, seconds = self.ends - time.monotonic(), self._seconds(following)
        if following.seeds == self.plan.settings.looks[0] or seconds <= left:
            self.foretold += self._foretold(following)
            return following
        arms = list(following.arms)
        while any(not arm.is_control for arm in arms[:-1]):
            arms.pop()
            if arms[-1].is_control and len(arms) > 1:
                continue  # no control without its arm
            fewer = self._only(following, arms)
            if fewer.runs and self._seconds(fewer) <= left:
                going = sum(not arm.is_control for arm in arms)
                told = f"{going} arm{'' if going == 1 else 's'} of the look at {following.seeds} seeds"
                self.observer.looked(f"the budget holds {told}, the most promising")
                return fewer
        self.observer.looked(
            f"the budget of {self.plan.settings.budget} is used up before the look at {following.seeds} seeds, which "
            f"would take about {span_words(seconds)}; the same command goes on from here"
        )
        return None

    def _only(self, following: Due, arms: list[Arm]) -> Due:
        runs = tuple(run for run in following.runs if any(arm in arms for arm in run.arms))
        return replace(following, arms=tuple(arms), runs=runs)

    def _seconds(self, following: Due) -> float:
        """About how long that takes, by how long the looks before took; 0 before the first on a GPU."""
        seconds = foretell(following.runs, self.dataset, None, self.workers, self.site).seconds
        if seconds is None:
            return self.taken / self.trained * len(following.runs) if self.trained else 0.0
        return seconds * (self.taken / self.foretold if self.taken and self.foretold else 1.0)

    def _foretold(self, following: Due) -> float:
        return foretell(following.runs, self.dataset, None, self.workers, self.site).seconds or 0.0

    def _say(self, look: Due, records: Mapping[str, RunRecord]) -> None:
        """Tell what a look came to."""
        if self.plan.settings.until == "best":
            left, _ = contenders_of(self.plan, records)
            told = f"{len(left)} arms may be the best on valid" if len(left) > 1 else f"best on valid: {left[0].name}"
        else:
            found = [one.comparison for one in verdicts(self.plan, records, control_pairs(self.plan), stops=True)]
            acting = [one for one in found if one.verdict != "does not apply"]
            decided = sum(one.verdict != "undecided" for one in acting)
            told = f"{decided} of {len(acting)} comparisons are decided"
        self.observer.looked(f"look at {look.seeds} seeds: {told}")

    def _notice(self, text: str) -> None:
        if text not in self.summary.notices:
            self.summary.notices.append(text)
            self.observer.notice(text)
