"""Labels and a page of pictures from photographs and strokes alone: a first answer, in seconds.

No network is trained. The strokes are spread by a random walk, by a pixel classifier, and by the
walk that the classifier guides; a share of them is held out, and tells which does best, and where
it fails.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2

from cdsp.dataset.prepare import describe_folder, inspect_folder
from cdsp.dataset.voc_layout import Dataset
from cdsp.io.files import write_label, write_text
from cdsp.io.outputs import check_outputs
from cdsp.io.store import LabelStore
from cdsp.metrics import Share
from cdsp.pictures.overlay import clear_colours
from cdsp.progress import progress
from cdsp.pseudo_labels.settings import LabelSettings, PixelSettings, PseudoLabelSettings
from cdsp.scribbles.settings import AnnotationSettings
from cdsp.tools.check.examine import find_classes
from cdsp.tools.check.summary import one_class_message
from cdsp.tools.held_out_trial import GUIDED_WALK, HeldOutTrial, best
from cdsp.tools.preview.page import PreviewedImage, preview_page

_FILTERS = PixelSettings(long_side=0)
_WALK = LabelSettings(refinement="random_walk", write_scribbles=True)
RECIPES = {
    "walk": PseudoLabelSettings(evidence="strokes", labels=_WALK),
    "pixels": PseudoLabelSettings(
        evidence="pixels", pixels=_FILTERS, labels=LabelSettings(write_scribbles=True)
    ),
    "pixel_walk": PseudoLabelSettings(evidence="pixels", pixels=_FILTERS, labels=GUIDED_WALK),
}
"""The recipes of the preview, by the names that they have in a configuration."""

TITLES = {
    "walk": "strokes spread by a random walk",
    "pixels": "pixel classifier",
    "pixel_walk": "random walk, guided by the pixel classifier",
}


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
            the photographs' size, by the recipe that does best, from all strokes.
        settings: of reading the annotations.
        long_side: to which the photographs are reduced, pixels.
        hold_out: share of the strokes that is kept to measure by; 0: all are used.
        num_images: images on the page at most, the worst ones.
        seed: of the held-out strokes and the pixel classifier.

    Returns:
        The recipe that does best, and the share of the held-out strokes that is right; None where
        nothing was held out.

    Raises:
        ValueError: listing every problem of the folder or the annotations; no strokes, or of one
            class alone.
    """
    annotations = annotations or root / "Scribbles"
    content = inspect_folder(root, classes, void_regions=True)
    classes = tuple(classes) or find_classes(root, content, annotations, settings)
    if len(classes) == 1:
        raise ValueError(
            f"{annotations}: no class but {classes[0]!r} is named; draw others as well"
        )
    largest = max((max(size) for _, *size in content.images.values()), default=0)
    with TemporaryDirectory() as temporary:
        work = Path(temporary)
        dataset = describe_folder(
            root,
            "preview",
            classes,
            work / "dataset.json",
            clear_colours(classes),
            void_regions=True,
            working_size=min(long_side, largest),
            content=content,
        )
        files = [_label_file(output, image_id) for image_id in dataset.splits["train"]]
        check_outputs([output / "index.html", *files])
        trial = HeldOutTrial(dataset, annotations, settings, work, ratio=hold_out, seed=seed)
        _require_two_classes(trial.classes, classes, annotations)
        tried = trial.run(RECIPES)
        chosen = best(tried)
        dataset = trial.dataset
        ids = dataset.splits["train"]
        labels = chosen.labels
        if trial.holds_out:
            labels = trial.of_all_strokes(chosen.recipe, RECIPES[chosen.recipe])
        _write_labels(dataset, labels, output)
        # Worst first; images without held-out strokes last, in the order of the list.
        order = sorted(ids, key=lambda i: 2.0 if (s := chosen.images[i]) is None else s)[
            :num_images
        ]
        rows = [
            PreviewedImage(
                image_id,
                dataset.picture(image_id),
                trial.full[image_id],
                {one.recipe: (one.labels[image_id], one.images[image_id]) for one in tried},
            )
            for image_id in order
        ]
        page = preview_page(
            dataset,
            TITLES,
            {one.recipe: (one.mean, one.classes) for one in tried},
            chosen.recipe,
            rows,
            len(ids),
        )
    write_text(output / "index.html", page)
    return chosen.recipe, chosen.mean


def _label_file(output: Path, image_id: str) -> Path:
    return output / "labels" / f"{image_id}.png"


def _write_labels(dataset: Dataset, labels: LabelStore, output: Path) -> None:
    """Write the labels of the training images as PNGs of the photographs' size."""
    for image_id in progress(dataset.splits["train"], "writing labels"):
        height, width = dataset.as_photographed.size(image_id)
        label = cv2.resize(labels[image_id], (width, height), interpolation=cv2.INTER_NEAREST)
        write_label(_label_file(output, image_id), label, dataset.palette)


def _require_two_classes(found: Sequence[int], classes: Sequence[str], annotations: Path) -> None:
    if not found:
        raise ValueError(f"{annotations}: no stroke and no box says where a class is; draw some")
    if len(found) == 1:
        raise ValueError(f"{annotations}: {one_class_message(classes[found[0]])}")
