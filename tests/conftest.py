import json
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from hypothesis import settings

from cdsp.dataset.prepare import make_shapes
from cdsp.dataset.voc_layout import Dataset
from cdsp.io.store import write_store
from cdsp.networks.checkpoint import NetworkCheckpoint, segmentation_arguments, write_network
from cdsp.networks.heads import build_network
from cdsp.networks.settings import NetworkSettings
from cdsp.scribbles.degrade import Degradation
from cdsp.scribbles.scribble_labels import degrade_scribbles, simulate_scribbles

settings.register_profile("repeatable", deadline=None, max_examples=50, derandomize=True)
settings.load_profile("repeatable")


@pytest.fixture(scope="session", autouse=True)
def one_torch_thread():
    torch.set_num_threads(1)


class TinyData(NamedTuple):
    """A data set of 8 + 4 drawn images of 48 pixels and what stages make of it; to be read only."""

    dataset: Dataset
    strokes: Path  # simulated strokes
    scribbles: Path  # folder of the full scribbles: strokes.jsonl, labels.h5, image_classes.json
    pseudo_labels: Path  # store: the masks themselves, as if CAMs were perfect


@pytest.fixture(scope="session")
def write_labelme():
    """Function that writes a file of labelme: (label, kind, points from the corner) of shapes."""

    def write(path, image, size, shapes, tags=()):
        names = ("label", "shape_type", "points")
        content = {
            "imagePath": image,
            "imageHeight": size[0],
            "imageWidth": size[1],
            "flags": dict.fromkeys(tags, True),
            "shapes": [dict(zip(names, shape, strict=True)) for shape in shapes],
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))

    return write


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory):
    root = tmp_path_factory.mktemp("tiny_data")
    dataset = make_shapes(root / "dataset", "tiny", num_train=8, num_val=4, size=48, seed=0)
    strokes = root / "strokes.jsonl"
    simulate_scribbles(dataset, strokes, style="medial_axis", coverage=0.05, seed=0)
    options = {"drop_background": False, "min_per_image": 0, "seed": 0}
    degrade_scribbles(strokes, Degradation("full"), root / "full", **options)
    masks = [(image_id, dataset.mask(image_id), {}) for image_id in dataset.splits["train"]]
    write_store(
        root / "pseudo_labels.h5",
        masks,
        kind="pseudo_labels",
        parameters={"recipe": "truth", "scribbles": "full"},
        sources={"dataset": dataset.digest},
    )
    return TinyData(dataset, strokes, root / "full", root / "pseudo_labels.h5")


@pytest.fixture(scope="session")
def tiny_weights(tiny_data, tmp_path_factory):
    """The file of an untrained network of the tiny data set, which predicts several classes."""
    torch.manual_seed(0)
    network = NetworkSettings(head="deeplabv2", backbone="resnet18", output_stride=16)
    num_classes = len(tiny_data.dataset.classes)
    path = tmp_path_factory.mktemp("tiny_weights") / "weights.pt"
    write_network(
        path,
        NetworkCheckpoint(
            kind="segmentation",
            arguments=segmentation_arguments(network, num_classes),
            classes=tiny_data.dataset.classes,
            colours={},
            name={"dataset": "tiny", "method": "scribble_only", "seed": 0},
            settings={"epochs": 0},
            network=build_network(network, num_classes),
        ),
    )
    return path
