"""Consistency between what is predicted twice: the common part of PSI and CCL.

Two augmentations of an image (PSI, Xu et al., ICCV 2021) say the same of a pixel; the regions that
are predicted say of the strokes what the strokes say (cycles: CCL, 2022). Neither is any of these
methods in full.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from cdsp.io.files import IGNORE
from cdsp.losses import LossTerm, Step, Sum, TermOptions, at_least_float32, loss_term
from cdsp.losses.agmm import one_hot
from cdsp.losses.grid import probabilities
from cdsp.losses.lorm import subsample
from cdsp.losses.views import align
from cdsp.settings import setting


@loss_term("consistency", reads=("valid",))
class Consistency(LossTerm):
    """Squared difference between the softmax of two augmentations at the same place."""

    views = 2

    def forward(self, step: Step) -> Sum:
        """Summed over the pixels that both views show."""
        first, second = (at_least_float32(output.logits).softmax(dim=1) for output in step.outputs)
        moved, seen = align(second, step.views[1], step.views[0])
        difference = (first - moved).square().sum(dim=1)
        return Sum((difference * seen).sum(), seen.sum())


@loss_term("cycle", reads=("scribble", "valid"))
class Cycle(LossTerm):
    """Strokes are classified by the mean features of the regions that the network predicts.

    μ_k is the mean of the decoder's feature over the pixels without a stroke, weighed by p_k; a
    stroke's feature f has the cross-entropy of softmax_k(cos(f, μ_k) / temperature), over the
    classes that have strokes in its image.
    """

    @dataclass(frozen=True)
    class Options(TermOptions):
        """Options of the cycle."""

        temperature: float = setting(0.1, "of the softmax over the classes", minimum=1e-3)

    options: Options

    def forward(self, step: Step) -> Sum:
        """Summed over the strokes' points in images of at least two classes."""
        feature = at_least_float32(step.output.features["decoder"])
        size = feature.shape[-2:]
        probability = probabilities(step, size)
        label = subsample(step.maps["scribble"], size)
        valid = subsample(step.maps["valid"], size) != 0
        strokes = one_hot(label, probability.shape[1], probability.dtype)
        present = strokes.any(dim=3).any(dim=2)  # (B, K)

        region = probability * (valid & (label == IGNORE))[:, None]
        means = torch.einsum("bkhw,bchw->bkc", region, feature)  # normalised below
        unit = nn.functional.normalize(feature, dim=1)
        similarity = torch.einsum("bkc,bchw->bkhw", nn.functional.normalize(means, dim=2), unit)
        lowest = torch.finfo(similarity.dtype).min
        logits = (similarity / self.options.temperature).masked_fill(
            ~present[..., None, None], lowest
        )
        loss = nn.functional.cross_entropy(
            logits, label.long(), ignore_index=IGNORE, reduction="none"
        )
        counted = (label != IGNORE) & (present.sum(dim=1) > 1)[:, None, None]
        return Sum((loss * counted).sum(), counted.sum())
