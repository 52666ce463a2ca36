#!/usr/bin/env bash
# SimpleITK 2.5.7 (ITK 5.4): the "dots per inch" of a JPEG or TIFF picture become millimetres per pixel, those of a PNG or
# BMP do not; and a PNG that it writes says metres where millimetres are meant.
#
# Expected by most: one picture has one spacing whatever its file, 1 where nothing was measured; and what is written can
#   be read by other programs: a pixel of 0.1 mm is not one of 0.1 m.
# Behaviour (one picture of 64 x 48 pixels, saved by Pillow with and without the dpi that screens and editors put in):
#           no dpi   72 dpi           96 dpi           254 dpi
#   PNG     1        1                1                1
#   BMP     1        1                1                1
#   JPEG    1        0.3528           0.2646           0.1
#   TIFF    1        0.3528           0.2646           0.1
#   An image with spacing 0.1 x 0.2 mm written by SimpleITK and read again: PNG 0.1 x 0.2, TIFF 0.1 x 0.2, JPEG 1 x 1,
#   BMP 1 x 1. The PNG has no pHYs chunk, which others read, but sCAL with unit 1 (metre), width ".1" and height ".2".
#
# For a user: ultrasound exported as JPEG gets a size from a tag that says how large to print it, and lesions of 0.35 mm
# pixels are measured without a warning; converted to PNG they are in pixels. A JPEG and its mask as PNG do not lie on each
# other: filters refuse them, or a resampled mask is empty. torchio reads pictures through SimpleITK and does the same.
# Call SetSpacing with what the machine says, on picture and mask, before anything is measured.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check simpleitk==2.5.7 pillow==12.1.0 numpy==2.4.6
cd "$folder"
venv/bin/python -W ignore - <<'PYTHON'
import sys

import numpy as np
import SimpleITK as sitk
from PIL import Image

picture = (np.arange(48 * 64) % 250).astype(np.uint8).reshape(48, 64)
found = {}
for ending in ("png", "bmp", "jpg", "tif"):
    found[ending] = []
    for dpi in (None, 72, 96, 254):
        options = {} if dpi is None else {"dpi": (dpi, dpi)}
        Image.fromarray(picture).save(f"a.{ending}", **options)
        (across, down) = sitk.ReadImage(f"a.{ending}").GetSpacing()
        found[ending].append(round(across, 4) if across == down else None)
    print(ending, *found[ending])
expected = {"png": [1, 1, 1, 1], "bmp": [1, 1, 1, 1], "jpg": [1, 0.3528, 0.2646, 0.1], "tif": [1, 0.3528, 0.2646, 0.1]}

image = sitk.GetImageFromArray(picture)
image.SetSpacing((0.1, 0.2))
again = {}
for ending in expected:
    sitk.WriteImage(image, f"b.{ending}")
    again[ending] = tuple(round(value, 4) for value in sitk.ReadImage(f"b.{ending}").GetSpacing())
with open("b.png", "rb") as file:
    written = file.read()
start = written.index(b"sCAL")
chunk = written[start + 4 : start + 4 + int.from_bytes(written[start - 4 : start], "big")]
print("written and read", again, "sCAL", chunk, "pHYs", b"pHYs" in written)
as_before = found == expected and chunk == b"\x01.1\x00.2" and b"pHYs" not in written
sys.exit(not (as_before and again == {"png": (0.1, 0.2), "tif": (0.1, 0.2), "jpg": (1, 1), "bmp": (1, 1)}))
PYTHON
