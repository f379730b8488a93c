"""URSS's head (Pan et al., ICCV 2021): a random walk on the representation, by self-attention."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cdsp.networks.backbones import Backbone, Features
from cdsp.networks.heads import Decoded, SegmentationNetwork
from cdsp.networks.layers import convolution_block, initialise_head
from cdsp.settings import setting


class Walk(nn.Module):
    """x + γ · Σ_j softmax_j(query_iᵀ key_j) value_j; γ is learnt."""

    def __init__(self, channels: int, attention_channels: int, gamma: float) -> None:
        super().__init__()
        self.query = nn.Conv2d(channels, attention_channels, 1)
        self.key = nn.Conv2d(channels, attention_channels, 1)
        self.value = nn.Conv2d(channels, channels, 1)
        self.gamma = nn.Parameter(torch.tensor(gamma))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, C, h, w) → the feature after the walk, of equal shape, queries and keys."""
        query, key = self.query(x), self.key(x)
        walk = torch.einsum("bci,bcj->bij", query.flatten(2), key.flatten(2)).softmax(dim=2)
        moved = torch.einsum("bij,bcj->bci", walk, self.value(x).flatten(2)).view_as(x)
        return x + self.gamma * moved, query, key


class RandomWalk(SegmentationNetwork):
    """A random walk on a feature of fewer channels than the backbone's, and a linear classifier."""

    @dataclass(frozen=True)
    class Options:
        """Options of the random walk."""

        decoder_channels: int = setting(512, "of the feature that is walked on", minimum=1)
        attention_channels: int = setting(64, "of queries and keys", minimum=1)
        gamma: float = setting(0.0, "γ at the start")

    default_output_stride = 8

    def __init__(self, backbone: Backbone, num_classes: int, options: Options) -> None:
        channels, attention = options.decoder_channels, options.attention_channels
        super().__init__(backbone, channels)
        self.feature_channels |= {"query": attention, "key": attention}
        self.reduce = convolution_block(backbone.channels["backbone"], channels, 3)
        self.walk = Walk(channels, attention, options.gamma)
        self.classify = nn.Conv2d(channels, num_classes, 1)
        for module in (self.reduce, self.walk, self.classify):
            initialise_head(module)

    def decode(self, features: Features) -> Decoded:
        """Logits at the size of the last feature; the decoder feature is the one after the walk."""
        decoder, query, key = self.walk(self.reduce(features.feature))
        return Decoded(self.classify(decoder), decoder, query, key)
