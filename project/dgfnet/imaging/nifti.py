"""NIfTI files become volumes.

A file may say twice where it lies, in its sform and in its qform (nifti1.h, methods 2 and 3), and readers
differ in which they believe. Here the sform counts, as in nibabel; a qform that says something else is kept
as the volume's rival place, and two files are brought together then only when both say both alike.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from dgfnet.errors import InputError
from dgfnet.imaging.dicom import short
from dgfnet.imaging.geometry import Plane, same_grid
from dgfnet.imaging.limits import check_claim
from dgfnet.imaging.volumes import LPS, Volume, grid_of

MILLIMETRES = {"meter": 1000.0, "micron": 0.001}  # xyzt_units; millimetres where the header says nothing


def load(path: Path) -> Volume:
    """Reads a volume; its values as float32, scaled by the file's slope and intercept.

    Raises:
        InputError: when the file is broken, claims more than it can hold, has colour or a fourth axis, or
            values that are no finite numbers.
    """
    try:
        image: Any = nib.load(path)
        _check(path, image)
        values = np.asarray(image.dataobj, dtype=np.float32)
        header = image.header
        unit = MILLIMETRES.get(header.get_xyzt_units()[0], 1.0)
        zooms = [unit * float(zoom) for zoom in header.get_zooms()] + [1.0, 1.0, 1.0]
        forms = [(header["sform_code"], header.get_sform), (header["qform_code"], header.get_qform)]
        scale = np.diag([unit, unit, unit, 1.0])
        affines = [scale @ np.asarray(form(), dtype=float) for code, form in forms if int(code) > 0]
    except InputError:
        raise
    except Exception as error:  # nibabel raises many kinds for a broken file
        raise InputError(f"{path.name}: cannot be read as NIfTI ({short(error)})") from None
    while values.ndim > 3 and values.shape[-1] == 1:
        values = values[..., 0]
    if values.ndim == 2:
        values = values[:, :, None]
    if values.ndim != 3 or not values.size:
        raise InputError(f"{path.name}: expected a 3-D volume, found shape {values.shape}")
    if not np.isfinite(values).all():
        raise InputError(
            f"{path.name}: {np.count_nonzero(~np.isfinite(values))} voxels are no finite numbers"
        )
    i, j, k = values.shape
    grids = [grid_of(path.name, LPS @ affine, (i, j, k)) for affine in affines]
    rival = grids[1] if len(grids) > 1 and not same_grid(*grids) else None
    return Volume(values, (zooms[0], zooms[1], zooms[2]), grids[0] if grids else None, rival)


def save_plane(path: Path, mask: NDArray[np.uint8], plane: Plane) -> None:
    """Writes a mask (rows, columns), 0 and anything else, as a volume of one slice with its place."""
    affine = np.eye(4)
    across = plane.normal * (plane.thickness or 1.0)
    affine[:3, :3] = np.stack([plane.right, plane.down, across], axis=1)
    affine[:3, 3] = plane.origin
    values = np.ascontiguousarray((mask > 0).astype(np.uint8).T[:, :, None])
    image = nib.Nifti1Image(values, LPS @ affine)  # type: ignore[no-untyped-call]
    image.set_sform(LPS @ affine, 1)  # type: ignore[no-untyped-call]
    image.set_qform(LPS @ affine, 1)  # type: ignore[no-untyped-call]
    nib.save(image, path)


def _check(path: Path, image: Any) -> None:
    """Refuses by its header what is no volume of numbers, or claims more than the file can hold."""
    kind = image.get_data_dtype()
    if kind.kind not in "iuf":
        raise InputError(f"{path.name}: voxels of several numbers each ({kind}); expected one HU each")
    check_claim(path, image.shape, kind.itemsize, path.suffix.lower() == ".gz")
