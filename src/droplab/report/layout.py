"""Layout: where each arm of a study stands in its charts, whatever the study varies."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

import pandas as pd

from droplab.study.axes import REGULARIZERS
from droplab.study.names import hidden_words, units_words

if TYPE_CHECKING:
    from droplab.study.axes import Axis
    from droplab.study.plan import Arm, Plan


class Layout:
    """Where the arms of a study stand in its charts.

    Args:
        plan: the study's.
        features: of an example; `None` where they are not known.
        classes: how many.

    Attributes:
        measure: the metric that the study asks about.
        across: the first axis of several numbers, if there is one.
        upwards: the second.
        across_title: what the first shows.
        upwards_title: what the second shows.
        control: what controls are called.
        trained: what networks are trained with beside controls, in the study's order.
        spots: a row an arm, by name. `place`: where it stands in the study but for its regularizers, in words, its
            depth where nothing else varies; `label`: that with the units of its layers below, where they vary;
            `trained`: the regularizers that it is compared for, in words; `panel` and `series`: `place` and `trained`
            without what the axis across shows, or what that shows; `across` and `upwards`: its values on these axes,
            NaN where there is none, `across` for the control of what runs along it, too.
    """

    def __init__(self, plan: Plan, features: int | None, classes: int) -> None:
        self.plan, self._features, self._classes = plan, features, classes
        self.measure = plan.settings.measure
        numeric = [axis for axis in plan.axes if axis.is_numeric and len(axis.levels) > 1]
        self.across, self.upwards = [*numeric, None, None][:2]
        self.across_title, self.upwards_title = _axis_words(self.across), _axis_words(self.upwards)
        self.control = "control" if plan.settings.vary else "no dropout (control)"
        self.spots = pd.DataFrame([self._spot(arm, plan.control_of(arm)) for arm in plan.arms]).set_index("arm")
        self.trained = [name for name in self.spots["trained"].unique() if name != self.control]

    def _spot(self, arm: Arm, control: Arm) -> dict[str, str | float]:
        own = self.control if arm.is_control else None
        place = ", ".join(self._words(control, False)) or hidden_words(arm.depth)
        units = units_words(self._features, arm.widths, self._classes)
        across, is_strength = _value(arm, self.across), self.across is not None and self.across.is_of_regularizers
        return {
            "arm": arm.name,
            "place": place,
            "label": f"{place}\n{units}" if "hidden layer" in place else place,
            "trained": own or ", ".join(self._words(arm, True)),
            "panel": ", ".join(self._words(control, False, self.across)),
            "series": own or ", ".join(self._words(arm, True, self.across)) or self.across_title,
            "across": math.nan if across == 0 and is_strength else across,
            "upwards": _value(arm, self.upwards),
        }

    def _words(self, arm: Arm, regularizes: bool, without: Axis | None = None) -> list[str]:
        """What an arm's levels say, of those that regularize or of the others."""
        found = []
        for axis, (_, value) in zip(self.plan.axes, arm.levels, strict=True):
            level = next((one for one in axis.levels if one.value == value), None)
            if level is None or axis == without:
                continue
            if level.regularizes == regularizes or (not regularizes and level.sets):
                found.append(_level_words(axis, level.value, level.label))
        return found

    def placed(self, frame: pd.DataFrame, *names: str) -> pd.DataFrame:
        """The frame with columns that say where its arms stand: these of `spots`."""
        return frame.join(self.spots[list(names)], on="arm")

    def distinct(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The rows of a frame without arms whose networks are an earlier one's."""
        return frame[frame["arm"].isin([arm.name for arm in self.plan.distinct])]

    def rows(self, arms: Iterable[str]) -> tuple[dict[str, str], list[str]]:
        """A row for each of some arms, and one above those of a place where it has several.

        Returns:
            The key of each arm's row; and the keys of all rows from the top. A key is the label, a tab, and the arm's
            name, empty for a row above others.
        """
        spots = self.spots.loc[list(arms)]
        places = spots["place"].nunique()
        grouped = 1 < places < len(spots)
        by_place = not grouped and (len(spots) == 1 or (places > 1 and not spots["trained"].is_unique))
        keys = {str(arm): f"{label}\t{arm}" for arm, label in spots["label" if by_place else "trained"].items()}
        order = []
        for place, mine in spots.groupby("place", sort=False):
            order += [*([f"{place}\t"] if grouped else []), *(keys[str(arm)] for arm in mine.index)]
        return keys, order


def _value(arm: Arm, axis: Axis | None) -> float:
    """An arm's value on an axis of numbers."""
    if axis is None:
        return math.nan
    value = float(dict(arm.levels)[axis.name])
    return value - 1 if axis.name == "depth" else value


def _level_words(axis: Axis, value: float | str, label: str) -> str:
    if axis.name == "depth":
        return hidden_words(int(value))
    is_own = label == value and axis.name != REGULARIZERS
    return label if is_own else label.replace("=", " ").replace("+", " + ").replace("_", " ")


def _axis_words(axis: Axis | None) -> str:
    if axis is None:
        return ""
    return "hidden layers" if axis.name == "depth" else axis.name.replace("_", " ")
