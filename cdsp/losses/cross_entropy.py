"""Cross-entropy on scribbles (Eq. 8), pseudo-labels (Eq. 9) and full masks."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as functional
from torch import Tensor

from cdsp.io.files import IGNORE
from cdsp.losses import LossTerm, TermOptions, at_least_float32, loss_term
from cdsp.networks.interface import NetworkOutput
from cdsp.settings import setting


def labelled_cross_entropy(logits: Tensor, label: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Cross-entropy averaged over the labelled pixels of the whole batch.

    Args:
        logits: (B, K, H, W).
        label: (B, H, W) uint8, 255 where unlabelled.
        label_smoothing: ε: the target is (1 − ε) on the label and ε/K on every class.

    Returns:
        A scalar, 0 when no pixel is labelled.
    """
    total = functional.cross_entropy(
        at_least_float32(logits),
        label.long(),
        ignore_index=IGNORE,
        label_smoothing=label_smoothing,
        reduction="sum",
    )
    return total / (label != IGNORE).sum().clamp(min=1)


@loss_term("scribble", reads=("scribble",))
class ScribbleCrossEntropy(LossTerm):
    """Eq. 8, L_segs: cross-entropy on scribble pixels, background scribbles included."""

    def forward(self, output: NetworkOutput, maps: dict[str, Tensor]) -> Tensor:
        """The mean over scribble pixels."""
        return labelled_cross_entropy(output.logits, maps["scribble"])


@loss_term("pseudo_label", reads=("pseudo_label",))
class PseudoLabelCrossEntropy(LossTerm):
    """Eq. 9, L_segc: cross-entropy with label smoothing on the pseudo-label."""

    @dataclass(frozen=True)
    class Options(TermOptions):
        """Options of L_segc."""

        label_smoothing: float = setting(0.1, "ε of Eq. 9", minimum=0, maximum=1)

    options: Options

    def forward(self, output: NetworkOutput, maps: dict[str, Tensor]) -> Tensor:
        """The mean over pseudo-labelled pixels."""
        return labelled_cross_entropy(
            output.logits, maps["pseudo_label"], self.options.label_smoothing
        )


@loss_term("mask", reads=("mask",))
class MaskCrossEntropy(LossTerm):
    """Full supervision: cross-entropy on the true mask, what scribbles are measured against."""

    def forward(self, output: NetworkOutput, maps: dict[str, Tensor]) -> Tensor:
        """The mean over pixels that are not void."""
        return labelled_cross_entropy(output.logits, maps["mask"])
