#!/usr/bin/env bash
# rt-utils 1.2.7, plastimatch 1.10.0 and dcmrtstruct2nii 5 make masks of other size from one RTSTRUCT; a hole is open in
# two of them and filled in the third, and a row and a column are lost in it.
#
# Expected by most: what one tool writes from a mask, another turns back into that mask, to a pixel at the edge.
# Behaviour (masks written by rt-utils on CT of 64 x 64 pixels; pixels that come back, with the bounding box of the L):
#                      L                             ring 20 x 20, hole 10 x 10   one pixel
#   written            96  rows 10-25 columns 40-51   300                          1
#   rt-utils           96  rows 10-25 columns 40-51   300                          1
#   dcmrtstruct2nii    96  rows 10-25 columns 40-51   260                          1
#   plastimatch        70  rows 10-24 columns 41-51   361                          0
#   rt-utils draws its contours through the centres of the outer pixels, a pixel narrower than the mask, and the inner
#   border of a hole as a second CLOSED_PLANAR contour. rt-utils and dcmrtstruct2nii take even and odd, plastimatch the
#   union; each fills the edge by its own rule. The standard has no holes for CLOSED_PLANAR: it asks for a keyhole.
#
# For a user: a nodule 5 mm wide loses a quarter of its area between two tools, small ones vanish, hollow ones fill up,
# and features of a cohort put together from sites with different tools differ by site. Note which tool drew contours
# and which filled them, and compare areas once. No report of it found.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check rt-utils==1.2.7 opencv-python==5.0.0.93 \
    plastimatch==1.10.0 dcmrtstruct2nii==5 pydicom==3.0.2 nibabel==5.4.2 numpy==2.4.6
cd "$folder"
cat >series.py <<'PYTHON'
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid


def write(folder, pixels, heights, orientation=(1, 0, 0, 0, 1, 0), **other):
    """Writes CT slices, HU (slices, rows, columns), of 0.5 mm pixels whose first one lies at (-20, -30, height) mm."""
    Path(folder).mkdir()
    study, series, frame = generate_uid(), generate_uid(), generate_uid()
    for number, (plane, height) in enumerate(zip(pixels, heights)):
        data = Dataset()
        data.file_meta = FileMetaDataset()
        data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        data.SOPClassUID, data.SOPInstanceUID = CTImageStorage, generate_uid()
        data.StudyInstanceUID, data.SeriesInstanceUID, data.FrameOfReferenceUID = study, series, frame
        data.Modality, data.PatientID, data.PatientName, data.Manufacturer = "CT", "P1", "", "none"
        data.PatientBirthDate = data.PatientSex = data.StudyTime = data.AccessionNumber = ""
        data.StudyDate, data.StudyID, data.SeriesNumber, data.InstanceNumber = "20260101", "1", 1, number + 1
        data.ReferringPhysicianName, data.ImageType = "", ["ORIGINAL", "PRIMARY", "AXIAL"]
        data.ImagePositionPatient, data.ImageOrientationPatient = [-20, -30, height], list(orientation)
        data.PixelSpacing, data.SliceThickness, data.PositionReferenceIndicator = [0.5, 0.5], 2, ""
        data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
        data.Rows, data.Columns = plane.shape
        data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 1
        data.RescaleIntercept, data.RescaleSlope, data.RescaleType = -1024, 1, "HU"
        for name, value in other.items():
            setattr(data, name, value)
        data.PixelData = (plane + 1024).astype(np.int16).tobytes()
        data.save_as(f"{folder}/{number:03d}.dcm", enforce_file_format=True)
PYTHON
cat >old.py <<'PYTHON'
"""dcmrtstruct2nii 5 calls pydicom.read_file, which pydicom 3 no longer has."""
import sys
from pathlib import Path

import pydicom

pydicom.read_file = pydicom.dcmread
from dcmrtstruct2nii import dcmrtstruct2nii  # noqa: E402

Path(f"dcmrtstruct2nii-{sys.argv[1]}").mkdir()
dcmrtstruct2nii(f"{sys.argv[1]}.dcm", "ct", f"dcmrtstruct2nii-{sys.argv[1]}")
PYTHON
venv/bin/python -W ignore - <<'PYTHON'
import subprocess
import sys

import nibabel as nib
import numpy as np
import series
from rt_utils import RTStructBuilder

series.write("ct", np.zeros((5, 64, 64)), [100, 102, 104, 106, 108])
masks = {name: np.zeros((64, 64, 5), dtype=bool) for name in ("L", "ring", "pixel")}
masks["L"][10:14, 40:52, 3] = masks["L"][10:26, 40:44, 3] = True
masks["ring"][10:30, 10:30, 3] = True
masks["ring"][15:25, 15:25, 3] = False
masks["pixel"][20, 30, 3] = True


def tell(tool, name, mask):
    """Prints size and bounding box of a mask, (rows, columns, slices), and returns its size."""
    places = np.argwhere(mask)
    box = [*places.min(axis=0)[:2], *places.max(axis=0)[:2]] if len(places) else ["-"] * 4
    print(f"{name:6s} {tool:16s} {len(places):4d}  rows {box[0]}-{box[2]} columns {box[1]}-{box[3]}")
    return len(places)


def nifti(path):
    return nib.load(path).get_fdata().transpose(1, 0, 2) > 0


counts = {}
for name, mask in masks.items():
    builder = RTStructBuilder.create_new(dicom_series_path="ct")
    builder.add_roi(mask=mask, name="Nodule")
    builder.save(f"{name}.dcm")
    read = RTStructBuilder.create_from(dicom_series_path="ct", rt_struct_path=f"{name}.dcm")
    command = ["venv/bin/plastimatch", "convert", "--input", f"{name}.dcm", "--referenced-ct", "ct"]
    command += ["--output-prefix", f"plastimatch-{name}", "--prefix-format", "nii.gz"]
    subprocess.run(command, capture_output=True, check=True)
    subprocess.run(["venv/bin/python", "old.py", name], capture_output=True, check=True)
    counts[name] = [
        tell("written", name, mask),
        tell("rt-utils", name, read.get_roi_mask_by_name("Nodule")),
        tell("dcmrtstruct2nii", name, nifti(f"dcmrtstruct2nii-{name}/mask_Nodule.nii.gz")),
        tell("plastimatch", name, nifti(f"plastimatch-{name}/Nodule.nii.gz")),
    ]
sys.exit(counts != {"L": [96, 96, 96, 70], "ring": [300, 300, 260, 361], "pixel": [1, 1, 1, 0]})
PYTHON
