"""The plan: which arms a study has, what they are called, and which networks serve them."""

from dataclasses import replace

import numpy as np
import pytest

from droplab.config import RunSettings, StudySettings
from droplab.study.plan import Plan, plan_refit, plan_run, plan_study
from droplab.train.outcome import Curves, Outcome
from store_help import make_run, make_trained
from study_help import FP32, toy_plan


def names(plan: Plan) -> list[str]:
    return [arm.name for arm in plan.arms]


def test_each_depth_has_its_control_first_then_its_rates() -> None:
    assert names(toy_plan(depths=[3, 1], dropout=[0.5, 0.2])) == [
        "depth=3,control",
        "depth=3,dropout=0.5",
        "depth=3,dropout=0.2",
        "depth=1,control",
        "depth=1,dropout=0.5",
        "depth=1,dropout=0.2",
    ]


def test_only_what_varies_is_in_the_name() -> None:
    assert names(toy_plan(depths=[], widths=[8, 4])) == ["control", "dropout=0.5"]
    assert names(toy_plan(depths=[2], dropout=[0.1])) == ["control", "dropout=0.1"]


def test_rate_zero_is_the_control_and_not_an_arm_beside_it() -> None:
    assert names(toy_plan(depths=[2], dropout=[0, 0.5])) == ["control", "dropout=0.5"]
    assert names(toy_plan(depths=[2], dropout=[])) == ["control"]


def test_rates_that_are_nearly_the_same_have_names_of_their_own() -> None:
    plan = toy_plan(depths=[2], dropout=[0.5, 0.50000001])
    assert len(set(names(plan))) == 3


def test_without_a_hidden_layer_one_run_serves_every_arm() -> None:
    plan = toy_plan(depths=[1], dropout=[0.2, 0.5], seeds=2)
    assert [[arm.name for arm in run.arms] for run in plan.runs] == [["control", "dropout=0.2", "dropout=0.5"]] * 2
    assert {run.settings.dropout for run in plan.runs} == {0.0}


@pytest.mark.parametrize(
    ("values", "runs"),
    [
        ({"depths": [1, 2, 3, 4, 5], "first_width": 16, "seeds": 1}, 9),
        ({"depths": [1, 2, 3], "seeds": 3}, 15),
        ({"depths": [2], "dropout": [0.1, 0.2, 0.5], "seeds": 2}, 8),
        ({"depths": [], "widths": [8], "seeds": 4}, 8),
        ({"depths": [], "widths": [], "seeds": 4}, 4),
    ],
)
def test_a_plan_has_each_network_once(values: dict[str, object], runs: int) -> None:
    plan = toy_plan(**values)
    assert len(plan.runs) == len({run.key for run in plan.runs}) == runs


def test_every_arm_and_seed_is_served_by_a_run_with_its_network() -> None:
    plan = toy_plan(dropout=[0.2, 0.5], seeds=[0, 4])
    for arm in plan.arms:
        for seed in (0, 4):
            settings = plan.run_of(arm, seed).settings
            assert (settings.widths, settings.seed) == (arm.widths, seed)
            assert settings.dropout == (arm.dropout if arm.widths else 0)
            assert (settings.depth, arm.is_control) == (arm.depth, arm.dropout == 0)


def test_runs_of_a_seed_are_paired_and_all_runs_share_recipe_and_split() -> None:
    recipe = {"epochs": 7, "batch_size": 32, "valid_fraction": 0.25, "split_seed": 9, "momentum": 0.5}
    plan = toy_plan(seeds=[3, 5], **recipe)
    for arm in plan.arms:
        assert [plan.run_of(arm, seed).settings.seed for seed in (3, 5)] == [3, 5]
    assert all(run.settings.model_dump().items() >= recipe.items() for run in plan.runs)
    assert {run.way for run in plan.runs} == {FP32}


def test_runs_keep_their_keys_when_the_study_grows() -> None:
    small = {run.key for run in toy_plan(depths=[1, 2], seeds=2).runs}
    assert small < {run.key for run in toy_plan(depths=[1, 2, 3], seeds=3, dropout=[0.2, 0.5]).runs}


def test_the_name_and_question_of_a_study_do_not_change_its_runs() -> None:
    assert toy_plan(name="other", question="Why?").runs == toy_plan().runs


def test_a_single_run_has_the_key_it_has_in_a_study() -> None:
    plan = toy_plan(depths=[2], seeds=1)
    for planned in plan.runs:
        alone = plan_run(RunSettings(**planned.settings.model_dump()), plan.fingerprint, FP32)
        assert (alone.key, alone.arms[0].name) == (planned.key, planned.arms[0].name)


def refits(plan: Plan, outcomes: dict[str, Outcome]) -> list[RunSettings]:
    return [run.settings for run in plan_refit(plan, plan.arms[0], outcomes)]


def test_a_network_with_early_stopping_is_trained_again_for_the_epochs_that_valid_chose() -> None:
    stopping = {"early_stopping": 2.5, "l2": 1e-4}
    plan = toy_plan(depths=[2], dropout=[], seeds=3, epochs=30, regularizers=stopping, schedule="cosine")
    done = {8: None, 30: None, 9: 4}  # epochs done, and the one that was kept, where that is known
    outcomes = {
        run.key: replace(
            make_trained(make_run()).outcome,
            curves=Curves(np.zeros(epochs, np.float32), *(np.zeros(0) for _ in range(3))),
            best_epoch=best,
        )
        for run, (epochs, best) in zip(plan.runs, done.items(), strict=True)
    }
    again = refits(plan, outcomes)
    assert [one.epochs for one in again] == [5, 30, 4]
    assert {(one.valid_fraction, one.regularizers, one.schedule_epochs) for one in again} == {
        (0.0, (("l2", 1e-4),), 30.0)
    }
    assert refits(plan, dict(list(outcomes.items())[:1])) == again[:1], "what is not finished is not trained again"


def test_a_network_that_does_not_stop_early_is_trained_again_as_it_was() -> None:
    plan = toy_plan(depths=[2], dropout=[], seeds=1, schedule="cosine")
    (again,) = refits(plan, {plan.runs[0].key: make_trained(make_run()).outcome})
    assert again == plan.runs[0].settings.model_copy(update={"valid_fraction": 0.0})


def test_a_plan_has_the_settings_and_the_keys_of_each_run_made_alone() -> None:
    settings = StudySettings.parse({"depths": [1, 2], "dropout": [0.2, [0.3]], "seeds": [7, 0, 10**9], "epochs": 2})
    plan = plan_study(settings, "f" * 64, FP32)
    alone = {
        one.content_key("f" * 64, "fp32"): one
        for seed in settings.seeds
        for one in (arm.settings(seed) for arm in plan.arms)
    }
    assert [(run.key, run.settings) for run in plan.runs] == list(alone.items())
    assert all(hash(run.settings) == hash(alone[run.key]) for run in plan.runs)
    assert all(run.settings.model_dump_json() == alone[run.key].model_dump_json() for run in plan.runs)
