"""`cdsp reporting`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cdsp.options import DatasetOption, DeviceOption, OutputFile, parse_option, with_map_stores

if TYPE_CHECKING:
    from matplotlib.figure import Figure

app = typer.Typer()


@app.command("table")
def reporting_table(
    metrics: Annotated[list[Path], typer.Argument(help="metrics.json of each run.")],
    output: OutputFile,
    quality: Annotated[
        list[Path] | None, typer.Option(help="Measured pseudo-labels to mention below it.")
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option(help="Option to show in a column: lorm.weight, segmentation.epochs."),
    ] = None,
    reported: Annotated[
        str | None, typer.Option(help="The paper's table1, table2 or table3, to stand beside.")
    ] = None,
) -> None:
    """Write a table as CSV, and as Markdown and JSON beside it."""
    from cdsp.reporting.tables import write_table

    write_table(metrics, output, quality or (), options=option or (), reported=reported)


@app.command("plot")
def reporting_plot(
    figure: Annotated[str, typer.Argument(help="curves, heat_map or label_quality.")],
    table: Annotated[Path, typer.Argument(help="CSV file of a table.")],
    output: OutputFile,
) -> None:
    """Draw a table, as PNG and SVG."""
    from cdsp.pictures.style import save_figure
    from cdsp.reporting.tables import read_table

    draw = _drawing_function(figure, "plot")
    save_figure(draw(read_table(table)), output)


@app.command("runs")
def reporting_runs(
    figure: Annotated[str, typer.Argument(help="training, class_iou or confusion.")],
    metrics: Annotated[list[Path], typer.Argument(help="metrics.json of each run.")],
    output: OutputFile,
) -> None:
    """Draw what runs logged or confused, as PNG and SVG."""
    from cdsp.pictures.style import save_figure

    draw = _drawing_function(figure, "runs")
    save_figure(draw(metrics), output)


def _drawing_function(figure: str, command: str) -> Callable[..., Figure]:
    """The function that draws a figure of a command.

    Raises:
        ValueError: an unknown figure, or one of another command.
    """
    from cdsp.reporting.settings import figures_of
    from cdsp.settings import nearest

    known = {str(name): kind for name, kind in figures_of(command).items()}
    if figure not in known:
        raise ValueError(f"unknown figure {figure!r}{nearest(figure, known)}")
    return known[figure].load()


@app.command("distance_maps")
def reporting_distance_maps(
    dataset: DatasetOption,
    scribbles: Annotated[Path, typer.Option(help="Store of scribble labels.")],
    pseudo_labels: Annotated[Path, typer.Option(help="Store of pseudo-labels.")],
    output: OutputFile,
    scribble_exponent: Annotated[
        list[float] | None, typer.Option(help="λ of the scribble distance (Eq. 14).")
    ] = None,
    pseudo_label_exponent: Annotated[
        list[float] | None, typer.Option(help="λ of the pseudo-label distance (Eq. 16).")
    ] = None,
    num_images: Annotated[int, typer.Option(min=1, help="Rows.")] = 6,
) -> None:
    """Draw the distance maps of a few training images under several λ, as PNG and SVG."""
    from cdsp.dataset.voc_layout import read_dataset
    from cdsp.io.store import LabelStore
    from cdsp.pictures.style import save_figure
    from cdsp.reporting.figures.distance_maps import draw_distance_maps

    figure = draw_distance_maps(
        read_dataset(dataset),
        LabelStore(scribbles, "scribbles"),
        LabelStore(pseudo_labels, "pseudo_labels"),
        scribble_exponent or (),
        pseudo_label_exponent or (),
        num_images,
    )
    save_figure(figure, output)


@app.command("tensorboard")
def reporting_tensorboard(
    results: Annotated[Path, typer.Argument(help="Folder of runs, such as results/<name>.")],
    output: Annotated[Path, typer.Option("--output", help="New folder for the event files.")],
    every: Annotated[
        float, typer.Option(min=0, help="Seconds until it looks again, until stopped; 0: once.")
    ] = 0,
) -> None:
    """Write the logs of trainings for TensorBoard, where that is installed."""
    from cdsp.reporting.tensorboard import write_events

    typer.echo(f"{output}: {write_events(results, output, every=every)} epochs")


@app.command("explain")
def reporting_explain(
    table: Annotated[Path, typer.Argument(help="CSV file of a table.")],
    row: Annotated[
        str | None,
        typer.Argument(help="Number of a row, or a method; left out: a list of the rows."),
    ] = None,
) -> None:
    """Say where a table's numbers come from, and check them against the runs as they are now."""
    from cdsp.reporting.table_rows import list_rows
    from cdsp.tools.explain import explain_rows

    if row is None:
        typer.echo(list_rows(table))
        return
    explanation = explain_rows(table, row)
    typer.echo(explanation.text)
    if not explanation.confirmed:
        raise typer.Exit(1)


@app.command("panel")
@with_map_stores
def reporting_panel(
    weights: Annotated[list[Path], typer.Argument(help="weights.pt of the runs to compare.")],
    dataset: DatasetOption,
    output: OutputFile,
    stores: dict[str, Path | None],
    split: Annotated[
        str, typer.Option(help="train, or val: images that no run has seen.")
    ] = "train",
    num_images: Annotated[int, typer.Option(min=1, help="Rows.")] = 6,
    settings: Annotated[
        str, typer.Option("--settings", help="Protocol; see `cdsp settings evaluation`.")
    ] = "{scales: [1], long_side: 0, window: 0}",
    device: DeviceOption = "auto",
) -> None:
    """Draw what every stage made of a few images, side by side."""
    from cdsp.dataset.voc_layout import read_dataset
    from cdsp.evaluation.settings import EvaluationSettings
    from cdsp.io.store import LabelStore
    from cdsp.maps import MAPS
    from cdsp.reporting.figures.panel import draw_panel
    from cdsp.training import runtime

    draw_panel(
        read_dataset(dataset),
        {
            name: LabelStore(path, MAPS[name].store)
            for name, path in stores.items()
            if path is not None
        },
        weights,
        parse_option(EvaluationSettings, settings),
        output,
        split=split,
        num_images=num_images,
        device=runtime.prepare(1, device),
    )


@app.command("worst")
def reporting_worst(
    labels: Annotated[Path, typer.Argument(help="Store of pseudo-labels.")],
    dataset: DatasetOption,
    scribbles: Annotated[Path, typer.Option(help="Store of the scribbles behind them.")],
    output: OutputFile,
    num_images: Annotated[int, typer.Option(min=1, help="Rows.")] = 12,
) -> None:
    """Draw the pseudo-labels that differ most from their masks."""
    from cdsp.dataset.voc_layout import read_dataset
    from cdsp.io.store import LabelStore
    from cdsp.reporting.figures.worst import draw_worst_labels

    worst = draw_worst_labels(
        read_dataset(dataset),
        LabelStore(scribbles, "scribbles"),
        LabelStore(labels, "pseudo_labels"),
        output,
        num_images=num_images,
    )
    for image_id, score in worst:
        typer.echo(f"{image_id}  mIoU {100 * score:.1f} %")
