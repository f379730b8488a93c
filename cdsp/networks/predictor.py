"""Predictions of a network for one image: multi-scale, sliding window, averaged probabilities."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from cdsp.evaluation.settings import EvaluationSettings
from cdsp.io.pixels import resize
from cdsp.networks.heads import SegmentationNetwork
from cdsp.training.augmentation import normalise
from cdsp.working_size import photograph_at_working_size

WINDOWS_PER_BATCH = 4


def window_positions(length: int, window: int, stride: int) -> list[int]:
    """Starts of the windows that cover ``length`` pixels; the last one ends at the end."""
    last = max(length - window, 0)
    return [*range(0, last, stride), last]


def predict_probabilities(
    network: SegmentationNetwork,
    image: np.ndarray,
    settings: EvaluationSettings,
    device: torch.device,
    *,
    working_size: int = 0,
) -> Tensor:
    """Class probabilities of an image, averaged over windows and then over scales.

    Args:
        network: in evaluation mode, on ``device``. Where whole images are predicted, they are
            padded to the sides at which its features and pixels align.
        image: (H, W, C), 0 to 255, as the network was trained on.
        settings: the protocol.
        device: where to compute.
        working_size: longer side to which the image is brought before anything else, as for
            training, where the protocol names no ``long_side``, pixels; 0 = as it is.

    Returns:
        (K, H, W) float32 on ``device``, sums to 1 over K.
    """
    height, width = image.shape[:2]
    if not settings.long_side:
        image = photograph_at_working_size(image, working_size)
    long_side = settings.long_side or max(image.shape[:2])
    total: Tensor | None = None
    for scale in settings.scales:
        factor = long_side * scale / max(height, width)
        size = max(1, round(width * factor)), max(1, round(height * factor))
        scaled = normalise(resize(image, size, cv2.INTER_LINEAR), network.backbone.pixels)
        for flipped in (False, True) if settings.flip else (False,):
            view = scaled[..., ::-1].copy() if flipped else scaled
            probability = _predict_one_scale(network, torch.from_numpy(view).to(device), settings)
            if flipped:
                probability = probability.flip(-1)
            probability = network.backbone.resize(probability[None], (height, width))[0]
            total = probability if total is None else total + probability
    assert total is not None
    return total / total.sum(dim=0, keepdim=True)


@torch.inference_mode()
def _predict_one_scale(
    network: SegmentationNetwork, image: Tensor, settings: EvaluationSettings
) -> Tensor:
    """(3, H, W) normalised image → (K, H, W) probabilities, averaged over windows."""
    height, width = image.shape[-2:]
    if settings.window == 0:
        padded_size = tuple(network.backbone.valid_side(side) for side in (height, width))
        return _softmax(network, _pad(image, padded_size)[None])[0, :, :height, :width]

    window = settings.window
    padded = _pad(image, (max(height, window), max(width, window)))
    total, count = None, torch.zeros(padded.shape[-2:], device=image.device)
    for batch in _batches(padded, window, settings.stride):
        views = torch.stack([padded[:, y : y + window, x : x + window] for y, x in batch])
        probability = _softmax(network, views)
        if total is None:
            total = probability.new_zeros(probability.shape[1], *padded.shape[-2:])
        for (y, x), part in zip(batch, probability, strict=True):
            total[:, y : y + window, x : x + window] += part
            count[y : y + window, x : x + window] += 1
    assert total is not None
    return (total / count)[:, :height, :width]


def _batches(image: Tensor, window: int, stride: int) -> Iterator[list[tuple[int, int]]]:
    rows, columns = (window_positions(side, window, stride) for side in image.shape[-2:])
    corners = [(y, x) for y in rows for x in columns]
    for start in range(0, len(corners), WINDOWS_PER_BATCH):
        yield corners[start : start + WINDOWS_PER_BATCH]


def _softmax(network: SegmentationNetwork, images: Tensor) -> Tensor:
    images = images.contiguous(memory_format=torch.channels_last)
    logits = network(images).logits.float()
    if not logits.sum().isfinite():  # as none is where one of them is not; far faster than each
        raise ValueError("the network's output is not finite: its weights are of no use")
    return logits.softmax(dim=1)


def _pad(image: Tensor, size: tuple[int, ...]) -> Tensor:
    """Pad (3, H, W) below and to the right with 0, the mean colour after normalisation."""
    bottom, right = size[0] - image.shape[-2], size[1] - image.shape[-1]
    return nn.functional.pad(image, (0, right, 0, bottom))
