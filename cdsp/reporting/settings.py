"""A table: the runs that it compares, and the figures that can be drawn beside it.

This module loads neither PyTorch nor Matplotlib: the configuration and the workflow read it.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from cdsp.settings import setting

FigureName = Literal[
    "panel",
    "comparison",
    "distance_maps",
    "curves",
    "heat_map",
    "label_quality",
    "training",
    "class_iou",
    "confusion",
]
"""Figures that can be drawn of a table and its runs."""


@dataclass(frozen=True)
class FigureKind:
    """How a figure comes about.

    Attributes:
        draw: "module:function" that draws it.
        needs: what it is drawn from: the "table" (its CSV); the "metrics" (``metrics.json``) of
            runs; the "weights" of runs, with stores for a figure of the training images; or the
            "labels": the stores of scribbles and pseudo-labels.
        command: it is drawn by ``cdsp reporting <command>``, in the workflow's rule
            ``reporting_<command>``.
        endings: of its files.
    """

    draw: str
    needs: Literal["table", "metrics", "weights", "labels"]
    command: str
    endings: tuple[str, ...] = ("png", "svg")

    def load(self) -> Callable[..., Any]:
        """Import the function that draws it."""
        return pkgutil.resolve_name(self.draw)


_HERE = "cdsp.reporting.figures"

FIGURES: dict[FigureName, FigureKind] = {
    "panel": FigureKind(f"{_HERE}.panel:draw_panel", "weights", "panel", ("png",)),
    "comparison": FigureKind(f"{_HERE}.panel:draw_panel", "weights", "panel", ("png",)),
    "distance_maps": FigureKind(
        f"{_HERE}.distance_maps:draw_distance_maps", "labels", "distance_maps"
    ),
    "curves": FigureKind(f"{_HERE}.curves:draw_curves", "table", "plot"),
    "heat_map": FigureKind(f"{_HERE}.heat_map:draw_heat_map", "table", "plot"),
    "label_quality": FigureKind(f"{_HERE}.label_quality:draw_label_quality", "table", "plot"),
    "training": FigureKind(f"{_HERE}.training:draw_training", "metrics", "runs"),
    "class_iou": FigureKind(f"{_HERE}.class_iou:draw_class_iou", "metrics", "runs"),
    "confusion": FigureKind(f"{_HERE}.confusion:draw_confusion", "metrics", "runs"),
}
"""Name in a table's `figures` → how it comes about.

"panel" shows training images with all that was made of them, "comparison" validation images.
"""


def figures_of(command: str) -> dict[FigureName, FigureKind]:
    """The figures that ``cdsp reporting <command>`` draws."""
    return {name: kind for name, kind in FIGURES.items() if kind.command == command}


@dataclass(frozen=True, kw_only=True)
class TableSettings:
    """A table: every combination of its lists, each over all seeds."""

    methods: tuple[str, ...] = setting(..., "rows of `methods`")
    networks: tuple[str, ...] = setting(..., "rows of `networks`")
    scribbles: tuple[str, ...] = setting(
        ("full",), "full, shrink-<ratio>, drop-<ratio>, hold_out-<ratio>"
    )
    pseudo_labels: tuple[str, ...] = setting(..., "recipes of `pseudo_labels`")
    measured_labels: tuple[str, ...] = setting(
        (), "more recipes whose labels are measured, without training on them"
    )
    includes: tuple[str, ...] = setting(
        (), "tables of the same protocol whose rows stand below its own, seeds as they have them"
    )
    pixel_classifiers: tuple[str, ...] = setting(
        (), "recipes whose evidence is a pixel classifier that is a row of its own: one to beat"
    )
    vary: dict[str, Any] = setting(
        {},
        "<loss term>.<option>, segmentation.<setting> or networks.<setting> → values: every "
        "combination, in the methods that have the term",
    )
    protocol: str = setting(..., "protocol of `evaluation`")
    seeds: tuple[int, ...] = setting((0, 1), "one run each", minimum=0)
    figures: tuple[FigureName, ...] = setting(("panel",), "drawn beside it")
    reported: str | None = setting(
        None, "table1, table2 or table3: the paper's and its peers' numbers on ScribbleSup, beside"
    )

    @property
    def recipes(self) -> tuple[str, ...]:
        """All recipes that it trains on or measures."""
        return (*self.pseudo_labels, *self.measured_labels)


REPORTED_TABLES = ("table1", "table2", "table3")
"""The paper's tables whose numbers stand in ``cdsp/reporting/reported.csv``."""


def figure_endings(table: TableSettings) -> list[str]:
    """What follows the table's name in the names of its figures' files."""
    return [f"_{figure}.{ending}" for figure in table.figures for ending in FIGURES[figure].endings]


def table_options(table: TableSettings) -> str:
    """Options of `cdsp reporting table`: what the table varies, and the paper's table beside it."""
    options = [f"--option {option}" for option in sorted(table.vary)]
    if table.reported is not None:
        options.append(f"--reported {table.reported}")
    return " ".join(options)
