"""Which evidence guides the labels: tried on a few photographs, judged by strokes held out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from cdsp.dataset.voc_layout import choose_images
from cdsp.metrics import Share, percent
from cdsp.networks.settings import BackboneName
from cdsp.pseudo_labels.frozen_features import DESCRIBING
from cdsp.pseudo_labels.settings import PixelSettings, PseudoLabelSettings
from cdsp.scribbles.settings import AnnotationSettings
from cdsp.tools.check.examine import FolderReport
from cdsp.tools.held_out_trial import GUIDED_WALK, HeldOutTrial
from cdsp.tools.start.choices import Choices

FILTERS = "filters"
TRIED_IMAGES = 32
"""Photographs that recipes are tried on."""
TRIED_HOLD_OUT = 0.5
"""Share of their strokes that is held out: as many as can be, for few strokes tell little."""
MARGIN = 0.05
"""By which features must be better. Strokes lie within things and say nothing of outlines, which
features of a backbone, one to 16 pixels, do not follow."""


@dataclass(frozen=True)
class TriedLabels:
    """The recipe that is chosen.

    Attributes:
        recipe: evidence, and labels made from it.
        tried: each recipe in words → the share of the held-out strokes that it has right, mean over
            the classes; None where none could be held out.
    """

    recipe: PseudoLabelSettings
    tried: dict[str, Share | None]

    @property
    def reason(self) -> str:
        """What decided, in words."""
        shares = {name: share for name, share in self.tried.items() if share}
        if not shares:
            return "Nothing else was tried"
        rights = (f"{name} {percent(share)}" for name, share in shares.items())
        return f"Held-out strokes that are right by {'; '.join(rights)}"


def candidates(
    backbone: BackboneName, weights: str, *, is_common: bool
) -> dict[str, PseudoLabelSettings]:
    """What is tried: name in words → recipe.

    Args:
        backbone: of the network.
        weights: its weights; "none": there are no features to go by.
        is_common: whether photographs are 8-bit RGB, of which alone a backbone has features.
    """
    evidence = {FILTERS: PixelSettings()}
    if weights != "none" and backbone in DESCRIBING and is_common:
        features = PixelSettings(backbone=backbone, backbone_weights=weights)
        evidence[f"features of {backbone}"] = features
    return {
        name: PseudoLabelSettings(evidence="pixels", pixels=pixels, labels=GUIDED_WALK)
        for name, pixels in evidence.items()
    }


def try_labels(
    report: FolderReport, annotations: AnnotationSettings, choices: Choices
) -> TriedLabels:
    """Try recipes on a few photographs, and choose.

    Args:
        report: what the folder holds.
        annotations: how strokes are read.
        choices: working size, backbone, weights.
    """
    assert report.summary is not None
    assert report.annotations is not None
    recipes = candidates(
        choices.backbone, choices.weights, is_common=report.dataset.pixels.is_common
    )
    if len(recipes) == 1:
        return TriedLabels(recipes[FILTERS], {})
    splits = {"train": tuple(report.summary.annotated), "val": ()}
    dataset = replace(
        report.dataset, splits=splits, working_size=choices.working_size, train_masks=False
    )
    chosen = tuple(choose_images(dataset, TRIED_IMAGES))
    dataset = replace(dataset, splits={**splits, "train": chosen})
    with TemporaryDirectory() as folder:
        trial = HeldOutTrial(
            dataset, report.annotations, annotations, Path(folder), ratio=TRIED_HOLD_OUT
        )
        if not trial.holds_out:
            return TriedLabels(next(iter(recipes.values())), dict.fromkeys(recipes))
        shares = {one.recipe: one.mean for one in trial.run(recipes)}
        return TriedLabels(recipes[better(shares)], shares)


def better(shares: Mapping[str, Share | None]) -> str:
    """Filters, or what is right on clearly more of the held-out strokes."""

    def value(name: str) -> float:
        share = shares[name]
        return (share.value if share else 0) - (0 if name == FILTERS else MARGIN)

    return max(shares, key=value)
