#!/usr/bin/env bash
# dcmqi 1.5.7: itkimage2segimage writes frames that name a CT slice as their source although their pixels lie the other
# way round than that slice's, or beside it.
#
# Expected by most: a frame of a DICOM-SEG that refers to one CT image (DerivationImageSequence) can be laid on that
#   image pixel by pixel, as those can that highdicom writes from the same images.
# Behaviour (nodule in rows 10 to 25 and columns 40 to 51 of the slice at 106 mm; the frame's mask, source, place):
#   mask as the CT lies         rows 10-25 columns 40-51  slice at 106   at -20, -30, 106        turned 1 0 0 0 1 0
#   mask in RAS order           rows 22-37 columns 12-23  slice at 106   at 11.5, -6.5, 106      turned -1 0 0 0 -1 0
#   mask 0.25 mm to the left    rows 10-25 columns 40-51  slice at 106   at -20.25, -30, 106     turned 1 0 0 0 1 0
#   mask 0.9 mm higher          rows 10-25 columns 40-51  slice at 106   at -20, -30, 106.9      turned 1 0 0 0 1 0
#   Plane position and orientation are right; SpatialLocationsPreserved is absent (highdicom writes YES). "RAS order" is
#   what nibabel's as_closest_canonical and MONAI's Orientation leave.
#
# For a user: whoever pairs frames by the images they refer to gets a mask turned by 180 degrees, of the right size, on
# the right slice. highdicom (get_pixels_by_source_instance) refuses at first, and with ignore_spatial_locations=True
# gives that mask. Lay frames by PlanePositionSequence and PlaneOrientationSequence. No report of it found.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check dcmqi==1.5.7 highdicom==0.28.2 pydicom==3.0.2 \
    SimpleITK==2.5.7 numpy==2.4.6
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
import json
import subprocess
import sys
from pathlib import Path

import highdicom
import numpy as np
import pydicom
import series
import SimpleITK as sitk

series.write("ct", np.zeros((5, 48, 64)), [100, 102, 104, 106, 108])
heights = {}
for path in Path("ct").glob("*.dcm"):
    image = pydicom.dcmread(path)
    heights[image.SOPInstanceUID] = float(image.ImagePositionPatient[2])
nodule = np.zeros((5, 48, 64), dtype=np.uint8)  # slices, rows, columns
nodule[3, 10:14, 40:52] = nodule[3, 10:26, 40:44] = 1
code = {"CodeValue": "27925004", "CodingSchemeDesignator": "SCT", "CodeMeaning": "Nodule"}
segment = {"labelID": 1, "SegmentLabel": "Nodule", "SegmentAlgorithmType": "MANUAL", "SegmentDescription": "Nodule"}
segment |= {"SegmentedPropertyCategoryCodeSequence": code, "SegmentedPropertyTypeCodeSequence": code}
segment["recommendedDisplayRGBValue"] = [255, 0, 0]
about = {"SeriesDescription": "mask", "SeriesNumber": "2", "InstanceNumber": "1", "ContentLabel": "MASK"}
about |= {"ContentDescription": "mask", "ContentCreatorName": "", "BodyPartExamined": "NECK"}
about |= {"ClinicalTrialSeriesID": "1", "ClinicalTrialTimePointID": "1", "ClinicalTrialCoordinatingCenterName": "none"}
Path("about.json").write_text(json.dumps(about | {"segmentAttributes": [[segment]]}))


def encode(voxels, origin, direction):
    """Returns bounding box, height of the source image, position and orientation of the frame dcmqi makes."""
    mask = sitk.GetImageFromArray(np.ascontiguousarray(voxels))
    mask.SetSpacing((0.5, 0.5, 2))
    mask.SetOrigin(origin)
    mask.SetDirection(direction)
    sitk.WriteImage(mask, "mask.nii.gz")
    command = ["venv/bin/itkimage2segimage", "--inputImageList", "mask.nii.gz", "--inputDICOMDirectory", "ct"]
    command += ["--outputDICOM", "seg.dcm", "--inputMetadata", "about.json"]
    subprocess.run(command, capture_output=True, check=True)
    data = pydicom.dcmread("seg.dcm")
    (frame,) = data.PerFrameFunctionalGroupsSequence
    (source,) = frame.DerivationImageSequence[0].SourceImageSequence
    places = np.argwhere(data.pixel_array.reshape(48, 64))
    groups = frame if "PlaneOrientationSequence" in frame else data.SharedFunctionalGroupsSequence[0]
    return (
        [*places.min(axis=0).tolist(), *places.max(axis=0).tolist()],
        heights[source.ReferencedSOPInstanceUID],
        [round(float(value), 2) for value in frame.PlanePositionSequence[0].ImagePositionPatient],
        [round(float(value)) for value in groups.PlaneOrientationSequence[0].ImageOrientationPatient],
        "SpatialLocationsPreserved" in source,
    )


def by_source():
    """Returns what highdicom says of laying the last file on the slice at 106 mm, and the box it gives when forced."""
    (name,) = (name for name, height in heights.items() if height == 106)
    segmentation = highdicom.seg.segread("seg.dcm")
    refused = False
    try:
        segmentation.get_pixels_by_source_instance([name])
    except RuntimeError:
        refused = True
    forced = segmentation.get_pixels_by_source_instance([name], ignore_spatial_locations=True)
    places = np.argwhere(forced[0, :, :, 0])
    return refused, [*places.min(axis=0).tolist(), *places.max(axis=0).tolist()]


plain, turned = (1, 0, 0, 0, 1, 0, 0, 0, 1), (-1, 0, 0, 0, -1, 0, 0, 0, 1)
found = {
    "as the CT lies": encode(nodule, (-20, -30, 100), plain),
    "RAS order": encode(nodule[:, ::-1, ::-1], (11.5, -6.5, 100), turned),
}
refused, forced = by_source()
print("highdicom by source instance: refused", refused, " forced: rows and columns from, to", *forced)
found |= {
    "0.25 mm to the left": encode(nodule, (-20.25, -30, 100), plain),
    "0.9 mm higher": encode(nodule, (-20, -30, 100.9), plain),
}
for name, (box, height, position, orientation, _) in found.items():
    print(f"{name:20s} rows {box[0]}-{box[2]} columns {box[1]}-{box[3]}  slice at {height} ", *position, *orientation)
as_before = all(answer[1] == 106 and not answer[4] for answer in found.values())
as_before &= [answer[0] for answer in found.values()] == [[10, 40, 25, 51], [22, 12, 37, 23]] + [[10, 40, 25, 51]] * 2
as_before &= refused and forced == [22, 12, 37, 23]
as_before &= found["RAS order"][3] == [-1, 0, 0, 0, -1, 0]
sys.exit(not as_before)
PYTHON
