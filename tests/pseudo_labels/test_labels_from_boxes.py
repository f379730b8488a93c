import numpy as np
import pytest

from cdsp.dataset.prepare import make_shapes
from cdsp.io.files import IGNORE
from cdsp.io.store import LabelStore
from cdsp.pseudo_labels.boxes import boxes_of_mask, label_boxes
from cdsp.scribbles.boxes import label_from_boxes
from cdsp.scribbles.strokes import Box


def test_each_region_of_an_object_class_has_its_box():
    mask = np.zeros((6, 9), np.uint8)
    mask[1:3, 1:4] = 2
    mask[3, 4] = 2  # touches by a corner: one region
    mask[5, 8] = 2
    mask[0, 6:9] = 7
    mask[4, 0:2] = IGNORE
    assert boxes_of_mask(mask) == [Box(2, 1, 1, 4, 3), Box(2, 8, 5, 8, 5), Box(7, 6, 0, 8, 0)]


@pytest.mark.parametrize("value", [0, IGNORE])
def test_an_image_without_objects_has_no_box(value):
    assert boxes_of_mask(np.full((3, 3), value, np.uint8)) == []


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("boxes")
    return make_shapes(folder, "tiny", num_train=2, num_val=1, size=48, seed=0)


def test_labels_are_what_grabcut_makes_of_the_boxes_and_say_so(dataset, tmp_path):
    label_boxes(dataset, "full", tmp_path / "labels.h5", recipe="grabcut")
    store = LabelStore(tmp_path / "labels.h5", "pseudo_labels")
    assert store.parameters["supervision"] == "boxes"
    assert store.parameters["recipe"] == "grabcut"
    for image_id in dataset.splits["train"]:
        boxes = boxes_of_mask(dataset.mask(image_id))
        wanted = label_from_boxes(dataset.image(image_id), boxes)
        np.testing.assert_array_equal(store[image_id], wanted)
        assert set(np.unique(store[image_id])) - {0, IGNORE} <= {box.class_id for box in boxes}
