import itertools
import json
import math
import statistics

import numpy as np
import pytest
from matplotlib.container import BarContainer, ErrorbarContainer
from matplotlib.text import Text
from run_files import NAME as RUN_NAME
from run_files import metrics_content

from cdsp.io.json_files import accept_changes
from cdsp.pictures.style import save_figure
from cdsp.reporting.figures.class_iou import draw_class_iou
from cdsp.reporting.figures.confusion import draw_confusion
from cdsp.reporting.figures.training import draw_training

NAME = {**RUN_NAME, "seed": 0}

IOU = {"background": 0.9, "cat": 0.5, "dog": None}
UNDRAWN = {"learning_rate": 0.1, "images_per_second": 20.0, "seconds": 3.0}


@pytest.fixture
def run(tmp_path):
    """Function that writes the files of a run and of its evaluation."""
    paths = []

    def write(class_iou=IOU, confusion=None, log=None, protocol="quick", **name):
        path = tmp_path / "evaluation" / str(len(paths)) / "metrics.json"
        weights = tmp_path / "segmentation" / str(len(paths)) / "weights.pt"
        for folder in (path.parent, weights.parent):
            folder.mkdir(parents=True)
        content = metrics_content(
            name=NAME | name, weights=str(weights), protocol=protocol, class_iou=class_iou
        )
        path.write_text(json.dumps(content))
        accept_changes(path)
        if confusion is not None:
            np.save(path.with_name("confusion.npy"), np.array(confusion, np.int64))
        if log is not None:
            records = ({"epoch": i, **record, **UNDRAWN} for i, record in enumerate(log, start=1))
            lines = "".join(json.dumps(record) + "\n" for record in records)
            weights.with_name("log.jsonl").write_text(lines)
            accept_changes(weights.with_name("log.jsonl"))
        paths.append(path)
        return path

    return write


def legend_of(figure):
    return [text.get_text().replace("\n", " ") for text in figure.legends[0].get_texts()]


def axes_by_title(figure):
    return {axis.get_title().replace("\n", " "): axis for axis in figure.axes if axis.get_title()}


# training


def drawn(axis):
    """(epochs, values) of the lines with a marker, the means, and of those without, the seeds."""
    lines = {True: [], False: []}
    for line in axis.get_lines():
        values = (list(line.get_xdata()), pytest.approx(list(line.get_ydata())))
        lines[line.get_marker() != "None"].append(values)
    return lines[True], lines[False]


def test_training_shows_each_quantity_over_the_epochs(run):
    one = [{"loss": 4.0, "scribble": 3.0, "feature_variance": 2.0}]
    one += [{"loss": 2.0, "scribble": 1.0, "feature_variance": 0.5}]
    other = [{"loss": 6.0, "scribble": 3.5, "feature_variance": 1.0}]
    other += [{"loss": 3.0, "scribble": 2.5, "feature_variance": 0.3}]
    single = [{"loss": 9.0, "pseudo_label": 8.0, "feature_variance": 0.01}]
    figure = draw_training(
        [
            run(method="scribble_only", log=one, pseudo_labels="none"),
            run(log=single),
            run(method="scribble_only", log=other, pseudo_labels="none", seed=1),
        ]
    )
    axes = axes_by_title(figure)
    assert list(axes) == ["total loss", "pseudo label", "scribble", "feature variance"]
    seeds = [([1, 2], [4, 2]), ([1, 2], [6, 3])]
    assert drawn(axes["total loss"]) == ([([1, 2], [5, 2.5]), ([1], [9])], seeds)
    assert drawn(axes["pseudo label"]) == ([([1], [8])], [])
    assert drawn(axes["scribble"])[0] == [([1, 2], [3.25, 1.75])]
    assert drawn(axes["feature variance"])[0] == [([1, 2], [1.5, 0.4]), ([1], [0.01])]
    assert {axis.get_xlabel() for axis in axes.values()} == {"epoch"}
    labels = [axis.get_ylabel() for axis in axes.values()]
    assert labels == ["loss", "unweighted loss", "unweighted loss", "variance"]
    scales = [axis.get_yscale() for axis in axes.values()]
    assert scales == ["linear", "linear", "linear", "log"]
    assert legend_of(figure) == ["scribble_only", "cdsp"]
    mean, light = (line for line in axes["scribble"].get_lines()[:2][::-1])
    assert mean.get_color() == light.get_color()
    marker = {line.get_marker() for line in axes["total loss"].get_lines()} - {"None"}
    assert len(marker) == 2


@pytest.mark.parametrize(
    ("variances", "scale", "lowest"),
    [([1.0, 0.02], "log", 0.02), ([1.0, 0.03, 0.0], "symlog", 0.0), ([0.0, 0.0], "linear", 0.0)],
)
def test_a_variance_of_zero_is_drawn(run, tmp_path, variances, scale, lowest):
    log = [{"loss": 1.0, "feature_variance": value} for value in variances]
    figure = draw_training([run(log=log)])
    axis = axes_by_title(figure)["feature variance"]
    assert axis.get_yscale() == scale
    assert axis.get_ylim()[0] <= lowest
    save_figure(figure, tmp_path / "training.png")
    if scale == "log":
        labels = [label.get_text() for label in axis.get_yticklabels()]
        assert {"0.02", "0.1", "0.5"} <= set(labels)
    if scale == "symlog":
        # Linear below a power of ten that no number but 0 is below.
        assert axis.yaxis.get_transform().linthresh == pytest.approx(0.01)
    assert not any(text.get_parse_math() for text in figure.findobj(Text))


def test_a_missing_log_says_what_to_do(run):
    path = run()
    with pytest.raises(ValueError, match=r"segmentation/0/log\.jsonl: no such log.*evaluate it"):
        draw_training([path])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[1]",
        "1",
        '{"epoch": 1}',
        '{"epoch": 1, "loss": null}',
        '{"epoch": 1, "loss": "low"}',
        '{"epoch": 1, "loss": [1]}',
        '{"epoch": 1, "loss": 1' + 400 * "0" + "}",
        100_000 * "[",
        "\xff",
    ],
)
def test_a_damaged_log_ends_in_a_message(run, tmp_path, text):
    path = run(log=[{"loss": 1.0}])
    log = tmp_path / "segmentation" / "0" / "log.jsonl"
    log.write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match=r"log\.jsonl.* again"):
        draw_training([path])


# what a row is called


def test_labels_hold_what_the_rows_differ_in(run):
    variant = "cdsp@lorm.weight=0.1@lorm.mask=rectified"
    log = [{"loss": 1.0}]
    paths = [run(log=log), run(method=variant, log=log), run(log=log, seed=1)]
    titles = ["cdsp", "cdsp, lorm.weight 0.1, lorm.mask rectified"]
    assert legend_of(draw_training(paths)) == titles
    paths += [run(backbone="resnet50", scribbles="drop-0.5", log=log)]
    paths += [run(method="masks", scribbles="none", pseudo_labels="none", log=log)]
    assert legend_of(draw_training(paths)) == [
        *(f"{title}, deeplabv3plus-resnet18, full" for title in titles),
        "cdsp, deeplabv3plus-resnet50, drop-0.5",
        "masks, deeplabv3plus-resnet18",
    ]


@pytest.mark.parametrize("draw", [draw_training, draw_class_iou, draw_confusion])
def test_wrong_metrics_end_in_a_message(run, tmp_path, draw):
    good = run(log=[{"loss": 1.0}], confusion=np.eye(3))
    with pytest.raises(ValueError, match=r"no metrics\.json given"):
        draw([])
    with pytest.raises(ValueError, match=r"0/metrics\.json: the run 'cdsp' .* given twice"):
        draw([good, good])
    value = json.loads(good.read_text())
    wrong = tmp_path / "wrong.json"
    for change in (
        {"name": None},
        {"name": {"method": "cdsp"}},
        {"weights": 3},
        {"class_iou": [1, 2]},
        {"class_iou": {"cat": "good"}},
        {"class_iou": {}},
        {"class_iou": {str(i): 1.0 for i in range(300)}},
    ):
        wrong.write_text(json.dumps(value | change))
        accept_changes(wrong)
        with pytest.raises(ValueError, match=r"wrong\.json: damaged .*evaluate"):
            draw([good, wrong])
    wrong.write_text(json.dumps(value | {"version": 1}))
    with pytest.raises(ValueError, match=r"wrong\.json: expected format 'cdsp-metrics' version"):
        draw([wrong])


# IoU of each class


def bars(figure):
    """Row → class → (height, half the error bar or None), read off the drawn bars."""
    found = {}
    for axis in figure.axes:
        classes = [label.get_text() for label in axis.get_xticklabels()]
        groups = [item for item in axis.containers if isinstance(item, BarContainer)]
        spreads = [item for item in axis.containers if isinstance(item, ErrorbarContainer)]
        for row, (group, spread) in enumerate(zip(groups, spreads, strict=True)):
            segments = spread.lines[2][0].get_segments()
            for bar, segment in zip(group, segments, strict=True):
                name = classes[round(bar.get_x() + bar.get_width() / 2)]
                error = np.ptp(segment[:, 1]) / 2 if len(segment) else None
                found.setdefault(row, {})[name] = (bar.get_height(), error)
    return [found[row] for row in sorted(found)]


def test_bars_are_the_mean_over_the_seeds(run):
    values = {"cat": [0.5, 0.6, 0.85], "dog": [0.0, 0.01, 0.3]}
    figure = draw_class_iou(
        [
            run({"background": 0.9, "cat": cat, "dog": dog, "eel": None}, seed=seed)
            for seed, (cat, dog) in enumerate(zip(*values.values(), strict=True))
        ]
        + [run({"background": 0.8, "cat": 0.3, "dog": None, "eel": None}, method="other")]
    )
    (axis,) = figure.axes
    first, second = bars(figure)
    assert list(first) == ["background", "cat", "dog"]  # no eel: it occurs nowhere
    assert first["background"] == (pytest.approx(90), pytest.approx(0, abs=1e-9))
    for name, numbers in values.items():
        expected = (100 * statistics.mean(numbers), 100 * statistics.stdev(numbers))
        assert first[name] == pytest.approx(expected)
    assert second["cat"] == (pytest.approx(30), None)
    assert math.isnan(second["dog"][0])
    assert axis.get_ylabel() == "IoU (%)"
    assert axis.get_ylim()[0] == 0  # though the spread of dog reaches below
    assert legend_of(figure) == ["cdsp", "other"]


def test_bars_of_one_class_stand_side_by_side(run):
    paths = [run({"a": 0.5, "b": 0.7}, method=method) for method in "xyz"]
    (axis,) = draw_class_iou(paths).axes
    spans = sorted((bar.get_x(), bar.get_x() + bar.get_width()) for bar in axis.patches)
    assert len(spans) == 6
    for (_, end), (start, _) in itertools.pairwise(spans):
        assert end <= start + 1e-9
    assert spans[3][0] - spans[2][1] > 0.1  # a gap between the classes
    hatches = {bar.get_hatch() for bar in axis.patches}
    assert len(hatches) == 3


def test_many_classes_take_several_lines_and_none_is_cut(run):
    classes = {f"class {i}": (i + 1) / 30 for i in range(21)}
    paths = [run(classes, method=f"method{i}") for i in range(6)]
    figure = draw_class_iou(paths)
    assert len(figure.axes) > 1
    assert [list(row) for row in bars(figure)] == [list(classes)] * 6
    for axis in figure.axes:
        assert axis.get_ylim()[1] >= 70
        left, right = axis.get_xlim()
        for bar in axis.patches:
            assert left <= bar.get_x() <= bar.get_x() + bar.get_width() <= right
    width = figure.axes[0].patches[0].get_width() / (right - left) * figure.get_figwidth()
    assert width > 0.07  # inches


def test_runs_of_other_or_no_classes_have_no_bars(run):
    with pytest.raises(ValueError, match=r"1/metrics\.json: of other classes than .*0/metrics"):
        draw_class_iou([run(), run({"dog": 0.5}, seed=1)])
    with pytest.raises(ValueError, match="no class has a score"):
        draw_class_iou([run({"cat": None})])


# confusion


def test_confusion_is_in_percent_of_the_true_pixels_of_all_seeds(run):
    classes = {"background": 0.5, "cat": 0.5, "$d$": None}
    paths = [
        run(classes, [[90, 10, 0], [4, 16, 0], [0, 0, 0]]),
        run(classes, [[98, 1, 1], [0, 20, 0], [0, 0, 0]], seed=1),
        run(classes, [[0, 7, 0], [995, 5, 0], [1, 0, 996]], method="other"),
    ]
    figure = draw_confusion(paths)
    one, other, bar = figure.axes
    nan = math.nan
    expected = [[94, 5.5, 0.5], [10, 90, 0], [nan, nan, nan]]
    found = np.ma.filled(one.get_images()[0].get_array().astype(float), nan)
    np.testing.assert_allclose(found, expected)
    assert one.get_images()[0].get_clim() == (0, 100)
    texts = {text.get_position(): text.get_text() for text in one.texts}
    assert texts == {(0, 0): "94", (1, 0): "6", (2, 0): "1", (0, 1): "10", (1, 1): "90"}
    texts = {text.get_position(): text.get_text() for text in other.texts}
    # 1 of 997 pixels, 0.1 %, is not written.
    assert texts == {(1, 0): "100", (0, 1): "100", (1, 1): "1", (2, 2): "100"}
    for axis in (one, other):
        for names in (axis.get_xticklabels(), axis.get_yticklabels()):
            assert [name.get_text() for name in names] == list(classes)
            assert not any(name.get_parse_math() for name in names)
        assert (axis.get_ylabel(), axis.get_xlabel()) == ("true class", "predicted class")
    assert (one.get_title(), other.get_title()) == ("cdsp", "other")
    assert "(%)" in bar.get_ylabel()


@pytest.mark.parametrize(("number", "written"), [(21, 21), (22, 0)])
def test_large_matrices_have_no_numbers(run, number, written):
    classes = {f"class {i}": 0.5 for i in range(number)}
    axis, _ = draw_confusion([run(classes, np.eye(number))]).axes
    assert len(axis.texts) == written


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.unlink(), "no such file; evaluate"),
        (lambda path: path.write_bytes(b""), "not readable"),
        (lambda path: path.write_bytes(path.read_bytes()[:-8]), "not readable"),
        (lambda path: path.write_bytes(b"PK\x03\x04" + bytes(50)), "not readable"),
        (lambda path: np.save(path, np.array([[{}]])), "not readable"),
        (lambda path: np.save(path, np.eye(3)), r"expected \(3, 3\) integers, found .* of float64"),
        (lambda path: np.save(path, np.ones((2, 2), int)), r"expected \(3, 3\) integers"),
        (lambda path: replace_in(path, b"(3, 3)", b"(3, 3["), "not readable"),
        (lambda path: replace_in(path, b"(3, 3), ", b"(9999999"), "not readable"),
        (lambda path: replace_in(path, b"(3, 3), ", b"(10**9,)"), "not readable"),
        (lambda path: replace_in(path, b"(3, 3), }  ", b"(9**7,9**7)"), "not readable"),
        (lambda path: replace_in(path, b"(3, 3), }    ", b"(9999,99999)}"), "not readable"),
        (lambda path: replace_in(path, b"(3, 3), ", b"(-3, 3),"), "not readable"),
    ],
)
def test_damaged_matrices_end_in_a_message(run, damage, message):
    path = run(confusion=np.eye(3))
    damage(path.with_name("confusion.npy"))
    with pytest.raises(ValueError, match=rf"confusion\.npy: {message}"):
        draw_confusion([path])


def replace_in(path, old, new):
    content = path.read_bytes()
    assert old in content
    assert len(old) == len(new)
    path.write_bytes(content.replace(old, new))


@pytest.mark.parametrize("draw", [draw_training, draw_class_iou, draw_confusion])
def test_equal_runs_give_equal_bytes(run, tmp_path, draw):
    name = r"_$\bad{^$"
    paths = [
        run({name: 0.5, "cat": 0.4}, np.eye(2), [{"loss": 1.0, name: 1.0}], seed=seed, method=name)
        for seed in (0, 1)
    ]
    for stem in ("one", "two"):
        save_figure(draw(paths), tmp_path / f"{stem}.png")
    for suffix in ("png", "svg"):
        assert (tmp_path / f"one.{suffix}").read_bytes() == (
            tmp_path / f"two.{suffix}"
        ).read_bytes()
