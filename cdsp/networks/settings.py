"""What a segmentation network is made of: a row of the configuration's `networks`.

This module names all backbones and heads and loads none of them: torchvision takes as long to load
as the whole of many a job. A new backbone or head is one file in `cdsp/networks/backbones` or
`cdsp/networks/heads` and one line in the tables here.
"""

from __future__ import annotations

import pkgutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from cdsp.settings import nearest, parse_settings, setting, settings_dict

if TYPE_CHECKING:
    from cdsp.networks.backbones import Backbone
    from cdsp.networks.heads import SegmentationNetwork

BackboneName = Literal[
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "mobilenet_v3_large",
    "efficientnet_v2_s",
    "efficientnet_v2_m",
    "efficientnet_v2_l",
    "convnext_tiny",
    "convnext_small",
    "convnext_base",
    "convnext_large",
    "swin_t",
    "swin_s",
    "swin_b",
    "swin_v2_t",
    "swin_v2_s",
    "swin_v2_b",
    "vit_b_16",
    "vit_l_16",
    "mit_b0",
    "mit_b1",
    "mit_b2",
    "mit_b3",
    "mit_b4",
    "mit_b5",
]
HeadName = Literal[
    "deeplabv3plus", "deeplabv2", "deeplabv2_aspp21", "segformer", "linear", "random_walk"
]

BACKBONES: dict[BackboneName, str] = {
    "resnet18": "cdsp.networks.backbones.resnet:ResNet",
    "resnet34": "cdsp.networks.backbones.resnet:ResNet",
    "resnet50": "cdsp.networks.backbones.resnet:ResNet",
    "resnet101": "cdsp.networks.backbones.resnet:ResNet",
    "mobilenet_v2": "cdsp.networks.backbones.mobilenet_v2:MobileNetV2",
    "mobilenet_v3_small": "cdsp.networks.backbones.mobile:MobileBackbone",
    "mobilenet_v3_large": "cdsp.networks.backbones.mobile:MobileBackbone",
    "efficientnet_v2_s": "cdsp.networks.backbones.mobile:MobileBackbone",
    "efficientnet_v2_m": "cdsp.networks.backbones.mobile:MobileBackbone",
    "efficientnet_v2_l": "cdsp.networks.backbones.mobile:MobileBackbone",
    "convnext_tiny": "cdsp.networks.backbones.convnext:ConvNeXt",
    "convnext_small": "cdsp.networks.backbones.convnext:ConvNeXt",
    "convnext_base": "cdsp.networks.backbones.convnext:ConvNeXt",
    "convnext_large": "cdsp.networks.backbones.convnext:ConvNeXt",
    "swin_t": "cdsp.networks.backbones.swin:Swin",
    "swin_s": "cdsp.networks.backbones.swin:Swin",
    "swin_b": "cdsp.networks.backbones.swin:Swin",
    "swin_v2_t": "cdsp.networks.backbones.swin:Swin",
    "swin_v2_s": "cdsp.networks.backbones.swin:Swin",
    "swin_v2_b": "cdsp.networks.backbones.swin:Swin",
    "vit_b_16": "cdsp.networks.backbones.vit:VisionTransformer",
    "vit_l_16": "cdsp.networks.backbones.vit:VisionTransformer",
    "mit_b0": "cdsp.networks.backbones.mit:MixTransformer",
    "mit_b1": "cdsp.networks.backbones.mit:MixTransformer",
    "mit_b2": "cdsp.networks.backbones.mit:MixTransformer",
    "mit_b3": "cdsp.networks.backbones.mit:MixTransformer",
    "mit_b4": "cdsp.networks.backbones.mit:MixTransformer",
    "mit_b5": "cdsp.networks.backbones.mit:MixTransformer",
}
"""Name in the configuration → "module:class" of the backbone."""

TIMM = "timm/"
"""What the names of timm's networks begin with; they are not among `BACKBONES`."""

HEADS: dict[HeadName, str] = {
    "deeplabv3plus": "cdsp.networks.heads.deeplabv3plus:DeepLabV3Plus",
    "deeplabv2": "cdsp.networks.heads.deeplabv2:DeepLabV2",
    "deeplabv2_aspp21": "cdsp.networks.heads.deeplabv2:DeepLabV2ASPP21",
    "segformer": "cdsp.networks.heads.segformer:SegFormer",
    "linear": "cdsp.networks.heads.linear:Linear",
    "random_walk": "cdsp.networks.heads.random_walk:RandomWalk",
}
"""Name in the configuration → "module:class" of the network with this head."""


def backbone_class(name: str) -> type[Backbone]:
    """Import the class of a backbone.

    Raises:
        ValueError: there is no backbone of this name.
    """
    if name.startswith(TIMM):
        return pkgutil.resolve_name("cdsp.networks.backbones.from_timm:TimmBackbone")
    if name not in BACKBONES:
        raise ValueError(f"backbone: unknown name {name!r}{nearest(name, BACKBONES)}")
    return pkgutil.resolve_name(BACKBONES[name])


def head_class(name: HeadName) -> type[SegmentationNetwork]:
    """Import the class of the network with a head; it does not import torchvision."""
    return pkgutil.resolve_name(HEADS[name])


@dataclass(frozen=True)
class NetworkSettings:
    """A segmentation network; the defaults are the paper's Table 1."""

    head: HeadName = setting("deeplabv3plus", "segmentation head")
    head_options: dict[str, Any] = setting(
        {}, "of this head, such as decoder_channels, 256 of deeplabv3plus and segformer"
    )
    backbone: BackboneName = setting(
        "resnet101",
        "network that computes the features; timm/<name>: any of that library which gives feature "
        "maps or patch tokens (pip install 'cdsp[timm]')",
        prefix=TIMM,
    )
    backbone_weights: str = setting(
        "imagenet",
        "'imagenet' (of timm/<name>: those that the name says), 'none' or the path of a state dict",
        is_path=True,
    )
    output_stride: int | None = setting(
        None,
        "pixels per feature; none: the head's own, 8 of DeepLabV2, 32 of segformer and 16 of the "
        "others; convnext, swin and mit have 32 alone, vit 16, timm/<name> what the network has",
    )
    frozen_batch_norm: bool = setting(
        False, "keep the backbone's running statistics, for small batches"
    )
    backbone_factor: float = setting(
        1.0, "learning rate of the backbone ÷ learning_rate", minimum=0
    )
    head_factor: float = setting(1.0, "learning rate of the head ÷ learning_rate", minimum=0)

    def __post_init__(self) -> None:
        """Check what the head is asked for, and fill in its options.

        Raises:
            ValueError: an option that the head does not have, a wrong value for one, or an output
                stride that the head does not serve.
        """
        head = head_class(self.head)
        options = parse_settings(head.Options, self.head_options, f"head_options of {self.head}")
        object.__setattr__(self, "head_options", settings_dict(options))
        if self.output_stride not in (None, *head.output_strides):
            raise ValueError(
                f"output_stride {self.output_stride}: {self.head} serves "
                f"{' and '.join(map(str, head.output_strides))}"
            )

    @property
    def name(self) -> str:
        """What it is called where nobody named it."""
        return f"{self.head}-{self.backbone}"

    @property
    def stride(self) -> int:
        """The output stride, pixels per feature."""
        return self.output_stride or head_class(self.head).default_output_stride
