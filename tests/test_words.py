from dataclasses import replace

import pytest

from droplab.report.words import beyond_words, trend_words
from droplab.stats.trend import Trend
from droplab.study.findings import DepthTrend
from report_data import findings_of, made_up_study


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


def test_which_effects_are_sure_for_new_examples_is_said_by_depth_or_by_arm():
    def said(**values):
        compared = findings_of(*made_up_study(seeds=3, epochs=2, **values)).contrasts
        helps = [replace(one.comparison, verdict="helps") for one in compared]
        first = replace(compared[0], comparison=helps[0], new_examples=helps[0])
        unsure = replace(helps[1], verdict="undecided")
        return beyond_words([first, replace(compared[1], comparison=helps[1], new_examples=unsure)])

    assert said(depths=[2, 3]) == "For new test examples, too, this is sure with 1 hidden layer."
    several = said(depths=[], widths=[8], vary={"regularizer": ["l2=0.1", "max_norm=3"]})
    assert several == "For new test examples, too, this is sure of l2 0.1."
    levels = said(depths=[], widths=[8], dropout=[], vary={"optimizer": ["sgd", "adam", "adamw"]})
    assert levels == "For new test examples, too, this is sure of optimizer adam."
