"""The paper's augmentation, with albumentations: the same geometry for image and targets (section 2)."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # it asks the network for its version at import

import albumentations as A
import cv2

from dgfnet.settings import Augment

Map = NDArray[np.float32]


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
        rng, s = self.random_generator, self.settings
        rotated, bent, cropped, flipped = rng.random(4) < s.probability
        x, y = self._x, self._y
        if not (rotated or bent or cropped or flipped):
            return {"x": None, "y": None}
        if flipped:
            x = -x
        if cropped:  # a square of at least this share of the area, anywhere in the picture
            side = np.sqrt(rng.uniform(s.smallest_crop, 1.0))
            free = (1 - side) * self.size / 2
            x = x * np.float32(side) + np.float32(rng.uniform(-free, free))
            y = y * np.float32(side) + np.float32(rng.uniform(-free, free))
        if bent:
            noise = rng.random((self.size, self.size, 2), dtype=np.float32) * 2 - 1
            sigma = s.elastic_smoothness * self.size
            shift = cv2.GaussianBlur(noise, (0, 0), sigma) * np.float32(self._strength(sigma))
            x, y = x + shift[..., 0], y + shift[..., 1]
        if rotated:
            angle = np.radians(rng.uniform(-s.rotation_degrees, s.rotation_degrees))
            cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
            x, y = cos * x - sin * y, sin * x + cos * y
        middle = np.float32((params["shape"][0] - 1) / 2)  # of the stored crop
        return {"x": x + middle, "y": y + middle}

    def _strength(self, sigma: float) -> float:
        """Returns the factor that gives blurred noise, uniform in -1..1, the standard deviation asked for.

        A Gaussian leaves 1 / (2 sigma sqrt(pi)) of the standard deviation of independent pixels.
        """
        return float(self.settings.elastic_displacement * self.size * np.sqrt(3) * 2 * sigma * np.sqrt(np.pi))

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


class Augmenter:
    """Geometry, then brightness and contrast; each of the five with the same probability."""

    def __init__(self, settings: Augment, size: int) -> None:
        grey = A.RandomBrightnessContrast(settings.brightness, settings.contrast, p=settings.probability)
        self._compose = A.Compose([Geometry(settings, size), grey], strict=True)

    def reseed(self, seed: int) -> None:
        """Starts the random stream anew, so that an epoch does not depend on the ones before."""
        self._compose.set_random_seed(seed)

    def __call__(self, crop: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """A stored crop (3, S, S) of image, nodule and boundary becomes an augmented one, (3, size, size)."""
        done = self._compose(image=crop[0], masks=[crop[1], crop[2]])
        return np.stack([done["image"], *done["masks"]])
