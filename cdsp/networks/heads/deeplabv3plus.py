"""DeepLabV3+ (Chen et al., "Encoder-Decoder with Atrous Separable Convolution", 2018)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from cdsp.networks.backbones import Backbone, Features
from cdsp.networks.heads import Decoded, SegmentationNetwork
from cdsp.networks.heads.aspp import AtrousSpatialPyramidPooling
from cdsp.networks.layers import convolution_block, initialise_head
from cdsp.settings import setting

LOW_LEVEL_CHANNELS = 48


class DeepLabV3Plus(SegmentationNetwork):
    """ASPP and a decoder that reads low-level features beside it."""

    @dataclass(frozen=True)
    class Options:
        """Options of DeepLabV3+."""

        decoder_channels: int = setting(256, "hidden channels of ASPP and decoder", minimum=1)
        image_pooling: bool = setting(
            True,
            "ASPP's branch of the whole image's mean. Its batch norm sees one value per image: of "
            "small batches of crops it learns a mean that whole photographs do not have",
        )

    default_output_stride = 16

    def __init__(self, backbone: Backbone, num_classes: int, options: Options) -> None:
        channels = options.decoder_channels
        super().__init__(backbone, channels)
        self.aspp = AtrousSpatialPyramidPooling(
            backbone.channels["backbone"],
            channels,
            backbone.output_stride,
            image_pooling=options.image_pooling,
        )
        self.low_level = convolution_block(backbone.channels["low_level"], LOW_LEVEL_CHANNELS)
        self.decoder = nn.Sequential(
            convolution_block(channels + LOW_LEVEL_CHANNELS, channels, 3),
            convolution_block(channels, channels, 3),
            nn.Dropout(0.1),
            nn.Conv2d(channels, num_classes, 1),
        )
        for module in (self.aspp, self.low_level, self.decoder):
            initialise_head(module)

    def decode(self, features: Features) -> Decoded:
        """Logits and decoder feature at the size of the low-level features."""
        size = features.low_level.shape[-2:]
        context = self.backbone.resize(self.aspp(features.feature), size)
        first, second, dropout, classify = self.decoder
        low_level = self.low_level(features.low_level)
        decoder = second(first(torch.cat([context, low_level], dim=1)))
        return Decoded(classify(dropout(decoder)), decoder)
