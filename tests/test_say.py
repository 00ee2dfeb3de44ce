"""Sentences on the screen: wrapped between words on a terminal, whole lines elsewhere."""

import io

import pytest

from droplab.cli.say import wrapped


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


LONG = "error: " + "a study is the name of a preset or a TOML file " * 4 + "/a/path-with-hyphens/that-is/" + 90 * "x"


def test_lines_elsewhere_stay_whole() -> None:
    assert wrapped(LONG, io.StringIO()) == LONG


@pytest.mark.parametrize("columns", [40, 80, 120])
def test_no_word_is_broken_on_a_terminal(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    lines = wrapped(LONG, Terminal()).split("\n")
    assert " ".join(lines) == LONG
    assert all(len(line) <= columns for line in lines[:-1])


def test_what_is_indented_goes_on_under_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    assert wrapped("head\n  one two three four five\n", Terminal()) == "head\n  one two three four\n  five\n"
