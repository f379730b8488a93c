"""Connected components of regions, their skeletons as trees, and the longest paths through these.

The skeleton of a component becomes a tree by cutting its loops.
"""

from typing import NamedTuple

import cv2
import numpy as np
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import connected_components, dijkstra, minimum_spanning_tree
from skimage.morphology import skeletonize


class Component(NamedTuple):
    """A connected component of a class, cut out with a margin of one pixel.

    Attributes:
        inside: (h, w) bool, True inside.
        corner: (2,) x and y in the image of the cut-out's first pixel.
    """

    inside: np.ndarray
    corner: np.ndarray


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
    nodes, tree = skeleton_tree(component)
    return nodes[longest_path(tree)]


def components(region: np.ndarray, smallest: float) -> list[Component]:
    """8-connected components of a (H, W) bool region with that many pixels, or else the largest."""
    _, labels, boxes, _ = cv2.connectedComponentsWithStats(region.astype(np.uint8), connectivity=8)
    areas = boxes[1:, cv2.CC_STAT_AREA]
    chosen = np.flatnonzero(areas >= min(smallest, areas.max())) + 1
    found = []
    for i in chosen:
        x, y, width, height = boxes[i, :4]
        inside = np.pad(labels[y : y + height, x : x + width] == i, 1)
        found.append(Component(inside, np.array([x - 1, y - 1])))
    return found


def skeleton_tree(region: np.ndarray) -> tuple[np.ndarray, csr_array]:
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


def longest_path(tree: csr_array) -> np.ndarray:
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
