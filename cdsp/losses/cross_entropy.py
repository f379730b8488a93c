"""Cross-entropy on scribbles (Eq. 8), pseudo-labels (Eq. 9) and full masks."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as functional
from torch import Tensor

from cdsp.io.files import IGNORE
from cdsp.losses import LossTerm, Step, Sum, TermOptions, loss_term
from cdsp.settings import setting


def labelled_cross_entropy(
    log_probability: Tensor, label: Tensor, label_smoothing: float = 0.0
) -> Sum:
    """Cross-entropy, summed over the labelled pixels and counting them.

    Args:
        log_probability: (B, K, H, W), ln p.
        label: (B, H, W) uint8, 255 where unlabelled.
        label_smoothing: ε: the target is (1 − ε) on the label and ε/K on every class.
    """
    total = functional.nll_loss(log_probability, label.long(), ignore_index=IGNORE, reduction="sum")
    labelled = label != IGNORE
    if label_smoothing > 0:
        every = -(log_probability.sum(dim=1).masked_fill(~labelled, 0)).sum()
        total = (1 - label_smoothing) * total + label_smoothing / log_probability.shape[1] * every
    return Sum(total, labelled.sum())


@loss_term("scribble", reads=("scribble",))
class ScribbleCrossEntropy(LossTerm):
    """Eq. 8, L_segs: cross-entropy on scribble pixels, background scribbles included."""

    def forward(self, step: Step) -> Sum:
        """Summed over scribble pixels."""
        return labelled_cross_entropy(step.log_probability, step.maps["scribble"])


@loss_term("pseudo_label", reads=("pseudo_label",))
class PseudoLabelCrossEntropy(LossTerm):
    """Eq. 9, L_segc: cross-entropy with label smoothing on the pseudo-label."""

    @dataclass(frozen=True)
    class Options(TermOptions):
        """Options of L_segc."""

        label_smoothing: float = setting(0.1, "ε of Eq. 9", minimum=0, maximum=1)

    options: Options

    def forward(self, step: Step) -> Sum:
        """Summed over pseudo-labelled pixels."""
        return labelled_cross_entropy(
            step.log_probability, step.maps["pseudo_label"], self.options.label_smoothing
        )


@loss_term("mask", reads=("mask",))
class MaskCrossEntropy(LossTerm):
    """Full supervision: cross-entropy on the true mask, what scribbles are measured against."""

    def forward(self, step: Step) -> Sum:
        """Summed over pixels that are not void."""
        return labelled_cross_entropy(step.log_probability, step.maps["mask"])
