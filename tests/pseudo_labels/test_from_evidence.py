import dataclasses
import json
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from cdsp.io.store import LabelStore, write_store
from cdsp.pseudo_labels.from_evidence import (
    calibrated_threshold,
    label_from_evidence,
    make_pseudo_labels,
    scores_from_cams,
)
from cdsp.pseudo_labels.settings import LabelSettings

WALK = LabelSettings(refinement="random_walk", superpixel_spacing=4)
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


# --- each pixel by itself -----------------------------------------------------------------------


@st.composite
def cases(draw):
    num_classes = draw(st.integers(0, 3))
    classes = draw(st.permutations([1, 3, 20]))[:num_classes]
    cams = np.array([draw(maps) for _ in classes], np.uint8).reshape(len(classes), *SHAPE)
    scribbles = draw(arrays(np.uint8, SHAPE, elements=st.sampled_from([0, 255, *classes])))
    settings = LabelSettings(
        background=draw(st.sampled_from(["constant", "power", "calibrated"])),
        threshold=draw(st.sampled_from([0.0, 0.2, 0.5, 1.0])),
        power=draw(st.sampled_from([0.5, 1.0, 4.0])),
        uncertain_band=draw(st.sampled_from([0.0, 0.1, 0.3])),
        write_scribbles=draw(st.booleans()),
    )
    return cams, classes, settings, scribbles


def label_from_cams(cams, classes, settings, scribbles):
    scores = scores_from_cams(cams, settings, scribbles)
    return label_from_evidence(scribbles, np.array([0, *classes], np.uint8), scores, settings)


def slow_label(cams, classes, settings, scribbles):
    score = cams.max(axis=0) if classes else np.zeros(SHAPE, np.uint8)
    label = np.full(SHAPE, 255, np.uint8)
    for pixel in np.ndindex(SHAPE):
        if settings.background == "power":
            background = (1 - int(score[pixel]) / 255) ** settings.power
        else:
            background = settings.threshold
            if settings.background == "calibrated":
                found = calibrated_threshold(score, scribbles)
                background = background if found is None else found
        ranked = [(background, 0)]
        ranked += [(int(cam[pixel]) / 255, name) for cam, name in zip(cams, classes, strict=True)]
        best = max(ranked, key=lambda entry: entry[0])  # the first of equally good ones
        if classes:
            ranked.remove(best)
            certain = best[0] - max(ranked)[0] >= settings.uncertain_band
            label[pixel] = best[1] if certain else 255
    if (
        classes
        and {0} == set(scribbles.ravel().tolist()) - {255}
        and set(label.ravel()) <= {0, 255}
    ):
        label[:] = 255  # only the background has strokes, and no object is seen
    if settings.write_scribbles:
        label[scribbles != 255] = scribbles[scribbles != 255]
    return label


@given(cases())
def test_labels_from_cams_against_a_loop(case):
    found = label_from_cams(*case)
    assert (found.shape, found.dtype) == (SHAPE, np.uint8)
    np.testing.assert_array_equal(found, slow_label(*case))


@st.composite
def scored_cases(draw):
    classes = np.array(draw(st.sampled_from([[0, 5], [0, 2, 9], [2, 5, 7, 9]])), np.uint8)
    values = st.sampled_from([0.0, 0.25, 0.5, 1.0])
    scores = draw(arrays(np.float64, (len(classes), *SHAPE), elements=values))
    elements = st.sampled_from([255, 255, *classes.tolist()])
    scribbles = draw(arrays(np.uint8, SHAPE, elements=elements))
    return scribbles, classes, scores, draw(st.sampled_from([0.0, 0.25, 0.4]))


@given(scored_cases())
def test_labels_from_any_scores_against_a_loop(case):
    scribbles, classes, scores, band = case
    found = label_from_evidence(scribbles, classes, scores, LabelSettings(uncertain_band=band))
    if set(scribbles.ravel().tolist()) - {255} == {0} and not np.isin(found, classes[1:]).any():
        assert (found == 255).all()  # only the background has strokes, and no object is seen
        return
    for y, x in np.ndindex(SHAPE):
        first, second = sorted(scores[:, y, x], reverse=True)[:2]
        if first - second < band:
            assert found[y, x] == 255
        else:
            assert found[y, x] == classes[scores[:, y, x].tolist().index(first)]


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
    assert label(threshold=0.2, uncertain_band=0.5) == [[5, 255, 255, 255]]  # 0.8 beside 0.4
    assert label(threshold=0.9, write_scribbles=True) == [[5, 8, 0, 0]]
    assert label(threshold=0.9) == [[5, 0, 0, 0]]


def test_regions_without_a_stroke_become_uncertain_before_strokes_are_written():
    scores = np.array([[[0, 0, 1, 0, 0, 0]], [[1, 1, 0, 1, 1, 0.5]]])
    scribbles = np.array([[5, 255, 255, 255, 255, 255]], np.uint8)
    classes = np.array([0, 5], np.uint8)

    def label(scribbles=scribbles, **settings):
        return label_from_evidence(scribbles, classes, scores, LabelSettings(**settings)).tolist()

    assert label() == [[5, 5, 0, 5, 5, 5]]
    assert label(unstroked="ignore") == [[5, 5, 0, 255, 255, 255]]
    background = np.array([[255, 255, 255, 255, 0, 255]], np.uint8)
    written = {"unstroked": "ignore", "write_scribbles": True}
    assert label(background, **written) == [[255, 255, 0, 255, 0, 255]]


@pytest.mark.parametrize("settings", [LabelSettings(threshold=0), WALK], ids=["none", "walk"])
def test_an_image_with_one_class_in_question_is_not_known_to_be_empty(settings):
    scribbles = np.full((9, 8), 255, np.uint8)
    scribbles[2:4, 1:6] = 0
    image = np.zeros((9, 8, 3), np.uint8)
    nothing = scores_from_cams(np.zeros((0, 9, 8), np.uint8), settings, scribbles)
    for scores in (None, nothing):
        found = label_from_evidence(scribbles, np.zeros(1, np.uint8), scores, settings, image)
        assert (found == 255).all()
        written = dataclasses.replace(settings, write_scribbles=True)
        found = label_from_evidence(scribbles, np.zeros(1, np.uint8), scores, written, image)
        np.testing.assert_array_equal(found, scribbles)


# --- a random walk ------------------------------------------------------------------------------


def halves(border=26):
    """A dark and a light half, a stroke in each; and the label of the halves."""
    image = np.full((30, 48, 3), 60, np.uint8)
    image[:, border:] = 190
    truth = np.where(np.arange(48) < border, 0, 7) * np.ones((30, 1), int)
    scribbles = np.full((30, 48), 255, np.uint8)
    scribbles[4:6, 3:12] = 0
    scribbles[20:22, 40:46] = 7
    return image, truth, scribbles


def test_strokes_alone_fill_what_looks_alike():
    image, truth, scribbles = halves()
    found = label_from_evidence(scribbles, np.array([0, 7], np.uint8), None, WALK, image)
    assert found.dtype == np.uint8
    away = np.abs(np.arange(48) - 26) > 2
    np.testing.assert_array_equal(found[:, away], truth[:, away])


def test_evidence_decides_where_no_stroke_is_near():
    image, truth, scribbles = halves()
    scribbles[scribbles == 7] = 255
    classes = np.array([0, 3, 7], np.uint8)
    scores = np.full((3, 30, 48), 0.1)
    scores[2, :, 26:] = 0.4  # of whatever sum
    found = label_from_evidence(scribbles, classes, scores, WALK, image)
    away = np.abs(np.arange(48) - 26) > 2
    np.testing.assert_array_equal(found[:, away], truth[:, away])
    scribbles[20:22, 40:42] = 3
    # Without its influence, the strokes take it all.
    alone = dataclasses.replace(WALK, prior_weight=0.0)
    assert set(np.unique(label_from_evidence(scribbles, classes, scores, alone, image))) == {0, 3}


def test_places_where_nothing_scores_favour_no_class():
    image, truth, scribbles = halves()
    scores = np.zeros((2, 30, 48))
    settings = dataclasses.replace(WALK, uncertain_band=0.1)
    classes = np.array([0, 7], np.uint8)
    found = label_from_evidence(scribbles, classes, scores, settings, image)
    away = np.abs(np.arange(48) - 26) > 2
    np.testing.assert_array_equal(found[:, away], truth[:, away])
    scribbles[:] = 255
    assert (label_from_evidence(scribbles, classes, scores, settings, image) == 255).all()


def test_what_is_as_near_to_one_stroke_as_to_another_is_uncertain():
    image = np.full((8, 80, 3), 120, np.uint8)
    scribbles = np.full((8, 80), 255, np.uint8)
    scribbles[:, :4], scribbles[:, -4:] = 0, 7
    settings = dataclasses.replace(WALK, uncertain_band=0.3)
    found = label_from_evidence(scribbles, np.array([0, 7], np.uint8), None, settings, image)
    assert np.unique(found).tolist() == [0, 7, 255]
    assert (found[:, 38:42] == 255).all()
    assert found[0, 10] == 0
    assert found[0, 70] == 7


@settings(max_examples=20)
@given(st.integers(0, 10**6), st.booleans(), st.sampled_from(["keep", "ignore"]))
def test_labels_keep_written_strokes_and_name_only_classes_in_question(seed, guided, unstroked):
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (14, 17, 3), dtype=np.uint8)
    classes = np.array([0, 2, 9], np.uint8)
    scribbles = rng.choice([0, 2, 9, *[255] * 20], image.shape[:2]).astype(np.uint8)
    scores = rng.random((3, 14, 17)) if guided else None
    settings = dataclasses.replace(WALK, unstroked=unstroked, write_scribbles=True)
    found = label_from_evidence(scribbles, classes, scores, settings, image)
    drawn = scribbles != 255
    np.testing.assert_array_equal(found[drawn], scribbles[drawn])
    assert set(np.unique(found)) <= {0, 2, 9, 255}
    if unstroked == "keep":
        assert (found != 255).all()


@pytest.mark.parametrize("settings", [LabelSettings(), WALK], ids=["none", "walk"])
def test_a_stroke_of_a_class_that_is_not_in_question_is_refused(settings):
    image, _, scribbles = halves()
    scores, classes = np.ones((2, 30, 48)), np.array([0, 3], np.uint8)
    with pytest.raises(ValueError, match=r"the strokes name the classes \[7\], the evidence knows"):
        label_from_evidence(scribbles, classes, scores, settings, image)


# --- the store ----------------------------------------------------------------------------------


def write_evidence(path, tiny_data, kind, classes_of=list, sources=None):
    """A store of random maps for each image's own classes."""
    rng = np.random.default_rng(0)
    found = json.loads((tiny_data.scribbles / "image_classes.json").read_text())["images"]

    def entries():
        for image_id in tiny_data.dataset.splits["train"]:
            classes = classes_of([0, *found[image_id]][kind == "cams" :])
            shape = (len(classes), *tiny_data.dataset.size(image_id))
            yield image_id, rng.integers(0, 256, shape, dtype=np.uint8), {"classes": classes}

    sources = {"dataset": tiny_data.dataset.digest} if sources is None else sources
    write_store(path, entries(), kind=kind, parameters={"flip": True}, sources=sources)
    return path


@pytest.mark.parametrize(
    ("kind", "refinement"),
    [
        ("cams", "none"),
        ("probabilities", "none"),
        ("cams", "random_walk"),
        ("probabilities", "random_walk"),
        (None, "random_walk"),
    ],
)
def test_the_store_holds_the_labels_of_all_images_and_where_they_come_from(
    tiny_data, tmp_path, kind, refinement
):
    dataset, scribbles = tiny_data.dataset, tiny_data.scribbles / "labels.h5"
    settings = LabelSettings(
        background="calibrated",
        uncertain_band=0.02,
        refinement=refinement,
        superpixel_spacing=6,
    )
    evidence = kind and write_evidence(tmp_path / "evidence.h5", tiny_data, kind)
    for name in ("one.h5", "two.h5"):
        output = tmp_path / name
        make_pseudo_labels(dataset, scribbles, evidence, settings, output, recipe="mine")
    assert (tmp_path / "one.h5").read_bytes() == (tmp_path / "two.h5").read_bytes()
    store = LabelStore(tmp_path / "one.h5", "pseudo_labels")
    maps, scribble_store = evidence and LabelStore(evidence), LabelStore(scribbles)
    assert list(store) == list(dataset.splits["train"])
    for image_id in store:
        strokes, scores = scribble_store[image_id], None
        classes = [value for value in range(13) if (strokes == value).any()]
        if maps:
            classes = maps.attributes(image_id)["classes"]
            scores = maps[image_id] / 255
        if kind == "cams":
            classes, scores = [0, *classes], scores_from_cams(maps[image_id], settings, strokes)
        expected = label_from_evidence(
            strokes, np.array(classes, np.uint8), scores, settings, dataset.image(image_id)
        )
        np.testing.assert_array_equal(store[image_id], expected)
        assert set(np.unique(store[image_id])) <= {255, *classes}
    assert store.parameters["recipe"] == "mine"
    assert store.parameters["scribbles"] == "full"
    assert store.parameters["uncertain_band"] == 0.02
    assert store.parameters["evidence"] == ({"kind": kind, "flip": True} if kind else {})
    origin = {"dataset": dataset.digest, "scribbles": scribble_store.digest}
    assert store.sources == ({**origin, kind: maps.digest} if maps else origin)


@pytest.mark.parametrize(
    ("kind", "settings", "by_images"),
    [
        ("cams", {}, True),
        ("cams", {"background": "power", "uncertain_band": 0.1}, True),
        ("cams", {"background": "calibrated"}, False),
        ("cams", {"refinement": "graph_cut", "superpixel_spacing": 8}, False),
        ("cams", {"unstroked": "ignore"}, False),
        ("cams", {"write_scribbles": True}, False),
        ("probabilities", {}, False),
    ],
)
def test_labels_that_no_stroke_has_a_part_in_say_so(tiny_data, tmp_path, kind, settings, by_images):
    evidence = write_evidence(tmp_path / "evidence.h5", tiny_data, kind)
    scribbles, output = tiny_data.scribbles / "labels.h5", tmp_path / "labels.h5"
    parsed = LabelSettings(**settings)
    make_pseudo_labels(tiny_data.dataset, scribbles, evidence, parsed, output, recipe="mine")
    parameters = LabelStore(output, "pseudo_labels").parameters
    assert parameters.get("supervision") == ("image labels" if by_images else None)


def test_stores_that_do_not_fit_are_refused(tiny_data, tmp_path):
    dataset, scribbles = tiny_data.dataset, tiny_data.scribbles / "labels.h5"
    cams = write_evidence(tmp_path / "cams.h5", tiny_data, "cams")
    other = write_evidence(tmp_path / "other.h5", tiny_data, "cams", sources={"dataset": "another"})
    fewer = write_evidence(tmp_path / "fewer.h5", tiny_data, "probabilities", lambda some: some[:1])
    output = tmp_path / "labels.h5"

    def make(scribbles=scribbles, evidence=cams, settings=WALK, dataset=dataset):
        make_pseudo_labels(dataset, scribbles, evidence, settings, output, recipe="x")

    with pytest.raises(ValueError, match="expected a store of scribbles, found one of cams"):
        make(scribbles=cams)
    for path, kind in ((scribbles, "scribbles"), (tiny_data.pseudo_labels, "pseudo_labels")):
        with pytest.raises(ValueError, match=f"holds {kind}; expected cams or probabilities"):
            make(evidence=path)
    with pytest.raises(ValueError, match="without evidence, labels need 'refinement: random_walk'"):
        make(evidence=None, settings=LabelSettings())
    with pytest.raises(ValueError, match=r"other\.h5: made with source dataset = 'another'"):
        make(evidence=other)
    with pytest.raises(ValueError, match=r"labels\.h5: made with source dataset = "):
        make(dataset=dataclasses.replace(dataset, digest="another"), evidence=None)
    first = dataset.splits["train"][0]
    with pytest.raises(ValueError, match=rf"fewer\.h5: {first}: the strokes name the classes"):
        make(evidence=fewer)
    assert not output.exists()


def test_an_image_that_nothing_tells_about_is_named(tiny_data, tmp_path):
    dataset = tiny_data.dataset
    cams = write_evidence(tmp_path / "cams.h5", tiny_data, "cams")
    empty = [
        (image_id, np.full(dataset.size(image_id), 255, np.uint8), {})
        for image_id in dataset.splits["train"]
    ]
    scribbles, output = tmp_path / "scribbles.h5", tmp_path / "labels.h5"
    write_store(
        scribbles,
        empty,
        kind="scribbles",
        parameters={"scribbles": "drop-1"},
        sources={"dataset": dataset.digest},
    )
    unguided = dataclasses.replace(WALK, prior_weight=0.0)
    with pytest.raises(ValueError, match=r"cams\.h5: train_00000: neither a stroke nor other"):
        make_pseudo_labels(dataset, scribbles, cams, unguided, output, recipe="x")
    assert not output.exists()
    # Strokes alone that are none leave every pixel open.
    make_pseudo_labels(dataset, scribbles, None, WALK, output, recipe="x")
    store = LabelStore(output)
    assert all((store[image_id] == 255).all() for image_id in store)


@pytest.mark.parametrize("settings", [WALK, LabelSettings()])
def test_an_image_without_object_strokes_does_not_teach_that_it_is_empty(settings):
    image = np.zeros((16, 24, 3), np.uint8)
    scribbles = np.full((16, 24), 255, np.uint8)
    scribbles[2, 2:22] = 0  # only the background's stroke is left, across the object
    classes = np.array([0, 5], np.uint8)
    shown = np.zeros((2, 16, 24))
    shown[1, 6:, 12:] = 0.9
    shown[0] = 1 - shown[1]
    label = label_from_evidence(scribbles, classes, shown, settings, image)
    np.testing.assert_array_equal(label, np.where(shown[1] > 0.5, 5, 0))
    hidden = np.stack([np.full((16, 24), 0.9), np.full((16, 24), 0.1)])
    assert (label_from_evidence(scribbles, classes, hidden, settings, image) == 255).all()
    written = dataclasses.replace(settings, write_scribbles=True)
    np.testing.assert_array_equal(
        label_from_evidence(scribbles, classes, hidden, written, image), scribbles
    )


def test_labels_end_where_no_stroke_is_near():
    rng = np.random.default_rng(0)
    scribbles = np.full((20, 30), 255, np.uint8)
    scribbles[3, 4], scribbles[16, 25] = 0, 2
    scores = rng.random((2, 20, 30))
    classes = np.array([0, 2], np.uint8)
    everywhere = label_from_evidence(scribbles, classes, scores, LabelSettings())
    near = label_from_evidence(scribbles, classes, scores, LabelSettings(reach=6.5))
    for y, x in np.ndindex(20, 30):
        distance = min(math.hypot(y - 3, x - 4), math.hypot(y - 16, x - 25))
        assert near[y, x] == (everywhere[y, x] if distance <= 6.5 else 255)
    nothing = np.full((20, 30), 255, np.uint8)
    assert (label_from_evidence(nothing, classes, scores, LabelSettings(reach=6.5)) == 255).all()
