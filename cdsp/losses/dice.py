"""Dice on labels with unlabelled pixels, as nnU-Net trains on strokes (Gotkowski et al., 2025)."""

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


class LabelDice(LossTerm):
    """Dice with the labels that the term reads."""

    def forward(self, step: Step) -> Sum:
        """Summed over the object classes that are labelled in the batch."""
        return labelled_dice(step.output.logits, step.maps[self.reads[0]])


@loss_term("scribble_dice", reads=("scribble",))
class ScribbleDice(LabelDice):
    """Dice on scribble pixels, beside the cross-entropy on them; published with a weight of 1."""


@loss_term("pseudo_label_dice", reads=("pseudo_label",))
class PseudoLabelDice(LabelDice):
    """Dice on the pseudo-label: every class of a batch counts alike, however small its objects."""


@loss_term("mask_dice", reads=("mask",))
class MaskDice(LabelDice):
    """Dice on the true mask, what `pseudo_label_dice` is measured against."""
