"""Images, labels and predictions on a coarser grid of pixels, and pairs of neighbours on it.

What terms with a pairwise part share. The points of the grid are pixels of the image, the corners
among them: on sides of s·k+1 pixels, every s-th one, where a network of output stride s has its
own logits before they are upsampled.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from cdsp.losses import Step, at_least_float32
from cdsp.losses.lorm import subsample
from cdsp.training.augmentation import IMAGENET_MEAN, IMAGENET_STD


def grid_size(image: Tensor, stride: int) -> tuple[int, int]:
    """The points of a grid on (..., H, W): ceil(H / stride), ceil(W / stride)."""
    height, width = image.shape[-2:]
    return -(-height // stride), -(-width // stride)


def probabilities(step: Step, size: Sequence[int]) -> Tensor:
    """The network's softmax at the points of a grid: (B, K, h, w), float32 at least."""
    return at_least_float32(subsample(step.output.logits, size)).softmax(dim=1)


def mean_colours(image: Tensor, valid: Tensor, size: Sequence[int]) -> Tensor:
    """The normalised colours around the points of a grid.

    The mean over the square between a point and its neighbours, pixels of the image only.

    Args:
        image: (B, 3, H, W), normalised.
        valid: (B, H, W), 0 where augmentation padded.
        size: of the grid.

    Returns:
        (B, 3, h, w); 0, the mean colour, where there is nothing but padding.
    """
    stride = max(-(-full // small) for full, small in zip(image.shape[-2:], size, strict=True))
    inside = (valid != 0)[:, None].to(image.dtype)
    reach = stride // 2
    sums = nn.functional.avg_pool2d(
        torch.cat([image * inside, inside], dim=1), 2 * reach + 1, stride=1, padding=reach
    )
    sums = subsample(sums, size)
    colour, weight = sums[:, :-1], sums[:, -1:]
    return colour / torch.where(weight == 0, 1, weight)


def rgb(colour: Tensor) -> Tensor:
    """Normalised (B, 3, ...) colours as red, green and blue from 0 to 1."""
    shape = (3, *[1] * (colour.ndim - 2))
    mean, std = (colour.new_tensor(v).view(shape) for v in (IMAGENET_MEAN, IMAGENET_STD))
    return colour * std + mean


def neighbours(x: Tensor, down: int, right: int) -> tuple[Tensor, Tensor]:
    """All pairs of points that lie a step apart: (..., H, W) → two views of equal shape.

    Args:
        x: values on a grid.
        down: rows from the first of a pair to the second, 0 or more.
        right: columns, of either sign.
    """
    height, width = (max(0, s - abs(d)) for s, d in zip(x.shape[-2:], (down, right), strict=True))
    left = max(0, -right)
    first = x[..., :height, left : left + width]
    second = x[..., down : down + height, left + right : left + right + width]
    return first, second
