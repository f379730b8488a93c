"""Recipes of labels that need no network, tried on a folder and judged by strokes held out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from cdsp.dataset.voc_layout import Dataset
from cdsp.io.files import IGNORE
from cdsp.io.store import LabelStore
from cdsp.metrics import HeldOut, Share, mean_share
from cdsp.pseudo_labels.from_evidence import make_pseudo_labels
from cdsp.pseudo_labels.pixel_classifier import export_pixel_probabilities
from cdsp.pseudo_labels.settings import LabelSettings, PixelSettings, PseudoLabelSettings
from cdsp.scribbles.degrade import Degradation
from cdsp.scribbles.held_out import held_out_strokes
from cdsp.scribbles.image_classes import read_image_classes
from cdsp.scribbles.import_annotations import import_strokes
from cdsp.scribbles.scribble_labels import degrade_scribbles
from cdsp.scribbles.settings import AnnotationSettings

GUIDED_WALK = LabelSettings(refinement="random_walk", prior_weight=0.1, write_scribbles=True)
"""Strokes spread under the guidance of a pixel classifier, whose weight held-out strokes of three
kinds of data chose."""


@dataclass(frozen=True)
class TriedRecipe:
    """A recipe on a folder.

    Attributes:
        recipe: its name.
        labels: store of its labels, made from the strokes that are not held out.
        classes: per class, the share of the held-out strokes that is right; None: none held out.
        images: image id → the mean over its classes; None where nothing is held out.
    """

    recipe: str
    labels: LabelStore
    classes: list[Share | None]
    images: dict[str, float | None]

    @property
    def mean(self) -> Share | None:
        """Mean over the classes."""
        return mean_share([share for share in self.classes if share])


class HeldOutTrial:
    """A folder's strokes, some of them held out, and the recipes that are tried on the others.

    Attributes:
        dataset: with the annotated images alone to train on.
        scribbles: store of the strokes that recipes see.
        full: store of all strokes.
    """

    def __init__(
        self,
        dataset: Dataset,
        annotations: Path,
        settings: AnnotationSettings,
        work: Path,
        *,
        ratio: float,
        seed: int = 0,
    ) -> None:
        """Read the strokes and hold some out.

        Args:
            dataset: the images, at the size at which they are labelled.
            annotations: a file or folder, see `cdsp.annotations.read`.
            settings: of reading them.
            work: an empty folder for all that is made.
            ratio: share of the strokes that is held out, never a class's last in an image.
            seed: of the draw, and of the pixel classifiers.

        Raises:
            ValueError: listing every problem of the annotations.
        """
        self.work, self.seed = work, seed
        import_strokes(dataset, annotations, work / "strokes.jsonl", settings)
        for degradation in (Degradation("full"), Degradation("hold_out", ratio)):
            degrade_scribbles(
                work / "strokes.jsonl",
                degradation,
                work / degradation.kind,
                dataset=dataset,
                drop_background=False,
                min_per_image=0,
                seed=seed,
            )
        self.full = LabelStore(work / "full/labels.h5")
        self.scribbles = LabelStore(work / "hold_out/labels.h5")
        self.dataset = dataset.training_on(self.full)
        self._evidence: dict[tuple[PixelSettings, Path], Path] = {}

    @property
    def classes(self) -> list[int]:
        """The classes of all strokes."""
        found: set[int] = set().union(*(np.unique(self.full[i]).tolist() for i in self.full))
        return sorted(found - {IGNORE})

    @property
    def holds_out(self) -> bool:
        """Whether a stroke is held out: some class has a second one in some image."""
        return any(
            (held_out_strokes(self.scribbles[i], self.full[i]) != IGNORE).any() for i in self.full
        )

    def run(self, recipes: Mapping[str, PseudoLabelSettings]) -> list[TriedRecipe]:
        """Make the labels of recipes, whose evidence is pixels or strokes, and measure them."""
        return [self._try(name, recipe) for name, recipe in recipes.items()]

    def of_all_strokes(self, name: str, recipe: PseudoLabelSettings) -> LabelStore:
        """Labels of a recipe made from all strokes: nothing is left to measure them by."""
        return self._labels(name, recipe, self.full)

    def _try(self, name: str, recipe: PseudoLabelSettings) -> TriedRecipe:
        store = self._labels(name, recipe, self.scribbles)
        counts = HeldOut(len(self.dataset.classes))
        images: dict[str, float | None] = {}
        for image_id in store:
            held_out = held_out_strokes(self.scribbles[image_id], self.full[image_id])
            counts.add(held_out, store[image_id])
            images[image_id] = _mean_of_classes(held_out, store[image_id])
        return TriedRecipe(name, store, counts.shares(), images)

    def _labels(self, name: str, recipe: PseudoLabelSettings, scribbles: LabelStore) -> LabelStore:
        pixels = recipe.evidence == "pixels"
        evidence = self._pixels(recipe.pixels, scribbles.path) if pixels else None
        output = scribbles.path.parent / f"labels-{name.replace(' ', '-')}.h5"
        make_pseudo_labels(
            self.dataset, scribbles.path, evidence, recipe.labels, output, recipe=name
        )
        return LabelStore(output)

    def _pixels(self, settings: PixelSettings, scribbles: Path) -> Path:
        """The pixel classifier's probabilities; recipes with equal settings share them."""
        if (settings, scribbles) not in self._evidence:
            classes = read_image_classes(scribbles.parent / "image_classes.json")
            output = scribbles.parent / f"probabilities-{len(self._evidence)}.h5"
            export_pixel_probabilities(
                self.dataset,
                scribbles,
                classes,
                replace(settings, seed=self.seed),
                output,
            )
            self._evidence[settings, scribbles] = output
        return self._evidence[settings, scribbles]


def best(tried: list[TriedRecipe]) -> TriedRecipe:
    """The recipe with the largest share of held-out strokes right; the first of equal ones."""
    return max(tried, key=lambda recipe: recipe.mean.value if recipe.mean else 0)


def _mean_of_classes(strokes: np.ndarray, label: np.ndarray) -> float | None:
    """Mean, over the classes of an image's held-out strokes, of the share that is right."""
    classes = np.unique(strokes[strokes != IGNORE])
    shares = [float((label[strokes == class_id] == class_id).mean()) for class_id in classes]
    return sum(shares) / len(shares) if shares else None
