#!/usr/bin/env bash
# imagehash 4.3.2 with Pillow 13.0.0: pictures of more than 8 bits (12 or 16 bits, 32-bit integers, floating point) all
# get one and the same hash, whatever they show, if their values lie above 255 or from 0 to 1; there is no warning.
#
# Expected by most: a perceptual hash depends on what the picture shows, not on the type its grey values are stored in.
# Behaviour (20 different smooth random pictures, values 300 to 4000; "air": the same pictures with 0 outside of a disc;
# number of different hashes, and the phash of the first picture):
#   values                mode   phash   average_hash   dhash   whash   first phash
#   16-bit integers       I;16   1       1              1       1       8000000000000000
#   32-bit integers       I      1       1              1       1       8000000000000000
#   float                 F      1       1              1       1       8000000000000000
#   float, 0 to 1         F      1       1              1       7       0000000000000000
#   16-bit, air           I;16   1       1              1       1       80002a0020002000
#   8 bits, scaled        L      20      20             20      20      b4dbcc9853dcac21
#   8 bits, scaled, air   L      20      14             20      1       90c96f3871e63563
#   The hashes call convert("L") first, which clips values to 0 to 255 and drops fractions. What is left is white,
#   black, or the outline of the body in air; that outline is most of what average_hash and whash see at 8 bits too.
#
# For a user: of radiographs, mammograms or CT slices that are kept as 16-bit PNG or TIFF, or come from an array, each
# is a duplicate of every other at distance 0; a search for copies of training cases in the test data drops all but one,
# or seems useless and is switched off. Scale to 8 bits by a fixed window first, take phash or dhash, and check that two
# different pictures have two hashes. The clipping is known of Pillow: github.com/python-pillow/Pillow/issues/3011
# (closed). No report of it for imagehash found.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check imagehash==4.3.2 pillow==13.0.0 numpy==2.4.6 \
    scipy==1.17.1 PyWavelets==1.9.0
"$folder/venv/bin/python" - <<'PYTHON'
import sys
import warnings

import imagehash
import numpy as np
from PIL import Image

warnings.simplefilter("error")
HASHES = (imagehash.phash, imagehash.average_hash, imagehash.dhash, imagehash.whash)
rows, columns = np.mgrid[:128, :128] - 63.5
BODY = np.hypot(rows, columns) < 50


def picture(seed):
    """Returns a smooth random picture with values from 300 to 4000."""
    coarse = np.random.RandomState(seed).randn(6, 6).astype(np.float32)
    smooth = np.asarray(Image.fromarray(coarse).resize((128, 128), Image.Resampling.BICUBIC), dtype=float)
    return 300 + 3700 * (smooth - smooth.min()) / (smooth.max() - smooth.min())


CASES = {  # name: array of the picture, its mode, numbers of different hashes and the first phash
    "16-bit integers": (lambda values: values.astype(np.uint16), "I;16", (1, 1, 1, 1), "8000000000000000"),
    "32-bit integers": (lambda values: values.astype(np.int32), "I", (1, 1, 1, 1), "8000000000000000"),
    "float": (lambda values: values.astype(np.float32), "F", (1, 1, 1, 1), "8000000000000000"),
    "float, 0 to 1": (lambda values: (values / 4000).astype(np.float32), "F", (1, 1, 1, 7), "0000000000000000"),
    "16-bit, air": (lambda values: (values * BODY).astype(np.uint16), "I;16", (1, 1, 1, 1), "80002a0020002000"),
    "8 bits, scaled": (
        lambda values: (values / 4000 * 255).astype(np.uint8), "L", (20, 20, 20, 20), "b4dbcc9853dcac21",
    ),
    "8 bits, scaled, air": (
        lambda values: (values * BODY / 4000 * 255).astype(np.uint8), "L", (20, 14, 20, 1), "90c96f3871e63563",
    ),
}
wrong = []
for name, (convert, mode, numbers, first) in CASES.items():
    pictures = [Image.fromarray(convert(picture(seed))) for seed in range(20)]
    hashes = {function.__name__: [function(one) for one in pictures] for function in HASHES}
    different = {key: len({str(value) for value in values}) for key, values in hashes.items()}
    farthest = max(one - other for one in hashes["phash"] for other in hashes["phash"])
    seen = pictures[0].mode, tuple(different.values()), str(hashes["phash"][0])
    print(f"{name} ({seen[0]}): {different}, first phash {seen[2]}, largest distance of phash {farthest}")
    wrong.append(seen != (mode, numbers, first) or (different["phash"] == 1) != (farthest == 0))
sys.exit(any(wrong))
PYTHON
