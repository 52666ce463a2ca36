"""The paper's augmentation, with albumentations: the same geometry for image and targets (section 2)."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # it asks the network for its version at import

import albumentations as A
import cv2

from dgfnet.sections.networks import Augment

Map = NDArray[np.float32]


@dataclass(frozen=True)
class Moves:
    """The geometry drawn for one picture; lengths in pixels of the network's input.

    Attributes:
        flipped: left and right change places.
        side: of the crop that is scaled back, as a share of the picture's; 1 where nothing is cropped.
        right: the crop's centre from the picture's, and likewise `down`.
        noise: (size, size, 2) uniform in -1..1, from which the elastic shift is made; None for none.
        angle: of the rotation, radians.
    """

    flipped: bool
    side: float
    right: float
    down: float
    noise: Map | None
    angle: float


@dataclass(frozen=True)
class Augmentation:
    """Everything drawn for one picture.

    Attributes:
        moves: None when nothing moves.
        grey: (256,) uint8, the new value of each grey value.
    """

    moves: Moves | None
    grey: NDArray[np.uint8]


class Geometry(A.DualTransform):  # type: ignore[misc]
    """Rotation, elastic deformation, crop and scale back, flip: composed into one map, looked up once.

    albumentations' own transforms resample one after another: an image is blurred up to three times, and at
    288 pixels the chain takes about twenty times as long. What is drawn is the same.

    Works on stored crops with a margin: rotation and elastic deformation move real tissue into the corners,
    and the result has the size of the network's input.
    """

    def __init__(self, settings: Augment, size: int) -> None:
        super().__init__(p=1.0)
        self.settings, self.size = settings, size
        ramp = np.arange(size, dtype=np.float32) - np.float32((size - 1) / 2)
        self._x, self._y = np.meshgrid(ramp, ramp)  # of the output's pixels, from its centre

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        """Returns the source of each output pixel, or None when nothing moves."""
        moves = self.draw()
        if moves is None:
            return {"x": None, "y": None}
        x, y = self._x, self._y
        if moves.flipped:
            x = -x
        if moves.side < 1:
            x = x * np.float32(moves.side) + np.float32(moves.right)
            y = y * np.float32(moves.side) + np.float32(moves.down)
        if moves.noise is not None:
            sigma = self.settings.elastic_smoothness * self.size
            shift = cv2.GaussianBlur(moves.noise, (0, 0), sigma) * np.float32(
                strength(self.settings, self.size)
            )
            x, y = x + shift[..., 0], y + shift[..., 1]
        if moves.angle:
            cos, sin = np.float32(np.cos(moves.angle)), np.float32(np.sin(moves.angle))
            x, y = cos * x - sin * y, sin * x + cos * y
        middle = np.float32((params["shape"][0] - 1) / 2)  # of the stored crop
        return {"x": x + middle, "y": y + middle}

    def draw(self) -> Moves | None:
        """Draws what happens to a picture; None when nothing does."""
        rng, s = self.random_generator, self.settings
        rotated, bent, cropped, flipped = rng.random(4) < s.probability
        if not (rotated or bent or cropped or flipped):
            return None
        side, right, down, noise, angle = 1.0, 0.0, 0.0, None, 0.0
        if cropped:  # a square of at least this share of the area, anywhere in the picture
            side = float(np.sqrt(rng.uniform(s.smallest_crop, 1.0)))
            free = (1 - side) * self.size / 2
            right, down = float(rng.uniform(-free, free)), float(rng.uniform(-free, free))
        if bent:
            noise = rng.random((self.size, self.size, 2), dtype=np.float32) * 2 - 1
        if rotated:
            angle = float(np.radians(rng.uniform(-s.rotation_degrees, s.rotation_degrees)))
        return Moves(bool(flipped), side, right, down, noise, angle)

    def apply(self, img: NDArray[np.uint8], x: Map | None, y: Map | None, **_: Any) -> NDArray[np.uint8]:
        """The image, linearly interpolated."""
        return self._look_up(img, x, y, cv2.INTER_LINEAR)

    def apply_to_mask(
        self, mask: NDArray[np.uint8], x: Map | None, y: Map | None, **_: Any
    ) -> NDArray[np.uint8]:
        """A target, from the nearest pixel: it stays 0 or 1, and a thin line stays a line."""
        return self._look_up(mask, x, y, cv2.INTER_NEAREST)

    def _look_up(self, plane: NDArray[np.uint8], x: Map | None, y: Map | None, how: int) -> NDArray[np.uint8]:
        if x is None or y is None:
            pad = (plane.shape[0] - self.size) // 2
            return plane[pad : pad + self.size, pad : pad + self.size]
        return np.asarray(cv2.remap(plane, x, y, how, borderMode=cv2.BORDER_CONSTANT), dtype=np.uint8)


class DrawnGeometry(Geometry):
    """Draws as `Geometry` does and keeps it, and leaves the picture as it is."""

    moves: Moves | None = None

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        """Keeps what was drawn."""
        self.moves = self.draw()
        return {}

    def apply(
        self, img: NDArray[np.uint8], x: Map | None = None, y: Map | None = None, **_: Any
    ) -> NDArray[np.uint8]:
        """Returns the picture."""
        return img


def strength(settings: Augment, size: int) -> float:
    """Returns the factor that gives blurred noise, uniform in -1..1, the standard deviation asked for.

    A Gaussian leaves 1 / (2 sigma sqrt(pi)) of the standard deviation of independent pixels.
    """
    sigma = settings.elastic_smoothness * size
    return float(settings.elastic_displacement * size * np.sqrt(3) * 2 * sigma * np.sqrt(np.pi))


def _compose(geometry: Geometry, settings: Augment) -> A.Compose:
    grey = A.RandomBrightnessContrast(settings.brightness, settings.contrast, p=settings.probability)
    return A.Compose([geometry, grey], strict=True)


class Drawer:
    """Draws what an `Augmenter` of the same seed does to its pictures, for who applies it elsewhere."""

    def __init__(self, settings: Augment, size: int) -> None:
        self._geometry = DrawnGeometry(settings, size)
        self._compose = _compose(self._geometry, settings)

    def reseed(self, seed: int) -> None:
        """Starts the random stream anew."""
        self._compose.set_random_seed(seed)

    def __call__(self) -> Augmentation:
        """Draws for the next picture; brightness and contrast are read off a picture of every grey value."""
        ramp = np.arange(256, dtype=np.uint8).reshape(16, 16)
        changed = np.asarray(self._compose(image=ramp)["image"], dtype=np.uint8)
        return Augmentation(self._geometry.moves, changed.reshape(256))


class Augmenter:
    """Geometry, then brightness and contrast; each of the five with the same probability."""

    def __init__(self, settings: Augment, size: int) -> None:
        self._compose = _compose(Geometry(settings, size), settings)

    def reseed(self, seed: int) -> None:
        """Starts the random stream anew, so that an epoch does not depend on the ones before."""
        self._compose.set_random_seed(seed)

    def __call__(self, crop: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """A stored crop (3, S, S) of image, nodule and boundary becomes an augmented one, (3, size, size)."""
        done = self._compose(image=crop[0], masks=[crop[1], crop[2]])
        return np.stack([done["image"], *done["masks"]])
