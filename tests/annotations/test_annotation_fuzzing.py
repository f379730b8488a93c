"""Whatever a file holds, reading it ends in annotations and problems, never in an exception."""

import copy
import io
import json
import struct
import zlib
from xml.etree import ElementTree

import numpy as np
import pytest
import test_cvat
import test_label_studio
import test_labelme
import test_voc_xml
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cdsp.annotations.annotation import MAX_PIXELS, Painting

MASK = np.zeros((test_label_studio.HEIGHT, test_label_studio.WIDTH), bool)
MASK[3:6, 4:30] = True
TASK = test_label_studio.task(
    test_label_studio.brush(MASK),
    test_label_studio.result(
        "vectorlabels",
        {"vertices": [{"id": 1, "x": 2, "y": 3}, {"id": 2, "x": 5, "y": 6}], "vectorlabels": ["a"]},
    ),
    test_label_studio.result(
        "rectanglelabels", {"x": 1, "y": 2, "width": 3, "height": 4, "rectanglelabels": ["a"]}
    ),
    {"type": "choices", "value": {"choices": ["a"]}},
    {"type": "labels", "id": "y", "value": {"labels": ["a"]}},
    {"type": "rectangle", "id": "y", "value": {"x": 1, "y": 2, "width": 3, "height": 4}},
    {"type": "textarea", "id": "y", "value": {"text": ["a"]}},
)
ALONE = {**TASK["annotations"][0], "task": {"id": 1, "data": TASK["data"]}}
JSONS = [test_labelme.SAMPLE, [TASK, TASK], TASK, ALONE]
XMLS = [test_voc_xml.SCRIBBLES, test_voc_xml.BOXES, test_cvat.EXPORT]

deep: list = []
for _ in range(90):
    deep = [deep]
NASTY = [
    *(None, True, False, 0, -1, 255, 1e6, 1e300, float("nan"), float("inf"), 10**400, 2**32),
    *("", " ", "cat", "1e9", "x" * 3000, "\0\ud83d", "../../etc/passwd", "http://[", "nan"),
    *([], {}, [[]], [None], {"": 0}, [1, 2], [[1, 2]] * 9, deep, {"x": deep}),
]
TEXTS = [
    "",
    " ",
    "nan",
    "-1",
    "1e300",
    "1e9",
    "9" * 5000,
    "1,2",
    "1,2;3",
    ";;",
    ",",
    "é",
    "x" * 999,
]


@pytest.fixture(scope="module")
def survives(read_file):
    def check(name, content):
        hints = []
        annotations, problems = read_file(name, content, hints)
        told = problems + hints
        assert all(isinstance(text, str) and len(text) < 3000 for text in told)
        for annotation in annotations:
            assert isinstance(annotation.image_id, str)
            assert annotation.size is None or 0 < np.prod(annotation.size) <= MAX_PIXELS
            for shape in annotation.shapes:
                if isinstance(shape, Painting):
                    assert 0 < shape.num_pixels <= MAX_PIXELS
                    assert shape.pixels(1, shape.num_pixels).sum() == shape.runs[:, 1].sum()
                    continue
                assert (np.abs(shape.points) <= 1e6).all()
                assert shape.points.shape[1:] == (2,)
                assert shape.label != ""

    return check


@settings(max_examples=150)
@given(
    st.sampled_from(["a.xml", "a.json", "a.png", "a.csv"]),
    st.sampled_from(
        [
            *(b"", b"<annotation>", b"<annotations><image>", b"[", b"[{", b"{", b"a,"),
            *(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\0\0\0\0", b"\xff\xfe<\0"),
        ]
    ),
    st.binary(max_size=300),
)
def test_arbitrary_bytes(survives, name, beginning, content):
    survives(name, beginning + content)


@settings(max_examples=150)
@given(st.sampled_from(XMLS + [json.dumps(value) for value in JSONS]), st.data())
def test_mutated_text(survives, text, data):
    content = bytearray(text.encode())
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(content)))
        end = min(len(content), start + data.draw(st.sampled_from([0, 1, 5, 60])))
        content[start:end] = data.draw(
            st.binary(max_size=4) | st.just(bytes(content[start:end]) * 2) | st.just(b"")
        )
    survives("a.xml" if text.startswith("<") else "a.json", bytes(content))


def places(value, path=()):
    if path:
        yield path
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in items:
        if isinstance(inner, dict | list) and key != "rle" and len(path) < 8:
            yield from places(inner, (*path, key))
        else:
            yield (*path, key)


@settings(max_examples=300)
@given(st.sampled_from(JSONS), st.data())
def test_mutated_json(survives, value, data):
    value = copy.deepcopy(value)
    for _ in range(data.draw(st.integers(1, 3))):
        found = list(places(value))
        if not found:
            break
        *path, key = data.draw(st.sampled_from(found))
        parent = value
        for step in path:
            parent = parent[step]
        action = data.draw(st.sampled_from(["delete", "duplicate", "replace", "rename"]))
        if action == "delete":
            del parent[key]
        elif action == "duplicate" and isinstance(parent, list):
            parent.insert(key, copy.deepcopy(parent[key]))
        elif action == "rename" and isinstance(parent, dict):
            parent[data.draw(st.sampled_from(sorted({p[-1] for p in found if p}, key=str)))] = (
                parent.pop(key)
            )
        else:
            parent[key] = copy.deepcopy(data.draw(st.sampled_from(NASTY)))
    survives("a.json", json.dumps(value).encode("utf-8", errors="surrogatepass"))


@settings(max_examples=300)
@given(st.sampled_from(XMLS), st.data())
def test_mutated_xml(survives, text, data):
    root = ElementTree.fromstring(text)
    for _ in range(data.draw(st.integers(1, 3))):
        parents = [element for element in root.iter() if len(element)]
        if not parents:
            break
        parent = data.draw(st.sampled_from(parents))
        element = data.draw(st.sampled_from(list(parent)))
        action = data.draw(st.sampled_from(["delete", "duplicate", "text", "attribute", "tag"]))
        if action == "delete":
            parent.remove(element)
        elif action == "duplicate":
            parent.append(copy.deepcopy(element))
        elif action == "tag":
            element.tag = data.draw(
                st.sampled_from(["polygon", "object", "mask", "version", "box"])
            )
        elif action == "attribute" and element.attrib:
            name = data.draw(st.sampled_from(sorted(element.attrib)))
            element.set(name, data.draw(st.sampled_from(TEXTS)))
        else:
            element.text = data.draw(st.sampled_from(TEXTS))
    survives("a.xml", ElementTree.tostring(root))


def png_chunk(kind, content):
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


@settings(max_examples=200)
@given(st.data())
def test_mutated_png(survives, data):
    label = np.full((12, 20), 255, np.uint8)
    label[4:7, 2:15] = 3
    image = Image.fromarray(label)
    if data.draw(st.booleans()):
        image.putpalette([7] * 768)
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    content = bytearray(buffer.getvalue())
    action = data.draw(st.sampled_from(["bytes", "cut", "header", "chunk"]))
    if action == "bytes":
        for _ in range(data.draw(st.integers(1, 5))):
            content[data.draw(st.integers(8, len(content) - 1))] = data.draw(st.integers(0, 255))
    elif action == "cut":
        del content[data.draw(st.integers(0, len(content))) :]
    elif action == "header":
        sides = st.sampled_from([0, 1, 19, 21, 30_000, 2**31 - 1, 2**32 - 1])
        header = struct.pack(
            ">IIBBBBB",
            *(data.draw(sides), data.draw(sides)),
            *(data.draw(st.sampled_from([1, 2, 4, 8, 16, 3])), data.draw(st.integers(0, 7))),
            *(data.draw(st.integers(0, 1)), 0, data.draw(st.integers(0, 2))),
        )
        content[8:33] = png_chunk(b"IHDR", header)
    else:
        kind = data.draw(st.sampled_from([b"tEXt", b"zTXt", b"iTXt", b"iCCP", b"PLTE", b"tRNS"]))
        kind = data.draw(st.sampled_from([kind, b"acTL", b"fcTL", b"eXIf", b"pHYs", b"XXXX"]))
        content[33:33] = png_chunk(kind, data.draw(st.binary(max_size=40)))
    survives("a.png", bytes(content))


def test_a_text_that_unpacks_to_much_is_refused(survives):
    bomb = png_chunk(b"zTXt", b"k\0\0" + zlib.compress(b"0" * 10**8))
    buffer = io.BytesIO()
    Image.new("L", (5, 4), 255).save(buffer, format="PNG")
    content = buffer.getvalue()
    survives("a.png", content[:33] + bomb + content[33:])


@pytest.mark.parametrize("text", ["[" * 10**6, '[{"a":' * 10**5, '[{"a":' + "[" * 900])
def test_deep_json(survives, text):
    survives("a.json", text)
    survives("a.json", "[[1], " + text)


@pytest.mark.parametrize("place", ["updated_at", "was_cancelled", "result", "value", "id"])
def test_deep_values_that_the_reader_can_bear(survives, place):
    deepest = "[" * 800 + "]" * 800
    task = copy.deepcopy(TASK)
    vector = task["annotations"][0]["result"][1]["value"]
    task["annotations"][0][place] = "HERE"
    if place == "value":
        task["annotations"][0]["result"][0]["value"] = "HERE"
    if place == "id":
        for vertex in vector["vertices"]:
            vertex |= {"id": "HERE", "prevPointId": "HERE"}
    survives("a.json", json.dumps([task]).replace('"HERE"', deepest))
