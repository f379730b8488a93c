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


class Mixture(NamedTuple):
    """The Gaussians of the classes in each image.

    Attributes:
        means: (B, K, C), μ; 0 for a class without a stroke.
        present: (B, K) bool, whether the class has a stroke.
        gaussian: (B, K, h, w), G = exp(−d²), d the channels' mean of |f − μ|.
    """

    means: Tensor
    present: Tensor
    gaussian: Tensor


def one_hot(label: Tensor, num_classes: int, dtype: torch.dtype) -> Tensor:
    """(B, h, w) uint8 labels as (B, K, h, w) of 0 and 1; all 0 where unlabelled."""
    known = label != IGNORE
    hot = torch.zeros(len(label), num_classes, *label.shape[1:], dtype=dtype, device=label.device)
    hot.scatter_(1, torch.where(known, label, 0).long()[:, None], 1)
    return hot * known[:, None]


def mixture(feature: Tensor, strokes: Tensor) -> Mixture:
    """The Gaussians around the strokes.

    Args:
        feature: (B, C, h, w).
        strokes: (B, K, h, w), one-hot.
    """
    counts = strokes.sum(dim=(2, 3))  # (B, K)
    means = torch.einsum("bkhw,bchw->bkc", strokes, feature) / counts.clamp_min(1)[..., None]
    # One class after the other: (B, K, C, h, w) would be as large as K features.
    distances = [
        (feature - mean[:, :, None, None]).abs().mean(dim=1) for mean in means.unbind(dim=1)
    ]
    return Mixture(means, counts > 0, (-torch.stack(distances, dim=1).square()).exp())


def binary_cross_entropy(predicted: Tensor, wanted: Tensor) -> Tensor:
    """−w ln p − (1 − w) ln(1 − p), each from 0 to 1; both sides get gradients."""
    predicted = predicted.clamp(_SMALLEST, 1 - _SMALLEST)
    return -(wanted * predicted.log() + (1 - wanted) * (1 - predicted).log())


class _MixtureTerm(LossTerm):
    """What the terms share: the feature, the strokes at its size and the Gaussians."""

    def look(self, step: Step) -> tuple[Mixture, Tensor, Tensor, Tensor]:
        """The mixture, p (B, K, h, w), one-hot strokes (B, K, h, w) and valid (B, 1, h, w)."""
        feature = at_least_float32(step.output.features["decoder"])
        probability = probabilities(step, feature.shape[-2:])
        label = subsample(step.maps["scribble"], feature.shape[-2:])
        strokes = one_hot(label, probability.shape[1], probability.dtype)
        valid = subsample(step.maps["valid"], feature.shape[-2:])[:, None] != 0
        return mixture(feature, strokes), probability, strokes, valid


@loss_term("agmm_soft", reads=("scribble", "valid"))
class AgmmSoft(_MixtureTerm):
    """Cross-entropy of the prediction with the Gaussians; published with a weight of 1/2."""

    def forward(self, step: Step) -> Sum:
        """Summed over the points of the image, for each class that has strokes in it."""
        mixed, probability, _, valid = self.look(step)
        counted = valid & mixed.present[..., None, None]
        loss = binary_cross_entropy(probability, mixed.gaussian)
        return Sum((loss * counted).sum(), counted.sum())


@loss_term("agmm_gaussian", reads=("scribble", "valid"))
class AgmmGaussian(_MixtureTerm):
    """Cross-entropy of the Gaussians with the strokes; published with a weight of 1/2."""

    def forward(self, step: Step) -> Sum:
        """Summed over the strokes' points, for each class that has strokes in the image."""
        mixed, _, strokes, _ = self.look(step)
        counted = strokes.any(dim=1, keepdim=True) & mixed.present[..., None, None]
        loss = binary_cross_entropy(mixed.gaussian, strokes)
        return Sum((loss * counted).sum(), counted.sum())


@loss_term("agmm_contrast", reads=("scribble", "valid"))
class AgmmContrast(_MixtureTerm):
    """exp(−d²) between the means of the classes, which keeps them apart; weight 1."""

    def forward(self, step: Step) -> Sum:
        """Summed over pairs of classes that have strokes in the batch, means summed over images."""
        mixed, *_ = self.look(step)
        means = mixed.means.sum(dim=0)[mixed.present.any(dim=0)]  # (classes, C)
        first, second = torch.triu_indices(len(means), len(means), 1, device=means.device)
        distance = (means[first] - means[second]).abs().mean(dim=1)
        closeness = (-distance.square()).exp().sum() + means.flatten()[:0].sum()
        return Sum(closeness, distance.new_tensor(len(first)))


@loss_term("agmm_absent", reads=("scribble", "valid"))
class AgmmAbsent(_MixtureTerm):
    """−Σ_k ln(1 − p_k) over the classes without a stroke in the crop; weight 1."""

    def forward(self, step: Step) -> Sum:
        """Summed over the points of the images that have strokes."""
        _, probability, _, valid = self.look(step)
        label = step.maps["scribble"]
        present = one_hot(label, probability.shape[1], torch.bool).any(dim=(2, 3))  # (B, K)
        absent = ~present & present.any(dim=1, keepdim=True)
        loss = -(1 - probability).clamp_min(_SMALLEST).log()
        counted = valid & present.any(dim=1)[:, None, None, None]
        return Sum((loss * (valid & absent[..., None, None])).sum(), counted.sum())
