"""A method: a row of `methods`, loss terms with their weights and options."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cdsp.losses import LOSS_TERMS, TermOptions
from cdsp.maps import MAPS, with_origins
from cdsp.settings import nearest, parse_settings


@dataclass(frozen=True)
class Method:
    """A method: its loss terms with their options.

    Attributes:
        terms: name of a loss term → its options.
    """

    terms: dict[str, TermOptions] = field(default_factory=dict)

    @property
    def maps(self) -> frozenset[str]:
        """The maps (of `cdsp.maps.MAPS`) that its terms are given."""
        return frozenset(itertools.chain(*(LOSS_TERMS[name].reads for name in self.terms)))

    @property
    def reads(self) -> frozenset[str]:
        """The maps whose files it depends on: those of its terms, and what they are made from."""
        return with_origins(self.maps)

    @property
    def views(self) -> int:
        """The augmentations of each image that its terms need."""
        return max((LOSS_TERMS[name].views for name in self.terms), default=1)

    @property
    def supervision(self) -> str:
        """What its terms learn from, in words."""
        sources = {"scribble": "scribbles", "pseudo_label": "pseudo-labels", "mask": "masks"}
        return " + ".join(word for name, word in sources.items() if name in self.reads)

    @property
    def exponents(self) -> dict[str, float]:
        """Distance map that its terms read → its λ, the option `exponent` of the term.

        Raises:
            ValueError: two terms want the same map with different λ.
        """
        exponents: dict[str, float] = {}
        for name, options in self.terms.items():
            for distance in LOSS_TERMS[name].reads:
                if not MAPS[distance].has_exponent:
                    continue
                exponent = options.exponent  # type: ignore[attr-defined]
                if exponents.setdefault(distance, exponent) != exponent:
                    raise ValueError(
                        f"{name}: λ = {exponent} for the {distance}, another term has "
                        f"{exponents[distance]}; a method has one of each"
                    )
        return exponents


def parse_method(value: Any, where: str) -> Method:
    """Make a method from a mapping of loss terms to weights, or to options with a weight.

    Raises:
        ValueError: an unknown loss term or option, no term at all, or distances of one kind with
            two exponents.
    """
    if not isinstance(value, Mapping) or not value:
        raise ValueError(
            f"{where}: expected at least one loss term (name: weight), found {value!r}"
        )
    terms = {}
    for name, options in value.items():
        if name not in LOSS_TERMS:
            raise ValueError(f"{where}: unknown loss term {name!r}{nearest(str(name), LOSS_TERMS)}")
        if isinstance(options, int | float) and not isinstance(options, bool):
            options = {"weight": options}
        if not isinstance(options, Mapping | None):
            raise ValueError(
                f"{where}.{name}: expected a weight, a number, or options such as "
                f"{{weight: 1}}, found {options!r}"
            )
        terms[name] = parse_settings(LOSS_TERMS[name].Options, options, f"{where}.{name}")
    method = Method(terms)
    try:
        _ = method.exponents
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    return method
