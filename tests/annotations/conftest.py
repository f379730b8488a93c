import numpy as np
import pytest

from cdsp.annotations.annotation import Painting
from cdsp.annotations.read import read_annotations
from cdsp.io.findings import Findings
from cdsp.scribbles.rasterise import rasterise
from cdsp.scribbles.strokes import Stroke


@pytest.fixture(scope="session")
def read_file(tmp_path_factory):
    """Function of a name and the content of a file: the annotations in it, and the problems.

    Hints are appended to the list that is given as ``hints``.
    """

    def read(name, content, hints=None):
        path = tmp_path_factory.mktemp("file") / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        findings = Findings()
        annotations = list(read_annotations(path, findings))
        if hints is not None:
            hints.extend(findings.hints)
        return annotations, list(findings.problems)

    return read


@pytest.fixture(scope="session")
def pixels():
    """Function of a shape: the (x, y) that a pen of 1 px marks along a stroke, or a box holds.

    Of a painting: those that were painted.
    """

    def mark(shape, width=1.0, size=(30, 40)):
        if isinstance(shape, Painting):
            y, x = np.nonzero(shape.pixels(*size))
            return set(zip(x.tolist(), y.tolist(), strict=True))
        assert shape.points.dtype == np.float64
        if shape.kind == "box":
            (left, top), (right, bottom) = shape.points.min(axis=0), shape.points.max(axis=0)
            grid = [(x, y) for y in range(40) for x in range(40)]
            return {(x, y) for x, y in grid if left <= x <= right and top <= y <= bottom}
        y, x = np.nonzero(rasterise([Stroke(1, shape.points, width)], 40, 40) == 1)
        return set(zip(x.tolist(), y.tolist(), strict=True))

    return mark
