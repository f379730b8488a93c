"""A small imitation of ScribbleCOCO, which is a folder in VOC layout with three of strokes."""

import cv2
import numpy as np
import pytest
import yaml

from cdsp.dataset.prepare import describe_folder
from cdsp.dataset.settings import FolderSettings
from cdsp.scribbles.import_annotations import import_strokes
from cdsp.scribbles.settings import AnnotationSettings
from cdsp.scribbles.stroke_files import read_strokes
from cdsp.settings import parse_settings

SIZE = (24, 40)
STYLES = ("r1", "r2", "r3")


@pytest.fixture
def folder(tmp_path):
    """Masks and strokes are written as three equal channels."""
    root = tmp_path / "ScribbleCOCO"
    lists = root / "ImageSets/SegmentationAug"
    for path in (lists, root / "JPEGImages", root / "SegmentationClassAug"):
        path.mkdir(parents=True)
    ids = {"train": ["COCO_train2014_000000000009"], "val": ["COCO_val2014_000000000042"]}
    mask = np.zeros(SIZE, np.uint8)
    mask[6:18, 10:30] = 17  # a dog
    for split, names in ids.items():
        (lists / f"{split}.txt").write_text("\n".join(names) + "\n")
        for name in names:
            image = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8)
            cv2.imwrite(str(root / f"JPEGImages/{name}.jpg"), image)
            cv2.imwrite(
                str(root / f"SegmentationClassAug/{name}.png"), mask[..., None].repeat(3, axis=2)
            )
    for row, style in enumerate(STYLES, start=10):
        strokes = root / f"coco2014_train_scribble_{style}"
        strokes.mkdir()
        label = np.full((*SIZE, 3), 255, np.uint8)
        cv2.line(label, (12, row), (27, row), (17, 17, 17), 2)
        cv2.line(label, (2, 2), (36, 2), (0, 0, 0), 2)
        cv2.imwrite(str(strokes / f"{ids['train'][0]}.png"), label)
    return root


@pytest.mark.parametrize("style", STYLES)
def test_the_shipped_line_reads_it(folder, tmp_path, request, style):
    shipped = yaml.safe_load(
        (request.config.rootpath / "configs/public_benchmarks.yaml").read_text()
    )
    line = dict(shipped["datasets"][f"scribblecoco_{style}"])
    assert line.pop("source") == "folder"
    settings = parse_settings(FolderSettings, line, "datasets")
    assert len(settings.classes) == 81
    dataset = describe_folder(
        folder, "coco", settings.classes, tmp_path / "dataset.json", void_regions=True
    )
    assert dataset.classes[17] == "dog"
    path = folder / f"coco2014_train_scribble_{style}"
    strokes = tmp_path / "strokes.jsonl"
    import_strokes(dataset, path, strokes, AnnotationSettings())
    (image,) = read_strokes(strokes)
    assert {stroke.class_id for stroke in image.strokes} == {0, 17}
