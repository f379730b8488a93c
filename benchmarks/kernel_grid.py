"""What a coarser grid changes in the dense kernel's losses: dense CRF and normalised cut.

    python benchmarks/kernel_grid.py dataset.json --images 6 --crop 257

The masks of training images, softened, stand for a prediction; so do the same masks displaced.
Prints each loss by stride, its seconds, and how far it is from the finest grid's.
"""

import argparse
import time
from pathlib import Path

import cv2
import numpy as np
import torch

from cdsp.dataset.voc_layout import read_dataset
from cdsp.losses import LOSS_TERMS, Step, View
from cdsp.networks.interface import NetworkOutput
from cdsp.training.augmentation import normalise


def step_of(image: np.ndarray, mask: np.ndarray, displacement: int) -> Step:
    """A step of one image whose prediction is its softened mask, displaced."""
    classes = np.unique(mask[mask != 255])
    moved = np.roll(mask, displacement, axis=1)
    hot = np.stack([cv2.GaussianBlur((moved == k).astype(np.float32), (0, 0), 2) for k in classes])
    logits = torch.from_numpy(np.log(hot + 0.05))[None].requires_grad_()
    valid = torch.ones(1, *mask.shape, dtype=torch.uint8)
    view = View(torch.from_numpy(normalise(image))[None], {"valid": valid}, torch.eye(2, 3)[None])
    output = NetworkOutput(logits, {})
    return Step([view], [output], lambda *_: output, 0.9)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--images", type=int, default=6)
    parser.add_argument("--crop", type=int, default=257)
    parser.add_argument("--strides", type=int, nargs="+", default=[2, 4, 8, 16])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    dataset = read_dataset(arguments.dataset)
    crops = []
    for image_id in dataset.splits["train"]:
        image, mask = dataset.image(image_id), dataset.mask(image_id)
        window = tuple(
            slice((s - arguments.crop) // 2, (s + arguments.crop) // 2) for s in mask.shape
        )
        if min(mask.shape) >= arguments.crop and len(np.unique(mask[window])) > 2:
            crops.append((image[window], mask[window]))
        if len(crops) == arguments.images:
            break
    for name in ("dense_crf", "normalized_cut"):
        kind = LOSS_TERMS[name]
        print(f"{name}: stride, mean loss at displacement 0, 4 and 16, error of each, seconds")
        finest: list[float] = []
        for stride in arguments.strides:
            term = kind(kind.Options(stride=stride), network=None)  # type: ignore[call-arg, arg-type]
            means, errors, start = [], [], time.process_time()
            for displacement in (0, 4, 16):
                losses = [term(step_of(*crop, displacement)).mean().item() for crop in crops]
                means.append(np.mean(losses))
                if stride == arguments.strides[0]:
                    finest.append(losses)  # type: ignore[arg-type]
                wanted = np.array(finest[len(means) - 1])
                errors.append(np.abs(np.array(losses) / wanted - 1).mean())
            seconds = (time.process_time() - start) / (3 * len(crops))
            losses = "  ".join(f"{value:.5f}" for value in means)
            changed = "  ".join(f"{100 * value:.1f} %" for value in errors)
            print(f"  {stride:>2}  {losses}  {changed}  {seconds:.2f} s")


if __name__ == "__main__":
    main()
