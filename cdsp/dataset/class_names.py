"""Names of classes: what no data set can have, and what is likely to be meant otherwise."""

from __future__ import annotations

from collections.abc import Sequence

from cdsp.io.files import normal_name

BACKGROUND_NAMES = ("background", "_background_", "bg")  # in capitals as well


def check_classes(classes: Sequence[str], where: str) -> None:
    """Check the names of all classes.

    Raises:
        ValueError: too few or too many for a label, or a name that is empty, stands there twice or
            holds a sign that cannot be seen.
    """
    if not 2 <= len(classes) <= 255:
        raise ValueError(f"{where}: {len(classes)} classes; expected 2 to 255, background included")
    for name in classes:
        if not name or not name.replace("\u200c", "").replace("\u200d", "").isprintable():
            raise ValueError(f"{where}: {name!r} names no class; expected signs that can be seen")
    repeated = [other for other in classes if classes.count(other) > 1]
    if repeated:
        raise ValueError(f"{where}: the class {repeated[0]!r} is named twice")


def class_hints(classes: Sequence[str]) -> list[str]:
    """What may be wrong with the names of all classes, the background first, in words."""
    hints = []
    if is_background(classes[0]):
        others = [name for name in classes[1:] if is_background(name)]
        if others:
            hints.append(f"{classes[0]!r} is the background, and so is {others[0]!r} by its name")
    else:
        hints.append(
            f"the first class is the background, and it is called {classes[0]!r}: where that is an "
            "object, put 'background' before it"
        )
    alike: dict[str, list[str]] = {}
    for name in classes:
        alike.setdefault(_plain(name), []).append(name)
    hints += [
        f"{', '.join(map(repr, names))} are classes of their own: where they mean the same, give "
        "their strokes one name"
        for names in alike.values()
        if len(names) > 1
    ]
    return hints


def is_background(name: str) -> bool:
    """Whether a class is called like the background."""
    return name.lower() in BACKGROUND_NAMES


def _plain(name: str) -> str:
    """A name without what people vary: case, blanks, hyphens and underscores."""
    return "".join(sign for sign in normal_name(name).casefold() if sign not in " -_\u00a0")
