"""What should guide the walk from strokes to labels, and how much: by strokes held out.

    python benchmarks/walk_guidance.py FOLDER --size 672 --weights data/mobilenet_v2.pth

A folder as `cdsp dataset check` takes it. A quarter of the strokes is held out, a few times over;
prints the share of their pixels that is right, mean over the classes, for the strokes alone, and
for each evidence, alone and as the guide of the walk at several weights. No mask is looked at.
"""

import argparse
import logging
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory

import cv2

from cdsp.dataset.voc_layout import choose_images
from cdsp.options import parse_classes
from cdsp.pseudo_labels.settings import LabelSettings, PixelSettings, PseudoLabelSettings
from cdsp.scribbles.settings import AnnotationSettings
from cdsp.tools.check.examine import examine_folder
from cdsp.tools.held_out_trial import HeldOutTrial

WEIGHTS = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)


def recipes(weights: str, long_side: int, spacing: float) -> dict[str, PseudoLabelSettings]:
    walk = LabelSettings(refinement="random_walk", superpixel_spacing=spacing)
    evidence = {"filters": PixelSettings(long_side=long_side)}
    if weights:
        features = {"backbone": "mobilenet_v2", "backbone_weights": weights}
        evidence["features"] = PixelSettings(long_side=long_side, **features)
    found = {"walk": PseudoLabelSettings(evidence="strokes", labels=walk)}
    for name, pixels in evidence.items():
        found[name] = PseudoLabelSettings(evidence="pixels", pixels=pixels)
        for weight in WEIGHTS:
            labels = replace(walk, prior_weight=weight)
            recipe = PseudoLabelSettings(evidence="pixels", pixels=pixels, labels=labels)
            found[f"walk, {name} at {weight:g}"] = recipe
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--annotations", type=Path)
    parser.add_argument("--classes", default="")
    parser.add_argument("--size", type=int, default=0, help="longer side, pixels; 0: as they are")
    parser.add_argument("--evidence-size", type=int, default=640)
    parser.add_argument("--spacing", type=float, default=10, help="of the walk's superpixels")
    parser.add_argument("--images", type=int, default=10**6)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--weights", default="", help="ImageNet's of MobileNetV2, for features")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    logging.disable(logging.WARNING)
    settings = AnnotationSettings(skip_unreadable=True)
    classes = parse_classes(arguments.classes)
    report = examine_folder(
        arguments.folder, classes, arguments.annotations, settings=settings, void_regions=True
    )
    assert report.summary is not None
    assert report.annotations is not None
    splits = {"train": tuple(report.summary.annotated), "val": ()}
    dataset = replace(report.dataset, splits=splits, working_size=arguments.size, train_masks=False)
    chosen = tuple(choose_images(dataset, arguments.images))
    dataset = replace(dataset, splits={**splits, "train": chosen})
    shares: dict[str, list[float]] = {}
    for seed in range(arguments.seeds):
        with TemporaryDirectory() as work:
            options = {"ratio": 0.25, "seed": seed}
            trial = HeldOutTrial(dataset, report.annotations, settings, Path(work), **options)
            tried = recipes(arguments.weights, arguments.evidence_size, arguments.spacing)
            for one in trial.run(tried):
                shares.setdefault(one.recipe, []).append(one.mean.value if one.mean else 0)
    for name, values in shares.items():
        told = " / ".join(f"{100 * value:.1f}" for value in values)
        print(f"{name:28} {100 * fmean(values):5.1f}   ({told})")


if __name__ == "__main__":
    main()
