"""Verdicts from look to look, and what the next look needs, of made-up finished studies."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from droplab.config import StudySettings
from droplab.errors import ConfigError
from droplab.stats.looks import level_of
from droplab.study.plan import Plan
from droplab.study.records import RunRecord
from droplab.study.verdicts import ERROR, contenders_of, control_pairs, due, looks_reached, verdicts
from droplab.train.outcome import Metric
from report_data import findings_of, made_up_study

RATES = (0.1, 0.2, 0.3, 0.4, 0.5)
EFFECTS = {0.0: 0.0, 0.1: 0.02, 0.2: 0.004, 0.3: 0.0, 0.4: -0.02, 0.5: 0.0005}


def study(seeds: int = 13, spread: float = 0.002, until: str | None = "decided", **values: object) -> tuple:
    """A plan of five rates and a control at depth 2, and the record that each run would have."""
    plan, records = made_up_study(depths=[2], dropout=RATES, seeds=seeds, until=until, **values)

    def accuracy(record: RunRecord) -> float:
        random = np.random.default_rng([record.settings.seed, round(10 * record.settings.dropout)])
        return round(0.95 + EFFECTS[record.settings.dropout] + spread * random.standard_normal(), 4)

    return plan, {key: scored(record, accuracy(record)) for key, record in records.items()}


def scored(record: RunRecord, accuracy: float) -> RunRecord:
    """The record with that accuracy on valid and test."""
    metrics = [
        one._replace(value=accuracy) if one[0] == "off" and one[1] != "train" and one[2] == "accuracy" else one
        for one in record.outcome.metrics
    ]
    return replace(record, outcome=replace(record.outcome, metrics=tuple(metrics)))


def trained(plan: Plan, every: Mapping[str, RunRecord]) -> tuple[dict[str, RunRecord], list[int]]:
    """What a study that goes on until it is decided trains, and the seeds of its looks."""
    records: dict[str, RunRecord] = {}
    looks = []
    while following := due(plan, records):
        records |= {run.key: every[run.key] for run in following.runs}
        looks.append(following.seeds)
    return records, looks


def seeds_of(plan: Plan, records: Mapping[str, RunRecord], rate: float) -> int:
    return sum(run.key in records and run.settings.dropout == rate for run in plan.runs)


def against_control(plan: Plan, records: Mapping[str, RunRecord]) -> dict[float, object]:
    found = verdicts(plan, records, control_pairs(plan), stops=True)
    return {one.arm.dropout: one.comparison for one in found}


def test_what_is_decided_gets_no_more_seeds_and_what_is_not_does() -> None:
    plan, every = study()
    records, looks = trained(plan, every)
    told = against_control(plan, records)
    assert looks == [3, 5, 8, 13]
    assert (told[0.1].verdict, told[0.4].verdict) == ("helps", "hurts")
    assert seeds_of(plan, records, 0.1) == seeds_of(plan, records, 0.4) == 3
    assert told[0.3].verdict == "undecided"
    assert seeds_of(plan, records, 0.3) == seeds_of(plan, records, 0.0) == 13
    assert len(records) < len(plan.runs)


def test_each_look_has_its_part_of_the_error() -> None:
    plan, every = study()
    records, _ = trained(plan, every)
    for one in against_control(plan, records).values():
        assert one.look == plan.settings.looks.index(one.seeds) + 1
        assert 1 - one.confidence == pytest.approx(level_of(one.look, ERROR))


def test_seeds_beyond_the_look_that_decided_change_no_verdict() -> None:
    plan, every = study()
    records, _ = trained(plan, every)
    assert against_control(plan, every) == against_control(plan, records)


def test_a_study_that_was_stopped_needs_what_it_would_have_needed() -> None:
    plan, every = study()
    whole, _ = trained(plan, every)
    first = due(plan, {})
    some = {run.key: every[run.key] for run in first.runs[:7]}
    rest = due(plan, some)
    assert {run.key for run in rest.runs} == {run.key for run in first.runs} - some.keys()
    while following := due(plan, some):
        some |= {run.key: every[run.key] for run in following.runs[:2]}  # two networks, and stopped again
    assert some.keys() == whole.keys()


def test_the_most_promising_arms_come_first_and_each_after_its_control() -> None:
    plan, every = study(spread=0.004)
    first = due(plan, {})
    following = due(plan, {run.key: every[run.key] for run in first.runs})
    assert following.arms[0].is_control
    needed = [
        one.seeds_needed.low or np.inf
        for arm in following.arms[1:]
        for one in [against_control(plan, {run.key: every[run.key] for run in first.runs})[arm.dropout]]
        if one.seeds_needed
    ]
    assert needed == sorted(needed)


def test_without_until_all_seeds_are_one_look() -> None:
    plan, every = study(seeds=5, until=None)
    told = verdicts(plan, every, control_pairs(plan))
    assert {(one.comparison.look, one.comparison.seeds) for one in told} == {(1, 5)}
    assert told[0].comparison.confidence == pytest.approx(1 - level_of(1, ERROR))


def test_a_study_asked_again_with_more_seeds_is_at_its_next_look() -> None:
    plan, every = study(seeds=8, until=None)
    assert plan.looked_at([]).look_numbers == (1,)
    again = plan.looked_at([(0, 1, 2), (0, 1, 2, 3, 4)])
    assert again.look_numbers == (3,)
    assert verdicts(again, every, control_pairs(plan))[0].comparison.confidence == pytest.approx(1 - level_of(3, ERROR))
    same = study(seeds=[3, 1, 0, 2, 7, 6, 5, 4], until=None)[0].looked_at([(0, 1, 2), tuple(range(8))])
    assert same.look_numbers == (2,), "asked again with the same seeds it is the same look"


def test_planned_looks_count_what_was_looked_at_before() -> None:
    plan, _ = study()
    assert plan.look_numbers == (1, 2, 3, 4)
    assert plan.looked_at([(0, 1)]).look_numbers == (2, 3, 4, 5)
    assert plan.looked_at([(0, 1, 2), (7, 8)]).look_numbers == (1, 3, 4, 5)


def test_a_study_is_the_same_whatever_its_name_and_seeds_and_another_with_other_arms() -> None:
    plan, _ = study(seeds=5, until=None)
    assert study(seeds=8, until="decided", name="other")[0].identity == plan.identity
    assert study(seeds=5, until=None, data="./mnist.npz")[0].identity == plan.identity, "the data are the same"
    assert study(seeds=5, until=None, epochs=399)[0].identity != plan.identity


def test_what_a_look_still_lacks_seeds_for_is_not_judged() -> None:
    plan, every = study(seeds=5, until=None)
    lacking = {key: one for key, one in every.items() if (one.settings.seed, one.settings.dropout) != (4, 0.1)}
    told = {one.arm.dropout: one.comparison for one in verdicts(plan, lacking, control_pairs(plan))}
    assert (told[0.1].verdict, told[0.1].low, told[0.1].seeds) == ("undecided", None, 4)
    assert "4 seeds so far" in told[0.1].words
    assert told[0.4].verdict == "hurts"


def test_until_best_lets_go_of_arms_that_are_surely_worse_on_valid() -> None:
    plan, every = study(until="best")
    records, looks = trained(plan, every)
    assert looks[0] == 3
    assert seeds_of(plan, records, 0.4) == 3
    assert seeds_of(plan, records, 0.1) == max(looks)
    assert len(records) < len(plan.runs)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"until": "decide"}, "until"),
        (
            {"until": "decided", "budget": "10 parsecs"},
            "must be a time above 0, as 90s, 10m or 1.5h; found '10 parsecs'",
        ),
        ({"until": "decided", "budget": "0m"}, "above 0"),
        ({"until": "decided", "budget": "-5m"}, "above 0"),
        ({"budget": "5m"}, "budget belongs to until=decided or until=best"),
        ({"until": "5"}, "until"),
    ],
)
def test_wrong_uses_of_until_and_budget_are_named(values: dict[str, object], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        StudySettings.parse({"depths": [2], "seeds": 5} | values)


def test_until_needs_something_to_compare() -> None:
    with pytest.raises(ConfigError, match="until=decided needs arms to compare"):
        made_up_study(depths=[2], dropout=[], seeds=5, until="decided")


def test_looks_are_of_growing_numbers_of_seeds_up_to_the_most() -> None:
    def looks(seeds: int) -> tuple[int, ...]:
        return StudySettings.parse({"depths": [2], "seeds": seeds, "until": "decided"}).looks

    assert looks(13) == (3, 5, 8, 13)
    assert looks(20) == (3, 5, 8, 13, 20)
    assert looks(4) == (3, 4)
    assert looks(2) == (2,)


def test_an_arm_whose_regularizer_never_acted_does_not_apply_and_gets_no_more_seeds() -> None:
    plan, every = study()
    same = {run.settings.seed: every[run.key] for run in plan.runs if not run.settings.dropout}
    for run in plan.runs:
        if run.settings.dropout == 0.3:
            every[run.key] = replace(every[run.key], outcome=same[run.settings.seed].outcome)
    records, _ = trained(plan, every)
    assert against_control(plan, records)[0.3].verdict == "does not apply"
    assert seeds_of(plan, records, 0.3) == 3


def test_an_arm_that_cannot_be_trained_holds_up_no_other() -> None:
    plan, every = study()
    broken = {run.key for run in plan.runs if run.settings.dropout == 0.2}
    records: dict[str, RunRecord] = {}
    failed: set[str] = set()
    looks = []
    while following := due(plan, records, failed):
        failed |= {run.key for run in following.runs if run.key in broken}
        records |= {run.key: every[run.key] for run in following.runs if run.key not in broken}
        looks.append(following.seeds)
    assert looks == [3, 5, 8, 13]
    assert len(failed) == 3
    assert against_control(plan, records)[0.4].verdict == "hurts"


def test_looks_count_once_some_arm_can_be_judged_at_them_and_one_seed_is_no_look() -> None:
    plan, every = study(seeds=5, until=None)
    some = {run.key: every[run.key] for run in plan.runs if run.settings.dropout in (0.0, 0.1)}
    assert looks_reached(plan, some) == [(0, 1, 2, 3, 4)]
    lacking = {key: one for key, one in some.items() if one.settings.seed != 4}
    assert looks_reached(plan, lacking) == []
    alone, record = study(seeds=1, until=None)
    assert looks_reached(alone, record) == []


def test_until_best_lets_one_arm_stand_for_all_with_the_same_networks() -> None:
    plan, records = made_up_study(depths=[1], seeds=13, until="best")
    assert contenders_of(plan, records) == ([plan.arms[0]], None), "one run serves both arms"


def test_where_decided_arms_have_fewer_seeds_the_best_is_chosen_over_the_same_ones() -> None:
    plan, every = study(until="decided")
    control = {run.key for run in plan.runs if not run.settings.dropout}
    kept = {run.key for run in plan.runs if run.settings.seed < 3} | control
    records = {key: one for key, one in every.items() if key in kept}
    records |= {
        run.key: scored(records[run.key], 0.99 if run.settings.seed < 3 else 0.5)
        for run in plan.runs
        if run.key in control
    }
    assert findings_of(plan, records).best.is_control


def test_of_a_metric_of_which_less_is_better_the_lower_one_helps_leads_and_is_best() -> None:
    plan, records = study(seeds=3, until=None)

    def asked(metric: str, sign: float) -> tuple:
        """The study whose accuracies stand as another metric, times `sign`."""
        values = {key: sign * record.valid_accuracy for key, record in records.items()}
        other = {
            key: replace(record, outcome=replace(record.outcome, metrics=measured(record, metric, values[key])))
            for key, record in records.items()
        }
        return replace(plan, settings=plan.settings.override(metric=metric)), other

    higher, lower = (findings_of(*asked(metric, sign)) for metric, sign in (("accuracy", 1), ("nll", -1)))
    assert [one.comparison.difference for one in lower.contrasts] == pytest.approx(
        [-one.comparison.difference for one in higher.contrasts]
    )
    for one, other in zip(higher.contrasts, lower.contrasts, strict=True):
        assert (other.comparison.low, other.comparison.high) == (-one.comparison.high, -one.comparison.low)
        assert other.comparison.gain == one.comparison.difference
        if one.comparison.verdict != other.comparison.verdict:  # the margins of the two differ
            assert other.comparison.verdict == "equivalent"
    assert {one.comparison.verdict for one in lower.contrasts} >= {"helps", "hurts"}
    assert higher.best == lower.best
    assert higher.best_run.key == lower.best_run.key
    assert [one.arm.name for one in higher.ranking] == [one.arm.name for one in lower.ranking]
    assert higher.plan.identity != lower.plan.identity


def measured(record: RunRecord, name: str, value: float) -> tuple:
    """The record's metrics with this one of these on valid and test."""
    kept = [one for one in record.outcome.metrics if one.inference != "off" or one.name != name]
    return (*kept, *(Metric("off", split, name, value) for split in ("valid", "test")))
