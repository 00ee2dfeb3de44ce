"""Simulated studies whose truth is known: what `droplab.compare` says of them, and how often it is right.

`python tests/simulation.py > docs/results/statistics.md` writes the page; tests/test_simulation.py is its fast form.
"""

import gc
import sys
from collections.abc import Callable, Iterable

import numpy as np
from scipy import special

from droplab.stats.compare import Comparison, compare, family
from droplab.stats.planning import plan_seeds

SEEDS = (3, 5, 10, 30)
MARGIN, SPREAD = 0.001, 0.001
SHAPES: dict[str, Callable[[np.random.Generator, int], np.ndarray]] = {  # mean 0, standard deviation 1
    "Gaussian": lambda random, seeds: random.normal(size=seeds),
    "exponential": lambda random, seeds: random.exponential(size=seeds) - 1,
    "lognormal": lambda random, seeds: (random.lognormal(size=seeds) - np.exp(0.5)) / np.sqrt((np.e - 1) * np.e),
}
CROSSED = {  # standard deviations on the probit scale: of an arm's seeds, of an arm's examples, of examples in common
    "examples differ between arms": (0.02, 0.4, 1.5),
    "seeds and examples alike": (0.1, 0.2, 1.5),
    "seeds differ": (0.3, 0.05, 1.0),
    "chance alone": (0.0, 0.0, 1.0),
}


def paired_comparisons(
    repeats: int, seeds: int, effect: float, spread: float = SPREAD, shape: str = "Gaussian"
) -> Iterable[Comparison]:
    """Comparisons of accuracies by seed, whose mean difference is `effect`."""
    random = np.random.default_rng(
        [7, repeats, seeds, round(1e7 * effect), round(1e7 * spread), list(SHAPES).index(shape)]
    )
    for _ in range(repeats):
        b = random.normal(0.9, 0.005, seeds)
        yield compare(b + effect + spread * SHAPES[shape](random, seeds), b)


def crossed_comparisons(
    repeats: int, seeds: int, components: tuple[float, float, float], gain: float, by_example: bool = True
) -> Iterable[tuple[Comparison, float]]:
    """Comparisons of right and wrong by example, each with the true difference over all seeds and examples.

    A network is right if ability + seed + its arm's bent for the example + how easy the example is exceeds a standard
    normal deviate; so an arm's accuracy over all seeds and examples is a normal probability.
    """
    of_seeds, of_examples, in_common = components
    examples = 1000
    total = np.sqrt(1 + of_seeds**2 + of_examples**2 + in_common**2)
    truth = float(special.ndtr((2 + gain) / total) - special.ndtr(2 / total))
    random = np.random.default_rng([11, repeats, seeds, round(1000 * gain), list(CROSSED.values()).index(components)])
    for _ in range(repeats):
        easy = in_common * random.normal(size=(1, examples))
        right = [
            ability + of_seeds * random.normal(size=(seeds, 1)) + of_examples * random.normal(size=(1, examples)) + easy
            > random.normal(size=(seeds, examples))
            for ability in (2 + gain, 2)
        ]
        a, b = right if by_example else [values.mean(axis=1) for values in right]
        yield compare(a, b), truth


def share(hits: Iterable[bool]) -> float:
    """How often it is so."""
    return float(np.mean(list(hits)))


def covers(one: Comparison, truth: float) -> bool:
    """Whether the interval holds the truth; where there is none nothing false is said."""
    return one.low is None or one.high is None or one.low <= truth <= one.high


def paired_coverage(repeats: int, seeds: int, shape: str = "Gaussian") -> float:
    """Of the interval over seeds."""
    return share(covers(one, 0.002) for one in paired_comparisons(repeats, seeds, 0.002, shape=shape))


def crossed_coverage(repeats: int, seeds: int, name: str, gain: float = 0.1, by_example: bool = True) -> float:
    """Of the interval over seeds and examples, or of that over seeds, by the truth over both."""
    found = crossed_comparisons(repeats, seeds, CROSSED[name], gain, by_example)
    return share(covers(one, truth) for one, truth in found)


def crossed_false_alarms(repeats: int, seeds: int, name: str) -> float:
    """How often `helps` or `hurts` is said where nothing differs."""
    return share(
        one.verdict in ("helps", "hurts") for one, _ in crossed_comparisons(repeats, seeds, CROSSED[name], 0.0)
    )


def study_false_alarms(repeats: int, seeds: int, arms: int = 4, corrected: bool = True) -> float:
    """How often a study in which nothing differs says `helps` or `hurts` of any of its arms."""
    comparisons = iter(paired_comparisons(repeats * arms, seeds, 0.0, spread=0.003))
    studies = ([next(comparisons) for _ in range(arms)] for _ in range(repeats))
    gc.freeze()  # statsmodels collects garbage at each correction: 40 ms over all of PyTorch's objects
    try:
        return share(
            any(one.verdict in ("helps", "hurts") for one in (family(study) if corrected else study))
            for study in studies
        )
    finally:
        gc.unfreeze()


def said(repeats: int, seeds: int, effect: float, spread: float, *verdicts: str) -> float:
    """How often one of the verdicts is given."""
    return share(one.verdict in verdicts for one in paired_comparisons(repeats, seeds, effect, spread))


def plan_keeps(repeats: int, effect: float, spread: float) -> tuple[int, float]:
    """The seeds that a plan asks for, and how often that many find the difference."""
    seeds = plan_seeds(effect, spread)
    return seeds, share(one.p_value < 0.05 for one in paired_comparisons(repeats, seeds, effect, spread))


def page(repeats: int) -> str:
    """The results page, in Markdown."""
    few = repeats // 5
    lines = [
        "# What the verdicts are worth: simulated studies",
        "",
        f"`python tests/simulation.py > docs/results/statistics.md`: {repeats:,} simulated studies a cell, {few:,} "
        "where there are several arms, where examples are simulated one by one, and for plans; the standard error of "
        f"a share of 95 % or 5 % is {_error(repeats):.2f} and {_error(few):.2f} points. tests/test_simulation.py holds "
        f"the same claims with fewer. NumPy {np.__version__}, Python {sys.version.split()[0]}. Differences have a "
        f"standard deviation of {100 * SPREAD:g} points over seeds unless said, the margin is ±{100 * MARGIN:g} "
        "points, confidence 95 %.",
        "",
        "## Coverage over seeds: accuracies (seeds,)",
        "",
        "Share of the nominal 95 % intervals that hold the true mean difference, in %. Gaussian ones do; skewed ones, "
        "of which Student's t promises nothing, do less. Differences of accuracies of two networks are near to "
        "symmetric.",
        "",
        *_table(["differences", *_seeds()], ([n, *(paired_coverage(repeats, s, n) for s in SEEDS)] for n in SHAPES)),
        "",
        "## Coverage over seeds and examples: right and wrong (seeds, 1000 examples)",
        "",
        "Networks right by a probit model with known standard deviations of seeds, of an arm's examples and of "
        "examples in common; the truth is over all seeds and all examples. Two-way variance components hold it; "
        "accuracies by seed (second table) do not speak of new examples, and it shows.",
        "",
        *_table(["design", *_seeds()], ([n, *(crossed_coverage(few, s, n) for s in SEEDS)] for n in CROSSED)),
        "",
        *_table(
            ["design, from accuracies by seed", *_seeds()],
            ([n, *(crossed_coverage(few, s, n, by_example=False) for s in SEEDS)] for n in CROSSED),
        ),
        "",
        "## Where nothing differs",
        "",
        "`helps` or `hurts` said of any of four arms, in % of the studies, by Holm's correction and without it; and of "
        "one comparison by example.",
        "",
        *_table(
            ["studies", *_seeds()],
            (
                ["four arms, Holm", *(study_false_alarms(few, s) for s in SEEDS)],
                ["four arms, uncorrected", *(study_false_alarms(few, s, corrected=False) for s in SEEDS)],
                *([f"by example: {n}", *(crossed_false_alarms(few, s, n) for s in SEEDS)] for n in CROSSED),
            ),
        ),
        "",
        "`equivalent` said where the true difference is just the margin, so that it is wrong, in %, by the spread over "
        "seeds:",
        "",
        *_table(
            ["spread (points)", *_seeds()],
            (
                [f"{100 * spread:g}", *(said(repeats, s, MARGIN, spread, "equivalent") for s in SEEDS)]
                for spread in (0.0001, 0.0003, 0.001, 0.003)
            ),
        ),
        "",
        "## It can speak",
        "",
        "A true difference of so many standard deviations of the differences is found (`helps`), in %:",
        "",
        *_table(
            ["difference (standard deviations)", *_seeds()],
            ([f"{d:g}", *(said(repeats, s, d * 0.002, 0.002, "helps") for s in SEEDS)] for d in (0.5, 1, 2, 3)),
        ),
        "",
        "Equal arms come out `equivalent`, in %, by the spread over seeds:",
        "",
        *_table(
            ["spread (points)", *_seeds()],
            (
                [f"{100 * spread:g}", *(said(repeats, s, 0.0, spread, "equivalent") for s in SEEDS)]
                for spread in (0.0001, 0.0002, 0.0005, 0.001)
            ),
        ),
        "",
        "## Plans",
        "",
        "`plan_seeds` for a power of 0.8, and the power that so many seeds have if effect and spread are as given:",
        "",
        "| effect ÷ spread | seeds | power (%) |",
        "| --- | --- | --- |",
    ]
    for ratio in (0.3, 0.5, 1, 2, 3):
        seeds, power = plan_keeps(few, ratio * SPREAD, SPREAD)
        lines.append(f"| {ratio:g} | {seeds} | {100 * power:.1f} |")
    return "\n".join(lines) + "\n"


def _seeds() -> list[str]:
    return [f"{seeds} seeds" for seeds in SEEDS]


def _table(head: list[str], rows: Iterable[list]) -> list[str]:
    cells = ([name, *(f"{100 * value:.1f}" for value in values)] for name, *values in rows)
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *cells)]


def _error(repeats: int) -> float:
    return 100 * float(np.sqrt(0.05 * 0.95 / repeats))


if __name__ == "__main__":
    sys.stdout.write(page(repeats=20_000))
