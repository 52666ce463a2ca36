"""The gate: a challenger becomes champion by criteria of params.yaml that never see the external cohort."""

from __future__ import annotations

import getpass
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from dgfnet.settings import Register

CHAMPION, CHALLENGER = "champion", "challenger"


@dataclass(frozen=True)
class Verdict:
    """Whether a version may become champion, and why."""

    promoted: bool
    reason: str


def judge(candidate: Mapping[str, Any], champion: Mapping[str, str] | None, settings: Register) -> Verdict:
    """Applies the criteria.

    Args:
        candidate: `pooled_auc`, `pooled_auc_low` and `data_md5` of the new version.
        champion: tags of the present champion, None when there is none.
        settings: `minimum_auc_lower_bound`.
    """
    low, needed = float(candidate["pooled_auc_low"]), settings.minimum_auc_lower_bound
    if not low >= needed:
        return Verdict(
            False, f"lower bound of the pooled out-of-fold AUC is {low:.3f}, at least {needed} is needed"
        )
    if champion is None:
        return Verdict(
            True, f"first version; lower bound of the pooled out-of-fold AUC {low:.3f} >= {needed}"
        )
    if champion.get("data_md5") != candidate["data_md5"]:
        return Verdict(True, "the champion was validated on other data; its numbers do not compare")
    ours, theirs = float(candidate["pooled_auc"]), float(champion.get("pooled_auc", "nan"))
    if ours < theirs:
        return Verdict(False, f"pooled out-of-fold AUC {ours:.3f} is below the champion's {theirs:.3f}")
    return Verdict(True, f"pooled out-of-fold AUC {ours:.3f}, the champion's {theirs:.3f}")


def champion_of(client: MlflowClient, model: str) -> Any | None:
    """The model version behind the alias champion, or None."""
    try:
        return client.get_model_version_by_alias(model, CHAMPION)
    except MlflowException:
        return None


def promote(client: MlflowClient, model: str, version: str, verdict: Verdict) -> dict[str, Any]:
    """Sets the aliases and returns the promotion record: who, when, from, to, why."""
    before = champion_of(client, model)
    client.set_registered_model_alias(model, CHALLENGER, version)
    if verdict.promoted:
        client.set_registered_model_alias(model, CHAMPION, version)
        client.delete_registered_model_alias(model, CHALLENGER)
    return {
        "who": getpass.getuser(),
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "from": str(before.version) if before is not None else None,
        "to": version,
        "promoted": verdict.promoted,
        "why": verdict.reason,
    }
