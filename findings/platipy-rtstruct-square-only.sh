#!/usr/bin/env bash
# platipy 0.7.2: of a structure in RTSTRUCT, what lies beyond column n is left out of the mask when the CT has n rows and
# more columns.
#
# Expected by most: a square of 8 x 8 pixels becomes about 64 voxels wherever it lies in the picture.
# Behaviour (contour through the centres of the pixels of rows 10 to 17 and of eight columns; voxels of the mask):
#   CT of 48 rows, 64 columns: columns 20-27: 64   columns 44-51: 32   columns 52-59: 0
#   CT of 64 rows, 64 columns: columns 20-27: 64   columns 44-51: 64   columns 52-59: 64
#   No warning. An empty structure is written as an empty mask. The polygon is clipped to the shape with rows and columns
#   exchanged.
#
# For a user: lesions on one side of cropped or reformatted images shrink or vanish, and the number of structures still is
# right. Compare the volume of the mask with the area of the contours, or pad the images to squares first.
# No report of it found.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check platipy==0.7.2 pydicom==2.4.5 SimpleITK==2.5.7 \
    scikit-image==0.26.0 numpy==2.4.6
cd "$folder"
venv/bin/python -W ignore - <<'PYTHON' 2>errors.txt || { cat errors.txt; exit 1; }
import sys

import numpy as np
import SimpleITK as sitk
from platipy.dicom.io.rtstruct_to_nifti import transform_point_set_from_dicom_struct
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence


def structure(first_column):
    """An RTSTRUCT data set with a square of 8 x 8 pixels of 0.5 mm on the slice at 102 mm."""
    left, top, right, bottom = -20 + first_column * 0.5, -25.0, -20 + (first_column + 7) * 0.5, -21.5
    contour, roi, item, data = Dataset(), Dataset(), Dataset(), Dataset()
    contour.ContourGeometricType, contour.NumberOfContourPoints = "CLOSED_PLANAR", 4
    contour.ContourData = [left, top, 102, right, top, 102, right, bottom, 102, left, bottom, 102]
    roi.ReferencedROINumber, roi.ContourSequence = 1, Sequence([contour])
    item.ROINumber, item.ROIName = 1, "Nodule"
    data.StructureSetROISequence, data.ROIContourSequence = Sequence([item]), Sequence([roi])
    return data


found = {}
for rows in (48, 64):
    image = sitk.Image(64, rows, 3, sitk.sitkInt16)
    image.SetOrigin((-20, -30, 100))
    image.SetSpacing((0.5, 0.5, 2))
    counts = []
    for column in (20, 44, 52):
        masks, _ = transform_point_set_from_dicom_struct(image, structure(column))
        counts.append(int(np.count_nonzero(sitk.GetArrayViewFromImage(masks[0]))))
    found[rows] = counts
    print(f"CT of {rows} rows, 64 columns: columns 20-27: {counts[0]}, 44-51: {counts[1]}, 52-59: {counts[2]}")
sys.exit(found != {48: [64, 32, 0], 64: [64, 64, 64]})
PYTHON
