#!/usr/bin/env bash
# SimpleITK 2.5.7 (ITK 5.4): enhanced (multi-frame) CT is read in the order of its frames, and where they do not follow
# each other at one distance the spacing becomes 1 x 1 x 1 mm, in the plane too.
#
# Expected by most: frames are sorted by ImagePositionPatient, as the reader of single-slice series does, or the file is
#   refused; and pixels of 0.5 mm stay 0.5 mm.
# Behaviour (pixels 0.5 mm; heights of the frames as they stand in the file; first HU of each slice is its height):
#   100 102 104 106   spacing 0.5 0.5 2.0   first height 100   slices 100 102 104 106
#   106 104 102 100   spacing 0.5 0.5 2.0   first height 106   slices 106 104 102 100   (direction of z is -1)
#   104 100 106 102   spacing 1.0 1.0 1.0   first height 104   slices 104 100 106 102
#   100 102 106 108   spacing 1.0 1.0 1.0   first height 100   slices 100 102 106 108   (one slice missing)
#   No warning. The standard leaves the order of frames free; DICOM-SEG with several segments is read in the same way.
#
# For a user: areas and diameters are wrong by a factor (here 4 and 2), slices are shuffled, and a mask made on such a
# volume fits no other program's. Compare GetSpacing() with PixelSpacing, or read with highdicom, which sorts frames and
# refuses gaps. See also github.com/InsightSoftwareConsortium/ITKPythonPackage/issues/105.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check SimpleITK==2.5.7 pydicom==3.0.2 numpy==2.4.6
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
import numpy as np
import SimpleITK as sitk

found = []
for heights in ([100, 102, 104, 106], [106, 104, 102, 100], [104, 100, 106, 102], [100, 102, 106, 108]):
    hu = np.broadcast_to(np.array(heights)[:, None, None], (4, 48, 64))
    enhanced.write("ct.dcm", hu, heights)
    image = sitk.ReadImage("ct.dcm")
    slices = sitk.GetArrayFromImage(image)[:, 0, 0].tolist()
    print(*heights, "  spacing", *image.GetSpacing(), "  first height", image.GetOrigin()[2], "  slices", *slices)
    found.append((image.GetSpacing(), slices == heights))
sys.exit(found != [((0.5, 0.5, 2.0), True)] * 2 + [((1.0, 1.0, 1.0), True)] * 2)
PYTHON
