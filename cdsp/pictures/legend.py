"""The legend of class colours, as a picture of its own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from cdsp.io.outputs import atomic_path
from cdsp.pictures.style import style


def write_legend(path: Path, classes: Sequence[str], palette: np.ndarray) -> None:
    """Write the colours and names of all classes as a PNG, atomically.

    Args:
        path: the file.
        classes: names in the order of their indices; the first is not coloured in pictures.
        palette: (256, 3) uint8.
    """
    names = [f"{index} {name}" for index, name in enumerate(classes)]
    names[0] += " (in pictures: the photograph as it is)"
    with style():
        patches = [Patch(color=tuple(colour / 255)) for colour in palette[: len(classes)]]
        figure = Figure(figsize=(4, 0.2 * len(classes) + 0.2))
        figure.legend(patches, names, loc="center", frameon=False)
        with atomic_path(path, sync=False) as temporary:
            figure.savefig(
                temporary,
                format="png",
                dpi=150,
                bbox_inches="tight",
                metadata={"Software": None},
            )
