#!/usr/bin/env bash
# rt-utils 1.2.7: of images that are not square, RTStruct.get_roi_mask_by_name() returns another mask than was added.
#
# Expected: a mask that was added with add_roi() comes back, in the shape of the images, (rows, columns, slices).
# Behaviour: it comes back as (columns, rows, slices), not transposed but cut: what lies in columns beyond the number of
# rows is gone, without a word. 48 rows, 64 columns, a nodule of 6 x 10 pixels at row 20:
#   columns 10-19: put in (48, 64, 2) with 60 pixels; got back (64, 48, 2) with 60
#   columns 42-51: put in (48, 64, 2) with 60 pixels; got back (64, 48, 2) with 36
#   columns 50-59: put in (48, 64, 2) with 60 pixels; got back (64, 48, 2) with 0
# Reason: create_empty_series_mask and create_empty_slice_mask in image_helper.py make arrays of (Columns, Rows), and
# OpenCV draws x and y into them as into (Rows, Columns). The file that add_roi() writes is right.
# Reported upstream: github.com/qurit/rt-utils/issues/88
#
# For a user: cropped CT and ultrasound are rarely square. Masks with a wrong shape are noticed; those that are padded or
# transposed "to fit" are not. Draw the contours yourself, by the position and orientation of each image.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check rt-utils==1.2.7 pydicom==3.0.2 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import contextlib
import io
import sys
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid
from rt_utils import RTStructBuilder

study, series, frame = (generate_uid() for _ in range(3))
Path("series").mkdir()
for place in range(2):
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = CTImageStorage
    data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    data.StudyInstanceUID, data.SeriesInstanceUID, data.FrameOfReferenceUID = study, series, frame
    data.PatientName = data.PatientID = data.StudyDate = data.StudyTime = data.StudyID = ""
    data.Modality, data.InstanceNumber = "CT", place + 1
    data.ImagePositionPatient, data.ImageOrientationPatient = [0, 0, 5 * place], [1, 0, 0, 0, 1, 0]
    data.PixelSpacing, data.SliceThickness = [0.5, 0.5], 5
    data.Rows, data.Columns, data.SamplesPerPixel, data.PhotometricInterpretation = 48, 64, 1, "MONOCHROME2"
    data.BitsAllocated = data.BitsStored = 16
    data.HighBit, data.PixelRepresentation, data.PixelData = 15, 0, bytes(48 * 64 * 2)
    data.save_as(f"series/{place}.dcm", enforce_file_format=True)
got = []
for left in (10, 42, 50):
    mask = np.zeros((48, 64, 2), dtype=bool)
    mask[20:26, left : left + 10, 0] = True
    with contextlib.redirect_stdout(io.StringIO()):
        written = RTStructBuilder.create_new("series")
        written.add_roi(mask, name="nodule")
        written.save("structures.dcm")
        back = RTStructBuilder.create_from("series", "structures.dcm").get_roi_mask_by_name("nodule")
    got.append(int(back.sum()))
    print(f"columns {left}-{left + 9}: put in {mask.shape} with {mask.sum()} pixels; got back {back.shape} with {got[-1]}")
sys.exit(got == [60, 60, 60])
PYTHON
