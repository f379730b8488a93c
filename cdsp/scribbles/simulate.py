"""Strokes from masks: what a hand would draw where the true mask is known, and strokes from labels.

A simulated stroke follows a path as the hand of a style does. On an object the path is the medial
axis of a connected component: the longest path through its skeleton is the first stroke, and the
longest paths through what remains are further ones. On the background it is a loop around the
objects, or the medial axis.
"""

from math import pi, sqrt
from typing import NamedTuple

import cv2
import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.spatial import KDTree

from cdsp.io.files import IGNORE
from cdsp.scribbles.loops import background_loops
from cdsp.scribbles.skeleton import Component, components, longest_path, skeleton_tree
from cdsp.scribbles.strokes import Stroke, arc_length, cut
from cdsp.scribbles.styles import Hand, Style

_VOC_LONGEST_SIDE = 500
_VOC_STROKE_WIDTH = 3.0

# In stroke widths.
_SHORTEST_STROKE = 6.0
_SHORTEST_BRANCH = 12.0
_BRANCH_GAP = 4.0

_SMALLEST_OBJECT = 0.002  # of the image's area
_LEAST_ON_BACKGROUND = 0.5  # of a loop
_PEN_LIFT = 0.05  # of a piece of a path that is too long for one stroke, at either end

_THICK = 12.0  # px; a component this thick, from its medial axis out, is thinned at half resolution
_SHORTEST_WAVE = 8.0  # px
_TOLERANCE = 0.5  # px


def stroke_width(height: int, width: int) -> float:
    """Width of a scribble for an image of this size, in pixels.

    3 px where the longest side is 500 px (PASCAL VOC) or more, in proportion below, at least 1.
    """
    longest_side = max(height, width)
    return max(1.0, _VOC_STROKE_WIDTH * min(1.0, longest_side / _VOC_LONGEST_SIDE))


class _Axis(NamedTuple):
    """A path for the pen along the middle of a component.

    Attributes:
        class_id: The component's class.
        path: (N, 2) float64 (x, y) in the image, at most 1 px from point to point.
        room: (N,) float64 distances in pixels to the nearest pixel that is not the component's;
            the outside of the image counts.
    """

    class_id: int
    path: np.ndarray
    room: np.ndarray


def simulate_strokes(
    mask: np.ndarray,
    rng: np.random.Generator,
    style: Style,
    *,
    width: float,
    coverage: float | None = None,
    background: bool = True,
) -> tuple[Stroke, ...]:
    """Draw the strokes that a hand might draw on an image whose mask is known.

    Every class of the mask gets a stroke along the medial axis of each of its components that is
    not tiny, or of its largest one; components thinner than the pen get none where others are
    thicker. A large object gets further strokes along other branches. The background gets the loops
    of the style, or strokes along its medial axis where the style has none or there is no room. The
    style says what part of these paths is drawn, and how closely.

    Args:
        mask: (H, W) uint8 true classes; 0 background, 255 void.
        rng: Source of the pen's course and of the order of the objects.
        style: How the strokes are drawn.
        width: Width of the strokes in pixels.
        coverage: Fraction of the image's pixels to label at most, 0..1; none: the style's own. All
            strokes are shortened by the same factor where they would label more.
        background: Whether to draw strokes on the background.

    Returns:
        Background strokes first, then object strokes in random order.
    """
    axes: list[_Axis] = []
    for class_id in np.unique(mask[mask != IGNORE]):
        if class_id != 0:
            axes += _class_axes(mask, int(class_id), style, width)
        elif background:
            axes += _background_axes(mask, style, width, rng)

    hands = [style.objects if axis.class_id else style.background for axis in axes]
    last = np.array(mask.shape[::-1]) - 1
    drawn = [
        np.clip(_draw(axis, width, hand, rng), 0, last)
        for axis, hand in zip(axes, hands, strict=True)
    ]
    lengths = np.array([arc_length(points) for points in drawn])
    wanted = lengths * [hand.reach for hand in hands]
    if coverage is None:
        coverage = style.coverage
    kept = min(1.0, coverage * mask.size / width / max(wanted.sum(), 1.0))
    strokes = []
    for axis, points, length, goal in zip(axes, drawn, lengths, wanted, strict=True):
        window = max(goal * kept, min(length, _SHORTEST_STROKE * width))
        first = rng.uniform(0, length - window)
        points = np.round(cut(points, first, first + window), 3)
        strokes.append(Stroke(axis.class_id, points, width))
    on_background = [stroke for stroke in strokes if stroke.class_id == 0]
    on_objects = [stroke for stroke in strokes if stroke.class_id != 0]
    return (*on_background, *(on_objects[i] for i in rng.permutation(len(on_objects))))


def strokes_from_label(label: np.ndarray) -> tuple[Stroke, ...]:
    """Turn a scribble label back into strokes.

    Each 8-connected component of a class becomes one stroke: the longest path through its skeleton,
    as wide as the component's area over the length of the whole skeleton, and at least 1 px. A
    component whose skeleton is shorter than that width becomes a dot at its centre. Where strokes
    of one class cross, only the longest path is recovered.

    Args:
        label: (H, W) uint8; 255 where there is no stroke.

    Returns:
        The strokes in the order of their classes.
    """
    strokes = []
    for class_id in np.unique(label[label != IGNORE]):
        for component in components(label == class_id, smallest=0):
            nodes, tree = skeleton_tree(component.inside)
            path = nodes[longest_path(tree)]
            area, length = float(component.inside.sum()), float(tree.sum()) / 2
            # A pen of width w covers w * length, and a disc of diameter w at the two ends together.
            pen = (sqrt(length**2 + pi * area) - length) * 2 / pi
            if length < pen:
                path = np.argwhere(component.inside)[:, ::-1].mean(axis=0, keepdims=True)
                pen = sqrt(4 * area / pi)
            points = _simplify(path + component.corner)
            strokes.append(Stroke(int(class_id), points, max(1.0, pen)))
    return tuple(strokes)


def _background_axes(
    mask: np.ndarray, style: Style, width: float, rng: np.random.Generator
) -> list[_Axis]:
    """Paths for the pen on the background: loops, or the medial axis."""
    axes = []
    if style.loop is not None:
        room = _clearance(mask == 0)
        for path in background_loops(mask, style.loop, rng):
            path = _resample(path)
            axes.append(_Axis(0, path, _at(room, path)))
        axes = [axis for axis in axes if np.mean(axis.room > 0) > _LEAST_ON_BACKGROUND]
    if not axes:
        axes = _class_axes(mask, 0, style, width)
        axes = sorted(axes, key=lambda axis: -arc_length(axis.path))[: style.most_strokes]
    return axes


def _class_axes(mask: np.ndarray, class_id: int, style: Style, width: float) -> list[_Axis]:
    """Paths for the pen along the components of a class that the mask holds."""
    axes = [
        axis
        for component in components(mask == class_id, _SMALLEST_OBJECT * mask.size)
        for axis in _medial_axes(component, class_id, mask.shape, style, width)
    ]
    return [axis for axis in axes if np.median(axis.room) > width / 2] or axes


def _medial_axes(
    component: Component, class_id: int, shape: tuple[int, int], style: Style, width: float
) -> list[_Axis]:
    """Paths for the pen through a component: the longest one, then others if it is large.

    A path that is too long for one stroke in an image of the given shape is cut into pieces.
    """
    inside = component.inside
    hand = style.objects if class_id else style.background
    clearance = _clearance(inside)
    step = 2 if clearance.max() >= _THICK else 1
    height, length = (side // step * step for side in inside.shape)
    blocks = inside[:height, :length].reshape(height // step, step, length // step, step)
    nodes, tree = skeleton_tree(np.all(blocks, axis=(1, 3)))
    nodes = nodes * step + (step - 1) / 2

    share = inside.sum() / (shape[0] * shape[1])
    axes: list[_Axis] = []
    for _ in range(min(1 + int(share / style.area_per_stroke), style.most_strokes)):
        if len(nodes) == 0:
            break
        longest = nodes[longest_path(tree)]
        path = _resample(longest)
        room = _at(clearance, path)
        wide = room >= min(max(width / 2 + 1, np.median(room) * hand.tip), room.max())
        first, last = np.flatnonzero(wide)[[0, -1]]
        path, room = path[first : last + 1], room[first : last + 1]
        if axes and arc_length(path) < _SHORTEST_BRANCH * width:
            break
        num_pieces = int(np.ceil(len(path) / (max(shape) * hand.longest)))
        for piece in np.array_split(np.arange(len(path)), num_pieces):
            gap = int(len(piece) * _PEN_LIFT) if num_pieces > 1 else 0
            piece = piece[gap : len(piece) - gap]
            axes.append(_Axis(class_id, path[piece] + component.corner, room[piece]))
        apart = KDTree(longest).query(nodes)[0] > _BRANCH_GAP * width
        nodes, tree = nodes[apart], tree[apart][:, apart]
    return axes


def _clearance(region: np.ndarray) -> np.ndarray:
    """(H, W) float32 distances in pixels to the nearest pixel outside of a (H, W) bool region.

    The outside of the image counts.
    """
    padded = np.pad(region, 1).astype(np.uint8)
    return cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]


def _at(values: np.ndarray, path: np.ndarray) -> np.ndarray:
    """(N,) float64 values of an (H, W) image at the points of an (N, 2) path within it."""
    return values[*np.round(path.T[::-1]).astype(np.intp)].astype(np.float64)


def _draw(axis: _Axis, width: float, hand: Hand, rng: np.random.Generator) -> np.ndarray:
    """Follow an axis with a wavering hand: (N, 2) float64 points."""
    usual = np.median(axis.room)
    smoothing = max(2.0, usual * hand.smoothing)
    smooth = gaussian_filter1d(axis.path, smoothing, axis=0, mode="nearest")
    wave = max(_SHORTEST_WAVE, usual * hand.wave)
    # Smoothed white noise has the variance 1 / (2 sqrt(pi) wave).
    amplitude = float(usual) * hand.jitter * sqrt(2 * sqrt(pi) * wave)
    noise = amplitude * gaussian_filter1d(rng.standard_normal(len(smooth)), wave, mode="wrap")
    along = gaussian_filter1d(axis.path, wave, axis=0, order=1, mode="nearest")
    across = along[:, ::-1] * (1, -1) / np.maximum(np.linalg.norm(along, axis=1), 1e-9)[:, None]
    stray = smooth + noise[:, None] * across - axis.path
    # Room changes by at most 1 px per px: who strays less than this stays inside.
    may_stray = np.maximum(axis.room - width / 2 - hand.margin, 0)
    stray *= np.minimum(1, may_stray / np.maximum(np.linalg.norm(stray, axis=1), 1e-9))[:, None]
    return _simplify(axis.path + stray)


def _resample(path: np.ndarray) -> np.ndarray:
    """Put points on a path so that they are at most 1 px apart, evenly spaced."""
    position = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(path, axis=0).T))])
    where = np.linspace(0, position[-1], 1 + int(np.ceil(position[-1])))
    return np.stack([np.interp(where, position, path[:, axis]) for axis in (0, 1)], axis=1)


def _simplify(path: np.ndarray) -> np.ndarray:
    """Leave out the points of a path that lie within half a pixel of the line without them."""
    simple = cv2.approxPolyDP(path.astype(np.float32), _TOLERANCE, closed=False)
    return simple.reshape(-1, 2).astype(np.float64)
