#!/usr/bin/env bash
# nibabel 5.4.2: labels held as floating-point numbers, saved under the header of an integer image, come back as numbers
# near them: label 1 as 0.988, and cast to an integer that is 0, the background.
#
# Expected by most: the values 0, 1, 2, 7 fit into uint8 and int16 and are stored as such, with scale 1.
# Behaviour (get_fdata() and its cast to uint8; the header came from a file of that type):
#   header    values that come back              astype(uint8)
#   uint8     0 0.9882353 2.0039216 7.0000001    0 0 2 7
#   int16     0 0.99998474 1.9999695 7           0 0 1 6
#   float64   0 1 2 7                            0 1 2 7
#   Floating-point data are spread over the whole range of the integer type, whatever they are, and scl_slope undoes
#   that as well as its 32 bits can; `labels == 1` finds nothing. (The 7 of int16 is 6.9999999983...) Other readers
#   apply the same scale and get the same numbers.
#
# For a user: get_fdata() gives float64, a new image is made with the old header (both as in the manual), and a class
# vanishes without a message. Cast the array to an integer type before Nifti1Image(), and round what is read.
# Reported upstream: github.com/nipy/nibabel/issues/1001, 1069 and 1344.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check nibabel==5.4.2 numpy==2.4.6
cd "$folder"
venv/bin/python - <<'PYTHON'
import sys

import nibabel as nib
import numpy as np

labels = np.array([0, 1, 2, 7])
casts = {}
for kind in (np.uint8, np.int16, np.float64):
    nib.save(nib.Nifti1Image(labels.astype(kind).reshape(4, 1, 1), np.eye(4)), "labels.nii")
    image = nib.load("labels.nii")
    nib.save(nib.Nifti1Image(image.get_fdata(), image.affine, image.header), "again.nii")
    values = nib.load("again.nii").get_fdata().ravel()
    casts[np.dtype(kind).name] = values.astype(np.uint8).tolist()
    print(f"{np.dtype(kind).name:9s}", *(f"{value:.8g}" for value in values), " cast:", *values.astype(np.uint8))
sys.exit(casts != {"uint8": [0, 0, 2, 7], "int16": [0, 0, 1, 6], "float64": [0, 1, 2, 7]})
PYTHON
