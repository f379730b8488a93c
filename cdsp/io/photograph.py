"""Photographs of any pixels, read as a whole or by rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from cdsp.io.files import no_such, read_image
from cdsp.io.pixels import RGB, Depth, PixelFormat, describe_pixels
from cdsp.io.tiff import TiffImage

TIFF_SUFFIXES = (".tif", ".tiff")


@dataclass(frozen=True)
class Photograph:
    """An open photograph.

    Attributes:
        size: height, width.
        channels: 3 of a common one.
        depth: of the values in the file.
        rows: (start, stop) → (stop - start, width, channels), as the file holds them.
    """

    size: tuple[int, int]
    channels: int
    depth: Depth
    rows: Callable[[int, int], np.ndarray]

    @property
    def whole(self) -> np.ndarray:
        """(H, W, channels)."""
        return self.rows(0, self.size[0])


def open_photograph(path: Path, pixels: PixelFormat = RGB) -> Photograph:
    """Open a photograph whose pixels are of a known format.

    Returns:
        Its ``rows`` are uint8, or float32 from 0 to 255; see `PixelFormat.stretched`.

    Raises:
        ValueError: missing, damaged, or of other pixels; also in ``rows``, where a value is NaN.
    """
    found = open_any_photograph(path, pixels.page)
    if (found.channels, found.depth) != pixels.kind:
        raise ValueError(
            f"{path}: {describe_pixels(found.channels, found.depth)}, expected {pixels}, as in the "
            "photographs that were trained on"
        )
    return Photograph(
        found.size,
        found.channels,
        found.depth,
        lambda start, stop: pixels.stretched(found.rows(start, stop), path),
    )


def open_any_photograph(path: Path, page: int = 0) -> Photograph:
    """Open a photograph as it is: one of 8-bit greys or colours as RGB, any other as it stands.

    A TIFF is read by rows where it is kept so that it can be; others are read as a whole.

    Args:
        path: the file.
        page: of a TIFF with several.

    Raises:
        ValueError: missing, damaged, no such page, or kept in a way that cannot be read.
    """
    if not path.is_file():
        raise ValueError(no_such(path, "image"))
    if path.suffix.lower() in TIFF_SUFFIXES:
        return _open_tiff(path, page)
    if page:
        raise ValueError(f"{path}: has no page {page}; a single page is in it")
    try:
        with Image.open(path) as image:
            is_deep = image.mode.startswith("I;16")
            values = np.array(image)[..., None] if is_deep else None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        values = None  # read_image tells what is wrong
    return in_memory(read_image(path) if values is None else values)


def _open_tiff(path: Path, page: int) -> Photograph:
    try:
        image = TiffImage(path, page)
    except ValueError:
        if page:
            raise
        return in_memory(read_image(path))
    if image.is_common and page == 0 and not image.is_plain:
        return in_memory(read_image(path))
    if image.unreadable:
        raise ValueError(f"{path}: {image.unreadable}")
    if image.is_plain and page == 0:
        return Photograph(image.shape[:2], 3, "uint8", lambda a, b: _as_rgb(image.rows(a, b)))
    name = image.dtype.name
    depth: Depth = name if name in ("uint8", "uint16") else "float32"
    return Photograph(
        image.shape[:2],
        image.shape[2],
        depth,
        lambda start, stop: image.rows(start, stop).astype(depth, copy=False),
    )


def in_memory(pixels: np.ndarray) -> Photograph:
    """A photograph that is in memory, (H, W, C) uint8, uint16 or float32."""
    return Photograph(
        pixels.shape[:2],
        pixels.shape[2],
        pixels.dtype.name,  # type: ignore[arg-type]
        lambda start, stop: pixels[start:stop],
    )


def _as_rgb(pixels: np.ndarray) -> np.ndarray:
    return np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels
