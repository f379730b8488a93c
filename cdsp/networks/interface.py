"""What networks are called and what they return, for all who build none.

Settings, losses and with them every light command need no more; the networks themselves load
torchvision, which takes as long as the whole of many a job.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from torch import Tensor

BackboneName = Literal["resnet18", "resnet34", "resnet50", "resnet101", "mobilenet_v2"]
SegmentorName = Literal["deeplabv3plus", "deeplabv2", "deeplabv2_aspp21"]


class NetworkOutput(NamedTuple):
    """What a segmentation network returns.

    Attributes:
        logits: (B, K, H, W), at the size of the images.
        feature: (B, C, h, w), the backbone's last feature map, before the head: the paper's F.
    """

    logits: Tensor
    feature: Tensor
