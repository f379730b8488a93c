import json
import logging
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image
from scipy.ndimage import distance_transform_edt
from typer.testing import CliRunner

from cdsp import cli
from cdsp.dataset.prepare import describe_folder, make_shapes
from cdsp.io.files import IGNORE, write_label, write_text
from cdsp.io.store import LabelStore
from cdsp.scribbles.degrade import Degradation, degrade
from cdsp.scribbles.import_annotations import import_strokes
from cdsp.scribbles.rasterise import rasterise
from cdsp.scribbles.scribble_labels import degrade_scribbles
from cdsp.scribbles.settings import AnnotationSettings
from cdsp.scribbles.simulate import simulate_strokes
from cdsp.scribbles.stroke_files import read_header, read_strokes
from cdsp.scribbles.strokes import Box, ImageStrokes, Stroke, arc_length
from cdsp.scribbles.styles import STYLES

CLASSES = ("background", "aeroplane", "cat", "tvmonitor")
BAR = np.array([[4, 9], [20, 9]])
SIZES = {"a": (20, 30), "b": (25, 25), "c": (18, 40), "v": (10, 10)}


@pytest.fixture
def dataset(tiny_data):
    return replace(
        tiny_data.dataset,
        classes=CLASSES,
        train_masks=False,
        splits={"train": ("a", "b", "c"), "val": ("v",)},
        images={name: (f"{name}.jpg", *size) for name, size in SIZES.items()},
    )


def scribble_xml(strokes, size, classes):
    polygons = "".join(
        f"<polygon><tag>{classes[stroke.class_id]}</tag>"
        + "".join(
            f"<point><X>{round(x)}</X><Y>{round(y)}</Y></point>" for x, y in stroke.points.tolist()
        )
        + "</polygon>"
        for stroke in strokes
    )
    size = f"<size><width>{size[1]}</width><height>{size[0]}</height></size>"
    return f"<annotation>{size}{polygons}</annotation>"


@pytest.fixture
def annotations(dataset, tmp_path):
    """A folder with one good annotation for each training image, in three formats."""
    folder = tmp_path / "annotations"
    folder.mkdir()
    line = [Stroke(1, np.array([[2, 3], [9, 3]]), 3), Stroke(0, np.array([[20, 10]]), 3)]
    tags = ("background", "plane")
    (folder / "a.xml").write_text(scribble_xml(line, SIZES["a"], tags))
    write_label(folder / "b.png", rasterise([Stroke(3, BAR, 5)], 25, 25))
    shapes = [
        {"label": "monitor", "shape_type": "rectangle", "points": [[9.5, 1.0], [2.5, 6.5]]},
        {"label": "cat", "shape_type": "linestrip", "points": [[1.5, 2.5], [5.5, 2.5]]},
    ]
    labelme = {
        "imagePath": "deadbeef-c.png",
        "imageHeight": 18,
        "imageWidth": 40,
        "shapes": shapes,
        "flags": {"tvmonitor": True, "cat": True, "monitor": True, "aeroplane": False},
    }
    (folder / "c.json").write_text(json.dumps(labelme))
    return folder


def imported(dataset, folder, tmp_path, **options):
    output = tmp_path / "out" / "strokes.jsonl"
    import_strokes(dataset, folder, output, AnnotationSettings(**options))
    return {image.image_id: image for image in read_strokes(output)}


def test_formats_become_the_strokes_of_the_training_images(dataset, annotations, tmp_path):
    images = imported(dataset, annotations, tmp_path, width=2.5)
    assert list(images) == ["a", "b", "c"]
    assert {name: (image.height, image.width) for name, image in images.items()} == {
        name: SIZES[name] for name in "abc"
    }
    line, dot = images["a"].strokes
    assert (line.class_id, dot.class_id, line.width, dot.width) == (1, 0, 2.5, 2.5)
    assert (line.points.tolist(), dot.points.tolist()) == ([[2, 3], [9, 3]], [[20, 10]])
    label = rasterise(images["b"].strokes, 25, 25)
    np.testing.assert_array_equal(label, rasterise([Stroke(3, BAR, 5)], 25, 25))
    assert images["c"].boxes == (Box(3, 2.0, 0.5, 9.0, 6.0),)
    assert images["c"].tags == (2, 3)
    assert [stroke.points.tolist() for stroke in images["c"].strokes] == [[[1, 2], [5, 2]]]
    assert images["a"].boxes == images["a"].tags == images["b"].boxes == ()


def test_the_header_tells_what_was_imported(dataset, annotations, tmp_path):
    imported(dataset, annotations, tmp_path)
    header = read_header(tmp_path / "out" / "strokes.jsonl")
    assert header["dataset"] == dataset.digest
    assert header["classes"] == list(CLASSES)
    assert header["imported"]["width"] == 3.0
    assert str(tmp_path) not in json.dumps(header)
    first = (tmp_path / "out" / "strokes.jsonl").read_bytes()
    imported(dataset, annotations, tmp_path)
    assert (tmp_path / "out" / "strokes.jsonl").read_bytes() == first
    (annotations / "a.xml").write_text((annotations / "a.xml").read_text() + "\n")
    imported(dataset, annotations, tmp_path)
    assert read_header(tmp_path / "out" / "strokes.jsonl")["imported"] != header["imported"]


def test_drawing_order_is_kept(dataset, tmp_path):
    crossing = [Stroke(i, np.array([[5 + i, 2], [5, 9]]), 3) for i in (2, 1, 0, 2, 1)]
    (tmp_path / "in").mkdir()
    for name in "abc":
        (tmp_path / "in" / f"{name}.xml").write_text(scribble_xml(crossing, SIZES[name], CLASSES))
    images = imported(dataset, tmp_path / "in", tmp_path)
    for image in images.values():
        assert [stroke.class_id for stroke in image.strokes] == [2, 1, 0, 2, 1]
        np.testing.assert_array_equal(rasterise(image.strokes, 20, 20), rasterise(crossing, 20, 20))


def test_other_images_are_counted_and_empty_annotations_allowed(
    dataset, annotations, tmp_path, caplog
):
    (annotations / "v.xml").write_text(scribble_xml([], SIZES["v"], CLASSES))
    (annotations / "tags.csv").write_text("nobody,unknown class\na,cat\n")
    (annotations / "a.xml").unlink()
    (annotations / "classes.txt").write_text("cat\ndog\n")
    (annotations / "orphan.xml").write_text("<annotation></annotation>")
    with caplog.at_level(logging.INFO):
        images = imported(dataset, annotations, tmp_path)
    assert "1 annotation of validation images" in caplog.text
    assert "left out: 'orphan', 'nobody'" in caplog.text
    assert "classes.txt: no line of it begins with the name of an image" in caplog.text
    assert (images["a"].strokes, images["a"].tags) == ((), (2,))


def test_a_name_that_begins_like_an_upload_is_found_as_it_is(dataset, annotations, tmp_path):
    odd = {**dataset.images, "deadbeef-c": ("x.jpg", 18, 40)}
    splits = {"train": ("a", "b", "deadbeef-c"), "val": ()}
    both = replace(dataset, images=odd, splits=splits)
    (annotations / "c.json").rename(annotations / "x.json")
    assert list(imported(both, annotations, tmp_path)) == ["a", "b", "deadbeef-c"]


def test_every_problem_is_listed_and_the_old_file_stays(dataset, annotations, tmp_path):
    output = tmp_path / "strokes.jsonl"
    write_text(output, "what was there")
    (annotations / "a.xml").write_text(
        scribble_xml([Stroke(i, np.zeros((1, 2)), 3) for i in (0, 1, 1, 2)], (21, 30), CLASSES)
    )
    other = rasterise([Stroke(7, BAR, 3)], 25, 25)
    write_label(annotations / "b.png", other)
    labelme = json.loads((annotations / "c.json").read_text())
    labelme["shapes"][0]["label"] = "backgruond"
    labelme["shapes"] += [{"label": "dgo", "shape_type": "point", "points": [[1, 1]]}] * 2
    labelme["shapes"] += [{"label": "cat", "shape_type": "circle", "points": [[1, 1], [2, 2]]}]
    (annotations / "c.json").write_text(json.dumps(labelme))
    (annotations / "broken.json").write_text("{")
    missing = replace(dataset, splits={"train": ("a", "b", "c"), "val": ()})
    with pytest.raises(ValueError, match="problems") as error:
        import_strokes(missing, annotations, output, AnnotationSettings())
    message = str(error.value)
    for expected in (
        "a.xml, image 'a': annotated at 30 x 21 px, but the image is 30 x 20 px",
        "b.png: value 7 is no class; expected 0 background, 1 aeroplane",
        "c.json: class 'backgruond': no class of the data set; did you mean 'background'?",
        "c.json and 1 more: class 'dgo'",
        "c.json: a 'circle' of 'cat' is no stroke or box; read are linestrip",
        "broken.json: broken JSON",
    ):
        assert expected in message, expected
    assert output.read_text() == "what was there"
    assert not list(tmp_path.glob(".*.tmp*"))


def test_another_size_is_refused(dataset, annotations, tmp_path):
    path = annotations / "c.json"
    path.write_text(path.read_text().replace('"imageWidth": 40', '"imageWidth": 41'))
    with pytest.raises(ValueError, match="1 problem:") as error:
        imported(dataset, annotations, tmp_path)
    assert "c.json, image 'c': annotated at 41 x 18 px, but the" in str(error.value)
    assert not (tmp_path / "out" / "strokes.jsonl").exists()


@pytest.mark.parametrize(
    ("kind", "old", "new"),
    [
        ("box", '"monitor", "shape', '"background", "shape'),
        ("tag", '"tvmonitor": true', '"background": true'),
    ],
)
def test_a_box_or_tag_of_the_background_is_left_out_with_a_word(
    dataset, annotations, tmp_path, caplog, kind, old, new
):
    path = annotations / "c.json"
    path.write_text(path.read_text().replace(old, new))
    with caplog.at_level(logging.INFO):
        image = imported(dataset, annotations, tmp_path)["c"]
    assert f"c.json: a {kind} of 'background', the background, was left out" in caplog.text
    assert len(image.boxes) == (kind == "tag")
    assert 0 not in image.tags


def test_nothing_to_import(dataset, tmp_path):
    with pytest.raises(ValueError, match="no file of annotations there"):
        imported(dataset, tmp_path / "absent", tmp_path)


def test_the_command_takes_a_path_or_the_folder_of_the_data_set(tiny_data, tmp_path):
    root = tiny_data.dataset.root
    for image in read_strokes(tiny_data.strokes):
        path = tmp_path / "xml" / f"{image.image_id}.xml"
        path.parent.mkdir(exist_ok=True)
        size = image.height, image.width
        path.write_text(scribble_xml(image.strokes, size, tiny_data.dataset.classes))

    def run(*words):
        arguments = ["scribbles", "import", "--dataset", root / "dataset.json", *words]
        return CliRunner().invoke(cli.build_app("scribbles"), [str(word) for word in arguments])

    for words in (
        [tmp_path / "xml", "--settings", "width: 2"],
        ["--settings", f"{{path: {tmp_path / 'xml'}, width: 2}}"],
    ):
        output = tmp_path / f"{len(words)}.jsonl"
        result = run(*words, "--output", output)
        assert result.exit_code == 0, result.exception
        assert {stroke.width for image in read_strokes(output) for stroke in image.strokes} == {2.0}
    result = run("--output", tmp_path / "none.jsonl")
    assert f"{root / 'Scribbles'}: no file of annotations there" in str(result.exception)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    """Simulated strokes on drawn images, and a folder for what is made of them."""
    root, size = tmp_path_factory.mktemp("scenes"), 97
    dataset = make_shapes(root / "data", "shapes", num_train=5, num_val=1, size=size, seed=5)
    drawn = []
    for index, image_id in enumerate(dataset.splits["train"]):
        rng = np.random.default_rng(index)
        strokes = simulate_strokes(
            dataset.mask(image_id), rng, STYLES["medial_axis"], width=3.0, coverage=0.05
        )
        drawn.append(ImageStrokes(image_id, size, size, strokes))
    return dataset, drawn, root


def fraction_near(label, other, distance):
    """Of the labelled pixels of one label: how many have their class near them in the other."""
    near = np.zeros(label.shape, bool)
    for class_id in np.unique(other[other != IGNORE]):
        reached = distance_transform_edt(other != class_id) <= distance
        near |= reached & (label == class_id)
    return near.sum() / (label != IGNORE).sum()


@pytest.mark.parametrize("name", ["full", "shrink-0.5", "drop-0.5"])
def test_xml_gives_the_strokes_that_were_drawn(scenes, name):
    """Labels are the same to within 1 px, but for 1 % of the pixels, after degrading as well."""
    dataset, drawn, root = scenes
    for image in drawn:
        path = root / "xml" / f"{image.image_id}.xml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(scribble_xml(image.strokes, (image.height, image.width), dataset.classes))
    import_strokes(dataset, root / "xml", root / "xml.jsonl", AnnotationSettings())
    degradation = Degradation.parse(name)
    for image, other in zip(drawn, read_strokes(root / "xml.jsonl"), strict=True):
        one, two = (degrade(each, degradation, seed=0) for each in (image, other))
        assert [s.class_id for s in one.strokes] == [s.class_id for s in two.strokes]
        labels = [rasterise(each.strokes, image.height, image.width) for each in (one, two)]
        assert fraction_near(*labels, 1) >= 0.99
        assert fraction_near(*labels[::-1], 1) >= 0.99
        lengths = [sum(arc_length(stroke.points) for stroke in i.strokes) for i in (one, two)]
        assert lengths[1] == pytest.approx(lengths[0], rel=0.12, abs=1e-6)


def test_png_gives_the_very_labels_that_were_drawn_and_subsets_of_them(scenes):
    dataset, drawn, root = scenes
    for image in drawn:
        label = rasterise(image.strokes, image.height, image.width)
        write_label(root / "png" / f"{image.image_id}.png", label)
    import_strokes(dataset, root / "png", root / "png.jsonl", AnnotationSettings())
    for image, other in zip(drawn, read_strokes(root / "png.jsonl"), strict=True):
        size = image.height, image.width
        label = rasterise(image.strokes, *size)
        np.testing.assert_array_equal(rasterise(other.strokes, *size), label)
        drawn_area = (label != IGNORE).sum()
        for name in ("shrink-0.5", "drop-0.5", "shrink-0.9", "shrink-1"):
            left = rasterise(degrade(other, Degradation.parse(name), seed=0).strokes, *size)
            kept = left != IGNORE
            np.testing.assert_array_equal(left[kept], label[kept])
            if name == "shrink-0.5":
                assert kept.sum() == pytest.approx(drawn_area / 2, rel=0.2)
                assert set(np.unique(left)) == set(np.unique(label))


@settings(max_examples=50, deadline=None)
@given(
    hnp.arrays(
        np.uint8,
        hnp.array_shapes(min_dims=2, max_dims=2, min_side=16, max_side=24),
        elements=st.sampled_from([0, 1, 2, 3]),
        fill=st.just(IGNORE),
    )
)
def test_any_scribble_png_comes_out_as_it_was_painted(tiny_data, tmp_path_factory, label):
    assume(0 < (label != IGNORE).mean() <= 0.5)
    folder = tmp_path_factory.mktemp("png")
    images = {"a": ("a.jpg", *label.shape)}
    splits = {"train": ("a",), "val": ()}
    dataset = replace(tiny_data.dataset, classes=CLASSES, splits=splits, images=images)
    dataset = replace(dataset, train_masks=False)
    write_label(folder / "in" / "a.png", label)
    import_strokes(dataset, folder / "in", folder / "strokes.jsonl", AnnotationSettings())
    options = {"drop_background": False, "min_per_image": 0, "seed": 0}
    degrade_scribbles(
        folder / "strokes.jsonl", Degradation("full"), folder / "full", dataset=dataset, **options
    )
    np.testing.assert_array_equal(LabelStore(folder / "full" / "labels.h5")["a"], label)


TINY = (
    '{"imagePath": "a.png", "shapes": [{"label": "cat", "shape_type": "line", "points": [[1, 2]]}]}'
)


@settings(max_examples=60)
@given(st.data())
def test_what_a_file_holds_becomes_strokes_or_a_message(tiny_data, tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("fuzz")
    splits, images = {"train": ("a",), "val": ()}, {"a": ("a.jpg", 20, 30)}
    dataset = replace(
        tiny_data.dataset, classes=CLASSES, splits=splits, images=images, train_masks=False
    )
    words = st.sampled_from(
        ["cat", "dog", "background", "1", "1e6", "-999999", "null", "[]", "0.5"]
    )
    text = TINY
    for old in data.draw(st.lists(st.sampled_from(["cat", "1", "2", "[1, 2]"]), max_size=3)):
        text = text.replace(old, data.draw(words))
    (folder / "x.json").write_text(text)
    message = ""
    try:
        import_strokes(dataset, folder, folder / "out.jsonl", AnnotationSettings(width=30.0))
    except ValueError as error:
        message = str(error)
    assert (folder / "out.jsonl").exists() == (message == "")
    if message:
        assert "x.json" in message
    else:
        (image,) = read_strokes(folder / "out.jsonl")
        rasterise(image.strokes, image.height, image.width)


def test_images_that_nobody_annotated_are_left_out_with_a_word(
    dataset, annotations, tmp_path, caplog
):
    (annotations / "a.xml").unlink()
    with caplog.at_level(logging.INFO):
        images = imported(dataset, annotations, tmp_path)
    assert list(images) == ["b", "c"]
    assert (
        "1 of 3 training images have no annotation and are left out of training: a" in caplog.text
    )
    assert dataset.training_on(images).splits["train"] == ("b", "c")
    for path in annotations.iterdir():
        path.unlink()
    (annotations / "v.xml").write_text(scribble_xml([], SIZES["v"], CLASSES))
    with pytest.raises(ValueError, match="none of the 3 training images has an annotation"):
        imported(dataset, annotations, tmp_path)
    with pytest.raises(ValueError, match="none of its 3 training images is annotated"):
        dataset.training_on(["v"])


@pytest.mark.parametrize("order", [(0, 1, 2), (0, 2, 1), (1, 0, 2), (2, 0, 1)])
def test_an_order_of_the_classes_that_the_masks_contradict_is_refused(tmp_path, order):
    """Strokes lie on the regions of a mask; the names are listed in another order."""
    names = [("background", "cat", "dog")[i] for i in order]
    root = tmp_path / "mine"
    mask = np.zeros((40, 60), np.uint8)
    mask[5:15, 5:50], mask[20:35, 5:50] = 1, 2
    for image_id in "ab":
        write_photograph(root / "JPEGImages" / f"{image_id}.png")
        write_label(root / "SegmentationClassAug" / f"{image_id}.png", mask)
        lines = [Stroke(i, np.array([[8, y], [45, y]]), 3) for i, y in ((0, 2), (1, 10), (2, 28))]
        path = root / "Scribbles" / f"{image_id}.xml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(scribble_xml(lines, (40, 60), ("background", "cat", "dog")))
    described = describe_folder(root, "mine", tuple(names), tmp_path / "dataset.json")
    if order == (0, 1, 2):
        assert list(imported(described, root / "Scribbles", tmp_path)) == ["a", "b"]
        return
    with pytest.raises(ValueError, match="not in the order of the numbers in the masks") as error:
        imported(described, root / "Scribbles", tmp_path)
    assert "the order that fits is background, cat, dog" in str(error.value)
    wrong = next(name for i, name in enumerate(names) if ("background", "cat", "dog")[i] != name)
    assert f"100 % of the strokes of {wrong!r} lie on number" in str(error.value)


def write_photograph(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((40, 60, 3), 90, np.uint8)).save(path)


def test_soft_edges_are_one_problem(dataset, annotations, tmp_path):
    painted = np.full((25, 25), 255, np.uint8)
    painted[5:8, 2:20] = 2
    painted[4, 2:20] = np.arange(100, 118)
    write_label(annotations / "b.png", painted)
    with pytest.raises(ValueError, match=r"1 problem:\n.*b\.png: .*soft \(anti-aliased\) edges"):
        imported(dataset, annotations, tmp_path)
    painted[4] = 255
    painted[4, 5] = 7
    write_label(annotations / "b.png", painted)
    expected = r"b\.png: value 7 is no class; expected 0 background, 1 aeroplane, 2 cat"
    with pytest.raises(ValueError, match=expected):
        imported(dataset, annotations, tmp_path)
