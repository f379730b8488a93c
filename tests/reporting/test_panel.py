import dataclasses
import json
import types

import numpy as np
import pytest
import torch
from PIL import Image

from cdsp.dataset.voc_layout import choose_images
from cdsp.distance_maps.compute import make_distance_maps
from cdsp.evaluation.settings import EvaluationSettings
from cdsp.io.files import VOC_PALETTE
from cdsp.io.store import LabelStore
from cdsp.pictures.overlay import overlay, overlay_outlined_scribbles, overlay_scribbles
from cdsp.reporting.figures.panel import draw_panel

QUICK = EvaluationSettings(scales=(1.0,), long_side=0, window=0)


@pytest.fixture
def stores(tiny_data, tmp_path):
    paths = {
        "scribble": tiny_data.scribbles / "labels.h5",
        "pseudo_label": tiny_data.pseudo_labels,
        "scribble_distance": tmp_path / "scribble_distances.h5",
        "pseudo_label_distance": tmp_path / "pseudo_label_distances.h5",
    }
    make_distance_maps(paths["scribble"], 2, paths["scribble_distance"])
    make_distance_maps(paths["pseudo_label"], 7, paths["pseudo_label_distance"])
    return {name: LabelStore(path) for name, path in paths.items()}


def draw(tiny_data, stores, weights, output, num_images, split="train"):
    draw_panel(
        tiny_data.dataset,
        stores,
        weights,
        QUICK,
        output,
        split=split,
        num_images=num_images,
        device=torch.device("cpu"),
    )
    with Image.open(output) as file:
        assert file.format == "PNG"
        return np.array(file.convert("RGB"))


def test_the_panel_has_a_row_for_each_image_and_a_column_for_each_stage(
    tiny_data, tiny_weights, stores, tmp_path
):
    full = draw(tiny_data, stores, [tiny_weights], tmp_path / "figures" / "panel.png", 3)
    height, width = full.shape[:2]
    # Six columns of 1.45 inches at 150 dots per inch, and three rows.
    assert width == pytest.approx(6 * 1.45 * 150, abs=3)
    assert 3 * 1.45 * 150 < height < 5 * 1.45 * 150
    assert 0.3 < (full != 255).any(axis=2).mean() < 0.95
    again = draw(tiny_data, stores, [tiny_weights], tmp_path / "again.png", 3)
    np.testing.assert_array_equal(again, full)
    # Without stores and networks: images and truth alone.
    least = draw(tiny_data, {}, [], tmp_path / "least.png", 1)
    assert least.shape[1] == pytest.approx(2 * 1.45 * 150, abs=3)
    assert least.shape[0] < height
    scribbles = json.loads((tiny_data.scribbles / "image_classes.json").read_text())
    assert scribbles["scribbles"] == "full"


def test_validation_images_have_a_truth_and_no_stores(tiny_data, stores, tiny_weights, tmp_path):
    unmasked = dataclasses.replace(tiny_data.dataset, train_masks=False)
    data = types.SimpleNamespace(dataset=unmasked)
    picture = draw(data, {}, [tiny_weights], tmp_path / "val.png", 2, split="val")
    assert picture.shape[1] == pytest.approx(3 * 1.45 * 150, abs=3)  # image, prediction, truth
    other = draw(data, {}, [tiny_weights], tmp_path / "train.png", 2)
    assert other.shape[1] == pytest.approx(2 * 1.45 * 150, abs=3)
    with pytest.raises(
        ValueError, match=r"pseudo_label_distance, .* known of training images only"
    ):
        draw(tiny_data, stores, [], tmp_path / "no.png", 1, split="val")
    with pytest.raises(ValueError, match="unknown split 'vall'; did you mean 'val'"):
        draw(tiny_data, {}, [], tmp_path / "no.png", 1, split="vall")
    assert not (tmp_path / "no.png").exists()


def test_images_are_spread_evenly_over_the_list(tiny_data):
    ids = tiny_data.dataset.splits["train"]
    assert choose_images(tiny_data.dataset, 3) == [ids[0], ids[2], ids[5]]
    assert choose_images(tiny_data.dataset, 1) == [ids[0]]
    assert choose_images(tiny_data.dataset, 99) == list(ids)


def test_overlays_colour_classes_alone():
    image = np.full((1, 4, 3), 100, np.uint8)
    label = np.array([[0, 255, 1, 2]], np.uint8)
    found = overlay(image, label, VOC_PALETTE, opacity=0.5)
    assert found[0, :2].tolist() == [[100] * 3] * 2
    # PASCAL VOC's colours: class 1 is (128, 0, 0), class 2 is (0, 128, 0).
    assert found[0, 2].tolist() == [114, 50, 50]
    assert found[0, 3].tolist() == [50, 114, 50]
    drawn = overlay_scribbles(image, label, VOC_PALETTE)
    assert drawn[0, 0].tolist() == [255] * 3
    assert drawn[0, 2].tolist() == [128, 0, 0]
    assert drawn[0, 1].tolist() == [108] * 3  # 0.7 · 100 + 0.3 · 128


def test_outlined_strokes_are_seen_on_their_own_colour():
    green = np.array([0, 128, 0], np.uint8)  # PASCAL VOC's of class 2
    image = np.full((40, 60, 3), green, np.uint8)
    label = np.full((80, 120), 255, np.uint8)  # of a photograph twice as large
    label[40, 20:100] = 2
    drawn = overlay_outlined_scribbles(image, label, VOC_PALETTE, 4)
    rows = [
        [tuple(value) for value in drawn[:, 30].tolist()].index(colour)
        for colour in ((255, 255, 255), (0, 0, 0), (0, 128, 0))
    ]
    assert rows == sorted(rows)  # from above: white, black, the stroke
    assert 4 <= (drawn[:, 30] == green).all(axis=1).sum() <= 5
    nothing = overlay_outlined_scribbles(image, np.full_like(label, 255), VOC_PALETTE, 4)
    np.testing.assert_array_equal(
        nothing, overlay_scribbles(image, np.full((40, 60), 255, np.uint8), VOC_PALETTE)
    )
