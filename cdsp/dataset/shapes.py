"""The embedded data set: scenes of drawn objects with their masks, a function of a seed.

A scene is a textured, cluttered scenery with one to four objects on it. What makes it a test bench
for weak supervision:

* The classes share five body materials (a colour with a texture), and the clutter of the scenery
  has the same colours: neither colour nor texture is the class.
* An object is told by its outline and by its *mark*, a small patch of contrasting colours. Its body
  is much larger than its mark, so the most discriminative part is not the object.
* Some classes have limbs: thin parts of the body's colour.
* Some classes keep company with one another and with a scenery more often than chance.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from cdsp.dataset.shape_classes import (
    CLASS_NAMES,
    MATERIALS,
    OBJECT_CLASSES,
    SCENERIES,
    Colour,
    ObjectClass,
    Points,
)

_SPLITS = {"train": 0, "val": 1}
_VOID = 255
_REFERENCE_SIZE = 97

# An object's largest and smallest diameter, in sides of the image, by the number of objects.
_DIAMETERS = {1: (0.44, 0.68), 2: (0.36, 0.60), 3: (0.30, 0.52), 4: (0.24, 0.44)}
_NUM_OBJECTS_PROBABILITIES = (0.18, 0.32, 0.30, 0.20)
_COMPANION_PROBABILITY = 0.4
_HOME_PROBABILITY = 0.55


@dataclass(frozen=True)
class _Pose:
    """The way from an object's own frame to the image's pixels: a warp, then an affine map."""

    centre: np.ndarray  # (2,), (x, y) in pixels
    radius: float  # pixels per unit
    frame: np.ndarray  # (2, 2), rotation times stretch times mirroring
    warp: np.ndarray  # (2, 3), per axis: amplitude, frequency, phase

    def to_pixels(self, points: Points) -> Points:
        """Return the pixel coordinates of points of the object's own frame."""
        amplitude, frequency, phase = self.warp.T
        warped = points + amplitude * np.sin(frequency * points[:, ::-1] + phase)
        return self.centre + self.radius * warped @ self.frame.T

    def own_coordinates(self, size: int) -> tuple[np.ndarray, np.ndarray]:
        """Return x and y, (size, size) each, of every pixel in the object's own, unwarped frame."""
        inverse = np.linalg.inv(self.radius * self.frame).astype(np.float32)
        y, x = np.mgrid[:size, :size].astype(np.float32)
        x -= self.centre[0]
        y -= self.centre[1]
        return inverse[0, 0] * x + inverse[0, 1] * y, inverse[1, 0] * x + inverse[1, 1] * y


def draw_shape_scene(
    seed: int, split: str, index: int, size: int = 97
) -> tuple[np.ndarray, np.ndarray]:
    """Draw one scene of the embedded data set; the same arguments give the same bytes.

    Args:
        seed: The data set's seed.
        split: "train" or "val".
        index: The number of the scene in its split, from 0.
        size: The side of the square image in pixels.

    Returns:
        The image (size, size, 3) uint8 RGB, and the mask (size, size) uint8: 0 is background,
        1..12 the object classes of `CLASS_NAMES`, and 255 a rim, one pixel wide at the default
        size, on an object's side of its contour. Parts too thin to have an inside keep their label.
    """
    rng = np.random.default_rng([seed, _SPLITS[split], index])
    labels, scenery = _composition(rng, index)
    canvas = _draw_scenery(rng, scenery, size)
    instances = np.zeros((size, size), np.uint8)
    poses = _poses(rng, len(labels), size)
    for instance, (label, pose) in enumerate(zip(labels, poses, strict=True), start=1):
        _draw_object(rng, OBJECT_CLASSES[label - 1], pose, canvas, instances, instance)
    mask = np.array([0, *labels], np.uint8)[instances]
    mask[_rim(instances)] = _VOID
    return _photograph(rng, canvas), mask


def _composition(rng: np.random.Generator, index: int) -> tuple[list[int], str]:
    """Choose the labels of the objects, in painting order, and the scenery.

    The leading class goes round the classes with the index, so that all are about as frequent.
    """
    num_objects = rng.choice(len(_NUM_OBJECTS_PROBABILITIES), p=_NUM_OBJECTS_PROBABILITIES) + 1
    labels = [1 + index % len(OBJECT_CLASSES)]
    leader = OBJECT_CLASSES[labels[0] - 1]
    while len(labels) < num_objects:
        if rng.random() < _COMPANION_PROBABILITY:
            labels.append(CLASS_NAMES.index(OBJECT_CLASSES[labels[-1] - 1].companion))
        else:
            labels.append(int(rng.integers(1, len(CLASS_NAMES))))
    rng.shuffle(labels)
    at_home = rng.random() < _HOME_PROBABILITY
    return labels, leader.scenery if at_home else str(rng.choice(list(SCENERIES)))


def _poses(rng: np.random.Generator, num_objects: int, size: int) -> list[_Pose]:
    """Place the objects: mostly apart, now and then over one another or over the image's edge."""
    poses: list[_Pose] = []
    for _ in range(num_objects):
        radius = size * rng.uniform(*_DIAMETERS[num_objects]) / 2
        candidates = rng.uniform(0.1, 0.9, (8, 2)) * size
        clearances = [
            min(
                (np.hypot(*(point - pose.centre)) / (radius + pose.radius) for pose in poses),
                default=1.0,
            )
            for point in candidates
        ]
        clear_enough = [i for i, clearance in enumerate(clearances) if clearance > 0.7]
        chosen = clear_enough[0] if clear_enough else int(np.argmax(clearances))
        angle = rng.normal(0.0, np.radians(18.0))
        rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        stretch = np.exp(rng.normal(0.0, 0.1))
        mirroring = rng.choice([-1.0, 1.0])
        frame = rotation @ np.diag([mirroring * stretch, 1 / stretch])
        warp = rng.uniform([0.0, 1.2, 0.0], [0.14, 3.2, 2 * np.pi], (2, 3))
        poses.append(_Pose(candidates[chosen], radius, frame, warp))
    return poses


def _draw_scenery(rng: np.random.Generator, scenery: str, size: int) -> np.ndarray:
    """Return a canvas (size, size, 3) float32, 0..255: a colour field, its texture and clutter."""
    first, second, texture = SCENERIES[scenery]
    field = np.clip(0.5 + 0.4 * _smooth_noise(rng, size, 4), 0.0, 1.0)[..., None]
    tint = 8.0 * np.stack([_smooth_noise(rng, size, 3) for _ in range(3)], axis=-1)
    canvas = _jittered(rng, first) * field + _jittered(rng, second) * (1 - field) + tint
    y, x = np.mgrid[:size, :size].astype(np.float32) * (6.0 / size)
    canvas = (canvas * (1 + 0.12 * _texture(rng, texture, x, y))[..., None]).astype(np.float32)

    thickness = _line_thickness(size)
    for _ in range(rng.integers(6, 15)):
        colour, _ = MATERIALS[str(rng.choice(list(MATERIALS)))]
        colour = tuple(_jittered(rng, colour).tolist())
        x, y = (rng.uniform(0.0, 1.0, 2) * size).astype(int).tolist()
        angle = float(rng.uniform(0.0, 180.0))
        if rng.random() < 0.6:
            axes = np.maximum(1, rng.uniform(0.015, 0.06, 2) * size).astype(int).tolist()
            cv2.ellipse(canvas, (x, y), axes, angle, 0, 360, colour, cv2.FILLED)
        else:
            steps = np.cumsum(rng.normal(0.0, 0.5, 4)) + np.radians(angle)
            strides = np.stack([np.cos(steps), np.sin(steps)], axis=1) * 0.07 * size
            path = np.array([x, y]) + np.cumsum(strides, axis=0)
            cv2.polylines(canvas, [path.round().astype(np.int32)], False, colour, thickness)
    return canvas


def _draw_object(
    rng: np.random.Generator,
    kind: ObjectClass,
    pose: _Pose,
    canvas: np.ndarray,
    instances: np.ndarray,
    instance: int,
) -> None:
    """Paint an object over a canvas (H, W, 3) float32 and its number into the map (H, W) uint8."""
    size = len(canvas)
    body = np.zeros((size, size), np.uint8)
    for outline in kind.body:
        cv2.fillPoly(body, *_fixed_point(pose.to_pixels(outline)))
    thickness = max(_line_thickness(size), round(0.12 * pose.radius))
    for limb in kind.limbs:
        path = pose.to_pixels(limb).round().astype(np.int32)
        cv2.polylines(body, [path], False, (1,), thickness)
    mark = np.zeros((size, size), np.uint8)
    cv2.fillPoly(mark, *_fixed_point(pose.to_pixels(kind.mark)))
    marked = mark > 0
    whole = marked | (body > 0)

    x, y = pose.own_coordinates(size)
    colour, texture = MATERIALS[str(rng.choice(kind.materials))]
    light = 1 + 0.14 * _texture(rng, texture, 1.5 * x, 1.5 * y) - 0.12 * np.clip(x + y, -1.5, 1.5)
    bars = np.sin(12.0 * y + rng.uniform(0.0, 2 * np.pi)) > 0.2
    mark_colours = np.array(kind.mark_colours) * rng.uniform(0.88, 1.0)

    # A soft, shifted shadow lifts the object from what lies behind it.
    offset = 0.02 * size
    shift = np.array([[1, 0, offset], [0, 1, offset]], np.float32)
    shadow = cv2.warpAffine(whole.astype(np.float32), shift, (size, size))
    shadow = cv2.GaussianBlur(shadow, (0, 0), offset)
    canvas *= 1 - 0.3 * shadow[..., None]
    canvas[whole] = _jittered(rng, colour) * light[whole][:, None]
    canvas[marked] = mark_colours[bars[marked].astype(int)]
    instances[whole] = instance


def _photograph(rng: np.random.Generator, canvas: np.ndarray) -> np.ndarray:
    """Return what a camera makes of a canvas: light from a side, white balance, blur and noise."""
    size = len(canvas)
    angle = rng.uniform(0.0, 2 * np.pi)
    y, x = np.mgrid[:size, :size] / size - 0.5
    light = 1 + rng.uniform(0.0, 0.4) * (np.cos(angle) * x + np.sin(angle) * y)
    exposure = rng.uniform(0.85, 1.12) * rng.uniform(0.95, 1.05, 3)
    picture = cv2.GaussianBlur(canvas, (0, 0), 0.45 * max(1.0, size / _REFERENCE_SIZE))
    picture = picture * light[..., None] * exposure
    picture += rng.normal(0.0, rng.uniform(3.0, 9.0), canvas.shape)
    return np.clip(picture.round(), 0, 255).astype(np.uint8)


def _rim(instances: np.ndarray) -> np.ndarray:
    """Return where an object with an inside meets anything else, boolean (H, W), on its side."""
    width = max(1, round(len(instances) / _REFERENCE_SIZE))
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    square = np.ones((2 * width + 1, 2 * width + 1), np.uint8)
    rim = np.zeros(instances.shape, bool)
    for instance in range(1, int(instances.max()) + 1):
        whole = (instances == instance).astype(np.uint8)
        inside = cv2.erode(whole, cross, iterations=width)
        thick = cv2.dilate(inside, square)
        rim |= (whole > inside) & (thick > 0)
    return rim


def _smooth_noise(rng: np.random.Generator, size: int, num_cells: int) -> np.ndarray:
    """Return a smooth random field (size, size) float32 with about `num_cells` waves a side."""
    cells = rng.normal(size=(num_cells + 1, num_cells + 1)).astype(np.float32)
    return cv2.resize(cells, (size, size), interpolation=cv2.INTER_CUBIC)


def _texture(rng: np.random.Generator, name: str, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the lightness (H, W) of a texture, about -1..1, at coordinates (H, W) of its frame."""
    phase_x, phase_y = rng.uniform(0.0, 2 * np.pi, 2)
    if name == "stripes":
        return np.sign(np.sin(12.0 * x + phase_x))
    if name == "spots":
        return np.where(np.sin(9.0 * x + phase_x) * np.sin(9.0 * y + phase_y) > 0.3, 1.0, -0.4)
    if name == "weave":
        crests = np.maximum(np.sin(10.0 * x + phase_x), np.sin(10.0 * y + phase_y))
        return np.where(crests > 0.9, -1.0, 0.3)
    if name == "mottle":
        return _smooth_noise(rng, len(x), max(4, len(x) // 6)).clip(-1.5, 1.5)
    if name == "blades":
        return np.sin(24.0 * x + 2.0 * np.sin(5.0 * y + phase_y)) * np.sin(7.0 * y + phase_x)
    if name == "waves":
        return np.sin(11.0 * y + 1.5 * np.sin(2.5 * x + phase_x) + phase_y)
    return np.zeros_like(x)


def _jittered(rng: np.random.Generator, colour: Colour) -> np.ndarray:
    """Return a colour (3,) near the given one: lighter or darker, and a little off its hue."""
    return np.array(colour) * rng.uniform(0.84, 1.16) + rng.normal(0.0, 7.0, 3)


def _line_thickness(size: int) -> int:
    """Return the width, in pixels, of the thinnest lines of a scene."""
    return max(1, round(0.024 * size))


def _fixed_point(outline: Points) -> tuple[list[np.ndarray], tuple[int], int, int]:
    """Return fillPoly's arguments to fill an outline in pixels with ones, at 1/16 pixel."""
    return [(outline * 16).round().astype(np.int32)], (1,), cv2.LINE_8, 4
