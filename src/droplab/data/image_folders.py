"""A folder with a folder of images for each class, or with such folders for train, valid and test → Dataset."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from droplab.data.arrays import Labelled, held_out_of
from droplab.data.dataset import Dataset
from droplab.data.disk import is_folder
from droplab.data.held_out import share_of
from droplab.data.images import SUFFIXES, entries, files_in, is_image, stacked_images
from droplab.errors import ConfigError, DataError

_SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("valid", "val", "validation", "dev"), "valid"),
    **dict.fromkeys(("test", "testing"), "test"),
}
_MANY = 10_000  # images that take long enough to say so
_NAMED = 5  # folders that a message names


def holds_images(folder: Path) -> bool:
    """Whether a folder is laid out as `load_images` takes it: with folders in it, and no data files beside them."""
    arrays = any(entry.name.endswith((".npy", "-ubyte", "-ubyte.gz")) for entry in entries(folder))
    return not arrays and bool(_folders(folder))


def load_images(path: Path, test: str | None, notify: Callable[[str], None]) -> Dataset:
    """Load a data set from a folder with a folder of images for each class, or with folders of such for its splits.

    Splits are known by their names, in any case: train or training; val, valid, validation or dev; test or testing.
    The images of a class may lie in folders of its folder. Files that are no images by their names are passed over.
    Images become (rows, columns), or (rows, columns, 3) in colour; bytes stay bytes.

    Args:
        path: of the folder.
        test: another such folder, or the share of the images to test on; `None` for `TEST_SHARE`.
        notify: told what is assumed.

    Raises:
        ConfigError: if `test` is no share, or the folder has a test part of its own.
        DataError: if its folders are neither splits nor classes; if an image cannot be taken, or they are not all of
            one size and kind; if a class has no image.
    """
    parts = _splits_of(path)
    if "test" in parts and test is not None:
        raise ConfigError(
            f"{path}: has a test part of its own, the folder {parts['test'].name}, so test cannot act. Leave it out."
        )
    if parts and "train" not in parts:
        words = ", ".join(part.name for part in parts.values())
        raise DataError(f"{path}: must hold a split to train on; found {words}. Add a folder train.")
    if parts:
        _pass_over(path, [entry for entry in entries(path) if not entry.is_dir()], notify)
    tested = parts.get("test") or (_tested(test, notify) if test is not None and share_of(test) is None else None)
    trained = [parts[split] for split in ("train", "valid") if split in parts] or [path]
    names = [one.name for folder in (*trained, tested) if folder for one in _classes_of(folder)]
    if valid := parts.get("valid"):
        notify(
            f"{valid}: is the valid split: any valid_fraction above 0 holds it out, and 0 trains on it, too; "
            "split_seed does nothing"
        )
    read = partial(_read, numbered=_are_numbers(names), notify=notify)
    examples = read(path, trained)
    return held_out_of(
        path,
        f"folder {path}",
        examples,
        test if tested is None else str(tested),
        lambda held: read(path if "test" in parts else Path(held), [Path(held)]),
        notify,
    )


def _splits_of(folder: Path) -> dict[str, Path]:
    """The folders of the splits; none where the folders of a folder are classes.

    Raises:
        DataError: if that is not clear.
    """
    there = _folders(folder)
    named = [(split, one) for one in there if (split := _SPLITS.get(_key(one.name)))]
    if not named:
        return {}
    words = ", ".join(one.name for _, one in named)
    if others := [one.name for one in there if _key(one.name) not in _SPLITS]:
        raise DataError(
            f"{folder}: folders must all be splits by their names, or all classes; found {words} beside "
            f"{_listed(others)}. Move the classes into a split; or, if {named[0][1].name} is a class, rename its "
            "folder."
        )
    for _, one in named:
        if not _folders(one):
            raise DataError(
                f"{one}: is a split by its name, and must hold a folder of images for each class; found "
                f"{len(entries(one))} files and no folder. Make one for each class; or, if {one.name} is a class, "
                "rename its folder."
            )
    parts = dict(named)
    if len(parts) < len(named):
        raise DataError(f"{folder}: must hold a folder for each split once; found {words}. Keep one of a kind.")
    return parts


def _tested(test: str, notify: Callable[[str], None]) -> Path:
    """The folder of classes that is tested on: a folder, or its test split."""
    folder = Path(test)
    parts = _splits_of(folder) if is_folder(folder) else {}
    if not parts:
        return folder
    if "test" not in parts:
        names = ", ".join(one.name for one in parts.values())
        raise DataError(f"{test}: must hold a split to test on; found {names}. Name the folder that is meant.")
    notify(f"{test}: its folder {parts['test'].name} is tested on")
    return parts["test"]


def _classes_of(folder: Path) -> list[Path]:
    """The folders of the classes.

    Raises:
        DataError: if there is none, or splits are inside them.
    """
    there = _folders(folder) if is_folder(folder) else []
    if not there:
        raise DataError(f"{folder}: must be a folder with a folder of images for each class; found none. Name another.")
    for one in there:
        splits = [inner.name for inner in _folders(one) if _key(inner.name) in _SPLITS]
        if len({_SPLITS[_key(name)] for name in splits}) > 1:
            raise DataError(
                f"{one}: the folder of a class must not hold splits; found {', '.join(splits)}. Turn it round: "
                f"{splits[0]}{os.sep}{one.name}."
            )
        if one.name != one.name.encode(errors="replace").decode():
            raise DataError(f"{folder}: a class's name must be Unicode text; found {one.name!r}. Rename its folder.")
    return there


def _key(name: str) -> str:
    """A name without what is easily written otherwise: case, spaces, composed letters."""
    return "".join(unicodedata.normalize("NFC", name).split()).casefold()


def _read(root: Path, folders: Sequence[Path], numbered: bool, notify: Callable[[str], None]) -> Labelled:
    """Every image of one or two folders of classes, the second the valid split; `places` are their paths in `root`."""
    found: list[tuple[Path, str]] = []
    others = [file for folder in folders for file in entries(folder) if not file.is_dir()]
    train = 0
    for folder in folders:
        train = len(found)
        for one in _classes_of(folder):
            files = list(files_in(one))
            images = [file for file in files if is_image(file)]
            if not images:
                raise DataError(
                    f"{one}: the folder of a class must hold images ({', '.join(SUFFIXES)}); found "
                    f"{f'{len(files)} other files' if files else 'none'}. Add some, or take the folder away."
                )
            found += [(file, one.name) for file in images]
            others += [file for file in files if not is_image(file)]
    _pass_over(root, others, notify)
    if len(found) >= _MANY:
        notify(f"{root}: reading {len(found):,} images")
    x = stacked_images([file for file, _ in found])
    places = np.array([os.fsencode(file.relative_to(root)).decode(errors="replace") for file, _ in found])
    labels = np.array([int(label) if numbered else label for _, label in found])
    valid = np.arange(len(found)) >= train if len(folders) > 1 else None
    return Labelled(x, labels, (f"{root}: images", f"{root}: classes"), places, valid)


def _pass_over(path: Path, files: Sequence[Path], notify: Callable[[str], None]) -> None:
    if files:
        notify(f"{path}: {len(files)} files that are no images of a class are passed over, {files[0]} among them")


def _are_numbers(names: Iterable[str]) -> bool:
    """Whether all names of classes are numbers, which are put in their order, 10 after 9."""
    return all(name.isdecimal() and name.isascii() and str(int(name)) == name for name in names)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")


def _folders(folder: Path) -> list[Path]:
    return [entry for entry in entries(folder) if entry.is_dir()]
