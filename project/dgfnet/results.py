"""Paths of artifacts, their readers, and the messages when one is missing or out of date.

A stage writes into its own folder, `artifacts/<stage>`; whatever another stage reads of it is read here, and
is believed only when it is what that stage wrote (`digests`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from dgfnet import digests
from dgfnet.digests import Damaged
from dgfnet.errors import InputError
from dgfnet.files import read_json, sha256
from dgfnet.provenance import CHAMPIONS
from dgfnet.settings import Settings
from dgfnet.vocabulary import TABULAR, VARIANTS, Modality, Site

if TYPE_CHECKING:
    import pandas as pd

OUT_OF_FOLD = "out_of_fold.csv"
METRICS = "metrics.json"
MODEL = "model.json"  # of a baseline or stack
ABLATION = "dgf-"  # a name follows: dgf with the settings that crossval.ablations has under it
MEASURED = "measured.parquet"  # of the stage preprocess
OUTLINES = "outline.csv"  # of the stage outline
SHOWN = ("summary.json", "checks.json", "contributions.png", "saliency.png", "checks.png")  # of attributions
IDS = {"nodule_id": str, "patient_id": str}


def required(settings: Settings, stage: str, *names: str) -> Path:
    """Returns the path of a file that a stage writes.

    Raises:
        InputError: when the stage has not run, or the file is not what it wrote.
    """
    path = existing(settings, stage, *names)
    if path is None:
        raise InputError(f"{settings.artifacts(stage, *names)}: no such file; run the stage {stage} first")
    return path


def existing(settings: Settings, stage: str, *names: str) -> Path | None:
    """Returns the path of a file that a stage writes, or None when there is none.

    Raises:
        InputError: when it is not the file that the stage wrote.
    """
    path = settings.artifacts(stage, *names)
    if not path.is_file():
        return None
    try:
        digests.check(path)
    except Damaged as error:
        raise _again(error, stage) from None
    return path


def checked_folder(settings: Settings, stage: str, thorough: bool = False) -> Path:
    """Returns the folder of a stage, whose files are those that it wrote.

    Args:
        settings: of the run.
        stage: that wrote it.
        thorough: large files are read too although nothing says that they changed; where something is
            decided by them.

    Raises:
        InputError: when the stage has not run, or a file is not what it wrote.
    """
    folder = settings.artifacts(stage)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; run the stage {stage} first")
    try:
        digests.check_folder(folder, thorough)
    except Damaged as error:
        raise _again(error, stage) from None
    return folder


def sources(settings: Settings, *paths: Path) -> dict[str, str]:
    """Returns the sha256 of artifacts by their path, as `digests.keep` keeps those a result is made from."""
    top = settings.artifacts()
    return {path.relative_to(top).as_posix(): sha256(path) for path in paths}


def tables_of(settings: Settings, site: Site, variants: Iterable[str]) -> dict[str, str]:
    """Returns `sources` for results made from the out-of-fold tables of variants."""
    return sources(settings, *(settings.artifacts("crossval", site, name, OUT_OF_FOLD) for name in variants))


def check_sources(settings: Settings, stage: str, *names: str) -> None:
    """Refuses results of a stage whose sources have changed since it ran; does nothing when there are none.

    Args:
        settings: of the run.
        stage: that made the results.
        names: of their folder below that of the stage.

    Raises:
        InputError: naming the source.
    """
    folder = settings.artifacts(stage, *names)
    if not (folder / digests.NAME).is_file():
        return
    try:
        made_from = digests.read(folder)["made_from"]
    except Damaged as error:
        raise _again(error, stage) from None
    for name, digest in made_from.items():
        path = settings.artifacts(name)
        if not path.is_file() or sha256(path) != digest:
            raise InputError(f"{folder}: made from another {path}; run the stage {stage} again")


def _again(error: Damaged, stage: str) -> InputError:
    return InputError(f"{error}; run the stage {stage} again")


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
    """Returns the findings of the audit that stop a model, or None when the cohort was not audited.

    Raises:
        InputError: when the audit is not what its stage wrote, or is of another cohort than today's.
    """
    audit = _json(settings, "audit", "audit.json")
    check_sources(settings, "audit")
    return None if audit is None else list(audit["blocks"])


def load_chosen(settings: Settings) -> dict[str, dict[str, Any]]:
    """Reads what the stage tune chose, per site and variant; empty when nothing was searched."""
    path = existing(settings, "tune", "chosen.yaml")
    return {} if path is None else yaml.safe_load(path.read_text(encoding="utf-8")) or {}


def is_cross_validated(settings: Settings, site: Site, variant: str) -> bool:
    """Says that the stage crossval has left the out-of-fold table of a variant."""
    return settings.artifacts("crossval", site, variant, OUT_OF_FOLD).is_file()


def load_results(settings: Settings, site: Site) -> dict[str, dict[str, Any]]:
    """Reads metrics.json of each cross-validated variant of a site, then of ablations, baselines and stacks.

    Raises:
        InputError: when one is not what the stage crossval wrote.
    """
    ablations = sorted(path.name for path in settings.artifacts("crossval", site).glob(f"{ABLATION}*"))
    names = (*VARIANTS, *ablations, *TABULAR)
    found = {name: _json(settings, "crossval", site, name, METRICS) for name in names}
    return {name: metrics for name, metrics in found.items() if metrics is not None}


def load_metrics(settings: Settings, site: Site, variant: str) -> dict[str, Any]:
    """Reads metrics.json of one variant.

    Raises:
        InputError: when it was not cross-validated at the site.
    """
    metrics = _json(settings, "crossval", site, variant, METRICS)
    if metrics is None:
        raise InputError(f"{site} {variant} was not cross-validated; run the stage crossval")
    return metrics


def load_model(settings: Settings, site: Site, baseline: str) -> dict[str, Any]:
    """Reads model.json of a baseline: its regressions, one per fold.

    Raises:
        InputError: when it was not cross-validated at the site.
    """
    path = required(settings, "crossval", site, baseline, MODEL)
    return dict(json.loads(path.read_text(encoding="utf-8")))


def load_table(settings: Settings, site: Site, variant: str) -> pd.DataFrame:
    """Reads the out-of-fold table of a variant, in the order of nodule ids; each stands there once.

    Raises:
        InputError: when it is not what the stage crossval wrote.
    """
    import pandas as pd

    table = pd.read_csv(required(settings, "crossval", site, variant, OUT_OF_FOLD), dtype=IDS)
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
    return _json(settings, "crossval", "provenance.json")


def load_registered(settings: Settings, site: Site) -> dict[str, Any] | None:
    """Reads what the stage register decided about a site, or None when it has not run there.

    `alias`, `promoted` and `has_champion` are those of today, where champions.json says that they changed.
    """
    record = _json(settings, "register", f"{site}.json")
    champions = load_champions(settings)
    if record is None or champions is None:
        return record
    champion = champions.get(record["model"], {}).get("version")
    today = champion == record["version"]
    if today != record["promoted"]:
        whose = f"version {champion}" if champion else "none"
        record["reason"] = f"decided since by command, the champion is {whose}; then: {record['reason']}"
    alias = "champion" if today else "challenger"
    return record | {"alias": alias, "promoted": today, "has_champion": champion is not None}


def load_champions(settings: Settings) -> dict[str, dict[str, str]] | None:
    """Reads champions.json: per registered model `version` and `fits` of its champion; None without the file.

    Raises:
        InputError: when it is no JSON.
    """
    path = settings.root / CHAMPIONS
    try:
        return dict(read_json(path)) if path.is_file() else None
    except InputError as error:
        raise InputError(f"{error}; dgfnet champions writes it again") from None


def outline_weights(settings: Settings, modality: Modality, fold: int) -> Path:
    """Returns the path of the network of the stage outline that held a fold out; there may be none."""
    return settings.artifacts("outline", modality, f"fold{fold}.safetensors")


def load_holdout(settings: Settings, site: Site) -> dict[str, Any] | None:
    """Reads metrics.json of the stage holdout, or None when it has not run there."""
    return _json(settings, "holdout", site, METRICS)


def load_external(settings: Settings, site: Site) -> dict[str, Any] | None:
    """Reads the metrics of the external validation of a site, or None without one."""
    return _json(settings, "external", site, METRICS)


def load_skipped(settings: Settings, stage: str, site: Site) -> str | None:
    """Reads why a stage skipped a site, or None when it did not."""
    record = _json(settings, stage, site, "skipped.json")
    return None if record is None else str(record["reason"])


def _json(settings: Settings, stage: str, *names: str) -> dict[str, Any] | None:
    path = existing(settings, stage, *names)
    return None if path is None else dict(json.loads(path.read_text(encoding="utf-8")))
