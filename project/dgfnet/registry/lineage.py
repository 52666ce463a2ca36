"""Commit and data that a version comes from, and what is missing to make it again."""

from __future__ import annotations

from dgfnet.provenance import CHANGED, UNTRACKED
from dgfnet.results import crossval_provenance
from dgfnet.settings import Settings


def trained_on(settings: Settings) -> dict[str, str]:
    """Returns commit and data of the cross-validation, whose tables and fits a version is made of."""
    record = crossval_provenance(settings) or {"git_commit": "unknown", "data_md5": UNTRACKED}
    return {name: str(record[name]) for name in ("git_commit", "data_md5")}


def missing_lineage(commit: str, data: str) -> str:
    """Says why a version cannot be made again; empty when it can."""
    if commit == "unknown":
        return "it was trained outside git"
    if commit.endswith("-dirty"):
        return "it was trained with uncommitted changes"
    if data.endswith(CHANGED):
        return "its cohort was not the one that data.dvc names"
    return "its cohort is not under DVC" if data == UNTRACKED else ""
