"""Contrast-enhanced axial CT of the phantom's neck, in Hounsfield units."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from dgfnet.phantom.signal import REGIONS

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class CtScanner:
    """A CT machine: matrix, pixel side in mm, smoothing of the kernel in mm, noise in HU."""

    matrix: int
    spacing_mm: float
    kernel_mm: float
    noise_hu: float


MAIN = CtScanner(160, 0.75, 0.7, 9.0)
EXTERNAL = CtScanner(144, 0.85, 0.5, 15.0)


@dataclass(frozen=True)
class CtLesion:
    """The look of a nodule on CT.

    Attributes:
        width_mm: transverse diameter.
        height_mm: antero-posterior diameter.
        length_mm: cranio-caudal diameter.
        enhancement_hu: density after contrast.
        extension: growth beyond the capsule, share of the radius; 0 is none.
        waves: phases of the contour's waves, radians.
        nodes_mm: diameters of the suspicious nodes, mm.
        place: -1 right lobe, 0 isthmus, 1 left lobe.
    """

    width_mm: float
    height_mm: float
    length_mm: float
    enhancement_hu: float
    extension: float
    waves: Floats
    nodes_mm: tuple[float, ...]
    place: int


def draw(
    lesion: CtLesion, offsets: tuple[float, ...], scanner: CtScanner, rng: np.random.Generator
) -> tuple[NDArray[np.int16], NDArray[np.uint8], NDArray[np.uint8]]:
    """Draws axial slices, nodule masks and signal (bits of `signal.REGIONS`), (slices, rows, columns).

    Seen from below: the patient's left is on the right.

    Args:
        lesion: the nodule.
        offsets: height of each slice over the nodule's centre, share of its half length; below 1.
        scanner: matrix, kernel and noise.
        rng: the patient's random stream.
    """
    side = scanner.matrix * scanner.spacing_mm
    y, x = np.mgrid[: scanner.matrix, : scanner.matrix] * scanner.spacing_mm - side / 2
    anatomy = draw_anatomy(rng)
    nodes = place_nodes(lesion, rng)
    jitter = rng.normal(0, 1.0, 2)
    slices, masks, signals = [], [], []
    for offset in offsets:
        shrink = np.sqrt(1 - offset**2)
        hu = neck(x, y, anatomy, rng)
        cx, cy = centre(lesion, anatomy) + jitter
        u, v = (x - cx) / (lesion.width_mm / 2 * shrink), (y - cy) / (lesion.height_mm / 2 * shrink)
        radius, growth = _shape(u, v, lesion)
        hu = np.where(growth < 1, lesion.enhancement_hu + 10.0, hu)
        hu = np.where(radius < 1, lesion.enhancement_hu, hu)
        inside_a_node = np.zeros(hu.shape, dtype=bool)
        for dx, dy, diameter in nodes:
            distance = np.sqrt((x - cx - dx) ** 2 + (y - cy - dy) ** 2) / (diameter / 2)
            hu = np.where(distance < 1, 135.0, hu)
            hu = np.where(distance < 0.45, 70.0, hu)
            inside_a_node |= distance < 1
        noise = ndimage.gaussian_filter(
            rng.standard_normal(hu.shape), scanner.kernel_mm / scanner.spacing_mm * 0.6
        )
        hu = (
            ndimage.gaussian_filter(hu, scanner.kernel_mm / scanner.spacing_mm)
            + scanner.noise_hu * noise / noise.std()
        )
        slices.append(np.clip(np.rint(hu), -1024, 3071).astype(np.int16))
        masks.append((radius < 1).astype(np.uint8))
        signals.append(signal_of(radius, growth, inside_a_node))
    return np.stack(slices), np.stack(masks), np.stack(signals)


def signal_of(radius: Floats, growth: Floats, nodes: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Returns the plane of the truth, of the normalised radii and the nodes' pixels."""
    extension = (growth < 1) & (radius >= 1) & ~nodes
    shown = {"nodule": radius < 1, "extension": extension, "nodes": nodes}
    bits = np.sum([REGIONS["ct"][name][0] * where for name, where in shown.items()], axis=0)
    return np.asarray(bits, dtype=np.uint8)


@dataclass(frozen=True)
class Anatomy:
    """A neck: half axes in mm, density of the thyroid, half width of a lobe, radius of the trachea."""

    width: float
    depth: float
    gland_hu: float
    lobe: float
    trachea: float


def draw_anatomy(rng: np.random.Generator) -> Anatomy:
    """Draws a neck."""
    return Anatomy(
        width=rng.uniform(51, 57),
        depth=rng.uniform(44, 49),
        gland_hu=rng.normal(165, 6),
        lobe=rng.uniform(9.0, 11.0),
        trachea=rng.uniform(8.0, 9.5),
    )


def centre(lesion: CtLesion, anatomy: Anatomy) -> Floats:
    """Returns where the nodule lies, mm."""
    if lesion.place == 0:
        return np.array([0.0, -22.0 - anatomy.trachea])
    return np.array([lesion.place * (anatomy.trachea + anatomy.lobe * 0.8), -18.0])


def neck(x: Floats, y: Floats, anatomy: Anatomy, rng: np.random.Generator) -> Floats:
    """Draws air, skin and fat, muscles, spine, vessels, trachea and thyroid, without the nodule, HU."""
    hu = np.full(x.shape, -1000.0)

    def fill(cx: float, cy: float, rx: float, ry: float, value: float) -> None:
        inside = ((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 < 1
        hu[inside] = value

    fill(0, 0, anatomy.width, anatomy.depth, 20.0)
    fill(0, 0, anatomy.width - 2, anatomy.depth - 2, -95.0)
    fill(0, 22, 42, 22, 58.0)  # neck extensors
    for sign in (-1, 1):
        fill(sign * 34, -12, 8, 15, 60.0)  # sternocleidomastoid
        fill(sign * 14, -38, 9, 4, 58.0)  # strap muscles
        fill(sign * 13, 3, 8, 6, 60.0)  # longus colli
    fill(0, 16, 15, 13, 650.0)
    fill(0, 16, 13, 11, 240.0)  # vertebral body
    fill(0, 33, 9, 7, 30.0)  # canal
    for sign in (-1, 1):
        lobe_x = sign * (anatomy.trachea + anatomy.lobe * 0.8)
        fill(lobe_x, -17, anatomy.lobe, 14, anatomy.gland_hu)
        fill(sign * (anatomy.trachea + 2 * anatomy.lobe + 2.5), -8, 3.6, 3.6, 230.0)  # carotid
        fill(sign * (anatomy.trachea + 2 * anatomy.lobe + 8.5), -13, 5.0, 4.2, 190.0)  # jugular
    fill(0, -20 - anatomy.trachea, 10, 4, anatomy.gland_hu)  # isthmus
    fill(0, -18, anatomy.trachea + 1.5, anatomy.trachea + 1.5, 70.0)
    fill(0, -18, anatomy.trachea, anatomy.trachea, -1000.0)
    fill(rng.normal(0, 1), 2 - 0.5, 6, 3, 45.0)  # oesophagus
    texture: Floats = 60 * ndimage.gaussian_filter(rng.standard_normal(x.shape), 3)
    return hu + texture


def _shape(u: Floats, v: Floats, lesion: CtLesion) -> tuple[Floats, Floats]:
    """Returns the normalised radius of the nodule and of its growth beyond the capsule (spiculated)."""
    angle = np.arctan2(v, u)
    contour = np.ones_like(u)
    for order, phase in enumerate(lesion.waves, start=3):
        contour += 0.02 * np.cos(order * angle + phase)
    radius = np.sqrt(u**2 + v**2)
    spikes = 0.6 + 0.4 * np.cos(9 * angle + lesion.waves[0])
    return radius / contour, radius / (contour * (1 + lesion.extension * spikes))


def place_nodes(lesion: CtLesion, rng: np.random.Generator) -> list[tuple[float, float, float]]:
    """Returns offset from the nodule's centre and diameter of each suspicious node, mm; all lie beside it."""
    nodes = []
    sign = lesion.place or (1 if rng.random() < 0.5 else -1)
    for index, diameter in enumerate(lesion.nodes_mm):
        angle = -1.0 + 2.0 * (index + rng.uniform(0.3, 0.7)) / max(len(lesion.nodes_mm), 1)
        reach = (
            max(lesion.width_mm, lesion.height_mm) / 2 * (1 + lesion.extension)
            + diameter / 2
            + rng.uniform(2, 5)
        )
        nodes.append((sign * reach * float(np.cos(angle)), reach * float(np.sin(angle)), diameter))
    return nodes
