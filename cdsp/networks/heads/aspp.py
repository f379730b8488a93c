"""Atrous spatial pyramid pooling (Chen et al., "Rethinking Atrous Convolution", 2017)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cdsp.networks.layers import convolution_block


class AtrousSpatialPyramidPooling(nn.Module):
    """ASPP: a 1×1, three dilated 3×3 and an image-pooling branch, concatenated and projected.

    The rates are 6, 12 and 18 at output stride 16, and twice that at 8.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        output_stride: int,
        *,
        image_pooling: bool = True,
    ) -> None:
        """Build it; without ``image_pooling`` there is no such branch."""
        super().__init__()
        rates = [rate * 16 // output_stride for rate in (6, 12, 18)]
        self.branches = nn.ModuleList(
            [convolution_block(in_channels, out_channels)]
            + [convolution_block(in_channels, out_channels, 3, rate) for rate in rates]
        )
        self.pooling = (
            nn.Sequential(nn.AdaptiveAvgPool2d(1), convolution_block(in_channels, out_channels))
            if image_pooling
            else None
        )
        self.concatenated_channels = out_channels * (len(self.branches) + image_pooling)
        self.project = nn.Sequential(
            convolution_block(self.concatenated_channels, out_channels), nn.Dropout(0.1)
        )

    def concatenate(self, feature: Tensor) -> Tensor:
        """(B, C, h, w) → (B, concatenated_channels, h, w), all branches, the pooled one last."""
        # Computed first: the order decides how the feature's gradients are rounded when summed.
        pooled = []
        if self.pooling is not None:
            pooled.append(self.pooling(feature).expand(-1, -1, *feature.shape[-2:]))
        return torch.cat([branch(feature) for branch in self.branches] + pooled, dim=1)

    def forward(self, feature: Tensor) -> Tensor:
        """(B, C, h, w) → (B, out_channels, h, w)."""
        return self.project(self.concatenate(feature))
