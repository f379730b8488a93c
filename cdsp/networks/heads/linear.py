"""A linear classifier of the backbone's last feature: what a strong backbone knows by itself."""

from __future__ import annotations

from torch import nn

from cdsp.networks.backbones import Backbone, Features
from cdsp.networks.heads import Decoded, SegmentationNetwork


class Linear(SegmentationNetwork):
    """One 1×1 convolution, on patch tokens as on any other last feature (ViT's usual probe).

    It has no hidden feature: its decoder feature is the backbone's.
    """

    output_strides = (8, 14, 16, 32)
    default_output_stride = 16

    def __init__(
        self, backbone: Backbone, num_classes: int, options: SegmentationNetwork.Options
    ) -> None:
        channels = backbone.channels["backbone"]
        super().__init__(backbone, channels)
        self.classify = nn.Conv2d(channels, num_classes, 1)
        nn.init.normal_(self.classify.weight, std=0.01)
        nn.init.zeros_(self.classify.bias)  # type: ignore[arg-type]

    def decode(self, features: Features) -> Decoded:
        """Logits at the size of the last feature."""
        return Decoded(self.classify(features.feature), features.feature)
