"""Adaptive Gaussian mixture model (Wu et al., CVPR 2023): four terms on the decoder's feature.

In each image, a class is a Gaussian around the mean feature of its strokes; prediction and Gaussian
teach each other. Nothing is detached. At the size of the decoder's feature.

Shapes: B images, K classes, C channels, (h, w) points.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from cdsp.io.files import IGNORE
from cdsp.losses import LossTerm, Step, Sum, at_least_float32, loss_term
from cdsp.losses.grid import probabilities
from cdsp.losses.lorm import subsample

_SMALLEST = 1e-6


def one_hot(label: Tensor, num_classes: int, dtype: torch.dtype) -> Tensor:
    """(B, h, w) uint8 labels as (B, K, h, w) of 0 and 1; all 0 where unlabelled."""
    known = label != IGNORE
    hot = torch.zeros(len(label), num_classes, *label.shape[1:], dtype=dtype, device=label.device)
    hot.scatter_(1, torch.where(known, label, 0).long()[:, None], 1)
    return hot * known[:, None]


def class_means(feature: Tensor, strokes: Tensor) -> tuple[Tensor, Tensor]:
    """The mean feature of each class's strokes in each image.

    Args:
        feature: (B, C, h, w).
        strokes: (B, K, h, w), one-hot.

    Returns:
        (B, K, C), μ, 0 for a class without a stroke; and (B, K) bool, whether it has one.
    """
    counts = strokes.sum(dim=(2, 3))  # (B, K)
    sums = torch.einsum("bkhw,bchw->bkc", strokes, feature)
    return sums / counts.clamp_min(1)[..., None], counts > 0


def gaussians(feature: Tensor, means: Tensor, present: Tensor) -> Tensor:
    """G = exp(−d²), d the channels' mean of |f − μ|: (B, K, h, w), 0 for classes not present."""
    size = feature.shape[-2:]
    found = feature.new_zeros(*present.shape, *size)
    images, classes = present.nonzero(as_tuple=True)
    if not len(images):
        return found + feature.flatten()[:0].sum()  # all 0, with a gradient of 0
    # One after the other: together they would take a feature's memory for each class.
    distances = [
        (feature[image] - means[image, class_id][:, None, None]).abs().mean(dim=0)
        for image, class_id in zip(images.tolist(), classes.tolist(), strict=True)
    ]
    return found.index_put((images, classes), (-torch.stack(distances).square()).exp())


def binary_cross_entropy(predicted: Tensor, wanted: Tensor) -> Tensor:
    """−w ln p − (1 − w) ln(1 − p), each from 0 to 1; both sides get gradients."""
    predicted = predicted.clamp(_SMALLEST, 1 - _SMALLEST)
    return -(wanted * predicted.log() + (1 - wanted) * (1 - predicted).log())


class _Look(NamedTuple):
    """What the terms see, at the size of the decoder's feature.

    Attributes:
        feature: (B, C, h, w).
        probability: (B, K, h, w), p.
        strokes: (B, K, h, w), one-hot.
        valid: (B, 1, h, w) bool.
    """

    feature: Tensor
    probability: Tensor
    strokes: Tensor
    valid: Tensor


def _look(step: Step) -> _Look:
    feature = at_least_float32(step.output.features["decoder"])
    size = feature.shape[-2:]
    probability = probabilities(step, size)
    label = subsample(step.maps["scribble"], size)
    strokes = one_hot(label, probability.shape[1], probability.dtype)
    return _Look(feature, probability, strokes, subsample(step.maps["valid"], size)[:, None] != 0)


@loss_term("agmm_soft", reads=("scribble", "valid"))
class AgmmSoft(LossTerm):
    """Cross-entropy of the prediction with the Gaussians; published with a weight of 1/2."""

    def forward(self, step: Step) -> Sum:
        """Summed over the points of the image, for each class that has strokes in it."""
        look = _look(step)
        means, present = class_means(look.feature, look.strokes)
        counted = look.valid & present[..., None, None]
        wanted = gaussians(look.feature, means, present)
        loss = binary_cross_entropy(look.probability, wanted)
        return Sum((loss * counted).sum(), counted.sum())


@loss_term("agmm_gaussian", reads=("scribble", "valid"))
class AgmmGaussian(LossTerm):
    """Cross-entropy of the Gaussians with the strokes; published with a weight of 1/2."""

    def forward(self, step: Step) -> Sum:
        """Summed over the strokes' points, for each class that has strokes in the image."""
        look = _look(step)
        means, present = class_means(look.feature, look.strokes)
        counted = look.strokes.any(dim=1, keepdim=True) & present[..., None, None]
        predicted = gaussians(look.feature, means, present)
        loss = binary_cross_entropy(predicted, look.strokes)
        return Sum((loss * counted).sum(), counted.sum())


@loss_term("agmm_contrast", reads=("scribble", "valid"))
class AgmmContrast(LossTerm):
    """exp(−d²) between the means of the classes, which keeps them apart; weight 1."""

    def forward(self, step: Step) -> Sum:
        """Summed over pairs of classes that have strokes in the batch, means summed over images."""
        look = _look(step)
        means, present = class_means(look.feature, look.strokes)
        of_batch = means.sum(dim=0)[present.any(dim=0)]  # (classes, C)
        first, second = torch.triu_indices(len(of_batch), len(of_batch), 1, device=means.device)
        distance = (of_batch[first] - of_batch[second]).abs().mean(dim=1)
        closeness = (-distance.square()).exp().sum() + means.flatten()[:0].sum()
        return Sum(closeness, distance.new_tensor(len(first)))


@loss_term("agmm_absent", reads=("scribble", "valid"))
class AgmmAbsent(LossTerm):
    """−Σ_k ln(1 − p_k) over the classes without a stroke in the crop; weight 1."""

    def forward(self, step: Step) -> Sum:
        """Summed over the points of the images that have strokes."""
        _, probability, _, valid = _look(step)
        label = step.maps["scribble"]
        present = one_hot(label, probability.shape[1], torch.bool).any(dim=(2, 3))  # (B, K)
        absent = ~present & present.any(dim=1, keepdim=True)
        loss = -(1 - probability).clamp_min(_SMALLEST).log()
        counted = valid & present.any(dim=1)[:, None, None, None]
        return Sum((loss * (valid & absent[..., None, None])).sum(), counted.sum())
