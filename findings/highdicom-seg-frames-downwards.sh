#!/usr/bin/env bash
# highdicom 0.28.2: the frames of a segmentation of axial images are written from top to bottom, whatever the order of
# the images and of the mask that were handed in.
#
# Expected by most: frame k of the file is plane k of the array, which has to be in the order of the source images.
# Behaviour (five slices, nodule on the fourth from below; heights of the frames, and of the frame with the nodule):
#   images upwards     frames 108 106 104 102 100   pixel_array[1] holds what was plane 3
#   images downwards   frames 108 106 104 102 100   pixel_array[1] holds what was plane 1
#   images mixed       frames 108 106 104 102 100   pixel_array[1] holds what was plane 4
#   Empty planes are left out as well, so the plain file of one nodule has one frame. Places in the file are right, and
#   highdicom's own readers go by them. Images whose rows run the other way (1 0 0 0 -1 0) are written upwards.
#
# For a user: pydicom's pixel_array of the file, SimpleITK's slices counted from the first, and viewers that go by the
# order of frames show the mask on the mirrored slice. Go by PlanePositionSequence or source images, never by number.
# Reported upstream: github.com/ImagingDataCommons/highdicom/issues/330.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check highdicom==0.28.2 pydicom==3.0.2 numpy==2.4.6
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
import sys
from pathlib import Path

import highdicom
import numpy as np
import pydicom
import series
from pydicom.sr.codedict import codes

heights = [100, 102, 104, 106, 108]
series.write("ct", np.zeros((5, 48, 64)), heights)
images = [pydicom.dcmread(path) for path in sorted(Path("ct").glob("*.dcm"))]
nodule = np.zeros((5, 48, 64), dtype=np.uint8)
nodule[3, 10:14, 40:52] = nodule[3, 10:26, 40:44] = 1
segment = highdicom.seg.SegmentDescription(
    segment_number=1,
    segment_label="Nodule",
    segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
    segmented_property_type=codes.SCT.Nodule,
    algorithm_type=highdicom.seg.SegmentAlgorithmTypeValues.MANUAL,
)
found = {}
for name, order in (("upwards", [0, 1, 2, 3, 4]), ("downwards", [4, 3, 2, 1, 0]), ("mixed", [2, 0, 4, 1, 3])):
    highdicom.seg.Segmentation(
        source_images=[images[number] for number in order],
        pixel_array=nodule[order],
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
        omit_empty_frames=False,
    ).save_as("seg.dcm")
    data = pydicom.dcmread("seg.dcm")
    frames = [
        int(frame.PlanePositionSequence[0].ImagePositionPatient[2]) for frame in data.PerFrameFunctionalGroupsSequence
    ]
    (drawn,) = np.flatnonzero(data.pixel_array.any(axis=(1, 2)))
    print(f"images {name:10s} frames", *frames, f"  pixel_array[{drawn}] holds what was plane {order.index(3)}")
    found[name] = frames, int(drawn)
sys.exit(found != dict.fromkeys(("upwards", "downwards", "mixed"), ([108, 106, 104, 102, 100], 1)))
PYTHON
