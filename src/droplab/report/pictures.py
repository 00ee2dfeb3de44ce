"""Pictures: arrays to the bytes of PNG files."""

from __future__ import annotations

import io
import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def image_png(values: NDArray[np.generic]) -> bytes:
    """An image, the smallest value black and the largest white; bytes in colour as they are.

    Args:
        values: shape (rows, columns) in greys, (rows, columns, 3) in colour; finite.
    """
    if values.ndim == 3 and values.dtype == np.uint8:
        return _png(np.asarray(values, np.uint8))
    return _png(np.rint(255 * _unit(values.astype(np.float64))).astype(np.uint8))


def signed_grid_png(values: NDArray[np.float32], shape: tuple[int, ...]) -> bytes:
    """Vectors as images in a grid: black below 0, grey at 0, white above, each by its own largest magnitude.

    Args:
        values: shape (images, features), at least one image.
        shape: (rows, columns) of an image, or (rows, columns, 3), whose red, green and blue are put side by side.
    """
    if len(shape) == 3:
        values = values.reshape(-1, *shape).transpose(0, 1, 3, 2).reshape(len(values), -1)
    rows, columns = shape[0], math.prod(shape[1:])
    across = math.ceil(math.sqrt(len(values)))
    down = math.ceil(len(values) / across)
    grid = np.full((down * (rows + 1) - 1, across * (columns + 1) - 1), 255, np.uint8)
    for place, vector in enumerate(values):
        top, left = (place // across) * (rows + 1), (place % across) * (columns + 1)
        grid[top : top + rows, left : left + columns] = _signed(vector.reshape(rows, columns))
    return _png(grid)


def _signed(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    largest = float(np.abs(values).max()) or 1.0
    mixed: NDArray[np.uint8] = np.rint(127.5 * (1 + values / largest)).astype(np.uint8)
    return mixed


def _unit(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The values moved and scaled to 0 … 1; an even image is black."""
    moved: NDArray[np.float64] = values - values.min()
    return moved / (moved.max() or 1.0)


def _png(pixels: NDArray[np.uint8]) -> bytes:
    written = io.BytesIO()
    Image.fromarray(pixels).save(written, format="PNG", optimize=True)
    return written.getvalue()
