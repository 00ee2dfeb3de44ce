"""A folder of four npy or four IDX files → Dataset; features of millions of examples stay in their file."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from droplab.config import Task
from droplab.data import idx, npy
from droplab.data.arrays import KEYS, to_dataset
from droplab.data.dataset import Dataset
from droplab.errors import DataError

_IDX = {
    "train_x": ("train-images", "idx3-ubyte"),
    "train_y": ("train-labels", "idx1-ubyte"),
    "test_x": ("t10k-images", "idx3-ubyte"),
    "test_y": ("t10k-labels", "idx1-ubyte"),
}
_WANTED = (
    f"the four files {', '.join(f'{key}.npy' for key in KEYS)}, or the four IDX files "
    f"{', '.join('-'.join(parts) for parts in _IDX.values())}, or a folder of images for each class"
)
_MOST_NAMED = 5  # files of a folder that a message names


def load_folder(path: Path, task: Task = "auto", notify: Callable[[str], None] = lambda _: None) -> Dataset:
    """Load a data set from a folder of four npy or four IDX files.

    What is mapped read-only instead of read: `uint8` features, and `float32` ones of an npy file in C order (an IDX
    file's are big-endian). Features of any other dtype, and those of gzip files, are converted into memory. IDX files
    may have `.` for `-` before `idx`, and `.gz` at the end; of a file and its `.gz`, the file is taken.

    Args:
        path: of the folder.
        task: as that of `arrays.targets_of`.
        notify: told what is assumed.

    Raises:
        DataError: if the folder holds not exactly one data set, a file is not as long as its header says or is
            damaged, or the arrays are not what `arrays.to_dataset` takes.
    """
    files = _choose(path, *data_files(path))
    arrays = [_open(files[key], key) for key in KEYS]
    return to_dataset(path, f"folder {path}", arrays, [str(files[key]) for key in KEYS], task=task, notify=notify)


def data_files(path: Path) -> tuple[dict[str, Path], dict[str, Path]]:
    """The files of a folder that `load_folder` knows, by array: npy files, and IDX files.

    Raises:
        DataError: if it holds none of them, or the same IDX file in both spellings.
    """
    npy_files = {key: path / f"{key}.npy" for key in KEYS if os.path.lexists(path / f"{key}.npy")}
    idx_files = {}
    for key, (name, kind) in _IDX.items():
        for ending in ("", ".gz"):
            there = [file for dash in "-." if os.path.lexists(file := path / f"{name}{dash}{kind}{ending}")]
            if len(there) > 1:
                raise DataError(
                    f"{path}: must hold each file once; found {there[0].name} and {there[1].name}. Keep one."
                )
            if there:
                idx_files[key] = there[0]
                break
    if not npy_files and not idx_files:
        raise DataError(f"{path}: a folder must hold {_WANTED}; found {_listing(path)}.")
    return npy_files, idx_files


def _choose(path: Path, npy_files: dict[str, Path], idx_files: dict[str, Path]) -> dict[str, Path]:
    """Return the four files of the one data set that there must be."""
    if npy_files and idx_files:
        found = ", ".join(file.name for file in (*npy_files.values(), *idx_files.values()))
        raise DataError(
            f"{path}: must hold one data set, as npy or as IDX files; found both ({found}). "
            "Move the files of one kind to another folder."
        )
    files = npy_files or idx_files
    if len(files) == len(KEYS):
        return files
    lacking = [f"{key}.npy" if npy_files else "-".join(_IDX[key]) for key in KEYS if key not in files]
    found = ", ".join(file.name for file in files.values())
    raise DataError(f"{path}: a folder must hold {_WANTED}; found only {found}. Add {', '.join(lacking)}.")


def _listing(path: Path) -> str:
    """What a folder that holds no data set holds, and what to do, in words."""
    try:
        names = sorted(file.name for file in path.iterdir())
    except OSError as error:
        raise DataError(f"{path}: cannot be listed: {error.strerror or error}. Check its permissions.") from None
    single = next((name for name in names if name.endswith(".npz")), None)
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    advice = f". If {single} is meant, name it: {path / single}" if single else ". Name the folder that holds them"
    return (", ".join(names[:_MOST_NAMED]) + more if names else "nothing") + advice


def _open(file: Path, key: str) -> NDArray[Any]:
    if file.suffix == ".npy":
        return npy.open_mapped(file)
    return idx.open_mapped(file, dims=3 if key.endswith("_x") else 1)
