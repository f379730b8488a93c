"""Regularised losses of all pairs of pixels: dense CRF and normalised cut.

Tang, Perazzi, Djelouah, Ben Ayed, Schroers and Boykov, "On Regularized Losses for Weakly-supervised
CNN Segmentation", ECCV 2018; Tang, Djelouah, Perazzi, Boykov and Schroers, "Normalized Cut Loss for
Weakly-Supervised CNN Segmentation", CVPR 2018. Both together are the kernel cut.

The kernel is W_ij = exp(−½ (|Δrgb|² / colour_scale² + |Δxy|² / spatial_scale²)); its sums are
exact, on a grid of every ``stride``-th pixel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from cdsp.losses import LossTerm, Step, Sum, TermOptions, loss_term
from cdsp.losses.gaussian_filter import gaussian_filter
from cdsp.losses.grid import grid_size, mean_colours, probabilities, rgb
from cdsp.losses.lorm import subsample
from cdsp.settings import setting


@dataclass(frozen=True)
class KernelOptions(TermOptions):
    """Options of the kernel; published for crops of 513 pixels."""

    stride: int = setting(
        4, "pixels per point of the grid; the time grows with the points' square", minimum=1
    )
    colour_scale: float = setting(15.0, "σ of red, green and blue, of 255", minimum=1e-3)
    spatial_scale: float = setting(100.0, "σ of the position, pixels", minimum=1e-3)


class Affinity(NamedTuple):
    """Sums of the kernel over all pairs of valid points of an image.

    Attributes:
        within: (B, K), p_kᵀ W p_k.
        degree: (B, K), 1ᵀ W p_k.
        count: (B,), the number of valid points.
    """

    within: Tensor
    degree: Tensor
    count: Tensor


def affinity(probability: Tensor, features: Tensor, valid: Tensor) -> Affinity:
    """Sum the kernel.

    Args:
        probability: (B, K, h, w).
        features: (B, F, h, w), divided by their scales.
        valid: (B, h, w) bool.
    """
    inside = valid[:, None].to(probability.dtype)
    values = (probability * inside).flatten(2)  # (B, K, N)
    ones = inside.flatten(2)  # (B, 1, N)
    filtered = gaussian_filter(values, features.flatten(2))  # W p
    within = (values * filtered).sum(dim=2)
    degree = (ones * filtered).sum(dim=2)
    return Affinity(within, degree, ones.sum(dim=(1, 2)))


def _affinity(step: Step, options: KernelOptions) -> Affinity:
    size = grid_size(step.image, options.stride)
    colour = 255 * rgb(mean_colours(step.image, step.maps["valid"], size))
    height, width = step.image.shape[-2:]
    rows, columns = torch.meshgrid(
        subsample(torch.arange(height, device=colour.device).expand(1, height), (1, size[0]))[0],
        subsample(torch.arange(width, device=colour.device).expand(1, width), (1, size[1]))[0],
        indexing="ij",
    )
    place = torch.stack([rows, columns]).to(colour.dtype).expand(len(colour), 2, *size)
    features = torch.cat([colour / options.colour_scale, place / options.spatial_scale], dim=1)
    valid = subsample(step.maps["valid"], size) != 0
    probability = probabilities(step, size)
    return affinity(probability, features.to(probability.dtype), valid)


@loss_term("dense_crf", reads=("valid",))
class DenseCRF(LossTerm):
    """Potts energy Σ_k p_kᵀ W (1 − p_k) of all pairs; published with a weight of 2e-9.

    That weight is of the sum over the pairs of a crop of 513 pixels at half size, 257⁴ of them; of
    their mean, which is taken here so that the size does not matter, it is 8.7.
    """

    @dataclass(frozen=True)
    class Options(KernelOptions):
        """Options of the dense CRF."""

    options: Options

    def forward(self, step: Step) -> Sum:
        """Summed over the pairs of points of each image."""
        sums = _affinity(step, self.options)
        return Sum((sums.degree - sums.within).sum(), sums.count.square().sum())


@loss_term("normalized_cut", reads=("valid",))
class NormalizedCut(LossTerm):
    """Σ_k p_kᵀ W (1 − p_k) / (dᵀ p_k), d = W 1, of each image."""

    @dataclass(frozen=True)
    class Options(KernelOptions):
        """Options of the normalised cut."""

    options: Options

    def forward(self, step: Step) -> Sum:
        """Summed over the images that are not padding alone."""
        sums = _affinity(step, self.options)
        smallest = torch.finfo(sums.degree.dtype).tiny
        cuts = (sums.degree - sums.within) / sums.degree.clamp_min(smallest)  # (B, K)
        return Sum(cuts.sum(), sums.count.count_nonzero())
