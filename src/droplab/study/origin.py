"""Origin: where a report's numbers come from, beside the plan and its runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from droplab.data.dataset import DatasetCard
    from droplab.data.look import Look
    from droplab.study.records import RunRecord
    from droplab.study.runner import Summary


@dataclass(frozen=True)
class Origin:
    """Where a report's numbers come from, beside the plan and its runs.

    Attributes:
        data: the data set's name.
        source: where its bytes came from, in words.
        classes: the name of each class.
        examples: how many, by split: `train`, `valid`, `test`.
        command: what repeats the study, as typed.
        notices: what did not go as asked: a batch clipped, a fallback.
        started: when the study was started, with its time zone.
        trained: how many networks were trained then; the others came from the store.
        seconds: what that took, start to end, in seconds.
        look: what a first look at the data found; `None` where an older droplab kept them.
    """

    data: str
    source: str
    classes: tuple[str, ...]
    examples: Mapping[str, int]
    command: str
    notices: tuple[str, ...]
    started: datetime
    trained: int
    seconds: float
    look: Look | None = None

    @classmethod
    def of(cls, card: DatasetCard, examples: Mapping[str, int], summary: Summary, command: str) -> Origin:
        """The origin of networks.

        Args:
            card: of their data.
            examples: how many, by split.
            summary: what was trained now, and what was said on the way.
            command: what repeats it, as typed.
        """
        return cls(
            data=card.name,
            source=card.source,
            classes=card.classes,
            examples=examples,
            command=command,
            notices=tuple(summary.notices),
            started=summary.started,
            trained=summary.trained,
            seconds=summary.seconds,
            look=card.look,
        )

    @property
    def findings(self) -> tuple[str, ...]:
        """What the first look found, in sentences; nothing where it found nothing or is not known."""
        return self.look.findings if self.look else ()

    def held_out(self, split_seed: int, groups: str = "") -> str:
        """How the examples of valid were held out, in words; `groups` says what was not parted."""
        own = self.look is not None and self.look.valid
        return "held out for validation " + (
            "(the data's own valid split)"
            if own
            else f"({'stratified' if self.classes else 'at random'}{groups}, `split_seed` {split_seed})"
        )

    @property
    def counts(self) -> str:
        """How many examples there are of each class, in words; empty where that is not known."""
        return self.look.counts(self.classes) if self.look else ""


def split_counts(card: DatasetCard, valid: int, train_examples: int) -> dict[str, int]:
    """How many examples networks were trained on, and how many were kept apart, by split.

    Args:
        card: of their data.
        valid: how many were held out for validation.
        train_examples: on how many of the others they were trained; 0 for all.
    """
    train = card.train_examples - valid
    return {"train": min(train_examples or train, train), "valid": valid, "test": card.test_examples}


def environments(records: Iterable[RunRecord]) -> list[dict[str, Any]]:
    """The different environments of networks, each with the number of its `runs`."""
    each = [record.outcome.environment for record in records]
    runs, found = Counter(map(repr, each)), {repr(one): one for one in each}
    return [environment | {"runs": runs[name]} for name, environment in found.items()]
