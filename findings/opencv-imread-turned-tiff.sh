#!/usr/bin/env bash
# OpenCV 5.0.0 (4.11, 4.12 and 4.13 too): imread() gives None for a TIFF whose tag says that it lies on its side
# (Orientation 5 to 8), whatever the flags; imdecode() of the same bytes reads it.
#
# Expected by most: imread(path, flags) and imdecode(bytes, flags) give the same picture, or both none.
# Behaviour (6 rows, 8 columns, pixels 0 to 47 row by row; first row):
#   Orientation 1: imdecode 6 x 8  0 1 2 3 4 5 6 7          imread 6 x 8  0 1 2 3 4 5 6 7
#   Orientation 3: imdecode 6 x 8  47 46 45 44 43 42 41 40  imread 6 x 8  47 46 45 44 43 42 41 40
#   Orientation 6: imdecode 8 x 6  40 32 24 16 8 0          imread None
#   On stderr: "Internal imread issue: 'original_ptr == real_mat.data' must be 'true'". Square pictures are read. Also
#   with IMREAD_UNCHANGED and IMREAD_IGNORE_ORIENTATION TIFF is turned; of PNG, IMREAD_UNCHANGED is not:
#   PNG, Orientation 6: IMREAD_GRAYSCALE 8 x 6, IMREAD_UNCHANGED 6 x 8
#
# For a user: None means "broken file" to most programs, so scans and exports that lie on their side drop out of a
# cohort. Read the bytes and decode them (cv2.imdecode(np.fromfile(path, np.uint8), flags)). A mask read with
# IMREAD_UNCHANGED beside a picture read without it is turned alike in TIFF, but not in PNG.
# No report of it found.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check opencv-python-headless==5.0.0.93 numpy==2.4.6 tifffile==2026.3.3 \
    pillow==13.0.0
cd "$folder"
venv/bin/python - <<'PYTHON' 2>errors.txt || { cat errors.txt; exit 1; }
import sys

import cv2
import numpy as np
import tifffile
from PIL import Image

picture = np.arange(48, dtype=np.uint8).reshape(6, 8)
upright = {1: picture, 3: picture[::-1, ::-1], 6: np.rot90(picture, -1)}


def words(pixels):
    return "None" if pixels is None else f"{pixels.shape[0]} x {pixels.shape[1]}  {' '.join(map(str, pixels[0]))}"


as_before = True
for orientation, wanted in upright.items():
    tifffile.imwrite("turned.tif", picture, extratags=[(274, "H", 1, orientation, True)])
    for flags in (cv2.IMREAD_GRAYSCALE, cv2.IMREAD_UNCHANGED, cv2.IMREAD_GRAYSCALE | cv2.IMREAD_IGNORE_ORIENTATION):
        decoded = cv2.imdecode(np.fromfile("turned.tif", np.uint8), flags)
        read = cv2.imread("turned.tif", flags)
        as_before &= np.array_equal(decoded, wanted)
        as_before &= read is None if orientation == 6 else np.array_equal(read, wanted)
    print(f"Orientation {orientation}: imdecode {words(decoded):30s} imread {words(read)}")
square = np.arange(36, dtype=np.uint8).reshape(6, 6)
tifffile.imwrite("square.tif", square, extratags=[(274, "H", 1, 6, True)])
as_before &= np.array_equal(cv2.imread("square.tif", cv2.IMREAD_GRAYSCALE), np.rot90(square, -1))
tag = Image.Exif()
tag[274] = 6
Image.fromarray(picture).save("turned.png", exif=tag)
shapes = [cv2.imread("turned.png", flags).shape for flags in (cv2.IMREAD_GRAYSCALE, cv2.IMREAD_UNCHANGED)]
print("PNG, Orientation 6: IMREAD_GRAYSCALE", shapes[0], "IMREAD_UNCHANGED", shapes[1])
sys.exit(not (as_before and shapes == [(8, 6), (6, 8)]))
PYTHON
