"""Names of people's files: which of two sides fit each other, and how to show what does not."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Sequence
from pathlib import PurePosixPath

IMAGE_ENDINGS = frozenset(
    (
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".tif", ".tiff", ".webp"),
        *(".gif", ".heic", ".heif", ".avif", ".jp2"),
    )
)
"""Endings that names of images have, whether they are read or not."""

_SHOWN = 5
_COMPARED = 2000  # names on the other side: comparing takes time


def without_ending(name: str) -> str:
    """A name without the ending of an image, if it has one: ``cam1.frame_01`` is whole."""
    path = PurePosixPath(name)
    return path.stem if path.suffix.lower() in IMAGE_ENDINGS else name


def counted(number: int, noun: str) -> str:
    """A number of things: ``1 image``, ``2 images``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def first_few(names: Collection[str]) -> str:
    """The first names of many, for a message."""
    shown = ", ".join(list(names)[:_SHOWN])
    return f"{shown} …" if len(names) > _SHOWN else shown


def nearest_name(name: str, known: Sequence[str]) -> str | None:
    """The known name that a name is most likely to mean; None where nothing is near."""
    plain = _plain(name)
    folded = {_plain(word): word for word in sorted(known)[:_COMPARED]}
    inside = [word for word in folded if len(min(word, plain, key=len)) > 1]
    inside = [word for word in inside if word in plain or plain in word]
    if inside:
        return folded[max(inside, key=len)]
    close = difflib.get_close_matches(plain, list(folded), n=1, cutoff=0.6)
    return folded[close[0]] if close else None


def _plain(name: str) -> str:
    return without_ending(name).casefold()


def nearest_pairs(names: Sequence[str], known: Sequence[str]) -> str:
    """Names that fit nothing, each with the nearest known one: ``'b0_scribble' (near 'b0'), …``."""
    shown = []
    for name in names[:_SHOWN]:
        near = nearest_name(name, known)
        shown.append(f"{name!r}{f' (near {near!r})' if near else ''}")
    return ", ".join(shown) + (" …" if len(names) > _SHOWN else "")
