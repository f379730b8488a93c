"""The page of a preview: one HTML file with its pictures inside, which needs no network."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from cdsp.dataset.voc_layout import Dataset
from cdsp.io.files import IGNORE
from cdsp.metrics import Share, percent
from cdsp.pictures.overlay import overlay, overlay_outlined_scribbles

_WIDTH = 420  # of a picture on the page, pixels
_WIDER = 3.0  # px, by which strokes are drawn wider, so that they are seen
_STYLE = """
body { font: 15px/1.45 sans-serif; margin: 2em auto; max-width: 1400px; padding: 0 1em }
table { border-collapse: collapse; margin: 1em 0 } th, td { padding: 4px 12px; text-align: left }
tr + tr > * { border-top: 1px solid #ddd } .best { font-weight: bold }
.images { display: grid; gap: 4px 8px } .images img { width: 100%; display: block }
.images h3 { grid-column: 1 / -1; margin: 14px 0 0; font-size: 15px } .head { font-weight: bold }
.swatch { display: inline-block; width: 1em; height: 1em; border: 1px solid #888;
  vertical-align: -0.15em; margin-right: 0.3em } .legend span + span { margin-left: 1.5em }
"""


@dataclass(frozen=True)
class PreviewedImage:
    """An image on the page.

    Attributes:
        image_id: its name.
        image: (H, W, 3) uint8 RGB.
        scribbles: (H, W) uint8, all of its strokes.
        labels: recipe → (H, W) uint8 label, and the share of the image's held-out strokes that is
            right, mean over its classes; None where nothing is held out.
    """

    image_id: str
    image: np.ndarray
    scribbles: np.ndarray
    labels: dict[str, tuple[np.ndarray, float | None]]


def preview_page(
    dataset: Dataset,
    titles: Mapping[str, str],
    scores: Mapping[str, tuple[Share | None, Sequence[Share | None]]],
    best: str,
    images: Sequence[PreviewedImage],
    num_images: int,
) -> str:
    """The page as HTML.

    Args:
        dataset: classes and colours.
        titles: recipe → what to call it.
        scores: recipe → the share of the held-out strokes that is right: the mean, each class's.
        best: the recipe whose labels are written.
        images: what is shown, in this order.
        num_images: images that there are.
    """
    shown = f"all {num_images}" if len(images) == num_images else f"{len(images)} of {num_images}"
    columns = ["photograph and strokes", *titles.values()]
    parts = [
        "<h1>Preview: labels from strokes, without a network</h1>",
        _scores(dataset, titles, scores, best),
        f"<p>{shown} annotated photographs, those first whose held-out strokes fare worst under "
        f"the best recipe. Where the labels are wrong, draw a stroke there. <b>Every class that a "
        "photograph shows needs a stroke in it: what you leave out is denied.</b> Labels are "
        "shown as they are made without the held-out strokes; those in <code>labels</code> are "
        "made of all.</p>",
        _legend(dataset, images),
        f'<div class="images" style="grid-template-columns: repeat({len(columns)}, 1fr)">',
        *(f'<div class="head">{html.escape(column)}</div>' for column in columns),
    ]
    for image in images:
        parts += _row(image, titles, dataset.palette)
    head = f'<!doctype html>\n<meta charset="utf-8"><title>Preview</title><style>{_STYLE}</style>\n'
    return head + "\n".join([*parts, "</div>"]) + "\n"


def _scores(
    dataset: Dataset,
    titles: Mapping[str, str],
    scores: Mapping[str, tuple[Share | None, Sequence[Share | None]]],
    best: str,
) -> str:
    """The share of the held-out strokes that is right, recipe by class."""
    if not any(mean for mean, _ in scores.values()):
        return (
            "<p>No stroke was held out, so that nothing is measured: of a class with a single "
            "stroke in a photograph, none is held out.</p>"
        )
    head = "".join(f"<th>{html.escape(name)}</th>" for name in dataset.classes)
    lines = [f"<table><tr><th>held-out strokes right</th><th>mean of the classes</th>{head}</tr>"]
    for recipe, (mean, classes) in scores.items():
        cells = "".join(f"<td>{percent(s) if s else 'none'}</td>" for s in (mean, *classes))
        mark = ' class="best"' if recipe == best else ""
        title = f"{titles[recipe]} (<code>{recipe}</code>)"
        lines.append(f"<tr{mark}><td>{title}</td>{cells}</tr>")
    return (
        "\n".join(lines) + "</table><p>In brackets 95 % intervals, which the number of photographs "
        "allows. The recipe in bold made the files in <code>labels</code>.</p>"
    )


def _legend(dataset: Dataset, images: Sequence[PreviewedImage]) -> str:
    present = {value for image in images for value in np.unique(image.scribbles).tolist()}
    swatches = []
    for class_id in sorted(present - {IGNORE}):
        red, green, blue = dataset.palette[class_id] if class_id else (255, 255, 255)
        swatches.append(
            f'<span><i class="swatch" style="background: rgb({red}, {green}, {blue})"></i>'
            f"{html.escape(dataset.classes[class_id])}</span>"
        )
    return f'<p class="legend">{"".join(swatches)}</p>'


def _row(image: PreviewedImage, titles: Mapping[str, str], palette: np.ndarray) -> list[str]:
    reduced = _reduced(image.image)
    cells = [overlay_outlined_scribbles(reduced, image.scribbles, palette, _WIDER)]
    cells += [
        overlay(reduced, _reduced_label(image.labels[recipe][0], reduced.shape), palette)
        for recipe in titles
    ]
    scores = [image.labels[recipe][1] for recipe in titles]
    text = "; ".join(
        f"{titles[recipe]} {100 * score:.0f} %"
        for recipe, score in zip(titles, scores, strict=True)
        if score is not None
    )
    heading = f"{html.escape(image.image_id)}: {text or 'no stroke held out'}"
    return [f"<h3>{heading}</h3>", *(f'<img alt="" src="{_data_uri(cell)}">' for cell in cells)]


def _reduced(image: np.ndarray) -> np.ndarray:
    height = max(1, round(image.shape[0] * _WIDTH / image.shape[1]))
    enlarges = image.shape[1] < _WIDTH
    method = cv2.INTER_NEAREST if enlarges else cv2.INTER_AREA
    return cv2.resize(image, (_WIDTH, height), interpolation=method)


def _reduced_label(label: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return cv2.resize(label, (shape[1], shape[0]), interpolation=cv2.INTER_NEAREST)


def _data_uri(picture: np.ndarray) -> str:
    bgr = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    encoded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 82])[1]
    return "data:image/jpeg;base64," + base64.b64encode(encoded.tobytes()).decode()
