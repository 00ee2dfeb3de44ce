"""Axes: what a study varies, as levels that set something, and what their controls set instead."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from droplab.config import (
    BY_LAYER,
    Recipe,
    RunSettings,
    StudySettings,
    dropout_of,
    mean_rate,
    regularizer_words,
    strength_words,
    with_one_dropout,
)
from droplab.errors import ConfigError, did_you_mean
from droplab.model.regularizers import TABLE

REGULARIZERS = "regularizer"
"""The axis whose levels are whole regularizers, by name."""

WIDTH = "width"
"""The axis of the first hidden layer's width; the others keep their proportion to it."""

_BY_STUDY = {"regularizers", "seed", "seeds", "data", "name", "question", "reference", "vary", "first_width"}


@dataclass(frozen=True)
class Level:
    """One value on an axis.

    Attributes:
        value: on the axis; 0 or `control` stands for the control, where the axis is of regularizers.
        label: in an arm's name.
        sets: the settings beside regularizers, which its control has, too.
        dropout: rate, or one a hidden layer, where the level sets it.
        regularizers: what it adds to those of the study.
    """

    value: float | str
    label: str
    sets: Mapping[str, Any] = field(default_factory=dict)
    dropout: float | tuple[float, ...] | None = None
    regularizers: Mapping[str, Any] = field(default_factory=dict)

    @property
    def regularizes(self) -> bool:
        """Whether its control is another arm."""
        return self.dropout is not None or bool(self.regularizers)

    def control(self) -> Level:
        """The same without its regularizers."""
        value = 0.0 if isinstance(self.value, float) else "control"
        return Level(self.value, self.label, self.sets) if self.sets else Level(value, "")


@dataclass(frozen=True)
class Axis:
    """One thing that a study varies.

    Attributes:
        name: of a setting, of a regularizer, `regularizer`, or what a study calls its own levels.
        levels: in the order given.
    """

    name: str
    levels: tuple[Level, ...]

    @property
    def is_numeric(self) -> bool:
        """Whether its values are numbers."""
        return all(isinstance(level.value, float) for level in self.levels)

    @property
    def is_of_regularizers(self) -> bool:
        """Whether its levels are regularizers and nothing else."""
        return all(level.regularizes and not level.sets for level in self.levels)


def study_axes(settings: StudySettings) -> tuple[Axis, ...]:
    """The axes of a study: depth where there are several, what it varies, and dropout's rates, last.

    The rates are no axis of their own where another one sets dropout.

    Raises:
        ConfigError: if what varies is no setting and no regularizer, or a value cannot be.
    """
    axes = []
    if len(settings.architectures) > 1:
        levels = (Level(float(len(w) + 1), f"depth={len(w) + 1}", {"widths": w}) for w in settings.architectures)
        axes.append(Axis("depth", tuple(levels)))
    axes += [_axis(name, values, settings) for name, values in settings.vary]
    rates = [rate for rate in settings.dropout if rate]
    sets_dropout = any(
        axis.name == REGULARIZERS or any(one.dropout is not None for one in axis.levels) for axis in axes
    )
    if rates and not sets_dropout:
        are_numbers = all(isinstance(rate, float) for rate in rates)
        axes.append(Axis("dropout", tuple(_rate_level(rate, are_numbers) for rate in rates)))
    return tuple(axes)


def _rate_level(rate: float | tuple[float, ...], as_number: bool) -> Level:
    word = strength_words(rate) if isinstance(rate, tuple) else str(rate)
    return Level(mean_rate(rate) if as_number else word, f"dropout={word}", dropout=rate)


def _axis(name: str, values: Sequence[Any], settings: StudySettings) -> Axis:
    levels = [level for value in values for level in _levels(name, value, settings)]
    labels = [level.label for level in levels]
    if not levels:
        raise ConfigError(f"vary {name}: needs at least one value; found none.")
    if len(set(labels)) < len(labels):
        raise ConfigError(f"vary {name}: every value may stand once; found {', '.join(labels)}.")
    kinds = {isinstance(level.value, float) for level in levels}
    if len(kinds) > 1:
        raise ConfigError(f"vary {name}: values must be all numbers or none; found {', '.join(labels)}.")
    return Axis(name, tuple(levels))


def _levels(name: str, value: Any, settings: StudySettings) -> list[Level]:
    """The levels that one value stands for: several for `dropout` among regularizers, none for `control`."""
    if isinstance(value, Mapping):
        return [_own(*one, settings) for one in value.items()]
    if name == REGULARIZERS:
        return _regularizer(str(value), settings)
    if name in TABLE:
        strength = _number(name, value)
        return [Level(strength, f"{name}={strength:g}", regularizers={name: strength})] if strength else []
    if name == WIDTH:
        width = _number(name, value)
        return [Level(width, f"width={width:g}", {"widths": _scaled(settings, width)})]
    if name == "widths":
        widths = list(value) if isinstance(value, list | tuple) else str(value).split("x")
        label = "x".join(map(str, widths))
        return [Level(label, f"widths={label}", {"widths": widths})]
    if name in _BY_STUDY or name not in RunSettings.model_fields:
        known = sorted({*Recipe.model_fields, "widths", WIDTH, "depth", "rate", REGULARIZERS, *TABLE} - _BY_STUDY)
        hint = did_you_mean(name, known)
        raise ConfigError(f"vary: found {name!r}.{hint} A study can vary {', '.join(known)}, or levels of its own.")
    if isinstance(value, int | float):
        return [Level(_number(name, value), f"{name}={value:g}", {name: value})]
    return [Level(str(value), f"{name}={value}", {name: value})]


def _own(label: str, values: Any, settings: StudySettings) -> Level:
    """A level of a study's own: its name, and everything that it sets."""
    if not isinstance(values, Mapping):
        raise ConfigError(f"vary: a level of a study's own is a table of settings; found {label!r}: {values!r}.")
    if not label.strip() or any(unicodedata.category(sign) in ("Cc", "Cs") for sign in label):
        raise ConfigError(f"vary: a level's name must be a line of text; found {label!r}. Give it another.")
    sets = dict(with_one_dropout(values))
    if odd := sorted(_BY_STUDY - {"regularizers"} & sets.keys()):
        raise ConfigError(f"vary: a level cannot set {', '.join(odd)}, which the study has; found it in {label!r}.")
    used = dict(Recipe.parse({"regularizers": sets.pop("regularizers", {})}, label).regularizers)
    if WIDTH in sets:
        sets["widths"] = _scaled(settings, _number(WIDTH, sets.pop(WIDTH)))
    return Level(label, label, sets, _checked(label, dropout_of, sets.pop("dropout", 0.0)) or None, used)


def _regularizer(text: str, settings: StudySettings) -> list[Level]:
    """`dropout`, `max_norm=3+input_dropout`: as it is typed, at the usual strength where none is given."""
    found: dict[str, float] = {}
    rates: list[float | tuple[float, ...]] = []
    for part in text.split("+"):
        name, given, strength = (word.strip() for word in part.partition("="))
        if name in ("control", "none"):
            return []
        if name in ("dropout", "rate", BY_LAYER):
            usual = [rate for rate in settings.dropout if rate] or [0.5]
            rates = [_checked(name, dropout_of, strength)] if given else usual
        else:
            found[name] = _number(name, strength) if given else TABLE[name].strength if name in TABLE else 1.0
    words = regularizer_words(tuple(found.items()))
    if not rates:
        return [Level(words, words, regularizers=found)]
    labels = {rate: "+".join(filter(None, (f"dropout={strength_words(rate)}", words))) for rate in rates}
    return [Level(label, label, dropout=rate, regularizers=found) for rate, label in labels.items()]


def _scaled(settings: StudySettings, width: float) -> tuple[int, ...]:
    """The widths of the study's network with another first one, in proportion."""
    if len(settings.architectures) != 1 or not settings.architectures[0]:
        raise ConfigError(
            "vary width: needs one network with a hidden layer, whose widths are scaled; found "
            f"{len(settings.architectures)} networks. Give --widths, or one of --depths."
        )
    if width < 1:
        raise ConfigError(f"vary width: must be at least 1; found {width:g}.")
    (widths,) = settings.architectures
    return tuple(max(1, round(one * width / widths[0])) for one in widths)


def _checked(name: str, read: Callable[[Any], Any], value: Any) -> Any:
    try:
        return read(value)
    except ValueError as error:
        raise ConfigError(f"vary {name}: {error}; found {value!r}.") from None


def _number(name: str, value: Any) -> float:
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise ConfigError(f"vary {name}: takes numbers; found {value!r}.")
    return number
