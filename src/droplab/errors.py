"""The errors droplab raises: each says what must hold, what was found and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path

_LONGEST_LINE = 300  # characters of what another library says
_MOST_NEIGHBOURS = 10_000  # files beside a missing one that are looked at


class DroplabError(Exception):
    """Base of every error that droplab raises for a reason its user can act on.

    What it says is one line, whatever is in the names of files, columns and classes.
    """

    def __init__(self, *said: object) -> None:
        super().__init__(*(" ".join(part.splitlines()) if isinstance(part, str) else part for part in said))


class ConfigError(DroplabError, ValueError):
    """A setting is out of range, unknown, or contradicts another."""


class DataError(DroplabError, ValueError):
    """A data file or array is not what it must be."""


class FetchError(DroplabError):
    """No source of a data set could be used."""


class StoreError(DroplabError):
    """The store cannot be opened, read or written."""


class StoreBusyError(StoreError):
    """The store cannot be had now; it may be later: another program holds it, or its disk is full."""


class StoreAwayError(StoreBusyError):
    """The store's server does not answer."""


class ModelFileError(DroplabError, ValueError):
    """A model file is damaged, or was made for other data."""


class ExportError(DroplabError):
    """A network cannot be exported, or the exported one says something else."""


class DeviceError(DroplabError):
    """The device or precision asked for is not there."""


class ClusterError(DroplabError):
    """There is no cluster to train on, or its nodes cannot train alike."""


class TrainingError(DroplabError):
    """Training could not go on: a worker died again and again, or the loss is no number."""


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The nearest of the known names, whatever its case; `None` where none is near."""
    by_lower = {one.lower(): one for one in known}
    return next((by_lower[near] for near in difflib.get_close_matches(name.lower(), by_lower, n=1)), None)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`" Did you mean …?"` for the nearest of the known names, whatever its case; empty where none is near.

    >>> did_you_mean("MNITS", ["mnist", "digits"])
    " Did you mean 'mnist'?"
    """
    near = nearest(name, known)
    return f" Did you mean {near!r}?" if near else ""


def no_such_file(path: Path) -> str:
    """What to say of a path that is not there, with the name beside it that was meant, if one is near."""
    beside: list[Path] = []
    with suppress(OSError, ValueError):
        beside = list(islice(path.parent.iterdir(), _MOST_NEIGHBOURS))
    stem = nearest(path.stem, (one.stem for one in beside))  # what two names share by their suffix says nothing
    near = nearest(path.name, (one.name for one in beside if one.stem == stem))
    return f"{path}: no such file." + (f" Did you mean {str(path.with_name(near))!r}?" if near else " Check the path.")


@contextmanager
def reading(
    name: object, must: str, advice: str = "Write it again.", kind: type[DroplabError] = DataError
) -> Iterator[None]:
    """Have whatever goes wrong while a file is read end in an error that names it; those of droplab pass as they are.

    Decoders raise whatever they please on damaged bytes, so every exception counts, and none is listed.

    Args:
        name: what messages call the file.
        must: what it must be.
        advice: what to do.
        kind: of the error.
    """
    try:
        yield
    except DroplabError:
        raise
    except MemoryError:
        raise kind(f"{name}: must fit into memory, and does not. Take a smaller part of it.") from None
    except Exception as error:
        if isinstance(error, OSError) and error.errno:
            raise kind(f"{name}: cannot be read: {line(error.strerror)}. Check the disk.") from None
        raise kind(f"{name}: must be {must}; found {line(error)}. {advice}") from None


def line(error: object) -> str:
    """What another library says of a fault, in one line."""
    said = "" if isinstance(error, EOFError) else " ".join(str(error).split()).rstrip(".")
    return said[:_LONGEST_LINE] or "it ends too early, so it is truncated"
