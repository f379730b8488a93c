"""Labels and a page of pictures from photographs and strokes alone."""

import re
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from cdsp import cli
from cdsp.dataset.pixel_census import PixelCensus
from cdsp.dataset.shapes import CLASS_NAMES, draw_shape_scene
from cdsp.io.files import read_label, write_label
from cdsp.scribbles.rasterise import rasterise
from cdsp.scribbles.settings import AnnotationSettings
from cdsp.scribbles.simulate import simulate_strokes
from cdsp.scribbles.styles import STYLES
from cdsp.tools.preview import RECIPES, TITLES, preview_folder

SIZE = 65
NAMES = ("alpha", "beta", "gamma")
OPTIONS = {"settings": AnnotationSettings(), "long_side": SIZE, "num_images": 9}


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """Three drawn photographs of twice the working size, two of them annotated."""
    root = tmp_path_factory.mktemp("own")
    for index, name in enumerate(NAMES):
        image, mask = draw_shape_scene(0, "train", index, 2 * SIZE)
        photograph = root / "JPEGImages" / f"{name}.png"
        photograph.parent.mkdir(exist_ok=True)
        Image.fromarray(image).save(photograph)
        if index < 2:
            rng = np.random.default_rng(index)
            strokes = simulate_strokes(mask, rng, STYLES["medial_axis"], width=3, coverage=0.05)
            label = rasterise(strokes, 2 * SIZE, 2 * SIZE)
            write_label(root / "Scribbles" / f"{name}.png", label)
    return root


@pytest.fixture(scope="module")
def previewed(own, tmp_path_factory):
    output = tmp_path_factory.mktemp("preview")
    return output, *preview_folder(own, CLASS_NAMES, None, output, hold_out=0.5, **OPTIONS)


def test_labels_are_written_at_the_size_of_the_photographs(previewed):
    output, recipe, right = previewed
    assert recipe in RECIPES
    assert sorted(path.name for path in (output / "labels").glob("*.png")) == [
        "alpha.png",
        "beta.png",
    ]
    agreed = []
    for index, name in enumerate(NAMES[:2]):
        label = read_label(output / "labels" / f"{name}.png")
        mask = draw_shape_scene(0, "train", index, 2 * SIZE)[1]
        assert label.shape == mask.shape
        known = (mask != 255) & (label != 255)
        agreed.append((label == mask)[known].mean())
    assert np.mean(agreed) > 0.7
    assert 0 <= right.low < right.value <= right.high <= 1


def test_labels_hold_every_stroke_and_so_those_that_were_held_out(own, tmp_path):
    preview_folder(own, CLASS_NAMES, None, tmp_path, hold_out=0.5, **{**OPTIONS, "long_side": 130})
    for name in NAMES[:2]:
        strokes = read_label(own / "Scribbles" / f"{name}.png")
        label = read_label(tmp_path / "labels" / f"{name}.png")
        assert (label == strokes)[strokes != 255].all()


def test_the_page_shows_the_worst_image_first_and_needs_no_network(previewed):
    page = (previewed[0] / "index.html").read_text()
    assert "http" not in page.replace("http-equiv", "")
    assert page.count("data:image/jpeg;base64,") == 2 * (1 + len(RECIPES))
    title = re.escape(TITLES[previewed[1]])
    order = [float(s) for s in re.findall(rf"<h3>.*{title} (\d+) %", page)]
    assert len(order) == 2
    assert order == sorted(order)
    assert "95 % intervals" in page


def test_a_folder_is_read_once(own, tmp_path, monkeypatch):
    read = Counter()

    def photograph(self, file, **options):
        read[file.name] += 1
        return add(self, file, **options)

    add = PixelCensus.add
    monkeypatch.setattr(PixelCensus, "add", photograph)
    preview_folder(own, (), None, tmp_path, hold_out=0.5, **OPTIONS)
    assert read == {f"{name}.png": 1 for name in NAMES}


def test_equal_seeds_give_equal_bytes(own, previewed, tmp_path):
    preview_folder(own, CLASS_NAMES, None, tmp_path, hold_out=0.5, **OPTIONS)
    for path in ("index.html", "labels/alpha.png", "labels/beta.png"):
        assert (tmp_path / path).read_bytes() == (previewed[0] / path).read_bytes()


def test_without_held_out_strokes_nothing_is_measured(own, tmp_path):
    assert preview_folder(own, CLASS_NAMES, None, tmp_path, hold_out=0, **OPTIONS)[1] is None
    assert "nothing is measured" in (tmp_path / "index.html").read_text()


def test_the_command_finds_the_classes_and_loads_no_pytorch(own, tmp_path):
    words = ["preview", str(own), "--output", str(tmp_path / "out"), "--size", str(SIZE)]
    script = f"""
import sys
from cdsp.cli import main
try:
    main({words!r})
finally:
    assert "torch" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "labels by the recipe" in done.stdout


def test_files_of_others_are_not_replaced(own, tmp_path):
    (tmp_path / "index.html").write_text("mine")
    words = ["preview", str(own), "--output", str(tmp_path)]
    result = CliRunner().invoke(cli.build_app("preview"), words)
    assert isinstance(result.exception, ValueError)
    assert (tmp_path / "index.html").read_text() == "mine"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("tags.csv", "alpha,beetle\n", "no stroke and no box says where a class is"),
        ("empty.csv", "\n", "no class but 'background' is named"),
        ("alpha.png", "", "all strokes are of 'beetle', so that all labels would be"),
    ],
)
def test_strokes_from_which_nothing_can_be_learnt_are_told(own, tmp_path, name, text, message):
    annotations = tmp_path / "Scribbles"
    if text:
        annotations.mkdir()
        (annotations / name).write_text(text)
    else:
        stroke = np.full((2 * SIZE, 2 * SIZE), 255, np.uint8)
        stroke[20:30] = stroke[60:70] = CLASS_NAMES.index("beetle")
        write_label(annotations / name, stroke)
    classes = () if name == "empty.csv" else CLASS_NAMES
    with pytest.raises(ValueError, match=message):
        preview_folder(own, classes, annotations, tmp_path / "out", hold_out=0.5, **OPTIONS)
    assert not (tmp_path / "out").exists()
