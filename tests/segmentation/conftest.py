from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cdsp.dataset.prepare import describe_folder
from cdsp.dataset.voc_layout import Dataset
from cdsp.distance_maps.compute import make_distance_maps
from cdsp.io.files import IGNORE
from cdsp.io.store import LabelStore, write_store
from cdsp.segmentation.data import TrainingData, open_training_data
from cdsp.segmentation.method import Method, parse_method
from cdsp.segmentation.settings import SegmentationSettings

NUM_TRAIN = 8
NUM_WITHOUT_SCRIBBLE = 2


class TinyTraining:
    """Eight training images of different sizes with every map, in a folder.

    Attributes:
        folder: of everything.
        dataset: the images; the first two of them have no scribble at all.
        paths: map → its store; λ is 2 and 7.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.dataset = draw_dataset(folder / "dataset")
        scribbles, labels = {}, {}
        for index, image_id in enumerate(self.dataset.splits["train"]):
            mask = self.dataset.mask(image_id)
            coverage = 0.1 if index >= NUM_WITHOUT_SCRIBBLE else 0
            drawn = np.random.default_rng([1, index]).random(mask.shape) < coverage
            scribbles[image_id] = np.where(drawn, mask, IGNORE).astype(np.uint8)
            labels[image_id] = np.roll(mask, 3, axis=1)
        self.paths: dict[str, Path | None] = {
            "scribble": self.write_store("scribble", "scribbles", scribbles),
            "pseudo_label": self.write_store("pseudo_label", "pseudo_labels", labels),
            "scribble_distance": self.write_distances("scribble", 2),
            "pseudo_label_distance": self.write_distances("pseudo_label", 7),
        }

    def write_store(self, name: str, kind: str, maps: dict[str, np.ndarray]) -> Path:
        path = self.folder / f"{name}.h5"
        entries = [(image_id, values, {}) for image_id, values in maps.items()]
        sources = {"dataset": self.dataset.digest}
        write_store(path, entries, kind=kind, parameters={}, sources=sources)
        return path

    def write_distances(self, labels: str, exponent: float) -> Path:
        path = self.folder / f"{labels}_distance_{exponent}.h5"
        make_distance_maps(self.folder / f"{labels}.h5", exponent, path)
        return path

    def maps(self, name: str) -> dict[str, np.ndarray]:
        """The maps of a store, to be written changed."""
        store = LabelStore(self.folder / f"{name}.h5")
        return {image_id: store[image_id] for image_id in store}

    def open(self, method: Method, **paths: Path | None) -> TrainingData:
        """The training data of a method, with other stores for some of the maps."""
        return open_training_data(self.dataset, method, {**self.paths, **paths})


def draw_dataset(root: Path) -> Dataset:
    """Write noisy images of 33 to 48 pixels, each with two squares, one of each class."""
    splits = {"train": [f"image_{index}" for index in range(NUM_TRAIN)], "val": ["other"]}
    for folder in ("JPEGImages", "SegmentationClassAug", "ImageSets/SegmentationAug"):
        (root / folder).mkdir(parents=True)
    for split, ids in splits.items():
        (root / f"ImageSets/SegmentationAug/{split}.txt").write_text("\n".join(ids))
    for index, image_id in enumerate([*splits["train"], *splits["val"]]):
        rng = np.random.default_rng([0, index])
        mask = np.zeros(rng.integers(33, 49, 2), np.uint8)
        for class_id in (1, 2):
            y, x = rng.integers(0, 20, 2)
            mask[y : y + 14, x : x + 14] = class_id
        colours = np.array([[90, 90, 90], [200, 60, 60], [60, 60, 200]])
        image = (colours[mask] + rng.normal(0, 20, (*mask.shape, 3))).clip(0, 255)
        Image.fromarray(image.astype(np.uint8)).save(root / f"JPEGImages/{image_id}.png")
        Image.fromarray(mask).save(root / f"SegmentationClassAug/{image_id}.png")
    return describe_folder(root, "tiny", ("background", "red", "blue"), root / "dataset.json")


@pytest.fixture(scope="session")
def tiny_training(tmp_path_factory):
    return TinyTraining(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def tiny_settings():
    return SegmentationSettings(
        epochs=3,
        warmup_epochs=1,
        batch_size=3,
        learning_rate=0.02,
        crop_size=33,
        scale=(0.75, 1.25),
    )


@pytest.fixture(scope="session")
def all_terms():
    """The whole method, with a weight of its own for each term."""
    weights = {
        "scribble": 1,
        "pseudo_label": 0.75,
        "lorm": 0.5,
        "scribble_distance": 0.25,
        "pseudo_label_distance": 0.125,
    }
    return parse_method(weights, "method")
