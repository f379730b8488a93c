import numpy as np
import pytest
from PIL import Image

from cdsp.io.files import write_label
from cdsp.scribbles.rasterise import rasterise
from cdsp.scribbles.strokes import Stroke

STROKES = [
    Stroke(0, np.array([[4, 4], [34, 4]]), 3),
    Stroke(7, np.array([[8, 20], [30, 30]]), 3),
    Stroke(20, np.array([[35, 12]]), 3),
]
LABEL = rasterise(STROKES, 36, 40)


def saved(image):
    from io import BytesIO

    buffer = BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()


def test_palette_and_grey_pngs_hold_indices(read_file, tmp_path):
    write_label(tmp_path / "a.png", LABEL)
    for content in ((tmp_path / "a.png").read_bytes(), saved(Image.fromarray(LABEL))):
        (annotation,), problems = read_file("2007_000001.png", content)
        assert problems == []
        assert (annotation.image_id, annotation.size) == ("2007_000001", (36, 40))
        assert [shape.label for shape in annotation.shapes] == [0, 7, 20]
        for painting in annotation.shapes:
            np.testing.assert_array_equal(painting.pixels(36, 40), painting.label == LABEL)


def test_black_and_white_pictures_are_told(read_file):
    painted = np.zeros((36, 40), np.uint8)
    painted[5:8, 3:30] = 255
    annotations, (problem,) = read_file("a.png", saved(Image.fromarray(painted)))
    assert annotations == []
    assert "of the pixels are labelled: is this a mask or a black-and-white image?" in problem


def test_a_png_without_strokes(read_file):
    (annotation,), problems = read_file("a.png", saved(Image.new("L", (5, 4), 255)))
    assert (problems, annotation.shapes, annotation.size) == ([], (), (4, 5))


def streaked():
    """A mask with strokes of 255 through it, so that no region is wide on average."""
    mask = np.zeros((60, 80), np.uint8)
    mask[::12], mask[:, ::30] = 255, 255
    return mask


def soft():
    noise = np.random.default_rng(0).integers(0, 256, (200, 200), dtype=np.uint8)
    noise[0, 0] = 255
    return noise


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (Image.new("L", (5, 4), 0), "is this a mask"),
        (Image.new("RGB", (5, 4), "red"), "one 8-bit class index per pixel"),
        (Image.new("I;16", (5, 4)), "one 8-bit class index per pixel"),
        (Image.fromarray(np.pad(np.zeros((50, 50), np.uint8), 5, constant_values=255)), "a mask"),
        (
            Image.fromarray(soft()),
            "100 % of the pixels are labelled: is this a mask",
        ),
        (Image.fromarray(streaked()), "of the pixels are labelled: is this a mask"),
        (
            Image.fromarray(np.pad(np.full((30, 30), 4, np.uint8), 15, constant_values=255)),
            "29 px thick",
        ),
    ],
)
def test_other_pictures_are_told(read_file, image, message):
    annotations, (problem,) = read_file("a.png", saved(image))
    assert annotations == []
    assert message in problem
    assert problem.count("a.png") == 1


def test_pictures_too_large_are_told(read_file, monkeypatch):
    monkeypatch.setattr("cdsp.annotations.painted.MAX_PIXELS", 19)
    annotations, (problem,) = read_file("a.png", saved(Image.new("L", (5, 4), 255)))
    assert annotations == []
    assert "20 pixels; expected at most 19" in problem
