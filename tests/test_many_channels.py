"""Images of five 16-bit channels through all stages, and common photographs as they ever were."""

import json
from dataclasses import replace

import numpy as np
import pytest
import tifffile
import torch

from cdsp.dataset.prepare import describe_folder, make_shapes
from cdsp.evaluation.evaluate import evaluate
from cdsp.evaluation.settings import WHOLE_IMAGE
from cdsp.io.files import read_label
from cdsp.io.photograph import open_photograph
from cdsp.io.pixels import RGB
from cdsp.io.store import LabelStore
from cdsp.networks.checkpoint import read_network
from cdsp.networks.predictor import predict_probabilities
from cdsp.networks.settings import NetworkSettings
from cdsp.pseudo_labels.cams import export_cams
from cdsp.pseudo_labels.classifier import train_classifier
from cdsp.pseudo_labels.from_evidence import make_pseudo_labels
from cdsp.pseudo_labels.pixel_classifier import export_pixel_probabilities
from cdsp.pseudo_labels.settings import (
    CamSettings,
    ClassifierSettings,
    LabelSettings,
    PixelSettings,
)
from cdsp.reporting.figures.panel import draw_panel
from cdsp.scribbles.degrade import Degradation
from cdsp.scribbles.image_classes import read_image_classes
from cdsp.scribbles.scribble_labels import degrade_scribbles, simulate_scribbles
from cdsp.segmentation.data import open_training_data
from cdsp.segmentation.method import parse_method
from cdsp.segmentation.settings import SegmentationSettings
from cdsp.segmentation.train import train_segmentation
from cdsp.tools.export_onnx import export_onnx
from cdsp.tools.predict import predict

CPU = torch.device("cpu")


def five_channels(image):
    """(H, W, 3) uint8 → (H, W, 5) uint16; the fifth holds what the others do not."""
    colours = image.astype(np.uint16) * 200 + 300
    grey = colours.mean(axis=2).astype(np.uint16)
    return np.stack([*np.moveaxis(colours, -1, 0), grey, grey[::-1]], axis=2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder of six TIFFs, with masks and lists."""
    root = tmp_path_factory.mktemp("many") / "data"
    drawn = make_shapes(root, "drawn", num_train=4, num_val=2, size=48, seed=0)
    for image_id, (file, _, _) in drawn.images.items():
        image = five_channels(drawn.image(image_id))
        (root / file).unlink()
        tifffile.imwrite(
            root / f"JPEGImages/{image_id}.tif",
            image,
            photometric="minisblack",
            planarconfig="contig",
            tile=(32, 32),
        )
    (root / "dataset.json").unlink()
    return root, drawn.classes


@pytest.fixture(scope="module")
def dataset(folder):
    root, classes = folder
    return describe_folder(root, "many", classes, root.parent / "dataset.json", working_size=40)


@pytest.fixture(scope="module")
def trained(dataset, tmp_path_factory):
    """A folder of what all stages made."""
    made = tmp_path_factory.mktemp("made")
    simulate_scribbles(dataset, made / "all.jsonl", style="medial_axis", coverage=0.05, seed=0)
    options = {"drop_background": False, "min_per_image": 0, "seed": 0}
    degrade_scribbles(made / "all.jsonl", Degradation("full"), made, **options)
    image_classes = read_image_classes(made / "image_classes.json")
    settings = ClassifierSettings(
        backbone="resnet18", backbone_weights="none", epochs=1, batch_size=4, crop_size=33
    )
    train_classifier(
        dataset, image_classes, settings, made / "classifier.pt", device=CPU, num_workers=0
    )
    export_cams(
        made / "classifier.pt",
        dataset,
        image_classes,
        CamSettings(scales=(1.0,)),
        made / "cams.h5",
        device=CPU,
    )
    export_pixel_probabilities(
        dataset,
        made / "labels.h5",
        image_classes,
        PixelSettings(largest_scale=2, trees=20),
        made / "pixels.h5",
    )
    labels = LabelSettings(refinement="random_walk", superpixel_spacing=4, write_scribbles=True)
    for evidence in ("cams", "pixels"):
        make_pseudo_labels(
            dataset,
            made / "labels.h5",
            made / f"{evidence}.h5",
            labels,
            made / f"{evidence}_labels.h5",
            recipe=evidence,
        )
    method = parse_method({"scribble": 1, "pseudo_label": 1}, "method both")
    stores = {"scribble": made / "labels.h5", "pseudo_label": made / "pixels_labels.h5"}
    train_segmentation(
        open_training_data(dataset, method, stores),
        NetworkSettings(head="deeplabv2", backbone="mobilenet_v2", backbone_weights="none"),
        SegmentationSettings(epochs=1, warmup_epochs=0, batch_size=2, crop_size=33),
        made / "run",
        name={"method": "both"},
        seed=0,
        device=CPU,
        num_workers=0,
    )
    return made


def test_the_description_says_what_the_pixels_are(dataset):
    pixels = dataset.pixels
    assert (pixels.channels, pixels.depth, str(pixels)) == (5, "uint16", "5 channels of uint16")
    assert (np.array(pixels.low) >= 300).all()
    assert (np.array(pixels.high) <= 255 * 200 + 300).all()
    image = dataset.image(dataset.splits["train"][0])
    assert (image.shape, image.dtype) == ((40, 40, 5), np.float32)
    assert (image.min(), image.max()) == (pytest.approx(0, abs=9), pytest.approx(255, abs=9))


def test_pseudo_labels_follow_the_channels(dataset, trained):
    """A pixel classifier and a walk on colours find more than chance would."""
    labels = LabelStore(trained / "pixels_labels.h5")
    right = [
        (labels[image_id] == dataset.mask(image_id))[dataset.mask(image_id) != 255].mean()
        for image_id in dataset.splits["train"]
    ]
    assert np.mean(right) > 0.6
    assert set(LabelStore(trained / "cams.h5")) == set(dataset.splits["train"])


def test_a_network_is_evaluated_and_predicts_by_the_pixels_that_it_learnt(
    dataset, trained, tmp_path
):
    weights = trained / "run" / "weights.pt"
    checkpoint = read_network(weights, "segmentation")
    assert checkpoint.pixels == dataset.pixels
    other = replace(dataset, pixels=replace(dataset.pixels, low=(0.0,) * 5))
    settings = WHOLE_IMAGE
    evaluate(weights, other, settings, tmp_path / "eval", protocol="quick", device=CPU,
             predictions=tmp_path / "eval")  # fmt: skip
    paths = [dataset.root / dataset.images[image_id][0] for image_id in dataset.splits["val"]]
    predict(list(map(str, paths)), weights, tmp_path / "predicted", None, CPU)
    for path in paths:
        image = open_photograph(path, checkpoint.pixels).whole
        expected = predict_probabilities(
            checkpoint.network, image, settings, CPU, working_size=checkpoint.working_size
        )
        for folder in ("eval", "predicted"):
            np.testing.assert_array_equal(
                read_label(tmp_path / folder / f"{path.stem}.png"), expected.argmax(dim=0).numpy()
            )
        assert (tmp_path / "predicted" / f"{path.stem}_overlay.jpg").is_file()


def test_an_onnx_graph_takes_the_values_of_the_file(dataset, trained, tmp_path):
    runtime = pytest.importorskip("onnxruntime")
    weights = trained / "run" / "weights.pt"
    export_onnx(weights, tmp_path / "network.onnx")
    session = runtime.InferenceSession(tmp_path / "network.onnx")
    path = dataset.root / dataset.images[dataset.splits["val"][0]][0]
    (found,) = session.run(None, {"image": tifffile.imread(path)})
    checkpoint = read_network(weights, "segmentation")
    expected = predict_probabilities(
        checkpoint.network,
        open_photograph(path, checkpoint.pixels).whole,
        WHOLE_IMAGE,
        CPU,
        working_size=checkpoint.working_size,
    )
    np.testing.assert_allclose(found, expected, atol=0.005)


def test_pictures_are_drawn_of_them(dataset, trained, tmp_path):
    draw_panel(
        dataset,
        {"scribble": LabelStore(trained / "labels.h5")},
        [trained / "run" / "weights.pt"],
        WHOLE_IMAGE,
        tmp_path / "panel.png",
        split="train",
        num_images=2,
        device=CPU,
    )
    assert (tmp_path / "panel.png").stat().st_size > 1000


def test_networks_of_common_photographs_refuse_them_and_the_other_way_round(
    dataset, trained, tiny_data, tiny_weights, tmp_path
):
    with pytest.raises(ValueError, match=r"photographs of 5 channels .* trained on 8-bit RGB"):
        replace(dataset, classes=tiny_data.dataset.classes).seen_as(RGB)
    path = dataset.root / dataset.images[dataset.splits["val"][0]][0]
    with pytest.raises(ValueError, match="5 channels of uint16, expected 8-bit RGB"):
        predict([str(path)], tiny_weights, tmp_path / "one", None, CPU)
    photograph = tiny_data.dataset.root / "JPEGImages" / "val_00000.jpg"
    with pytest.raises(ValueError, match="3 channels of uint8, expected 5 channels of uint16"):
        predict([str(photograph)], trained / "run" / "weights.pt", tmp_path / "two", None, CPU)


def test_a_folder_of_several_kinds_is_told_file_by_file(folder, tmp_path):
    root, classes = folder
    copy = tmp_path / "copy"
    for path in root.rglob("*.*"):
        (copy / path.relative_to(root)).parent.mkdir(parents=True, exist_ok=True)
        if path.is_file():
            (copy / path.relative_to(root)).write_bytes(path.read_bytes())
    first, second, third = sorted((copy / "JPEGImages").glob("t*.tif"))[:3]
    tifffile.imwrite(first, np.zeros((48, 48, 2), np.uint16), planarconfig="contig")
    tifffile.imwrite(second, np.full((48, 48), np.nan, np.float32))
    third.write_bytes(third.read_bytes()[:900])
    with pytest.raises(ValueError, match="3 problems") as caught:
        describe_folder(copy, "copy", classes, tmp_path / "dataset.json")
    for message in (
        rf"several kinds: 3 of 5 channels of uint16 .* 1 of 2 channels of uint16 \({first.name}\)",
        rf"{second.name}: 2304 values are NaN or infinite",
        rf"{third.name}: cut short, or damaged",
    ):
        assert caught.match(message)
    with pytest.raises(ValueError, match="and 5 more: has no page 1; its 1 pages are 0 to 0"):
        describe_folder(root, "many", classes, tmp_path / "dataset.json", page=1)


def test_common_photographs_are_described_as_ever(tiny_data):
    content = json.loads((tiny_data.dataset.root / "dataset.json").read_text())
    assert "pixels" not in content
    assert tiny_data.dataset.pixels == RGB
