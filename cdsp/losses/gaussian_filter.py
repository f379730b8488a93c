"""Sums weighed by a Gaussian of differences between features: the exact sum, in little memory.

Shapes: B images, K values (classes), F features, N points.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

LARGEST_KERNEL = 2**24
"""Entries of the kernel that exist at a time."""


def gaussian_filter(values: Tensor, features: Tensor) -> Tensor:
    """Σ_j exp(−½ |f_i − f_j|²) v_j at each point i, j = i included.

    The kernel is symmetric, so that the gradient with respect to the values is the same filter of
    the gradient: the N × N kernel is made in parts and never kept. It takes O(N²) time.

    Args:
        values: (B, K, N).
        features: (B, F, N), divided by their scales; they get no gradient.

    Returns:
        (B, K, N).
    """
    return _GaussianFilter.apply(values, features)  # type: ignore[no-any-return]


class _GaussianFilter(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, features: Tensor) -> Tensor:
        ctx.save_for_backward(features)
        return _filter(values, features)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (features,) = ctx.saved_tensors
        return _filter(gradients[0], features), None


def _filter(values: Tensor, features: Tensor) -> Tensor:
    points = features.transpose(1, 2)  # (B, N, F)
    num_images, num_points, _ = points.shape
    rows = max(1, LARGEST_KERNEL // (num_images * num_points))
    parts = []
    for some in points.split(rows, dim=1):
        distance = torch.cdist(some, points, compute_mode="donot_use_mm_for_euclid_dist")
        kernel = (-0.5 * distance.square()).exp()  # (B, rows, N)
        parts.append(torch.einsum("bkj,bij->bki", values, kernel))
    return torch.cat(parts, dim=2)
