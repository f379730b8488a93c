"""What a written table says to its reader: numbers as text, and how they were measured."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

import pandas as pd

from cdsp.reporting.runs import table_score

OWN_LABELS = (
    "Agrees with its own labels: predictions of a few training images beside the labels that the "
    "network learnt there; no score, but low where it has not learnt them."
)


def as_text(table: pd.DataFrame) -> pd.DataFrame:
    """Percentages with two digits, other numbers with four significant ones; unknown: empty."""

    def text(value: Any, name: str) -> str:
        if pd.isna(value):
            return ""
        if isinstance(value, float):
            return f"{value:.4g}" if "." in name or name == "feature_variance" else f"{value:.2f}"
        return str(value)

    columns = {str(name): [text(value, str(name)) for value in table[name]] for name in table}
    return pd.DataFrame(columns, dtype=str)


def explained(
    table: pd.DataFrame,
    labels: pd.DataFrame,
    protocols: dict[str, dict[str, Any]],
    arithmetic: str,
) -> list[pd.DataFrame | str]:
    """What there is to read: a table, how it was measured, and the pseudo-labels behind it."""
    score = table_score(table.columns)
    mean, spread = f"{score.column}_mean", f"{score.column}_std"
    deviation = table[spread].where(table[spread] == "", " ± " + table[spread])
    shown = _with_interval(table, score.column)
    shown = shown.drop(columns=spread).assign(**{mean: table[mean] + deviation})
    words = {
        mean: score.title,
        f"{score.column}_low": "95 % interval",
        f"pseudo_label_{score.column}": f"pseudo-labels' own {score.title}",
        "feature_variance": "feature variance",
        "own_labels_miou": "agrees with its own labels, mIoU (%)",
        "probe_accuracy": "linear probe (%)",
    }
    contents: list[pd.DataFrame | str] = [
        _without_empty_columns(shown).rename(columns=words),
        f"{score.caption}: mean ± standard deviation over the seeds. Linear probe: the locations "
        "that a linear classifier of the backbone's frozen feature gets right, mean over the "
        "classes.",
        *([OWN_LABELS] if any(table["own_labels_miou"]) else []),
    ]
    if "checkpoint" in table:
        contents.append(
            "Checkpoint: last is the network at the end of its training; best_on_val is that of "
            "the epoch which scores best on the very masks that it is measured on: an upper bound, "
            "which some papers report. Compare rows of one kind."
        )
    for name, settings in protocols.items():
        text = ", ".join(f"{key} {value}" for key, value in settings.items())
        contents.append(f"Protocol '{name}': {text}.")
    if arithmetic:
        contents.append(arithmetic)
    if len(labels):
        words = {"miou": "mIoU (%)", "precision": "precision (%)", "coverage": "coverage (%)"}
        words |= {"held_out": "held-out strokes right (%)", "held_out_low": "95 % interval"}
        shown = _with_interval(labels, "held_out")
        contents += [
            _without_empty_columns(shown).rename(columns=words),
            "The pseudo-labels on the training images, against masks that they have not seen. "
            "Held-out strokes are the pixels that the full scribbles label and the degraded ones "
            "do not.",
        ]
    return contents


def _with_interval(table: pd.DataFrame, column: str) -> pd.DataFrame:
    """The limits of an interval in one column, where the table has them: "71.20 to 91.50"."""
    low, high = f"{column}_low", f"{column}_high"
    if low not in table:
        return table
    joined = table[low].where(table[low] == "", table[low] + " to " + table[high])
    return table.assign(**{low: joined}).drop(columns=high)


def _without_empty_columns(table: pd.DataFrame) -> pd.DataFrame:
    return table.loc[:, (table != "").any()]


def as_markdown(contents: Sequence[pd.DataFrame | str]) -> str:
    """Tables and paragraphs as Markdown."""
    parts = [
        part if isinstance(part, str) else part.to_markdown(index=False, disable_numparse=True)
        for part in contents
    ]
    return "\n\n".join(parts) + "\n"


def as_page(contents: Sequence[pd.DataFrame | str]) -> str:
    """Tables and paragraphs as an HTML page, which the report shows."""
    parts = [
        f"<p>{html.escape(part)}</p>" if isinstance(part, str) else part.to_html(index=False)
        for part in contents
    ]
    style = (
        "body { font-family: sans-serif; font-size: 14px } table { border-collapse: collapse } "
        "th, td { border: 1px solid #ccc; padding: 4px 8px; text-align: left }"
    )
    head = f'<!doctype html>\n<meta charset="utf-8">\n<style>{style}</style>\n'
    return head + "\n".join(parts) + "\n"
