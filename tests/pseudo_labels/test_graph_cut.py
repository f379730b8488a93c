import itertools

import numpy as np
import pytest

from cdsp.pseudo_labels.from_evidence import label_from_evidence
from cdsp.pseudo_labels.graph_cut import energy, expand_all, graph_cut
from cdsp.pseudo_labels.random_walk import SuperpixelGraph, build_graph
from cdsp.pseudo_labels.settings import LabelSettings


def draw_problem(seed: int, nodes: int, classes: int):
    rng = np.random.default_rng(seed)
    pairs = [pair for pair in itertools.combinations(range(nodes), 2) if rng.random() < 0.5]
    starts, ends = np.array(pairs, np.int64).reshape(-1, 2).T
    costs = rng.integers(0, 60, (nodes, classes))
    return costs, starts, ends, rng.integers(0, 30, len(starts))


def slow_energy(labels, costs, starts, ends, weights) -> int:
    total = sum(int(costs[i, k]) for i, k in enumerate(labels))
    edges = zip(starts, ends, weights, strict=True)
    return total + sum(int(w) for i, j, w in edges if labels[i] != labels[j])


@pytest.mark.parametrize("seed", range(12))
def test_two_classes_are_cut_at_the_minimum(seed):
    costs, *edges = draw_problem(seed, 8, 2)
    labels = expand_all(costs.argmin(axis=1), costs, *edges)
    every = itertools.product(range(2), repeat=8)
    wanted = min(slow_energy(candidate, costs, *edges) for candidate in every)
    assert slow_energy(labels, costs, *edges) == energy(labels, costs, *edges) == wanted


@pytest.mark.parametrize("seed", range(8))
def test_no_class_can_gain_by_taking_nodes_from_the_others(seed):
    costs, *edges = draw_problem(seed, 7, 4)
    labels = expand_all(costs.argmin(axis=1), costs, *edges)
    found = slow_energy(labels, costs, *edges)
    for target in range(4):
        for taken in itertools.product((False, True), repeat=7):
            assert slow_energy(np.where(taken, target, labels), costs, *edges) >= found
    every = itertools.product(range(4), repeat=7)
    assert found <= 2 * min(slow_energy(candidate, costs, *edges) for candidate in every)


def chain() -> SuperpixelGraph:
    """Six superpixels in a row, the border between the fourth and the fifth the weakest."""
    weights = np.array([1.0, 1.0, 1.0, 0.1, 1.0])
    return SuperpixelGraph(
        np.arange(6)[None].astype(np.int32), 6, np.arange(5), np.arange(1, 6), weights
    )


def test_strokes_keep_their_class_and_meet_at_the_weakest_border():
    scribbles = np.array([[3, 255, 255, 255, 255, 0]], np.uint8)
    found = graph_cut(chain(), scribbles, np.array([0, 3]))
    assert found.argmax(axis=1).tolist() == [1, 1, 1, 1, 0, 0]
    assert (found.sum(axis=1) == 1).all()


@pytest.mark.parametrize(
    ("weight", "wanted"), [(0.01, [1, 1, 1, 1, 0, 0]), (2, [1, 0, 0, 1, 1, 0])]
)
def test_the_prior_decides_by_its_weight_but_not_against_strokes(weight, wanted):
    scribbles = np.array([[3, 255, 255, 255, 255, 0]], np.uint8)
    foreground = np.array([[0, 0, 0, 1, 1, 1]])
    prior = np.stack([1 - foreground, foreground]).astype(float)
    found = graph_cut(chain(), scribbles, np.array([0, 3]), prior, weight)
    assert found.argmax(axis=1).tolist() == wanted


def test_nothing_to_go_by_is_refused():
    with pytest.raises(ValueError, match="neither a stroke nor other evidence"):
        graph_cut(chain(), np.full((1, 6), 255, np.uint8), np.array([0, 3]))


def test_an_image_is_cut_at_its_edges():
    image = np.full((40, 48, 3), 60, np.uint8)
    image[8:32, 12:36] = (200, 90, 20)
    image += np.random.default_rng(0).integers(0, 9, image.shape, dtype=np.uint8)
    scribbles = np.full((40, 48), 255, np.uint8)
    scribbles[3, 5:40] = 0
    scribbles[20, 18:30] = 5
    settings = LabelSettings(refinement="graph_cut", superpixel_spacing=4)
    label = label_from_evidence(scribbles, np.array([0, 5], np.uint8), None, settings, image)
    truth = np.zeros((40, 48), np.uint8)
    truth[8:32, 12:36] = 5
    assert (label == truth).mean() > 0.95
    assert set(np.unique(label)) == {0, 5}


def test_one_pixel_is_cut_too():
    graph = build_graph(np.zeros((1, 1, 3), np.uint8), 4, 10)
    found = graph_cut(graph, np.array([[2]], np.uint8), np.array([0, 2]))
    assert found.tolist() == [[0.0, 1.0]]
