"""From trained packs to the store: what cannot be filed at once is kept and tried again; nothing trained is dropped."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress

from droplab.data.dataset import Dataset
from droplab.errors import StoreBusyError, StoreError, TrainingError
from droplab.study.backends.base import Answer
from droplab.study.packs import Pack, pack_name
from droplab.study.plan import Run
from droplab.study.store import Store
from droplab.train.outcome import Trained

BETWEEN = 2.0
"""Seconds that a busy store is waited for while there is more to train."""

PATIENCE = 600.0
"""Seconds that a busy store is waited for at the end."""


class Filing:
    """Files what became of packs, each in one transaction, in the order in which they come.

    Args:
        store: where to.
        dataset: that they were trained on.
        filed: told of each run once it is in the store, or has failed.
        notice: told once if results have to wait.
        stop: ends the waiting for a busy store.
    """

    def __init__(
        self,
        store: Store,
        dataset: Dataset,
        filed: Callable[[Run, Trained | TrainingError], None],
        notice: Callable[[str], None],
        stop: threading.Event,
    ) -> None:
        self._store, self._dataset, self._filed, self._notice, self._stop = store, dataset, filed, notice, stop
        self._waiting: list[tuple[Pack, Answer]] = []
        self._told = False

    def add(self, pack: Pack, answer: Answer) -> None:
        """File a pack, and those that wait; what cannot be filed now waits for the next one, or the end."""
        self._waiting.append((pack, answer))
        try:
            self._file_waiting(BETWEEN)
        except StoreError as error:
            if not self._told:
                self._notice(f"what is trained waits to be filed, and is tried again: {error}")
            self._told = True

    def end(self) -> None:
        """File all that waits; a busy store is waited for.

        Raises:
            StoreError: if it cannot be filed; a pack's last checkpoint stays, from which the study goes on.
        """
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                self._file_waiting(BETWEEN)
                return
            except StoreBusyError:
                if self._stop.is_set() or time.monotonic() > deadline:
                    raise

    def _file_waiting(self, patience: float) -> None:
        while self._waiting:
            pack, answer = self._waiting[0]
            together = list(zip(pack, answer, strict=True))
            if trained := [(run, result) for run, result in together if isinstance(result, Trained)]:
                self._store.save_pack(trained, self._dataset, patience)
            if len(trained) < len(pack):
                self._store.delete(run.key for run, result in together if isinstance(result, TrainingError))
            self._waiting.pop(0)
            with suppress(StoreError):  # a checkpoint of no use is swept later
                self._store.drop_checkpoint(pack_name(pack))
            for run, result in together:
                self._filed(run, result)
