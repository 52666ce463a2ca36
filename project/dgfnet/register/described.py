"""Describes a version in the registry for a person: a few tags, and words with links."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dgfnet import tracking
from dgfnet.registry.facts import with_limits
from dgfnet.settings import Settings


def labels(known: Mapping[str, str]) -> dict[str, str]:
    """Returns the tags of a version that a person reads, in the list of versions."""
    auc = {f"auc{end}": _number(known[f"pooled_auc{end}"]) for end in ("", "_low", "_high")}
    plain = {name: known[name] for name in ("variant", "scoring", "threshold")}
    return plain | {"AUC": with_limits(auc, "auc")}


def _number(text: str) -> float | None:
    return None if text == "undefined" else float(text)


def links(settings: Settings, version: Any, network: Any, known: Mapping[str, str]) -> str:
    """Returns Markdown that leads from a version to what it was made of; addresses of MLflow's own pages.

    Args:
        settings: of the run.
        version: as the registry gives it.
        network: the run of its first network, as the store gives it.
        known: facts of the version.
    """
    experiment = f"#/experiments/{network.info.experiment_id}"  # all runs of a site are of one

    def run(text: str, run_id: str) -> str:
        return f"[{text}]({experiment}/runs/{run_id})"

    parent = network.data.tags.get(tracking.PARENT, network.info.run_id)
    runs = [run(f"cross-validation of {known['network']}", parent)]
    runs += [run("its first network", network.info.run_id)]
    if version.run_id not in (parent, network.info.run_id):
        runs.insert(0, run(f"cross-validation of {known['variant']}", str(version.run_id)))
    cohort = f"{settings.base.data}.dvc"
    report = f"{experiment}/runs/{version.run_id}/artifacts/report/index.html"
    return (
        f"\n\n- Runs: {', '.join(runs)}\n"
        f"- Dataset: `{cohort}`, md5 `{known['data_md5']}`, at commit `{known['git_commit']}`\n"
        f"- [Report]({report}), once the stage report has run; explanations beside it\n"
    )


def describe(known: Mapping[str, str]) -> str:
    """Returns a version in words: what it is made of, and what it reached."""
    best = f"fold {known['fold']} (selected by {known['selected_by']})"
    commit, data, settings = (known[name][:12] for name in ("git_commit", "data_md5", "params_sha256"))
    networks = "the folds' networks, averaged; first" if known["scoring"] == "ensemble" else "the network"
    return (
        f"{known['variant']} for the {known['site']} site, {networks} that of {best}. "
        f"Cross-validation: pooled out-of-fold AUC {known['pooled_auc']} "
        f"({known['pooled_auc_low']}-{known['pooled_auc_high']}). Held-out fold: AUC {known['fold_auc']}, "
        f"accuracy {known['fold_accuracy']}. Threshold {known['threshold']}. "
        f"git {commit}, data {data}, settings {settings}."
    )
