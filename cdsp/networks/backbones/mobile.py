"""MobileNetV3 (Howard et al., ICCV 2019) and EfficientNetV2 (Tan and Le, ICML 2021)."""

from __future__ import annotations

from torch import Tensor, nn

from cdsp.networks.backbones import Features
from cdsp.networks.backbones.from_torchvision import (
    TorchvisionBackbone,
    dilate_stages,
    torchvision_network,
)

STAGES = {
    "mobilenet_v3_small": (2, 4, 9),
    "mobilenet_v3_large": (4, 7, 13),
    "efficientnet_v2_s": (3, 4, 6),
    "efficientnet_v2_m": (3, 4, 6),
    "efficientnet_v2_l": (3, 4, 6),
}
"""Name → the first layers after stride 4, of stride 16 and of stride 32."""


class MobileBackbone(TorchvisionBackbone):
    """torchvision's network of inverted bottlenecks without its classifier, dilated where asked."""

    def __init__(self, name: str, output_stride: int) -> None:
        super().__init__()
        self.features: nn.Sequential = torchvision_network(name).features
        self.low, self.sixteen, self.thirty_two = STAGES[name]
        stages = [self.features[self.sixteen : self.thirty_two], self.features[self.thirty_two :]]
        dilate_stages(stages, output_stride)
        ends = (self.low, self.sixteen, self.thirty_two, len(self.features))
        channels = tuple(self._channels(end) for end in ends)
        self.describe(
            name,
            output_stride,
            low_level_channels=channels[0],
            channels=channels[-1],
            pyramid_channels=channels,
        )

    def _channels(self, end: int) -> int:
        """The channels after the first ``end`` layers."""
        convolutions = [m for m in self.features[:end].modules() if isinstance(m, nn.Conv2d)]
        return convolutions[-1].out_channels

    def extract(self, images: Tensor) -> Features:
        """(B, 3, H, W) images → `Features`."""
        first = self.features[: self.low](images)
        second = self.features[self.low : self.sixteen](first)
        third = self.features[self.sixteen : self.thirty_two](second)
        last = self.features[self.thirty_two :](third)
        return Features(first, last, (first, second, third, last))
