"""The per-pixel maps that a method can learn from: one table of them, for all who handle them.

It needs nothing but the standard library, so that the command line and the workflow may read it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

UNKNOWN = 255  # `cdsp.io.files.IGNORE`, whose module loads NumPy and Pillow


@dataclass(frozen=True)
class PixelMap:
    """A map of (H, W) uint8 that an image can have.

    Attributes:
        name: what loss terms call it.
        padding: its value where augmentation pads, at which it says nothing.
        store: the kind of store that holds it; None: it comes with the images.
        option: the option of the commands that names its store, without dashes; None: no store.
        help: of that option.
        made_from: the map that it is computed from, which decides whether it is up to date.
        has_exponent: whether it has a λ; a term that reads it has it as its option `exponent`.
    """

    name: str
    padding: int
    store: str | None = None
    option: str | None = None
    help: str = ""
    made_from: str | None = None
    has_exponent: bool = False


MAPS: dict[str, PixelMap] = {
    entry.name: entry
    for entry in (
        # Labels: 0..K-1, and 255 where nothing is known.
        PixelMap("scribble", UNKNOWN, "scribbles", "scribbles", "Store of scribble labels."),
        PixelMap(
            "pseudo_label", UNKNOWN, "pseudo_labels", "pseudo-labels", "Store of pseudo-labels."
        ),
        PixelMap("mask", UNKNOWN),
        # Distances, Eq. 14 and 16.
        PixelMap(
            "scribble_distance",
            0,
            "scribble_distance_maps",
            "scribble-distances",
            "Store, Eq. 14.",
            made_from="scribble",
            has_exponent=True,
        ),
        PixelMap(
            "pseudo_label_distance",
            0,
            "pseudo_label_distance_maps",
            "pseudo-label-distances",
            "Store, Eq. 16.",
            made_from="pseudo_label",
            has_exponent=True,
        ),
        # 1 on pixels of the image, 0 where augmentation padded.
        PixelMap("valid", 0),
    )
}
"""Name → map, in the order in which they are made."""

STORED: dict[str, PixelMap] = {
    name: entry for name, entry in MAPS.items() if entry.store is not None
}
"""The maps that a store holds."""


def with_origins(names: Iterable[str]) -> frozenset[str]:
    """The maps of these names, and those that they are made from."""
    return frozenset(names) | {
        origin for name in names if (origin := MAPS[name].made_from) is not None
    }
