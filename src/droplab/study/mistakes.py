"""Mistakes: the test examples that the best network gets wrong, with the arms that get them right."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from droplab.study.frames import finished_runs

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from droplab.study.plan import Plan, Run
    from droplab.study.records import RunRecord

MOST_SHOWN = 30


@dataclass(frozen=True)
class Mistake:
    """One test example that the network gets wrong.

    Attributes:
        example: its place among the test examples.
        true: its class, 0 … classes − 1.
        predicted: what the network says, likewise.
        networks: how many of the study's networks get it right.
        right: how many of how many seeds of an arm get it right, for each arm of which any does.
    """

    example: int
    true: int
    predicted: int
    networks: int
    right: Mapping[str, tuple[int, int]]


@dataclass(frozen=True)
class Mistakes:
    """All that a network gets wrong.

    Attributes:
        wrong: how many test examples.
        by_all: how many of these every network of the study gets wrong.
        examples: how many test examples there are.
        shown: at most `MOST_SHOWN` of them, those that the most networks get right first.
    """

    wrong: int
    by_all: int
    examples: int
    shown: tuple[Mistake, ...]


def find_mistakes(plan: Plan, records: Mapping[str, RunRecord], run: Run) -> Mistakes | None:
    """What `run` gets wrong with dropout off, and who gets it right.

    Args:
        plan: the study's.
        records: the finished runs by content key, that of `run` among them.
        run: the network.

    Returns:
        `None` where the store has no test labels of the data.
    """
    mine = records[run.key]
    labels, right = mine.test_labels, {key: record.right for key, record in records.items()}
    if labels is None or any(one is None for one in right.values()):
        return None
    known = {key: one for key, one in right.items() if one is not None}
    wrong = np.flatnonzero(~known[run.key])
    others = np.sum([one[wrong] for one in known.values()], axis=0)
    shown = wrong[np.argsort(-others, kind="stable")[:MOST_SHOWN]]
    of_arms: dict[str, list[NDArray[np.bool_]]] = {}
    for arm, _, record in finished_runs(plan, records):
        of_arms.setdefault(arm.name, []).append(known[record.key][shown])
    by_arm = {name: np.stack(seeds) for name, seeds in of_arms.items()}
    return Mistakes(
        wrong=len(wrong),
        by_all=int(np.sum(others == 0)),
        examples=len(labels),
        shown=tuple(
            Mistake(
                example=int(place),
                true=int(labels[place]),
                predicted=int(mine.outcome.ledger["test"][place]),
                networks=int(sum(one[place] for one in known.values())),
                right={
                    name: (int(seeds[:, column].sum()), len(seeds))
                    for name, seeds in by_arm.items()
                    if seeds[:, column].any()
                },
            )
            for column, place in enumerate(shown)
        ),
    )
