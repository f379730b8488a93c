import hashlib
import json
import tracemalloc
from math import hypot

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.draw import line as skimage_line

import cdsp.scribbles.rasterise
from cdsp.io.outputs import LEDGER
from cdsp.scribbles.rasterise import rasterise
from cdsp.scribbles.stroke_files import read_header, read_strokes, write_strokes
from cdsp.scribbles.strokes import WIDEST, Box, ImageStrokes, Stroke, arc_length, cut

coordinates = st.floats(-15, 35, allow_nan=False).map(lambda value: round(value, 3))
polylines = st.lists(st.tuples(coordinates, coordinates), min_size=1, max_size=6)


def distance_to_segment(point, start, end):
    (px, py), (ax, ay), (bx, by) = point, start, end
    squared_length = (bx - ax) ** 2 + (by - ay) ** 2
    if squared_length == 0:
        return hypot(px - ax, py - ay)
    t = ((px - ax) * (bx - ax) + (py - ay) * (by - ay)) / squared_length
    t = min(max(t, 0), 1)
    return hypot(px - ax - t * (bx - ax), py - ay - t * (by - ay))


def distance_to_polyline(point, points):
    if len(points) == 1:
        return distance_to_segment(point, points[0], points[0])
    return min(distance_to_segment(point, points[i], points[i + 1]) for i in range(len(points) - 1))


@settings(max_examples=80, deadline=None)
@given(polylines, st.sampled_from([1.0, 1.5, 2.0, 3.0, 4.4, 9.0]))
def test_pixels_are_those_within_half_a_width_of_the_line(points, width):
    extent = np.ptp(np.array(points), axis=0)
    if (extent < 1).all():
        return
    label = rasterise([Stroke(4, np.array(points), width)], 17, 21)
    for y in range(17):
        for x in range(21):
            distance = distance_to_polyline((x, y), points)
            if abs(distance - width / 2) > 1e-5:
                assert (label[y, x] == 4) == (distance < width / 2), (x, y)
    assert set(np.unique(label)) <= {4, 255}


@pytest.mark.parametrize("offset", [0.0, 0.25, 0.5, 0.999, -0.5])
@pytest.mark.parametrize("width", [1, 2, 3, 4, 7])
def test_axis_aligned_lines_are_exactly_their_width(width, offset):
    across = Stroke(1, np.array([[-20, 12 + offset], [50, 12 + offset]]), width)
    label = rasterise([across], 25, 30)
    assert ((label == 1).sum(axis=0) == width).all()
    down = Stroke(1, across.points[:, ::-1], width)
    np.testing.assert_array_equal(rasterise([down], 30, 25), label.T)


def test_three_pixels_are_centred_on_the_line():
    label = rasterise([Stroke(2, np.array([[3, 5], [9, 5]]), 3)], 11, 13)
    expected = np.full((11, 13), 255)
    expected[4:7, 2:11] = 2
    np.testing.assert_array_equal(label, expected)


def test_one_pixel_diagonals_agree_with_scikit_image():
    for end in [(11, 11), (0, 5), (11, 5), (5, 11), (5, 0)]:
        label = rasterise([Stroke(0, np.array([(5, 5), end]), 1)], 12, 12)
        y, x = skimage_line(5, 5, end[1], end[0])
        assert sorted(zip(*np.nonzero(label == 0), strict=True)) == sorted(zip(y, x, strict=True))


@settings(max_examples=60, deadline=None)
@given(polylines)
def test_one_pixel_strokes_have_no_gaps(points):
    shifted = np.array(points) + 20
    label = rasterise([Stroke(1, shifted, 1)], 60, 60) == 1
    for axis in (0, 1):
        first, last = np.ceil(shifted[:, axis].min()), np.floor(shifted[:, axis].max())
        occupied = label.any(axis=axis)
        assert occupied[int(first) : int(last) + 1].all()
    assert label.any()


@pytest.mark.parametrize("x", [6.0, 6.3, 6.499, 5.501, 5.75])
@pytest.mark.parametrize(("width", "num_pixels"), [(1, 1), (3, 9), (5, 21)])
def test_a_dot_is_one_width_wide_wherever_it_lies(x, width, num_pixels):
    for points in ([[x, 4.2]], [[x, 4.2]] * 3):
        label = rasterise([Stroke(7, np.array(points), width)], 10, 12)
        ys, xs = np.nonzero(label == 7)
        assert len(xs) == num_pixels
        assert (xs.min(), xs.max()) == (6 - width // 2, 6 + width // 2)
        assert (ys.min(), ys.max()) == (4 - width // 2, 4 + width // 2)


def test_later_strokes_paint_over_earlier_ones():
    across = Stroke(3, np.array([[0, 5], [10, 5]]), 3)
    down = Stroke(0, np.array([[5, 0], [5, 10]]), 1)
    assert rasterise([across, down], 11, 11)[5, 5] == 0
    assert rasterise([down, across], 11, 11)[5, 5] == 3
    both = rasterise([down, across], 11, 11)
    assert (both != 255).sum() == 3 * 11 + 11 - 3


@pytest.mark.parametrize("far", [1e3, 1e6, 1e9, 1e300])
def test_points_far_outside_the_image(far):
    across = Stroke(1, np.array([[-far, 4], [far, 4]]), 3)
    label = rasterise([across], 9, 9)
    np.testing.assert_array_equal(label[3:6], 1)
    assert (label == 1).sum() == 27
    diagonal = rasterise([Stroke(1, np.array([[-far, -far], [far, far]]), 1)], 9, 9)
    np.testing.assert_array_equal(diagonal == 1, np.eye(9, dtype=bool))
    outside = [[far, 0], [far, far], [far, -far]]
    assert (rasterise([Stroke(1, np.array(outside), 3)], 9, 9) == 255).all()
    assert (rasterise([Stroke(1, np.array([[far, -far]]), 3)], 9, 9) == 255).all()


@pytest.mark.parametrize(("num_points", "width"), [(4, WIDEST), (2000, 1), (200, 20)])
def test_memory_does_not_grow_with_the_length_of_a_stroke(num_points, width):
    """The widest pen, and pens that cross the image again and again."""

    def peak(points):
        tracemalloc.start()
        try:
            rasterise([Stroke(1, points, width)], 401, 401)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    across = np.arange(num_points) % 2 * 400.0
    zigzag = np.stack([across, np.linspace(0, 400, num_points)], axis=1)
    assert peak(zigzag) < 1.2 * max(peak(zigzag[: num_points // 2]), 40 * 2**20)


def test_a_long_stroke_is_its_parts(monkeypatch):
    """However many pieces are looked at in one go."""
    points = np.random.default_rng(0).uniform(-5, 45, (40, 2))
    whole = rasterise([Stroke(1, points, 2.5)], 40, 40)
    parts = [Stroke(1, points[index : index + 2], 2.5) for index in range(39)]
    np.testing.assert_array_equal(whole, rasterise(parts, 40, 40))
    for block in (1, 500):
        monkeypatch.setattr(cdsp.scribbles.rasterise, "_BLOCK", block)
        np.testing.assert_array_equal(rasterise([Stroke(1, points, 2.5)], 40, 40), whole)


def test_no_strokes_and_one_pixel_images():
    assert (rasterise([], 3, 4) == np.full((3, 4), 255)).all()
    assert rasterise([], 3, 4).dtype == np.uint8
    assert rasterise([Stroke(254, np.array([[0, 0]]), 3)], 1, 1).tolist() == [[254]]


@pytest.mark.parametrize(
    ("class_id", "points", "width", "message"),
    [
        (1, [[0, np.nan]], 3, "not finite"),
        (1, [[0, 1], [np.inf, 2]], 3, "not finite"),
        (1, np.zeros((0, 2)), 3, "shape"),
        (1, [1, 2], 3, "shape"),
        (1, [[1, 2, 3]], 3, "shape"),
        (255, [[0, 0]], 3, "class 255"),
        (-1, [[0, 0]], 3, "class -1"),
        (1, [[0, 0]], 0, "wide"),
        (1, [[0, 0]], np.nan, "wide"),
        (1, [[0, 0]], 1000.5, "1000.5 px wide; expected more than 0 and at most 1000"),
        (1, [[0, 0]], 1e300, "wide"),
        (1, [[0, 0]], np.inf, "wide"),
    ],
)
def test_impossible_strokes_are_refused(class_id, points, width, message):
    with pytest.raises(ValueError, match=message):
        Stroke(class_id, np.array(points), width)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ((0, 1, 1, 2, 2), "class 0; expected 1..254"),
        ((255, 1, 1, 2, 2), "class 255"),
        ((-1, 1, 1, 2, 2), "class -1"),
        ((1, 2, 1, 1.9, 2), "expected right >= left"),
        ((1, 1, 2, 2, 1), "bottom >= top"),
        ((1, np.nan, 1, 2, 2), "finite"),
        ((1, 1, 1, np.inf, 2), "finite"),
    ],
)
def test_impossible_boxes_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        Box(*values)
    assert Box(254, -5, 3, -5, 3).left == -5


@pytest.mark.parametrize("tags", [(0,), (255,), (2, 1), (1, 1)])
def test_impossible_tags_are_refused(tags):
    with pytest.raises(ValueError, match="tag"):
        ImageStrokes("a", 3, 3, (), tags=tags)
    assert ImageStrokes("a", 3, 3, (), tags=(1, 7, 254)).tags == (1, 7, 254)


def test_a_stroke_keeps_its_own_points():
    points = np.array([[1, 2], [3, 4]])
    stroke = Stroke(1, points, 3)
    points[:] = 9
    assert stroke.points.tolist() == [[1, 2], [3, 4]]
    assert stroke.points.dtype == np.float64
    with pytest.raises(ValueError, match="read-only"):
        stroke.points[0] = 5


def test_arc_length():
    assert arc_length(np.array([[0, 0], [3, 4], [3, 4], [3, 10]])) == 11
    assert arc_length(np.array([[5.5, 6]])) == 0


def test_cut():
    corner = np.array([[0.0, 0.0], [10.0, 0.0], [10.0, 10.0]])
    assert cut(corner, 4, 13).tolist() == [[4, 0], [10, 0], [10, 3]]
    assert cut(corner, 10, 20).tolist() == [[10, 0], [10, 10]]
    assert cut(corner, 12, 12).tolist() == [[10, 2]]
    assert cut(np.array([[2.0, 3.0]]), 0, 0).tolist() == [[2, 3]]


def plain(images):
    return [
        (
            image.image_id,
            image.height,
            image.width,
            [(stroke.class_id, stroke.points.tolist(), stroke.width) for stroke in image.strokes],
            image.boxes,
            image.tags,
        )
        for image in images
    ]


def some_images():
    yield ImageStrokes(
        "2007_000175",
        332,
        500,
        (
            Stroke(0, np.array([[1.25, -3.5], [400.125, 7]]), 3),
            Stroke(17, np.array([[1e9, -1e9]]), 1.7345),
        ),
        (Box(254, -1e9, -0.125, 4, 4), Box(1, 3, 3, 3, 3)),
        (1, 9, 254),
    )
    yield ImageStrokes("tags only", 7, 7, (), tags=(3,))
    yield ImageStrokes("ein Schäfchen", 1, 2, ())


def test_file_round_trip(tmp_path):
    path = tmp_path / "strokes.jsonl"
    header = {"source": "simulated", "seed": 3, "settings": {"coverage": 0.03}}
    write_strokes(path, some_images(), header)
    assert read_header(path) == header
    assert plain(read_strokes(path)) == plain(some_images())
    first = path.read_text(encoding="utf-8").splitlines()[0]
    assert json.loads(first) == {"format": "cdsp-strokes", "version": 3, **header}

    again = tmp_path / "again.jsonl"
    write_strokes(again, some_images(), dict(reversed(header.items())))
    assert again.read_bytes() == path.read_bytes()


def test_points_are_rounded_to_three_decimals(tmp_path):
    path = tmp_path / "strokes.jsonl"
    stroke = Stroke(1, np.array([[1.23449, -0.0001], [2 / 3, 100.9996]]), 3)
    box = Box(3, -0.0001, 1 / 3, 1.23451, 100.9996)
    write_strokes(path, [ImageStrokes("a", 5, 5, (stroke,), (box,))], {})
    (image,) = read_strokes(path)
    assert image.strokes[0].points.tolist() == [[1.234, 0], [0.667, 101]]
    assert image.boxes == (Box(3, 0, 0.333, 1.235, 101),)
    assert "-0.0" not in path.read_text()


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "strokes.jsonl"
    write_strokes(path, some_images(), {})
    before = path.read_bytes()

    def broken():
        yield from some_images()
        raise RuntimeError("no more images")

    with pytest.raises(RuntimeError, match="no more images"):
        write_strokes(path, broken(), {})
    assert path.read_bytes() == before
    assert sorted(tmp_path.iterdir()) == [tmp_path / LEDGER, path]


def test_reading_is_lazy(tmp_path):
    path = tmp_path / "strokes.jsonl"
    write_strokes(path, some_images(), {})
    path.write_bytes(sealed(path.read_bytes() + b"broken\n"))
    images = read_strokes(path)
    assert next(images).image_id == "2007_000175"


HEADER = '{"format":"cdsp-strokes","version":3}\n'
IMAGE = '{"boxes":[],"height":2,"image_id":"a","strokes":[],"tags":[],"width":2}\n'
BOX = '[{"bottom":2,"class_id":1,"left":1,"right":2,"top":1}]'


def sealed(content):
    """The lines of a file of JSON lines with the checksum that goes with them."""
    checksum = hashlib.sha256(content).hexdigest()[:16]
    return content + f'{{"checksum":"{checksum}"}}\n'.encode()


def with_strokes(strokes):
    return HEADER + IMAGE.replace('"strokes":[]', f'"strokes":{strokes}')


def with_boxes(boxes):
    return HEADER + IMAGE.replace('"boxes":[]', f'"boxes":{boxes}')


def with_tags(tags):
    return HEADER + IMAGE.replace('"tags":[]', f'"tags":{tags}')


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "line 1: the file is empty"),
        (b"\x89PNG\r\n\x1a\n", "line 1: the line is not JSON"),
        (HEADER[:-5], "line 1: the line is not JSON"),
        ("[1]\n", "line 1: expected a JSON object"),
        (HEADER.replace("cdsp-strokes", "else"), "line 1: expected format .* found format 'else'"),
        (HEADER.replace("3", "2"), "line 1: expected format .*, version 3, found .* version 2"),
        (IMAGE, "line 1: expected format"),
        (HEADER + IMAGE + IMAGE[:-1], "line 3: the line is not JSON"),
        (HEADER + IMAGE + IMAGE[:20], "line 3: the line is not JSON"),
        (HEADER + IMAGE[:20] + "\n", "line 2: the line is not JSON"),
        (HEADER + "\n" + IMAGE, "line 2: the line is not JSON"),
        (HEADER + "3\n", "line 2: expected a JSON object"),
        (HEADER + IMAGE.replace("height", "h"), "line 2: .*keys image_id, height"),
        (HEADER + IMAGE.replace(":2", ":0"), "line 2: .*expected at least 1"),
        (HEADER + IMAGE.replace(":2", ":2.5"), "line 2: "),
        (HEADER + IMAGE.replace('"a"', "7"), "line 2: expected a string"),
        (HEADER + IMAGE.replace('"a"', '"../a"'), "line 2: .*not an image id"),
        (HEADER + "[" * 100_000 + "\n", "line 2: the line is not JSON"),
        (HEADER + IMAGE + IMAGE.replace('"a"', '"b"') + IMAGE, "line 4: image 'a' is in line 2"),
        (with_strokes("null"), "line 2: expected a list"),
        (with_strokes("[5]"), "line 2: .*keys class_id"),
        (with_strokes('[{"class_id":1,"points":[[NaN,1]],"width":3}]'), "line 2: .*not finite"),
        (with_strokes('[{"class_id":1,"points":[[1],[1,2]],"width":3}]'), "line 2: "),
        (with_strokes('[{"class_id":1,"points":[],"width":3}]'), "line 2: .*shape"),
        (with_strokes('[{"class_id":255,"points":[[1,2]],"width":3}]'), "line 2: .*class 255"),
        (with_strokes('[{"class_id":"1","points":[[1,2]],"width":3}]'), "line 2: "),
        (with_strokes('[{"class_id":1,"points":[[1,2]],"width":"3"}]'), "line 2: "),
        (with_strokes('[{"class_id":1,"points":[[1,2]],"width":-3}]'), "line 2: .*wide"),
        (with_strokes('[{"class_id":1,"points":[[1,2]],"width":1e9}]'), "line 2: .*wide"),
        (with_strokes(f'[{{"class_id":1,"points":[[1,2]],"width":{10**400}}}]'), "line 2: "),
        (with_strokes(f'[{{"class_id":1,"points":[[1,{10**400}]],"width":3}}]'), "line 2: "),
        (HEADER + IMAGE.replace('"boxes":[],', ""), "line 2: .*keys image_id, .*boxes, tags"),
        (with_boxes("{}"), "line 2: expected a list for 'boxes'"),
        (with_boxes("[5]"), "line 2: .*keys class_id, left, top, right, bottom"),
        (with_boxes(BOX.replace("top", "up")), "line 2: .*keys class_id, left"),
        (with_boxes(BOX.replace('"left":1', '"left":3')), "line 2: .*right >= left"),
        (with_boxes(BOX.replace('"left":1', '"left":NaN')), "line 2: .*finite"),
        (with_boxes(BOX.replace('"left":1', '"left":"1"')), "line 2: "),
        (with_boxes(BOX.replace('"left":1', f'"left":{10**400}')), "line 2: "),
        (with_boxes(BOX.replace('"class_id":1', '"class_id":0')), "line 2: .*class 0"),
        (with_boxes(BOX.replace('"class_id":1', '"class_id":1.5')), "line 2: "),
        (with_tags("7"), "line 2: expected a list for 'tags'"),
        (with_tags('["1"]'), "line 2: "),
        (with_tags("[0]"), "line 2: .*tag has class 0"),
        (with_tags("[3,3]"), "line 2: .*ascending, each once"),
    ],
)
def test_broken_files_are_refused_with_file_and_line(tmp_path, content, message):
    path = tmp_path / "broken.jsonl"
    path.write_bytes(sealed(content if isinstance(content, bytes) else content.encode()))
    with pytest.raises(ValueError, match=message) as error:
        list(read_strokes(path))
    assert str(path) in str(error.value)
    assert "again" in str(error.value)


def test_missing_files_and_headers_of_other_files(tmp_path):
    with pytest.raises(ValueError, match=r"nowhere\.jsonl: no such file"):
        read_header(tmp_path / "nowhere.jsonl")
    other = tmp_path / "other.jsonl"
    other.write_bytes(sealed(IMAGE.encode()))
    with pytest.raises(ValueError, match="line 1: expected format"):
        read_header(other)
