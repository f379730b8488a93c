"""What networks are called and what they return, for all who build none.

Settings, losses and with them every light command need no more; the networks themselves load
torchvision, which takes as long as the whole of many a job.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from torch import Tensor

BackboneName = Literal["resnet18", "resnet34", "resnet50", "resnet101", "mobilenet_v2"]
SegmentorName = Literal["deeplabv3plus", "deeplabv2", "deeplabv2_aspp21"]


FeatureName = Literal["low_level", "backbone", "decoder"]
"""The features that every segmentation network offers to loss terms."""


class NetworkOutput(NamedTuple):
    """What a segmentation network returns.

    The network says the channels of each feature in `feature_channels`, by the same names.

    Attributes:
        logits: (B, K, H, W), at the size of the images.
        features: name → (B, C, h, w). "low_level" is the backbone's early feature map, at stride 4;
            "backbone" its last one, before the head, the paper's F; "decoder" the head's last one,
            which the classifying convolution reads, before dropout. Where a head has no hidden
            feature, "decoder" is "backbone".
    """

    logits: Tensor
    features: dict[FeatureName, Tensor]

    @property
    def feature(self) -> Tensor:
        """(B, C, h, w), the feature "backbone"."""
        return self.features["backbone"]
