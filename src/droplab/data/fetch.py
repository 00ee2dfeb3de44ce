"""The chain of sources: cache, then each source of the catalog in turn, every file checked by hash.

The cache is `$DROPLAB_CACHE_DIR`, or the user's cache folder of the platform, with one folder a data set. A file lies
there in the form whose hash is known: decompressed (`train-images-idx3-ubyte`) where the catalog has its SHA-256, else
the `.gz` as published, by its MD5. Both names are tried, so a file placed by hand may be either. Every load checks the
hash; a damaged file is fetched again by itself. Files are replaced atomically, so reading needs no lock; a file lock
keeps two processes from fetching the same data set at once.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from droplab.data import idx
from droplab.data.catalog import DataFile, Entry, find, owner_of
from droplab.data.dataset import Dataset
from droplab.data.disk import cache_folder, open_regular, write_atomically
from droplab.data.sources import DEFAULT_PATIENCE, Patience, ask, describe
from droplab.errors import DataError, FetchError

Notify = Callable[[str], None]
_Arrays = dict[str, NDArray[Any]]


def load(
    name: str | Entry,
    *,
    cache_dir: str | Path | None = None,
    notify: Notify | None = None,
    patience: Patience = DEFAULT_PATIENCE,
) -> Dataset:
    """Load a data set of the catalog, fetching what the cache lacks.

    Args:
        name: a name of the catalog, or an entry of one's own.
        cache_dir: root of the cache; see `cache_folder`.
        notify: called with each notice (what is fetched, what failed, which source served); prints to stderr if `None`.
        patience: how long each source may take.

    Returns:
        Images as `uint8`, shape (examples, rows × columns), with their scale to 0 … 1; labels as `int64`.

    Raises:
        ConfigError: if the name is unknown.
        FetchError: if no source could serve a file; it names each source with its reason and the way by hand.
    """
    entry = find(name) if isinstance(name, str) else name
    if not entry.files:
        return _digits(entry)
    arrays, source = _obtain(entry, cache_folder(cache_dir) / entry.name, notify or _say, patience)
    train_x, train_y, test_x, test_y = (arrays[file.name] for file in entry.files)
    train_x, train_y = idx.pair(train_x, train_y)
    test_x, test_y = idx.pair(test_x, test_y)
    return Dataset(
        name=entry.name,
        train_x=train_x.reshape(len(train_x), -1),
        train_y=train_y,
        test_x=test_x.reshape(len(test_x), -1),
        test_y=test_y,
        classes=entry.classes,
        scale=entry.scale,
        image_shape=entry.image_shape,
        source=source,
    )


def verify(name: str | Entry, *, cache_dir: str | Path | None = None) -> dict[str, str]:
    """Check the cached files of a data set against their hashes, without any network.

    Returns:
        For each file its fault in words, empty where it is sound; no file at all where a Python package holds the data.

    Raises:
        ConfigError: if the name is unknown.
    """
    entry = find(name) if isinstance(name, str) else name
    arrays, faults = _from_cache(entry, cache_folder(cache_dir) / entry.name)
    return {file.name: "" if file.name in arrays else faults.get(file.name, "not in the cache") for file in entry.files}


def is_cached(entry: Entry, *, cache_dir: str | Path | None = None) -> bool:
    """Say whether all files of a data set lie in the cache (their hashes are not checked)."""
    folder = cache_folder(cache_dir) / entry.name
    return all(_candidates(file, folder) for file in entry.files)


def _obtain(entry: Entry, folder: Path, notify: Notify, patience: Patience) -> tuple[_Arrays, str]:
    """Return the four arrays by file name, and in words where they came from."""
    import filelock

    arrays, _ = _from_cache(entry, folder)
    if len(arrays) == len(entry.files):
        return arrays, f"cache {folder}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(folder / ".lock")
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            notify(f"{entry.title}: another process is fetching it; waiting for that one.")
            lock.acquire()
    except OSError as error:
        raise FetchError(
            f"{entry.title}: the cache folder {folder} must be writable; found: {error.strerror or error}. "
            "Set DROPLAB_CACHE_DIR to a folder that is."
        ) from None
    try:
        return _fill(entry, folder, notify, patience)
    finally:
        lock.release()


def _fill(entry: Entry, folder: Path, notify: Notify, patience: Patience) -> tuple[_Arrays, str]:
    """Fetch what the cache lacks, source by source; each file is kept as soon as it has been checked."""
    arrays, faults = _from_cache(entry, folder)
    for name, fault in faults.items():
        notify(f"{entry.title}: {name} in the cache is not sound and will be fetched again: {fault}")
    served = [f"cache {folder}"] if arrays else []
    reasons = [f"cache {folder}: {fault}" for fault in faults.values()]
    for source in entry.sources:
        missing = {file.name: file for file in entry.files if file.name not in arrays}
        if not missing:
            break
        words = describe(source)
        notify(f"{entry.title}: asking {words}")
        try:
            with tempfile.TemporaryDirectory(prefix="droplab-", ignore_cleanup_errors=True) as scratch:
                for name, path in ask(source, list(missing), Path(scratch), patience):
                    arrays[name] = _read_checked(missing[name], path)
                    _keep(missing[name], path, arrays[name], folder)
        except (FetchError, DataError, OSError) as error:
            reasons.append(f"{words}: {error}")
            notify(f"{entry.title}: {words} failed: {error}")
        if arrays.keys() & missing.keys():
            served.append(words)
    if len(arrays) < len(entry.files):
        raise FetchError(_by_hand(entry, folder, reasons))
    notify(f"{entry.title}: from {' and '.join(served)}; kept in {folder}")
    return arrays, " and ".join(served)


def _from_cache(entry: Entry, folder: Path) -> tuple[_Arrays, dict[str, str]]:
    """Return the sound files of the cache as arrays, and for the damaged ones the fault."""
    arrays: _Arrays = {}
    faults: dict[str, str] = {}
    for file in entry.files:
        for path in _candidates(file, folder):
            try:
                arrays[file.name] = _read_checked(file, path)
                faults.pop(file.name, None)
                break
            except DataError as error:
                faults[file.name] = str(error)
    return arrays, faults


def _candidates(file: DataFile, folder: Path) -> list[Path]:
    names = sorted({file.name, f"{file.name}.gz"}, key=lambda name: name != file.cache_name)
    return [folder / name for name in names if os.path.lexists(folder / name)]


def _read_checked(file: DataFile, path: Path) -> NDArray[Any]:
    """Read one file; it must be a sound IDX file, and the very one that was published."""
    array = idx.read(path)
    if file.sha256:
        kind, meant, found = "SHA-256 of the decompressed bytes", file.sha256, idx.digest(array)
    else:
        kind, meant, found = "MD5 of the .gz as published", file.gz_md5, _md5(path)
    if found != meant:
        owner = owner_of(found)
        what = f"the bytes of {owner}" if owner else f"other bytes, of shape {array.shape}"
        raise DataError(f"{path}: must be {file.name} with {kind} {meant[:12]}…; found {found[:12]}…, {what}.")
    return array


def _md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


def _keep(file: DataFile, path: Path, array: NDArray[Any], folder: Path) -> None:
    if file.sha256:
        idx.write(folder / file.cache_name, array)
    else:
        with open_regular(path) as published, write_atomically(folder / file.cache_name) as kept:
            shutil.copyfileobj(published, kept)


def _by_hand(entry: Entry, folder: Path, reasons: list[str]) -> str:
    forms = "plain or as .gz" if all(file.sha256 for file in entry.files) else "the .gz as published"
    names = ", ".join(file.cache_name for file in entry.files)
    return (
        f"{entry.title}: one source must serve each file; found none that does [{'] ['.join(reasons)}]. "
        f"Try again later, or place these files by hand in {folder} ({forms}): {names}."
    )


def _say(message: str) -> None:
    print(message, file=sys.stderr)


def _digits(entry: Entry) -> Dataset:
    """Load the digits inside scikit-learn; 1,437 train and 360 test examples, stratified, always the same."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    features, labels = load_digits(return_X_y=True)
    train_x, test_x, train_y, test_y = train_test_split(
        features.astype(np.uint8), labels.astype(np.int64), test_size=0.2, random_state=0, stratify=labels
    )
    return Dataset(
        name=entry.name,
        train_x=train_x,
        train_y=train_y,
        test_x=test_x,
        test_y=test_y,
        classes=entry.classes,
        scale=entry.scale,
        image_shape=entry.image_shape,
        source="scikit-learn's load_digits",
    )
