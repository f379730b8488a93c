import json

import numpy as np
import pytest

SAMPLE = {
    "version": "5.5.0",
    "flags": {"cow": True, "dog": False, "hard": None},
    "shapes": [
        {
            "label": "cat",
            "points": [[3.5, 5.5], [6.2, 5.7]],
            "shape_type": "linestrip",
            "flags": {},
        },
        {"label": "cat", "points": [[1.5, 9.5], [1.5, 11.5]], "shape_type": "line"},
        {"label": "dog", "points": [[7.01, 8.99]], "shape_type": "point"},
        {"label": "dog", "points": [[0, 0], [2.5, 1.5]], "shape_type": "points"},
        {"label": "dog", "points": [[5.0, 2.0], [2.0, 1.0]], "shape_type": "rectangle"},
    ],
    "imagePath": "..\\images\\a.b.jpg",
    "imageData": "QUJD",
    "imageHeight": 30,
    "imageWidth": 40,
}


def test_every_kind_of_shape(read_file, pixels):
    (annotation,), problems = read_file("renamed.json", json.dumps(SAMPLE))
    assert problems == []
    assert (annotation.image_id, annotation.size) == ("a.b", (30, 40))
    strip, line, dot, first, second, box, tag = annotation.shapes
    assert pixels(strip) == {(3, 5), (4, 5), (5, 5), (6, 5)}
    assert pixels(line) == {(1, 9), (1, 10), (1, 11)}
    assert pixels(dot) == {(7, 8)}
    assert (first.points.tolist(), second.points.tolist()) == ([[-0.5, -0.5]], [[2.0, 1.0]])
    assert pixels(box) == {(2, 1), (3, 1), (4, 1)}
    assert [shape.label for shape in annotation.shapes] == ["cat"] * 2 + ["dog"] * 4 + ["cow"]
    assert [shape.kind for shape in (line, box, tag)] == ["stroke", "box", "flag"]


@pytest.mark.parametrize("path", ["a.b.jpg", "/home/me/a.b.png", "C:\\x\\a.b.jpeg", "../a.b.heic"])
def test_the_image_is_named_by_its_path(read_file, path):
    (annotation,), _ = read_file("x.json", json.dumps({**SAMPLE, "imagePath": path}))
    assert annotation.image_id == "a.b"


@pytest.mark.parametrize("kind", ["polygon", "circle", "mask", None, 5, ["line"]])
def test_other_shapes_are_told(read_file, kind):
    shapes = [*SAMPLE["shapes"], {"label": "cat", "points": [[1, 2]], "shape_type": kind}]
    (annotation,), (problem,) = read_file("a.json", json.dumps({**SAMPLE, "shapes": shapes}))
    assert len(annotation.shapes) == 7
    assert "read are linestrip, line, point, points and rectangle" in problem
    assert repr(kind) in problem


@pytest.mark.parametrize("kind", ["rectangle", "rotation"])
def test_corners_of_an_upright_box_are_a_box(read_file, pixels, kind):
    def boxed(points):
        shapes = [{"label": "cat", "points": points, "shape_type": kind}]
        return read_file("a.json", json.dumps({**SAMPLE, "shapes": shapes, "flags": {}}))

    corners = [[10, 8], [30, 8], [30, 24.004], [10, 24]]
    for points in (corners, corners[::-1], [*corners, corners[0]], corners[1:], corners[::2]):
        (annotation,), problems = boxed(points)
        assert problems == []
        (box,) = annotation.shapes
        np.testing.assert_allclose(
            sorted(box.points.tolist()), [[9.5, 7.5], [29.5, 23.5]], atol=0.01
        )
    for points in ([[10, 8], [30, 9], [29, 24], [9, 23]], [[10, 8], [20, 8], [30, 24]]):
        (annotation,), (problem,) = boxed(points)
        assert annotation.shapes == ()
        assert "not the corners of an upright box" in problem


def test_flags_of_the_image_may_be_tags_and_those_of_shapes_are_left_out(read_file):
    shape = {"label": "cat", "points": [[1, 2]], "shape_type": "point", "flags": {"hidden": True}}
    content = {**SAMPLE, "shapes": [shape, shape], "flags": {"checked": True, "blurry": False}}
    hints = []
    (annotation,), problems = read_file("a.json", json.dumps(content), hints)
    assert problems == []
    assert [(shape.kind, shape.label) for shape in annotation.shapes] == [
        *[("stroke", "cat")] * 2,
        ("flag", "checked"),
    ]
    (hint,) = hints
    assert "a.json and 1 more: left out: the flag 'hidden' of a shape" in hint


@pytest.mark.parametrize(
    ("points", "message"),
    [
        ([[1, 2, 3]], "a point is [1, 2, 3]"),
        ([[1, "x"]], "a coordinate is 'x'"),
        ([[1, None]], "a coordinate is None"),
        ([[1, True]], "a coordinate is True"),
        ([[1, float("nan")]], "a coordinate is nan"),
        ([[1, 10**400]], "a coordinate is 1"),
        ([[1, 1e300]], "farther than 1,000,000 px"),
        ([], "has 0 points"),
        ([[1, 2]] * 100_001, "has 100001 points"),
        ("1,2", "'points' of 'cat' is '1,2'; expected a list"),
        (None, "expected a list"),
        ([5], "a point is 5"),
    ],
)
def test_wrong_points_are_told(read_file, points, message):
    shapes = [{"label": "cat", "points": points, "shape_type": "line"}, SAMPLE["shapes"][2]]
    (annotation,), (problem,) = read_file("a.json", json.dumps({**SAMPLE, "shapes": shapes}))
    assert [shape.label for shape in annotation.shapes] == ["dog", "cow"]
    assert "a.json: " in problem
    assert message in problem
    assert len(problem) < 400


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{}", "its keys are , of no format that is read: labelme (shapes)"),
        ('{"images": [], "annotations": []}', "its keys are images, annotations, of no format"),
        ("5", "the content is no object and no list"),
        ("", "broken JSON"),
        ("{", "broken JSON"),
        ('{"a": 1} {}', "broken JSON: '{' after its end"),
        (b'{"a": "\xff"}', "not UTF-8 text; save it as UTF-8"),
        ('{"a":' * 100_000, "nested too deeply"),
        ("1" * 5000, "broken JSON"),
        (json.dumps({**SAMPLE, "shapes": 5}), "'shapes' is 5"),
        (json.dumps({**SAMPLE, "flags": 5}), "'flags' is 5"),
        (json.dumps({**SAMPLE, "imagePath": None}), "expected the name of a file"),
        (json.dumps({**SAMPLE, "imagePath": ".."}), ""),
        (json.dumps({**SAMPLE, "imageWidth": 2.5}), "said to be 2.5 x 30"),
        (json.dumps({**SAMPLE, "imageHeight": 10**12}), "said to be 40 x 1e+12"),
    ],
)
def test_other_json_is_refused(read_file, content, message):
    annotations, problems = read_file("a.json", content)
    assert annotations == [] or content.find('".."') > 0
    assert all("a.json: " in problem and message in problem for problem in problems)
    assert len(problems) == 1 - len(annotations)


def test_a_file_too_large_is_refused(read_file, monkeypatch):
    monkeypatch.setattr("cdsp.annotations.values.MAX_BYTES", 2**20)
    content = json.dumps({**SAMPLE, "imageData": "A" * 3 * 2**20})
    annotations, (problem,) = read_file("a.json", content)
    assert annotations == []
    assert "more than 1 MiB; export without image data" in problem
