"""A folder with a folder of images for each class → Dataset."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from droplab.data.arrays import Labelled, held_out_of, to_dataset
from droplab.data.dataset import Dataset
from droplab.data.disk import is_folder, open_regular
from droplab.errors import ConfigError, DataError

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm", ".pbm")
"""How the names of images end."""

MOST_PIXELS = 1_000_000
"""Most pixels of an image: 512 units fully connected to more would have half a thousand million weights."""

_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM")
_GREY, _COLOUR = ("1", "L"), ("RGB", "P")  # Pillow's modes: a palette is one of colours
_MANY = 10_000  # images that take long enough to say so


def is_image(path: Path) -> bool:
    """Whether a path's name is that of an image."""
    return path.name.lower().endswith(SUFFIXES)


def holds_images(folder: Path) -> bool:
    """Whether a folder is laid out as `load_images` takes it: with folders in it, and no data files beside them."""
    arrays = any(entry.name.endswith((".npy", "-ubyte", "-ubyte.gz")) for entry in _entries(folder))
    return not arrays and bool(_folders(folder))


def load_images(path: Path, test: str | None, notify: Callable[[str], None]) -> Dataset:
    """Load a data set from a folder with a folder of images for each class, or with such folders `train` and `test`.

    The images of a class may lie in folders of its folder. Files that are no images by their names are passed over.
    Grey images become (rows, columns), those in colour rows × columns × 3 features without a shape; bytes stay bytes.

    Args:
        path: of the folder.
        test: another such folder, or the share of the images to test on; `None` for `TEST_SHARE`.
        notify: told what is assumed.

    Raises:
        ConfigError: if `test` is no share, or the folder has a test part of its own.
        DataError: if an image cannot be taken, or they are not all of one size and kind; if a class has no image.
    """
    if {folder.name for folder in _folders(path)} == {"train", "test"} and all(map(_folders, _folders(path))):
        if test is not None:
            raise ConfigError(f"{path}: has a test part of its own, the folder test, so test cannot act. Leave it out.")
        train, held = (_read(path / part, notify) for part in ("train", "test"))
        arrays = (train.x, train.y, held.x, held.y)
        return to_dataset(path, f"folder {path}", arrays, (*train.where, *held.where), (train.places, held.places))
    return held_out_of(path, f"folder {path}", _read(path, notify), test, partial(_read, notify=notify), notify)


def read_image(path: Path) -> NDArray[np.uint8]:
    """The pixels of an image: (rows, columns) of a grey one, (rows, columns, 3) of one in colour.

    Raises:
        DataError: if it is none that Pillow reads, is damaged, has more than `MOST_PIXELS`, transparency, more than 8
            bits a channel or more than one picture.
    """
    from PIL import Image, UnidentifiedImageError

    with open_regular(path) as handle, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's own limit is wider, and what it mends is mended
        try:
            image = Image.open(handle, formats=_FORMATS)
            _check(path, image)
            return np.asarray(image.convert("L" if image.mode in _GREY else "RGB"))
        except DataError:  # which is a ValueError
            raise
        except Image.DecompressionBombError:
            raise DataError(f"{path}: an image may have {MOST_PIXELS:,} pixels; it has far more. Shrink it.") from None
        except UnidentifiedImageError:
            raise DataError(
                f"{path}: must be an image ({', '.join(_FORMATS)}); found other content. Take it out of the folder."
            ) from None
        except (OSError, ValueError, SyntaxError, EOFError) as error:  # whatever its decoders raise on damaged bytes
            reason = " ".join(str(error).split()) or "it ends too early"
            raise DataError(f"{path}: must be a sound image; found: {reason}. Save it again.") from None


def image_files(folder: Path) -> list[Path]:
    """The images of a folder, those of its folders among them, in order.

    Raises:
        DataError: if there is none.
    """
    found = [file for file in _files(folder) if is_image(file)]
    if not found:
        raise DataError(f"{folder}: must hold images ({', '.join(SUFFIXES)}); found none. Name another folder.")
    return found


def _check(path: Path, image: Any) -> None:
    """Raise unless an image that is not decoded yet may be."""
    columns, rows = image.size
    if rows * columns > MOST_PIXELS:
        raise DataError(
            f"{path}: an image may have {MOST_PIXELS:,} pixels; found {columns} × {rows}. Shrink all of them alike."
        )
    if getattr(image, "n_frames", 1) > 1:
        raise DataError(f"{path}: must be one picture; found {image.n_frames}, as of a film. Save one of them.")
    if image.has_transparency_data:
        raise DataError(
            f"{path}: must not be transparent; found {image.mode} that is. Lay all of them on a background."
        )
    if image.mode not in _GREY + _COLOUR:
        raise DataError(
            f"{path}: must be grey or RGB with 8 bits a channel; found mode {image.mode}. Convert all of them alike."
        )


def _read(folder: str | Path, notify: Callable[[str], None]) -> Labelled:
    """Every image of a folder of classes; `places` are their paths in it."""
    path = Path(folder)
    if not is_folder(path) or not _folders(path):
        raise DataError(f"{path}: must be a folder with a folder of images for each class; found none. Name another.")
    found, others = [], [file for file in _entries(path) if not file.is_dir()]
    for one in _folders(path):
        files = list(_files(one))
        images = [file for file in files if is_image(file)]
        if not images:
            raise DataError(
                f"{one}: the folder of a class must hold images ({', '.join(SUFFIXES)}); found "
                f"{f'{len(files)} other files' if files else 'none'}. Add some, or take the folder away."
            )
        found += [(file, one.name) for file in images]
        others += [file for file in files if not is_image(file)]
    if others:
        notify(f"{path}: {len(others)} files that are no images of a class are passed over, {others[0]} among them")
    if len(found) >= _MANY:
        notify(f"{path}: reading {len(found):,} images")
    x = stacked_images([file for file, _ in found])
    places = np.array([os.fspath(file.relative_to(path)) for file, _ in found])
    return Labelled(x, _numbered([label for _, label in found]), (f"{path}: images", f"{path}: classes"), places)


def stacked_images(files: Sequence[Path]) -> NDArray[np.uint8]:
    """Images as `to_dataset` takes them: (images, rows, columns) of grey ones, else (images, features).

    Raises:
        DataError: as `read_image`, or if they are not all as the first.
    """
    first = read_image(files[0])
    x = np.empty((len(files), *first.shape), np.uint8)
    for place, file in enumerate(files):
        image = read_image(file)
        if image.shape != first.shape:
            raise DataError(
                f"{file}: images must all be of one size, and all grey or all in colour; found {_words(image)}, and "
                f"{_words(first)} in {files[0]}. Bring them to one."
            )
        x[place] = image
    return x if x.ndim == 3 else x.reshape(len(x), -1)


def _words(image: NDArray[np.uint8]) -> str:
    return f"{image.shape[1]} × {image.shape[0]} {'grey' if image.ndim == 2 else 'in colour'}"


def _numbered(labels: Sequence[str]) -> NDArray[Any]:
    """The names of folders; as numbers if all of them are, so that 10 comes after 9."""
    numbers = all(label.isdecimal() and label.isascii() and str(int(label)) == label for label in set(labels))
    return np.array([int(label) for label in labels] if numbers else labels)


def _entries(folder: Path) -> list[Path]:
    """What a folder holds, in order, hidden things apart."""
    try:
        return sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    except OSError as error:
        raise DataError(f"{folder}: cannot be listed: {error.strerror or error}. Check its permissions.") from None


def _folders(folder: Path) -> list[Path]:
    return [entry for entry in _entries(folder) if entry.is_dir()]


def _files(folder: Path) -> Iterator[Path]:
    """The files of a class, those of its folders among them; links to folders are not followed."""
    for entry in _entries(folder):
        if not entry.is_dir():
            yield entry
        elif not entry.is_symlink():
            yield from _files(entry)
