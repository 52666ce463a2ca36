#!/usr/bin/env bash
# highdicom 0.28.2: a structured report (TID 1500) that refers to a segment is not valid for dciodvfy: the reference holds the number
# of the frame and of the segment, and one excludes the other.
#
# Expected by most: a report made of ReferencedSegmentationFrame(), the documented way to say where was measured, is valid.
# Behaviour (report with one planar region on one frame of one segment; dicom3tools 1.00~20220618093127-2):
#   as made                             Error - Shall not be present when ReferencedFrameNumber is present -
#                                       attribute <ReferencedSegmentNumber>
#   without ReferencedSegmentNumber     no error
#   In the Image SOP Instance Reference Macro (PS3.3, table 10-3) the segment's number is of type 1C, for references to some
#   segments that name no frame, and dciodvfy reads 1C without "may be present otherwise" strictly, as PS3.5, 7.4.2 has it.
#
# For a user: archives that validate refuse the report, whatever is in it. Delete ReferencedSegmentNumber from such items after
# the report is made (with one segment per frame nothing is lost). No report found.
# Needs Debian 12 (bookworm) with: apt install dicom3tools; nothing else is installed but in a temporary folder.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
version=1.00~20220618093127-2
[ "$(dpkg-query -W -f '${Version}' dicom3tools)" = "$version" ] || { echo "needs dicom3tools=$version" >&2; exit 2; }
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check highdicom==0.28.2 pydicom==3.0.2 numpy==2.4.6
cd "$folder"
venv/bin/python -W ignore - <<'PYTHON'
import subprocess
import sys

import highdicom
import numpy as np
from highdicom import sr
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sr.codedict import codes
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid


def slice_of_ct():
    """Returns a slice of CT of 40 x 50 pixels, valid but for what a report does not need."""
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.SOPClassUID, data.SOPInstanceUID = CTImageStorage, generate_uid()
    data.StudyInstanceUID, data.SeriesInstanceUID, data.FrameOfReferenceUID = (generate_uid() for _ in range(3))
    data.PositionReferenceIndicator, data.Modality, data.Manufacturer = "", "CT", "none"
    data.PatientID, data.PatientName, data.PatientBirthDate, data.PatientSex = "P1", "", "", ""
    data.StudyDate, data.StudyTime, data.StudyID = "20260101", "100000", "1"
    data.AccessionNumber = data.ReferringPhysicianName = ""
    data.SeriesNumber = data.InstanceNumber = 1
    data.PixelSpacing, data.SliceThickness = [1, 1], 1
    data.ImagePositionPatient, data.ImageOrientationPatient = [0, 0, 0], [1, 0, 0, 0, 1, 0]
    data.Rows, data.Columns, data.SamplesPerPixel, data.PhotometricInterpretation = 40, 50, 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 12, 11, 0
    data.PixelData = bytes(4000)
    return data


made = {
    "series_instance_uid": generate_uid,
    "sop_instance_uid": generate_uid,
}
picture = slice_of_ct()
nodule = np.zeros((1, 40, 50), dtype=np.uint8)
nodule[0, 10:20, 10:20] = 1
segments = highdicom.seg.Segmentation(
    source_images=[picture],
    pixel_array=nodule,
    segmentation_type=highdicom.seg.SegmentationTypeValues.BINARY,
    segment_descriptions=[
        highdicom.seg.SegmentDescription(
            segment_number=1,
            segment_label="nodule",
            segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
            segmented_property_type=codes.SCT.Nodule,
            algorithm_type=highdicom.seg.SegmentAlgorithmTypeValues.MANUAL,
        )
    ],
    series_number=2,
    instance_number=1,
    manufacturer="none",
    manufacturer_model_name="none",
    software_versions="1",
    device_serial_number="1",
    **{name: new() for name, new in made.items()},
)
group = sr.PlanarROIMeasurementsAndQualitativeEvaluations(
    tracking_identifier=sr.TrackingIdentifier(uid=generate_uid(), identifier="one"),
    referenced_segment=sr.ReferencedSegmentationFrame(
        sop_class_uid=segments.SOPClassUID,
        sop_instance_uid=segments.SOPInstanceUID,
        frame_number=1,
        segment_number=1,
        source_image=sr.SourceImageForSegmentation(picture.SOPClassUID, picture.SOPInstanceUID),
    ),
    finding_type=codes.SCT.Nodule,
    measurements=[sr.Measurement(name=codes.SCT.Area, value=100, unit=codes.UCUM.SquareMillimeter)],
)
device = sr.ObserverContext(
    observer_type=codes.DCM.Device,
    observer_identifying_attributes=sr.DeviceObserverIdentifyingAttributes(uid=generate_uid(), name="none"),
)
content = sr.MeasurementReport(
    observation_context=sr.ObservationContext(observer_device_context=device),
    procedure_reported=sr.CodedConcept("363679005", "SCT", "Imaging procedure"),
    imaging_measurements=[group],
)
report = sr.ComprehensiveSR(
    evidence=[picture, segments],
    content=content[0],
    series_number=3,
    instance_number=1,
    manufacturer="none",
    is_complete=True,
    **{name: new() for name, new in made.items()},
)


def errors(name):
    report.save_as(name, enforce_file_format=True)
    done = subprocess.run(["dciodvfy", name], capture_output=True, text=True)
    return [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("Error")]


def mend(data):
    for element in data:
        for item in element.value if element.VR == "SQ" else ():
            if "ReferencedFrameNumber" in item and "ReferencedSegmentNumber" in item:
                del item.ReferencedSegmentNumber
            mend(item)


before = errors("made.dcm")
mend(report)
after = errors("mended.dcm")
print("as made:", before)
print("without the segment's number:", after)
said = "Error - Shall not be present when ReferencedFrameNumber is present - attribute <ReferencedSegmentNumber>"
sys.exit((before, after) != ([said], []))
PYTHON
