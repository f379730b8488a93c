"""A segmentation network with the loss terms of a method, as one module."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn

from cdsp.losses import LOSS_TERMS, LossTerm
from cdsp.maps import MAPS
from cdsp.networks.heads import SegmentationNetwork
from cdsp.networks.interface import NetworkOutput
from cdsp.networks.layers import freeze_batch_norm
from cdsp.segmentation.best_on_val import BestOnVal
from cdsp.segmentation.method import Method
from cdsp.training.contract import Losses, Objective, Step, Sum, View


class SegmentationObjective(Objective):
    """A segmentation network and its loss terms; the terms are built from the network."""

    network: SegmentationNetwork

    def __init__(
        self,
        network: SegmentationNetwork,
        method: Method,
        *,
        precision: torch.dtype,
        memory_format: torch.memory_format,
        frozen_batch_norm: bool,
        best: BestOnVal | None = None,
    ) -> None:
        """Build the terms.

        Args:
            network: with the weights to start from.
            method: loss terms and weights.
            precision: of the forward passes; losses are computed in float32 at least.
            memory_format: of the network and its images.
            frozen_batch_norm: whether the backbone's batch norm keeps its statistics.
            best: keeps the network of the best epoch; None for no measuring.
        """
        network.to(memory_format=memory_format)  # type: ignore[call-overload]
        super().__init__(network, {name: term.weight for name, term in method.terms.items()})
        self.terms: dict[str, LossTerm] = nn.ModuleDict(  # type: ignore[assignment]
            {name: LOSS_TERMS[name](options, network) for name, options in method.terms.items()}
        )
        self.precision, self.memory_format = precision, memory_format
        self.frozen_batch_norm, self.best = frozen_batch_norm, best

    def train(self, mode: bool = True) -> SegmentationObjective:
        """As of any module, but that a frozen batch norm stays in evaluation mode."""
        super().train(mode)
        if self.frozen_batch_norm:
            freeze_batch_norm(self.network.backbone)
        return self

    def forward(self, batch: dict[str, Tensor], progress: float) -> Losses:
        """See `TrainingCrops` for the batch, each of whose tensors has a first dimension B more."""
        names = batch.keys() - {"image", "matrix"}
        views = [
            View(
                batch["image"][:, number],
                {name: batch[name][:, number] for name in names},
                batch["matrix"][:, number],
            )
            for number in range(batch["image"].shape[1])
        ]
        outputs = [self.predict(view.image) for view in views]
        # On a processor an equal seed gives the bytes that it has always given.
        shares = batch["image"].device.type != "cpu"
        step = Step(views, outputs, self.predict, progress, shares=shares)
        terms = {name: _of_term(name, term, step) for name, term in self.terms.items()}
        return Losses(terms, step.logged)

    def predict(self, images: Tensor, network: SegmentationNetwork | None = None) -> NetworkOutput:
        """A forward pass of the network, or of another that is given, in the run's precision."""
        network = self.network if network is None else network
        half = self.precision is not torch.float32
        with torch.autocast(images.device.type, dtype=self.precision, enabled=half):
            return network(images.to(memory_format=self.memory_format))

    def trained_terms(self) -> list[nn.Parameter]:
        """The parameters of the terms themselves that are trained."""
        parameters = itertools.chain(*(term.parameters() for term in self.terms.values()))
        return [parameter for parameter in parameters if parameter.requires_grad]

    def after_step(self, progress: float) -> None:
        """Let every term follow the network."""
        for term in self.terms.values():
            term.after_step(self.network, progress)

    def after_epoch(self, epoch: int) -> dict[str, float]:
        """Measure the network that would be left behind now, where the best one is kept."""
        if self.best is None:
            return {}
        return {"validation_miou": self.best.after_epoch(self.deployed(), epoch)}

    def deployed(self) -> SegmentationNetwork:
        """The network, or what a term makes of it."""
        network = self.network
        for term in self.terms.values():
            network = term.deployed(network)
        return network


def _of_term(name: str, term: LossTerm, step: Step) -> Sum:
    """What a term says of a part of a batch.

    Raises:
        ValueError: it reads a map that it has not named, or does not return what it should: a
            training would fail far from the term, or be wrong without a word.
    """
    where = f"loss term {name!r} ({type(term).__module__}.{type(term).__qualname__})"
    try:
        found = term(step)
    except KeyError as error:
        missing = error.args[0] if error.args else None
        if missing not in MAPS:
            raise
        raise ValueError(
            f"{where}: it reads the map {missing!r}, and has named {term.reads}; name it in "
            "@loss_term(…, reads=…)"
        ) from error
    if not isinstance(found, Sum) or not all(isinstance(x, Tensor) and not x.ndim for x in found):
        raise ValueError(
            f"{where}: forward returned {_described(found)}; expected Sum(total, count) of two "
            "tensors without dimensions"
        )
    if found.count.requires_grad:
        raise ValueError(f"{where}: the count has a gradient; count without it, or .detach() it")
    if torch.is_grad_enabled() and not found.total.requires_grad and found.count != 0:
        raise ValueError(
            f"{where}: the total has no gradient, so that nothing would be learnt from it; compute "
            "it of the logits or features, without detach, argmax and numbers"
        )
    return found


def _described(value: object) -> str:
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    if isinstance(value, tuple):
        return f"{type(value).__name__}({', '.join(map(_described, value))})"
    return type(value).__name__
