#!/usr/bin/env bash
# Nyxus 0.11.0: intensities are cut to whole numbers, and negative ones are moved up by the picture's minimum when they
# come from an array, or turned into about 4,294,967,000 when they come from a TIFF file.
#
# Expected by most: mean, minimum and maximum of a region are those of its pixels, from an array and from a file, for
#   floating-point pictures from 0 to 1 and for CT in HU.
# Behaviour (region of 20 x 28 pixels; mean, minimum, maximum):
#                                     of the pixels        from an array        from a TIFF file
#   0 to 255, 16-bit unsigned         132.4, 0, 255        132.4, 0, 255        132.4, 0, 255
#   the same over 255, 32-bit float   0.519, 0, 1          0.005, 0, 1          0.005, 0, 1
#   -100 to 155 HU, 16-bit signed     32.4, -100, 155      132.4, 0, 255        1572264846.1, 0, 4294967295
#   and air beside the region, -1024  32.4, -100, 155      1056.4, 924, 1179    1572264846.1, 0, 4294967295
#   dynamic_range, min_intensity and max_intensity, which are said to be for floating-point TIFF, change none of it.
#
# For a user: pictures scaled to 0..1, as they go into a network, are measured as all 0 but for the brightest pixels;
# the mean HU of a lesion depends on the darkest pixel anywhere in the crop; and the same CT gives other numbers from a
# folder than from memory. No warning. Scale to whole numbers (0 to 4095, say) from a fixed lowest value before, the
# same for all pictures, and take that value off again. No report of it found.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check nyxus==0.11.0 numpy==2.4.6 pandas==3.1.1 \
    tifffile==2026.3.3
cd "$folder"
mkdir pictures masks
venv/bin/python -W ignore - <<'PYTHON'
import sys

import numpy as np
import nyxus
import tifffile

NAMES = ["MEAN", "MIN", "MAX"]
picture = np.random.default_rng(0).integers(0, 256, (64, 64))
mask = np.zeros((64, 64), dtype=np.uint16)
mask[10:30, 12:40] = 1
tifffile.imwrite("masks/a.tif", mask)
beside = (picture - 100).astype(np.int16)
beside[0, 0] = -1024
cases = {
    "0 to 255": picture.astype(np.uint16),
    "0 to 1": (picture / 255).astype(np.float32),
    "HU": (picture - 100).astype(np.int16),
    "HU and air": beside,
}
scaling = {"dynamic_range": 10000, "min_intensity": 0.0, "max_intensity": 1.0}


def words(table):
    return [round(float(table.iloc[0][name]), 3) for name in NAMES]


found, scaled = {}, {}
for name, values in cases.items():
    inside = values[mask > 0].astype(float)
    tifffile.imwrite("pictures/a.tif", values)
    for results, options in ((found, {}), (scaled, scaling)):
        memory = words(nyxus.Nyxus(NAMES, **options).featurize(values, mask.astype(np.uint32)))
        results[name] = memory, words(nyxus.Nyxus(NAMES, **options).featurize_directory("pictures", "masks"))
    print(name, [round(float(one), 3) for one in (inside.mean(), inside.min(), inside.max())], *found[name])
plain, wrapped = [132.357, 0.0, 255.0], [1572264846.071, 0.0, 4294967295.0]
expected = {
    "0 to 255": (plain, plain),
    "0 to 1": ([0.005, 0.0, 1.0], [0.005, 0.0, 1.0]),
    "HU": (plain, wrapped),
    "HU and air": ([1056.357, 924.0, 1179.0], wrapped),
}
sys.exit(found != expected or scaled != expected)
PYTHON
