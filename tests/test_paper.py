"""What a paper takes: LaTeX that is well formed whatever a study is called, true numbers, and only what was done."""

import re
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from droplab.data.catalog import CATALOG
from droplab.model.regularizers import TABLE
from droplab.report.paper import _SIGNS, CITED, _references, bibtex, latex, latex_table, methods_words, paper_tex
from droplab.stats.compare import points
from report_data import findings_of, made_up_study

HOSTILE = r"a}\end{table}%_&#$^~{\input{/etc/passwd}[1]*"
READ = re.compile("|".join(map(re.escape, sorted(_SIGNS.values(), key=len, reverse=True))) + r"|\{\}|[^\\{}$&#_%^~\n]")


def shown(text: str) -> str:
    """What LaTeX shows of text, read sign by sign; an error where a sign would do something."""
    signs = {made: sign for sign, made in _SIGNS.items()} | {"{}": ""}
    found = READ.findall(text)
    assert "".join(found) == text, text
    return "".join(signs.get(one, one) for one in found)


def environments(text: str) -> Iterator[str]:
    """The environments of a file, each checked to be closed; braces, too."""
    text = re.sub(r"(?<!\\)%.*", "", text)
    bare = re.sub(r"\\\\|\\[{}]", "", text)
    depth = np.cumsum([{"{": 1, "}": -1}.get(sign, 0) for sign in bare])
    assert depth.min() >= 0
    assert depth[-1] == 0
    opened: list[str] = []
    for kind, name in re.findall(r"\\(begin|end)\{(\w+)\}", bare):
        if kind == "begin":
            opened.append(name)
            yield name
        else:
            assert opened.pop() == name
    assert not opened


def found_of(missing: int = 0, noise: float = 0.0006, **values: object):
    return findings_of(*made_up_study(missing, noise, **{"epochs": 2} | values))


def rows(table: str) -> list[list[str]]:
    return [line.strip().removesuffix(r" \\").split(" & ") for line in table.splitlines() if line.endswith(r"\\")]


@given(st.text(st.characters(exclude_categories=("Cs",))))
@example("a--b---")
def test_latex_shows_any_text_as_it_is_and_does_nothing_else(text: str) -> None:
    line = " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())
    assume(not any(pair in line for pair in ("``", "''")))
    assert shown(latex(text)).replace("''", '"') == line.replace("”", '"')


def test_a_row_is_an_arm_beside_its_control_with_true_numbers() -> None:
    found = found_of(depths=[1, 3])
    head, same, acts = rows(latex_table(found))
    assert head == ["Network", r"Control (\%)", r"With dropout 0.5 (\%)", "Difference (points)", "Verdict"]
    assert (same[0], same[3:]) == (r"784$\to$10", ["--", "does not apply"])
    row, one = found.arms.set_index("arm").loc["depth=3,dropout=0.5"], found.contrasts[1].comparison
    mean, spread = re.fullmatch(r"\$([\d.]+) \\pm ([\d.]+)\$", acts[2]).groups()
    assert float(mean) == pytest.approx(100 * row["test accuracy"], abs=0.5 * 10 ** -len(mean.split(".")[1]))
    assert float(spread) == pytest.approx(100 * row["test accuracy sd"], rel=0.05)
    assert len(spread.replace(".", "").lstrip("0")) == 2
    told = f"{points(one.difference)} [{points(one.low)}, {points(one.high)}]".replace("−", "-")
    assert acts[3:] == [f"${told}$", one.verdict]


def test_means_are_over_the_seeds_that_the_verdict_is_of() -> None:
    found = found_of(depths=[3], seeds=5, until="decided", noise=0.00001)
    (one,) = found.contrasts
    assert one.comparison.seeds == 3
    _, row = rows(latex_table(found))
    control, arm = (float(cell.strip("$").split()[0]) for cell in row[1:3])
    assert arm - control == pytest.approx(100 * one.comparison.difference, abs=0.001)


def test_without_regularizers_a_row_is_a_level_beside_the_baseline() -> None:
    found = found_of(depths=[2], dropout=[], vary={"batch_size": [8, 16]}, baseline="batch_size=16")
    head, row = rows(latex_table(found))
    assert head[1:3] == [r"Baseline (\%)", r"This (\%)"]
    assert row[0] == r"batch\_size 8 against batch\_size 16"
    assert "Compared were its levels with a baseline (batch_size=16), all else alike." in methods_words(found)


def test_one_seed_has_no_spread_and_no_interval() -> None:
    _, row = rows(latex_table(found_of(depths=[2], seeds=1)))
    assert row == ["dropout 0.5", "$97.87$", "$97.93$", "$+0.06$", "undecided"]


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"missing": 20},
        {"depths": [2], "dropout": []},
        {"depths": [2], "seeds": 1, "vary": {"method": {HOSTILE: {"momentum": 0.5}, "[b": {"momentum": 0.9}}}},
        {"depths": [2], "vary": {"regularizer": "dropout,l2,early_stopping"}, "regularizers": {"max_norm": 3}},
        {"depths": [2], "seeds": 5, "until": "best", "vary": {"train_examples": [100, 1000]}},
    ],
)
def test_the_file_is_well_formed_and_cites_only_what_the_other_has(values: dict) -> None:
    found = found_of(**values)
    text, entries = paper_tex(found), bibtex(found)
    assert list(environments(text)) == ["table", "tabular"]
    assert "/etc/passwd" not in text or r"\{\textbackslash{}input\{/etc/passwd\}" in text
    cited = {key for keys in re.findall(r"\\cite\{([\w,]+)\}", text) for key in keys.split(",")}
    have = re.findall(r"^@\w+\{(\w+),$", entries, re.M)
    assert cited | {"droplab"} == set(have)
    assert entries.count("{") == entries.count("}")
    assert not re.search(rf"\((?:{CITED})", text), "every source in the words is cited"


def test_every_source_that_can_be_named_has_an_entry() -> None:
    known = _references().keys()
    named = [*(entry.paper for entry in CATALOG.values()), *(entry.source for entry in TABLE.values())]
    for words in named:
        for cited in re.findall(CITED, words):
            assert re.split(r"\W", cited)[0].lower() + cited[-4:] in known


def test_methods_say_what_was_done() -> None:
    words = methods_words(found_of(missing=1, depths=[1, 3], momentum=0.9, optimizer="nesterov", schedule="cosine"))
    for part in (
        "59,990 examples of MNIST (LeCun et al. 1998), with 10 examples for validation",
        "with hidden layers of 512-256 units and without hidden layer",
        "Nesterov's momentum, momentum was 0.9",
        "schedule was cosine",
        "dropout 0.5 (Srivastava et al. 2014)",
        "8 of 9 networks were trained in fp32 on Some CPU @ 2.00GHz with droplab 0.1.0, PyTorch 2.13.0",
    ):
        assert part in words, part


def test_methods_say_of_a_setting_that_varies_only_how() -> None:
    words = methods_words(found_of(depths=[2], vary={"batch_size": [8, 16], "train_examples": [100, 1000]}))
    assert "What varied was batch_size (8, 16) and train_examples (100, 1000)." in words
    assert "batches had" not in words
    assert words.startswith("Networks were trained on up to ")


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ({"depths": [2]}, "judged over seeds by Student's t. "),
        ({"depths": [2], "seeds": 2, "dropout": [0.2, 0.5]}, "(Holm 1979)"),
        ({"depths": [2, 3, 4]}, "(Dunnett 1955; Marcus et al. 1976)"),
        ({"depths": [2], "seeds": 5, "until": "decided"}, "after 3 and 5 seeds (an arm that was decided got no more)"),
    ],
)
def test_methods_name_the_test_that_was_made(values: dict, kind: str) -> None:
    found = found_of(**values)
    judged = [one.comparison for one in found.contrasts]
    assert any(one.moderated for one in judged) == ("Dunnett" in methods_words(found))
    assert kind in methods_words(found)
