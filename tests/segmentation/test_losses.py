import dataclasses
import math

import numpy as np
import pytest
import torch

from cdsp.losses import LOSS_TERMS, Step, View
from cdsp.losses.cross_entropy import labelled_cross_entropy
from cdsp.losses.distance_entropy import distance_entropy
from cdsp.maps import MAPS
from cdsp.networks.interface import NetworkOutput

BATCH, CLASSES, HEIGHT, WIDTH = 2, 4, 3, 5
PER_PIXEL_TERMS = {
    "scribble": "scribble",
    "pseudo_label": "pseudo_label",
    "mask": "mask",
    "scribble_distance": "scribble_distance",
    "pseudo_label_distance": "pseudo_label_distance",
}


def draw_logits(seed: int = 0, spread: float = 2.0) -> torch.Tensor:
    logits = np.random.default_rng(seed).normal(0, spread, (BATCH, CLASSES, HEIGHT, WIDTH))
    return torch.from_numpy(logits)


def draw_label(seed: int = 1) -> torch.Tensor:
    label = np.random.default_rng(seed).choice(
        [0, 1, 2, 3, 255], size=(BATCH, HEIGHT, WIDTH), p=[0.2, 0.2, 0.1, 0.1, 0.4]
    )
    return torch.from_numpy(label.astype(np.uint8))


def draw_distance(seed: int = 2) -> torch.Tensor:
    distance = np.random.default_rng(seed).choice(
        [0, 1, 37, 128, 254, 255], size=(BATCH, HEIGHT, WIDTH)
    )
    return torch.from_numpy(distance.astype(np.uint8))


def draw_maps(seed: int = 3) -> dict[str, torch.Tensor]:
    maps = {name: draw_label(seed + i) for i, name in enumerate(("scribble", "pseudo_label"))}
    maps["mask"] = draw_label(seed + 2)
    maps["scribble_distance"] = draw_distance(seed + 3)
    maps["pseudo_label_distance"] = draw_distance(seed + 4)
    maps["valid"] = torch.ones(BATCH, HEIGHT, WIDTH, dtype=torch.uint8)
    return maps


def make_term(name: str, **options: float):
    """The mean of a term, as a function of logits and maps."""
    kind = LOSS_TERMS[name]
    term = kind(kind.Options(**options), network=None)  # type: ignore[arg-type]
    return lambda logits, maps: term(step_of(logits, maps)).mean()


def step_of(logits: torch.Tensor, maps: dict[str, torch.Tensor]) -> Step:
    feature = torch.zeros(BATCH, 2, 1, 1)
    output = NetworkOutput(logits, {"backbone": feature})
    view = View(torch.zeros(BATCH, 3, HEIGHT, WIDTH), maps, torch.zeros(BATCH, 2, 3))
    return Step([view], [output], forward=lambda _: output, progress=0.0)


def probabilities(logits: torch.Tensor, b: int, y: int, x: int) -> list[float]:
    values = [math.exp(float(logits[b, k, y, x])) for k in range(logits.shape[1])]
    return [value / sum(values) for value in values]


def loop_cross_entropy(logits: torch.Tensor, label: torch.Tensor, smoothing: float) -> float:
    total, count = 0.0, 0
    for b, y, x in np.ndindex(*label.shape):
        target = int(label[b, y, x])
        if target == 255:
            continue
        for k, p in enumerate(probabilities(logits, b, y, x)):
            wanted = smoothing / logits.shape[1] + (1 - smoothing if k == target else 0.0)
            total -= wanted * math.log(p)
        count += 1
    return total / count if count else 0.0


def loop_distance_entropy(logits: torch.Tensor, distance: torch.Tensor) -> float:
    total, count = 0.0, 0
    for b, y, x in np.ndindex(*distance.shape):
        weight = int(distance[b, y, x]) / 255
        if weight == 0:
            continue
        total -= weight * sum(p * math.log(p) for p in probabilities(logits, b, y, x))
        count += 1
    return total / count if count else 0.0


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("seed", [0, 1])
def test_cross_entropy_equals_loops(smoothing, seed):
    logits, label = draw_logits(seed), draw_label(seed)
    found = labelled_cross_entropy(logits.log_softmax(1), label, smoothing).mean()
    assert found.dtype == torch.float64
    assert found.item() == pytest.approx(loop_cross_entropy(logits, label, smoothing), rel=1e-12)


@pytest.mark.parametrize("seed", [0, 1])
def test_distance_entropy_equals_loops(seed):
    logits, distance = draw_logits(seed), draw_distance(seed)
    found = distance_entropy(step_of(logits, {}).entropy, distance).mean()
    assert found.dtype == torch.float64
    assert found.item() == pytest.approx(loop_distance_entropy(logits, distance), rel=1e-12)


@pytest.mark.parametrize("name", ["scribble", "mask"])
def test_supervised_terms_read_their_own_map(name):
    logits, maps = draw_logits(), draw_maps()
    found = make_term(name)(logits, {name: maps[name]})
    assert found.item() == pytest.approx(loop_cross_entropy(logits, maps[name], 0), rel=1e-12)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.3])
def test_pseudo_label_term_smooths(smoothing):
    logits, maps = draw_logits(), draw_maps()
    label = maps["pseudo_label"]
    found = make_term("pseudo_label", label_smoothing=smoothing)(logits, {"pseudo_label": label})
    assert found.item() == pytest.approx(loop_cross_entropy(logits, label, smoothing), rel=1e-12)


def test_smoothing_defaults_to_the_papers():
    assert LOSS_TERMS["pseudo_label"].Options().label_smoothing == 0.1  # type: ignore[attr-defined]


def test_scribble_distance_term_weighs_unlabelled_pixels_too():
    logits, maps = draw_logits(), draw_maps()
    distance = maps["scribble_distance"]
    found = make_term("scribble_distance")(logits, {"scribble_distance": distance})
    assert found.item() == pytest.approx(loop_distance_entropy(logits, distance), rel=1e-12)


def test_pseudo_label_distance_term_leaves_unknown_pixels_out():
    logits, maps = draw_logits(), draw_maps()
    label, distance = maps["pseudo_label"], maps["pseudo_label_distance"]
    known = distance.clone()
    known[label == 255] = 0
    found = make_term("pseudo_label_distance")(
        logits, {"pseudo_label": label, "pseudo_label_distance": distance}
    )
    assert found.item() == pytest.approx(loop_distance_entropy(logits, known), rel=1e-12)
    assert found.item() != pytest.approx(loop_distance_entropy(logits, distance), rel=1e-3)


def test_uniform_prediction_has_the_entropy_of_the_number_of_classes():
    logits = torch.zeros(BATCH, CLASSES, HEIGHT, WIDTH, dtype=torch.float64)
    entropy = step_of(logits, {}).entropy
    full = torch.full((BATCH, HEIGHT, WIDTH), 255, dtype=torch.uint8)
    assert distance_entropy(entropy, full).mean().item() == pytest.approx(math.log(CLASSES))
    assert distance_entropy(entropy, full - 204).mean().item() == pytest.approx(
        math.log(CLASSES) / 5
    )


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-14), (torch.float32, 1e-6), (torch.bfloat16, 0.01)]
)
def test_what_terms_share_changes_their_gradient_by_rounding_alone(dtype, tolerance):
    """Beside float64's, each term on its own."""
    logits, maps = draw_logits().to(dtype), draw_maps()

    def gradient(logits: torch.Tensor, shares: bool) -> torch.Tensor:
        logits = logits.clone().requires_grad_()
        step = dataclasses.replace(step_of(logits, maps), shares=shares)
        kinds = [LOSS_TERMS[name] for name in PER_PIXEL_TERMS]
        terms = [kind(kind.Options(), network=None) for kind in kinds]  # type: ignore[arg-type]
        torch.stack([term(step).mean() for term in terms]).sum().backward()
        assert (step.entropy is step.entropy) == shares
        assert logits.grad is not None
        return logits.grad.double()

    wanted = gradient(logits.double(), shares=False)
    error = (gradient(logits, shares=True) - wanted).abs().max() / wanted.abs().max()
    assert error <= tolerance


@pytest.mark.parametrize("name", PER_PIXEL_TERMS)
def test_gradients_of_per_pixel_terms(name):
    term, maps = make_term(name), draw_maps()
    logits = draw_logits().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: term(x, maps), (logits,))


@pytest.mark.parametrize("name", PER_PIXEL_TERMS)
def test_pixels_without_a_label_get_no_weight_and_no_gradient(name):
    term, maps = make_term(name), draw_maps()
    unused = maps[PER_PIXEL_TERMS[name]] == (0 if "distance" in name else 255)
    if name == "pseudo_label_distance":
        unused |= maps["pseudo_label"] == 255
    assert unused.any()
    assert not unused.all()

    logits = draw_logits().requires_grad_()
    loss = term(logits, maps)
    loss.backward()
    gradient = logits.grad.abs().amax(dim=1)  # type: ignore[union-attr]
    assert (gradient[unused] == 0).all()
    assert (gradient[~unused] > 0).all()

    changed = logits.detach().clone()
    changed.movedim(1, -1)[unused] = 50 * torch.randn(
        int(unused.sum()), CLASSES, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    assert term(changed, maps).item() == loss.item()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", PER_PIXEL_TERMS)
def test_a_batch_without_anything_to_say_is_exactly_zero(name, dtype):
    maps = draw_maps()
    maps[PER_PIXEL_TERMS[name]].fill_(0 if "distance" in name else 255)
    logits = draw_logits().to(dtype).requires_grad_()
    loss = make_term(name)(logits, maps)
    assert loss.item() == 0
    loss.backward()
    assert (logits.grad == 0).all()


def test_pseudo_label_distance_of_an_unknown_pseudo_label_is_zero():
    maps = draw_maps()
    maps["pseudo_label"].fill_(255)
    logits = draw_logits().requires_grad_()
    loss = make_term("pseudo_label_distance")(logits, maps)
    assert loss.item() == 0
    loss.backward()
    assert (logits.grad == 0).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", PER_PIXEL_TERMS)
def test_half_precision_is_computed_in_float32(name, dtype):
    term, maps = make_term(name), draw_maps()
    logits = draw_logits().to(dtype)
    wanted = term(logits.double(), maps).item()
    logits.requires_grad_()
    loss = term(logits, maps)
    loss.backward()
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(wanted, rel=1e-5)
    assert logits.grad.isfinite().all()  # type: ignore[union-attr]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", PER_PIXEL_TERMS)
def test_certain_predictions_stay_finite(name, dtype):
    logits = draw_logits(spread=1.0).sign().mul(6e4).to(dtype).requires_grad_()
    loss = make_term(name)(logits, draw_maps())
    loss.backward()
    assert loss.isfinite()
    assert logits.grad.isfinite().all()  # type: ignore[union-attr]


def test_every_term_reads_known_maps_and_explains_its_options():
    assert {*PER_PIXEL_TERMS, "lorm"} <= set(LOSS_TERMS)
    for name, kind in LOSS_TERMS.items():
        assert kind.reads, name
        assert set(kind.reads) <= set(MAPS)
        assert kind.Options().weight == 1
