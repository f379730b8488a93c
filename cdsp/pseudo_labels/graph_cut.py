"""Strokes spread by a graph cut on superpixels, as ScribbleSup does (Lin et al., CVPR 2016).

Each superpixel takes one class, so that

    Σ_i γ · −ln prior_i(k_i)  +  Σ_ij w_ij [k_i ≠ k_j]

is small, superpixels that a stroke touches keeping its class. For two classes the minimum is found;
for more, α-expansion (Boykov, Veksler and Zabih, TPAMI 2001) ends where no class can take
superpixels from the others and gain by it, at most at twice the minimum.
"""

from __future__ import annotations

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import breadth_first_order, maximum_flow

from cdsp.pseudo_labels.random_walk import SuperpixelGraph, strokes_in, superpixel_means

_UNIT = 10_000  # of the whole numbers that SciPy's maximum flow takes, to an edge of weight 1
_SMALLEST = 1e-3  # prior


def graph_cut(
    graph: SuperpixelGraph,
    scribbles: np.ndarray,
    classes: np.ndarray,
    prior: np.ndarray | None = None,
    prior_weight: float = 0.0,
) -> np.ndarray:
    """The class of each superpixel.

    Args:
        graph: of the image.
        scribbles: (H, W) uint8; 255 = no stroke.
        classes: (C,) the classes in question, with all that the strokes name.
        prior: (C, H, W) probabilities of the classes from other evidence; None for none.
        prior_weight: γ, against edges of weight 1.

    Returns:
        (num_nodes, C) float64: 1 for the class of a superpixel, 0 for the others.

    Raises:
        ValueError: neither a stroke nor a prior.
    """
    strokes = strokes_in(graph, scribbles, classes)  # (num_nodes, C)
    costs = np.zeros(strokes.shape)
    if prior is not None:
        means = superpixel_means(graph.superpixels, graph.num_nodes, prior)
        costs = -prior_weight * np.log(np.maximum(means, _SMALLEST))
    if not strokes.any() and not costs.any():
        raise ValueError(
            "neither a stroke nor other evidence says what is where; expected strokes, or a "
            "prior_weight above 0"
        )
    weights = np.rint(_UNIT * graph.weights).astype(np.int64)
    whole = np.rint(_UNIT * costs).astype(np.int64)
    # What a superpixel can gain by another class is less than this.
    gain = np.bincount(graph.starts, weights, graph.num_nodes)
    gain = gain + np.bincount(graph.ends, weights, graph.num_nodes) + np.ptp(whole, axis=1) + 1
    touched = strokes.max(axis=1) > 0
    own = strokes.argmax(axis=1)
    held = touched[:, None] & (np.arange(len(classes)) != own[:, None])
    whole = whole + np.where(held, gain[:, None].astype(np.int64), 0)
    labels = np.where(touched, own, whole.argmin(axis=1))
    labels = expand_all(labels, whole, graph.starts, graph.ends, weights)
    return np.eye(len(classes))[labels]


def energy(
    labels: np.ndarray, costs: np.ndarray, starts: np.ndarray, ends: np.ndarray, weights: np.ndarray
) -> int:
    """Σ_i costs_i(k_i) + Σ_ij w_ij [k_i ≠ k_j], in whole numbers.

    Args:
        labels: (N,) columns of ``costs``.
        costs: (N, C).
        starts: (E,), first node of each edge.
        ends: (E,), second node of each edge.
        weights: (E,), w.
    """
    apart = labels[starts] != labels[ends]
    return int(costs[np.arange(len(labels)), labels].sum() + weights[apart].sum())


def expand_all(
    labels: np.ndarray, costs: np.ndarray, starts: np.ndarray, ends: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """Expand one class after the other until none gains; see `energy` for the arguments."""
    best, unchanged, target = energy(labels, costs, starts, ends, weights), 0, 0
    while unchanged < costs.shape[1]:
        expanded = _expand(labels, target, costs, starts, ends, weights)
        value = energy(expanded, costs, starts, ends, weights)
        unchanged = 0 if value < best else unchanged + 1
        if value < best:
            labels, best = expanded, value
        target = (target + 1) % costs.shape[1]
    return labels


def _expand(
    labels: np.ndarray,
    target: int,
    costs: np.ndarray,
    starts: np.ndarray,
    ends: np.ndarray,
    weights: np.ndarray,
) -> np.ndarray:
    """The best labels in which each node keeps its class or takes the target's: a minimum cut.

    A node on the sink's side takes the target. With A, B, C and D the cost of an edge whose ends
    take the target neither, the second, the first and both, an edge is
    A + (C − A) x_i + (D − C) x_j + (B + C − A − D) (1 − x_i) x_j.
    """
    number = len(labels)
    nodes = np.arange(number)
    one, other = labels[starts], labels[ends]
    neither = weights * (one != other)
    second, first = weights * (one != target), weights * (other != target)
    change = costs[:, target] - costs[nodes, labels]  # of taking the target
    np.add.at(change, starts, first - neither)
    np.add.at(change, ends, -first)
    source, sink = number, number + 1
    rows = np.concatenate([starts, np.full(number, source), nodes])
    columns = np.concatenate([ends, nodes, np.full(number, sink)])
    capacities = np.concatenate([second + first - neither, change.clip(0), (-change).clip(0)])
    shape = (number + 2, number + 2)
    capacity = coo_array((capacities.astype(np.int32), (rows, columns)), shape).tocsr()
    flow = maximum_flow(capacity, source, sink).flow
    residual = (capacity - flow).tocsr()
    residual.data[residual.data < 0] = 0
    residual.eliminate_zeros()
    kept = np.zeros(number + 2, bool)
    kept[breadth_first_order(residual, source, return_predecessors=False)] = True
    return np.where(kept[:number], labels, target)
