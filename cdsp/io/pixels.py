"""What the pixels of photographs are: channels, depth, and how they become a network's input.

Common photographs are 8-bit RGB, whatever their file holds. All others, such as 16-bit microscopy
or five bands of a satellite, keep their channels; their values are stretched so that 0 is black and
255 is white, without rounding, and all that follows takes them as it takes colours.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from cdsp.settings import setting

Depth = Literal["uint8", "uint16", "float32"]


@dataclass(frozen=True)
class PixelFormat:
    """The pixels of a data set's photographs; a network keeps that of its training images.

    Attributes:
        low, high: value of each channel that becomes 0 and 255; empty: 8 bits stay as they are.
        mean, std: of each channel, where 255 is 1; a network's input is (value − mean) / std.
    """

    channels: int = setting(3, "of a photograph", minimum=1)
    depth: Depth = setting("uint8", "of a value")
    page: int = setting(0, "of a TIFF with several, from 0", minimum=0)
    low: tuple[float, ...] = setting((), "value of each channel that becomes 0")
    high: tuple[float, ...] = setting((), "value of each channel that becomes 255")
    mean: tuple[float, ...] = setting((0.485, 0.456, 0.406), "of each channel, 255 = 1")
    std: tuple[float, ...] = setting((0.229, 0.224, 0.225), "of each channel, 255 = 1")

    def __post_init__(self) -> None:
        """Check that each channel has its values.

        Raises:
            ValueError: it has not.
        """
        ends = 0 if self.depth == "uint8" else self.channels
        lengths = [len(values) for values in (self.low, self.high, self.mean, self.std)]
        if lengths != [ends, ends, self.channels, self.channels]:
            raise ValueError(
                f"{self.channels} channels of {self.depth} with {lengths} values of low, high, "
                "mean and std"
            )

    def __str__(self) -> str:
        """What a message calls it."""
        if self.is_common:
            return "8-bit RGB"
        page = f", page {self.page}" if self.page else ""
        return f"{describe_pixels(self.channels, self.depth)}{page}"

    @property
    def kind(self) -> tuple[int, Depth]:
        """Channels and depth: what a network cannot do without."""
        return self.channels, self.depth

    @property
    def is_common(self) -> bool:
        """Whether photographs are read as 8-bit RGB, whatever their files hold."""
        return (self.channels, self.depth, self.page) == (3, "uint8", 0)

    def stretched(self, values: np.ndarray, path: Path) -> np.ndarray:
        """(H, W, C) as a file holds them → the same as uint8, or as float32 from 0 to 255.

        Raises:
            ValueError: a value is NaN or infinite; ``path`` is named.
        """
        if self.depth == "uint8":
            return values
        values = values.astype(np.float32)
        require_finite(values, path)
        low, high = (np.array(ends, np.float32) for ends in (self.low, self.high))
        return ((values - low) * (255 / (high - low))).clip(0, 255)


RGB = PixelFormat()
"""Common photographs, normalised by ImageNet's mean and deviation."""


def describe_pixels(channels: int, depth: str) -> str:
    """What a message calls pixels: ``5 channels of uint16``."""
    return f"{channels} channel{'s' if channels > 1 else ''} of {depth}"


def require_finite(values: np.ndarray, path: Path) -> None:
    """Check that no value is NaN or infinite.

    Raises:
        ValueError: some are; ``path`` is named.
    """
    wrong = values.size - np.count_nonzero(np.isfinite(values))
    if wrong:
        raise ValueError(
            f"{path}: {wrong} values are NaN or infinite; write a number instead, such as the "
            "channel's lowest"
        )


def measure_format(
    channels: int, depth: Depth, page: int, samples: np.ndarray, percentiles: tuple[float, float]
) -> PixelFormat:
    """The format by which photographs are stretched and normalised.

    Three channels are taken for colours, whose mean and deviation are those of ImageNet, by which
    networks are pretrained; of any other number they are measured.

    Args:
        channels: of a photograph.
        depth: of a value.
        page: of the files.
        samples: (N, channels), values of some pixels of the training images.
        percentiles: of the values that become 0 and 255.
    """
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    scaled = samples.astype(np.float64) / 255
    if depth != "uint8":
        lowest, highest = np.percentile(samples.astype(np.float64), percentiles, axis=0)
        highest = np.where(highest > lowest, highest, lowest + 1)  # a channel of one value
        low, high = tuple(lowest.tolist()), tuple(highest.tolist())
        scaled = ((samples - lowest) / (highest - lowest)).clip(0, 1)
    mean, std = RGB.mean, RGB.std
    if channels != 3:
        deviation = scaled.std(axis=0)
        mean = tuple(scaled.mean(axis=0).tolist())
        std = tuple(np.where(deviation > 0, deviation, 1.0).tolist())
    return PixelFormat(channels, depth, page, low, high, mean, std)


def as_picture(image: np.ndarray) -> np.ndarray:
    """(H, W, C) from 0 to 255 → (H, W, 3) uint8 to look at.

    One channel becomes grey; of three and more, the first three are red, green and blue; of two,
    there is no blue.
    """
    channels = image.shape[2]
    if channels == 1:
        image = np.repeat(image, 3, axis=2)
    elif channels == 2:
        image = np.concatenate([image, np.zeros_like(image[..., :1])], axis=2)
    picture = image[..., :3]
    return picture if picture.dtype == np.uint8 else np.rint(picture).astype(np.uint8)


def resize(image: np.ndarray, size: Sequence[int], interpolation: int) -> np.ndarray:
    """OpenCV's resize to (width, height), of (H, W, C) with any number of channels."""
    return in_fours(image, lambda part, _: cv2.resize(part, size, interpolation=interpolation))


def in_fours(image: np.ndarray, change: Callable[[np.ndarray, slice], np.ndarray]) -> np.ndarray:
    """Apply a function of OpenCV, which knows four channels at most, to (H, W, C) of any number.

    Args:
        image: (H, W, C).
        change: takes some channels of the image and which they are.
    """
    number = image.shape[2]
    groups = [slice(first, min(first + 4, number)) for first in range(0, number, 4)]
    parts = [change(image[..., channels], channels) for channels in groups]
    # OpenCV drops a single channel's axis.
    parts = [part[..., None] if part.ndim == 2 else part for part in parts]
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=2)
