"""Where strokes come from, and how they are degraded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cdsp.scribbles.strokes import WIDEST
from cdsp.scribbles.styles import StyleName
from cdsp.settings import setting


@dataclass(frozen=True)
class SimulationSettings:
    """Strokes simulated from the masks, as a hand would draw them."""

    style: StyleName = setting(
        "scribblesup",
        "how they are drawn: three ways of people, or along the medial axis of every region",
    )
    coverage: float | None = setting(
        None,
        "largest fraction of an image's pixels to label; all strokes are shortened alike where "
        "they would label more; none: the style's own",
        minimum=0.001,
        maximum=1,
    )
    seed: int = setting(0, "of all random draws", minimum=0)


@dataclass(frozen=True)
class AnnotationSettings:
    """Strokes that people drew or painted, in any format of `cdsp.annotations.read`."""

    path: str | None = setting(
        None,
        "folder or file of annotations; none: Scribbles/ in the data set's own folder",
        is_path=True,
    )
    width: float = setting(
        3.0, "of strokes whose file does not say it, pixels", minimum=0.5, maximum=WIDEST
    )
    aliases: dict[str, str] = setting({}, "label in the files → class that it means")
    ignore: tuple[str, ...] = setting((), "labels and flags that are no classes: left out")
    skip_unreadable: bool = setting(
        False, "leave out shapes that cannot be read, such as polygons, instead of stopping"
    )

    def place(self, root: Path) -> Path:
        """The folder or file of annotations of a data set that lies in a folder."""
        return Path(self.path) if self.path else root / "Scribbles"


STROKE_SOURCES: dict[str, type] = {
    "simulated": SimulationSettings,
    "annotations": AnnotationSettings,
}
"""Where strokes come from → the settings."""


@dataclass(frozen=True)
class DegradationSettings:
    """How strokes, boxes and tags are dropped or held out (shrinking has no settings)."""

    drop_background: bool = setting(False, "drop-<ratio> takes background strokes too")
    min_per_image: int = setting(
        0, "object strokes, boxes and tags that drop-<ratio> leaves each image", minimum=0
    )
    seed: int = setting(0, "of the draw of the dropped and of the held-out strokes", minimum=0)
