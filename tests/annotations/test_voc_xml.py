import pytest

SCRIBBLES = """<?xml version="1.0"?>
<annotation>
  <filename>whatever.jpg</filename>
  <size><width>40</width><height>30</height><depth>3</depth></size>
  <polygon><tag>plane</tag>
    <point><X>3</X><Y>5</Y></point><point><X>6</X><Y>5</Y></point><point><X>6</X><Y>8</Y></point>
  </polygon>
  <polygon><tag> background </tag><point><X>-7</X><Y>90</Y></point></polygon>
  <polygon><tag>plane</tag><point><X>12</X><Y>13</Y></point></polygon>
</annotation>
"""
BOXES = """<annotation>
  <size><width>40</width><height>30</height></size>
  <object><name>dog</name><part><name>head</name></part>
    <bndbox><xmin>1</xmin><ymin>3</ymin><xmax>4</xmax><ymax>3</ymax></bndbox></object>
</annotation>
"""


def test_polygons_of_scribblesup_are_open_lines_through_pixels(read_file, pixels):
    (annotation,), problems = read_file("2007_000001.xml", SCRIBBLES)
    assert problems == []
    assert (annotation.image_id, annotation.size) == ("2007_000001", (30, 40))
    line, outside, dot = annotation.shapes
    assert [(s.kind, s.label, s.width) for s in annotation.shapes] == [
        ("stroke", "plane", None),
        ("stroke", "background", None),
        ("stroke", "plane", None),
    ]
    assert pixels(line) == {(3, 5), (4, 5), (5, 5), (6, 5), (6, 6), (6, 7), (6, 8)}
    assert outside.points.tolist() == [[-7, 90]]
    assert pixels(outside) == set()
    assert pixels(dot) == {(12, 13)}


def test_boxes_of_voc_count_from_one_and_hold_their_sides(read_file, pixels):
    (annotation,), problems = read_file("a.xml", BOXES)
    (box,) = annotation.shapes
    assert (problems, box.kind, box.label) == ([], "box", "dog")
    assert pixels(box) == {(0, 2), (1, 2), (2, 2), (3, 2)}


def test_a_file_without_shapes_is_an_annotation_without_any(read_file):
    (annotation,), problems = read_file("a.xml", "<annotation></annotation>")
    assert (problems, annotation.shapes, annotation.size) == ([], (), None)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("<X>3</X>", "<X>nan</X>", "a point's X is 'nan'"),
        ("<X>3</X>", "<X>1e300</X>", "farther than 1,000,000 px away: [1e+300, 5.0]"),
        ("<X>3</X>", "<X>three</X>", "a point's X is 'three'; expected a finite number"),
        ("<X>3</X>", "", "a point's X is None"),
        ("<tag>plane</tag>", "", "a label is None"),
        ("<tag>plane</tag>", "<tag> </tag>", "a stroke without a label"),
        ("<width>40</width>", "<width>1e9</width>", "said to be 1e+09 x 30 pixels"),
        ("<width>40</width>", "<width>-1</width>", "said to be -1 x 30 pixels"),
    ],
)
def test_what_is_wrong_is_told_and_the_rest_is_read(read_file, old, new, message):
    (annotation,), (problem, *_) = read_file("a.xml", SCRIBBLES.replace(old, new))
    assert problem.split(": ", 1)[0].removesuffix(" and 1 more").endswith("a.xml")
    assert message in problem
    assert annotation.shapes[-1].points.tolist() == [[12, 13]] or "label" in problem


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            '<!DOCTYPE a [<!ENTITY x "y"><!ENTITY z "&x;&x;">]><annotation>&z;</annotation>',
            "document type",
        ),
        (
            '<!DOCTYPE a SYSTEM "file:///etc/passwd"><annotation></annotation>',
            "document type",
        ),
        ('<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><annotation>&x;</annotation>', ""),
        ("<annotation>&x;</annotation>", "undefined entity"),
        ("<annotation>" + "<a>" * 40 + "</a>" * 40 + "</annotation>", "nested deeper than 32"),
        ("<annotation>" + "<a>" * 100_000, "nested deeper than 32"),
        ("<annotation><size>", "broken XML"),
        ("", "broken XML"),
        ("<svg></svg>", "root is <svg>, of no format that is read"),
        (b"<annotation>\xff\xfe</annotation>", "not UTF-8 text; save it as UTF-8 (broken XML"),
        ("<annotation>ÿ</annotation>".encode("latin-1"), "not UTF-8 text; save it as UTF-8"),
        ('<?xml version="1.0" encoding="klingon"?><annotation/>', "not UTF-8 text"),
        ('<?xml version="1.0" encoding="gbk"?><annotation/>', "not UTF-8 text"),
    ],
)
def test_dangerous_and_broken_xml_is_refused(read_file, content, message):
    annotations, (problem,) = read_file("a.xml", content)
    assert annotations == []
    assert message in problem


def test_an_endless_element_is_refused(read_file, monkeypatch):
    monkeypatch.setattr("cdsp.annotations.elements.MAX_BYTES", 2**20)
    for content in ("<annotation><a b='" + "c" * 3 * 2**20, "<annotation>" + "<!--" + " " * 2**22):
        annotations, (problem,) = read_file("a.xml", content)
        assert annotations == []
        assert "an element of more than 1 MiB" in problem


def test_a_size_of_0_is_no_size(read_file):
    content = SCRIBBLES.replace("<width>40</width>", "<width>0</width>")
    (annotation,), problems = read_file("a.xml", content)
    assert (annotation.size, problems) == (None, [])


def test_an_object_without_a_box_is_told(read_file):
    content = "<annotation><object><name>cat</name><polygon/></object></annotation>"
    (annotation,), (problem,) = read_file("a.xml", content)
    assert annotation.shapes == ()
    assert "an object of 'cat' without <bndbox>" in problem
