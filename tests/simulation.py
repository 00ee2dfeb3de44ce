"""What the verdicts are worth: docs/results/statistics.md, from simulated studies whose truth is known.

`python tests/simulation.py > docs/results/statistics.md` writes the page; what is measured is in tests/simulated.py.
"""

import sys
import time
from collections.abc import Callable, Iterable, Iterator

import numpy as np

import simulated as sim

MANY, SEVERAL, FEW = 4000, 1000, 300
"""Studies a cell: of one comparison; of a family; of thirty arms, or of thirteen that are looked at five times."""

SIZES, NUMBERS, UNEQUAL = (2, 3, 5, 12, 30), (2, 3, 5, 10, 30), (0.0, 0.3, 0.6)


def page() -> Iterator[str]:
    """The results page, in Markdown, line by line."""
    yield from _head()
    for section in (_families, _thirteen, _looks, _plans_of_verdicts, _real, _coverage, _pairs, _plans):
        started = time.monotonic()
        yield from ("", *section())
        print(f"{section.__name__}: {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)


def _head() -> Iterator[str]:
    yield "# What the verdicts are worth: simulated studies"
    yield ""
    yield (
        f"`python tests/simulation.py > docs/results/statistics.md`: {MANY:,} simulated studies a cell where one "
        f"comparison is simulated, {SEVERAL:,} where several arms are, fewer where it is said. The standard error of a "
        f"share of 5 % is {_error(MANY):.1f} points for {MANY:,} studies, {_error(SEVERAL):.1f} for {SEVERAL:,}, "
        f"{_error(FEW):.1f} for {FEW}. Joint errors of a family are drawn {sim.DRAWS:,} times here, for speed; "
        "the package draws them 40,000 times. tests/test_simulation.py holds the same claims with fewer studies. "
        f"NumPy {np.__version__}, Python {sys.version.split()[0]}."
    )
    yield ""
    yield (
        f"Studies of several arms: one control with the same seeds, standard deviation {100 * sim.RUN_SPREAD:g} points "
        f"over runs and {100 * sim.SEED_EFFECT:g} over seeds, the margin is ±{100 * sim.MARGIN:g} points, confidence "
        "95 %. Arms vary unequally: their standard deviations are log-normal, and *spread* is the standard deviation "
        "of their logarithms (0: all alike; 0.3: two in three within a factor of 1.35; 0.6: within 1.8). *Holm's t* is "
        "the way without help from other arms: each arm's own t test, corrected by Holm (1979)."
    )


def _families() -> Iterator[str]:
    yield "## Where nothing differs"
    yield ""
    yield (
        "`helps` or `hurts` said of any arm, in % of the studies: droplab / Holm's t. The margin is so small here that "
        "nothing is `equivalent`, which would hide an error. A star marks where arms and seeds are too few to lend "
        "anything and droplab falls back to Holm's t. Arms are counted without their control. "
        f"Thirty arms: {FEW} studies; skewed runs: 500."
    )
    cells: list[tuple[str, float, int]] = []
    for shape in ("Gaussian", "exponential", "lognormal (0.5)"):
        is_normal = shape == "Gaussian"
        numbers = NUMBERS if is_normal else NUMBERS[1:]
        yield ""
        yield f"{shape} runs:"
        yield ""
        yield from _heads(["spread", "arms", *_seeds(numbers)])
        for unequal in UNEQUAL:
            for arms in SIZES if is_normal else (3, 12):
                repeats = (FEW if arms == 30 else SEVERAL) if is_normal else 500
                row = []
                for seeds in numbers:
                    mine, holm, fell_back = sim.null_errors(repeats, arms, seeds, unequal, shape)
                    name = f"{shape}, spread {unequal:g}, {arms} arms, {seeds} seeds"
                    cells.append((name, mine, repeats))
                    row.append(f"{_percent(mine)}{'*' if fell_back else ''} / {_percent(holm)}")
                print(f"{shape}, spread {unequal:g}, {arms} arms", file=sys.stderr, flush=True)
                yield _row(f"{unequal:g}", f"{arms}", *row)
    yield ""
    yield _above(cells)
    yield ""
    yield (
        "Arms of different lengths, half of them 3 seeds and half 10, as planned before: "
        + ", ".join(
            f"{_percent(sim.ragged_errors(SEVERAL, 12, unequal))} % (12 arms, spread {unequal:g})"
            for unequal in UNEQUAL
        )
        + ". Four arms, each judged as if it were the only one: "
        + ", ".join(f"{_percent(sim.uncorrected_errors(MANY, 4, seeds))} % ({seeds} seeds)" for seeds in (3, 10))
        + "."
    )


def _above(cells: list[tuple[str, float, int]]) -> str:
    """Which cells are above 5 % by more than chance makes of it."""
    over = [
        f"{name}: {_percent(found)} %"
        for name, found, repeats in cells
        if 100 * (found - sim.ERROR) > 2 * _error(repeats)
    ]
    expected = f"of {len(cells)} cells at just 5 %, chance alone would put {0.023 * len(cells):.0f} there"
    if not over:
        return f"No cell of droplab's is above 5 % by more than two standard errors ({expected})."
    return f"Above 5 % by more than two standard errors ({expected}): {'; '.join(over)}."


def _thirteen() -> Iterator[str]:
    yield "## Thirteen arms"
    yield ""
    yield (
        f"True differences {', '.join(f'{100 * effect:g}' for effect in sim.EFFECTS)} points. Arms decided of thirteen "
        "(`helps`, `hurts` or `equivalent`), on the average, and studies that say `helps` or `hurts` of an arm without "
        "that effect, in %:"
    )
    yield ""
    yield from _heads(["spread", "seeds", "decided", "by Holm's t", "wrong (%)"])
    for unequal in UNEQUAL:
        for seeds in (3, 5):
            mine, holm, wrong = sim.decided(SEVERAL, seeds, unequal)
            yield _row(f"{unequal:g}", f"{seeds}", f"{mine:.1f}", f"{holm:.1f}", _percent(wrong))


def _looks() -> Iterator[str]:
    looks = ", ".join(map(str, sim.LOOKS))
    yield "## Looks at a growing study"
    yield ""
    yield (
        f"Studies without effect, looked at after {looks} seeds until something shows, spread 0.3, with a margin so "
        "small that nothing is `equivalent` and no arm leaves: `helps` or `hurts` said at any look, in % of the "
        "studies. `looks` spends the error (`droplab.stats.looks`); without it each look is judged as the only one. "
        "Last, Holm's t after every seed from 3 to 30."
    )
    yield ""
    yield from _heads(["studies", *(f"{arms} arm{'s' if arms > 1 else ''}" for arms in (1, 4, 12))])
    repeats = {1: MANY, 4: SEVERAL, 12: SEVERAL}
    for name, levels in (("with looks", sim.as_the_package()), ("without", [sim.ERROR] * len(sim.LOOKS))):
        yield _row(name, *(_percent(sim.looked_at(repeats[arms], arms, levels)) for arms in repeats))
    yield _row("every seed, Holm's t", *(_percent(sim.looked_at_every_seed(MANY, arms)) for arms in repeats))
    yield ""
    yield (
        "Arms whose true difference is just the margin, which are called `equivalent` at any look, in % of the arms: "
        + ", ".join(
            f"{_percent(sim.false_equivalent(number, arms, levels))} ({arms} arm{'s' if arms > 1 else ''}, {name})"
            for arms, number in ((1, MANY), (12, FEW))
            for name, levels in (("with looks", sim.as_the_package()), ("without", [sim.ERROR] * len(sim.LOOKS)))
        )
        + "."
    )
    yield ""
    yield (
        f"The thirteen arms above, each trained until it is decided, at most {sim.LOOKS[-1]} seeds "
        f"({14 * sim.LOOKS[-1]} networks), by what part of the error that is left a look spends. *More may follow*: as "
        "a study, whose looks have no last one; *ends*: as `compare(looks=…)`, whose last look spends all that is "
        "left. Equal parts are for a number of looks that is known beforehand. "
        f"Networks trained / arms decided of thirteen / studies with a wrong `helps` or `hurts` in %. {FEW} studies; "
        f"{FEW // 2} for spread 0 and 0.6."
    )
    yield ""
    yield from _heads(["a look spends", *(f"spread {unequal:g}" for unequal in UNEQUAL)])
    ways = [
        (f"1/{part}, {'ends' if ends else 'more may follow'}", sim.spent(1 / part, ends))
        for part in (2, 3, 4)
        for ends in (False, True)
    ]
    for name, levels in [*ways, ("equal parts, ends", sim.spent(None))]:
        row = []
        for unequal in UNEQUAL:
            networks, count, wrong = sim.grown(FEW if unequal == 0.3 else FEW // 2, levels, unequal)
            row.append(f"{networks:.1f} / {count:.1f} / {_percent(wrong)}")
        print(name, file=sys.stderr, flush=True)
        yield _row(name, *row)


def _plans_of_verdicts() -> Iterator[str]:
    yield "## Seeds needed"
    yield ""
    yield (
        "What an undecided verdict says of the seeds that would settle it. *Holds*: the range holds the number that "
        "the arm's true spread gives, in % of the undecided, for the difference as seen (which is what the range is "
        "for), "
        "and for the true difference (which nobody knows). The ends are medians; *not worth it*: more than 100 seeds, "
        f"in %. One arm: {MANY:,} studies of a true difference of 0.1 points, just the margin, and of 0.2; "
        "thirteen arms: "
        f"{FEW} studies, those above."
    )
    yield ""
    yield from _heads(
        ["study", "spread", "seeds", "undecided (%)", "from", "to", "not worth it", "holds, as seen", "holds, in truth"]
    )
    designs = [("one arm, 0.1", [0.001], MANY), ("one arm, 0.2", [0.002], MANY), ("thirteen arms", sim.EFFECTS, FEW)]
    for name, effects, repeats in designs:
        for unequal in (0.3,) if len(effects) == 1 else UNEQUAL:
            for seeds in (3, 5):
                found = sim.planned(repeats, seeds, effects, unequal)
                shares = [_percent(found[key]) for key in ("not worth it", "held", "held in truth")]
                ends = [f"{found[key]:.0f}" if np.isfinite(found[key]) else "> 100" for key in ("low", "high")]
                yield _row(name, f"{unequal:g}", f"{seeds}", _percent(found["undecided"]), *ends, *shares)


def _real() -> Iterator[str]:
    yield "## Real networks without effect"
    yield ""
    yield (
        "Sixty seeds of one arm of the data set `digits` (tests/null_accuracies.json, which names the command that "
        f"trained them), dealt at random {SEVERAL:,} times into a control and pretended arms: studies that say `helps` "
        "or `hurts` of any, in %. All are of one arm, so every one is false. Accuracies are whole numbers of "
        "360 examples."
    )
    yield ""
    yield from _heads(["arms", "seeds", "droplab", "Holm's t"])
    for arms, seeds in ((1, 3), (4, 3), (12, 3), (1, 5), (4, 5), (11, 5)):
        yield _row(f"{arms}", f"{seeds}", *map(_percent, sim.real_null(SEVERAL, arms, seeds)))


def _coverage() -> Iterator[str]:
    yield "## Coverage over seeds: accuracies (seeds,)"
    yield ""
    yield (
        "`compare`, one comparison. Share of the nominal 95 % intervals that hold the true mean difference, in %; "
        f"differences have a standard deviation of {100 * sim.PAIR_SPREAD:g} points. Gaussian ones do; skewed ones, of "
        "which Student's t promises nothing, do less. Differences of accuracies of two networks are near to symmetric."
    )
    yield ""
    yield from _table("differences", sim.SHAPES, lambda seeds, name: sim.paired_coverage(MANY, seeds, name))
    yield ""
    yield "## Coverage over seeds and examples: right and wrong (seeds, 1000 examples)"
    yield ""
    yield (
        "Networks right by a probit model with known standard deviations of seeds, of an arm's examples and of "
        f"examples in common, {SEVERAL:,} studies; the truth is over all seeds and all examples. Two-way variance "
        "components hold it; accuracies by seed (second table) do not speak of new examples, and it shows."
    )
    yield ""
    yield from _table("design", sim.CROSSED, lambda seeds, name: sim.crossed_coverage(SEVERAL, seeds, name))
    yield ""
    yield from _table(
        "design, from accuracies by seed",
        sim.CROSSED,
        lambda seeds, name: sim.crossed_coverage(SEVERAL, seeds, name, by_example=False),
    )
    yield ""
    yield f"`helps` or `hurts` by example where nothing differs, in % of {SEVERAL:,} studies:"
    yield ""
    yield from _table("design", sim.CROSSED, lambda seeds, name: sim.crossed_false_alarms(SEVERAL, seeds, name))


def _pairs() -> Iterator[str]:
    yield "## One comparison"
    yield ""
    yield (
        "`equivalent` said where the true difference is just the margin, so that it is wrong, in %, by the spread over "
        "seeds:"
    )
    yield ""
    yield from _table(
        "spread (points)",
        ("0.01", "0.03", "0.1", "0.3"),
        lambda seeds, name: sim.said(MANY, seeds, sim.MARGIN, float(name) / 100, "equivalent"),
    )
    yield ""
    yield "A true difference of so many standard deviations of the differences is found (`helps`), in %:"
    yield ""
    yield from _table(
        "difference (standard deviations)",
        ("0.5", "1", "2", "3"),
        lambda seeds, name: sim.said(MANY, seeds, float(name) * 0.002, 0.002, "helps"),
    )
    yield ""
    yield "Equal arms come out `equivalent`, in %, by the spread over seeds:"
    yield ""
    yield from _table(
        "spread (points)",
        ("0.01", "0.02", "0.05", "0.1"),
        lambda seeds, name: sim.said(MANY, seeds, 0.0, float(name) / 100, "equivalent"),
    )


def _plans() -> Iterator[str]:
    yield "## Plans"
    yield ""
    yield "`plan_seeds` for a power of 0.8, and the power that so many seeds have if effect and spread are as given:"
    yield ""
    yield from _heads(["effect ÷ spread", "seeds", "power (%)"])
    for ratio in (0.3, 0.5, 1, 2, 3):
        seeds, power = sim.plan_keeps(MANY, ratio * sim.PAIR_SPREAD, sim.PAIR_SPREAD)
        yield _row(f"{ratio:g}", f"{seeds}", _percent(power))


def _table(head: str, names: Iterable[str], measure: Callable[[int, str], float]) -> Iterator[str]:
    yield from _heads([head, *_seeds(sim.SEEDS)])
    for name in names:
        yield _row(name, *(_percent(measure(seeds, name)) for seeds in sim.SEEDS))


def _heads(names: list[str]) -> Iterator[str]:
    yield _row(*names)
    yield _row(*["---"] * len(names))


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _seeds(numbers: Iterable[int]) -> list[str]:
    return [f"{seeds} seeds" for seeds in numbers]


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


def _error(repeats: int) -> float:
    return 100 * float(np.sqrt(0.05 * 0.95 / repeats))


if __name__ == "__main__":
    for line in page():
        print(line, flush=True)
