"""A few hundred damaged files of each kind (`make fuzz`: a million), and that the harness sees what it must."""

import os
import signal
import warnings
from collections.abc import Iterator
from random import Random

import pytest

from droplab.errors import DataError
from fuzz.harness import ChangedError, Tally, Target, hunt
from fuzz.targets import TARGETS

CASES = {name: range(min(250, target.share // 100)) for name, target in TARGETS.items()}  # fewer of what takes longer


@pytest.fixture(scope="module")
def tallies() -> Iterator[dict[str, list[Tally]]]:
    found: dict[str, list[Tally]] = {name: [] for name in TARGETS}
    for tally in hunt(list(TARGETS.values()), list(CASES.values()), os.cpu_count() or 1):
        found[tally.name].append(tally)
    return found


@pytest.mark.parametrize("name", TARGETS)
def test_damaged_files_get_an_error_of_droplabs_or_what_was_kept(tallies, name):
    findings = [str(finding) for tally in tallies[name] for finding in tally.findings]
    assert not findings, "\n".join(findings[:5])
    assert sum(tally.files for tally in tallies[name]) == len(CASES[name])
    assert sum(tally.refused for tally in tallies[name]) > len(CASES[name]) / 10


class Planted(Target):
    """One fault a case."""

    name, share = "planted", 0

    def write(self, random: Random) -> int:
        self.asked = getattr(self, "asked", -1) + 1
        return self.asked

    def ask(self, case: int) -> None:
        if case == 0:
            raise DataError("what an error of droplab's is like")
        if case == 1:
            {}["nothing"]
        if case == 2:
            len(b"x" * 1_100_000_000)
        if case == 3:
            warnings.warn("careful", RuntimeWarning, stacklevel=1)
        if case == 4:
            error = DataError("one line, as all are made")
            error.args = ("an error\nof two lines",)
            raise error
        if case == 5:
            raise ChangedError("0.9 is now 0.8")


class Slow(Target):
    name, share = "slow", 0

    def write(self, random: Random) -> None:
        return None

    def ask(self, case: None) -> None:
        try:
            while True:
                pass
        except Exception:
            raise DataError("a reader that takes anything for damage") from None


class Crashing(Target):
    name, share = "crashing", 0

    def write(self, random: Random) -> float:
        return random.random()

    def ask(self, case: float) -> None:
        if case < 0.2:
            os.kill(os.getpid(), signal.SIGSEGV)


def all_of(target: type[Target], cases: range) -> Tally:
    whole = Tally(target.name)
    for tally in hunt([target], [cases], 1):
        whole.files += tally.files
        whole.accepted += tally.accepted
        whole.refused += tally.refused
        whole.findings += tally.findings
    return whole


def test_planted_faults_are_found_and_named():
    tally = all_of(Planted, range(7))
    assert (tally.files, tally.refused, tally.accepted) == (7, 1, 1)
    assert [finding.number for finding in tally.findings] == [1, 2, 3, 4, 5]
    for finding, words in zip(tally.findings, ("KeyError", "MB", "careful", "one line", "0.9 is now 0.8"), strict=True):
        assert words in finding.what


def test_what_takes_too_long_is_cut_off():
    tally = all_of(Slow, range(1))
    assert "takes 5." in tally.findings[0].what


def test_a_crash_is_a_finding_and_the_cases_after_it_are_asked():
    tally = all_of(Crashing, range(40))
    crashes = [number for number in range(40) if Random(f"crashing {number}").random() < 0.2]
    assert len(crashes) > 3
    assert [finding.number for finding in tally.findings] == crashes
    assert all(f"ends with {-signal.SIGSEGV}" in finding.what for finding in tally.findings)
    assert (tally.files, tally.accepted) == (40, 40 - len(crashes))


def test_a_case_is_the_same_each_time(tmp_path):
    target = TARGETS["npz"](tmp_path)
    contents = [target.write(Random("npz 7")).read_bytes() for _ in range(2)]
    assert contents[0] == contents[1]
