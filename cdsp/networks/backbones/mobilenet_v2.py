"""MobileNetV2 (Sandler et al., "Inverted Residuals and Linear Bottlenecks", 2018)."""

from __future__ import annotations

from torch import Tensor
from torchvision.models import mobilenetv2

from cdsp.networks.backbones import Features
from cdsp.networks.backbones.from_torchvision import TorchvisionBackbone, dilate_stages


class MobileNetV2(TorchvisionBackbone, mobilenetv2.MobileNetV2):
    """torchvision's MobileNetV2 without its head; the feature is the last one, after its ReLU6."""

    def __init__(self, name: str, output_stride: int) -> None:
        super().__init__(num_classes=1)
        del self.classifier
        dilate_stages([self.features[7:14], self.features[14:18]], output_stride)
        self.describe(
            name,
            output_stride,
            low_level_channels=24,
            channels=1280,
            pyramid_channels=(24, 32, 96, 1280),
        )

    def extract(self, images: Tensor) -> Features:
        """(B, 3, H, W) images → `Features`."""
        low_level = self.features[:4](images)
        second = self.features[4:7](low_level)
        third = self.features[7:14](second)
        last = self.features[14:](third)
        return Features(low_level, last, (low_level, second, third, last))
