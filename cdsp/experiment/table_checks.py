"""What is checked of a table: what it names is there, and can be made and measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cdsp.reporting.settings import REPORTED_TABLES
from cdsp.scribbles.degrade import Degradation
from cdsp.settings import check_known, check_unique, nearest

if TYPE_CHECKING:
    from cdsp.experiment.config import Config


def check_table(config: Config, name: str) -> None:
    """Check what a table says of the other sections of its configuration.

    Raises:
        ValueError: with the key: a name that another section does not define or that stands twice,
            an empty list, or what cannot be trained, measured or told beside the others.
    """
    table, where = config.tables[name], f"tables.{name}"
    of_labels = f"{name}_labels"
    if of_labels in config.tables:
        raise ValueError(
            f"{where}: {of_labels}.csv is where it tells of its pseudo-labels; choose "
            f"another name for the table {of_labels!r}"
        )
    for kind in ("methods", "networks", "scribbles", "pseudo_labels", "seeds"):
        if not getattr(table, kind):
            raise ValueError(f"{where}.{kind}: the list is empty; name at least one")
        check_unique(getattr(table, kind), f"{where}.{kind}")
    for kind in ("methods", "networks", "pseudo_labels"):
        for item in getattr(table, kind):
            check_known(item, getattr(config, kind), f"{where}.{kind}")
    for item in table.measured_labels:
        check_known(item, config.pseudo_labels, f"{where}.measured_labels")
    for item in table.pixel_classifiers:
        check_known(item, config.pseudo_labels, f"{where}.pixel_classifiers")
        if config.pseudo_labels[item].evidence != "pixels":
            raise ValueError(
                f"{where}.pixel_classifiers: the evidence of {item!r} is "
                f"{config.pseudo_labels[item].evidence!r}; name a recipe with evidence: pixels"
            )
    check_known(table.protocol, config.evaluation, f"{where}.protocol")
    _check_includes(config, name)
    _check_vary(config, name)
    _check_figures(config, name)
    if table.reported is not None:
        check_known(table.reported, REPORTED_TABLES, f"{where}.reported")
        if config.datasets[config.dataset]["source"] != "scribblesup":
            raise ValueError(
                f"{where}.reported: the reported numbers are of ScribbleSup, the data set "
                f"is {config.dataset!r}; leave the key out"
            )
    if config.evaluation[table.protocol].truth == "held_out_strokes":
        _check_held_out(config, name)
    for item in table.scribbles:
        if Degradation.parse(item).name != item:
            raise ValueError(
                f"{where}.scribbles: write {Degradation.parse(item).name!r}, not {item!r}"
            )


def _check_held_out(config: Config, name: str) -> None:
    """Check that a table on held-out strokes has some for each of its runs."""
    table, where = config.tables[name], f"tables.{name}"
    if "full" in table.scribbles:
        raise ValueError(
            f"{where}.scribbles: nothing is held out of 'full', and the protocol "
            f"{table.protocol!r} measures on held-out strokes; write hold_out-0.25"
        )
    for item in table.methods:
        if not config.method(item).reads & {"scribble", "pseudo_label"}:
            raise ValueError(
                f"{where}.methods: {item!r} is not trained on strokes, and the protocol "
                f"{table.protocol!r} measures on those that were held out; leave it out"
            )


def _check_includes(config: Config, name: str) -> None:
    table, where = config.tables[name], f"tables.{name}.includes"
    for item in table.includes:
        check_known(item, config.tables, where)
        if config.tables[item].includes:
            raise ValueError(f"{where}: {item} includes tables itself; name those here")
        if config.tables[item].protocol != table.protocol:
            raise ValueError(
                f"{where}: {item} has the protocol {config.tables[item].protocol!r}, {name} has "
                f"{table.protocol!r}; a table has one"
            )


def _check_figures(config: Config, name: str) -> None:
    """Check that a table has what its figures draw, before its networks are trained."""
    table, where = config.tables[name], f"tables.{name}.figures"
    parts = [table, *(config.tables[item] for item in table.includes)]
    kinds = {Degradation.parse(item).kind for part in parts for item in part.scribbles}
    if "curves" in table.figures and not kinds & {"shrink", "drop"}:
        raise ValueError(
            f"{where}: curves are drawn over strokes that were shrunk or dropped, and the table "
            f"has the scribbles {', '.join(table.scribbles)}; list shrink-0.5, say, under "
            "its 'scribbles', or leave the figure out"
        )
    several = [option for option, values in table.vary.items() if len(values) > 1]
    if "heat_map" in table.figures and len(several) < 2 and not table.includes:
        raise ValueError(
            f"{where}: a heat_map is drawn over two options, and the table varies "
            f"{', '.join(several) or 'none'}; list two with several values under its 'vary', or "
            "leave the figure out"
        )


def _check_vary(config: Config, table: str) -> None:
    where = f"tables.{table}.vary"
    sections = config.varied_sections(table)
    for option in config.tables[table].vary:
        section = option.partition(".")[0]
        if section not in sections:
            raise ValueError(
                f"{where}: {option!r}: no method of the table has the loss term {section!r}"
                f"{nearest(section, sections)}"
            )
        check_unique(config.varied(table, option), f"{where}.{option}")
    try:
        config.own_runs(table)
        for run in config.own_runs(table):
            config.run_settings(run)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
