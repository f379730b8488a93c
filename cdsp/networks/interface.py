"""What segmentation networks return, for loss terms and all others who build none."""

from __future__ import annotations

from typing import Literal, NamedTuple

from torch import Tensor

FeatureName = Literal["low_level", "backbone", "decoder", "query", "key"]
"""The features that a segmentation network offers to loss terms: each the first three, and a head
with self-attention its queries and keys."""


class NetworkOutput(NamedTuple):
    """What a segmentation network returns: logits and its features, by name.

    The network says the channels of each feature in `feature_channels`, by the same names.

    Attributes:
        logits: (B, K, H, W), at the size of the images.
        features: name → (B, C, h, w). "low_level" is the backbone's early feature map, at stride 4;
            "backbone" its last one, before the head, the paper's F; "decoder" the head's last one,
            which the classifying convolution reads, before dropout. Where a head has no hidden
            feature, "decoder" is "backbone". "query" and "key" are those of the head's
            self-attention, where it has one: E_ij = query_iᵀ key_j.
    """

    logits: Tensor
    features: dict[FeatureName, Tensor]

    @property
    def feature(self) -> Tensor:
        """(B, C, h, w), the feature "backbone"."""
        return self.features["backbone"]
