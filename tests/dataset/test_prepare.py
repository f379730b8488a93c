import hashlib
import json
import re

import numpy as np
import pytest
from PIL import Image

from cdsp.dataset.prepare import describe_folder, make_shapes
from cdsp.dataset.shape_classes import CLASS_NAMES
from cdsp.dataset.shapes import draw_shape_scene
from cdsp.dataset.voc_layout import read_dataset
from cdsp.io.files import write_label
from cdsp.io.outputs import LEDGER

CLASSES = ("background", "cat", "dog")
WIDTH, HEIGHT = 30, 20


def file_hashes(root):
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in root.rglob("*")
        if path.is_file() and path.name != LEDGER
    }


def save_image(path, mode="RGB", size=(WIDTH, HEIGHT)):
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(1).integers(0, 256, (size[1], size[0], 4), dtype=np.uint8)
    image = Image.fromarray(noise)
    (image if mode in ("RGBA", "LA") else image.convert("RGB")).convert(mode).save(path)


def write_lists(root, train, val):
    lists = root / "ImageSets" / "SegmentationAug"
    lists.mkdir(parents=True, exist_ok=True)
    for split, ids in (("train", train), ("val", val)):
        (lists / f"{split}.txt").write_text("".join(f"{image_id}\n" for image_id in ids))


@pytest.fixture
def folder(tmp_path):
    """A good data set of three images."""
    root = tmp_path / "photographs"
    for image_id, label in (("a", 0), ("b", 1), ("c d", 2)):
        save_image(root / "JPEGImages" / f"{image_id}.jpg")
        mask = np.full((HEIGHT, WIDTH), label, np.uint8)
        mask[:3] = 255
        write_label(root / "SegmentationClassAug" / f"{image_id}.png", mask)
    write_lists(root, ["a", "c d"], ["b"])
    return root


def test_shapes_come_in_voc_layout(tmp_path):
    dataset = make_shapes(tmp_path, "drawn", num_train=3, num_val=2, size=33, seed=5)
    ids = ["train_00000", "train_00001", "train_00002", "val_00000", "val_00001"]
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("[!.]*.*")) == sorted(
        [f"JPEGImages/{image_id}.jpg" for image_id in ids]
        + [f"SegmentationClassAug/{image_id}.png" for image_id in ids]
        + ["ImageSets/SegmentationAug/train.txt", "ImageSets/SegmentationAug/val.txt"]
        + ["dataset.json"]
    )
    train = (tmp_path / "ImageSets" / "SegmentationAug" / "train.txt").read_text()
    assert train.split() == list(dataset.splits["train"]) == ids[:3]
    assert dataset.splits["val"] == tuple(ids[3:])
    assert (dataset.name, dataset.classes) == ("drawn", CLASS_NAMES)
    for image_id, split, index in ((ids[1], "train", 1), (ids[4], "val", 1)):
        image, mask = draw_shape_scene(5, split, index, 33)
        np.testing.assert_array_equal(dataset.mask(image_id), mask)
        # JPEG keeps the colours but for a little noise.
        assert np.abs(dataset.image(image_id).astype(int) - image).mean() < 8
        assert dataset.size(image_id) == (33, 33)


def test_same_seed_gives_the_same_bytes_of_every_file(tmp_path):
    settings = {"num_train": 3, "num_val": 2, "size": 40}
    make_shapes(tmp_path / "one", "drawn", **settings, seed=1)
    make_shapes(tmp_path / "two", "drawn", **settings, seed=1)
    make_shapes(tmp_path / "other", "drawn", **settings, seed=2)
    one, two, other = (file_hashes(tmp_path / name) for name in ("one", "two", "other"))
    assert one == two
    assert {name for name in one if one[name] == other[name]} == {
        "ImageSets/SegmentationAug/train.txt",
        "ImageSets/SegmentationAug/val.txt",
    }


def test_a_larger_data_set_begins_with_the_smaller_one(tmp_path):
    make_shapes(tmp_path / "few", "drawn", num_train=2, num_val=1, size=40, seed=1)
    make_shapes(tmp_path / "many", "drawn", num_train=4, num_val=2, size=40, seed=1)
    few, many = (file_hashes(tmp_path / name) for name in ("few", "many"))
    pictures = [name for name in few if name.startswith(("JPEGImages", "SegmentationClassAug"))]
    assert len(pictures) == 6
    assert all(few[name] == many[name] for name in pictures)


def test_a_drawn_data_set_can_be_moved(tmp_path):
    made = make_shapes(tmp_path / "one", "drawn", num_train=1, num_val=1, size=40, seed=1)
    mask = made.mask("train_00000")
    (tmp_path / "one").rename(tmp_path / "two")
    moved = read_dataset(tmp_path / "two" / "dataset.json")
    np.testing.assert_array_equal(moved.mask("train_00000"), mask)
    assert moved.digest == made.digest


def test_a_good_folder_is_described(folder, tmp_path):
    before = file_hashes(folder)
    output = tmp_path / "results" / "dataset.json"
    dataset = describe_folder(folder, "own", CLASSES, output)
    assert file_hashes(folder) == before
    assert read_dataset(output) == dataset
    assert dataset.splits == {"train": ("a", "c d"), "val": ("b",)}
    assert dataset.images["c d"] == ("JPEGImages/c d.jpg", HEIGHT, WIDTH)
    assert dataset.image("a").shape == (HEIGHT, WIDTH, 3)
    assert np.unique(dataset.mask("c d")).tolist() == [2, 255]


def test_the_digest_tells_contents_apart_but_not_places(folder, tmp_path):
    first = describe_folder(folder, "own", CLASSES, tmp_path / "1.json").digest
    assert describe_folder(folder, "own", CLASSES, folder / "dataset.json").digest == first
    digests = {first}
    digests.add(describe_folder(folder, "own", (*CLASSES, "cow"), tmp_path / "2.json").digest)
    write_lists(folder, ["c d", "a"], ["b"])
    digests.add(describe_folder(folder, "own", CLASSES, tmp_path / "2.json").digest)
    write_label(folder / "SegmentationClassAug" / "a.png", np.ones((HEIGHT, WIDTH), np.uint8))
    digests.add(describe_folder(folder, "own", CLASSES, tmp_path / "2.json").digest)
    save_image(folder / "JPEGImages" / "b.jpg", "L")
    digests.add(describe_folder(folder, "own", CLASSES, tmp_path / "2.json").digest)
    assert len(digests) == 5


@pytest.mark.parametrize(
    ("suffix", "mode"),
    [
        (".png", "RGBA"),
        (".png", "LA"),
        (".jpg", "L"),
        (".PNG", "P"),
        (".bmp", "RGB"),
        (".png", "1"),
    ],
)
def test_images_of_other_modes_and_formats_are_taken(folder, tmp_path, suffix, mode):
    (folder / "JPEGImages" / "b.jpg").unlink()
    save_image(folder / "JPEGImages" / f"b{suffix}", mode)
    dataset = describe_folder(folder, "own", CLASSES, tmp_path / "dataset.json")
    image = dataset.image("b")
    assert (image.shape, image.dtype) == ((HEIGHT, WIDTH, 3), np.uint8)
    with Image.open(folder / "JPEGImages" / f"b{suffix}") as file:
        np.testing.assert_array_equal(image, np.array(file.convert("RGB")))


def break_everything(root):
    """Break a folder in every way; returns what the message has to say of each."""
    images, masks = root / "JPEGImages", root / "SegmentationClassAug"
    names = [f"x{index}" for index in range(9)]
    for name in names:
        save_image(images / f"{name}.jpg")
        write_label(masks / f"{name}.png", np.zeros((HEIGHT, WIDTH), np.uint8))

    def truncate(path):
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    (images / "x0.jpg").unlink()
    (masks / "x1.png").unlink()
    truncate(images / "x2.jpg")
    (images / "x3.jpg").unlink()
    save_image(images / "x3.png")
    truncate(images / "x3.png")
    noise = np.random.default_rng(0).integers(0, 3, (HEIGHT, WIDTH), dtype=np.uint8)
    write_label(masks / "x4.png", noise)
    truncate(masks / "x4.png")
    write_label(masks / "x5.png", np.zeros((WIDTH, HEIGHT), np.uint8))
    Image.new("RGB", (WIDTH, HEIGHT), "red").save(masks / "x6.png")
    Image.fromarray(np.ones((HEIGHT, WIDTH), np.uint16)).save(masks / "x7.png")
    label = np.zeros((HEIGHT, WIDTH), np.uint8)
    label[2, 5] = 3
    write_label(masks / "x8.png", label)
    write_lists(root, ["a", "a", *names[:5], "../x"], ["b", "a", *names[5:], ".hidden", "b/c"])
    return [
        r"train\.txt: 1 ids stand there twice: \['a'\]",
        r"train\.txt: '\.\./x' is not an image id",
        r"val\.txt: '\.hidden' is not an image id",
        r"val\.txt: 'b/c' is not an image id",
        r"1 ids are in both lists: \['a'\]",
        r"1 of 6 names in train\.txt are of no image in JPEGImages: 'x0'",
        r"SegmentationClassAug: 1 of 6 training images have no mask \(x1\); give one to all",
        r"x2\.jpg: not a readable image",
        r"x3\.png: not a readable image",
        r"x4\.png: not a readable label image",
        r"x5\.png: the mask is 20×30, its image 30×20 pixels",
        r"x6\.png: expected one 8-bit class index per pixel .* found mode RGB",
        r"x7\.png: expected one 8-bit class index per pixel .* found mode I;16",
        r"x8\.png: unexpected label values \[3\]; expected 0 \(background\) to 2",
    ]


def test_every_problem_is_listed_in_one_message(folder, tmp_path):
    output = tmp_path / "dataset.json"
    kept = describe_folder(folder, "own", CLASSES, output)
    before = output.read_bytes()
    expected = break_everything(folder)
    files = file_hashes(tmp_path)
    with pytest.raises(ValueError, match=f"{len(expected)} problems") as caught:
        describe_folder(folder, "own", CLASSES, output)
    message = str(caught.value)
    for problem in expected:
        assert len(re.findall(problem, message)) == 1, problem
    assert len(message.splitlines()) == 1 + len(expected)
    # Nothing was written, and what was there is still there.
    assert file_hashes(tmp_path) == files
    assert output.read_bytes() == before
    assert read_dataset(output) == kept


def test_missing_and_empty_lists_are_problems_of_the_same_message(folder, tmp_path):
    write_lists(folder, [], ["absent"])
    with pytest.raises(ValueError, match="2 problems") as caught:
        describe_folder(folder, "own", CLASSES, tmp_path / "dataset.json")
    assert "train.txt: the list is empty" in str(caught.value)
    assert "1 of 1 names in val.txt are of no image in JPEGImages: 'absent'" in str(caught.value)
    assert not (tmp_path / "dataset.json").exists()


def test_a_flood_of_one_problem_is_one_line(folder, tmp_path):
    write_lists(folder, [f"absent{index}" for index in range(60)], ["b"])
    with pytest.raises(ValueError, match="1 problem") as caught:
        describe_folder(folder, "own", CLASSES, tmp_path / "dataset.json")
    assert "60 of 60 names in train.txt" in str(caught.value)
    assert "'absent4' …" in str(caught.value)


def test_without_lists_every_image_is_a_training_image(folder, tmp_path):
    lists = folder / "ImageSets" / "SegmentationAug"
    (lists / "train.txt").unlink()
    dataset = describe_folder(folder, "own", CLASSES, tmp_path / "1.json")
    assert dataset.splits == {"train": ("a", "c d"), "val": ("b",)}
    (lists / "val.txt").unlink()
    dataset = describe_folder(folder, "own", CLASSES, tmp_path / "2.json")
    assert dataset.splits == {"train": ("a", "b", "c d"), "val": ()}
    write_lists(folder, [], ["a", "b", "c d"])
    (lists / "train.txt").unlink()
    with pytest.raises(ValueError, match="names all images; none is left to train on"):
        describe_folder(folder, "own", CLASSES, tmp_path / "3.json")


def test_training_images_need_no_masks_but_have_all_or_none(folder, tmp_path):
    masks = folder / "SegmentationClassAug"
    (masks / "a.png").rename(tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"1 of 2 training images have no mask \(a\)"):
        describe_folder(folder, "own", CLASSES, tmp_path / "dataset.json")
    (masks / "c d.png").unlink()
    dataset = describe_folder(folder, "own", CLASSES, tmp_path / "dataset.json")
    assert not dataset.train_masks
    assert set(dataset.images) == {"a", "b", "c d"}
    with pytest.raises(ValueError, match="full supervision: needs masks of the training images"):
        dataset.require_train_masks("full supervision")
    assert dataset.val_masks
    (masks / "b.png").unlink()
    assert not describe_folder(folder, "own", CLASSES, tmp_path / "dataset.json").val_masks
    assert not read_dataset(tmp_path / "dataset.json").val_masks


def test_colours_of_classes(folder, tmp_path):
    output = tmp_path / "dataset.json"
    dataset = describe_folder(folder, "own", CLASSES, output, {"dog": (1, 2, 3)})
    assert dataset.palette[:3].tolist() == [[0, 0, 0], [128, 0, 0], [1, 2, 3]]
    with pytest.raises(ValueError, match="colours: 'dgo' is none of the classes background, cat"):
        describe_folder(folder, "own", CLASSES, output, {"dgo": (1, 2, 3)})
    assert read_dataset(output) == dataset


def test_one_name_for_two_images_or_two_classes(folder, tmp_path):
    save_image(folder / "JPEGImages" / "a.png")
    with pytest.raises(ValueError, match=r"a\.png: a\.jpg has the same name before its ending"):
        describe_folder(folder, "own", CLASSES, tmp_path / "dataset.json")
    with pytest.raises(ValueError, match="class 'cat' is named twice"):
        describe_folder(folder, "own", ("background", "cat", "cat"), tmp_path / "dataset.json")


@pytest.mark.parametrize("number", [1, 256])
def test_numbers_of_classes_that_a_label_cannot_hold(folder, tmp_path, number):
    classes = tuple(f"class{index}" for index in range(number))
    with pytest.raises(ValueError, match=f"{number} classes; expected 2 to 255"):
        describe_folder(folder, "own", classes, tmp_path / "dataset.json")


def test_missing_folders_are_named(folder, tmp_path):
    with pytest.raises(ValueError, match="nowhere: no such folder"):
        describe_folder(tmp_path / "nowhere", "own", CLASSES, tmp_path / "dataset.json")
    (folder / "JPEGImages").rename(folder / "Images")
    with pytest.raises(ValueError, match="JPEGImages: no such folder of images"):
        describe_folder(folder, "own", CLASSES, tmp_path / "dataset.json")


def test_descriptions_that_are_damaged_foreign_or_homeless_are_refused(folder, tmp_path):
    path = tmp_path / "dataset.json"
    describe_folder(folder, "own", CLASSES, path)
    content = path.read_text()
    folder.rename(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match=r"its folder .* does not exist"):
        read_dataset(path)
    path.write_text(content[: len(content) // 2])
    with pytest.raises(ValueError, match="not a readable JSON file"):
        read_dataset(path)
    path.write_text(json.dumps({**json.loads(content), "version": 99}))
    with pytest.raises(ValueError, match=r"dataset\.json: expected format"):
        read_dataset(path)
