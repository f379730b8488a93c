"""Places of an image, described by the features of a pretrained backbone that is not trained.

A backbone that has seen a million photographs tells a cow from a sheep as it is: a linear
classifier on its features learns in a minute, from a few points of each class.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import torch
from torch import nn

from cdsp.networks.backbones import build_backbone
from cdsp.pseudo_labels.random_walk import cut_superpixels, superpixel_means
from cdsp.pseudo_labels.settings import PixelSettings
from cdsp.training.augmentation import normalise

_OUTPUT_STRIDE = 16

DESCRIBING = {
    "mobilenet_v2": ("features.13", "features.17"),
    "resnet18": ("layer3", "layer4"),
    "resnet50": ("layer3", "layer4"),
    "resnet101": ("layer3", "layer4"),
}
"""Backbone → its modules whose outputs, at one stride, describe a place.

MobileNetV2's last features, widened for its own classifier, tell held-out points apart far worse.
"""


class FrozenFeatures:
    """Describes the superpixels of images by a backbone's last features."""

    def __init__(self, settings: PixelSettings) -> None:
        """Build the backbone with its weights.

        Args:
            settings: with a backbone; spacing of the superpixels.

        Raises:
            ValueError: a backbone that is not in `DESCRIBING`; weights that are missing, or another
                network's.
        """
        if settings.backbone not in DESCRIBING:
            raise ValueError(
                f"pixels.backbone: {settings.backbone}: expected {' or '.join(DESCRIBING)}"
            )
        self.spacing = settings.superpixel_spacing
        self.backbone = build_backbone(settings.backbone, _OUTPUT_STRIDE).eval()
        self.backbone.load_weights(settings.backbone_weights)
        self.backbone.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._outputs: dict[str, torch.Tensor] = {}
        for name in DESCRIBING[settings.backbone]:
            self.backbone.get_submodule(name).register_forward_hook(self._keep(name))

    def _keep(self, name: str) -> Callable[[nn.Module, Any, torch.Tensor], None]:
        def keep(module: nn.Module, inputs: Any, output: torch.Tensor) -> None:
            self._outputs[name] = output

        return keep

    @torch.inference_mode()
    def maps(self, image: np.ndarray) -> torch.Tensor:
        """(1, C, h, w) float32 features of an (H, W, 3) uint8 RGB image, at stride 16."""
        columns, rows = (self.backbone.valid_side(side, round) for side in image.shape[1::-1])
        view = normalise(cv2.resize(image, (columns, rows), interpolation=cv2.INTER_LINEAR))
        self.backbone(torch.from_numpy(view)[None].contiguous(memory_format=torch.channels_last))
        return torch.cat(list(self._outputs.values()), dim=1)

    @torch.inference_mode()
    def __call__(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
        """Superpixels of an image with the feature at the centre of each.

        Args:
            image: (H, W, 3) uint8 RGB.

        Returns:
            (H, W) int32 superpixels 0..N-1, the (N, C) float32 features, and N.
        """
        superpixels, number = cut_superpixels(image, self.spacing)
        # A place is a pair of fractions of the sides: -1 and 1 are the outermost pixels' centres.
        height, width = image.shape[:2]
        grid = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
        centres = superpixel_means(superpixels, number, grid[::-1]).astype(np.float32)
        found = nn.functional.grid_sample(
            self.maps(image),
            torch.from_numpy(centres)[None, None],
            padding_mode="border",
            align_corners=self.backbone.align_corners,
        )
        return superpixels, found[0, :, 0].T.numpy(), number
