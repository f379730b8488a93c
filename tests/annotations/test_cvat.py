import tracemalloc

import pytest

from cdsp.annotations.read import read_annotations
from cdsp.io.findings import Findings

EXPORT = """<?xml version="1.0" encoding="utf-8"?>
<annotations>
  <version>1.1</version>
  <meta><task><labels><label><name>cat</name></label></labels></task></meta>
  <image id="0" name="some/folder/a.b.jpg" width="40" height="30">
    <polyline label="cat" points="3.50,5.50;6.50,5.50" occluded="0" z_order="2">
      <attribute name="mood">good</attribute>
    </polyline>
    <points label="dog" points="1.50,2.50;9.99,8.01" z_order="-1"/>
    <box label="dog" xtl="2.00" ytl="1.00" xbr="5.00" ybr="2.00" z_order="0"/>
    <polyline label="dog" points="4.5,5.5;4.5,7.2" z_order="2"/>
    <tag label="cow"/>
    <mask label="cow" rle="0, 3, 2, 1" left="7" top="9" width="5" height="2" z_order="9"/>
  </image>
  <image id="1" name="empty.png" width="7" height="5"/>
</annotations>
"""


def test_images_of_a_task(read_file, pixels):
    (first, empty), problems = read_file("annotations.xml", EXPORT)
    assert problems == []
    assert (first.image_id, first.size) == ("a.b", (30, 40))
    assert (empty.image_id, empty.size, empty.shapes) == ("empty", (5, 7), ())
    *shapes, painted = first.shapes
    assert painted.label == "cow"
    assert [(shape.kind, shape.label) for shape in shapes] == [
        ("stroke", "dog"),
        ("stroke", "dog"),
        ("box", "dog"),
        ("tag", "cow"),
        ("stroke", "cat"),
        ("stroke", "dog"),
    ]
    assert pixels(painted) == {(7, 9), (8, 9), (9, 9), (7, 10)}
    dot, other, box, tag, across, down = shapes
    assert (pixels(dot), pixels(other)) == ({(1, 2)}, {(9, 8)})
    assert pixels(box) == {(2, 1), (3, 1), (4, 1)}
    assert tag.points.shape == (0, 2)
    assert pixels(across) == {(3, 5), (4, 5), (5, 5), (6, 5)}
    assert pixels(down) == {(4, 5), (4, 6), (4, 7)}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("<box ", "<polygon ", "<polygon> of 'dog' is no stroke, box or tag; read are <polyline>"),
        ("<box ", '<box rotation="30" ', "rotated"),
        ('rle="0, 3, 2, 1"', 'rle="0, 3, 8"', "have 11 pixels; expected"),
        ('rle="0, 3, 2, 1"', 'rle="0, 3, -1"', "expected whole numbers"),
        ('rle="0, 3, 2, 1"', "", "a run of a mask is ''"),
        ('left="7"', 'left="36"', "expected whole numbers within the image of 40 x 30 px"),
        ('height="2"', 'height="1e9"', "within the image"),
        ("3.50,5.50;", "3.50;", "a point is ['3.50']; expected x and y"),
        ('points="3.50,5.50;6.50,5.50"', "", "expected x and y"),
        ("3.50,", "inf,", "a coordinate is 'inf'"),
        ('label="cow"', "", "a label is None"),
        ('z_order="2"', 'z_order="high"', "z_order is 'high'"),
    ],
)
def test_a_wrong_shape_leaves_the_others(read_file, old, new, message):
    annotations, (problem, *_) = read_file("annotations.xml", EXPORT.replace(old, new))
    assert [annotation.image_id for annotation in annotations] == ["a.b", "empty"]
    assert 2 <= len(annotations[0].shapes) <= 6
    assert "annotations.xml, image 'some/folder/a.b.jpg'" in problem
    assert message in problem


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('width="40"', 'width="1000000000"', "said to be 1e+09 x 30"),
        ('width="40"', "", "the image's width is None"),
        ('name="some/folder/a.b.jpg"', 'name=""', "expected the name of a file"),
    ],
)
def test_a_wrong_image_leaves_the_others(read_file, old, new, message):
    annotations, (problem,) = read_file("annotations.xml", EXPORT.replace(old, new))
    assert [annotation.image_id for annotation in annotations] == ["empty"]
    assert message in problem


@pytest.mark.parametrize(
    ("old", "new"), [("1.1", "1.0"), ("<meta>", "<track id='0' label='cat'></track><meta>")]
)
def test_other_exports_are_refused(read_file, old, new):
    annotations, (problem,) = read_file("annotations.xml", EXPORT.replace(old, new))
    assert annotations == []
    assert "export as 'CVAT for images 1.1'" in problem


def test_memory_does_not_grow_with_the_number_of_images(tmp_path, monkeypatch):
    monkeypatch.setattr("cdsp.annotations.elements._CHUNK", 2**14)
    points = ";".join(f"{x}.5,{x % 30}.5" for x in range(60))
    line = f'<polyline label="cat" points="{points}"/>'
    peaks = []
    for number in (20, 200):
        images = "".join(
            f'<image name="{index}.jpg" width="500" height="30">{line * 5}</image>'
            for index in range(number)
        )
        path = tmp_path / "annotations.xml"
        path.write_text(f"<annotations><version>1.1</version>{images}</annotations>")
        findings = Findings()
        tracemalloc.start()
        read = sum(len(annotation.shapes) for annotation in read_annotations(path, findings))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert (read, list(findings.problems)) == (5 * number, [])
    assert peaks[1] < 1.3 * peaks[0]


def test_attributes_are_left_out_and_counted(read_file):
    hints = []
    read_file("annotations.xml", EXPORT, hints)
    (hint,) = hints
    assert "image 'some/folder/a.b.jpg': left out: the attribute 'mood' of a shape" in hint
