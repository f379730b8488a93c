"""Backbones of the library timm, an optional extra: "timm/" and the name that it has there."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cdsp.networks.backbones import Backbone, Features
from cdsp.networks.settings import TIMM

ANY_SIZE = {"dynamic_img_size": True, "strict_img_size": False}
"""What lets a network of timm's take images of another size than it was trained on: the options
of ViT's relatives and of Swin's."""

INSTALL = "pip install 'cdsp[timm]'"
FINEST = 4
"""The least stride of a pyramid."""


class TimmBackbone(Backbone):
    """A network of timm's without its classifier: its pyramid, or its patch tokens on their grid.

    Anything of timm's that has ``forward_intermediates`` and says its strides. It is built at its
    own strides. Features are resized as those of patches are, their corners not aligned, and
    images have sides of whole features. Of patch tokens there are two maps, after a third of the
    blocks and after all, both after the last normalisation.
    """

    output_strides = (8, 14, 16, 32)
    align_corners, exact_sides = False, True

    def __init__(self, name: str, output_stride: int) -> None:
        super().__init__()
        self.model = _build(name)
        config: Any = self.model.pretrained_cfg
        self.mean, self.std = tuple(config["mean"]), tuple(config["std"])
        classifier = config.get("classifier") or ()
        parts = (classifier,) if isinstance(classifier, str) else tuple(classifier)
        self.other_weights = tuple(f"model.{part}." for part in parts)
        info: Any = self.model.feature_info
        levels = {i: (info[i]["reduction"], info[i]["num_chs"]) for i in range(len(info))}
        # The last of each stride.
        strides = {stride: index for index, (stride, _) in levels.items() if stride >= FINEST}
        if not strides or max(strides) != output_stride:
            found = max(strides, default="none")
            raise ValueError(
                f"output_stride {output_stride}: {name} has {found}; set output_stride to it, with "
                "a head that serves it"
            )
        self.is_pyramid = len(strides) > 1
        last = strides[output_stride]
        self.indices = sorted(strides.values()) if self.is_pyramid else [len(levels) // 3, last]
        self.side_step = output_stride
        channels = tuple(levels[index][1] for index in self.indices)
        self.describe(
            name,
            output_stride,
            low_level_channels=channels[0],
            channels=channels[-1],
            pyramid_channels=channels if self.is_pyramid else (),
            low_level_stride=levels[self.indices[0]][0],
        )

    def extract(self, images: Tensor) -> Features:
        """(B, 3, H, W) images → `Features`.

        Raises:
            ValueError: timm builds this network for one size of images alone.
        """
        try:
            levels = self.model.forward_intermediates(  # type: ignore[operator]
                images, indices=self.indices, norm=True, output_fmt="NCHW", intermediates_only=True
            )
        except AssertionError as error:
            raise ValueError(
                f"{self.name}: takes no images of {images.shape[-2]}×{images.shape[-1]} pixels "
                f"({error}); choose a network of timm's that takes any"
            ) from error
        return Features(levels[0], levels[-1], tuple(levels) if self.is_pyramid else ())

    def imagenet_state(self) -> dict[str, Any]:
        """The weights that timm has for this name, of ImageNet or whatever the name says.

        Raises:
            ValueError: there are none, or they cannot be fetched.
        """
        try:
            return _prefixed(_build(self.name, pretrained=True).state_dict())
        except (OSError, RuntimeError) as error:
            raise ValueError(
                f"the weights of {self.name} could not be fetched ({error}); give the path of a "
                "file instead of 'imagenet', or 'none'"
            ) from error

    def file_state(self, path: Path) -> dict[str, Any]:
        """The weights in a file, which names them as timm does or as this backbone."""
        state = super().file_state(path)
        own = self.state_dict().keys()
        return state if own <= state.keys() else _prefixed(state)


def _prefixed(state: dict[str, Any]) -> dict[str, Any]:
    return {f"model.{name}": value for name, value in state.items()}


def _build(name: str, *, pretrained: bool = False) -> nn.Module:
    """A network of timm's without its classifier, for images of any size where there is such."""
    try:
        timm = importlib.import_module("timm")
    except ImportError as error:
        raise ValueError(f"backbone {name}: timm is not installed here; {INSTALL}") from error
    short = name.removeprefix(TIMM)
    wanted = torch.get_default_device()
    try:
        # On the CPU: some of timm's read numbers while they are built, which "meta" has none of.
        with torch.device("cpu"):
            network = timm.create_model(short, pretrained=False, num_classes=0)
            known = inspect.signature(type(network).__init__).parameters
            options = {key: value for key, value in ANY_SIZE.items() if key in known}
            if options or pretrained:
                network = timm.create_model(short, pretrained=pretrained, num_classes=0, **options)
    except RuntimeError as error:
        if "Unknown model" not in str(error):
            raise
        raise ValueError(
            f"backbone {name}: timm knows no such network; timm.list_models() names them"
        ) from error
    if not hasattr(network, "forward_intermediates") or not hasattr(network, "feature_info"):
        raise ValueError(
            f"backbone {name}: timm {timm.__version__} gives neither feature maps nor patch tokens "
            "of it; choose another network"
        )
    return network.to(wanted)
