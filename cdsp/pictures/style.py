"""What the figures share: their style, grids of pictures, legends and how they are saved."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from cdsp.io.outputs import atomic_path

# Okabe and Ito's colours, which colour-blind readers tell apart, without the yellow, which is too
# pale for a line on white. For black-and-white print, every line has a marker and dashes besides.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", "*")
_DASHES = ("-", (0, (5, 1.5)), (0, (1.5, 1)), (0, (5, 1.5, 1, 1.5)))
_HATCHES = ("", "////", "....", "\\\\\\\\", "xxxx", "----", "oooo", "++++")
_REFERENCE_DASHES = ((0, (6, 4)), (0, (2, 3)), (0, (8, 3, 2, 3)), (0, (12, 4)))
_LETTERS_PER_INCH = 16  # of the font's size


def style() -> AbstractContextManager[None]:
    """What a figure is made and saved under: names are no formulas, and ids no accident."""
    settings: dict[Any, Any] = {
        "font.size": 8,
        "text.parse_math": False,
        "svg.hashsalt": "cdsp",
        "hatch.linewidth": 0.5,
    }
    return mpl.rc_context(settings)


def save_figure(figure: Figure, output: Path) -> None:
    """Write a figure as PNG (150 dots per inch) and, beside it, as SVG.

    Equal figures give equal files, byte for byte; each is written atomically, the PNG last.

    Raises:
        ValueError: ``output`` does not end in ``.png``.
    """
    if output.suffix != ".png":
        raise ValueError(f"{output}: expected a name that ends in .png; the SVG stands beside it")
    for path, metadata in (
        (output.with_suffix(".svg"), {"Date": None, "Creator": None}),
        (output, {"Software": None}),
    ):
        with atomic_path(path) as temporary, style():
            figure.savefig(temporary, format=path.suffix[1:], dpi=150, metadata=metadata)


def line_style(index: int) -> dict[str, Any]:
    """Colour, marker and dashes of a figure's ``index``-th line, as keywords of `Axes.plot`.

    The first 36 differ in marker or dashes, the first 252 in all three together.
    """
    return {
        "color": _COLOURS[index % len(_COLOURS)],
        "marker": _MARKERS[index % len(_MARKERS)],
        "linestyle": _DASHES[index % len(_DASHES)],
        "markersize": 4,
        "linewidth": 1.2,
    }


def reference_style(index: int) -> dict[str, Any]:
    """The style of a figure's ``index``-th line of reference: grey dashes without a marker."""
    dashes = _REFERENCE_DASHES[index % len(_REFERENCE_DASHES)]
    return {"color": "0.35", "linestyle": dashes, "linewidth": 1}


def bar_style(index: int) -> dict[str, Any]:
    """Colour and hatching of a figure's ``index``-th bars, as keywords of `Axes.bar`."""
    return {
        "color": _COLOURS[index % len(_COLOURS)],
        "hatch": _HATCHES[index % len(_HATCHES)],
        "edgecolor": "white",
        "linewidth": 0,
    }


def ink(paper: Any) -> str:
    """The colour of a text that is to be read on a colour, (red, green, blue, …), each 0..1."""
    red, green, blue = paper[:3]
    return "black" if 0.299 * red + 0.587 * green + 0.114 * blue > 0.5 else "white"


def add_legend(figure: Figure, entries: Mapping[str, Any]) -> None:
    """Put a legend below a figure, in as many columns as fit, and make the figure higher for it.

    Args:
        figure: with the constrained layout.
        entries: text → the artist that it names; long texts are wrapped.
    """
    if not entries:
        return
    letters = int(figure.get_figwidth() * _LETTERS_PER_INCH)
    sample = 8  # what the drawn sample and its margins take, in letters
    labels = [textwrap.fill(text, letters - sample) for text in entries]
    widest = max(len(line) for label in labels for line in label.split("\n"))
    columns = min(max(1, letters // (widest + sample)), len(labels))
    lines = -(-len(labels) // columns) * max(label.count("\n") + 1 for label in labels)
    figure.set_figheight(figure.get_figheight() + 0.17 * lines + 0.1)
    figure.legend(
        list(entries.values()), labels, loc="outside lower center", ncols=columns, frameon=False
    )


def picture_grid(
    columns: Sequence[tuple[str, Sequence[np.ndarray]]],
    rows: Sequence[str],
    legend: Mapping[str, np.ndarray],
    *,
    size: float = 1.45,
) -> Figure:
    """Pictures in columns with titles, names beside the rows and a legend of colours below.

    Args:
        columns: title and pictures, (H, W, 3) uint8 RGB or (H, W) uint8, one for each row.
        rows: names of the rows.
        legend: name → colour, (3,) uint8.
        size: width of a picture, inches.
    """
    with style():
        figure = Figure(figsize=(size * len(columns), size * len(rows) + 0.5), layout="constrained")
        axes = figure.subplots(len(rows), len(columns), squeeze=False)
        for column, (title, pictures) in enumerate(columns):
            axes[0, column].set_title(textwrap.fill(title.replace("_", " "), round(12 * size)))
            for row, picture in enumerate(pictures):
                axes[row, column].imshow(picture, cmap="viridis", vmin=0, vmax=255)
        for row, name in enumerate(rows):
            axes[row, 0].set_ylabel(name, fontsize=6)
        for axis in axes.flat:
            axis.set(xticks=[], yticks=[])
        colours = {name: Patch(color=tuple(colour / 255)) for name, colour in legend.items()}
        add_legend(figure, colours)
    return figure
