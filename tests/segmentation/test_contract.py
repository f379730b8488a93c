"""Rival terms of each kind, each as one file would bring it, with nothing else changed."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_network import TINY_NETWORK, WITHOUT_POOLING
from torch import nn

from cdsp.losses import (
    LOSS_TERMS,
    LossTerm,
    Step,
    Sum,
    TermOptions,
    View,
    at_least_float32,
    loss_term,
)
from cdsp.losses.views import align
from cdsp.networks.checkpoint import read_network
from cdsp.networks.heads import SegmentationNetwork
from cdsp.networks.settings import NetworkSettings
from cdsp.segmentation.method import parse_method
from cdsp.segmentation.train import build_trainer
from cdsp.training import runtime
from cdsp.training.loop import Trainer
from cdsp.training.record import read_training


def register() -> None:
    """What the files of three rivals would hold."""

    @loss_term("colour_pairs", reads=("valid",))
    class ColourPairs(LossTerm):
        """Neighbours of one colour are of one class: a gated CRF of one step to the right."""

        def forward(self, step: Step) -> Sum:
            p = at_least_float32(step.output.logits).softmax(dim=1)
            colour = (step.image[..., 1:] - step.image[..., :-1]).square().sum(dim=1)
            valid = step.maps["valid"]
            both = (valid[..., 1:] != 0) & (valid[..., :-1] != 0)
            kernel = (-0.5 * colour).exp() * both
            unlike = 1 - (p[..., 1:] * p[..., :-1]).sum(dim=1)
            return Sum((kernel * unlike).sum(), both.sum())

    @loss_term("prototypes", reads=("scribble",))
    class Prototypes(LossTerm):
        """The decoder's features of strokes, near the mean of their class in the image."""

        def __init__(self, options: TermOptions, network: SegmentationNetwork) -> None:
            super().__init__(options, network)
            self.project = nn.Conv2d(network.feature_channels["decoder"], 4, 1)

        def forward(self, step: Step) -> Sum:
            feature = self.project(at_least_float32(step.output.features["decoder"]))
            size = step.maps["scribble"].shape[-2:]
            feature = nn.functional.interpolate(feature, size=size)
            total, count = feature.sum() * 0, 0
            for one, label in zip(feature, step.maps["scribble"], strict=True):
                for class_id in label.unique().tolist():
                    if class_id != 255:
                        own = one[:, label == class_id]
                        total = total + (own - own.mean(dim=1, keepdim=True)).square().sum()
                        count += own.numel()
            return Sum(total, total.new_tensor(count))

    @loss_term("mirrored", reads=("valid",))
    class Mirrored(LossTerm):
        """A second forward pass, of the mirrored image, says the mirrored; in the second half."""

        def forward(self, step: Step) -> Sum:
            valid = (step.maps["valid"] != 0) * (step.progress >= 0.5)
            with torch.no_grad():
                other = step.forward(step.image.flip(-1)).logits.flip(-1).softmax(dim=1)
            difference = (step.output.logits.softmax(dim=1) - other).square().sum(dim=1)
            return Sum((difference * valid).sum(), valid.sum())


@pytest.fixture(scope="module", autouse=True)
def rivals() -> Iterator[None]:
    before = dict(LOSS_TERMS)
    register()
    yield
    LOSS_TERMS.clear()
    LOSS_TERMS.update(before)


@pytest.fixture(scope="module")
def trainer_of(tiny_training, tiny_settings):
    def trainer_of(
        terms: dict[str, Any], network: NetworkSettings = TINY_NETWORK, **changes: Any
    ) -> Trainer:
        method = parse_method(terms, "method")
        return build_trainer(
            tiny_training.open(method),
            network,
            replace(tiny_settings, **{"batch_size": 4, "epochs": 2, **changes}),
            name={"method": "tiny"},
            seed=0,
            device=runtime.prepare(1, "cpu"),
            num_workers=0,
        )

    return trainer_of


def read_log(folder: Path) -> list[dict[str, Any]]:
    return list(read_training(folder).log or ())


def test_the_averaged_teacher_is_what_a_run_leaves_behind(tmp_path, trainer_of, monkeypatch):
    trainer = trainer_of({"mask": 1, "mean_teacher": {"weight": 1, "decay": 0.75}})
    network = trainer.objective.network
    expected = {name: value.clone() for name, value in network.state_dict().items()}
    original = trainer.optimizer.step

    def step(*arguments: Any) -> Any:
        result = original(*arguments)
        for name, value in network.state_dict().items():
            average = 0.75 * expected[name] + 0.25 * value
            expected[name] = average if value.is_floating_point() else value.clone()
        return result

    monkeypatch.setattr(trainer.optimizer, "step", step)
    trainer.run(tmp_path / "weights.pt")
    found = read_network(tmp_path / "weights.pt", "segmentation").network.state_dict()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-6)
    moved = {name for name, value in network.state_dict().items() if (value != found[name]).any()}
    assert len(moved) > 50
    assert not any("teacher" in name for name in found)
    # It is not trained, but averaged.
    trained = {id(parameter) for parameter in trainer.parameters}
    assert not any(id(p) in trained for p in trainer.objective.terms["mean_teacher"].parameters())
    assert read_log(tmp_path)[-1]["mean_teacher"] > 0


class Interrupted(Exception):
    pass


def test_the_teacher_is_part_of_the_state(tmp_path, trainer_of, monkeypatch):
    terms = {"mask": 1, "mean_teacher": 1}
    whole = trainer_of(terms).run(tmp_path / "whole" / "weights.pt").read_bytes()
    original, done = Trainer._step, []

    def step(*arguments: Any) -> Any:
        if len(done) == 3:
            raise Interrupted
        done.append(None)
        return original(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_step", step)
        with pytest.raises(Interrupted):
            trainer_of(terms).run(tmp_path / "weights.pt")
    assert trainer_of(terms).run(tmp_path / "weights.pt").read_bytes() == whole


RIVALS = ("colour_pairs", "prototypes", "consistency", "mirrored")


@pytest.fixture(scope="module")
def plain(trainer_of, tmp_path_factory):
    """The weights of a run without any rival."""
    path = trainer_of({"mask": 1}).run(tmp_path_factory.mktemp("plain") / "weights.pt")
    return read_network(path, "segmentation").network.state_dict()


@pytest.mark.parametrize("name", RIVALS)
def test_a_rival_is_logged_and_trains_the_network(tmp_path, trainer_of, plain, name):
    path = trainer_of({"mask": 1, name: 1}).run(tmp_path / "weights.pt")
    assert read_log(tmp_path)[-1][name] > 0
    found = read_network(path, "segmentation").network.state_dict()
    assert found.keys() == plain.keys()
    assert any(not torch.equal(found[key], plain[key]) for key in found)


def test_all_terms_that_there_are_train_together(tmp_path, trainer_of):
    """In one method, on a head with a feature of its own; each says something by the end."""
    options: dict[str, Any] = {"soft_self_labelling": {"weight": 0.3, "start": 0.1}}
    terms = {name: options.get(name, 0.1) for name in LOSS_TERMS}
    network = NetworkSettings(
        head="random_walk",
        head_options={"decoder_channels": 8, "attention_channels": 4},
        backbone="mobilenet_v2",
        backbone_weights="none",
        output_stride=8,
    )
    trainer_of(terms, network).run(tmp_path / "weights.pt")
    record = read_log(tmp_path)[-1]
    silent = {name for name in terms if not record[name] > 0}
    assert silent <= {"agmm_absent"}  # each image has every class


def test_rivals_bear_half_precision_together(tmp_path, trainer_of):
    terms = {"mask": 1, "mean_teacher": 1, **dict.fromkeys(RIVALS, 1)}
    trainer_of(terms, precision="bfloat16").run(tmp_path / "weights.pt")
    assert all(read_log(tmp_path)[-1][name] > 0 for name in terms)


def test_micro_batches_are_one_big_batch_for_rivals_too(tmp_path, trainer_of):
    terms = {"mask": 1, "mean_teacher": 1, **dict.fromkeys(RIVALS, 1)}
    logs, vectors = [], []
    for number in (1, 3):
        trainer = trainer_of(
            terms,
            WITHOUT_POOLING,
            batch_size=8,
            micro_batches=number,
        )
        before = torch.cat([p.detach().flatten() for p in trainer.parameters])
        trainer.run(tmp_path / str(number) / "weights.pt")
        vectors.append(torch.cat([p.detach().flatten() for p in trainer.parameters]))
        logs.append(read_log(tmp_path / str(number)))
    assert (vectors[0] - vectors[1]).norm() < 1e-4 * (vectors[0] - before).norm()
    for one, other in zip(*logs, strict=True):
        for name in terms:
            assert other[name] == pytest.approx(one[name], rel=1e-3, abs=1e-9), name


def test_two_views_show_the_same_pixel_where_their_matrices_say_so(trainer_of):
    """A view's own pixel, brought to the other by the matrices, has the other's label."""
    trainer = trainer_of({"mask": 1, "consistency": 1}, rotation_probability=1, scale=(0.9, 1.3))
    crops = trainer.loader.dataset
    agree, apart = [], []
    for index in range(8):
        sample = crops[0, index]
        assert sample["image"].shape == (2, 3, 33, 33)
        mask = sample["mask"][:, None].float()
        names = ("image", "valid", "matrix")
        here, there = (
            View(image[None], {"valid": valid[None]}, matrix[None])
            for image, valid, matrix in zip(*(sample[name] for name in names), strict=True)
        )
        moved, seen = (value[0] for value in align(mask[1:], there, here))
        moved, inside = moved[0], seen
        whole = inside & (moved == moved.round()) & (moved < 3)
        agree.append((moved == mask[0, 0])[whole])
        apart.append((mask[1, 0] == mask[0, 0])[whole])
    assert torch.cat(agree).float().mean() > 0.95
    assert torch.cat(apart).float().mean() < 0.9
