import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdsp.annotations.label_studio_brush import decode_brush, decode_runs
from cdsp.annotations.values import read_items

HEIGHT, WIDTH = 20, 40


def encode(words, word_size=8, sizes=(3, 4, 8, 16), longest_run=65536):
    """The obvious encoder: a string of 0s and 1s."""
    bits = f"{len(words):032b}{word_size - 1:05b}" + "".join(f"{size - 1:04b}" for size in sizes)
    position = 0
    while position < len(words):
        length = 1
        while (
            position + length < len(words)
            and words[position + length] == words[position]
            and length < min(longest_run, 2 ** max(sizes))
        ):
            length += 1
        which = next(i for i, size in enumerate(sizes) if length <= 2**size)
        bits += "1" if length > 1 else "0"
        bits += f"{which:02b}{length - 1:0{sizes[which]}b}{words[position]:0{word_size}b}"
        position += length
    bits += "0" * (-len(bits) % 8)
    return [int(bits[i : i + 8], 2) for i in range(0, len(bits), 8)]


def brush(mask, label="cat", opacity=255):
    rgba = np.zeros((*mask.shape, 4), np.uint8)
    rgba[mask] = (10, 20, 30, opacity)
    value = {"format": "rle", "rle": encode(rgba.ravel().tolist()), "brushlabels": [label]}
    return result("brushlabels", value)


def result(kind, value, **others):
    drawn = {"original_width": WIDTH, "original_height": HEIGHT, "image_rotation": 0}
    return {"id": "x", "type": kind, "value": value, "to_name": "image", **drawn, **others}


def task(*results, image="/data/upload/7/0a1b2c3d-a.b.jpg", **others):
    annotation = {"id": 1, "was_cancelled": False, "result": list(results)}
    return {"id": 3, "data": {"image": image}, "annotations": [annotation], **others}


def test_a_published_example():
    # The example that Label Studio's own converter is tested with.
    words = [1, 1, 1, 1, 2, 3, 5, 6, 7, 8, 4, 4, 4, 4, 4, 4, 4, 4]
    encoded = [0, 0, 0, 18, 57, 27, 252, 96, 32, 1, 0, 6, 0, 40, 0, 192, 3, 128, 17, 56, 32]
    assert [value for length, value in decode_runs(bytes(encoded)) for _ in range(length)] == words
    # The beginning of a published export of a mask of 3332 x 2527 pixels.
    beginning = [2, 1, 233, 240, 57, 27, 255, 255, 255, 0, 255, 255, 224, 31, 255, 252, 3]
    assert int.from_bytes(beginning[:4]) == 4 * 3332 * 2527
    runs = decode_runs(bytes(beginning))
    assert [next(runs) for _ in range(3)] == [(65536, 0)] * 3


@given(
    st.integers(1, 12),
    st.integers(1, 12),
    st.lists(st.tuples(st.integers(1, 30), st.sampled_from([0, 0, 1, 128, 255])), max_size=30),
    st.sampled_from([(3, 4, 8, 16), (1, 2, 3, 4), (16, 16, 16, 16), (2, 2, 9, 1)]),
    st.sampled_from([1, 3, 1000]),
)
def test_what_was_encoded_is_decoded(height, width, runs, sizes, longest_run):
    words = [value for length, value in runs for _ in range(length)][: 4 * height * width]
    words += [0] * (4 * height * width - len(words))
    encoded = bytes(encode(words, 8, sizes, longest_run))
    decoded = [value for length, value in decode_runs(encoded) for _ in range(length)]
    assert decoded == words
    alpha = np.array(words).reshape(height, width, 4)[:, :, 3]
    np.testing.assert_array_equal(decode_brush(encoded), alpha.ravel() > 0)


def test_words_that_do_not_repeat_come_in_chunks_and_words_may_be_long():
    words = [5, 1000, 2**31, 7]
    bits = f"{4:032b}{31:05b}" + "0010" * 4 + "0" + "10" + f"{3:03b}"
    bits += "".join(f"{word:032b}" for word in words)
    bits += "0" * (-len(bits) % 8)
    encoded = bytes(int(bits[i : i + 8], 2) for i in range(0, len(bits), 8))
    assert list(decode_runs(encoded)) == [(1, word) for word in words]


@pytest.mark.parametrize(
    ("encoded", "message"),
    [
        (encode([0] * 3200)[:-3], "cut short"),
        (encode([0] * 3196), "does not fit an image of 40 x 20"),
        (encode([0] * 3204), "does not fit an image of 40 x 20"),
        ([], "does not fit"),
        ([0, 0, 12, 128], "cut short"),
        ([0, 0, 12, 128, *encode([0] * 6000)[4:]], "more values than they say"),
        ([255, 255, 255, 255, *encode([0] * 3200)[4:]], "does not fit"),
        ([1, 2, 300], "bytes must be in range"),
        ([1, 2, "3"], "something else than whole numbers"),
        ([1.5], "something else than whole numbers"),
        (10**9, "'rle' is 1000000000; expected a list"),
        (None, "'rle' is None"),
    ],
)
def test_damaged_brushes_are_told(read_file, encoded, message):
    value = {"format": "rle", "rle": encoded, "brushlabels": ["cat"]}
    (annotation,), (problem,) = read_file(
        "a.json", json.dumps([task(result("brushlabels", value))])
    )
    assert annotation.shapes == ()
    assert message in problem
    assert "a.json, task 0, image '0a1b2c3d-a.b': " in problem


def test_brushes_are_kept_pixel_for_pixel(read_file):
    rng = np.random.default_rng(0)
    masks = [rng.random((HEIGHT, WIDTH)) < share for share in (0.1, 0.6)]
    export = [task(brush(masks[0]), brush(masks[1], "dog", opacity=1))]
    (annotation,), problems = read_file("a.json", json.dumps(export))
    assert problems == []
    assert annotation.size == (HEIGHT, WIDTH)
    assert [painting.label for painting in annotation.shapes] == ["cat", "dog"]
    for painting, mask in zip(annotation.shapes, masks, strict=True):
        np.testing.assert_array_equal(painting.pixels(HEIGHT, WIDTH), mask)


RECTANGLE = {"x": 25, "y": 50, "width": 50, "height": 25, "rotation": 0}


def plain(drawn):
    """Of the result of a tool with labels: the tool's own, and the labels in a second one."""
    tool = drawn["type"].removesuffix("labels")
    bare = {key: value for key, value in drawn["value"].items() if key != drawn["type"]}
    labelled = {**drawn["value"], "labels": drawn["value"][drawn["type"]]}
    return (
        {**drawn, "type": tool, "value": bare},
        {**drawn, "type": "labels", "value": labelled},
    )


MASK = np.zeros((HEIGHT, WIDTH), bool)
MASK[3:6, 4:30] = True
DRAWN = [
    brush(MASK),
    result("keypointlabels", {"x": 10, "y": 20, "keypointlabels": ["cat"]}),
    result("rectanglelabels", {**RECTANGLE, "rectanglelabels": ["cat"]}),
    result(
        "vectorlabels",
        {"vertices": [{"x": 1, "y": 2}, {"x": 30, "y": 40}], "vectorlabels": ["cat"]},
    ),
]


@pytest.mark.parametrize("drawn", DRAWN, ids=lambda drawn: drawn["type"])
@pytest.mark.parametrize("order", [1, -1])
def test_a_tool_and_labels_of_one_id_are_one_region(read_file, pixels, drawn, order):
    other = {**drawn, "id": "other"}
    pair = plain(drawn)[::order]
    export = [task(drawn), task(*pair, other, image="b.jpg")]
    (one, two), problems = read_file("a.json", json.dumps(export))
    assert problems == []
    assert [shape.label for shape in two.shapes] == ["cat", "cat"]
    size = (HEIGHT, WIDTH)
    assert pixels(one.shapes[0], size=size) == pixels(two.shapes[0], size=size)


@pytest.mark.parametrize("drawn", DRAWN, ids=lambda drawn: drawn["type"])
def test_without_a_size_the_photograph_tells_it(read_file, drawn):
    unsized = {key: value for key, value in drawn.items() if not key.startswith("original")}
    zero = {**unsized, "original_width": 0, "original_height": 0}
    export = [task(drawn), task(unsized, image="b.jpg"), task(zero, image="c.jpg")]
    sized, *others = read_file("a.json", json.dumps(export))[0]
    for annotation in others:
        assert annotation.size is None
        expected, found = sized.shapes[0], annotation.shapes[0]
        if drawn["type"] == "brushlabels":
            np.testing.assert_array_equal(found.pixels(HEIGHT, WIDTH), MASK)
            with pytest.raises(ValueError, match="painted on 800 pixels; expected 840"):
                found.pixels(HEIGHT + 1, WIDTH)
        else:
            points = annotation.points(found, HEIGHT, WIDTH)
            np.testing.assert_allclose(points, sized.points(expected, HEIGHT, WIDTH))


def test_what_draws_nothing_is_left_out_and_counted(read_file):
    region = {**brush(MASK), "id": "r"}
    said = [
        {"type": kind, "id": "r", "value": {kind: ["x"]}, "original_width": WIDTH}
        for kind in ("textarea", "number", "taxonomy", "rating", "choices")
    ]
    said = [{**each, "original_height": HEIGHT} for each in said]
    of_image = {"type": "choices", "id": "q", "value": {"choices": ["cow"]}}
    relation = {"type": "relation", "from_id": "r", "to_id": "r"}
    hints = []
    export = [task(region, *said, of_image, relation, {"type": "textarea", "value": {}})]
    (annotation,), problems = read_file("a.json", json.dumps(export), hints)
    assert problems == []
    assert [shape.label for shape in annotation.shapes] == ["cat", "cow"]
    assert annotation.shapes[1].kind == "flag"
    for kind in ("textarea", "number", "taxonomy", "rating", "choices"):
        assert sum(f"left out: '{kind}' of a region" in hint for hint in hints) == 1
    assert sum("left out: 'relation'" in hint for hint in hints) == 1
    assert len(hints) == 7


@pytest.mark.parametrize(
    "content",
    [
        task(brush(MASK)),
        {"tasks": [task(brush(MASK))], "total": 1},
        [{"id": 5, "result": [brush(MASK)], "task": {"data": {"image": "a.b.jpg"}}}],
        {"id": 5, "result": [brush(MASK)], "task": {"data": {"image": "a.b.jpg"}}},
    ],
)
def test_single_tasks_and_annotations_are_read(read_file, content):
    (annotation,), problems = read_file("a.json", json.dumps(content))
    assert problems == []
    assert annotation.image_id.endswith("a.b")
    np.testing.assert_array_equal(annotation.shapes[0].pixels(HEIGHT, WIDTH), MASK)


@pytest.mark.parametrize(
    ("data", "image_id"),
    [
        ({"img": "/data/upload/1/a.jpg", "source": "phone", "id": 5}, "a"),
        ({"image_url": "https://x.org/b.JPEG?size=3", "caption": "two.cats on a mat"}, "b"),
        ({"image": "s3://bucket/c", "thumb": "t.png"}, "c"),
        ({"image": None, "photo": "d.webp"}, "d"),
        ({"anything": "e"}, "e"),
        ({"i": "/data/local-files/?d=x%2Ff+g.png", "n": 1}, "f+g"),
    ],
)
def test_the_one_datum_that_is_an_image_is_recognised(read_file, data, image_id):
    (annotation,), problems = read_file("a.json", json.dumps([task(data=data)]))
    assert (annotation.image_id, problems) == (image_id, [])


def test_vectors_points_rectangles_and_choices(read_file, pixels):
    vertices = [
        {"id": "p", "x": 10, "y": 27.5, "prevPointId": None, "isBezier": False},
        {"id": "q", "x": 17.5, "y": 27.5, "prevPointId": "p", "isBezier": False},
    ]
    keypoint = {"x": 100 * 7.5 / WIDTH, "y": 100 * 8.5 / HEIGHT, "width": 0.6}
    rectangle = {"x": 5, "y": 5, "width": 7.5, "height": 5, "rotation": 0}
    export = [
        task(
            result(
                "vectorlabels", {"vertices": vertices, "closed": False, "vectorlabels": ["cat"]}
            ),
            result("keypointlabels", {**keypoint, "keypointlabels": ["dog"]}),
            result("rectanglelabels", {**rectangle, "rectanglelabels": ["dog"]}),
            {"type": "choices", "value": {"choices": ["cow", "sheep"]}},
            {"type": "textarea", "value": {"text": ["a difficult one"]}},
            {"type": "relation", "from_id": "p", "to_id": "q"},
        )
    ]
    (annotation,), problems = read_file("a.json", json.dumps(export))
    assert problems == []
    line, dot, box, *tags = annotation.shapes
    assert line.points.tolist() == [[3.5, 5.0], [6.5, 5.0]]
    assert pixels(dot) == {(7, 8)}
    assert pixels(box) == {(2, 1), (3, 1), (4, 1)}
    assert [(shape.kind, shape.label) for shape in tags] == [("flag", "cow"), ("flag", "sheep")]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            result("polygonlabels", {"points": [], "polygonlabels": ["cat"]}),
            "read are brush, vector",
        ),
        (result(["x"], {}), "read are brush, vector"),
        (result("vectorlabels", {"vectorlabels": ["cat"], "closed": True}), "leave it open"),
        (
            result(
                "vectorlabels",
                {"vectorlabels": ["cat"], "vertices": [{"x": 1, "y": 2, "isBezier": True}]},
            ),
            "has curves",
        ),
        (
            result(
                "vectorlabels",
                {
                    "vectorlabels": ["cat"],
                    "vertices": [
                        {"id": "a", "x": 1, "y": 2, "prevPointId": None},
                        {"id": "b", "x": 1, "y": 2, "prevPointId": "a"},
                        {"id": "c", "x": 1, "y": 2, "prevPointId": "a"},
                    ],
                },
            ),
            "branches",
        ),
        (result("keypointlabels", {"x": 1, "keypointlabels": ["cat"]}), "'y' is None"),
        (result("keypointlabels", {"x": 1, "y": 1e300, "keypointlabels": ["cat"]}), "farther"),
        (result("keypointlabels", {"x": 1, "y": 1, "keypointlabels": []}), "without a label"),
        (result("keypointlabels", {"x": 1, "y": 1, "keypointlabels": ["a", "b"]}), "one label"),
        (result("keypointlabels", {"x": 1, "y": 1, "keypointlabels": [5]}), "a label is 5"),
        (result("keypointlabels", {}, image_rotation=90), "turn it back"),
        (result("keypointlabels", {}, original_width=10**9), "said to be 1e+09 x 20"),
        (result("rectanglelabels", {"rotation": 5, "rectanglelabels": ["cat"]}), "upright"),
        (result("brushlabels", {"format": "png", "brushlabels": ["cat"]}), "expected 'rle'"),
        ({"type": "choices", "value": {"choices": "cow"}}, "'choices' is 'cow'"),
        (5, "a result is 5"),
    ],
)
def test_a_wrong_result_leaves_the_others(read_file, wrong, message):
    good = result("keypointlabels", {"x": 10, "y": 10, "keypointlabels": ["dog"]})
    (annotation,), (problem,) = read_file("a.json", json.dumps([task(wrong, good)]))
    assert [shape.label for shape in annotation.shapes] == ["dog"]
    assert message in problem


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (5, "a task is 5"),
        ({"image": "a.jpg", "label": "cat"}, "export as JSON"),
        (task(data={"image": None}), "no address of an image"),
        (task(image="http://[x/a.jpg"), ""),
        (task(data={"text": "a", "title": "b"}), "no address of an image: {'text'"),
        (task(data={"one": "a.png", "two": "b.png"}), "2 addresses of images"),
        ({"result": [], "task": 5}, "whose task is 5, does not name its image; export"),
        (task(annotations=5), "'annotations' is 5"),
        (task(annotations=[5]), "an annotation is 5"),
        (task(annotations=[{}]), "'result' is None"),
        (task(result("keypointlabels", {}), result("x", {}, original_width=9)), "several sizes"),
    ],
)
def test_a_wrong_task_leaves_the_others(read_file, wrong, message):
    export = [task(image="first.jpg"), wrong, task(image="last.jpg")]
    annotations, problems = read_file("a.json", json.dumps(export))
    assert [annotation.image_id for annotation in annotations] == ["first", "last"]
    assert any("a.json, task 1: " in problem and message in problem for problem in problems)


@pytest.mark.parametrize(
    ("image", "image_id"),
    [
        ("/data/upload/7/0a1b2c3d-a.b.jpg", "0a1b2c3d-a.b"),
        ("/data/local-files/?d=photos%2Fa%20b.jpg", "a b"),
        ("https://example.com/x/a%20b.jpg?token=1/2.png#3", "a b"),
        ("s3://bucket/folder/a.b.png", "a.b"),
        ("a.jpg", "a"),
    ],
)
def test_the_image_is_named_by_its_address(read_file, image, image_id):
    (annotation,), _ = read_file("a.json", json.dumps([task(image=image)]))
    assert annotation.image_id == image_id


def test_every_annotation_of_a_task_is_read_ground_truth_first(read_file):
    def version(label, updated, **others):
        value = {"x": 10, "y": 10, "keypointlabels": [label]}
        return {
            "id": label,
            "was_cancelled": False,
            "updated_at": updated,
            "result": [result("keypointlabels", value)],
            **others,
        }

    days = [f"2024-05-0{day}T10:00:00.123456Z" for day in range(1, 5)]
    versions = [version("b", days[1]), version("c", days[2])]
    versions += [version("a", days[0], ground_truth=True)]
    skipped = version("d", days[3], was_cancelled=True)
    export = [
        task(annotations=[*versions, skipped]),
        task(annotations=[skipped], image="skipped.jpg"),
        task(annotations=[], image="untouched.jpg"),
        task(annotations=[], image="predicted.jpg", predictions=[{"result": []}]),
        task(annotations=[version("one", days[0])], image="one.jpg"),
    ]
    hints = []
    annotations, problems = read_file("a.json", json.dumps(export), hints)
    assert problems == []
    assert [annotation.shapes[0].label for annotation in annotations] == ["a", "c", "b", "one"]
    assert [annotation.task for annotation in annotations] == ["task 0"] * 3 + [""]
    assert annotations[1].where.endswith("a.json, task 0, annotation 'c'")
    told = "; ".join(hints)
    assert "task 0 and 1 more: left out: an annotation that was cancelled" in told
    assert "task 2: left out: a task without annotations;" in told
    assert "task 3: left out: a task without annotations, only predictions, which are not" in told


@settings(max_examples=25)
@given(st.data())
def test_lists_are_read_an_item_at_a_time(tmp_path_factory, data):
    leaves = st.none() | st.booleans() | st.integers() | st.text(max_size=9) | st.floats(-9, 9)
    values = st.recursive(
        leaves, lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=3), inner)
    )
    items = data.draw(st.lists(st.dictionaries(st.text(max_size=3), values), max_size=6))
    path = tmp_path_factory.mktemp("list") / "a.json"
    indent = data.draw(st.sampled_from([None, 0, 3]))
    text = " \n" + json.dumps(items, indent=indent, ensure_ascii=data.draw(st.booleans())) + "\n "
    path.write_text(text, encoding=data.draw(st.sampled_from(["utf-8", "utf-8-sig"])))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cdsp.annotations.values._CHUNK", data.draw(st.integers(1, 20)))
        assert list(read_items(path)) == items


@pytest.mark.parametrize("text", ["[", "[1", "[1,", "[1 2]", "[,1]", "[1]]", "[1],", "{}", "[1}"])
def test_broken_lists_are_refused(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ValueError, match="broken JSON"):
        list(read_items(tmp_path / "a.json"))
