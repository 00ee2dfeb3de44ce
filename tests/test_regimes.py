"""In what state a study's training was when it stopped: what is said of it, and where."""

from dataclasses import replace

import numpy as np
import pytest

from droplab.report import words
from droplab.report.markdown import render_markdown
from droplab.report.notebook import html_fragment
from droplab.report.page import render_page
from droplab.study.plan import Plan
from droplab.study.regimes import ArmState, NetworkState, network_state
from report_data import ORIGIN, findings_of, made_up_study
from study_help import droplab, toy_spec

IMPROVING, FINISHED = NetworkState("improving", False), NetworkState("finished", False)
OVERFITTING, DIVERGED = NetworkState("overfitting", True), NetworkState("diverged", False)
DONE = NetworkState("finished", True)
UNKNOWN = NetworkState(None, False)


def plan_of(**values: object) -> Plan:
    return made_up_study(**{"depths": [1, 2, 3], "seeds": 3} | values)[0]


def said(plan: Plan, control: object, dropout: object, others: dict[str, object] | None = None) -> str | None:
    """The words for a study whose arms are in these states, one for all seeds or one a seed; `others` by arm's name."""
    states = []
    for arm in plan.arms:
        state = (others or {}).get(arm.name, control if arm.is_control else dropout)
        each = state if isinstance(state, list) else [state] * len(plan.settings.seeds)
        keys = [plan.run_of(arm, seed).key for seed in plan.settings.seeds]
        states.append(ArmState(arm, plan.control_of(arm), dict(zip(keys, each, strict=True))))
    return words.regime_words(states)


def test_nothing_is_said_where_all_was_finished_and_the_controls_had_overfitted():
    assert said(plan_of(), OVERFITTING, DONE) is None
    assert said(plan_of(), DONE, FINISHED) is None
    assert said(plan_of(), UNKNOWN, UNKNOWN) is None
    assert words.regime_words([]) is None


def test_a_study_that_was_stopped_early_says_nothing_about_finished_training():
    sentence = "All networks were still improving when training stopped: this says nothing about finished training."
    assert said(plan_of(), NetworkState("improving", True), IMPROVING) == sentence
    assert said(plan_of(), IMPROVING, IMPROVING).startswith(f"{sentence} The controls had not overfitted")
    most = [IMPROVING, IMPROVING, NetworkState("improving", True)]
    assert said(plan_of(seeds=3), [*most[:2], DONE], most).startswith("In every arm most networks were still improving")


def test_an_arm_that_was_still_improving_when_its_control_was_not_is_named():
    found = said(plan_of(depths=[2, 3]), OVERFITTING, DONE, {"depth=3,dropout=0.5": IMPROVING})
    assert found == (
        "Unlike its control, this arm was still improving when training stopped, and may do better than is said here: "
        "2 hidden layers, dropout 0.5."
    )
    found = said(plan_of(depths=[2, 3]), OVERFITTING, IMPROVING)
    assert found.startswith("Unlike their controls, these arms were still improving")
    assert found.endswith("1 hidden layer, dropout 0.5; 2 hidden layers, dropout 0.5.")
    found = said(plan_of(depths=[2, 3]), DONE, DONE, {"depth=3,control": [IMPROVING, IMPROVING, DONE]})
    assert found.startswith("This arm was still improving")
    assert said(plan_of(depths=[2, 3]), DONE, DONE, {"depth=3,control": [IMPROVING, DONE, DONE]}) is None


def test_networks_that_diverged_come_first_and_are_counted():
    found = said(
        plan_of(depths=[2, 3]), OVERFITTING, IMPROVING, {"depth=3,control": [DIVERGED, OVERFITTING, OVERFITTING]}
    )
    assert found.startswith("1 of 12 networks diverged or learned nothing (2 hidden layers, control): ")
    assert found.count(". ") == 1
    assert "Unlike their controls" in found
    assert said(plan_of(depths=[2]), DIVERGED, DIVERGED).startswith("All networks diverged or learned nothing: ")


def test_a_control_that_had_not_overfitted_left_a_regularizer_little_to_do():
    assert said(plan_of(depths=[2]), FINISHED, DONE) == (
        "The control had not overfitted when training stopped (its loss on train is not clearly below that on valid): "
        "there was little for a regularizer to do."
    )
    assert said(plan_of(depths=[2, 3]), FINISHED, DONE).startswith("The controls had not overfitted")
    some = said(
        plan_of(depths=[2, 3, 4]), OVERFITTING, DONE, {"depth=2,control": FINISHED, "depth=4,control": FINISHED}
    )
    assert some.startswith("Of the controls, 1 hidden layer and 3 hidden layers had not overfitted")


def test_a_network_without_a_hidden_layer_that_serves_both_arms_is_told_once_and_is_nobodys_control():
    assert (
        said(plan_of(depths=[1, 2]), DONE, DONE, {"depth=1,control": FINISHED, "depth=1,dropout=0.5": FINISHED}) is None
    )
    found = said(plan_of(depths=[1, 2]), DONE, DONE, {"depth=1,control": IMPROVING, "depth=1,dropout=0.5": IMPROVING})
    assert found.endswith("no hidden layer, control.")


def test_a_hundred_arms_are_not_all_named():
    rates = [round(0.01 * rate, 2) for rate in range(1, 60)]
    found = said(plan_of(depths=[2], dropout=rates, seeds=1), OVERFITTING, IMPROVING)
    assert found.endswith("; 53 more.")


def test_what_early_stopping_ended_or_kept_is_finished():
    record = next(iter(made_up_study(depths=[3], epochs=30)[1].values()))

    def of(valid: np.ndarray, epochs: int, best: int | None) -> str | None:
        points = np.arange(1, len(valid) + 1, dtype=np.int32)
        losses = np.stack([np.full(len(valid), 0.01), valid]).astype(np.float32)
        curves = replace(record.outcome.curves, train_loss=losses[0], points=points, losses=losses)
        outcome = replace(record.outcome, curves=curves, best_epoch=best)
        settings = record.settings.model_copy(update={"epochs": epochs})
        return network_state(replace(record, outcome=outcome, settings=settings)).regime

    falling, rising = np.linspace(1, 0.2, 20), np.linspace(0.2, 0.9, 20)
    assert [of(falling, 20, None), of(rising, 20, None)] == ["improving", "overfitting"]
    assert [of(falling, 40, 20), of(rising, 40, 1)] == ["finished", "finished"]
    assert of(rising, 20, 3) == "finished", "the network with the lowest loss was kept"
    assert of(falling, 20, 20) == "improving", "it was never ended"


@pytest.fixture(scope="module")
def short():
    return made_up_study(depths=[2, 3], epochs=2)


def test_the_sentence_stands_wherever_the_answer_does(short):
    told = words.regime_words(findings_of(*short).states)
    assert told.startswith("All networks were still improving")
    assert told in html_fragment(findings_of(*short))
    assert f"<p>{told}</p>" in render_page(findings_of(*short), ORIGIN, {})
    assert f"\n\n{told}\n\n" in render_markdown(findings_of(*short), ORIGIN)


def test_a_finished_study_has_no_such_sentence():
    done = made_up_study(depths=[2, 3])
    assert words.regime_words(findings_of(*done).states) is None
    assert words.enough_words(findings_of(*done).states).startswith("Yes: ")
    assert "when training stopped" not in render_markdown(findings_of(*done), ORIGIN)
    assert words.enough_words(findings_of(done[0], {}).states).startswith("Not known")


def test_the_command_says_it_beside_the_verdicts(tmp_path):
    lines = droplab("study", toy_spec(tmp_path), "--out", tmp_path / "out", "--workers", 1).out.splitlines()
    (place,) = [number for number, line in enumerate(lines) if "when training stopped" in line]
    assert lines[place - 2].startswith("20→8→4\t")
    assert lines[place - 1].startswith("On 120 other test examples")
    assert lines[place + 1].startswith("1 is undecided; ")


def test_nothing_is_said_where_nothing_was_held_out(short):
    plan, records = short
    for key, record in records.items():
        curves = replace(record.outcome.curves, losses=record.outcome.curves.losses * np.array([[1], [np.nan]]))
        records = records | {key: replace(record, outcome=replace(record.outcome, curves=curves))}
    states = findings_of(plan, records).states
    assert words.regime_words(states) is None
    assert words.enough_words(states).startswith("Not known")
