import subprocess
import sys
from importlib.metadata import version

import numpy as np
import pytest
import torch
import typer
from typer.testing import CliRunner

from cdsp import cli
from cdsp.io.files import read_label
from cdsp.io.json_files import read_object
from cdsp.io.store import LabelStore

STAGES = (
    "dataset",
    "scribbles",
    "pseudo_labels",
    "distance_maps",
    "segmentation",
    "evaluation",
    "reporting",
)


def commands(command, path=()):
    """Every command and group below one, as the words that call it."""
    yield path
    for name, inner in getattr(command, "commands", {}).items():
        yield from commands(inner, (*path, name))


ALL = [()] + [
    path
    for name in cli.STAGES | cli.TOOLS
    for path in commands(typer.main.get_command(cli.build_app(name)))
    if path[:1] == (name,)
]


def run(*words):
    return CliRunner().invoke(
        cli.build_app(str(words[0])), [str(word) for word in words], catch_exceptions=False
    )


def test_every_stage_has_a_command_of_its_name():
    assert set(STAGES) < {path[0] for path in ALL if path}
    assert {("predict",), ("export", "onnx"), ("settings",)} < set(ALL)


@pytest.mark.parametrize("path", ALL, ids=lambda path: " ".join(path) or "cdsp")
def test_every_command_explains_itself(path):
    result = run(*path, "--help")
    assert result.exit_code == 0
    assert f"Usage: root {' '.join(path)}".strip() in result.output
    words = result.output.split("Options")[0].split("Usage:")[1]
    assert len(words.split()) > 5


def test_every_option_is_explained():
    for path in ALL:
        command = typer.main.get_command(cli.build_app(path[0] if path else None))
        for name in path:
            command = command.commands[name]
        for parameter in command.params:
            assert parameter.help, (path, parameter.name)


def test_settings_lists_every_stage_and_every_setting():
    result = run("settings")
    assert result.exit_code == 0
    heads = [line for line in result.output.splitlines() if line and not line.startswith(" ")]
    for stage in ("dataset", "scribbles", "pseudo_labels", "segmentation", "evaluation", "method"):
        assert any(head.split(".")[0] == stage for head in heads)
    for line in (
        "  learning_rate: 0.001  after the warm-up; falls as a cosine to 0 [at least 0]",
        "  long_side: 512  longer side at scale 1, pixels; 0 = the network's working size",
        "  classes: required  names of all classes; the first is the background",
    ):
        assert line in result.output
    only = run("settings", "method.lorm").output
    assert only.splitlines()[0] == "method.lorm"
    assert "epochs" not in only


def test_maps_of_a_store_are_exported_as_images(tiny_data, tmp_path):
    run("export", "maps", tiny_data.scribbles / "labels.h5", "--output", tmp_path / "png")
    store = LabelStore(tiny_data.scribbles / "labels.h5")
    assert {path.stem for path in (tmp_path / "png").glob("*.png")} == set(store)
    for image_id in store:
        np.testing.assert_array_equal(
            read_label(tmp_path / "png" / f"{image_id}.png"), store[image_id]
        )


def test_stages_follow_one_another_by_hand(tmp_path):
    """The preparation, from nothing to distance maps, with the commands of the README's kind."""
    data, folder = tmp_path / "data", tmp_path / "scribbles"
    shapes = "{num_train: 2, num_val: 1, size: 40}"
    assert run("dataset", "shapes", "--output", data, "--settings", shapes).exit_code == 0
    dataset = data / "dataset.json"
    strokes = tmp_path / "strokes.jsonl"
    run("scribbles", "simulate", "--dataset", dataset, "--output", strokes, "--settings", "seed: 3")
    run("scribbles", "degrade", strokes, "--output", folder, "--degradation", "shrink-0.5")
    masks = ["--dataset", dataset, "--recipe", "truth", "--scribbles", "shrink-0.5"]
    labels = tmp_path / "labels.h5"
    source = data / "SegmentationClassAug"
    run("pseudo_labels", "import", source, *masks, "--output", labels)
    quality = tmp_path / "quality.json"
    run("pseudo_labels", "measure", labels, "--dataset", dataset, "--output", quality)
    assert read_object(quality)["mean_iou"] == 1
    distances = tmp_path / "distances.h5"
    run("distance_maps", labels, "--exponent", 6, "--output", distances)
    store = LabelStore(distances, "pseudo_label_distance_maps")
    assert list(store) == ["train_00000", "train_00001"]
    assert store.parameters["exponent"] == 6
    assert store.sources == {"pseudo_labels": LabelStore(labels).digest}


def test_masks_are_corrupted_by_hand(tiny_data, tmp_path):
    dataset = ["--dataset", tiny_data.dataset.root / "dataset.json"]
    labels, quality = tmp_path / "labels.h5", tmp_path / "quality.json"
    options = ["--recipe", "worse", "--scribbles", "full", "--output", labels]
    settings = ["--settings", "{displacement: 3, lost: 0.2}"]
    assert run("pseudo_labels", "corrupt", *dataset, *options, *settings).exit_code == 0
    store = LabelStore(labels, "pseudo_labels")
    assert (store.parameters["recipe"], store.parameters["displacement"]) == ("worse", 3)
    run("pseudo_labels", "measure", labels, *dataset, "--output", quality)
    assert 0 < read_object(quality)["mean_iou"] < 1


def test_labels_from_strokes_and_from_a_network_by_hand(tiny_data, tiny_weights, tmp_path):
    dataset = ["--dataset", tiny_data.dataset.root / "dataset.json"]
    strokes = tiny_data.scribbles / "labels.h5"
    scribbles = [*dataset, "--scribbles", strokes]
    walk = ["--settings", "{refinement: random_walk, superpixel_spacing: 6}"]
    alone, guided, found = (tmp_path / f"{name}.h5" for name in ("alone", "guided", "found"))
    assert run("pseudo_labels", "labels", *scribbles, *walk, "--output", alone).exit_code == 0
    classes = ["--image-classes", tiny_data.scribbles / "image_classes.json", "--device", "cpu"]
    run("pseudo_labels", "probabilities", tiny_weights, *dataset, *classes, "--output", found)
    evidence = ["--evidence", found, "--recipe", "guided"]
    run("pseudo_labels", "labels", *scribbles, *evidence, *walk, "--output", guided)
    for path, recipe, kind in ((alone, "cam", None), (guided, "guided", "probabilities")):
        store = LabelStore(path, "pseudo_labels")
        assert (store.parameters["recipe"], store.parameters["evidence"].get("kind")) == (
            recipe,
            kind,
        )
        held_out = ["--scribbles", strokes, "--full-scribbles", strokes]
        quality = tmp_path / "quality.json"
        run("pseudo_labels", "measure", path, *dataset, *held_out, "--output", quality)
        measured = read_object(quality)
        assert 0 < measured["mean_iou"] < 1
        assert measured["held_out_accuracy"] is None
    with pytest.raises(ValueError, match="probabilities have several maps per image"):
        run("export", "maps", found, "--output", tmp_path / "png")


# Arguments of a mistaken call and what the one line has to say.
MISTAKES = [
    (["settings", "segmentaton"], "unknown section 'segmentaton'; did you mean 'segmentation'?"),
    (["evaluation", "w.pt", "--dataset", "absent.json", "--output", "o"], "absent.json: no such"),
    (
        ["dataset", "shapes", "--output", "o", "--settings", "{num_trian: 3}"],
        "--settings: unknown key 'num_trian'; did you mean 'num_train'?",
    ),
    (
        ["dataset", "shapes", "--output", "o", "--settings", "absent.yaml"],
        "absent.yaml: no such settings file",
    ),
    (["dataset", "shapes", "--output", "o", "--settings", "{size: 40"], "broken YAML"),
    (
        ["scribbles", "degrade", "s.jsonl", "--output", "o", "--degradation", "drop-2"],
        "unknown degradation 'drop-2'",
    ),
    (["distance_maps", "absent.h5", "--exponent", "2", "--output", "o"], "absent.h5: no such"),
    (["reporting", "table", "absent.json", "--output", "t.csv"], "absent.json: no such file"),
    (["export", "maps", "absent.h5", "--output", "o"], "absent.h5: no such label store"),
]


@pytest.mark.parametrize(("arguments", "message"), MISTAKES)
def test_mistakes_end_in_a_message(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["cdsp", *arguments])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert str(caught.value.code).startswith("cdsp: ")
    assert message in str(caught.value.code)
    assert not list(tmp_path.iterdir())


def test_a_mistake_is_one_line_of_a_process_that_fails(tiny_weights, tmp_path):
    missing = tmp_path / "absent.jpg"
    words = ["predict", missing, "--run", tiny_weights, "--output", "out", "--device", "cpu"]
    result = subprocess.run(
        [sys.executable, "-m", "cdsp.cli", *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    assert result.stdout == ""
    assert result.stderr == f"cdsp: {missing}: no such image\n"


def test_an_unknown_device_is_a_mistake_too(tiny_weights, tmp_path, monkeypatch):
    image = tmp_path / "image.png"
    words = ["cdsp", "predict", str(image), "--run", str(tiny_weights)]
    monkeypatch.setattr(sys, "argv", [*words, "--output", str(tmp_path), "--device", "cuda:77"])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert str(caught.value.code).startswith("cdsp: device 'cuda:77': ")


def test_the_version_is_that_of_the_package(capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(["--version"])
    assert not caught.value.code
    assert capsys.readouterr().out == f"cdsp {version('cdsp')}\n"


def test_help_answers_without_loading_torch():
    code = "import sys, cdsp.cli; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.50 GiB.\nSee docs"),
            r"the memory of the GPU does not suffice: CUDA out of memory. Tried to allocate 2",
        ),
        (
            RuntimeError("DataLoader worker (pid 7) is killed by signal: Bus error."),
            r"a data-loading process ended: .*Bus error.*/dev/shm.*--workers 0",
        ),
    ],
)
def test_short_memory_is_told_in_words(monkeypatch, error, expected):
    def fail(called):
        raise error

    monkeypatch.setattr(cli, "build_app", fail)
    with pytest.raises(SystemExit, match=expected):
        cli.main(["evaluation"])
