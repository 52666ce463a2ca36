"""DICOM files: opened, refused when they still name a person, and decoded to the values that they store.

What stored values mean is said in `ultrasound.py`, `display.py` and `tomography.py`;
docs/reference/dicom-attributes.md lists every attribute that is heeded, and how.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.multival import MultiValue
from pydicom.pixels.utils import pixel_array
from pydicom.uid import UID, RLELossless

from dgfnet.errors import InputError
from dgfnet.imaging.identity import identity
from dgfnet.imaging.limits import LARGEST, SAME, scale_fault, too_large

STORAGE = "1.2.840.10008.5.1.4.1.1."  # the SOP classes of PS3.4 table B.5-1 begin so
SECONDARY_CAPTURE = frozenset(STORAGE + end for end in ("7", "7.1", "7.2", "7.3", "7.4"))

# what pydicom raises for a broken file, most of it only when the broken element is asked for
UNREADABLE = (
    *(InvalidDicomError, AttributeError, NotImplementedError, RuntimeError, ArithmeticError),
    *(ValueError, OSError, EOFError, LookupError, TypeError, struct.error, BytesLengthException),
)


def open_file(path: Path, pseudonym: str = "") -> Dataset:
    """Reads the data set of a DICOM file.

    Args:
        path: the file.
        pseudonym: a PatientID that is known to be none of a hospital's. Programs that draw on an image copy
            its PatientID, but not that identity was removed (dcmqi 1.5.7, pydicom-seg 0.4.1).

    Raises:
        InputError: when the file is not DICOM, or names a person or a place.
    """
    with as_input_error(path, "cannot be read as DICOM"):
        data = pydicom.dcmread(path)
        names = identity(data)
        if pseudonym and str(data.get("PatientID") or "").strip() == pseudonym:
            names = [name for name in names if name != "PatientID"]
    if names:
        raise InputError(
            f"{path.name}: names a person or a place ({', '.join(names)}); de-identify it by the basic "
            f"profile of DICOM PS3.15, set PatientIdentityRemoved to YES and name the DeidentificationMethod"
        )
    return data


def check_class(path: Path, data: Dataset, classes: Collection[str], modality: str, expected: str) -> None:
    """Refuses a file of another kind than the cohort says.

    Args:
        path: of the file, for the message.
        data: of the file.
        classes: UIDs of the SOP classes that are right whatever Modality says.
        modality: that a secondary capture, or a file of a private class, has to have, when it has one.
        expected: what the message says was expected.

    Raises:
        InputError: for a file of another class or modality.
    """
    with as_input_error(path, "cannot be read as DICOM"):
        uid = UID(text(data.get("SOPClassUID")))
        found = text(data.get("Modality"))
    if uid in classes:
        return
    if (uid in SECONDARY_CAPTURE or not uid.startswith(STORAGE)) and found in (modality, "OT", ""):
        return
    raise InputError(f"{path.name}: {uid.name or 'an image'} of modality {found or '?'}; expected {expected}")


def pixels_of(path: Path, data: Dataset, frame: int | None) -> NDArray[Any]:
    """Decodes the stored values of a frame, (height, width) or (height, width, 3) in RGB.

    Bits that belong to no value (overlays of old files, or left undefined) do not enter them, and the sign is
    extended from the highest bit stored (PS3.5, 8.1.1).

    Raises:
        InputError: for pixels that are absent, too many or cannot be decoded, and for a missing frame.
    """
    with as_input_error(path, "its pixels cannot be decoded"):
        if not any(name in data for name in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")):
            raise InputError(f"{path.name}: no pixels in it; expected an image, export or copy it again")
        frames = int(data.get("NumberOfFrames") or 1)
        if frame is None and frames > 1:
            raise InputError(
                f"{path.name}: {frames} frames; name one (0 is the first) in the column slice of images.csv"
            )
        if (frame or 0) >= frames:
            raise InputError(f"{path.name}: frame {frame} asked for, the file has {frames} (0 is the first)")
        if int(data.get("Rows") or 0) * int(data.get("Columns") or 0) > LARGEST:  # before memory is taken
            raise InputError(too_large(path))
        syntax = data.file_meta.TransferSyntaxUID
        coded = syntax.is_encapsulated and syntax != RLELossless
        # a codestream tells itself how its samples lie, so that PlanarConfiguration shall be 0 (PS3.5, 8.2);
        # pydicom 3.0 takes JPEG 2000 apart by it all the same. Without one, pydicom does not heed HighBit
        options: dict[str, Any] = {"planar_configuration": 0} if coded else {"correct_unused_bits": False}
        stored = np.asarray(pixel_array(data, index=frame or 0, **options))
        return _significant(path, data, stored, coded)


def _significant(path: Path, data: Dataset, stored: NDArray[Any], coded: bool) -> NDArray[Any]:
    """Returns values of the bits from HighBit down, BitsStored of them, in the byte order of the machine."""
    if stored.dtype.kind == "f" or int(data.BitsAllocated) == 1:
        return stored
    stored = stored.astype(stored.dtype.newbyteorder("="), copy=False)
    allocated, bits = 8 * stored.dtype.itemsize, int(data.BitsStored)
    high = int(data.get("HighBit", bits - 1))
    if not 1 <= bits <= high + 1 <= allocated or (coded and high != bits - 1):
        raise InputError(
            f"{path.name}: BitsStored {bits} with HighBit {high} in {allocated} bits; expected HighBit "
            f"{bits - 1}, export it again"
        )
    if bits == allocated:
        return stored
    if coded:  # overshoot of lossy coding would wrap around where bits are cut off
        signed = stored.dtype.kind == "i"
        lowest, highest = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
        if stored.min() < lowest or stored.max() > highest:
            raise InputError(
                f"{path.name}: values of {stored.min()} to {stored.max()} in {bits} bits stored; expected "
                f"{lowest} to {highest}, export it again"
            )
        return stored
    return (stored << (allocated - 1 - high)) >> (allocated - bits)


def pixel_side(path: Path, spacing: Any, ratio: Any) -> float | None:
    """Returns the side of a pixel, mm, of a value of PixelSpacing; None for none.

    Args:
        path: of the file, for messages.
        spacing: value of PixelSpacing, or None.
        ratio: value of PixelAspectRatio, which counts where there is no spacing, or None.

    Raises:
        InputError: for other than two numbers, pixels that are no squares, or of no usual size.
    """
    if not spacing:
        if ratio and abs(float(ratio[0]) / float(ratio[1]) - 1) > SAME:
            raise InputError(
                f"{path.name}: pixels of {ratio[0]} to {ratio[1]} (PixelAspectRatio); expected squares. "
                f"Resample image and mask"
            )
        return None
    if not isinstance(spacing, MultiValue) or len(spacing) != 2:
        raise InputError(f"{path.name}: PixelSpacing is {spacing}; expected two numbers, of rows and columns")
    rows, columns = float(spacing[0]), float(spacing[1])
    if fault := scale_fault(rows, columns):
        raise InputError(f"{path.name}: {fault}")
    return rows


def texts(value: Any) -> list[str]:
    """Returns the values of an attribute of text, in capitals; none for an absent or empty one."""
    values = value if isinstance(value, MultiValue) else [value] if value else []
    return [re.sub(r"[^ -~]", "?", str(item)).strip().upper() for item in values]  # fit for a message


def text(value: Any) -> str:
    """Returns an attribute of one text in capitals; of several values, with backslashes as in the file."""
    return "\\".join(texts(value))


@contextmanager
def as_input_error(path: Path, what: str) -> Iterator[None]:
    """Turns whatever a broken file makes a library raise into an InputError."""
    try:
        yield
    except InputError:
        raise
    except UNREADABLE as error:
        raise InputError(f"{path.name}: {what} ({short(error)})") from None


def short(error: BaseException) -> str:
    """Returns the first line of a library's message."""
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
