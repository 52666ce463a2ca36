#!/usr/bin/env bash
# SimpleITK 2.5.7 (ITK 5.4): slope and intercept of the first frame are used for all frames of an enhanced CT.
#
# Expected by most: each frame has its own PixelValueTransformationSequence, and each slice comes out in HU.
# Behaviour (all pixels are 40 HU; slope and intercept of the frames; what is read):
#   1, -1024   40      2, -1000   -504      4, 0   -1014
#   highdicom 0.28.2 gives 40 for every frame, dcm2niix too. Where all frames agree SimpleITK is right.
#
# For a user: only the first slice is in HU; a window then shows the others too dark or too light, and nothing fails.
# Compare the frames' RescaleSlope and RescaleIntercept before reading, or let highdicom read (imread(..).get_volume()).
# No report of it found.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check SimpleITK==2.5.7 highdicom==0.28.2 pydicom==3.0.2 \
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
venv/bin/python -W ignore - <<'PYTHON'
import sys

import enhanced
import highdicom
import numpy as np
import SimpleITK as sitk

scales = [(1, -1024), (2, -1000), (4, 0)]
enhanced.write("ct.dcm", np.full((3, 48, 64), 40.0), [100, 102, 104], scales)
read = sitk.GetArrayFromImage(sitk.ReadImage("ct.dcm"))[:, 0, 0].tolist()
other = sorted(set(highdicom.imread("ct.dcm").get_volume().array.ravel().tolist()))
for (slope, intercept), value in zip(scales, read):
    print(f"slope {slope}, intercept {intercept}: {value} HU")
print("highdicom:", *other, "HU in every frame")
sys.exit(not (read == [40, -504, -1014] and other == [40.0]))
PYTHON
