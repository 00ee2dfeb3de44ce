"""The answer: what it says must be so in the numbers, whatever a study compares and however far it is."""

import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from droplab.report.answer import answer_of, contrast_rows, with_seeds
from droplab.study.findings import Findings
from report_data import findings_of, made_up_study

ONE = {"depths": [], "widths": [64], "epochs": 3}


def shifted(by: dict[str, float], **values: object) -> Findings:
    """A made-up study in which each arm named has so much more accuracy than 0.9 everywhere, nearly alike by seed."""
    plan, records = made_up_study(noise=1e-5, **values)
    for run in plan.runs:
        record, more = records[run.key], by.get(run.arms[0].name, 0.0)
        more += float(np.random.default_rng([run.settings.seed, len(run.arms[0].name)]).normal(0, 1e-4))
        metrics = tuple(
            one._replace(value=0.9 + more) if one.name == "accuracy" else one for one in record.outcome.metrics
        )
        records[run.key] = replace(record, outcome=replace(record.outcome, metrics=metrics))
    return findings_of(plan, records)


@pytest.mark.parametrize(
    ("by", "title"),
    [
        ((0.02, 0.03), r"Dropout helps, by [12]\.\d\d to [23]\.\d\d points of test accuracy"),
        ((-0.02, -0.02), r"Dropout hurts, by [12]\.\d\d( to [12]\.\d\d)? points of test accuracy"),
        ((0.02, -0.02), r"Dropout helps with 1 hidden layer; hurts with 2 hidden layers"),
    ],
)
def test_the_title_says_what_dropout_does_and_where(by: tuple[float, float], title: str) -> None:
    shifts = dict(zip(("depth=2,dropout=0.5", "depth=3,dropout=0.5"), by, strict=True))
    assert re.fullmatch(title, answer_of(shifted(shifts, depths=[2, 3], epochs=3, seeds=5)).title)


def test_of_several_regularizers_the_title_names_the_one_that_helps_most() -> None:
    vary = {"regularizer": ["l2", "max_norm", "dropout"]}
    by = {"l2=0.0001": 0.01, "max_norm=3": 0.02, "dropout=0.5": -0.01}
    title = answer_of(shifted(by, vary=vary, seeds=5, **ONE)).title
    assert re.fullmatch(r"Max_norm 3 helps most, by \d\.\d\d points; of 3 arms 2 help and 1 hurts", title)
    none = answer_of(shifted({"dropout=0.5": -0.01}, vary={"regularizer": ["l2", "dropout"]}, seeds=5, **ONE)).title
    assert none.startswith("None is shown to help: ")


def test_levels_that_are_names_are_compared_with_the_baseline_and_the_title_names_the_winner() -> None:
    own = {"plain": {}, "wide, with Adam": {"optimizer": "adam", "widths": [128]}, "tiny": {"widths": [4]}}
    by = {"wide, with Adam,control": 0.02, "tiny,control": -0.03}
    found = shifted(by, vary={"recipe": [own]}, baseline="plain", dropout=[], seeds=5, **ONE)
    told = answer_of(found)
    assert re.fullmatch(r"Wide, with Adam beats plain, by [12]\.\d\d points", told.title)
    assert "With plain, 90 of 100 test examples are classified rightly; with wide, with Adam, 92." in told.deck
    assert {one.against.place for one in found.contrasts} == {"plain"}
    first = shifted(by, vary={"recipe": [own]}, baseline="tiny", dropout=[], seeds=5, **ONE)
    assert {one.against.place for one in first.contrasts} == {"tiny"}
    assert re.fullmatch(r"Wide, with Adam beats tiny, by [45]\.\d\d points", answer_of(first).title)


def test_an_ordered_axis_is_answered_with_what_valid_recommends() -> None:
    by = {"width=16,control": 0.02, "width=32,control": 0.03, "width=64,control": 0.03}
    told = answer_of(shifted(by, vary={"width": [8, 16, 32, 64]}, dropout=[], seeds=3, **ONE))
    assert told.title == "Take width 32", "the smallest of those that are as good"
    assert told.deck.endswith(
        "Held-out examples recommend width 32: the simplest within one standard error of the best."
    )


def test_levels_beside_regularizers_are_compared_with_the_baseline_too() -> None:
    found = shifted({}, vary={"optimizer": ["sgd", "adam"]}, baseline="optimizer=adam", seeds=3, **ONE)
    assert [(one.arm.trained, one.against.trained) for one in found.contrasts] == [("dropout=0.5", "control")] * 2
    assert {(one.arm.place, one.against.place) for one in found.levels} == {("optimizer=sgd", "optimizer=adam")}


def test_a_study_without_anything_to_compare_says_so() -> None:
    never = findings_of(*made_up_study(vary={"regularizer": ["l2"]}, seeds=2, **ONE))
    assert answer_of(never).title == "What is compared never acted: the networks are those of the control"
    alone = findings_of(*made_up_study(vary={"regularizer": ["l2", "dropout"]}, seeds=1, **ONE))
    assert answer_of(alone).title == "One seed cannot tell which regularizers help"
    alike = findings_of(*made_up_study(depths=[2], dropout=[], epochs=3))
    assert answer_of(alike).title == "Nothing is compared: all networks are alike but for their seeds"
    begun = findings_of(*made_up_study(missing=26, epochs=3))
    assert answer_of(begun).title == "Nothing can be said yet"
    linear = answer_of(findings_of(*made_up_study(depths=[1], epochs=3)))
    assert (linear.title, linear.deck) == ("Dropout cannot act in these networks", "")


@settings(max_examples=25, deadline=None)
@given(
    depths=st.lists(st.integers(1, 4), min_size=1, max_size=3, unique=True),
    rates=st.lists(st.sampled_from([0.1, 0.2, 0.5, 0.8]), max_size=3, unique=True),
    seeds=st.integers(1, 4),
    missing=st.integers(0, 6),
    noise=st.sampled_from([1e-6, 1e-3, 2e-2]),
)
def test_whatever_is_finished_the_answer_agrees_with_its_rows(
    depths: list[int], rates: list[float], seeds: int, missing: int, noise: float
) -> None:
    found = findings_of(*made_up_study(missing, noise, depths=depths, dropout=rates, seeds=seeds, epochs=2))
    told = answer_of(found, "droplab study mine")
    assert told.title
    assert "nan" not in f"{told.title} {told.deck}"
    inactive = sum(one.comparison.verdict == "does not apply" for one in found.contrasts)
    assert len(told.rows.rows) == len(found.contrasts) - max(inactive - 1, 0)
    assert len({row[0] for row in told.rows.rows}) == len(told.rows.rows), "each row is told from the others"
    verdicts = {one.comparison.verdict for one in found.contrasts}
    for verb, verdict in (("helps", "helps"), ("hurts", "hurts")):
        if re.search(rf"\b{verb}\b", told.title) and "whether" not in told.title.lower():
            assert verdict in verdicts
    if told.next is not None:
        assert "undecided" in verdicts
        assert told.next.seeds > min(one.comparison.seeds for one in found.contrasts)
        assert told.next.command.endswith(f"--seeds {told.next.seeds}")


def test_a_row_counts_the_seeds_that_both_have() -> None:
    plan, records = made_up_study(depths=[2], seeds=3, epochs=2)
    del records[plan.run_of(plan.arms[0], 2).key]
    ((_, theirs, ours, told),) = contrast_rows(findings_of(plan, records)).rows
    shared = [records[plan.run_of(plan.arms[0], seed).key].outcome.metric("off", "test", "accuracy") for seed in (0, 1)]
    assert theirs == f"{100 * sum(shared) / 2:.2f}"
    assert float(ours) - float(theirs) == pytest.approx(
        float(re.search(r"[+−]?[\d.]+", told)[0].replace("−", "-")), abs=0.011
    )


def test_a_command_that_no_shell_takes_is_left_as_it_is() -> None:
    assert with_seeds("droplab study 'half", 5) == "droplab study 'half --seeds 5"
