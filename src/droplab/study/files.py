"""The files beside the store's database: weights, named by their hash, and checkpoints, named by their pack."""

from __future__ import annotations

import re
import time
from collections.abc import Container, Iterator
from pathlib import Path
from typing import NamedTuple

_ABANDONED = 3600  # seconds after which an unfinished file has no living writer
_NAME = re.compile(r"\.?([0-9a-f]{64})\.safetensors(\.[0-9a-f]+\.part)?")


class StoredFile(NamedTuple):
    """A file of the store: `part` while it is being written, `orphan` where nothing will ever need it."""

    path: Path
    size: int
    part: bool
    orphan: bool


class DiskUse(NamedTuple):
    """What a store takes on disk, in bytes.

    Attributes:
        runs: finished runs.
        database_bytes: of the database with its log.
        weights_bytes: of their weights.
        orphans: files that nothing needs: weights without a run, checkpoints of which no run is planned any more, and
            what was left half-written.
        orphan_bytes: of these.
        planned: runs that are planned and not finished.
        checkpoints: checkpoints of their packs.
        checkpoint_bytes: of these, and of what is being written now.
    """

    runs: int
    database_bytes: int
    weights_bytes: int
    orphans: int
    orphan_bytes: int
    planned: int
    checkpoints: int
    checkpoint_bytes: int


def weights_name(weights_hash: str) -> str:
    """Where, in the folder of weights, those of a hash lie."""
    return f"{weights_hash[:2]}/{weights_hash}.safetensors"


def checkpoint_name(pack: str) -> str:
    """Where, in the folder of checkpoints, that of a pack lies."""
    return f"{pack}.safetensors"


def stored_files(folder: Path, pattern: str, needed: Container[str]) -> Iterator[StoredFile]:
    """Yield the files of weights or checkpoints in `folder`; files of other names are not the store's.

    Args:
        folder: may be missing.
        pattern: which paths in it to look at.
        needed: hashes, or names of packs, that the database refers to.
    """
    for path in folder.glob(pattern):
        name = _NAME.fullmatch(path.name)
        if name is None:
            continue
        try:
            status = path.stat()
        except FileNotFoundError:  # its writer has just finished or given up
            continue
        part = name[2] is not None
        orphan = time.time() - status.st_mtime > _ABANDONED if part else name[1] not in needed
        yield StoredFile(path, status.st_size, part, orphan)
