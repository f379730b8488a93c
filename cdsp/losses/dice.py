"""Dice on the strokes, as nnU-Net trains with unlabelled pixels (Gotkowski et al., MICCAI 2025)."""

from __future__ import annotations

import torch
from torch import Tensor

from cdsp.io.files import IGNORE
from cdsp.losses import LossTerm, Step, Sum, at_least_float32, loss_term


def labelled_dice(logits: Tensor, label: Tensor) -> Sum:
    """Σ_k 1 − 2 Σ p_k y_k / (Σ p_k + Σ y_k), sums over the labelled pixels of the whole batch.

    Over the object classes that have a label: of the others the loss is 1 whatever is predicted,
    and the background's is left out, as in nnU-Net.

    Args:
        logits: (B, K, H, W).
        label: (B, H, W) uint8, 255 where unlabelled.

    Returns:
        The sum over those classes, and their number.
    """
    labelled = label != IGNORE
    probability = at_least_float32(logits).softmax(dim=1).movedim(1, -1)[labelled]  # (N, K)
    truth = torch.zeros_like(probability)
    truth.scatter_(1, label[labelled].long()[:, None], 1)
    overlap, sizes = (probability * truth).sum(dim=0), (probability + truth).sum(dim=0)
    counted = truth.any(dim=0)
    counted[0] = False
    dice = 2 * overlap / torch.where(counted, sizes, 1)
    return Sum(((1 - dice) * counted).sum(), counted.sum())


@loss_term("scribble_dice", reads=("scribble",))
class ScribbleDice(LossTerm):
    """Dice on scribble pixels, beside the cross-entropy on them; published with a weight of 1."""

    def forward(self, step: Step) -> Sum:
        """Summed over the object classes that have strokes in the batch."""
        return labelled_dice(step.output.logits, step.maps["scribble"])
