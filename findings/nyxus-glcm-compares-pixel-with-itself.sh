#!/usr/bin/env bash
# Nyxus 0.11.0: all GLCM features are of the distance 0: a pixel is compared with itself, so that contrast is 0 and
# correlation 1 on every picture, also with ibsi=True; with the distance set to 1 they are IBSI's.
#
# Expected by most: featurize() of random noise gives a contrast above 0 that differs with direction; with ibsi=True the
#   digital phantom of the IBSI manual (2-D, by slice, averaged over directions) gives contrast 5.28, correlation -0.0121,
#   inverse difference moment 0.619, joint entropy 2.05.
# Behaviour (noise of 8 grey levels, 64 x 64; then the phantom with its mask):
#   noise                          contrast 0.0 0.0 0.0 0.0  correlation 1.0 1.0 1.0 1.0   (0, 45, 90, 135 degrees)
#   phantom, ibsi=True             contrast 0.0  correlation 1.0  IDM 1.0  joint entropy 1.136
#   phantom, and "glcm/offset=1"   contrast 5.278  correlation -0.012  IDM 0.619  joint entropy 2.048
#   The default of glcm/offset is 0; none of the constructor's arguments reaches it.
#
# For a user: a third of the texture features of every cohort are constants or copies of the histogram, without a
# warning: a model that is trained on them is not wrong, only blind. Set set_metaparam("glcm/offset=1"), and compare a
# phantom of known values before features are published as IBSI's.
# Mended upstream after this release: github.com/PolusAI/nyxus/pull/356.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check nyxus==0.11.0 numpy==2.4.6 pandas==3.1.1
cd "$folder"
venv/bin/python -W ignore - <<'PYTHON'
import sys

import nyxus
import numpy as np

ANGLES = (0, 45, 90, 135)
phantom = np.array(
    [
        [[1, 4, 4, 1, 1], [1, 4, 6, 1, 1], [4, 1, 6, 4, 1], [4, 4, 6, 4, 1]],
        [[1, 4, 4, 1, 1], [1, 1, 6, 1, 1], [1, 1, 3, 1, 1], [4, 4, 6, 1, 1]],
        [[1, 4, 4, 1, 1], [1, 1, 1, 1, 1], [1, 1, 9, 1, 1], [1, 1, 6, 1, 1]],
        [[1, 4, 4, 1, 1], [1, 1, 1, 1, 1], [1, 1, 1, 1, 1], [1, 1, 6, 1, 1]],
    ],
    dtype=np.uint32,
)
inside = np.ones_like(phantom)
inside[1, 2, 0] = inside[2, 2, 2] = 0
inside[2:, 0, 3:] = 0


def row(picture, mask, features, offset=None, **options):
    reader = nyxus.Nyxus(features, **options)
    if offset is not None:
        reader.set_metaparam(f"glcm/offset={offset}")
    return reader.featurize(picture, mask).iloc[0]


noise = np.random.default_rng(0).integers(1, 9, (64, 64)).astype(np.uint32)
found = row(noise, np.ones_like(noise), ["GLCM_CONTRAST", "GLCM_CORRELATION"])
contrast = [float(found[f"GLCM_CONTRAST_{angle}"]) for angle in ANGLES]
correlation = [float(found[f"GLCM_CORRELATION_{angle}"]) for angle in ANGLES]
print("noise                          contrast", *contrast, " correlation", *correlation)
as_before = contrast == [0.0] * 4 and correlation == [1.0] * 4
names = ["GLCM_CONTRAST_AVE", "GLCM_CORRELATION_AVE", "GLCM_IDM_AVE", "GLCM_JE_AVE"]
for offset, expected in ((None, [0.0, 1.0, 1.0, 1.136]), (1, [5.278, -0.012, 0.619, 2.048])):
    rows = [row(a, b, names, offset, ibsi=True) for a, b in zip(phantom, inside, strict=True)]
    means = [round(float(np.mean([found[name] for found in rows])), 3) for name in names]
    print("phantom, offset", offset, dict(zip(names, means, strict=True)))
    as_before &= means == expected
sys.exit(not as_before)
PYTHON
