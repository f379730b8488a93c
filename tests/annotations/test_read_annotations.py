import numpy as np
import pytest

from cdsp.annotations.annotation import Shape
from cdsp.annotations.read import annotation_files, read_annotations
from cdsp.io.findings import Findings


def test_tag_lists(read_file):
    content = '\ufeffa, cat , dog\r\n\r\n"b","cow"\nc\nd,,cat,\ne,cat;cow\n'
    annotations, problems = read_file("tags.csv", content)
    assert problems == []
    found = {item.image_id: [shape.label for shape in item.shapes] for item in annotations}
    tags = {"a": ["cat", "dog"], "b": ["cow"], "c": [], "d": ["cat"], "e": ["cat", "cow"]}
    assert found == tags
    assert all(shape.kind == "tag" for item in annotations for shape in item.shapes)


@pytest.mark.parametrize("separator", [";", "\t", " ; "])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_tag_lists_as_spreadsheets_write_them(read_file, separator, encoding):
    lines = (("my photo.jpg", "cat", "dog"), ("b", "", ""), ("ß", "cat", ""))
    text = "".join(f"{separator.join(line)}\r\n" for line in lines)
    annotations, problems = read_file("tags.csv", text.encode(encoding))
    assert problems == []
    found = {item.image_name: [shape.label for shape in item.shapes] for item in annotations}
    assert found == {"my photo.jpg": ["cat", "dog"], "b": [], "ß": ["cat"]}


@pytest.mark.parametrize("content", ["a,cat\n" + "x" * 100_000, b"a,\xff\n", '"' + "a\n" * 100_000])
def test_broken_tag_lists(read_file, content):
    _, (problem,) = read_file("tags.txt", content)
    assert "tags.txt: " in problem


def test_a_folder_may_mix_formats_and_every_problem_is_told(tmp_path):
    (tmp_path / "b.XML").write_text("<annotation></annotation>")
    (tmp_path / "a.csv").write_text("x,cat\n")
    (tmp_path / "broken1.json").write_text("{")
    (tmp_path / "broken2.png").write_bytes(b"PNG")
    (tmp_path / "broken3.xml").write_text("<a>")
    (tmp_path / "photo.jpg").write_bytes(b"no annotation")
    (tmp_path / ".hidden.xml").write_text("<a>")
    (tmp_path / "folder.xml").mkdir()
    (tmp_path / "folder.xml" / "c.xml").write_text("<annotation></annotation>")
    findings = Findings()
    found = [annotation.image_id for annotation in read_annotations(tmp_path, findings)]
    assert found == ["x", "b"]
    assert [problem.split(": ")[0].rsplit("/")[-1] for problem in findings.problems] == [
        "broken1.json",
        "broken2.png",
        "broken3.xml",
    ]
    assert all(problem.startswith(f"{tmp_path}/broken") for problem in findings.problems)


@pytest.mark.parametrize("name", ["", "absent.xml", "photo.jpg"])
def test_nothing_to_read(tmp_path, name):
    (tmp_path / "photo.jpg").write_bytes(b"")
    with pytest.raises(
        ValueError, match=r"no file of annotations there; read are \.json: labelme; \.xml: CVAT"
    ):
        annotation_files(tmp_path / name)


def test_shapes_keep_their_own_points():
    points = np.array([[1.0, 2.0]])
    shape = Shape("stroke", "cat", points)
    points[0] = 9
    assert shape.points.tolist() == [[1, 2]]
    with pytest.raises(ValueError, match="read-only"):
        shape.points[0] = 0
