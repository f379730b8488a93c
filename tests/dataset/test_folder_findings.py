"""What a folder of one's own tells: files that are not used, and masks that cannot be right."""

import re
import unicodedata

import numpy as np
import pytest
from PIL import Image

from cdsp.dataset.class_names import check_classes, class_hints
from cdsp.dataset.prepare import describe_folder, inspect_folder
from cdsp.io.files import VOC_PALETTE, write_label

CLASSES = ("background", "cat", "dog")
SIZE = (48, 64)


def save_photograph(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((*SIZE, 3), 90, np.uint8)).save(path)


def write_split(folder, name, *lines):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.txt").write_text("".join(f"{line}\n" for line in lines))


@pytest.fixture
def root(tmp_path):
    """Three training images and a validation image with its mask of 0, 1 and 2."""
    root = tmp_path / "mine"
    for name in ("a", "b", "c", "v"):
        save_photograph(root / "JPEGImages" / f"{name}.jpg")
    write_split(root / "ImageSets" / "SegmentationAug", "val", "v")
    write_label(root / "SegmentationClassAug" / "v.png", mask())
    return root


def mask(cat=1, dog=2, border=False):
    label = np.zeros(SIZE, np.uint8)
    label[5:30, 5:25], label[20:40, 40:60] = cat, dog
    if border:
        label[5:30, 25:27] = 255
    return label


def findings(root, **options):
    found = inspect_folder(root, CLASSES, **options).findings
    return list(found.problems), list(found.hints)


def test_a_right_folder_has_nothing_to_tell(root):
    assert findings(root) == ([], [])
    write_label(root / "SegmentationClassAug" / "v.png", mask(border=True))
    (root / "JPEGImages" / "Thumbs.db").write_bytes(b"x")
    (root / ".DS_Store").write_bytes(b"x")
    assert findings(root) == ([], [])


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("JPEGImages/x.gif", r"JPEGImages: 1 \.gif \(x\.gif\): photographs of this kind"),
        ("JPEGImages/X.HEIC", r"1 \.heic \(X\.HEIC\): photographs of this kind are not read"),
        ("JPEGImages/north/a.jpg", r"JPEGImages/north: 1 \.jpg \(a\.jpg\): photographs in folders"),
        ("JPEGImages/north/1/a.jpg", r"north/1: 1 \.jpg \(a\.jpg\): photographs in folders"),
        ("x.jpg", r"mine: 1 \.jpg \(x\.jpg\): images beside JPEGImages"),
        ("masks/a.png", r"masks: 1 \.png \(a\.png\): named like photographs, in a folder"),
        ("SegmentationClassAug/v.tif", r"1 \.tif \(v\.tif\): masks are read as PNG alone"),
        ("SegmentationClassAug/a.png", r"2 of 3 training images have no mask \(b, c\)"),
        ("SegmentationClassAug/x.png", r"1 \.png \(x\.png\): masks of no image that needs one"),
        ("SegmentationClassAug/val/v.png", r"1 \.png \(v\.png\): masks in folders are not read"),
        ("ImageSets/SegmentationAug/test.txt", r"only train\.txt and val\.txt are read"),
    ],
)
def test_files_that_are_not_used_are_told(root, path, told):
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    if path.endswith((".gif", ".txt", ".HEIC")):
        (root / path).write_bytes(b"x")
    else:
        Image.fromarray(mask()).save(root / path)
    problems, hints = findings(root)
    (message,) = [*problems, *hints]
    assert re.search(told, message)


@pytest.mark.parametrize("folder", ["ImageSets/Segmentation", "ImageSets", "."])
def test_lists_where_nobody_looks_are_a_problem(root, folder):
    lists = root / "ImageSets" / "SegmentationAug"
    (lists / "val.txt").unlink()
    write_split(root / folder, "val", "v")
    (root / "SegmentationClassAug").rename(root / "SegmentationClass")
    problems, _ = findings(root)
    assert any("lists are not read here (val.txt)" in problem for problem in problems)
    assert any("SegmentationClass: masks are not read here (1 .png" in p for p in problems)


def test_vocs_own_lists_beside_ours_are_no_problem(root):
    write_split(root / "ImageSets" / "Segmentation", "val", "a", "v")
    Image.fromarray(mask()).save(root / "SegmentationClassAug" / "v.png")
    assert findings(root)[0] == []


def test_masks_with_capital_endings_and_decomposed_names_are_read(root, tmp_path):
    decomposed = unicodedata.normalize("NFD", "café")
    save_photograph(root / "JPEGImages" / f"{decomposed}.jpg")
    write_split(root / "ImageSets" / "SegmentationAug", "val", "v", "café")
    with Image.open(root / "SegmentationClassAug" / "v.png") as image:
        image.save(root / "SegmentationClassAug" / f"{decomposed}.PNG")
    (root / "SegmentationClassAug" / "v.png").rename(root / "SegmentationClassAug" / "v.PNG")
    dataset = describe_folder(root, "mine", CLASSES, tmp_path / "dataset.json")
    assert dataset.splits["val"] == ("v", "café")
    for image_id in dataset.splits["val"]:
        np.testing.assert_array_equal(dataset.mask(image_id), mask())
        assert dataset.image(image_id).shape == (*SIZE, 3)


def test_black_and_white_masks_are_a_problem(root):
    write_label(root / "SegmentationClassAug" / "v.png", mask(255, 255))
    assert "the masks hold 0 and 255 alone: black-and-white images?" in findings(root)[0][0]


def test_255_for_a_class_is_a_problem_unless_it_is_said_to_be_void(root):
    write_label(root / "SegmentationClassAug" / "v.png", mask(1, 255))
    (problem,), _ = findings(root)
    assert "255 (void) fills whole regions of 1 of 1 masks, such as v.png, and dog" in problem
    assert "write 2; if it is void, say so by void_regions: true" in problem
    problems, hints = findings(root, void_regions=True)
    assert problems == []
    assert "no mask holds dog" in hints[0]


def test_void_masks_are_told(root):
    path = root / "SegmentationClassAug" / "v.png"
    write_label(path, np.full(SIZE, 255, np.uint8))
    assert "every mask is 255 (void) throughout" in findings(root)[0][0]
    write_split(root / "ImageSets" / "SegmentationAug", "val", "v", "a")
    write_label(root / "SegmentationClassAug" / "a.png", mask())
    problems, hints = findings(root)
    assert problems == []
    assert hints == [f"{path}: the mask is 255 (void) throughout and measures nothing"]


def test_colours_that_contradict_the_indices_are_a_problem(root):
    path = root / "SegmentationClassAug" / "v.png"
    coloured = Image.fromarray(VOC_PALETTE[mask()])
    path.unlink()
    coloured.quantize(256).save(path)  # sorts the colours anew
    (problem,), _ = findings(root)
    assert "v.png: its indices contradict its own colours" in problem
    assert "(black, background)" in problem
    swapped = VOC_PALETTE.copy()
    swapped[[1, 2]] = swapped[[2, 1]]
    path.unlink()
    write_label(path, mask(), swapped)
    problems, (hint,) = findings(root)
    assert problems == []
    assert "index 1 is shown in VOC's colour of class 2" in hint


def test_palettes_of_ones_own_are_left_alone(root):
    palette = np.stack([np.arange(256)] * 3, axis=1).astype(np.uint8)[::-1]
    write_label(root / "SegmentationClassAug" / "v.png", mask(), palette)
    assert findings(root) == ([], [])


def test_names_of_classes():
    assert class_hints(("background", "cat", "dog")) == class_hints(("BG", "cat")) == []
    assert (
        "the first class is the background, and it is called 'cat'" in class_hints(("cat", "d"))[0]
    )
    assert "so is 'bg' by its name" in class_hints(("background", "bg"))[0]
    (hint,) = class_hints(("background", "traffic light", "Traffic_Light", "cat"))
    assert hint.startswith("'traffic light', 'Traffic_Light' are classes of their own")
    check_classes(("background", "{word}", "बिल्ली", "می\u200cخواهم"), "x")
    for name in ("", "a\n", "\u202e"):
        with pytest.raises(ValueError, match="names no class"):
            check_classes(("background", name), "x")
