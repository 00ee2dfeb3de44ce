"""A study in a notebook: fragments of HTML, and its charts by name, all of which need no network to be shown."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import altair as alt
from markupsafe import Markup

from droplab.errors import ConfigError, DataError
from droplab.report.answer import answer_of
from droplab.report.cells import Table, arms_table, comparison_table
from droplab.report.drawing import draw
from droplab.report.figures import study_figures
from droplab.report.words import arm_label, missing_words, regime_words, seeds_words, sure_words
from droplab.stats.measure import ACCURACY
from droplab.study.plan import study_arms
from droplab.study.verdicts import ArmComparison

if TYPE_CHECKING:
    from droplab.config import StudySettings
    from droplab.study.exhibits import Exhibits
    from droplab.study.findings import Findings

VEGA_LITE = "application/vnd.vegalite.v5+json"
"""What notebooks draw by themselves: JupyterLab (up to 4.6 at least) and VS Code know no later version."""


def html_fragment(findings: Findings) -> str:
    """The answer, the verdicts and the arms as HTML to stand in another page: escaped, no script, no style, no link.

    Args:
        findings: the study's; one without a finished run is no error.
    """
    told, missing = answer_of(findings), missing_words(findings)
    said = (regime_words(findings.states), missing and f"{missing}.", sure_words(findings))
    best = f"; chosen on valid: {arm_label(findings, findings.best)}" if findings.done else ""
    parts = [
        Markup("<p><strong>{}</strong> {}</p>").format(told.title, told.deck),
        *(Markup("<p>{}</p>").format(words) for words in said if words),
        _table(f"Test {findings.measure.label}, dropout off at inference", told.rows),
        _table(f"Arms: mean ± standard deviation over the seeds{best}", arms_table(findings)),
    ]
    return _fragment(parts)


def settings_fragment(settings: StudySettings) -> str:
    """What a study asks, on what data, and its arms, likewise.

    Raises:
        ConfigError: if an arm's settings cannot be.
    """
    arms = study_arms(settings)
    rows = [(arm.name, "-".join(map(str, arm.widths)) or "linear") for arm in arms]
    seeds = ("at most " if settings.until else "") + seeds_words(len(settings.seeds))
    parts = [
        Markup("<p><strong>{}</strong> {}</p>").format(settings.name, settings.question),
        Markup("<p>Data: {}; {} arms, {} each; {} epochs. run() trains what the store lacks.</p>").format(
            settings.data, len(arms), seeds, settings.epochs
        ),
        _table("Arms", Table(("arm", "hidden widths"), rows)),
    ]
    return _fragment(parts)


class Comparisons(list[ArmComparison]):
    """Comparisons of arms, which a notebook shows as a small table: what a verdict is read from."""

    def _repr_html_(self) -> str:
        whole = comparison_table(self)
        few = (0, 1, 2, 3, whole.head.index("seeds"))  # the fourth is the interval
        head, *rows = ([cells[column] for column in few] for cells in (whole.head, *whole.rows))
        label = self[0].comparison.measure.label if self else ACCURACY.label
        return _fragment([_table(f"Test {label}, dropout off at inference", Table(head, rows))])


class _Offline:
    """What a chart is, too, that a notebook shows without a network."""

    to_dict: Callable[[], dict[str, Any]]

    def _repr_mimebundle_(self, *args: Any, **kwargs: Any) -> Any:
        """The chart for what the notebook draws by itself, and as a picture for where it draws nothing.

        Whoever has chosen a renderer of Altair's gets that.
        """
        if alt.renderers.active != "default":
            return super()._repr_mimebundle_(*args, **kwargs)  # type: ignore[misc]
        chart = self.to_dict()
        drawing = {"chart": ("", chart)}  # its title is its own
        pictures = draw(drawing, ("svg",), lambda text: warnings.warn(text, stacklevel=2))
        shown = {VEGA_LITE: chart | {"$schema": "https://vega.github.io/schema/vega-lite/v5.json"}}
        return shown | ({"image/svg+xml": pictures["chart.svg"].decode()} if pictures else {})


def offline(chart: alt.TopLevelMixin) -> alt.TopLevelMixin:
    """The same chart, which a notebook shows without a network; Altair's own fetches its programs from a server."""
    kind, shown = type(chart), chart.copy(deep=False)  # type: ignore[attr-defined]
    told = {"__module__": kind.__module__, "__doc__": kind.__doc__}
    object.__setattr__(shown, "__class__", type(kind.__name__, (_Offline, kind), told))
    return shown  # type: ignore[no-any-return]


class StudyCharts(Mapping[str, "alt.TopLevelMixin"]):
    """The charts of a study as Altair has them: a method a chart, and a mapping from the names of its files to all.

    Args:
        findings: the study's, with at least one finished run.
        exhibits: gives those of the network that valid chose; asked once, when the first chart is.

    Raises:
        DataError: if no run is finished.
    """

    def __init__(self, findings: Findings, exhibits: Callable[[], Exhibits] | None = None) -> None:
        if not findings.done:
            raise DataError("a chart needs at least one finished run; found none. Run the study first.")
        self._findings, self._exhibits = findings, exhibits

    def difference(self) -> alt.TopLevelMixin:
        """Every arm beside its control on test, with their difference, its interval and the verdict.

        Raises:
            DataError: if no network is finished both with dropout and without it.
        """
        return self._needing(
            "difference", "a network that is finished both with dropout and without it, with the same seed"
        )

    def depth(self) -> alt.TopLevelMixin:
        """`difference` of a study with several depths.

        Raises:
            ConfigError: if all its networks have the same depth.
            DataError: as `difference`.
        """
        depths = {arm.depth for arm in self._findings.plan.arms}
        if len(depths) < 2:
            raise ConfigError(
                f"a chart by depth needs networks of several depths; found only depth {min(depths)}. "
                "Take charts.difference(), which shows the rates."
            )
        return self.difference()

    def control(self) -> alt.TopLevelMixin:
        """Accuracy of networks trained with regularizers and without, along the study's first axis of numbers.

        Raises:
            DataError: if the study has no such axis.
        """
        return self._needing("control", "an axis of several numbers, as depths or rates")

    def inference(self) -> alt.TopLevelMixin:
        """Networks trained with dropout, with it left on and off at inference, beside their controls.

        Raises:
            DataError: if no network has dropout.
        """
        return self._needing("inference", "networks trained with dropout")

    def loss(self) -> alt.TopLevelMixin:
        """The loss of every network, epoch by epoch."""
        return self["loss"]

    def overfitting(self) -> alt.TopLevelMixin:
        """The loss on train and on valid, both with dropout off."""
        return self["overfitting"]

    def reliability(self) -> alt.TopLevelMixin:
        """How much more often right than confident networks are, as trained and at the temperature fitted on valid.

        Raises:
            DataError: if all runs are of a droplab that did not keep it.
        """
        return self._needing("reliability", "runs that kept their probabilities' reliability")

    def samples(self) -> alt.TopLevelMixin:
        """Error, NLL and calibration error by the number of masks averaged.

        Raises:
            DataError: if no run with dropout kept it.
        """
        return self._needing("samples", "runs with dropout that kept it")

    def confusion(self) -> alt.TopLevelMixin:
        """Which classes the network that valid chose takes for which.

        Raises:
            DataError: if the store has no test labels.
        """
        return self._needing("confusion", "the test labels in the store")

    def activations(self) -> alt.TopLevelMixin:
        """How sparse the hidden layers of that network's architecture are.

        Raises:
            DataError: if it has no hidden layer, or the data are not at hand.
        """
        return self._needing("activations", "a hidden layer, and the data at hand")

    def _needing(self, name: str, needs: str) -> alt.TopLevelMixin:
        if name not in self._drawn:
            raise DataError(
                f"the chart {name!r} needs {needs}; found none. Run the study to its end with this droplab."
            )
        return self[name]

    def __getitem__(self, name: str) -> alt.TopLevelMixin:
        return self._drawn[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._drawn)

    def __len__(self) -> int:
        return len(self._drawn)

    def __repr__(self) -> str:
        return f"<charts of {self._findings.plan.settings.name}: {', '.join(self)}>"

    @cached_property
    def _drawn(self) -> dict[str, alt.TopLevelMixin]:
        exhibits = self._exhibits() if self._exhibits else None
        figures = study_figures(self._findings, exhibits)
        return {name: offline(figure.titled) for name, figure in figures.items()}


def _fragment(parts: Sequence[Markup]) -> str:
    return str(Markup('<div class="droplab">{}</div>').format(Markup("").join(parts)))


def _table(caption: str, shown: Table) -> Markup:
    """A table, or nothing where it has no row."""
    if not shown.rows:
        return Markup("")

    def row(cells: Sequence[str], kind: Markup) -> Markup:
        return Markup("<tr>{}</tr>").format(Markup("").join(kind.format(cell) for cell in cells))

    body = Markup("").join(row(cells, Markup("<td>{}</td>")) for cells in shown.rows)
    return Markup("<table><caption>{}</caption><thead>{}</thead><tbody>{}</tbody></table>").format(
        caption, row(shown.head, Markup("<th>{}</th>")), body
    )
