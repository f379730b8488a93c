"""What torchvision's backbones share: dilation in place of striding, and its ImageNet weights.

Parameter names are torchvision's own, so that its weights load.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torchvision.models
from torch import nn

from cdsp.networks.backbones import Backbone


class TorchvisionBackbone(Backbone):
    """A backbone that is torchvision's network of the same name, without its classifier."""

    other_weights = ("fc.", "classifier")

    def imagenet_state(self) -> dict[str, Any]:
        """Torchvision's ImageNet weights, the first version.

        Raises:
            ValueError: they cannot be fetched.
        """
        weights = torchvision.models.get_model_weights(self.name).IMAGENET1K_V1  # type: ignore[attr-defined]
        try:
            return weights.get_state_dict(progress=False, check_hash=True)
        except (OSError, RuntimeError) as error:  # no network, or a hash that is not the file's
            raise ValueError(
                f"the ImageNet weights of {self.name} could not be fetched ({error}); give the "
                "path of a file instead of 'imagenet', or 'none'"
            ) from error


def torchvision_network(name: str) -> Any:
    """Torchvision's network of a name, with random weights."""
    return torchvision.models.get_model(name, weights=None)


def dilate_stages(stages: Sequence[nn.Module], output_stride: int) -> None:
    """Replace the stride of the last two stages by dilation, in place.

    Args:
        stages: the stage that ends at stride 16 and the one that ends at stride 32.
        output_stride: 8 (both dilated), 16 (the last one dilated) or 32 (neither).
    """
    dilation = 1
    for stage, stride in zip(stages, (16, 32), strict=True):
        before = dilation
        if stride > output_stride:
            dilation *= 2
        for module in stage.modules():
            if not isinstance(module, nn.Conv2d):
                continue
            # The convolution that would have gone down a step still sees the undilated grid.
            went_down = module.stride == (2, 2)
            if went_down and dilation > before:
                module.stride = (1, 1)
            reach = module.kernel_size[0] // 2
            if reach:
                rate = before if went_down else dilation
                module.dilation, module.padding = (rate, rate), (rate * reach, rate * reach)
