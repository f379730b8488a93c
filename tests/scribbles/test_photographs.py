"""Which photograph an annotation is of."""

import json
from dataclasses import replace

import numpy as np
import pytest

from cdsp.annotations.annotation import Annotation
from cdsp.annotations.read import read_annotations
from cdsp.io.findings import Findings
from cdsp.scribbles.photographs import Photographs


@pytest.fixture
def match(tiny_data, tmp_path):
    """Function: photographs, and (image's name, file, entry) of annotations → ids, findings."""

    def match(files, *annotations):
        images = {name.rpartition(".")[0]: (f"JPEGImages/{name}", 20, 30) for name in files}
        splits = {"train": tuple(images), "val": ()}
        findings = Findings()
        photographs = Photographs(
            replace(tiny_data.dataset, images=images, splits=splits), findings
        )
        found = [
            photographs.find(Annotation("", tmp_path / file, None, (), name, entry))
            for name, file, entry in annotations
        ]
        photographs.tell_left_over()
        return found, list(findings.problems), list(findings.hints)

    return match


@pytest.mark.parametrize(
    ("file", "stated"),
    [
        ("a.jpg", "a.jpg"),
        ("a.jpg", "a"),
        ("a.jpg", "A.JPG"),
        ("cam1.frame_01.jpg", "cam1.frame_01"),
        ("cam1.frame_01.jpg", "cam1.frame_01.jpg"),
        ("my photo (1).jpg", "my_photo_1.jpg"),
        ("my photo (1).jpg", "0a1b2c3d-my_photo_1.jpg"),
        ("b+c.jpg", "0a1b2c3d-bc.jpg"),
        ("a.jpg", "0a1b2c3d-a.jpg"),
        ("0a1b2c3d-a.jpg", "0a1b2c3d-a.jpg"),
        ("café.jpg", "cafe\u0301.jpg"),
        ("नमस्ते.jpg", "0a1b2c3d-नमस्ते.jpg"),
    ],
)
def test_a_name_that_one_photograph_fits_is_found(match, file, stated):
    found, problems, hints = match([file, "other.jpg"], (stated, "export.json", "task 0"))
    assert found == [file.rpartition(".")[0]]
    assert problems == []
    assert hints == [
        "1 of 2 training images have no annotation and are left out of training: other"
    ]


def test_an_exact_name_comes_before_a_similar_one(match):
    found, problems, _ = match(
        ["A.jpg", "a.jpg"], ("a.jpg", "t.xml", "image"), ("A", "t.xml", "image")
    )
    assert (found, problems) == (["a", "A"], [])


def test_a_name_that_several_photographs_fit_is_a_problem(match):
    found, problems, _ = match(
        ["b (1).jpg", "b_1.jpg", "b+1.jpg"], ("B_1.JPG", "t.json", "task 0"), ("b1", "t.json", "t")
    )
    assert found == ["b_1", "b+1"]
    found, problems, _ = match(["x y.jpg", "x (y).jpg"], ("x_y", "t.json", "task 0"))
    assert found == [None]
    assert "'x_y' may be any of x (y).jpg, x y.jpg; rename all but one" in problems[0]


def test_a_file_that_is_called_like_one_and_names_another_is_a_problem(match):
    files = ["img1.jpg", "img2.jpg"]
    found, problems, _ = match(files, ("img2.jpg", "img1.json", ""), ("img1.jpg", "img2.xml", ""))
    assert found == [None, None]
    (problem,) = problems
    assert "img1.json (like img1.jpg, names 'img2.jpg') and 1 more: it is called" in problem
    assert "both exist; which is meant?" in problem


def test_a_file_is_found_by_its_own_name_with_a_word(match):
    found, problems, hints = match(["site_1.jpg"], ("DSC_1.JPG", "site_1.json", ""))
    assert (found, problems) == (["site_1"], [])
    assert "site_1.json ('DSC_1.JPG'): it names an image that is not there" in hints[0]
    # A file of many entries is called like none of them.
    assert match(["export.jpg"], ("DSC_1.JPG", "export.json", "task 0"))[0] == [None]


@pytest.mark.parametrize(
    ("stated", "file", "entry", "told"),
    [
        ("a.png", "t.xml", "image 'a'", "an image of another ending"),
        ("site/a.jpg", "t.xml", "image 'a'", "an image in the folder 'site'"),
        ("C:\\site\\a.jpg", "a.json", "", "an image in the folder 'site'"),
        ("deadbeef-a.jpg", "x.json", "", "eight digits and a hyphen"),
    ],
)
def test_doubts_are_hints(match, stated, file, entry, told):
    found, problems, hints = match(["a.jpg"], (stated, file, entry))
    assert (found, problems) == (["a"], [])
    assert len(hints) == 1
    assert told in hints[0]


def test_both_sides_of_what_is_left_over_are_shown(match):
    found, problems, _ = match(
        ["b0.jpg", "b1.jpg", "c.jpg"], ("", "b0_scribble.png", ""), ("", "c.png", "")
    )
    assert found == [None, "c"]
    (problem,) = problems
    assert "1 annotation without a photograph, and 2 photographs without an annotation" in problem
    assert "'b0_scribble' (near 'b0'); photographs: b0, b1" in problem
    _, problems, hints = match(["c.jpg"], ("", "c.png", ""), ("", "zebra.png", ""))
    assert problems == []
    assert "1 annotation of no image of the data set, left out: 'zebra'" in hints[0]
    assert (
        "none of the 1 training images has an annotation; photographs: c" in match(["c.jpg"])[1][0]
    )


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("readme.txt", "drawn in 2024, see notes.\n", "hint: no line of it begins with the name"),
        ("classes.txt", "cat\ndog\n", "hint: no line of it"),
        ("a.txt", "0 0.5 0.5 0.1 0.2\n1 .5 .5 1e-1 0.2\n", "numbers alone, as YOLO writes them"),
        ("seg.txt", "0 0.1 0.1 0.2 0.1 0.2 0.3\n", "numbers alone, as YOLO"),
        ("export.csv", "annotation_id,annotator,image\n1,2,/a.jpg\n", "a table of Label Studio"),
        ("tags.txt", "a cat\nb dog\n", "blanks are between its fields"),
        ("tags.csv", "image,class\na.jpg,cat\n", ""),
        ("tags.csv", "filename;class\na.jpg;cat,dog\n", ""),
        ("tags.txt", "a\tcat\n", ""),
    ],
)
def test_text_files_are_tags_or_told(tiny_data, tmp_path, name, text, told):
    images = {i: (f"JPEGImages/{i}.jpg", 20, 30) for i in ("a", "b")}
    dataset = replace(tiny_data.dataset, images=images, splits={"train": ("a",), "val": ("b",)})
    (tmp_path / name).write_text(text)
    point = {"label": "cat", "shape_type": "point", "points": [[1, 1]]}
    (tmp_path / "a.json").write_text(json.dumps({"imagePath": "a.jpg", "shapes": [point]}))
    findings = Findings()
    photographs = Photographs(dataset, findings)
    of_text = []
    for annotation in read_annotations(tmp_path, findings):
        if photographs.find(annotation) and annotation.source.name == name:
            of_text.append(sorted(shape.label for shape in annotation.shapes))
    photographs.tell_left_over()
    told_lines = [*findings.problems, *(f"hint: {hint}" for hint in findings.hints)]
    if told:
        assert of_text == []
        assert len(told_lines) == 1
        assert told.removeprefix("hint: ") in told_lines[0]
        assert told.startswith("hint") == told_lines[0].startswith("hint")
    else:
        assert told_lines == []
        assert of_text in ([["cat"]], [["cat", "dog"]])


def test_many_annotations_that_fit_nothing_are_one_line(match):
    rows = [(f"x{index}.jpg", "t.xml", "image") for index in range(3000)]
    _, problems, hints = match(
        [f"photo{i}.jpg" for i in range(3000)], ("photo1", "t.xml", ""), *rows
    )
    assert len(problems) + len(hints) <= 2
    assert max(map(len, [*problems, *hints])) < 400
    assert np.char.find([*problems, *hints], "3000 annotations").max() >= 0
