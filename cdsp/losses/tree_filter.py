"""Averages over a minimum spanning tree of the pixels, without a kernel of our own.

A point's average weighs every other point by a product along the path between them in the tree
(Bao et al.; Song et al., "Learnable Tree Filter", NeurIPS 2019). It is two recursions over the
tree, from the leaves to the root and back. A step of a recursion is a linear map M from parents to
children; (I − M)⁻¹ = Π_r (I + M^(2^r)), so that both take log₂(depth) rounds of gathers, each over
all points at once, on a CPU as on a GPU.

Shapes: B images, C values, (H, W) points, N = H·W.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from cdsp.losses.grid import neighbours


def spanning_tree(feature: Tensor) -> Tensor:
    """The parents in a minimum spanning tree of the grid of 4-neighbours, rooted at the corner.

    An edge is as long as the squared difference of the features; of equal ones, the first is
    taken. It is found on the CPU, by SciPy.

    Args:
        feature: (B, C, H, W).

    Returns:
        (B, N) int64, on the feature's device; the root is its own parent.
    """
    from scipy.sparse import coo_array  # here, since planning loads this module and builds no tree
    from scipy.sparse.csgraph import breadth_first_order, minimum_spanning_tree

    height, width = feature.shape[-2:]
    places = torch.arange(height * width).view(height, width)
    steps = ((0, 1), (1, 0))
    pairs = [neighbours(places, *step) for step in steps]
    starts, ends = (torch.cat([pair[i].flatten() for pair in pairs]).numpy() for i in (0, 1))
    distances = torch.cat([edge_lengths(feature, *step).flatten(1) for step in steps], dim=1)
    number = height * width
    parents = np.zeros((len(feature), number), np.int64)
    for index, distance in enumerate(distances.detach().cpu().numpy()):
        rank = np.empty(len(distance))  # distinct and above 0, which SciPy takes for no edge
        rank[np.argsort(distance, kind="stable")] = np.arange(1, len(distance) + 1)
        tree = minimum_spanning_tree(coo_array((rank, (starts, ends)), (number, number)).tocsr())
        _, parents[index] = breadth_first_order(tree, 0, directed=False)
    parents[:, 0] = 0
    return torch.from_numpy(parents).to(feature.device)


def edge_lengths(feature: Tensor, down: int, right: int) -> Tensor:
    """Squared differences of (B, C, H, W) features a step apart: (B, h, w), float32 at least."""
    one, other = neighbours(feature, down, right)
    return (one - other).square().sum(dim=1)


def tree_filter(values: Tensor, feature: Tensor, parents: Tensor, scale: float) -> Tensor:
    """Σ_j w_ij v_j / Σ_j w_ij, w_ij = exp(−Σ d / scale) over the path from i to j.

    d is the squared difference of the features of the path's neighbours; j = i is included.

    Args:
        values: (B, C, H, W).
        feature: (B, F, H, W), of the values' type; gets a gradient.
        parents: (B, N), the tree.
        scale: of the distances.

    Returns:
        (B, C, H, W).
    """
    flat = feature.flatten(2)
    distance = (flat - _at(flat, parents)).square().sum(dim=1)
    root = parents == torch.arange(parents.shape[1], device=parents.device)
    weight = (-distance / scale).exp() * ~root  # (B, N), of the edge to the parent

    ones = torch.ones_like(values[:, :1])
    sums = torch.cat([values, ones], dim=1).flatten(2)
    rounds = _rounds(weight, parents)
    for factor, ancestors in rounds:  # of each subtree: A = v + Mᵀ A
        index = ancestors[:, None].expand_as(sums)
        sums = sums.scatter_add(2, index, factor[:, None] * sums)
    # Of the whole tree: S = A + w (S_parent − w A), the parent's without this subtree.
    sums = (1 - weight.square())[:, None] * sums
    for factor, ancestors in rounds:
        sums = sums + factor[:, None] * _at(sums, ancestors)
    return (sums[:, :-1] / sums[:, -1:]).view_as(values)


def _rounds(weight: Tensor, parents: Tensor) -> list[tuple[Tensor, Tensor]]:
    """M, M², M⁴ … until nothing is left: the factor of each point and the ancestor it is of."""
    rounds = []
    while True:
        rounds.append((weight, parents))
        grandparents = parents.gather(1, parents)
        if torch.equal(grandparents, parents):
            return rounds
        weight = weight * weight.gather(1, parents)
        parents = grandparents


def _at(values: Tensor, index: Tensor) -> Tensor:
    """The (B, C, N) values at a (B, N) index."""
    return values.gather(2, index[:, None].expand_as(values))
