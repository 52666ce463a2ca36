#!/usr/bin/env bash
# dicom2nifti 2.6.2: enhanced (multi-frame) CT whose slope and intercept stand once for all frames comes out as stored
# values; the same image with the same numbers repeated in every frame, or as single slices, comes out in HU.
#
# Expected by most: Hounsfield units in all three, as the converter applies the scale and writes none to the header.
# Behaviour (air of -1000 HU and tissue of 40 HU, slope 1, intercept -1024):
#   enhanced, scale in every frame's group    -1000 40
#   enhanced, scale in the shared group       24 1064
#   single slices                             -1000 40
#   The standard puts what all frames have in common into SharedFunctionalGroupsSequence, so that is the usual place.
#   The header of the NIfTI says nothing of a scale (slope nan).
#
# For a user: CT from scanners that write enhanced files is 1024 HU too bright, air is 24, and windows show a white
# square. Check that air lies near -1000. For another gap see github.com/icometrix/dicom2nifti/issues/140.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check dicom2nifti==2.6.2 nibabel==5.4.2 pydicom==3.0.2 \
    numpy==2.4.6
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
import sys
from pathlib import Path

import dicom2nifti
import enhanced
import nibabel as nib
import numpy as np
import series

hu = np.full((4, 48, 64), 40)
hu[:, 0, 0] = -1000  # air
heights = [100, 102, 104, 106]
for name in ("every", "shared"):
    Path(name).mkdir()
enhanced.write("every/ct.dcm", hu, heights, [(1, -1024)] * 4)
enhanced.write("shared/ct.dcm", hu, heights)
series.write("single", hu, heights)
found = {}
for name in ("every", "shared", "single"):
    dicom2nifti.dicom_series_to_nifti(name, f"{name}.nii")
    found[name] = np.unique(nib.load(f"{name}.nii").get_fdata()).tolist()
    print(name, *found[name])
sys.exit(found != {"every": [-1000.0, 40.0], "shared": [24.0, 1064.0], "single": [-1000.0, 40.0]})
PYTHON
