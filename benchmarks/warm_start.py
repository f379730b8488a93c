"""What a warm start costs: the same network from nothing, and from weights of fewer strokes.

    python benchmarks/warm_start.py --output /tmp/warm --seeds 2

Drawn images; the earlier run was trained on the strokes that hold_out-0.25 leaves, the later ones
on all of them. Prints mIoU on the validation images and processor time of each.
"""

import argparse
import time
from pathlib import Path

from cdsp.dataset.prepare import make_shapes
from cdsp.evaluation.evaluate import evaluate
from cdsp.evaluation.settings import EvaluationSettings
from cdsp.networks.settings import NetworkSettings
from cdsp.scribbles.degrade import Degradation
from cdsp.scribbles.scribble_labels import degrade_scribbles, simulate_scribbles
from cdsp.segmentation.data import open_training_data
from cdsp.segmentation.method import parse_method
from cdsp.segmentation.settings import SegmentationSettings
from cdsp.segmentation.train import train_segmentation
from cdsp.training import runtime

EPOCHS = 12
NETWORK = NetworkSettings(
    backbone="resnet18",
    backbone_weights="none",
    output_stride=16,
    head_options={"decoder_channels": 64},
)
PROTOCOL = EvaluationSettings(scales=(1.0,), long_side=0, window=0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=2)
    arguments = parser.parse_args()
    root = arguments.output
    dataset = make_shapes(root / "data", "warm", num_train=160, num_val=60, size=97, seed=0)
    simulate_scribbles(dataset, root / "strokes.jsonl", style="scribblesup", seed=0)
    for name in ("full", "hold_out-0.25"):
        options = {"drop_background": False, "min_per_image": 0, "seed": 0}
        degrade_scribbles(root / "strokes.jsonl", Degradation.parse(name), root / name, **options)
    method, device = parse_method({"scribble": 1}, "method"), runtime.prepare(1, "cpu")

    def train(title: str, scribbles: str, epochs: int, seed: int, start: Path | None) -> Path:
        settings = SegmentationSettings(
            epochs=epochs,
            warmup_epochs=1 if start is None else 0,
            batch_size=8,
            optimizer="adamw",
            learning_rate=0.002,
            weight_decay=0.001,
            crop_size=65,
            scale=(0.75, 1.25),
            blur_probability=0,
        )
        data = open_training_data(dataset, method, {"scribble": root / scribbles / "labels.h5"})
        name = {"method": title, "scribbles": scribbles, "seed": seed}
        begun, folder = time.process_time(), root / title / str(seed)
        weights = train_segmentation(
            data,
            NETWORK,
            settings,
            folder,
            name=name,
            seed=seed,
            device=device,
            num_workers=0,
            start_from=start,
        )
        seconds = time.process_time() - begun
        metrics = evaluate(
            weights, dataset, PROTOCOL, folder / "evaluation", protocol="quick", device=device
        )
        print(f"{title}, seed {seed}: mIoU {100 * metrics['mean_iou']:.2f}, {seconds:.0f} s")
        return weights

    for seed in range(arguments.seeds):
        earlier = train("earlier", "hold_out-0.25", EPOCHS, seed, None)
        train("from_nothing", "full", EPOCHS, seed, None)
        for epochs in (3, 6):
            train(f"warm_{epochs}", "full", epochs, seed, earlier)


if __name__ == "__main__":
    main()
