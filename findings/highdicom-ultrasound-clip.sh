#!/usr/bin/env bash
# highdicom 0.28.2: a segmentation of an ultrasound clip (US Multi-frame Image) cannot be made, and the error blames an
# attribute that is there.
#
# Expected by most: Segmentation() takes a clip of N frames and a mask of N planes, or one plane of it, as it takes a series
# of N single pictures of CT; the standard allows it (DERIVATION IMAGE macro, source frame numbers).
# Behaviour (clip of three frames, FrameOfReferenceUID present, valid for dciodvfy):
#   clip, mask of 3 planes        ValueError: Only a single frame is supported when the source image has no Frame of
#                                 Reference UID.
#   clip, without that attribute  the same
#   one picture, mask of 1 plane  a segmentation of 1 frame
# What is missing is not the UID but ImagePositionPatient and ImageOrientationPatient, which ultrasound does not have.
#
# For a user: adding or repairing FrameOfReferenceUID does not help. Write the frame that was outlined as a US Image of
# its own and segment that one, or keep the mask as a picture.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check highdicom==0.28.2 pydicom==3.0.2 numpy==2.4.6
cd "$folder"
venv/bin/python -W ignore - <<'PYTHON'
import sys

import highdicom
import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sr.codedict import codes
from pydicom.uid import ExplicitVRLittleEndian, UltrasoundImageStorage, UltrasoundMultiFrameImageStorage, generate_uid


def ultrasound(frames):
    """Returns an ultrasound picture, or a clip of several frames, of 40 x 50 pixels."""
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.SOPClassUID = UltrasoundMultiFrameImageStorage if frames > 1 else UltrasoundImageStorage
    data.SOPInstanceUID, data.StudyInstanceUID, data.SeriesInstanceUID = (generate_uid() for _ in range(3))
    data.FrameOfReferenceUID, data.PositionReferenceIndicator = generate_uid(), ""
    data.Modality, data.PatientID, data.PatientName, data.Manufacturer = "US", "P1", "", "none"
    data.PatientBirthDate = data.PatientSex = data.StudyTime = data.AccessionNumber = data.PatientOrientation = ""
    data.StudyDate, data.StudyID, data.SeriesNumber, data.InstanceNumber = "20260101", "1", 1, 1
    data.ReferringPhysicianName, data.Laterality, data.ImageType = "", "", ["ORIGINAL", "PRIMARY", "SMALL PARTS", "0001"]
    data.SamplesPerPixel, data.PhotometricInterpretation, data.Rows, data.Columns = 1, "MONOCHROME2", 40, 50
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 8, 8, 7, 0
    if frames > 1:
        data.NumberOfFrames, data.FrameTime, data.FrameIncrementPointer = frames, 40, 0x00181063
    data.PixelData = np.zeros((frames, 40, 50), np.uint8).tobytes()
    return data


def segmented(picture, frames):
    """Says what becomes of a segmentation of it."""
    nodule = np.zeros((frames, 40, 50), dtype=np.uint8)
    nodule[:, 10:20, 15:35] = 1
    segment = highdicom.seg.SegmentDescription(
        segment_number=1,
        segment_label="Nodule",
        segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
        segmented_property_type=codes.SCT.Nodule,
        algorithm_type=highdicom.seg.SegmentAlgorithmTypeValues.MANUAL,
    )
    try:
        made = highdicom.seg.Segmentation(
            source_images=[picture],
            pixel_array=nodule,
            segmentation_type=highdicom.seg.SegmentationTypeValues.BINARY,
            segment_descriptions=[segment],
            series_instance_uid=highdicom.UID(),
            series_number=2,
            sop_instance_uid=highdicom.UID(),
            instance_number=1,
            manufacturer="none",
            manufacturer_model_name="none",
            software_versions="1",
            device_serial_number="1",
        )
    except ValueError as error:
        return f"ValueError: {error}"
    return f"a segmentation of {made.NumberOfFrames} frame"


clip, bare, picture = ultrasound(3), ultrasound(3), ultrasound(1)
del bare.FrameOfReferenceUID
refused = "ValueError: Only a single frame is supported when the source image has no Frame of Reference UID."
found = [segmented(clip, 3), segmented(bare, 3), segmented(picture, 1)]
names = ["clip, mask of 3 planes", "clip, without that attribute", "one picture, mask of 1 plane"]
for name, said in zip(names, found):
    print(f"{name:30s}{said}")
sys.exit("FrameOfReferenceUID" not in clip or found != [refused, refused, "a segmentation of 1 frame"])
PYTHON
