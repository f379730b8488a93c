import numpy as np
import pytest
from PIL import Image

from cdsp.io.files import write_label
from cdsp.io.store import LabelStore
from cdsp.pseudo_labels.import_pngs import import_pseudo_labels


@pytest.fixture
def elsewhere(tiny_data, tmp_path):
    """A folder of labels made elsewhere: the masks, drawn with one class too few."""
    folder = tmp_path / "elsewhere"
    for image_id in tiny_data.dataset.splits["train"]:
        mask = tiny_data.dataset.mask(image_id)
        write_label(folder / f"{image_id}.png", np.where(mask == 3, 0, mask).astype(np.uint8))
    return folder


def test_imported_labels_are_the_files(tiny_data, elsewhere, tmp_path):
    import_pseudo_labels(elsewhere, tiny_data.dataset, "full", tmp_path / "l.h5", recipe="seam")
    store = LabelStore(tmp_path / "l.h5", "pseudo_labels")
    assert list(store) == list(tiny_data.dataset.splits["train"])
    for image_id in store:
        mask = tiny_data.dataset.mask(image_id)
        np.testing.assert_array_equal(store[image_id], np.where(mask == 3, 0, mask))
    assert (store.parameters["recipe"], store.parameters["scribbles"]) == ("seam", "full")


@pytest.mark.parametrize(
    ("convert", "values"),
    [
        (lambda mask: np.where(mask == 0, 0, 255), r"\[0, 255\]"),  # masks as pictures show them
        (lambda mask: np.full_like(mask, 255), r"\[255\]"),
        (np.zeros_like, r"\[0\]"),
    ],
)
def test_labels_without_two_classes_are_refused(tiny_data, tmp_path, convert, values):
    for image_id in tiny_data.dataset.splits["train"]:
        label = convert(tiny_data.dataset.mask(image_id)).astype(np.uint8)
        write_label(tmp_path / f"own/{image_id}.png", label)
    output = tmp_path / "labels.h5"
    with pytest.raises(ValueError, match=rf"own: the labels of all 8 images hold .*{values} alone"):
        import_pseudo_labels(tmp_path / "own", tiny_data.dataset, "full", output, recipe="own")
    assert not output.exists()


def test_an_import_lists_every_problem_and_writes_nothing(tiny_data, elsewhere, tmp_path):
    files = [elsewhere / f"{image_id}.png" for image_id in tiny_data.dataset.splits["train"]]
    size = tiny_data.dataset.size(files[0].stem)
    files[0].unlink()
    files[1].write_bytes(files[1].read_bytes()[:60])
    write_label(files[2], np.zeros((9, 10), np.uint8))
    write_label(files[3], np.full(size, 13, np.uint8))
    Image.new("RGB", size[::-1], "red").save(files[4])
    output = tmp_path / "labels.h5"
    with pytest.raises(ValueError, match="5 problems") as caught:
        import_pseudo_labels(elsewhere, tiny_data.dataset, "full", output, recipe="seam")
    message = str(caught.value)
    for file, problem in zip(
        files,
        (
            "no such label file",
            "not a readable label image",
            "shape (9, 10), its image (48, 48)",
            "unexpected label values [13]; expected 0 (background) to 12",
            "found mode RGB",
        ),
        strict=False,
    ):
        (line,) = (line for line in message.splitlines() if str(file) in line)
        assert problem in line
    assert not output.exists()
    with pytest.raises(ValueError, match="nowhere: no such folder of pseudo-labels"):
        import_pseudo_labels(tmp_path / "nowhere", tiny_data.dataset, "full", output, recipe="x")
