"""Published values beside ours, and what a paper's claims come to."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from droplab.report.published import beside, claims_told
from droplab.report.statistics import compare, compare_differences
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
    (one,) = claims_told(Reproduced(what, budget, seeds, results, None, None, None))
    return one


def test_the_difference_counts_the_errors_of_both():
    found = beside(result("a", [1.0, 1.1, 1.2], published=1.3, sd=0.05), N)
    assert (found.error, found.difference) == (pytest.approx(1.1), pytest.approx(-0.2))
    assert (found.low, found.high) == (
        pytest.approx(1.1 - 4.3027 * 0.1 / 3**0.5, abs=1e-4),
        pytest.approx(1.3484, abs=1e-4),
    )
    variance = 0.01 / 3 + 0.05**2
    df = 2 * (variance / (0.01 / 3)) ** 2
    assert df == pytest.approx(6.125)
    assert found.difference_high == pytest.approx(-0.2 + 2.4345 * math.sqrt(variance), abs=2e-4)
    assert found.reading == "lower"


def test_a_published_value_without_an_error_has_the_binomial_one():
    found = beside(result("a", [1.0, 1.0, 1.0], published=1.0), N)
    assert found.published_sd == pytest.approx(0.0995, abs=1e-4), "one standard error at 1 % of 10,000 is 0.10 points"
    assert found.reading == "agrees"
    alone = beside(result("a", [1.1], published=1.0), N)
    assert alone.low is None
    assert alone.difference_high == pytest.approx(0.1 + 1.96 * math.hypot(0.0995, 0.1043), abs=1e-3)


def test_a_row_without_networks_or_without_a_published_value_says_so():
    assert beside(result("a", [], published=1.0), N).error is None
    assert beside(result("a", [1.0, 1.1]), N).reading == ""


def test_intervals_of_the_difference_cover_the_truth():
    random = np.random.default_rng(3)
    missed, studies = 0, 4000
    for _ in range(studies):
        errors, published = random.normal(1.2, 0.06, 3), random.normal(1.2, 0.05)
        missed += beside(result("a", list(errors), float(published), 0.05), N).reading != "agrees"
    assert 0.03 < missed / studies < 0.065


LOW, HIGH = [1.0, 1.02, 1.04], [1.3, 1.33, 1.32]
LOWER = {"lower": [["a", "b"]]}


@pytest.mark.parametrize(
    ("claim", "rows", "finding"),
    [
        (LOWER, {"a": LOW, "b": HIGH}, "holds"),
        (LOWER, {"a": HIGH, "b": LOW}, "does not hold"),
        (LOWER, {"a": [1.0, 1.5, 1.2], "b": [1.2, 1.1, 1.4]}, "cannot be told"),
        (LOWER, {"a": [1.10, 1.10, 1.11], "b": [1.10, 1.11, 1.10]}, "does not hold"),
        (LOWER, {"a": [1.0], "b": [1.3]}, "cannot be told"),
        (LOWER, {"a": [], "b": HIGH}, "cannot be told"),
        ({"lower": [["a", "b"], ["a", "c"]]}, {"a": LOW, "b": HIGH, "c": HIGH}, "holds"),
        ({"lower": [["a", "b"], ["c", "a"]]}, {"a": LOW, "b": HIGH, "c": HIGH}, "does not hold"),
        ({"not_lower": [["a", "b"]]}, {"a": HIGH, "b": LOW}, "holds"),
        ({"not_lower": [["a", "b"]]}, {"a": [1.10, 1.10, 1.11], "b": [1.10, 1.11, 1.10]}, "holds"),
        ({"not_lower": [["a", "b"]]}, {"a": LOW, "b": HIGH}, "does not hold"),
        ({"not_lower": [["a", "b"]]}, {"a": [1.0, 1.5, 1.2], "b": [1.2, 1.1, 1.4]}, "cannot be told"),
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
    assert short.startswith("Is not seen at the short budget (2,000 updates a network): less error by −0.30")
    assert told(LOWER, "paper", a=LOW, b=HIGH).words.startswith("Holds: less error by +0.30 points [")
    assert "at the short budget" in told(LOWER, "short", a=LOW, b=HIGH).words


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=12))
def test_differences_are_compared_as_the_pairs_they_are_of(pairs):
    a, b = np.array(pairs).T
    assert compare_differences(a - b) == compare(a, b)


@pytest.mark.parametrize("wrong", [[], [[0.1]], [0.1, np.nan]])
def test_differences_must_be_finite_numbers_one_a_seed(wrong):
    with pytest.raises(Exception, match="differences must be finite numbers, one a seed"):
        compare_differences(wrong)
