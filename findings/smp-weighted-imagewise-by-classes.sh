#!/usr/bin/env bash
# segmentation-models-pytorch 0.6.0: reduction="weighted-imagewise" divides by the number of classes once too often, in every
# metric: a perfect segmentation of three classes has an IoU, F1 and sensitivity of 0.33. With reduction="micro"
# zero_division has no effect.
#
# Expected by most: a weighted mean of numbers that are all 1 is 1, whatever the weights; with equal weights it is what
#   "macro-imagewise" gives, as "weighted" gives what "macro" does.
# Behaviour (IoU of a perfect segmentation of two images, equal weights, by number of classes):
#   reduction             2 classes  3 classes  5 classes
#   micro                     1.00       1.00       1.00
#   macro                     1.00       1.00       1.00
#   weighted                  1.00       1.00       1.00
#   micro-imagewise           1.00       1.00       1.00
#   macro-imagewise           1.00       1.00       1.00
#   weighted-imagewise        0.50       0.33       0.20
#   The weights are divided by their sum and then averaged instead of summed. The same mistake was removed from "weighted" in
#   2022 (github.com/qubvel-org/segmentation_models.pytorch/pull/659), but not from "weighted-imagewise".
#   IoU of two empty masks: micro, zero_division=1.0, nan; micro-imagewise, macro and macro-imagewise 1.0.
#
# For a user: the score can never pass 1 / classes; runs with it look poor, a threshold on it is never met, and two models with
# another number of classes cannot be compared. Multiply by the number of classes. No report of it found.
#
# DGFNET_FINDINGS_PYTHON may name a python that has torch 2.14.1 and torchvision 0.29.1; otherwise they are installed (some GB).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python=${DGFNET_FINDINGS_PYTHON:-}
if [ -z "$python" ]; then
    python3 -m venv "$folder/venv"
    python=$folder/venv/bin/python
    "$python" -m pip install --quiet --disable-pip-version-check segmentation-models-pytorch==0.6.0 timm==1.0.31 \
        torch==2.14.1 torchvision==0.29.1
else
    "$python" -m pip install --quiet --disable-pip-version-check --no-deps --target "$folder/packages" \
        segmentation-models-pytorch==0.6.0 timm==1.0.31 huggingface_hub==2.4.0 httpx2==2.16.2 httpcore2==2.16.2 \
        truststore==0.10.5
    export PYTHONPATH=$folder/packages
fi
"$python" -W ignore - <<'PYTHON'
import sys

import torch
from segmentation_models_pytorch import metrics

REDUCTIONS = ("micro", "macro", "weighted", "micro-imagewise", "macro-imagewise", "weighted-imagewise")
as_before = True
for classes in (2, 3, 5):
    truth = torch.arange(classes).repeat(8).reshape(2, 4, classes)
    counts = metrics.get_stats(truth, truth, mode="multiclass", num_classes=classes)
    for reduction in REDUCTIONS:
        weights = [1.0] * classes if reduction.startswith("weighted") else None
        values = [
            metric(*counts, reduction=reduction, class_weights=weights).item()
            for metric in (metrics.iou_score, metrics.f1_score, metrics.sensitivity)
        ]
        print(classes, "classes", reduction, *(f"{value:.2f}" for value in values))
        wanted = 1 / classes if reduction == "weighted-imagewise" else 1
        as_before &= all(abs(value - wanted) < 1e-5 for value in values)
empty = torch.zeros((2, 1, 4, 4), dtype=torch.long)
counts = metrics.get_stats(empty, empty, mode="binary")
for reduction in ("micro", "micro-imagewise", "macro", "macro-imagewise"):
    value = metrics.iou_score(*counts, reduction=reduction, zero_division=1.0).item()
    print("two empty masks, zero_division=1.0,", reduction, value)
    as_before &= value != value if reduction == "micro" else value == 1
sys.exit(not as_before)
PYTHON
