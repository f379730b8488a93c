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
from cdsp.networks.interface import NetworkOutput, Segmentor, SegmentorName

SEGMENTORS: tuple[str, ...] = get_args(SegmentorName)


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
        return self.project(self.pyramid(feature))

    def pyramid(self, feature: Tensor) -> Tensor:
        """The branches side by side, (B, branches · out_channels, h, w)."""
        pooled = self.pooling(feature).expand(-1, -1, *feature.shape[-2:])
        return torch.cat([b(feature) for b in self.branches] + [pooled], dim=1)


def feature_channels(
    backbone: ResNetBackbone | MobileNetV2Backbone, decoder: int
) -> dict[str, int]:
    """Name of each feature of `NetworkOutput` → its C, of a head whose last one has ``decoder``."""
    return {
        "low_level": backbone.low_level_channels,
        "backbone": backbone.feature_channels,
        "decoder": decoder,
    }


class DeepLabV3Plus(Segmentor):
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
        self.channels = feature_channels(self.backbone, decoder_channels)

    def forward(self, images: Tensor) -> NetworkOutput:
        """(B, 3, H, W) normalised images → `NetworkOutput`."""
        low_level, feature = self.backbone(images)
        context = resize(self.aspp(feature), low_level.shape[-2:])
        first, second, dropout, classify = self.decoder
        decoder = second(first(torch.cat([context, self.low_level(low_level)], dim=1)))
        logits = classify(dropout(decoder))
        return NetworkOutput(resize(logits, images.shape[-2:]), low_level, feature, decoder)


class DeepLabV2(Segmentor):
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
        self.channels = feature_channels(self.backbone, self.backbone.feature_channels)

    def forward(self, images: Tensor) -> NetworkOutput:
        """(B, 3, H, W) normalised images → `NetworkOutput`."""
        low_level, feature = self.backbone(images)
        logits = torch.stack([convolution(feature) for convolution in self.head]).sum(dim=0)
        return NetworkOutput(resize(logits, images.shape[-2:]), low_level, feature, feature)


class DeepLabV2ASPP21(Segmentor):
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
        width = num_classes * (len(rates) + 2)
        self.channels = feature_channels(self.backbone, width)

    def forward(self, images: Tensor) -> NetworkOutput:
        """(B, 3, H, W) normalised images → `NetworkOutput`."""
        low_level, feature = self.backbone(images)
        decoder = self.aspp.pyramid(feature)
        logits = resize(self.aspp.project(decoder), images.shape[-2:])
        return NetworkOutput(logits, low_level, feature, decoder)


def build_segmentor(
    segmentor: str,
    backbone: str,
    output_stride: int,
    num_classes: int,
    decoder_channels: int = 256,
) -> Segmentor:
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
