"""Flip a bit, or cut, many files of each kind that stages read, and count what becomes of it.

    python benchmarks/faults.py --flips 300 --cuts 30

Prints the table of docs/reliability.md. Nothing may be silent or unclear.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
from tabulate import tabulate

sys.path.append(str(Path(__file__).parents[1] / "tests" / "faults"))

from damaged_files import (
    FILES,
    NETWORKS,
    Outcome,
    damage,
    make_files,
    try_damage,
)


def main() -> None:
    """Try all kinds of files; ends with 1 where something was silent or unclear."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--flips", type=int, default=300, help="flipped bits of each kind of file")
    parser.add_argument("--cuts", type=int, default=30, help="truncations of each kind of file")
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    rows, wrong = [], []
    with tempfile.TemporaryDirectory() as folder:
        files = make_files(Path(folder))
        for kind in (*FILES, *NETWORKS):
            found: Counter[Outcome] = Counter()
            for number in range(options.flips + options.cuts):
                place, bit = rng.random(), int(rng.integers(8))
                outcome, message = try_damage(
                    files,
                    kind,
                    (lambda data, place=place, bit=bit: damage(data, place, bit))
                    if number < options.flips
                    else (lambda data, place=place: data[: int(place * len(data))]),
                )
                found[outcome] += 1
                if outcome in (Outcome.SILENT, Outcome.UNCLEAR):
                    wrong.append(f"{kind}: {outcome.value}: {message}")
            size = files[kind].path.stat().st_size
            rows.append([kind, size, found.total(), *(found[outcome] for outcome in Outcome)])
    rows.append(["all", "", *(sum(row[i] for row in rows) for i in range(2, 7))])
    head = ["file", "bytes", "tried", *(outcome.value for outcome in Outcome)]
    print(tabulate(rows, head, tablefmt="github"))
    print("\n".join(wrong), file=sys.stderr)
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
