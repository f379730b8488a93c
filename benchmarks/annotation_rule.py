"""What a left-out stroke does to the labels: the pictures of docs/annotation.md.

    python benchmarks/annotation_rule.py docs/annotation_shapes.png

Drawn images, strokes as people draw them, and the labels that a random walk spreads of them: with a
stroke in every class, without the strokes of one class, and without the background's.
"""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from cdsp.dataset.shapes import CLASS_NAMES, draw_shape_scene
from cdsp.io.files import IGNORE, class_palette
from cdsp.metrics import confusion_matrix, scores
from cdsp.pictures.overlay import overlay, overlay_scribbles
from cdsp.pictures.style import picture_grid
from cdsp.pseudo_labels.from_evidence import label_from_evidence
from cdsp.pseudo_labels.settings import LabelSettings
from cdsp.scribbles.rasterise import rasterise
from cdsp.scribbles.simulate import simulate_strokes
from cdsp.scribbles.styles import STYLES

SIZE, SCENE = 193, 11
COLOURS = ((255, 130, 0), (230, 0, 160), (0, 200, 230))  # far apart, unlike VOC's
WALK = LabelSettings(refinement="random_walk", superpixel_spacing=4, colour_scale=8)


def main(output: Path) -> None:
    image, mask = draw_shape_scene(0, "train", SCENE, SIZE)
    strokes = simulate_strokes(
        mask, np.random.default_rng(0), STYLES["scribblesup"], width=3, coverage=0.06
    )
    drawn = sorted({stroke.class_id for stroke in strokes} - {0})
    forgotten = max(drawn, key=lambda class_id: (mask == class_id).sum())
    name = CLASS_NAMES[forgotten]
    cases = {
        "every class has a stroke": (strokes, WALK),
        f"the {name} has none": ([s for s in strokes if s.class_id != forgotten], WALK),
        "the background has none": ([s for s in strokes if s.class_id != 0], WALK),
        f"the {name} has none; reach: 12": (
            [s for s in strokes if s.class_id != forgotten],
            replace(WALK, reach=12.0),
        ),
    }
    colours = dict(zip((CLASS_NAMES[i] for i in drawn), COLOURS, strict=False))
    palette = class_palette(CLASS_NAMES, colours)
    columns = [("strokes", []), ("labels", []), ("truth", [])]
    rows = []
    for title, (kept, settings) in cases.items():
        scribbles = rasterise(kept, SIZE, SIZE)
        classes = np.unique(scribbles[scribbles != IGNORE])
        label = label_from_evidence(scribbles, classes, None, settings, image)
        iou = scores(confusion_matrix(mask, label, len(CLASS_NAMES))).mean_iou
        print(f"{title}: mIoU {100 * iou:.1f} % over {(label != IGNORE).mean():.0%} of the pixels")
        rows.append(title)
        greyed = image.copy()
        greyed[label == IGNORE] = greyed[label == IGNORE] // 4 + 96
        for (_, pictures), picture in zip(
            columns,
            (
                overlay_scribbles(image, scribbles, palette),
                overlay(greyed, label, palette),
                overlay(image, mask, palette),
            ),
            strict=True,
        ):
            pictures.append(picture)
    legend = {CLASS_NAMES[i]: palette[i] for i in np.unique(mask).tolist() if i not in (0, IGNORE)}
    picture_grid(columns, rows, legend, size=1.9).savefig(output, dpi=100)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
