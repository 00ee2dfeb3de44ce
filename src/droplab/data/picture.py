"""A picture of any size → the form of those that a model was trained on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from droplab.data.images import decode
from droplab.errors import DataError

MOST_PIXELS = 51_000_000
"""Most pixels of a picture that is shrunk: phones make some of 50 million."""

_BOX = 20 / 28  # of MNIST's frame, what a digit may fill
_LEAST_CONTRAST = 24  # greys between paper and drawing
_NOISE = (4, 6)  # standard deviations of the paper that every pixel drawn on must stand out by, and the strongest
_SPECK = 1 / 50  # of the pixels of the largest stroke: smaller ones are dirt
_FAINT = 1 / 4  # of the threshold between drawing and paper: fainter pixels beside a stroke are paper


def fit_picture(path: Path, shape: tuple[int, ...], background: int | None) -> NDArray[np.uint8]:
    """Bring a picture to a model's form, as MNIST's were made of scanned digits.

    It is turned as its EXIF orientation says. For a model of grey images, what is drawn is found against the picture's
    background, the grey of most of its border, whichever of the two is the lighter; then it is cropped, scaled into a
    box of 20/28 of the frame without changing its proportions, put with its centre of mass in the middle of the frame,
    and given the model's background and full contrast to it. For a model of images in colour the whole picture is
    scaled into the frame, and what is left of that gets the median colour of the picture's border.

    Args:
        path: of the picture.
        shape: of the model's images, (rows, columns) or (rows, columns, 3).
        background: that of the model's images, 0 (black) … 255; `None` for MNIST's, which is 0.

    Returns:
        An array of that shape.

    Raises:
        DataError: if it is no image that `read_image` takes, but for its size and transparency; if nothing is drawn.
    """
    pixels, opacity = decode(path, MOST_PIXELS)
    if len(shape) == 3:
        return _framed(_opaque(pixels, opacity), shape)
    grey = _opaque(np.asarray(Image.fromarray(pixels).convert("L")), opacity)
    drawn = _drawn(path, grey)
    frame = _centred(_scaled(drawn, shape), shape)
    paper = background or 0
    ink = 255 if paper < 128 else 0
    fitted: NDArray[np.uint8] = np.rint(paper + frame * (ink - paper)).astype(np.uint8)
    return fitted


def _opaque(pixels: NDArray[np.uint8], opacity: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
    """A picture laid on its own background; where its border is transparent, on white, or on black if it is light."""
    if opacity is None or opacity.min() == 255:
        return pixels
    values = pixels.reshape(*opacity.shape, -1)
    solid = _border(opacity) == 255
    if solid.mean() > 0.5:
        background = np.median(_border(values)[solid], axis=0)
    else:
        seen = values[opacity >= 128]
        background = np.array(0.0 if len(seen) and seen.mean() > 127 else 255.0)
    share = opacity[..., None] / np.float32(255)
    laid: NDArray[np.uint8] = np.rint(share * values + (1 - share) * background.astype(np.float32)).astype(np.uint8)
    return laid.reshape(pixels.shape)


def _border(values: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The outermost pixels, shape (pixels, …)."""
    edges = (values[0], values[-1], values[:, 0], values[:, -1])
    return np.concatenate(edges)


def _drawn(path: Path, grey: NDArray[np.uint8]) -> NDArray[np.float32]:
    """How strongly each pixel of a picture is drawn on, cropped to what is; 0 is paper.

    Raises:
        DataError: if nothing is.
    """
    from scipy import ndimage

    border = _border(grey)
    paper = float(np.median(border))
    noise = 1.4826 * float(np.median(np.abs(border - paper)))  # a standard deviation, whatever crosses the border
    above = grey.astype(np.float32) - np.float32(paper)
    light, dark = np.maximum(above, 0), np.maximum(-above, 0)
    strength = light if np.square(light).sum() > np.square(dark).sum() else dark
    threshold = max(_otsu(strength), _NOISE[0] * noise)
    strokes, count = ndimage.label(strength > threshold, np.ones((3, 3)))
    if not count or strength.max() < max(_LEAST_CONTRAST, _NOISE[1] * noise):
        raise DataError(
            f"{path}: must show something drawn on an even background; found none that stands out. Take another "
            "picture, with more contrast."
        )
    sizes = np.bincount(strokes.ravel())
    sizes[0] = 0
    kept = (sizes >= _SPECK * sizes.max())[strokes] & (strokes > 0)
    beside = ndimage.binary_dilation(kept, np.ones((3, 3)))  # the soft edge of a stroke
    strength = np.where(beside & (strength > _FAINT * threshold), strength, 0)
    rows, columns = (np.flatnonzero(strength.any(axis=axis)) for axis in (1, 0))
    return strength[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _otsu(values: NDArray[np.float32]) -> float:
    """The value that parts greys 0 … 255 into two kinds whose means are furthest apart (N. Otsu, IEEE SMC 9, 1979)."""
    counts = np.bincount(values.ravel().astype(np.uint8), minlength=256).astype(np.float64)
    below, sums = counts.cumsum(), (counts * np.arange(256)).cumsum()
    above = below[-1] - below
    with np.errstate(invalid="ignore", divide="ignore"):
        apart = below * above * (sums / below - (sums[-1] - sums) / above) ** 2
    best = np.flatnonzero(np.nan_to_num(apart) == np.nanmax(np.nan_to_num(apart)))
    return float(best.mean()) + 0.5


def _scaled(drawn: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """A drawing as large as the box, its strongest pixel 1."""
    factor = min(_BOX * frame / side for frame, side in zip(shape, drawn.shape, strict=True))
    rows, columns = (max(1, round(factor * side)) for side in drawn.shape)
    small = np.asarray(Image.fromarray(drawn).resize((columns, rows), Image.Resampling.HAMMING))
    strongest: NDArray[np.float32] = small / small.max()
    return strongest


def _centred(drawn: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """A drawing in the frame, its centre of mass in the middle, as far as it stays within."""
    frame = np.zeros(shape, np.float32)
    place = []
    for axis, (side, within) in enumerate(zip(drawn.shape, shape, strict=True)):
        mass = drawn.sum(axis=1 - axis)
        centre = float((mass * np.arange(side)).sum() / mass.sum())  # on pixel 14 of MNIST's 28, counted from 0
        start = min(max(round(within / 2 - centre), 0), within - side)
        place.append(slice(start, start + side))
    frame[tuple(place)] = drawn
    return frame


def _framed(pixels: NDArray[np.uint8], shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """A whole picture in a frame of colour."""
    colours = pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, axis=2)
    factor = min(within / side for within, side in zip(shape[:2], colours.shape[:2], strict=True))
    rows, columns = (max(1, round(factor * side)) for side in colours.shape[:2])
    small = np.asarray(Image.fromarray(colours).resize((columns, rows), Image.Resampling.HAMMING))
    frame = np.empty(shape, np.uint8)
    frame[:] = np.rint(np.median(_border(colours), axis=0))
    top, left = (shape[0] - rows) // 2, (shape[1] - columns) // 2
    frame[top : top + rows, left : left + columns] = small
    return frame
