"""Image files → pixels: one, or those of a folder that are all of one form."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from droplab.data.disk import open_regular
from droplab.errors import DataError, reading

if TYPE_CHECKING:
    from PIL import Image

SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".bmp", ".gif", ".tif", ".tiff", ".webp"),
    *(".pgm", ".ppm", ".pbm", ".pnm"),
)
"""How the names of images end."""

MOST_PIXELS = 1_000_000
"""Most pixels of an image: 512 units fully connected to more would have half a thousand million weights."""

_MOST_OF_WEBP = 16_000_000  # pixels: its decoder keeps the picture several times
_SHRUNK = 4_000_000  # pixels, or fewer, that a larger image is brought to
_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM")
_GREY, _COLOUR = ("1", "L", "LA"), ("RGB", "RGBA", "P", "PA")  # Pillow's modes: a palette is one of colours
_JUNK = ("__macosx", "@eadir", "$recycle.bin", "thumbs.db", "ehthumbs.db", "desktop.ini")  # what systems leave behind
_ORIENTATION, _BITS, _SAMPLE_FORMAT = 274, 258, 339  # tags of TIFF, the first of EXIF, too


def is_image(path: Path) -> bool:
    """Whether a path's name is that of an image."""
    return path.name.lower().endswith(SUFFIXES)


def read_image(path: Path) -> NDArray[np.uint8]:
    """The pixels of an image: (rows, columns) of a grey one, (rows, columns, 3) of one in colour.

    It is turned as its EXIF orientation says. Of the several pictures that cameras put into a JPEG the first is meant.

    Raises:
        DataError: if it is none that Pillow reads, is damaged, has more than `MOST_PIXELS`, pixels that are
            transparent, more than 8 bits a channel, colours other than RGB, or more than one picture, as a film.
    """
    pixels, opacity = decode(path, MOST_PIXELS)
    clear = 0 if opacity is None else int((opacity < 255).sum())
    if opacity is not None and clear:
        raise DataError(
            f"{path}: must not be transparent; found {clear:,} of {opacity.size:,} pixels that are. Lay all images on "
            "a background."
        )
    return pixels


def decode(path: Path, most_pixels: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
    """The pixels of an image, as `read_image` gives them, and how opaque each is.

    Returns:
        The pixels; and 0 (transparent) … 255, shape (rows, columns), or `None` where the file says nothing of it.

    Raises:
        DataError: as `read_image`, but for transparent pixels.
    """
    from PIL import Image, UnidentifiedImageError

    sound = reading(path, "a sound image", "Save it again.")
    with open_regular(path) as handle, sound, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's own limit is wider, and what it mends is mended
        try:
            image: Image.Image = Image.open(handle, formats=_FORMATS)
            _check(path, image, most_pixels)
            image.load()
            turn, grey, clear = _turn_of(image), image.mode in _GREY, image.has_transparency_data
            mode = ("L" if grey else "RGB") + ("A" if clear else "")
            image = image if image.mode == mode else image.convert(mode)
            if (pixels := math.prod(image.size)) > MOST_PIXELS:
                image = image.reduce(math.ceil(math.sqrt(pixels / _SHRUNK)))
            values = np.asarray(image if turn is None else image.transpose(turn))
            if not clear:
                return values, None
            return values[..., 0] if grey else values[..., :3], values[..., -1]
        except Image.DecompressionBombError:
            raise DataError(f"{path}: an image may have {most_pixels:,} pixels; it has far more. Shrink it.") from None
        except UnidentifiedImageError:
            raise DataError(
                f"{path}: must be an image ({', '.join(_FORMATS)}); found other content. Take it out of the folder."
            ) from None


def _check(path: Path, image: Image.Image, most_pixels: int) -> None:
    """Raise unless an image that is not decoded yet may be."""
    columns, rows = image.size
    if rows * columns == 0:
        raise DataError(f"{path}: must have pixels; found {columns} × {rows}. Take it out of the folder.")
    most = min(most_pixels, _MOST_OF_WEBP) if image.format == "WEBP" else most_pixels
    if rows * columns > most:
        raise DataError(
            f"{path}: an image may have {most:,} pixels; found {columns} × {rows}. Shrink all of them alike."
        )
    several = getattr(image, "is_animated", False)  # to count them takes as long as there are many
    if several and image.format != "MPO":  # a camera's JPEG: the picture, then previews or other views of it
        raise DataError(f"{path}: must be one picture; found several, as of a film. Save one of them.")
    if odd := _odd(image):
        raise DataError(f"{path}: must be grey or RGB with 8 bits a channel; found {odd}. Convert all of them alike.")
    if image.format == "PNG" and image.mode == "L" and "transparency" in image.info:
        # Pillow spreads 2 and 4 bits over 0 … 255, but not the grey that is said to be transparent.
        image.info["transparency"] *= {"L;2": 85, "L;4": 17}.get(_raw(image), 1)


def _odd(image: Any) -> str:
    """What an image's numbers are that cannot be taken as they are; Pillow's mode alone does not say it in colour."""
    if image.mode not in _GREY + _COLOUR:
        return f"mode {image.mode}"
    told = _raw(image)
    if image.format == "PNG" and str(told).endswith("16B"):
        return "16"
    if image.format == "PPM" and not isinstance(told, str) and told[-1] > 255:
        return f"a largest value of {told[-1]:,}"
    if image.format == "TIFF" and (deep := max(image.tag_v2.get(_BITS, (1,)))) > 8:
        return str(deep)
    if image.format == "TIFF" and 2 in image.tag_v2.get(_SAMPLE_FORMAT, ()):
        return "numbers with a sign"
    return ""


def _raw(image: Any) -> Any:
    """How the pixels lie in the file, in the words of Pillow's decoders."""
    return image.tile[0][3] if image.tile else ""


def _turn_of(image: Image.Image) -> Image.Transpose | None:
    """How a decoded image is turned to be seen as it is meant; not at all where what says so cannot be read."""
    from PIL import Image

    turns = Image.Transpose
    methods = {
        2: turns.FLIP_LEFT_RIGHT,
        3: turns.ROTATE_180,
        4: turns.FLIP_TOP_BOTTOM,
        5: turns.TRANSPOSE,
        6: turns.ROTATE_270,
        7: turns.TRANSVERSE,
        8: turns.ROTATE_90,
    }
    try:
        return methods.get(image.getexif().get(_ORIENTATION, 1))  # Pillow has turned a TIFF already, and says 1 then
    except Exception:  # a damaged block, which no viewer minds
        return None


def image_files(folder: Path) -> list[Path]:
    """The images of a folder, those of its folders among them, in order.

    Raises:
        DataError: if there is none.
    """
    found = [file for file in files_in(folder) if is_image(file)]
    if not found:
        raise DataError(f"{folder}: must hold images ({', '.join(SUFFIXES)}); found none. Name another folder.")
    return found


def stacked_images(files: Sequence[Path]) -> NDArray[np.uint8]:
    """Images as `to_dataset` takes them: (images, rows, columns) of grey ones, (images, rows, columns, 3) in colour.

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
    return x


def shape_words(shape: Sequence[int]) -> str:
    """The form of images in words.

    >>> shape_words((8, 6)), shape_words((8, 6, 3))
    ('8 × 6', '8 × 6 in colour')
    """
    return f"{shape[0]} × {shape[1]}{' in colour' if len(shape) == 3 else ''}"


def _words(image: NDArray[np.uint8]) -> str:
    size = f"{image.shape[1]} × {image.shape[0]}"
    if image.ndim == 2:
        return f"{size} grey"
    grey = (image == image[..., :1]).all()
    return f"{size} in colour" + (", though all its pixels are grey" if grey else "")


def entries(folder: Path) -> list[Path]:
    """What a folder holds, in order, apart from what is hidden and what systems leave behind.

    Raises:
        DataError: if it cannot be listed.
    """
    try:
        there = [entry for entry in folder.iterdir() if not entry.name.startswith(".")]
    except OSError as error:
        raise DataError(f"{folder}: cannot be listed: {error.strerror or error}. Check its permissions.") from None
    return sorted(entry for entry in there if entry.name.lower() not in _JUNK)


def files_in(folder: Path) -> Iterator[Path]:
    """The files of a folder, those of its folders among them; a link to a folder is not followed, but given itself."""
    for entry in entries(folder):
        if entry.is_dir() and not entry.is_symlink():
            yield from files_in(entry)
        else:
            yield entry
