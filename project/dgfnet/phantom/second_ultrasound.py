"""B-mode ultrasound of the phantom's second style: K-distributed speckle, gain by bands, clusters, shadows.

The factors move the same properties as in `ultrasound.py`, by other means: contrast is weaker in coarser
tissue, the contour is a Gaussian process on the angle, microcalcifications are clustered and cast shadows,
and the nodule is followed by enhancement and by shadows of its edges. Arithmetic as there.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from dgfnet.phantom.ultrasound import Bytes, Floats, UsLesion, UsScanner, calipers, centre, signal_of, texture

MAIN = UsScanner(256, 304, 0.16, 2.0, 66.0, 0.15, 0.26, -48.0)
EXTERNAL = UsScanner(224, 272, 0.18, -3.0, 58.0, 0.19, 0.34, -40.0)

GLAND_DB = -15.0
SPOT_MM = 0.22  # standard deviation of a microcalcification
REACH_MM = 1.5  # of a spot and, sideways, of its shadow: five standard deviations
SHADOW_DB = 5.0  # below a microcalcification
SCATTERERS = 3.0  # per resolution cell: the shape of the K distribution; infinitely many give Rayleigh's
ORDERS = np.arange(3, 15)  # waves around the contour
ANGLES = 720


def draw(
    lesion: UsLesion, view: str, lines: bool, scanner: UsScanner, rng: np.random.Generator
) -> tuple[Bytes, Bytes, Bytes]:
    """Draws a picture, the mask of the nodule and the signal, as `ultrasound.draw` does."""
    y, x = np.mgrid[: scanner.height, : scanner.width] * scanner.spacing_mm
    db, depth = _tissue(x, y, view, lesion.place, rng)
    radius_x = (lesion.width_mm if view == "transverse" else lesion.length_mm) / 2
    radius_y = lesion.height_mm / 2
    radius = min(radius_x, radius_y)
    cx, cy = centre(lesion, radius_x, radius_y, x, y, depth, rng)
    u, v = (x - cx) / radius_x, (y - cy) / radius_y
    inside = np.sqrt(u**2 + v**2) / _contour(np.arctan2(v, u), lesion.irregularity, rng)
    soft = np.clip((1 - inside) * radius / 0.6 + 0.5, 0, 1)
    patches = 1.8 * texture(db.shape, 4.0, rng) + 1.2 * texture(db.shape, 14.0, rng)
    db = db * (1 - soft) + (GLAND_DB + 1.0 + 0.8 * lesion.contrast_db + patches) * soft
    db += _beyond(u, v, inside, rng)
    bright, shadow, spots = _clusters(u, v, (radius_x, radius_y), lesion.calcifications, rng)
    amplitude = 10 ** ((db - shadow) / 20) * _speckle(db.shape, scanner, rng) + bright
    picture = _display(amplitude, y, scanner, rng)
    mask = inside < 1
    if lines:
        picture = calipers(picture, mask)
    return picture, mask.astype(np.uint8) * 255, signal_of(inside, radius, spots)


def _tissue(x: Floats, y: Floats, view: str, place: int, rng: np.random.Generator) -> tuple[Floats, float]:
    """Returns the echogenicity of everything but the nodule, dB, and the depth of the thyroid's edge, mm."""
    width = x[0, -1]
    bend = rng.normal(0, 0.0015) * (x - width / 2) ** 2 + 0.5 * texture(x.shape, 40.0, rng)
    layer = y - bend
    skin, muscle, bottom = rng.uniform(1.2, 2.2), rng.uniform(4.5, 6.5), rng.uniform(33.0, 35.0)
    grain = texture(x.shape, 8.0, rng)
    db = np.full(x.shape, -8.0)
    db = np.where(layer >= skin, -22.0 + 3.5 * ndimage.gaussian_filter1d(grain, 20.0, axis=1), db)
    db = np.where(layer >= muscle, GLAND_DB + rng.normal(0, 0.7) + 0.8 * grain, db)
    db = np.where(layer >= bottom, -23.0 + 2.0 * grain, db)
    for edge in (skin, muscle, bottom):
        db += 9.0 * np.exp(-(((layer - edge) / 0.25) ** 2))
    if view == "transverse":
        side = place or (1 if rng.random() < 0.5 else -1)
        artery = np.hypot((x - width / 2 - side * width * 0.43) / 3.2, (y - 21) / 2.7)
        db = np.where(artery < 1, -48.0, db + 6.0 * np.exp(-(((artery - 1) / 0.1) ** 2)))
        rings = np.hypot(x - width / 2 + side * width * (0.5 if place else 0.0), y - 31)
        air = -30.0 + 6.0 * np.sin(2 * np.pi * (rings - 8.5) / 2.2)  # reverberations of the trachea
        db = np.where(rings < 8.5, air, db + 10.0 * np.exp(-(((rings - 8.5) / 0.35) ** 2)))
    return ndimage.gaussian_filter(db, 1.0), muscle + 0.3


def _contour(angle: Floats, irregularity: float, rng: np.random.Generator) -> Floats:
    """Returns the contour's radius: 1 plus a periodic Gaussian process of the first style's variance."""
    fall = np.exp(-0.5 * ((ORDERS - ORDERS[0]) / 4.0) ** 2)
    real, imaginary = rng.standard_normal((2, len(ORDERS)))
    around = np.linspace(-np.pi, np.pi, ANGLES + 1)
    waves = np.cos(np.outer(around, ORDERS)) @ (fall * real) + np.sin(np.outer(around, ORDERS)) @ (
        fall * imaginary
    )
    radius = 1 + irregularity * np.sqrt(0.5) * waves / np.sqrt(np.mean(waves[:-1] ** 2))
    return np.asarray(np.maximum(np.interp(angle, around, radius), 0.3), dtype=np.float64)


def _beyond(u: Floats, v: Floats, inside: Floats, rng: np.random.Generator) -> Floats:
    """Returns what the nodule does to the tissue below it, dB: enhancement, and shadows of its edges."""
    below = (v > 0) & (inside >= 1)
    enhancement = rng.uniform(0, 4) * np.clip(1 - (u / 0.9) ** 2, 0, 1)
    edges = rng.uniform(0, 4) * np.exp(-(((np.abs(u) - 1) / 0.1) ** 2))
    return np.asarray(np.where(below, enhancement - edges, 0.0), dtype=np.float64)


def _clusters(
    u: Floats, v: Floats, radii: tuple[float, float], places: Floats, rng: np.random.Generator
) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """Returns amplitude and shadow (dB) of the spots, and the pixels on which any of them shows.

    The places are drawn together around a centre, differently in every picture.
    """
    middle = rng.uniform(-0.3, 0.3, 2)
    bright, shadow, shown = np.zeros_like(u), np.zeros_like(u), np.zeros(u.shape, dtype=bool)
    for place in places:
        px, py = middle + 0.65 * place + rng.normal(0, 0.05, 2)
        here = np.ix_((v[:, 0] - py) * radii[1] > -REACH_MM, np.abs(u[0] - px) * radii[0] < REACH_MM)
        dx, dy = (u[here] - px) * radii[0], (v[here] - py) * radii[1]
        distance = dx**2 + dy**2
        bright[here] += rng.uniform(0.7, 1.2) * np.exp(-distance / (2 * SPOT_MM**2))
        below = np.clip(dy / 0.5, 0, 1) * np.exp(-np.maximum(dy, 0) / 5.0)
        depth = SHADOW_DB * np.exp(-(dx**2) / (2 * 0.3**2)) * below
        shadow[here] = np.maximum(shadow[here], depth)
        shown[here] |= distance < (2 * SPOT_MM) ** 2
    return bright, shadow, shown


def _speckle(shape: tuple[int, ...], scanner: UsScanner, rng: np.random.Generator) -> Floats:
    """Returns K-distributed magnitude with mean square 1 (Jakeman and Pusey 1976): few scatterers in a cell.

    Rayleigh's magnitude with a gamma-distributed local power. A Gaussian filter of one pixel averages about
    4 pi of them, so that each has that part of the shape.
    """
    sigma = (scanner.axial_mm / scanner.spacing_mm, scanner.lateral_mm / scanner.spacing_mm)
    parts = [ndimage.gaussian_filter(rng.standard_normal(shape), sigma) for _ in range(2)]
    power = ndimage.gaussian_filter(rng.gamma(SCATTERERS / (4 * np.pi), 1.0, shape), 1.0)
    squared = (parts[0] ** 2 + parts[1] ** 2) * power
    return np.asarray(np.sqrt(squared / squared.mean()), dtype=np.float64)


def _display(amplitude: Floats, y: Floats, scanner: UsScanner, rng: np.random.Generator) -> Bytes:
    """Applies electronic noise, attenuation, eight sliders of gain over depth, and a curved map to 8 bit."""
    bottom = y[-1, 0]
    noise = 10 ** (scanner.noise_db / 20) * np.abs(rng.standard_normal(amplitude.shape))
    db = 20 * np.log10(amplitude + noise * (1 + 2 * (y / bottom) ** 2) + 1e-6)
    sliders = np.interp(y, np.linspace(0, bottom, 8), rng.normal(0, 0.8, 8))
    db += sliders - 0.10 * y + scanner.gain_db + rng.normal(0, 1.0)
    share = np.clip((db + scanner.range_db * 0.78) / scanner.range_db, 0, 1)
    return np.asarray(np.rint(255 * share**1.2), dtype=np.uint8)
