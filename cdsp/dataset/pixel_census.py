"""What pixels the photographs of a folder have, and the format by which all of them are read."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np

from cdsp.io.findings import Findings
from cdsp.io.names import first_few
from cdsp.io.photograph import open_any_photograph
from cdsp.io.pixels import RGB, Depth, PixelFormat, describe_pixels, measure_format, require_finite

SAMPLES = 4096
"""Pixels of a training image of which the values are measured."""
PERCENTILES = (0.5, 99.5)
"""Of the values that become 0 and 255: a few hot pixels must not darken all others."""


class PixelCensus:
    """Reads photographs, and remembers what pixels they have."""

    def __init__(self, page: int) -> None:
        """``page`` is that of the files which is read."""
        self.page = page
        self._kinds: defaultdict[tuple[int, Depth], list[str]] = defaultdict(list)
        self._samples: defaultdict[tuple[int, Depth], list[np.ndarray]] = defaultdict(list)

    def add(self, path: Path, *, is_training: bool) -> tuple[int, int]:
        """Read a photograph whole, and return its height and width.

        Args:
            path: the file.
            is_training: whether its values are measured.

        Raises:
            ValueError: see `open_any_photograph`; or a value is NaN.
        """
        photograph = open_any_photograph(path, self.page)
        values = photograph.whole
        if photograph.depth == "float32":
            require_finite(values, path)
        kind = photograph.channels, photograph.depth
        self._kinds[kind].append(path.name)
        if is_training and (*kind, self.page) != (3, "uint8", 0):
            pixels = values.reshape(-1, photograph.channels)
            step = max(1, len(pixels) // SAMPLES)
            self._samples[kind].append(pixels[step // 2 :: step].copy())
        return photograph.size

    def tell(self, folder: Path, findings: Findings) -> set[str]:
        """Tell where photographs are not all of one kind; the files that are not of the usual."""
        kinds = sorted(self._kinds.items(), key=lambda entry: -len(entry[1]))
        if len(kinds) < 2:
            return set()
        found = "; ".join(
            f"{len(names)} of {describe_pixels(*kind)} ({first_few(names)})"
            for kind, names in kinds
        )
        findings.problems.append(
            f"{folder}: photographs of several kinds: {found}; give all the same channels and depth"
        )
        return {name for _, names in kinds[1:] for name in names}

    @property
    def format(self) -> PixelFormat:
        """The format of the usual kind of photographs."""
        kind = max(self._kinds, key=lambda kind: len(self._kinds[kind]), default=RGB.kind)
        samples = self._samples.get(kind)
        if samples is None:
            return RGB
        channels, depth = kind
        return measure_format(channels, depth, self.page, np.concatenate(samples), PERCENTILES)
