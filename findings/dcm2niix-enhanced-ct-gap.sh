#!/usr/bin/env bash
# dcm2niix 1.0.20260724: a slice missing from an enhanced (multi-frame) CT is not noticed: the others are spread evenly
# over its place. From single slices the same volume gives a warning and a second file with the gap filled.
#
# Expected by most: what is warned of in a series is warned of in one file, and a slice stays where its file says.
# Behaviour (slices at 100, 102, 106 and 108 mm, HU equal to the height; where the NIfTI has them):
#   enhanced  x.nii        100 at 100.0   102 at 102.7   106 at 105.3   108 at 108.0    no warning of distances
#   slices    x.nii        100 at 100.0   102 at 102.0   106 at 104.0   108 at 106.0    "Interslice distance varies"
#   slices    x_Eq_1.nii   100 at 100.0   102 at 102.0   104 at 104.0   106 at 106.0   108 at 108.0
#   The slice at 104 of the last file is the mean of its neighbours; the one at 106 of x.nii is 2 mm off.
#
# For a user: an export that lost a slice looks sound, and masks laid on it by place miss by a slice; a folder of *.nii
# from single slices holds one patient twice, the plain name being the one that is off. Compare the positions in the
# DICOM files with the affine, and take the file with _Eq where there is one. No report of it found.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check dcm2niix==1.0.20260724 nibabel==5.4.2 \
    pydicom==3.0.2 numpy==2.4.6
cd "$folder"
cat >enhanced.py <<'PYTHON'
import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import EnhancedCTImageStorage, ExplicitVRLittleEndian, generate_uid


def item(**values):
    data = Dataset()
    for name, value in values.items():
        setattr(data, name, value)
    return data


def write(path, hu, heights, scales=None):
    """Writes HU (frames, rows, columns) as one enhanced CT of 0.5 mm pixels; a frame lies at (-20, -30, height) mm.

    scales: slope and intercept of each frame; None is one of 1 and -1024 shared by all.
    """
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.SOPClassUID, data.SOPInstanceUID = EnhancedCTImageStorage, generate_uid()
    data.StudyInstanceUID, data.SeriesInstanceUID, data.FrameOfReferenceUID = (generate_uid() for _ in range(3))
    data.Modality, data.PatientID, data.PatientName, data.Manufacturer = "CT", "P1", "", "none"
    data.PatientBirthDate = data.PatientSex = data.AccessionNumber = data.ReferringPhysicianName = ""
    data.StudyDate = data.ContentDate = "20260101"
    data.StudyTime = data.ContentTime = "120000"
    data.AcquisitionDateTime, data.StudyID, data.SeriesNumber, data.InstanceNumber = "20260101120000", "1", 1, 1
    data.ManufacturerModelName = data.DeviceSerialNumber = data.SoftwareVersions = "1"
    data.ImageType, data.PixelPresentation = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"], "MONOCHROME"
    data.VolumetricProperties, data.VolumeBasedCalculationTechnique = "VOLUME", "NONE"
    data.PresentationLUTShape, data.PositionReferenceIndicator = "IDENTITY", ""
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.NumberOfFrames, data.Rows, data.Columns = hu.shape
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 1
    organization, pointer = generate_uid(), 0x00209057  # In-Stack Position Number
    data.DimensionOrganizationSequence = Sequence([item(DimensionOrganizationUID=organization)])
    data.DimensionIndexSequence = Sequence(
        [item(DimensionOrganizationUID=organization, DimensionIndexPointer=pointer, FunctionalGroupPointer=0x00209111)]
    )
    shared = item(
        PixelMeasuresSequence=Sequence([item(PixelSpacing=[0.5, 0.5], SliceThickness=2)]),
        PlaneOrientationSequence=Sequence([item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])]),
        CTImageFrameTypeSequence=Sequence(
            [
                item(
                    FrameType=data.ImageType,
                    PixelPresentation="MONOCHROME",
                    VolumetricProperties="VOLUME",
                    VolumeBasedCalculationTechnique="NONE",
                )
            ]
        ),
    )
    if scales is None:
        shared.PixelValueTransformationSequence = _scale(1, -1024)
    data.SharedFunctionalGroupsSequence = Sequence([shared])
    frames, stored = [], []
    for number, height in enumerate(heights):
        place = sorted(heights).index(height) + 1
        content = item(StackID="1", InStackPositionNumber=place, DimensionIndexValues=[place])
        frame = item(
            FrameContentSequence=Sequence([content]),
            PlanePositionSequence=Sequence([item(ImagePositionPatient=[-20, -30, height])]),
        )
        slope, intercept = scales[number] if scales else (1, -1024)
        if scales:
            frame.PixelValueTransformationSequence = _scale(slope, intercept)
        frames.append(frame)
        stored.append(((hu[number] - intercept) / slope).astype(np.int16))
    data.PerFrameFunctionalGroupsSequence = Sequence(frames)
    data.PixelData = np.stack(stored).tobytes()
    data.save_as(path, enforce_file_format=True)


def _scale(slope, intercept):
    return Sequence([item(RescaleSlope=slope, RescaleIntercept=intercept, RescaleType="HU")])
PYTHON
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

import enhanced
import nibabel as nib
import numpy as np
import series

heights = [100, 102, 106, 108]
hu = np.broadcast_to(np.array(heights)[:, None, None], (4, 48, 64))
Path("enhanced").mkdir()
enhanced.write("enhanced/ct.dcm", hu, heights)
series.write("slices", hu, heights)
found, warned = {}, {}
for name in ("enhanced", "slices"):
    Path(f"{name}-nifti").mkdir()
    command = ["venv/bin/dcm2niix", "-z", "n", "-f", "x", "-o", f"{name}-nifti", name]
    said = subprocess.run(command, capture_output=True, text=True).stdout
    warned[name] = "Interslice distance varies" in said
    for path in sorted(Path(f"{name}-nifti").glob("*.nii")):
        image = nib.load(path)
        values = image.get_fdata()[0, 0].tolist()
        places = (image.affine[2, 2] * np.arange(len(values)) + image.affine[2, 3]).round(1).tolist()
        found[name, path.name] = dict(zip(values, places))
        print(name, path.name, *(f"{value:g} at {place}" for value, place in zip(values, places)), warned[name])
sys.exit(
    warned != {"enhanced": False, "slices": True}
    or found
    != {
        ("enhanced", "x.nii"): {100: 100.0, 102: 102.7, 106: 105.3, 108: 108.0},
        ("slices", "x.nii"): {100: 100.0, 102: 102.0, 106: 104.0, 108: 106.0},
        ("slices", "x_Eq_1.nii"): {100: 100.0, 102: 102.0, 104: 104.0, 106: 106.0, 108: 108.0},
    }
)
PYTHON
