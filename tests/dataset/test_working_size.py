import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from cdsp.dataset.prepare import describe_folder
from cdsp.dataset.voc_layout import read_dataset
from cdsp.io.store import LabelStore
from cdsp.scribbles.degrade import Degradation
from cdsp.scribbles.import_annotations import import_strokes
from cdsp.scribbles.painted_strokes import painted_regions
from cdsp.scribbles.rasterise import rasterise
from cdsp.scribbles.resize import resize_strokes
from cdsp.scribbles.scribble_labels import degrade_scribbles
from cdsp.scribbles.settings import AnnotationSettings
from cdsp.scribbles.strokes import Box, ImageStrokes, Stroke
from cdsp.working_size import at_working_size

SIZES = {"large": (600, 800), "small": (30, 40), "tall": (400, 200)}  # height, width
WORKING = 80


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Photographs of any size, whose left half is of class 1, with a stroke down its middle."""
    root = tmp_path_factory.mktemp("sizes")
    for name in ("JPEGImages", "SegmentationClassAug", "Scribbles"):
        (root / name).mkdir()
    for name, (height, width) in SIZES.items():
        mask = np.zeros((height, width), np.uint8)
        mask[:, : width // 2] = 1
        Image.fromarray(np.where(mask[..., None], 200, 40).repeat(3, 2).astype(np.uint8)).save(
            root / f"JPEGImages/{name}.png"
        )
        Image.fromarray(mask).save(root / f"SegmentationClassAug/{name}.png")
        lines = {"cat": width / 4, "background": 3 * width / 4}
        shapes = [
            {
                "label": label,
                "shape_type": "linestrip",
                "points": [[x, height * 0.2], [x, height * 0.8]],
            }
            for label, x in lines.items()
        ]
        content = {"imagePath": f"{name}.png", "shapes": shapes, "flags": {}}
        content |= {"imageHeight": height, "imageWidth": width}
        (root / f"Scribbles/{name}.json").write_text(json.dumps(content))
    return root


@pytest.fixture(scope="module")
def dataset(folder, tmp_path_factory):
    path = tmp_path_factory.mktemp("described") / "dataset.json"
    describe_folder(folder, "sizes", ("background", "cat"), path, working_size=WORKING)
    return read_dataset(path)


def test_every_photograph_is_seen_at_the_working_size(dataset):
    for name, (height, width) in SIZES.items():
        size = dataset.size(name)
        assert max(size) == WORKING
        assert size == at_working_size((height, width), WORKING)
        assert size[0] / size[1] == pytest.approx(height / width, rel=0.02)
        assert dataset.image(name).shape == (*size, 3)
        assert dataset.mask(name).shape == size
        assert dataset.as_photographed.image(name).shape == (height, width, 3)
        # A label only ever has the values that it had.
        assert set(np.unique(dataset.mask(name))) == {0, 1}
        bright = dataset.image(name)[..., 0] > 120
        assert (bright == (dataset.mask(name) == 1)).mean() > 0.97


def test_strokes_lie_where_they_were_drawn_and_are_as_wide_as_asked(dataset, folder, tmp_path):
    strokes = tmp_path / "strokes.jsonl"
    import_strokes(dataset, folder / "Scribbles", strokes, AnnotationSettings(width=3))
    options = {"drop_background": False, "min_per_image": 0, "seed": 0}
    degrade_scribbles(strokes, Degradation("full"), tmp_path / "full", dataset=dataset, **options)
    labels = LabelStore(tmp_path / "full/labels.h5")
    for name in SIZES:
        label, mask = labels[name], dataset.mask(name)
        known = label != 255
        assert label.shape == mask.shape
        np.testing.assert_array_equal(label[known], mask[known])
        across = known[label.shape[0] // 2].sum()
        assert across == 6  # two strokes of three pixels, whatever the photograph's size


def test_another_working_size_is_another_data_set(folder, tmp_path, dataset):
    path = tmp_path / "dataset.json"
    other = describe_folder(folder, "sizes", ("background", "cat"), path, working_size=96)
    assert other.digest != dataset.digest
    same = describe_folder(folder, "sizes", ("background", "cat"), path, working_size=WORKING)
    assert same.digest == dataset.digest


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 60), st.integers(1, 60))
def test_every_painted_pixel_stays_and_none_comes_from_elsewhere(height, width, to_h, to_w):
    rng = np.random.default_rng([height, width, to_h, to_w])
    painted = rng.random((height, width)) < 0.2
    image = ImageStrokes("a", height, width, tuple(painted_regions(painted, 3)))
    resized = resize_strokes(image, to_h, to_w)
    found = rasterise(resized.strokes, to_h, to_w) == 3
    rows, columns = np.nonzero(painted)
    expected = np.zeros((to_h, to_w), bool)
    for y, x in zip(rows.tolist(), columns.tolist(), strict=True):
        top, bottom = y * to_h / height, (y + 1) * to_h / height
        left, right = x * to_w / width, (x + 1) * to_w / width
        for row in range(int(top), to_h):
            for column in range(int(left), to_w):
                if row < bottom - 1e-6 and column < right - 1e-6:
                    expected[row, column] = True
    np.testing.assert_array_equal(found, expected)


def test_boxes_and_polylines_are_scaled_about_pixel_centres():
    stroke = Stroke(1, np.array([[0.5, 1.5], [10.5, 1.5]]), 4.0)
    image = ImageStrokes("a", 20, 40, (stroke,), (Box(2, -0.5, -0.5, 39.5, 19.5),), (3,))
    half = resize_strokes(image, 10, 20)
    np.testing.assert_allclose(half.strokes[0].points, [[0.0, 0.5], [5.0, 0.5]])
    assert half.strokes[0].width == 2.0
    assert (half.boxes[0].left, half.boxes[0].right) == (-0.5, 19.5)
    assert (half.boxes[0].top, half.boxes[0].bottom) == (-0.5, 9.5)
    assert half.tags == (3,)
    assert resize_strokes(image, 20, 40) is image
