"""Small imitations of Cityscapes and ADE20K with the strokes of Scribbles for All."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from cdsp.dataset.scribbles4all import CITYSCAPES, make_scribbles4all
from cdsp.io.files import read_label

SIZE = (12, 20)


def write(path: Path, values: np.ndarray) -> None:
    """As they are published: of strokes and photographs, three channels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), values)


def grey(values: np.ndarray) -> np.ndarray:
    return values[..., None].repeat(3, axis=2)


def photograph(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*SIZE, 3), np.uint8)


def half(first: int, second: int) -> np.ndarray:
    label = np.full(SIZE, first, np.uint8)
    label[:, SIZE[1] // 2 :] = second
    return label


def strokes_of(label: np.ndarray) -> np.ndarray:
    return np.where(np.arange(SIZE[0])[:, None] == 5, label, 0).astype(np.uint8)


@pytest.fixture
def cityscapes(tmp_path):
    root = tmp_path / "Cityscapes"
    images = {
        "train/aachen/aachen_000000_000019": half(7, 26),  # road, car
        "train/ulm/ulm_000001_000019": half(24, 4),  # person, and "static", which is not scored
        "val/munster/munster_000000_000019": half(23, 0),
    }
    for seed, (name, label) in enumerate(images.items()):
        write(root / "leftImg8bit" / f"{name}_leftImg8bit.png", photograph(seed))
        write(root / "gtFine" / f"{name}_gtFine_labelIds.png", label)
        if name.startswith("train"):
            file = f"scribbles/gtFine/{name}_gtFine_labelIds.png"
            write(root / file, grey(strokes_of(label)))
    return root


@pytest.fixture
def ade20k(tmp_path):
    root = tmp_path / "ADEChallengeData2016"
    lines = ["Idx\tRatio\tTrain\tVal\tName", "1\t0.1\t9\t9\twall", "2\t0.1\t9\t9\tdoor, gate"]
    root.mkdir()
    (root / "objectInfo150.txt").write_text("\n".join(lines) + "\n")
    for part, number in (("training", 1), ("training", 2), ("validation", 1)):
        prefix = "ADE_train" if part == "training" else "ADE_val"
        name = f"{prefix}_{number:08d}"
        write(root / "images" / part / f"{name}.jpg", photograph(number))
        label = half(2, 0)
        write(root / "annotations" / part / f"{name}.png", label)
        if part == "training" and number == 1:
            write(root / "scribbles" / part / f"{name}.png", grey(strokes_of(label)))
    return root


def test_cityscapes_becomes_a_folder_of_the_19_classes(cityscapes, tmp_path):
    output = tmp_path / "results/s4/dataset/dataset.json"
    dataset = make_scribbles4all("cityscapes", cityscapes, "s4", output)
    assert dataset.classes == ("other", *CITYSCAPES)
    assert dataset.splits["train"] == ("aachen_000000_000019", "ulm_000001_000019")
    assert dataset.splits["val"] == ("munster_000000_000019",)
    index = dataset.classes.index
    first, second = dataset.splits["train"]
    assert np.array_equal(dataset.mask(first), half(index("road"), index("car")))
    assert np.array_equal(dataset.mask(second), half(index("person"), 255))
    assert np.array_equal(dataset.mask("munster_000000_000019"), half(index("sky"), 255))
    strokes = read_label(dataset.root / "Scribbles" / f"{first}.png")
    on = np.arange(SIZE[0])[:, None] == 5
    assert np.array_equal(strokes, np.where(on, half(index("road"), index("car")), 255))
    assert not (dataset.root / "Scribbles/munster_000000_000019.png").exists()
    # The images are the original ones.
    image = cv2.imread(str(next(cityscapes.glob("leftImg8bit/train/ulm/*"))))
    assert image is not None
    assert np.array_equal(dataset.image(second), image[..., ::-1])
    again = make_scribbles4all("cityscapes", cityscapes, "s4", output)
    assert again.digest == dataset.digest


def test_ade20k_has_the_classes_that_it_says(ade20k, tmp_path, caplog):
    output = tmp_path / "results/s4/dataset/dataset.json"
    dataset = make_scribbles4all("ade20k", ade20k, "s4", output)
    assert dataset.classes == ("other", "wall", "door, gate")
    assert np.array_equal(dataset.mask("ADE_train_00000001"), half(2, 255))
    assert "1 training images have no strokes" in caplog.text


@pytest.mark.parametrize(
    ("take_away", "message"),
    [
        ("scribbles", "scribbles: no such folder of strokes.*: unpack them there"),
        ("images", r"no train images of ade20k there; expected its own folders"),
        ("objectInfo150.txt", r"objectInfo150\.txt"),
        ("annotations/training/ADE_train_00000001.png", "no such label file"),
        ("scribbles/training/ADE_train_00000001.png", "no strokes of any of 2 training images"),
    ],
)
def test_what_is_missing_is_named(ade20k, tmp_path, take_away, message):
    (ade20k / take_away).rename(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match=message):
        make_scribbles4all("ade20k", ade20k, "s4", tmp_path / "out/dataset.json")
    assert not (tmp_path / "out/dataset.json").exists()


def test_a_list_of_classes_that_is_none_is_refused(ade20k, tmp_path):
    (ade20k / "objectInfo150.txt").write_text("Idx\tName\n1\twall\n3\tdoor\n")
    with pytest.raises(ValueError, match=r"expected classes numbered from 1, found \[1, 3\]"):
        make_scribbles4all("ade20k", ade20k, "s4", tmp_path / "out/dataset.json")
