"""Segmentation networks: a backbone and a head that turns its features into logits.

A family of heads is one module here: a subclass of `SegmentationNetwork`, with one line for each of
its names in `cdsp.networks.settings.HEADS`.

Shapes: B images, K classes with background, C channels, (H, W) pixels, (h, w) features.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from torch import Tensor, nn

from cdsp.io.pixels import RGB, PixelFormat
from cdsp.networks.backbones import Backbone, Features, build_backbone
from cdsp.networks.interface import FeatureName, NetworkOutput
from cdsp.networks.settings import NetworkSettings, head_class
from cdsp.settings import parse_settings


class Decoded(NamedTuple):
    """What a head makes of a backbone's features.

    Attributes:
        logits: (B, K, h, w), at any size.
        decoder: (B, C, h, w), the feature that the classifying convolution reads, before dropout.
        query: (B, C, h, w), of the head's self-attention, where it has one.
        key: (B, C, h, w), likewise.
    """

    logits: Tensor
    decoder: Tensor
    query: Tensor | None = None
    key: Tensor | None = None


class SegmentationNetwork(nn.Module):
    """Base of all segmentation networks; all parameters outside of `backbone` are the head's.

    A subclass builds its layers from the channels of the backbone, in
    ``__init__(backbone, num_classes, options)``, and implements `decode`.

    Attributes:
        Options: dataclass of the head's own options, its fields made by `cdsp.settings.setting`.
        output_strides: the output strides that the head serves.
        default_output_stride: the one that it is published with.
        backbone: computes the features.
        feature_channels: channels of each feature in the network's output.
    """

    @dataclass(frozen=True)
    class Options:
        """A head without options."""

    output_strides: ClassVar[tuple[int, ...]] = (8, 16, 32)
    default_output_stride: ClassVar[int]

    def __init__(self, backbone: Backbone, decoder_channels: int) -> None:
        """Keep the backbone.

        Args:
            backbone: of one of the head's output strides.
            decoder_channels: channels of `Decoded.decoder`.
        """
        super().__init__()
        self.backbone = backbone
        self.feature_channels: dict[FeatureName, int] = {
            **backbone.channels,
            "decoder": decoder_channels,
        }

    def decode(self, features: Features) -> Decoded:
        """The head."""
        raise NotImplementedError

    def forward(self, images: Tensor) -> NetworkOutput:
        """(B, C, H, W) images, normalised by the backbone's `pixels` → `NetworkOutput`."""
        features = self.backbone(images)
        decoded = self.decode(features)
        named: dict[FeatureName, Tensor] = {
            "low_level": features.low_level,
            "backbone": features.feature,
            "decoder": decoded.decoder,
        }
        if decoded.query is not None and decoded.key is not None:
            named |= {"query": decoded.query, "key": decoded.key}
        return NetworkOutput(self.backbone.resize(decoded.logits, images.shape[-2:]), named)

    def parameter_groups(self, settings: NetworkSettings) -> list[dict[str, Any]]:
        """Groups for an optimizer: the backbone's parameters, then the head's.

        Args:
            settings: their factors, found again as "factor" of each group.
        """
        of_backbone = list(self.backbone.parameters())
        known = set(of_backbone)
        of_head = [parameter for parameter in self.parameters() if parameter not in known]
        return [
            {"params": of_backbone, "factor": settings.backbone_factor},
            {"params": of_head, "factor": settings.head_factor},
        ]


def build_network(
    settings: NetworkSettings, num_classes: int, pixels: PixelFormat = RGB
) -> SegmentationNetwork:
    """A segmentation network with random weights.

    Args:
        settings: head and backbone.
        num_classes: number of classes, background included.
        pixels: of the images.

    Raises:
        ValueError: the backbone does not have the output stride.
    """
    head = head_class(settings.head)
    backbone = build_backbone(settings.backbone, settings.stride, pixels)
    options = parse_settings(head.Options, settings.head_options, "head_options")
    return head(backbone, num_classes, options)  # type: ignore[arg-type, call-arg]
