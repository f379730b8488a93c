"""What a training loop asks of whatever it trains: totals with counts, and one module for all.

A per-part mean of means is not the batch's mean. So nothing here is a mean: losses are totals with
counts, summed over the parts of a batch (micro-batches, and the shares of several GPUs) and divided
once, by the count of the whole batch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn

from cdsp.networks.interface import NetworkOutput


class Sum(NamedTuple):
    """A total and the number of things that it is the total of.

    What does not add up over images, such as a product over the whole batch, is computed within
    each part of a batch.

    Attributes:
        total: a scalar.
        count: a scalar without gradient; where it is 0, there is nothing to say.
    """

    total: Tensor
    count: Tensor

    def mean(self) -> Tensor:
        """The mean: total ÷ count, and the total, which is 0, of nothing."""
        return self.total / torch.where(self.count == 0, 1, self.count)


def at_least_float32(x: Tensor) -> Tensor:
    """Raise a half-precision tensor to float32, in which losses are computed; float64 stays."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


class View(NamedTuple):
    """One augmentation of a batch of images, with their maps cut by the same draw.

    Attributes:
        image: (B, 3, H, W) float32, normalised.
        maps: name (of `cdsp.maps.MAPS`) → (B, H, W) uint8, those that the method's terms read.
        matrix: (B, 2, 3) float64, from pixel (x, y) of the original image to that of the view: two
            views of one batch are aligned by way of it.
    """

    image: Tensor
    maps: dict[str, Tensor]
    matrix: Tensor


@dataclass(frozen=True)
class Step:
    """What a loss term sees of a part of a batch.

    Attributes:
        views: of the images; one, or as many as the term of the most `views` asks for.
        outputs: what the network says of each view.
        forward: a further forward pass: of the network, on (B, 3, H, W) images, or of another
            network that is given; in the run's precision and memory layout.
        progress: of the training, from 0 to below 1.
        logged: where a term puts what it wants to be seen: name in the log → `Sum`.
        shares: whether the terms share `log_probability` and `entropy`. It saves memory and time,
            and their gradients are summed in another order: equal but for rounding.
    """

    views: list[View]
    outputs: list[NetworkOutput]
    forward: Callable[..., NetworkOutput]
    progress: float
    logged: dict[str, Sum] = field(default_factory=dict)
    shares: bool = False
    _shared: dict[str, Tensor] = field(default_factory=dict, repr=False)

    @property
    def image(self) -> Tensor:
        """The image of the first view, which every term that learns from labels learns from."""
        return self.views[0].image

    @property
    def maps(self) -> dict[str, Tensor]:
        """The maps of the first view."""
        return self.views[0].maps

    @property
    def output(self) -> NetworkOutput:
        """What the network says of the first view."""
        return self.outputs[0]

    @property
    def log_probability(self) -> Tensor:
        """The log-softmax of the first view's logits, (B, K, H, W), float32 at least."""
        return self._share(
            "log_probability", lambda: at_least_float32(self.output.logits).log_softmax(dim=1)
        )

    @property
    def entropy(self) -> Tensor:
        """−Σ_k p_k ln p_k of each pixel of the first view, (B, H, W), float32 at least."""

        def compute() -> Tensor:
            log_probability = self.log_probability
            return -(log_probability.exp() * log_probability).sum(dim=1)

        return self._share("entropy", compute)

    def _share(self, name: str, compute: Callable[[], Tensor]) -> Tensor:
        if not self.shares:
            return compute()
        if name not in self._shared:
            self._shared[name] = compute()
        return self._shared[name]


class Losses(NamedTuple):
    """What an objective returns for a part of a batch.

    Attributes:
        terms: name of each loss term → its unweighted total and count.
        logged: what else is to be logged.
    """

    terms: dict[str, Sum]
    logged: dict[str, Sum]


class Objective(nn.Module):
    """A network and what trains it, as one module.

    One, for the optimizer, for the state to resume from, and for a wrapper of several GPUs, whose
    forward pass must hold every pass through the network.

    Attributes:
        network: what is trained.
        weights: name of each loss term → its factor in the loss.
        precision: of its forward passes.
    """

    precision: torch.dtype = torch.float32

    def __init__(self, network: nn.Module, weights: dict[str, float]) -> None:
        super().__init__()
        self.network = network
        self.weights = weights

    def forward(self, batch: dict[str, Tensor], progress: float) -> Losses:
        """The losses of a part of a batch, as the loader gives it."""
        raise NotImplementedError

    def after_step(self, progress: float) -> None:
        """Called after each step of the optimizer, without gradients."""

    def after_epoch(self, epoch: int) -> dict[str, float]:
        """Called after each epoch, from 1; what to log of it."""
        return {}

    def deployed(self) -> nn.Module:
        """The network that the run leaves behind."""
        return self.network
