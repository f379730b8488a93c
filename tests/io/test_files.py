import json
import os
import re
import stat

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from cdsp.io.files import (
    check_image_id,
    check_label,
    normal_name,
    read_image,
    read_label,
    read_text,
    voc_palette,
    write_label,
    write_text,
)
from cdsp.io.json_files import (
    accept_changes,
    canonical_json,
    digest,
    read_json,
    read_json_lines,
    read_object,
    write_json,
    write_json_lines,
)
from cdsp.io.outputs import LEDGER, atomic_path

EXIF_ORIENTATION = 0x0112
VOC_COLOURS = {
    0: (0, 0, 0),
    1: (128, 0, 0),
    2: (0, 128, 0),
    3: (128, 128, 0),
    4: (0, 0, 128),
    8: (64, 0, 0),
    15: (192, 128, 128),
    16: (0, 64, 0),
    20: (0, 64, 128),
    255: (224, 224, 192),
}


def draw_label(height: int = 9, width: int = 13, num_classes: int = 21) -> np.ndarray:
    label = np.random.default_rng(0).integers(0, num_classes, (height, width), dtype=np.uint8)
    label[0, :2] = 255
    return label


def draw_photograph(height: int = 24, width: int = 40) -> np.ndarray:
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return cv2.GaussianBlur(noise, (7, 7), 0)


# Labels


@pytest.mark.parametrize("shape", [(9, 13), (1, 1), (1, 300)])
def test_labels_come_back_in_voc_colours(tmp_path, shape):
    label = draw_label(*shape) if shape != (1, 1) else np.full((1, 1), 3, np.uint8)
    path = tmp_path / "new" / "label.png"
    write_label(path, label)
    found = read_label(path)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, label)
    with Image.open(path) as image:
        assert image.mode == "P"
        colours = np.array(image.convert("RGB"))
    for value, colour in VOC_COLOURS.items():
        assert (colours[label == value] == colour).all()
    before = path.read_bytes()
    write_label(path, label)
    assert path.read_bytes() == before


def test_voc_palette_has_the_published_colours():
    palette = voc_palette()
    for value, colour in VOC_COLOURS.items():
        assert tuple(palette[value]) == colour, value
    assert len({tuple(colour) for colour in palette.tolist()}) == 256


def test_palette_indices_are_never_converted_to_grey(tmp_path):
    image = Image.fromarray(np.array([[0, 1, 2, 3]], np.uint8))
    image.putpalette([255, 255, 255, 7, 7, 7, 0, 0, 0, 90, 0, 0] + [0] * 756)
    image.save(tmp_path / "odd.png")
    assert read_label(tmp_path / "odd.png").tolist() == [[0, 1, 2, 3]]


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_palettes_of_few_bits_are_read_as_indices(tmp_path, bits):
    label = draw_label(num_classes=min(2**bits, 21)) % np.uint8(2**bits - 1 or 1)
    image = Image.fromarray(label)
    image.putpalette(voc_palette().ravel().tolist()[: 3 * 2**bits])
    image.save(tmp_path / "label.png", bits=bits)
    assert (tmp_path / "label.png").read_bytes()[24] == bits  # the depth in the PNG's header
    np.testing.assert_array_equal(read_label(tmp_path / "label.png"), label)


def test_transparent_palettes_and_plain_grey_are_read_as_they_are(tmp_path):
    label = draw_label()
    Image.fromarray(label).save(tmp_path / "grey.png")
    np.testing.assert_array_equal(read_label(tmp_path / "grey.png"), label)
    image = Image.fromarray(label)
    image.putpalette(voc_palette().ravel().tolist())
    image.save(tmp_path / "transparent.png", transparency=255)
    np.testing.assert_array_equal(read_label(tmp_path / "transparent.png"), label)


@pytest.mark.parametrize(
    ("array", "mode"),
    [
        (np.zeros((4, 5), np.uint16), "I;16"),
        (np.eye(4, 3, dtype=np.uint8)[:, None].repeat(5, axis=1), "RGB"),
        (np.zeros((4, 5, 4), np.uint8), "RGBA"),
        (np.zeros((4, 5, 2), np.uint8), "LA"),
    ],
)
def test_colours_and_sixteen_bits_are_refused_as_labels(tmp_path, array, mode):
    Image.fromarray(array).save(tmp_path / "label.png")
    with pytest.raises(ValueError, match=rf"label\.png: expected one 8-bit .* found mode {mode};"):
        read_label(tmp_path / "label.png")


def test_grey_values_in_three_equal_channels_are_labels(tmp_path):
    label = np.random.default_rng(0).integers(0, 256, (4, 5), np.uint8)
    cv2.imwrite(str(tmp_path / "label.png"), label[..., None].repeat(3, axis=2))
    np.testing.assert_array_equal(read_label(tmp_path / "label.png"), label)


def test_missing_and_foreign_files_are_refused_as_labels(tmp_path):
    with pytest.raises(ValueError, match=r"label\.png: no such label file"):
        read_label(tmp_path / "label.png")
    for content in (b"", b"not an image", b"\x89PNG\r\n\x1a\n"):
        (tmp_path / "label.png").write_bytes(content)
        with pytest.raises(ValueError, match=r"label\.png: not a readable label image"):
            read_label(tmp_path / "label.png")


def test_truncated_labels_are_refused(tmp_path):
    label = draw_label()
    write_label(tmp_path / "label.png", label)
    data = (tmp_path / "label.png").read_bytes()
    for length in range(0, len(data) - 8, 3):
        (tmp_path / "cut.png").write_bytes(data[:length])
        with pytest.raises(ValueError, match=r"cut\.png: not a readable label image"):
            read_label(tmp_path / "cut.png")


def test_label_values_are_checked():
    good = np.array([[0, 20, 255]], np.uint8)
    check_label(good, 21, "x.png")
    check_label(np.zeros((0, 4), np.uint8), 21, "x.png")
    with pytest.raises(ValueError, match=r"x\.png: .*\[20\]; expected 0 .* to 19, and 255"):
        check_label(good, 20, "x.png")
    for value in (21, 128, 254):
        with pytest.raises(ValueError, match=rf"unexpected label values \[{value}\]"):
            check_label(np.array([[0, value, 255]], np.uint8), 21, "x.png")
    with pytest.raises(ValueError, match=r"\[21, 22, 23, 24, 25, 26, 27, 28, 29, 30\];"):
        check_label(np.arange(256, dtype=np.uint8).reshape(16, 16), 21, "x.png")


# Photographs


def test_photographs_are_read_as_rgb(tmp_path):
    photograph = draw_photograph()
    Image.fromarray(photograph).save(tmp_path / "a.png")
    found = read_image(tmp_path / "a.png")
    assert found.dtype == np.uint8
    assert found.flags.writeable
    np.testing.assert_array_equal(found, photograph)
    Image.fromarray(photograph).save(tmp_path / "a.jpg", quality=95)
    decoded = cv2.cvtColor(cv2.imread(str(tmp_path / "a.jpg")), cv2.COLOR_BGR2RGB)  # type: ignore[arg-type]
    assert np.abs(read_image(tmp_path / "a.jpg").astype(int) - decoded).max() <= 2


def test_grey_palette_and_transparent_photographs_are_read_as_rgb(tmp_path):
    photograph = draw_photograph()
    grey = photograph[..., 0]
    for name in ("grey.png", "grey.jpg"):
        Image.fromarray(grey).save(tmp_path / name, quality=100)
        found = read_image(tmp_path / name)
        assert found.shape == (*grey.shape, 3)
        assert np.abs(found.astype(int) - grey[..., None]).max() <= 2
        assert (found == found[..., :1]).all()
    alpha = np.dstack([photograph, grey])
    Image.fromarray(alpha).save(tmp_path / "alpha.png")
    np.testing.assert_array_equal(read_image(tmp_path / "alpha.png"), photograph)
    label = draw_label()
    write_label(tmp_path / "palette.png", label)
    colours = voc_palette()
    np.testing.assert_array_equal(read_image(tmp_path / "palette.png"), colours[label])


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_photographs_are_turned_upright(tmp_path, suffix):
    photograph = np.zeros((24, 40, 3), np.uint8)
    photograph[:12, :20] = 255  # a white top left quarter
    turns = {
        1: photograph,
        2: photograph[:, ::-1],
        3: photograph[::-1, ::-1],
        4: photograph[::-1],
        5: photograph.swapaxes(0, 1),
        6: np.rot90(photograph, -1),
        7: np.rot90(photograph, 2).swapaxes(0, 1),
        8: np.rot90(photograph),
    }
    for orientation, upright in turns.items():
        image = Image.fromarray(photograph)
        exif = image.getexif()
        exif[EXIF_ORIENTATION] = orientation
        path = tmp_path / f"{orientation}.{suffix}"
        image.save(path, exif=exif, quality=100, subsampling=0)
        found = read_image(path)
        assert found.shape == upright.shape
        np.testing.assert_array_equal(found > 127, upright > 127)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "bmp"])
def test_truncated_photographs_are_refused(tmp_path, suffix):
    whole, cut = tmp_path / f"whole.{suffix}", tmp_path / f"cut.{suffix}"
    Image.fromarray(draw_photograph()).save(whole)
    data = whole.read_bytes()
    assert read_image(whole).shape == (24, 40, 3)
    for length in range(0, int(0.98 * len(data)), 23):
        cut.write_bytes(data[:length])
        with pytest.raises(ValueError, match=rf"cut\.{suffix}: not a readable image"):
            read_image(cut)


def test_missing_foreign_and_sixteen_bit_files_are_refused_as_photographs(tmp_path):
    path = tmp_path / "a.jpg"
    with pytest.raises(ValueError, match=r"a\.jpg: no such image"):
        read_image(path)
    with pytest.raises(ValueError, match="not a readable image"):
        read_image(tmp_path)
    path.write_text("<html>404</html>")
    with pytest.raises(ValueError, match=r"a\.jpg: not a readable image"):
        read_image(path)
    Image.fromarray(np.zeros((4, 5), np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(ValueError, match=r"deep\.png: expected an image of 8 bits"):
        read_image(tmp_path / "deep.png")


# Atomic writing, JSON and names


def test_atomic_paths_appear_only_when_the_block_ends(tmp_path):
    path = tmp_path / "a" / "b" / "file.txt"
    with atomic_path(path) as temporary:
        assert temporary.parent == path.parent
        assert temporary.suffix == ".txt"
        temporary.write_text("new")
        assert not path.exists()
    assert path.read_text() == "new"
    assert sorted(file.name for file in path.parent.iterdir()) == [LEDGER, "file.txt"]


@pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt, SystemExit])
def test_a_failed_block_leaves_what_was_there(tmp_path, failure):
    path = tmp_path / "file.txt"
    write_text(path, "old")
    with pytest.raises(failure), atomic_path(path) as temporary:  # noqa: PT012
        temporary.write_text("half")
        raise failure
    assert path.read_text() == "old"
    assert sorted(file.name for file in tmp_path.iterdir()) == [LEDGER, "file.txt"]


def test_atomic_files_get_the_permissions_of_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        write_text(tmp_path / "file.txt", "é")
        assert os.umask(0o027) == 0o027
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file.txt").stat().st_mode) == 0o640
    assert (tmp_path / "file.txt").read_bytes() == "é".encode()


def test_json_files_come_back_and_others_are_refused(tmp_path):
    path = tmp_path / "metrics.json"
    value = {"format": "cdsp-metrics", "version": 2, "miou": 0.1, "name": "é", "list": [1, None]}
    write_json(path, value)
    assert read_json(path, "cdsp-metrics", 2) == value
    assert read_object(path) == value
    assert path.read_text().endswith("}\n")
    assert '"list": [1, null]' in path.read_text()
    with pytest.raises(ValueError, match=r"'cdsp-metrics' version 3, found \('cdsp-metrics', 2\)"):
        read_json(path, "cdsp-metrics", 3)
    with pytest.raises(ValueError, match="'cdsp-other' version 2, found"):
        read_json(path, "cdsp-other", 2)
    with pytest.raises(ValueError, match="no such file"):
        read_json(tmp_path / "missing.json", "cdsp-metrics", 2)
    deep = b"[" * 100_000 + b"]" * 100_000
    for content in (
        b"",
        path.read_bytes()[:-5],
        b"\xff\xfe",
        b"\x00",
        deep,
        b"9" * 5000,
    ):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"metrics\.json: not a readable JSON file"):
            read_json(path, "cdsp-metrics", 2)
    for other in (b"[1]", b'"text"', b"null"):
        path.write_bytes(other)
        with pytest.raises(ValueError, match=r"metrics\.json: expected a JSON object"):
            read_json(path, "cdsp-metrics", 2)


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=40) | st.dictionaries(st.text(), inner),
    max_leaves=60,
)


@given(st.dictionaries(st.text().filter(lambda key: key != "checksum"), JSON_VALUES))
def test_whatever_is_written_is_read_again(tmp_path_factory, value):
    folder = tmp_path_factory.mktemp("json")
    write_json(folder / "a.json", value)
    assert read_object(folder / "a.json") == value
    write_json(folder / "b.json", dict(reversed(value.items())))
    assert read_object(folder / "b.json") == value
    write_json_lines(folder / "a.jsonl", [value, {}, value])
    assert [record for _, record in read_json_lines(folder / "a.jsonl")] == [value, {}, value]


def test_changes_by_hand_are_refused_until_they_are_accepted(tmp_path):
    one, lines = tmp_path / "a.json", tmp_path / "a.jsonl"
    write_json(one, {"miou": 0.5, "list": [1, 2]})
    write_json_lines(lines, [{"loss": 0.5}, {"loss": 0.4}])
    for path, read in ((one, read_object), (lines, lambda path: list(read_json_lines(path)))):
        path.write_text(path.read_text().replace("0.5", "0.9"))
        with pytest.raises(ValueError, match=rf"{path.name}: damaged.*cdsp accept .*{path.name}"):
            read(path)
        accept_changes(path)
    assert read_object(one) == {"miou": 0.9, "list": [1, 2]}
    assert list(read_json_lines(lines)) == [(1, {"loss": 0.9}), (2, {"loss": 0.4})]
    lines.write_text("".join(lines.read_text().splitlines(keepends=True)[1:]))
    with pytest.raises(ValueError, match="cut short"):
        list(read_json_lines(lines))
    for name in ("a.csv", "missing.json", "missing.jsonl"):
        with pytest.raises(ValueError, match=name):
            accept_changes(tmp_path / name)


def test_spaces_and_line_ends_are_no_change_of_a_json_file(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"a": [1, {"b": 2}]})
    path.write_text(json.dumps(json.loads(path.read_text()), indent=7).replace("\n", "\r\n"))
    assert read_object(path) == {"a": [1, {"b": 2}]}


def test_digests_tell_values_apart_but_not_their_order():
    one = {"a": 1, "b": {"c": [1, 2], "d": None}}
    other = {"b": {"d": None, "c": [1, 2]}, "a": 1}
    assert canonical_json(one) == canonical_json(other)
    assert json.loads(canonical_json(one)) == one
    assert digest(one) == digest(other)
    assert re.fullmatch("[0-9a-f]{16}", digest(one))
    changed = [{**one, "a": 2}, {**one, "a": 1.5}, {**one, "a": "1"}, {**one, "e": 0}]
    assert len({digest(value) for value in [one, *changed]}) == 5


@pytest.mark.parametrize(
    "image_id",
    [
        *("2008_000003", "a", "0", "_x", "cat-1.final", "my photo", "a..b", "Élan", "IMG (1)"),
        *("नमस्ते", "ภาพที่1", "தமிழ்", "cafe\u0301", "می\u200cخواهم", "猫", "🐈", "IMG [1]", "-rf"),
        *("{word}", "it's", "$HOME", "50%", "a&b", "#1", "a:b"),
    ],
)
def test_ordinary_names_are_image_ids(image_id):
    assert check_image_id(image_id, "train.txt") == image_id


@pytest.mark.parametrize(
    "image_id",
    [
        "",
        ".",
        "..",
        "../a",
        "a/b",
        "/a",
        "a\\b",
        ".hidden",
        " a",
        "a ",
        "a\n",
        "a\0",
        "a\tb",
        "a\u00a0b",
        "a\u202eb",
        "a\udceab",
        "é" * 101,
    ],
)
def test_names_that_could_leave_their_folder_are_refused(image_id):
    with pytest.raises(ValueError, match=r"train\.txt: .* is not an image id"):
        check_image_id(image_id, "train.txt")


def test_the_one_sign_that_is_refused_is_named():
    for name, shown in (("a/b", "'/' (SOLIDUS)"), ("a\xa0b", "(NO-BREAK SPACE)"), ("\0", "U+0000")):
        with pytest.raises(ValueError, match=re.escape(shown)):
            check_image_id(name, "train.txt")


def test_names_are_compared_in_one_form():
    assert normal_name("cafe\u0301 ") == "caf\u00e9" == normal_name("caf\u00e9")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_texts_of_other_programs_are_read(tmp_path, encoding):
    path = tmp_path / "list.txt"
    path.write_bytes("é\r\n猫\n".encode(encoding))
    assert read_text(path) == "é\r\n猫\n"


@pytest.mark.parametrize("encoding", ["latin-1", "gbk", "cp1252"])
def test_texts_in_other_encodings_are_told(tmp_path, encoding):
    path = tmp_path / "list.txt"
    path.write_bytes(("a" * 100_000 + "éà").encode(encoding))
    with pytest.raises(ValueError, match=r"list\.txt: not UTF-8 text; save it as UTF-8$"):
        read_text(path)
