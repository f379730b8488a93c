"""Loss terms: what a method is made of.

A method is a set of loss terms with weights. Each term is one class, registered under the name that
the configuration uses; every module of this package is imported, so that a new term is one new
file here and nothing else::

    @loss_term("my_term", reads=("scribble",))
    class MyTerm(LossTerm):
        @dataclass(frozen=True)
        class Options(TermOptions):
            sharpness: float = setting(2.0, "how sharp", minimum=0)

        def forward(self, step):
            return Sum(total, count)                    # the trainer divides, and weighs

Terms know nothing of files, configuration or logging. A term that has nothing to say about a batch
(no labelled pixel in it) returns a total and a count of 0.
"""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, TypeVar

import torch
from torch import Tensor, nn

from cdsp.maps import MAPS
from cdsp.networks.heads import SegmentationNetwork
from cdsp.settings import check_known, setting
from cdsp.training.contract import Step, Sum, View, at_least_float32

__all__ = [
    "LOSS_TERMS",
    "LossTerm",
    "Step",
    "Sum",
    "TermOptions",
    "View",
    "at_least_float32",
    "loss_term",
    "nothing",
]


@dataclass(frozen=True)
class TermOptions:
    """Options that every term has; a term with options of its own extends it."""

    weight: float = setting(1.0, "factor of this term in the total loss", minimum=0)


class LossTerm(nn.Module):
    """Base of all loss terms.

    A module, since a term may have parameters of its own, which are trained, and buffers or
    networks, which are kept with the state of a run.

    Attributes:
        reads: the maps (of `cdsp.maps.MAPS`) that it is given; a map's origin need not be named.
        views: the augmentations of each image that it needs.
    """

    Options: ClassVar[type[TermOptions]] = TermOptions
    reads: ClassVar[tuple[str, ...]] = ()
    views: ClassVar[int] = 1

    def __init__(self, options: TermOptions, network: SegmentationNetwork) -> None:
        """``network`` is what the term trains: for its channels, or to be copied."""
        super().__init__()
        self.options = options

    def forward(self, step: Step) -> Sum:
        """The unweighted loss of a part of a batch, as a total and a count."""
        raise NotImplementedError

    def after_step(self, network: SegmentationNetwork, progress: float) -> None:
        """Called after each step of the optimizer, without gradients: to average a teacher."""

    def deployed(self, network: SegmentationNetwork) -> SegmentationNetwork:
        """The network that the run leaves behind; ``network`` unless the term has a better one."""
        return network


def nothing(logits: Tensor) -> Sum:
    """A total and a count of 0, for a term that has nothing to say; the gradient is 0 as well."""
    total = at_least_float32(logits).flatten()[:0].sum()
    return Sum(total, torch.zeros_like(total.detach()))


Term = TypeVar("Term", bound=type[LossTerm])

LOSS_TERMS: dict[str, type[LossTerm]] = {}
"""Name in the configuration → class."""


def loss_term(name: str, reads: tuple[str, ...]) -> Callable[[Term], Term]:
    """Register a term under its name in the configuration, with the maps it reads.

    Raises:
        ValueError: a name that another term has, a map that there is not, or options that are not
            declared as those of every term.
    """

    def register(term: Term) -> Term:
        where = f"loss term {name!r} ({term.__module__}.{term.__qualname__})"
        if name in LOSS_TERMS:
            raise ValueError(f"{where}: {LOSS_TERMS[name].__module__} has a term of this name")
        if isinstance(reads, str):
            raise ValueError(f'{where}: reads={reads!r} is no tuple; write reads=("{reads}",)')
        for item in reads:
            check_known(item, MAPS, f"{where}: reads")
        _check_options(term.Options, where)
        if any(MAPS[item].has_exponent for item in reads) and not hasattr(term.Options, "exponent"):
            raise ValueError(f"{where}: reads {reads}, whose λ is its option 'exponent': add it")
        term.reads = reads
        LOSS_TERMS[name] = term
        return term

    return register


def _check_options(options: type, where: str) -> None:
    """Check that a term's options are a dataclass of settings, beside the weight."""
    if not issubclass(options, TermOptions) or "__dataclass_fields__" not in vars(options):
        raise ValueError(
            f"{where}: its Options are not declared as '@dataclass(frozen=True) class "
            "Options(TermOptions)'"
        )
    for option in dataclasses.fields(options):
        if "help" not in option.metadata:
            raise ValueError(
                f"{where}: its option {option.name!r} does not say what it is; declare it as "
                f'{option.name}: {option.type} = setting({option.default}, "meaning")'
            )


for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")
