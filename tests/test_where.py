"""Conditions on runs: what they say of a run, and what is refused, with what to do."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from droplab.config import RunSettings
from droplab.errors import ConfigError
from droplab.study.records import RunSummary
from droplab.study.where import OPERATORS, Condition, parse_condition
from droplab.train.outcome import Way

RUN = RunSummary(
    key="0" * 64,
    settings=RunSettings(widths=(512, 256), dropout=0.5, seed=3, learning_rate=0.1, epochs=40),
    dataset="mnist",
    fingerprint="ab" * 32,
    way=Way("cpu", "bf16", compiled=True),
    test_accuracy=0.9812,
    test_rmse=None,
    train_seconds=20.0,
    evaluate_seconds=1.5,
    weights_bytes=1000,
    finished=datetime(2026, 1, 2, tzinfo=UTC),
)


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("depth=3", True),
        ("depth = 2", False),
        ("seed!=0", True),
        ("seed!=3", False),
        ("dropout<0.6", True),
        ("dropout<0.5", False),
        ("dropout<=0.5", True),
        ("dropout>0.5", False),
        ("dropout>=.5", True),
        ("dropout>=5.1e-1", False),
        ("test_accuracy>=0.98", True),
        ("test_accuracy>0.99", False),
        ("epochs>39", True),
        ("learning_rate=0.1", True),
        ("learning-rate=0.1", True),
        ("learning_rate=0.10001", False),
        ("valid_fraction=0.16666666667", True),
        ("data=mnist", True),
        ("data!=mnist", False),
        ("data=digits", False),
        ("fingerprint=" + "ab" * 32, True),
        ("widths=512,256", True),
        ("widths=512, 256", True),
        ("widths=512", False),
        ("widths=", False),
        ("widths!=256,512", True),
        ("precision=bf16", True),
        ("precision!=BF16", False),
        ("device=cuda", False),
        ("compiled=true", True),
        ("compiled=false", False),
        ("stacked=True", False),
        ("stacked=False", True),
        ("train_seconds<30", True),
        ("evaluate_seconds>1.5", False),
    ],
)
def test_a_condition_says_of_a_run_what_is_typed(text: str, holds: bool) -> None:
    assert parse_condition(text).holds(RUN) is holds


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("dropout=0.2/0.5", True),
        ("dropout=0.5/0.2", False),
        ("dropout!=0.2/0.5", False),
        ("dropout=0.35", False),
        ("dropout!=0.35", True),
        ("dropout<0.6", False),
        ("dropout>0", False),
    ],
)
def test_rates_a_hidden_layer_are_none_that_a_single_one_is_compared_with(text: str, holds: bool) -> None:
    run = replace(RUN, settings=RUN.settings.model_copy(update={"dropout": (0.2, 0.5)}))
    assert parse_condition(text).holds(run) is holds


def test_a_condition_is_on_any_setting_of_a_run() -> None:
    for name, value in RUN.settings.model_dump().items():
        typed = ",".join(map(str, value)) if isinstance(value, tuple) else value
        typed = "none" if name == "regularizers" else typed
        assert parse_condition(f"{name}={typed}").holds(RUN), name
        assert not parse_condition(f"{name}!={typed}").holds(RUN), name


def test_a_linear_network_has_no_widths() -> None:
    linear = replace(RUN, settings=RunSettings())
    assert parse_condition("widths=").holds(linear)
    assert parse_condition("depth=1").holds(linear)


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("lacking", [None, float("nan")])
def test_a_run_without_the_number_meets_no_condition_on_it(operator: str, lacking: float | None) -> None:
    assert not Condition("test_accuracy", operator, 0.5).holds(replace(RUN, test_accuracy=lacking))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("deph=2", r"on one of data, fingerprint, depth, epochs, .*; found 'deph'\. Did you mean 'depth'\?$"),
        ("accuracy>0.9", r"found 'accuracy'\. Did you mean 'test_accuracy'\?$"),
        ("Dropout=0.5", r"found 'Dropout'\. Did you mean 'dropout'\?$"),
        ("key=3fa8", r"found 'key'\.$"),
        ("finished_at=now", r"found 'finished_at'\.$"),
        ("dropout", r"a name, one of = != < <= > >= and a value, in quotes.*; found 'dropout'\.$"),
        ("", r"in quotes.*; found ''\.$"),
        ("=5", r"in quotes.*; found '=5'\.$"),
        ("depth==5", r"compares by one of = != < <= > >=; found '==' in 'depth==5'\.$"),
        ("depth=<5", r"found '=<' in"),
        ("depth<>5", r"found '<>' in"),
        ("depth=two", r"depth must be compared with a whole number; found 'two'\.$"),
        ("depth=2.5", r"a whole number; found '2\.5'\.$"),
        ("depth=", r"a whole number; found ''\.$"),
        (f"depth={'9' * 400}", r"a whole number; found '999"),
        (f"depth={'9' * 5000}", r"a whole number; found '999"),
        ("dropout<half", r"dropout must be compared with a number; found 'half'\.$"),
        ("dropout<nan", r"a number; found 'nan'\.$"),
        ("dropout<inf", r"a number; found 'inf'\.$"),
        ("widths=512;256", r"whole numbers with commas between; found '512;256'\.$"),
        ("precision=fp16", r"precision must be compared with fp32 or bf16; found 'fp16'\.$"),
        ("compiled=1", r"compiled must be compared with true or false; found '1'\.$"),
        ("data=", r"data must be compared with a text; found ''\.$"),
        ("data<mnist", r"only numbers are smaller or larger, and data is none: compare it by = or !="),
        ("widths>=512", "only numbers are smaller or larger"),
        ("precision>fp32", "only numbers are smaller or larger"),
        ("compiled<true", "only numbers are smaller or larger"),
    ],
)
def test_what_cannot_be_is_one_error_that_says_what_can(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        parse_condition(text)
    assert "\n" not in str(caught.value)


def test_regularizers_are_compared_as_they_are_typed() -> None:
    with_two = replace(
        RUN, settings=RUN.settings.model_copy(update={"regularizers": (("l2", 1e-4), ("max_norm", 3.0))})
    )
    assert parse_condition("regularizers=l2=0.0001+max_norm=3").holds(with_two)
    assert not parse_condition("regularizers=none").holds(with_two)
    assert parse_condition("regularizers=none").holds(RUN)
