#!/usr/bin/env bash
# pydicom 3.0.2: Dataset.compress() takes colour pictures stored by plane (Planar Configuration 1) for ones stored by
# pixel. "RLE Lossless" scrambles them; JPEG 2000 is scrambled for everybody but pydicom, which reads it back as it was.
#
# Expected by most: lossless compression gives the pixels back, for either Planar Configuration of the file.
# Behaviour (40 x 56 pixels of RGB noise, one half of them grey; share of values that differ afterwards, as read by
# pydicom and by SimpleITK):
#   compressed as           Planar Configuration   pydicom   SimpleITK
#   RLE Lossless            0                      0         0
#   RLE Lossless            1                      0.99      0.99
#   JPEG-LS Lossless        0 or 1                 0         0
#   JPEG 2000 Lossless      0                      0         0
#   JPEG 2000 Lossless      1                      0         0.99
#   The first segment of the RLE data, decoded by hand, is not the red plane but every third byte of the three planes.
#   There is no error and no warning. The documentation of compress() asks for the element and does not say which value.
#
# For a user: ultrasound machines write either configuration, and an archive that is compressed to save room loses its
# colour pictures with the second: each becomes a mosaic of small grey ones. Checking by reading JPEG 2000 back with
# pydicom finds nothing. Hand in the pixels: data = ds.pixel_array, ds.PlanarConfiguration = 0, ds.compress(syntax, data),
# which gives 0 in all rows above. No report of it found.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pydicom==3.0.2 numpy==2.4.6 pylibjpeg==2.1.0 \
    pylibjpeg-openjpeg==2.6.0 pylibjpeg-rle==2.2.0 pyjpegls==1.5.1 simpleitk==2.5.7
cd "$folder"
venv/bin/python -W error - 2>errors <<'PYTHON' || { cat errors; exit 1; }
import struct
import sys

import numpy as np
import pydicom
import SimpleITK as sitk
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import generate_frames
from pydicom.uid import (
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
    UltrasoundImageStorage,
    generate_uid,
)

ROWS, COLUMNS = 40, 56
picture = np.random.default_rng(0).integers(0, 256, (ROWS, COLUMNS, 3)).astype(np.uint8)
picture[:20, :, 1:] = picture[:20, :, :1]


def ultrasound(planar):
    """Returns the picture as an uncompressed image in the planar configuration."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = UltrasoundImageStorage
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    ds.Rows, ds.Columns, ds.SamplesPerPixel, ds.PhotometricInterpretation = ROWS, COLUMNS, 3, "RGB"
    ds.PlanarConfiguration, ds.PixelRepresentation = planar, 0
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 8, 8, 7
    ds.PixelData = (np.moveaxis(picture, -1, 0) if planar else picture).tobytes()
    ds["PixelData"].VR = "OB"
    assert np.array_equal(ds.pixel_array, picture)
    return ds


def differ(ds):
    """Returns the shares of values that differ from the picture, read from a file by pydicom and by SimpleITK."""
    ds.save_as("a.dcm", enforce_file_format=True)
    read = pydicom.dcmread("a.dcm").pixel_array, sitk.GetArrayFromImage(sitk.ReadImage("a.dcm"))[0]
    return [round(float((one != picture).mean()), 2) for one in read]


def first_segment(data):
    """Returns the first segment of an RLE frame, decoded as PS3.5 Annex G says."""
    start, end = struct.unpack("<2L", data[4:12])
    segment, out, at = data[start:end], bytearray(), 0
    while len(out) < ROWS * COLUMNS:
        count = segment[at]
        if count < 128:
            out += segment[at + 1 : at + 2 + count]
            at += count + 2
        else:
            out += segment[at + 1 : at + 2] * (257 - count if count > 128 else 0)
            at += 2 if count > 128 else 1
    return bytes(out)


found, mended, seen = {}, [], []
for syntax in (RLELossless, JPEGLSLossless, JPEG2000Lossless):
    for planar in (0, 1):
        ds = ultrasound(planar)
        ds.compress(syntax)
        found[syntax.keyword, planar] = differ(ds)
        print(syntax.name, "configuration", planar, "pydicom and SimpleITK:", *found[syntax.keyword, planar])
        if syntax == RLELossless:
            seen.append(first_segment(next(generate_frames(ds.PixelData, number_of_frames=1))))
        ds = ultrasound(planar)
        data = ds.pixel_array
        ds.PlanarConfiguration = 0
        ds.compress(syntax, data)
        mended += differ(ds)
for plugin in ("pydicom", "pylibjpeg"):
    ds = ultrasound(1)
    ds.compress(RLELossless, encoding_plugin=plugin)
    found[plugin, 1] = differ(ds)
red, planes = picture[..., 0].tobytes(), np.moveaxis(picture, -1, 0).tobytes()
print("first segment is the red plane:", [one == red for one in seen], "every third byte:", seen[1] == planes[::3])
print("from the array, configuration 0:", sum(mended))
right = all(found[name, 0] == [0, 0] for name in ("RLELossless", "JPEGLSLossless", "JPEG2000Lossless"))
wrong = found["RLELossless", 1] == found["pydicom", 1] == found["pylibjpeg", 1] == [0.99, 0.99]
wrong = wrong and found["JPEG2000Lossless", 1] == [0, 0.99] and found["JPEGLSLossless", 1] == [0, 0]
sys.exit(not (right and wrong and not any(mended) and seen[0] == red and seen[1] == planes[::3]))
PYTHON
