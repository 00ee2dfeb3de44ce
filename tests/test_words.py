from dataclasses import replace

import pytest

from droplab.report.words import answer, trend_words
from droplab.stats.trend import Trend
from droplab.study.findings import DepthTrend
from report_data import findings_of, made_up_study


def test_the_answer_names_where_each_verdict_holds():
    plan, records = made_up_study(noise=1e-6, depths=[1, 2, 3])
    assert answer(findings_of(plan, records).contrasts) == (
        "Training with dropout helps with 2 hidden layers (+0.18 points of test accuracy); makes no difference "
        "that matters with 1 hidden layer (within ±0.1 points); does not apply without a hidden layer (it cannot act)."
    )
    unlucky = records[plan.run_of(plan.arms[3], 0).key]
    metrics = tuple(metric._replace(value=metric.value - 0.01) for metric in unlucky.outcome.metrics)
    records[unlucky.key] = replace(unlucky, outcome=replace(unlucky.outcome, metrics=metrics))
    assert "is undecided with 1 and 2 hidden layers (more seeds are needed)" in answer(
        findings_of(plan, records).contrasts
    )
    assert answer([]).startswith("Nothing can be said yet")


def test_the_answer_names_rates_where_these_vary():
    plan, records = made_up_study(noise=1e-6, depths=[3], dropout=[0.2, 0.5])
    found = answer(findings_of(plan, records).contrasts)
    assert found == "Training with dropout helps at rate 0.2 and 0.5 (+0.18 points of test accuracy)."
    plan, records = made_up_study(noise=1e-6, depths=[2, 3], dropout=[0.2, 0.5])
    assert answer(findings_of(plan, records).contrasts) == (
        "Training with dropout helps with 2 hidden layers at rate 0.2 and 0.5 (+0.18 points of test accuracy); "
        "makes no difference that matters with 1 hidden layer at rate 0.2 and 0.5 (within ±0.1 points)."
    )
    plan, records = made_up_study(depths=[1])
    found = answer(findings_of(plan, records).contrasts)
    assert found == "Dropout cannot act: the networks compared have no hidden layer."


@pytest.mark.parametrize(
    ("among", "trend", "words"),
    [
        (
            "the controls",
            Trend(0.0012, -0.0001, 0.0025, 0.06, 3, 4, 0.98, 0.0, 0.9, "straight"),
            "the controls, {} +0.12 {} (95 % interval −0.01 to +0.25; 3 seeds)",
        ),
        (
            "the networks with dropout 0.5",
            Trend(-0.01, None, None, None, 1, 1, 0.98),
            "networks with dropout 0.5, {} −1.00 {} (one seed: no interval; 1 seed)",
        ),
        (
            "the networks with dropout 0.5",
            Trend(0.0, None, None, None, 2, 1, 0.98),
            "0.5, {} 0.00 {} (no spread over the seeds: no interval; 2 seeds)",
        ),
    ],
)
def test_a_trend_is_said_in_points_a_layer_with_its_interval(among, trend, words):
    said = trend_words(DepthTrend(among, (1, 2, 4), trend))
    assert words.format("no hidden layer to 3 hidden layers, test accuracy changes by", "points a layer") in said
