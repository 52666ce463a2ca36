#!/usr/bin/env bash
# supervision 0.31.2: the same region in a COCO file has more pixels as a polygon than as RLE, and more than pycocotools
# and the file's own "area" say.
#
# Expected by most: COCO's polygons run along pixel edges (0, 0 is the corner of the first pixel), so corners at columns
#   40 and 52 enclose columns 40 to 51, as in pycocotools, and as the RLE of the same annotation says.
# Behaviour (an L of 96 pixels, rows 10 to 25, columns 40 to 51; a square of one pixel):
#              L: pycocotools            L: supervision            one pixel
#   polygon    96 rows 10-25 cols 40-51  125 rows 10-26 cols 40-52  1 and 4
#   RLE        96 rows 10-25 cols 40-51   96 rows 10-25 cols 40-51  1 and 1
#   The polygon goes to OpenCV's fillPoly, which counts corners as pixel centres and draws the border too.
#
# For a user: a nodule of 10 pixels across gets a fifth more area, and one cohort with both kinds of annotation has two
# sizes of nodules. The same holds for any code with cv2.fillPoly or ImageDraw.polygon on such corners. Decode COCO with
# pycocotools (annToMask), and compare the count with "area". No report of it found.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check supervision==0.31.2 pycocotools==2.0.11 \
    pillow==12.1.0 numpy==2.2.6
cd "$folder"
venv/bin/python -W ignore - <<'PYTHON'
import json
import sys

import numpy as np
import pycocotools.mask
import supervision
from PIL import Image
from pycocotools.coco import COCO

Image.new("L", (64, 48)).convert("RGB").save("picture.png")
corners = {
    "L": [40, 10, 52, 10, 52, 14, 44, 14, 44, 26, 40, 26],
    "pixel": [20, 30, 21, 30, 21, 31, 20, 31],
}
masks = {name: np.zeros((48, 64), dtype=np.uint8, order="F") for name in corners}
masks["L"][10:14, 40:52] = masks["L"][10:26, 40:44] = 1
masks["pixel"][30, 20] = 1


def words(mask):
    (rows, columns) = np.nonzero(mask)
    return f"{len(rows)} rows {rows.min()}-{rows.max()} columns {columns.min()}-{columns.max()}"


counts = {}
for name, polygon in corners.items():
    code = pycocotools.mask.encode(masks[name])
    box, area = pycocotools.mask.toBbox(code).tolist(), int(pycocotools.mask.area(code))
    code["counts"] = code["counts"].decode()
    for kind, segmentation in (("polygon", [polygon]), ("RLE", code)):
        drawn = {"id": 1, "image_id": 1, "category_id": 1, "segmentation": segmentation, "area": area, "bbox": box}
        drawn["iscrowd"] = int(kind == "RLE")
        about = {"images": [{"id": 1, "file_name": "picture.png", "width": 64, "height": 48}], "annotations": [drawn]}
        about["categories"] = [{"id": 1, "name": "nodule"}]
        with open("coco.json", "w") as file:
            json.dump(about, file)
        coco = COCO("coco.json")
        theirs = coco.annToMask(coco.loadAnns([1])[0])
        (found,) = (d.mask[0] for *_, d in supervision.DetectionDataset.from_coco(".", "coco.json", force_masks=True))
        print(name, kind, "area", area, "; pycocotools", words(theirs), "; supervision", words(found))
        counts[name, kind] = int(theirs.sum()), int(found.sum())
expected = {("L", "polygon"): (96, 125), ("L", "RLE"): (96, 96), ("pixel", "polygon"): (1, 4), ("pixel", "RLE"): (1, 1)}
sys.exit(counts != expected)
PYTHON
