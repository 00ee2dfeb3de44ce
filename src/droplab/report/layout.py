"""Layout: where each arm of a study stands in its charts, whatever the study varies."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from droplab.study.axes import REGULARIZERS
from droplab.study.names import hidden_words, units_words

if TYPE_CHECKING:
    from droplab.study.axes import Axis
    from droplab.study.plan import Arm, Plan


@dataclass(frozen=True)
class Spot:
    """Where an arm stands.

    Attributes:
        arm: its name.
        place: where it stands in the study but for its regularizers, in words; its depth
            where nothing else varies.
        trained: the regularizers that it is compared for, in words.
        panel: `place` without what the axis across shows; empty where that is all.
        series: `trained` without what the axis across shows, or what that axis shows.
        across: its value on the axis across; `None` where there is no such axis, or it is a control on it.
        upwards: its value on the second axis of numbers, 0 for a control on it; `None` where there is none.
        units: of its layers, in words.
    """

    arm: str
    place: str
    trained: str
    panel: str
    series: str
    across: float | None
    upwards: float | None
    units: str


class Layout:
    """Where the arms of a study stand in its charts.

    Args:
        plan: the study's.
        features: of an example; `None` where they are not known.
        classes: how many.

    Attributes:
        plan: the study's.
        across: the first axis of several numbers, if there is one.
        upwards: the second.
        spots: of the arms, by name.
        control: what controls are called.
    """

    def __init__(self, plan: Plan, features: int | None, classes: int) -> None:
        self.plan, self._features, self._classes = plan, features, classes
        self._axes = plan.axes
        numeric = [axis for axis in self._axes if axis.is_numeric and len(axis.levels) > 1]
        self.across, self.upwards = [*numeric, None, None][:2]
        self.control = "control" if plan.settings.vary else "no dropout (control)"
        self.spots = {arm.name: self._spot(arm, plan.control_of(arm)) for arm in plan.arms}

    def _spot(self, arm: Arm, control: Arm) -> Spot:
        across, upwards = (_value(arm, axis) for axis in (self.across, self.upwards))
        own = self.control if arm.is_control else None
        is_strength = self.across is not None and self.across.is_of_regularizers
        return Spot(
            arm.name,
            place=", ".join(self._words(control, False)) or hidden_words(arm.depth),
            trained=own or ", ".join(self._words(arm, True)),
            panel=", ".join(self._words(control, False, self.across)),
            series=own or ", ".join(self._words(arm, True, self.across)) or _axis_words(self.across),
            across=None if across == 0 and is_strength else across,
            upwards=upwards,
            units=units_words(self._features, arm.widths, self._classes),
        )

    def _words(self, arm: Arm, regularizes: bool, without: Axis | None = None) -> list[str]:
        """What an arm's levels say, of those that regularize or of the others."""
        found = []
        for axis, (_, value) in zip(self._axes, arm.levels, strict=True):
            level = next((one for one in axis.levels if one.value == value), None)
            if level is None or axis == without:
                continue
            if level.regularizes == regularizes or (not regularizes and level.sets):
                found.append(_level_words(axis, level.value, level.label))
        return found

    @property
    def across_title(self) -> str:
        """What the axis across shows."""
        return _axis_words(self.across)

    @property
    def upwards_title(self) -> str:
        """What the second axis of numbers shows."""
        return _axis_words(self.upwards)

    @property
    def trained(self) -> list[str]:
        """What networks are trained with beside controls, in the study's order."""
        return list(dict.fromkeys(one.trained for one in self.spots.values() if one.trained != self.control))

    def rows(self, arms: Iterable[str]) -> tuple[dict[str, str], list[str]]:
        """A row for each of some arms, and one above those of a place where it has several.

        Returns:
            The key of each arm's row; and the keys of all rows from the top. A key is the label, a tab, and the arm's
            name, empty for a row above others.
        """
        spots = [self.spots[name] for name in arms]
        places = dict.fromkeys(one.place for one in spots)
        trained = [one.trained for one in spots]
        keys: dict[str, str] = {}
        order: list[str] = []
        grouped = len(places) > 1 and len(places) < len(spots)
        for place in places:
            if grouped:
                order.append(f"{place}\t")
            for one in (one for one in spots if one.place == place):
                by_place = not grouped and (len(spots) == 1 or (len(places) > 1 and len(set(trained)) < len(trained)))
                keys[one.arm] = f"{self._place_label(one) if by_place else one.trained}\t{one.arm}"
                order.append(keys[one.arm])
        return keys, order

    def _place_label(self, spot: Spot) -> str:
        """The place; below it the units of the layers, where these are what varies, or nothing does."""
        return f"{spot.place}\n{spot.units}" if "hidden layer" in spot.place else spot.place


def _value(arm: Arm, axis: Axis | None) -> float | None:
    """An arm's value on an axis of numbers."""
    if axis is None:
        return None
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
