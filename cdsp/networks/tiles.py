"""Predictions of images of any size in bounded memory: by tiles that overlap.

The image is brought to the network's working size, band by band. Where that is larger than fits at
once, the network sees square tiles of it, and of each tile only what is `MARGIN` pixels or more
from its borders is used (but at the image's own): Ronneberger et al., "U-Net", 2015. Tiles begin at
multiples of the backbone's `side_step`, so that their features lie on the pixels on which those of
the whole image would lie.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

from cdsp.evaluation.settings import EvaluationSettings
from cdsp.io.photograph import Photograph
from cdsp.io.pixels import resize
from cdsp.networks.heads import SegmentationNetwork
from cdsp.networks.predictor import predict_probabilities
from cdsp.progress import progress
from cdsp.working_size import at_working_size, photograph_at_working_size

TILE = 1025
"""Side of a tile, pixels at the working size."""
MARGIN = 256
"""What a tile sees beyond that for which it is used, pixels at the working size."""
AT_ONCE = 2**21
"""Pixels of an image that is predicted as a whole."""

_ROWS = 256  # of a photograph, read at a time
_BYTES = 2**26  # of probabilities that are enlarged at a time


class Span(NamedTuple):
    """A tile along one side: it sees pixels start..stop - 1, and is used for first..last - 1."""

    start: int
    stop: int
    first: int
    last: int


def tile_spans(length: int, tile: int, margin: int, step: int) -> list[Span]:
    """The tiles along a side.

    Args:
        length: of the side, pixels.
        tile: side of a tile, pixels.
        margin: pixels.
        step: tiles begin at its multiples.
    """
    stride = max(1, (tile - 2 * margin) // step) * step
    number = max(1, -(-(length - tile) // stride) + 1)
    starts = [index * stride for index in range(number)]
    borders = [0, *(start + margin for start in starts[1:]), length]
    return [
        Span(start, min(start + tile, length), *borders[index : index + 2])
        for index, start in enumerate(starts)
    ]


def predict_windows(
    network: SegmentationNetwork,
    photograph: Photograph,
    settings: EvaluationSettings,
    device: torch.device,
    *,
    working_size: int,
) -> Iterator[tuple[slice, slice, Tensor]]:
    """Class probabilities of a photograph, piece by piece.

    Args:
        network: in evaluation mode, on ``device``.
        photograph: of any size.
        settings: the protocol; its ``long_side`` stands for the working size where it is not 0.
        device: where to compute.
        working_size: of the network, pixels; 0 = as the photograph is.

    Yields:
        Rows, columns and the (K, rows, columns) float32 probabilities of their pixels, which sum to
        1 over K. The pieces cover each pixel of the photograph once.
    """
    height, width = photograph.size
    size = at_working_size(photograph.size, settings.long_side or working_size)
    if max(height * width, size[0] * size[1]) <= AT_ONCE:
        image = photograph.rows(0, height)
        found = predict_probabilities(network, image, settings, device, working_size=working_size)
        yield slice(0, height), slice(0, width), found
        return
    settings = replace(settings, long_side=0)
    tile = max(size) if size[0] * size[1] <= AT_ONCE else TILE
    step = network.backbone.side_step
    rows, columns = (tile_spans(side, tile, MARGIN, step) for side in size)
    pairs = [(y, x) for y in rows for x in columns]
    band, band_start = np.empty(0), -1
    for y, x in progress(pairs, "tiles") if len(pairs) > 1 else pairs:
        if y.start != band_start:
            band, band_start = working_rows(photograph, size, y.start, y.stop), y.start
        view = band[:, x.start : x.stop]
        found = predict_probabilities(network, view, settings, device)
        yield from _enlarged(found, (y, x), size, photograph.size, network.backbone.align_corners)


def working_rows(
    photograph: Photograph, size: tuple[int, int], start: int, stop: int
) -> np.ndarray:
    """Rows ``start`` to ``stop`` - 1 of a photograph that is brought to a (height, width).

    As `photograph_at_working_size` would make them, to a grey level: averaged where it shrinks,
    bilinear where it grows. A photograph that shrinks is never read as a whole.

    Returns:
        (stop - start, width, C), of the photograph's kind.
    """
    height, width = photograph.size
    if size == (height, width):
        return photograph.rows(start, stop)
    if max(size) > max(height, width):
        return photograph_at_working_size(photograph.rows(0, height), max(size))[start:stop]
    ratio = height / size[0]
    edges = np.arange(start, stop + 1)[:, None] * ratio  # of the new rows, among the old ones
    first, last = int(edges[0, 0]), min(height, int(np.ceil(edges[-1, 0])))
    total = np.zeros((stop - start, size[1] * photograph.channels), np.float32)
    for row in range(first, last, _ROWS):
        old = photograph.rows(row, min(row + _ROWS, last))
        narrow = resize(old.astype(np.float32), (size[1], len(old)), cv2.INTER_AREA)
        above = np.arange(row, row + len(old))
        shared = np.minimum(edges[1:], above + 1) - np.maximum(edges[:-1], above)
        weights = (np.maximum(shared, 0) / ratio).astype(np.float32)
        touched = weights.any(axis=1)
        total[touched] += weights[touched] @ narrow.reshape(len(old), -1)
    averaged = total.reshape(stop - start, size[1], -1)
    return np.rint(averaged).astype(np.uint8) if photograph.depth == "uint8" else averaged


def _enlarged(
    found: Tensor,
    spans: tuple[Span, Span],
    size: tuple[int, int],
    full_size: tuple[int, int],
    align_corners: bool,
) -> Iterator[tuple[slice, slice, Tensor]]:
    """The part of a tile that is used, at the size of the photograph, some rows at a time.

    Args:
        found: (K, h, w) probabilities of the tile.
        spans: of its rows and columns.
        size: of the image at the working size.
        full_size: of the photograph.
        align_corners: see `Backbone.align_corners`.
    """
    axes = [
        _between(span, side, full, align_corners)
        for span, side, full in zip(spans, size, full_size, strict=True)
    ]
    (top, low, high, part), (left, *between_columns) = axes
    columns = slice(left, left + len(between_columns[0]))
    step = max(1, _BYTES // (4 * len(found) * max(found.shape[2], columns.stop - left)))
    for row in range(0, len(low), step):
        chosen = slice(row, row + step)
        lines = _blend(found, 1, low[chosen], high[chosen], part[chosen])
        rows = slice(top + row, top + row + lines.shape[1])
        yield rows, columns, _blend(lines, 2, *between_columns)


def _between(
    span: Span, side: int, full: int, align_corners: bool
) -> tuple[int, Tensor, Tensor, Tensor]:
    """Which pixels of a tile the used pixels of the photograph lie between, along one side.

    Returns:
        The first pixel of the photograph, and for each (N,) the pixel before, the one after, and
        how far it is from the first to the second, 0..1.
    """
    pixels = np.arange(full)
    if align_corners:
        places = pixels * ((side - 1) / max(1, full - 1))
    else:
        places = ((pixels + 0.5) * (side / full) - 0.5).clip(0, side - 1)
    borders = [
        0 if span.first == 0 else span.first - 0.5,
        side if span.last == side else span.last - 0.5,
    ]
    first, last = np.searchsorted(places, borders)
    places = places[first:last] - span.start
    before = np.floor(places).clip(0, span.stop - span.start - 1)
    after = np.minimum(before + 1, span.stop - span.start - 1)
    low, high = (torch.from_numpy(each.astype(np.int64)) for each in (before, after))
    return int(first), low, high, torch.from_numpy((places - before).astype(np.float32))


def _blend(values: Tensor, axis: int, low: Tensor, high: Tensor, part: Tensor) -> Tensor:
    """Values between pixels ``low`` and ``high`` of one axis of (K, h, w)."""
    low, high, part = (each.to(values.device) for each in (low, high, part))
    if axis == 1:
        part = part[:, None]
    lower = values.index_select(axis, low)
    return lower if not part.any() else torch.lerp(lower, values.index_select(axis, high), part)
