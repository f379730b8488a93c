"""The files of a training run: those of an unfinished one apart, those of a finished one together.

An unfinished run keeps all that it has in a folder of its own, ``unfinished-<digest>``, beside what
an earlier run left: the digest is that of what its weights depend on. When it is finished, its
files replace those of the earlier run, so that weights never lie beside another run's log.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cdsp.io.json_files import digest
from cdsp.io.locks import LockHeldError, held_lock
from cdsp.io.outputs import check_outputs, move_output
from cdsp.training.record import RECORD, read_training, read_unfinished


class RunFiles:
    """Where one run writes.

    Attributes:
        weights: the file that says, by being there, that the run is finished.
        unfinished: the folder of the run until then.
    """

    def __init__(
        self,
        weights: Path,
        prefix: str,
        identity: dict[str, Any],
        measured: tuple[str, ...] = (),
    ) -> None:
        """Name the files; nothing is written.

        Args:
            weights: the file of the trained network.
            prefix: what the names of the run's other files begin with; "" where the folder is the
                run's alone.
            identity: what the weights depend on, JSON-able.
            measured: names of further files that a finished run has, such as "json".
        """
        self.names = (*RECORD, *measured)
        self.weights, self.prefix, self.identity = weights, prefix, identity
        self.folder, self.run = weights.parent, digest(identity)
        self.unfinished = self.folder / f"{prefix}unfinished-{self.run}"

    def path(self, name: str) -> Path:
        """A file of the run, as long as it is unfinished."""
        return self.unfinished / f"{self.prefix}{name}"

    @property
    def state(self) -> Path:
        """What an unfinished run is resumed from."""
        return self.path("state.pt")

    @property
    def trained(self) -> Path:
        """The weights of a run that has ended and is not published yet."""
        return self.unfinished / self.weights.name

    @property
    def complete(self) -> bool:
        """Whether all files of a finished run are there."""
        beside = (self.folder / f"{self.prefix}{name}" for name in self.names)
        return all(path.is_file() for path in (self.weights, *beside))

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the run's place: a second process that wants to train the same run is refused.

        Raises:
            ValueError: another process holds it, or its files are there and are another command's.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            with held_lock(self.folder / f".{self.prefix}lock"):
                files = [self.folder / f"{self.prefix}{name}" for name in self.names]
                check_outputs([*files, self.weights])
                yield
        except LockHeldError as error:
            raise ValueError(
                f"{self.weights}: another process is training this run; wait for it or stop it "
                "first"
            ) from error

    def others(self) -> list[str]:
        """What to say of trainings with other settings that this place holds, a line each."""
        try:
            stopped = read_unfinished(self.folder, self.prefix)
            finished = read_training(self.folder, self.prefix)
        except ValueError as error:  # of no use to this training, and in no way of it
            return [str(error)]
        lines = [
            record.starts_again(self.identity)
            for record in stopped
            if record.folder != self.unfinished
        ]
        found = finished.differences(self.identity) if self.weights.is_file() else ""
        if found:
            lines.append(
                f"{self.weights}: of another training ({found}); it stays until this one is "
                "complete"
            )
        return lines

    def publish(self) -> None:
        """Put the files of the run in the place of an earlier run's, the weights last.

        The earlier weights go before anything that does not belong to them arrives. Whoever is
        killed in between finds the rest here, and publishes it.
        """
        self.weights.unlink(missing_ok=True)
        for path in sorted(self.unfinished.iterdir()):
            if path not in (self.state, self.trained) and not path.name.startswith(".cdsp"):
                move_output(path, self.folder / path.name)
        move_output(self.trained, self.weights)
        self.forget()

    def forget(self) -> None:
        """Remove all that unfinished runs have left in this place."""
        for folder in self.folder.glob(f"{self.prefix}unfinished-*"):
            shutil.rmtree(folder)
