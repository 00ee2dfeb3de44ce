"""What a paper takes from a study: methods in sentences, a table for LaTeX, and what they cite for BibTeX."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from importlib import resources
from typing import TYPE_CHECKING

from droplab import __version__
from droplab.config import regularizer_words
from droplab.data.catalog import CATALOG
from droplab.model.regularizers import TABLE
from droplab.report.answer import difference_words, is_of_levels
from droplab.report.words import listed, row_label, value_words
from droplab.stats.compare import percent
from droplab.study.names import spaced
from droplab.study.origin import environments
from droplab.study.verdicts import ERROR

if TYPE_CHECKING:
    from droplab.stats.measure import Measure
    from droplab.study.findings import Findings
    from droplab.study.plan import Arm

CITED = r"[A-Z][\w-]+(?:, [A-Z][\w-]+)*(?: \\?& [A-Z][\w-]+| et al\.)? \d{4}"
"""How a source is cited in words, as `Lan & DeMets 1983`, the sign perhaps escaped."""

_OPTIMIZERS = {"sgd": "stochastic gradient descent", "nesterov": "stochastic gradient descent with Nesterov's momentum"}
_OPTIMIZERS |= {"classical": "stochastic gradient descent", "adam": "Adam", "adamw": "AdamW"}
_ACTIVATIONS = {"relu": "ReLU", "gelu": "GELU"}
_WEIGHTS = {"pytorch": "uniform in ±1/√inputs", "he": "normal with variance 2/inputs"}
_WEIGHTS |= {"glorot": "uniform in ±√(6/(inputs + outputs))", "fan_in": "normal with variance 1/inputs"}
_SAID = {"data", "widths", "depths", "first_width", "dropout", "seeds", "epochs", "batch_size", "learning_rate"}
_SAID |= {"momentum", "optimizer", "activation", "initial_weights", "regularizers", "train_examples", "until", "budget"}
_SAID |= {"valid_fraction", "mc_samples", "groups", "vary", "name", "question", "reference", "test", "target"}
_SAID |= {"columns", "missing", "numeric_encoding", "baseline", "metric", "task", "loss"}
"""Settings that have sentences of their own, or decide nothing that was done."""

_SIGNS = {sign: f"\\{sign}" for sign in "{}$&#_%"} | {sign: f"{{{sign}}}" for sign in "[]*"}
_SIGNS |= {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", '"': "{''}"}
_SIGNS |= {"<": "$<$", ">": "$>$", "|": "$|$", "−": "$-$", "±": r"$\pm$", "×": r"$\times$", "→": r"$\to$"}
_SIGNS |= {"√": r"$\surd$", "…": r"\ldots{}", "–": "--", "“": "``", "”": "''"}
_GROUP = re.compile(rf" \(({CITED}(?:; {CITED})*)\)")


def methods_words(findings: Findings) -> str:
    """What was done, in sentences for the methods of a paper; sources are cited as `(Dunnett 1955)`."""
    return " ".join(part(findings) for part in (_data, _networks, _compared, _judged, _trained))


def latex(text: str) -> str:
    r"""The text in one line, as LaTeX that shows it as it is.

    >>> print(latex("50 % of {a_b}"))
    50 \% of \{a\_b\}
    """
    line = " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())
    parts = re.split("(?<=[-–])(?=[-–])", line)  # of two dashes LaTeX would make one
    return "{}".join("".join(_SIGNS.get(sign, sign) for sign in part) for part in parts)


def latex_table(findings: Findings) -> str:
    """Every arm beside its control, or level beside the baseline, as a `tabular` that needs the package booktabs.

    The metric on test, dropout off at inference, is told as mean ± standard deviation over the seeds of the comparison;
    differences have the intervals that verdicts are read from.
    """
    measure, names = findings.measure, dict.fromkeys(spaced(one.arm.trained) for one in findings.contrasts)
    levels = bool(findings.contrasts) and is_of_levels(findings)
    own = "This" if levels else f"With {''.join(names) if len(names) == 1 else 'regularizer'}"
    head = ["Network", *(latex(measure.headed(one)) for one in ("Baseline" if levels else "Control", own))]
    rows = [[*head, measure.headed("Difference", measure.points), "Verdict"]]
    for one in findings.contrasts:
        found, applies = one.comparison, one.comparison.verdict != "does not apply"
        values = findings.replicates.by_arm([one.against, one.arm], "off", "test", measure.name).dropna()
        paired = values.reindex(findings.plan.settings.seeds).dropna()[: found.seeds]
        means = [_mean(paired[arm.name].to_list(), measure) for arm in (one.against, one.arm)]
        difference = f"${difference_words(one)}$".replace("−", "-") if applies else "--"
        name = row_label(findings, one.arm) + (f" against {row_label(findings, one.against)}" if levels else "")
        rows.append([latex(name), *means, difference, found.verdict])
    first, *body = [f"    {' & '.join(row)} \\\\" for row in rows]
    rules = ["\\begin{tabular}{lcccl}", "    \\toprule", first, "    \\midrule", *body, "    \\bottomrule"]
    return "\n".join([*rules, "\\end{tabular}"]) + "\n"


def bibtex(findings: Findings) -> str:
    """BibTeX entries of droplab and of what `methods_words` cites, as far as it is known."""
    keys = {"droplab", *_keys(methods_words(findings))}
    return "\n\n".join(entry for key, entry in _references().items() if key in keys) + "\n"


def paper_tex(findings: Findings) -> str:
    r"""What `paper.tex` holds: table, caption and methods, for `\input` into a paper."""
    levels = dict.fromkeys(
        percent(one.comparison.confidence) for one in findings.contrasts if one.comparison.low is not None
    )
    intervals = f", in brackets the {' or '.join(levels)} interval" if levels else ""
    caption = (
        f"Test {findings.measure.label}, dropout off at inference: mean ± standard deviation over paired seeds, and "
        f"mean difference{intervals} (droplab study {findings.plan.settings.name})."
    )
    head = "% \\input{paper} shows this; the preamble needs \\usepackage{booktabs}, and the end \\bibliography{paper}."
    start = "\\begin{table}\n  \\centering\n  \\caption{" + latex(caption) + "}\n  \\label{tab:droplab}\n"
    methods = f"\\paragraph{{Methods.}} {_cited(methods_words(findings))}\n\\nocite{{droplab}}\n"
    return f"{head}\n{start}{latex_table(findings)}\\end{{table}}\n\n{methods}"


def _data(findings: Findings) -> str:
    card, settings, counts = findings.card, findings.plan.settings, findings.examples
    entry = CATALOG.get(settings.data)
    named = f"{entry.title} ({entry.paper})" if entry else card.name
    own = card.look is not None and bool(card.look.valid)
    drawn = "a stratified random sample" if card.classes else "a random sample"
    held = "the data's own" if own else f"{drawn} of the training part"
    targets = f"in {len(card.classes)} classes" if card.classes else "with numbers as targets"
    groups = f", in whole groups of {settings.groups}" if settings.groups else ""
    most = "up to " if "train_examples" in _varied(findings) else ""
    source = card.source or "a source that is not known"
    return (
        f"Networks were trained on {most}{counts['train']:,} examples of {named}, with {counts['valid']:,} examples "
        f"for validation ({held}{groups}) and {counts['test']:,} for testing, {targets}. The data "
        f"came from {source} (fingerprint {card.fingerprint[:12]})."
    )


def _networks(findings: Findings) -> str:
    """Architectures and recipe, but for what varies."""
    settings, arms = findings.plan.settings, findings.plan.arms
    varied, widths = _varied(findings), dict.fromkeys("-".join(map(str, arm.widths)) for arm in arms if arm.widths)
    layers = [f"with hidden layers of {listed([*widths])} units"] if widths else []
    layers += [] if all(arm.widths for arm in arms) else ["without hidden layer"]
    stops = any("early_stopping" in dict(arm.recipe.regularizers) for arm in arms)
    told = {
        "activation": f"the activation was {_ACTIVATIONS.get(settings.activation, settings.activation)}",
        "initial_weights": f"initial weights were {_WEIGHTS[settings.initial_weights]}",
        "optimizer": f"the optimizer was {_OPTIMIZERS[settings.optimizer]}",
        "momentum": f"momentum was {settings.momentum:g}" if settings.momentum else "",
        "learning_rate": f"the learning rate was {settings.learning_rate:g}",
        "batch_size": f"batches had {settings.batch_size:,} examples",
        "epochs": f"training took {settings.epochs:,} epochs" + (" at most" * stops),
    }
    told |= {name: f"{name} was {value_words(value)}" for name, value in settings.told().items() if name not in _SAID}
    used = f" All networks used {spaced(regularizer_words(settings.regularizers))}." if settings.regularizers else ""
    recipe = listed([words for name, words in told.items() if words and name not in varied])
    loss = spaced(settings.loss).replace("cross_entropy", "cross-entropy").replace("_", " ")
    loss += " of the targets, standardized by those that were trained on" if settings.is_of_numbers else ""
    return f"They were fully connected, {listed(layers)}, and minimized the {loss}: {recipe}.{used}"


def _compared(findings: Findings) -> str:
    plan = findings.plan
    compared = [arm for arm in plan.arms if not arm.is_control]
    other = [axis for axis in plan.axes if axis.name != "depth" and not all(one.regularizes for one in axis.levels)]
    varied = [f"{axis.name} ({', '.join(value_words(one.value) for one in axis.levels)})" for axis in other]
    words = [f"What varied was {listed(varied)}."] if varied else []
    if compared:
        names = dict.fromkeys(spaced(arm.trained) for arm in compared)
        sources = dict.fromkeys(source for arm in compared for source in _sources(plan.control_of(arm), arm))
        cited = f" ({'; '.join(sources)})" if sources else ""
        words.append(
            f"Compared were networks trained with {listed([*names])}{cited} and, as their controls, the same networks "
            "trained without; dropout rates are drop probabilities of hidden units."
        )
    elif plan.settings.vary:
        baseline = plan.settings.baseline or "the first of each"
        words.append(f"Compared were its levels with a baseline ({baseline}), all else alike.")
    most = len(plan.settings.seeds)
    seeds = f"{'up to ' if plan.settings.until else ''}{most} random seed{'s' * (most > 1)}"
    return " ".join(words) + (
        f" Each was trained with {seeds}; networks of one seed share data split, order of batches and masks, and "
        "initial weights where their shapes agree, and are compared in pairs."
    )


def _judged(findings: Findings) -> str:
    """How differences were judged; nothing where nothing was."""
    settings = findings.plan.settings
    judged = [one.comparison for one in findings.contrasts if one.comparison.low is not None]
    measure = findings.measure
    best = f"the simplest network within one standard error of the best mean {measure.label} on validation examples"
    if len(settings.seeds) == 1:
        best = f"the network with the best {measure.label} on validation examples"
    source = " (Breiman et al. 1984)" if len(settings.seeds) > 1 else ""
    rule = f"What is called best is {best}{source}; test examples chose nothing."
    if not judged:
        return rule
    if any(one.moderated for one in judged):
        kind = (
            "by simultaneous step-down intervals (Dunnett 1955; Marcus et al. 1976) from variances over seeds that "
            "all arms moderate (Smyth 2004)"
        )
    elif any(one.p_adjusted is not None for one in judged):
        kind = "by Student's t under Holm's correction for all comparisons (Holm 1979)"
    else:
        kind = "by Student's t"
    stops = {"decided": "an arm that was decided got no more", "best": "an arm surely worse than the best got no more"}
    looks = f" after {listed([*map(str, settings.looks)])} seeds ({stops[settings.until]})" if settings.until else ""
    levels = " or ".join(dict.fromkeys(percent(one.confidence) for one in judged))
    return (
        f"Mean differences of {measure.label} on test examples, with dropout off at inference, were judged over seeds "
        f"{kind}. Each look at the study{looks} spends a part of the error (Lan & DeMets 1983), so that all looks and "
        f"comparisons together claim a difference wrongly with a probability of {percent(ERROR)} at most; intervals "
        f"have a confidence of {levels}. Equivalent means within ±{measure.margin_words(judged[0].margin)} by "
        f"two one-sided tests (Schuirmann 1987). {rule}"
    )


def _trained(findings: Findings) -> str:
    ways = dict.fromkeys(record.way.precision for record in findings.records.values())
    precision = {"fp32": "fp32", "bf16": "bf16 products with fp32 weights"}
    found = environments(findings.records.values())
    droplab, torch, python, device = (
        listed([*dict.fromkeys(str(one.get(name, "unknown")) for one in found)])
        for name in ("droplab", "torch", "python", "device")
    )
    done = "" if findings.done == findings.wanted else f" of {findings.wanted:,}"
    return (
        f"{findings.done:,}{done} networks were trained in {listed([precision[one] for one in ways])} on {device} with "
        f"droplab {droplab}, PyTorch {torch} (Paszke et al. 2019) and Python {python}."
    )


def _varied(findings: Findings) -> set[str]:
    """The names of the settings that are not the same for all arms."""
    return {name for axis in findings.plan.axes for one in axis.levels for name in (axis.name, *one.sets)}


def _sources(control: Arm, arm: Arm) -> list[str]:
    """What the regularizers that an arm has and its control has not are cited by."""
    dropout = ["Srivastava et al. 2014"] if arm.dropout else []
    names = dict(arm.recipe.regularizers).keys() - dict(control.recipe.regularizers).keys()
    return dropout + [cited for name in sorted(names) for cited in re.findall(CITED, TABLE[name].source)]


def _mean(values: Sequence[float], measure: Measure) -> str:
    """Mean ± standard deviation as they are told, the latter with two digits that tell; without it the mean alone."""
    mean = math.fsum(values) / len(values)
    spread = measure.factor * math.dist(values, [mean] * len(values)) / math.sqrt(max(len(values) - 1, 1))
    if spread < 1e-9:
        return f"${measure.value(mean)}$"
    mean *= measure.factor
    digits = max(0, 1 - math.floor(math.log10(float(f"{spread:.1e}"))))
    return f"${mean:.{digits}f} \\pm {spread:.{digits}f}$"


def _references() -> dict[str, str]:
    """The entries that are known, by key: first author and year, as in `dunnett1955`."""
    text = resources.files("droplab.report").joinpath("references.bib").read_text("utf-8")
    text = text.replace("VERSION", __version__)
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
