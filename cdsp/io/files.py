"""Files that every stage reads and writes: text, images and index labels, and their names."""

from __future__ import annotations

import codecs
import re
import unicodedata
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

import cv2
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from cdsp.io.outputs import atomic_path

IGNORE = 255
"""The label of a pixel that is unlabelled, void or padded: it never supervises and never weighs."""

NOT_UTF_8 = "not UTF-8 text; save it as UTF-8"
"""What is said of a text in another encoding."""

QUALITY_FORMAT, QUALITY_VERSION = "cdsp-pseudo-label-quality", 4
METRICS_FORMAT, METRICS_VERSION = "cdsp-metrics", 3
TABLE_FORMAT, TABLE_VERSION = "cdsp-table", 1
"""Formats that one stage writes and another reads."""

_JOINERS = "\u200c\u200d"  # parts of letters in Hindi, Persian and others, and of no width
_FOLDER_NAME = re.compile(r"\w[\w.-]*")
_LONGEST_NAME = 200  # bytes: with what is added to it, a name must fit into the 255 of a file's


def write_text(path: Path, text: str) -> None:
    """Write ``text`` to ``path`` atomically, as UTF-8."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def normal_name(name: str) -> str:
    """A name in the one form in which names are compared: accents composed, no spaces around it.

    A Mac writes é as e and an accent (Unicode's form NFD), what people type is one letter (NFC).
    """
    return unicodedata.normalize("NFC", name).strip()


def check_image_id(image_id: str, where: str) -> str:
    """Return ``image_id`` if it is safe as a file name and as a key in a label store.

    Raises:
        ValueError: it is empty or too long, begins with a dot or a space, or holds a slash or a
            sign that cannot be seen; the message names the sign.
    """
    refused = [sign for sign in image_id if not _is_safe(sign)]
    if refused:
        name = unicodedata.name(refused[0], f"U+{ord(refused[0]):04X}")
        reason = f"it holds {refused[0]!r} ({name})"
    elif not image_id or image_id.startswith("."):
        reason = "it begins with a dot" if image_id else "it is empty"
    elif image_id != image_id.strip():
        reason = "it begins or ends with a space"
    elif len(image_id.encode()) > _LONGEST_NAME:
        reason = f"it is longer than {_LONGEST_NAME} bytes"
    else:
        return image_id
    raise ValueError(
        f"{where}: {image_id!r} is not an image id: {reason}; rename the image, or, in a list, "
        "write its name without its folder"
    )


def _is_safe(sign: str) -> bool:
    return (sign.isprintable() and sign not in "/\\") or sign in _JOINERS


def check_folder_name(name: str, where: str) -> str:
    """Return ``name`` if it can name a folder and stand in a command as it is.

    Raises:
        ValueError: it is empty or holds something else than letters, digits, '.', '-' and '_'.
    """
    if not _FOLDER_NAME.fullmatch(name):
        raise ValueError(
            f"{where}: {name!r} names folders and stands in commands; expected letters, digits, "
            "'.', '-' and '_', without spaces, commas and brackets"
        )
    return name


def no_such(path: Path, what: str) -> str:
    """The message for a path that is not there; it says below which folder it was looked for."""
    below = "" if path.is_absolute() else f" (looked for in {Path.cwd()})"
    return f"{path}: no such {what}{below}"


@contextmanager
def open_text(path: Path) -> Iterator[TextIO]:
    """Open a text that a user's programs wrote: UTF-8, or UTF-16 that says so by its first bytes.

    Raises:
        ValueError: in the block, where a text in another encoding is read.
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        is_utf16 = file.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    try:
        with path.open(encoding="utf-16" if is_utf16 else "utf-8-sig", newline="") as file:
            yield file
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: {NOT_UTF_8}") from error


def read_text(path: Path) -> str:
    """The whole of a text, see `open_text`."""
    with open_text(path) as file:
        return file.read()


def problem_list(where: str, problems: Collection[str]) -> str:
    """One message that lists every problem found."""
    number = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    return f"{where}: {number}:\n  " + "\n  ".join(problems)


def read_image(path: Path) -> np.ndarray:
    """Read a photograph as (H, W, 3) uint8 RGB, whatever its own colour mode, EXIF upright.

    Raises:
        ValueError: the file is missing, truncated, not an image or of more than 8 bits.
    """
    try:
        _check_png(path)
        with Image.open(path) as image:
            if image.mode.startswith(("I", "F")):
                raise ValueError(
                    f"{path}: expected an image of 8 bits per channel, found mode {image.mode}; "
                    "convert it first"
                )
            return np.array(ImageOps.exif_transpose(image).convert("RGB"))
    except FileNotFoundError as error:
        raise ValueError(f"{path}: no such image") from error
    except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path}: not a readable image ({error})") from error


def exif_orientation(path: Path) -> int:
    """How a photograph is to be turned and mirrored to be upright: 1 not at all, 2..8 as in EXIF.

    With 5 or more its sides change places. 1 as well where the file cannot be read.
    """
    try:
        with Image.open(path) as image:
            found = image.getexif().get(0x0112, 1)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return 1
    return found if isinstance(found, int) and 1 <= found <= 8 else 1


def read_label(path: Path) -> np.ndarray:
    """Read an index label PNG as (H, W) uint8: palette indices or 8-bit grey values as they are.

    A palette is never converted to grey: index 3 stays 3, whatever colour it is shown in. Grey
    values may be kept in three equal channels, as OpenCV writes an array of three.

    Raises:
        ValueError: the file is missing, truncated, not an image, or holds colours (RGB, RGBA) or
            16-bit values instead of one 8-bit index per pixel.
    """
    try:
        _check_png(path)
        with Image.open(path) as image:
            if image.mode == "RGB":
                colours = np.array(image)
                if (colours == colours[..., :1]).all():
                    return colours[..., 0].copy()
            if image.mode not in ("P", "L"):
                raise ValueError(
                    f"{path}: expected one 8-bit class index per pixel (palette or greyscale PNG), "
                    f"found mode {image.mode}; convert the colours to indices first"
                )
            return np.array(image, dtype=np.uint8)
    except FileNotFoundError as error:
        raise ValueError(f"{path}: no such label file") from error
    except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path}: not a readable label image ({error})") from error


def _check_png(path: Path) -> None:
    """Compare the checksums in a PNG, which Pillow does not do when it reads the pixels."""
    with Image.open(path) as image:
        if image.format != "PNG":
            return
        try:
            image.verify()
        except (OSError, SyntaxError) as error:
            raise OSError("cut short, or damaged: a checksum in it is another") from error


def check_label(label: np.ndarray, num_classes: int, where: str) -> None:
    """Check that a label holds only 0..num_classes-1 and 255.

    Args:
        label: (H, W) uint8.
        num_classes: number of classes, background included.
        where: the file, for the message.

    Raises:
        ValueError: another value occurs; the message lists the values and says what was expected.
    """
    counts = np.bincount(label.ravel(), minlength=256)
    unexpected = np.flatnonzero(counts[num_classes:IGNORE]) + num_classes
    if len(unexpected):
        raise ValueError(
            f"{where}: unexpected label values {unexpected.tolist()[:10]}; expected 0 (background) "
            f"to {num_classes - 1}, and 255 for unlabelled pixels"
        )


def voc_palette() -> np.ndarray:
    """The PASCAL VOC colours of 256 class indices, (256, 3) uint8.

    Bit k of the class index, counted in groups of three from the lowest, sets bit 7-k//3 of red,
    green and blue in turn.
    """
    indices = np.arange(256)
    palette = np.zeros((256, 3), np.uint8)
    for shift in range(8):
        for channel in range(3):
            bit = (indices >> (3 * shift + channel)) & 1
            palette[:, channel] |= (bit << (7 - shift)).astype(np.uint8)
    return palette


VOC_PALETTE = voc_palette()


def class_palette(
    classes: Sequence[str], colours: Mapping[str, tuple[int, int, int]]
) -> np.ndarray:
    """VOC's colours, but for the classes that have one of their own: (256, 3) uint8.

    Args:
        classes: names in the order of their indices.
        colours: class → red, green, blue.

    Raises:
        ValueError: a colour for a class that is not there.
    """
    palette = VOC_PALETTE.copy()
    for name, colour in colours.items():
        if name not in classes:
            raise ValueError(f"colours: {name!r} is none of the classes {', '.join(classes)}")
        palette[classes.index(name)] = colour
    return palette


def write_label(path: Path, label: np.ndarray, palette: np.ndarray = VOC_PALETTE) -> None:
    """Write an (H, W) uint8 label as a palette PNG, atomically; the palette is (256, 3) uint8."""
    image = Image.fromarray(label)
    image.putpalette(palette.ravel().tolist())
    with atomic_path(path, sync=False) as temporary:
        image.save(temporary, format="PNG")


def write_picture(path: Path, picture: np.ndarray, quality: int = 95) -> None:
    """Write an (H, W, 3) uint8 RGB picture, atomically, in the format of its ending.

    Args:
        path: the file.
        picture: the picture.
        quality: of JPEG, 0 to 100.
    """
    bgr = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    encoded = cv2.imencode(path.suffix, bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    with atomic_path(path, sync=False) as temporary:
        temporary.write_bytes(encoded.tobytes())  # unlike imwrite, this tells of a full disk
