"""Names: how arms, and the networks behind them, are called in words."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from droplab.study.plan import Arm, Plan

_DEPTH = re.compile(r"depth=(\d+)(?=,|$)")
_TIGHT = re.compile(r",(?=\S)")


def place_words(arm: Arm) -> str:
    """Where an arm stands in its study but for its regularizers: `4 hidden layers`, or `train_examples 100`."""
    return spaced(arm.place) or hidden_words(arm.depth)


def trained_words(arm: Arm, plan: Plan) -> str:
    """The regularizers that an arm is compared for: `dropout 0.5`, or `no dropout (control)`."""
    if arm.is_control and not plan.settings.vary:
        return "no dropout (control)"
    return spaced(arm.trained)


def hidden_words(depth: int) -> str:
    """A depth, which counts layers of weights, as the hidden layers between these.

    >>> hidden_words(1), hidden_words(2), hidden_words(5)
    ('no hidden layer', '1 hidden layer', '4 hidden layers')
    """
    return "no hidden layer" if depth == 1 else f"{depth - 1} hidden layer{'s' if depth > 2 else ''}"


def units_words(features: int | None, widths: Sequence[int], classes: int) -> str:
    """The units of a network, layer by layer.

    Args:
        features: of an example; `None` where they are not known.
        widths: of the hidden layers.
        classes: how many.

    >>> units_words(784, (512, 256), 10)
    '784→512→256→10'
    """
    return "→".join(map(str, ("inputs" if features is None else features, *widths, classes)))


def spaced(label: str) -> str:
    """A part of an arm's name in words.

    >>> spaced("depth=5,train_examples=100")
    '4 hidden layers, train_examples 100'
    """
    told = _DEPTH.sub(lambda found: hidden_words(int(found[1])), label)
    return _TIGHT.sub(", ", told.replace("=", " "))
