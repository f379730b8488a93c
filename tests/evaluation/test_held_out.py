"""Networks measured without masks: on held-out strokes, and against their own labels."""

import logging
import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from cdsp.evaluation.evaluate import evaluate
from cdsp.evaluation.pixels import evaluate_pixels
from cdsp.evaluation.settings import EvaluationSettings
from cdsp.evaluation.truth import Agreement
from cdsp.io.files import write_label
from cdsp.io.store import LabelStore, write_store
from cdsp.networks.checkpoint import read_network, write_network
from cdsp.networks.predictor import predict_probabilities
from cdsp.pseudo_labels.pixel_classifier import PixelClassifier
from cdsp.pseudo_labels.settings import PixelSettings
from cdsp.reporting.tables import make_table
from cdsp.scribbles.degrade import Degradation
from cdsp.scribbles.scribble_labels import degrade_scribbles
from cdsp.scribbles.settings import AnnotationSettings
from cdsp.scribbles.validation import label_validation_images

CPU = torch.device("cpu")
STROKES = EvaluationSettings(scales=(1.0,), long_side=0, window=0, truth="held_out_strokes")


@pytest.fixture(scope="module")
def held_out(tiny_data, tmp_path_factory):
    """Store of the scribbles without the held-out ones."""
    folder = tmp_path_factory.mktemp("held_out")
    options = {"drop_background": False, "min_per_image": 0, "seed": 0}
    degrade_scribbles(tiny_data.strokes, Degradation.parse("hold_out-0.5"), folder, **options)
    return folder / "labels.h5"


@pytest.fixture(scope="module")
def weights(tiny_weights, tmp_path_factory):
    """The tiny network, as if trained on the scribbles that were not held out."""
    path = tmp_path_factory.mktemp("weights") / "weights.pt"
    checkpoint = read_network(tiny_weights, "segmentation")
    name = {
        **dict.fromkeys(("supervision", "network", "head", "backbone", "pseudo_labels"), "x"),
        **checkpoint.name,
        "scribbles": "hold_out-0.5",
    }
    write_network(path, replace(checkpoint, name=name))
    return path


@pytest.fixture(scope="module")
def measured(tiny_data, weights, held_out, tmp_path_factory):
    folder = tmp_path_factory.mktemp("measured")
    metrics = evaluate(
        weights,
        replace(tiny_data.dataset, splits={**tiny_data.dataset.splits, "val": ()}),
        STROKES,
        folder,
        protocol="strokes",
        device=CPU,
        labels=held_out,
        scribbles=held_out,
        full_scribbles=tiny_data.scribbles / "labels.h5",
    )
    return folder, metrics


def test_without_masks_strokes_that_were_held_out_are_the_truth(
    tiny_data, weights, held_out, measured
):
    dataset, metrics = tiny_data.dataset, measured[1]
    network = read_network(weights, "segmentation").network
    seen, full = LabelStore(held_out), LabelStore(tiny_data.scribbles / "labels.h5")
    right, total = {}, {}
    for image_id in dataset.splits["train"]:
        image = dataset.image(image_id)
        predicted = predict_probabilities(network, image, STROKES, CPU).argmax(dim=0).numpy()
        for pixel in zip(*np.nonzero(full[image_id] != 255), strict=True):
            class_id = int(full[image_id][pixel])
            if seen[image_id][pixel] == 255:
                total[class_id] = total.get(class_id, 0) + 1
                right[class_id] = right.get(class_id, 0) + int(predicted[pixel] == class_id)
    assert len(total) > 1
    assert 0 < sum(right.values()) < sum(total.values())
    expected = {class_id: right[class_id] / total[class_id] for class_id in total}
    for class_id, name in enumerate(dataset.classes):
        assert metrics["class_held_out_accuracy"][name] == pytest.approx(expected.get(class_id))
    mean = np.mean(list(expected.values()))
    assert metrics["held_out_accuracy"] == pytest.approx(mean)
    low, high = metrics["held_out_interval"]
    assert 0 <= low < mean < high <= 1
    assert "mean_iou" not in metrics


def test_validation_images_without_masks_are_measured_on_their_strokes(
    tiny_data, weights, tmp_path
):
    dataset = replace(tiny_data.dataset, val_masks=False)
    protocol = replace(STROKES, truth="validation_strokes")
    annotated, bare = dataset.splits["val"][:-1], dataset.splits["val"][-1]
    network = read_network(weights, "segmentation").network
    right, total = {}, {}
    for image_id in annotated:
        mask, strokes = dataset.mask(image_id), np.full(dataset.size(image_id), 255, np.uint8)
        strokes[10::20] = mask[10::20]
        write_label(tmp_path / f"annotations/{image_id}.png", strokes)
        image = dataset.image(image_id)
        predicted = predict_probabilities(network, image, protocol, CPU).argmax(dim=0).numpy()
        for pixel in zip(*np.nonzero(strokes != 255), strict=True):
            class_id = int(strokes[pixel])
            total[class_id] = total.get(class_id, 0) + 1
            right[class_id] = right.get(class_id, 0) + int(predicted[pixel] == class_id)
    store, folder = tmp_path / "validation.h5", tmp_path / "scores"
    settings = AnnotationSettings()
    label_validation_images(dataset, tmp_path / "annotations", store, settings)
    assert bare not in LabelStore(store)
    options = {"protocol": "strokes", "device": CPU}
    with pytest.raises(ValueError, match=r"give their store \(--validation-strokes\)"):
        evaluate(weights, dataset, protocol, folder, **options)
    with pytest.raises(ValueError, match=r"have no masks.*truth: validation_strokes"):
        evaluate(weights, dataset, replace(protocol, truth="masks"), folder, **options)
    metrics = evaluate(weights, dataset, protocol, folder, strokes=store, **options)
    for class_id, name in enumerate(dataset.classes):
        expected = right[class_id] / total[class_id] if class_id in total else None
        assert metrics["class_held_out_accuracy"][name] == pytest.approx(expected)
    (row,) = make_table([folder / "metrics.json"]).to_dict("records")
    assert row["strokes_mean"] == pytest.approx(100 * metrics["held_out_accuracy"])
    assert row["strokes_low"] <= row["strokes_mean"] <= row["strokes_high"]

    only = dataset.splits["train"][0]
    write_label(tmp_path / f"others/{only}.png", np.zeros(dataset.size(only), np.uint8))
    with pytest.raises(ValueError, match=r"none of the .* validation images has a stroke"):
        label_validation_images(dataset, tmp_path / "others", store, settings)


def test_its_table_says_which_score_it_tells(measured):
    folder, metrics = measured
    (row,) = make_table([folder / "metrics.json"]).to_dict("records")
    assert row["held_out_mean"] == pytest.approx(100 * metrics["held_out_accuracy"])
    assert row["held_out_low"] == pytest.approx(100 * metrics["held_out_interval"][0])
    assert row["own_labels_miou"] == pytest.approx(100 * metrics["own_labels"]["mean_iou"])
    assert "miou_mean" not in row


def test_a_network_that_saw_all_strokes_cannot_be_measured_on_them(
    tiny_data, tiny_weights, weights, held_out, tmp_path
):
    full = tiny_data.scribbles / "labels.h5"
    for network, scribbles, message in (
        (weights, full, "expected scribbles = hold_out-0.5|scribbles"),
        (weights, None, "give both stores"),
    ):
        with pytest.raises(ValueError, match=message):
            evaluate(
                network,
                tiny_data.dataset,
                STROKES,
                tmp_path / "out",
                protocol="strokes",
                device=CPU,
                scribbles=scribbles,
                full_scribbles=full,
            )
    assert not (tmp_path / "out").exists()


def test_nothing_held_out_is_told(tiny_data, weights, held_out, tmp_path):
    seen = LabelStore(held_out)
    same = tmp_path / "labels.h5"
    maps = [(image_id, seen[image_id], {}) for image_id in seen]
    write_store(
        same, maps, kind="scribbles", parameters={"scribbles": "full"}, sources=dict(seen.sources)
    )
    with pytest.raises(ValueError, match="no stroke is held out, so that there is nothing"):
        evaluate(
            weights,
            tiny_data.dataset,
            STROKES,
            tmp_path / "out",
            protocol="strokes",
            device=CPU,
            scribbles=held_out,
            full_scribbles=same,
        )


def agreement(labels, prediction, num_classes=3):
    counted = Agreement(num_classes)
    counted.add(np.array(labels, np.uint8)[None], np.array(prediction, np.uint8)[None])
    return counted


SOIL = [0] * 90 + [1] * 6 + [2] * 4


@pytest.mark.parametrize(
    ("labels", "prediction", "warning"),
    [
        (SOIL, SOIL, None),
        (
            SOIL,
            [0] * 100,
            "90 % of the pixels .* predicts 'soil' everywhere: it has learnt nothing",
        ),
        (SOIL, [1] * 60 + [2] * 40, "learnt nothing of use"),
        (SOIL, [0] * 90 + [1] * 10, "never predicts weed"),
        ([0] * 100, [0] * 100, None),
        ([255] * 100, [0] * 100, None),
    ],
)
def test_a_network_that_has_learnt_nothing_is_told(labels, prediction, warning):
    told = agreement(labels, prediction).warnings(("soil", "crop", "weed"))
    if warning is None:
        assert not told
    else:
        assert len(told) == 1
        assert re.search(warning, told[0]), told


def test_the_warning_reaches_the_log(tiny_data, weights, tmp_path, caplog):
    labels = tmp_path / "labels.h5"
    maps = [
        (image_id, np.where(tiny_data.dataset.mask(image_id) == 255, 255, 7).astype(np.uint8), {})
        for image_id in tiny_data.dataset.splits["train"]
    ]
    maps[0][1][:3] = 0
    write_store(
        labels,
        maps,
        kind="pseudo_labels",
        parameters={"recipe": "r", "scribbles": "full"},
        sources={"dataset": tiny_data.dataset.digest},
    )
    masks = replace(STROKES, truth="masks")
    with caplog.at_level(logging.WARNING):
        metrics = evaluate(
            weights,
            tiny_data.dataset,
            masks,
            tmp_path / "out",
            protocol="quick",
            device=CPU,
            labels=labels,
        )
    assert "its own labels" in caplog.text
    assert 0 <= metrics["own_labels"]["mean_iou"] <= metrics["own_labels"]["constant_mean_iou"]


def test_a_pixel_classifier_is_measured_like_a_network(tiny_data, held_out, tmp_path):
    dataset = tiny_data.dataset
    pixels = PixelSettings(largest_scale=2, trees=5)
    masks = replace(STROKES, truth="masks")
    metrics = evaluate_pixels(
        dataset, held_out, pixels, masks, tmp_path / "masks", protocol="quick"
    )
    forest = PixelClassifier(dataset, LabelStore(held_out), pixels)
    confusion = np.zeros((len(dataset.classes),) * 2, np.int64)
    for image_id in dataset.splits["val"]:
        maps = forest.probabilities(dataset.image(image_id), range(len(dataset.classes)))
        for true, found in zip(dataset.mask(image_id).flat, maps.argmax(axis=0).flat, strict=True):
            if true != 255:
                confusion[true, found] += 1
    assert np.load(tmp_path / "masks/confusion.npy").tolist() == confusion.tolist()
    full = tiny_data.scribbles / "labels.h5"
    on_strokes = evaluate_pixels(
        dataset,
        held_out,
        pixels,
        STROKES,
        tmp_path / "strokes",
        protocol="strokes",
        full_scribbles=full,
    )
    assert 0 < on_strokes["held_out_accuracy"] < 1
    (row,) = make_table([tmp_path / "masks" / "metrics.json"]).to_dict("records")
    assert (row["method"], row["network"]) == ("pixel_classifier", "random_forest")
    assert row["miou_mean"] == pytest.approx(100 * metrics["mean_iou"])
