#!/usr/bin/env bash
# pyradiomics 3.0.1: a mask without a pixel of background is refused as empty, and force2D on a two-dimensional picture
# leaves one direction of four.
#
# Expected by most: a picture cropped to a rectangular region, with a mask of ones, is measured; force2D=True on a picture
#   that has two dimensions changes nothing.
# Behaviour (4 x 5 pixels, the first slice of the IBSI digital phantom, all inside its mask; bin width 1):
#   mask of ones: ValueError: No labels found in this mask (i.e. nothing is segmented)!
#   the same with one ring of zeros around: GLCM contrast 6.438; with force2D=True 7.5
#   7.5 is the contrast of horizontal neighbours alone: force2Ddimension is 0 by default, which is the rows of a
#   two-dimensional picture (and the slices of a volume), and directions with a step along it are left out.
#
# For a user: crops and phantoms fail with a message that says the opposite of what they are; with force2D "because it is
# 2-D" every texture feature is of one direction, so that it changes when the picture is turned, without a warning. Pad by
# a pixel; leave force2D off for pictures, or make them volumes of one slice.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check numpy==2.4.6 setuptools==80.9.0 wheel==0.45.1 \
    simpleitk==2.5.3 versioneer==0.29
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-build-isolation pyradiomics==3.0.1
cd "$folder"
venv/bin/python -W ignore - <<'PYTHON'
import logging
import sys

import numpy as np
import radiomics
import SimpleITK
from radiomics.featureextractor import RadiomicsFeatureExtractor

radiomics.logger.setLevel(logging.ERROR)
picture = np.array([[1, 4, 4, 1, 1], [1, 4, 6, 1, 1], [4, 1, 6, 4, 1], [4, 4, 6, 4, 1]], dtype=np.int16)
mask = np.ones_like(picture)


def contrast(picture, mask, **options):
    reader = RadiomicsFeatureExtractor(binWidth=1, **options)
    reader.disableAllFeatures()
    reader.enableFeatureClassByName("glcm")
    pair = (SimpleITK.GetImageFromArray(array) for array in (picture, mask))
    return round(float(reader.execute(*pair)["original_glcm_Contrast"]), 3)


def by_hand(picture, steps):
    """Contrast of a direction: the mean squared difference of neighbours; averaged over the directions."""
    means = []
    for down, right in steps:
        rows, columns = picture.shape
        left = max(0, -right)
        one = picture[: rows - down, left : columns - max(0, right)]
        other = picture[down:, left + right : columns + min(0, right)]
        means.append(np.mean((one.astype(float) - other) ** 2))
    return round(float(np.mean(means)), 3)


try:
    said = str(contrast(picture, mask))
except ValueError as error:
    said = str(error)
print("mask of ones:", said)
padded = [np.pad(array, 1) for array in (picture, mask)]
plain, forced = contrast(*padded), contrast(*padded, force2D=True)
print("padded: contrast", plain, "with force2D", forced)
four, one = by_hand(picture, [(0, 1), (1, 1), (1, 0), (1, -1)]), by_hand(picture, [(0, 1)])
print("by hand: four directions", four, "horizontal alone", one)
sys.exit(not (said.startswith("No labels found") and plain == four and forced == one and one != four))
PYTHON
