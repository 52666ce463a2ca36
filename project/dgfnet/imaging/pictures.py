"""Pictures (PNG, JPEG, TIFF, BMP) become 8-bit pixels, held to the size that their header claims first."""

from __future__ import annotations

import contextlib
import io
import warnings
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL.Image
from numpy.typing import NDArray
from PIL.TiffImagePlugin import IMAGELENGTH, IMAGEWIDTH, ImageFileDirectory_v2

from dgfnet.errors import InputError
from dgfnet.imaging.labels import Region
from dgfnet.imaging.limits import LARGEST, too_large
from dgfnet.imaging.values import coding_of, regions_of, regions_of_colour

TIFF = {".tif", ".tiff"}
ORIENTATION = 0x0112
SAMPLES = 0x0115
PICTURES = {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp"}


@dataclass(frozen=True)
class Header:
    """Facts of a picture's header.

    Attributes:
        pages: their number; 0 for the kinds of TIFF that OpenCV knows and Pillow does not.
        shape: rows and columns as displayed; (0, 0) where only OpenCV knows.
        turn: orientation tag (EXIF 2.3, 0x0112) still to be applied to what OpenCV decodes; 1 for none.
        has_palette: pixels are indices of a palette.
        pixels: number of those that the header claims.
        is_lossy: pixels were coded as JPEG.
        samples: numbers of a pixel that a TIFF says; 0 where it does not.
    """

    pages: int
    shape: tuple[int, int]
    turn: int
    has_palette: bool
    pixels: int
    is_lossy: bool = False
    samples: int = 0


def read_grey(path: Path, page: int | None) -> NDArray[np.uint8]:
    """Reads the grey pixels, (height, width), of a picture as displayed."""
    pixels = decode(path, page)
    if pixels.ndim == 3:
        colour = cv2.COLOR_BGRA2GRAY if pixels.shape[2] == 4 else cv2.COLOR_BGR2GRAY
        pixels = np.asarray(cv2.cvtColor(pixels, colour), dtype=np.uint8)
    return pixels


def decode(path: Path, page: int | None) -> NDArray[np.uint8]:
    """Decodes a picture as displayed: (height, width), or (height, width, 3 or 4) blue first."""
    pixels, _ = _decode(path, page)
    if pixels.dtype != np.uint8:
        raise InputError(
            f"{path.name}: {pixels.dtype} pixels, expected 8 bit; export with the window you read it in"
        )
    return np.asarray(pixels, dtype=np.uint8)


def read_regions(path: Path, page: int | None) -> list[Region]:
    """Reads the regions of a mask: of its values, of a palette's indices, or of its colours.

    Raises:
        InputError: when it cannot be decoded, or is no mask.
    """
    pixels, header = _decode(path, page)
    if header.samples == 2:
        raise InputError(
            f"{path.name}: 2 channels; expected one, or colours. Export the mask's channel alone"
        )
    if header.has_palette:
        pixels = _indices(path, page, header, pixels)
    if pixels.ndim == 3 and pixels.dtype == np.uint16:
        pixels = (pixels >> 8).astype(np.uint8)
    if pixels.ndim == 3 and pixels.dtype == np.uint8:
        return regions_of_colour(_on_black(pixels), path.name, header.is_lossy)
    if pixels.ndim != 2:
        raise InputError(f"{path.name}: colours of {pixels.dtype}; expected a mask of 8 bits")
    return regions_of(pixels, coding_of(pixels, path.name, header.is_lossy))


def _on_black(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Returns colours before black, the ground: what is transparent may keep a colour that nobody sees.

    What is most opaque counts as opaque, for overlays are drawn half transparent.
    """
    if pixels.shape[2] < 4 or not pixels[:, :, 3].any():
        return pixels[:, :, :3]
    alpha = pixels[:, :, 3:].astype(np.uint32)
    return np.asarray((pixels[:, :, :3] * alpha + alpha.max() // 2) // alpha.max(), dtype=np.uint8)


def shape_of(path: Path, page: int | None) -> tuple[int, int]:
    """Returns rows and columns of a picture as displayed, from its header where Pillow knows its kind."""
    header = _header(path, _bytes(path), page)
    return header.shape if header.pages else decode(path, page).shape[:2]


def pages_of(path: Path, page: int | None) -> int:
    """Returns the number of pages of a picture."""
    return max(1, _header(path, _bytes(path), page).pages)


def _decode(path: Path, page: int | None) -> tuple[NDArray[Any], Header]:
    encoded = _bytes(path)
    raw, header = np.frombuffer(encoded, dtype=np.uint8), _header(path, encoded, page)
    count = header.pages
    try:
        if page is not None and count > 1:  # one alone, for each takes its memory
            done, frames = cv2.imdecodemulti(raw, cv2.IMREAD_UNCHANGED, None, (page, page + 1))
        else:
            done, frames = cv2.imdecodemulti(raw, cv2.IMREAD_UNCHANGED) if raw.size else (False, ())
    except cv2.error:
        done, frames = False, ()
    if not done or not frames:
        return _by_pillow(path, encoded, page, header), header
    if len(frames) == 1:
        page = 0  # a picture beside a volume: `slice` is about the other file
    if page is None or page >= len(frames):
        raise InputError(_no_page(path, page, len(frames)))
    return _turned(frames[page], header.turn), header


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()  # not cv2.imread: it cannot open every file name
    except OSError as error:
        raise InputError(f"{path.name}: cannot be opened ({error.strerror})") from None


def _by_pillow(path: Path, raw: bytes, page: int | None, header: Header) -> NDArray[Any]:
    """Decodes the kinds of TIFF that Pillow knows and OpenCV does not, such as Zstandard; turned already.

    From memory, not by path: Pillow 11 to 13 scrambles turned TIFF that it opens itself
    (findings/pillow-turned-tiff-scrambled.sh).
    """
    if header.pages and path.suffix.lower() in TIFF:
        with (
            contextlib.suppress(Exception),
            PIL.Image.open(io.BytesIO(raw)) as picture,
        ):  # Pillow raises many kinds
            if header.pages > 1:
                picture.seek(page or 0)
            pixels = np.array(picture)
            return pixels[:, :, ::-1] if picture.mode == "RGB" else pixels
    raise InputError(_undecodable(path))


def _indices(path: Path, page: int | None, header: Header, pixels: NDArray[Any]) -> NDArray[Any]:
    """Returns the indices of a palette whose first colour is black, else the colours as they were decoded."""
    with PIL.Image.open(io.BytesIO(_bytes(path))) as picture:
        if header.pages > 1:
            picture.seek(page or 0)
        picture.load()
        palette = picture.getpalette() or []
        if picture.mode != "P" or any(palette[:3]):
            return pixels
        return _turned(np.array(picture), header.turn)


def _turned(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Returns pixels as they are displayed, by their orientation tag."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def _undecodable(path: Path) -> str:
    return f"{path.name}: cannot be decoded; the file is truncated or not a picture"


def _no_page(path: Path, page: int | None, count: int) -> str:
    if page is None:
        return f"{path.name}: {count} pages; name one (0 is the first) in the column slice"
    return f"{path.name}: page {page} asked for, the file has {count} (0 is the first)"


def _header(path: Path, raw: bytes, page: int | None) -> Header:
    """Reads a header, and refuses a huge or damaged picture by it: OpenCV takes the memory first."""
    header = _parsed(path, raw, page)
    if header.pixels > LARGEST:
        raise InputError(too_large(path))
    return header


@lru_cache(maxsize=2)  # an image and its mask, whose pages are asked for too
def _parsed(path: Path, raw: bytes, page: int | None) -> Header:
    shape, turn, has_palette, is_lossy, samples = (0, 0), 1, False, False, 0
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
                has_palette = header.mode == "P"
                is_lossy = header.format == "JPEG" or header.info.get("compression") == "jpeg"
                samples = int(getattr(header, "tag_v2", {}).get(SAMPLES, 0))
                turn = _orientation(header, raw)
                shape = (header.width, header.height) if turn > 4 else (header.height, header.width)
                if count == 1:
                    header.verify()  # of PNG, that its parts have the length they claim
        except PIL.Image.DecompressionBombError:
            raise InputError(too_large(path)) from None
        except InputError:
            raise
        except Exception:  # broken; but OpenCV knows more kinds of TIFF than Pillow
            count, pixels, shape = 0, _claimed_by_tiff(raw), (0, 0)
            if not pixels or path.suffix.lower() not in TIFF:
                raise InputError(_undecodable(path)) from None
    return Header(count, shape, turn, has_palette, pixels, is_lossy, samples)


def _orientation(header: PIL.Image.Image, raw: bytes) -> int:
    """Returns the orientation of a JPEG or PNG; OpenCV turns TIFF itself, Pillow gives its size turned."""
    turn = 1
    if header.format == "JPEG":
        turn = int(header.getexif().get(ORIENTATION, 1) or 1)
    elif header.format == "PNG" and b"eXIf" in raw:
        with PIL.Image.open(io.BytesIO(raw)) as picture:  # it may decode, and then nothing can be verified
            turn = int(picture.getexif().get(ORIENTATION, 1) or 1)
    return turn if 1 <= turn <= 8 else 1


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
