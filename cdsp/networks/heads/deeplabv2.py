"""DeepLabV2 (Chen et al., "DeepLab: Semantic Image Segmentation with … CRFs", 2017), twice."""

from __future__ import annotations

import torch
from torch import nn

from cdsp.networks.backbones import Backbone, Features
from cdsp.networks.heads import Decoded, SegmentationNetwork
from cdsp.networks.heads.aspp import AtrousSpatialPyramidPooling
from cdsp.networks.layers import initialise_head


class DeepLabV2(SegmentationNetwork):
    """Four dilated 3×3 convolutions (rates 6, 12, 18, 24 at stride 8, halved at 16), summed.

    It has no hidden feature: its decoder feature is the backbone's.
    """

    default_output_stride = 8

    def __init__(
        self, backbone: Backbone, num_classes: int, options: SegmentationNetwork.Options
    ) -> None:
        channels = backbone.channels["backbone"]
        super().__init__(backbone, channels)
        self.head = nn.ModuleList()
        for rate in (rate * 8 // backbone.output_stride for rate in (6, 12, 18, 24)):
            convolution = nn.Conv2d(channels, num_classes, 3, padding=rate, dilation=rate)
            nn.init.normal_(convolution.weight, std=0.01)
            nn.init.zeros_(convolution.bias)  # type: ignore[arg-type]
            self.head.append(convolution)

    def decode(self, features: Features) -> Decoded:
        """Logits at the size of the last features."""
        logits = [convolution(features.feature) for convolution in self.head]
        return Decoded(torch.stack(logits).sum(dim=0), features.feature)


class DeepLabV2ASPP21(SegmentationNetwork):
    """The CDSP authors' "DeepLabV2": an ASPP whose hidden channels are the classes themselves.

    It has the image-pooling branch and ends in batch norm and ReLU on the logits. Kept so that
    their reading can be compared with `DeepLabV2`, the published one.
    """

    default_output_stride = 8

    def __init__(
        self, backbone: Backbone, num_classes: int, options: SegmentationNetwork.Options
    ) -> None:
        aspp = AtrousSpatialPyramidPooling(
            backbone.channels["backbone"], num_classes, backbone.output_stride
        )
        super().__init__(backbone, aspp.concatenated_channels)
        self.aspp = aspp
        initialise_head(self.aspp)

    def decode(self, features: Features) -> Decoded:
        """Logits at the size of the last features; the decoder feature is the branches' own."""
        branches = self.aspp.concatenate(features.feature)
        return Decoded(self.aspp.project(branches), branches)
