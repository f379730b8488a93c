"""ConvNeXt (Liu et al., "A ConvNet for the 2020s", CVPR 2022)."""

from __future__ import annotations

from torch import Tensor, nn

from cdsp.networks.backbones import Features
from cdsp.networks.backbones.from_torchvision import TorchvisionBackbone, torchvision_network


class ConvNeXt(TorchvisionBackbone):
    """torchvision's ConvNeXt without its classifier; patches of 4, then of 2 pixels, no padding."""

    output_strides = (32,)
    align_corners, side_step, exact_sides = False, 32, True

    def __init__(self, name: str, output_stride: int) -> None:
        super().__init__()
        self.features: nn.Sequential = torchvision_network(name).features
        # Four stages, each after a layer that goes down a step.
        channels = [stage[0].block[0].in_channels for stage in self.features[1::2]]  # type: ignore[index, union-attr]
        self.describe(
            name,
            output_stride,
            low_level_channels=channels[0],
            channels=channels[-1],
            pyramid_channels=tuple(channels),
        )

    def extract(self, images: Tensor) -> Features:
        """(B, 3, H, W) images → `Features`."""
        levels = []
        for down, stage in zip(self.features[::2], self.features[1::2], strict=True):
            images = stage(down(images))
            levels.append(images)
        return Features(levels[0], levels[-1], tuple(levels))
