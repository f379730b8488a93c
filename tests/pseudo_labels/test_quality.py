import dataclasses
import json

import numpy as np
import pytest

from cdsp.io.files import QUALITY_FORMAT, QUALITY_VERSION
from cdsp.io.json_files import read_json
from cdsp.io.store import LabelStore, write_store
from cdsp.pseudo_labels.quality import measure_pseudo_labels
from cdsp.reporting.tables import LABEL_COLUMNS, make_labels_table
from cdsp.scribbles.degrade import Degradation
from cdsp.scribbles.scribble_labels import degrade_scribbles


@pytest.fixture(scope="module")
def labels(tiny_data):
    """Noisy labels: image id → (H, W) uint8; nothing is labelled as class 12."""
    rng = np.random.default_rng(2)
    labels = {}
    for image_id in tiny_data.dataset.splits["train"]:
        mask = tiny_data.dataset.mask(image_id)
        noise = rng.choice([0, 1, 5, 255], mask.shape)
        label = np.where(rng.random(mask.shape) < 0.5, mask, noise)
        labels[image_id] = np.where(mask == 12, 255, label).astype(np.uint8)
    return labels


def store_labels(path, labels, scribbles="drop-0.5"):
    parameters = {"recipe": "noise", "scribbles": scribbles}
    triples = ((image_id, label, {}) for image_id, label in labels.items())
    write_store(path, triples, kind="pseudo_labels", parameters=parameters, sources={})
    return path


@pytest.fixture(scope="module")
def dropped(tiny_data, tmp_path_factory):
    """Store of the scribbles, half of their strokes dropped."""
    folder = tmp_path_factory.mktemp("dropped")
    options = {"drop_background": True, "min_per_image": 0, "seed": 0}
    degrade_scribbles(tiny_data.strokes, Degradation.parse("drop-0.5"), folder, **options)
    return folder / "labels.h5"


def test_perfect_labels_measure_perfectly(tiny_data, tmp_path):
    quality = measure_pseudo_labels(
        tiny_data.pseudo_labels, tiny_data.dataset, tmp_path / "quality.json"
    )
    for name in ("mean_iou", "mean_precision", "pixel_accuracy", "coverage"):
        assert quality[name] == 1
    assert quality["held_out_accuracy"] is None
    assert read_json(tmp_path / "quality.json", QUALITY_FORMAT, QUALITY_VERSION) == quality
    assert (quality["recipe"], quality["scribbles"]) == ("truth", "full")


def test_measures_against_masks_by_loops(tiny_data, labels, tmp_path):
    dataset = tiny_data.dataset
    path = store_labels(tmp_path / "labels.h5", labels)
    quality = measure_pseudo_labels(path, dataset, tmp_path / "quality.json")
    truth = np.concatenate([dataset.mask(image_id).ravel() for image_id in labels])
    found = np.concatenate([label.ravel() for label in labels.values()])
    known = truth != 255
    labelled = known & (found != 255)
    assert quality["coverage"] == pytest.approx(labelled.sum() / known.sum())
    truth, found = truth[labelled], found[labelled]
    assert quality["pixel_accuracy"] == pytest.approx((truth == found).mean())
    ious, precisions = [], []
    for class_id, name in enumerate(dataset.classes):
        right = ((truth == class_id) & (found == class_id)).sum()
        union = ((truth == class_id) | (found == class_id)).sum()
        for key, whole, values in (
            ("class_iou", union, ious),
            ("class_precision", (found == class_id).sum(), precisions),
        ):
            if whole:
                values.append(right / whole)
                assert quality[key][name] == pytest.approx(values[-1])
            else:
                assert quality[key][name] is None
    assert quality["mean_iou"] == pytest.approx(np.mean(ious))
    assert quality["mean_precision"] == pytest.approx(np.mean(precisions))
    assert quality["class_iou"][dataset.classes[12]] is None


def test_held_out_strokes_by_loops(tiny_data, labels, dropped, tmp_path):
    full = tiny_data.scribbles / "labels.h5"
    quality = measure_pseudo_labels(
        store_labels(tmp_path / "labels.h5", labels),
        tiny_data.dataset,
        tmp_path / "quality.json",
        scribbles=dropped,
        full_scribbles=full,
    )
    seen, all_strokes = LabelStore(dropped), LabelStore(full)
    right, total = {}, {}
    for image_id, label in labels.items():
        for pixel in zip(*np.nonzero(all_strokes[image_id] != 255), strict=True):
            class_id = int(all_strokes[image_id][pixel])
            if seen[image_id][pixel] == 255:
                total[class_id] = total.get(class_id, 0) + 1
                right[class_id] = right.get(class_id, 0) + int(label[pixel] == class_id)
    assert len(total) > 2
    expected = {class_id: right[class_id] / total[class_id] for class_id in total}
    assert 0 < np.mean(list(expected.values())) < 1
    assert quality["held_out_accuracy"] == pytest.approx(np.mean(list(expected.values())))
    by_class = quality["class_held_out_accuracy"]
    for class_id, name in enumerate(tiny_data.dataset.classes):
        assert by_class[name] == pytest.approx(expected.get(class_id))


def test_nothing_is_held_out_of_the_full_scribbles(tiny_data, tmp_path):
    full = tiny_data.scribbles / "labels.h5"
    options = {"scribbles": full, "full_scribbles": full}
    output = tmp_path / "quality.json"
    quality = measure_pseudo_labels(tiny_data.pseudo_labels, tiny_data.dataset, output, **options)
    assert quality["held_out_accuracy"] is None


def test_held_out_pixels_without_a_label_are_wrong(tiny_data, labels, tmp_path):
    nothing = {image_id: np.full_like(label, 255) for image_id, label in labels.items()}
    empty = [(name, label, {}) for name, label in nothing.items()]
    drop_all = tmp_path / "seen.h5"
    parameters = {"scribbles": "drop-1"}
    write_store(drop_all, empty, kind="scribbles", parameters=parameters, sources={})
    quality = measure_pseudo_labels(
        store_labels(tmp_path / "labels.h5", nothing, "drop-1"),
        tiny_data.dataset,
        tmp_path / "quality.json",
        scribbles=drop_all,
        full_scribbles=tiny_data.scribbles / "labels.h5",
    )
    assert (quality["coverage"], quality["held_out_accuracy"]) == (0, 0)
    for name in ("mean_iou", "mean_precision", "pixel_accuracy"):
        assert quality[name] is None


def test_without_masks_only_coverage_and_held_out_strokes_are_known(
    tiny_data, labels, dropped, tmp_path
):
    path = store_labels(tmp_path / "labels.h5", labels)
    strokes = {"scribbles": dropped, "full_scribbles": tiny_data.scribbles / "labels.h5"}
    known = measure_pseudo_labels(path, tiny_data.dataset, tmp_path / "known.json", **strokes)
    dataset = dataclasses.replace(tiny_data.dataset, train_masks=False)
    quality = measure_pseudo_labels(path, dataset, tmp_path / "quality.json", **strokes)
    assert quality["held_out_accuracy"] == known["held_out_accuracy"]
    number = sum(label.size for label in labels.values())
    labelled = sum(int((label != 255).sum()) for label in labels.values())
    assert quality["coverage"] == pytest.approx(labelled / number)
    for name in ("mean_iou", "mean_precision", "pixel_accuracy"):
        assert quality[name] is None
    for name in ("class_iou", "class_precision"):
        assert quality[name] == dict.fromkeys(dataset.classes)

    table = make_labels_table([tmp_path / "quality.json", tmp_path / "known.json"])
    assert list(table.columns) == LABEL_COLUMNS
    assert table["pseudo_labels"].tolist() == ["noise", "noise"]
    assert table.isna().to_numpy().tolist() == [
        [False, False, True, True, False, False, False, False],
        8 * [False],
    ]
    assert table.loc[1, "miou"] == round(100 * known["mean_iou"], 2)


def test_the_table_averages_over_the_classes_that_it_is_asked_for(tiny_data, labels, tmp_path):
    path = store_labels(tmp_path / "labels.h5", labels)
    quality = measure_pseudo_labels(path, tiny_data.dataset, tmp_path / "quality.json")
    names = [tiny_data.dataset.classes[index] for index in (0, 5, 12)]  # the last is unknown
    table = make_labels_table([tmp_path / "quality.json"], names)
    for column, key in (("miou", "class_iou"), ("precision", "class_precision")):
        two = [quality[key][name] for name in names[:2]]
        assert table.loc[0, column] == round(100 * np.mean(two), 2)
    with pytest.raises(ValueError, match=r"quality\.json: measured without the class 'cat'"):
        make_labels_table([tmp_path / "quality.json"], [*names, "cat"])


def test_an_empty_table_has_its_columns():
    table = make_labels_table([])
    assert (list(table.columns), len(table)) == (LABEL_COLUMNS, 0)


def test_what_does_not_belong_together_is_refused(tiny_data, labels, dropped, tmp_path):
    dataset, output = tiny_data.dataset, tmp_path / "quality.json"
    full = tiny_data.scribbles / "labels.h5"
    path = store_labels(tmp_path / "labels.h5", labels)

    def measure(labels=path, **strokes):
        measure_pseudo_labels(labels, dataset, output, **strokes)

    with pytest.raises(ValueError, match="expected a store of pseudo_labels, found one of scribb"):
        measure(full)
    with pytest.raises(ValueError, match="give both"):
        measure(scribbles=dropped)
    with pytest.raises(ValueError, match="give both"):
        measure(full_scribbles=full)
    with pytest.raises(ValueError, match="made with parameter scribbles = 'full', expected 'drop"):
        measure(scribbles=full, full_scribbles=full)
    with pytest.raises(ValueError, match=r"scribbles = .drop-0\.5., expected .full"):
        measure(scribbles=dropped, full_scribbles=dropped)
    with pytest.raises(ValueError, match="expected a store of scribbles, found one of pseudo_labe"):
        measure(scribbles=path, full_scribbles=full)
    other = {"x": next(iter(labels.values()))}
    with pytest.raises(ValueError, match=r"none of its .* training images is annotated"):
        measure(store_labels(tmp_path / "other.h5", other))
    assert not output.exists()


def test_the_file_is_json_that_others_can_read(tiny_data, labels, tmp_path):
    path = store_labels(tmp_path / "labels.h5", labels)
    measure_pseudo_labels(path, tiny_data.dataset, tmp_path / "quality.json")
    text = (tmp_path / "quality.json").read_text()
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
