"""RTSTRUCT files become regions."""

from __future__ import annotations

from pathlib import Path

from pydicom.dataset import Dataset

from dgfnet.errors import InputError
from dgfnet.imaging.geometry import Plane
from dgfnet.imaging.labels import Region


def read(path: Path, data: Dataset, plane: Plane, picture_uid: str | None) -> list[Region]:
    """Reads the regions on a plane."""
    raise InputError(
        f"{path.name}: structures {data.get('SOPClassUID')} {plane} {picture_uid} are not read yet"
    )
