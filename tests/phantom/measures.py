"""What a reader could measure on the phantom's pictures with a picture, its mask and its truth."""

import cv2
import nibabel as nib
import numpy as np


def of_mask(mask, spacing_mm):
    """Area, aspect, roughness and place of a nodule's mask, (rows, columns) of 0 and 1."""
    mask = mask.astype(np.uint8)
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    contour = max(contours, key=cv2.contourArea)
    _, _, width, height = cv2.boundingRect(contour)
    rows, columns = np.nonzero(mask)
    hull = cv2.contourArea(cv2.convexHull(contour))
    return {
        "area": mask.sum() * spacing_mm**2,
        "aspect": height / width,
        "row": rows.mean(),
        "column": columns.mean(),
        "roughness": cv2.arcLength(contour, True) ** 2 / cv2.contourArea(contour),
        "dents": 1 - cv2.contourArea(contour) / hull,
    }


def of_values(values, mask, spacing_mm):
    """Level and spread inside, in a rim of 2 mm around the nodule, in a ring of 2 to 6 mm, and everywhere."""
    outside = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, 5) * spacing_mm
    inside = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 5) * spacing_mm
    core = inside > 0.25 * inside.max()
    rim, ring = (outside > 0) & (outside < 2), (outside >= 2) & (outside < 6)
    return {
        "core": np.median(values[core]),
        "core_sd": values[core].std(),
        "brightest": np.quantile(values[mask], 0.99),
        "rim": values[rim].mean(),
        "rim_sd": values[rim].std(),
        "ring": values[ring].mean(),
        "ring_brightest": np.quantile(values[ring], 0.95),
        "whole": values.mean(),
        "whole_sd": values.std(),
    }


def of_plane(plane):
    """Pixels of each bit of the truth's plane; the first is the mask."""
    return {f"bit{bit}": int((plane & bit > 0).sum()) for bit in (2, 4)}


def of_us(folder, truth, name, spacing_mm):
    """All measures of one US picture."""
    read = cv2.IMREAD_UNCHANGED
    picture = cv2.imread(str(folder / f"{name}.png"), read).astype(np.float64)
    mask = cv2.imread(str(folder / f"{name}_mask.png"), read) > 0
    plane = cv2.imread(str(truth / "signal" / f"{name}.png"), read)
    return of_mask(mask, spacing_mm) | of_values(picture, mask, spacing_mm) | of_plane(plane)


def of_ct(folder, truth, name, index):
    """All measures of one CT slice, with the distance of slices and the extent of the volume's file."""
    volume, masks = nib.load(folder / f"{name}.nii"), nib.load(folder / f"{name}_mask.nii")
    values = np.asarray(volume.dataobj, dtype=np.float64)[:, :, index].T
    mask = np.asarray(masks.dataobj)[:, :, index].T > 0
    plane = cv2.imread(str(truth / "signal" / f"{name}_{index}.png"), cv2.IMREAD_UNCHANGED)
    spacing = float(volume.header.get_zooms()[0])
    file = {"slice_distance": float(volume.header.get_zooms()[2])}
    return of_mask(mask, spacing) | of_values(values, mask, spacing) | of_plane(plane) | file
