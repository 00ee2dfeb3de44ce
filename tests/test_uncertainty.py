"""The frames and figures of calibration: every value in its place, and nothing said of runs that kept none."""

from dataclasses import replace

import numpy as np
import pytest

from droplab.report.figures import study_figures
from droplab.train.outcome import Metric
from report_data import findings_of, made_up_study


@pytest.fixture(scope="module")
def study():
    """A made-up study whose runs of depth 1 and 3 kept their probabilities."""
    plan, records = made_up_study(depths=[1, 3])
    for place, (key, record) in enumerate(records.items()):
        curve = np.linspace(0.5, 0.99, 15)
        reliability = np.stack([[curve, curve - 0.01 * place, np.full(15, 20)], np.full((3, 15), np.nan)])
        more = [Metric("off", "test", "ece", 0.01 * place), Metric("off", "valid", "temperature", 1 + place)]
        if record.settings.dropout:
            more += [
                Metric("mc", "test", f"{name}_k{masks}", place + 1 / masks)
                for masks in (1, 2, 5)
                for name in ("accuracy", "nll", "ece")
            ]
        outcome = replace(
            record.outcome, metrics=(*record.outcome.metrics, *more), reliability=reliability.astype(np.float32)
        )
        records[key] = replace(record, outcome=outcome)
    return plan, records


def test_every_bin_of_every_arm_and_seed_is_there(study):
    plan, records = study
    frame = findings_of(plan, records).reliability
    assert len(frame) == len(plan.arms) * 3 * 15, "what is NaN, without a temperature, is left out"
    assert not frame["calibrated"].any()
    place = list(records).index(plan.run_of(plan.arms[3], 1).key)
    mine = frame[(frame["arm"] == plan.arms[3].name) & (frame["seed"] == 1)]
    assert (mine["confidence"] - mine["accuracy"]).to_numpy() == pytest.approx(0.01 * place, abs=1e-6)
    assert mine["bin"].tolist() == list(range(15))


def test_masks_are_counted_and_dropout_off_stands_at_zero(study):
    plan, records = study
    frame = findings_of(plan, records).samples
    assert set(frame["arm"]) == {"depth=3,dropout=0.5"}
    key = plan.run_of(plan.arms[3], 2).key
    mine = frame[frame["seed"] == 2].set_index(["metric", "masks"])["value"]
    assert mine["nll", 5] == pytest.approx(list(records).index(key) + 0.2)
    assert mine["accuracy", 0] == records[key].outcome.metric("off", "test", "accuracy")
    assert sorted(frame["masks"].unique()) == [0, 1, 2, 5]


def test_the_table_has_means_and_nothing_for_older_runs(study):
    plan, records = study
    row = findings_of(plan, records).arms.set_index("arm").loc["depth=3,control"]
    places = [list(records).index(plan.run_of(plan.arms[2], seed).key) for seed in range(3)]
    assert row["test ECE"] == pytest.approx(0.01 * np.mean(places))
    assert row["temperature"] == pytest.approx(1 + np.mean(places))
    assert np.isnan(findings_of(*made_up_study(depths=[3])).arms["test ECE"]).all()


def test_figures_are_drawn_of_what_there_is(study):
    plan, records = study
    drawn = study_figures(findings_of(plan, records))
    assert {"reliability", "samples"} <= set(drawn)
    (curves,) = drawn["reliability"].chart.to_dict()["datasets"].values()
    assert {(row["place"], row["trained"]) for row in curves} == {
        ("no hidden layer", "no dropout (control)"),
        ("2 hidden layers", "no dropout (control)"),
        ("2 hidden layers", "dropout 0.5"),
    }
    (points,) = drawn["samples"].chart.to_dict()["datasets"].values()
    assert {row["masks"] for row in points} == {0, 1, 2, 5}
    assert not {"reliability", "samples"} & set(study_figures(findings_of(*made_up_study(depths=[3]))))
    controls, some = made_up_study(depths=[3], dropout=[])
    assert findings_of(controls, some).samples.empty
