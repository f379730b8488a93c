"""How the runs of a table were computed: no part of the method, and yet to be known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from cdsp.training.record import TrainingRecord

PLAIN = ("cpu", "float32", True)
"""Device, precision and determinism of a run of which there is nothing to say."""


def describe_arithmetic(trainings: Iterable[TrainingRecord]) -> str:
    """Say on what, in which precision and how repeatably runs were trained.

    Returns:
        A line; "" where all runs that tell are `PLAIN`: on a CPU an equal seed gives equal bytes.
    """
    defaults = dict(zip(("device", "precision", "deterministic"), PLAIN, strict=True))
    ways = Counter(
        tuple(training.environment.get(key, plain) for key, plain in defaults.items())
        for training in trainings
        if training.environment
    )
    if set(ways) <= {PLAIN}:
        return ""
    texts = []
    for (device, precision, deterministic), number in ways.items():
        repeated = "deterministic" if deterministic else "not deterministic"
        of = f"{number} × " if len(ways) > 1 else ""
        texts.append(f"{of}on {device} in {precision}, {repeated}")
    spread = "equal seeds then agree within the spread of the seeds"
    ending = "" if all(way[2] for way in ways) else f" ({spread})"
    return f"Trained {'; '.join(texts)}{ending}."
