"""A training run and what it is trained with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cdsp.evaluation.settings import EvaluationSettings
from cdsp.networks.settings import NetworkSettings
from cdsp.segmentation.method import Method
from cdsp.segmentation.settings import SegmentationSettings
from cdsp.settings import settings_dict


@dataclass(frozen=True)
class Run:
    """One training run: what tells it apart from every other, and the folder named after it.

    Attributes:
        method: name of a row of `methods`, or of a variant of one.
        network: name of a row of `networks`.
        scribbles: name of a degradation, such as "full"; "none" if it reads none.
        pseudo_labels: recipe, or "none" if it reads none.
        seed: of weights, order and augmentation.
    """

    method: str
    network: str
    scribbles: str
    pseudo_labels: str
    seed: int

    @property
    def folder(self) -> str:
        """The run's folder below ``results/<dataset>/segmentation``."""
        return (
            f"{self.method}/{self.network}/{self.scribbles}/{self.pseudo_labels}/seed-{self.seed}"
        )


@dataclass(frozen=True)
class RunSettings:
    """What a run is trained with.

    Attributes:
        method: its loss terms with their options.
        network: head and backbone.
        segmentation: augmentation and optimisation.
        best_on_val: protocol by which its epochs are measured, to keep the best network as well.
    """

    method: Method
    network: NetworkSettings
    segmentation: SegmentationSettings
    best_on_val: EvaluationSettings | None = None

    @property
    def as_trained(self) -> dict[str, Any]:
        """The part of ``settings.json`` that the configuration decides, JSON-able."""
        return {
            "network": settings_dict(self.network),
            "settings": settings_dict(self.segmentation),
            "terms": {name: settings_dict(term) for name, term in self.method.terms.items()},
            "best_on_val": self.best_on_val and settings_dict(self.best_on_val),
        }
