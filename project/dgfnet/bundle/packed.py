"""A folder as one file: a store on a network takes a request per file; a model has forty, its code 300."""

from __future__ import annotations

import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

EARLIEST = (1980, 1, 1, 0, 0, 0)  # of a ZIP file: the same content has the same bytes


def pack(folder: Path, path: Path, prefix: str = "", pattern: str = "*", compress: bool = False) -> None:
    """Writes the files below a folder to a ZIP file, sorted by name; equal folders give equal bytes.

    Args:
        folder: to be packed.
        path: of the file.
        prefix: before the names in it.
        pattern: of the names of files that are packed; caches of Python are not.
        compress: pays for code; weights are noise to a compressor.
    """
    compression = zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED
    with zipfile.ZipFile(path, "w", compression) as archive:
        for file in sorted(folder.rglob(pattern)):
            if file.is_file() and "__pycache__" not in file.parts:
                name = f"{prefix}{file.relative_to(folder).as_posix()}"
                entry = zipfile.ZipInfo(name, EARLIEST)
                entry.compress_type, entry.external_attr = compression, 0o644 << 16
                entry.file_size = file.stat().st_size
                with file.open("rb") as source, archive.open(entry, "w") as target:
                    shutil.copyfileobj(source, target)


@contextmanager
def unpacked(path: Path) -> Iterator[Path]:
    """Yields a folder with the content of a file of `pack` for a block.

    Raises:
        ValueError: when it is no ZIP file, or a damaged one.
    """
    with tempfile.TemporaryDirectory(prefix="dgfnet-model-") as place:
        try:
            with zipfile.ZipFile(path) as archive:
                archive.extractall(place)
        except zipfile.BadZipFile as error:
            raise ValueError(f"{path.name} is damaged ({error})") from None
        yield Path(place)
