import math

import networkx
import numpy as np
import pytest
import torch
from loss_steps import BATCH, CHANNELS, draw, draw_maps, make_term, step_of
from torch import Tensor

from cdsp.losses.grid import mean_colours, rgb
from cdsp.losses.tree_filter import spanning_tree, tree_filter


def grid_graph(feature: Tensor) -> networkx.Graph:
    """The 4-neighbours of a (C, H, W) feature, and the squared differences between them."""
    graph = networkx.Graph()
    height, width = feature.shape[1:]
    graph.add_nodes_from(range(height * width))
    for y, x in np.ndindex(height, width):
        for v, u in ((y, x + 1), (y + 1, x)):
            if v < height and u < width:
                distance = (feature[:, y, x] - feature[:, v, u]).square().sum().item()
                graph.add_edge(y * width + x, v * width + u, weight=distance)
    return graph


def slow_filter(values: Tensor, feature: Tensor, scale: float) -> Tensor:
    """By the path of every pair of points: (K, H, W) values, (C, H, W) feature."""
    tree = networkx.minimum_spanning_tree(grid_graph(feature))
    flat, found = values.flatten(1), []
    for i in range(flat.shape[1]):
        lengths = networkx.single_source_dijkstra_path_length(tree, i)
        weights = [math.exp(-lengths[j] / scale) for j in range(flat.shape[1])]
        found.append((flat * torch.tensor(weights, dtype=flat.dtype)).sum(dim=1) / sum(weights))
    return torch.stack(found, dim=1).view_as(values)


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (2, 3), (6, 7), (11, 5)])
def test_the_tree_is_a_shortest_one(size):
    feature = draw(2, 3, *size)
    for one, parents in zip(feature, spanning_tree(feature).tolist(), strict=True):
        graph, tree = grid_graph(one), networkx.Graph()
        tree.add_nodes_from(graph)
        for child, parent in enumerate(parents):
            if child != parent:
                tree.add_edge(child, parent, weight=graph.edges[child, parent]["weight"])
        assert networkx.is_tree(tree)
        wanted = networkx.minimum_spanning_tree(graph).size("weight")
        assert tree.size("weight") == pytest.approx(wanted)


def test_equal_distances_give_a_tree_too():
    assert len(spanning_tree(torch.zeros(1, 3, 5, 6))[0].unique()) > 1
    parents = spanning_tree(torch.zeros(2, 3, 5, 6))
    assert torch.equal(parents[0], parents[1])


@pytest.mark.parametrize("scale", [0.02, 1.0, 50.0])
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (6, 7)])
def test_the_filter_equals_paths(size, scale):
    values, feature = draw(2, 3, *size), draw(2, 2, *size, seed=1)
    found = tree_filter(values, feature, spanning_tree(feature), scale)
    for b in range(2):
        torch.testing.assert_close(found[b], slow_filter(values[b], feature[b], scale))


def test_gradients_of_the_filter():
    values, feature = draw(1, 2, 3, 4).requires_grad_(), draw(1, 2, 3, 4, seed=1).requires_grad_()
    parents = spanning_tree(feature)
    assert torch.autograd.gradcheck(lambda v, f: tree_filter(v, f, parents, 1.0), (values, feature))


def test_the_energy_equals_paths():
    maps, logits, image = draw_maps(9, 13), draw(BATCH, 3, 9, 13), draw(BATCH, 3, 9, 13, seed=7)
    decoder = draw(BATCH, CHANNELS, 3, 4, seed=8)
    term = make_term("tree_energy", channels=3, colour_scale=0.3)
    found = term(step_of(logits, maps, image=image, decoder=decoder))
    embedded = term.embed(decoder)  # type: ignore[operator]
    colour = rgb(mean_colours(image, maps["valid"], (3, 4)))
    total, count = 0.0, 0
    for b in range(BATCH):
        p = logits[b, :, ::4, ::4].softmax(dim=0)
        soft = slow_filter(slow_filter(p, colour[b], 0.3), embedded[b], 1.0)
        for y, x in np.ndindex(3, 4):
            if maps["scribble"][b, 4 * y, 4 * x] == 255 and maps["valid"][b, 4 * y, 4 * x]:
                total += (p[:, y, x] - soft[:, y, x]).abs().sum().item()
                count += 1
    assert found.total.item() == pytest.approx(total, rel=1e-6)
    assert found.count.item() == count


def test_the_embedding_learns_and_no_side_is_detached():
    maps, logits = draw_maps(9, 13), draw(BATCH, 3, 9, 13).requires_grad_()
    decoder = draw(BATCH, CHANNELS, 3, 4, seed=8).requires_grad_()
    term = make_term("tree_energy", channels=3)
    term(step_of(logits, maps, decoder=decoder)).mean().backward()
    for value in (logits, decoder, *term.parameters()):
        assert value.grad is not None
        assert value.grad.abs().sum() > 0
    labelled = maps["scribble"][:, ::4, ::4] != 255
    assert (logits.grad[:, :, ::4, ::4].abs().sum(dim=1)[labelled] > 0).any()  # type: ignore[index]
