"""The rasterisation of strokes into scribble labels."""

from collections.abc import Iterator, Sequence
from math import ceil, floor

import numpy as np

from cdsp.io.files import IGNORE
from cdsp.scribbles.painted_strokes import PaintedStroke
from cdsp.scribbles.strokes import Box, Stroke

_FARTHEST = 1e9  # px; beyond, differences of coordinates could overflow
_HALF_OPEN = 1e-6  # px; moves a line off ties between two pixels
_BLOCK = 2**18  # pixels looked at in one go, which bounds the memory


def rasterise(strokes: Sequence[Stroke | PaintedStroke], height: int, width: int) -> np.ndarray:
    """Draw strokes into a scribble label.

    A painted stroke marks its own pixels, which must lie in the label. A pixel belongs to a drawn
    stroke when its centre lies within half the stroke's width of the polyline.
    Ties go to the smaller coordinate, so that an axis-aligned stroke of integer width w is w pixels
    thick wherever it lies between the pixel centres. A stroke that moves less than one pixel is a
    dot: it is moved to the nearest pixel centre, so that it cannot fall between pixels.

    Args:
        strokes: Strokes in drawing order; a later one paints over an earlier one.
        height: Height of the label in pixels.
        width: Width of the label in pixels.

    Returns:
        (height, width) uint8 label; 255 where there is no stroke.
    """
    label = np.full((height, width), IGNORE, dtype=np.uint8)
    for stroke in strokes:
        painted = isinstance(stroke, PaintedStroke)
        blocks = (stroke.pixels(),) if painted else _covered_pixels(stroke, height, width)
        for x, y in blocks:
            label[y, x] = stroke.class_id
    return label


def marks_pixels(shape: Stroke | PaintedStroke | Box, height: int, width: int) -> bool:
    """Whether a stroke or box marks a pixel of an image of that size."""
    if isinstance(shape, PaintedStroke):
        return True
    if isinstance(shape, Box):
        across = range(max(0, ceil(shape.left)), min(width, floor(shape.right) + 1))
        down = range(max(0, ceil(shape.top)), min(height, floor(shape.bottom) + 1))
        return len(across) > 0 and len(down) > 0
    return any(len(x) > 0 for x, _ in _covered_pixels(shape, height, width))


def _covered_pixels(
    stroke: Stroke, height: int, width: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Coordinates x and y of the pixels that a stroke covers, with repetitions, in blocks."""
    points = np.clip(stroke.points, -_FARTHEST, _FARTHEST)
    low, high = points.min(axis=0), points.max(axis=0)
    if (high - low < 1).all():
        points = np.ceil((low + high) / 2 - 0.5)[None]
    points = points - _HALF_OPEN
    radius = stroke.width / 2
    starts, ends = _clip_segments(
        points, -radius - 1, np.array([width + radius, height + radius], dtype=np.float64)
    )
    longest = max(1.0, stroke.width)
    reach = int(radius + longest / 2 + 0.5)
    offsets = np.stack(np.meshgrid(*[np.arange(-reach, reach + 1)] * 2), axis=-1).reshape(-1, 2)
    for first, last in _split_segments(starts, ends, longest, max(1, _BLOCK // len(offsets))):
        pixels = np.round((first + last) / 2)[:, None] + offsets
        along = last - first
        squared_length = np.maximum((along**2).sum(axis=1), np.finfo(np.float64).tiny)
        from_start = pixels - first[:, None]
        position = np.clip((from_start @ along[:, :, None])[..., 0] / squared_length[:, None], 0, 1)
        distance = from_start - position[..., None] * along[:, None]
        inside = (pixels >= 0).all(axis=2) & (pixels < (width, height)).all(axis=2)
        covered = inside & ((distance**2).sum(axis=2) <= radius**2)
        x, y = pixels[covered].astype(np.intp).T
        yield x, y


def _clip_segments(
    points: np.ndarray, low: float, high: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Starts and ends, each (M, 2), of a polyline's segments cut to the box from low to high.

    A segment along which a coordinate stays the same is not cut by that coordinate.
    """
    starts, ends = (points[:-1], points[1:]) if len(points) > 1 else (points, points)
    along = ends - starts
    with np.errstate(divide="ignore", invalid="ignore"):
        at_low, at_high = (low - starts) / along, (high - starts) / along
    still = along == 0
    entry = np.where(still, 0.0, np.minimum(at_low, at_high)).max(axis=1)
    leave = np.where(still, 1.0, np.maximum(at_low, at_high)).min(axis=1)
    entry, leave = np.maximum(entry, 0.0), np.minimum(leave, 1.0)
    kept = entry <= leave
    starts, along = starts[kept], along[kept]
    return starts + entry[kept, None] * along, starts + leave[kept, None] * along


def _split_segments(
    starts: np.ndarray, ends: np.ndarray, longest: float, block: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Cut each segment into equal pieces of at most ``longest`` pixels; ``block`` of them at once.

    Yields:
        Starts and ends of pieces, each (N, 2), 1 <= N <= ``block``.
    """
    along = ends - starts
    num_pieces = np.maximum(np.ceil(np.hypot(*along.T) / longest), 1).astype(np.intp)
    behind = np.cumsum(num_pieces)  # number of the first piece behind each segment
    total = int(num_pieces.sum())
    for begin in range(0, total, block):
        number = np.arange(begin, min(begin + block, total))
        segment = np.searchsorted(behind, number, side="right")
        piece = number - (behind - num_pieces)[segment]
        step = along[segment] / num_pieces[segment, None]
        first = starts[segment] + piece[:, None] * step
        yield first, first + step
