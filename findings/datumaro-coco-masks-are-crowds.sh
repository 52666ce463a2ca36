#!/usr/bin/env bash
# datumaro 1.13.12: masks exported as COCO are all marked iscrowd=1, which is what an evaluation leaves out: a model that finds
# every nodule exactly has an average precision of -1. With is_crowd=False they become polygons: filled, and a row
# and a column smaller.
#
# Expected by most: a mask of one nodule is one object: RLE with iscrowd 0, which pycocotools, detectron2 and others read;
#   iscrowd=1 says "too many to draw singly". segmentation_mode="mask" with is_crowd=False keeps the mask.
# Behaviour (a ring of 336 pixels, 20 across with a hole of 8; a square of 10 x 10; detections equal to the masks):
#   attribute        segmentation_mode   iscrowd   pixels read by pycocotools   AP, recall of COCOeval
#   none             guess (default)     1         336 100                      -1    -1
#   is_crowd=False   guess (default)     0         361  81                      0.55  0.6
#   is_crowd=False   mask                1         336 100                      -1    -1
#   is_crowd=False   polygons            0         361  81                      0.55  0.6
#   iscrowd is set where the segmentation is RLE, and nowhere else. The polygons go through the centres of the border
#   pixels while COCO's run along pixel edges; a line one pixel wide leaves no polygon at all.
#
# For a user: training code that drops crowds (detectron2, torchvision's reference) sees pictures without nodules, and an
# evaluation has nothing to find; there is no setting that keeps both mask and object. Set iscrowd to 0 in the JSON
# after the export. CVAT exports the same way (reported as github.com/cvat-ai/cvat/issues/7030); no report for datumaro found.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check datumaro==1.13.12 pycocotools==2.0.11 numpy==2.4.6
cd "$folder"
venv/bin/python -W ignore - <<'PYTHON'
import contextlib
import io
import sys

import datumaro
import numpy as np
import pycocotools.mask
from datumaro.components.annotation import Mask
from datumaro.components.media import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

ring, square = np.zeros((2, 64, 64), dtype=np.uint8)
ring[10:30, 10:30] = 1
ring[16:24, 16:24] = 0
square[45:55, 40:50] = 1


def detections():
    runs = [pycocotools.mask.encode(np.asfortranarray(mask)) for mask in (ring, square)]
    return [{"image_id": 1, "category_id": 1, "segmentation": one, "score": 0.9} for one in runs]


def exported(attributes, mode):
    masks = [Mask(mask, label=0, id=i, group=i, attributes=attributes) for i, mask in enumerate((ring, square), start=1)]
    picture = Image.from_numpy(np.zeros((64, 64, 3), dtype=np.uint8))
    item = datumaro.DatasetItem(id="picture", subset="default", media=picture, annotations=masks)
    datumaro.Dataset.from_iterable([item], categories=["nodule"]).export(mode, "coco_instances", segmentation_mode=mode)
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(f"{mode}/annotations/instances_default.json")
        evaluation = COCOeval(truth, truth.loadRes(detections()), "segm")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    found = truth.loadAnns(truth.getAnnIds())
    crowd = sorted({one["iscrowd"] for one in found})
    return crowd, [int(truth.annToMask(one).sum()) for one in found], round(float(evaluation.stats[0]), 2)


as_before = True
for attributes, mode, expected in (
    ({}, "guess", ([1], [336, 100], -1)),
    ({"is_crowd": False}, "guess", ([0], [361, 81], 0.55)),
    ({"is_crowd": False}, "mask", ([1], [336, 100], -1)),
    ({"is_crowd": False}, "polygons", ([0], [361, 81], 0.55)),
):
    seen = exported(attributes, mode)
    print(attributes, mode, "iscrowd", *seen[0], "pixels", *seen[1], "average precision", seen[2])
    as_before &= seen == expected
sys.exit(not as_before)
PYTHON
