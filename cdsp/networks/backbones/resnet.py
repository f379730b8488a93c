"""ResNet (He et al., "Deep Residual Learning for Image Recognition", 2016)."""

from __future__ import annotations

from torch import Tensor
from torchvision.models import resnet

from cdsp.networks.backbones import Features
from cdsp.networks.backbones.from_torchvision import TorchvisionBackbone, dilate_stages


class ResNet(TorchvisionBackbone, resnet.ResNet):
    """torchvision's ResNet without its head; layers 3 and 4 dilated as the output stride asks."""

    def __init__(self, name: str, output_stride: int) -> None:
        block, layers = {
            "resnet18": (resnet.BasicBlock, [2, 2, 2, 2]),
            "resnet34": (resnet.BasicBlock, [3, 4, 6, 3]),
            "resnet50": (resnet.Bottleneck, [3, 4, 6, 3]),
            "resnet101": (resnet.Bottleneck, [3, 4, 23, 3]),
        }[name]
        super().__init__(block, layers, num_classes=1)
        del self.fc, self.avgpool
        dilate_stages([self.layer3, self.layer4], output_stride)
        self.describe(
            name,
            output_stride,
            low_level_channels=64 * block.expansion,
            channels=512 * block.expansion,
            pyramid_channels=tuple(width * block.expansion for width in (64, 128, 256, 512)),
        )

    def extract(self, images: Tensor) -> Features:
        """(B, 3, H, W) images → `Features`."""
        low_level = self.layer1(self.maxpool(self.relu(self.bn1(self.conv1(images)))))
        second = self.layer2(low_level)
        third = self.layer3(second)
        last = self.layer4(third)
        return Features(low_level, last, (low_level, second, third, last))
