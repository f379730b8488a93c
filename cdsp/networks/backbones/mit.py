"""Mix transformers, the backbones of SegFormer (Xie et al., NeurIPS 2021).

Parameter names are those of the authors' files of weights, so that these load; a file is the only
way, since no library here has them.
"""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor, nn
from torchvision.ops import StochasticDepth

from cdsp.networks.backbones import Backbone, Features

HEADS, REDUCTIONS = (1, 2, 5, 8), (8, 4, 2, 1)
"""Of each stage: attention heads, and the factor by which keys and values are coarser."""

WIDTHS = {"mit_b0": (32, 64, 160, 256)}
USUAL_WIDTHS = (64, 128, 320, 512)
DEPTHS = {
    "mit_b0": (2, 2, 2, 2),
    "mit_b1": (2, 2, 2, 2),
    "mit_b2": (3, 4, 6, 3),
    "mit_b3": (3, 4, 18, 3),
    "mit_b4": (3, 8, 27, 3),
    "mit_b5": (3, 6, 40, 3),
}
"""Name → blocks of each stage."""

STOCHASTIC_DEPTH = 0.1
"""Of the last block; that of the others grows towards it from 0."""


class PatchEmbedding(nn.Module):
    """Overlapping patches: a strided convolution and a normalisation of each token."""

    def __init__(self, channels: int, width: int, size: int, stride: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(channels, width, size, stride, size // 2)
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) → (B, width, ceil(H/stride), ceil(W/stride))."""
        x = self.proj(x)
        return _as_map(self.norm(_as_tokens(x)), x.shape[-2:])


class Attention(nn.Module):
    """Self-attention whose keys and values come from a coarser map."""

    def __init__(self, width: int, heads: int, reduction: int) -> None:
        super().__init__()
        self.heads, self.reduction = heads, reduction
        self.q = nn.Linear(width, width)
        self.kv = nn.Linear(width, 2 * width)
        self.proj = nn.Linear(width, width)
        if reduction > 1:
            self.sr = nn.Conv2d(width, width, reduction, reduction)
            self.norm = nn.LayerNorm(width)

    def forward(self, tokens: Tensor, size: torch.Size) -> Tensor:
        """(B, H·W, C) tokens of a map of (H, W) → the same."""
        coarse = tokens
        if self.reduction > 1:
            # A map that is smaller than one coarse cell is one.
            short = [max(0, self.reduction - side) for side in size]
            padded = nn.functional.pad(_as_map(tokens, size), (0, short[1], 0, short[0]))
            coarse = self.norm(_as_tokens(self.sr(padded)))
        query = self._split(self.q(tokens))
        key, value = (self._split(part) for part in self.kv(coarse).chunk(2, dim=-1))
        found = nn.functional.scaled_dot_product_attention(query, key, value)
        return self.proj(found.transpose(1, 2).flatten(2))

    def _split(self, x: Tensor) -> Tensor:
        """(B, N, C) → (B, heads, N, C ÷ heads)."""
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class MixFFN(nn.Module):
    """Two layers with a depthwise 3×3 convolution between them, which tells of positions."""

    class Depthwise(nn.Module):
        """Named as in the files of weights."""

        def __init__(self, width: int) -> None:
            super().__init__()
            self.dwconv = nn.Conv2d(width, width, 3, padding=1, groups=width)

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.dwconv = MixFFN.Depthwise(4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, tokens: Tensor, size: torch.Size) -> Tensor:
        """(B, H·W, C) tokens of a map of (H, W) → the same."""
        hidden = _as_map(self.fc1(tokens), size)
        return self.fc2(nn.functional.gelu(_as_tokens(self.dwconv.dwconv(hidden))))


class Block(nn.Module):
    """Attention and a feed-forward part, each beside a skip connection."""

    def __init__(self, width: int, heads: int, reduction: int, dropped: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = Attention(width, heads, reduction)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = MixFFN(width)
        self.drop = StochasticDepth(dropped, "row")

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) → the same."""
        size, tokens = x.shape[-2:], _as_tokens(x)
        tokens = tokens + self.drop(self.attn(self.norm1(tokens), size))
        tokens = tokens + self.drop(self.mlp(self.norm2(tokens), size))
        return _as_map(tokens, size)


class MixTransformer(Backbone):
    """Four stages at strides 4 to 32; features lie on pixels as those of a padded convolution."""

    output_strides = (32,)
    side_step = 32
    other_weights = ("head.",)

    def __init__(self, name: str, output_stride: int) -> None:
        super().__init__()
        widths, depths = WIDTHS.get(name, USUAL_WIDTHS), DEPTHS[name]
        rates = iter([STOCHASTIC_DEPTH * i / (sum(depths) - 1) for i in range(sum(depths))])
        for stage, width in enumerate(widths, start=1):
            before, size, stride = (3, 7, 4) if stage == 1 else (widths[stage - 2], 3, 2)
            blocks = [
                Block(width, HEADS[stage - 1], REDUCTIONS[stage - 1], rate)
                for rate in itertools.islice(rates, depths[stage - 1])
            ]
            self.add_module(f"patch_embed{stage}", PatchEmbedding(before, width, size, stride))
            self.add_module(f"block{stage}", nn.Sequential(*blocks))
            self.add_module(f"norm{stage}", nn.LayerNorm(width, eps=1e-6))
        self.apply(_initialise)
        self.describe(
            name,
            output_stride,
            low_level_channels=widths[0],
            channels=widths[-1],
            pyramid_channels=widths,
        )

    def extract(self, images: Tensor) -> Features:
        """(B, C, H, W) images → `Features`."""
        levels = []
        for stage in range(1, 5):
            images = self.get_submodule(f"patch_embed{stage}")(images)
            images = self.get_submodule(f"block{stage}")(images)
            tokens = self.get_submodule(f"norm{stage}")(_as_tokens(images))
            images = _as_map(tokens, images.shape[-2:])
            levels.append(images)
        return Features(levels[0], levels[-1], tuple(levels))


def _as_tokens(x: Tensor) -> Tensor:
    """(B, C, H, W) → (B, H·W, C)."""
    return x.flatten(2).transpose(1, 2)


def _as_map(tokens: Tensor, size: torch.Size) -> Tensor:
    """(B, H·W, C) → (B, C, H, W)."""
    return tokens.transpose(1, 2).unflatten(2, tuple(size))


def _initialise(module: nn.Module) -> None:
    """Random weights as published."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Conv2d):
        receiving = module.out_channels * math.prod(module.kernel_size) // module.groups
        nn.init.normal_(module.weight, std=math.sqrt(2 / receiving))
        assert module.bias is not None
        nn.init.zeros_(module.bias)
