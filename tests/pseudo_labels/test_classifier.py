import cv2
import numpy as np
import pytest
import torch
from torch import nn

from cdsp.augmentation import normalise
from cdsp.config import ClassifierSettings
from cdsp.networks.checkpoint import read_network
from cdsp.pseudo_labels.classifier import (
    ClassifierCrops,
    average_precision,
    train_classifier,
)
from cdsp.scribbles.labels import read_image_classes

SETTINGS = {
    "backbone": "resnet18",
    "backbone_weights": "none",
    "epochs": 1,
    "batch_size": 4,
    "crop_size": 33,
    "long_side": (33, 40),
    "learning_rate": 0.02,
}


@pytest.fixture(scope="module")
def image_classes(tiny_data):
    return read_image_classes(tiny_data.scribbles / "image_classes.json")


@pytest.fixture
def train(tiny_data, image_classes, tmp_path):
    def train(name="classifier.pt", classes=image_classes, num_workers=0, **settings):
        train_classifier(
            tiny_data.dataset,
            classes,
            ClassifierSettings(**{**SETTINGS, **settings}),
            tmp_path / name,
            device=torch.device("cpu"),
            num_workers=num_workers,
        )
        return tmp_path / name

    return train


def test_it_learns_the_images_by_heart(tiny_data, image_classes, train):
    path = train(epochs=24, batch_size=8, crop_size=33, long_side=(33, 33), learning_rate=0.05)
    checkpoint = read_network(path, "classifier")
    ids = tiny_data.dataset.splits["train"]
    images = [cv2.resize(tiny_data.dataset.image(image_id), (33, 33)) for image_id in ids]
    targets = torch.zeros(len(ids), len(tiny_data.dataset.classes) - 1)
    for row, image_id in zip(targets, ids, strict=True):
        row[[class_id - 1 for class_id in image_classes[image_id]]] = 1
    with torch.no_grad():
        logits = checkpoint.network(torch.from_numpy(normalise(np.stack(images))))
    loss = nn.functional.binary_cross_entropy_with_logits(logits, targets).item()
    share = targets.mean()
    guess = -(share * share.log() + (1 - share) * (1 - share).log()).item()
    assert loss < guess / 2
    present = logits[targets == 1].mean() - logits[targets == 0].mean()
    assert present > 3


def test_the_same_seed_gives_the_same_bytes_with_any_number_of_workers(train):
    first = train("first.pt").read_bytes()
    assert train("again.pt").read_bytes() == first
    assert train("worker.pt", num_workers=1).read_bytes() == first
    assert train("other.pt", seed=1).read_bytes() != first


def test_the_file_says_what_it_is(tiny_data, train):
    checkpoint = read_network(train(frozen_batch_norm=True), "classifier")
    assert checkpoint.classes == tiny_data.dataset.classes
    assert checkpoint.name == {"dataset": "tiny"}
    assert checkpoint.settings["crop_size"] == 33
    norms = [m for m in checkpoint.network.modules() if isinstance(m, nn.BatchNorm2d)]
    # Frozen: the statistics are those of the start.
    assert all(not norm.running_mean.any() for norm in norms)
    assert all((norm.running_var == 1).all() for norm in norms)


def test_batch_norm_learns_its_statistics_unless_frozen(train):
    network = read_network(train(), "classifier").network
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    assert all(norm.running_mean.any() for norm in norms)


def test_crops_depend_on_seed_epoch_and_image_alone(tiny_data, image_classes):
    def crops(**changes):
        settings = ClassifierSettings(**{**SETTINGS, **changes})
        return ClassifierCrops(tiny_data.dataset, image_classes, settings)

    image, target = crops()[3, 5]
    assert (image.shape, image.dtype) == ((3, 33, 33), torch.float32)
    again, _ = crops()[3, 5]
    assert torch.equal(image, again)
    for other in (crops()[4, 5], crops(seed=1)[3, 5], crops()[3, 6]):
        assert not torch.equal(image, other[0])
    image_id = tiny_data.dataset.splits["train"][5]
    present = (target.nonzero().flatten() + 1).tolist()
    assert present == sorted(image_classes[image_id]) != []


def test_a_crop_scales_the_longer_side(tiny_data, image_classes):
    # With the whole image in the crop, its area tells the scale.
    settings = ClassifierSettings(**{**SETTINGS, "crop_size": 81, "long_side": (24, 24)})
    image, _ = ClassifierCrops(tiny_data.dataset, image_classes, settings)[0, 0]
    inside = (image.abs() > 0.05).any(dim=0)
    assert inside.any(dim=0).sum() == pytest.approx(24, abs=1)
    assert inside.any(dim=1).sum() == pytest.approx(24, abs=1)


def test_images_without_an_entry_are_named(train, image_classes, tmp_path):
    some = dict(list(image_classes.items())[2:])
    with pytest.raises(ValueError, match="2 training images have no image-level classes, such as"):
        train(classes=some)
    wrong = {**image_classes, "train_00003": [0, 4]}
    with pytest.raises(ValueError, match=r"train_00003: image-level classes \[0, 4\]"):
        train(classes=wrong)
    assert not list(tmp_path.iterdir())


def test_a_loss_that_is_not_finite_ends_without_a_file(train, tmp_path):
    with pytest.raises(ValueError, match=r"the classifier's loss is .*; lower its learning_rate"):
        train(learning_rate=1e30, epochs=2)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("seed", range(5))
def test_average_precision_against_torchmetrics(seed):
    functional = pytest.importorskip("torchmetrics.functional.classification")
    rng = np.random.default_rng(seed)
    scores = rng.permutation(40) / 40  # without ties, on which definitions differ
    present = rng.random(40) < 0.3
    expected = functional.binary_average_precision(
        torch.from_numpy(scores), torch.from_numpy(present.astype(np.int64))
    )
    assert average_precision(scores, present) == pytest.approx(expected.item())
    assert average_precision(scores, np.zeros(40, bool)) is None
