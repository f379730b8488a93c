import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cdsp.dataset.prepare import describe_folder, make_shapes
from cdsp.evaluation.evaluate import evaluate
from cdsp.evaluation.settings import EvaluationSettings
from cdsp.io.files import VOC_PALETTE, read_label, write_label
from cdsp.io.json_files import read_object
from cdsp.networks.checkpoint import read_network, write_network
from cdsp.networks.predictor import predict_probabilities
from cdsp.tools.predict import predict

CPU = torch.device("cpu")
QUICK = EvaluationSettings(scales=(1.0,), long_side=0, window=0)


@pytest.fixture(scope="module")
def evaluated(tiny_data, tiny_weights, tmp_path_factory):
    """The folder of an evaluation, with its predictions, and what the function returned."""
    folder = tmp_path_factory.mktemp("evaluated")
    settings = EvaluationSettings(scales=(1.0, 1.5), long_side=0, window=33, stride=22)
    metrics = evaluate(
        tiny_weights,
        tiny_data.dataset,
        settings,
        folder / "quick",
        protocol="quick",
        device=CPU,
        predictions=folder / "predictions",
    )
    return folder, metrics, settings


@pytest.fixture(scope="module")
def expected_predictions(tiny_data, tiny_weights, evaluated):
    network = read_network(tiny_weights, "segmentation").network
    predictions = {}
    for image_id in tiny_data.dataset.splits["val"]:
        image = tiny_data.dataset.image(image_id)
        probability = predict_probabilities(network, image, evaluated[2], CPU)
        predictions[image_id] = probability.argmax(dim=0).numpy()
    assert all(len(np.unique(each)) > 1 for each in predictions.values())
    return predictions


def test_predictions_are_palette_images_of_the_likeliest_class(evaluated, expected_predictions):
    folder = evaluated[0] / "predictions"
    assert {path.stem for path in folder.glob("*.png")} == set(expected_predictions)
    for image_id, expected in expected_predictions.items():
        np.testing.assert_array_equal(read_label(folder / f"{image_id}.png"), expected)
        with Image.open(folder / f"{image_id}.png") as file:
            assert (file.mode, file.getpalette()) == ("P", VOC_PALETTE.ravel().tolist())


def test_metrics_are_those_of_the_predictions(tiny_data, evaluated, expected_predictions):
    folder, metrics, _ = evaluated
    classes = tiny_data.dataset.classes
    truth = np.concatenate([tiny_data.dataset.mask(i).ravel() for i in expected_predictions])
    found = np.concatenate([each.ravel() for each in expected_predictions.values()])
    found, truth = found[truth != 255], truth[truth != 255]
    confusion = np.load(folder / "quick" / "confusion.npy")
    assert confusion.shape == (len(classes), len(classes))
    for row, column in np.ndindex(confusion.shape):
        assert confusion[row, column] == ((truth == row) & (found == column)).sum()
    ious = {}
    for class_id, name in enumerate(classes):
        union = ((truth == class_id) | (found == class_id)).sum()
        if union:
            ious[name] = ((truth == class_id) & (found == class_id)).sum() / union
    assert len(ious) < len(classes)
    for name, value in metrics["class_iou"].items():
        assert value == (pytest.approx(ious[name]) if name in ious else None)
    assert metrics["mean_iou"] == pytest.approx(np.mean(list(ious.values())))
    assert metrics["pixel_accuracy"] == pytest.approx((truth == found).mean())
    assert 0 < metrics["probe_accuracy"] < 1


def test_the_file_says_what_was_measured_and_how(tiny_data, tiny_weights, evaluated):
    folder, metrics, _ = evaluated
    assert sorted(path.name for path in (folder / "quick").glob("[!.]*")) == [
        "confusion.npy",
        "metrics.json",
    ]
    read = read_object(folder / "quick" / "metrics.json")
    assert read == json.loads(json.dumps(metrics))
    assert (read["format"], read["version"], read["protocol"]) == ("cdsp-metrics", 3, "quick")
    assert read["weights"] == str(tiny_weights)
    assert read["name"] == {"dataset": "tiny", "method": "scribble_only", "seed": 0}
    assert read["protocol_settings"]["scales"] == [1.0, 1.5]
    assert read["protocol_settings"]["window"] == 33
    assert read["dataset"] == {
        "name": "tiny",
        "digest": tiny_data.dataset.digest,
        "num_images": 4,
    }
    assert read["training"] == {"epochs": 0}
    assert read["environment"]["torch"] == torch.__version__
    assert Path(sys.argv[0]).name in read["environment"]["command"]
    assert "commit" in read["environment"]


def test_the_mean_can_be_of_some_classes(tiny_data, tiny_weights, evaluated, tmp_path):
    names = [name for name, value in evaluated[1]["class_iou"].items() if value is not None][:2]
    settings = EvaluationSettings(
        scales=(1.0, 1.5), long_side=0, window=33, stride=22, classes=tuple(names)
    )
    metrics = evaluate(
        tiny_weights, tiny_data.dataset, settings, tmp_path, protocol="some", device=CPU
    )
    assert metrics["class_iou"] == evaluated[1]["class_iou"]
    assert metrics["mean_iou"] == pytest.approx(np.mean([metrics["class_iou"][n] for n in names]))
    assert metrics["mean_iou"] != pytest.approx(evaluated[1]["mean_iou"])
    assert metrics["pixel_accuracy"] == evaluated[1]["pixel_accuracy"]


def test_a_mean_over_classes_that_do_not_occur_is_null(
    tiny_data, tiny_weights, evaluated, tmp_path
):
    (absent, *_) = (name for name, value in evaluated[1]["class_iou"].items() if value is None)
    settings = replace(QUICK, classes=(absent,))
    evaluate(tiny_weights, tiny_data.dataset, settings, tmp_path, protocol="one", device=CPU)
    text = (tmp_path / "metrics.json").read_text()
    assert json.loads(text, parse_constant=pytest.fail)["mean_iou"] is None


def test_masks_without_a_counted_pixel_are_no_measurement(tiny_weights, tmp_path, tiny_data):
    root = tmp_path / "void"
    drawn = make_shapes(root, "void", num_train=1, num_val=2, size=33, seed=0)
    for image_id in drawn.splits["val"]:
        write_label(drawn.mask_path(image_id), np.full((33, 33), 255, np.uint8))
    drawn = replace(drawn, files=None)
    with pytest.raises(ValueError, match=r"2 validation images are 255 \(void\) throughout"):
        evaluate(tiny_weights, drawn, QUICK, tmp_path / "out", protocol="quick", device=CPU)
    assert not (tmp_path / "out").exists()


def test_a_data_set_of_other_classes_is_refused(tiny_weights, tmp_path):
    root = tmp_path / "other"
    drawn = make_shapes(root, "other", num_train=1, num_val=1, size=33, seed=0)
    classes = (*drawn.classes[:-1], "dragon")
    other = describe_folder(root, "other", classes, tmp_path / "dataset.json")
    with pytest.raises(ValueError, match=r"trained on the classes .* the data set has .*dragon"):
        evaluate(tiny_weights, other, QUICK, tmp_path / "out", protocol="quick", device=CPU)
    assert not (tmp_path / "out").exists()


def test_enlarged_photographs_are_measured_and_predicted_as_they_were(
    tiny_data, tiny_weights, tmp_path
):
    dataset, factor = tiny_data.dataset, 4
    enlarged = tmp_path / "enlarged"
    for image_id in dataset.splits["val"]:
        for folder, pixels in (
            ("JPEGImages", dataset.image(image_id)),
            ("SegmentationClassAug", dataset.mask(image_id)),
        ):
            (enlarged / folder).mkdir(parents=True, exist_ok=True)
            larger = pixels.repeat(factor, axis=0).repeat(factor, axis=1)
            Image.fromarray(larger).save(enlarged / folder / f"{image_id}.png")
    lists = enlarged / "ImageSets/SegmentationAug"
    lists.mkdir(parents=True)
    first, *others = dataset.splits["val"]
    (lists / "train.txt").write_text(f"{first}\n")
    (lists / "val.txt").write_text("\n".join(others))
    weights = tmp_path / "weights.pt"
    checkpoint = replace(
        read_network(tiny_weights, "segmentation"),
        working_size=dataset.usual_size,
        protocol=EvaluationSettings(scales=(1.0, 1.5), long_side=0, window=0),
    )
    write_network(weights, checkpoint)
    confusions = []
    same = replace(dataset, splits={**dataset.splits, "val": tuple(others)})
    large = describe_folder(enlarged, "large", dataset.classes, tmp_path / "large.json")
    for name, data in (("same", same), ("large", large)):
        metrics = evaluate(weights, data, None, tmp_path / name, protocol="own", device=CPU)
        assert tuple(metrics["protocol_settings"]["scales"]) == (1.0, 1.5)
        confusions.append(np.load(tmp_path / name / "confusion.npy"))
    # What differs is where a border between two classes runs within an enlarged pixel.
    assert np.abs(confusions[1] / factor**2 - confusions[0]).sum() < 0.03 * confusions[0].sum()
    photographs = [large.root / large.images[image_id][0] for image_id in others]
    predict(list(map(str, photographs)), weights, tmp_path / "predicted", None, CPU)
    for image_id in others:
        image = dataset.image(image_id)
        probability = predict_probabilities(checkpoint.network, image, checkpoint.protocol, CPU)
        found = read_label(tmp_path / f"predicted/{image_id}.png")[::factor, ::factor]
        assert (found == probability.argmax(dim=0).numpy()).mean() > 0.95
