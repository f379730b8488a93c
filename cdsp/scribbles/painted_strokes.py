"""Strokes that were painted: the pixels themselves, whatever their shape, and how they shrink."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from cdsp.annotations.annotation import MAX_PIXELS
from cdsp.io.files import IGNORE

_MOST_REGIONS = 10_000


@dataclass(frozen=True, eq=False)
class PaintedStroke:
    """A connected region of pixels that somebody painted.

    Attributes:
        class_id: 0 for background, 1..254 for the classes.
        runs: (N, 3) int64, N >= 1: row, first column and number of pixels of each run, all >= 0 and
            the number >= 1; from the top down, and from left to right without overlap. The stroke
            keeps its own read-only copy.

    Raises:
        ValueError: If a value is outside these ranges.
    """

    class_id: int
    runs: np.ndarray

    def __post_init__(self) -> None:
        runs = np.array(self.runs)
        if runs.ndim != 2 or runs.shape[1] != 3 or len(runs) == 0 or runs.dtype.kind not in "iu":
            raise ValueError(
                f"a painted stroke's runs have shape {runs.shape} and type {runs.dtype}; expected "
                "whole numbers, (N, 3) with N >= 1"
            )
        if not 0 <= self.class_id < IGNORE:
            raise ValueError(f"a stroke has class {self.class_id}; expected 0..{IGNORE - 1}")
        if runs.min() < 0 or runs[:, 2].min() < 1 or runs.max() > MAX_PIXELS:
            raise ValueError("a painted stroke has a run without pixels or outside every image")
        runs = runs.astype(np.int64)
        position = runs[:, 0] * (2 * MAX_PIXELS + 1) + runs[:, 1]
        if (position[1:] < position[:-1] + runs[:-1, 2]).any():
            raise ValueError("a painted stroke's runs overlap or are out of order")
        runs.setflags(write=False)
        object.__setattr__(self, "runs", runs)
        if np.prod(self.shape) > MAX_PIXELS:
            raise ValueError(f"a painted stroke reaches beyond an image of {MAX_PIXELS:,} pixels")

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the smallest image that holds the stroke."""
        return int(self.runs[-1, 0]) + 1, int((self.runs[:, 1] + self.runs[:, 2]).max())

    def pixels(self) -> tuple[np.ndarray, np.ndarray]:
        """Columns x and rows y of the painted pixels, each (P,) int64."""
        row, first, number = self.runs.T
        behind = np.cumsum(number)
        x = np.arange(behind[-1]) + np.repeat(first - (behind - number), number)
        return x, np.repeat(row, number)


def painted_regions(painted: np.ndarray, class_id: int) -> Iterator[PaintedStroke]:
    """Divide what was painted into its 8-connected regions, from the top down.

    Args:
        painted: (H, W) bool.
        class_id: of the strokes.

    Raises:
        ValueError: If there are more than 10,000 regions.
    """
    num_labels, region = cv2.connectedComponents(painted.astype(np.uint8), connectivity=8)
    if num_labels - 1 > _MOST_REGIONS:
        raise ValueError(
            f"{num_labels - 1:,} separate regions are painted, expected at most {_MOST_REGIONS:,}: "
            "is this a photograph, or painted with soft edges?"
        )
    runs = _runs(painted)
    region_of_run = region[runs[:, 0], runs[:, 1]]
    order = np.argsort(region_of_run, kind="stable")
    _, first = np.unique(region_of_run[order], return_index=True)
    parts = np.split(runs[order], first[1:]) if len(runs) else []
    for part in sorted(parts, key=lambda part: tuple(part[0])):
        yield PaintedStroke(class_id, part)


def _runs(painted: np.ndarray) -> np.ndarray:
    """Row, first column and length of each run of True in an (H, W) array, (N, 3) int64."""
    edge = np.diff(np.pad(painted, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    (row, first), (_, behind) = np.nonzero(edge == 1), np.nonzero(edge == -1)
    return np.stack([row, first, behind - first], axis=1)


def shrink_painted(stroke: PaintedStroke, ratio: float) -> PaintedStroke:
    """Shorten a painted stroke from all its ends towards its middle.

    The middle is half-way along the longest path through the stroke's skeleton, whose loops are
    cut. Each painted pixel goes with the nearest pixel of the skeleton, and stays while that one's
    way to the middle, along the skeleton, is at most 1 - ratio of the longest such way. What a
    larger ratio keeps, a smaller one keeps too; a dot in the middle, as wide as the stroke is
    there, always stays.

    Args:
        stroke: The stroke.
        ratio: Fraction removed, 0..1. 0 returns the stroke itself.
    """
    if ratio == 0:
        return stroke
    # Loading these takes longer than what most users of this module do.
    from scipy.sparse.csgraph import dijkstra
    from scipy.spatial import KDTree

    from cdsp.scribbles.skeleton import longest_path, skeleton_tree

    x, y = stroke.pixels()
    corner = x.min() - 1, y.min() - 1
    x, y = x - corner[0], y - corner[1]
    inside = np.zeros((y.max() + 2, x.max() + 2), bool)
    inside[y, x] = True
    nodes, tree = skeleton_tree(inside)
    path = longest_path(tree)
    along = dijkstra(tree, indices=path[0])[path]
    middle = path[np.argmin(np.abs(along - along[-1] / 2))]
    way = dijkstra(tree, indices=middle)
    farthest = way[np.isfinite(way)].max()
    _, nearest = KDTree(nodes).query(np.stack([x, y], axis=1))

    centre_x, centre_y = nodes[middle].astype(np.intp)
    clearance = cv2.distanceTransform(inside.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    radius = clearance[centre_y, centre_x] - 0.5
    kept = way[nearest] <= (1 - ratio) * farthest if ratio < 1 else np.zeros(len(x), bool)
    kept |= np.hypot(x - centre_x, y - centre_y) <= radius
    inside[y[~kept], x[~kept]] = False
    return PaintedStroke(stroke.class_id, _runs(inside) + np.array([corner[1], corner[0], 0]))


def painted_to_json(stroke: PaintedStroke) -> dict[str, Any]:
    """A painted stroke as an entry of a stroke file."""
    return {"class_id": stroke.class_id, "runs": stroke.runs.ravel().tolist()}


def painted_from_json(class_id: int, runs: Any) -> PaintedStroke:
    """Read what `painted_to_json` wrote.

    Raises:
        ValueError: If the runs are not whole numbers in threes, or see `PaintedStroke`.
    """
    numbers = np.asarray(runs)
    if numbers.ndim != 1 or len(numbers) % 3:
        raise ValueError("expected 'runs' to be a list of whole numbers, three to a run")
    return PaintedStroke(class_id, numbers.reshape(-1, 3))
