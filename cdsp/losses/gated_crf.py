"""Gated CRF loss (Obukhov, Georgoulis, Dai and Van Gool, 2019): alike neighbours agree."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from cdsp.losses import LossTerm, Step, Sum, TermOptions, loss_term, nothing
from cdsp.losses.grid import grid_size, mean_colours, neighbours, probabilities
from cdsp.losses.lorm import subsample
from cdsp.settings import setting


def gated_crf(
    probability: Tensor,
    colour: Tensor,
    valid: Tensor,
    *,
    radius: int,
    spatial_scale: float,
    colour_scale: float,
) -> Sum:
    """Σ_i Σ_{j≠i} K_ij (1 − p_iᵀ p_j) over the pairs at most ``radius`` rows and columns apart.

    K_ij = exp(−½ (|Δxy|² / spatial_scale² + |Δcolour|² / colour_scale²)), and 0 in padding.

    Args:
        probability: (B, K, H, W).
        colour: (B, 3, H, W).
        valid: (B, H, W) bool.
        radius: of the square window, points.
        spatial_scale: points.
        colour_scale: in units of the colours.

    Returns:
        The sum, and the number of valid points.
    """
    total = probability.flatten()[:0].sum()
    for down in range(radius + 1):
        for right in range(-radius if down else 1, radius + 1):  # each pair once, and twice summed
            p, q = neighbours(probability, down, right)
            one, other = neighbours(colour, down, right)
            both = torch.logical_and(*neighbours(valid, down, right))
            distance = (down**2 + right**2) / spatial_scale**2
            distance = distance + (one - other).square().sum(dim=1) / colour_scale**2
            kernel = (-0.5 * distance).exp() * both
            total = total + 2 * (kernel * (1 - (p * q).sum(dim=1))).sum()
    return Sum(total, valid.sum())


@loss_term("gated_crf", reads=("valid",))
class GatedCRF(LossTerm):
    """The local kernel's Potts energy of the predictions; published with a weight of 0.1."""

    @dataclass(frozen=True)
    class Options(TermOptions):
        """Options of the gated CRF; published for crops of 256 pixels."""

        stride: int = setting(4, "pixels per point of the grid that it is computed on", minimum=1)
        radius: int = setting(5, "of the window, points of the grid", minimum=1, maximum=50)
        spatial_scale: float = setting(6.0, "σ of the position, points of the grid", minimum=1e-3)
        colour_scale: float = setting(
            0.1, "σ of the colours, in ImageNet's standard deviations", minimum=1e-3
        )
        start: float = setting(0.005, "progress of the training before which it is 0", minimum=0)

    options: Options

    def forward(self, step: Step) -> Sum:
        """Summed over all pairs of a window, per point."""
        if step.progress < self.options.start:
            return nothing(step.output.logits)
        size = grid_size(step.image, self.options.stride)
        return gated_crf(
            probabilities(step, size),
            mean_colours(step.image, step.maps["valid"], size),
            subsample(step.maps["valid"], size) != 0,
            radius=self.options.radius,
            spatial_scale=self.options.spatial_scale,
            colour_scale=self.options.colour_scale,
        )
