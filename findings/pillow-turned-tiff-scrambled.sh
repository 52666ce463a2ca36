#!/usr/bin/env bash
# Pillow 13.0.0 (11.3.0, 12.0.0 and 12.1.0 too; 10.4.0 not): an uncompressed grey TIFF whose tag says that it lies on its
# side (Orientation 5 to 8) opens as a scrambled picture of the wrong shape.
#
# Expected by most: Pillow turns a TIFF upright when it loads it, as it does for LZW, Deflate and RGB files, and as
#   OpenCV's imdecode does: a file of 6 rows and 8 columns with Orientation 6 becomes 8 rows and 6 columns.
# Behaviour (one picture, pixels 0 to 47 row by row; first row of what comes back):
#   L raw                 6 x 8   42 36 30 24 18 12 6 0
#   L tiff_lzw            8 x 6   40 32 24 16 8 0
#   I;16 raw              6 x 8   42 36 30 24 18 12 6 0
#   RGB raw               8 x 6   40 32 24 16 8 0
#   L raw, from memory    8 x 6   40 32 24 16 8 0
#   The raw grey file is cut into rows of 6 pixels instead of 8 before it is turned; no warning. It happens only where
#   Pillow maps the file into memory: one uncompressed strip of L or I;16, opened by its path. Since 11.0 the size is
#   exchanged on opening (pull request 8390), and the map is laid out by the exchanged size.
#
# For a user: shape and grey values look plausible, a mask falls apart into stripes. `Image.size` before loading is right,
# the array is not. Open such files from memory (Image.open(io.BytesIO(path.read_bytes()))) or with another reader.
# No report of it found; see github.com/python-pillow/Pillow/pull/8390.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pillow==13.0.0 numpy==2.4.6
cd "$folder"
venv/bin/python - <<'PYTHON'
import io
import sys
from pathlib import Path

import numpy as np
from PIL import Image

picture = np.arange(48, dtype=np.uint8).reshape(6, 8)
upright = np.rot90(picture, -1)
kinds = {"L": picture, "I;16": picture.astype(np.uint16), "RGB": np.dstack([picture] * 3)}
right = {}
for mode, compression, memory in (
    ("L", "raw", False),
    ("L", "tiff_lzw", False),
    ("I;16", "raw", False),
    ("RGB", "raw", False),
    ("L", "raw", True),
):
    turned = Image.Exif()
    turned[274] = 6  # Orientation: row 0 is the right side
    Image.fromarray(kinds[mode]).save("turned.tif", compression=compression, exif=turned)
    source = io.BytesIO(Path("turned.tif").read_bytes()) if memory else "turned.tif"
    pixels = np.asarray(Image.open(source))
    grey = pixels[:, :, 0] if pixels.ndim == 3 else pixels
    name = f"{mode} {compression}" + (", from memory" if memory else "")
    right[name] = np.array_equal(grey, upright)
    print(f"{name:20s} {grey.shape[0]} x {grey.shape[1]}  ", *grey[0])
sys.exit([name for name, good in right.items() if not good] != ["L raw", "I;16 raw"])
PYTHON
