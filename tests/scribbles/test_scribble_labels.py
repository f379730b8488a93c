import hashlib
import json
import logging
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from cdsp.dataset.prepare import describe_folder
from cdsp.dataset.voc_layout import read_dataset
from cdsp.distance_maps.compute import boundary_distance_map, scribble_distance_map
from cdsp.io.files import IGNORE, write_label
from cdsp.io.store import LabelStore
from cdsp.pseudo_labels.from_evidence import calibrated_threshold
from cdsp.scribbles.boxes import label_from_boxes
from cdsp.scribbles.degrade import Degradation
from cdsp.scribbles.image_classes import read_image_classes
from cdsp.scribbles.import_annotations import import_strokes
from cdsp.scribbles.rasterise import rasterise
from cdsp.scribbles.scribble_labels import degrade_scribbles, simulate_scribbles
from cdsp.scribbles.settings import AnnotationSettings
from cdsp.scribbles.stroke_files import read_header, read_strokes, write_strokes
from cdsp.scribbles.strokes import Box, ImageStrokes, Stroke, arc_length

FILES = ["image_classes.json", "labels.h5", "strokes.jsonl"]


@pytest.fixture
def degraded(tiny_data, tmp_path):
    """Function of a degradation's name: the folder of the degraded scribbles."""

    def make(name, folder=None, drop_background=False, min_per_image=0, seed=0):
        output = tmp_path / (folder or name)
        degrade_scribbles(
            tiny_data.strokes,
            Degradation.parse(name),
            output,
            drop_background=drop_background,
            min_per_image=min_per_image,
            seed=seed,
        )
        return output

    return make


def file_hashes(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).digest() for path in folder.glob("[!.]*")}


def image_classes(folder):
    return read_image_classes(folder / "image_classes.json")


def test_simulated_strokes_follow_the_training_masks(tiny_data, tmp_path):
    dataset = tiny_data.dataset
    images = list(read_strokes(tiny_data.strokes))
    assert [image.image_id for image in images] == list(dataset.splits["train"])
    labelled = right = total = 0
    for image in images:
        mask = dataset.mask(image.image_id)
        assert (image.height, image.width) == mask.shape
        label = rasterise(image.strokes, image.height, image.width)
        drawn = (label != IGNORE) & (mask != IGNORE)
        labelled, total = labelled + drawn.sum(), total + mask.size
        right += (label == mask)[drawn].sum()
    assert 0.02 < labelled / total < 0.09  # asked for: 0.05
    assert right / labelled > 0.95
    header = read_header(tiny_data.strokes)
    assert header["dataset"] == dataset.digest
    assert header["classes"] == list(dataset.classes)
    assert header["simulated"]["coverage"] == 0.05
    assert header["simulated"]["style"] == "medial_axis"


def test_strokes_of_an_image_depend_on_its_name_and_the_seed_alone(tiny_data, tmp_path):
    dataset = tiny_data.dataset
    ids = dataset.splits["train"]
    fewer = type(dataset)(**{**vars(dataset), "splits": {"train": ids[2:4], "val": ()}})
    settings = {"style": "medial_axis", "coverage": 0.05}
    simulate_scribbles(fewer, tmp_path / "fewer.jsonl", **settings, seed=0)
    simulate_scribbles(
        dataset, tmp_path / "again.jsonl", style="medial_axis", coverage=0.05, seed=0
    )
    simulate_scribbles(
        dataset, tmp_path / "other.jsonl", style="medial_axis", coverage=0.05, seed=1
    )
    lines = tiny_data.strokes.read_text().splitlines()
    assert (tmp_path / "fewer.jsonl").read_text().splitlines()[1:3] == lines[3:5]
    assert (tmp_path / "again.jsonl").read_bytes() == tiny_data.strokes.read_bytes()
    assert (tmp_path / "other.jsonl").read_text().splitlines()[1] != lines[1]


def test_full_scribbles_are_the_rasterised_strokes(tiny_data, degraded):
    folder = degraded("full")
    assert sorted(path.name for path in folder.glob("[!.]*")) == FILES
    store = LabelStore(folder / "labels.h5", "scribbles")
    assert list(store) == list(tiny_data.dataset.splits["train"])
    for image in read_strokes(tiny_data.strokes):
        expected = rasterise(image.strokes, image.height, image.width)
        np.testing.assert_array_equal(store[image.image_id], expected)
    assert store.parameters["scribbles"] == "full"
    assert store.sources == {"dataset": tiny_data.dataset.digest}
    one, other = (
        path.read_text().splitlines()[1:-1]
        for path in (tiny_data.strokes, folder / "strokes.jsonl")
    )
    assert one == other


@pytest.mark.parametrize("name", ["full", "shrink-0.5", "drop-0.5"])
def test_image_classes_are_those_of_the_labels(degraded, name):
    folder = degraded(name)
    store = LabelStore(folder / "labels.h5", "scribbles")
    classes = image_classes(folder)
    assert list(classes) == list(store)
    for image_id, present in classes.items():
        values = sorted(set(store[image_id].ravel().tolist()) - {0, IGNORE})
        assert present == values
    content = json.loads((folder / "image_classes.json").read_text())
    assert content["scribbles"] == store.parameters["scribbles"] == name


@pytest.mark.parametrize("name", ["full", "shrink-0.3", "drop-0.5"])
def test_the_same_seed_gives_the_same_bytes(degraded, name):
    one, two = degraded(name, "one", seed=4), degraded(name, "two", seed=4)
    assert file_hashes(one) == file_hashes(two)
    assert sorted(file_hashes(one)) == FILES
    other = file_hashes(degraded(name, "other", seed=5))
    assert (other == file_hashes(one)) == (not name.startswith("drop"))


def test_dropping_everything_leaves_background_and_says_so(tiny_data, degraded, caplog):
    with caplog.at_level(logging.WARNING):
        folder = degraded("drop-1")
    assert "8 of 8 images have no object scribble" in caplog.text
    assert image_classes(folder) == {name: [] for name in tiny_data.dataset.splits["train"]}
    store = LabelStore(folder / "labels.h5")
    full = LabelStore(tiny_data.scribbles / "labels.h5")
    for image_id in store:
        assert set(np.unique(store[image_id])) == {0, IGNORE}
        kept = full[image_id] == 0
        assert (store[image_id][kept] == 0).all()
    bare = LabelStore(degraded("drop-1", "bare", drop_background=True) / "labels.h5")
    assert all((bare[image_id] == IGNORE).all() for image_id in bare)


def test_dropping_some_strokes_leaves_some_classes(tiny_data, degraded, caplog):
    full = image_classes(tiny_data.scribbles)
    half = image_classes(degraded("drop-0.5"))
    assert all(set(half[image_id]) <= set(full[image_id]) for image_id in full)
    assert 0 < sum(map(len, half.values())) < sum(map(len, full.values()))
    without = sum(not present for present in half.values())
    assert f"{without} of 8 images have no object scribble" in caplog.text
    caplog.clear()
    one_each = image_classes(degraded("drop-1", "one each", min_per_image=1))
    assert all(len(present) == 1 for present in one_each.values())
    assert "have no object scribble" not in caplog.text


def test_points_keep_every_class(tiny_data, degraded, caplog):
    folder = degraded("shrink-1")
    assert image_classes(folder) == image_classes(tiny_data.scribbles)
    assert "have no object scribble" not in caplog.text
    for full, points in zip(
        read_strokes(tiny_data.strokes), read_strokes(folder / "strokes.jsonl"), strict=True
    ):
        assert [stroke.class_id for stroke in points.strokes] == [
            stroke.class_id for stroke in full.strokes
        ]
        assert all(arc_length(stroke.points) == 0 for stroke in points.strokes)
    store = LabelStore(folder / "labels.h5")
    for image in read_strokes(folder / "strokes.jsonl"):
        width = max(stroke.width for stroke in image.strokes)
        assert (store[image.image_id] != IGNORE).sum() <= len(image.strokes) * (width + 1) ** 2


def test_parameters_name_what_made_the_labels_and_no_more(degraded):
    dropped = LabelStore(degraded("drop-0.5", seed=7) / "labels.h5").parameters
    assert (dropped["seed"], dropped["min_per_image"], dropped["drop_background"]) == (7, 0, False)
    shrunk = LabelStore(degraded("shrink-0.5", seed=7) / "labels.h5").parameters
    assert not {"seed", "min_per_image", "drop_background"} & set(shrunk)
    assert shrunk["source"]["simulated"]["coverage"] == 0.05


def test_files_that_are_missing_or_foreign_are_refused(tiny_data, tmp_path):
    options = {"drop_background": False, "min_per_image": 0, "seed": 0}
    with pytest.raises(ValueError, match=r"absent\.jsonl"):
        degrade_scribbles(
            tmp_path / "absent.jsonl", Degradation("full"), tmp_path / "out", **options
        )
    with pytest.raises(ValueError, match=r"absent\.json: no such file"):
        read_image_classes(tmp_path / "absent.json")
    with pytest.raises(ValueError, match="expected format 'cdsp-image-classes'"):
        read_image_classes(tiny_data.dataset.root / "dataset.json")


ID = "train_00000"
BOX = Box(3, 10, 12, 30, 33)
OBJECT_STROKE = Stroke(5, np.array([[2, 2], [12, 14]]), 3)
BACKGROUND_STROKE = Stroke(0, np.array([[0, 40], [47, 40]]), 3)


@pytest.fixture
def annotated(tiny_data, tmp_path):
    """Function of the annotations of one image of the tiny data: its label and its classes."""

    def make(
        strokes=(), boxes=(), tags=(), name="full", seed=0, size=(48, 48), image_id=ID, dataset=None
    ):
        path, output = tmp_path / "annotated.jsonl", tmp_path / "annotated"
        write_strokes(path, [ImageStrokes(image_id, *size, strokes, boxes, tags)], {})
        options = {"drop_background": False, "min_per_image": 0, "seed": seed}
        dataset = dataset or tiny_data.dataset
        degrade_scribbles(path, Degradation.parse(name), output, dataset=dataset, **options)
        return LabelStore(output / "labels.h5")[ID], image_classes(output)[ID]

    return make


@pytest.fixture
def box_label(tiny_data):
    return label_from_boxes(tiny_data.dataset.image(ID), [BOX])


def test_a_point_is_a_dot_of_its_class(annotated):
    label, classes = annotated((Stroke(4, np.array([[20.2, 30]]), 3), BACKGROUND_STROKE))
    expected = np.full((48, 48), IGNORE)
    expected[29:32, 19:22] = 4
    expected[39:42] = 0
    np.testing.assert_array_equal(label, expected)
    assert classes == [4]


def test_tags_are_classes_without_a_trace_in_the_label(annotated, caplog):
    label, classes = annotated(tags=(2, 9))
    assert (label == IGNORE).all()
    assert classes == [2, 9]
    assert "have no object" not in caplog.text
    label, classes = annotated((OBJECT_STROKE, BACKGROUND_STROKE), tags=(2, 9))
    np.testing.assert_array_equal(label, rasterise((OBJECT_STROKE, BACKGROUND_STROKE), 48, 48))
    assert classes == [2, 5, 9]


def test_the_stages_behind_bear_an_image_without_any_label(annotated):
    label, _ = annotated(tags=(2,))
    assert not scribble_distance_map(label, 2).any()
    assert (boundary_distance_map(label, 7) == 255).all()
    assert calibrated_threshold(np.full((48, 48), 99, np.uint8), label) is None


def test_outside_of_boxes_is_background_where_boxes_are_all_there_is(annotated, box_label):
    for tags in ((), (3,)):
        label, classes = annotated(boxes=(BOX,), tags=tags)
        np.testing.assert_array_equal(label, box_label)
        assert classes == [3]
    assert (box_label == 0).sum() == 48 * 48 - 21 * 22


@pytest.mark.parametrize(("strokes", "tags"), [((OBJECT_STROKE,), ()), ((), (5,)), ((), (3, 5))])
def test_outside_of_boxes_nothing_is_known_where_there_are_other_objects(
    annotated, box_label, strokes, tags
):
    label, classes = annotated(strokes, (BOX,), tags)
    drawn = rasterise(strokes, 48, 48)
    expected = np.where(drawn == IGNORE, np.where(box_label == 0, IGNORE, box_label), drawn)
    np.testing.assert_array_equal(label, expected)
    assert classes == [3, 5]


def test_strokes_are_painted_over_boxes(annotated, box_label):
    within = Stroke(0, np.array([[15, 15], [25, 25]]), 2)
    label, _ = annotated((within,), (BOX,))
    drawn = rasterise((within,), 48, 48) == 0
    assert (label[drawn] == 0).all()
    np.testing.assert_array_equal(label[~drawn], box_label[~drawn])


def test_a_hidden_box_still_names_its_class(annotated):
    assert annotated(boxes=(Box(3, -9, -9, -5, -5),))[1] == [3]


def test_what_was_dropped_is_no_background(annotated):
    """Where objects were annotated and dropped, a smaller set must not say more than the full."""
    annotations = {"boxes": (BOX, Box(4, 35, 5, 45, 20)), "tags": (3,)}
    full, _ = annotated(**annotations)
    assert (full == 0).any()
    seen, num_full = set(), 0
    for seed in range(16):
        label, classes = annotated(**annotations, name="drop-0.5", seed=seed)
        if 4 in classes and (label == 0).any():
            np.testing.assert_array_equal(label, full)
            num_full += 1
        else:
            assert not (label == 0).any()
        seen.add(tuple(classes))
    assert {(3,), (4,), (3, 4)} <= seen
    assert num_full > 0
    for seed in range(16):
        for strokes, tags in (((OBJECT_STROKE,), ()), ((), (5,))):
            label, _ = annotated(strokes, (BOX,), tags, name="drop-0.5", seed=seed)
            assert not (label == 0).any()


def test_shrinking_leaves_the_label_of_boxes(annotated, box_label):
    label, _ = annotated((BACKGROUND_STROKE,), (BOX,), name="shrink-1")
    changed = rasterise((Stroke(0, np.array([[23.5, 40]]), 3),), 48, 48) == 0
    np.testing.assert_array_equal(label, np.where(changed, 0, box_label))


def test_annotations_that_do_not_fit_the_data_set_are_refused_and_destroy_nothing(
    tiny_data, annotated, tmp_path
):
    annotated(boxes=(BOX,))
    before = file_hashes(tmp_path / "annotated")
    for wrong, message in (
        ({"size": (48, 47)}, "annotated at 47×48 pixels, .* has 48×48"),
        ({"image_id": "elsewhere"}, "'elsewhere' is not in data set 'tiny'"),
        ({"boxes": (Box(13, 1, 1, 5, 5),)}, "names class 13; expected 0 to 12"),
        ({"tags": (3, 99)}, "names class 99"),
        ({"strokes": (Stroke(40, np.zeros((1, 2)), 3),)}, "names class 40"),
    ):
        with pytest.raises(ValueError, match=message) as error:
            annotated(**{"boxes": (BOX,), **wrong})
        assert str(tmp_path / "annotated.jsonl") in str(error.value)
    options = {"drop_background": False, "min_per_image": 0, "seed": 0}
    write_strokes(tmp_path / "boxed.jsonl", [ImageStrokes(ID, 48, 48, (), (BOX,))], {})
    with pytest.raises(ValueError, match=r"has boxes, .* --dataset dataset\.json"):
        degrade_scribbles(
            tmp_path / "boxed.jsonl", Degradation("full"), tmp_path / "annotated", **options
        )
    assert file_hashes(tmp_path / "annotated") == before


def test_an_image_that_stands_twice_is_refused_and_destroys_nothing(annotated, tmp_path):
    annotated(boxes=(BOX,))
    before = file_hashes(tmp_path / "annotated")
    path = tmp_path / "twice.jsonl"
    write_strokes(path, [ImageStrokes(ID, 48, 48, (OBJECT_STROKE,))] * 2, {})
    options = {"drop_background": False, "min_per_image": 0, "seed": 0}
    with pytest.raises(ValueError, match=rf"twice\.jsonl, line 3: image '{ID}' is in line 2"):
        degrade_scribbles(path, Degradation("full"), tmp_path / "annotated", **options)
    assert file_hashes(tmp_path / "annotated") == before


def test_a_photograph_that_was_exchanged_is_refused(tiny_data, annotated):
    dataset = tiny_data.dataset
    images = {**dataset.images, ID: (dataset.images[ID][0], 48, 40)}
    with pytest.raises(ValueError, match="another size than"):
        annotated(boxes=(BOX,), size=(48, 40), dataset=replace(dataset, images=images))


def test_names_of_any_alphabet_pass_from_photographs_to_labels(tmp_path):
    """Decomposed accents, vowel signs, braces and quotes, in files, lists, labels and classes."""
    root, classes = tmp_path / "mine", ("background", "bébé", "{word}", "बिल्ली")
    names = ["cafe\u0301", "नमस्ते", "ภาพที่1", "{x} it's $HOME", "-rf"]
    for name in names:
        write_label(root / "SegmentationClassAug" / f"{name}.png", np.eye(20, dtype=np.uint8))
        (root / "JPEGImages").mkdir(exist_ok=True)
        Image.fromarray(np.full((20, 20, 3), 9, np.uint8)).save(root / "JPEGImages" / f"{name}.png")
    (root / "Scribbles").mkdir()
    shapes = [
        {"label": label, "shape_type": "linestrip", "points": [[2, y], [15, y]]}
        for label, y in (("be\u0301be\u0301", 3), ("{word}", 8), ("बिल्ली", 15))
    ]
    for index, name in enumerate(names):
        content = {"imagePath": f"{name}.png", "shapes": shapes}
        (root / "Scribbles" / f"{index}.json").write_text(json.dumps(content))
    dataset = describe_folder(root, "mine", classes, tmp_path / "dataset.json")
    import_strokes(dataset, root / "Scribbles", tmp_path / "strokes.jsonl", AnnotationSettings())
    degrade_scribbles(
        tmp_path / "strokes.jsonl",
        Degradation.parse("full"),
        tmp_path / "full",
        dataset=read_dataset(tmp_path / "dataset.json"),
        drop_background=False,
        min_per_image=0,
        seed=0,
    )
    store = LabelStore(tmp_path / "full" / "labels.h5", "scribbles")
    assert set(store) == set(dataset.splits["train"]) == {"café", *names[1:]}
    for image_id in store:
        assert set(np.unique(store[image_id])) == {1, 2, 3, 255}
        write_label(tmp_path / "out" / f"{image_id}.png", store[image_id])
        assert dataset.mask(image_id).shape == (20, 20)


def test_strokes_of_other_classes_or_of_another_data_set_are_refused(tiny_data, tmp_path):
    def run(dataset):
        degrade_scribbles(
            tiny_data.strokes,
            Degradation.parse("full"),
            tmp_path / "out",
            dataset=dataset,
            drop_background=False,
            min_per_image=0,
            seed=0,
        )

    swapped = (tiny_data.dataset.classes[0], *tiny_data.dataset.classes[:0:-1])
    with pytest.raises(ValueError, match=r"strokes\.jsonl: made for the classes .* make the strok"):
        run(replace(tiny_data.dataset, classes=swapped))
    with pytest.raises(ValueError, match="made for another version of data set 'tiny'"):
        run(replace(tiny_data.dataset, digest="0" * 16))
    assert not (tmp_path / "out").exists()
    run(tiny_data.dataset)
