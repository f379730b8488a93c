import numpy as np
import pytest
from scipy import ndimage

from cdsp.scribbles.skeleton import longest_skeleton_path
from cdsp.scribbles.strokes import arc_length


def brute_force_longest_path(skeleton):
    """The greatest distance, in steps between 8-neighbours, between two pixels of a skeleton."""
    pixels = list(zip(*np.nonzero(skeleton), strict=True))
    best = 0
    for start in pixels:
        steps, frontier = {start: 0}, [start]
        while frontier:
            y, x = frontier.pop(0)
            for pixel in pixels:
                if pixel not in steps and max(abs(pixel[0] - y), abs(pixel[1] - x)) == 1:
                    steps[pixel] = steps[y, x] + 1
                    frontier.append(pixel)
        best = max(best, *steps.values())
    return best


def test_the_longest_path_of_a_branching_line():
    lines = np.zeros((30, 40), bool)
    lines[15, 3:35] = True
    lines[4:15, 20] = True
    lines[16:20, 10] = True
    path = longest_skeleton_path(lines)
    assert len(path) - 1 == brute_force_longest_path(lines) == 31
    assert sorted(path[[0, -1], 0]) == [3, 34]
    assert (path[:, 1] == 15).all()


def test_the_path_is_ordered_and_inside():
    y, x = np.mgrid[:120, :160]
    region = np.sin(x / 19) + np.cos(y / 13) + np.sin((x + y) / 31) < 0.4
    labels, _ = ndimage.label(region, np.ones((3, 3)))
    region = labels == np.bincount(labels[region]).argmax()
    path = longest_skeleton_path(region)
    assert path.dtype == np.float64
    assert abs(np.diff(path, axis=0)).max() == 1
    assert len(np.unique(path, axis=0)) == len(path)
    x, y = path.astype(int).T
    assert region[y, x].all()


def test_the_path_goes_all_the_way_round_a_ring():
    y, x = np.mgrid[:81, :81]
    radius = np.hypot(x - 40, y - 40)
    path = longest_skeleton_path((radius > 28) & (radius < 32))
    assert arc_length(path) > 0.95 * 2 * np.pi * 30


def test_paths_of_points_and_of_nothing():
    point = np.zeros((5, 6), bool)
    point[2, 3] = True
    assert longest_skeleton_path(point).tolist() == [[3, 2]]
    with pytest.raises(ValueError, match="no pixel"):
        longest_skeleton_path(np.zeros((5, 6), bool))
