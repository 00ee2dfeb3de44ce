"""Published values beside ours, and what a paper's claims come to."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from droplab.report.published_charts import reproduction
from droplab.stats.compare import compare, compare_differences
from droplab.study.published import beside, claims_told
from droplab.study.reproduction import Reproduced, RowResult, parse_reproduction

N = 10_000


def result(name: str, errors: list[float], published: float | None = None, sd: float | None = None) -> RowResult:
    """A row whose networks have these test errors, in %, by seed."""
    row = parse_reproduction(
        {
            "title": "t", "source": "s", "updates": {"smoke": 1, "short": 2, "paper": 3}, "stated": {}, "chosen": {},
            "rows": [{"name": name} | {k: v for k, v in (("error", published), ("error_sd", sd)) if v}],
        },
        "x",
    ).rows[0]  # fmt: skip
    runs = {
        seed: SimpleNamespace(outcome=SimpleNamespace(metric=lambda *_, e=e: 1 - e / 100))
        for seed, e in enumerate(errors)
    }
    return RowResult(row, (), 0, runs)


def told(claim: dict, budget: str = "paper", **rows: list[float]):
    """What one claim comes to for rows with these errors."""
    what = parse_reproduction(
        {
            "title": "t", "source": "s", "updates": {"smoke": 1, "short": 2000, "paper": 3}, "stated": {}, "chosen": {},
            "rows": [{"name": name} for name in rows], "claims": [{"text": "So it is."} | claim],
        },
        "x",
    )  # fmt: skip
    results = tuple(result(name, errors) for name, errors in rows.items())
    seeds = tuple(range(max(map(len, rows.values()))))
    (one,) = claims_told(Reproduced(what, budget, seeds, results, None, None))
    return one


def test_the_difference_counts_the_errors_of_both():
    found = beside(result("a", [1.0, 1.1, 1.2], published=1.3, sd=0.05), N)
    assert (found.error, found.difference) == (pytest.approx(1.1), pytest.approx(-0.2))
    assert (found.low, found.high) == (
        pytest.approx(1.1 - 4.3027 * 0.1 / 3**0.5, abs=1e-4),
        pytest.approx(1.3484, abs=1e-4),
    )
    assert found.difference_high == pytest.approx(-0.2 + math.hypot(0.2484, 1.96 * 0.05), abs=2e-4)
    assert found.difference_low == pytest.approx(-0.2 - math.hypot(0.2484, 1.96 * 0.05), abs=2e-4)
    assert found.reading == "agrees"
    assert beside(result("a", [1.0, 1.1, 1.2], published=1.4, sd=0.05), N).reading == "lower"
    assert beside(result("a", [1.0, 1.1, 1.2], published=0.8, sd=0.05), N).reading == "higher"


def test_a_published_value_without_an_error_has_the_binomial_one():
    found = beside(result("a", [1.0, 1.0, 1.0], published=1.0), N)
    assert found.published_sd == pytest.approx(0.0995, abs=1e-4), "one standard error at 1 % of 10,000 is 0.10 points"
    assert (found.low, found.high, found.reading) == (None, None, "agrees"), (
        "seeds that agree by chance give no interval"
    )
    assert found.difference_high == pytest.approx(1.96 * math.hypot(0.0995, 0.0995), abs=1e-3)
    assert not found.is_printed
    alone = beside(result("a", [1.1], published=1.0), N)
    assert alone.low is None
    assert alone.difference_high == pytest.approx(0.1 + 1.96 * math.hypot(0.0995, 0.1043), abs=1e-3)


def test_a_row_without_networks_or_without_a_published_value_says_so():
    assert beside(result("a", [], published=1.0), N).error is None
    assert beside(result("a", [1.0, 1.1]), N).reading == ""


@pytest.mark.parametrize("seeds", [2, 3, 10])
@pytest.mark.parametrize("published_sd", [0.02, 0.05, 0.2])
def test_intervals_of_the_difference_cover_the_truth(seeds, published_sd):
    random = np.random.default_rng(3)
    missed, studies = 0, 1500
    for _ in range(studies):
        errors, published = random.normal(1.2, 0.06, seeds), random.normal(1.2, published_sd)
        missed += beside(result("a", list(errors), float(published), published_sd), N).reading != "agrees"
    assert missed / studies < 0.05 + 3 * math.sqrt(0.05 * 0.95 / studies)
    assert missed / studies > 0.01, "the interval is not simply wide"


LOW, HIGH = [1.0, 1.02, 1.04], [1.3, 1.33, 1.32]
LOWER = {"lower": [["a", "b"]]}


@pytest.mark.parametrize(
    ("claim", "rows", "finding"),
    [
        (LOWER, {"a": LOW, "b": HIGH}, "holds"),
        (LOWER, {"a": HIGH, "b": LOW}, "does not hold"),
        (LOWER, {"a": [1.0, 1.5, 1.2], "b": [1.2, 1.1, 1.4]}, "cannot be told"),
        (LOWER, {"a": [1.10, 1.10, 1.11], "b": [1.10, 1.11, 1.10]}, "cannot be told"),
        (LOWER, {"a": [1.08, 1.07, 1.04], "b": [1.10, 1.12, 1.10]}, "cannot be told"),
        (LOWER, {"a": [1.0], "b": [1.3]}, "cannot be told"),
        (LOWER, {"a": [], "b": HIGH}, "cannot be told"),
        ({"lower": [["a", "b"], ["a", "c"]]}, {"a": LOW, "b": HIGH, "c": HIGH}, "holds"),
        ({"lower": [["a", "b"], ["c", "a"]]}, {"a": LOW, "b": HIGH, "c": HIGH}, "does not hold"),
        ({"not_lower": [["a", "b"]]}, {"a": HIGH, "b": LOW}, "holds"),
        ({"not_lower": [["a", "b"]]}, {"a": [1.10, 1.10, 1.11], "b": [1.10, 1.11, 1.10]}, "holds"),
        ({"not_lower": [["a", "b"]]}, {"a": LOW, "b": HIGH}, "does not hold"),
        ({"not_lower": [["a", "b"]]}, {"a": [1.0, 1.5, 1.2], "b": [1.2, 1.1, 1.4]}, "cannot be told"),
        ({"not_lower": [["a", "b"]]}, {"a": [1.0, 1.05, 0.98, 1.06], "b": [1.12, 1.13, 1.12, 1.2]}, "cannot be told"),
        ({"alike": ["a", "b"]}, {"a": [1.10, 1.10, 1.11], "b": [1.10, 1.11, 1.10]}, "holds"),
        ({"alike": ["a", "b"]}, {"a": LOW, "b": HIGH}, "does not hold"),
        ({"alike": ["a", "b"], "margin": 0.5}, {"a": LOW, "b": HIGH}, "holds"),
        ({"alike": ["a", "b"]}, {"a": [1.0, 1.5, 1.2], "b": [1.2, 1.1, 1.4]}, "cannot be told"),
        ({"gain": [["b", "a"], ["c", "a"]]}, {"a": LOW, "b": HIGH, "c": [1.1, 1.12, 1.15]}, "holds"),
        ({"gain": [["c", "a"], ["b", "a"]]}, {"a": LOW, "b": HIGH, "c": [1.1, 1.12, 1.15]}, "does not hold"),
    ],
)
def test_a_claim_holds_does_not_or_cannot_be_told(claim, rows, finding):
    assert told(claim, **rows).finding == finding


def test_only_the_full_count_says_that_a_claim_does_not_hold():
    assert told(LOWER, "paper", a=HIGH, b=LOW).words.startswith("Does not hold: ")
    short = told(LOWER, "short", a=HIGH, b=LOW).words
    assert short.startswith(
        "Is not seen at the short budget (2,000 updates a network): the first errs less than the second by −0.30"
    )
    assert told(LOWER, "paper", a=LOW, b=HIGH).words.startswith(
        "Holds: the first errs less than the second by +0.30 points ["
    )
    assert "at the short budget" in told(LOWER, "short", a=LOW, b=HIGH).words


def test_holms_correction_is_over_all_claims_and_equivalence_refutes_nothing():
    """Five pairs, each of which would hold by itself (p 0.012)."""
    rows = {"a": [1.06, 1.09, 1.06, 1.02, 1.06]} | {name: [1.10] * 5 for name in "bcdef"}
    assert told(LOWER, a=rows["a"], b=rows["b"]).finding == "holds"
    assert told({"lower": [["a", name] for name in "bcdef"]}, **rows).finding == "cannot be told"


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=12))
def test_differences_are_compared_as_the_pairs_they_are_of(pairs):
    a, b = np.array(pairs).T
    assert compare_differences(a - b) == compare(a, b)


@pytest.mark.parametrize("wrong", [[], [[0.1]], [0.1, np.nan]])
def test_differences_must_be_finite_numbers_one_a_seed(wrong):
    with pytest.raises(Exception, match="differences must be finite numbers, one a seed"):
        compare_differences(wrong)


@pytest.mark.parametrize(("largest", "scale"), [(5.0, "linear"), (25.0, "log")])
def test_a_figure_whose_errors_are_of_many_sizes_is_logarithmic(largest, scale):
    what = parse_reproduction(
        {
            "title": "t", "source": "s", "across": "p", "updates": {"smoke": 1, "short": 2, "paper": 3},
            "stated": {}, "chosen": {}, "rows": [{"name": "a", "x": 1, "error": 1.5}, {"name": "b", "x": 2}],
        },
        "x",
    )  # fmt: skip
    small, large = result("a", [1.0, 1.1, 1.2]), result("b", [largest, largest + 0.1])
    rows = tuple(RowResult(row, (), 0, one.runs) for row, one in zip(what.rows, (small, large), strict=True))
    data = SimpleNamespace(name="mnist", test_examples=N)
    figure = reproduction(Reproduced(what, "paper", (0, 1, 2), rows, data, None))
    drawn = figure.chart.to_dict()
    axes = [layer["encoding"]["y"] for layer in drawn["layer"] if layer["encoding"]["y"].get("title")]
    assert {axis["scale"].get("type", "linear") for axis in axes} == {scale}
    assert "diamond, dashed: published" in figure.caption
