import numpy as np
import pytest

from droplab.errors import DataError
from droplab.report.document import study_document
from droplab.report.figures import study_figures
from droplab.report.markdown import render_markdown
from droplab.report.notebook import html_fragment
from droplab.report.page import render_page
from droplab.study import findings as findings_module
from droplab.study import frames
from droplab.study.frames import CURVE_COLUMNS, RESULT_COLUMNS, Replicates
from report_data import ORIGIN, findings_of, made_up_study


@pytest.fixture(scope="module")
def study():
    return made_up_study()


def accuracy_by_hand(record, inference, split):
    return next(m.value for m in record.outcome.metrics if m[:3] == (inference, split, "accuracy"))


def test_results_begin_with_the_columns_of_the_design(study):
    frame = findings_of(*study).results
    first = ["arm", "seed", "depth", "dropout", "inference", "split", "metric", "value"]
    assert list(frame.columns)[:8] == first
    assert not frame.duplicated(first[:7]).any()


def test_every_metric_of_every_arm_and_seed_is_there(study):
    plan, records = study
    frame = findings_of(plan, records).results
    metrics = len(next(iter(records.values())).outcome.metrics)
    assert len(frame) == len(plan.arms) * 3 * metrics
    run = plan.run_of(plan.arms[5], 2)
    value = Replicates(frame).by_seed(plan.arms[5], "on", "valid", "accuracy")[2]
    assert value == accuracy_by_hand(records[run.key], "on", "valid")


def test_depth_one_stands_under_both_arms_with_the_numbers_of_one_run(study):
    frame = findings_of(*study).results
    linear = frame[(frame["depth"] == 1) & (frame["metric"] == "accuracy")]
    assert set(linear["dropout"]) == {0.0, 0.5}
    assert (linear.groupby(["seed", "inference", "split"])["value"].nunique() == 1).all()
    assert set(linear["widths"]) == {"linear"}


def test_curves_hold_every_epoch_as_trained_and_every_evaluated_point(study):
    plan, records = study
    frame = findings_of(plan, records).curves
    assert list(frame.columns) == CURVE_COLUMNS
    mine = frame[(frame["arm"] == "depth=3,dropout=0.5") & (frame["seed"] == 1)]
    curves = records[plan.run_of(plan.arms[5], 1).key].outcome.curves
    counts = mine.groupby(["quantity", "split"]).size().to_dict()
    points = len(curves.points)
    assert counts == {
        ("loss", "train_as_trained"): 400,
        ("loss", "train"): points,
        ("loss", "valid"): points,
        ("accuracy", "train"): points,
        ("accuracy", "valid"): points,
    }
    valid = mine[(mine["quantity"] == "accuracy") & (mine["split"] == "valid")]
    assert valid["epoch"].tolist() == curves.points.tolist()
    assert valid["value"].to_numpy() == pytest.approx(curves.accuracies[1])


def test_arms_table_holds_mean_and_standard_deviation_over_seeds(study):
    plan, records = study
    row = findings_of(plan, records).arms.set_index("arm").loc["depth=3,dropout=0.5"]
    seen = [accuracy_by_hand(records[plan.run_of(plan.arms[5], seed).key], "off", "test") for seed in range(3)]
    assert row["test accuracy"] == pytest.approx(sum(seen) / 3)
    assert row["test accuracy sd"] == pytest.approx(np.std(seen, ddof=1))
    assert row["test accuracy, on"] < row["test accuracy"]
    assert row["seeds"] == 3
    assert 20 < row["train seconds"] < 30


def test_dropout_is_compared_with_the_control_of_its_own_depth(study):
    plan, records = study
    compared = findings_of(plan, records).contrasts
    assert [(one.arm.name, one.against.name) for one in compared] == [
        (f"depth={depth},dropout=0.5", f"depth={depth},control") for depth in range(1, 6)
    ]
    runs = [[records[plan.run_of(arm, seed).key] for seed in range(3)] for arm in (plan.arms[7], plan.arms[6])]
    ours, theirs = ([accuracy_by_hand(record, "off", "test") for record in mine] for mine in runs)
    assert compared[3].comparison.difference == pytest.approx(np.mean(ours) - np.mean(theirs))


def test_dropout_without_a_hidden_layer_does_not_apply(study):
    plan, records = study
    verdicts = [one.comparison.verdict for one in findings_of(plan, records).contrasts]
    assert verdicts[0] == "does not apply"
    assert "does not apply" not in verdicts[1:]
    assert all(one.comparison.verdict != "does not apply" for one in findings_of(plan, records).deeper)


def test_depths_are_compared_with_the_next_shallower_whatever_order_they_were_given_in():
    plan, records = made_up_study(depths=[5, 2, 3])
    compared = findings_of(plan, records).deeper
    pairs = [(one.arm.depth, one.against.depth, one.arm.dropout, one.against.dropout) for one in compared]
    assert pairs == [(3, 2, 0, 0), (5, 3, 0, 0), (3, 2, 0.5, 0.5), (5, 3, 0.5, 0.5)]


def test_a_partial_study_pairs_the_seeds_that_both_arms_have():
    plan, records = made_up_study(depths=[2, 3])
    del records[plan.run_of(plan.arms[0], 0).key], records[plan.run_of(plan.arms[1], 2).key]
    for seed in range(3):
        del records[plan.run_of(plan.arms[2], seed).key]
    (only,) = findings_of(plan, records).contrasts
    assert (only.arm.depth, only.comparison.seeds) == (2, 1)
    assert set(findings_of(plan, records).arms["arm"]) == {arm.name for arm in plan.arms} - {plan.arms[2].name}
    assert findings_of(plan, records).done == 7


def test_the_trend_along_depth_is_the_mean_slope_of_the_seeds_that_have_every_depth(study):
    plan, records = study
    lost = {key: record for key, record in records.items() if key != plan.run_of(plan.arms[7], 1).key}
    controls, dropped = findings_of(plan, lost).trends
    assert (controls.among, controls.depths, controls.trend.seeds) == ("the controls", (1, 2, 3, 4, 5), 3)
    assert (dropped.among, dropped.trend.seeds) == ("the networks with dropout 0.5", 2)
    values = [
        [accuracy_by_hand(lost[plan.run_of(arm, seed).key], "off", "test") for arm in plan.arms[1::2]]
        for seed in (0, 2)
    ]
    slopes = [np.polyfit([1, 2, 3, 4, 5], mine, 1)[0] for mine in values]
    assert dropped.trend.slope == pytest.approx(np.mean(slopes))


@pytest.mark.parametrize("values", [{"depths": [2, 3]}, {"depths": [], "widths": [8, 8], "dropout": [0.1, 0.5]}])
def test_two_depths_make_no_trend(values):
    plan, records = made_up_study(epochs=2, **values)
    assert findings_of(plan, records).trends == []


def test_an_empty_study_gives_empty_frames_with_their_columns():
    plan, _ = made_up_study()
    frame = findings_of(plan, {}).results
    assert list(frame.columns) == RESULT_COLUMNS
    assert findings_of(plan, {}).curves.empty
    assert findings_of(plan, {}).contrasts == []
    assert findings_of(plan, {}).trends == []
    assert findings_of(plan, {}).arms.empty
    with pytest.raises(DataError, match="at least one finished run"):
        _ = findings_of(plan, {}).best


def test_best_arm_looks_at_valid_and_never_at_test(study):
    plan, records = study
    assert findings_of(plan, records).best.name == "depth=4,dropout=0.5"
    found = findings_of(plan, records)
    results = found.results
    where = (results["split"] == "test") & (results["arm"] == "depth=2,control")
    results.loc[where, "value"] = 1.0
    assert found.best.name == "depth=4,dropout=0.5"


def test_best_arm_of_equals_is_the_simpler(study):
    plan, records = study
    found = findings_of(plan, records)
    found.results.loc[found.results["split"] == "valid", "value"] = 0.98
    assert found.best.name == "depth=1,control"


def test_best_arm_does_not_prefer_an_arm_for_its_one_lucky_seed(study):
    plan, records = study
    found = findings_of(plan, records)
    results = found.results
    lucky = results["arm"] == "depth=5,control"
    results.loc[lucky & (results["split"] == "valid"), "value"] = 1.0
    found.__dict__["results"] = results[~lucky | (results["seed"] == 0)]
    assert found.best.name == "depth=4,dropout=0.5"


def test_a_network_that_serves_two_arms_is_one_row_and_one_member_of_a_ranking(study):
    plan, records = study
    found = findings_of(plan, records)
    assert [arm.name for arm in plan.distinct] == [arm.name for arm in plan.arms if arm.name != "depth=1,dropout=0.5"]
    assert list(found.arms["arm"]) == [arm.name for arm in plan.distinct]
    assert len(found.ranking) == len(plan.distinct) - 1
    assert all(one.comparison.verdict != "does not apply" for one in found.ranking)


def test_each_number_is_computed_once_however_often_it_is_shown(study, monkeypatch):
    calls = []
    for name in ("results_frame", "curves_frame", "arms_frame", "runs_frame"):
        made = getattr(frames, name)
        monkeypatch.setattr(frames, name, lambda *given, made=made, name=name: calls.append(name) or made(*given))
    walked = findings_module.verdicts
    monkeypatch.setattr(findings_module, "verdicts", lambda *given: calls.append("verdicts") or walked(*given))
    found = findings_of(*study)
    render_markdown(found, ORIGIN)
    render_page(found, ORIGIN, study_figures(found))
    study_document(found, ORIGIN)
    html_fragment(found)
    assert sorted(set(calls)) == sorted({"results_frame", "curves_frame", "arms_frame", "verdicts"})
    assert [calls.count(name) for name in ("results_frame", "curves_frame", "arms_frame")] == [1, 1, 1]
    assert calls.count("verdicts") == 4, "control, baseline, deeper against shallower, and the best"


def test_a_row_of_runs_is_a_network_with_its_accuracies(study):
    plan, records = study
    runs = findings_of(plan, records).runs
    assert len(runs) == len(plan.runs) == 27
    assert (runs["arm"] == "depth=1,control").sum() == (runs["also"] == "depth=1,dropout=0.5").sum() == 3
    run = plan.run_of(plan.arms[5], 2)
    row = runs.set_index("run").loc[run.key]
    assert row["test_accuracy_on"] == accuracy_by_hand(records[run.key], "on", "test")
    assert (row["widths"], row["seed"], row["dropout"]) == ("512-256", 2, 0.5)
