"""Strokes from masks: what a hand would draw where the true mask is known, and strokes from labels.

A simulated stroke runs along the medial axis of a connected component. The axis is the skeleton of
the component, made a tree by cutting its loops; the longest path through the tree is the first
stroke, and the longest paths through what remains are further ones.
"""

from math import pi, sqrt
from typing import NamedTuple

import cv2
import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import connected_components, dijkstra, minimum_spanning_tree
from scipy.spatial import KDTree
from skimage.morphology import skeletonize

from cdsp.io.files import IGNORE
from cdsp.scribbles.strokes import Stroke, arc_length, cut

_VOC_LONGEST_SIDE = 500
_VOC_STROKE_WIDTH = 3.0

# In stroke widths.
_SHORTEST_STROKE = 6.0
_SHORTEST_BRANCH = 12.0
_BRANCH_GAP = 4.0

_SMALLEST_OBJECT = 0.002  # of the image's area
_AREA_PER_BRANCH = 0.05  # of the image's area
_MOST_STROKES = 3
_PEN_LIFT = 0.05  # of a piece of a path that is too long for one stroke, at either end

_THICK = 12.0  # px; a component this thick, from its medial axis out, is thinned at half resolution
_END_CLEARANCE = 0.33  # of the path's median clearance
_SMOOTHING = 0.4  # of the path's median clearance
_WAVE = 0.25  # of the path's median clearance
_SHORTEST_WAVE = 8.0  # px
_JITTER = 0.3  # of the path's median clearance
_TOLERANCE = 0.5  # px


def stroke_width(height: int, width: int) -> float:
    """Width of a scribble for an image of this size, in pixels.

    3 px where the longest side is 500 px (PASCAL VOC) or more, in proportion below, at least 1.
    """
    longest_side = max(height, width)
    return max(1.0, _VOC_STROKE_WIDTH * min(1.0, longest_side / _VOC_LONGEST_SIDE))


class _Component(NamedTuple):
    """A connected component of a class, cut out with a margin of one pixel.

    Attributes:
        inside: (h, w) bool, True inside.
        corner: (2,) x and y in the image of the cut-out's first pixel.
    """

    inside: np.ndarray
    corner: np.ndarray


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
    *,
    width: float,
    coverage: float = 0.03,
    background: bool = True,
) -> tuple[Stroke, ...]:
    """Draw the strokes that a hand might draw on an image whose mask is known.

    Every class of the mask gets a stroke along the medial axis of each of its components that is
    not tiny, or of its largest one; components thinner than the pen get none where others are
    thicker. A large object gets further strokes along other branches, the background one to three
    strokes in all. Strokes are cut to a window of their path so that together
    they label about ``coverage`` of the image, as far as the paths are long enough for that. The
    pen wavers, but keeps inside the component wherever the component is thick enough for it.

    Args:
        mask: (H, W) uint8 true classes; 0 background, 255 void.
        rng: Source of the pen's course and of the order of the objects.
        width: Width of the strokes in pixels.
        coverage: Fraction of the image's pixels to label, 0..1.
        background: Whether to draw strokes on the background.

    Returns:
        Background strokes first, then object strokes in random order.
    """
    smallest = _SMALLEST_OBJECT * mask.size
    axes: list[_Axis] = []
    for class_id in np.unique(mask[mask != IGNORE]):
        if class_id == 0 and not background:
            continue
        found = [
            axis
            for component in _components(mask == class_id, smallest)
            for axis in _medial_axes(component, int(class_id), mask.shape, width)
        ]
        found = [axis for axis in found if np.median(axis.room) > width / 2] or found
        if class_id == 0:
            found = sorted(found, key=lambda axis: -arc_length(axis.path))[:_MOST_STROKES]
        axes.extend(found)

    drawn = [_draw(axis, width, rng) for axis in axes]
    lengths = np.array([arc_length(points) for points in drawn])
    kept = min(1.0, coverage * mask.size / width / max(lengths.sum(), 1.0))
    strokes = []
    for axis, points, length in zip(axes, drawn, lengths, strict=True):
        window = max(length * kept, min(length, _SHORTEST_STROKE * width))
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
        for component in _components(label == class_id, smallest=0):
            nodes, tree = _skeleton_tree(component.inside)
            path = nodes[_longest_path(tree)]
            area, length = float(component.inside.sum()), float(tree.sum()) / 2
            # A pen of width w covers w * length, and a disc of diameter w at the two ends together.
            pen = (sqrt(length**2 + pi * area) - length) * 2 / pi
            if length < pen:
                path = np.argwhere(component.inside)[:, ::-1].mean(axis=0, keepdims=True)
                pen = sqrt(4 * area / pi)
            points = _simplify(path + component.corner)
            strokes.append(Stroke(int(class_id), points, max(1.0, pen)))
    return tuple(strokes)


def longest_skeleton_path(component: np.ndarray) -> np.ndarray:
    """Order the skeleton of a region along its longest path.

    The skeleton's loops are cut, which leaves a tree; the path is the longest in that tree.

    Args:
        component: (H, W) bool, one 8-connected region; of several, the one with the largest
            skeleton counts.

    Returns:
        (N, 2) float64 (x, y) of neighbouring pixels, from one end to the other.

    Raises:
        ValueError: If the region is empty.
    """
    if not component.any():
        raise ValueError("the region has no pixel; expected at least one")
    nodes, tree = _skeleton_tree(component)
    return nodes[_longest_path(tree)]


def _components(region: np.ndarray, smallest: float) -> list[_Component]:
    """Components of a (H, W) bool region with at least that many pixels, or else the largest."""
    _, labels, boxes, _ = cv2.connectedComponentsWithStats(region.astype(np.uint8), connectivity=8)
    areas = boxes[1:, cv2.CC_STAT_AREA]
    chosen = np.flatnonzero(areas >= min(smallest, areas.max())) + 1
    components = []
    for i in chosen:
        x, y, width, height = boxes[i, :4]
        inside = np.pad(labels[y : y + height, x : x + width] == i, 1)
        components.append(_Component(inside, np.array([x - 1, y - 1])))
    return components


def _skeleton_tree(region: np.ndarray) -> tuple[np.ndarray, csr_array]:
    """Skeleton of a non-empty (H, W) bool region as a tree.

    Returns:
        (N, 2) float64 (x, y) of the skeleton's pixels, and the (N, N) symmetric lengths of the
        tree's edges.
    """
    skeleton = skeletonize(region)
    y, x = np.nonzero(skeleton)
    number = np.full(np.add(skeleton.shape, 2), -1)
    number[y + 1, x + 1] = np.arange(len(x))
    starts, ends, lengths = [], [], []
    for dx, dy in ((1, 0), (0, 1), (1, 1), (-1, 1)):
        neighbour = number[y + 1 + dy, x + 1 + dx]
        starts.append(np.flatnonzero(neighbour >= 0))
        ends.append(neighbour[neighbour >= 0])
        lengths.append(np.full(len(ends[-1]), np.hypot(dx, dy)))
    edges = np.concatenate(lengths), (np.concatenate(starts), np.concatenate(ends))
    tree = minimum_spanning_tree(coo_array(edges, shape=(len(x), len(x))).tocsr())
    return np.stack([x, y], axis=1).astype(np.float64), csr_array(tree + tree.T)


def _longest_path(tree: csr_array) -> np.ndarray:
    """Nodes along the longest path in the largest tree of a forest, end to end."""
    _, part = connected_components(tree, directed=False)
    anywhere = np.argmax(part == np.bincount(part).argmax())
    distance = dijkstra(tree, indices=anywhere)
    start = np.argmax(np.where(np.isfinite(distance), distance, -1))
    distance, previous = dijkstra(tree, indices=start, return_predecessors=True)
    node = int(np.argmax(np.where(np.isfinite(distance), distance, -1)))
    path = [node]
    while node != start:
        node = int(previous[node])
        path.append(node)
    return np.array(path)


def _medial_axes(
    component: _Component, class_id: int, shape: tuple[int, int], width: float
) -> list[_Axis]:
    """Paths for the pen through a component: the longest one, then others if it is large.

    A path longer than the longest side of the image, whose shape is given, is cut into pieces.
    """
    inside = component.inside
    clearance = cv2.distanceTransform(inside.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    step = 2 if clearance.max() >= _THICK else 1
    height, length = (side // step * step for side in inside.shape)
    blocks = inside[:height, :length].reshape(height // step, step, length // step, step)
    nodes, tree = _skeleton_tree(np.all(blocks, axis=(1, 3)))
    nodes = nodes * step + (step - 1) / 2

    share = inside.sum() / (shape[0] * shape[1])
    axes: list[_Axis] = []
    for _ in range(min(1 + int(share / _AREA_PER_BRANCH), _MOST_STROKES)):
        if len(nodes) == 0:
            break
        longest = nodes[_longest_path(tree)]
        path = _resample(longest)
        room = clearance[*np.round(path.T[::-1]).astype(np.intp)].astype(np.float64)
        wide = room >= min(max(width / 2 + 1, np.median(room) * _END_CLEARANCE), room.max())
        first, last = np.flatnonzero(wide)[[0, -1]]
        path, room = path[first : last + 1], room[first : last + 1]
        if axes and arc_length(path) < _SHORTEST_BRANCH * width:
            break
        num_pieces = int(np.ceil(len(path) / max(shape)))
        for piece in np.array_split(np.arange(len(path)), num_pieces):
            gap = int(len(piece) * _PEN_LIFT) if num_pieces > 1 else 0
            piece = piece[gap : len(piece) - gap]
            axes.append(_Axis(class_id, path[piece] + component.corner, room[piece]))
        apart = KDTree(longest).query(nodes)[0] > _BRANCH_GAP * width
        nodes, tree = nodes[apart], tree[apart][:, apart]
    return axes


def _draw(axis: _Axis, width: float, rng: np.random.Generator) -> np.ndarray:
    """Follow an axis with a wavering hand: (N, 2) float64 points."""
    usual = np.median(axis.room)
    smooth = gaussian_filter1d(axis.path, max(2.0, usual * _SMOOTHING), axis=0, mode="nearest")
    wave = max(_SHORTEST_WAVE, usual * _WAVE)
    # Smoothed white noise has the variance 1 / (2 sqrt(pi) wave).
    amplitude = float(usual) * _JITTER * sqrt(2 * sqrt(pi) * wave)
    noise = amplitude * gaussian_filter1d(rng.standard_normal(len(smooth)), wave, mode="wrap")
    along = gaussian_filter1d(axis.path, wave, axis=0, order=1, mode="nearest")
    across = along[:, ::-1] * (1, -1) / np.maximum(np.linalg.norm(along, axis=1), 1e-9)[:, None]
    stray = smooth + noise[:, None] * across - axis.path
    # Room changes by at most 1 px per px: who strays less than this stays inside.
    may_stray = np.maximum(axis.room - width / 2 - 1.5, 0)
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
