"""The paper's augmentation, with albumentations: the same geometry for image and targets (section 2)."""

from __future__ import annotations

import os

import numpy as np
from numpy.typing import NDArray

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # it asks the network for its version at import

import albumentations as A
import cv2

from dgfnet.settings import Augment


class Augmenter:
    """Rotation, elastic, crop and scale back, flip, brightness and contrast; each with the same probability.

    Works on stored crops with a margin: rotation and elastic deformation move real tissue into the corners,
    then the margin is cut off.
    """

    def __init__(self, settings: Augment, size: int) -> None:
        p = settings.probability
        self._geometry = A.Compose(
            [
                A.Rotate(
                    limit=(-settings.rotation_degrees, settings.rotation_degrees),
                    interpolation=cv2.INTER_LINEAR,
                    border_mode=cv2.BORDER_CONSTANT,
                    p=p,
                ),
                A.ElasticTransform(
                    alpha=settings.elastic_alpha,
                    sigma=settings.elastic_sigma,
                    border_mode=cv2.BORDER_CONSTANT,
                    p=p,
                ),
                A.CenterCrop(size, size, p=1),
                A.RandomResizedCrop(
                    (size, size),
                    scale=(settings.smallest_crop**2, 1.0),
                    ratio=(1.0, 1.0),
                    mask_interpolation=cv2.INTER_NEAREST_EXACT,  # INTER_NEAREST drifts by half a pixel
                    p=p,
                ),
                A.HorizontalFlip(p=p),
                A.RandomBrightnessContrast(settings.brightness, settings.contrast, p=p),
            ],
            strict=True,
        )

    def reseed(self, seed: int) -> None:
        """Starts the random stream anew, so that an epoch does not depend on the ones before."""
        self._geometry.set_random_seed(seed)

    def __call__(self, crop: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """A stored crop (3, S, S) of image, nodule and boundary becomes an augmented one, (3, size, size)."""
        done = self._geometry(image=crop[0], masks=[crop[1], crop[2]])
        return np.stack([done["image"], *done["masks"]])
