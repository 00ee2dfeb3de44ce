"""Simulated studies whose truth is known, and how often what droplab says of them is right.

tests/simulation.py makes docs/results/statistics.md of it, tests/test_simulation.py its fast form.

A arms with their control first, S seeds, R studies.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from unittest.mock import patch

import numpy as np
from scipy import special

from droplab.stats.compare import ROUNDING, Comparison, compare
from droplab.stats.family import judge_family
from droplab.stats.looks import level_of
from droplab.stats.planning import plan_seeds, seeds_needed

SEEDS = (3, 5, 10, 30)
LOOKS = (3, 5, 8, 13, 21)
ERROR, MARGIN, PAIR_SPREAD = 0.05, 0.001, 0.001
NO_MARGIN = 1e-9
"""So small that nothing is equivalent: who is, is neither said to help nor to hurt, and would hide an error."""

DRAWS = 2000
"""Of a family's joint errors, for speed; the package itself draws 40,000."""

EFFECTS = np.array([0, 0, 0, 0, 0.0005, 0.001, 0.0015, 0.002, 0.003, 0.004, -0.002, -0.004, 0.008])
RUN_SPREAD, SEED_EFFECT = 0.0007, 0.0005
"""Of the study with thirteen arms: standard deviations of an arm's runs, before they are made unequal, and of seeds."""

NULL = Path(__file__).with_name("null_accuracies.json")
"""Sixty seeds of one arm, trained by the command that the file names."""

SHAPES: dict[str, Callable[[np.random.Generator, int | tuple[int, int]], np.ndarray]] = {  # mean 0, deviation 1
    "Gaussian": lambda random, shape: random.normal(size=shape),
    "exponential": lambda random, shape: random.exponential(size=shape) - 1,
    "lognormal": lambda random, shape: (random.lognormal(size=shape) - np.exp(0.5)) / np.sqrt((np.e - 1) * np.e),
    "lognormal (0.5)": lambda random, shape: (
        (random.lognormal(sigma=0.5, size=shape) - np.exp(0.125)) / np.sqrt((np.exp(0.25) - 1) * np.exp(0.25))
    ),
}
CROSSED = {  # standard deviations on the probit scale: of an arm's seeds, of an arm's examples, of examples in common
    "examples differ between arms": (0.02, 0.4, 1.5),
    "seeds and examples alike": (0.1, 0.2, 1.5),
    "seeds differ": (0.3, 0.05, 1.0),
    "chance alone": (0.0, 0.0, 1.0),
}


def paired_comparisons(
    repeats: int, seeds: int, effect: float, spread: float = PAIR_SPREAD, shape: str = "Gaussian"
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


def said(repeats: int, seeds: int, effect: float, spread: float, *verdicts: str) -> float:
    """How often one of the verdicts is given."""
    return share(one.verdict in verdicts for one in paired_comparisons(repeats, seeds, effect, spread))


def plan_keeps(repeats: int, effect: float, spread: float) -> tuple[int, float]:
    """The seeds that a plan asks for, and how often that many find the difference."""
    seeds = plan_seeds(effect, spread)
    return seeds, share(one.p_value < 0.05 for one in paired_comparisons(repeats, seeds, effect, spread))


def arm_spreads(random: np.random.Generator, arms: int, unequal: float) -> np.ndarray:
    """Standard deviations of a control's and its arms' runs: log-normal, `unequal` is that of their logarithms."""
    return RUN_SPREAD * np.exp(random.normal(0, unequal, arms + 1))


def study_of(
    random: np.random.Generator, seeds: int, effects: Sequence[float], spreads: np.ndarray, shape: str = "Gaussian"
) -> np.ndarray:
    """Accuracies of a control and of arms that are better by `effects`, shape (A, S)."""
    runs = spreads[:, None] * SHAPES[shape](random, (len(spreads), seeds))
    return 0.9 + random.normal(0, SEED_EFFECT, seeds) + np.array([0, *effects])[:, None] + runs


def study(
    random: np.random.Generator, seeds: int, effects: Sequence[float], unequal: float, shape: str = "Gaussian"
) -> np.ndarray:
    """The same with spreads of its own."""
    return study_of(random, seeds, effects, arm_spreads(random, len(effects), unequal), shape)


def judged(results: np.ndarray, margin: float = MARGIN, level: float = ERROR) -> list[Comparison]:
    """Every arm of shape (A, S) against the first."""
    return judge_family(list(results), [(arm, 0) for arm in range(1, len(results))], margin, level, DRAWS)


def by_holm(
    results: np.ndarray, margin: float = MARGIN, level: float = ERROR, corrected: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """The plain way, for R studies at once: each arm's own t test, by Holm's correction.

    Args:
        results: shape (R, A, S).
        margin: of equivalence.
        level: of the study.
        corrected: whether by Holm.

    Returns:
        Whether it is said to help or hurt, and whether to be equivalent, each of shape (R, A − 1).
    """
    differences = results[:, 1:] - results[:, :1]
    seeds, arms = differences.shape[2], differences.shape[1]
    means, errors = differences.mean(axis=2), differences.std(axis=2, ddof=1) / np.sqrt(seeds)
    varies = np.ptp(differences, axis=2) > ROUNDING
    p_values = np.where(varies, 2 * special.stdtr(seeds - 1, -np.abs(means) / np.where(varies, errors, 1)), 1)
    order = np.argsort(p_values, axis=1)
    factors = np.arange(arms, 0, -1) if corrected else 1
    adjusted = np.maximum.accumulate(factors * np.take_along_axis(p_values, order, axis=1), axis=1)
    shown = np.empty(p_values.shape, dtype=bool)
    np.put_along_axis(shown, order, adjusted < level, axis=1)
    same = varies & (np.abs(means) + special.stdtrit(seeds - 1, 1 - level) * errors < margin)
    return shown & ~same, same


def differs(found: Iterable[Comparison]) -> bool:
    """Whether any is said to help or to hurt."""
    return any(one.verdict in ("helps", "hurts") for one in found)


def null_errors(
    repeats: int, arms: int, seeds: int, unequal: float, shape: str = "Gaussian"
) -> tuple[float, float, bool]:
    """How often a study without effect says `helps` or `hurts`: as droplab, and by Holm; whether droplab fell back."""
    random = np.random.default_rng([13, arms, seeds, round(10 * unequal), list(SHAPES).index(shape)])
    studies = np.array([study(random, seeds, np.zeros(arms), unequal, shape) for _ in range(repeats)])
    with _no_plans():
        found = [judged(one, NO_MARGIN) for one in studies]
    fell_back = not any(one.moderated for one in found[0])
    return share(map(differs, found)), float(by_holm(studies, NO_MARGIN)[0].any(axis=1).mean()), fell_back


def uncorrected_errors(repeats: int, arms: int, seeds: int) -> float:
    """The same where each arm is judged as if it were the only one."""
    random = np.random.default_rng([17, arms, seeds])
    studies = np.array([study(random, seeds, np.zeros(arms), 0.0) for _ in range(repeats)])
    return float(by_holm(studies, NO_MARGIN, corrected=False)[0].any(axis=1).mean())


def ragged_errors(repeats: int, arms: int, unequal: float, short: int = 3, long: int = 10) -> float:
    """The same where every other arm has fewer seeds, each judged at its own, as `compare_all` does."""
    random = np.random.default_rng([19, arms, round(10 * unequal)])
    hits = []
    with _no_plans():
        for _ in range(repeats):
            results = study(random, long, np.zeros(arms), unequal)
            results[1::2, short:] = np.nan
            hits.append(
                differs(judged(results[:, :short], NO_MARGIN)[::2]) or differs(judged(results, NO_MARGIN)[1::2])
            )
    return share(hits)


def decided(repeats: int, seeds: int, unequal: float) -> tuple[float, float, float]:
    """Of thirteen arms: how many are decided, how many by Holm, and how often any is said to help or hurt wrongly."""
    random = np.random.default_rng([23, seeds, round(10 * unequal)])
    studies = np.array([study(random, seeds, EFFECTS, unequal) for _ in range(repeats)])
    with _no_plans():
        found = [[one.verdict for one in judged(one)] for one in studies]
    wrong = share(any(map(is_wrong, verdicts, EFFECTS)) for verdicts in found)
    count = float(np.mean([sum(verdict != "undecided" for verdict in verdicts) for verdicts in found]))
    return count, float(sum(by_holm(studies)).sum(axis=1).mean()), wrong


def is_wrong(verdict: str, effect: float) -> bool:
    """Whether a verdict says that there is a difference of a sign that it has not."""
    return (verdict == "helps" and effect <= 0) or (verdict == "hurts" and effect >= 0)


def spent(share_of_rest: float | None, ends: bool = False) -> list[float]:
    """The levels of looks that each spend a share of the error that is left; equal parts for `None`.

    Args:
        share_of_rest: that share.
        ends: whether the last look spends all that is left, since none will follow.
    """
    if share_of_rest is None:
        return [ERROR / len(LOOKS)] * len(LOOKS)
    levels = [ERROR * share_of_rest * (1 - share_of_rest) ** look for look in range(len(LOOKS))]
    return [*levels[:-1], ERROR - sum(levels[:-1])] if ends else levels


def as_the_package() -> list[float]:
    """The levels of a growing study."""
    return [level_of(look, ERROR) for look in range(1, len(LOOKS) + 1)]


def walk(results: np.ndarray, levels: Sequence[float], margin: float = MARGIN) -> tuple[list[str], np.ndarray]:
    """A study that grows from look to look, as `droplab.study.verdicts`: an arm is trained until it is decided.

    Args:
        results: shape (A, S), S that of the last look.
        levels: of each look.
        margin: of equivalence.

    Returns:
        The verdicts of the A − 1 arms, and how many networks each of the A took.
    """
    verdicts, ends = ["undecided"] * (len(results) - 1), np.full(len(results), LOOKS[-1])
    for seeds, level in zip(LOOKS, levels, strict=True):
        there = np.arange(LOOKS[-1]) < np.minimum(ends, seeds)[:, None]
        for place, one in enumerate(judged(np.where(there, results, np.nan), margin, level)):
            if verdicts[place] == "undecided" and one.verdict != "undecided":
                verdicts[place], ends[place + 1] = one.verdict, seeds
        if "undecided" not in verdicts:
            ends[0] = seeds
            break
    return verdicts, ends


def looked_at(repeats: int, arms: int, levels: Sequence[float], unequal: float = 0.3) -> float:
    """How often a study without effect says `helps` or `hurts` at any of its looks, where nothing is equivalent."""
    random = np.random.default_rng([29, arms, round(10 * unequal)])
    with _no_plans():
        found = [walk(study(random, LOOKS[-1], np.zeros(arms), unequal), levels, NO_MARGIN)[0] for _ in range(repeats)]
    return share(any(verdict != "undecided" for verdict in verdicts) for verdicts in found)


def looked_at_every_seed(repeats: int, arms: int, last: int = 30) -> float:
    """The same at the full level, by Holm, at each seed from 3 on."""
    random = np.random.default_rng([31, arms])
    studies = np.array([study(random, last, np.zeros(arms), 0.3) for _ in range(repeats)])
    shown = [by_holm(studies[:, :, :seeds], NO_MARGIN)[0].any(axis=1) for seeds in range(3, last + 1)]
    return float(np.any(shown, axis=0).mean())


def false_equivalent(repeats: int, arms: int, levels: Sequence[float]) -> float:
    """How often an arm whose difference is just the margin is `equivalent` at any look."""
    random = np.random.default_rng([37, arms])
    with _no_plans():
        found = [walk(study(random, LOOKS[-1], np.full(arms, MARGIN), 0.3), levels)[0] for _ in range(repeats)]
    return share(verdict == "equivalent" for verdicts in found for verdict in verdicts)


def grown(repeats: int, levels: Sequence[float], unequal: float) -> tuple[float, float, float]:
    """Of a study with thirteen arms: networks trained, arms decided, and how often any helps or hurts wrongly."""
    random = np.random.default_rng([41, round(10 * unequal)])
    with _no_plans():
        found = [walk(study(random, LOOKS[-1], EFFECTS, unequal), levels) for _ in range(repeats)]
    count = float(np.mean([sum(verdict != "undecided" for verdict in verdicts) for verdicts, _ in found]))
    wrong = share(any(map(is_wrong, verdicts, EFFECTS)) for verdicts, _ in found)
    return float(np.mean([ends.sum() for _, ends in found])), count, wrong


def planned(repeats: int, seeds: int, effects: Sequence[float], unequal: float) -> dict[str, float]:
    """What `seeds_needed` says of undecided arms, and how often its range holds the right number.

    The right number is that of the arm's true spread: for the difference that was seen, and for the true difference.
    More than 100 is right where it is said so.
    """
    random = np.random.default_rng([43, seeds, len(effects), round(10 * unequal)])
    asked: list[tuple] = []

    def remember(*wanted, **more):
        asked.append((wanted, more))
        return seeds_needed(*wanted, **more)

    said, as_seen, in_truth = [], [], []
    for _ in range(repeats):
        spreads = arm_spreads(random, len(effects), unequal)
        asked.clear()
        with _plans_by(remember):
            found = judged(study_of(random, seeds, effects, spreads))
        for place, one in enumerate(found):
            if one.verdict != "undecided":
                continue
            said.append(one.seeds_needed)
            if one.seeds_needed is None:
                continue
            wanted, more = next(call for call in reversed(asked) if call[0][0] == one.difference)
            true = [spreads[0] ** 2 + spreads[place + 1] ** 2]
            for difference, held in ((one.difference, as_seen), (effects[place], in_truth)):
                number = seeds_needed(difference, *wanted[1:4], true * 2, *wanted[5:], **more)
                held.append(number is not None and _holds(one.seeds_needed, number.low))
    told = [one for one in said if one is not None]
    return {
        "undecided": len(said) / (repeats * len(effects)),
        "not worth it": share(one.low is None for one in told),
        "held": share(as_seen),
        "held in truth": share(in_truth),
        "low": float(np.median([one.low or np.inf for one in told])),
        "high": float(np.median([one.high or np.inf for one in told])),
    }


def _holds(said: tuple[int | None, int | None], number: int | None) -> bool:
    low, high, number = (np.inf if end is None else end for end in (*said, number))
    return low <= number <= high


def real_null(repeats: int, arms: int, seeds: int) -> tuple[float, float]:
    """How often pretended arms, made of one real arm's seeds at random, are said to differ: as droplab, and by Holm."""
    told = json.loads(NULL.read_text())
    accuracies = np.array(told["right"]) / told["examples"]
    random = np.random.default_rng([47, arms, seeds])
    shape = arms + 1, seeds
    studies = np.array([random.permutation(accuracies)[: shape[0] * shape[1]].reshape(shape) for _ in range(repeats)])
    with _no_plans():
        return (
            share(differs(judged(one, NO_MARGIN)) for one in studies),
            float(by_holm(studies, NO_MARGIN)[0].any(axis=1).mean()),
        )


@contextmanager
def _plans_by(way: Callable) -> Iterator[None]:
    with patch("droplab.stats.family.seeds_needed", way), patch("droplab.stats.compare.seeds_needed", way):
        yield


def _no_plans() -> AbstractContextManager[None]:
    """No seeds are counted that nobody asks for: they take a good part of the time."""
    return _plans_by(lambda *_, **__: None)
