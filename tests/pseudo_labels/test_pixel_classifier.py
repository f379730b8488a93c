from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from cdsp.io.store import LabelStore, write_store
from cdsp.pseudo_labels import pixel_classifier
from cdsp.pseudo_labels.frozen_features import FrozenFeatures
from cdsp.pseudo_labels.pixel_classifier import (
    describe_places,
    export_pixel_probabilities,
    stroked_places,
)
from cdsp.pseudo_labels.settings import PixelSettings
from cdsp.scribbles.image_classes import read_image_classes
from cdsp.training.augmentation import normalise

SMALL = PixelSettings(largest_scale=2, trees=5)
SHAPE = (4, 6)


@given(
    arrays(np.int32, SHAPE, elements=st.integers(0, 4)),
    arrays(np.uint8, SHAPE, elements=st.sampled_from([0, 3, 9, 255])),
)
def test_a_place_has_the_class_of_most_of_its_stroke_pixels(superpixels, scribbles):
    found = stroked_places(superpixels, 6, scribbles)
    for place in range(6):
        inside = scribbles[(superpixels == place) & (scribbles != 255)].tolist()
        most = max(sorted(set(inside)), key=inside.count, default=255)
        assert found[place] == most


def test_places_are_described_by_the_means_of_the_responses():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (24, 31, 3)).astype(np.uint8)
    superpixels, responses, number = describe_places(image, SMALL)
    assert superpixels.shape == (24, 31)
    assert (responses.shape[0], responses.dtype) == (number, np.float32)
    assert set(np.unique(superpixels)) == set(range(number))
    # A colour alone decides: the image in another one has other responses everywhere.
    other = describe_places(np.roll(image, 1, axis=2), SMALL)[1]
    assert (np.abs(other - responses).max(axis=1) > 0).all()


@pytest.fixture
def image_classes(tiny_data):
    return read_image_classes(tiny_data.scribbles / "image_classes.json")


@pytest.fixture
def exported(tiny_data, image_classes, tmp_path):
    def export(name="pixels.h5", settings=SMALL):
        output = tmp_path / name
        labels = tiny_data.scribbles / "labels.h5"
        export_pixel_probabilities(tiny_data.dataset, labels, image_classes, settings, output)
        return output

    return export


def test_each_image_gets_probabilities_of_its_own_classes(exported, tiny_data, image_classes):
    store = LabelStore(exported(), "probabilities")
    scribbles = LabelStore(tiny_data.scribbles / "labels.h5")
    right = total = 0
    for image_id in tiny_data.dataset.splits["train"]:
        classes = store.attributes(image_id)["classes"]
        assert list(classes) == [
            0,
            *read_image_classes(tiny_data.scribbles / "image_classes.json")[image_id],
        ]
        probabilities = store[image_id].astype(int)
        assert np.abs(probabilities.sum(axis=0) - 255).max() <= len(classes)
        label = np.array(classes)[probabilities.argmax(axis=0)]
        known = scribbles[image_id] != 255
        right += (label == scribbles[image_id])[known].sum()
        total += known.sum()
    assert right > 0.8 * total  # it has seen these places


def test_the_seed_decides_the_bytes(exported):
    assert exported("one.h5").read_bytes() == exported("two.h5").read_bytes()
    other = PixelSettings(largest_scale=2, trees=5, seed=1)
    assert exported("three.h5", settings=other).read_bytes() != exported("one.h5").read_bytes()


def test_what_is_kept_in_memory_decides_nothing(exported, monkeypatch):
    kept = exported()
    monkeypatch.setattr(pixel_classifier, "KEPT_BYTES", 0)
    assert exported("again.h5").read_bytes() == kept.read_bytes()


def test_strokes_on_a_reduced_photograph_keep_their_places():
    scribbles = np.full((60, 40), 255, np.uint8)
    scribbles[31, 8], scribbles[59, 39] = 4, 0
    superpixels = np.arange(30 * 20, dtype=np.int32).reshape(30, 20)
    found = stroked_places(superpixels, 600, scribbles)
    assert found[15 * 20 + 4] == 4
    assert found[599] == 0
    assert (found != 255).sum() == 2


def test_a_photograph_that_is_reduced_gets_maps_of_its_own_size(exported, tiny_data):
    full, reduced = (
        LabelStore(exported(f"{size}.h5", replace(SMALL, long_side=size))) for size in (0, 36)
    )
    right = total = 0
    for image_id in full:
        assert reduced[image_id].shape == full[image_id].shape
        right += (reduced[image_id].argmax(0) == full[image_id].argmax(0)).sum()
        total += full[image_id][0].size
    assert right > 0.6 * total


def test_without_any_stroke_it_says_so(tiny_data, image_classes, tmp_path):
    dataset = tiny_data.dataset
    empty = ((i, np.full(dataset.size(i), 255, np.uint8), {}) for i in dataset.splits["train"])
    path = tmp_path / "labels.h5"
    sources = {"dataset": dataset.digest}
    write_store(path, empty, kind="scribbles", parameters={"scribbles": "full"}, sources=sources)
    with pytest.raises(ValueError, match=r"labels\.h5: no image has a stroke"):
        export_pixel_probabilities(
            dataset,
            path,
            read_image_classes(tiny_data.scribbles / "image_classes.json"),
            SMALL,
            tmp_path / "pixels.h5",
        )


FROZEN = replace(SMALL, backbone="mobilenet_v2", backbone_weights="none", superpixel_spacing=6)


def test_frozen_features_are_those_at_the_centres_of_the_places():
    torch.manual_seed(0)
    describe = FrozenFeatures(FROZEN)
    image = np.random.default_rng(0).integers(0, 256, (49, 65, 3)).astype(np.uint8)
    superpixels, features, number = describe(image)
    assert features.shape == (number, 96 + 320)
    layers, backbone = [], describe.backbone
    with torch.no_grad():
        x = torch.from_numpy(normalise(image))[None]
        for layer in backbone.features[:18]:
            layers.append(x := layer(x))
        maps = backbone.resize(torch.cat([layers[13], layers[17]], dim=1), (49, 65))[0].numpy()
    for place in range(number):
        y, x = (values.mean() for values in np.nonzero(superpixels == place))
        at = ndimage.map_coordinates
        expected = [at(maps[c], [[y], [x]], order=1, mode="nearest")[0] for c in range(0, 416, 33)]
        np.testing.assert_allclose(features[place, ::33], expected, atol=1e-3, rtol=0.05)


def test_a_linear_classifier_learns_from_frozen_features(exported, tiny_data):
    torch.manual_seed(0)
    store = LabelStore(exported("frozen.h5", FROZEN), "probabilities")
    assert store.parameters["backbone"] == "mobilenet_v2"
    scribbles = LabelStore(tiny_data.scribbles / "labels.h5")
    right = total = 0
    for image_id in store:
        classes = np.array(store.attributes(image_id)["classes"])
        known = scribbles[image_id] != 255
        label = classes[store[image_id].argmax(axis=0)]
        right += (label == scribbles[image_id])[known].sum()
        total += known.sum()
    assert right > 0.5 * total  # random features of 16 pixels see little of these small images


def test_weights_that_are_not_there_are_named(exported):
    with pytest.raises(ValueError, match=r"nowhere\.pth"):
        exported("frozen.h5", replace(FROZEN, backbone_weights="nowhere.pth"))
