#!/usr/bin/env bash
# SimpleITK 2.5.7 (ITK 5.4) and dcm2niix 1.0.20260724 misplace the slices of CT with a tilted gantry, each in its way.
#
# Expected by most: in the plain volume a voxel of slice k lies where position and orientation in its DICOM file say,
#   and a corrected volume shows each point of the patient at its place.
# Behaviour (21 slices 2 mm apart along z, planes tilted by 15 degrees; distance in mm of a bright voxel of the first,
#   middle and last slice from its place in the DICOM files):
#                            tilt +15             tilt -15
#   SimpleITK                0.0   5.2  10.4      0.0   5.2  10.4     no warning: the shear is dropped
#   dcm2niix x.nii           0.0   0.7   1.4      0.0   0.7   1.4     distance of planes (1.93 mm) taken along z
#   dcm2niix x_Tilt_1.nii   13.2  13.2  13.2      0.0   0.0   0.0     "corrected": the origin is off for one sign
#   In enhanced CT it is dcm2niix' x.nii that is right, and x_Tilt_1.nii that drifts. dicom2nifti refuses such series.
#
# For a user: neck and head CT is often tilted. A mask drawn on one of these volumes lies beside the nodule on the DICOM
# slices, more so from slice to slice, unless it is brought back by index instead of place. Compare the last slice's
# ImagePositionPatient with the affine. See also github.com/InsightSoftwareConsortium/ITK/issues/6656 and
# github.com/rordenlab/dcm2niix/issues/259.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check SimpleITK==2.5.7 dcm2niix==1.0.20260724 \
    nibabel==5.4.2 pydicom==3.0.2 numpy==2.4.6
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
venv/bin/python -W ignore - <<'PYTHON'
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import series
import SimpleITK as sitk

COS, SIN = 0.965926, 0.258819
hu = np.full((21, 48, 64), -1000)
hu[:, 24, 32] = 1000  # row 24, column 32
heights = [100 + 2 * number for number in range(21)]
found = {}


def tell(name, places, sin):
    """Prints how far places, (3, 3), of the bright voxel are from where the DICOM files have it."""
    truth = [[-20 + 32 * 0.5, -30 + 24 * 0.5 * COS, heights[number] + 24 * 0.5 * sin] for number in (0, 10, 20)]
    found[name, sin > 0] = np.linalg.norm(np.array(places) - truth, axis=1).round(1).tolist()
    print(f"{name:14s} tilt {'+15' if sin > 0 else '-15'} ", *found[name, sin > 0])


for folder, sin in (("up", SIN), ("down", -SIN)):
    series.write(folder, hu, heights, (1, 0, 0, 0, COS, sin))
    image = sitk.ReadImage(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(folder))
    tell("SimpleITK", [image.TransformIndexToPhysicalPoint((32, 24, number)) for number in (0, 10, 20)], sin)
    Path(f"{folder}-nifti").mkdir()
    command = ["venv/bin/dcm2niix", "-z", "n", "-f", "x", "-o", f"{folder}-nifti", folder]
    subprocess.run(command, capture_output=True, check=True)
    for path in sorted(Path(f"{folder}-nifti").glob("*.nii")):
        volume = nib.load(path)
        places = []
        for number in (0, 10, 20):
            weight = np.clip(volume.get_fdata()[:, :, number] + 1000, 0, None)
            first, second = (np.average(axis, weights=weight) for axis in np.indices(weight.shape))
            places.append(np.array([-1, -1, 1]) * (volume.affine @ [first, second, number, 1])[:3])
        tell(path.name, places, sin)
expected = {("SimpleITK", True): [0.0, 5.2, 10.4], ("SimpleITK", False): [0.0, 5.2, 10.4]}
expected |= {("x.nii", True): [0.0, 0.7, 1.4], ("x.nii", False): [0.0, 0.7, 1.4]}
expected |= {("x_Tilt_1.nii", True): [13.2] * 3, ("x_Tilt_1.nii", False): [0.0] * 3}
sys.exit(found != expected)
PYTHON
