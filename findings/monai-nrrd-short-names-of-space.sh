#!/usr/bin/env bash
# MONAI 1.6.1 with pynrrd 1.1.3: an NRRD file that says "space: LPS" instead of "space: left-posterior-superior" is laid
# mirrored, left for right and front for back; one in left-anterior-superior is laid left for right, by either name.
#
# Expected by most: the format defines the short and the long name as the same, so both files show the same point of the
#   patient at the same place, as SimpleITK has it; a space that is not understood is refused.
# Behaviour (voxel (1, 2, 3) of 1 x 2 x 3 mm, origin (10, 20, 30), truly at (11, 24, 39) in the space the file names; its
# place by the affine matrix, in mm to the right, front and top):
#   space of the file         SimpleITK     MONAI
#   left-posterior-superior   -11 -24 39    -11 -24 39
#   LPS                       -11 -24 39     11  24 39
#   right-anterior-superior    11  24 39     11  24 39
#   RAS                        11  24 39     11  24 39
#   left-anterior-superior    -11  24 39     11  24 39
#   LAS                       -11  24 39     11  24 39
#   The reader changes signs for the one long name only and takes all else as it stands. LoadImage takes this reader for .nrrd
#   where pynrrd is installed.
#
# For a user: an image by its short name and a mask by its long one do not lie on each other, Orientation("RAS") turns the
# image away, and the two halves of a neck look alike enough that nobody sees it: a node of level II left is looked for on the
# right. pynrrd writes the name that a script gives it; SimpleITK writes the long one. Read with reader="ITKReader", or write
# the long name. No report of the short names found; the long one was mended after github.com/Project-MONAI/MONAI/issues/3356.
#
# DGFNET_FINDINGS_PYTHON may name a python that has torch 2.14.1 and SimpleITK 2.5.7; otherwise they are installed (some GB).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python=${DGFNET_FINDINGS_PYTHON:-}
if [ -z "$python" ]; then
    python3 -m venv "$folder/venv"
    python=$folder/venv/bin/python
    "$python" -m pip install --quiet --disable-pip-version-check monai==1.6.1 pynrrd==1.1.3 torch==2.14.1 numpy==2.4.6 \
        simpleitk==2.5.7
else
    "$python" -m pip install --quiet --disable-pip-version-check --no-deps --target "$folder/packages" monai==1.6.1 pynrrd==1.1.3
    export PYTHONPATH=$folder/packages
fi
cd "$folder"
"$python" -W ignore - <<'PYTHON'
import sys

import nrrd
import numpy as np
import SimpleITK
from monai.transforms import LoadImage

RAS, LPS, LAS = (11.0, 24.0, 39.0), (-11.0, -24.0, 39.0), (-11.0, 24.0, 39.0)
EXPECTED = {  # SimpleITK, MONAI
    "left-posterior-superior": (LPS, LPS),
    "LPS": (LPS, RAS),
    "right-anterior-superior": (RAS, RAS),
    "RAS": (RAS, RAS),
    "left-anterior-superior": (LAS, RAS),
    "LAS": (LAS, RAS),
}
voxels = np.zeros((8, 6, 4), dtype=np.int16)
voxels[1, 2, 3] = 7
as_before = True
for space, expected in EXPECTED.items():
    header = {"space": space, "space directions": np.diag([1.0, 2.0, 3.0]), "space origin": [10.0, 20.0, 30.0]}
    nrrd.write("image.nrrd", voxels, header | {"kinds": ["domain"] * 3})
    image = SimpleITK.ReadImage("image.nrrd")
    index = [int(one) for one in np.argwhere(SimpleITK.GetArrayFromImage(image).T == 7)[0]]
    x, y, z = image.TransformIndexToPhysicalPoint(index)  # to the left and the back
    by_itk = (-x, -y, z)
    loaded = LoadImage(image_only=True)("image.nrrd")
    place = np.asarray(loaded.affine) @ [*np.argwhere(np.asarray(loaded) == 7)[0], 1]
    by_monai = tuple(float(one) for one in place[:3])
    print(f"{space}: SimpleITK {by_itk}, MONAI {by_monai}")
    as_before &= np.allclose([by_itk, by_monai], expected)
sys.exit(not as_before)
PYTHON
