"""Compare simulated strokes with the strokes that people drew on the same masks.

    python benchmarks/human_strokes.py [DATA] [--styles NAME ...] [--masks 1000] [--seeds 5]

DATA, or else the environment variable CDSP_REAL_DATA, names a folder with

    voc_masks/SegmentationClassAug.zip          PASCAL VOC's masks, palette PNGs
    voc_masks/human_background_points.json      image id → [{x, y}, ...]: points 2k and 2k + 1 lie
                                                on the image's k-th background stroke
    voc_masks/human_clicks.json                 image id → [{x, y}, ...]: one click an object
    human_strokes/                              SegmentationClassAug/ID.png, Scribbles/ID.png and,
                                                where vertices are known, polylines/ID.json:
                                                [{class_id, points}, ...]

The first table compares the people's points with two random points of each simulated stroke, on a
random sample of the masks. The second compares whole strokes. "±" is the difference between two
random halves of the people's images, and D an image's diagonal.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import zipfile
from collections import defaultdict
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter1d
from skimage.morphology import skeletonize

from cdsp.io.files import IGNORE, read_label
from cdsp.scribbles.rasterise import rasterise
from cdsp.scribbles.simulate import simulate_strokes, stroke_width, strokes_from_label
from cdsp.scribbles.skeleton import components, longest_skeleton_path
from cdsp.scribbles.strokes import Stroke, arc_length, cut
from cdsp.scribbles.styles import STYLES

AREAS = (0.05, 0.15, 0.3, 0.5, 1.0)  # of the image; upper limits of what objects fill
SMALLEST_OBJECT = 0.002  # of the image's area
SECTORS = 72  # around an object
PEN = 0.005  # of D: the Gaussian that takes a stroke's pixels away
COURSE = 0.02  # of D: the Gaussian that leaves a stroke's smooth course

Figures = dict[str, list[float]]  # of one image; a figure whose name begins with "…" is a part's


def distance_to(region: np.ndarray) -> np.ndarray:
    """(H, W) distances in pixels to a bool region."""
    return cv2.distanceTransform((~region).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)


def at(values: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Values of an (H, W) image at (N, 2) points (x, y), which are moved into the image."""
    x, y = np.round(points).astype(int).T
    return values[np.clip(y, 0, values.shape[0] - 1), np.clip(x, 0, values.shape[1] - 1)]


def resample(points: np.ndarray) -> np.ndarray:
    """Points 1 px apart along a polyline."""
    position = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(points, axis=0).T))])
    where = np.arange(0, position[-1] + 1e-9)
    return np.stack([np.interp(where, position, column) for column in points.T], axis=1)


def rank(values: np.ndarray, among: np.ndarray) -> np.ndarray:
    """For each value, the fraction of others that are smaller."""
    return np.searchsorted(np.sort(among), values) / max(len(among), 1)


def point_figures(mask: np.ndarray, background: np.ndarray, objects: np.ndarray) -> Figures:
    """Figures of one image's points (x, y): two per background stroke, any number on objects."""
    height, width = mask.shape
    known, is_object = mask != IGNORE, (mask != 0) & (mask != IGNORE)
    area = next(area for area in AREAS if is_object.mean() <= area)
    number = len(background) // 2
    figures = {f"images with {n} background strokes, %": [100 * (number == n)] for n in (1, 2, 3)}
    figures["background strokes an image"] = [number]
    figures[f"… objects fill up to {area:4.0%}"] = [number]

    y, x = np.mgrid[:height, :width]
    border = np.minimum(np.minimum(x, width - 1 - x), np.minimum(y, height - 1 - y))
    right = background[at(mask, background) == 0]
    if is_object.any() and len(right):
        distance = distance_to(is_object)
        off = 100 * at(distance, right) / np.hypot(height, width)
        figures["to the nearest object, % D"] = list(off)
        figures[f"… median, objects fill up to {area:4.0%}"] = list(off)
        figures["rank of that distance"] = list(rank(at(distance, right), distance[mask == 0]))
    figures["to the border, % of the short side, median"] = list(
        100 * at(border, right) / min(height, width)
    )
    figures["background points on objects, %"] = list(
        100 * at(is_object, background)[at(known, background)]
    )
    depth = distance_to(~is_object)
    inside = objects[at(is_object, objects)]
    figures["rank of an object point's depth"] = list(rank(at(depth, inside), depth[is_object]))
    return figures


def sampled(strokes: tuple[Stroke, ...], rng: np.random.Generator) -> list[np.ndarray]:
    """Two random points of each stroke, (N, 2) on the background and (N, 2) on objects."""
    points = [
        [
            cut(stroke.points, place, place)[0]
            for stroke in strokes
            if (stroke.class_id == 0) == on_background
            for place in rng.uniform(0, arc_length(stroke.points), 2)
        ]
        for on_background in (True, False)
    ]
    return [np.array(some).reshape(-1, 2) for some in points]


def stroke_figures(mask: np.ndarray, strokes: tuple[Stroke, ...]) -> Figures:
    """Figures of one image's whole strokes."""
    figures: Figures = defaultdict(list)
    height, width = mask.shape
    diagonal = float(np.hypot(height, width))
    label = rasterise(strokes, height, width)
    figures["background strokes an image"] = [sum(stroke.class_id == 0 for stroke in strokes)]
    for where in ("background", "object"):
        drawn = (label != IGNORE) & (mask != IGNORE) & ((label == 0) == (where == "background"))
        figures[f"wrong pixels, {where}, %"] = [100 * (mask != label)[drawn].mean()]
        for stroke in strokes:
            if (stroke.class_id == 0) == (where == "background"):
                waver, turning = course(stroke.points, diagonal)
                figures[f"waver, {where}, % D"].append(waver)
                figures[f"turning, {where}, degrees per % D"].append(turning)
    lengths = [arc_length(stroke.points) for stroke in strokes if stroke.class_id == 0]
    figures["length of a background stroke, % D"] = [100 * each / diagonal for each in lengths]
    figures["length of an image's background strokes, % D"] = [100 * sum(lengths) / diagonal]
    thin = [Stroke(stroke.class_id, stroke.points, 3) for stroke in strokes]
    figures["coverage at 3 px, %"] = [100 * (rasterise(thin, height, width) != IGNORE).mean()]
    off = distance_to(label == 0)
    for class_id in np.unique(mask[(mask != 0) & (mask != IGNORE)]):
        mine = [stroke for stroke in strokes if stroke.class_id == class_id]
        for component in components(mask == class_id, SMALLEST_OBJECT * mask.size):
            inside = np.zeros(mask.shape, bool)
            y, x = np.nonzero(component.inside)
            inside[y + component.corner[1], x + component.corner[0]] = True
            edge = inside & (cv2.erode(inside.astype(np.uint8), np.ones((3, 3))) == 0)
            figures["outline to background stroke, % D"].append(
                100 * np.median(off[edge]) / diagonal
            )
            (y, x), (centre_y, centre_x) = np.nonzero(label == 0), np.argwhere(inside).mean(axis=0)
            sectors = np.arctan2(y - centre_y, x - centre_x) // (2 * np.pi / SECTORS)
            figures["angle that sees background stroke, %"].append(
                100 * len(np.unique(sectors)) / SECTORS
            )
            on_it = [s.points for s in mine if at(inside, resample(s.points)).mean() > 0.5]
            if on_it:
                object_figures(inside, on_it, figures)
    return figures


def object_figures(inside: np.ndarray, strokes: list[np.ndarray], figures: Figures) -> None:
    """Add the figures of the strokes of one object, an (H, W) bool region."""
    figures["strokes an object"].append(len(strokes))
    figures["objects with two or more, %"].append(100 * (len(strokes) > 1))
    longest = arc_length(longest_skeleton_path(inside))
    figures["length / longest skeleton path"].append(
        max(map(arc_length, strokes)) / max(longest, 1)
    )
    skeleton, depth = skeletonize(inside), distance_to(~inside)
    _, nearest = cv2.distanceTransformWithLabels(
        (~skeleton).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    half_width = np.zeros(nearest.max() + 1)
    half_width[nearest[skeleton]] = depth[skeleton]
    points = np.concatenate([resample(points) for points in strokes])
    points = points[at(inside, points)]
    ratio = at(depth, points) / np.maximum(half_width[at(nearest, points)], 1)
    figures["clearance / half width"].append(ratio.mean())
    figures["nearer the edge than half way, %"].append(100 * (ratio < 0.5).mean())


def course(points: np.ndarray, diagonal: float) -> tuple[float, float]:
    """Waver off a stroke's smooth course in % D, and its turning in degrees per % D."""
    fine = resample(points)
    if len(fine) < 4 * COURSE * diagonal:
        return np.nan, np.nan
    smooth = gaussian_filter1d(fine, COURSE * diagonal, axis=0, mode="nearest")
    ends = slice(int(COURSE * diagonal), -int(COURSE * diagonal))
    waver = 100 * np.sqrt(((fine - smooth)[ends] ** 2).sum(axis=1).mean()) / diagonal
    smooth = gaussian_filter1d(fine, PEN * diagonal, axis=0, mode="nearest")
    steps = np.diff(smooth[:: round(diagonal / 100)], axis=0)
    turns = np.diff(np.unwrap(np.arctan2(steps[:, 1], steps[:, 0])))
    return waver, np.degrees(np.abs(turns)).mean()


def summarise(images: list[Figures]) -> dict[str, float]:
    """Means over all images, or quantiles where the name says so."""
    rows = {}
    for name in dict.fromkeys(name for figures in images for name in figures):
        values = np.concatenate([figures[name] for figures in images if name in figures])
        if name.startswith("to the nearest object"):
            for percent in (10, 25, 50, 75, 90):
                rows[f"{name}, {percent}th percentile"] = np.percentile(values, percent)
        else:
            rows[name] = np.median(values) if "median" in name else np.nanmean(values)
    return rows


def print_table(
    people: list[Figures], styles: dict[str, list[Figures]], rng: np.random.Generator
) -> None:
    order = rng.permutation(len(people))
    halves = [summarise([people[i] for i in order[start::2]]) for start in (0, 1)]
    columns = {name: summarise(images) for name, images in styles.items()}
    print(f"| {len(people)} images | people | ± | {' | '.join(styles)} |")
    print("|---" * (3 + len(styles)) + "|")
    rows = summarise(people).items()
    for name, value in sorted(rows, key=lambda row: row[0] if row[0].startswith("…") else ""):
        spread = abs(halves[0].get(name, np.nan) - halves[1].get(name, np.nan))
        cells = [f"{column.get(name, np.nan):.3g}" for column in columns.values()]
        print(f"| {name} | {value:.3g} | {spread:.2g} | {' | '.join(cells)} |")
    print(flush=True)


def compare_points(data: Path, styles: list[str], number: int) -> None:
    """Print the first table."""
    background, clicks = (
        {
            image_id: np.array([(point["x"], point["y"]) for point in points]).reshape(-1, 2)
            for image_id, points in json.loads((data / name).read_text()).items()
        }
        for name in ("human_background_points.json", "human_clicks.json")
    )
    rng = np.random.default_rng(0)
    ids = sorted(image_id for image_id, points in background.items() if len(points))
    people, simulated = [], {name: [] for name in styles}
    with zipfile.ZipFile(data / "SegmentationClassAug.zip") as archive:
        members = {Path(name).stem: name for name in archive.namelist() if name.endswith(".png")}
        for image_id in rng.permutation(ids)[:number]:
            mask = np.array(Image.open(io.BytesIO(archive.read(members[image_id]))))
            none = np.zeros((0, 2))
            points = background[image_id], clicks.get(image_id, none)
            people.append(point_figures(mask, *points))
            for name, images in simulated.items():
                width = stroke_width(*mask.shape)
                strokes = simulate_strokes(mask, rng, STYLES[name], width=width)
                images.append(point_figures(mask, *sampled(strokes, rng)))
    print_table(people, simulated, rng)


def compare_strokes(folder: Path, styles: list[str], seeds: int) -> None:
    """Print the second table."""
    people, simulated = [], {name: [] for name in styles}
    for path in sorted((folder / "SegmentationClassAug").glob("*.png")):
        mask = read_label(path)
        vertices = folder / "polylines" / f"{path.stem}.json"
        strokes = strokes_from_label(read_label(folder / "Scribbles" / path.name))
        if vertices.is_file():
            drawn = json.loads(vertices.read_text())
            strokes = tuple(Stroke(one["class_id"], one["points"], 3) for one in drawn)
        people.append(stroke_figures(mask, strokes))
        for name, images in simulated.items():
            for seed in range(seeds):
                rng = np.random.default_rng(seed)
                width = stroke_width(*mask.shape)
                strokes = simulate_strokes(mask, rng, STYLES[name], width=width)
                images.append(stroke_figures(mask, strokes))
    print_table(people, simulated, np.random.default_rng(0))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path, nargs="?", default=os.environ.get("CDSP_REAL_DATA"))
    parser.add_argument("--styles", nargs="+", choices=STYLES, default=list(STYLES))
    parser.add_argument("--masks", type=int, default=1000)
    parser.add_argument("--seeds", type=int, default=5)
    arguments = parser.parse_args()
    if arguments.data is None:
        parser.error("name the data folder, or set CDSP_REAL_DATA")
    compare_points(Path(arguments.data) / "voc_masks", arguments.styles, arguments.masks)
    compare_strokes(Path(arguments.data) / "human_strokes", arguments.styles, arguments.seeds)


if __name__ == "__main__":
    main()
