"""What cross-validation left: results per variant, read by every stage to the right."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd

from dgfnet.errors import InputError
from dgfnet.settings import VARIANTS, Settings, Site


def load_results(settings: Settings, site: Site) -> dict[str, dict[str, Any]]:
    """metrics.json of each cross-validated variant of a site; empty when there is none."""
    found = sorted(settings.artifacts("crossval", site).glob("*/metrics.json"))
    results = {path.parent.name: json.loads(path.read_text(encoding="utf-8")) for path in found}
    return {name: results[name] for name in VARIANTS if name in results}


def load_table(settings: Settings, site: Site, variant: str) -> pd.DataFrame:
    """The out-of-fold table of a variant, in the order of nodule ids."""
    path = settings.artifacts("crossval", site, variant, "out_of_fold.csv")
    table = pd.read_csv(path, dtype={"nodule_id": str, "patient_id": str})
    return table.sort_values("nodule_id", ignore_index=True)


def check_same(tables: dict[str, pd.DataFrame]) -> None:
    """Variants can be compared only on the same nodules.

    Raises:
        InputError: naming two variants that were validated on different ones.
    """
    for (first, a), (second, b) in zip(list(tables.items())[:-1], list(tables.items())[1:], strict=True):
        if list(a["nodule_id"]) != list(b["nodule_id"]):
            raise InputError(
                f"{first} and {second} were validated on different nodules; run the stage crossval again"
            )
