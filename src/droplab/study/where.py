"""Conditions on finished runs, as typed: `depth=5`, `dropout<0.6`, `widths=512,256`."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin, get_type_hints

from droplab.config import RunSettings, dropout_of, regularizer_words
from droplab.errors import ConfigError, did_you_mean
from droplab.study.records import RunSummary
from droplab.train.outcome import Way

OPERATORS: dict[str, Callable[[int], bool]] = {
    "=": lambda sign: sign == 0,
    "!=": lambda sign: sign != 0,
    "<": lambda sign: sign < 0,
    "<=": lambda sign: sign <= 0,
    ">": lambda sign: sign > 0,
    ">=": lambda sign: sign >= 0,
}
"""Each says of the sign of found − wanted whether it holds."""

_FORM = re.compile(r"\s*([A-Za-z]\w*(?:-\w+)*)\s*([=!<>]+)\s*(.*?)\s*", re.DOTALL)
_ROUNDING = 1e-9
"""Numbers whose relative difference is smaller were typed to be equal: 0.1666666667 is 1/6."""


@dataclass(frozen=True)
class Condition:
    """What a run must meet.

    Attributes:
        name: a setting of a run, or one of `data`, `fingerprint`, `depth`, `numerics`, `test_accuracy`,
            `train_seconds`, `evaluate_seconds`, `device`, `precision`, `compiled`, `stacked`, `threads`.
        operator: one of `OPERATORS`.
        value: a number, a text, a truth value or a tuple of widths or rates, whatever the name stands for.
    """

    name: str
    operator: str
    value: Any

    def holds(self, run: RunSummary) -> bool:
        """Whether `run` meets it; one that has no such number (`None`, NaN) meets no condition on it."""
        found = _found(run, self.name)
        if found is None or (isinstance(found, float) and math.isnan(found)):
            return False
        if isinstance(found, tuple) != isinstance(self.value, tuple):  # a rate a hidden layer beside a single one
            return self.operator == "!="
        return OPERATORS[self.operator](_sign(found, self.value))


def parse_condition(text: str) -> Condition:
    """The condition that `text` says, `NAME OP VALUE`; the name may have dashes, as a flag has.

    Raises:
        ConfigError: if it has another form, or its name, operator or value cannot be.

    >>> parse_condition("dropout<0.6")
    Condition(name='dropout', operator='<', value=0.6)
    >>> parse_condition("widths = 512,256").value
    (512, 256)
    """
    form = _FORM.fullmatch(text)
    if form is None:
        raise ConfigError(
            f"a condition is a name, one of {' '.join(OPERATORS)} and a value, in quotes, for the shell takes < and > "
            f"for itself: 'dropout<0.6'; found {text!r}."
        )
    name, operator, typed = form[1].replace("-", "_"), form[2], form[3]
    kinds = _kinds()
    if name not in kinds:
        raise ConfigError(f"a condition is on one of {', '.join(kinds)}; found {name!r}.{did_you_mean(name, kinds)}")
    if operator not in OPERATORS:
        raise ConfigError(f"a condition compares by one of {' '.join(OPERATORS)}; found {operator!r} in {text!r}.")
    kind = kinds[name]
    if kind not in (int, float) and operator not in ("=", "!="):
        raise ConfigError(
            f"only numbers are smaller or larger, and {name} is none: compare it by = or !=; found {text!r}."
        )
    return Condition(name, operator, _value(name, kind, typed))


def _kinds() -> dict[str, Any]:
    """Every name that a condition may have, with its type, in the order of a listing."""
    settings = {name: field.annotation for name, field in RunSettings.model_fields.items()}
    numbers: dict[str, Any] = {
        "numerics": int,
        "test_accuracy": float,
        "test_rmse": float,
        "train_seconds": float,
        "evaluate_seconds": float,
    }
    settings |= {"regularizers": str, "dropout": float}  # as they are typed
    return {"data": str, "fingerprint": str, "depth": int} | settings | get_type_hints(Way) | numbers


def _value(name: str, kind: Any, typed: str) -> Any:
    """The typed value as one of `kind`.

    Raises:
        ConfigError: if it is none.
    """
    choices: tuple[str, ...] = ("true", "false") if kind is bool else get_args(kind) if _is_choice(kind) else ()
    try:
        if choices:
            chosen = choices[choices.index(typed.lower())]
            return chosen == "true" if kind is bool else chosen
        if kind in (int, float):
            if name == "dropout" and "/" in typed:
                return dropout_of(typed)
            number = kind(typed)
            if not math.isfinite(number):
                raise ValueError
            return number
        if get_origin(kind) is tuple:
            return tuple(int(part) for part in typed.split(",") if part.strip())
        if not typed:
            raise ValueError
    except (ValueError, OverflowError):  # the latter: more digits than a float has room for
        must = {int: "a whole number", float: "a number", str: "a text"}
        what = " or ".join(choices) or must.get(kind, "whole numbers with commas between")
        raise ConfigError(f"{name} must be compared with {what}; found {typed!r}.") from None
    return typed


def _is_choice(kind: Any) -> bool:
    return get_origin(kind) is Literal


def _found(run: RunSummary, name: str) -> Any:
    """What `run` has of that name."""
    if name == "data":
        return run.dataset
    if name == "regularizers":
        return regularizer_words(run.settings.regularizers) or "none"
    for holder in (run.settings, run.way, run):
        if hasattr(holder, name):
            return getattr(holder, name)
    raise AssertionError(name)


def _sign(found: Any, wanted: Any) -> int:
    """The sign of found − wanted; of what is no number, 0 if they are equal and else 1."""
    if isinstance(wanted, bool | str | tuple):
        return int(found != wanted)
    if math.isclose(found, wanted, rel_tol=_ROUNDING):
        return 0
    return -1 if found < wanted else 1
