import re
import shutil

import numpy as np
import pytest
import yaml
from PIL import Image
from typer.testing import CliRunner

from cdsp import cli
from cdsp.dataset.prepare import describe_folder
from cdsp.dataset.voc_layout import read_list
from cdsp.io.files import write_label
from cdsp.pictures.overlay import clear_colours
from cdsp.scribbles.settings import AnnotationSettings
from cdsp.tools.check import check_folder, examine

CLASSES = ("background", "road", "tree")
COLOURS = list(clear_colours(CLASSES).values())
SIZE = (30, 40)
MIDDLE = ("road", "linestrip", [[5.5, 10.5], [24.5, 10.5]])  # 20 × 3 pixels and round ends
GROUND = ("background", "linestrip", [[2.5, 25.5], [30.5, 25.5]])


def save_photograph(path, size=SIZE, mode="RGB", **options):
    """A photograph in grey: what has a colour in the picture of it was drawn."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full(size, 90, np.uint8)).convert(mode).save(path, **options)


@pytest.fixture
def own(tmp_path, write_labelme):
    """Five photographs: two with strokes, one painted, one with a box, one with a tag."""
    root = tmp_path / "mine"
    for name, mode in zip("abcde", ("RGB", "L", "RGBA", "P", "LA"), strict=True):
        save_photograph(root / "JPEGImages" / f"{name}.png", mode=mode)
    strokes = root / "Scribbles"
    write_labelme(strokes / "a.json", "a.png", SIZE, [MIDDLE, GROUND])
    dot = ("tree", "point", [[30.5, 4.5]])
    write_labelme(strokes / "b.json", "b.png", SIZE, [MIDDLE, dot])
    painted = np.full(SIZE, 255, np.uint8)
    painted[4:7, 5:30], painted[20:23, 5:30] = 0, 2
    write_label(strokes / "c.png", painted)
    write_labelme(strokes / "d.json", "d.png", SIZE, [("tree", "rectangle", [[3, 3], [20, 20]])])
    write_labelme(strokes / "e.json", "e.png", SIZE, [], tags=["road"])
    return root


@pytest.fixture
def run(own, tmp_path, capsys):
    """Function: look through the folder; the problems, and what was printed, spaces as one."""

    def run(classes=CLASSES, annotations=None):
        options = {"settings": AnnotationSettings(), "picture": tmp_path / "check.png"}
        problems = check_folder(own, classes, annotations, **options)
        return problems, re.sub(r" +", " ", capsys.readouterr().out)

    return run


def row(printed, index):
    """The numbers in a class's row: images, strokes, boxes, tags, pixels of strokes, of masks."""
    (found,) = re.findall(rf"^ ?{index} .*? ([\d,]+(?: [\d,]+){{5}})$", printed, re.MULTILINE)
    return [int(number.replace(",", "")) for number in found.split()]


def coloured(picture, colour):
    """Where a picture has a colour, but for the smoothing of the drawing, (H, W) bool."""
    with Image.open(picture) as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)
    return np.abs(pixels - colour).max(axis=2) < 30


def test_what_is_there_is_counted(run):
    problems, printed = run()
    assert problems == []
    assert "mine: 5 training images, 0 validation images, 40×30 to 40×30 pixels" in printed
    assert "masks: none" in printed
    assert "5 files in" in printed
    assert "5 of 5 training images have some" in printed
    assert "1 strokes are single points" in printed
    assert "No problem was found." in printed
    stroke = (
        20 * 3 + 2 * 3
    )  # half a pixel farther than its ends, so that a column comes on each side
    assert row(printed, 0) == [2, 2, 0, 0, *row(printed, 0)[4:]]
    assert row(printed, 1) == [3, 2, 0, 1, 2 * stroke, 0]
    assert row(printed, 2)[:4] == [3, 2, 1, 0]
    assert row(printed, 2)[4] == pytest.approx(9 + 25 * 3, abs=8)  # a dot, and a painted region
    assert row(printed, 0)[4] == pytest.approx((29 + 2) * 3 + 25 * 3, abs=8)
    labelled = sum(row(printed, index)[4] for index in range(3))
    assert f"strokes label {100 * labelled / (5 * 30 * 40):.2f} % of the pixels" in printed


def test_hints(run, own, write_labelme):
    printed = run()[1]
    assert "hint: 1 image with object strokes and none on the background" in printed
    assert "nothing names" not in printed
    problems, printed = run((*CLASSES, "river", "cow"))
    assert problems == []
    assert "hint: nothing names river, cow: what nobody marks cannot be learnt" in printed
    write_labelme(own / "Scribbles" / "b.json", "b.png", SIZE, [MIDDLE, GROUND])
    assert "none on the background" not in run()[1]


def test_where_there_are_tags_alone_nobody_misses_the_background(run, own):
    shutil.rmtree(own / "Scribbles")
    (own / "Scribbles").mkdir()
    (own / "Scribbles/tags.csv").write_text(f"a.png,{CLASSES[1]},{CLASSES[2]}\n")
    assert "nothing names" not in run()[1]


def test_what_lies_beside_boxes_is_background(run, own, write_labelme):
    shutil.rmtree(own / "Scribbles")
    box = ("tree", "rectangle", [[3, 3], [20, 20]])
    write_labelme(own / "Scribbles/d.json", "d.png", SIZE, [box])
    printed = run()[1]
    assert "nothing names road:" in printed


def test_masks_are_counted(run, own):
    mask = np.full(SIZE, 255, np.uint8)
    mask[:10] = 2
    write_label(own / "SegmentationClassAug" / "e.png", mask)
    lists = own / "ImageSets" / "SegmentationAug"
    lists.mkdir(parents=True)
    (lists / "val.txt").write_text("e\n")
    problems, printed = run()
    assert problems == []
    assert "4 training images, 1 validation images" in printed
    assert "masks: of the validation images" in printed
    assert row(printed, 2)[5] == 400


def test_every_problem_is_told_and_does_not_hide_what_is_right(run, own, write_labelme):
    good = run()[1]
    photographs, strokes = own / "JPEGImages", own / "Scribbles"
    save_photograph(photographs / "f.png")
    (photographs / "f.png").write_bytes((photographs / "f.png").read_bytes()[:40])
    write_labelme(strokes / "f.json", "f.png", SIZE, [MIDDLE])
    save_photograph(photographs / "g.png")
    save_photograph(photographs / "h.jpg", SIZE[::-1])
    write_labelme(strokes / "h.json", "h.jpg", SIZE, [MIDDLE])
    save_photograph(photographs / "i.jpg")
    unknown = ("raod", *MIDDLE[1:])
    write_labelme(strokes / "i.json", "i.jpg", SIZE, [unknown])
    (strokes / "j.json").write_text("{")
    save_photograph(photographs / "k\xa0.jpg")
    problems, printed = run()
    assert "hint: 1 of 8 training images have no annotation and are left out" in printed
    expected = [
        r"f\.png: not a readable image",
        r"h\.json, image 'h': annotated at 40 x 30 px, but the image is 30 x 40 px",
        r"i\.json: class 'raod': no class of the data set; did you mean 'road'",
        r"j\.json: broken JSON",
        r"'k\\xa0' is not an image id: it holds '\\xa0' \(NO-BREAK SPACE\)",
    ]
    assert len(problems) == len(expected)
    assert f"{len(expected)} problems:" in printed
    for problem in expected:
        assert len([text for text in problems if re.search(problem, text)]) == 1, problem
    assert [row(printed, index) for index in range(3)] == [row(good, index) for index in range(3)]


def test_a_picture_of_somebody_is_told_before_anything_is_read(run, tmp_path, capsys):
    (tmp_path / "check.png").write_bytes(b"mine")
    with pytest.raises(ValueError, match=r"check\.png: is there already"):
        run()
    with pytest.raises(ValueError, match=r"check\.jpg: the picture is a PNG"):
        check_folder(
            tmp_path, (), None, settings=AnnotationSettings(), picture=tmp_path / "check.jpg"
        )
    assert capsys.readouterr().out == ""


def test_problems_are_the_exit_code(own, tmp_path):
    words = ["dataset", "check", str(own), "--classes", "background, road ,tree", "--picture"]
    words.append(str(tmp_path / "out" / "look.png"))
    result = CliRunner().invoke(cli.build_app(words[0]), words)
    assert result.exit_code == 0, result.output
    assert (tmp_path / "out" / "look.png").is_file()
    (own / "Scribbles" / "a.json").write_text("{")
    result = CliRunner().invoke(cli.build_app(words[0]), words)
    assert result.exit_code == 1
    assert "a.json: broken JSON" in result.output


def configured(printed):
    (line,) = re.findall(r"^ (classes: .*)$", printed, re.MULTILINE)
    return yaml.safe_load(line)["classes"]


def test_names_are_found_where_none_are_given(run, own, write_labelme):
    (own / "Scribbles" / "c.png").unlink()
    (own / "JPEGImages" / "c.png").unlink()
    problems, printed = run(())
    assert problems == []
    assert configured(printed) == ["background", "road", "tree"]
    # The line is YAML, whatever the names are.
    shapes = [(name, *MIDDLE[1:]) for name in ("no", "a, b: c", "über", "007", "BG")]
    write_labelme(own / "Scribbles" / "e.json", "e.png", SIZE, shapes)
    write_labelme(own / "Scribbles" / "a.json", "a.png", SIZE, [MIDDLE])
    names = configured(run(())[1])
    assert names[:3] == ["BG", "road", "tree"]
    assert set(names[3:]) == {"no", "a, b: c", "über", "007"}


def test_painted_classes_have_numbers_for_names(run, own):
    for path in own.rglob("*.json"):
        path.unlink()
        (own / "JPEGImages" / f"{path.stem}.png").unlink()
    problems, printed = run(())
    assert problems == []
    assert configured(printed) == ["background", "class 1", "class 2"]
    assert row(printed, 1)[:2] == [0, 0]
    assert row(printed, 2)[:2] == [1, 1]


def test_a_name_for_each_object_is_told(run, own, write_labelme):
    shapes = [(f"tree {index}", "point", [[5, 5]]) for index in range(300)]
    write_labelme(own / "Scribbles" / "a.json", "a.png", SIZE, shapes)
    problems, _ = run(())
    assert "names 303 classes, expected at most 255" in problems[0]
    assert "name kinds of objects" in problems[0]


def test_photographs_alone(run, own):
    shutil.rmtree(own / "Scribbles")
    problems, printed = run(())
    assert problems == []
    assert "annotations: none (expected in Scribbles/" in printed
    (own / "Scribbles").mkdir()
    problems, printed = run(())
    assert len(problems) == 1
    assert "Scribbles: no file of annotations there" in problems[0]
    assert "5 training images" in printed


@pytest.mark.parametrize("classes", [("road",), ("background", "road", "road")])
def test_names_that_no_data_set_can_have(run, classes):
    with pytest.raises(ValueError, match=r"^--classes: .*(1 classes; expected 2|'road' is named)"):
        run(classes)


def test_mistyped_folders(run, own, tmp_path, monkeypatch, capsys):
    picture = tmp_path / "check.png"
    monkeypatch.setattr("sys.argv", ["cdsp", "dataset", "check", f"{own}s"])
    with pytest.raises(SystemExit, match=r"^cdsp: .*mines: no such folder$"):
        cli.main()
    problems, printed = run(annotations=own / "Scribles")
    assert len(problems) == 1
    assert "Scribles: no file of annotations there" in problems[0]
    assert "5 training images" in printed
    (own / "JPEGImages").rename(own / "JPEGImage")
    assert "JPEGImages: no such folder of images" in run()[0][0]
    assert not picture.exists()


def test_what_a_system_leaves_among_the_photographs_is_no_photograph(run, own):
    for name in ("._a.png", ".DS_Store", "Thumbs.db", "notes.txt"):
        (own / "JPEGImages" / name).write_bytes(b"\0")
    assert run()[0] == []


def test_a_file_name_that_no_terminal_can_show(own, tmp_path, monkeypatch, capfd):
    good = own / "JPEGImages" / "fete.png"
    save_photograph(good)
    try:
        good.rename(own / "JPEGImages" / "f\udceate.png")
    except OSError:
        pytest.skip("this file system takes no such name")
    words = ["cdsp", "dataset", "check", str(own), "--picture", str(tmp_path / "check.png")]
    monkeypatch.setattr("sys.argv", words)
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 1
    assert r"f\udceate" in capfd.readouterr().out


def test_turned_photographs_are_annotated_as_they_are_seen(run, own, write_labelme):
    """A camera stores them lying on their side, and the tools that people draw in turn them."""
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90°
    save_photograph(own / "JPEGImages" / "t.jpg", SIZE, exif=exif)
    upright = SIZE[::-1]
    write_labelme(own / "Scribbles" / "t.json", "t.jpg", upright, [("tree", "point", [[20, 35]])])
    problems, printed = run()
    before = row(printed, 2)[4]
    assert problems == []
    write_labelme(own / "Scribbles" / "t.json", "t.jpg", upright, [])
    assert row(run()[1], 2)[4] == before - 9  # the dot lay where only the turned one reaches
    write_labelme(own / "Scribbles" / "t.json", "t.jpg", SIZE, [])
    assert "annotated at 40 x 30 px, as the photograph is stored; but it is to be" in run()[0][0]


def test_strokes_are_seen_in_the_picture(run, own, tmp_path, write_labelme):
    picture = tmp_path / "check.png"
    run()
    road, tree, ground = *COLOURS, [255, 255, 255]
    before = [coloured(picture, colour).sum() for colour in (road, tree, ground)]
    with Image.open(picture) as image:
        assert min(image.size) > 300
    strokes = [MIDDLE, MIDDLE, ("road", "linestrip", [[5, 20], [20, 2]]), GROUND]
    write_labelme(own / "Scribbles" / "b.json", "b.png", SIZE, strokes)
    run()
    after = [coloured(picture, colour).sum() for colour in (road, tree, ground)]
    # Photographs of 40 pixels are seen many times larger: a stroke of theirs is thousands.
    assert after[0] > before[0] + 1000 > 2000
    assert before[1] > after[1] > 500  # the dot is gone, the painted stroke and the box are there
    assert after[2] > before[2] + 1000


def test_strokes_on_large_photographs_are_wide_enough_to_see(run, own, tmp_path, write_labelme):
    shutil.rmtree(own)
    size = (2000, 3000)
    save_photograph(own / "JPEGImages" / "large.jpg", size)
    line = ("road", "linestrip", [[300, 1000], [2700, 1000]])
    box = ("tree", "rectangle", [[1000, 300], [2000, 700]])
    write_labelme(own / "Scribbles" / "large.json", "large.jpg", size, [line, box])
    problems, printed = run()
    assert problems == []
    assert row(printed, 1)[4] == pytest.approx(2400 * 3, rel=0.01)
    red = coloured(tmp_path / "check.png", COLOURS[0])
    along = red.sum(axis=1)
    assert along.max() > 0.5 * red.shape[1]  # 80 % of the photograph
    assert (along > 0.5 * red.shape[1]).sum() >= 2
    assert coloured(tmp_path / "check.png", COLOURS[1]).sum() > 300


def test_few_of_many_images_are_drawn(run, own, monkeypatch):
    monkeypatch.setattr(examine, "SHOWN_IMAGES", 2)
    assert "check.png: 2 of the annotated images" in run()[1]


@pytest.mark.parametrize(
    "content", ["ä\nb\n".encode("latin-1"), "a\nb\n".encode("utf-16-le") + b"\xff"]
)
def test_lists_that_are_no_utf_8_are_told(own, run, tmp_path, content):
    path = own / "ImageSets" / "SegmentationAug" / "train.txt"
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    ids, (problem,) = read_list(path)
    assert ids == []
    assert problem == f"{path}: not UTF-8 text; save it as UTF-8"
    assert problem in run()[0]
    with pytest.raises(ValueError, match=r"1 problem:\n.*train\.txt: not UTF-8 text"):
        describe_folder(own, "own", CLASSES, tmp_path / "dataset.json")


def test_lists_as_windows_writes_them(own, run):
    path = own / "ImageSets" / "SegmentationAug" / "train.txt"
    path.parent.mkdir(parents=True)
    path.write_bytes("a\r\nb\r\n".encode("utf-8-sig"))
    assert read_list(path) == (["a", "b"], [])
    assert "2 training images" in run()[1]
    path.write_text("a.png\nb\n")
    assert "2 training images" in run()[1]
    path.write_text("a  1\nb -1\n")
    assert "2 of 2 names in train.txt are of no image in JPEGImages: 'a  1'" in run()[0][0]
    assert "write a name alone to a line, without flags" in run()[0][0]
