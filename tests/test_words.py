import pytest

from droplab.report.words import trend_words
from droplab.stats.trend import Trend
from droplab.study.findings import DepthTrend


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
