#!/usr/bin/env bash
# scikit-image 0.26.0: imread() of a TIFF with 3 or 4 pages gives the pages as the last axis, with any other number as the
# first; and tifffile 2026.3.3 writes a stack of 3 or 4 slices as one colour picture.
#
# Expected by most: n pages of 6 x 8 pixels are an array (n, 6, 8) whatever n is, and n slices make n pages.
# Behaviour (n slices of 6 x 8 pixels):
#   n   written by Pillow: skimage  tifffile   written by tifffile: pages and mode for Pillow
#   2                    (2, 6, 8)  (2, 6, 8)                       2 L
#   3                    (6, 8, 3)  (3, 6, 8)                       1 RGB
#   4                    (6, 8, 4)  (4, 6, 8)                       1 RGBA
#   5                    (5, 6, 8)  (5, 6, 8)                       5 L
#   imread takes three or four grey pages for colour channels, also where the file says MINISBLACK.
#
# For a user: stack[k] of the few short volumes with 3 or 4 slices is a column of pixels, and `for page in stack` runs
# over rows; as a colour picture, the masks of three slices become the hues of one. Read with tifffile.imread(), write
# with photometric="minisblack", check the shape against the number of pages.
# Reported upstream: github.com/scikit-image/scikit-image/issues/5242; see also github.com/cgohlke/tifffile/issues/196.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check scikit-image==0.26.0 tifffile==2026.3.3 \
    imageio==2.38.1 pillow==13.0.0 numpy==2.4.6
cd "$folder"
venv/bin/python -W ignore - <<'PYTHON'
import sys

import numpy as np
import skimage.io
import tifffile
from PIL import Image

as_before = True
for count in (2, 3, 4, 5):
    stack = np.zeros((count, 6, 8), dtype=np.uint8)
    pages = [Image.fromarray(page) for page in stack]
    pages[0].save("pages.tif", save_all=True, append_images=pages[1:])
    tifffile.imwrite("stack.tif", stack)
    read, plain = skimage.io.imread("pages.tif").shape, tifffile.imread("pages.tif").shape
    other = Image.open("stack.tif")
    print(count, "skimage", read, "tifffile", plain, "written by tifffile:", other.n_frames, other.mode)
    as_before &= plain == (count, 6, 8)
    as_before &= read == ((6, 8, count) if count in (3, 4) else (count, 6, 8))
    as_before &= (other.n_frames, other.mode) == {3: (1, "RGB"), 4: (1, "RGBA")}.get(count, (count, "L"))
sys.exit(not as_before)
PYTHON
