"""The look of a nodule on each modality: every factor moves one visible property, everything else is chance.

What a modality's pictures show depends on that modality's factors alone. Both share where the nodule lies and
how large it is, which are independent of every factor; its shape is drawn for each, as if seen at another
angle: a CT nodule as tall as the US one would tell CT alone about a US factor.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from dgfnet.phantom.tomography import CtLesion
from dgfnet.phantom.ultrasound import UsLesion

CONTOUR_WAVES = 6
SMALLEST_CT_MM = 8.0  # ten pixels of the finer matrix: less has no shape


def us_lesion(z: Mapping[str, float], place: int, size_mm: float, rng: np.random.Generator) -> UsLesion:
    """Draws the US look.

    Args:
        z: factors, standard deviations.
        place: -1 right lobe, 0 isthmus, 1 left lobe.
        size_mm: geometric mean of width and height.
        rng: the patient's stream.
    """
    aspect = float(np.exp(0.02 + 0.20 * z["tallness"]))  # height over width
    dots = max(0, round(4.5 + 3.6 * z["microcalcification"]))
    angle, reach = rng.uniform(0, 2 * np.pi, dots), np.sqrt(rng.uniform(0, 0.6, dots))
    return UsLesion(
        waves=rng.uniform(0, 2 * np.pi, CONTOUR_WAVES),
        width_mm=size_mm / aspect**0.5,
        height_mm=size_mm * aspect**0.5,
        length_mm=size_mm * rng.uniform(0.95, 1.15),
        contrast_db=-8.5 - 3.3 * z["hypoechogenicity"],
        irregularity=max(0.0, 0.09 + 0.06 * z["irregularity"]),
        calcifications=np.stack([reach * np.cos(angle), reach * np.sin(angle)], axis=1),
        place=place,
    )


def ct_lesion(z: Mapping[str, float], place: int, size_mm: float, rng: np.random.Generator) -> CtLesion:
    """Draws the CT look; arguments as for `us_lesion`, with a stream of the CT's own."""
    aspect = float(np.exp(0.02 + 0.20 * np.clip(rng.standard_normal(), -2.5, 2.5)))
    return CtLesion(
        waves=rng.uniform(0, 2 * np.pi, CONTOUR_WAVES),
        width_mm=max(size_mm / aspect**0.5, SMALLEST_CT_MM),
        height_mm=max(size_mm * aspect**0.5, SMALLEST_CT_MM),
        length_mm=max(size_mm, SMALLEST_CT_MM),
        enhancement_hu=85.0 + 28.0 * z["enhancement"],
        extension=max(0.0, 0.32 + 0.26 * z["extension"]),
        nodes_mm=tuple(8.0 + 2.0 * z["nodes"] for _ in range(max(0, round(2.0 + 1.4 * z["nodes"])))),
        place=place,
    )
