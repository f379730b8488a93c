"""On real photographs: the folder that CDSP_REAL_DATA names, with voc_animals/ in VOC layout."""

import os
from pathlib import Path

import numpy as np
import pytest

from cdsp.dataset.prepare import describe_folder
from cdsp.dataset.scribblesup import VOC_CLASSES
from cdsp.distance_maps.compute import make_distance_maps
from cdsp.io.store import LabelStore
from cdsp.pseudo_labels.from_evidence import make_pseudo_labels
from cdsp.pseudo_labels.quality import measure_pseudo_labels
from cdsp.pseudo_labels.settings import LabelSettings
from cdsp.scribbles.degrade import Degradation
from cdsp.scribbles.image_classes import read_image_classes
from cdsp.scribbles.scribble_labels import degrade_scribbles, simulate_scribbles

FOLDER = Path(os.environ.get("CDSP_REAL_DATA", "")) / "voc_animals"

pytestmark = pytest.mark.skipif(
    not ("CDSP_REAL_DATA" in os.environ and FOLDER.is_dir()),
    reason="set CDSP_REAL_DATA to a folder that holds voc_animals/ to run this",
)


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """Thirty training and five validation photographs, by links to the real ones."""
    root = tmp_path_factory.mktemp("photographs")
    for name in ("JPEGImages", "SegmentationClassAug"):
        (root / name).symlink_to(FOLDER / name)
    lists = root / "ImageSets" / "SegmentationAug"
    lists.mkdir(parents=True)
    for split, number in (("train", 30), ("val", 5)):
        source = FOLDER / "ImageSets" / "SegmentationAug" / f"{split}.txt"
        ids = source.read_text().split()
        (lists / f"{split}.txt").write_text("\n".join(ids[:: len(ids) // number][:number]))
    return describe_folder(root, "photographs", VOC_CLASSES, root / "dataset.json")


@pytest.fixture(scope="module")
def scribbles(photographs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("scribbles")
    simulate_scribbles(photographs, folder / "strokes.jsonl", style="medial_axis", seed=0)
    for name in ("full", "shrink-0.5", "drop-0.5"):
        degrade_scribbles(
            folder / "strokes.jsonl",
            Degradation.parse(name),
            folder / name,
            drop_background=False,
            min_per_image=0,
            seed=0,
        )
    return folder


def test_strokes_label_the_right_three_percent(photographs, scribbles):
    store = LabelStore(scribbles / "full" / "labels.h5", "scribbles")
    labelled = wrong = total = 0
    for image_id in store:
        label, mask = store[image_id], photographs.mask(image_id)
        known = (label != 255) & (mask != 255)
        labelled, total = labelled + (label != 255).sum(), total + label.size
        wrong += (label != mask)[known].sum()
    assert 0.02 < labelled / total < 0.04
    assert wrong / labelled < 0.01


def test_degraded_strokes_label_less_and_name_no_new_class(photographs, scribbles):
    full = LabelStore(scribbles / "full" / "labels.h5")
    classes = read_image_classes(scribbles / "full" / "image_classes.json")
    for name in ("shrink-0.5", "drop-0.5"):
        degraded = LabelStore(scribbles / name / "labels.h5")
        remaining = read_image_classes(scribbles / name / "image_classes.json")
        ratio = sum((degraded[i] != 255).sum() for i in full) / sum(
            (full[i] != 255).sum() for i in full
        )
        assert 0.3 < ratio < 0.9
        assert all(set(remaining[i]) <= set(classes[i]) for i in full)
        if name.startswith("shrink"):
            assert remaining == classes
    for image_id, present in classes.items():
        mask = photographs.mask(image_id)
        assert present == [c for c in np.unique(mask).tolist() if c not in (0, 255)]


def test_distance_maps_of_photographs(scribbles, tmp_path):
    source = scribbles / "full" / "labels.h5"
    make_distance_maps(source, 2, tmp_path / "distances.h5")
    distances, labels = LabelStore(tmp_path / "distances.h5"), LabelStore(source)
    for image_id in labels:
        label = labels[image_id]
        foreground = (label != 0) & (label != 255)
        assert (distances[image_id][foreground] == 255).all()
        assert distances[image_id].shape == label.shape


def test_strokes_spread_by_a_random_walk_are_good_labels(photographs, scribbles, tmp_path):
    settings = LabelSettings(refinement="random_walk", write_scribbles=True)
    full = scribbles / "full" / "labels.h5"
    for name, least in (("full", 0.65), ("shrink-0.5", 0.55)):
        source, labels = scribbles / name / "labels.h5", tmp_path / "labels.h5"
        make_pseudo_labels(photographs, source, None, settings, labels, recipe="walk")
        quality = measure_pseudo_labels(
            labels,
            photographs,
            tmp_path / "quality.json",
            scribbles=source,
            full_scribbles=full,
        )
        assert quality["pixel_accuracy"] > 0.85
        assert quality["mean_iou"] > least  # of few images per class; 0.8 on all of them
        assert (quality["held_out_accuracy"] is None) == (name == "full")
