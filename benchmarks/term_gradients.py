"""How strongly each loss term pulls at a network's backbone, beside the cross-entropies.

    python benchmarks/term_gradients.py --dataset DATASET.json --network '{…}' --settings '{…}' \
        --terms '{scribble: 1, pseudo_label: 1, lorm: 1}' --scribbles … --pseudo-labels … \
        [--weights RUN/weights.pt]

A row for each term, mean over the first batches: its unweighted loss, the norm of its gradient on
the backbone's parameters over that of the cross-entropies together, and the cosine between the two.
The network is the one that a training begins with, or that of a finished run. Whatever the
optimizer, a term whose gradient is small beside theirs, at its weight, changes little, and one that
is larger leads.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer

from cdsp.dataset.voc_layout import read_dataset
from cdsp.networks.checkpoint import read_network
from cdsp.networks.settings import NetworkSettings
from cdsp.options import DatasetOption, with_map_stores
from cdsp.segmentation.data import open_training_data
from cdsp.segmentation.method import parse_method
from cdsp.segmentation.settings import SegmentationSettings
from cdsp.segmentation.train import build_trainer
from cdsp.settings import parse_settings, read_yaml

CROSS_ENTROPIES = ("scribble", "pseudo_label", "mask")


@with_map_stores
def main(
    dataset: DatasetOption,
    terms: Annotated[str, typer.Option(help="As of `cdsp segmentation`, like the next two.")],
    stores: dict[str, Path | None],
    network: Annotated[str, typer.Option()] = "{}",
    settings: Annotated[str, typer.Option()] = "{}",
    weights: Annotated[Path | None, typer.Option(help="Of a finished run.")] = None,
    batches: Annotated[int, typer.Option(min=1, help="That are averaged.")] = 3,
) -> None:
    """Print a table of the terms' gradients."""
    torch.set_num_threads(1)
    data = open_training_data(
        read_dataset(dataset), parse_method(read_yaml(terms), "--terms"), stores
    )
    trainer = build_trainer(
        data,
        parse_settings(NetworkSettings, read_yaml(network), "--network"),
        parse_settings(SegmentationSettings, read_yaml(settings), "--settings"),
        name={},
        seed=0,
        device=torch.device("cpu"),
        num_workers=0,
    )
    objective = trainer.objective.train()
    if weights is not None:
        trained = read_network(weights, "segmentation").network
        objective.network.load_state_dict(trained.state_dict())
    parameters = list(objective.network.backbone.parameters())  # type: ignore[union-attr]
    found: dict[str, list[tuple[float, float, float]]] = {}
    for _, batch in zip(range(batches), trainer.loader, strict=False):
        losses = objective(batch, 0.0).terms
        gradients = {}
        for name, loss in losses.items():
            parts = torch.autograd.grad(
                loss.mean(), parameters, retain_graph=True, materialize_grads=True
            )
            gradients[name] = torch.cat([part.flatten() for part in parts]).double()
        labels = torch.stack([gradients[n] for n in CROSS_ENTROPIES if n in gradients]).sum(dim=0)
        for name, gradient in gradients.items():
            cosine = torch.nn.functional.cosine_similarity(gradient, labels, dim=0)
            ratio = gradient.norm() / labels.norm()
            row = (losses[name].mean().item(), ratio.item(), cosine.item())
            found.setdefault(name, []).append(row)
    print("| term | loss | gradient ÷ the cross-entropies' | cosine with it |\n|---|---|---|---|")
    for name, rows in found.items():
        loss, ratio, cosine = np.mean(rows, axis=0)
        print(f"| `{name}` | {loss:.3f} | {ratio:.2f} | {cosine:+.2f} |")


if __name__ == "__main__":
    typer.run(main)
