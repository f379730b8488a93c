"""Soft self-labelling (Zhang and Boykov, CVPR 2025, arXiv 2507.01721)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cdsp.io.files import IGNORE
from cdsp.losses import LossTerm, Step, Sum, TermOptions, at_least_float32, loss_term, nothing
from cdsp.losses.grid import grid_size, mean_colours, neighbours
from cdsp.losses.lorm import subsample
from cdsp.settings import setting

STEPS = ((0, 1), (1, 0))
"""From a point to its next ones: right and down."""

_SMALLEST = 1e-12


def contrast_weights(colour: Tensor, valid: Tensor) -> list[Tensor]:
    """exp(−|Δ|² / 2β) of nearest neighbours, β the image's mean of |Δ|²; 0 in padding.

    Args:
        colour: (B, 3, H, W).
        valid: (B, H, W) bool.

    Returns:
        (B, H, W − 1) of the neighbours in a row, (B, H − 1, W) of those in a column.
    """
    inside = [torch.logical_and(*neighbours(valid, *step)).to(colour.dtype) for step in STEPS]
    pairs = (neighbours(colour, *step) for step in STEPS)
    squared = [(one - other).square().sum(dim=1) for one, other in pairs]
    total, count = (
        sum(x.flatten(1).sum(dim=1) for x in parts)
        for parts in ([d * i for d, i in zip(squared, inside, strict=True)], inside)
    )
    assert isinstance(total, Tensor)
    assert isinstance(count, Tensor)
    beta = (total / count.clamp_min(1)).clamp_min(_SMALLEST)[:, None, None]
    return [
        (-distance / (2 * beta)).exp() * both
        for distance, both in zip(squared, inside, strict=True)
    ]


def energy(
    log_label: Tensor,
    probability: Tensor,
    weights: list[Tensor],
    unlabelled: Tensor,
    unary: float,
    pairwise: float,
) -> Tensor:
    """Unary · Σ_unlabelled −ln σᵀy + pairwise · Σ_ij w_ij −ln(yᵢᵀyⱼ / |yᵢ| |yⱼ|), a scalar.

    Args:
        log_label: (B, K, H, W), ln y.
        probability: (B, K, H, W), σ.
        weights: of nearest neighbours, see `contrast_weights`.
        unlabelled: (B, H, W) bool.
        unary: weight of the collision cross-entropy.
        pairwise: weight of the log-quadratic Potts relaxation.
    """
    label = log_label.exp()
    agreement = (label * probability).sum(dim=1).clamp_min(_SMALLEST)
    total = unary * (-agreement.log() * unlabelled).sum()
    unit = nn.functional.normalize(label, dim=1)
    for step, weight in zip(STEPS, weights, strict=True):
        one, other = neighbours(unit, *step)
        cosine = (one * other).sum(dim=1).clamp_min(_SMALLEST)
        total = total + pairwise * (-cosine.log() * weight).sum()
    return total


def soft_labels(
    probability: Tensor,
    scribble: Tensor,
    valid: Tensor,
    weights: list[Tensor],
    *,
    unary: float,
    pairwise: float,
    steps: int,
) -> Tensor:
    """The soft labels that minimise the energy, by gradient descent from the predictions.

    Strokes keep their label. The descent is on logits of the labels, in which the energy is smooth:
    its step is 1 / (unary + 4 · pairwise), 4 neighbours to a point.

    Args:
        probability: (B, K, H, W), σ.
        scribble: (B, H, W) uint8, 255 where unlabelled.
        valid: (B, H, W) bool.
        weights: of nearest neighbours.
        unary: weight of the collision cross-entropy.
        pairwise: weight of the Potts relaxation.
        steps: of the descent.

    Returns:
        (B, K, H, W), ln y, without gradient.
    """
    unlabelled = scribble == IGNORE
    given = torch.zeros_like(probability)
    given.scatter_(1, torch.where(unlabelled, 0, scribble).long()[:, None], 1)
    given = given.clamp_min(_SMALLEST).log()
    probability = probability.detach()
    logits = probability.clamp_min(_SMALLEST).log()
    rate = 1 / (unary + 4 * pairwise)

    def log_label(logits: Tensor) -> Tensor:
        return torch.where(unlabelled[:, None], logits.log_softmax(dim=1), given)

    for _ in range(steps):
        with torch.enable_grad():
            logits.requires_grad_()
            value = energy(
                log_label(logits), probability, weights, unlabelled & valid, unary, pairwise
            )
            (gradient,) = torch.autograd.grad(value, logits)
        logits = (logits - rate * gradient).detach()
    return log_label(logits)


@loss_term("soft_self_labelling", reads=("scribble", "valid"))
class SoftSelfLabelling(LossTerm):
    """−ln σᵀy on the pixels without a stroke, y the soft labels; published with a weight of 0.3.

    The labels are found anew at each step: they agree with the prediction, weighed as this term
    is, and with their neighbours of the same colour.
    """

    @dataclass(frozen=True)
    class Options(TermOptions):
        """Options of soft self-labelling."""

        pairwise: float = setting(6.0, "weight of the labels' Potts relaxation", minimum=1e-6)
        stride: int = setting(4, "pixels per point of the grid that is labelled", minimum=1)
        steps: int = setting(30, "of the gradient descent that finds the labels", minimum=1)
        start: float = setting(
            0.3, "progress of the training before which the strokes teach alone", minimum=0
        )

    options: Options

    def forward(self, step: Step) -> Sum:
        """Summed over the points without a stroke."""
        if step.progress < self.options.start:
            return nothing(step.output.logits)
        size = grid_size(step.image, self.options.stride)
        log_probability = at_least_float32(subsample(step.output.logits, size)).log_softmax(dim=1)
        scribble = subsample(step.maps["scribble"], size)
        valid = subsample(step.maps["valid"], size) != 0
        colour = mean_colours(step.image, step.maps["valid"], size).to(log_probability.dtype)
        label = soft_labels(
            log_probability.exp(),
            scribble,
            valid,
            contrast_weights(colour, valid),
            unary=self.options.weight,
            pairwise=self.options.pairwise,
            steps=self.options.steps,
        )
        unlabelled = valid & (scribble == IGNORE)
        collision = -(log_probability + label).logsumexp(dim=1)  # −ln σᵀy
        return Sum((collision * unlabelled).sum(), unlabelled.sum())
