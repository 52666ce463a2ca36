"""Who made an artifact: git commit, data hash, settings and versions, in provenance.json beside it."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from dgfnet.settings import Settings, fingerprint

if TYPE_CHECKING:  # heavy, and what is written brings them along
    import pandas as pd
    from matplotlib.figure import Figure

LIBRARIES = (
    "dgfnet",
    "torch",
    "torchvision",
    "numpy",
    "opencv-python-headless",
    "scikit-learn",
    "mlflow",
    "ray",
    "dvc",
)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path in the same folder that takes the place of `path` only when the block ends well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # short, for names may have all 255 bytes; writers choose the format by the suffix
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:20]}.", suffix=path.suffix[-9:])
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o644)  # mkstemp makes files that only their owner can read
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, content: Any) -> None:
    """Writes JSON atomically; NaN becomes null, as JSON knows no NaN."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(_plain(content), indent=2, allow_nan=False) + "\n", encoding="utf-8")


def write_csv(table: pd.DataFrame, path: Path) -> None:
    """Writes a table without its index, atomically."""
    with replacing(path) as temporary:
        table.to_csv(temporary, index=False)


def write_figure(figure: Figure, path: Path) -> None:
    """Writes a figure of matplotlib as PNG, atomically."""
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=120)


def write(folder: Path, settings: Settings, sections: Sequence[str]) -> None:
    """Writes `folder/provenance.json`: the settings sections that were used, and where they ran."""
    write_json(folder / "provenance.json", describe(settings, sections))


def describe(settings: Settings, sections: Sequence[str]) -> dict[str, Any]:
    """What provenance.json holds, as a dictionary."""
    used = settings.model_dump(mode="json", include=set(sections), by_alias=True)
    return {
        "git_commit": git_commit(settings.root),
        "data_md5": data_md5(settings),
        "params_sha256": fingerprint(used),
        "overrides": list(settings.overrides),
        "settings": used,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "versions": {name: _version(name) for name in LIBRARIES},
    }


def git_commit(root: Path) -> str:
    """Commit of the project folder, with `-dirty` when tracked files differ; `unknown` outside git."""
    try:
        commit = _git(root, "rev-parse", "HEAD")
        changed = _git(root, "status", "--porcelain", "--untracked-files=no", "--", ".", ":!dvc.lock")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{commit}-dirty" if changed else commit


def data_md5(settings: Settings) -> str:
    """DVC's hash of the cohort, read from data.dvc; `untracked` when the cohort is not under DVC."""
    pointer = settings.data.with_name(settings.data.name + ".dvc")
    if not pointer.is_file():
        return "untracked"
    return str(yaml.safe_load(pointer.read_text(encoding="utf-8"))["outs"][0]["md5"])


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _plain(content: Any) -> Any:
    if isinstance(content, dict):
        return {str(key): _plain(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_plain(value) for value in content]
    if hasattr(content, "item") and not isinstance(content, str):
        content = content.item()
    if isinstance(content, float) and content != content:
        return None
    return content
