"""The workflow on a newcomer's own photographs: strokes of several tools, and not one mask."""

import csv
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from typer.testing import CliRunner
from workflow_runner import NETWORK, ROOT, copy_workflow, planned, shared_folder, snakemake

from cdsp import cli
from cdsp.dataset.shape_classes import CLASS_NAMES
from cdsp.dataset.shapes import draw_shape_scene
from cdsp.io.files import IGNORE, VOC_PALETTE, write_label
from cdsp.io.store import LabelStore
from cdsp.scribbles.image_classes import read_image_classes
from cdsp.scribbles.rasterise import rasterise
from cdsp.scribbles.simulate import simulate_strokes
from cdsp.scribbles.styles import STYLES

pytestmark = pytest.mark.workflow

pytest.importorskip("snakemake")

SIZE = 48
NAMES = ("drawn0", "drawn1", "drawn2", "painted", "boxed", "tagged")
COLOUR = [1, 200, 30]
SCRIBBLES = [("scribbles_strokes",), ("scribbles_degrade", "full")]
TRAINING = ("segmentation", "scribble_only", NETWORK, "full", "none", "0")
CONFIGURATION = {
    "dataset": "mine",
    "datasets": {
        "mine": {
            "source": "folder",
            "path": "data/mine",
            "classes": list(CLASS_NAMES),
            "colours": {CLASS_NAMES[2]: COLOUR},
        }
    },
    "scribbles": {"source": "annotations"},
    "pseudo_labels": {"unused": {}},
    "methods": {"scribble_only": {"scribble": 1}, "full_supervision": {"mask": 1}},
    "networks": {
        NETWORK: {
            "backbone": "mobilenet_v2",
            "backbone_weights": "none",
            "head_options": {"decoder_channels": 8},
        }
    },
    "segmentation": {
        "epochs": 1,
        "warmup_epochs": 0,
        "batch_size": 3,
        "crop_size": 33,
    },
    "evaluation": {
        "quick": {"scales": [1], "long_side": 0, "window": 0},
        "strokes": {"scales": [1], "long_side": 0, "window": 0, "truth": "held_out_strokes"},
    },
    "tables": {
        "table1": {
            "methods": ["scribble_only"],
            "networks": [NETWORK],
            "pseudo_labels": ["unused"],
            "protocol": "quick",
            "seeds": [0],
        }
    },
}
WEIGHTS = f"results/mine/segmentation/scribble_only/{NETWORK}/full/none/seed-0/weights.pt"


def draw_annotations(folder, write_labelme):
    """Six images: three with the strokes of a tool, one painted, one with a box, one with tags."""
    for index, name in enumerate(NAMES):
        image, mask = draw_shape_scene(0, "train", index, SIZE)
        photograph = folder / "JPEGImages" / f"{name}.png"
        photograph.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(photograph)
        rng = np.random.default_rng(index)
        strokes = simulate_strokes(mask, rng, STYLES["medial_axis"], width=3, coverage=0.05)
        class_id = int(mask[(mask != 0) & (mask != IGNORE)][0])
        y, x = np.nonzero(mask == class_id)
        corners = [[int(x.min()), int(y.min())], [int(x.max()) + 1, int(y.max()) + 1]]
        box = (CLASS_NAMES[class_id], "rectangle", corners)
        lines = [
            (CLASS_NAMES[stroke.class_id], "linestrip", (stroke.points + 0.5).tolist())
            for stroke in strokes
        ]
        if name == "painted":
            path = folder / "Scribbles" / "painted.png"
            write_label(path, rasterise(strokes, SIZE, SIZE))
            continue
        write_labelme(
            folder / "Scribbles" / f"{name}.json",
            photograph.name,
            (SIZE, SIZE),
            {"boxed": [box], "tagged": []}.get(name, lines),
            [CLASS_NAMES[class_id]] if name == "tagged" else [],
        )


@pytest.fixture(scope="session")
def project(tmp_path_factory, write_labelme):
    """A project whose network is trained; not to be written into."""

    def make(folder: Path) -> None:
        draw_annotations(copy_workflow(folder) / "data/mine", write_labelme)
        (folder / "own.yaml").write_text(yaml.safe_dump(CONFIGURATION))
        printed = snakemake(folder, "--cores", "1", "networks", "--configfile", "own.yaml")
        (folder / "printed.txt").write_text(printed)

    return shared_folder(tmp_path_factory, "own_project", make)


@pytest.fixture
def copy(project, tmp_path):
    return shutil.copytree(project, tmp_path / "copy")


def dry_run(folder):
    return planned(snakemake(folder, "--dry-run", "networks", "--configfile", "own.yaml"))


def test_photographs_and_strokes_alone_give_a_network(project):
    jobs = planned((project / "printed.txt").read_text())
    assert jobs == {("networks",), ("dataset",), *SCRIBBLES, TRAINING}
    assert (project / WEIGHTS).is_file()
    labels = LabelStore(project / "results/mine/scribbles/full/labels.h5")
    assert len(labels) == 6
    classes = read_image_classes(project / "results/mine/scribbles/full/image_classes.json")
    assert all(classes.values())
    assert (labels["tagged"] == IGNORE).all()
    for index, name in enumerate(NAMES[:-1]):
        mask = draw_shape_scene(0, "train", index, SIZE)[1]
        known = (labels[name] != IGNORE) & (mask != IGNORE)
        assert known.sum() > 40
        assert (labels[name] == mask)[known].mean() > 0.6


def test_the_same_command_again_does_nothing(copy):
    (copy / "data/mine/Scribbles/.#drawn1.json").symlink_to("nowhere")  # by an open editor
    before = (copy / WEIGHTS).stat().st_mtime_ns
    printed = snakemake(copy, "--cores", "1", "networks", "--configfile", "own.yaml")
    assert "Nothing to be done" in printed
    assert (copy / WEIGHTS).stat().st_mtime_ns == before


def test_predictions_have_the_colours_of_the_configuration(project, tmp_path):
    photograph = project / "data/mine/JPEGImages/drawn0.png"
    words = ["predict", photograph, "--run", project / WEIGHTS, "--output", tmp_path]
    result = CliRunner().invoke(cli.build_app(str(words[0])), [*map(str, words), "--device", "cpu"])
    assert result.exit_code == 0, result.output
    with Image.open(tmp_path / "drawn0.png") as prediction:
        palette = np.array(prediction.getpalette()).reshape(-1, 3)[: len(CLASS_NAMES)]
    assert palette[2].tolist() == COLOUR
    others = np.arange(len(CLASS_NAMES)) != 2
    np.testing.assert_array_equal(palette[others], VOC_PALETTE[: len(CLASS_NAMES)][others])


def test_a_changed_annotation_remakes_what_depends_on_it_alone(copy):
    path = copy / "data/mine/Scribbles/drawn1.json"
    path.write_text(path.read_text() + "\n")
    assert dry_run(copy) == {("networks",), *SCRIBBLES, TRAINING}


def test_a_new_photograph_remakes_everything(copy):
    photographs = copy / "data/mine/JPEGImages"
    shutil.copy(photographs / "tagged.png", photographs / "new.png")
    assert dry_run(copy) == {("networks",), ("dataset",), *SCRIBBLES, TRAINING}


def test_a_table_needs_validation_images_and_says_so_at_once(project):
    arguments = ("--dry-run", "results/table1.csv", "--configfile", "own.yaml")
    printed = snakemake(project, *arguments, fails=True)
    assert "data/mine/ImageSets/SegmentationAug/val.txt: not there" in printed
    assert "no validation images for a table" in printed
    assert "'truth: held_out_strokes' in evaluation.quick" in printed
    assert "'scribbles: [hold_out-0.25]' in tables.table1" in printed


def test_without_masks_a_table_is_of_held_out_strokes_and_the_terminal_tells_of_it(copy):
    held_out = {"scribbles": ["hold_out-0.5"], "protocol": "strokes", "figures": []}
    table = {**CONFIGURATION["tables"]["table1"], **held_out}
    text = yaml.safe_dump({**CONFIGURATION, "tables": {"table1": table}})
    (copy / "held_out.yaml").write_text(text)
    arguments = ("--cores", "1", "results/table1.csv", "--configfile", "held_out.yaml")
    printed = snakemake(copy, *arguments)
    (row,) = csv.DictReader((copy / "results/table1.csv").read_text().splitlines())
    assert row["scribbles"] == "hold_out-0.5"
    low, mean, high = (float(row[f"held_out_{of}"]) for of in ("low", "mean", "high"))
    assert 0 <= low <= mean <= high <= 100
    assert low < high
    assert "miou_mean" not in row
    run = f"scribble_only {NETWORK} hold_out-0.5 seed 0"
    assert re.search(rf"{run}: epoch 1/1, step \d+/\d+  loss \d.*images/s  took \d+", printed)
    assert f"best of 1 rows: scribble_only, {NETWORK}, hold_out-0.5: held-out strokes" in printed
    command = re.search(r"cdsp predict photo.jpg --run (\S+) --output predictions", printed)
    assert command is not None
    assert (copy / command[1]).is_file()


def test_full_supervision_without_masks_ends_in_a_message(copy):
    target = WEIGHTS.replace("scribble_only", "full_supervision").replace("full/none", "none/none")
    printed = snakemake(copy, "--cores", "1", target, "--configfile", "own.yaml", fails=True)
    assert "cdsp: full supervision: needs masks of the training images" in printed
    assert "Traceback" not in printed
    assert not (copy / target).exists()


def test_scribblesup_is_fetched_and_its_strokes_are_read(tmp_path):
    arguments = ("--dry-run", "--printshellcmds", "results/table1.csv")
    configuration = ROOT / "configs/scribblesup.yaml"
    printed = snakemake(copy_workflow(tmp_path), *arguments, "--configfile", configuration)
    assert {("dataset",), ("scribbles_strokes",)} <= planned(printed)
    assert re.search(r"cdsp dataset scribblesup --output \S+/dataset\.json ", printed)
    assert re.search(r"cdsp scribbles import --dataset \S+/dataset\.json ", printed)
    assert "cdsp scribbles simulate" not in printed
