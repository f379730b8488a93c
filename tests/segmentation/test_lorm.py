import math
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from cdsp.losses import Step, View, lorm
from cdsp.losses.lorm import LoRM, feature_spread, subsample
from cdsp.networks.interface import NetworkOutput

MASKS = ("attended", "rectified", "literal")
REDUCTIONS = ("mean", "nonzero")
STRIDE = 8
BATCH, CHANNELS, HEIGHT, WIDTH = 3, 3, 2, 3


class Case(NamedTuple):
    """Features, and label and validity at the resolution of the features."""

    feature: Tensor
    label: Tensor
    valid: Tensor

    def maps(self) -> dict[str, Tensor]:
        """The same maps at full resolution: noise everywhere but at the features' own pixels."""
        size = [STRIDE * (side - 1) + 1 for side in self.label.shape[1:]]
        rng = np.random.default_rng(5)
        full = {}
        for name, small, values in (
            ("pseudo_label", self.label, [0, 1, 7, 255]),
            ("valid", self.valid, [0, 1]),
        ):
            noise = rng.choice(values, (len(small), *size)).astype(np.uint8)
            noise[:, ::STRIDE, ::STRIDE] = small
            full[name] = torch.from_numpy(noise)
        return full

    def step(self, feature: Tensor | None = None) -> Step:
        feature = self.feature if feature is None else feature
        nothing = torch.zeros(len(feature), 2, 1, 1)
        output = NetworkOutput(nothing, {"backbone": feature})
        view = View(nothing, self.maps(), nothing)
        return Step([view], [output], forward=lambda _: output, progress=0.0)


def draw_case(seed: int = 0, relu: bool = False) -> Case:
    rng = np.random.default_rng(seed)
    feature = rng.normal(0.2, 1.0, (BATCH, CHANNELS, HEIGHT, WIDTH))
    label = rng.choice([0, 1, 3, 255], (BATCH, HEIGHT, WIDTH)).astype(np.uint8)
    label[:, 0, 0], label[:, 0, 1], label[:, 1, 1] = 4, 0, 2
    label[1] %= 2  # one image without ignored pixels,
    valid = np.ones((BATCH, HEIGHT, WIDTH), np.uint8)
    valid[0, :, 2] = 0  # one with padding, and with foreground below it,
    label[0, :, 2] = 4, 1
    label[2] = 0, 255, 4  # and one whose only foreground lies in padding
    valid[2, :, 2] = 0
    if relu:
        feature = np.maximum(feature, 0)
    return Case(torch.from_numpy(feature), torch.from_numpy(label), torch.from_numpy(valid))


def network_of(channels: int) -> Any:
    """What LoRM asks of a network."""
    return SimpleNamespace(feature_channels={"backbone": channels})


def make_lorm(seed: int = 0, channels: int = CHANNELS, **options: object) -> LoRM:
    torch.manual_seed(seed)
    term = LoRM(LoRM.Options(**options), network_of(channels)).double()  # type: ignore[arg-type]
    with torch.no_grad():
        term.delta.fill_(0.8)
    return term


def loop_lorm(term: LoRM, case: Case, mask: str, reduction: str, temperature: float) -> float:
    """LoRM by explicit loops over the locations that are not padding."""

    def project(convolution: torch.nn.Conv2d, value: list[float]) -> list[float]:
        weight = convolution.weight.detach().flatten(1).tolist()
        bias = convolution.bias.tolist()  # type: ignore[union-attr]
        return [
            sum(w * v for w, v in zip(row, value, strict=True)) + b
            for row, b in zip(weight, bias, strict=True)
        ]

    def cosine(one: list[float], other: list[float]) -> float:
        product = sum(a * b for a, b in zip(one, other, strict=True))
        return product / (math.hypot(*one) * math.hypot(*other))

    delta = term.delta.item()
    terms = []
    for b in range(len(case.feature)):
        places = [(y, x) for y, x in np.ndindex(*case.valid.shape[1:]) if case.valid[b, y, x]]
        feature = [case.feature[b, :, y, x].tolist() for y, x in places]
        marked = [int(case.label[b, y, x]) not in (0, 255) for y, x in places]
        if not any(marked):
            continue
        query = [project(term.query, value) for value in feature]
        key = [project(term.key, value) for value in feature]
        attention = []
        for one in query:
            row = [math.exp(cosine(one, other) / temperature) for other in key]
            attention.append([value / sum(row) for value in row])
        for here in range(len(places)):
            for c in range(len(feature[0])):
                rebuilt = 0.0
                for there in range(len(places)):
                    if mask == "attended":
                        rebuilt += attention[here][there] * marked[there] * feature[there][c]
                    elif mask == "rectified":
                        rebuilt += marked[here] * attention[here][there] * feature[there][c]
                    else:
                        rebuilt += marked[here] * attention[there][here] * feature[there][c]
                terms.append((feature[here][c] - delta * rebuilt) ** 2)
    count = len(terms) if reduction == "mean" else sum(value != 0 for value in terms)
    return sum(terms) / max(count, 1)


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("temperature", [1.0, 0.1])
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("mask", MASKS)
def test_equals_loops(mask, reduction, temperature, relu):
    for seed in range(3):
        case = draw_case(seed, relu)
        term = make_lorm(seed, mask=mask, reduction=reduction, temperature=temperature)
        found = term(case.step()).mean()
        assert found.dtype == torch.float64
        wanted = loop_lorm(term, case, mask, reduction, temperature)
        assert found.item() == pytest.approx(wanted, rel=1e-10)


def test_the_readings_and_reductions_differ():
    case = draw_case(relu=True)
    values = {
        round(make_lorm(mask=m, reduction=r)(case.step()).mean().item(), 9)
        for m in MASKS
        for r in REDUCTIONS
    }
    assert len(values) == len(MASKS) * len(REDUCTIONS)


def gradcheck_input(term: LoRM) -> tuple[Callable[..., Tensor], tuple[Tensor, ...]]:
    case = draw_case()
    names, parameters = zip(*term.named_parameters(), strict=True)

    def loss(feature: Tensor, *values: Tensor) -> Tensor:
        given = dict(zip(names, values, strict=True))
        return torch.func.functional_call(term, given, (case.step(feature),)).mean()

    values = [value.detach().clone().requires_grad_() for value in parameters]
    return loss, (case.feature.clone().requires_grad_(), *values)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("mask", MASKS)
def test_gradients(mask, reduction):
    loss, inputs = gradcheck_input(make_lorm(mask=mask, reduction=reduction))
    assert torch.autograd.gradcheck(loss, inputs)


def gradients(stop: str, mask: str, reduction: str) -> tuple[Tensor, dict[str, Tensor]]:
    case = draw_case()
    feature = case.feature.clone().requires_grad_()
    term = make_lorm(mask=mask, reduction=reduction, stop_gradient=stop)
    term(case.step(feature)).mean().backward()
    assert feature.grad is not None
    return feature.grad, {n: p.grad for n, p in term.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("mask", MASKS)
def test_stop_gradient_splits_the_features_gradient_and_spares_the_parameters(mask, reduction):
    both, parameters = gradients("none", mask, reduction)
    assert set(parameters) == {"query.weight", "query.bias", "key.weight", "key.bias", "delta"}
    sides = []
    for stop in ("target", "rectified"):
        side, others = gradients(stop, mask, reduction)
        assert side.abs().max() > 1e-3
        for name, gradient in parameters.items():
            torch.testing.assert_close(others[name], gradient)
        sides.append(side)
    torch.testing.assert_close(sides[0] + sides[1], both)


def test_the_target_side_is_the_derivative_of_the_square():
    # Only the target passes a gradient: dL/dF = 2 (F − δ F̂) / n, whose square gives L back.
    case = draw_case()
    feature = case.feature.clone().requires_grad_()
    term = make_lorm(stop_gradient="rectified")
    loss = term(case.step(feature)).mean()
    loss.backward()
    with_foreground = case.valid[:2].sum().item() * CHANNELS
    assert feature.grad is not None
    square = (feature.grad * with_foreground / 2).square().sum() / with_foreground
    assert square.item() == pytest.approx(loss.item())


@pytest.mark.parametrize("stop", ["none", "target", "rectified"])
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("mask", MASKS)
def test_padding_and_images_without_foreground_have_no_part(mask, reduction, stop):
    case = draw_case()
    term = make_lorm(mask=mask, reduction=reduction, stop_gradient=stop)
    outside = case.valid[:, None] == 0
    outside = outside.expand_as(case.feature).clone()
    outside[2] = True
    feature = case.feature.clone().requires_grad_()
    loss = term(case.step(feature)).mean()
    loss.backward()
    assert feature.grad is not None
    assert (feature.grad[outside] == 0).all()
    assert (feature.grad[~outside] != 0).any()
    changed = torch.where(outside, torch.full_like(case.feature, 30.0), case.feature)
    assert term(case.step(changed)).mean().item() == pytest.approx(loss.item(), rel=1e-12)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("what", ["background", "unlabelled", "padding"])
def test_nothing_to_rebuild_from_is_exactly_zero(what, mask, reduction):
    case = draw_case()
    if what == "padding":
        case.valid.fill_(0)
    else:
        case.label.fill_(0 if what == "background" else 255)
    term = make_lorm(mask=mask, reduction=reduction)
    feature = case.feature.clone().requires_grad_()
    loss = term(case.step(feature)).mean()
    assert loss.item() == 0
    loss.backward()
    for value in (feature, *term.parameters()):
        assert value.grad is not None
        assert (value.grad == 0).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("images", [1, 2])
@pytest.mark.parametrize("mask", MASKS)
def test_matrices_of_some_images_at_a_time_leave_no_bit_different(
    mask, images, recompute, dtype, monkeypatch
):
    # Large enough for the libraries' own products, as whatever is computed in parts.
    channels, height, width = 16, 9, 11
    rng = np.random.default_rng(0)
    case = Case(
        torch.from_numpy(rng.normal(0.2, 1, (3, channels, height, width))),
        torch.from_numpy(rng.choice([0, 1, 3, 255], (3, height, width)).astype(np.uint8)),
        torch.from_numpy(rng.choice([0, 1, 1], (3, height, width)).astype(np.uint8)),
    )

    def loss_and_gradients() -> list[Tensor]:
        term = make_lorm(channels=channels, mask=mask, temperature=0.3).float()
        feature = case.feature.to(dtype).requires_grad_()
        loss = term(case.step(feature)).mean()
        loss.backward()
        gradients = [value.grad for value in (feature, *term.parameters())]
        return [loss.detach(), *(value for value in gradients if value is not None)]

    compute = partial(lorm.rectify, recompute=recompute)
    monkeypatch.setattr(lorm, "rectify", lambda *given, recompute: compute(*given))
    together = loss_and_gradients()
    monkeypatch.setattr(lorm, "LARGEST", images * (height * width) ** 2)
    apart = loss_and_gradients()
    assert len(apart) == 7
    assert all(torch.equal(*pair) for pair in zip(together, apart, strict=True))


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 0.05), (torch.float16, 0.01)])
def test_half_precision_is_finite_and_near(dtype, tolerance, mask, reduction):
    """Loss and gradients, beside float64's, of products of half-precision matrices."""
    case = draw_case()
    term = make_lorm(mask=mask, reduction=reduction, temperature=0.1)
    halved = (100 * case.feature).to(dtype)
    exact = halved.double().requires_grad_()
    wanted = term(case.step(exact)).mean()
    wanted.backward()
    assert exact.grad is not None
    feature = halved.requires_grad_()
    loss = term.float()(case.step(feature)).mean()
    loss.backward()
    assert loss.item() == pytest.approx(wanted.item(), rel=tolerance / 10)
    assert feature.grad is not None
    error = (feature.grad.double() - exact.grad).norm() / exact.grad.norm()
    assert error < tolerance
    assert all(
        value.grad is not None and value.grad.isfinite().all() for value in term.parameters()
    )


def test_zero_features_are_finite():
    case = draw_case()
    feature = torch.zeros_like(case.feature).float().requires_grad_()
    term = LoRM(LoRM.Options(), network_of(CHANNELS))
    torch.nn.init.zeros_(term.query.bias)  # type: ignore[arg-type]
    torch.nn.init.zeros_(term.key.bias)  # type: ignore[arg-type]
    loss = term(case.step(feature)).mean()
    loss.backward()
    assert loss.item() == 0
    assert feature.grad is not None
    assert feature.grad.isfinite().all()


def test_starts_from_the_papers_delta_and_defaults():
    term = LoRM(LoRM.Options(), network_of(CHANNELS))
    assert term.delta.item() == 1
    assert (term.options.mask, term.options.reduction) == ("attended", "mean")
    assert (term.options.temperature, term.options.stop_gradient) == (1, "none")


@pytest.mark.parametrize("stride", [8, 16])
def test_subsampling_is_exact_where_features_lie_on_pixels(stride):
    for height, width in [(1, 1), (1, 4), (2, 3), (30, 59), (59, 41), (7, 129)]:
        full = (stride * (height - 1) + 1, stride * (width - 1) + 1)
        label = torch.arange(full[0] * full[1]).reshape(1, *full)
        found = subsample(label, (height, width))
        assert torch.equal(found, label[:, ::stride, ::stride])


def test_subsampling_any_size_takes_the_nearest_pixel_with_corners_aligned():
    rng = np.random.default_rng(0)
    for _ in range(50):
        height, width, h, w = rng.integers(2, 40, 4)
        h, w = min(h, height), min(w, width)
        if h < 2 or w < 2:
            continue
        label = torch.from_numpy(rng.integers(0, 256, (2, height, width), dtype=np.uint8))
        found = subsample(label, (h, w))
        assert found.dtype == torch.uint8
        for y, x in np.ndindex(h, w):
            row, column = y * (height - 1) / (h - 1), x * (width - 1) / (w - 1)
            if 0.499 < row % 1 < 0.501 or 0.499 < column % 1 < 0.501:
                continue  # two pixels are equally near
            assert torch.equal(found[:, y, x], label[:, round(row), round(column)])


def test_the_spread_against_numpy_and_it_tells_scaling_from_collapse():
    feature = np.random.default_rng(0).normal(0.5, 1, (2, 3, 4, 5)).astype(np.float32)
    found = {k: v.mean().item() for k, v in feature_spread(torch.from_numpy(feature)).items()}
    assert found["feature_variance"] == pytest.approx(feature.var(axis=(2, 3)).mean(), rel=1e-5)
    share = feature.var(axis=(2, 3)).mean() / np.square(feature).mean()
    assert found["feature_variance_share"] == pytest.approx(share, rel=1e-5)
    smaller = {k: v.mean().item() for k, v in feature_spread(torch.from_numpy(feature / 8)).items()}
    assert smaller["feature_variance"] == pytest.approx(found["feature_variance"] / 64, rel=1e-5)
    assert smaller["feature_variance_share"] == pytest.approx(share, rel=1e-5)
    alike = torch.ones(2, 3, 4, 5)
    assert feature_spread(alike)["feature_variance_share"].mean() == 0
    assert feature_spread(0 * alike)["feature_variance_share"].mean() == 0
