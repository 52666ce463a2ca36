"""DGFNet predicts lymph-node metastasis of thyroid carcinoma from ultrasound and CT.

The names below are what other programs may build on (docs/reference/api.md); they are imported when they are
first used, so that a command which needs none of them starts at once. Modules behind them may change between
releases.
"""

from importlib import import_module
from typing import Any

_HOME = {
    # settings and messages
    "InputError": "errors",
    "Settings": "settings",
    "load_settings": "settings:load",
    # a cohort folder
    "Cohort": "cohort.records",
    "Nodule": "cohort.records",
    "Image": "cohort.records",
    "read_cohort": "cohort.manifest",
    # a champion and its answers
    "Champion": "registry.champion",
    "load_champion": "registry.champion",
    "predict_cohort": "predict:predict",
    "predict_case": "predict",
    # results of cross-validation
    "load_metrics": "results",
    "load_table": "results",
    # numbers
    "scores": "metrics.discrimination",
    "auc_interval": "metrics.intervals",
    "auc_difference": "metrics.intervals",
    "calibration_slope_intercept": "metrics.calibration",
    "net_benefit": "metrics.netbenefit",
}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    """Imports a public name when it is first used."""
    if name not in _HOME:
        raise AttributeError(f"module 'dgfnet' has no attribute {name!r}")
    module, _, attribute = _HOME[name].partition(":")
    return getattr(import_module(f"dgfnet.{module}"), attribute or name)


def __dir__() -> list[str]:
    """Lists the public names."""
    return __all__
