"""Backbones: torchvision's ResNets and MobileNetV2, dilated to output stride 8 or 16.

Parameter names are torchvision's own, so that its weights load.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, get_args

import torch
import torchvision.models as torchvision_models
from torch import Tensor, nn

from cdsp.io.files import no_such
from cdsp.networks.interface import BackboneName

BACKBONES: tuple[str, ...] = get_args(BackboneName)


class Features(NamedTuple):
    """What a backbone computes from (B, 3, H, W) images.

    Attributes:
        low_level: (B, low_level_channels, ceil(H/4), ceil(W/4)).
        feature: (B, feature_channels, ceil(H/s), ceil(W/s)) at output stride s; the last feature
            map, after its non-linearity: the paper's F.
    """

    low_level: Tensor
    feature: Tensor


class ResNetBackbone(torchvision_models.ResNet):
    """torchvision's ResNet without its head; layers 3 and 4 dilated as the output stride asks."""

    def __init__(self, name: str, output_stride: int) -> None:
        block, layers = {
            "resnet18": (torchvision_models.resnet.BasicBlock, [2, 2, 2, 2]),
            "resnet34": (torchvision_models.resnet.BasicBlock, [3, 4, 6, 3]),
            "resnet50": (torchvision_models.resnet.Bottleneck, [3, 4, 6, 3]),
            "resnet101": (torchvision_models.resnet.Bottleneck, [3, 4, 23, 3]),
        }[name]
        super().__init__(block, layers, num_classes=1)
        del self.fc, self.avgpool
        self.low_level_channels = 64 * block.expansion
        self.feature_channels = 512 * block.expansion
        dilate_stages([self.layer3, self.layer4], output_stride)

    def forward(self, x: Tensor) -> Features:  # pyright: ignore[reportIncompatibleMethodOverride]
        """(B, 3, H, W) images → `Features`."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        low_level = self.layer1(x)
        return Features(low_level, self.layer4(self.layer3(self.layer2(low_level))))


class MobileNetV2Backbone(torchvision_models.MobileNetV2):
    """torchvision's MobileNetV2 without its head; the feature is the last one, after its ReLU6."""

    def __init__(self, name: str, output_stride: int) -> None:
        super().__init__(num_classes=1)
        del self.classifier
        self.low_level_channels = 24
        self.feature_channels = 1280
        dilate_stages([self.features[7:14], self.features[14:18]], output_stride)

    def forward(self, x: Tensor) -> Features:
        """(B, 3, H, W) images → `Features`."""
        low_level = self.features[:4](x)
        return Features(low_level, self.features[4:](low_level))


def dilate_stages(stages: list[nn.Module], output_stride: int) -> None:
    """Replace the stride of the last two stages by dilation, in place.

    Args:
        stages: the stage that ends at stride 16 and the one that ends at stride 32.
        output_stride: 8 (both dilated), 16 (the last one dilated) or 32 (neither).

    Raises:
        ValueError: another output stride.
    """
    if output_stride not in (8, 16, 32):
        raise ValueError(f"output_stride {output_stride}: expected 8 or 16")
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
            if module.kernel_size == (3, 3):
                rate = before if went_down else dilation
                module.dilation = module.padding = (rate, rate)


def build_backbone(name: str, output_stride: int) -> ResNetBackbone | MobileNetV2Backbone:
    """A backbone with random weights.

    Raises:
        ValueError: an unknown name or output stride.
    """
    if name not in BACKBONES:
        raise ValueError(f"backbone {name!r}: expected one of {', '.join(BACKBONES)}")
    backbone = MobileNetV2Backbone if name == "mobilenet_v2" else ResNetBackbone
    return backbone(name, output_stride)


def load_backbone_weights(backbone: nn.Module, name: str, source: str) -> None:
    """Load weights into a backbone, in place.

    Args:
        backbone: as `build_backbone` made it.
        name: the backbone's name.
        source: "none" (keep the random weights), "imagenet" (torchvision's ImageNet weights, looked
            for in torch's hub folder and downloaded with a hash check when absent), or the path of
            a state dict with torchvision's keys; fp16 tensors are converted.

    Raises:
        ValueError: the file is missing or unreadable, or its keys or shapes are another network's.
    """
    if source == "none":
        return
    if source == "imagenet":
        weights = torchvision_models.get_model_weights(name).IMAGENET1K_V1  # type: ignore[attr-defined]
        try:
            state = weights.get_state_dict(progress=False, check_hash=True)
        except (OSError, RuntimeError) as error:  # no network, or a hash that is not the file's
            raise ValueError(
                f"the ImageNet weights of {name} could not be fetched ({error}); give the path of "
                "a file instead of 'imagenet', or 'none'"
            ) from error
    else:
        state = read_checkpoint(Path(source))
    wanted = backbone.state_dict()
    given = {
        key: value for key, value in state.items() if not key.startswith(("fc.", "classifier"))
    }
    problems = describe_mismatch(wanted, given)
    if problems:
        raise ValueError(f"{source}: not the weights of {name}: {problems}")
    backbone.load_state_dict(given)


def describe_mismatch(wanted: Mapping[str, Tensor], given: Mapping[str, Any]) -> str:
    """Say in words how two state dicts differ in keys and shapes; empty when they agree."""
    missing = [key for key in wanted if key not in given]
    extra = [key for key in given if key not in wanted]
    shapes = [
        f"{key} is {tuple(given[key].shape)} instead of {tuple(wanted[key].shape)}"
        for key in wanted
        if key in given and given[key].shape != wanted[key].shape
    ]
    parts = [
        f"{len(names)} {what} ({', '.join(names[:3])}{', …' if len(names) > 3 else ''})"
        for what, names in (
            ("keys missing", missing),
            ("keys unknown", extra),
            ("shapes differ", shapes),
        )
        if names
    ]
    return "; ".join(parts)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a file of tensors and plain values; nothing that it holds is ever executed.

    Raises:
        ValueError: missing, truncated, or holding anything else than tensors and plain values.
    """
    if not path.is_file():
        raise ValueError(no_such(path, "file of weights"))
    try:
        value = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds; all mean the same to the user
        # What torch says is left out: it advises to load files that execute what they hold.
        raise ValueError(
            f"{path}: no weights of cdsp or PyTorch that can be read: another kind of file, cut "
            "short, or with something else in it than tensors and plain values"
        ) from error
    if not isinstance(value, dict):
        raise ValueError(f"{path}: expected a dictionary of tensors, found {type(value).__name__}")
    return value


def freeze_batch_norm(module: nn.Module) -> None:
    """Put every batch norm of a module into evaluation mode, keeping its running statistics."""
    for child in module.modules():
        if isinstance(child, nn.BatchNorm2d):
            child.eval()


def initialise_head(module: nn.Module) -> None:
    """He initialisation of a head's convolutions; batch norms start as the identity."""
    for child in module.modules():
        if isinstance(child, nn.Conv2d):
            nn.init.kaiming_normal_(child.weight, nonlinearity="relu")
            if child.bias is not None:
                nn.init.zeros_(child.bias)


def convolution_block(
    in_channels: int, out_channels: int, kernel: int = 1, rate: int = 1
) -> nn.Sequential:
    """A convolution of unchanged size, batch norm and ReLU."""
    return nn.Sequential(
        nn.Conv2d(
            in_channels,
            out_channels,
            kernel,
            padding=rate * (kernel // 2),
            dilation=rate,
            bias=False,
        ),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )


def resize(x: Tensor, size: torch.Size | tuple[int, int]) -> Tensor:
    """Bilinear resize of (B, C, h, w) with the corner pixels aligned.

    At sides of 8k+1 (16k+1) pixels every feature of stride 8 (16) lies exactly on a pixel.
    """
    return nn.functional.interpolate(x, size=tuple(size), mode="bilinear", align_corners=True)
