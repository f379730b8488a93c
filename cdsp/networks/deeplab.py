"""DeepLabV3+ and DeepLabV2 on any backbone.

Sources: Chen et al., "Encoder-Decoder with Atrous Separable Convolution for Semantic Image
Segmentation" (2018) and "DeepLab: Semantic Image Segmentation with Deep Convolutional Nets, Atrous
Convolution, and Fully Connected CRFs" (2017).

Shapes: B images, K classes with background, C feature channels, (H, W) pixels, (h, w) features.
"""

from __future__ import annotations

from typing import get_args

import torch
from torch import Tensor, nn

from cdsp.networks.backbones import (
    MobileNetV2Backbone,
    ResNetBackbone,
    build_backbone,
    convolution_block,
    initialise_head,
    resize,
)
from cdsp.networks.interface import FeatureName, NetworkOutput, SegmentorName

SEGMENTORS: tuple[str, ...] = get_args(SegmentorName)


def name_channels(
    backbone: ResNetBackbone | MobileNetV2Backbone, decoder_channels: int
) -> dict[FeatureName, int]:
    """Channels of each feature of a network's output."""
    return {
        "low_level": backbone.low_level_channels,
        "backbone": backbone.feature_channels,
        "decoder": decoder_channels,
    }


class AtrousSpatialPyramidPooling(nn.Module):
    """ASPP: a 1×1, three dilated 3×3 and an image-pooling branch, concatenated and projected."""

    def __init__(self, in_channels: int, out_channels: int, rates: tuple[int, ...]) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            [convolution_block(in_channels, out_channels)]
            + [convolution_block(in_channels, out_channels, 3, rate) for rate in rates]
        )
        self.pooling = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), convolution_block(in_channels, out_channels)
        )
        self.project = nn.Sequential(
            convolution_block(out_channels * (len(rates) + 2), out_channels), nn.Dropout(0.1)
        )

    def forward(self, feature: Tensor) -> Tensor:
        """(B, C, h, w) → (B, out_channels, h, w)."""
        return self.project(self.branch_features(feature))

    def branch_features(self, feature: Tensor) -> Tensor:
        """(B, C, h, w) → (B, out_channels × branches, h, w), what the projection reads."""
        pooled = self.pooling(feature).expand(-1, -1, *feature.shape[-2:])
        return torch.cat([branch(feature) for branch in self.branches] + [pooled], dim=1)


class DeepLabV3Plus(nn.Module):
    """ASPP (rates 6, 12, 18 at stride 16, doubled at 8) and a decoder with low-level features."""

    def __init__(
        self, backbone: str, output_stride: int, num_classes: int, decoder_channels: int
    ) -> None:
        super().__init__()
        self.backbone = build_backbone(backbone, output_stride)
        rates = tuple(rate * 16 // output_stride for rate in (6, 12, 18))
        self.aspp = AtrousSpatialPyramidPooling(
            self.backbone.feature_channels, decoder_channels, rates
        )
        self.low_level = convolution_block(self.backbone.low_level_channels, 48)
        self.decoder = nn.Sequential(
            convolution_block(decoder_channels + 48, decoder_channels, 3),
            convolution_block(decoder_channels, decoder_channels, 3),
            nn.Dropout(0.1),
            nn.Conv2d(decoder_channels, num_classes, 1),
        )
        for head in (self.aspp, self.low_level, self.decoder):
            initialise_head(head)
        self.feature_channels = name_channels(self.backbone, decoder_channels)

    def forward(self, images: Tensor) -> NetworkOutput:
        """(B, 3, H, W) normalised images → `NetworkOutput`."""
        low_level, feature = self.backbone(images)
        context = resize(self.aspp(feature), low_level.shape[-2:])
        first, second, dropout, classify = self.decoder
        decoded = second(first(torch.cat([context, self.low_level(low_level)], dim=1)))
        logits = resize(classify(dropout(decoded)), images.shape[-2:])
        features = {"low_level": low_level, "backbone": feature, "decoder": decoded}
        return NetworkOutput(logits, features)


class DeepLabV2(nn.Module):
    """Four dilated 3×3 convolutions (rates 6, 12, 18, 24 at stride 8, halved at 16), summed."""

    def __init__(
        self, backbone: str, output_stride: int, num_classes: int, decoder_channels: int
    ) -> None:
        """``decoder_channels`` is DeepLabV3+'s: this head has no hidden channels."""
        super().__init__()
        self.backbone = build_backbone(backbone, output_stride)
        self.head = nn.ModuleList()
        for rate in (rate * 8 // output_stride for rate in (6, 12, 18, 24)):
            convolution = nn.Conv2d(
                self.backbone.feature_channels, num_classes, 3, padding=rate, dilation=rate
            )
            nn.init.normal_(convolution.weight, std=0.01)
            nn.init.zeros_(convolution.bias)  # type: ignore[arg-type]
            self.head.append(convolution)
        self.feature_channels = name_channels(self.backbone, self.backbone.feature_channels)

    def forward(self, images: Tensor) -> NetworkOutput:
        """(B, 3, H, W) normalised images → `NetworkOutput`."""
        low_level, feature = self.backbone(images)
        logits = torch.stack([convolution(feature) for convolution in self.head]).sum(dim=0)
        features = {"low_level": low_level, "backbone": feature, "decoder": feature}
        return NetworkOutput(resize(logits, images.shape[-2:]), features)


class DeepLabV2ASPP21(nn.Module):
    """The CDSP authors' "DeepLabV2": an ASPP whose hidden channels are the classes themselves.

    It has the image-pooling branch and ends in batch norm and ReLU on the logits. Kept so that
    their reading can be compared with `DeepLabV2`, the published one.
    """

    def __init__(
        self, backbone: str, output_stride: int, num_classes: int, decoder_channels: int
    ) -> None:
        """``decoder_channels`` is DeepLabV3+'s: this head's are the classes."""
        super().__init__()
        self.backbone = build_backbone(backbone, output_stride)
        rates = tuple(rate * 16 // output_stride for rate in (6, 12, 18))
        self.aspp = AtrousSpatialPyramidPooling(self.backbone.feature_channels, num_classes, rates)
        initialise_head(self.aspp)
        self.feature_channels = name_channels(self.backbone, num_classes * (len(rates) + 2))

    def forward(self, images: Tensor) -> NetworkOutput:
        """(B, 3, H, W) normalised images → `NetworkOutput`."""
        low_level, feature = self.backbone(images)
        branches = self.aspp.branch_features(feature)
        logits = resize(self.aspp.project(branches), images.shape[-2:])
        features = {"low_level": low_level, "backbone": feature, "decoder": branches}
        return NetworkOutput(logits, features)


def build_segmentor(
    segmentor: str,
    backbone: str,
    output_stride: int,
    num_classes: int,
    decoder_channels: int = 256,
) -> DeepLabV3Plus | DeepLabV2 | DeepLabV2ASPP21:
    """A segmentation network with random weights.

    Args:
        segmentor: one of `SEGMENTORS`.
        backbone: one of `cdsp.networks.backbones.BACKBONES`.
        output_stride: 8 or 16.
        num_classes: number of classes, background included.
        decoder_channels: hidden channels of DeepLabV3+'s ASPP and decoder.

    Raises:
        ValueError: an unknown name or output stride.
    """
    networks = {
        "deeplabv3plus": DeepLabV3Plus,
        "deeplabv2": DeepLabV2,
        "deeplabv2_aspp21": DeepLabV2ASPP21,
    }
    if segmentor not in networks:
        raise ValueError(f"segmentor {segmentor!r}: expected one of {', '.join(SEGMENTORS)}")
    return networks[segmentor](backbone, output_stride, num_classes, decoder_channels)
