"""`cdsp start`: a configuration planned from a folder and a machine."""

import json
import math
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from typer.testing import CliRunner

from cdsp import cli
from cdsp.experiment.plan import Plan
from cdsp.experiment.read import read_config
from cdsp.experiment.user_files import UserFiles
from cdsp.metrics import Share
from cdsp.networks.backbones import build_backbone
from cdsp.pictures.overlay import clear_colours
from cdsp.scribbles.settings import AnnotationSettings
from cdsp.segmentation.settings import SegmentationSettings
from cdsp.tools.held_out_trial import GUIDED_WALK
from cdsp.tools.start import machine, start
from cdsp.tools.start.choices import (
    CLASSIFIER_IMAGES,
    LARGEST,
    SMALL_STROKE,
    SMALLEST,
    Folder,
    choose,
    choose_working_size,
)
from cdsp.tools.start.labels import FILTERS, better, candidates
from cdsp.tools.start.machine import Machine, backbone_of, find_weights
from cdsp.tools.start.trial import Trial
from cdsp.training.sampling import epoch_batches

CPU = Machine(2, "")
GPU = Machine(16, "a card")
SIZE = (60, 80)  # height, width


def folder_of(*extents, long_side=1296, num_train=32):
    return Folder(long_side, round(0.75 * long_side), extents, num_train, 12)


extents = st.lists(st.floats(0.001, 1), max_size=8)


@given(extents, st.integers(60, 8000))
def test_the_working_size_stays_in_its_bounds(found, long_side):
    size, reason = choose_working_size(folder_of(*found, long_side=long_side))
    assert min(long_side, SMALLEST) <= size <= min(long_side, LARGEST)
    assert reason


def test_small_objects_are_seen_larger_and_large_ones_no_smaller_than_needed():
    sizes = [choose_working_size(folder_of(extent))[0] for extent in (0.01, 0.022, 0.03, 0.2, 0.9)]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] == LARGEST
    assert sizes[-1] == SMALLEST
    assert SMALL_STROKE <= 0.022 * sizes[1] < 1.1 * SMALL_STROKE


@given(extents, st.integers(60, 8000), st.integers(2, 3000), st.sampled_from([CPU, GPU]))
def test_what_is_chosen_can_be_trained(found, long_side, num_train, machine):
    folder = folder_of(*found, long_side=long_side, num_train=num_train)
    choices = choose(folder, machine, "mobilenet_v2", "none")
    assert (choices.crop_size - 1) % 16 == 0
    assert choices.crop_size <= max(129, choices.working_size)
    assert 2 <= choices.batch_size <= num_train
    assert choices.steps(num_train) >= choices.min_steps


@given(st.integers(1, 50), st.integers(0, 400), st.integers(1, 17), st.integers(1, 90))
def test_a_floor_of_steps_adds_passes(epochs, min_steps, batch_size, num_images):
    settings = SegmentationSettings(
        epochs=epochs, min_steps=min_steps, batch_size=batch_size, warmup_epochs=0
    )
    per_pass = len(epoch_batches(num_images, batch_size, seed=0, epoch=0))
    passes = epochs
    while passes * per_pass < min_steps:
        passes += 1
    assert settings.passes(num_images) == passes


def test_weights_are_known_by_what_they_hold(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    assert find_weights("resnet18") is None
    for name in ("resnet18", "mobilenet_v2"):
        state = build_backbone(name, 16).state_dict()
        torch.save(state, tmp_path / f"data/of_{name}.pth")
        assert backbone_of(tmp_path / f"data/of_{name}.pth") == name
    (tmp_path / "data/broken.pth").write_bytes(b"nothing")
    found = find_weights("mobilenet_v2")
    assert found == Path("data/of_mobilenet_v2.pth")
    assert find_weights("resnet50") is None
    torch.save({"something": torch.zeros(3)}, tmp_path / "data/other.pth")
    with pytest.raises(ValueError, match=r"other\.pth: the weights of no backbone"):
        backbone_of(tmp_path / "data/other.pth")


@pytest.fixture
def mine(tmp_path, monkeypatch, write_labelme):
    """Five photographs with strokes, two of them with masks as well, in which 1 is the tree."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(machine, "PLACES", ())
    root = tmp_path / "data/mine"
    (root / "JPEGImages").mkdir(parents=True)
    lists = root / "ImageSets/SegmentationAug"
    lists.mkdir(parents=True)
    (root / "SegmentationClassAug").mkdir()
    mask = np.zeros(SIZE, np.uint8)
    mask[:, :30], mask[:, 50:] = 1, 2
    for name in "abcdefg":
        Image.fromarray(np.full((*SIZE, 3), 90, np.uint8)).save(root / f"JPEGImages/{name}.png")
        Image.fromarray(mask).save(root / f"SegmentationClassAug/{name}.png")
    (lists / "train.txt").write_text("\n".join("abcde"))
    (lists / "val.txt").write_text("\n".join("fg"))
    shapes = [
        ("road", "linestrip", [[60, 10], [60, 50]]),
        ("road", "linestrip", [[65, 10], [65, 50]]),
        ("tree", "linestrip", [[10, 10], [10, 50]]),
        ("background", "linestrip", [[40, 10], [40, 50]]),
    ]
    for name in "abcde":
        write_labelme(root / f"Scribbles/{name}.json", f"{name}.png", SIZE, shapes)
    return root


def test_a_folder_becomes_an_experiment_that_can_be_run(mine, tmp_path, capsys):
    settings = AnnotationSettings(width=5, ignore=("nobody",), aliases={"Tree": "tree"})
    output = start(mine.relative_to(tmp_path), None, settings=settings, weights="none")
    assert output.name == "mine.yaml"
    text = output.read_text()
    assert all(len(line) < 130 for line in text.splitlines())
    config = read_config(output)
    data = config.dataset_settings("mine")
    assert data.classes == ("background", "tree", "road")  # as the masks number them
    assert data.path == "data/mine"
    assert data.colours == clear_colours(data.classes)
    assert data.working_size == 80
    assert config.stroke_settings == settings
    assert config.segmentation.min_steps > 0
    plan = Plan(config)
    (run,) = config.runs("table1")
    assert plan.run_protocol(run) == plan.protocol("table1")
    assert plan.table_quality("table1")
    printed = capsys.readouterr().out
    assert "results/table1.csv --configfile mine.yaml" in printed
    # Once more: its own file is written again, an edited one is somebody's.
    start(mine, output, weights="none")
    output.write_text(output.read_text() + "# mine\n")
    with pytest.raises(ValueError, match=r"mine\.yaml: "):
        start(mine, None, weights="none")
    assert output.read_text().endswith("# mine\n")


def test_what_cannot_be_started_is_told_and_nothing_is_written(mine, tmp_path):
    label = json.loads((mine / "Scribbles/a.json").read_text())
    label["shapes"][0]["shape_type"] = "spiral"
    (mine / "Scribbles/a.json").write_text(json.dumps(label))
    with pytest.raises(ValueError, match="spiral"):
        start(mine, None, weights="none")
    for file in (mine / "Scribbles").iterdir():
        label["shapes"] = label["shapes"][1:2]
        file.write_text(json.dumps(label | {"imagePath": f"{file.stem}.png"}))
    with pytest.raises(ValueError, match="all strokes are of 'road', so that all labels would be"):
        start(mine, None, weights="none")
    for file in (mine / "Scribbles").iterdir():
        file.unlink()
    (mine / "Scribbles/export.zip").write_bytes(b"PK")
    with pytest.raises(ValueError, match=r"export\.zip is an archive, unpack it there"):
        start(mine, None, weights="none")
    shutil.rmtree(mine / "Scribbles")
    with pytest.raises(ValueError, match="no stroke and no tag on any training image"):
        start(mine, None, weights="none")
    assert not (tmp_path / "mine.yaml").exists()


def test_without_weights_and_masks_the_loss_is_told(mine, tmp_path, monkeypatch, capsys):
    def no_network(self):
        raise ValueError("the ImageNet weights of mobilenet_v2 could not be fetched (no network)")

    backbone = type(build_backbone("mobilenet_v2", 16))
    monkeypatch.setattr(backbone, "imagenet_state", no_network)
    (mine / "ImageSets/SegmentationAug/val.txt").unlink()
    result = CliRunner().invoke(cli.build_app("start"), ["start", str(mine)])
    assert result.exit_code == 0, result.output
    printed = result.output + capsys.readouterr().out
    assert "could not be fetched" in printed
    assert "random weights" in printed
    assert "strokes kept from the training" in printed
    config = read_config(tmp_path / "mine.yaml")
    (network,) = config.networks.values()
    assert (network.backbone_weights, network.frozen_batch_norm) == ("none", False)
    assert not network.head_options["image_pooling"]
    assert config.tables["table1"].methods == ("pseudo_label_only",)
    assert config.tables["table1"].scribbles == ("hold_out-0.25",)
    with pytest.raises(ValueError, match="could not be fetched"):
        start(mine, tmp_path / "other.yaml", weights="imagenet")


def test_validation_photographs_with_strokes_alone_are_measured_on_them(
    mine, tmp_path, write_labelme
):
    for mask in (mine / "SegmentationClassAug").iterdir():
        mask.unlink()
    with pytest.raises(ValueError, match=r"none of the 2 validation images has a mask .* a stroke"):
        start(mine, None, weights="none")
    write_labelme(mine / "Scribbles/f.json", "f.png", SIZE, [("tree", "point", [[9, 9]])])
    config = read_config(start(mine, None, weights="none"))
    table = config.tables["table1"]
    assert table.scribbles == ("full",)
    assert config.evaluation[table.protocol].truth == "validation_strokes"
    stores = Plan(config).truth_stores("full", table.protocol)
    assert stores == {"validation-strokes": "results/mine/scribbles/validation.h5"}
    UserFiles(Plan(config)).require_validation_images("table1")


def test_tags_alone_are_learnt_by_class_activation_maps(mine, tmp_path, capsys):
    shutil.rmtree(mine / "Scribbles")
    (mine / "Scribbles").mkdir()
    (mine / "Scribbles/tags.csv").write_text("".join(f"{name}.png,road,tree\n" for name in "abcde"))
    config = read_config(start(mine, None, weights="none"))
    (recipe,) = config.pseudo_labels.values()
    assert (recipe.evidence, recipe.labels.refinement) == ("cams", "none")
    assert recipe.classifier.epochs * 5 >= CLASSIFIER_IMAGES
    assert config.tables["table1"].methods == ("pseudo_label_only",)
    assert "class activation maps" in capsys.readouterr().out


@pytest.mark.parametrize("tags", [True, False])
def test_where_nothing_can_be_measured_networks_are_trained_alone(
    mine, tmp_path, capsys, write_labelme, tags
):
    shutil.rmtree(mine / "SegmentationClassAug")
    (mine / "ImageSets/SegmentationAug/val.txt").unlink()
    shutil.rmtree(mine / "Scribbles")
    shapes = [("road", "point", [[60, 10]]), ("background", "point", [[40, 10]])]
    for name in "abcde":  # one stroke of each class, of which none can be held out
        of = {"tags": ["road"]} if tags else {}
        own = [] if tags else shapes
        write_labelme(mine / f"Scribbles/{name}.json", f"{name}.png", SIZE, own, **of)
    table = read_config(start(mine, None, weights="none")).tables["table1"]
    assert table.scribbles == ("full",)
    command = "snakemake --cores 2 networks --configfile mine.yaml"
    assert re.sub(r"--cores \d+", "--cores 2", (tmp_path / "mine.yaml").read_text()).count(command)
    printed = capsys.readouterr().out
    assert "networks --configfile mine.yaml" in printed
    assert "This trains, and measures nothing" in printed


def test_features_guide_the_labels_where_held_out_strokes_say_so(mine, tmp_path, capsys):
    assert better({FILTERS: Share(0.85, 0.7, 0.9), "features": Share(0.88, 0.8, 0.95)}) == FILTERS
    assert better({FILTERS: Share(0.5, 0.4, 0.6), "features": Share(0.7, 0.6, 0.8)}) == "features"
    assert better({FILTERS: None, "features": None}) == FILTERS
    assert list(candidates("mobilenet_v2", "none", is_common=True)) == [FILTERS]
    assert len(candidates("mobilenet_v2", "imagenet", is_common=True)) == 2
    assert list(candidates("mobilenet_v2", "imagenet", is_common=False)) == [FILTERS]
    weights = tmp_path / "data/mobilenet_v2.pth"
    torch.manual_seed(0)
    torch.save(build_backbone("mobilenet_v2", 16).state_dict(), weights)
    (recipe,) = read_config(start(mine, None, weights=str(weights))).pseudo_labels.values()
    assert recipe.labels.prior_weight == GUIDED_WALK.prior_weight
    text = (tmp_path / "mine.yaml").read_text()
    assert "right by filters" in text
    assert "; features of mobilenet_v2" in text
    assert (recipe.pixels.backbone is not None) == ("pixels: {" in text)


def test_the_time_is_that_of_all_steps_and_predictions():
    folder = folder_of(0.1, num_train=10)
    choices = choose(folder, CPU, "mobilenet_v2", "none")
    per_pass = 10 // choices.batch_size
    steps = per_pass * math.ceil(choices.min_steps / per_pass)
    assert Trial(3, 0.5, 2.0).seconds(choices, folder) == pytest.approx(30 + 0.5 * steps + 24)
