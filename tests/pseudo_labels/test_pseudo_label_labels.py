import json
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from cdsp.config import LabelSettings
from cdsp.files import write_label
from cdsp.pseudo_labels.labels import (
    calibrated_threshold,
    import_pseudo_labels,
    label_from_cams,
    make_pseudo_labels,
    measure_pseudo_labels,
)
from cdsp.store import LabelStore, write_store

SHAPE = (3, 4)
few_values = st.sampled_from([0, 1, 2, 60, 61, 127, 128, 200, 254, 255])
maps = arrays(np.uint8, SHAPE, elements=st.one_of(few_values, st.integers(0, 255)))
scribble_labels = arrays(np.uint8, SHAPE, elements=st.sampled_from([0, 1, 3, 255]))


def quality(score, scribbles, threshold):
    """Exactly: the sum of the fractions of both kinds of scribble pixels on their right side."""
    right, total = [0, 0], [0, 0]
    for value, scribble in zip(score.ravel().tolist(), scribbles.ravel().tolist(), strict=True):
        if scribble != 255:
            is_object = scribble != 0
            total[is_object] += 1
            right[is_object] += (value / 255 > threshold) == is_object
    return Fraction(right[0], total[0]) + Fraction(right[1], total[1])


@given(maps, scribble_labels)
def test_no_threshold_separates_the_scribbles_better(score, scribbles):
    found = calibrated_threshold(score, scribbles)
    if not (scribbles == 0).any() or not np.isin(scribbles, [1, 3]).any():
        assert found is None
        return
    qualities = [quality(score, scribbles, value / 255) for value in range(256)]
    assert quality(score, scribbles, found) == max(qualities)
    # It is the middle of a range of equally good ones, and no range is wider.
    ranges, start = [], None
    for value, each in enumerate([*qualities, None]):
        if each == max(qualities) and start is None:
            start = value
        elif each != max(qualities) and start is not None:
            ranges.append((start, value - 1))
            start = None
    widest = max(last - first for first, last in ranges)
    middles = [(first + last) / 2 for first, last in ranges if last - first == widest]
    assert any(found * 255 == pytest.approx(middle) for middle in middles)


def test_a_threshold_between_two_groups_is_in_the_middle_between_them():
    score = np.array([[10, 20, 30, 200, 210, 90]], np.uint8)
    scribbles = np.array([[0, 0, 0, 4, 7, 255]], np.uint8)
    assert calibrated_threshold(score, scribbles) == pytest.approx((30 + 199) / 2 / 255)


@st.composite
def cases(draw):
    num_classes = draw(st.integers(0, 3))
    classes = draw(st.permutations([1, 3, 20]))[:num_classes]
    cams = np.array([draw(maps) for _ in classes], np.uint8).reshape(len(classes), *SHAPE)
    settings = LabelSettings(
        background=draw(st.sampled_from(["constant", "power", "calibrated"])),
        threshold=draw(st.sampled_from([0.0, 0.2, 0.5, 1.0])),
        power=draw(st.sampled_from([0.5, 1.0, 4.0])),
        uncertain_band=draw(st.sampled_from([0.0, 0.1, 0.3])),
        write_scribbles=draw(st.booleans()),
    )
    return cams, classes, settings, draw(scribble_labels)


def slow_label(cams, classes, settings, scribbles):
    score = cams.max(axis=0) if classes else np.zeros(SHAPE, np.uint8)
    label = np.zeros(SHAPE, np.uint8)
    for pixel in np.ndindex(SHAPE):
        foreground, best = 0, 0
        for cam, class_id in zip(cams, classes, strict=True):
            if not best or cam[pixel] > foreground:
                foreground, best = int(cam[pixel]), class_id
        foreground /= 255
        if settings.background == "power":
            background = (1 - foreground) ** settings.power
        else:
            background = settings.threshold
            if settings.background == "calibrated":
                found = calibrated_threshold(score, scribbles)
                background = background if found is None else found
        if foreground > background:
            label[pixel] = best
        if classes and abs(foreground - background) < settings.uncertain_band:
            label[pixel] = 255
        if settings.write_scribbles and scribbles[pixel] != 255:
            label[pixel] = scribbles[pixel]
    return label


@given(cases())
def test_labels_against_a_loop(case):
    found = label_from_cams(*case)
    assert (found.shape, found.dtype) == (SHAPE, np.uint8)
    np.testing.assert_array_equal(found, slow_label(*case))


def test_each_background_score_by_hand():
    cams = np.array([[[255, 102, 51, 0]], [[0, 204, 26, 0]]], np.uint8)
    scribbles = np.array([[255, 8, 0, 255]], np.uint8)

    def label(**settings):
        return label_from_cams(cams, [5, 8], LabelSettings(**settings), scribbles).tolist()

    assert label(threshold=0.2) == [[5, 8, 0, 0]]
    assert label(threshold=0.19) == [[5, 8, 5, 0]]
    assert label(background="power", power=1) == [[5, 8, 0, 0]]
    assert label(background="power", power=8) == [[5, 8, 5, 0]]  # 0.8^8 = 0.17 < 0.2
    assert label(background="calibrated", threshold=0) == [[5, 8, 0, 0]]
    assert label(threshold=0.2, uncertain_band=0.05) == [[5, 8, 255, 0]]
    assert label(threshold=0.9, write_scribbles=True) == [[5, 8, 0, 0]]
    assert label(threshold=0.9) == [[5, 0, 0, 0]]


def test_an_image_without_classes_is_background():
    nothing = np.zeros((0, *SHAPE), np.uint8)
    unlabelled = np.full(SHAPE, 255, np.uint8)
    for background in ("constant", "power", "calibrated"):
        settings = LabelSettings(background=background, threshold=0, uncertain_band=0.5)
        assert not label_from_cams(nothing, [], settings, unlabelled).any()


@pytest.fixture
def cam_store(tiny_data, tmp_path):
    rng = np.random.default_rng(0)

    def cams():
        for image_id in tiny_data.dataset.splits["train"]:
            classes = json.loads((tiny_data.scribbles / "image_classes.json").read_text())
            present = classes["images"][image_id]
            shape = (len(present), *tiny_data.dataset.size(image_id))
            yield image_id, rng.integers(0, 256, shape, dtype=np.uint8), {"classes": present}

    path = tmp_path / "cams.h5"
    write_store(path, cams(), kind="cams", parameters={"flip": True}, sources={})
    return path


def test_the_store_holds_the_labels_of_all_images_and_where_they_come_from(
    tiny_data, cam_store, tmp_path
):
    settings = LabelSettings(background="calibrated", uncertain_band=0.02)
    scribbles = tiny_data.scribbles / "labels.h5"
    for name in ("one.h5", "two.h5"):
        make_pseudo_labels(cam_store, scribbles, settings, tmp_path / name, recipe="mine")
    assert (tmp_path / "one.h5").read_bytes() == (tmp_path / "two.h5").read_bytes()
    store = LabelStore(tmp_path / "one.h5", "pseudo_labels")
    cams, scribble_store = LabelStore(cam_store), LabelStore(scribbles)
    assert list(store) == list(tiny_data.dataset.splits["train"])
    for image_id in store:
        classes = cams.attributes(image_id)["classes"].tolist()
        expected = label_from_cams(cams[image_id], classes, settings, scribble_store[image_id])
        np.testing.assert_array_equal(store[image_id], expected)
        assert set(np.unique(store[image_id])) <= {0, 255, *classes}
    assert store.parameters["recipe"] == "mine"
    assert store.parameters["scribbles"] == "full"
    assert store.parameters["uncertain_band"] == 0.02
    assert store.sources == {"cams": cams.digest, "scribbles": scribble_store.digest}


def test_stores_of_another_kind_are_refused(tiny_data, cam_store, tmp_path):
    with pytest.raises(ValueError, match="expected a store of scribbles, found one of cams"):
        make_pseudo_labels(cam_store, cam_store, LabelSettings(), tmp_path / "x.h5", recipe="x")


@pytest.fixture
def elsewhere(tiny_data, tmp_path):
    """A folder of labels made elsewhere: the masks, drawn with one class too few."""
    folder = tmp_path / "elsewhere"
    for image_id in tiny_data.dataset.splits["train"]:
        mask = tiny_data.dataset.mask(image_id)
        write_label(folder / f"{image_id}.png", np.where(mask == 3, 0, mask).astype(np.uint8))
    return folder


def test_imported_labels_are_the_files(tiny_data, elsewhere, tmp_path):
    import_pseudo_labels(elsewhere, tiny_data.dataset, "full", tmp_path / "l.h5", recipe="seam")
    store = LabelStore(tmp_path / "l.h5", "pseudo_labels")
    assert list(store) == list(tiny_data.dataset.splits["train"])
    for image_id in store:
        mask = tiny_data.dataset.mask(image_id)
        np.testing.assert_array_equal(store[image_id], np.where(mask == 3, 0, mask))
    assert (store.parameters["recipe"], store.parameters["scribbles"]) == ("seam", "full")


def test_an_import_lists_every_problem_and_writes_nothing(tiny_data, elsewhere, tmp_path):
    files = [elsewhere / f"{image_id}.png" for image_id in tiny_data.dataset.splits["train"]]
    size = tiny_data.dataset.size(files[0].stem)
    files[0].unlink()
    files[1].write_bytes(files[1].read_bytes()[:60])
    write_label(files[2], np.zeros((9, 10), np.uint8))
    write_label(files[3], np.full(size, 13, np.uint8))
    Image.fromarray(np.zeros((*size, 3), np.uint8)).save(files[4])
    output = tmp_path / "labels.h5"
    with pytest.raises(ValueError, match="5 problems") as caught:
        import_pseudo_labels(elsewhere, tiny_data.dataset, "full", output, recipe="seam")
    message = str(caught.value)
    for file, problem in zip(
        files,
        (
            "no such label file",
            "not a readable label image",
            "shape (9, 10), its image (48, 48)",
            "unexpected label values [13]; expected 0 (background) to 12",
            "found mode RGB",
        ),
        strict=False,
    ):
        (line,) = (line for line in message.splitlines() if str(file) in line)
        assert problem in line
    assert not output.exists()
    with pytest.raises(ValueError, match="nowhere: no such folder of pseudo-labels"):
        import_pseudo_labels(tmp_path / "nowhere", tiny_data.dataset, "full", output, recipe="x")


def test_perfect_labels_measure_perfectly(tiny_data, tmp_path):
    quality = measure_pseudo_labels(
        tiny_data.pseudo_labels, tiny_data.dataset, tmp_path / "quality.json"
    )
    assert (quality["mean_iou"], quality["pixel_accuracy"], quality["coverage"]) == (1, 1, 1)
    assert json.loads((tmp_path / "quality.json").read_text()) == quality
    assert (quality["recipe"], quality["scribbles"]) == ("truth", "full")


def test_measured_labels_against_loops(tiny_data, tmp_path):
    dataset = tiny_data.dataset
    rng = np.random.default_rng(2)
    labels = {}
    for image_id in dataset.splits["train"]:
        mask = dataset.mask(image_id)
        noise = rng.choice([0, 1, 5, 255], mask.shape)
        label = np.where(rng.random(mask.shape) < 0.5, mask, noise)
        labels[image_id] = np.where(mask == 12, 255, label).astype(np.uint8)  # nothing of class 12
    path = tmp_path / "labels.h5"
    parameters = {"recipe": "noise", "scribbles": "drop-0.5"}
    triples = ((image_id, label, {}) for image_id, label in labels.items())
    write_store(path, triples, kind="pseudo_labels", parameters=parameters, sources={})
    quality = measure_pseudo_labels(path, dataset, tmp_path / "quality.json")
    truth = np.concatenate([dataset.mask(image_id).ravel() for image_id in labels])
    found = np.concatenate([label.ravel() for label in labels.values()])
    known = truth != 255
    labelled = known & (found != 255)
    assert quality["coverage"] == pytest.approx(labelled.sum() / known.sum())
    truth, found = truth[labelled], found[labelled]
    assert quality["pixel_accuracy"] == pytest.approx((truth == found).mean())
    ious = []
    for class_id, name in enumerate(dataset.classes):
        union = ((truth == class_id) | (found == class_id)).sum()
        if union:
            ious.append(((truth == class_id) & (found == class_id)).sum() / union)
            assert quality["class_iou"][name] == pytest.approx(ious[-1])
        else:
            assert quality["class_iou"][name] is None
    assert quality["mean_iou"] == pytest.approx(np.mean(ious))
    assert quality["class_iou"][dataset.classes[12]] is None
