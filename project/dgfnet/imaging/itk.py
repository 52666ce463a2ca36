"""NRRD (3D Slicer's segmentations too) and MetaImage become volumes; SimpleITK reads both.

Only files that hold their voxels themselves, and MetaImage headers that name a file beside them: a header may
name any file of the machine.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from dgfnet.errors import InputError
from dgfnet.imaging.dicom import short
from dgfnet.imaging.limits import check_claim
from dgfnet.imaging.volumes import Segment, Volume, grid_of

HEADER = 2**20  # bytes that a header takes at most
SPACES = re.compile(
    r"(left|right)-(posterior|anterior)-superior|LPS|RAS|LAS", re.IGNORECASE
)  # those that ITK turns into its own coordinates

AXES = re.compile(
    r"^[ \t]*(?:NDims[ \t]*=|dimension[ \t]*:)[ \t]*([^\r\n]*?)[ \t]*\r?$", re.IGNORECASE | re.MULTILINE
)


def load(path: Path) -> Volume:
    """Reads a volume with the names of its segments.

    Raises:
        InputError: when the file is broken, claims more than it can hold, keeps its voxels elsewhere, or has
            axes besides space and layers.
    """
    header = _header(path)
    holder = path if path.suffix.lower() != ".mhd" else data_file(path)
    _check_axes(path, header)
    is_placed = _is_placed(path, header)
    try:
        reader: Any = sitk.ImageFileReader()  # type: ignore[no-untyped-call]
        reader.SetFileName(str(path))
        reader.ReadImageInformation()
        size = [int(side) for side in reader.GetSize()]
        components = int(reader.GetNumberOfComponents())
        check_claim(holder, (*size, components), 1, "gz" in header.lower() or "true" in header.lower())
        image = reader.Execute()
        values = sitk.GetArrayFromImage(image)
        # SimpleITK cannot be asked for a key that is no UTF-8; those of segments are ASCII
        meta = {key: image.GetMetaData(key) for key in image.GetMetaDataKeys() if key.isascii()}
    except InputError:
        raise
    except RuntimeError as error:  # the one kind that SimpleITK raises
        raise InputError(f"{path.name}: cannot be read as {_kind(path)} ({_last(error)})") from None
    if values.dtype.kind == "c" or len(size) not in (2, 3) or not values.size:
        raise InputError(f"{path.name}: expected a 3-D volume, found axes of {size}")
    if components == 1:
        values = values[..., None]
    if len(size) == 2:
        values = values[None]
    values = np.moveaxis(values, (2, 1, 0), (0, 1, 2))  # (k, j, i, layers) to (i, j, k, layers)
    if not np.isfinite(values).all():
        raise InputError(
            f"{path.name}: {np.count_nonzero(~np.isfinite(values))} voxels are no finite numbers"
        )
    dimension = len(size)
    spacing, affine = np.ones(3), np.eye(4)
    spacing[:dimension] = image.GetSpacing()
    affine[:dimension, :dimension] = np.array(image.GetDirection()).reshape(dimension, dimension)
    affine[:3, :3] *= spacing
    affine[:dimension, 3] = image.GetOrigin()
    i, j, k = values.shape[:3]
    grid = grid_of(path.name, affine, (i, j, k)) if is_placed else None
    sides = (float(spacing[0]), float(spacing[1]), float(spacing[2]))
    return Volume(
        values if components > 1 else values[..., 0], sides, grid, segments=_segments(path, meta, components)
    )


def save_as_one(source: Path, target: Path) -> None:
    """Writes a MetaImage of two files as one, with the same voxels, place and header entries.

    Raises:
        InputError: as `load`.
    """
    load(source)
    sitk.WriteImage(sitk.ReadImage(str(source)), str(target), useCompression=True)


def data_file(path: Path) -> Path:
    """Returns the file with the voxels of a MetaImage header.

    Raises:
        InputError: when the header names none, or one that is not beside it.
    """
    header = _header(path)
    found = re.search(r"^ElementDataFile\s*=\s*(.+?)\s*$", header, re.MULTILINE)
    name = found[1] if found else ""
    if not name or name.upper() in ("LOCAL", "LIST") or Path(name).name != name or "%" in name:
        raise InputError(
            f"{path.name}: ElementDataFile is {name!r}; expected the name of a file beside it; save as .mha"
        )
    data = path.with_name(name)
    if not data.is_file() or data.is_symlink():
        raise InputError(f"{path.name}: names {name!r} for its voxels, which is no file beside it")
    return data


def _header(path: Path) -> str:
    """Returns the text of the header, and refuses one that keeps its voxels in another file."""
    try:
        with path.open("rb") as stream:
            start = stream.read(HEADER)
    except OSError as error:
        raise InputError(f"{path.name}: cannot be opened ({error.strerror})") from None
    if path.suffix.lower() == ".nrrd":
        text, *rest = (part.decode("latin-1") for part in re.split(rb"\r?\n\r?\n", start, maxsplit=1))
        if not text.startswith("NRRD000"):
            raise InputError(f"{path.name}: cannot be read as NRRD (it does not begin with NRRD000)")
        _check_text(
            path, text, bool(rest) and all(re.match("#|[^:]+:", line) for line in text.splitlines()[1:])
        )
        if re.search(r"^data ?file\s*:", text, re.MULTILINE | re.IGNORECASE):
            raise InputError(f"{path.name}: keeps its voxels in another file; save it as one file")
        return text
    text = re.split(rb"(?<=ElementDataFile)(\s*=[^\n]*)\n", start, maxsplit=1)
    header = b"".join(text[:2]).decode("latin-1")
    is_whole = re.search(r"^ElementDataFile\s*=\s*LOCAL\s*$", header, re.MULTILINE)
    if path.suffix.lower() == ".mha" and not is_whole:
        raise InputError(f"{path.name}: ElementDataFile is not LOCAL; expected a file that holds its voxels")
    _check_text(path, header, True)
    return header


def _check_text(path: Path, header: str, is_whole: bool) -> None:
    """Refuses a header that runs into the voxels, or has bytes that are no text: SimpleITK 2.5 trusts it."""
    if not is_whole or re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]", header):
        raise InputError(f"{path.name}: its header is damaged; copy it again")


def _check_axes(path: Path, header: str) -> None:
    """Refuses a number of axes that no volume has: SimpleITK 2.5 trusts it."""
    for count in AXES.findall(header):
        if count not in ("2", "3", "4"):
            raise InputError(f"{path.name}: claims {count[:20]} axes; expected a 3-D volume; copy it again")


def _is_placed(path: Path, header: str) -> bool:
    """Returns True when the header says where the volume lies, in coordinates that are the patient's."""
    if path.suffix.lower() != ".nrrd":
        return re.search(r"^(TransformMatrix|Offset|Position|Origin)\s*=", header, re.MULTILINE) is not None
    fields = dict(re.findall(r"^([^#:=\n]+?)\s*:[ \t]*([^\r\n]*)", header, re.MULTILINE))
    if "space directions" not in fields:
        return False
    space = fields.get("space", "").strip()
    if space and not SPACES.fullmatch(space):
        raise InputError(
            f"{path.name}: lies in space {space!r}; expected left-posterior-superior or right-anterior-"
            f"superior. Save it again in the patient's coordinates"
        )
    return bool(space)  # "space dimension" alone says nothing of the patient


def _segments(path: Path, meta: dict[str, str], layers: int) -> tuple[Segment, ...]:
    """Returns the segments that 3D Slicer describes in the header: name, value, layer and terminology.

    Before version 4.11 it gave each segment a layer of its own and said neither layer nor value.
    """
    found = []
    for number in range(len(meta)):
        name = meta.get(f"Segment{number}_Name")
        if name is None:
            break
        tags = meta.get(f"Segment{number}_Tags", "")
        term = re.search(r"TerminologyEntry:([^|]*)", tags)
        entry = term[1].split("~") if term else []
        code = entry[2].split("^") if len(entry) > 2 else []
        codes = (f"{code[0]}:{code[1]}", code[2]) if len(code) > 2 and code[1] else ()
        try:
            value = int(meta.get(f"Segment{number}_LabelValue", "1"))
            layer = int(meta.get(f"Segment{number}_Layer", number if layers > 1 else 0))
        except ValueError as error:
            raise InputError(
                f"{path.name}: segment {name!r}: no whole label value ({short(error)})"
            ) from None
        found.append(Segment(value, name, layer, codes))
    return tuple(found)


def _kind(path: Path) -> str:
    return "NRRD" if path.suffix.lower() == ".nrrd" else "MetaImage"


def _last(error: RuntimeError) -> str:
    """Returns the line of a message of ITK that says what happened; the first is a place in its code."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:200] if lines else type(error).__name__
