"""Pictures (PNG, JPEG, TIFF, BMP) become 8-bit pixels, held to the size that their header claims first."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
from numpy.typing import NDArray
from PIL.TiffImagePlugin import IMAGELENGTH, IMAGEWIDTH, ImageFileDirectory_v2

from dgfnet.errors import InputError
from dgfnet.imaging.limits import LARGEST, too_large

PICTURES = {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp"}


def read_grey(path: Path, page: int | None) -> NDArray[np.uint8]:
    """Reads the grey pixels, (height, width), of a picture."""
    pixels = decode(path, page)
    if pixels.ndim == 3:
        colour = cv2.COLOR_BGRA2GRAY if pixels.shape[2] == 4 else cv2.COLOR_BGR2GRAY
        pixels = np.asarray(cv2.cvtColor(pixels, colour), dtype=np.uint8)
    return pixels


def decode(path: Path, page: int | None) -> NDArray[np.uint8]:
    """Decodes a picture as stored: (height, width), or (height, width, 3 or 4) blue first."""
    try:
        raw = np.fromfile(path, dtype=np.uint8)  # not cv2.imread: it cannot open every file name
    except OSError as error:
        raise InputError(f"{path.name}: cannot be opened ({error.strerror})") from None
    count = _check_claim(path, raw.tobytes(), page)
    try:
        if page is not None and count > 1:  # one alone, for each takes its memory
            done, frames = cv2.imdecodemulti(raw, cv2.IMREAD_UNCHANGED, None, (page, page + 1))
        else:
            done, frames = cv2.imdecodemulti(raw, cv2.IMREAD_UNCHANGED) if raw.size else (False, ())
    except cv2.error:
        done, frames = False, ()
    if not done or not frames:
        raise InputError(_undecodable(path))
    if len(frames) == 1:
        page = 0  # a picture beside a volume: `slice` is about the other file
    if page is None or page >= len(frames):
        raise InputError(_no_page(path, page, len(frames)))
    pixels = frames[page]
    if pixels.dtype != np.uint8:
        raise InputError(
            f"{path.name}: {pixels.dtype} pixels, expected 8 bit; export with the window you read it in"
        )
    return np.asarray(pixels, dtype=np.uint8)


def _undecodable(path: Path) -> str:
    return f"{path.name}: cannot be decoded; the file is truncated or not a picture"


def _no_page(path: Path, page: int | None, count: int) -> str:
    if page is None:
        return f"{path.name}: {count} pages; name one (0 is the first) in the column slice"
    return f"{path.name}: page {page} asked for, the file has {count} (0 is the first)"


def _check_claim(path: Path, raw: bytes, page: int | None) -> int:
    """Refuses a huge or damaged picture by its header: OpenCV takes the memory first and looks then.

    Returns:
        The number of pages; 0 for the kinds of TIFF that OpenCV knows and Pillow does not.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of pictures above a limit of its own
        try:
            with PIL.Image.open(io.BytesIO(raw)) as header:
                count = int(getattr(header, "n_frames", 1))
                if count > 1 and (page is None or page >= count):
                    raise InputError(_no_page(path, page, count))
                if count > 1 and page is not None:
                    header.seek(page)
                pixels = header.width * header.height
                if count == 1:
                    header.verify()  # of PNG, that its parts have the length they claim
        except PIL.Image.DecompressionBombError:
            raise InputError(too_large(path)) from None
        except InputError:
            raise
        except Exception:  # broken; but OpenCV knows more kinds of TIFF than Pillow
            count, pixels = 0, _claimed_by_tiff(raw)
            if not pixels or path.suffix.lower() not in {".tif", ".tiff"}:
                raise InputError(_undecodable(path)) from None
    if pixels > LARGEST:
        raise InputError(too_large(path))
    return count


def _claimed_by_tiff(raw: bytes) -> int:
    """Returns the number of pixels of the largest page by the tags; 0 when there are no such tags."""
    file, most, offsets = io.BytesIO(raw), 0, set[int]()
    try:
        directory = ImageFileDirectory_v2(file.read(16 if 43 in raw[2:4] else 8))  # 43: BigTIFF
        while directory.next and directory.next not in offsets:  # a chain of pages may be a ring
            offsets.add(directory.next)
            file.seek(directory.next)
            directory.load(file)
            most = max(most, int(directory[IMAGEWIDTH]) * int(directory[IMAGELENGTH]))
    except Exception:  # Pillow raises many kinds
        return 0
    return most
