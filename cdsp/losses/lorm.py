"""LoRM, the localization rectification module (Eq. 10–13).

Shapes: B images, C feature channels, N = h·w locations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from cdsp.io.files import IGNORE
from cdsp.losses import LossTerm, Step, Sum, TermOptions, at_least_float32, loss_term
from cdsp.networks.heads import SegmentationNetwork
from cdsp.settings import setting

LARGEST = 2**24
"""Numbers in the N × N matrices that are held at a time: those of 16 crops of 465 pixels at stride
16 and of one at stride 8, 64 MiB in float32."""


def subsample(label: Tensor, size: Sequence[int]) -> Tensor:
    """Nearest subsampling of (..., H, W) to (..., h, w) with the corner pixels aligned.

    Exact, without any rounding, for sides of s·k+1 at output stride s.
    """
    rows, columns = (
        torch.linspace(0, full - 1, small, device=label.device).round().long()
        for full, small in zip(label.shape[-2:], size, strict=True)
    )
    return label[..., rows[:, None], columns]


def rectify(
    feature: Tensor,
    query: Tensor,
    key: Tensor,
    foreground: Tensor,
    valid: Tensor,
    mask: str,
    temperature: float,
    *,
    recompute: bool = False,
) -> Tensor:
    """Rebuild every location from the others (Eq. 10–12), without the factor δ.

    A_ij = softmax over valid j of cos(query_i, key_j) / temperature.

    As many images at a time as `LARGEST` has room for, which leaves no bit different.

    Args:
        feature: (B, C, N), F.
        query: (B, C, N), Q.
        key: (B, C, N), K.
        foreground: (B, N) bool, M: the pseudo-label's foreground, valid locations only.
        valid: (B, N) bool, False in padding, which rebuilds no location.
        mask: where M stands.
            "attended": F̂_i = Σ_j A_ij M_j F_j, a location is rebuilt from foreground locations.
            "rectified": F̂_i = M_i Σ_j A_ij F_j, foreground locations are rebuilt from all
            locations and the others become 0 (the authors' code).
            "literal": F̂_j = M_j Σ_i A_ij F_i, Eq. 12 as printed, a sum over the axis that the
            softmax did not normalise.
        temperature: of the softmax; 1 is the paper's.
        recompute: where not all images fit at a time, whether to drop A and to compute it again for
            the gradient: N² numbers less for each image, and up to a quarter more time.

    Returns:
        (B, C, N), the rectified feature F̂.
    """
    # Transposed, the query's gradient has one memory layout, joined of parts or not.
    inputs = (feature, query.mT, key, foreground, valid)
    compute = partial(_rectify, mask=mask, temperature=temperature)
    at_a_time = max(1, LARGEST // feature.shape[2] ** 2)
    if at_a_time >= len(feature):
        return compute(*inputs)
    parts = zip(*(x.split(at_a_time) for x in inputs), strict=True)
    if recompute:
        compute = partial(checkpoint, compute, use_reentrant=False, preserve_rng_state=False)
    return torch.cat([compute(*part) for part in parts])


def _rectify(
    feature: Tensor,
    query: Tensor,
    key: Tensor,
    foreground: Tensor,
    valid: Tensor,
    *,
    mask: str,
    temperature: float,
) -> Tensor:
    query = nn.functional.normalize(query.mT, dim=1)
    key = nn.functional.normalize(key, dim=1)
    similarity = torch.einsum("bci,bcj->bij", query, key) / temperature
    # The lowest number, not −∞: an image of nothing but padding must not give NaN.
    lowest = torch.finfo(similarity.dtype).min
    attention = similarity.masked_fill(~valid[:, None], lowest).softmax(dim=2)
    masked = foreground[:, None].to(feature.dtype)  # (B, 1, N)
    if mask == "attended":
        return torch.einsum("bij,bcj->bci", attention, feature * masked)
    if mask == "rectified":
        return torch.einsum("bij,bcj->bci", attention, feature) * masked
    return torch.einsum("bij,bci->bcj", attention, feature * valid[:, None]) * masked


def feature_spread(feature: Tensor) -> dict[str, Sum]:
    """How much a feature map (B, C, h, w) differs between locations, for the log.

    ``feature_variance`` is its mean variance over the locations of an image, and
    ``feature_variance_share``, 0..1, the part of its mean square that this variance makes up. Where
    all locations become alike both fall; where the feature only shrinks, the share stays.
    """
    feature = feature.detach().float()
    variance = feature.var(dim=(2, 3), correction=0)  # (B, C)
    return {
        "feature_variance": Sum(variance.sum(), variance.new_tensor(variance.numel())),
        "feature_variance_share": Sum(variance.sum(), feature.square().mean(dim=(2, 3)).sum()),
    }


@loss_term("lorm", reads=("pseudo_label", "valid"))
class LoRM(LossTerm):
    """Eq. 13, L_lorm = MSE(F, δ F̂), on the backbone's last feature, in training only.

    Padded locations are neither attended nor counted, and an image whose pseudo-label has no
    foreground has nothing to be rebuilt from: it adds nothing.
    """

    @dataclass(frozen=True)
    class Options(TermOptions):
        """Options of LoRM."""

        mask: Literal["attended", "rectified", "literal"] = setting(
            "attended",
            "where the foreground mask stands: on the attended locations (paper), on the rectified "
            "ones (authors' code) or as Eq. 12 is printed",
        )
        reduction: Literal["mean", "nonzero"] = setting(
            "mean", "divide by all terms, or by the non-zero ones (authors' code)"
        )
        temperature: float = setting(1.0, "of the attention's softmax; 1 = paper", minimum=1e-3)
        stop_gradient: Literal["none", "target", "rectified"] = setting(
            "none", "the side of the MSE that passes no gradient to the feature"
        )

    options: Options

    def __init__(self, options: TermOptions, network: SegmentationNetwork) -> None:
        super().__init__(options, network)
        channels = network.feature_channels["backbone"]
        self.query = nn.Conv2d(channels, channels, 1)
        self.key = nn.Conv2d(channels, channels, 1)
        self.delta = nn.Parameter(torch.ones(()))

    def forward(self, step: Step) -> Sum:
        """The squared error between the feature and its rectified self.

        The count is that of the error's terms, or of those that are not 0, which only the forward
        pass tells.
        """
        feature = at_least_float32(step.output.features["backbone"])
        label = subsample(step.maps["pseudo_label"], feature.shape[-2:]).flatten(1)  # (B, N)
        valid = subsample(step.maps["valid"], feature.shape[-2:]).flatten(1) != 0
        foreground = (label != 0) & (label != IGNORE) & valid
        step.logged.update(feature_spread(feature))

        source = feature.detach() if self.options.stop_gradient == "rectified" else feature
        # In half precision, products of matrices are too; they are summed up in float32. In
        # float32 they would cost as much as a third of the network.
        half = step.output.features["backbone"].dtype in (torch.bfloat16, torch.float16)
        with torch.autocast(source.device.type, step.output.features["backbone"].dtype, half):
            rectified = rectify(
                source.flatten(2),
                self.query(source).flatten(2),
                self.key(source).flatten(2),
                foreground,
                valid,
                self.options.mask,
                self.options.temperature,
                recompute=source.device.type != "cpu",  # where memory is scarcer than time
            )
        rectified = self.delta * at_least_float32(rectified)
        target = feature.detach() if self.options.stop_gradient == "target" else feature
        error = (target.flatten(2) - rectified).square()  # (B, C, N)
        counted = valid & foreground.any(dim=1, keepdim=True)  # (B, N)
        error = error * counted[:, None]
        if self.options.reduction == "nonzero":
            return Sum(error.sum(), error.count_nonzero())
        return Sum(error.sum(), counted.sum() * error.shape[1])
