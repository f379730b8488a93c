import numpy as np
import pytest

from cdsp.io.store import LabelStore, write_store
from cdsp.metrics import confusion_matrix, scores
from cdsp.reporting.figures.worst import draw_worst_labels


def test_the_worst_come_first(tiny_data, tmp_path):
    dataset = tiny_data.dataset
    rng = np.random.default_rng(0)
    labels, expected = [], {}
    for index, image_id in enumerate(dataset.splits["train"]):
        mask = dataset.mask(image_id)
        label = np.where(rng.random(mask.shape) < index / 8, 0, mask).astype(np.uint8)
        if index == 7:
            label[:] = 255  # nothing labelled: no failure, and not shown
        else:
            confusion = confusion_matrix(mask, label, len(dataset.classes))
            expected[image_id] = scores(confusion).mean_iou
        labels.append((image_id, label, {}))
    write_store(tmp_path / "l.h5", labels, kind="pseudo_labels", parameters={}, sources={})
    found = draw_worst_labels(
        dataset,
        LabelStore(tiny_data.scribbles / "labels.h5"),
        LabelStore(tmp_path / "l.h5"),
        tmp_path / "worst.png",
        num_images=3,
    )
    assert found == sorted(expected.items(), key=lambda pair: pair[1])[:3]
    assert (tmp_path / "worst.png").stat().st_size > 10_000
    with pytest.raises(ValueError, match="none of its 8 training images is annotated"):
        draw_worst_labels(
            dataset,
            LabelStore(tiny_data.scribbles / "labels.h5"),
            LabelStore(write_empty(tmp_path / "empty.h5")),
            tmp_path / "worst.png",
            num_images=3,
        )


def test_labels_that_say_nothing_are_named(tiny_data, tmp_path):
    dataset = tiny_data.dataset
    nothing = [
        (image_id, np.full(dataset.size(image_id), 255, np.uint8), {})
        for image_id in dataset.splits["train"]
    ]
    path = tmp_path / "l.h5"
    write_store(path, nothing, kind="pseudo_labels", parameters={}, sources={})
    strokes = LabelStore(tiny_data.scribbles / "labels.h5")
    output = tmp_path / "worst.png"
    with pytest.raises(ValueError, match=r"l\.h5: no pixel of any image is labelled"):
        draw_worst_labels(dataset, strokes, LabelStore(path), output, num_images=3)
    assert not output.exists()


def write_empty(path):
    write_store(path, [], kind="pseudo_labels", parameters={}, sources={})
    return path
