"""Degraded scribbles: shrunk strokes, dropped annotations (Fig. 7), strokes held out to measure.

A ratio is always the fraction REMOVED: 0 leaves the scribbles as they are.
"""

import re
import zlib
from dataclasses import dataclass, replace
from itertools import compress
from typing import Any, Literal, Self

import numpy as np

from cdsp.scribbles.painted_strokes import PaintedStroke, shrink_painted
from cdsp.scribbles.strokes import ImageStrokes, Stroke, arc_length, cut


@dataclass(frozen=True)
class Degradation:
    """What is done to the scribbles.

    Attributes:
        kind: ``full`` changes nothing, ``shrink`` shortens strokes (boxes and tags stay),
            ``drop`` removes strokes, boxes and tags, ``hold_out`` strokes of which their image has
            more of the same class.
        ratio: Fraction removed, 0..1; 0 for ``full``.

    Raises:
        ValueError: If the ratio is outside its range.
    """

    kind: Literal["full", "shrink", "drop", "hold_out"]
    ratio: float = 0.0

    def __post_init__(self) -> None:
        _check_ratio(self.ratio)
        if self.kind == "full" and self.ratio != 0:
            raise ValueError(f"'full' removes nothing, but the ratio is {self.ratio}; use 0")

    @classmethod
    def parse(cls, name: str) -> Self:
        """Read ``full`` or ``<kind>-<ratio>``, such as ``shrink-0.5``.

        Raises:
            ValueError: If the name is none of these or the ratio is outside 0..1.
        """
        if name == "full":
            return cls("full")
        match = re.fullmatch(r"(shrink|drop|hold_out)-([0-9]+(?:\.[0-9]+)?)", name)
        if match is None or not 0 <= float(match[2]) <= 1:
            raise ValueError(
                f"unknown degradation {name!r}; expected 'full', 'shrink-<ratio>', "
                "'drop-<ratio>' or 'hold_out-<ratio>' with the fraction removed, 0..1, for example "
                "'shrink-0.5'"
            )
        kind: Any = match[1]
        return cls(kind, float(match[2]))

    @property
    def is_random(self) -> bool:
        """Whether it draws which annotations go, by the seed."""
        return self.kind in ("drop", "hold_out")

    @property
    def name(self) -> str:
        """The one name of this degradation, such as ``full``, ``shrink-0.5`` or ``drop-1``."""
        if self.kind == "full":
            return "full"
        return f"{self.kind}-{np.format_float_positional(self.ratio, trim='-')}"


def shrink_stroke(stroke: Stroke | PaintedStroke, ratio: float) -> Stroke | PaintedStroke:
    """Shorten a stroke from both ends by arc length, or a painted one as `shrink_painted` does.

    What stays of a drawn stroke of length L is the window of length (1 - ratio) * L in its middle,
    cut within segments where it must be. The window of a larger ratio lies inside that of a
    smaller.

    Args:
        stroke: The stroke.
        ratio: Fraction removed, 0..1. 0 returns the stroke itself, 1 the point half-way along it.

    Raises:
        ValueError: If the ratio is outside 0..1.
    """
    _check_ratio(ratio)
    if ratio == 0:
        return stroke
    if isinstance(stroke, PaintedStroke):
        return shrink_painted(stroke, ratio)
    half = arc_length(stroke.points) / 2
    reach = (1 - ratio) * half
    return replace(stroke, points=cut(stroke.points, half - reach, half + reach))


def drop_annotations(
    image: ImageStrokes,
    ratio: float,
    *,
    seed: int,
    drop_background: bool = False,
    min_per_image: int = 0,
) -> ImageStrokes:
    """Remove each object stroke, box and tag with probability ``ratio``.

    Every annotation gets one uniform number in [0, 1) from the seed and the image's name, and goes
    when that number is below the ratio: whatever a larger ratio keeps, a smaller one keeps too. The
    strokes draw first, so that boxes and tags do not change which of them go.

    Args:
        image: The annotations of one image.
        ratio: Fraction removed, 0..1; 1 drops all of them.
        seed: Seed of the uniform numbers, >= 0.
        drop_background: Whether background strokes are dropped too.
        min_per_image: Number of object strokes, boxes and tags together that stay whatever the
            ratio (all of them where the image has fewer): those with the largest uniform numbers.

    Raises:
        ValueError: If the ratio is outside 0..1.
    """
    _check_ratio(ratio)
    rng = np.random.default_rng([seed, zlib.crc32(image.image_id.encode())])
    is_object = [stroke.class_id != 0 for stroke in image.strokes]
    is_object = np.array(is_object + [True] * (len(image.boxes) + len(image.tags)), dtype=bool)
    uniform = rng.random(len(is_object))
    keep = uniform >= ratio
    if not drop_background:
        keep |= ~is_object
    last_to_go = [i for i in np.argsort(-uniform) if is_object[i]]
    keep[last_to_go[:min_per_image]] = True
    strokes, boxes, tags = np.split(keep, np.cumsum([len(image.strokes), len(image.boxes)]))
    return replace(
        image,
        strokes=tuple(compress(image.strokes, strokes)),
        boxes=tuple(compress(image.boxes, boxes)),
        tags=tuple(compress(image.tags, tags)),
    )


def hold_out_strokes(image: ImageStrokes, ratio: float, *, seed: int) -> ImageStrokes:
    """Remove strokes to measure by: each with probability ``ratio``, but never a class's last one.

    The background counts as a class. What an image shows is named by the strokes that stay, so
    that no label and no network is taught that it is not there; a class with a single stroke in an
    image is not measured in it. Whatever a larger ratio keeps, a smaller one keeps too.

    Args:
        image: The annotations of one image; boxes and tags stay.
        ratio: Fraction removed, 0..1; 1 leaves one stroke of each class.
        seed: Seed of the uniform numbers, >= 0.

    Raises:
        ValueError: If the ratio is outside 0..1.
    """
    _check_ratio(ratio)
    rng = np.random.default_rng([seed, zlib.crc32(image.image_id.encode())])
    uniform = rng.random(len(image.strokes))
    classes = np.array([stroke.class_id for stroke in image.strokes])
    keep = uniform >= ratio
    for class_id in np.unique(classes):
        of_class = np.flatnonzero(classes == class_id)
        keep[of_class[uniform[of_class].argmax()]] = True
    return replace(image, strokes=tuple(compress(image.strokes, keep)))


def degrade(
    image: ImageStrokes,
    degradation: Degradation,
    *,
    seed: int,
    drop_background: bool = False,
    min_per_image: int = 0,
) -> ImageStrokes:
    """Apply a degradation to the annotations of one image.

    Args:
        image: The annotations of one image.
        degradation: What to do. Shrinking shortens every stroke, those of the background included,
            and leaves boxes and tags as they are.
        seed: See :func:`drop_annotations` and :func:`hold_out_strokes`; ``full`` and ``shrink``
            ignore it.
        drop_background: See :func:`drop_annotations`, the only kind with this setting.
        min_per_image: The same.
    """
    match degradation.kind:
        case "full":
            return image
        case "shrink":
            shrunk = tuple(shrink_stroke(stroke, degradation.ratio) for stroke in image.strokes)
            return replace(image, strokes=shrunk)
        case "drop":
            return drop_annotations(
                image,
                degradation.ratio,
                seed=seed,
                drop_background=drop_background,
                min_per_image=min_per_image,
            )
        case "hold_out":
            return hold_out_strokes(image, degradation.ratio, seed=seed)


def _check_ratio(ratio: float) -> None:
    if not 0 <= ratio <= 1:
        raise ValueError(f"the ratio is {ratio}; expected the fraction removed, 0..1")
