"""What a kept network is asked about: files, folders and standard input → features, some rows at a time."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from droplab.data.arrays import flat_features
from droplab.data.disk import is_folder, open_regular
from droplab.data.images import image_files, is_image, shape_words, stacked_images
from droplab.data.npz import FEATURES, open_npz
from droplab.data.pairs import open_array
from droplab.data.picture import fit_picture
from droplab.data.tables import Table, is_table, pieces_of
from droplab.data.unseen import Unseen
from droplab.errors import ConfigError, DataError, ModelFileError
from droplab.model.file import ModelInfo

_NPZ_KEYS = (*FEATURES, "test_x")


@dataclass(frozen=True, eq=False)
class Piece:
    """Some rows that a network is asked about.

    Attributes:
        features: as the network takes them, shape (rows, features).
        files: the file of each row.
        rows: the number of each in its file, from 1, shape (rows,).
        scale: what bytes are multiplied by; `None` for what those of training were.
    """

    features: NDArray[np.uint8 | np.float32]
    files: Sequence[str]
    rows: NDArray[np.int64]
    scale: float | None = None

    def call(self, row: int) -> str:
        """How messages call a row, by its place here."""
        return f"row {self.rows[row]} of {self.files[row]}"


def pieces(
    info: ModelInfo, sources: Sequence[str], notify: Callable[[str], None], fit_images: bool = False
) -> Iterator[Piece]:
    """The rows of several sources, one after the other, as a network takes them.

    Args:
        info: what the network is.
        sources: a table for a network that was trained on one (`-` for CSV on standard input), whose columns are found
            by name, and which is read some rows at a time; else an npy or IDX file, an npz file with the array `x` or
            `test_x`, an image, or a folder of images. Bytes are scaled as in training; other numbers must be scaled
            already.
        notify: told what is assumed, and in the end what rows have that training rows lacked.
        fit_images: whether images are brought to the form of those that the network was trained on.

    Raises:
        ConfigError: if `fit_images` cannot act.
        DataError: if a source is not what it must be; if one has bytes and another scaled numbers; if standard input is
            named twice.
        ModelFileError: if the network takes other features.
    """
    if sources.count("-") > 1:
        raise DataError("standard input can be read once; found - several times.")
    if fit_images and info.image_shape is None:
        raise ConfigError(f"--fit-image needs a network of images; found one of {info.data}. Leave it out.")
    if info.preprocessing is not None:
        unseen = Unseen()
        for source in sources:
            for table in table_pieces(info, source):
                made = info.preprocessing.transform(table, unseen)
                yield Piece(made, [source] * len(table), table.rows)
        for words in unseen.words:
            notify(words)
        return
    kinds: dict[str, Any] = {}
    for source in sources:
        features, files = _of_array(info, source, notify, fit_images)
        kinds[source] = features.dtype
        if len(set(kinds.values())) > 1:
            found = ", ".join(f"{name}: {kind}" for name, kind in kinds.items())
            raise DataError(f"files must all hold bytes or all scaled numbers; found {found}. Ask them one by one.")
        if files is None:
            yield Piece(features, [source] * len(features), np.arange(1, len(features) + 1))
        else:  # pictures have 256 greys, whatever the data had that it was trained on
            yield Piece(features, files, np.ones(len(files), np.int64), scale=1 / 255)


def features_of(info: ModelInfo, source: str, notify: Callable[[str], None]) -> NDArray[np.uint8 | np.float32]:
    """The features of all rows of one source, as `pieces` takes it, shape (rows, features).

    Raises:
        DataError, ModelFileError: as `pieces`.
    """
    found = [piece.features for piece in pieces(info, [source], notify)]
    return found[0] if len(found) == 1 else np.concatenate(found)


def table_pieces(info: ModelInfo, source: str) -> Iterator[Table]:
    """The rows of a table for a network that was trained on one, some at a time; `-` for CSV on standard input.

    Raises:
        DataError: if it is no table.
    """
    if is_image(Path(source)) or Path(source).suffix in (".npy", ".npz"):
        raise DataError(f"{source}: must be a table, as this network was trained on one. Name a CSV or Parquet file.")
    assert info.preprocessing is not None
    with ExitStack() as stack:
        handle = _stdin() if source == "-" else stack.enter_context(open_regular(Path(source)))
        name = "standard input" if source == "-" else source
        yield from pieces_of(name, handle, info.preprocessing.missing)


def _of_array(
    info: ModelInfo, source: str, notify: Callable[[str], None], fit_images: bool
) -> tuple[NDArray[np.uint8 | np.float32], list[str] | None]:
    """The features of a source that is no table, and the file of each row where each is an image."""
    if source == "-":
        raise ConfigError(
            "standard input is for CSV, and this network was not trained on a table. Name an image, npy or npz file."
        )
    path = Path(source)
    images = image_files(path) if is_folder(path) else [path] if is_image(path) else None
    if fit_images and images is None:
        raise ConfigError(f"--fit-image can act on images alone; found {source}. Leave it out, or name images.")
    if fit_images and images and info.image_shape:
        array: NDArray[Any] = np.stack([fit_picture(file, info.image_shape, info.background) for file in images])
    else:
        array = stacked_images(images) if images else _array(path)
    features = flat_features(source, array)
    shape = array.shape[1:] if array.ndim > 2 else None
    if features.shape[1] != info.features or (shape and info.image_shape and shape != info.image_shape):
        wanted = f"images of {shape_words(info.image_shape)}" if info.image_shape else "rows"
        way = " --fit-image brings pictures to that form." if images and info.image_shape else ""
        raise ModelFileError(
            f"{source}: must hold {wanted}, {info.features} features each, as the network's data ({info.data}); found "
            f"shape {array.shape}.{way}"
        )
    if features.dtype == np.float32 and info.scale != 1:
        notify(f"{source}: taken as scaled already, as bytes times {info.scale:g} would be")
    return features, None if images is None else [str(file) for file in images]


def _array(path: Path) -> NDArray[Any]:
    """Features as an array's file holds them, (rows, …)."""
    if is_table(path):
        raise DataError(f"{path}: must hold images or an array, as this network was not trained on a table.")
    if path.suffix != ".npz":
        return open_array(path)
    with open_npz(path) as members:
        for key in _NPZ_KEYS:
            if key in members.names:
                return members.read(key)
        raise DataError(
            f"{path}: must hold the features as {' or '.join(_NPZ_KEYS)}; found {', '.join(members.names) or 'none'}."
        )


def _stdin() -> BinaryIO:
    return sys.stdin.buffer
