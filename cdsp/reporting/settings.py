"""A table: the runs that it compares and the figures beside it."""

from __future__ import annotations

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


@dataclass(frozen=True, kw_only=True)
class TableSettings:
    """A table: every combination of its lists, each over all seeds."""

    methods: tuple[str, ...] = setting(..., "rows of `methods`")
    networks: tuple[str, ...] = setting(..., "<segmentor>-<backbone>")
    scribbles: tuple[str, ...] = setting(("full",), "full, shrink-<ratio>, drop-<ratio>")
    pseudo_labels: tuple[str, ...] = setting(..., "recipes of `pseudo_labels`")
    measured_labels: tuple[str, ...] = setting(
        (), "more recipes whose labels are measured, without training on them"
    )
    vary: dict[str, Any] = setting(
        {},
        "<loss term>.<option> or segmentation.<setting> → values: every combination, in the "
        "methods that have the term",
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

PICTURES = ("panel", "comparison")
"""Figures that are pictures; the others are plots, which are drawn as SVG as well."""


def figure_endings(table: TableSettings) -> list[str]:
    """What follows the table's name in the names of its figures' files."""
    return [
        f"_{figure}.{ending}"
        for figure in table.figures
        for ending in (("png",) if figure in PICTURES else ("png", "svg"))
    ]


def table_options(table: TableSettings) -> str:
    """Options of `cdsp reporting table`: what the table varies, and the paper's table beside it."""
    options = [f"--option {option}" for option in sorted(table.vary)]
    if table.reported is not None:
        options.append(f"--reported {table.reported}")
    return " ".join(options)
