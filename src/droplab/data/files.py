"""Data by name or by path, in whatever form it is kept → Dataset."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from droplab.config import ColumnKind, NumericEncoding, Task
from droplab.data import fetch
from droplab.data.arrays import name_of
from droplab.data.catalog import CATALOG, find
from droplab.data.dataset import Dataset
from droplab.data.disk import is_folder
from droplab.data.folder import load_folder
from droplab.data.given import IN_MEMORY, Given, load_given
from droplab.data.image_folders import holds_images, load_images
from droplab.data.npz import load_npz
from droplab.data.pairs import is_pair, load_pair, pair_of
from droplab.data.preprocessing import Preprocessing
from droplab.data.tables import SUFFIXES, is_table
from droplab.data.tabular import Reading, load_tabular
from droplab.errors import ConfigError, DroplabError


def load_dataset(
    name_or_path: str | Path | Given,
    *,
    target: str | None = None,
    task: Task = "auto",
    test: str | None = None,
    groups: str | None = None,
    columns: Mapping[str, ColumnKind] | Sequence[tuple[str, ColumnKind]] = (),
    missing: Sequence[str] = (),
    numeric_encoding: NumericEncoding | None = None,
    valid_fraction: float = 0.0,
    split_seed: int = 1,
    preprocessing: Preprocessing | None = None,
    cache_dir: str | Path | None = None,
    notify: Callable[[str], None] | None = None,
) -> Dataset:
    """Load a data set of the catalog by its name, or by its path.

    A path is that of a table (CSV, Parquet), of an npz file, of two npy or IDX files (`FEATURES,LABELS`), of a folder
    of four npy or IDX files, or of a folder with a folder of images for each class.

    Args:
        name_or_path: a name of the catalog; else a path, if it has a suffix or a separator, or exists; or arrays or
            DataFrames that are at hand.
        target: of a table, the column of the classes, or of numbers.
        task: whether targets are classes (`classification`) or numbers (`regression`); `auto` says where it takes them
            for numbers.
        test: of data without a test part of their own, such data to test on by their path, or the share of the
            examples to test on.
        groups: of a table, a column whose values no split parts.
        columns: of a table, what columns are by their names (`number`, `category`, `ignore`), where it is not to be
            guessed.
        missing: of a table, cells that say that a value is missing, as `?`, beside empty ones, `NA` and the like.
        numeric_encoding: of a table, what its numbers become, as `Preprocessing.fit` takes it.
        valid_fraction: share of a table's training rows that will be held out, and have no part in its preprocessing.
        split_seed: of that split.
        preprocessing: of a table, what makes its features, instead of what would be fitted.
        cache_dir: root of the cache for the catalog's files.
        notify: called with each notice while fetching; prints to stderr if `None`.

    Raises:
        ConfigError: if it is neither; the message says the nearest known name. If an option cannot act.
        DataError: if the file or folder is not what it must be.
        FetchError: if the catalog's files cannot be had from any source.
    """
    given, notify = name_or_path if isinstance(name_or_path, Given) else None, notify or _to_stderr
    text = given.name if given else os.fspath(name_or_path)  # type: ignore[arg-type]
    path = Path(text)
    told = (dict(columns), tuple(missing), numeric_encoding)
    reading = Reading(target, test, groups, *told, valid_fraction, split_seed, preprocessing, task)
    if given and given.tables:
        return load_given(given, reading, notify)
    if not given and text not in CATALOG and is_table(path) and not is_folder(path):
        return load_tabular(path, reading, notify)
    of_tables = {"target": target, "groups": None if given else groups, "columns": columns, "missing": missing}
    of_tables |= {"numeric_encoding": numeric_encoding}
    if idle := [name for name, value in of_tables.items() if value]:
        raise ConfigError(
            f"{', '.join(idle)} can act on columns of a table ({', '.join(SUFFIXES)}) alone; found them with {text}. "
            "Leave them out."
        )
    if given:
        return load_given(given, reading, notify)
    if text.endswith(IN_MEMORY):
        raise ConfigError(
            f"{text}: were arrays or a DataFrame in Python, and are in no file. Give them to droplab.study there, or "
            "save them and name the file."
        )
    if text not in CATALOG and is_pair(text):
        return load_pair(text, test, notify, task)
    if text not in CATALOG and is_folder(path) and holds_images(path):
        if task == "regression":
            raise ConfigError(f"{text}: folders name classes, so task=regression cannot act. Leave it out.")
        return load_images(path, test, notify)
    if path.suffix == ".toml":
        raise ConfigError(f"{text}: is a study, and data are wanted. Type: droplab study {shlex.quote(text)}")
    if text not in CATALOG and not is_folder(path) and (path.suffix or path.name != text or os.path.lexists(path)):
        return load_npz(path, test, notify, task)
    if test is not None:
        raise ConfigError(f"{text} has a test part of its own, so test cannot act. Leave it out.")
    if text not in CATALOG and is_folder(path):
        return load_folder(path, task, notify)
    if task == "regression":
        raise ConfigError(f"{text}: its targets are classes, so task=regression cannot act. Leave it out.")
    return fetch.load(find(text), cache_dir=cache_dir, notify=notify)


def dataset_at_hand(name_or_path: str, fingerprint: str, **reading: Any) -> Dataset | None:
    """The data set of that name and fingerprint if it can be had without fetching anything, else `None`.

    Args:
        name_or_path: as that of `load_dataset`.
        fingerprint: of the data set.
        reading: how it is read, as `load_dataset` takes it.
    """
    if name_or_path in CATALOG and any(fetch.verify(name_or_path).values()):
        return None
    try:
        dataset = load_dataset(name_or_path, **reading, notify=lambda _: None)
    except DroplabError:
        return None
    return dataset if dataset.fingerprint == fingerprint else None


def dataset_name(name_or_path: str) -> str:
    """The name of the data set that `load_dataset` gives for the same argument, without loading it."""
    if name_or_path in CATALOG or name_or_path.endswith(IN_MEMORY):
        return name_or_path.removesuffix(IN_MEMORY)
    return name_of(pair_of(name_or_path)[0] if is_pair(name_or_path) else Path(name_or_path))


def _to_stderr(message: str) -> None:
    print(message, file=sys.stderr)
