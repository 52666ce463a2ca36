"""The end of every importer: a cohort folder with an account of what did not reach it."""

from __future__ import annotations

import csv
import json
import lzma
import os
import shutil
import tarfile
import tempfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from dgfnet.cohort.manifest import read_cohort
from dgfnet.cohort.records import IMAGES, NODULES
from dgfnet.errors import InputError
from dgfnet.formulas import guarded

ACCOUNT, LEFT_OUT = "import.json", "not_used.csv"
UNCHECKED = "copied_unchecked"  # in import.json: private attributes and free text of DICOM, by files
PARTS = ("us", "ct")
IMAGE_COLUMNS = (
    *("nodule_id", "modality", "view", "image", "mask", "spacing_mm"),
    *("slice", "window_level", "window_width", "measurement_lines", "segment", "resample"),
)
# what unpacking a broken, cut or encrypted archive raises
UNPACKABLE = (
    *(shutil.ReadError, tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError),
    *(OSError, ValueError, EOFError, RuntimeError),
)


@dataclass(frozen=True)
class NotUsed:
    """One thing of a source that did not reach the cohort.

    Attributes:
        source: which source: ddti, lidc, folder, dicom or labels.
        kind: case (an XML of DDTI and its pictures), picture, nodule, drawing, file or row.
        name: its identifier in the source; of a file its path inside the source.
        reason: why, in words that many entries share.
        detail: what is peculiar to this entry, or empty.
    """

    source: str
    kind: str
    name: str
    reason: str
    detail: str = ""


@dataclass(frozen=True)
class Account:
    """An account of a source: the part that became a cohort, and the rest with reasons.

    Attributes:
        origin: entries of import.json that say where the cohort comes from.
        used: counts of what is in the cohort.
        not_used: everything else, one entry each, with its reason.
    """

    origin: Mapping[str, Any]
    used: Mapping[str, int]
    not_used: tuple[NotUsed, ...]

    def reasons(self) -> dict[str, int]:
        """Counts the entries that were not used by reason, the most frequent first."""
        counts = Counter(f"{item.source} {item.kind}: {item.reason}" for item in self.not_used)
        return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def check_free(out: Path) -> Path:
    """Returns the resolved path of a folder to be made.

    Raises:
        InputError: when it is in use.
    """
    out = out.resolve()
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out}: exists and is not empty; name a new folder or remove it first")
    return out


@contextmanager
def building(out: Path) -> Iterator[Path]:
    """Yields a folder beside `out`, with us/ and ct/, that becomes `out` when the block ends well.

    Raises:
        InputError: when `out` is in use.
    """
    out = check_free(out)
    folder = out.with_name(f".{out.name}.{os.getpid()}.part")
    try:
        for part in PARTS:
            (folder / part).mkdir(parents=True)
        yield folder
        os.replace(folder, out)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def files_of(source: Path, name: str, *apart: Path) -> tuple[list[Path], list[NotUsed]]:
    """Lists all files below a folder, sorted, and the links in it that lead to no file.

    Args:
        source: the folder.
        name: of the source in the account.
        apart: files that are used in another way if they lie in the folder.

    Raises:
        InputError: when there is no such folder, or a folder in it cannot be read.
    """

    def refuse(error: OSError) -> None:
        raise InputError(f"{error.filename}: cannot be read ({error.strerror})")

    if not source.is_dir():
        raise InputError(f"{source}: no such folder")
    set_apart = {path.resolve() for path in apart}
    files, lost = [], []
    for folder, below, names in os.walk(source, onerror=refuse):
        for path in (Path(folder, entry) for entry in (*below, *names)):
            if path.is_file():
                files += [path] if path.resolve() not in set_apart else []
            elif path.is_symlink() or not path.is_dir():
                where = path.relative_to(source).as_posix()
                lost.append(
                    NotUsed(name, "file", where, "a link to a folder, or no file; links are not followed")
                )
    return sorted(files), lost


@contextmanager
def unpacked(source: Path, *expected: str) -> Iterator[Path]:
    """Yields the folder that holds `expected`: the source, one below it, or inside the archive that it is.

    Raises:
        InputError: when there is none, or more than one, or the archive cannot be unpacked.
    """
    with tempfile.TemporaryDirectory(prefix="dgfnet-") as temporary:
        root = source
        if source.is_file():
            root = Path(temporary)
            try:
                if source.suffix == ".zip":
                    shutil.unpack_archive(source, root)
                else:
                    _unpack_tar(source, root)
            except UNPACKABLE as error:
                why = str(error).partition(":\n")[0]  # tarfile goes on with a line per compression
                raise InputError(
                    f"{source}: cannot be unpacked ({why}); expected .tgz, .tar or .zip"
                ) from None
        below = sorted(path for path in root.glob("*") if path.is_dir()) if root.is_dir() else []
        holding = [folder for folder in (root, *below) if all((folder / name).exists() for name in expected)]
        if not holding:
            raise InputError(f"{source}: expected a folder or archive with {', '.join(expected)}")
        if len(holding) > 1 and holding[0] != root:
            raise InputError(f"{source}: holds {', '.join(path.name for path in holding)}; name one of them")
        yield holding[0]


def _unpack_tar(source: Path, root: Path) -> None:
    """Unpacks the files and folders of a tar archive; Python's own filters for that are of 3.11.4 and later.

    Raises:
        TarError: when it is none, or holds a link, a device, or a path that leads out of `root`.
    """
    with tarfile.open(source) as archive:
        for member in archive:
            target = root / member.name
            if not target.resolve().is_relative_to(root.resolve()):
                raise tarfile.TarError(f"{member.name} leads out of it")
            if member.isdir():
                target.mkdir(parents=True, exist_ok=True)
                continue
            content = archive.extractfile(member) if member.isfile() else None
            if content is None:
                raise tarfile.TarError(f"{member.name} is neither a file nor a folder")
            target.parent.mkdir(parents=True, exist_ok=True)
            with content, target.open("wb") as file:
                shutil.copyfileobj(content, file)


def write_account(
    folder: Path, nodules: Sequence[Mapping[str, Any]], images: Sequence[Mapping[str, Any]], account: Account
) -> None:
    """Writes both tables, not_used.csv and import.json.

    Raises:
        InputError: when nothing was used, or the cohort would be refused by the stage that reads it.
    """
    if not nodules:
        reasons = "; ".join(f"{count} {reason}" for reason, count in list(account.reasons().items())[:5])
        raise InputError(f"nothing of the source can be used: {reasons or 'it is empty'}")
    columns = dict.fromkeys(key for row in nodules for key in row)
    write_table(folder / NODULES, nodules, list(columns))
    write_table(folder / IMAGES, images, IMAGE_COLUMNS)
    write_table(folder / LEFT_OUT, [asdict(item) for item in account.not_used], list(NotUsed.__annotations__))
    summary = {**account.origin, "used": dict(account.used), "not_used": account.reasons()}
    (folder / ACCOUNT).write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    try:
        read_cohort(folder)
    except InputError as error:
        raise InputError(f"nothing is written, for the cohort would have faults:\n{error}") from None


def image_row(
    nodule_id: str, modality: str, view: str, image: str, mask: str, **cells: Any
) -> dict[str, Any]:
    """Returns a row of images.csv; cells that are not given stay empty."""
    start = {"nodule_id": nodule_id, "modality": modality, "view": view, "image": image, "mask": mask}
    return {**start, **cells}


def write_table(path: Path, rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """Writes a CSV file in UTF-8 without formulas; cells that a row lacks are empty."""
    # names of files need not be text: what is none is escaped
    with path.open("w", encoding="utf-8", errors="backslashreplace", newline="") as stream:
        writer = csv.DictWriter(stream, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: guarded(cell) for name, cell in row.items()} for row in rows)


def png(pixels: NDArray[np.uint8]) -> bytes:
    """Encodes a picture (height, width) or (height, width, 3) as a PNG file."""
    return cv2.imencode(".png", pixels)[1].tobytes()


def unpng(file: bytes) -> NDArray[np.uint8]:
    """Decodes what `png` has encoded of a grey picture, (height, width)."""
    pixels = cv2.imdecode(np.frombuffer(file, dtype=np.uint8), cv2.IMREAD_GRAYSCALE)
    assert pixels is not None
    return np.asarray(pixels, dtype=np.uint8)


def progress(items: Sequence[Any], what: str) -> Iterable[Any]:
    """Yields the items, with a bar on stderr."""
    return track(items, what, console=Console(stderr=True), transient=True)
