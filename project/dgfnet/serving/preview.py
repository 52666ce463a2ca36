"""Pictures as the networks see them, with the outline in a box and the square around it, for the page."""

from __future__ import annotations

import base64
import json
import tempfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dgfnet.bundle.model import ScoringModel
from dgfnet.cohort.readers import read_image, read_pair
from dgfnet.errors import InputError
from dgfnet.imaging.boxes import FORMS, read_mark
from dgfnet.preprocess.roi import find_square
from dgfnet.preprocess.windowing import apply_window, to_grey
from dgfnet.serving.cases import loose_image
from dgfnet.serving.decode import FOLDERS, Fetch, stored_or_held
from dgfnet.serving.forms import content_of
from dgfnet.vocabulary import MODALITIES

WIDEST = 10_000  # HU of a window and of its centre


def preview_body(body: bytes | bytearray, model: ScoringModel, fetch: Fetch | None = None) -> str:
    """Reads one picture, and where it has a mark, says what the networks see around it.

    Args:
        body: JSON: `modality`, `image` (as in a case), and `box` or `calipers` or neither; `window`, centre
            and width in HU, shows CT otherwise than the networks see it.
        model: whose crops they are.
        fetch: gets an image that is a reference to a PACS; None takes none.

    Returns:
        JSON: `picture`, base64 of a PNG in grey; `width`, `height`, its pixels; `spacing_mm`, the side of a
        pixel or null; and where there is a mark `box` (left, top, right, bottom), `outline` (points x, y) and
        `square` (left, top, side).

    Raises:
        InputError: when the body is none of these, or the picture cannot be used.
    """
    request = content_of(body)
    if not isinstance(request, dict) or request.get("modality") not in MODALITIES:
        raise InputError(f"modality: expected one of {', '.join(MODALITIES)}")
    modality = request["modality"]
    given = [form for form in FORMS if request.get(form) is not None]
    if len(given) > 1:
        raise InputError(f"found {' and '.join(given)}; expected one of them")
    box = read_mark(given[0], request[given[0]], given[0]) if given else None
    window = _window(request.get("window"))
    with tempfile.TemporaryDirectory(prefix=FOLDERS) as folder:
        path, held = stored_or_held(Path(folder), modality, request.get("image"), fetch)
        image = loose_image(modality, path, box or path, held=held)
        # with a box as a case is read: its place decides the scale of ultrasound
        pixels, marked = read_pair(image) if box else (read_image(image), None)
        grey = to_grey(pixels, image, model.preprocess)
    shown = apply_window(pixels.values, *window) if window and pixels.unit == "HU" else grey
    answer: dict[str, Any] = {
        "picture": base64.b64encode(cv2.imencode(".png", shown)[1].tobytes()).decode(),
        "width": grey.shape[1],
        "height": grey.shape[0],
        "spacing_mm": pixels.spacing_mm,
    }
    if box is not None and marked is not None:
        drawn = model.outline(modality, grey, marked)
        square = find_square(drawn, model.preprocess.dilations(modality))
        answer |= {
            "box": [box.left, box.top, box.right, box.bottom],
            "outline": _line(drawn),
            "square": [square.left, square.top, square.side],
        }
    return json.dumps(answer)


def _window(value: Any) -> tuple[float, float] | None:
    """Returns centre and width of a window."""
    if value is None:
        return None
    numbers = value if isinstance(value, list) and len(value) == 2 else []
    if not numbers or any(isinstance(own, bool) or not isinstance(own, int | float) for own in numbers):
        raise InputError("window: expected two numbers, centre and width in HU")
    centre, width = map(float, numbers)
    if not (abs(centre) <= WIDEST and 1 <= width <= WIDEST):
        raise InputError(f"window: expected a centre of at most {WIDEST} HU and a width of 1 to {WIDEST} HU")
    return centre, width


def _line(mask: NDArray[np.uint8]) -> list[list[float]]:
    """Returns the outline of a mask, points at the middle of its outermost pixels."""
    lines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    longest = max(lines, key=len)
    return [[float(x) + 0.5, float(y) + 0.5] for x, y in longest[:, 0]]
