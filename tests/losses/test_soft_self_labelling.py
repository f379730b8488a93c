import itertools
import math

import numpy as np
import pytest
import torch
from loss_steps import BATCH, CLASSES, draw, draw_labels, draw_maps, make_term, step_of
from torch import Tensor

from cdsp.losses.soft_self_labelling import contrast_weights, energy, soft_labels

SIZE = (5, 6)


def draw_problem():
    probability = draw(BATCH, CLASSES, *SIZE).softmax(dim=1)
    scribble, valid = draw_labels(BATCH, *SIZE), draw_maps(*SIZE, padded=2)["valid"] != 0
    scribble[~valid] = 255
    return probability, scribble, valid, contrast_weights(draw(BATCH, 3, *SIZE, seed=3), valid)


def loop_energy(label: Tensor, probability, scribble, valid, colour, unary, pairwise) -> float:
    total = 0.0
    for b in range(BATCH):
        edges = []
        for y, x in np.ndindex(*SIZE):
            for v, u in ((y, x + 1), (y + 1, x)):
                if v < SIZE[0] and u < SIZE[1] and valid[b, y, x] and valid[b, v, u]:
                    squared = (colour[b, :, y, x] - colour[b, :, v, u]).square().sum().item()
                    edges.append(((y, x), (v, u), squared))
        beta = sum(squared for *_, squared in edges) / len(edges)
        for (y, x), (v, u), squared in edges:
            one, other = label[b, :, y, x].tolist(), label[b, :, v, u].tolist()
            cosine = sum(p * q for p, q in zip(one, other, strict=True))
            cosine /= math.hypot(*one) * math.hypot(*other)
            total -= pairwise * math.exp(-squared / (2 * beta)) * math.log(cosine)
        for y, x in np.ndindex(*SIZE):
            if valid[b, y, x] and scribble[b, y, x] == 255:
                total -= unary * math.log(float(label[b, :, y, x] @ probability[b, :, y, x]))
    return total


def test_the_energy_equals_loops():
    probability, scribble, valid, weights = draw_problem()
    label = draw(BATCH, CLASSES, *SIZE, seed=5).softmax(dim=1)
    found = energy(label.log(), probability, weights, valid & (scribble == 255), 0.3, 6.0)
    colour = draw(BATCH, 3, *SIZE, seed=3)
    wanted = loop_energy(label, probability, scribble, valid, colour, 0.3, 6.0)
    assert found.item() == pytest.approx(wanted, rel=1e-9)


@pytest.mark.parametrize("pairwise", [0.1, 6.0])
def test_the_descent_never_climbs_and_ends_where_another_optimizer_ends(pairwise):
    probability, scribble, valid, weights = draw_problem()
    unlabelled = scribble == 255

    def value(log_label: Tensor) -> Tensor:
        return energy(log_label, probability, weights, unlabelled & valid, 0.3, pairwise)

    options = {"unary": 0.3, "pairwise": pairwise}
    values = [
        value(soft_labels(probability, scribble, valid, weights, steps=n, **options)).item()
        for n in (0, 1, 2, 3, 5, 10, 30, 400)
    ]
    assert all(later <= earlier + 1e-9 for earlier, later in itertools.pairwise(values))
    start = soft_labels(probability, scribble, valid, weights, steps=0, **options)
    logits = start.clone().requires_grad_()
    optimizer = torch.optim.Adam([logits], lr=0.1)
    for _ in range(400):
        optimizer.zero_grad()
        loss = value(torch.where(unlabelled[:, None], logits.log_softmax(dim=1), start.detach()))
        loss.backward()
        optimizer.step()
    fallen = values[0] - loss.item()
    assert values[0] - values[-1] > 0.95 * fallen
    assert values[0] - values[-2] > 0.7 * fallen  # the steps of the default


def test_strokes_spread_over_their_colour_and_keep_their_label():
    colour = torch.zeros(1, 3, 6, 8, dtype=torch.float64)
    colour[..., 4:] = 2
    scribble = torch.full((1, 6, 8), 255, dtype=torch.uint8)
    scribble[0, 2, 0], scribble[0, 4, 7] = 1, 2
    valid = torch.ones(1, 6, 8, dtype=torch.bool)
    probability = torch.full((1, 3, 6, 8), 1 / 3, dtype=torch.float64)
    weights = contrast_weights(colour, valid)
    options = {"unary": 0.3, "pairwise": 6.0, "steps": 200}
    label = soft_labels(probability, scribble, valid, weights, **options).exp()
    assert (label.argmax(dim=1)[0, :, :4] == 1).all()
    assert (label.argmax(dim=1)[0, :, 4:] == 2).all()
    assert label[0, 1, 2, 0] == 1
    torch.testing.assert_close(label.sum(dim=1), torch.ones(1, 6, 8, dtype=torch.float64))


def test_the_network_learns_from_the_labels_alone():
    """−ln σᵀy of labels that are held fast, on the points without a stroke."""
    maps, term = draw_maps(9, 13), make_term("soft_self_labelling", weight=0.3)
    logits = draw(BATCH, CLASSES, 9, 13).requires_grad_()
    found = term(step_of(logits, maps))
    p = logits[..., ::4, ::4].softmax(dim=1)
    scribble, valid = maps["scribble"][:, ::4, ::4], maps["valid"][:, ::4, ::4] != 0
    from cdsp.losses.grid import mean_colours

    colour = mean_colours(step_of(logits, maps).image, maps["valid"], (3, 4))
    weights = contrast_weights(colour, valid)
    label = soft_labels(p, scribble, valid, weights, unary=0.3, pairwise=6.0, steps=30).exp()
    wanted = -(p * label).sum(dim=1).log()[(scribble == 255) & valid]
    assert found.total.item() == pytest.approx(wanted.sum().item(), rel=1e-9)
    assert found.count.item() == len(wanted)
    (expected,) = torch.autograd.grad(wanted.sum(), logits)
    (gradient,) = torch.autograd.grad(found.total, logits)
    torch.testing.assert_close(gradient, expected)
