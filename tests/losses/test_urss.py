import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from loss_steps import BATCH, draw, draw_maps, make_term, step_of

from cdsp.losses import Step
from cdsp.losses.urss import Certainty, WalkConsistency, superpixel_borders
from cdsp.networks.heads import build_network
from cdsp.networks.interface import NetworkOutput
from cdsp.networks.settings import NetworkSettings
from cdsp.training.augmentation import normalise


def test_borders_run_along_the_edge_between_two_colours():
    image = np.full((1, 24, 32, 3), 30, np.uint8)
    image[0, :, 17:] = 220
    found = superpixel_borders(torch.from_numpy(normalise(image)), 8)[0]
    assert not found[0].any()
    assert found[2:-2, 16:18].any(dim=1).all()
    assert found.float().mean() < 0.4


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (3, 3)])
def test_images_smaller_than_a_superpixel_have_no_border(size):
    assert not superpixel_borders(draw(2, 3, *size).float(), 16).any()


def test_certainty_is_the_mean_entropy_off_the_borders():
    logits, maps, image = draw(BATCH, 3, 20, 25), draw_maps(20, 25), draw(BATCH, 3, 20, 25, seed=7)
    term = make_term("certainty", superpixel_spacing=6)
    found = term(step_of(logits, maps, image=image))
    borders = superpixel_borders(image, 6)
    assert borders.any()
    total, count = 0.0, 0
    for b, y, x in np.ndindex(BATCH, 20, 25):
        if maps["valid"][b, y, x] and not borders[b, y, x]:
            total -= sum(p * math.log(p) for p in logits[b, :, y, x].softmax(dim=0).tolist())
            count += 1
    assert found.total.item() == pytest.approx(total)
    assert found.count.item() == count
    logits = logits[..., :5, :6].clone().requires_grad_()
    small = draw_maps(5, 6)
    assert torch.autograd.gradcheck(lambda x: term(step_of(x, small)).mean(), (logits,))


def walk_step(query, key, mirrored_query, mirrored_key, progress=0.9) -> Step:
    logits, nothing = draw(len(query), 3, 4, 6), draw(len(query), 3, 4, 6)
    step = step_of(logits, draw_maps(4, 6), progress=progress)
    features: list[Any] = [
        {"query": q, "key": k} for q, k in ((query, key), (mirrored_query, mirrored_key))
    ]

    def forward(images):
        assert torch.equal(images, step.image.flip(-1))
        return NetworkOutput(nothing, features[1])

    return Step(step.views, [NetworkOutput(logits, features[0])], forward, progress)


def make_walk(**options: Any) -> WalkConsistency:
    network: Any = SimpleNamespace(feature_channels={"query": 2, "key": 2})
    return WalkConsistency(WalkConsistency.Options(**options), network)


def test_the_walks_are_compared_place_by_place():
    query, key, other_query, other_key = (draw(BATCH, 2, 2, 3, seed=seed) for seed in range(4))
    found = make_walk()(walk_step(query, key, other_query, other_key))
    total = 0.0
    places = list(np.ndindex(2, 3))
    for b in range(BATCH):
        traces = [0.0, 0.0]
        for y, x in places:
            here = [math.exp(query[b, :, y, x] @ key[b, :, v, u]) for v, u in places]
            there = [
                math.exp(other_query[b, :, y, 2 - x] @ other_key[b, :, v, 2 - u]) for v, u in places
            ]
            p, q = ([value / sum(row) for value in row] for row in (here, there))
            total += sum(b * math.log(b / a) for a, b in zip(p, q, strict=True))
            place = places.index((y, x))
            traces = [traces[0] + p[place] / 6, traces[1] + q[place] / 6]
        total += 0.01 * 6 * abs(traces[0] - traces[1])
    assert found.total.item() == pytest.approx(total)
    assert found.count.item() == BATCH * 6


def test_the_mirrored_walk_gets_no_gradient_and_equal_walks_cost_nothing():
    query, key = (draw(BATCH, 2, 2, 3, seed=seed).requires_grad_() for seed in range(2))
    others = [draw(BATCH, 2, 2, 3, seed=seed).requires_grad_() for seed in (2, 3)]
    term = make_walk()
    term(walk_step(query, key, *others)).mean().backward()
    assert all(value.grad is None for value in others)
    assert torch.autograd.gradcheck(
        lambda q, k: term(walk_step(q, k, *others)).mean(), (query, key), fast_mode=True
    )
    same = term(walk_step(query, key, query.flip(-1), key.flip(-1)))
    assert same.total.item() == pytest.approx(0, abs=1e-12)
    early = term(walk_step(query, key, *others, progress=0.4))
    assert (early.total.item(), early.count.item()) == (0, 0)


def test_another_head_is_refused_by_name():
    with torch.device("meta"):
        network = build_network(NetworkSettings(backbone="resnet18", head="deeplabv2"), 3)
    with pytest.raises(ValueError, match="this network's head has none; choose the head random_w"):
        WalkConsistency(WalkConsistency.Options(), network)
    Certainty(Certainty.Options(), network)


def test_the_head_walks_by_its_own_queries_and_keys():
    torch.manual_seed(0)
    options = {"decoder_channels": 6, "attention_channels": 2, "gamma": 0.5}
    settings = NetworkSettings(
        head="random_walk", backbone="resnet18", output_stride=16, head_options=options
    )
    network = build_network(settings, 3).double().eval().requires_grad_(False)
    logits, features = network(draw(1, 3, 33, 33))
    x = network.reduce(features["backbone"])[0].flatten(1)  # type: ignore[operator]
    query, key = (features[name][0].flatten(1) for name in ("query", "key"))
    value = network.walk.value(x.view(1, 6, 3, 3))[0].flatten(1)  # type: ignore[operator]
    for i in range(9):
        weights = [math.exp(query[:, i] @ key[:, j]) for j in range(9)]
        moved = sum(w * value[:, j] for j, w in enumerate(weights)) / sum(weights)
        torch.testing.assert_close(features["decoder"][0].flatten(1)[:, i], x[:, i] + 0.5 * moved)
    torch.testing.assert_close(
        logits[..., ::16, ::16],
        network.classify(features["decoder"]),  # type: ignore[operator]
    )
