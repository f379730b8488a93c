"""Boundary guidance, after BPG (Wang et al., IJCAI 2019): the decoder learns where edges are."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from cdsp.losses import LossTerm, Step, Sum, TermOptions, at_least_float32, loss_term
from cdsp.losses.grid import rgb
from cdsp.losses.lorm import subsample
from cdsp.networks.heads import SegmentationNetwork
from cdsp.settings import setting


def canny_edges(image: Tensor, low: float, high: float) -> Tensor:
    """OpenCV's Canny edges of normalised (B, 3, H, W) images: (B, H, W) bool, on their device."""
    colours = (255 * rgb(image.detach().float())).round().clamp(0, 255).movedim(1, -1)
    pixels = colours.to(torch.uint8).cpu().numpy()
    edges = [cv2.Canny(np.ascontiguousarray(one), low, high, L2gradient=True) for one in pixels]
    return torch.from_numpy(np.stack(edges) != 0).to(image.device)


@loss_term("boundary", reads=("valid",))
class Boundary(LossTerm):
    """Cross-entropy of edges that a 1×1 convolution finds in the decoder's feature.

    The edges to be found are Canny's; BPG takes those of a network that was trained on edges which
    people drew, and refines its prediction in several passes, which is left out here. Edges and
    other pixels weigh the same in all, as they do in the losses of edge detectors.
    """

    @dataclass(frozen=True)
    class Options(TermOptions):
        """Options of the boundary guidance."""

        low: float = setting(100.0, "of Canny: gradient at which an edge goes on", minimum=0)
        high: float = setting(200.0, "of Canny: gradient at which an edge begins", minimum=0)

    options: Options

    def __init__(self, options: TermOptions, network: SegmentationNetwork) -> None:
        super().__init__(options, network)
        self.edge = nn.Conv2d(network.feature_channels["decoder"], 1, 1)

    def forward(self, step: Step) -> Sum:
        """Summed over the points of the images, the edges' and the others' weights balanced."""
        feature = at_least_float32(step.output.features["decoder"])
        size = feature.shape[-2:]
        valid = step.maps["valid"]
        padding = nn.functional.max_pool2d((valid == 0)[:, None].float(), 5, stride=1, padding=2)
        edges = canny_edges(step.image, self.options.low, self.options.high)
        edges = edges & (padding[:, 0] == 0)  # where padding begins is no edge of the image
        reach = -(-valid.shape[-1] // size[-1]) // 2
        near = nn.functional.max_pool2d(
            edges[:, None].float(), 2 * reach + 1, stride=1, padding=reach
        )
        wanted = subsample(near[:, 0], size).to(feature.dtype)
        inside = subsample(valid, size) != 0
        share = (wanted * inside).sum() / inside.sum().clamp_min(1)
        balance = torch.where(wanted != 0, 1 - share, share) * inside
        loss = nn.functional.binary_cross_entropy_with_logits(
            self.edge(feature)[:, 0], wanted, reduction="none"
        )
        return Sum((loss * balance).sum(), inside.sum())
