import csv
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from cdsp.evaluation.settings import WHOLE_IMAGE
from cdsp.io.files import VOC_PALETTE, read_label
from cdsp.io.photograph import in_memory
from cdsp.networks import tiles
from cdsp.networks.checkpoint import read_network
from cdsp.networks.predictor import predict_probabilities
from cdsp.pictures.overlay import overlay
from cdsp.tools import predict as tool
from cdsp.tools.predict import entropy_greys, find_photographs, predict

CPU = torch.device("cpu")
FOR_ALL = {"classes.txt", "legend.png", "areas.csv"}


def named(paths):
    return [str(path) for path in paths]


@pytest.fixture
def photographs(tmp_path):
    rng = np.random.default_rng(0)
    paths = []
    for name, mode, size in (
        ("one.jpg", "RGB", (40, 30)),
        ("grey.png", "L", (17, 33)),
        ("dot.bmp", "RGB", (1, 1)),
        ("see through.png", "RGBA", (20, 5)),
    ):
        noise = rng.integers(0, 256, (size[1], size[0], 4), dtype=np.uint8)
        paths.append(tmp_path / "photographs" / name)
        paths[-1].parent.mkdir(exist_ok=True)
        Image.fromarray(noise).convert(mode).save(paths[-1])
    return paths


def test_photographs_of_any_size_and_mode_are_segmented(photographs, tiny_weights, tmp_path):
    output = tmp_path / "predicted"
    predict(named(photographs), tiny_weights, output, WHOLE_IMAGE, CPU)
    names = {
        name for path in photographs for name in (f"{path.stem}.png", f"{path.stem}_overlay.jpg")
    }
    assert {path.name for path in output.glob("[!.]*")} == names | FOR_ALL
    checkpoint = read_network(tiny_weights, "segmentation")
    lines = (output / "classes.txt").read_text().splitlines()
    assert lines[0] == "0 background"
    assert [line.split(" ", 1)[1] for line in lines] == list(checkpoint.classes)
    network = checkpoint.network
    for path in photographs:
        with Image.open(path) as file:
            image = np.array(file.convert("RGB"))
        label = read_label(output / f"{path.stem}.png")
        probability = predict_probabilities(network, image, WHOLE_IMAGE, CPU)
        np.testing.assert_array_equal(label, probability.argmax(dim=0).numpy())
        with Image.open(output / f"{path.stem}_overlay.jpg") as file:
            picture = np.array(file)
        assert picture.shape == image.shape
    predict(named(photographs[:1]), tiny_weights, tmp_path / "again", WHOLE_IMAGE, CPU)
    for name in ("one.png", "one_overlay.jpg"):
        assert (tmp_path / "again" / name).read_bytes() == (output / name).read_bytes()


def test_nothing_that_is_there_is_replaced(photographs, tiny_weights, tmp_path):
    output = tmp_path / "own"
    output.mkdir()
    own = output / f"{photographs[0].stem}.png"
    for make in (
        lambda: own.write_bytes(b"mine"),
        lambda: own.symlink_to(photographs[0]),
        lambda: own.symlink_to(tmp_path / "nowhere"),
    ):
        make()
        before = {path: path.lstat().st_mtime_ns for path in tmp_path.rglob("*")}
        with pytest.raises(ValueError, match=f"{own.name}: (is there|would replace)"):
            predict(named(photographs), tiny_weights, output, WHOLE_IMAGE, CPU)
        assert {path: path.lstat().st_mtime_ns for path in tmp_path.rglob("*")} == before
        own.unlink()
    predict(named(photographs[:1]), tiny_weights, output, WHOLE_IMAGE, CPU)
    predict(
        named(photographs[1:2]), tiny_weights, output, WHOLE_IMAGE, CPU
    )  # more into the same folder
    (output / "classes.txt").write_text("my notes")
    with pytest.raises(ValueError, match=r"classes\.txt: is there already"):
        predict(named(photographs[2:]), tiny_weights, output, WHOLE_IMAGE, CPU)
    assert (output / "classes.txt").read_text() == "my notes"


@pytest.mark.parametrize("problem", ["missing", "twice", "own folder", "empty folder"])
def test_wrong_photographs_end_before_anything_is_written(
    photographs, tiny_weights, tmp_path, problem
):
    output, wrong = tmp_path / "predicted", photographs[-1]
    if problem == "missing":
        wrong.unlink()
        message = "see through.png: no such image"
    elif problem == "twice":
        photographs.append(wrong.parent.parent / "one.png")
        Image.new("RGB", (5, 5)).save(photographs[-1])
        message = "two images are named 'one'"
    elif problem == "empty folder":
        (tmp_path / "empty").mkdir()
        photographs.append(tmp_path / "empty")
        message = "empty: no photograph"
    else:
        output = tmp_path / "photographs"
        message = "give another folder for the results"
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ValueError, match=message):
        predict(named(photographs), tiny_weights, output, WHOLE_IMAGE, CPU)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_broken_photograph_is_told_after_all_others_are_predicted(
    photographs, tiny_weights, tmp_path
):
    photographs[1].write_bytes(photographs[1].read_bytes()[:50])
    output = tmp_path / "predicted"
    with pytest.raises(
        ValueError, match=r"(?s)1 of 4 .* not predicted: 1 problem:.*grey\.png: not"
    ):
        predict([str(photographs[0].parent)], tiny_weights, output, None, CPU, probabilities=True)
    stems = {path.stem for path in photographs if path != photographs[1]}
    endings = (".png", "_overlay.jpg", "_probabilities.h5")
    found = {path.name for path in output.glob("[!.]*")}
    assert found == {f"{stem}{ending}" for stem in stems for ending in endings} | FOR_ALL
    with (output / "areas.csv").open() as file:
        assert {row["photograph"] for row in csv.DictReader(file)} == {
            path.name for path in photographs if path != photographs[1]
        }


def test_folders_and_patterns_name_photographs(photographs, tmp_path, monkeypatch):
    folder = photographs[0].parent
    for other in ("notes.txt", ".hidden.png", "inner/more.PNG"):
        (folder / other).parent.mkdir(exist_ok=True)
        (folder / other).touch()
    everything = sorted(photographs)
    assert find_photographs([str(folder)]) == everything
    assert find_photographs([f"{folder}/*.png", str(folder)]) == [
        *(path for path in everything if path.suffix == ".png"),
        *(path for path in everything if path.suffix != ".png"),
    ]
    assert find_photographs([f"{folder}/**/m*"]) == [folder / "inner" / "more.PNG"]
    monkeypatch.chdir(folder.parent)
    assert find_photographs(["photographs/o*"]) == [Path("photographs/one.jpg")]
    with pytest.raises(ValueError, match=r"photographs/x\*: no such image \(looked for in"):
        find_photographs(["photographs/x*"])


def test_areas_count_the_pixels_of_each_class(photographs, tiny_weights, tmp_path):
    predict(named(photographs[:2]), tiny_weights, tmp_path / "out", None, CPU)
    predict(named(photographs[1:]), tiny_weights, tmp_path / "out", None, CPU)
    classes = read_network(tiny_weights, "segmentation").classes
    with (tmp_path / "out" / "areas.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(photographs) * len(classes)
    for path in photographs:
        label = read_label(tmp_path / "out" / f"{path.stem}.png")
        own = [row for row in rows if row["photograph"] == path.name]
        assert [row["class"] for row in own] == list(classes)
        for index, row in enumerate(own):
            assert int(row["pixels"]) == (label == index).sum()
            assert float(row["share"]) == pytest.approx((label == index).mean(), abs=1e-6)


def test_probabilities_and_entropy_are_those_of_the_network(photographs, tiny_weights, tmp_path):
    predict(
        named(photographs[:1]),
        tiny_weights,
        tmp_path / "out",
        None,
        CPU,
        probabilities=True,
        entropy=True,
    )
    checkpoint = read_network(tiny_weights, "segmentation")
    with Image.open(photographs[0]) as file:
        image = np.array(file.convert("RGB"))
    expected = predict_probabilities(checkpoint.network, image, WHOLE_IMAGE, CPU).numpy()
    with h5py.File(tmp_path / "out" / "one_probabilities.h5") as file:
        data = file["probabilities"]
        assert tuple(data.attrs["classes"]) == checkpoint.classes
        assert (data.dtype, data.shape) == (np.uint16, expected.shape)
        np.testing.assert_allclose(data[()] / data.attrs["one"], expected, atol=1 / 65535)
    entropy = -(expected * np.log(expected)).sum(axis=0) / np.log(len(expected))
    with Image.open(tmp_path / "out" / "one_entropy.png") as file:
        grey = np.array(file.convert("L"))
    np.testing.assert_allclose(grey, 255 * entropy, atol=1)


def test_entropy_is_white_where_all_classes_are_equal_and_black_where_one_is_sure():
    values = torch.tensor([[1.0, 0.25], [0.0, 0.25], [0.0, 0.25], [0.0, 0.25]])
    assert entropy_greys(values[:, None]).tolist() == [[0, 255]]


@pytest.fixture
def large(monkeypatch, tmp_path):
    """A TIFF that counts as large, and is predicted by tiles."""
    monkeypatch.setattr(tiles, "AT_ONCE", 5000)
    monkeypatch.setattr(tiles, "TILE", 305)
    monkeypatch.setattr(tool, "IN_MEMORY", 5000)
    monkeypatch.setattr(tool, "LARGEST_PICTURE", 100)
    y, x = np.mgrid[:350, :420] / 60
    image = np.stack([np.sin(y), np.cos(x), np.sin(x * y)], axis=2)
    image = np.rint(127 + 120 * image).astype(np.uint8)
    path = tmp_path / "mosaic.tif"
    tifffile.imwrite(path, image, photometric="rgb", tile=(64, 64), compression="zlib")
    return path, image


def test_a_large_photograph_gives_tiffs_and_a_small_picture(large, tiny_weights, tmp_path):
    path, image = large
    output = tmp_path / "out"
    predict([str(path)], tiny_weights, output, None, CPU, probabilities=True, entropy=True)
    assert {found.name for found in output.glob("*")} - FOR_ALL == {
        ".cdsp-outputs",
        "mosaic.tif",
        "mosaic_entropy.tif",
        "mosaic_overlay.jpg",
        "mosaic_probabilities.h5",
    }
    checkpoint = read_network(tiny_weights, "segmentation")
    with h5py.File(output / "mosaic_probabilities.h5") as file:
        found = file["probabilities"][()] / 65535
    wanted_label = np.full(image.shape[:2], 255)
    for rows, columns, expected in tiles.predict_windows(
        checkpoint.network, in_memory(image), WHOLE_IMAGE, CPU, working_size=0
    ):
        np.testing.assert_allclose(found[:, rows, columns], expected, atol=1e-4)
        wanted_label[rows, columns] = expected.argmax(dim=0)
    with Image.open(output / "mosaic.tif") as file:
        label = np.array(file)
        assert file.mode == "P"
        assert file.getpalette()[: 3 * 21] == VOC_PALETTE[:21].ravel().tolist()
    np.testing.assert_array_equal(label, wanted_label)
    with Image.open(output / "mosaic_overlay.jpg") as file:
        assert file.size == (84, 70)
        picture = np.array(file)
    wanted = overlay(image[::5, ::5], label[::5, ::5], VOC_PALETTE)
    assert np.abs(picture.astype(float) - wanted).mean() < 10
    tool.IN_MEMORY = 2**20
    predict([str(path)], tiny_weights, tmp_path / "small", None, CPU)
    np.testing.assert_array_equal(read_label(tmp_path / "small" / "mosaic.png"), label)
