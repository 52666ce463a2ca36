#!/usr/bin/env bash
# nibabel 5.4.2: as_closest_canonical() raises for a NIfTI of two dimensions, as ITK writes every single slice.
#
# Expected by most: a 2-D image is turned in its plane like a volume of one slice; load() and get_fdata() take it.
# Behaviour (a slice of 64 x 48 pixels written by SimpleITK 2.5.7; dim is 2 64 48 1 ..., pixdim[3] is 1):
#   2-D    shape (64, 48)      OrientationError: Data array has fewer dimensions than orientation
#   3-D    shape (64, 48, 1)   turned to right-anterior-superior
#   ITK also loses where the slice lies: the third number of the origin is 0, whatever slice it was cut from.
#
# For a user: image[:, :, 3] in SimpleITK writes the 2-D form, image[:, :, 3:4] the 3-D one; half of a cohort fails in
# whatever starts with as_closest_canonical. Give the array a third axis (image.dataobj[..., None]) before turning it,
# and do not trust the affine's third row. No report of it found.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check nibabel==5.4.2 SimpleITK==2.5.7 numpy==2.4.6
cd "$folder"
venv/bin/python -W ignore - <<'PYTHON'
import sys

import nibabel as nib
import SimpleITK as sitk
from nibabel.orientations import OrientationError

volume = sitk.Image(64, 48, 5, sitk.sitkUInt8)
volume.SetOrigin((-20, -30, 100))
volume.SetSpacing((0.5, 0.5, 2))
found = {}
for name, piece in (("2-D", volume[:, :, 3]), ("3-D", volume[:, :, 3:4])):
    sitk.WriteImage(piece, f"{name}.nii")
    image = nib.load(f"{name}.nii")
    try:
        said = "".join(nib.aff2axcodes(nib.as_closest_canonical(image).affine))
    except OrientationError as error:
        said = str(error)
    found[name] = image.shape, said, float(image.affine[2, 3])
    print(name, *found[name])
expected = {
    "2-D": ((64, 48), "Data array has fewer dimensions than orientation", 0.0),
    "3-D": ((64, 48, 1), "RAS", 106.0),
}
sys.exit(found != expected)
PYTHON
