"""Backbones: networks that turn images into features.

A family of backbones is one module here: a subclass of `Backbone`, with one line for each of its
names in `cdsp.networks.settings.BACKBONES`.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn

from cdsp.io.outputs import file_digest
from cdsp.io.pixels import RGB, PixelFormat
from cdsp.networks.settings import backbone_class
from cdsp.networks.tensor_files import describe_mismatch, read_tensors, require_finite

logger = logging.getLogger(__name__)


class Features(NamedTuple):
    """What a backbone computes from (B, C, H, W) images.

    Attributes:
        low_level: (B, C, ceil(H/4), ceil(W/4)) for a convolutional backbone.
        feature: (B, C, ceil(H/s), ceil(W/s)) at output stride s; the last feature map, after its
            non-linearity: the paper's F.
        pyramid: one feature map of each size that there is, finest first, at strides 4, 8, 16 and
            32 where the output stride is 32; none from a backbone that knows a single size.
    """

    low_level: Tensor
    feature: Tensor
    pyramid: tuple[Tensor, ...] = ()


class Backbone(nn.Module):
    """Base of all backbones.

    A subclass calls `describe` in its ``__init__(name, output_stride)`` and implements `extract`
    and `imagenet_state`. Its attributes overwrite these where it differs:

    Attributes:
        output_strides: the output strides that it can be built with.
        mean: mean of each colour that it expects its images to be normalised by.
        std: standard deviation, likewise.
        align_corners: whether the outermost features lie on the outermost pixels, as those of
            strided convolutions with padding do, or half a stride inside, as those of patches.
        side_step: s of its valid sides: s·k+1 pixels with aligned corners, s·k without. A multiple
            of all its output strides up to 16, so that predictions do not depend on the stride.
        exact_sides: whether it takes valid sides only.
        other_weights: prefixes of the keys in a file of its weights that are not its own.
        name: in the configuration.
        pixels: of the images that it takes; see `take_pixels`.
        output_stride: pixels per feature of its last feature map.
        strides: pixels per feature of "low_level" and "backbone".
        channels: of "low_level" and "backbone".
        pyramid_channels: of each level of the pyramid; none where there is no pyramid.
    """

    output_strides: ClassVar[tuple[int, ...]] = (8, 16, 32)
    mean: tuple[float, ...] = RGB.mean
    std: tuple[float, ...] = RGB.std
    align_corners: bool = True
    side_step: int = 16
    exact_sides: bool = False
    other_weights: tuple[str, ...] = ()

    name: str
    pixels: PixelFormat = RGB
    output_stride: int
    strides: dict[Literal["low_level", "backbone"], int]
    channels: dict[Literal["low_level", "backbone"], int]
    pyramid_channels: tuple[int, ...]

    def describe(
        self,
        name: str,
        output_stride: int,
        *,
        low_level_channels: int,
        channels: int,
        pyramid_channels: tuple[int, ...] = (),
        low_level_stride: int = 4,
    ) -> None:
        """Set the attributes of this instance.

        Args:
            name: in the configuration.
            output_stride: pixels per feature of the last feature map.
            low_level_channels: of the early feature map.
            channels: of the last feature map.
            pyramid_channels: of each level of the pyramid.
            low_level_stride: pixels per feature of the early feature map.
        """
        self.name, self.output_stride = name, output_stride
        self.strides = {"low_level": low_level_stride, "backbone": output_stride}
        self.channels = {"low_level": low_level_channels, "backbone": channels}
        self.pyramid_channels = pyramid_channels

    def take_pixels(self, pixels: PixelFormat) -> None:
        """Make it a network for other images, before weights are loaded.

        The first convolution is replaced where they have another number of channels.
        """
        self.pixels = pixels
        if pixels.channels == RGB.channels:
            return
        name, first = next(
            (name, child) for name, child in self.named_modules() if isinstance(child, nn.Conv2d)
        )
        assert first.groups == 1
        assert not isinstance(first.padding, str)
        parent, _, last = name.rpartition(".")
        other = nn.Conv2d(
            pixels.channels,
            first.out_channels,
            first.kernel_size,  # type: ignore[arg-type]
            first.stride,  # type: ignore[arg-type]
            first.padding,  # type: ignore[arg-type]
            first.dilation,  # type: ignore[arg-type]
            bias=first.bias is not None,
        )
        setattr(self.get_submodule(parent), last, other)

    def extract(self, images: Tensor) -> Features:
        """(B, C, H, W) images, normalised by `mean` and `std` → `Features`."""
        raise NotImplementedError

    def imagenet_state(self) -> dict[str, Any]:
        """The state dict of this backbone's ImageNet weights.

        Raises:
            ValueError: there are none, or they cannot be fetched.
        """
        raise ValueError(
            f"backbone_weights 'imagenet': {self.name} has none; give a file or 'none'"
        )

    def file_state(self, path: Path) -> dict[str, Any]:
        """The state dict of this backbone that a file holds.

        Raises:
            ValueError: it is missing or unreadable.
        """
        return read_tensors(path)

    def forward(self, images: Tensor) -> Features:
        """(B, C, H, W) images, normalised by the mean and deviation of `pixels` → `Features`.

        Raises:
            ValueError: a side of the images that the backbone does not take.
        """
        for side in images.shape[-2:]:
            if self.exact_sides and self.valid_side(side) != side:
                raise ValueError(
                    f"images of {images.shape[-2]}×{images.shape[-1]} pixels: {self.name} takes "
                    f"sides of {self.side_step}k{'+1' if self.align_corners else ''}, such as "
                    f"{self.valid_side(side)}; change crop_size, or the window of the protocol"
                )
        return self.extract(self._renormalise(images))

    def _renormalise(self, images: Tensor) -> Tensor:
        """From ImageNet's mean and deviation, by which all images are normalised, to its own."""
        if (self.mean, self.std) == (Backbone.mean, Backbone.std) or self.pixels.channels != 3:
            return images
        given_mean, given_std, mean, std = (
            images.new_tensor(values)[:, None, None]
            for values in (Backbone.mean, Backbone.std, self.mean, self.std)
        )
        return (images * given_std + given_mean - mean) / std

    def valid_side(self, side: float, rounding: Callable[[float], int] = math.ceil) -> int:
        """The side, in pixels, at which features and pixels align: the next one, or a rounded one.

        Args:
            side: pixels.
            rounding: `math.ceil` for the next one, `round` for the nearest.
        """
        corner = int(self.align_corners)
        return rounding((side - corner) / self.side_step) * self.side_step + corner

    def side_hint(self, side: int) -> str:
        """What to tell of a side at which features do not lie on pixels; empty where they do.

        Args:
            side: of the images, pixels.
        """
        corner = int(self.align_corners)
        if (side - corner) % self.output_stride == 0:
            return ""
        aligned = round((side - corner) / self.output_stride) * self.output_stride + corner
        return (
            f"{side} pixels: the features of {self.name} do not lie on them; at {aligned} they do"
        )

    def resize(self, x: Tensor, size: torch.Size | tuple[int, int]) -> Tensor:
        """Bilinear resize of (B, C, h, w) features, or what is made of them, to (B, C, *size).

        At a valid side, the result at a feature's own pixel is that feature.
        """
        return nn.functional.interpolate(
            x, size=tuple(size), mode="bilinear", align_corners=self.align_corners
        )

    def load_weights(self, source: str) -> None:
        """Load weights, in place.

        Args:
            source: "none" (keep the random weights), "imagenet" (looked for in the library's own
                folder and downloaded when absent), or the path of a state dict with the keys of the
                ImageNet weights; fp16 tensors are converted.

        Raises:
            ValueError: the file is missing or unreadable, or its keys or shapes are another
                network's.
        """
        if source == "none":
            return
        state = self.imagenet_state() if source == "imagenet" else self.file_state(Path(source))
        given = {k: value for k, value in state.items() if not k.startswith(self.other_weights)}
        self._adapt_colours(given, source)
        problems = describe_mismatch(self.state_dict(), given)
        if problems:
            raise ValueError(f"{source}: not the weights of {self.name}: {problems}")
        require_finite(given, source)
        self.load_state_dict(given)

    def _adapt_colours(self, state: dict[str, Any], source: str) -> None:
        """Turn weights for three colours into weights for this backbone's channels, in place.

        Each channel gets the mean over the colours, times 3 ÷ channels, so that an image whose
        channels are equal is answered as a grey photograph is.
        """
        number = self.pixels.channels
        for name, own in self.state_dict().items():
            given = state.get(name)
            if number == RGB.channels or given is None or own.ndim != 4:
                continue
            if (own.shape[1], given.shape[1:2]) == (number, (RGB.channels,)):
                mean = given.float().mean(dim=1, keepdim=True)
                state[name] = mean.repeat(1, number, 1, 1) * (RGB.channels / number)
                logger.warning(
                    "%s: its weights for 3 colours become weights for %d channels, by their mean",
                    source,
                    number,
                )


def weights_content(source: str) -> dict[str, str]:
    """What a training that starts from a file of weights depends on, besides its name.

    Args:
        source: see `Backbone.load_weights`.

    Returns:
        "backbone_content" → digest of the file; nothing for weights that are no file.
    """
    if source in ("none", "imagenet"):
        return {}
    return {"backbone_content": file_digest(Path(source))}


def build_backbone(name: str, output_stride: int, pixels: PixelFormat = RGB) -> Backbone:
    """A backbone with random weights.

    Args:
        name: one of `BACKBONES`, or "timm/" and the name of a network of timm's.
        output_stride: one that the backbone has.
        pixels: of the images.

    Raises:
        ValueError: an unknown name, or an output stride that the backbone does not have.
    """
    kind = backbone_class(name)
    if output_stride not in kind.output_strides:
        expected = ", ".join(map(str, kind.output_strides))
        raise ValueError(
            f"output_stride {output_stride}: {name} has {expected}; set output_stride to one of "
            "them, with a head that serves it"
        )
    backbone = kind(name, output_stride)
    backbone.take_pixels(pixels)
    return backbone
