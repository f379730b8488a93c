"""Where a data set comes from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from cdsp.settings import setting


@dataclass(frozen=True)
class ShapesSettings:
    """The data set that the project draws itself."""

    num_train: int = setting(400, "training images", minimum=1)
    num_val: int = setting(120, "validation images", minimum=1)
    size: int = setting(97, "side of the square images, pixels", minimum=32)
    seed: int = setting(0, "of all random draws", minimum=0)


@dataclass(frozen=True)
class FolderSettings:
    """A data set of one's own, in VOC layout."""

    path: str = setting(
        ...,
        "folder with JPEGImages/, SegmentationClassAug/ and ImageSets/SegmentationAug/",
        is_path=True,
    )
    classes: tuple[str, ...] = setting(..., "names of all classes; the first is the background")
    colours: dict[str, tuple[int, int, int]] = setting(
        {}, "class → red, green, blue, where VOC's colours are not wanted", minimum=0, maximum=255
    )
    working_size: int = setting(
        0,
        "longer side that every photograph is brought to before any stage sees it, pixels; all "
        "sizes and scales of the other stages refer to it; 0 = as they are",
        minimum=0,
    )
    page: int = setting(0, "of photographs that are TIFFs of several pages, from 0", minimum=0)
    void_regions: bool = setting(
        False, "255 fills whole regions of masks on purpose, though a class is in none of them"
    )


@dataclass(frozen=True)
class ScribbleSupSettings:
    """PASCAL VOC 2012 + SBD with the strokes of ScribbleSup, fetched where they are missing."""

    path: str = setting(
        "data/scribblesup", "folder to build it in, or of a copy made by hand", is_path=True
    )
    archives: str | None = setting(
        None, "folder of archives downloaded before, used first", is_path=True
    )


BenchmarkName = Literal["cityscapes", "ade20k"]


@dataclass(frozen=True)
class Scribbles4AllSettings:
    """Cityscapes or ADE20K with the strokes of Scribbles for All."""

    benchmark: BenchmarkName = setting(..., "the original data set")
    path: str = setting(
        ...,
        "its folder as it is unpacked (leftImg8bit/, gtFine/; images/, annotations/, "
        "objectInfo150.txt), with the strokes in scribbles/",
        is_path=True,
    )


SOURCES: dict[str, type] = {
    "shapes": ShapesSettings,
    "folder": FolderSettings,
    "scribblesup": ScribbleSupSettings,
    "scribbles4all": Scribbles4AllSettings,
}
"""Where a data set comes from → its settings."""
