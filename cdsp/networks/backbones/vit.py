"""Vision transformer (Dosovitskiy et al., "An Image is Worth 16x16 Words", ICLR 2021)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cdsp.networks.backbones import Features
from cdsp.networks.backbones.from_torchvision import TorchvisionBackbone, torchvision_network


class VisionTransformer(TorchvisionBackbone):
    """torchvision's ViT without its classifier: tokens of patches of 16 pixels, at any image size.

    The positions' embedding is resized to the patches there are. The early feature is that of the
    tokens after a third of the blocks, at the same stride: a plain ViT has no finer one.
    """

    output_strides = (16,)
    align_corners, side_step, exact_sides = False, 16, True
    other_weights = ("heads.",)

    def __init__(self, name: str, output_stride: int) -> None:
        super().__init__()
        network = torchvision_network(name)
        self.conv_proj: nn.Conv2d = network.conv_proj
        self.class_token: nn.Parameter = network.class_token
        self.encoder: nn.Module = network.encoder
        channels = self.conv_proj.out_channels
        self.describe(
            name, output_stride, low_level_channels=channels, channels=channels, low_level_stride=16
        )

    def extract(self, images: Tensor) -> Features:
        """(B, 3, H, W) images → `Features`."""
        patches = self.conv_proj(images)  # (B, C, h, w)
        size = patches.shape[-2:]
        first = self.class_token.expand(len(images), -1, -1)
        tokens = torch.cat([first, patches.flatten(2).transpose(1, 2)], dim=1)
        tokens = self.encoder.dropout(tokens + self._positions(size))  # type: ignore[operator]
        early = tokens
        layers = list(self.encoder.layers)  # type: ignore[arg-type]
        for number, layer in enumerate(layers):
            tokens = layer(tokens)
            if number + 1 == len(layers) // 3:
                early = tokens
        late = self.encoder.ln(tokens)  # type: ignore[operator]
        # Without the class token, and back on the grid.
        low_level, feature = (x[:, 1:].transpose(1, 2).unflatten(2, size) for x in (early, late))
        return Features(low_level, feature)

    def _positions(self, size: torch.Size) -> Tensor:
        """The embedding of the class token and of (h, w) patches: (1, 1 + h·w, C)."""
        known = self.encoder.pos_embedding  # (1, 1 + n·n, C)
        assert isinstance(known, Tensor)
        side = round((known.shape[1] - 1) ** 0.5)
        if size == (side, side):
            return known
        grid = known[:, 1:].transpose(1, 2).unflatten(2, (side, side))
        grid = nn.functional.interpolate(grid, size=size, mode="bicubic", align_corners=False)
        return torch.cat([known[:, :1], grid.flatten(2).transpose(1, 2)], dim=1)
