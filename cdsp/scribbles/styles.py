"""How people draw strokes: named styles, which are nothing but numbers.

``scribblesup`` is fitted to the strokes of the ScribbleSup data set, ``hasty`` and ``careful``
roughly to two ways of drawing on GrabCut's photographs; benchmarks/human_strokes.py compares.
``medial_axis`` is nobody's: an evenly good hand that follows the medial axis everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

StyleName = Literal["scribblesup", "hasty", "careful", "medial_axis"]


@dataclass(frozen=True)
class Hand:
    """How a hand follows the path that it has in mind.

    Attributes:
        reach: Fraction of the path that is drawn, at a random place of it.
        longest: Longest stroke, of the image's longest side. A path beyond that is drawn in pieces.
        smoothing: Standard deviation of the Gaussian that smooths the path, of the path's median
            distance to the region's edge. The larger, the more corners are cut.
        jitter: Standard deviation of the waver off the smooth path, in the same unit.
        wave: Length of the Gaussian that correlates the waver along the path, in the same unit.
        tip: Room at the path's ends, below which they are left out, in the same unit.
        margin: Pixels that the stroke keeps between itself and the region's edge where there is
            room for it. Below 0 the stroke may stick out that far.
    """

    reach: float
    longest: float
    smoothing: float
    jitter: float
    wave: float
    tip: float
    margin: float


@dataclass(frozen=True)
class Loop:
    """The path in mind for the background: a loop between the objects and the image's border.

    Attributes:
        place: Where the loop runs between the objects, 0, and the image's border, 1.
        stray: Standard deviation of that place, along a loop and from loop to loop.
        rounding: Standard deviation of the Gaussian that rounds it, of the image's longest side.
        shortest: Length of the shortest loop beside the longest one, of the longest one's.
        pieces: Number of strokes that a loop is drawn in.
    """

    place: float
    stray: float
    rounding: float
    shortest: float
    pieces: int


@dataclass(frozen=True)
class Style:
    """How somebody draws the strokes of an image.

    Attributes:
        coverage: Fraction of the image's pixels that the strokes label at most. All strokes are
            shortened by the same factor where they would label more.
        area_per_stroke: A region gets one stroke, and a further one for each such fraction of the
            image's area that it covers ...
        most_strokes: ... up to this number.
        objects: The hand on objects, which follows their medial axis.
        background: The hand on the background.
        loop: What the hand follows on the background; none: the medial axis there too.
    """

    coverage: float
    area_per_stroke: float
    most_strokes: int
    objects: Hand
    background: Hand
    loop: Loop | None


_MEDIAL = Hand(reach=1, longest=1, smoothing=0.4, jitter=0.3, wave=0.25, tip=0.33, margin=1.5)

STYLES: dict[StyleName, Style] = {
    "scribblesup": Style(
        coverage=0.05,
        area_per_stroke=0.25,
        most_strokes=2,
        objects=Hand(reach=1, longest=5, smoothing=1, jitter=0.45, wave=1.3, tip=0.1, margin=-3),
        background=Hand(reach=1, longest=5, smoothing=0.1, jitter=0.03, wave=0.1, tip=0, margin=-3),
        loop=Loop(place=0.63, stray=0.165, rounding=0.03, shortest=0.49, pieces=1),
    ),
    "hasty": Style(
        coverage=0.05,
        area_per_stroke=1,
        most_strokes=1,
        objects=Hand(reach=0.3, longest=5, smoothing=1, jitter=0.1, wave=0.5, tip=0.33, margin=2),
        background=Hand(
            reach=0.35, longest=5, smoothing=0.1, jitter=0.03, wave=0.1, tip=0, margin=2
        ),
        loop=Loop(place=0.56, stray=0.1, rounding=0.03, shortest=1, pieces=3),
    ),
    "careful": Style(
        coverage=0.05,
        area_per_stroke=0.05,
        most_strokes=3,
        objects=Hand(reach=1, longest=5, smoothing=0.6, jitter=0.35, wave=2, tip=0.1, margin=-1),
        background=Hand(
            reach=0.65, longest=5, smoothing=0.1, jitter=0.03, wave=0.1, tip=0, margin=2
        ),
        loop=Loop(place=0.33, stray=0.05, rounding=0.012, shortest=1, pieces=3),
    ),
    "medial_axis": Style(
        coverage=0.03,
        area_per_stroke=0.05,
        most_strokes=3,
        objects=_MEDIAL,
        background=_MEDIAL,
        loop=None,
    ),
}
