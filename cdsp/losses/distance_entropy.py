"""Distance entropy (Eq. 15 and 17): less uncertainty where a label is near enough to be trusted."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from cdsp.io.files import IGNORE
from cdsp.losses import LossTerm, Step, Sum, TermOptions, loss_term
from cdsp.settings import setting


def distance_entropy(entropy: Tensor, distance: Tensor) -> Sum:
    """(1/N) Σ_i d(i) H(i), H(i) = −Σ_k p_k(i) log p_k(i), N the number of pixels with d ≠ 0.

    The paper prints no minus; it is the entropy that is minimised.

    Args:
        entropy: (B, H, W), H.
        distance: (B, H, W) uint8 distance map; 255 weighs 1.

    Returns:
        The sum over i, and N.
    """
    weighted = distance.to(entropy.dtype) / 255 * entropy
    return Sum(weighted.sum(), distance.count_nonzero())


@loss_term("scribble_distance", reads=("scribble_distance",))
class ScribbleDistanceEntropy(LossTerm):
    """Eq. 15, L_ds: entropy weighed by the nearness to a foreground scribble."""

    @dataclass(frozen=True)
    class Options(TermOptions):
        """Options of L_ds."""

        exponent: float = setting(2.0, "λ_s of Eq. 14, an exponent", minimum=0, maximum=20)

    def forward(self, step: Step) -> Sum:
        """The distance entropy of the batch."""
        return distance_entropy(step.entropy, step.maps["scribble_distance"])


@loss_term("pseudo_label_distance", reads=("pseudo_label_distance", "pseudo_label"))
class PseudoLabelDistanceEntropy(LossTerm):
    """Eq. 17, L_dc: entropy weighed by the distance from the pseudo-label's boundary."""

    @dataclass(frozen=True)
    class Options(TermOptions):
        """Options of L_dc."""

        exponent: float = setting(7.0, "λ_c of Eq. 16, an exponent", minimum=0, maximum=20)

    def forward(self, step: Step) -> Sum:
        """The distance entropy of the batch; pixels without a pseudo-label weigh nothing."""
        known = step.maps["pseudo_label"] != IGNORE
        return distance_entropy(step.entropy, step.maps["pseudo_label_distance"] * known)
