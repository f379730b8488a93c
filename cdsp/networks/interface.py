"""What networks are called and what they return, for all who build none.

Settings, losses and with them every light command need no more; the networks themselves load
torchvision, which takes as long as the whole of many a job.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from torch import Tensor, nn

BackboneName = Literal["resnet18", "resnet34", "resnet50", "resnet101", "mobilenet_v2"]
SegmentorName = Literal["deeplabv3plus", "deeplabv2", "deeplabv2_aspp21"]


class NetworkOutput(NamedTuple):
    """What a segmentation network returns: logits and its features, by name.

    Attributes:
        logits: (B, K, H, W), at the size of the images.
        low_level: (B, C, ceil(H/4), ceil(W/4)), the backbone's feature map of stride 4.
        backbone: (B, C, h, w), the backbone's last feature map, before the head: the paper's F.
        decoder: (B, C, h', w'), the last feature map before the classifying convolution, and before
            any dropout between them; where a head has none of its own, the backbone's.
    """

    logits: Tensor
    low_level: Tensor
    backbone: Tensor
    decoder: Tensor


class Segmentor(nn.Module):
    """Base of all segmentation networks: (B, 3, H, W) normalised images → `NetworkOutput`.

    Attributes:
        backbone: a module whose weights can be loaded from elsewhere.
        channels: name of a feature of `NetworkOutput` → its C.
    """

    backbone: nn.Module
    channels: dict[str, int]

    def forward(self, images: Tensor) -> NetworkOutput:
        """(B, 3, H, W) normalised images → `NetworkOutput`."""
        raise NotImplementedError
