#!/usr/bin/env bash
# SimpleITK 2.5.7 (ITK 5.4) and nibabel 5.4.2 take different transforms from one NIfTI file: nibabel the sform whenever it
# has a code, ITK the sform only where its code is 1 (scanner) or no qform is there.
#
# Expected by most: both readers put a voxel at the same place, or one of them complains.
# Behaviour (qform: identity, origin 0; sform: turned by 180 degrees about z; place of voxel 0 and direction of its axis,
#   in nibabel's right-anterior-superior):
#   sform_code  qform_code    nibabel               SimpleITK
#   1 scanner   1 scanner     31 23 0  -1 0 0       31 23 0  -1 0 0
#   2 aligned   1 scanner     31 23 0  -1 0 0       0 0 0   1 0 0
#   3 Talairach 1 scanner     31 23 0  -1 0 0       0 0 0   1 0 0
#   4 MNI       1 scanner     31 23 0  -1 0 0       0 0 0   1 0 0
#   2 aligned   0 unknown     31 23 0  -1 0 0       31 23 0  -1 0 0
#   0 unknown   0 unknown     15.5 -11.5 -2 -1 0 0  0 0 0  -1 0 0  (the second axis points the other way in SimpleITK)
#   The last row: nibabel centres the volume and flips its first axis (Analyze), ITK starts at 0 in left-posterior.
#
# For a user: an image registered to another (code 2, which nibabel's set_sform() gives by default) lies elsewhere
# for MONAI's default reader than for torchio or SimpleITK; a mask made with one tool is turned or shifted in the other.
# Compare both transforms; where they differ, know which one the mask's tool took, or write one affine into both.
# On the choice: github.com/InsightSoftwareConsortium/ITK/pull/1868.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check SimpleITK==2.5.7 nibabel==5.4.2 numpy==2.4.6
cd "$folder"
venv/bin/python - <<'PYTHON'
import sys

import nibabel as nib
import numpy as np
import SimpleITK as sitk

turned = np.diag([-1.0, -1, 1, 1])
turned[:3, 3] = 31, 23, 0
voxels = np.zeros((32, 24, 5), dtype=np.uint8)


def itk_affine(path):
    image = sitk.ReadImage(path)
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return np.diag([-1.0, -1, 1, 1]) @ affine  # left-posterior to right-anterior


same = {}
for sform, qform in ((1, 1), (2, 1), (3, 1), (4, 1), (2, 0), (0, 0)):
    image = nib.Nifti1Image(voxels, None)
    image.set_sform(turned if sform else None, sform)
    image.set_qform(np.eye(4) if qform else None, qform)
    nib.save(image, "volume.nii")
    ours, theirs = nib.load("volume.nii").affine, itk_affine("volume.nii")
    same[sform, qform] = bool(np.allclose(ours, theirs))
    print(sform, qform, "nibabel", ours[:3, 3] + 0, ours[:3, 0] + 0, "SimpleITK", theirs[:3, 3] + 0, theirs[:3, 0] + 0)
sys.exit([codes for codes, equal in same.items() if equal] != [(1, 1), (2, 0)])
PYTHON
