import io
import itertools
import os
import subprocess
import sys
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.text import Annotation, Text
from PIL import Image

from cdsp.io.files import write_text
from cdsp.io.outputs import LEDGER
from cdsp.pictures.style import (
    add_legend,
    bar_style,
    ink,
    line_style,
    reference_style,
    save_figure,
    style,
)
from cdsp.reporting.figures.curves import draw_curves
from cdsp.reporting.figures.heat_map import draw_heat_map
from cdsp.reporting.figures.label_quality import draw_label_quality
from cdsp.reporting.figures.measured_rows import row_labels

ROW = {
    "method": "cdsp",
    "supervision": "scribbles + pseudo-labels",
    "network": "deeplabv3plus-resnet18",
    "head": "deeplabv3plus",
    "backbone": "resnet18",
    "dataset": "shapes",
    "scribbles": "full",
    "pseudo_labels": "cam",
    "protocol": "quick",
    "pseudo_label_miou": 60.5,
    "miou_mean": 40.0,
    "miou_std": None,
    "num_seeds": 1,
    "feature_variance": None,
    "source": "measured",
}
REPORTED = {"method": "of_the_paper", "source": "reported", "miou_mean": 99.0, "network": None}
LAMBDA_S, LAMBDA_C = "scribble_distance.exponent", "pseudo_label_distance.exponent"


def read_back(rows):
    """The table of these rows, differing from ROW, as its CSV is read."""
    text = pd.DataFrame([ROW | row for row in rows]).to_csv(index=False)
    return pd.read_csv(io.StringIO(text), keep_default_na=False, na_values=[""])


def drawn_lines(axis):
    """(x, y, half the height of each error bar) of each line of an axis."""
    lines = []
    for container in axis.containers:
        assert isinstance(container, ErrorbarContainer)
        line, _, (bars,) = container.lines
        errors = [np.ptp(bar[:, 1]) / 2 if len(bar) else None for bar in bars.get_segments()]
        lines.append((line.get_xdata().tolist(), line.get_ydata().tolist(), errors))
    return lines


def references(axis):
    return [line.get_ydata()[0] for line in axis.get_lines() if is_reference(line)]


def is_reference(line):
    return len(line.get_xdata()) == 2 and list(line.get_xdata()) == [0, 1] and line.is_dashed()


def legend_of(figure):
    return [text.get_text().replace("\n", " ") for text in figure.legends[0].get_texts()]


def render(figure):
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return canvas.get_renderer()


# curves


def test_curves_have_a_line_for_each_method_on_both_axes():
    table = read_back(
        [
            {"scribbles": "shrink-1", "miou_mean": 30.0, "miou_std": 2.0},
            {"scribbles": "drop-0.25", "miou_mean": 35.0, "miou_std": 1.0},
            {"scribbles": "shrink-0.5", "miou_mean": 38.0, "miou_std": 0.5},
            {"miou_mean": 41.0, "miou_std": 1.5},
            {"method": "scribble_only", "pseudo_labels": "none", "miou_mean": 33.0},
            {"method": "scribble_only", "pseudo_labels": "none", "scribbles": "drop-0.25"},
            {"method": "masks", "scribbles": "none", "pseudo_labels": "none", "miou_mean": 50.0},
            REPORTED,
        ]
    )
    figure = draw_curves(table)
    shrink, drop = figure.axes
    assert drawn_lines(shrink) == [
        ([0, 0.5, 1], [41, 38, 30], pytest.approx([1.5, 0.5, 2])),
        ([0], [33], [None]),
    ]
    assert drawn_lines(drop) == [
        ([0, 0.25], [41, 35], pytest.approx([1.5, 1])),
        ([0, 0.25], [33, 40], [None, None]),
    ]
    assert references(shrink) == references(drop) == [50]
    assert legend_of(figure) == ["cdsp", "scribble_only", "masks"]
    assert shrink.get_xlabel() == "fraction of each stroke removed (shrink)"
    assert drop.get_xlabel() == "fraction of the strokes removed (drop)"
    assert (shrink.get_ylabel(), drop.get_ylabel()) == ("mIoU (%)", "")
    assert shrink.get_ylim() == drop.get_ylim()
    looks = [
        [(line.get_color(), line.get_marker(), line.get_linestyle()) for line in solid_lines(axis)]
        for axis in (shrink, drop)
    ]
    assert looks[0] == looks[1]
    assert len({look[1] for look in looks[0]}) == len({look[2] for look in looks[0]}) == 2


def test_a_recipe_that_is_made_only_where_it_differs_begins_at_the_one_it_equals_there():
    dropped = [
        {"scribbles": "drop-0.5", "miou_mean": 30.0},
        {"scribbles": "drop-0.5", "miou_mean": 35.0, "pseudo_labels": "cam_all_classes"},
    ]
    kept = [{"miou_mean": 41.0}, {"scribbles": "shrink-0.5", "miou_mean": 38.0}]
    shrink, drop = draw_curves(read_back([*dropped, *kept])).axes
    assert [line[:2] for line in drawn_lines(shrink)] == [([0, 0.5], [41, 38])]
    assert [line[:2] for line in drawn_lines(drop)] == [
        ([0, 0.5], [41, 30]),
        ([0, 0.5], [41, 35]),
    ]
    another = {"miou_mean": 20.0, "pseudo_labels": "walk"}
    drop = draw_curves(read_back([*dropped, *kept, another])).axes[1]
    assert [line[:2] for line in drawn_lines(drop)][1] == ([0.5], [35])


def solid_lines(axis):
    return [container.lines[0] for container in axis.containers]


def test_a_line_keeps_its_look_on_an_axis_where_an_earlier_one_has_no_point():
    shrunk = [{"scribbles": "shrink-0.5", "method": name} for name in ("one", "two")]
    dropped = {"scribbles": "drop-0.5", "method": "two"}
    shrink, drop = draw_curves(read_back([*shrunk, dropped])).axes
    (alone,) = solid_lines(drop)
    assert alone.get_marker() == solid_lines(shrink)[1].get_marker()
    assert alone.get_color() == solid_lines(shrink)[1].get_color()


def test_only_the_degradations_that_occur_have_an_axis():
    (axis,) = draw_curves(read_back([{}, {"scribbles": "drop-0.5"}])).axes
    assert axis.get_xlabel().endswith("(drop)")


def test_legends_say_what_sets_a_line_apart_and_no_more():
    rows = [
        {"scribbles": scribbles, "lorm.weight": weight, "lorm.mask": "attended"}
        | {"network": f"deeplabv3plus-{backbone}", "pseudo_labels": recipe}
        for scribbles in ("full", "shrink-1")
        for weight in (0.1, 1)
        for backbone in ("resnet18", "resnet50")
        for recipe in ("cam", "walk")
    ]
    plain = {"method": "scribble_only", "pseudo_labels": "none", "scribbles": "shrink-1"}
    named = legend_of(draw_curves(read_back([*rows, plain])))
    assert named[:2] == [
        "cdsp, lorm.weight 0.1, deeplabv3plus-resnet18, cam",
        "cdsp, lorm.weight 0.1, deeplabv3plus-resnet18, walk",
    ]
    assert len(named) == 9
    assert named[-1] == "scribble_only, deeplabv3plus-resnet18"
    one_recipe = [row for row in rows if row["pseudo_labels"] == "cam"]
    named = legend_of(draw_curves(read_back([*one_recipe, plain])))
    assert named[0] == "cdsp, lorm.weight 0.1, deeplabv3plus-resnet18"


def test_labels_of_rows():
    rows = [
        {"method": "a", "x.y": "1", "place": "here"},
        {"method": "a", "x.y": "2", "place": ""},
        {"method": "b", "place": "here"},
    ]
    assert row_labels(rows) == ["a, x.y 1", "a, x.y 2", "b"]


# heat maps


def heat_rows(values, **same):
    """Rows of a mapping from (vertical, horizontal) to mIoU."""
    return [
        {LAMBDA_S: s, LAMBDA_C: c, "miou_mean": mean, **same} for (s, c), mean in values.items()
    ]


def cell_texts(axis):
    return {text.get_position(): text for text in axis.texts}


def test_heat_maps_show_every_cell_and_leave_missing_ones_out():
    values = {(10, 7): 43.26, (2, 7): 40.0, (2, 6): 45.5, (0, 6): 39.0}
    rows = heat_rows(values)
    rows[0]["miou_std"] = 0.84
    without = {"method": "scribble_only", "pseudo_labels": "none", "miou_mean": 10.0}
    table = read_back([*rows, without, REPORTED | {LAMBDA_S: 0, LAMBDA_C: 6}])
    figure = draw_heat_map(table)
    axis, colour_bar = figure.axes
    (image,) = axis.get_images()
    nan = np.nan
    expected = [[39.0, nan], [45.5, 40.0], [nan, 43.26]]
    np.testing.assert_array_equal(np.ma.filled(image.get_array(), nan), expected)
    assert image.origin == "lower"
    assert image.get_clim() == (39.0, 45.5)
    texts = {place: text.get_text() for place, text in cell_texts(axis).items()}
    assert texts == {(0, 0): "39.0", (0, 1): "45.5", (1, 1): "40.0", (1, 2): "43.3\n± 0.8"}
    assert [label.get_text() for label in axis.get_yticklabels()] == ["0", "2", "10"]
    assert [label.get_text() for label in axis.get_xticklabels()] == ["6", "7"]
    assert axis.get_ylabel() == "λ of the scribble distance"
    assert axis.get_xlabel() == "λ of the pseudo-label distance"
    assert axis.get_title() == "cdsp"
    assert colour_bar.get_ylabel() == "mIoU (%)"
    (outline,) = [patch for patch in axis.patches if isinstance(patch, Rectangle)]
    assert outline.get_xy() == (-0.5, 0.5)  # the cell (2, 6)
    assert not outline.get_fill()
    assert axis.patch.get_hatch()


def test_numbers_can_be_read_on_their_cells():
    values = {(s, c): 40.0 + 3 * s + c for s in range(4) for c in range(3)}
    axis = draw_heat_map(read_back(heat_rows(values))).axes[0]
    (image,) = axis.get_images()
    colours = set()
    for (x, y), text in cell_texts(axis).items():
        paper = image.cmap(image.norm(image.get_array()[y, x]))
        colours.add(text.get_color())
        # The contrast of W3C's guidelines (relative luminance), at least that of large text.
        assert contrast(mpl.colors.to_rgb(text.get_color()), paper[:3]) > 3
    assert colours == {"black", "white"}


def contrast(one, other):
    def luminance(colour):
        linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in colour]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def test_each_combination_of_the_rest_has_a_map_of_one_scale():
    rows = [
        {"lorm.weight": weight, "lorm.stop_gradient": stop, "lorm.mask": mask}
        | {"network": f"deeplabv3plus-{backbone}", "miou_mean": mean}
        for mean, (backbone, mask, weight, stop) in enumerate(
            itertools.product(
                ["resnet18", "resnet50"],
                ["literal", "attended"],
                [1, 0.1],
                ["target", "none", "both"],
            ),
            start=20,
        )
    ]
    figure = draw_heat_map(read_back(rows))
    *maps, _ = figure.axes
    assert [axis.get_title().replace("\n", " ") for axis in maps] == [
        "cdsp, lorm.mask literal, deeplabv3plus-resnet18",
        "cdsp, lorm.mask attended, deeplabv3plus-resnet18",
        "cdsp, lorm.mask literal, deeplabv3plus-resnet50",
        "cdsp, lorm.mask attended, deeplabv3plus-resnet50",
    ]
    for number, axis in enumerate(maps):
        (image,) = axis.get_images()
        assert image.get_clim() == (20, 43)
        first = 20 + 6 * number
        # Weights in their order, words in the table's.
        assert image.get_array().tolist() == [
            [first + 3, first + 4, first + 5],
            [first, first + 1, first + 2],
        ]
        assert [label.get_text() for label in axis.get_yticklabels()] == ["0.1", "1"]
        assert [label.get_text() for label in axis.get_xticklabels()] == ["target", "none", "both"]
        assert (axis.get_ylabel(), axis.get_xlabel()) == ("lorm.weight", "lorm.stop_gradient")


def test_equal_results_make_a_map_too(tmp_path):
    values = dict.fromkeys([(1, 6), (2, 7)], 40.0)
    save_figure(draw_heat_map(read_back(heat_rows(values))), tmp_path / "map.png")


# label quality


QUALITIES = {"walk": 66.1, "cam": 48.2, "afa": 66.0, "second_round": 70.0, "oracle": 66.2}


def quality_table():
    rows = [
        {"method": method, "pseudo_labels": recipe, "pseudo_label_miou": quality}
        | {"miou_mean": quality / 2 + bonus, "miou_std": 0.5}
        for method, bonus in (("cdsp", 10), ("labels", 5))
        for recipe, quality in QUALITIES.items()
    ]
    unmeasured = {"pseudo_labels": "imported", "pseudo_label_miou": None, "miou_mean": 99.0}
    plain = {"pseudo_labels": "none", "pseudo_label_miou": None}
    return read_back(
        [
            {"method": "masks", "scribbles": "none", "miou_mean": 55.0} | plain,
            *rows,
            unmeasured,
            {"method": "scribble_only", "miou_mean": 44.0} | plain,
            REPORTED,
        ]
    )


def test_label_quality_has_a_point_for_each_recipe_in_the_order_of_its_quality():
    figure = draw_label_quality(quality_table())
    (axis,) = figure.axes
    qualities = [48.2, 66.0, 66.1, 66.2, 70.0]
    for (xs, ys, errors), bonus in zip(drawn_lines(axis), (10, 5), strict=True):
        assert xs == qualities
        assert ys == [x / 2 + bonus for x in qualities]
        assert errors == pytest.approx([0.5] * 5)
    assert references(axis) == [55, 44]
    assert legend_of(figure) == ["masks", "cdsp", "labels", "scribble_only"]
    assert axis.get_xlabel() == "mIoU (%), the pseudo-labels on the training images"
    assert axis.get_ylabel() == "mIoU (%), the networks"
    named = [text for text in axis.texts if isinstance(text, Annotation)]
    assert [(text.xy[0], text.get_text()) for text in named] == [
        (48.2, "cam"),
        (66.0, "afa"),
        (66.1, "walk"),
        (66.2, "oracle"),
        (70.0, "second_round"),
    ]


def test_names_of_recipes_do_not_cover_each_other_and_are_not_cut():
    figure = draw_label_quality(quality_table())
    renderer = render(figure)
    (axis,) = figure.axes
    boxes = [Text.get_window_extent(text, renderer) for text in axis.texts]
    for one, other in itertools.combinations(boxes, 2):
        assert not one.overlaps(other)
    for box in boxes:
        assert box.y0 >= axis.get_window_extent(renderer).y1
        assert box.y1 <= figure.bbox.y1


def test_recipes_of_one_quality_share_a_name_and_degraded_ones_say_so():
    rows = [
        {"pseudo_labels": "cam", "pseudo_label_miou": 50.0},
        {"pseudo_labels": "walk", "pseudo_label_miou": 50.0},
        {"pseudo_labels": "cam", "pseudo_label_miou": 40.0, "scribbles": "drop-0.5"},
    ]
    figure = draw_label_quality(read_back(rows))
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert texts == ["cam, drop-0.5", "cam, full, walk, full"]
    assert legend_of(figure) == ["cdsp, full", "cdsp, drop-0.5"]


# wrong tables


ENOUGH = {
    draw_curves: [{}, {"scribbles": "shrink-0.5"}],
    draw_heat_map: heat_rows({(1, 6): 40.0, (1, 7): 41.0, (2, 7): 42.0}),
    draw_label_quality: [{}, {"pseudo_labels": "walk", "pseudo_label_miou": 70.0}],
}


@pytest.mark.parametrize("draw", ENOUGH)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"miou_mean": 101.0}, r"'miou_mean' holds 101.0; expected percent"),
        ({"miou_mean": "inf"}, r"'miou_mean' holds .*inf.*; expected percent"),
        ({"miou_std": "many"}, "'miou_std' holds 'many'; expected percent"),
        ({"miou_std": -1}, "'miou_std' holds -1.0; expected percent"),
        ({"miou_mean": None}, "no 'miou_mean' for cdsp"),
        ({"method": None}, "empty cell in the column 'method'"),
        ({"scribbles": None}, "empty cell in the column 'scribbles'"),
        ({}, "two rows for cdsp, .*leave one of them out"),
    ],
)
def test_damaged_tables_end_in_a_message(draw, change, message):
    rows = ENOUGH[draw]
    with pytest.raises(ValueError, match=message):
        draw(read_back([*rows, rows[-1] | change]))


@pytest.mark.parametrize("draw", ENOUGH)
def test_tables_without_measured_rows_or_columns_end_in_a_message(draw):
    with pytest.raises(ValueError, match="no measured row among its 1"):
        draw(read_back([REPORTED]))
    with pytest.raises(ValueError, match="'source' is missing; expected the CSV"):
        draw(read_back(ENOUGH[draw]).drop(columns="source"))


@pytest.mark.parametrize(
    ("draw", "rows", "message"),
    [
        (draw_curves, [{}, {"method": "m", "scribbles": "none"}], "scribbles full, none; expected"),
        (draw_curves, [{"scribbles": "shrunk"}], "unknown degradation 'shrunk'"),
        (draw_heat_map, [{}], "options none with several values; expected two"),
        (
            draw_heat_map,
            [{"a.b": 1, "c.d": 1}, {"a.b": 2, "c.d": 1}],
            r"options a\.b with several values; expected two",
        ),
        (
            draw_heat_map,
            [{"a.b": 1}, {"a.b": 2}, {"method": "m", "c.d": 1}, {"method": "m", "c.d": 2}],
            "no method of the table has both 'a.b' and 'c.d'",
        ),
        (
            draw_label_quality,
            [{}, {"method": "m"}, {"pseudo_labels": "walk", "pseudo_label_miou": None}],
            "pseudo-labels cam, walk and 1 measured qualities of them; expected two",
        ),
        (draw_label_quality, [{"pseudo_labels": "none", "pseudo_label_miou": None}], "and 0 meas"),
    ],
)
def test_tables_with_nothing_to_draw_say_what_they_lack(draw, rows, message):
    with pytest.raises(ValueError, match=message):
        draw(read_back(rows))


def test_an_older_table_without_pseudo_label_miou_has_curves():
    table = read_back(ENOUGH[draw_curves]).drop(columns=["pseudo_label_miou", "feature_variance"])
    assert len(draw_curves(table).axes) == 1
    with pytest.raises(ValueError, match="0 measured qualities"):
        draw_label_quality(table)


# saving and style


HOSTILE = r"_$\bad{^$ & <x>"


@pytest.mark.parametrize("draw", ENOUGH)
def test_figures_are_saved_as_png_and_svg_byte_for_byte_the_same(draw, tmp_path):
    table = read_back([row | {"method": HOSTILE} for row in ENOUGH[draw]])
    figure = draw(table)
    save_figure(figure, tmp_path / "new" / "one.png")
    save_figure(draw(table), tmp_path / "two.png")
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == [
        LEDGER,
        "one.png",
        "one.svg",
    ]
    for suffix in ("png", "svg"):
        one = (tmp_path / "new" / f"one.{suffix}").read_bytes()
        assert one == (tmp_path / f"two.{suffix}").read_bytes()
    with Image.open(tmp_path / "two.png") as image:
        assert image.size == pytest.approx(150 * figure.get_size_inches(), abs=1)
        assert "Software" not in image.info
    svg = (tmp_path / "two.svg").read_text(encoding="utf-8")
    assert ElementTree.fromstring(svg).tag.endswith("svg")
    assert "<dc:date>" not in svg
    texts = figure.findobj(Text)
    assert any(HOSTILE in text.get_text() for text in texts)
    assert not any(text.get_parse_math() for text in texts)


def test_another_process_writes_the_same_bytes(tmp_path):
    script = """
import sys
from pathlib import Path
import pandas as pd
from cdsp.pictures.style import save_figure
from cdsp.reporting.figures.heat_map import draw_heat_map
save_figure(draw_heat_map(pd.read_csv(sys.argv[1])), Path(sys.argv[2]))
"""
    table = tmp_path / "table.csv"
    read_back(ENOUGH[draw_heat_map]).to_csv(table, index=False)
    environment = {**os.environ, "PYTHONHASHSEED": "1"}
    command = [sys.executable, "-c", script, table, tmp_path / "there.png"]
    subprocess.run(command, check=True, env=environment)
    save_figure(draw_heat_map(pd.read_csv(table)), tmp_path / "here.png")
    for suffix in ("png", "svg"):
        here = (tmp_path / f"here.{suffix}").read_bytes()
        assert (tmp_path / f"there.{suffix}").read_bytes() == here


def test_what_cannot_be_saved_leaves_what_was_there(tmp_path, monkeypatch):
    figure = draw_curves(read_back(ENOUGH[draw_curves]))
    with pytest.raises(ValueError, match=r"figure\.pdf: expected a name that ends in \.png"):
        save_figure(figure, tmp_path / "figure.pdf")
    assert not list(tmp_path.iterdir())
    for name in ("figure.png", "figure.svg"):
        write_text(tmp_path / name, "old")

    def fail(self, path, **_):
        path.write_text("half")
        raise OSError("disk full")

    monkeypatch.setattr(Figure, "savefig", fail)
    with pytest.raises(OSError, match="disk full"):
        save_figure(figure, tmp_path / "figure.png")
    found = {path.name: path.read_text() for path in tmp_path.iterdir() if path.name != LEDGER}
    assert found == {
        "figure.png": "old",
        "figure.svg": "old",
    }


def test_looks_differ_in_colour_and_in_black_and_white():
    looks = [line_style(index) for index in range(36)]
    assert len({(look["marker"], look["linestyle"]) for look in looks}) == 36
    for first in range(30):
        near = [looks[index]["color"] for index in range(first, first + 7)]
        assert len(set(near)) == 7
    bars = [bar_style(index) for index in range(7)]
    assert len({bar["color"] for bar in bars}) == len({bar["hatch"] for bar in bars}) == 7
    assert len({reference_style(index)["linestyle"] for index in range(4)}) == 4
    assert (ink((1, 1, 0)), ink((0, 0, 1, 1))) == ("black", "white")


@pytest.mark.parametrize("width", [2.0, 5.0, 12.0])
def test_legends_of_long_names_stay_within_the_figure(width):
    names = ["a", "cdsp, lorm.weight 0.1, lorm.mask rectified, " * 4, "_hidden", *"bcdefgh"]
    with style():
        figure = Figure(figsize=(width, 2), layout="constrained")
        axis = figure.subplots()
        entries = {name: axis.plot([0, 1], **line_style(i))[0] for i, name in enumerate(names)}
        add_legend(figure, entries)
    renderer = render(figure)
    (legend,) = figure.legends
    box = legend.get_window_extent(renderer)
    assert box.x0 >= 0
    assert box.x1 <= figure.bbox.x1
    assert box.y1 <= axis.get_window_extent(renderer).y0
    assert axis.get_window_extent(renderer).height > 0.8 * figure.dpi
    found = [text.get_text().replace("\n", " ") for text in legend.get_texts()]
    assert found == [name.strip() for name in names]
    colours = [to_hex(line.get_color()) for line in legend.get_lines()]
    assert colours == [to_hex(line_style(i)["color"]) for i in range(len(names))]
