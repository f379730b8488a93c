"""SegFormer's all-MLP head (Xie et al., NeurIPS 2021), on any backbone with a pyramid."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from cdsp.networks.backbones import Backbone, Features
from cdsp.networks.heads import Decoded, SegmentationNetwork
from cdsp.networks.layers import convolution_block, initialise_head
from cdsp.settings import setting


class SegFormer(SegmentationNetwork):
    """Each level of the pyramid projected, brought to the finest's size, concatenated and fused."""

    @dataclass(frozen=True)
    class Options:
        """Options of SegFormer's head."""

        decoder_channels: int = setting(256, "hidden channels of each level", minimum=1)

    output_strides = (8, 16, 32)
    default_output_stride = 32

    def __init__(self, backbone: Backbone, num_classes: int, options: Options) -> None:
        if not backbone.pyramid_channels:
            raise ValueError(
                f"head segformer: {backbone.name} has features of one stride alone, no pyramid; "
                "choose another head, such as linear"
            )
        channels = options.decoder_channels
        super().__init__(backbone, channels)
        self.project = nn.ModuleList(
            [nn.Conv2d(level, channels, 1) for level in backbone.pyramid_channels]
        )
        self.fuse = convolution_block(channels * len(self.project), channels)
        self.classify = nn.Sequential(nn.Dropout(0.1), nn.Conv2d(channels, num_classes, 1))
        for module in (self.project, self.fuse, self.classify):
            initialise_head(module)

    def decode(self, features: Features) -> Decoded:
        """Logits and decoder feature at the size of the finest level."""
        size = features.pyramid[0].shape[-2:]
        levels = [
            self.backbone.resize(project(level), size)
            for project, level in zip(self.project, features.pyramid, strict=True)
        ]
        decoder = self.fuse(torch.cat(levels, dim=1))
        return Decoded(self.classify(decoder), decoder)
