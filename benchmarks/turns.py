"""Turns: every program works once in each, so that what the machine does besides meets all alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from droplab.study.limits import watch_others


class Sample(NamedTuple):
    """What one piece of work took.

    Attributes:
        seconds: of the clock.
        cpu: seconds of processor time, over all threads and processes; 0 where it is not measured.
        peak: most bytes that one of its processes held; 0 where it is not measured.
    """

    seconds: float
    cpu: float = 0.0
    peak: int = 0

    def times(self, factor: float) -> Sample:
        """The same for `factor` times the work."""
        return Sample(self.seconds * factor, self.cpu * factor, self.peak)


def total(samples: Iterable[Sample]) -> Sample:
    """What pieces of work took together, each after another."""
    seconds, cpu, _ = zip(*samples, strict=True)
    return Sample(sum(seconds), sum(cpu))


def timed(work: Callable[[], object]) -> Sample:
    """What work in this process takes."""
    cpu, started = time.process_time(), time.perf_counter()
    work()
    return Sample(time.perf_counter() - started, time.process_time() - cpu)


class Spread(NamedTuple):
    """A figure over the turns."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Of one value a turn."""
        return cls(statistics.median(values), min(values), max(values))

    def __str__(self) -> str:
        """`5.71 (5.40–6.53)`; one number after a single turn."""
        digits = 2 if self.most < 10 else 1 if self.most < 100 else 0
        median, least, most = (f"{value:.{digits}f}" for value in self)
        return median if self.least == self.most else f"{median} ({least}–{most})"


@dataclass(frozen=True)
class Contest:
    """Programs that do the same work.

    Attributes:
        title: what is done.
        unit: that seconds are for: `an epoch`.
        programs: each does its work once, droplab's first.
        networks: of them all the seconds are, and of one the processor time.
        about: what is the same for all, a line.
    """

    title: str
    unit: str
    programs: Mapping[str, Callable[[], Sample]]
    networks: int = 1
    about: str = ""


@dataclass(frozen=True)
class Result:
    """What a contest gave, a value a turn.

    Attributes:
        contest: whose.
        samples: of each program.
        elsewhere: share of the cores that other processes had meanwhile, if the system tells.
    """

    contest: Contest
    samples: dict[str, list[Sample]]
    elsewhere: list[float | None]

    def ratio(self, program: str, what: Literal["seconds", "cpu"] = "seconds") -> Spread | None:
        """How many times as much as droplab it took, turn by turn; `None` where that is not measured."""
        own, theirs = (
            [getattr(sample, what) for sample in self.samples[one]] for one in (next(iter(self.samples)), program)
        )
        return Spread.of([b / a for a, b in zip(own, theirs, strict=True)]) if all(own) and all(theirs) else None

    def lines(self) -> Iterator[str]:
        """A heading and a table, in Markdown."""
        share = " and network" if self.contest.networks > 1 else ""
        yield from ("", f"### {self.contest.title}", "")
        if self.contest.about:
            yield from (self.contest.about, "")
        unit = self.contest.unit
        peaks = any(sample.peak for samples in self.samples.values() for sample in samples)
        head = ["program", f"s {unit}", "times droplab's", f"CPU ms {unit}{share}", "times droplab's"]
        yield from markdown_head([*head, "largest process (MB)"] if peaks else head)
        for program, samples in self.samples.items():
            seconds, cpu, peak = (statistics.median(values) for values in zip(*samples, strict=True))
            cells = [program, figure(seconds), self.ratio(program) or "", figure(1000 * cpu / self.contest.networks)]
            cells += [self.ratio(program, "cpu") or ""]
            yield markdown_row([*cells, f"{peak / 1e6:.0f}"] if peaks else cells)

    def to_json(self) -> dict[str, Any]:
        """Everything measured."""
        contest = self.contest
        return {
            "title": contest.title,
            "about": contest.about,
            "unit": contest.unit,
            "networks": contest.networks,
            "programs": {name: [sample._asdict() for sample in samples] for name, samples in self.samples.items()},
            "elsewhere": self.elsewhere,
        }


def take_turns(contest: Contest, turns: int, say: Callable[[str], None]) -> Result:
    """Let every program of a contest do its work `turns` times, one after another."""
    result = Result(contest, {name: [] for name in contest.programs}, [])
    for number in range(1, turns + 1):
        share = watch_others()
        for name, program in contest.programs.items():
            result.samples[name].append(program())
        result.elsewhere.append(share())
        took = ", ".join(f"{name} {samples[-1].seconds:.3g} s" for name, samples in result.samples.items())
        say(f"turn {number} of {turns}, {contest.title}: {took} {contest.unit}")
    return result


def figure(value: float) -> str:
    """Three digits at least; nothing where it was not measured."""
    return "" if not value else f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def markdown_row(cells: Sequence[object]) -> str:
    """A row of a table."""
    return f"| {' | '.join(map(str, cells))} |"


def markdown_head(names: Sequence[str]) -> Iterator[str]:
    """Its first two lines."""
    yield markdown_row(names)
    yield markdown_row(["---"] * len(names))
