"""Loss terms: what a method is made of.

A method is a set of loss terms with weights. Each term is one class, registered under the name that
the configuration uses; every module of this package is imported, so that a new term is one new
file here and nothing else::

    @loss_term("my_term", reads=("scribble",))
    class MyTerm(LossTerm):
        @dataclass(frozen=True)
        class Options(TermOptions):
            sharpness: float = setting(2.0, "how sharp", minimum=0)

        def forward(self, output, maps):
            return ...                                  # a scalar; the trainer applies the weight

Terms know nothing of files, configuration or logging. A term that has nothing to say about a batch
(no labelled pixel in it) returns 0, never NaN.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, TypeVar

import torch
from torch import Tensor, nn

from cdsp.networks.interface import NetworkOutput
from cdsp.settings import setting

MAPS = ("scribble", "pseudo_label", "mask", "scribble_distance", "pseudo_label_distance", "valid")
"""The per-pixel maps that a term can read, all (B, H, W) uint8.

scribble, pseudo_label and mask are labels: 0..K-1, and 255 where nothing is known. The distances
are Eq. 14 and 16, 0 in padding. valid is 1 on image pixels and 0 where augmentation padded.
"""

DISTANCE_MAPS = frozenset({"scribble_distance", "pseudo_label_distance"})
"""The maps that have a λ; a term that reads one has it as its option `exponent`."""


@dataclass(frozen=True)
class TermOptions:
    """Options that every term has; a term with options of its own extends it."""

    weight: float = setting(1.0, "factor of this term in the total loss", minimum=0)


class LossTerm(nn.Module):
    """Base of all loss terms; a module, since a term may have parameters of its own."""

    Options: ClassVar[type[TermOptions]] = TermOptions
    reads: ClassVar[tuple[str, ...]] = ()

    def __init__(self, options: TermOptions, feature_channels: int) -> None:
        """``feature_channels`` is C of the network's feature map (B, C, h, w)."""
        super().__init__()
        self.options = options

    def forward(self, output: NetworkOutput, maps: dict[str, Tensor]) -> Tensor:
        """The unweighted loss of a batch: a scalar."""
        raise NotImplementedError


def at_least_float32(x: Tensor) -> Tensor:
    """Raise a half-precision tensor to float32, in which losses are computed; float64 stays."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


Term = TypeVar("Term", bound=type[LossTerm])

LOSS_TERMS: dict[str, type[LossTerm]] = {}
"""Name in the configuration → class."""


def loss_term(name: str, reads: tuple[str, ...]) -> Callable[[Term], Term]:
    """Register a term under its name in the configuration, with the maps (of `MAPS`) it reads."""

    def register(term: Term) -> Term:
        assert name not in LOSS_TERMS, f"two loss terms are named {name}"
        assert set(reads) <= set(MAPS), f"{name} reads {reads}, expected some of {MAPS}"
        term.reads = reads
        LOSS_TERMS[name] = term
        return term

    return register


for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")
