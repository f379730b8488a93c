"""Random augmentation of an image and all its maps, by one draw for all of them."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from cdsp.io.pixels import RGB, PixelFormat, in_fours
from cdsp.maps import MAPS

IMAGENET_MEAN = np.array(RGB.mean, np.float32)
IMAGENET_STD = np.array(RGB.std, np.float32)


@dataclass(frozen=True)
class Draw:
    """One random draw: how an image is placed into its crop.

    Attributes:
        matrix: (2, 3) float64, from pixel (x, y) of the image to pixel (x, y) of the crop.
        blur: whether the image is blurred.
        crop_size: side of the crop, pixels.
    """

    matrix: np.ndarray
    blur: bool
    crop_size: int


def draw_augmentation(
    rng: np.random.Generator,
    height: int,
    width: int,
    *,
    crop_size: int,
    scale: tuple[float, float],
    rotation: float = 0.0,
    rotation_probability: float = 0.0,
    blur_probability: float = 0.0,
    flip_probability: float = 0.5,
) -> Draw:
    """Draw scale, rotation, blur, flip and crop, in this order, and compose them into one matrix.

    One resampling instead of four keeps the image sharp and the maps aligned with it. The crop is
    uniform over the scaled image; a side that is shorter than the crop is placed at random in it.

    Args:
        rng: each image has one of its own.
        height: of the image.
        width: of the image.
        crop_size: side of the crop, pixels.
        scale: range of the uniform scale.
        rotation: largest angle, degrees, either way, about the centre of the image.
        rotation_probability: of a rotation.
        blur_probability: of a blur.
        flip_probability: of a horizontal flip.
    """
    factor = rng.uniform(*scale)
    rotates = rng.random() < rotation_probability
    angle = np.deg2rad(rng.uniform(-rotation, rotation)) if rotates else 0.0
    blur = bool(rng.random() < blur_probability)
    flip = -1.0 if rng.random() < flip_probability else 1.0
    shift = rng.random(2)

    # About the image's centre; (flip · R(angle) · factor), then the crop's window is moved.
    linear = factor * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    linear[0] *= flip
    centre = np.array([width - 1, height - 1]) / 2
    room = np.array([width, height]) * factor - crop_size
    corner = (shift - 0.5) * room  # of the window's centre, relative to the image's centre
    offset = (crop_size - 1) / 2 - linear @ centre - corner
    return Draw(np.column_stack([linear, offset]), blur, crop_size)


def augment_image(image: np.ndarray, draw: Draw, pixels: PixelFormat = RGB) -> np.ndarray:
    """(H, W, C) → (crop, crop, C) of equal kind: bilinear, padded with the mean of each channel."""
    border = np.rint(np.array(pixels.mean, np.float32) * 255).tolist()

    def warp(part: np.ndarray, channels: slice) -> np.ndarray:
        warped = cv2.warpAffine(
            part,
            draw.matrix,
            (draw.crop_size, draw.crop_size),
            flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=border[channels],
        )
        return cv2.GaussianBlur(warped, (5, 5), 0) if draw.blur else warped

    return in_fours(image, warp)


def augment_map(name: str, values: np.ndarray, draw: Draw) -> np.ndarray:
    """(H, W) uint8 → (crop, crop) uint8: nearest, padded with what says nothing in this map.

    Distances are not rescaled (as in the paper).
    """
    return cv2.warpAffine(
        values,
        draw.matrix,
        (draw.crop_size, draw.crop_size),
        flags=cv2.INTER_NEAREST,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=(MAPS[name].padding,),
    )


def normalise(image: np.ndarray, pixels: PixelFormat = RGB) -> np.ndarray:
    """(..., H, W, C) from 0 to 255 → (..., C, H, W) float32 by the channels' mean and deviation."""
    mean, std = (np.array(values, np.float32) for values in (pixels.mean, pixels.std))
    if image.dtype != np.uint8:
        scaled = (image.astype(np.float32) / 255 - mean) / std
        return np.ascontiguousarray(np.moveaxis(scaled, -1, -3))
    # The same numbers by a table for each channel.
    tables = ((np.arange(256, dtype=np.float32)[:, None] / 255 - mean) / std).T.copy()  # (C, 256)
    *leading, height, width, channels = image.shape
    found = np.empty((*leading, channels, height, width), np.float32)
    for index in np.ndindex(*leading):
        for plane, table, values in zip(cv2.split(image[index]), tables, found[index], strict=True):
            cv2.LUT(plane, table, dst=values)
    return found
