"""What is found in people's files: problems, which stop the work, and hints, which do not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path


class Messages:
    """Messages in the order in which they first came up; equal ones are counted, not repeated.

    ``append`` takes a message as it is, or in two parts: what was found, and where. Messages with
    equal ``what`` become one line, which shows the first place and the number of the others.
    Iterating gives the lines; the length is their number.
    """

    def __init__(self) -> None:
        self._found: dict[str, tuple[str, int]] = {}

    def append(self, what: str, where: str | Path = "", times: int = 1) -> None:
        """Add a message.

        Args:
            what: what was found, in words; the same words for the same finding.
            where: the file, and the entry where it has several; empty: ``what`` says it.
            times: how often it was found.
        """
        first, number = self._found.get(what, (str(where), 0))
        self._found[what] = first, number + times

    def __len__(self) -> int:
        return len(self._found)

    def __iter__(self) -> Iterator[str]:
        for what, (where, number) in self._found.items():
            if where:
                yield f"{where}{f' and {number - 1} more' if number > 1 else ''}: {what}"
            else:
                yield f"{what}{f' ({number} times)' if number > 1 else ''}"


@dataclass
class Findings:
    """What a reader has to say of the files beside what it makes of them.

    Attributes:
        problems: what is wrong; with any of them nothing is made.
        hints: what was left out or merged, and what may be meant otherwise.
        skip_unreadable: whether shapes that cannot be used are left out with a hint; they are
            problems otherwise.
    """

    problems: Messages = field(default_factory=Messages)
    hints: Messages = field(default_factory=Messages)
    skip_unreadable: bool = False

    @contextmanager
    def collected(self, where: str | Path, *, of_shape: bool = False) -> Iterator[None]:
        """Make a problem of a ValueError or OSError of the block, and go on after the block.

        Args:
            where: the file, and the entry where it has several.
            of_shape: the block reads a single shape, see ``skip_unreadable``.
        """
        try:
            yield
        except (ValueError, OSError) as error:
            what = str(error).removeprefix(f"{where}: ")
            if of_shape and self.skip_unreadable:
                self.hints.append(f"left out: {what}", where)
                return
            self.problems.append(what, where)
            if of_shape:
                self.hints.append(
                    "shapes that cannot be used are problems; the setting skip_unreadable: true "
                    "leaves them out",
                    times=0,
                )
