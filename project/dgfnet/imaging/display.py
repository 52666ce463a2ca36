"""Stored values become 8-bit pixels as displayed: the grey-scale pipeline of DICOM and its palettes.

PS3.3 C.7.6.3 (photometric interpretation, palettes), C.11.1 (rescale), C.11.2 (windows, VOI look-up tables).
Look-up tables are applied here: `apply_color_lut` and `apply_voi_lut` of pydicom 3.0 wrap around where stored
values have more bits than entries, and the second does not read 8-bit entries that lie in bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_color_lut

from dgfnet.errors import InputError
from dgfnet.imaging.dicom import text

GREY = ("MONOCHROME1", "MONOCHROME2")
# pydicom turns YBR_FULL into RGB, and a JPEG 2000 codestream its own YBR_ICT and YBR_RCT
COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
PALETTE = "PALETTE COLOR"
DEEPEST = 16  # bits stored that are looked up


def as_displayed(path: Path, data: Dataset, stored: NDArray[Any]) -> NDArray[np.uint8]:
    """Returns 8-bit pixels as displayed, (height, width) grey or (height, width, 3) red first.

    Raises:
        InputError: for values that no attribute says how to display in 8 bits, or two say differently.
    """
    kind, bits, samples = (
        text(data.PhotometricInterpretation),
        int(data.BitsStored),
        int(data.SamplesPerPixel),
    )
    if samples != (expected := 3 if kind in COLOUR else 1):
        raise InputError(f"{path.name}: {kind} with SamplesPerPixel {samples}; expected {expected}")
    if kind in GREY and stored.dtype.kind in "iu" and bits <= DEEPEST:
        return _grey(path, data, stored)
    if kind == PALETTE and stored.dtype.kind in "iu":
        return _of_palette(path, data, stored)
    if kind in COLOUR and stored.dtype.kind == "u" and bits == 8:
        return np.ascontiguousarray(stored.astype(np.uint8, copy=False))
    raise InputError(f"{path.name}: {_described(data, stored)}; expected 8-bit ultrasound")


def _described(data: Dataset, stored: NDArray[Any]) -> str:
    signed = "signed values of " if stored.dtype.kind == "i" else ""
    return f"{text(data.PhotometricInterpretation)} with {signed}{data.BitsStored} bits"


def check_photometric(path: Path, data: Dataset) -> None:
    """Refuses pixels whose colour nobody here can tell, before they are decoded.

    Raises:
        InputError: for a retired or unknown photometric interpretation, or one that contradicts another
            attribute.
    """
    kind = text(data.get("PhotometricInterpretation"))
    if kind not in (*GREY, *COLOUR, PALETTE):
        raise InputError(
            f"{path.name}: PhotometricInterpretation {kind or 'missing'}; expected {', '.join(GREY)}, RGB, "
            f"YBR_FULL, YBR_FULL_422 or {PALETTE}"
        )
    syntax = data.file_meta.TransferSyntaxUID
    if kind in ("YBR_ICT", "YBR_RCT") and "JPEG 2000" not in syntax.name:
        raise InputError(f"{path.name}: {kind} outside JPEG 2000 ({syntax.name}); export it again")
    shape = text(data.get("PresentationLUTShape"))
    if shape and shape != ("INVERSE" if kind == "MONOCHROME1" else "IDENTITY"):
        raise InputError(f"{path.name}: {kind} contradicts PresentationLUTShape {shape}; export it again")
    if (shown := text(data.get("PixelPresentation"))) not in ("", "MONOCHROME") and kind in GREY:
        raise InputError(f"{path.name}: PixelPresentation {shown}; expected grey without a second palette")
    if data.get("ModalityLUTSequence"):
        raise InputError(f"{path.name}: a ModalityLUTSequence; expected values as displayed, export it again")


def _grey(path: Path, data: Dataset, stored: NDArray[Any]) -> NDArray[np.uint8]:
    """Returns grey, 0-255, by rescale, window or look-up table, and polarity."""
    kind, bits, signed = text(data.PhotometricInterpretation), int(data.BitsStored), stored.dtype.kind == "i"
    lowest = -(1 << bits - 1) if signed else 0
    possible = np.arange(lowest, lowest + (1 << bits))  # all values that may be stored
    slope, intercept = float(data.get("RescaleSlope", 1)), float(data.get("RescaleIntercept", 0))
    values = (slope * possible + intercept).astype(np.float64)
    share = _voi(path, data, values)
    if share is None:
        if bits != 8 or signed:
            raise InputError(
                f"{path.name}: {_described(data, stored)}; expected 8-bit ultrasound, or a window "
                f"(WindowCenter, WindowWidth) that says how it is displayed"
            )
        share = possible / 255 if slope >= 0 else 1 - possible / 255
    if not np.isfinite(share).all():
        raise InputError(f"{path.name}: a window or rescale without finite numbers; export it again")
    table = np.rint(255 * (1 - share if kind == "MONOCHROME1" else share)).astype(np.uint8)
    table[padding_of(data, possible)] = 0  # outside the picture: black
    if bits == 8 and not signed and np.array_equal(table, possible):
        return np.ascontiguousarray(stored.astype(np.uint8, copy=False))
    return table[stored.astype(np.int32) - lowest]


def padding_of(data: Dataset, values: NDArray[Any]) -> NDArray[np.bool_]:
    """Returns True where a stored value is padding (PixelPaddingValue, C.7.5.1.1.2), of the shape of values.

    Values of one sign written with the VR of the other are understood: 63536 in a signed file is -2000.
    """
    ends = [data.get(name) for name in ("PixelPaddingValue", "PixelPaddingRangeLimit")]
    found = [int(end) for end in ends if end is not None]
    if not found or ends[0] is None:
        return np.zeros(values.shape, dtype=np.bool_)
    if int(data.get("PixelRepresentation", 0)):
        found = [end - 65536 if end > 32767 else end for end in found]
    else:
        found = [end + 65536 if end < 0 else end for end in found]
    padding: NDArray[np.bool_] = (values >= min(found)) & (values <= max(found))
    return padding


def _voi(path: Path, data: Dataset, values: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Returns grey of rescaled values, 0 to 1, by the first window or look-up table; None without either."""
    tables = data.get("VOILUTSequence")
    centre, width = (_first(data.get(name)) for name in ("WindowCenter", "WindowWidth"))
    if tables and centre is not None:
        raise InputError(
            f"{path.name}: a window and a VOI look-up table, and nothing says which; export it as displayed"
        )
    if tables:
        count, first, bits = (int(value) for value in tables[0].LUTDescriptor)
        entries = _entries(path, tables[0].LUTData, count, bits, data)
        if int(data.get("PixelRepresentation", 0)) and first > 32767:
            first -= 65536
        place = np.clip(np.nan_to_num(np.rint(values)) - first, 0, entries.size - 1).astype(np.int64)
        return np.asarray(entries[place] / ((1 << bits) - 1), dtype=np.float64)
    if centre is None or width is None:
        return None
    shape = text(data.get("VOILUTFunction")) or "LINEAR"
    if width < 1 if shape == "LINEAR" else width <= 0:
        raise InputError(f"{path.name}: WindowWidth {width:g}; expected at least 1")
    if shape == "SIGMOID":
        steep = np.clip(-4 * (values - centre) / width, -700, 700)  # what exp can hold
        return np.asarray(1 / (1 + np.exp(steep)), dtype=np.float64)
    if shape == "LINEAR_EXACT":
        return np.clip((values - centre) / width + 0.5, 0, 1)
    if shape != "LINEAR":
        raise InputError(f"{path.name}: VOILUTFunction {shape}; expected LINEAR, LINEAR_EXACT or SIGMOID")
    if width == 1:
        return (values > centre - 0.5).astype(np.float64)
    return np.clip((values - centre + 0.5) / (width - 1) + 0.5, 0, 1)


def _first(value: Any) -> float | None:
    """Returns the first of the windows: the others are further views to choose from."""
    if value is None or value == "":
        return None
    return float(value[0] if isinstance(value, Sequence) and not isinstance(value, str) else value)


def _of_palette(path: Path, data: Dataset, stored: NDArray[Any]) -> NDArray[np.uint8]:
    """Returns the colours of a palette, (height, width, 3), its 16-bit entries by their upper 8 bits."""
    names = [f"{colour}PaletteColorLookupTable" for colour in ("Red", "Green", "Blue")]
    if any(f"{part}AlphaPaletteColorLookupTableData" in data for part in ("", "Segmented")):
        raise InputError(f"{path.name}: a palette with transparency; expected one of red, green and blue")
    count, first, bits = (int(value) for value in data[f"{names[0]}Descriptor"].value)
    if int(data.get("PixelRepresentation", 0)) and first > 32767:
        first -= 65536
    if bits not in (8, 16):
        raise InputError(f"{path.name}: a palette of {bits} bits; expected 8 or 16")
    if f"{names[0]}Data" in data:
        entries = np.stack(
            [_entries(path, data[f"{n}Data"].value, count, bits, data) for n in names], axis=-1
        )
    else:  # segmented: the palette is asked for the colour of each of its entries
        if bits == 8 and not 0 < count <= 256:
            raise InputError(
                f"{path.name}: a segmented palette of {count} 8-bit entries; expected 256 at most"
            )
        entries = apply_color_lut(np.arange(first, first + (count or 65536), dtype=np.int32), data)
    table = (entries >> (bits - 8)).astype(np.uint8)
    if not table.any():
        raise InputError(f"{path.name}: a palette that is black all over; export it again")
    return np.ascontiguousarray(table[np.clip(stored.astype(np.int64) - first, 0, len(table) - 1)])


def _entries(path: Path, found: Any, count: int, bits: int, data: Dataset) -> NDArray[np.int64]:
    """Returns the entries of a look-up table (C.7.6.3.1.5): bytes, or 16-bit words of which `bits` count."""
    little = bool(data.file_meta.TransferSyntaxUID.is_little_endian)
    count = count or 65536
    word = np.dtype("<u2" if little else ">u2")
    raw = found if isinstance(found, bytes) else np.asarray(found, dtype=word).tobytes()
    if bits == 8 and len(raw) == count + count % 2:  # a word holds two entries, the first in its lower half
        values = np.frombuffer(np.frombuffer(raw, word).astype("<u2").tobytes(), np.uint8).astype(np.int64)
    elif len(raw) == 2 * count and 8 <= bits <= 16:
        values = np.frombuffer(raw, word).astype(np.int64) & ((1 << bits) - 1)
    else:
        raise InputError(
            f"{path.name}: a look-up table of {len(raw)} bytes; expected {count} entries of {bits} bits"
        )
    return values[:count]
