#!/usr/bin/env bash
# panoptica 2.1.7: with voxelspacing the distances of single lesions are in millimetres, those of the whole mask
# (global_metrics) stay in voxels; both stand side by side in one result, without a word.
#
# Expected by most: evaluate(prediction, reference, voxelspacing=...) measures both with the same ruler: with one lesion
#   the distances of the lesion and of the whole mask are the same.
# Behaviour (one lesion of 10 x 10 x 8 voxels, predicted two slices too high; by hand, lesion, whole mask):
#   voxelspacing     Hausdorff              average surface distance   voxels of the lesion and its volume; global "volume"
#   1, 1, 1           2     2     2         0.808  0.808  0.808         800   800   800
#   0.5, 0.5, 3       6     6     2         1.846  1.846  0.808         800   600   800
#   1, 1, 5          10    10     2         3.125  3.125  0.808         800  4000   800
#   HD95 and NSD are the same way: global_bin_nsd compares voxels with a tolerance of half a voxel, sq_nsd millimetres
#   with the smallest spacing as tolerance. global_bin_volume_ref is a count, instance_volume_ref mm3.
#
# For a user: CT with slices of 3 mm gets Hausdorff distances three times too small, those of pictures of 0.1 mm ten times too
# large, under a name that only says "global". Resample both masks to 1 mm before, or take the distances of lesions
# (sq_hd, sq_assd). No report of it found.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check panoptica==2.1.7 numpy==2.2.6 scipy==1.17.1
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import sys

import numpy as np
import panoptica
from panoptica.metrics import Metric
from scipy import ndimage

truth = np.zeros((40, 40, 20), dtype=np.uint8)
truth[10:20, 10:20, 4:12] = 1
found = np.roll(truth, 2, axis=2)


def by_hand(spacing):
    borders = [mask & ~ndimage.binary_erosion(mask) for mask in (found == 1, truth == 1)]
    away = [ndimage.distance_transform_edt(~border, sampling=spacing) for border in borders]
    there, back = away[1][borders[0]], away[0][borders[1]]
    return max(there.max(), back.max()), (there.mean() + back.mean()) / 2


as_before = True
for spacing, volume in (((1.0, 1.0, 1.0), 800), ((0.5, 0.5, 3.0), 600), ((1.0, 1.0, 5.0), 4000)):
    evaluator = panoptica.Panoptica_Evaluator(
        expected_input=panoptica.InputType.SEMANTIC,
        instance_approximator=panoptica.ConnectedComponentsInstanceApproximator(),
        instance_matcher=panoptica.NaiveThresholdMatching(),
        instance_metrics=[Metric.DSC, Metric.IOU, Metric.HD, Metric.ASSD],
        global_metrics=[Metric.DSC, Metric.HD, Metric.ASSD],
        verbose=False,
        log_times=False,
    )
    (result,) = evaluator.evaluate(found, truth, voxelspacing=spacing, verbose=False).values()
    values = result.to_dict()
    hausdorff, average = by_hand(spacing)
    print(
        f"spacing {spacing}: Hausdorff {hausdorff:g} by hand, {values['sq_hd']:g} of the lesion, "
        f"{values['global_bin_hd']:g} global; average {average:.3f}, {values['sq_assd']:.3f}, "
        f"{values['global_bin_assd']:.3f}; lesion of {values['instance_voxel_count_ref']:g} voxels, "
        f"{values['instance_volume_ref']:g} mm3, global volume {values['global_bin_volume_ref']:g}"
    )
    as_before &= np.allclose([values["sq_hd"], values["sq_assd"]], [hausdorff, average])
    as_before &= np.allclose([values["global_bin_hd"], values["global_bin_assd"]], by_hand((1.0, 1.0, 1.0)))
    as_before &= values["instance_volume_ref"] == volume and values["global_bin_volume_ref"] == 800
sys.exit(not as_before)
PYTHON
