"""URSS (Pan, Jiang, Wang, Tu and Cohn, ICCV 2021): uncertainty reduced, and self-supervision.

Both terms are of its network, whose head is `random_walk`; the first serves any. Published: the
first alone with weight 1, then the second beside it with weight 30, each half of the training.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from cdsp.losses import LossTerm, Step, Sum, TermOptions, at_least_float32, loss_term, nothing
from cdsp.losses.grid import rgb
from cdsp.networks.heads import SegmentationNetwork
from cdsp.networks.interface import NetworkOutput
from cdsp.settings import setting


def superpixel_borders(image: Tensor, spacing: int) -> Tensor:
    """The borders of superpixels around the points of a square grid, by OpenCV's watershed.

    Args:
        image: (B, 3, H, W), normalised.
        spacing: of the grid, pixels.

    Returns:
        (B, H, W) bool, on the image's device.
    """
    colours = (255 * rgb(image.detach().float())).round().clamp(0, 255).movedim(1, -1)
    pixels = colours.to(torch.uint8).cpu().numpy()
    borders = np.zeros(pixels.shape[:3], bool)
    grid = borders[0, spacing // 2 :: spacing, spacing // 2 :: spacing].shape
    for one, border in zip(pixels, borders, strict=True):
        markers = np.zeros(border.shape, np.int32)
        numbers = 1 + np.arange(grid[0] * grid[1], dtype=np.int32).reshape(grid)
        markers[spacing // 2 :: spacing, spacing // 2 :: spacing] = numbers
        smooth = cv2.GaussianBlur(np.ascontiguousarray(one), (0, 0), 1)
        found = cv2.watershed(smooth, markers) == -1
        border[1:-1, 1:-1] = found[1:-1, 1:-1]  # OpenCV marks the image's rim as well
    return torch.from_numpy(borders).to(image.device)


@loss_term("certainty", reads=("valid",))
class Certainty(LossTerm):
    """Entropy of the prediction −Σ p ln p, where no superpixel ends."""

    @dataclass(frozen=True)
    class Options(TermOptions):
        """Options of the certainty."""

        superpixel_spacing: int = setting(16, "of the superpixels, pixels", minimum=2)

    options: Options

    def forward(self, step: Step) -> Sum:
        """Summed over the pixels off the borders."""
        borders = superpixel_borders(step.image, self.options.superpixel_spacing)
        counted = (step.maps["valid"] != 0) & ~borders
        return Sum((step.entropy * counted).sum(), counted.sum())


def walk(output: NetworkOutput) -> Tensor:
    """The log-probabilities of a step of the walk, ln softmax_j(query_iᵀ key_j): (B, N, N)."""
    query, key = (at_least_float32(output.features[name]) for name in ("query", "key"))
    return torch.einsum("bci,bcj->bij", query.flatten(2), key.flatten(2)).log_softmax(dim=2)


@loss_term("walk_consistency", reads=("valid",))
class WalkConsistency(LossTerm):
    """KL(walk of the mirrored image ‖ walk) + trace_weight · |the difference of their traces|.

    The mirrored image's walk is brought back to the places of the image, and gets no gradient.
    The traces are means of the diagonals, which no longer depend on the number of places.
    """

    @dataclass(frozen=True)
    class Options(TermOptions):
        """Options of the consistency of the walk."""

        trace_weight: float = setting(0.01, "of the traces", minimum=0)
        start: float = setting(
            0.5, "progress of the training before which it is 0", minimum=0, maximum=1
        )

    options: Options

    def __init__(self, options: TermOptions, network: SegmentationNetwork) -> None:
        super().__init__(options, network)
        if "query" not in network.feature_channels:
            raise ValueError(
                "the term walk_consistency compares what a head's self-attention does, and this "
                "network's head has none; choose the head random_walk"
            )

    def forward(self, step: Step) -> Sum:
        """Summed over the places of each image."""
        if step.progress < self.options.start:
            return nothing(step.output.logits)
        with torch.no_grad():
            mirrored = step.forward(step.image.flip(-1))
            back = {name: value.flip(-1) for name, value in mirrored.features.items()}
            wanted = walk(mirrored._replace(features=back))
        found = walk(step.output)
        divergence = (wanted.exp() * (wanted - found)).sum(dim=2)  # (B, N)
        traces = (x.exp().diagonal(dim1=1, dim2=2).mean(dim=1) for x in (found, wanted))
        one, other = traces
        number = divergence.shape[1]
        total = divergence.sum() + self.options.trace_weight * number * (one - other).abs().sum()
        return Sum(total, total.new_tensor(divergence.numel()))
