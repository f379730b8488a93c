"""`cdsp distance_maps`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cdsp.options import OutputFile


def distance_maps(
    labels: Annotated[Path, typer.Argument(help="Store of scribbles or of pseudo-labels.")],
    exponent: Annotated[float, typer.Option(min=0, max=20, help="λ of Eq. 14 or 16.")],
    output: OutputFile,
) -> None:
    """Compute distance maps: of scribbles (Eq. 14) or of a pseudo-label's boundary (Eq. 16)."""
    from cdsp.distance_maps.compute import make_distance_maps

    make_distance_maps(labels, exponent, output)
