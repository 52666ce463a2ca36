#!/usr/bin/env bash
# SimpleITK 2.5.7 (ITK 5.4): in a NIfTI file whose scl_slope is 0 the intercept is added all the same.
#
# Expected by most: NIfTI-1 says that a scl_slope of 0 means "no scaling": then scl_inter is ignored, too.
# Behaviour (stored values 0, 1, 2; scl_slope, scl_inter):
#   0, 0         nibabel  0 1 2              SimpleITK  0 1 2              8-bit unsigned integer
#   0, -1024     nibabel  0 1 2              SimpleITK  -1024 -1023 -1022  32-bit float
#   1, -1024     nibabel  -1024 -1023 -1022  SimpleITK  -1024 -1023 -1022  32-bit float
#   nan, -1024   nibabel  0 1 2              SimpleITK  -1024 -1023 -1022  32-bit float
#
# For a user: CT that one program reads in HU has its air at 0 or at -1024 in the other, and a mask of such a header is
# nonzero everywhere. Some writers leave an intercept behind and set the slope to 0. Clear both, or write 1 and 0.
# No report of it found.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check SimpleITK==2.5.7 nibabel==5.4.2 numpy==2.4.6
cd "$folder"
venv/bin/python - <<'PYTHON'
import struct
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK as sitk

nib.save(nib.Nifti1Image(np.arange(3, dtype=np.uint8).reshape(3, 1, 1), np.eye(4)), "plain.nii")
plain = Path("plain.nii").read_bytes()
found = {}
for slope, intercept in ((0, 0), (0, -1024), (1, -1024), (float("nan"), -1024)):
    Path("scaled.nii").write_bytes(plain[:112] + struct.pack("<ff", slope, intercept) + plain[120:])
    ours = nib.load("scaled.nii").get_fdata().ravel()
    image = sitk.ReadImage("scaled.nii")
    theirs = sitk.GetArrayFromImage(image).ravel()
    found[str(slope), intercept] = ours.astype(int).tolist(), theirs.astype(int).tolist()
    print(slope, intercept, "nibabel", *ours, "SimpleITK", *theirs, image.GetPixelIDTypeAsString())
plain, scaled = [0, 1, 2], [-1024, -1023, -1022]
as_before = found["0", 0] == (plain, plain) and found["1", -1024] == (scaled, scaled)
as_before &= found["0", -1024] == found["nan", -1024] == (plain, scaled)
sys.exit(not as_before)
PYTHON
