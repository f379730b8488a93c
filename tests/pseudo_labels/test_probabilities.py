import dataclasses

import numpy as np
import pytest
import torch

from cdsp.evaluation.settings import EvaluationSettings
from cdsp.io.store import LabelStore
from cdsp.networks.checkpoint import read_network
from cdsp.networks.predictor import predict_probabilities
from cdsp.pseudo_labels import probabilities as module
from cdsp.pseudo_labels.probabilities import export_probabilities
from cdsp.scribbles.image_classes import read_image_classes

CPU = torch.device("cpu")
PROTOCOL = EvaluationSettings(scales=(1.0,), long_side=0, window=0)


@pytest.fixture(scope="module")
def image_classes(tiny_data):
    return read_image_classes(tiny_data.scribbles / "image_classes.json")


def test_each_image_has_its_own_classes_that_sum_to_one(
    tiny_data, tiny_weights, image_classes, tmp_path
):
    arguments = (tiny_weights, tiny_data.dataset, image_classes, PROTOCOL)
    for name in ("one.h5", "two.h5"):
        export_probabilities(*arguments, tmp_path / name, device=CPU)
    assert (tmp_path / "one.h5").read_bytes() == (tmp_path / "two.h5").read_bytes()
    store = LabelStore(tmp_path / "one.h5", "probabilities")
    assert list(store) == list(tiny_data.dataset.splits["train"])
    checkpoint = read_network(tiny_weights, "segmentation")
    for image_id in store:
        classes = store.attributes(image_id)["classes"]
        assert classes == [0, *image_classes[image_id]]
        found = store[image_id]
        assert found.shape == (len(classes), *tiny_data.dataset.size(image_id))
        off = np.abs(found.sum(axis=0, dtype=int) - 255)
        assert off.max() <= max(1, len(classes) / 2)  # half a unit of rounding for each class
        image = tiny_data.dataset.image(image_id)
        every = predict_probabilities(checkpoint.network, image, PROTOCOL, CPU).double().numpy()
        own = np.stack([every[class_id] for class_id in classes])
        np.testing.assert_allclose(found, 255 * own / own.sum(axis=0), atol=0.51)
    assert store.sources == {"dataset": tiny_data.dataset.digest}
    assert store.parameters["network"] == checkpoint.name
    assert store.parameters["training"] == {"epochs": 0}
    assert store.parameters["scales"] == [1.0]


def test_an_image_without_objects_is_background(tiny_data, tiny_weights, tmp_path):
    nothing = {image_id: [] for image_id in tiny_data.dataset.splits["train"]}
    output = tmp_path / "p.h5"
    export_probabilities(tiny_weights, tiny_data.dataset, nothing, PROTOCOL, output, device=CPU)
    store = LabelStore(output)
    for image_id in store:
        assert store.attributes(image_id)["classes"] == [0]
        assert (store[image_id] == 255).all()


def test_a_network_that_is_sure_of_another_class_still_tells_an_images_own_apart(
    tiny_data, tiny_weights, tmp_path, monkeypatch
):
    def sure(network, image, settings, device):
        result = torch.zeros(len(tiny_data.dataset.classes), *image.shape[:2])
        result[5], result[0], result[2] = 1, 1e-20, 3e-20
        return result

    monkeypatch.setattr(module, "predict_probabilities", sure)
    classes = {image_id: [2] for image_id in tiny_data.dataset.splits["train"]}
    output = tmp_path / "p.h5"
    export_probabilities(tiny_weights, tiny_data.dataset, classes, PROTOCOL, output, device=CPU)
    for found in map(LabelStore(output).__getitem__, classes):
        assert np.unique(found[0]).tolist() == [64]
        assert np.unique(found[1]).tolist() == [191]


def test_other_classes_and_other_networks_are_refused(
    tiny_data, tiny_weights, image_classes, tmp_path
):
    output = tmp_path / "p.h5"

    def export(dataset=tiny_data.dataset, classes=image_classes, weights=tiny_weights):
        export_probabilities(weights, dataset, classes, PROTOCOL, output, device=CPU)

    names = tiny_data.dataset.classes
    for others in (names[::-1], names[:-1], (*names, "cat")):
        known = {image_id: [1] for image_id in image_classes}
        with pytest.raises(ValueError, match=r"weights\.pt: trained on the classes \['background'"):
            export(dataclasses.replace(tiny_data.dataset, classes=others), known)
    some = dict(list(image_classes.items())[1:])
    with pytest.raises(ValueError, match="1 training images have no image-level classes"):
        export(classes=some)
    with pytest.raises(ValueError, match=r"image-level classes \[0, 2\], expected some of 1 to"):
        export(classes={image_id: [0, 2] for image_id in image_classes})
    with pytest.raises(ValueError, match=r"absent\.pt"):
        export(weights=tmp_path / "absent.pt")
    assert not output.exists()
