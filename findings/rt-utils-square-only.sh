#!/usr/bin/env bash
# rt-utils 1.2.7: a mask written as RTSTRUCT and read again loses what lies beyond a square, and contours are drawn with
# row and column spacing exchanged.
#
# Expected by most: the mask that comes back has the shape and the pixels of the one that went in; a contour through
#   column 40 of pixels 0.7 mm wide, from x = -20 mm, lies at x = 8 mm.
# Behaviour (CT of 48 rows and 64 columns, mask in rows 10 to 25 and columns 40 to 51, 192 pixels):
#   pixels 0.5 x 0.5 mm: mask (48, 64, 3) came back as (64, 48, 3) with 128 of 192 pixels
#   pixels 0.5 x 0.7 mm (high x wide): contour x 0.0 to 5.5, y -23.0 to -12.5 mm; expected x 8.0 to 15.7, y -25.0 to -17.5
#   The reader makes its array columns by rows and fills it rows by columns, so all beyond column 48 is dropped; writer
#   and reader take the first number of PixelSpacing, the distance between rows, for the width of a pixel.
#
# For a user: on 512 x 512 CT with square pixels neither is seen; cropped CT, MR and scouts come out clipped or elsewhere,
# and because both directions exchange the spacing a round trip looks right, while other programs show the contour beside
# the organ. Read contours through ImagePositionPatient and ImageOrientationPatient with another tool for such images.
# Reported upstream (the spacing): github.com/qurit/rt-utils/issues/92.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check rt-utils==1.2.7 pydicom==3.0.2 numpy==2.4.6 \
    opencv-python==5.0.0.93
cd "$folder"
cat >series.py <<'PYTHON'
from pathlib import Path

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid


def write(folder, rows, columns, spacing, count=3):
    """Writes axial CT slices 2 mm apart from (-20, -30, 100) mm."""
    Path(folder).mkdir()
    study, series, frame = generate_uid(), generate_uid(), generate_uid()
    for number in range(count):
        data = Dataset()
        data.file_meta = FileMetaDataset()
        data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        data.SOPClassUID, data.SOPInstanceUID = CTImageStorage, generate_uid()
        data.StudyInstanceUID, data.SeriesInstanceUID, data.FrameOfReferenceUID = study, series, frame
        data.Modality, data.PatientID, data.PatientName = "CT", "P1", ""
        data.PatientBirthDate = data.PatientSex = data.StudyTime = data.AccessionNumber = ""
        data.StudyDate, data.StudyID, data.SeriesNumber, data.InstanceNumber = "20260101", "1", 1, number + 1
        data.ReferringPhysicianName, data.ImageType = "", ["ORIGINAL", "PRIMARY", "AXIAL"]
        data.ImagePositionPatient, data.ImageOrientationPatient = [-20, -30, 100 + 2 * number], [1, 0, 0, 0, 1, 0]
        data.PixelSpacing, data.SliceThickness, data.PositionReferenceIndicator = spacing, 2, ""
        data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
        data.Rows, data.Columns, data.BitsAllocated, data.BitsStored, data.HighBit = rows, columns, 16, 16, 15
        data.PixelRepresentation, data.RescaleIntercept, data.RescaleSlope = 1, -1024, 1
        data.PixelData = bytes(2 * rows * columns)
        data.save_as(f"{folder}/{number}.dcm", enforce_file_format=True)
PYTHON
venv/bin/python -W ignore - <<'PYTHON'
import sys

import numpy as np
import pydicom
import series
from rt_utils import RTStructBuilder

mask = np.zeros((48, 64, 3), dtype=bool)
mask[10:26, 40:52, 1] = True


def contour_and_mask(folder, spacing):
    series.write(folder, 48, 64, spacing)
    builder = RTStructBuilder.create_new(dicom_series_path=folder)
    builder.add_roi(mask=mask, name="Nodule")
    builder.save(f"{folder}.dcm")
    contour = pydicom.dcmread(f"{folder}.dcm").ROIContourSequence[0].ContourSequence[0].ContourData
    points = np.array(contour, dtype=float).reshape(-1, 3)[:, :2]
    again = RTStructBuilder.create_from(dicom_series_path=folder, rt_struct_path=f"{folder}.dcm")
    return [*points.min(axis=0).round(1), *points.max(axis=0).round(1)], again.get_roi_mask_by_name("Nodule")


_, back = contour_and_mask("square", [0.5, 0.5])
print("mask", mask.shape, "came back as", back.shape, "with", back.sum(), "of", mask.sum(), "pixels")
box, _ = contour_and_mask("wide", [0.5, 0.7])
print(f"contour x {box[0]} to {box[2]}, y {box[1]} to {box[3]} mm; expected x 8.0 to 15.7, y -25.0 to -17.5")
sys.exit(not (back.shape == (64, 48, 3) and back.sum() == 128 and box == [0.0, -23.0, 5.5, -12.5]))
PYTHON
