import dataclasses
import math
import multiprocessing
import os
import signal
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from cdsp.io.files import IGNORE
from cdsp.io.outputs import LEDGER
from cdsp.io.pixels import RGB
from cdsp.io.store import LabelStore
from cdsp.networks.checkpoint import read_network
from cdsp.networks.classifier import Classifier
from cdsp.pseudo_labels.cams import export_cams
from cdsp.pseudo_labels.classifier import (
    ClassifierObjective,
    average_precision,
    train_classifier,
)
from cdsp.pseudo_labels.classifier_data import ClassifierCrops, balance_weights
from cdsp.pseudo_labels.from_evidence import make_pseudo_labels
from cdsp.pseudo_labels.settings import CamSettings, ClassifierSettings, LabelSettings
from cdsp.scribbles.image_classes import read_image_classes
from cdsp.training import state
from cdsp.training.augmentation import IMAGENET_MEAN, IMAGENET_STD, normalise
from cdsp.training.loop import Trainer
from cdsp.training.record import read_training
from cdsp.training.run_files import RunFiles

SETTINGS = {
    "backbone": "resnet18",
    "backbone_weights": "none",
    "epochs": 1,
    "batch_size": 4,
    "crop_size": 33,
    "scale": (33 / 48, 40 / 48),
    "learning_rate": 0.02,
}


@pytest.fixture(scope="module")
def image_classes(tiny_data):
    return read_image_classes(tiny_data.scribbles / "image_classes.json")


@pytest.fixture
def train(tiny_data, image_classes, tmp_path):
    def train(
        name="classifier.pt", classes=image_classes, num_workers=0, scribbles=None, **settings
    ):
        train_classifier(
            tiny_data.dataset,
            classes,
            ClassifierSettings(**{**SETTINGS, **settings}),
            tmp_path / name,
            scribbles=scribbles,
            device=torch.device("cpu"),
            num_workers=num_workers,
        )
        return tmp_path / name

    return train


def test_it_learns_the_images_by_heart(tiny_data, image_classes, train):
    path = train(
        epochs=24, batch_size=8, crop_size=33, scale=(33 / 48, 33 / 48), learning_rate=0.05
    )
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

    sample = crops()[3, 5]
    image, target = sample["image"], sample["classes"]
    assert (image.shape, image.dtype) == ((3, 33, 33), torch.float32)
    assert torch.equal(image, crops()[3, 5]["image"])
    for other in (crops()[4, 5], crops(seed=1)[3, 5], crops()[3, 6]):
        assert not torch.equal(image, other["image"])
    image_id = tiny_data.dataset.splits["train"][5]
    present = (target.nonzero().flatten() + 1).tolist()
    assert present == sorted(image_classes[image_id]) != []


def test_a_crop_scales_the_longer_side(tiny_data, image_classes):
    # With the whole image in the crop, its area tells the scale.
    settings = ClassifierSettings(**{**SETTINGS, "crop_size": 81, "scale": (0.5, 0.5)})
    image = ClassifierCrops(tiny_data.dataset, image_classes, settings)[0, 0]["image"]
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
    with pytest.raises(ValueError, match=r"the loss is not finite in epoch \d: .*lower learning_r"):
        train(learning_rate=1e30, epochs=2)
    assert not list(tmp_path.glob("classifier.pt")) + list(tmp_path.glob("classifier.json"))


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


# --- stopped and started again ------------------------------------------------------------------

RUN = {f"classifier.{name}" for name in ("json", "log.jsonl", "settings.json", "environment.json")}
RUN |= {"classifier.pt", ".classifier.lock", LEDGER}


def test_a_run_leaves_its_record_beside_its_file(train, tmp_path):
    (tmp_path / "cams.h5").write_text("of another stage")
    (tmp_path / ".cams.h5.abc.tmp.h5").write_text("that another process is writing")
    train(epochs=2)
    others = {"cams.h5", ".cams.h5.abc.tmp.h5"}
    assert {path.name for path in tmp_path.iterdir()} == RUN | others
    log = read_training(tmp_path, "classifier.").log
    assert [record["epoch"] for record in log] == [1, 2]
    assert all(record["loss"] == record["classes"] > 0 for record in log)
    assert log[0]["learning_rate"] == pytest.approx(0.02 * (3 / 4) ** 0.9)
    assert all(record["images_per_second"] > 0 for record in log)


class Interrupted(Exception):
    pass


@pytest.fixture
def a_state_every_step(monkeypatch):
    monkeypatch.setattr(state, "LARGEST_SHARE", math.inf)
    monkeypatch.setattr(state, "SECONDS_BETWEEN", 0)


@pytest.mark.parametrize(("steps", "taught"), [(1, False), (3, False), (2, True), (5, True)])
def test_a_stopped_classifier_ends_with_the_same_bytes(
    a_state_every_step, train, tiny_data, tmp_path, monkeypatch, steps, taught
):
    options = {"epochs": 3}
    if taught:
        options |= {
            "scribbles": tiny_data.scribbles / "labels.h5",
            "stroke_weight": 0.5,
            "class_balance": True,
            "optimizer": "adamw",
        }
    whole = train("whole.pt", **options).read_bytes()
    original, done = Trainer._step, []

    def step(*arguments):
        if len(done) == steps:
            raise Interrupted
        done.append(None)
        return original(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_step", step)
        with pytest.raises(Interrupted):
            train(**options)
    assert not (tmp_path / "classifier.pt").exists()
    resumed = []
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_step", lambda *a: resumed.append(None) or original(*a))
        assert train(**options).read_bytes() == whole
    assert len(resumed) == 6 - steps  # it went on; it did not begin again
    assert (tmp_path / "classifier.json").read_text() == (tmp_path / "whole.json").read_text()
    assert {path.name for path in tmp_path.iterdir()} >= RUN
    assert not list(tmp_path.glob("*unfinished*"))


def test_a_killed_classifier_ends_with_the_same_bytes(train, tiny_data, image_classes, tmp_path):
    whole = train("whole.pt", epochs=3).read_bytes()

    def killed():
        original, done = Trainer._step, []

        def step(*arguments):
            if len(done) == 3:
                os.kill(os.getpid(), signal.SIGKILL)
            done.append(None)
            return original(*arguments)

        Trainer._step = step
        train(epochs=3)

    process = multiprocessing.get_context("fork").Process(target=killed)
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert len(list(tmp_path.glob("classifier.unfinished-*/classifier.state.pt"))) == 1
    assert train(epochs=3).read_bytes() == whole


def test_a_second_process_is_refused_and_other_files_of_the_folder_are_not_held(train, tmp_path):
    with RunFiles(tmp_path / "classifier.pt", "classifier.", {}).locked():
        with pytest.raises(ValueError, match=r"classifier\.pt: another process is training"):
            train()
        train("other.pt")


def test_other_strokes_or_classes_are_another_run(train, tiny_data, image_classes, tmp_path):
    first = train().read_bytes()
    stamp = (tmp_path / "classifier.pt").stat().st_mtime_ns
    assert train().stat().st_mtime_ns == stamp
    some = {**image_classes, "train_00003": [1]}
    assert train(classes=some).read_bytes() != first


# --- balance ------------------------------------------------------------------------------------


def test_balance_weights_against_counting():
    rng = np.random.default_rng(0)
    targets = rng.random((60, 6)) < [0.5, 0.1, 0.9, 0.02, 0, 1]
    targets[0, 3] = True
    found = balance_weights(torch.from_numpy(targets).float()).tolist()
    for column, weight in zip(targets.T, found, strict=True):
        present = sum(1 for shown in column if shown)
        absent = sum(1 for shown in column if not shown)
        expected = 20 if present == 0 else min(max(absent / present, 1 / 20), 20)
        assert weight == pytest.approx(expected)
    assert found[4:] == pytest.approx([20, 1 / 20])


def loss_of(network, images, targets, strokes=None, *, balance=None, stroke_weight=0.0):
    """The weighted loss of a batch."""
    objective = ClassifierObjective(network, balance=balance, stroke_weight=stroke_weight)
    batch = {"image": images, "classes": targets}
    if strokes is not None:
        batch["strokes"] = strokes
    terms = objective(batch, 0.0).terms
    return sum(objective.weights[name] * value.mean() for name, value in terms.items())


@pytest.fixture
def double_network():
    """A classifier of 3 object classes and the background, in float64."""
    torch.manual_seed(2)
    network = Classifier("resnet18", 16, 3, background=True).double().eval()
    nn.init.normal_(network.head.weight, std=0.2)
    return network


def a_batch():
    rng = np.random.default_rng(3)
    images = torch.from_numpy(rng.normal(size=(2, 3, 33, 49)))
    targets = torch.tensor([[1.0, 0, 1], [0, 0, 1]], dtype=torch.float64)
    strokes = rng.choice([0, 1, 2, 3, IGNORE], size=(2, 33, 49), p=[0.02, 0.02, 0.02, 0.02, 0.92])
    return images, targets, torch.from_numpy(strokes.astype(np.uint8))


def test_the_balanced_loss_against_loops(double_network):
    images, targets, _ = a_batch()
    balance = torch.tensor([3.0, 20.0, 0.25], dtype=torch.float64)
    with torch.no_grad():
        probabilities = 1 / (1 + np.exp(-double_network(images).numpy()))
    terms = [
        -weight * np.log(p) if shown else -np.log(1 - p)
        for row, shows in zip(probabilities, targets.tolist(), strict=True)
        for p, shown, weight in zip(row, shows, balance.tolist(), strict=True)
    ]
    found = loss_of(double_network, images, targets, balance=balance).item()
    assert found == pytest.approx(sum(terms) / len(terms), rel=1e-9)


def test_a_balanced_classifier_survives_a_class_that_no_image_shows(train, image_classes):
    one = {image_id: [1] for image_id in image_classes}
    plain = read_network(train("plain.pt", classes=one), "classifier").network
    network = read_network(train(classes=one, class_balance=True), "classifier").network
    assert all(value.isfinite().all() for value in network.state_dict().values())
    assert not torch.equal(network.head.weight, plain.head.weight)


# --- strokes ------------------------------------------------------------------------------------


def bilinear(small, y, x, height, width):
    """A (K, h, w) array at a pixel of the image that it spans from corner to corner."""
    v, u = y * (small.shape[1] - 1) / (height - 1), x * (small.shape[2] - 1) / (width - 1)
    return sum(
        max(0, 1 - abs(v - row)) * max(0, 1 - abs(u - column)) * small[:, row, column]
        for row, column in np.ndindex(small.shape[1:])
    )


def test_the_loss_at_strokes_against_loops(double_network):
    images, targets, strokes = a_batch()
    with torch.no_grad():
        feature = double_network.backbone(images).feature.numpy()
    weight = double_network.head.weight.detach().numpy()[:, :, 0, 0]
    terms = []
    for number, y, x in np.argwhere(strokes.numpy() != IGNORE):
        small = np.einsum("kc,chw->khw", weight, feature[number])
        scores = np.exp(bilinear(small, y, x, 33, 49))
        terms.append(-np.log(scores[strokes[number, y, x]] / scores.sum()))
    plain = loss_of(double_network, images, targets).item()
    found = loss_of(double_network, images, targets, strokes, stroke_weight=0.3)
    assert len(terms) > 100
    assert found.dtype == torch.float64
    assert found.item() - plain == pytest.approx(0.3 * np.mean(terms), rel=1e-9)


def test_without_a_stroke_in_it_a_crop_adds_nothing(double_network):
    images, targets, strokes = a_batch()
    empty = torch.full_like(strokes, IGNORE)
    plain = loss_of(double_network, images, targets)
    assert loss_of(double_network, images, targets, empty, stroke_weight=5) == plain


def test_only_pixels_teach_the_background(double_network):
    images, targets, strokes = a_batch()

    def gradient(*labels):
        double_network.zero_grad()
        loss_of(double_network, images, targets, *labels, stroke_weight=1).backward()
        return double_network.head.weight.grad[:, :, 0, 0].abs().sum(dim=1)

    of_images = gradient()
    assert of_images[0] == 0
    assert (of_images[1:] > 0).all()
    assert (gradient(strokes) > 0).all()


def test_the_background_is_no_class_of_an_image(double_network):
    images, _, _ = a_batch()
    with torch.no_grad():
        pixels = double_network.pixel_logits(images)
        assert pixels.shape == (2, 4, 3, 4)
        torch.testing.assert_close(double_network(images), pixels[:, 1:].mean(dim=(2, 3)))
        torch.testing.assert_close(double_network.activation_maps(images), pixels[:, 1:].relu())


def test_strokes_are_cut_as_their_image_is():
    """The image shows its label as grey values, so that each crop can be compared with its own."""
    rng = np.random.default_rng(0)
    label = np.kron(rng.integers(0, 5, (4, 6)), np.ones((14, 14))).astype(np.uint8)
    image = np.repeat(40 * label[..., None], 3, axis=2)
    dataset = SimpleNamespace(
        splits={"train": ("a",)}, classes=tuple("abcde"), image=lambda _: image, pixels=RGB
    )
    settings = ClassifierSettings(crop_size=65, scale=(0.5, 1.0))
    crops = ClassifierCrops(dataset, {"a": [1]}, settings, {"a": label})
    mean, std = (value[:, None, None] for value in (IMAGENET_MEAN, IMAGENET_STD))
    seen = set()
    for epoch in range(12):
        sample = crops[epoch, 0]
        crop, strokes = sample["image"].numpy(), sample["strokes"].numpy()
        assert (strokes.shape, strokes.dtype) == ((65, 65), np.uint8)
        grey = ((crop * std + mean) * 255).round()
        around = np.ones((5, 5), np.uint8)
        flat = cv2.erode(strokes, around) == cv2.dilate(strokes, around)
        flat[[0, 1, -2, -1]] = flat[:, [0, 1, -2, -1]] = False  # what is beside them is not seen
        for value in np.unique(strokes[flat]).tolist():
            shown = grey[:, flat & (strokes == value)]
            wanted = np.rint(255 * mean[:, 0]) if value == IGNORE else 40 * value
            np.testing.assert_allclose(shown, np.broadcast_to(wanted, shown.shape), atol=1)
            seen.add(value)
    assert seen == {0, 1, 2, 3, 4, IGNORE}


def test_what_strokes_taught_becomes_labels(tiny_data, image_classes, train, tmp_path):
    strokes = tiny_data.scribbles / "labels.h5"
    path = train(scribbles=strokes, stroke_weight=1.0)
    assert read_network(path, "classifier").arguments["background"] is True
    evidence, labels = tmp_path / "probabilities.h5", tmp_path / "labels.h5"
    settings, cpu = CamSettings(scales=(1.0,)), torch.device("cpu")
    export_cams(path, tiny_data.dataset, image_classes, settings, evidence, device=cpu)
    make_pseudo_labels(
        tiny_data.dataset, strokes, evidence, LabelSettings(), labels, recipe="taught"
    )
    store = LabelStore(labels, "pseudo_labels")
    assert store.parameters["evidence"]["kind"] == "probabilities"
    for image_id in store:
        assert set(np.unique(store[image_id])) <= {0, *image_classes[image_id]}


def test_with_strokes_too_the_same_seed_gives_the_same_bytes(tiny_data, train):
    options = {
        "scribbles": tiny_data.scribbles / "labels.h5",
        "stroke_weight": 0.5,
        "class_balance": True,
    }
    first = train("first.pt", **options).read_bytes()
    assert train("again.pt", **options).read_bytes() == first
    assert train("worker.pt", num_workers=1, **options).read_bytes() == first


def test_strokes_and_their_weight_go_together(tiny_data, train, tmp_path):
    strokes = tiny_data.scribbles / "labels.h5"
    with pytest.raises(ValueError, match=r"stroke_weight 0\.5: .* give their store .*--scribbles"):
        train(stroke_weight=0.5)
    with pytest.raises(ValueError, match=r"labels\.h5: a classifier with stroke_weight 0 does not"):
        train(scribbles=strokes)
    with pytest.raises(ValueError, match=r"expected a store of scribbles, found one of pseudo"):
        train(scribbles=tiny_data.pseudo_labels, stroke_weight=0.5)
    with pytest.raises(ValueError, match=r"nowhere\.h5: no such label store"):
        train(scribbles=tmp_path / "nowhere.h5", stroke_weight=0.5)
    assert not list(tmp_path.iterdir())


def test_scribbles_of_another_data_set_are_refused(tiny_data, image_classes, tmp_path):
    with pytest.raises(ValueError, match="made with source dataset"):
        train_classifier(
            dataclasses.replace(tiny_data.dataset, digest="another"),
            image_classes,
            ClassifierSettings(**SETTINGS, stroke_weight=1.0),
            tmp_path / "classifier.pt",
            scribbles=tiny_data.scribbles / "labels.h5",
            device=torch.device("cpu"),
            num_workers=0,
        )
