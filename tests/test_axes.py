"""What a study varies: levels, arms and their controls."""

import json
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from droplab.config import StudySettings, level_values
from droplab.data.output import Folder
from droplab.errors import ConfigError
from droplab.study.plan import Plan
from report_data import findings_of, made_up_study, write_all
from study_help import toy_plan

ONE = {"depths": [], "widths": [8, 4]}


def names(plan: Plan) -> list[str]:
    return [arm.name for arm in plan.arms]


@pytest.mark.parametrize(
    ("given", "values"),
    [
        ("0.1:0.9:0.2", (0.1, 0.3, 0.5, 0.7, 0.9)),
        ("1:4", (1, 2, 3, 4)),
        ("100,500:700:100", (100, 500, 600, 700)),
        ("relu, tanh", ("relu", "tanh")),
        (["0.1:0.2:0.1", 5], (0.1, 0.2, 5)),
        (0.5, (0.5,)),
    ],
)
def test_values_are_lists_and_ranges(given, values) -> None:
    assert level_values("x", given) == values


@given(st.decimals(0, 10, places=2), st.decimals(Decimal("0.01"), 1, places=2), st.integers(1, 200))
def test_a_range_is_its_steps_without_the_dust_of_binary_fractions(first, step, count) -> None:
    values = level_values("x", f"{first}:{first + step * (count - 1)}:{step}")
    assert values == tuple(float(first + step * k) for k in range(count))


@pytest.mark.parametrize("text", ["1:0", "0:1:0", "0:1:-1", "0:1:1e-9", "1:2:3:4"])
def test_a_range_that_cannot_be_is_refused(text) -> None:
    with pytest.raises(ConfigError, match="FIRST:LAST:STEP"):
        StudySettings.parse(ONE | {"vary": {"width": text}})


def test_rates_and_depths_go_where_they_have_a_setting() -> None:
    settings = StudySettings.parse(ONE | {"vary": {"rate": "0.1:0.3:0.1", "depth": "1:2", "batch_size": 8}})
    assert (settings.dropout, settings.depths, settings.widths) == ((0.1, 0.2, 0.3), (1, 2), None)
    assert settings.vary == (("batch_size", (8,)),)
    assert settings.override(vary={"epochs": "1,2"}).vary == (("batch_size", (8,)), ("epochs", (1, 2)))
    assert StudySettings.parse(settings.model_dump()) == settings
    assert StudySettings.model_validate_json(settings.model_dump_json()) == settings


def test_axes_combine_and_every_combination_has_one_control() -> None:
    plan = toy_plan(**ONE, dropout=[0.2, 0.5], seeds=2, vary={"train_examples": [50, 100]})
    assert names(plan) == [
        f"train_examples={size},{trained}"
        for size in (50, 100)
        for trained in ("control", "dropout=0.2", "dropout=0.5")
    ]
    assert len(plan.runs) == 12
    for run in plan.runs:
        (arm,) = run.arms
        assert run.settings.train_examples == dict(arm.levels)["train_examples"]
        control = plan.run_of(plan.control_of(arm), run.settings.seed).settings
        assert control == run.settings.model_copy(update={"dropout": 0.0})


def test_regularizers_are_levels_with_their_strengths_and_share_the_control() -> None:
    plan = toy_plan(**ONE, dropout=[0.3], seeds=1, vary={"regularizer": "dropout,max_norm=2+input_dropout,l2,control"})
    assert names(plan) == ["control", "dropout=0.3", "max_norm=2+input_dropout=0.2", "l2=0.0001"]
    regularizers = [dict(run.settings.regularizers) for run in plan.runs]
    assert regularizers == [{}, {}, {"input_dropout": 0.2, "max_norm": 2.0}, {"l2": 1e-4}]


def test_a_strength_is_an_axis_whose_control_is_0() -> None:
    plan = toy_plan(**ONE, dropout=[], seeds=1, vary={"max_norm": [0, 1, 2]}, regularizers={"l2": 0.1})
    assert names(plan) == ["control", "max_norm=1", "max_norm=2"]
    assert [dict(arm.levels) for arm in plan.arms] == [{"max_norm": 0.0}, {"max_norm": 1.0}, {"max_norm": 2.0}]
    assert all(dict(run.settings.regularizers)["l2"] == 0.1 for run in plan.runs), "what all have, controls have, too"


def test_levels_of_a_studys_own_set_anything() -> None:
    own = {
        "small": {"widths": [4], "learning_rate": 0.3},
        "small, held": {"widths": [4], "learning_rate": 0.3, "dropout": 0.5, "regularizers": {"max_norm": 2}},
        "wide": {"width": 16, "dropout": 0.1},
    }
    plan = toy_plan(**ONE, seeds=1, vary={"method": own})
    assert [(arm.name, arm.control) for arm in plan.arms] == [
        ("small,control", "small,control"),
        ("small, held", "small,control"),
        ("wide,control", "wide,control"),
        ("wide", "wide,control"),
    ]
    assert [arm.widths for arm in plan.arms] == [(4,), (4,), (16, 8), (16, 8)]
    assert [arm.dropout for arm in plan.arms] == [0, 0.5, 0, 0.1], "dropout's rates are no axis beside these"


@pytest.mark.parametrize(
    ("vary", "widths"),
    [
        ({"width": "4,16"}, [(4, 2), (16, 8)]),
        ({"widths": "4x4,5"}, [(4, 4), (5,)]),
        ({"widths": [[4, 4], [5]]}, [(4, 4), (5,)]),
    ],
)
def test_widths_vary(vary, widths) -> None:
    assert [arm.widths for arm in toy_plan(**ONE, dropout=[], vary=vary).arms] == widths


@pytest.mark.parametrize(
    ("vary", "words"),
    [
        ({"learnig_rate": [0.1]}, "can vary"),
        ({"seed": [1]}, "can vary"),
        ({"epochs": [0]}, "arm epochs=0.*epochs"),
        ({"optimizer": ["sgd", "sdg"]}, "arm optimizer=sdg"),
        ({"regularizer": ["max_nrom"]}, "Did you mean 'max_norm'"),
        ({"regularizer": ["max_norm=x"]}, "takes numbers"),
        ({"max_norm": [-1]}, "max_norm"),
        ({"batch_size": [8, 8]}, "once"),
        ({"batch_size": [8, "many"]}, "all numbers"),
        ({"method": {"a": 3}}, "table of settings"),
        ({"method": {"a": {"lr": 3}}}, "no setting 'lr'"),
        ({"epochs": "1:900", "batch_size": "1:900"}, "10000 arms"),
        ({"epochs": []}, "at least one"),
    ],
)
def test_what_cannot_vary_is_said(vary, words) -> None:
    with pytest.raises(ConfigError, match=words):
        toy_plan(**ONE, vary=vary)


@pytest.mark.parametrize(
    "vary",
    [
        {"method": {"a": {"width": [256]}}},
        {"method": {"a": {"width": 0}}},
        {"method": {"a": {"width": True}}},
        {"method": {"a": {"seed": 1}}},
        {"method": {"a": {"regularizers": {"l2": 10**400}}}},
        {"method": {"": {"momentum": 0.5}}},
        {"method": {"two\nlines": {"momentum": 0.5}}},
        {"method": {"\x00": {"momentum": 0.5}}},
        {"method": {"\udcff": {"momentum": 0.5}}},
        {"method": {"a": 3}},
        {"width": "-3"},
        {"width": [10**400]},
        {"momentum": "inf"},
        {"momentum": "0:1:nan"},
        {"momentum": "sNaN"},
        {"momentum": "1e999999999"},
        {"momentum": "0:1:1e-999999999"},
        {"momentum": [[0.5], {}]},
        {"max_norm": [[], None]},
        {"regularizer": "l2=1e999"},
    ],
)
def test_what_makes_no_level_is_a_config_error(vary) -> None:
    with pytest.raises(ConfigError):
        toy_plan(**ONE, vary=vary)


def study_of(**values: object):
    return made_up_study(epochs=2, **ONE, **values)


def test_the_ranking_is_against_the_best_on_valid_in_its_order() -> None:
    plan, records = study_of(dropout=[0.5], vary={"epochs": [1, 2]})
    valid = {
        arm.name: np.mean(
            [records[plan.run_of(arm, s).key].outcome.metric("off", "valid", "accuracy") for s in range(3)]
        )
        for arm in plan.arms
    }
    best, *others = sorted(valid, key=lambda name: -valid[name])
    ranked = findings_of(plan, records).ranking
    assert [one.arm.name for one in ranked] == others
    assert {one.against.name for one in ranked} == {best}


def test_the_report_shows_axes_ranking_and_all_arms(tmp_path: Path) -> None:
    plan, records = study_of(dropout=[0.5], vary={"regularizer": "dropout,max_norm,l2", "batch_size": [8, 16]})
    write_all(Folder(tmp_path), findings_of(plan, records))
    page = (tmp_path / "report.html").read_text("utf-8")
    assert "Which can be told from the best?" in page
    assert {path.stem for path in (tmp_path / "figures").iterdir()} == {
        "difference",
        "control",
        "inference",
        "loss",
        "overfitting",
    }
    text = (tmp_path / "report.md").read_text("utf-8")
    assert "## Every arm against the best on valid" in text
    verdicts = json.loads((tmp_path / "study.json").read_text("utf-8"))["verdicts"]
    assert len(verdicts["against_control"]) == 6
    assert len(verdicts["against_best_on_valid"]) == 7
    header = (tmp_path / "results.csv").read_text("utf-8").splitlines()[0]
    assert header == "arm,seed,depth,dropout,inference,split,metric,value,widths,regularizer,batch_size"


def test_arms_are_compared_wherever_both_are() -> None:
    plan, records = study_of(dropout=[0.2, 0.5], vary={"train_examples": [100, 1000]})
    found = findings_of(plan, records).compare("dropout=0.5", "dropout=0.2")
    assert [(one.arm.name, one.against.name) for one in found] == [
        (f"train_examples={size},dropout=0.5", f"train_examples={size},dropout=0.2") for size in (100, 1000)
    ]


def test_rates_a_hidden_layer_are_levels_with_names() -> None:
    plan = toy_plan(**ONE, dropout=[[0.2, 0.5], 0.5])
    assert names(plan) == ["control", "dropout=0.2/0.5", "dropout=0.5"]
    assert [arm.settings(0).rates for arm in plan.arms] == [(0.0, 0.0), (0.2, 0.5), (0.5, 0.5)]
    assert [arm.rate for arm in plan.arms] == [0, pytest.approx(0.35), 0.5]
    assert not plan.axes[0].is_numeric
    assert names(toy_plan(**ONE, dropout=[0.2, 0.5])) == ["control", "dropout=0.2", "dropout=0.5"]


def test_rates_a_hidden_layer_may_be_among_regularizers_and_levels() -> None:
    axes = {"regularizer": "dropout=0.2/0.5+max_norm=3,dropout_by_layer=0.5/0.2,dropout"}
    assert names(toy_plan(**ONE, vary=axes)) == [
        "control",
        "dropout=0.2/0.5+max_norm=3",
        "dropout=0.5/0.2",
        "dropout=0.5",
    ]
    own = {"way": {"new": {"dropout": [0.2, 0.5]}, "old": {"regularizers": {"dropout_by_layer": [0.5, 0.2]}}}}
    arms = toy_plan(**ONE, vary=own).arms
    assert [(arm.name, arm.dropout) for arm in arms] == [("control", 0.0), ("new", (0.2, 0.5)), ("old", (0.5, 0.2))]
    with pytest.raises(ConfigError, match="for each of 2 hidden layers"):
        toy_plan(**ONE, dropout=[[0.2, 0.5, 0.5]])


def test_a_study_of_rates_a_hidden_layer_is_reported(tmp_path) -> None:
    findings = findings_of(*made_up_study(dropout=[[0.2, 0.5], 0.5], **ONE))
    write_all(Folder(tmp_path), findings)
    told = json.loads((tmp_path / "study.json").read_text("utf-8"))
    assert told["settings"]["dropout"] == [[0.2, 0.5], 0.5]
    rows = {arm["arm"]: arm["dropout"] for arm in told["arms"]}
    assert rows == {"control": 0, "dropout=0.2/0.5": pytest.approx(0.35), "dropout=0.5": 0.5}
    assert "dropout 0.2/0.5" in (tmp_path / "report.html").read_text("utf-8")
