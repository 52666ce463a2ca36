#!/usr/bin/env bash
# tifffile 2026.3.3, imageio 2.38.1: a boolean mask saved as TIFF is read inverted by Pillow, OpenCV and whatever goes by
# the standard; only tifffile and what builds on it (imageio, scikit-image) gets it back as it was.
#
# Expected by most: True is white for every reader, as with Pillow's own 1-bit TIFF, and as with PNG.
# Behaviour (a mask of 3 pixels in 48; how many are nonzero for each reader):
#   written by     photometric  tifffile  imageio  scikit-image  Pillow  OpenCV
#   tifffile       MINISWHITE          3        3             3      45      45
#   imageio        MINISWHITE          3        3             3      45      45
#   Pillow         MINISBLACK          3        3             3       3       3
#   tifffile writes bool with PhotometricInterpretation 0 (zero is white) without inverting the bits, and does not invert
#   on reading. Files of other programs that say 0 (scans, fax) are the other way round in the two camps.
#
# For a user: a nodule becomes everything but the nodule, on the way from one Python library to another; nobody warns.
# Write astype(np.uint8) * 255, or photometric="minisblack", and refuse masks that cover more than half of a picture.
# See also github.com/scikit-image/scikit-image/issues/1940.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check tifffile==2026.3.3 imageio==2.38.1 \
    scikit-image==0.26.0 pillow==13.0.0 opencv-python-headless==5.0.0.93 numpy==2.4.6
cd "$folder"
venv/bin/python - <<'PYTHON'
import sys

import cv2
import imageio.v3 as imageio
import numpy as np
import skimage.io
import tifffile
from PIL import Image

mask = np.zeros((6, 8), dtype=bool)
mask[2, 3:6] = True
writers = {
    "tifffile": lambda path: tifffile.imwrite(path, mask),
    "imageio": lambda path: imageio.imwrite(path, mask),
    "Pillow": lambda path: Image.fromarray(mask).save(path),
}
readers = {
    "tifffile": tifffile.imread,
    "imageio": imageio.imread,
    "scikit-image": skimage.io.imread,
    "Pillow": lambda path: np.asarray(Image.open(path)),
    "OpenCV": lambda path: cv2.imread(path, cv2.IMREAD_UNCHANGED),
}
print("written by  photometric", *readers)
found = {}
for writer, write in writers.items():
    write("mask.tif")
    photometric = tifffile.TiffFile("mask.tif").pages[0].photometric.name
    found[writer] = [int(np.count_nonzero(read("mask.tif"))) for read in readers.values()]
    print(f"{writer:11s} {photometric} ", *found[writer])
sys.exit(found != {"tifffile": [3, 3, 3, 45, 45], "imageio": [3, 3, 3, 45, 45], "Pillow": [3] * 5})
PYTHON
