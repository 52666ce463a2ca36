"""Files that are whole or absent: written beside their place and moved there when they are on the disk."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dgfnet.errors import InputError
from dgfnet.formulas import guarded_table

if TYPE_CHECKING:  # heavy, and what is written brings them along
    import pandas as pd
    from matplotlib.figure import Figure


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a path in the same folder; its file takes the place of `path` only when the block ends well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # short, for names may have all 255 bytes; writers choose the format by the suffix
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:20]}.", suffix=path.suffix[-9:])
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o644)  # mkstemp makes files that only their owner can read
        _to_disk(temporary)  # else a power cut can leave the new name with nothing in it
        os.replace(temporary, path)
        _to_disk(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, content: Any) -> None:
    """Writes JSON atomically; NaN becomes null, as JSON knows no NaN."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(plain(content), indent=2, allow_nan=False) + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    """Reads a JSON file.

    Raises:
        InputError: when it is none.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # of the text, and of its encoding
        raise InputError(f"{path}: damaged, no JSON ({error})") from None


def keep_away(path: Path) -> Path:
    """Renames a damaged file, so that it is made again and somebody can look at it; returns its new path."""
    names = (path.with_name(f"{path.name}.damaged{number or ''}") for number in count())
    target = next(name for name in names if not name.exists())
    return path.rename(target)


def write_csv(table: pd.DataFrame, path: Path) -> None:
    """Writes a table without its index, atomically; no cell of it is a formula to a spreadsheet."""
    with replacing(path) as temporary:
        guarded_table(table).to_csv(temporary, index=False)


def write_figure(figure: Figure, path: Path) -> None:
    """Writes a figure of matplotlib as PNG, atomically."""
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=120)


def write_text(text: str, path: Path) -> None:
    """Writes a text in UTF-8, atomically."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def sha256(path: Path) -> str:
    """Returns the digest of a file, hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _to_disk(path: Path) -> None:
    """Waits until a file's content, or a folder's list of names, is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def plain(content: Any) -> Any:
    """Returns content as JSON knows it: keys are texts, NaN and infinity are None."""
    if isinstance(content, dict):
        return {str(key): plain(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [plain(value) for value in content]
    if hasattr(content, "item") and not isinstance(content, str):
        content = content.item()
    if isinstance(content, float) and content != content:
        return None
    return content
