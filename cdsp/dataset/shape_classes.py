"""What the embedded data set is made of: materials, sceneries and twelve object classes."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

Colour = tuple[int, int, int]
"""Red, green and blue, each 0..255."""

Points = np.ndarray
"""Points (N, 2), float: (x, y), y downwards; in an object's own frame it spans about -1..1."""

MATERIALS: dict[str, tuple[Colour, str]] = {
    "straw": ((201, 160, 88), "stripes"),
    "moss": ((104, 132, 66), "spots"),
    "slate": ((84, 110, 150), "weave"),
    "rust": ((168, 88, 58), "mottle"),
    "plum": ((142, 104, 142), "plain"),
}
"""Materials of bodies and clutter: name, colour, texture."""

SCENERIES: dict[str, tuple[Colour, Colour, str]] = {
    "meadow": ((146, 164, 104), (88, 112, 76), "blades"),
    "water": ((126, 162, 178), (74, 104, 128), "waves"),
    "sand": ((216, 198, 160), (158, 134, 104), "mottle"),
    "street": ((172, 168, 164), (98, 98, 104), "weave"),
}
"""Sceneries: name, the two colours of its colour field, texture."""

_BLACK: Colour = (24, 22, 26)
_WHITE: Colour = (246, 244, 238)
_RED: Colour = (222, 34, 40)
_YELLOW: Colour = (250, 218, 30)
_BLUE: Colour = (30, 70, 232)
_MAGENTA: Colour = (228, 40, 190)
_CYAN: Colour = (40, 222, 222)
_GREEN: Colour = (40, 220, 60)


def _polygon(*corners: tuple[float, float]) -> Points:
    """Return a closed outline through the corners, with a point every 0.1 or so, to be warped."""
    ends = np.array(corners, dtype=np.float64)
    return _resampled(np.concatenate([ends, ends[:1]]))


def _line(*corners: tuple[float, float]) -> Points:
    """Return an open polyline through the corners, with a point every 0.1 or so."""
    return _resampled(np.array(corners, dtype=np.float64))


def _resampled(corners: Points) -> Points:
    pieces = []
    for start, end in pairwise(corners):
        num_steps = max(1, round(float(np.hypot(*(end - start))) / 0.1))
        steps = np.linspace(0.0, 1.0, num_steps, endpoint=False)[:, None]
        pieces.append(start + steps * (end - start))
    return np.concatenate([*pieces, corners[-1:]])


def _box(left: float, top: float, right: float, bottom: float) -> Points:
    return _polygon((left, top), (right, top), (right, bottom), (left, bottom))


def _arc(
    x: float, y: float, radius_x: float, radius_y: float, start: float = 0.0, stop: float = 360.0
) -> Points:
    """Return points on an ellipse from angle `start` to `stop`, in degrees clockwise from right."""
    angles = np.radians(np.linspace(start, stop, 48))
    return np.stack([x + radius_x * np.cos(angles), y + radius_y * np.sin(angles)], axis=1)


def _band(outer: Points, inner: Points) -> Points:
    """Return the outline of what lies between two arcs run in the same direction."""
    return np.concatenate([outer, inner[::-1]])


def _star(num_tips: int, inner_radius: float) -> Points:
    angles = np.pi * np.arange(2 * num_tips) / num_tips - np.pi / 2
    radii = np.where(np.arange(2 * num_tips) % 2 == 0, 1.0, inner_radius)
    return _polygon(*zip(radii * np.cos(angles), radii * np.sin(angles), strict=True))


@dataclass(frozen=True)
class ObjectClass:
    """What the objects of one class look like, and where they are at home.

    Attributes:
        name: The class name.
        body: Outlines that are filled with a material.
        limbs: Open lines, drawn thick in the body's colour.
        mark: Outline of the most discriminative part.
        mark_colours: The two colours of the mark's bars.
        materials: The materials that its bodies may have.
        scenery: Where the class is found more often than by chance.
        companion: The class that it is found with more often than by chance.
    """

    name: str
    body: tuple[Points, ...]
    limbs: tuple[Points, ...]
    mark: Points
    mark_colours: tuple[Colour, Colour]
    materials: tuple[str, str, str]
    scenery: str
    companion: str


OBJECT_CLASSES = (
    ObjectClass(
        name="beetle",
        body=(_arc(0.0, 0.1, 0.66, 0.76),),
        limbs=tuple(
            _line((side * 0.5, y), (side * 0.85, y + lift), (side * 1.0, y + 2 * lift))
            for side in (-1, 1)
            for y, lift in ((-0.3, -0.1), (0.1, 0.02), (0.5, 0.12))
        ),
        mark=_arc(0.0, -0.58, 0.36, 0.3),
        mark_colours=(_RED, _BLACK),
        materials=("straw", "moss", "slate"),
        scenery="meadow",
        companion="fir",
    ),
    ObjectClass(
        name="house",
        body=(
            _box(-0.72, -0.2, 0.72, 0.9),
            _polygon((-0.95, -0.15), (0.0, -0.9), (0.95, -0.15)),
        ),
        limbs=(_line((0.55, -0.4), (0.55, -1.0)),),
        mark=_box(-0.3, 0.1, 0.24, 0.62),
        mark_colours=(_YELLOW, _BLACK),
        materials=("moss", "slate", "rust"),
        scenery="street",
        companion="arrow",
    ),
    ObjectClass(
        name="fir",
        body=(_polygon((0.0, -1.0), (0.86, 0.68), (-0.86, 0.68)),),
        limbs=(_line((0.0, 0.6), (0.0, 1.0)),),
        mark=_polygon((0.0, -1.0), (0.33, -0.36), (-0.33, -0.36)),
        mark_colours=(_MAGENTA, _WHITE),
        materials=("slate", "rust", "plum"),
        scenery="meadow",
        companion="beetle",
    ),
    ObjectClass(
        name="plane",
        body=(_box(-0.24, -1.0, 0.24, 1.0), _box(-1.0, -0.32, 1.0, 0.14)),
        limbs=(_line((-0.5, 0.86), (0.5, 0.86)),),
        mark=_box(-0.24, -1.0, 0.24, -0.5),
        mark_colours=(_BLUE, _WHITE),
        materials=("rust", "plum", "straw"),
        scenery="street",
        companion="kite",
    ),
    ObjectClass(
        name="ring",
        body=(_band(_arc(0.0, 0.0, 0.95, 0.95), _arc(0.0, 0.0, 0.45, 0.45)),),
        limbs=(),
        mark=_band(_arc(0.0, 0.0, 0.95, 0.95, -120, -60), _arc(0.0, 0.0, 0.45, 0.45, -120, -60)),
        mark_colours=(_RED, _WHITE),
        materials=("plum", "straw", "moss"),
        scenery="water",
        companion="starfish",
    ),
    ObjectClass(
        name="boat",
        body=(_band(_arc(0.0, 0.1, 1.0, 0.85, 0, 180), _arc(0.0, 0.1, 1.0, 0.2, 0, 180)),),
        limbs=(_line((0.0, 0.4), (0.0, -0.95)), _line((0.55, 0.4), (0.7, -0.3))),
        mark=_polygon((0.0, -0.95), (0.56, -0.55), (0.0, -0.25)),
        mark_colours=(_YELLOW, _RED),
        materials=("straw", "slate", "plum"),
        scenery="water",
        companion="fish",
    ),
    ObjectClass(
        name="starfish",
        body=(_star(5, 0.52),),
        limbs=(),
        mark=_arc(0.0, 0.0, 0.28, 0.28),
        mark_colours=(_CYAN, _BLACK),
        materials=("moss", "rust", "straw"),
        scenery="sand",
        companion="ring",
    ),
    ObjectClass(
        name="pencil",
        body=(_box(-1.0, -0.32, 0.7, 0.32), _polygon((0.7, -0.32), (1.1, 0.0), (0.7, 0.32))),
        limbs=(),
        mark=_box(-1.0, -0.32, -0.68, 0.32),
        mark_colours=(_GREEN, _WHITE),
        materials=("slate", "plum", "moss"),
        scenery="street",
        companion="boot",
    ),
    ObjectClass(
        name="arrow",
        body=(
            _polygon((1.0, 0.0), (0.15, -0.9), (0.15, 0.9)),
            _box(-1.0, -0.27, 0.25, 0.27),
        ),
        limbs=(_line((-0.85, 0.0), (-1.0, -0.5)), _line((-0.85, 0.0), (-1.0, 0.5))),
        mark=_polygon((1.0, 0.0), (0.55, -0.48), (0.55, 0.48)),
        mark_colours=(_BLUE, _YELLOW),
        materials=("rust", "straw", "slate"),
        scenery="sand",
        companion="house",
    ),
    ObjectClass(
        name="boot",
        body=(_box(-0.6, -1.0, 0.0, 0.9), _box(-0.6, 0.3, 0.85, 0.9)),
        limbs=(_line((-0.05, -0.75), (0.45, -0.95)), _line((-0.05, -0.35), (0.45, -0.4))),
        mark=_box(0.42, 0.3, 0.85, 0.9),
        mark_colours=(_GREEN, _MAGENTA),
        materials=("plum", "moss", "rust"),
        scenery="sand",
        companion="pencil",
    ),
    ObjectClass(
        name="fish",
        body=(
            _arc(-0.2, 0.0, 0.8, 0.5),
            _polygon((0.45, 0.0), (1.0, -0.5), (0.85, 0.0), (1.0, 0.5)),
        ),
        limbs=(_line((-0.2, -0.4), (0.15, -0.85)), _line((-0.2, 0.4), (0.15, 0.85))),
        mark=_arc(-0.7, 0.0, 0.28, 0.3),
        mark_colours=(_MAGENTA, _BLACK),
        materials=("straw", "rust", "moss"),
        scenery="water",
        companion="boat",
    ),
    ObjectClass(
        name="kite",
        body=(_polygon((0.0, -1.0), (0.8, -0.3), (0.0, 0.7), (-0.8, -0.3)),),
        limbs=(_line((0.0, 0.65), (0.15, 0.85), (-0.15, 1.05), (0.2, 1.25), (0.0, 1.45)),),
        mark=_polygon((0.0, -0.62), (0.32, -0.3), (0.0, 0.08), (-0.32, -0.3)),
        mark_colours=(_CYAN, _RED),
        materials=("slate", "plum", "rust"),
        scenery="meadow",
        companion="plane",
    ),
)
"""The twelve object classes; the label of the first is 1."""

CLASS_NAMES: tuple[str, ...] = ("background", *(kind.name for kind in OBJECT_CLASSES))
"""The class names by label: background, then twelve object classes."""
