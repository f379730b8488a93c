"""Labels and a page of pictures from photographs and strokes alone: a first answer, in seconds.

No network is trained. The strokes are spread by a random walk, by a pixel classifier, and by the
walk that the classifier guides; a share of them is held out, and tells which does best, and where
it fails.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np

from cdsp.dataset.prepare import describe_folder, inspect_folder
from cdsp.dataset.voc_layout import Dataset
from cdsp.io.files import IGNORE, write_label, write_text
from cdsp.io.outputs import check_outputs
from cdsp.io.store import LabelStore
from cdsp.metrics import HeldOut, Share, mean_share
from cdsp.pictures.overlay import clear_colours
from cdsp.progress import progress
from cdsp.pseudo_labels.from_evidence import make_pseudo_labels
from cdsp.pseudo_labels.pixel_classifier import export_pixel_probabilities
from cdsp.pseudo_labels.settings import LabelSettings, PixelSettings
from cdsp.scribbles.degrade import Degradation
from cdsp.scribbles.held_out import held_out_strokes
from cdsp.scribbles.image_classes import read_image_classes
from cdsp.scribbles.import_annotations import import_strokes
from cdsp.scribbles.scribble_labels import degrade_scribbles
from cdsp.scribbles.settings import AnnotationSettings
from cdsp.tools.check.examine import find_classes
from cdsp.tools.preview.page import PreviewedImage, preview_page

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Recipe:
    """A way from strokes to labels without a network.

    Attributes:
        title: what to call it.
        pixels: whether the pixel classifier is its evidence; otherwise the strokes alone are.
        labels: from evidence to labels.
    """

    title: str
    pixels: bool
    labels: LabelSettings


_WALK = LabelSettings(refinement="random_walk", write_scribbles=True)
RECIPES = {
    "walk": Recipe("strokes spread by a random walk", False, _WALK),
    "pixels": Recipe("pixel classifier", True, LabelSettings(write_scribbles=True)),
    "pixel_walk": Recipe("random walk, guided by the pixel classifier", True, _WALK),
}
"""The recipes of the preview, by the names that they have in a configuration."""


@dataclass(frozen=True)
class PreviewedRecipe:
    """A recipe on a folder.

    Attributes:
        recipe: name of `RECIPES`.
        labels: store of its labels.
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


def preview_folder(
    root: Path,
    classes: Sequence[str],
    annotations: Path | None,
    output: Path,
    *,
    settings: AnnotationSettings,
    long_side: int,
    hold_out: float,
    num_images: int,
    seed: int = 0,
) -> tuple[str, Share | None]:
    """Spread the strokes of a folder, and write labels and a page to look at.

    Args:
        root: the folder in VOC layout.
        classes: names of all classes, the background first; empty: those that the files name.
        annotations: a file or folder of annotations; None: ``Scribbles`` in the folder.
        output: folder for ``index.html``, which needs no network, and ``labels/<image id>.png``, of
            the photographs' size, by the recipe that does best.
        settings: of reading the annotations.
        long_side: to which the photographs are brought, pixels.
        hold_out: share of the strokes that is kept to measure by; 0: all are used.
        num_images: images on the page at most, the worst ones.
        seed: of the held-out strokes and the pixel classifier.

    Returns:
        The recipe that does best, and the share of the held-out strokes that is right; None where
        nothing was held out.

    Raises:
        ValueError: listing every problem of the folder or the annotations.
    """
    annotations = annotations or root / "Scribbles"
    content = inspect_folder(root, classes, void_regions=True)
    classes = tuple(classes) or find_classes(root, content, annotations, settings)
    check_outputs([output / "index.html"])
    with TemporaryDirectory() as temporary:
        work = Path(temporary)
        dataset = describe_folder(
            root,
            "preview",
            classes,
            work / "dataset.json",
            clear_colours(classes),
            void_regions=True,
            working_size=long_side,
            content=content,
        )
        import_strokes(dataset, annotations, work / "strokes.jsonl", settings)
        for degradation in (Degradation("full"), Degradation("hold_out", hold_out)):
            degrade_scribbles(
                work / "strokes.jsonl",
                degradation,
                work / degradation.kind,
                dataset=dataset,
                drop_background=False,
                min_per_image=0,
                seed=seed,
            )
        previews = [_preview(name, dataset, work, seed) for name in RECIPES]
        best = max(previews, key=lambda preview: preview.mean.value if preview.mean else 0)
        dataset = dataset.training_on(best.labels)
        ids = dataset.splits["train"]
        files = [output / "labels" / f"{image_id}.png" for image_id in ids]
        check_outputs([output / "index.html", *files])
        for image_id, file in zip(progress(ids, "writing labels"), files, strict=True):
            height, width = dataset.as_photographed.size(image_id)
            label = cv2.resize(
                best.labels[image_id], (width, height), interpolation=cv2.INTER_NEAREST
            )
            write_label(file, label, dataset.palette)
        # Worst first; images without held-out strokes last, in the order of the list.
        order = sorted(ids, key=lambda i: 2.0 if (s := best.images[i]) is None else s)[:num_images]
        scribbles = LabelStore(work / "full" / "labels.h5")
        rows = [
            PreviewedImage(
                image_id,
                dataset.picture(image_id),
                scribbles[image_id],
                {p.recipe: (p.labels[image_id], p.images[image_id]) for p in previews},
            )
            for image_id in order
        ]
        page = preview_page(
            dataset,
            {preview.recipe: RECIPES[preview.recipe].title for preview in previews},
            {preview.recipe: (preview.mean, preview.classes) for preview in previews},
            best.recipe,
            rows,
            len(ids),
        )
    write_text(output / "index.html", page)
    return best.recipe, best.mean


def _preview(name: str, dataset: Dataset, work: Path, seed: int) -> PreviewedRecipe:
    """Make the labels of a recipe from the strokes in a folder of work, and measure them."""
    recipe, scribbles = RECIPES[name], work / "hold_out" / "labels.h5"
    evidence = work / "probabilities.h5" if recipe.pixels else None
    if evidence is not None and not evidence.is_file():
        classes = read_image_classes(work / "hold_out" / "image_classes.json")
        described = dataset.training_on(classes)
        pixels = PixelSettings(long_side=0, seed=seed)
        export_pixel_probabilities(described, scribbles, classes, pixels, evidence)
    labels = work / f"{name}.h5"
    make_pseudo_labels(dataset, scribbles, evidence, recipe.labels, labels, recipe=name)
    store, seen = LabelStore(labels), LabelStore(scribbles)
    full = LabelStore(work / "full" / "labels.h5")
    counts = HeldOut(len(dataset.classes))
    images: dict[str, float | None] = {}
    for image_id in store:
        held_out = held_out_strokes(seen[image_id], full[image_id])
        counts.add(held_out, store[image_id])
        images[image_id] = _mean_of_classes(held_out, store[image_id])
    return PreviewedRecipe(name, store, counts.shares(), images)


def _mean_of_classes(strokes: np.ndarray, label: np.ndarray) -> float | None:
    """Mean, over the classes of an image's held-out strokes, of the share that is right."""
    classes = np.unique(strokes[strokes != IGNORE])
    shares = [float((label[strokes == class_id] == class_id).mean()) for class_id in classes]
    return sum(shares) / len(shares) if shares else None
