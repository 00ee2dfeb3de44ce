"""Gives damaged files to the product, case by case, in processes that are watched; what must not be is a finding.

A case is (target, number): the number seeds all that is random in it, so any case can be had again.
"""

import resource
import signal
import sys
import tempfile
import time
import traceback
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from random import Random
from typing import Any, ClassVar

from droplab.errors import DroplabError
from forked import forked

MOST_MEGABYTES = 1000
"""What the process may take, with Python and all libraries, while it is asked about one file."""

MOST_SECONDS = 5.0
"""Of the processor that a file may take: what else the machine does has no part in it."""

_HANGS = 60  # seconds after which a process that waits, or does not come back from a library, is killed
_CHUNK = 10_000  # most cases of a process; then a new one begins
_BLOATED = 600  # megabytes that a process has left over from earlier cases; then a new one begins
_NET = 6 << 30  # bytes of data a process can have at all, so that a fault does not take the machine down
_CASE, _REFUSED, _ACCEPTED, _PEAK, _SLOWEST = range(5)  # places in what a process shares; kB and µs the last two
_ROOM = Path("/dev/shm")  # files lie in memory where there is such a place


class Target(ABC):
    """A kind of file that is fuzzed.

    Attributes:
        name: of the target.
        share: cases of it among a million.
    """

    name: ClassVar[str]
    share: ClassVar[int]

    def __init__(self, folder: Path) -> None:
        """Make the sound files that the damaged ones come from; `folder` is this target's own."""
        self.folder = folder

    @abstractmethod
    def write(self, random: Random) -> Any:
        """Make a damaged file; what is returned goes to `ask`."""

    @abstractmethod
    def ask(self, case: Any) -> None:
        """Give it to the product.

        Raises:
            DroplabError: if the product refuses it, as it may.
            ChangedError: if the product takes it, and says something else than of the sound file.
        """


class ChangedError(AssertionError):
    """Something else came out than what was kept, and nothing was said."""


class TooSlowError(BaseException):
    """A case takes too long; no `except Exception` stops it."""


@dataclass(frozen=True)
class Finding:
    """A case that did what it must not."""

    target: str
    number: int
    what: str

    def __str__(self) -> str:
        return f'{self.what}\n  again: make fuzz ARGS="--again {self.target} {self.number}"'


@dataclass
class Tally:
    """What came of the cases of a target; megabytes and seconds are those of the worst case."""

    name: str
    files: int = 0
    refused: int = 0
    accepted: int = 0
    megabytes: float = 0.0
    slowest: float = 0.0
    seconds: float = 0.0
    findings: list[Finding] = field(default_factory=list)


def hunt(targets: Sequence[type[Target]], cases: Sequence[range], workers: int) -> Iterator[Tally]:
    """Ask about some cases of each target; yields a tally of each chunk of them as soon as it is done."""
    todo = [
        (target, numbers[start : start + _CHUNK])
        for target, numbers in zip(targets, cases, strict=True)
        for start in range(0, len(numbers), _CHUNK)
    ]
    context = forked()
    running: list[_Worker] = []
    try:
        while todo or running:
            while todo and len(running) < workers:
                running.append(_Worker(context, *todo.pop(0)))
            wait([part for worker in running for part in (worker.results, worker.process.sentinel)], timeout=1)
            for worker in list(running):
                if (tally := worker.look()) is not None:
                    running.remove(worker)
                    todo[:0] = worker.left
                    yield tally
    finally:
        for worker in running:
            worker.process.kill()
            worker.process.join()
            worker.room.cleanup()


class _Worker:
    """A process that asks about cases of one target, and what is seen of it from outside."""

    def __init__(self, context: Any, target: type[Target], numbers: range) -> None:
        self.target, self.numbers = target, numbers
        self.left: list[tuple[type[Target], range]] = []
        self.shared = context.Array("q", [numbers.start - 1, 0, 0, 0, 0], lock=False)
        self.room = tempfile.TemporaryDirectory(prefix="fuzz-", dir=_ROOM if _ROOM.is_dir() else None)
        self.results, theirs = context.Pipe(duplex=False)
        self.process = context.Process(target=_work, args=(target, numbers, Path(self.room.name), self.shared, theirs))
        self.begun = self.moved = time.monotonic()
        self.last = numbers.start - 1
        self.findings: list[Finding] = []
        self.process.start()
        theirs.close()

    def look(self) -> Tally | None:
        """What came of it, once it has ended; kill it if it stands still."""
        ended = not self.process.is_alive()  # asked first, so that nothing it sent before is missed
        while self.results.poll():
            try:
                self.findings.append(self.results.recv())
            except EOFError:
                break
        now, case = time.monotonic(), self.shared[_CASE]
        if case != self.last:
            self.last, self.moved = case, now
        if not ended:
            if now - self.moved > _HANGS * (1 + (case < self.numbers.start)):
                self.process.kill()
            return None
        done = case - self.numbers.start
        if (code := self.process.exitcode) != 0:
            hung = now - self.moved > _HANGS
            died = f"hangs for {_HANGS} s and more" if hung else f"the process ends with {code}, a signal if below 0"
            self.findings.append(Finding(self.target.name, case, died))
            done += 1
        if rest := self.numbers[done:] if done else None:  # none where not even the sound files could be made
            self.left = [(self.target, rest)]
        self.room.cleanup()
        _, refused, accepted, peak, slowest = self.shared
        return Tally(
            *(self.target.name, done, refused, accepted, peak / 1000, slowest / 1e6, now - self.begun, self.findings)
        )


def _work(target: type[Target], numbers: range, folder: Path, shared: Any, results: Connection) -> None:
    """The process's own part: ask about case after case, and send each finding."""
    resource.setrlimit(resource.RLIMIT_DATA, (_NET, _NET))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    made = target(folder)
    for number in numbers:
        shared[_CASE] = number
        if _kilobytes("VmRSS") > 1000 * _BLOATED:
            return
        said, peak, seconds = one_case(made, number)
        shared[_PEAK], shared[_SLOWEST] = max(shared[_PEAK], peak), max(shared[_SLOWEST], int(1e6 * seconds))
        if said in ("refused", "accepted"):
            shared[_REFUSED if said == "refused" else _ACCEPTED] += 1
        else:
            results.send(Finding(target.name, number, said))
    shared[_CASE] = numbers.stop


def one_case(target: Target, number: int) -> tuple[str, int, float]:
    """Ask about one case: `refused`, `accepted`, or what must not be; the most memory in kB; the seconds."""
    case = target.write(Random(f"{target.name} {number}"))
    Path("/proc/self/clear_refs").write_text("5", "ascii")  # the highest mark of memory begins anew
    started = time.process_time()
    with warnings.catch_warnings(record=True) as warned, _alarm():
        warnings.simplefilter("always")
        said = _verdict(target, case)
    seconds = time.process_time() - started
    peak = _kilobytes("VmHWM")
    if warned:
        said = f"warns: {warned[0].category.__name__}: {warned[0].message} ({warned[0].filename}:{warned[0].lineno})"
    elif seconds > MOST_SECONDS:
        said = f"takes {seconds:.1f} s; {said}"
    elif peak > 1000 * MOST_MEGABYTES:
        said = f"takes {peak / 1000:.0f} MB; {said}"
    return said, peak, seconds


def _verdict(target: Target, case: Any) -> str:
    try:
        target.ask(case)
    except DroplabError as error:
        text = str(error)
        return "refused" if text.strip() and "\n" not in text else f"refuses without one line: {text!r}"
    except ChangedError as error:
        return f"silently changed: {error}"
    except (Exception, TooSlowError) as error:
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "/droplab/" in frame.filename]
        place = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
        return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}{place}"
    return "accepted"


@contextmanager
def _alarm() -> Iterator[None]:
    def ring(number: int, frame: object) -> None:
        raise TooSlowError

    before = signal.signal(signal.SIGPROF, ring)
    signal.setitimer(signal.ITIMER_PROF, MOST_SECONDS + 0.2)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def _kilobytes(what: str) -> int:
    with open("/proc/self/status", encoding="ascii", errors="replace") as file:  # noqa: PTH123 (a million times)
        return next(int(line.split()[1]) for line in file if line.startswith(what))


def again(target: type[Target], number: int, folder: Path) -> str:
    """One case here, with its files left in `folder`; a traceback goes to stderr."""
    made = target(folder)
    case = made.write(Random(f"{target.name} {number}"))
    try:
        made.ask(case)
    except Exception:
        traceback.print_exc(file=sys.stderr)
    return one_case(made, number)[0]
