"""Results that the paper reports of its private cohort, shown beside ours."""

from __future__ import annotations

SIDES = {"us_size": 288, "ct_size": 96}  # of the networks' inputs, pixels
AUC = {  # the paper's tables 1, 2 and 3
    "central": {
        "us_tlr": 0.792,
        "us_resnet": 0.812,
        "us_multitask": 0.820,
        "ct_resnet": 0.759,
        "ct_multitask": 0.774,
        "concat": 0.853,
        "sum": 0.850,
        "product": 0.840,
        "dgf": 0.875,
    },
    "lateral": {
        "us_tlr": 0.754,
        "us_resnet": 0.725,
        "us_multitask": 0.785,
        "ct_resnet": 0.758,
        "ct_multitask": 0.778,
        "concat": 0.825,
        "sum": 0.854,
        "product": 0.835,
        "dgf": 0.859,
    },
}
TABLE_3 = {  # `dgf`, means over the folds; values in the order of metrics.discrimination.SCORES
    "central": (0.826, 0.875, 0.848, 0.803, 0.813, 0.830),
    "lateral": (0.838, 0.859, 0.862, 0.814, 0.835, 0.842),
}
TABLE_4 = {  # central site; values in the order of metrics.discrimination.SCORES
    "internal": (0.844, 0.898, 0.854, 0.833, 0.837, 0.845),
    "external": (0.817, 0.903, 0.909, 0.763, 0.690, 0.784),
}
