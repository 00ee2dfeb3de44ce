"""What the shell completes: names that droplab knows, and files here; where none fits, the shell's own files."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path


def studies(incomplete: str) -> list[str]:
    """Presets, and study files."""
    from droplab.presets import preset_names

    return _fitting(incomplete, preset_names()) + _files(incomplete, ".toml")


def reproductions(incomplete: str) -> list[str]:
    """Reproductions."""
    from droplab.presets import reproduction_names

    return _fitting(incomplete, reproduction_names())


def data_sets(incomplete: str) -> list[str]:
    """Data sets by name."""
    from droplab.data.catalog import CATALOG

    return _fitting(incomplete, CATALOG)


def data(incomplete: str) -> list[str]:
    """Data sets by name, and files of data."""
    return data_sets(incomplete) + _files(incomplete, ".csv", ".tsv", ".gz", ".parquet", ".pq", ".npz", ".npy")


def regularizers(incomplete: str) -> list[str]:
    """Regularizers, also behind a `+`."""
    from droplab.model.regularizers import TABLE

    before, plus, last = incomplete.rpartition("+")
    return [before + plus + name for name in _fitting(last, TABLE)]


def _fitting(incomplete: str, names: Iterable[str]) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]


def _files(incomplete: str, *suffixes: str) -> list[str]:
    """The files of this folder that end so."""
    return sorted(_fitting(incomplete, (path.name for path in Path().iterdir() if path.suffix in suffixes)))
