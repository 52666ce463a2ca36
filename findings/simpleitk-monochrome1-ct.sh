#!/usr/bin/env bash
# SimpleITK 2.5.7 (ITK 5.4): pixels of MONOCHROME1 are inverted before slope and intercept are applied, so CT in HU
# comes out as other numbers instead of another display.
#
# Expected by most: PhotometricInterpretation says how values are shown (0 as white), slope and intercept what they
#   mean: -1000 HU is air in MONOCHROME1, too.
# Behaviour (16-bit signed, slope 1, intercept -1024; HU -1000, 0, 40, 1000):
#   MONOCHROME2   SimpleITK  -1000 0 40 1000          pydicom with apply_rescale, dcm2niix  -1000 0 40 1000
#   MONOCHROME1   SimpleITK  -1049 -2049 -2089 -3049  pydicom with apply_rescale, dcm2niix  -1000 0 40 1000
#   8-bit ultrasound: 0 1 255 become 255 254 0, which is what a display wants, but pydicom keeps 0 1 255.
#   ITK writes a warning to stderr ("Converting from MONOCHROME1 to MONOCHROME2 may impact the meaning of DICOM
#   attributes related to pixel values") and no error.
#
# For a user: one library's Hounsfield units are the other's nonsense; ultrasound is negative in one of two pipelines.
# Test the attribute yourself: leave CT as stored, invert greys once. On a mask stored so, 0 and 1 are exchanged.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check SimpleITK==2.5.7 pydicom==3.0.2 \
    dcm2niix==1.0.20260724 nibabel==5.4.2 numpy==2.4.6
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
venv/bin/python -W ignore - <<'PYTHON' 2>errors.txt || { cat errors.txt; exit 1; }
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import series
import SimpleITK as sitk
from pydicom.pixels import apply_rescale

values = [-1000, 0, 40, 1000]
found = {}
for kind in ("MONOCHROME2", "MONOCHROME1"):
    series.write(kind, np.tile(np.array(values), (1, 4, 1)), [100], PhotometricInterpretation=kind)
    path = f"{kind}/000.dcm"
    theirs = sitk.GetArrayFromImage(sitk.ReadImage(path))[0, 0].tolist()
    data = pydicom.dcmread(path)
    ours = apply_rescale(data.pixel_array, data)[0].astype(int).tolist()
    Path(f"{kind}-nifti").mkdir()
    command = ["venv/bin/dcm2niix", "-z", "n", "-f", "x", "-o", f"{kind}-nifti", kind]
    subprocess.run(command, capture_output=True, check=True)
    nifti = nib.load(f"{kind}-nifti/x.nii").get_fdata()[:, 0, 0].astype(int).tolist()
    print(kind, " SimpleITK", *theirs, "  pydicom", *ours, "  dcm2niix", *nifti)
    found[kind] = theirs, ours, nifti
data.PixelRepresentation, data.BitsAllocated, data.BitsStored, data.HighBit = 0, 8, 8, 7
del data.RescaleSlope, data.RescaleIntercept, data.RescaleType
data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = pydicom.uid.UltrasoundImageStorage
data.Modality, data.Rows, data.Columns, data.PixelData = "US", 1, 4, bytes([0, 1, 255, 255])
data.save_as("us.dcm")
grey = sitk.GetArrayFromImage(sitk.ReadImage("us.dcm")).ravel()[:3].tolist()
print("ultrasound  SimpleITK", *grey, "  pydicom", *pydicom.dcmread("us.dcm").pixel_array.ravel()[:3])
expected = {"MONOCHROME2": (values,) * 3, "MONOCHROME1": ([-1049, -2049, -2089, -3049], values, values)}
sys.exit(not (found == expected and grey == [255, 254, 0]))
PYTHON
