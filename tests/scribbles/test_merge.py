"""What several entries say of one image, and what the settings say of shapes and labels."""

import json
from dataclasses import replace

import pytest
from PIL import Image

from cdsp.io.findings import Findings
from cdsp.scribbles.import_annotations import imported_images
from cdsp.scribbles.settings import AnnotationSettings

ACROSS = ("cat", "linestrip", [[3, 5], [20, 5]])
BELOW = ("background", "linestrip", [[3, 15], [20, 15]])
OTHER = ("dog", "linestrip", [[3, 5], [20, 5]])
DOWN = ("dog", "linestrip", [[12, 1], [12, 19]])


@pytest.fixture
def dataset(tiny_data, tmp_path):
    """One training image, a, of 30 x 20 px; its photograph is not there."""
    return replace(
        tiny_data.dataset,
        root=tmp_path,
        classes=("background", "dog", "cat", "cow"),
        splits={"train": ("a",), "val": ()},
        images={"a": ("a.jpg", 20, 30)},
    )


@pytest.fixture
def run(dataset, tmp_path):
    """Function: import what the folder ``in`` says; the image, the hints and the problems."""

    def run(**options):
        settings = AnnotationSettings(**options)
        findings = Findings(skip_unreadable=settings.skip_unreadable)
        images = list(imported_images(dataset, tmp_path / "in", settings, findings))
        return (images or [None])[0], list(findings.hints), list(findings.problems)

    return run


@pytest.fixture
def labelme(tmp_path):
    """Function: write a file of labelme on image a, which states no size unless told."""

    def write(name, shapes, **others):
        records = [
            {"label": label, "shape_type": kind, "points": points} for label, kind, points in shapes
        ]
        (tmp_path / "in").mkdir(exist_ok=True)
        content = {"imagePath": "a.jpg", "shapes": records, **others}
        (tmp_path / "in" / name).write_text(json.dumps(content))

    return write


def classes(image):
    return [stroke.class_id for stroke in image.strokes]


def test_what_several_files_say_of_an_image_is_put_together(run, labelme, tmp_path):
    labelme("1.json", [ACROSS])
    labelme("2.json", [BELOW, DOWN])
    (tmp_path / "in" / "tags.csv").write_text("a,cow\na,cat\n")
    image, hints, problems = run()
    assert problems == []
    assert classes(image) == [2, 0, 1]
    assert image.tags == (2, 3)
    crossing, together = hints
    assert "2.json: its strokes cross those of earlier entries with other classes" in crossing
    assert all(name in together for name in ("image 'a'", "1.json", "2.json", "tags.csv"))


def test_entries_that_contradict_each_other_are_a_problem(run, labelme, tmp_path):
    labelme("1.json", [ACROSS])
    labelme("2.json", [OTHER])
    image, _, (problem,) = run()
    assert classes(image) == [2]
    folder = tmp_path / "in"
    assert f"{folder}/2.json: its strokes contradict those of {folder}/1.json on" in problem


def test_photographs_of_one_name_in_different_folders_are_told_apart(run, tmp_path):
    images = "".join(
        f'<image name="{name}/a.jpg" width="30" height="20">'
        '<polyline label="cat" points="1,2;9,9"/></image>'
        for name in ("one", "two")
    )
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "cvat.xml").write_text(f"<annotations>{images}</annotations>")
    _, _, (problem,) = run()
    assert "image 'two/a.jpg': only one photograph has this name" in problem
    assert "image 'one/a.jpg'" in problem


def test_annotators_are_put_together_but_where_they_contradict(run, tmp_path):
    def version(number, label, y, **others):
        value = {"x": 10, "y": y, "width": 2, "keypointlabels": [label]}
        result = [{"id": f"r{number}", "type": "keypointlabels", "value": value}]
        return {"id": number, "result": result, "updated_at": f"2024-05-0{number}", **others}

    def annotated(*versions):
        (tmp_path / "in").mkdir(exist_ok=True)
        content = [{"data": {"image": "a.jpg"}, "annotations": versions}]
        (tmp_path / "in" / "e.json").write_text(json.dumps(content))
        return run()

    cat, ground = version(1, "cat", 20), version(3, "background", 80)
    image, hints, problems = annotated(cat, version(2, "dog", 20), ground)
    assert problems == []
    assert sorted(classes(image)) == [0, 1]
    assert sum("annotation 1: left out: an annotation that contradicts" in h for h in hints) == 1
    assert sum("were put together" in hint for hint in hints) == 1
    sure = version(1, "cat", 20, ground_truth=True)
    image, hints, _ = annotated(sure, version(2, "dog", 20), ground)
    assert sorted(classes(image)) == [0, 2]
    assert sum("annotation 2: left out: an annotation that contradicts" in h for h in hints) == 1


@pytest.mark.parametrize(
    ("shape", "told"),
    [
        (("cat", "linestrip", [[100, 100], [120, 110]]), "a stroke of 'cat' has no pixel"),
        (("cat", "point", [[-1, 5]]), "a stroke of 'cat' has no pixel"),
        (("cat", "rectangle", [[31, 5], [50, 9]]), "a box of 'cat' has no pixel"),
        (("cat", "rectangle", [[5.6, 5.6], [6.4, 6.4]]), "a box of 'cat' has no pixel"),
        (("cat", "polygon", [[1, 1], [5, 5], [2, 9]]), "a 'polygon' of 'cat' is no stroke"),
        (("", "point", [[1, 1]]), "without a label"),
    ],
)
def test_shapes_that_cannot_be_used_are_problems_or_left_out(run, labelme, shape, told):
    labelme("1.json", [shape, BELOW, shape])
    image, _, (problem,) = run()
    assert told in problem
    assert " and 1 more: " in problem
    assert (classes(image), image.boxes) == ([0], ())
    image, (hint,), problems = run(skip_unreadable=True)
    assert problems == []
    assert "1.json" in hint
    assert " and 1 more: left out: " in hint
    assert told in hint
    assert classes(image) == [0]


def test_aliases_and_labels_to_ignore(run, labelme):
    shapes = [("Kater", *ACROSS[1:]), BELOW, ("later", *DOWN[1:])]
    labelme("1.json", shapes, flags={"checked": True, "cow": True})
    _, hints, problems = run()
    assert len(problems) == 2
    assert sum("left out: the flag or choice 'checked', which is no class" in h for h in hints) == 1
    image, hints, problems = run(aliases={"Kater": "cat"}, ignore=("later", "checked"))
    assert problems == []
    assert classes(image) == [2, 0]
    assert image.tags == (3,)
    assert sum("left out as the settings say: 'later'" in hint for hint in hints) == 1


def test_a_turned_photograph_explains_a_turned_size(run, labelme, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 8
    Image.new("RGB", (20, 30)).save(tmp_path / "a.jpg", exif=exif)
    labelme("1.json", [ACROSS], imageHeight=30, imageWidth=20)
    _, _, (problem,) = run()
    assert "its EXIF orientation is 8), 30 x 20 px; save it upright" in problem
    labelme("1.json", [ACROSS], imageHeight=31, imageWidth=20)
    assert "EXIF" not in run()[2][0]
