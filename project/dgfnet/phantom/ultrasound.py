"""B-mode ultrasound of the phantom: echogenicity in dB, speckle, attenuation, log compression.

Only float64 arithmetic of numpy and scipy.ndimage is used and the result is rounded to 8 bit, so that
differences in the last bit between CPUs do not reach the file.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from dgfnet.phantom.signal import REGIONS

Floats = NDArray[np.float64]
Bytes = NDArray[np.uint8]

GLAND_DB = -12.0  # echogenicity of healthy thyroid
SPOT_MM = 0.28  # standard deviation of a microcalcification; beyond two of them it sinks into the speckle
MARGIN_MM = (
    0.6  # on either side of the contour: two axial resolutions of the coarser machine and the soft edge
)


@dataclass(frozen=True)
class UsScanner:
    """An ultrasound machine: picture size, pixel side in mm, gain and range in dB, point spread in mm."""

    height: int
    width: int
    spacing_mm: float
    gain_db: float
    range_db: float
    axial_mm: float
    lateral_mm: float
    noise_db: float


MAIN = UsScanner(256, 320, 0.15, 0.0, 60.0, 0.12, 0.22, -42.0)
EXTERNAL = UsScanner(240, 288, 0.17, 4.0, 54.0, 0.16, 0.30, -36.0)


@dataclass(frozen=True)
class UsLesion:
    """The look of a nodule on ultrasound, in mm, dB and shares of its radius.

    Attributes:
        width_mm: width in the transverse view.
        height_mm: depth extent in both views.
        length_mm: width in the longitudinal view.
        contrast_db: echogenicity relative to the thyroid.
        irregularity: amplitude of the contour's waves, share of the radius.
        waves: phases of the contour's waves, radians.
        calcifications: positions (x, y in -1..1 of the radii) of microcalcifications, (n, 2).
        place: -1 right lobe, 0 isthmus, 1 left lobe.
    """

    width_mm: float
    height_mm: float
    length_mm: float
    contrast_db: float
    irregularity: float
    waves: Floats
    calcifications: Floats
    place: int


def draw(
    lesion: UsLesion, view: str, lines: bool, scanner: UsScanner, rng: np.random.Generator
) -> tuple[Bytes, Bytes, Bytes]:
    """Draws a picture, the mask of the nodule and the signal, (height, width) each.

    The mask is 0 or 255; the signal has the bits of `signal.REGIONS`.
    """
    y, x = np.mgrid[: scanner.height, : scanner.width] * scanner.spacing_mm
    width = x[0, -1]
    db, depth = _tissue(x, y, width, view, lesion.place, rng)
    radius_x = (lesion.width_mm if view == "transverse" else lesion.length_mm) / 2
    radius_y = lesion.height_mm / 2
    cx, cy = centre(lesion, radius_x, radius_y, x, y, depth, rng)
    inside, u, v = _nodule(x - cx, y - cy, radius_x, radius_y, lesion, rng)
    mask = inside < 1
    soft = np.clip((1 - inside) * min(radius_x, radius_y) / 0.3 + 0.5, 0, 1)
    inner = GLAND_DB + lesion.contrast_db + 1.5 * texture(db.shape, 6.0, rng)
    db = db * (1 - soft) + inner * soft
    amplitude = 10 ** (db / 20) * _speckle(db.shape, scanner, rng)
    bright, spots = _calcifications(u, v, min(radius_x, radius_y), lesion.calcifications, rng)
    amplitude += bright
    picture = _display(amplitude, y, scanner, rng)
    if lines:
        picture = calipers(picture, mask)
    return picture, mask.astype(np.uint8) * 255, signal_of(inside, min(radius_x, radius_y), spots)


def centre(
    lesion: UsLesion,
    radius_x: float,
    radius_y: float,
    x: Floats,
    y: Floats,
    depth: float,
    rng: np.random.Generator,
) -> tuple[float, float]:
    """Draws where the nodule lies below the thyroid's edge, whole in the picture where it fits, mm."""
    width = x[0, -1]
    reach_x, reach_y = radius_x * 1.15 + 1.5, radius_y * 1.15 + 0.5
    middle = width / 2 + (0 if lesion.place == 0 else rng.uniform(-0.12, 0.12) * width)
    cx = float(np.clip(middle, reach_x, width - reach_x))
    cy = float(np.clip(depth + radius_y + rng.uniform(0.5, 3.0), reach_y, y[-1, 0] - reach_y))
    return cx, cy


def signal_of(inside: Floats, radius: float, spots: NDArray[np.bool_]) -> Bytes:
    """Returns the plane of the truth, of the normalised radius (1 on the contour) and the spots' pixels."""
    margin = np.abs(inside - 1) * radius < MARGIN_MM
    shown = {"nodule": inside < 1, "margin": margin, "microcalcifications": spots}
    bits = np.sum([REGIONS["us"][name][0] * where for name, where in shown.items()], axis=0)
    return np.asarray(bits, dtype=np.uint8)


def _tissue(
    x: Floats, y: Floats, width: float, view: str, place: int, rng: np.random.Generator
) -> tuple[Floats, float]:
    """Returns the echogenicity of everything but the nodule, dB, and the depth of the thyroid's edge, mm."""
    wave = 0.6 * np.sin(2 * np.pi * (x / width * rng.uniform(0.5, 1.5) + rng.random()))
    fat, muscle = rng.uniform(1.5, 2.5), rng.uniform(4.0, 6.0)
    db = np.full(x.shape, -14.0)
    db[y < 1.0] = -4.0
    fascia = y - wave
    db[(fascia >= fat) & (fascia < muscle)] = -20.0
    db += np.where((fascia >= fat) & (fascia < muscle), 5 * np.sin(2 * np.pi * (fascia * 1.6 + 0.02 * x)), 0)
    db[np.abs(fascia - fat) < 0.2] = -4.0
    db[np.abs(fascia - muscle) < 0.25] = -2.0
    gland = (fascia >= muscle) & (y < 33 + wave)
    db[gland] = GLAND_DB + rng.normal(0, 0.7)
    db[y >= 33 + wave] = -19.0
    if view == "transverse":
        side = place or (1 if rng.random() < 0.5 else -1)
        vessel = (x - (width / 2 + side * width * 0.42)) ** 2 + (y - 19 - wave) ** 2
        db[vessel < 3.4**2] = -45.0
        db[(vessel >= 3.4**2) & (vessel < 3.9**2)] = -6.0
        trachea = (x - (width / 2 - side * width * (0.5 if place else 0.0))) ** 2 + (y - 30) ** 2
        db[trachea < 8.0**2] = -34.0
        db[np.abs(np.sqrt(trachea) - 8.0) < 0.4] = -1.0
    return ndimage.gaussian_filter(db, 1.0) + 1.2 * texture(db.shape, 10.0, rng), muscle + 0.3


def _nodule(
    dx: Floats, dy: Floats, radius_x: float, radius_y: float, lesion: UsLesion, rng: np.random.Generator
) -> tuple[Floats, Floats, Floats]:
    """Returns the normalised radius (1 on the contour) and the coordinates in units of the radii."""
    u, v = dx / radius_x, dy / radius_y
    angle = np.arctan2(v, u)
    contour = np.ones_like(u)
    for order, phase in enumerate(lesion.waves, start=3):
        contour += (
            lesion.irregularity
            / np.sqrt(len(lesion.waves))
            * np.cos(order * angle + phase + rng.normal(0, 0.3))
        )
    return np.sqrt(u**2 + v**2) / np.maximum(contour, 0.3), u, v


def _calcifications(
    u: Floats, v: Floats, radius: float, places: Floats, rng: np.random.Generator
) -> tuple[Floats, NDArray[np.bool_]]:
    """Returns the amplitude of the spots, and the pixels on which any of them shows."""
    bright, shown = np.zeros_like(u), np.zeros(u.shape, dtype=bool)
    for px, py in places:
        jitter = rng.normal(0, 0.05, 2)
        distance = ((u - px - jitter[0]) ** 2 + (v - py - jitter[1]) ** 2) * radius**2
        bright += rng.uniform(0.9, 1.3) * np.exp(-distance / (2 * SPOT_MM**2))
        shown |= distance < (2 * SPOT_MM) ** 2
    return bright, shown


def _speckle(shape: tuple[int, ...], scanner: UsScanner, rng: np.random.Generator) -> Floats:
    """Returns the magnitude of fully developed speckle with mean square 1."""
    sigma = (scanner.axial_mm / scanner.spacing_mm, scanner.lateral_mm / scanner.spacing_mm)
    parts = [ndimage.gaussian_filter(rng.standard_normal(shape), sigma) for _ in range(2)]
    magnitude = np.sqrt(parts[0] ** 2 + parts[1] ** 2)
    normalised: Floats = magnitude / np.sqrt(np.mean(magnitude**2))
    return normalised


def texture(shape: tuple[int, ...], sigma: float, rng: np.random.Generator) -> Floats:
    """Returns smooth noise of unit standard deviation, drawn on a coarse grid and enlarged."""
    step = max(1, int(sigma / 2))
    small = ndimage.gaussian_filter(rng.standard_normal([side // step + 2 for side in shape]), sigma / step)
    large = ndimage.zoom(small / small.std(), step, order=1)[: shape[0], : shape[1]]
    return np.asarray(large, dtype=np.float64)


def _display(amplitude: Floats, y: Floats, scanner: UsScanner, rng: np.random.Generator) -> Bytes:
    """Applies attenuation left over by the depth gain, electronic noise, and log compression to 8 bit."""
    tilt = rng.normal(0, 0.06)  # dB per mm
    noise = 10 ** (scanner.noise_db / 20) * np.abs(rng.standard_normal(amplitude.shape))
    db = 20 * np.log10(amplitude + noise * (1 + y / y[-1, 0]) + 1e-6) + scanner.gain_db + rng.normal(0, 1.0)
    db += tilt * (y - y[-1, 0] / 2)
    grey = 255 * (db + scanner.range_db * 0.72) / scanner.range_db
    return np.asarray(np.clip(np.rint(grey), 0, 255), dtype=np.uint8)


def calipers(picture: Bytes, mask: NDArray[np.bool_]) -> Bytes:
    """Draws measurement lines as sonographers do: two crosses joined by a dotted line, along both axes."""
    marked = picture.copy()
    rows, columns = np.nonzero(mask)
    ends = [
        ((int(rows.mean()), int(columns.min())), (int(rows.mean()), int(columns.max()))),
        ((int(rows.min()), int(columns.mean())), (int(rows.max()), int(columns.mean()))),
    ]
    for (y0, x0), (y1, x1) in ends:
        for y, x in ((y0, x0), (y1, x1)):
            marked[max(y - 4, 0) : y + 5, x] = 255
            marked[y, max(x - 4, 0) : x + 5] = 255
        steps = max(abs(y1 - y0), abs(x1 - x0)) // 4
        for k in range(1, steps):
            marked[y0 + (y1 - y0) * k // steps, x0 + (x1 - x0) * k // steps] = 255
    return marked
