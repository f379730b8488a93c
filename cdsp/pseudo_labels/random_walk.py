"""Strokes spread by a random walk on superpixels, towards what other evidence says of each place.

The image is cut into superpixels, which are the nodes of a graph; neighbours are joined by a weight
that falls with the difference of their mean colours. The probability of a class at a node is that
of a random walker who starts there, walks along the weights and

* stops in a superpixel that a stroke touches, with the stroke's class, or
* is caught anywhere at a small rate γ, and then draws a class from the prior of the place (a class
  activation map, or a network's prediction).

That is the minimiser of  Σ_ij w_ij |x_i − x_j|² + Σ_seeds s |x_i − t_i|² + γ Σ_i |x_i − p_i|², one
sparse linear system for all classes (Grady, Random Walks for Image Segmentation, TPAMI 2006; with
priors: CVPR 2005). Where strokes are near, they decide; the prior decides far from all of them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from scipy.sparse import coo_array, diags_array
from scipy.sparse.linalg import splu

from cdsp.io.files import IGNORE
from cdsp.io.pixels import as_picture

_SEED_STRENGTH = 100.0  # against edges of weight 1
_WEAKEST_EDGE = 1e-4
_SMOOTHING = 1.0  # px, before the superpixels are cut


@dataclass(frozen=True)
class SuperpixelGraph:
    """An image as a graph of superpixels.

    Attributes:
        superpixels: (H, W) int32, 0..num_nodes - 1.
        num_nodes: number of superpixels.
        starts, ends: (E,) int64, the nodes of each edge; an edge stands here once.
        weights: (E,) float64, > 0: the length of the common border in units of the spacing, times
            exp(−|difference of mean colours|² / (2 · colour_scale²)), and a little for the graph to
            hold together across the strongest contour.
    """

    superpixels: np.ndarray
    num_nodes: int
    starts: np.ndarray
    ends: np.ndarray
    weights: np.ndarray


def superpixel_means(superpixels: np.ndarray, number: int, values: np.ndarray) -> np.ndarray:
    """Means of (C, H, W) values over superpixels 0..number - 1: (number, C) float64."""
    nodes = superpixels.ravel()
    sizes = np.maximum(np.bincount(nodes, minlength=number), 1)
    sums = [np.bincount(nodes, value.ravel(), minlength=number) for value in values]
    return np.stack(sums, axis=1) / sizes[:, None]


def cut_superpixels(image: np.ndarray, spacing: float) -> tuple[np.ndarray, int]:
    """Superpixels around the points of a square grid, with borders on the image's contours.

    A watershed of the smoothed image, flooded from the grid's points. Of an image of many channels
    it sees the first three.

    Args:
        image: (H, W, C) uint8, or float32 from 0 to 255.
        spacing: of the grid, pixels.

    Returns:
        (H, W) int32 superpixels, and their number.
    """
    markers = np.zeros(image.shape[:2], np.int32)
    rows, columns = (
        np.unique(np.arange(min(spacing, side) / 2, side, spacing).astype(int).clip(0, side - 1))
        for side in markers.shape
    )
    number = len(rows) * len(columns)
    markers[np.ix_(rows, columns)] = np.arange(1, number + 1).reshape(len(rows), -1)
    smooth = cv2.GaussianBlur(as_picture(image), (0, 0), _SMOOTHING)
    flooded = cv2.watershed(smooth, markers.copy())
    flooded = np.where(markers > 0, markers, flooded)  # OpenCV takes them off the image's rim
    # Border pixels, marked −1, go to a neighbour; none is left after as many steps as it takes.
    while (flooded <= 0).any():
        grown = cv2.dilate(flooded.astype(np.float32), np.ones((3, 3), np.uint8))
        flooded = np.where(flooded > 0, flooded, grown.astype(np.int32))
    return flooded - 1, number


def build_graph(image: np.ndarray, spacing: float, colour_scale: float) -> SuperpixelGraph:
    """The graph of an image's superpixels.

    Args:
        image: (H, W, C) uint8, or float32 from 0 to 255; three channels are taken for colours.
        spacing: of the superpixels, pixels.
        colour_scale: the difference of colours, in units of OpenCV's 8-bit Lab, at which a weight
            has fallen to exp(−1/2). Where the channels are no colours, their difference is the
            root mean square over the channels, times √3.
    """
    superpixels, number = cut_superpixels(image, spacing)
    channels = image.shape[2]
    if channels == 3:
        values = cv2.cvtColor(as_picture(image), cv2.COLOR_RGB2LAB)
    else:
        values = image * math.sqrt(3 / channels)
    starts = np.concatenate([superpixels[:, :-1].ravel(), superpixels[:-1].ravel()])
    ends = np.concatenate([superpixels[:, 1:].ravel(), superpixels[1:].ravel()])
    apart = starts != ends
    starts, ends = starts[apart].astype(np.int64), ends[apart].astype(np.int64)
    pairs = np.minimum(starts, ends) * number + np.maximum(starts, ends)
    pairs, lengths = np.unique(pairs, return_counts=True)
    starts, ends = pairs // number, pairs % number
    colours = superpixel_means(superpixels, number, values.transpose(2, 0, 1))
    squared = ((colours[starts] - colours[ends]) ** 2).sum(axis=1)
    weights = lengths / spacing * np.exp(-squared / (2 * colour_scale**2)) + _WEAKEST_EDGE
    return SuperpixelGraph(superpixels, number, starts, ends, weights)


def strokes_in(graph: SuperpixelGraph, scribbles: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """The stroke pixels of each of (C,) classes in each superpixel: (num_nodes, C) float64."""
    nodes = graph.superpixels.ravel()
    of_class = [
        np.bincount(nodes, (scribbles == class_id).ravel(), minlength=graph.num_nodes)
        for class_id in classes
    ]
    return np.stack(of_class, axis=1)


def random_walk(
    graph: SuperpixelGraph,
    scribbles: np.ndarray,
    classes: np.ndarray,
    prior: np.ndarray | None = None,
    prior_weight: float = 0.0,
) -> np.ndarray:
    """The probability of each class at each superpixel.

    Args:
        graph: of the image.
        scribbles: (H, W) uint8; 255 = no stroke.
        classes: (C,) the classes in question, with all that the strokes name.
        prior: (C, H, W) probabilities of the classes from other evidence, which sum to 1; None for
            none.
        prior_weight: γ, against edges of weight 1.

    Returns:
        (num_nodes, C) float64, rows sum to 1.

    Raises:
        ValueError: neither a stroke nor a prior.
    """
    strokes = strokes_in(graph, scribbles, classes)
    touched = strokes.sum(axis=1)
    seeded = np.where(touched > 0, _SEED_STRENGTH, 0.0)
    if prior is None:
        prior_weight = 0.0
    if not seeded.any() and not prior_weight:
        raise ValueError(
            "neither a stroke nor other evidence says what is where; expected strokes, or a "
            "prior_weight above 0"
        )
    wanted = seeded[:, None] * strokes / np.maximum(touched, 1)[:, None]
    if prior is not None:
        wanted = wanted + prior_weight * superpixel_means(graph.superpixels, graph.num_nodes, prior)
    edges = coo_array(
        (
            np.concatenate([graph.weights, graph.weights]),
            (
                np.concatenate([graph.starts, graph.ends]),
                np.concatenate([graph.ends, graph.starts]),
            ),
        ),
        shape=(graph.num_nodes, graph.num_nodes),
    ).tocsc()
    diagonal = edges.sum(axis=1) + seeded + prior_weight
    system = (diags_array(diagonal) - edges).tocsc()
    # Symmetric and diagonally dominant: no pivoting is needed, and the ordering may be symmetric.
    solver = splu(
        system,
        permc_spec="MMD_AT_PLUS_A",
        diag_pivot_thresh=0.0,
        options={"SymmetricMode": True},
    )
    return solver.solve(wanted)


def remove_unstroked(label: np.ndarray, scribbles: np.ndarray) -> np.ndarray:
    """Turn into 255 the object regions of a label that no stroke of their class touches.

    Args:
        label: (H, W) uint8.
        scribbles: (H, W) uint8.

    Returns:
        (H, W) uint8; regions are 8-connected, background stays.
    """
    result = label.copy()
    for class_id in np.unique(label[(label != 0) & (label != IGNORE)]):
        number, regions = cv2.connectedComponents((label == class_id).astype(np.uint8))
        stroked = np.zeros(number, bool)
        stroked[regions[scribbles == class_id]] = True
        result[(label == class_id) & ~stroked[regions]] = IGNORE
    return result
