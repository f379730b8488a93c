import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage
from skimage.segmentation import random_walker

from cdsp.pseudo_labels import random_walk as module
from cdsp.pseudo_labels.random_walk import (
    SuperpixelGraph,
    build_graph,
    cut_superpixels,
    random_walk,
    remove_unstroked,
    superpixel_means,
)

EIGHT = np.ones((3, 3))


def draw_image(height, width, seed=0):
    """A photograph's likeness: smooth patches with a little noise."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (3, 4, 3), dtype=np.uint8)
    image = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC).astype(int)
    return (image + rng.integers(-6, 7, image.shape)).clip(0, 255).astype(np.uint8)


def check_superpixels(superpixels, number, shape):
    assert (superpixels.shape, superpixels.dtype) == (shape, np.int32)
    assert np.unique(superpixels).tolist() == list(range(number))
    for node in range(number):
        assert ndimage.label(superpixels == node, EIGHT)[1] == 1


# --- superpixels --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "shape", [(1, 1), (1, 2), (2, 1), (2, 2), (1, 30), (3, 3), (5, 40), (33, 17), (48, 48)]
)
@pytest.mark.parametrize("spacing", [1.0, 1.5, 4.0, 10.0, 100.0])
def test_superpixels_cover_the_image_without_gaps_in_one_piece_each(shape, spacing):
    check_superpixels(*cut_superpixels(draw_image(*shape), spacing), shape)


@settings(max_examples=30)
@given(
    st.tuples(st.integers(1, 12), st.integers(1, 12)),
    st.floats(1, 15, width=16),
    st.integers(0, 9),
)
def test_superpixels_of_noise_too(shape, spacing, seed):
    image = np.random.default_rng(seed).integers(0, 256, (*shape, 3), dtype=np.uint8)
    check_superpixels(*cut_superpixels(image, spacing), shape)


def test_there_is_a_superpixel_for_each_point_of_the_grid():
    assert cut_superpixels(draw_image(48, 60), 12.0)[1] == 4 * 5
    assert cut_superpixels(draw_image(48, 60), 1000.0)[1] == 1
    superpixels, number = cut_superpixels(draw_image(9, 7), 1.0)
    assert number == 63
    np.testing.assert_array_equal(superpixels, np.arange(63).reshape(9, 7))


def test_superpixels_end_at_contours():
    image = np.full((40, 60, 3), 40, np.uint8)
    image[:, 33:] = 220  # not at a border of the grid
    superpixels, _ = cut_superpixels(image, 10.0)
    left, right = np.unique(superpixels[:, :32]), np.unique(superpixels[:, 34:])
    assert not np.intersect1d(left, right).size


# --- the graph ----------------------------------------------------------------------------------


def slow_edges(image, superpixels, spacing, colour_scale):
    """(node, node) → weight, from every pair of neighbouring pixels, one after the other."""
    lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB).astype(np.float64)
    colours = {node: lab[superpixels == node].mean(axis=0) for node in np.unique(superpixels)}
    lengths = {}
    height, width = superpixels.shape
    for y, x in np.ndindex(height, width):
        for v, u in ((y + 1, x), (y, x + 1)):
            if v < height and u < width and superpixels[y, x] != superpixels[v, u]:
                pair = tuple(sorted((int(superpixels[y, x]), int(superpixels[v, u]))))
                lengths[pair] = lengths.get(pair, 0) + 1
    return {
        (i, j): length
        / spacing
        * np.exp(-(np.linalg.norm(colours[i] - colours[j]) ** 2) / (2 * colour_scale**2))
        for (i, j), length in lengths.items()
    }


@pytest.mark.parametrize("spacing", [1.0, 3.0, 7.5])
def test_weights_against_a_loop_over_pairs_of_pixels(spacing):
    image = draw_image(22, 31, seed=4)
    graph = build_graph(image, spacing, 12.0)
    expected = slow_edges(image, graph.superpixels, spacing, 12.0)
    pairs = list(zip(graph.starts.tolist(), graph.ends.tolist(), strict=True))
    assert len(pairs) == len(set(pairs))
    found = {tuple(sorted(p)): w for p, w in zip(pairs, graph.weights.tolist(), strict=True)}
    assert found.keys() == expected.keys()
    for pair, weight in expected.items():
        assert weight < found[pair] < weight + 1e-3  # and a little, to hold the graph together


def test_means_over_superpixels():
    image = draw_image(20, 26)
    graph = build_graph(image, 6.0, 15.0)
    values = np.random.default_rng(1).random((3, 20, 26))
    found = superpixel_means(graph.superpixels, graph.num_nodes, values)
    assert found.shape == (graph.num_nodes, 3)
    for node, channel in np.ndindex(found.shape):
        expected = values[channel][graph.superpixels == node].mean()
        assert found[node, channel] == pytest.approx(expected)


# --- the walk -----------------------------------------------------------------------------------


def draw_scribbles(shape, classes, number, seed=0):
    rng = np.random.default_rng(seed)
    scribbles = np.full(shape, 255, np.uint8)
    for class_id in rng.choice(classes, number):
        y, x = rng.integers(0, shape[0]), rng.integers(0, shape[1] - 3)
        scribbles[y, x : x + 3] = class_id
    return scribbles


def draw_prior(num_classes, shape, seed=0):
    prior = np.random.default_rng(seed).random((num_classes, *shape)) ** 3
    return prior / prior.sum(axis=0)


def slow_walk(graph, scribbles, classes, prior, prior_weight):
    """Least squares of every term of the sum, one row for each, without any shortcut."""
    size, rows, wanted = graph.num_nodes, [], []

    def add(weight, node, target, other=None):
        row = np.zeros(size)
        row[node] = np.sqrt(weight)
        if other is not None:
            row[other] = -np.sqrt(weight)
        rows.append(row)
        wanted.append(np.sqrt(weight) * target)

    nothing = np.zeros(len(classes))
    for i, j, weight in zip(graph.starts, graph.ends, graph.weights, strict=True):
        add(weight, i, nothing, j)
    for node in range(size):
        inside = graph.superpixels == node
        strokes = [int((scribbles[inside] == class_id).sum()) for class_id in classes]
        if sum(strokes):
            add(100.0, node, np.array(strokes) / sum(strokes))
        if prior is not None:
            add(prior_weight, node, np.array([p[inside].mean() for p in prior]))
    return np.linalg.lstsq(np.array(rows), np.array(wanted), rcond=None)[0]


CLASSES = np.array([0, 3, 7], np.uint8)


@pytest.mark.parametrize("with_prior", [False, True])
@pytest.mark.parametrize("number", [1, 4, 12])
def test_the_walk_minimises_what_it_says(with_prior, number):
    image = draw_image(30, 37, seed=number)
    graph = build_graph(image, 5.0, 15.0)
    scribbles = draw_scribbles(image.shape[:2], CLASSES, number, seed=number)
    prior = draw_prior(3, image.shape[:2]) if with_prior else None
    found = random_walk(graph, scribbles, CLASSES, prior, 0.05)
    expected = slow_walk(graph, scribbles, CLASSES, prior, 0.05)
    np.testing.assert_allclose(found, expected, atol=1e-8)


def test_without_a_prior_it_is_the_random_walker_of_scikit_image(monkeypatch):
    """On single pixels, with hard seeds and its own least weight."""
    monkeypatch.setattr(module, "_SEED_STRENGTH", 1e9)
    monkeypatch.setattr(module, "_WEAKEST_EDGE", 1e-6)
    image = draw_image(13, 17, seed=2)
    scribbles = draw_scribbles((13, 17), CLASSES, 9, seed=5)
    assert set(np.unique(scribbles)) == {0, 3, 7, 255}
    graph = build_graph(image, 1.0, 20.0)
    found = random_walk(graph, scribbles, CLASSES)[graph.superpixels]
    lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB) / 255
    expected = random_walker(
        lab,
        np.select([scribbles == class_id for class_id in CLASSES], [1, 2, 3]),
        beta=10 * np.sqrt(3) * lab.std() * 255**2 / (2 * 20.0**2),
        mode="bf",
        channel_axis=-1,
        return_full_prob=True,
    )
    np.testing.assert_allclose(found.transpose(2, 0, 1), expected, atol=1e-5)


@settings(max_examples=25)
@given(st.integers(0, 10**6), st.integers(1, 8), st.sampled_from([0.0, 1e-6, 0.01, 1.0, 1e4]))
def test_probabilities_are_probabilities_in_any_order_of_the_classes(seed, number, prior_weight):
    image = draw_image(16, 21, seed)
    graph = build_graph(image, 4.0, 10.0)
    scribbles = draw_scribbles((16, 21), CLASSES, number, seed)
    prior = draw_prior(3, (16, 21), seed)
    found = random_walk(graph, scribbles, CLASSES, prior, prior_weight)
    assert found.shape == (graph.num_nodes, 3)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-8)
    assert found.min() > -1e-9
    assert found.max() < 1 + 1e-9
    order = np.random.default_rng(seed).permutation(3)
    permuted = random_walk(graph, scribbles, CLASSES[order], prior[order], prior_weight)
    np.testing.assert_allclose(permuted, found[:, order], atol=1e-9)
    again = random_walk(graph, scribbles, CLASSES, prior, prior_weight)
    assert again.tobytes() == found.tobytes()


def strip():
    """An even image of 20 superpixels in a row, with a stroke in the first."""
    graph = build_graph(np.full((4, 80, 3), 90, np.uint8), 4.0, 15.0)
    assert graph.num_nodes == 20
    scribbles = np.full((4, 80), 255, np.uint8)
    scribbles[1:3, :2] = 3
    return graph, scribbles


def test_strokes_decide_near_them_and_the_prior_far_from_them():
    graph, scribbles = strip()
    wanted = np.array([0.7, 0.1, 0.2])
    prior = np.broadcast_to(wanted[:, None, None], (3, 4, 80))
    found = random_walk(graph, scribbles, CLASSES, prior, 1.0)
    assert found[0, 1] > 0.95
    assert (np.diff(found[:, 1]) < 0).all()
    np.testing.assert_allclose(found[-1], wanted, atol=1e-3)
    # The less it weighs, the farther the stroke reaches.
    less = random_walk(graph, scribbles, CLASSES, prior, 0.1)
    assert (less[1:, 1] > found[1:, 1]).all()


def test_a_prior_of_weight_zero_has_no_influence():
    graph, scribbles = strip()
    scribbles[1:3, -2:] = 7
    without = random_walk(graph, scribbles, CLASSES)
    for seed in range(2):
        prior = draw_prior(3, scribbles.shape, seed)
        np.testing.assert_array_equal(random_walk(graph, scribbles, CLASSES, prior, 0.0), without)
    np.testing.assert_array_equal(random_walk(graph, scribbles, CLASSES, None, 0.5), without)
    # Between two strokes on even ground, the chances change as a straight line.
    np.testing.assert_allclose(np.diff(without[:, 2], n=2)[1:-1], 0, atol=1e-9)


def test_a_superpixel_of_two_strokes_is_shared():
    graph, scribbles = strip()
    scribbles[:] = 255
    scribbles[0, 0:3] = 3
    scribbles[3, 0] = 7
    np.testing.assert_allclose(
        random_walk(graph, scribbles, CLASSES), np.tile([0, 0.75, 0.25], (20, 1)), atol=1e-9
    )


def test_one_superpixel_is_a_graph_as_well():
    graph = build_graph(np.zeros((1, 1, 3), np.uint8), 10.0, 15.0)
    assert graph.num_nodes == 1
    found = random_walk(graph, np.array([[3]], np.uint8), CLASSES)
    np.testing.assert_allclose(found, [[0, 1, 0]])


def test_neither_a_stroke_nor_a_prior_is_refused():
    graph, scribbles = strip()
    scribbles[:] = 255
    for arguments in ((), (draw_prior(3, scribbles.shape), 0.0), (None, 0.5)):
        with pytest.raises(ValueError, match="neither a stroke nor other evidence"):
            random_walk(graph, scribbles, CLASSES, *arguments)
    prior = draw_prior(3, scribbles.shape)
    assert np.isfinite(random_walk(graph, scribbles, CLASSES, prior, 1e-6)).all()


def test_a_graph_in_hand_made_pieces():
    """A chain of three: by hand, the middle is the mean of its ends by their weights."""
    superpixels = np.array([[0, 1, 2]], np.int32)
    graph = SuperpixelGraph(
        superpixels, 3, np.array([0, 1]), np.array([1, 2]), np.array([3.0, 1.0]) * 1e-6
    )
    found = random_walk(graph, np.array([[0, 255, 7]], np.uint8), CLASSES[[0, 2]])
    np.testing.assert_allclose(found, [[1, 0], [0.75, 0.25], [0, 1]], atol=1e-6)


# --- regions without a stroke -------------------------------------------------------------------

few = st.sampled_from([0, 1, 2, 255])


@given(arrays(np.uint8, (6, 7), elements=few), arrays(np.uint8, (6, 7), elements=few))
def test_regions_without_a_stroke_against_scipy(label, scribbles):
    before = label.copy()
    expected = label.copy()
    for class_id in (1, 2):
        regions, number = ndimage.label(label == class_id, EIGHT)
        for region in range(1, number + 1):
            if not (scribbles[regions == region] == class_id).any():
                expected[regions == region] = 255
    found = remove_unstroked(label, scribbles)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(label, before)
