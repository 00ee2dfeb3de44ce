"""What a paper takes from a study: a table and a paragraph on methods for LaTeX, and what they cite for BibTeX."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from importlib import resources
from typing import TYPE_CHECKING

from droplab import __version__
from droplab.report.answer import difference_words, is_of_levels
from droplab.report.methods import CITED, methods_words
from droplab.report.words import row_label
from droplab.stats.compare import percent
from droplab.study.frames import by_arm
from droplab.study.names import spaced

if TYPE_CHECKING:
    from droplab.study.findings import Findings

_SIGNS = (
    {sign: f"\\{sign}" for sign in "{}$&#_%"}
    | {sign: f"{{{sign}}}" for sign in "[]*"}
    | {
        **{"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", '"': "{''}"},
        **{
            "<": "$<$",
            ">": "$>$",
            "|": "$|$",
            "−": "$-$",
            "±": r"$\pm$",
            "×": r"$\times$",
            "→": r"$\to$",
            "√": r"$\surd$",
        },
        **{"…": r"\ldots{}", "–": "--", "“": "``", "”": "''"},
    }
)
_GROUP = re.compile(rf" \(({CITED}(?:; {CITED})*)\)")


def latex(text: str) -> str:
    r"""The text in one line, as LaTeX that shows it as it is.

    >>> print(latex("50 % of {a_b}"))
    50 \% of \{a\_b\}
    """
    line = " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())
    return "".join(_SIGNS.get(sign, sign) for sign in line)


def latex_table(findings: Findings) -> str:
    """Every arm beside its control, or level beside the baseline, as a `tabular` that needs the package booktabs.

    Accuracies on test, dropout off at inference, are means ± standard deviations over the seeds of the comparison, in
    percent; differences and the intervals that verdicts are read from are in percentage points.
    """
    names = dict.fromkeys(spaced(one.arm.trained) for one in findings.contrasts)
    levels = bool(findings.contrasts) and is_of_levels(findings)
    own = "This" if levels else f"With {''.join(names) if len(names) == 1 else 'regularizer'}"
    rows = [["Network", "Baseline (\\%)" if levels else "Control (\\%)", latex(f"{own} (%)")]]
    rows[0] += ["Difference (points)", "Verdict"]
    for one in findings.contrasts:
        found, applies = one.comparison, one.comparison.verdict != "does not apply"
        values = by_arm(findings.results, [one.against, one.arm], "off", "test", "accuracy").dropna()
        first = values.reindex(findings.plan.settings.seeds).dropna()[: found.seeds]
        means = [_mean(first[arm.name].to_list()) for arm in (one.against, one.arm)]
        difference = f"${difference_words(one)}$".replace("−", "-") if applies else "--"
        name = row_label(findings, one.arm) + (f" against {row_label(findings, one.against)}" if levels else "")
        rows.append([latex(name), *means, difference, found.verdict])
    head, *body = [f"    {' & '.join(row)} \\\\" for row in rows]
    rules = ["\\begin{tabular}{lcccl}", "    \\toprule", head, "    \\midrule", *body, "    \\bottomrule"]
    return "\n".join([*rules, "\\end{tabular}"]) + "\n"


def bibtex(findings: Findings) -> str:
    """BibTeX entries of droplab and of what `methods_words` cites, as far as it is known."""
    note = f"Python package, version {__version__}"
    title = "{droplab}: a laboratory for the regularization of fully-connected classifiers"
    own = f"@misc{{droplab,\n  key = {{droplab}},\n  title = {{{title}}},\n  note = {{{note}}},\n}}"
    known, keys = _references(), _keys(methods_words(findings))
    return "\n\n".join([own, *(entry for key, entry in known.items() if key in keys)]) + "\n"


def paper_tex(findings: Findings) -> str:
    r"""What `paper.tex` holds: table, caption and methods, for `\input` into a paper."""
    levels = dict.fromkeys(
        percent(one.comparison.confidence) for one in findings.contrasts if one.comparison.low is not None
    )
    intervals = f", in brackets the {' or '.join(levels)} interval" if levels else ""
    caption = (
        "Test accuracy, dropout off at inference: mean ± standard deviation over paired seeds, and mean difference"
        f"{intervals} (droplab study {findings.plan.settings.name})."
    )
    head = "% \\input{paper} shows this; the preamble needs \\usepackage{booktabs}, and the end \\bibliography{paper}."
    start = "\\begin{table}\n  \\centering\n  \\caption{" + latex(caption) + "}\n  \\label{tab:droplab}\n"
    methods = f"\\paragraph{{Methods.}} {_cited(methods_words(findings))}\n\\nocite{{droplab}}\n"
    return f"{head}\n{start}{latex_table(findings)}\\end{{table}}\n\n{methods}"


def _mean(shares: Sequence[float]) -> str:
    """Mean ± standard deviation in percent, the latter with two digits that tell; without it two decimals."""
    mean = 100 * math.fsum(shares) / len(shares)
    spread = 100 * math.dist(shares, [mean / 100] * len(shares)) / math.sqrt(max(len(shares) - 1, 1))
    if spread < 1e-9:
        return f"${mean:.2f}$"
    digits = max(0, 1 - math.floor(math.log10(float(f"{spread:.1e}"))))
    return f"${mean:.{digits}f} \\pm {spread:.{digits}f}$"


def _references() -> dict[str, str]:
    """The entries that are known, by key: first author and year, as in `dunnett1955`."""
    text = resources.files("droplab.report").joinpath("references.bib").read_text("utf-8")
    return {entry.split("{")[1].split(",")[0]: entry for entry in text.strip().split("\n\n")}


def _keys(words: str) -> list[str]:
    """The keys of what is cited in words."""
    return [re.split(r"\W", one)[0].lower() + one[-4:] for one in re.findall(CITED, words)]


def _cited(words: str) -> str:
    r"""Words as LaTeX, in which what is known is cited by `\cite`."""
    known = _references()

    def cite(found: re.Match[str]) -> str:
        keys = _keys(found[1])
        return f"~\\cite{{{','.join(keys)}}}" if set(keys) <= known.keys() else found[0]

    return _GROUP.sub(cite, latex(words))
