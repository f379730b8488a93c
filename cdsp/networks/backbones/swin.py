"""Swin transformers (Liu et al., ICCV 2021) and their second version (CVPR 2022)."""

from __future__ import annotations

from torch import Tensor, nn

from cdsp.networks.backbones import Features
from cdsp.networks.backbones.from_torchvision import TorchvisionBackbone, torchvision_network


class Swin(TorchvisionBackbone):
    """torchvision's Swin transformer without its classifier; the last feature is normalised."""

    output_strides = (32,)
    align_corners, side_step, exact_sides = False, 32, True
    other_weights = ("head.",)

    def __init__(self, name: str, output_stride: int) -> None:
        super().__init__()
        network = torchvision_network(name)
        self.features: nn.Sequential = network.features
        self.norm: nn.LayerNorm = network.norm
        channels = self.norm.normalized_shape[0]
        self.describe(
            name,
            output_stride,
            low_level_channels=channels // 8,
            channels=channels,
            pyramid_channels=tuple(channels // factor for factor in (8, 4, 2, 1)),
        )

    def extract(self, images: Tensor) -> Features:
        """(B, 3, H, W) images → `Features`."""
        levels = []
        for down, stage in zip(self.features[::2], self.features[1::2], strict=True):
            images = stage(down(images))  # (B, h, w, C)
            levels.append(images)
        levels[-1] = self.norm(levels[-1])
        levels = [level.permute(0, 3, 1, 2) for level in levels]
        return Features(levels[0], levels[-1], tuple(levels))
