"""Train for many epochs, and see whether memory, open files or the time of an epoch grow.

    python benchmarks/soak.py --epochs 300

prints the resident memory and the open file handles after each tenth of the epochs, and ends with 1
where memory grows by more than 2 % or a handle is left open in the last nine of the tenths.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from cdsp.dataset.prepare import make_shapes
from cdsp.networks.settings import NetworkSettings
from cdsp.scribbles.degrade import Degradation
from cdsp.scribbles.scribble_labels import degrade_scribbles, simulate_scribbles
from cdsp.segmentation.data import open_training_data
from cdsp.segmentation.method import parse_method
from cdsp.segmentation.settings import SegmentationSettings
from cdsp.segmentation.train import build_trainer
from cdsp.training import runtime
from cdsp.training.loop import Trainer


def main() -> None:
    """Train a tiny network on eight drawn images."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=300)
    epochs = parser.parse_args().epochs
    found: list[tuple[int, int]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = make_shapes(folder, "soak", num_train=8, num_val=1, size=48, seed=0)
        strokes = folder / "strokes.jsonl"
        simulate_scribbles(data, strokes, coverage=0.05, style="medial_axis", seed=0)
        degrade_scribbles(
            strokes, Degradation("full"), folder / "full",
            drop_background=False, min_per_image=0, seed=0,
        )  # fmt: skip
        method = parse_method({"scribble": 1}, "terms")
        trainer = build_trainer(
            open_training_data(data, method, {"scribble": folder / "full/labels.h5"}),
            NetworkSettings(head="deeplabv2", backbone="mobilenet_v2", backbone_weights="none"),
            SegmentationSettings(epochs=epochs, warmup_epochs=1, batch_size=4, crop_size=33),
            name={}, seed=0, device=runtime.prepare(1, "cpu"), num_workers=0,
        )  # fmt: skip

        def watch(*arguments: Any) -> None:
            end_epoch(*arguments)
            found.append((resident_memory(), len(os.listdir("/proc/self/fd"))))

        end_epoch, Trainer._end_epoch = Trainer._end_epoch, watch
        trainer.run(folder / "weights.pt")
    tenth = max(1, epochs // 10)
    for epoch in range(tenth, epochs + 1, tenth):
        memory, handles = found[epoch - 1]
        print(f"epoch {epoch}: {memory / 2**20:.1f} MiB, {handles} handles")
    (memory, handles), (last_memory, last_handles) = found[tenth - 1], found[-1]
    sys.exit(last_memory > 1.02 * memory or last_handles > handles)


def resident_memory() -> int:
    """Of this process, bytes; Linux alone tells it."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    main()
