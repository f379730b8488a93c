"""What a term of somebody's own may get wrong, told where it stands."""

from dataclasses import dataclass

import pytest
import torch
from test_terms_on_bad_input import draw_batch, objective_of

from cdsp.losses import LOSS_TERMS, LossTerm, Sum, TermOptions, loss_term
from cdsp.segmentation.objective import SegmentationObjective
from cdsp.settings import setting


@pytest.fixture(autouse=True)
def own_terms_alone(monkeypatch):
    monkeypatch.setattr("cdsp.losses.LOSS_TERMS", before := dict(LOSS_TERMS))
    monkeypatch.setattr("cdsp.segmentation.objective.LOSS_TERMS", before)
    monkeypatch.setattr("cdsp.segmentation.method.LOSS_TERMS", before)


class Weight(LossTerm):
    """Registered below, in each case in another wrong way."""


def with_options(kind: type) -> type[LossTerm]:
    return type("Own", (LossTerm,), {"Options": kind})


class Undecorated(TermOptions):
    sharpness: float = setting(2.0, "how sharp")


@dataclass(frozen=True)
class Alone:
    sharpness: float = setting(2.0, "how sharp")


@dataclass(frozen=True)
class Unexplained(TermOptions):
    sharpness: float = 2.0


@pytest.mark.parametrize(
    ("name", "reads", "term", "said"),
    [
        ("own", ("scribbel",), Weight, r"reads: unknown name 'scribbel'; did you mean 'scribble'"),
        ("own", "valid", Weight, r'write reads=\("valid",\)'),
        ("scribble", ("valid",), Weight, r"cdsp\.losses\.\w+ has a term of this name"),
        ("own", ("scribble_distance",), Weight, "whose λ is its option 'exponent'"),
        ("own", ("valid",), with_options(Undecorated), r"not declared as '@dataclass"),
        ("own", ("valid",), with_options(Alone), r"not declared as .*Options\(TermOptions\)"),
        ("own", ("valid",), with_options(Unexplained), r'= setting\(2\.0, "meaning"\)'),
    ],
)
def test_a_term_that_is_declared_wrongly_is_refused(name, reads, term, said):
    before = LOSS_TERMS.get(name)
    with pytest.raises(ValueError, match=rf"loss term '{name}' \(.*{said}"):
        loss_term(name, reads)(term)
    assert LOSS_TERMS.get(name) is before


def objective_returning(compute) -> SegmentationObjective:
    @loss_term("own", reads=("valid",))
    class Own(LossTerm):
        def forward(self, step):
            return compute(step)

    return objective_of("own")


@pytest.mark.parametrize(
    ("compute", "said"),
    [
        (lambda s: s.output.logits.mean(), r"returned a tensor of shape \(\); expected Sum"),
        (lambda s: (s.output.logits.sum(), 3), r"returned tuple\(a tensor of shape \(\), int\)"),
        (lambda s: Sum(s.output.logits.sum(), 3), r"returned Sum\(a tensor of shape \(\), int\)"),
        (
            lambda s: Sum(s.output.logits.sum(dim=(0, 1)), torch.ones(())),
            r"returned Sum\(a tensor of shape \(9, 13\), a tensor of shape \(\)\)",
        ),
        (
            lambda s: Sum(s.output.logits.sum(), s.output.logits.exp().sum()),
            "the count has a gradient",
        ),
        (
            lambda s: Sum(s.output.logits.argmax(dim=1).sum(), torch.ones(())),
            "the total has no gradient",
        ),
        (
            lambda s: Sum(s.output.logits.sum(), s.maps["mask"].sum()),
            r"reads the map 'mask', and has named \('valid',\)",
        ),
    ],
)
def test_a_term_that_returns_something_else_is_named(compute, said):
    objective = objective_returning(compute)
    batch = {name: draw_batch(1, (9, 13))[name] for name in ("image", "matrix", "valid")}
    with pytest.raises(ValueError, match=rf"loss term 'own' \(.*Own\): .*{said}"):
        objective(batch, 0.5)


def test_a_term_with_nothing_to_say_needs_no_gradient():
    objective = objective_returning(lambda s: Sum(torch.zeros(()), torch.zeros(())))
    terms, _ = objective(draw_batch(1, (9, 13)), 0.5)
    assert terms["own"].mean() == 0


def test_a_mistake_inside_of_a_term_stays_its_own():
    objective = objective_returning(lambda s: {}["nothing of this name"])
    with pytest.raises(KeyError, match="nothing of this name"):
        objective(draw_batch(1, (9, 13)), 0.5)
