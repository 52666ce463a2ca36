"""Two ways to draw the same lesions: neither a model nor a measurement should fit one alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dgfnet.cohort.records import Source
from dgfnet.phantom import second_tomography, second_ultrasound, tomography, ultrasound
from dgfnet.phantom.tomography import CtLesion, CtScanner
from dgfnet.phantom.ultrasound import UsLesion, UsScanner

StyleName = Literal["first", "second"]
Bytes = NDArray[np.uint8]
DrawUs = Callable[[UsLesion, str, bool, UsScanner, np.random.Generator], tuple[Bytes, Bytes, Bytes]]
DrawCt = Callable[
    [CtLesion, tuple[float, ...], CtScanner, np.random.Generator], tuple[NDArray[np.int16], Bytes, Bytes]
]


@dataclass(frozen=True)
class Style:
    """A way to draw lesions, and the scanners of each cohort."""

    draw_us: DrawUs
    draw_ct: DrawCt
    us_scanners: dict[Source, UsScanner]
    ct_scanners: dict[Source, CtScanner]


STYLES: dict[StyleName, Style] = {
    "first": Style(
        ultrasound.draw,
        tomography.draw,
        {"main": ultrasound.MAIN, "external": ultrasound.EXTERNAL},
        {"main": tomography.MAIN, "external": tomography.EXTERNAL},
    ),
    "second": Style(
        second_ultrasound.draw,
        second_tomography.draw,
        {"main": second_ultrasound.MAIN, "external": second_ultrasound.EXTERNAL},
        {"main": second_tomography.MAIN, "external": second_tomography.EXTERNAL},
    ),
}
