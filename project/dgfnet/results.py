"""Paths of artifacts, their readers, and the messages when one is missing or out of date.

A stage writes into its own folder, `artifacts/<stage>`; whatever another stage reads of it is read here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from dgfnet.errors import InputError
from dgfnet.settings import Settings
from dgfnet.vocabulary import VARIANTS, Site

if TYPE_CHECKING:
    import pandas as pd

OUT_OF_FOLD = "out_of_fold.csv"
METRICS = "metrics.json"
IDS = {"nodule_id": str, "patient_id": str}


def required(settings: Settings, stage: str, name: str) -> Path:
    """Returns the path of a file that a stage writes.

    Raises:
        InputError: when the stage has not run.
    """
    path = settings.artifacts(stage, name)
    if not path.is_file():
        raise InputError(f"{path}: no such file; run the stage {stage} first")
    return path


def load_nodules(settings: Settings) -> pd.DataFrame:
    """Reads the screened nodules, one row each: ids, cohort, labels (NaN where unknown) and attributes.

    Raises:
        InputError: when the stage cohort has not run.
    """
    import pandas as pd

    return pd.read_parquet(required(settings, "cohort", "nodules.parquet"))


def load_images(settings: Settings) -> pd.DataFrame:
    """Reads the table of the screened images: nodule_id, modality, view, image, slice (-1 without one).

    Raises:
        InputError: when the stage cohort has not run.
    """
    import pandas as pd

    return pd.read_parquet(required(settings, "cohort", "images.parquet"))


def audit_findings(settings: Settings) -> list[str] | None:
    """Returns the findings of the audit that stop a model, or None when the cohort was not audited."""
    audit = read_json(settings.artifacts("audit", "audit.json"))
    return None if audit is None else list(audit["blocks"])


def load_chosen(settings: Settings) -> dict[str, dict[str, Any]]:
    """Reads what the stage tune chose, per site and variant; empty when nothing was searched."""
    path = settings.artifacts("tune", "chosen.yaml")
    return (yaml.safe_load(path.read_text(encoding="utf-8")) or {}) if path.is_file() else {}


def is_cross_validated(settings: Settings, site: Site, variant: str) -> bool:
    """Says that the stage crossval has left the out-of-fold table of a variant."""
    return settings.artifacts("crossval", site, variant, OUT_OF_FOLD).is_file()


def load_results(settings: Settings, site: Site) -> dict[str, dict[str, Any]]:
    """Reads metrics.json of each cross-validated variant of a site; empty when there is none."""
    paths = sorted(settings.artifacts("crossval", site).glob(f"*/{METRICS}"))
    results = {path.parent.name: json.loads(path.read_text(encoding="utf-8")) for path in paths}
    return {name: results[name] for name in VARIANTS if name in results}


def load_metrics(settings: Settings, site: Site, variant: str) -> dict[str, Any]:
    """Reads metrics.json of one variant.

    Raises:
        InputError: when it was not cross-validated at the site.
    """
    metrics = read_json(settings.artifacts("crossval", site, variant, METRICS))
    if metrics is None:
        raise InputError(f"{site} {variant} was not cross-validated; run the stage crossval")
    return metrics


def load_table(settings: Settings, site: Site, variant: str) -> pd.DataFrame:
    """Reads the out-of-fold table of a variant, in the order of nodule ids."""
    import pandas as pd

    table = pd.read_csv(settings.artifacts("crossval", site, variant, OUT_OF_FOLD), dtype=IDS)
    return table.sort_values("nodule_id", ignore_index=True)


def check_same(tables: dict[str, pd.DataFrame]) -> None:
    """Refuses to compare variants that were validated on different nodules.

    Raises:
        InputError: naming two variants that were validated on different ones.
    """
    for (first, a), (second, b) in zip(list(tables.items())[:-1], list(tables.items())[1:], strict=True):
        if list(a["nodule_id"]) != list(b["nodule_id"]):
            raise InputError(
                f"{first} and {second} were validated on different nodules; run the stage crossval again"
            )


def is_current(metrics: Mapping[str, Any], fold: int, key: str) -> bool:
    """Says that the fit of a fold in metrics.json is the one that settings, data and code ask for now."""
    return fold < len(metrics["folds"]) and bool(metrics["folds"][fold]["key"] == key)


def check_current(metrics: Mapping[str, Any], fold: int, key: str, name: str) -> None:
    """Refuses results of other settings, data or code.

    Raises:
        InputError: naming the fit.
    """
    if not is_current(metrics, fold, key):
        raise InputError(f"{name}: settings, data or code have changed since crossval; run it again")


def crossval_provenance(settings: Settings) -> dict[str, Any] | None:
    """Reads the provenance of the cross-validation, or returns None when it has not run."""
    return read_json(settings.artifacts("crossval", "provenance.json"))


def load_registered(settings: Settings, site: Site) -> dict[str, Any] | None:
    """Reads what the stage register decided about a site, or None when it has not run there."""
    return read_json(settings.artifacts("register", f"{site}.json"))


def load_external(settings: Settings, site: Site) -> dict[str, Any] | None:
    """Reads the metrics of the external validation of a site, or None without one."""
    return read_json(settings.artifacts("external", site, METRICS))


def load_skipped(settings: Settings, stage: str, site: Site) -> str | None:
    """Reads why a stage skipped a site, or None when it did not."""
    record = read_json(settings.artifacts(stage, site, "skipped.json"))
    return None if record is None else str(record["reason"])


def read_json(path: Path) -> dict[str, Any] | None:
    """Reads a JSON file, or returns None when there is none."""
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else None
