"""TIFF files read by rows, so that memory does not grow with the image."""

from __future__ import annotations

import lzma
import math
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import tifffile

from cdsp.io.outputs import atomic_path

_TILE = 256
_DECODING_ERRORS = (zlib.error, lzma.LZMAError)


class TiffImage:
    """One image of a TIFF: a page of one or several channels, or the pages that are its channels.

    Pages that the file's own description (ImageJ, OME) calls channels belong to one image; all
    other pages are images of their own, in the order of the file.

    Attributes:
        shape: height, width, channels.
        dtype: of the values in the file, in this machine's byte order.
        num_pages: images in the file.
        is_common: whether it is of 8-bit greys or colours, which Pillow reads as well.
        is_plain: whether its rows are greys or red, green and blue as they stand.
        unreadable: why its rows cannot be read here; None where they can.
    """

    def __init__(self, path: Path, page: int = 0) -> None:
        """Open a file; nothing is read but its description.

        Args:
            path: the file.
            page: number of the image, from 0.

        Raises:
            ValueError: no TIFF, no such page, or kept in a way that cannot be read.
        """
        self.path = path
        try:
            with tifffile.TiffFile(path) as file:
                images = [image for series in file.series for image in _images(series)]
                self._byteorder = file.byteorder
        except (tifffile.TiffFileError, OSError, ValueError, IndexError, KeyError) as error:
            raise ValueError(f"{path}: not a readable TIFF ({error})") from error
        if not 0 <= page < len(images):
            raise ValueError(
                f"{path}: has no page {page}; its {len(images)} pages are 0 to {len(images) - 1}"
            )
        self.num_pages = len(images)
        self._pages = images[page]
        first: Any = self._pages[0].keyframe
        if first.axes not in (("YX",) if len(self._pages) > 1 else ("YX", "YXS", "SYX")):
            raise ValueError(f"{path}: its pages have axes {first.axes}; expected height × width")
        height, width = (first.shape[first.axes.index(axis)] for axis in "YX")
        self.shape = height, width, first.samplesperpixel * len(self._pages)
        self.dtype = np.dtype(first.dtype).newbyteorder("=")
        self.is_common = len(self._pages) == 1 and _is_common(first)
        self.unreadable = None
        try:
            tifffile.TIFF.DECOMPRESSORS[first.compression]
        except KeyError as error:
            self.unreadable = f"{error.args[0]}; save it without compression, or with deflate"
        self.is_plain = self.is_common and _is_plain(first) and not self.unreadable

    def rows(self, start: int, stop: int) -> np.ndarray:
        """Rows ``start`` to ``stop`` - 1: (stop - start, width, channels).

        Raises:
            ValueError: the file is cut short or damaged, or compressed in another way.
        """
        if self.unreadable:
            raise ValueError(f"{self.path}: {self.unreadable}")
        out = np.zeros((stop - start, *self.shape[1:]), self.dtype)
        channels = self.shape[2] // len(self._pages)
        try:
            with self.path.open("rb") as file:
                for number, page in enumerate(self._pages):
                    part = out[..., number * channels :][..., :channels]
                    self._fill(file, page, part, start)
        except (*_DECODING_ERRORS, OSError, ValueError, EOFError, RuntimeError) as error:
            raise ValueError(f"{self.path}: cut short, or damaged ({error})") from error
        return out

    def _fill(self, file: BinaryIO, page: Any, out: np.ndarray, start: int) -> None:
        """Read rows of one page, from ``start`` on, into (rows, width, channels)."""
        format_ = page.keyframe
        if page.is_contiguous and format_.predictor == 1 and format_.fillorder == 1:
            self._fill_plain(file, page, out, start)
            return
        for index, y in self._segments(page, start, start + len(out)):
            file.seek(page.dataoffsets[index])
            data = file.read(page.databytecounts[index])
            found, (plane, _, y, x, _), _ = format_.decode(
                data, index, jpegtables=format_.jpegtables
            )
            if found is None:
                continue  # a part that is kept as nothing stands for zeros
            above = max(0, start - y)
            block = found[0][above : start + len(out) - y]
            target = out[y + above - start :][: len(block), x : x + block.shape[1]]
            block = block[:, : target.shape[1]]
            if format_.axes == "SYX":
                target[..., plane] = block[..., 0]
            else:
                target[...] = block

    def _fill_plain(self, file: BinaryIO, page: Any, out: np.ndarray, start: int) -> None:
        """The same of a page whose values lie one after the other, as they are."""
        format_ = page.keyframe
        planes = range(out.shape[2]) if format_.axes == "SYX" else [slice(None)]
        for number, plane in enumerate(planes):
            target = out[..., plane]
            row_bytes = target[0].size * format_.dtype.itemsize
            row = start + number * self.shape[0]
            file.seek(page.dataoffsets[0] + row * row_bytes)
            values = file.read(row_bytes * len(target))
            dtype = format_.dtype.newbyteorder(self._byteorder)
            target[...] = np.frombuffer(values, dtype).reshape(target.shape)

    def _segments(self, page: Any, start: int, stop: int) -> Iterator[tuple[int, int]]:
        """(index, first row) of the strips or tiles that have some of the rows."""
        format_ = page.keyframe
        height = format_.tilelength if format_.is_tiled else format_.rowsperstrip
        height = min(height, self.shape[0])
        across = -(-self.shape[1] // format_.tilewidth) if format_.is_tiled else 1
        per_plane = across * -(-self.shape[0] // height)
        for index in range(len(page.dataoffsets)):
            y = index % per_plane // across * height
            if y < stop and y + height > start:
                yield index, y


def _images(series: Any) -> list[list[Any]]:
    """The images of a series, each a list of the pages that are its channels."""
    pages = list(series.pages)
    axes = series.axes[: len(series.axes) - len(pages[0].axes)]
    shape = series.shape[: len(axes)]
    if math.prod(shape) != len(pages) or None in pages:
        raise ValueError(f"axes {series.axes} of shape {series.shape} in {len(pages)} pages")
    numbers = np.arange(len(pages)).reshape(shape)
    numbers = np.moveaxis(numbers, axes.index("C"), -1) if "C" in axes else numbers[..., None]
    return [[pages[number] for number in image] for image in numbers.reshape(-1, numbers.shape[-1])]


def _is_common(page: Any) -> bool:
    """Whether a page is of 8-bit greys or colours, with or without transparency."""
    names = [extra.name for extra in page.extrasamples]
    colours = {"RGB": 3, "MINISBLACK": 1, "MINISWHITE": 1, "PALETTE": 1, "YCBCR": 3}
    colours |= {"SEPARATED": 4, "CIELAB": 3}
    photometric = getattr(page.photometric, "name", "")
    own = page.samplesperpixel - len(names)
    return (
        page.bitspersample <= 8 and colours.get(photometric) == own and "UNSPECIFIED" not in names
    )


def _is_plain(page: Any) -> bool:
    """Whether its values are greys or red, green and blue as they stand."""
    orientation = page.tags.get("Orientation")
    return (
        getattr(page.photometric, "name", "") in ("RGB", "MINISBLACK")
        and page.dtype == np.uint8
        and not page.extrasamples
        and (orientation is None or orientation.value == 1)
    )


def write_map_tiff(path: Path, values: Any, palette: np.ndarray | None = None) -> None:
    """Write a large map of one byte per pixel as a compressed TIFF, atomically, tile by tile.

    Args:
        path: the file.
        values: (H, W) uint8, an array or a data set of HDF5, of which a tile is read at a time.
        palette: (256, 3) uint8; None for greys.
    """
    height, width = values.shape
    tiles = (
        values[y : y + _TILE, x : x + _TILE]
        for y in range(0, height, _TILE)
        for x in range(0, width, _TILE)
    )
    colours: dict[str, Any] = {"photometric": "minisblack"}
    if palette is not None:
        # 16 bits per colour, 255 becomes 65535.
        colours = {"photometric": "palette", "colormap": palette.T.astype(np.uint16) * 257}
    with atomic_path(path, sync=False) as temporary:
        tifffile.imwrite(
            temporary,
            tiles,
            shape=(height, width),
            dtype=np.uint8,
            tile=(_TILE, _TILE),
            compression="zlib",
            metadata=None,
            **colours,
        )
