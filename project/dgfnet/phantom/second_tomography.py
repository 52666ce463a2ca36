"""CT of the phantom's second style: an arterial phase, a sharp kernel with streaks, lobules, cystic nodes.

The factors move the same properties as in `tomography.py`, by other means: growth beyond the capsule is
lobulated, not spiculated, and of the nodule's own density; nodes are oval, solid and partly cystic.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from dgfnet.phantom.tomography import (
    CtLesion,
    CtScanner,
    Floats,
    centre,
    draw_anatomy,
    neck,
    place_nodes,
    signal_of,
)

MAIN = CtScanner(168, 0.7, 0.45, 12.0)
EXTERNAL = CtScanner(136, 0.9, 0.8, 10.0)

LOBULES = 4
ANGLES = 720


def draw(
    lesion: CtLesion, offsets: tuple[float, ...], scanner: CtScanner, rng: np.random.Generator
) -> tuple[NDArray[np.int16], NDArray[np.uint8], NDArray[np.uint8]]:
    """Draws axial slices, nodule masks and signal, as `tomography.draw` does."""
    side = scanner.matrix * scanner.spacing_mm
    y, x = np.mgrid[: scanner.matrix, : scanner.matrix] * scanner.spacing_mm - side / 2
    anatomy = replace(draw_anatomy(rng), gland_hu=rng.normal(195, 8))
    nodes = [
        (*node, rng.uniform(0, np.pi), rng.uniform(0.65, 0.95), rng.uniform(-0.4, 0.4, 2))
        for node in place_nodes(lesion, rng)
    ]
    cx, cy = centre(lesion, anatomy) + rng.normal(0, 1.0, 2)
    contour, lobules = _shape(rng)
    level = 25.0 + 0.9 * lesion.enhancement_hu
    slices, masks, signals = [], [], []
    for offset in offsets:
        shrink = np.sqrt(1 - offset**2)
        u, v = (x - cx) / (lesion.width_mm / 2 * shrink), (y - cy) / (lesion.height_mm / 2 * shrink)
        angle = np.arctan2(v, u)
        radius = np.hypot(u, v) / _around(angle, contour)
        growth = radius / (1 + lesion.extension * _around(angle, lobules))
        hu = np.where(growth < 1, level + 5 * np.cos(7 * radius), neck(x, y, anatomy, rng))
        inside_a_node = np.zeros(hu.shape, dtype=bool)
        for dx, dy, diameter, tilt, ratio, cyst in nodes:
            px, py = (x - cx - dx) / (diameter / 2), (y - cy - dy) / (diameter / 2)
            along, across = px * np.cos(tilt) + py * np.sin(tilt), py * np.cos(tilt) - px * np.sin(tilt)
            inside = np.hypot(along, across / ratio) < 1
            hu = np.where(inside, 150.0, hu)
            hu = np.where(inside & (np.hypot(along - cyst[0], across - cyst[1]) < 0.4), 20.0, hu)
            inside_a_node |= inside
        hu = ndimage.gaussian_filter(hu, scanner.kernel_mm / scanner.spacing_mm) + _noise(scanner, rng)
        slices.append(np.clip(np.rint(hu), -1024, 3071).astype(np.int16))
        masks.append((radius < 1).astype(np.uint8))
        signals.append(signal_of(radius, growth, inside_a_node))
    return np.stack(slices), np.stack(masks), np.stack(signals)


def _shape(rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Returns the contour, a periodic Gaussian process, and the lobules' height, mean 0.6, over angles."""
    around = np.linspace(-np.pi, np.pi, ANGLES + 1)
    orders = np.arange(2, 9)
    weights = 0.05 * rng.standard_normal((2, len(orders))) / orders
    phases = np.outer(around, orders)
    contour = 1 + np.cos(phases) @ weights[0] + np.sin(phases) @ weights[1]
    turns = (np.arange(LOBULES) + rng.uniform(-0.3, 0.3, LOBULES)) / LOBULES + rng.random()
    heights = rng.uniform(0.6, 1.0, LOBULES)
    lobules = np.exp(4 * (np.cos(around[:, None] - 2 * np.pi * turns) - 1)) @ heights
    return contour, 0.6 * lobules / lobules[:-1].mean()


def _around(angle: Floats, table: Floats) -> Floats:
    return np.interp(angle, np.linspace(-np.pi, np.pi, ANGLES + 1), table)


def _noise(scanner: CtScanner, rng: np.random.Generator) -> Floats:
    """Returns noise of a sharp kernel, without its low frequencies, with streaks of the shoulders, HU."""
    white = rng.standard_normal((scanner.matrix, scanner.matrix))
    sigma = scanner.kernel_mm / scanner.spacing_mm
    sharp = ndimage.gaussian_filter(white, 0.5 * sigma) - ndimage.gaussian_filter(white, 2.5 * sigma)
    streaks = ndimage.gaussian_filter(rng.standard_normal(white.shape), (0.6, 15.0))
    return np.asarray(
        scanner.noise_hu * (0.9 * sharp / sharp.std() + 0.4 * streaks / streaks.std()), dtype=np.float64
    )
