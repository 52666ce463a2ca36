"""The gate: a version becomes champion when every criterion holds; none sees the external cohort.

Every decision, also a refusal and a rollback, leaves a record as a tag of the version it is about.
"""

from __future__ import annotations

import getpass
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from dgfnet.errors import InputError
from dgfnet.registry.facts import GateFacts
from dgfnet.registry.paired import Comparison
from dgfnet.settings import Register

CHAMPION, CHALLENGER = "champion", "challenger"
ROLLED_BACK = "rolled_back"  # tag of a version that lost the alias by hand: only a hand gives it back
ABSENT = (
    "RESOURCE_DOES_NOT_EXIST",
    "INVALID_PARAMETER_VALUE",
)  # what MLflow says of no model, and of no alias
SERVED = 1e-4  # between probabilities of the ONNX graph and of the network it was made from
RECORD = "promotion"  # the tag of the newest record of a version; older ones follow it with their time


@dataclass(frozen=True)
class Criterion:
    """One condition of the gate.

    Attributes:
        name: what was looked at.
        value: what was found, as text.
        needed: what the settings ask for, as text.
        met: whether it is met.
    """

    name: str
    value: str
    needed: str
    met: bool


@dataclass(frozen=True)
class Judgement:
    """The criteria applied to one version.

    Attributes:
        criteria: each with its verdict.
        champion: the version that was champion then, None without one.
    """

    criteria: tuple[Criterion, ...]
    champion: str | None


def judge(facts: GateFacts, gain: Comparison | None, wanted: Register) -> tuple[Criterion, ...]:
    """Applies the criteria.

    Args:
        facts: of the new version.
        gain: the version beside the present champion; None when there is no champion. Where they cannot be
            compared, the criterion is passed over; where the store's tables cannot be trusted, it is not met.
        wanted: the settings.
    """
    low, high = wanted.calibration_slope
    blocks = "not audited" if facts.blocks is None else f"{facts.blocks} finding(s)"
    share = facts.weakest_share
    found = [
        Criterion("leakage audit", blocks, "0 findings", facts.blocks == 0),
        Criterion(
            "same probability alone and in company",
            f"{facts.alone:.1e}",
            f"at most {wanted.tolerance:g} apart",
            facts.alone <= wanted.tolerance,
        ),
        Criterion(
            "served model as the network",
            f"{facts.served:.1e}",
            f"at most {SERVED:g} apart",
            facts.served <= SERVED,
        ),
        Criterion(
            "bundle as in cross-validation",
            f"{facts.checkpoint:.1e}",
            f"at most {wanted.tolerance:g} apart",
            facts.checkpoint <= wanted.tolerance,
        ),
        Criterion(
            "lower limit of the out-of-fold AUC",
            f"{facts.auc_low:.3f}",
            f"at least {wanted.minimum_auc_lower_bound:g}",
            facts.auc_low >= wanted.minimum_auc_lower_bound,
        ),
        Criterion(
            "calibration slope", f"{facts.slope:.2f}", f"{low:g} to {high:g}", low <= facts.slope <= high
        ),
        Criterion(
            "weakest group",
            facts.weakest if share is None else f"{share:.3f}, {facts.weakest}",
            f"at least {wanted.minimum_group_accuracy:g} called rightly",
            share is None or share >= wanted.minimum_group_accuracy,
        ),
        Criterion(
            "lineage",
            facts.lineage or "whole",
            "commit and data known" if wanted.require_lineage else "not required",
            not facts.lineage or not wanted.require_lineage,
        ),
    ]
    if gain is not None:
        name, needed = "AUC less the champion's, shared nodules", f"at least {wanted.minimum_gain:+g}"
        told, met, gap = gain.told, gain.trusted, gain.difference
        if gap is not None:
            told = f"{gap.estimate:+.3f} ({gap.low:+.3f} to {gap.high:+.3f}), {told}"
            met = gap.estimate >= wanted.minimum_gain
        found.append(Criterion(name, told, needed, met))
    return tuple(found)


def why(criteria: Sequence[Criterion]) -> str:
    """One sentence: what was not met, or that everything was."""
    failed = [f"{one.name}: {one.value}, needed {one.needed}" for one in criteria if not one.met]
    return "; ".join(failed) if failed else f"all {len(criteria)} criteria are met"


def champion_of(client: MlflowClient, model: str) -> Any | None:
    """The model version behind the alias champion, or None.

    Raises:
        InputError: when the registry cannot be asked: that is not the same as having no champion.
    """
    try:
        return client.get_model_version_by_alias(model, CHAMPION)
    except MlflowException as error:
        if error.error_code in ABSENT:
            return None
        raise InputError(f"{model}: the registry cannot be asked for its champion ({error})") from None


def promote(client: MlflowClient, model: str, version: str, judged: Judgement) -> dict[str, Any]:
    """Sets the aliases as the criteria say, and records the decision.

    Raises:
        InputError: when another version has become champion since the judgement. (The registry cannot look
            and set in one step: what happens between these lines goes unseen.)
    """
    found = champion_of(client, model)
    before = None if found is None else str(found.version)
    if before != judged.champion:
        raise InputError(
            f"{model}: the champion changed meanwhile: version {version} was judged against "
            f"{judged.champion or 'none'}, and now it is {before or 'none'}; judge it again"
        )
    promoted = all(one.met for one in judged.criteria)
    if promoted:
        client.set_registered_model_alias(model, CHAMPION, version)
        _take_away(client, model, CHALLENGER, version)
        _forget_rollback(client, model, version)
    elif before != version:
        client.set_registered_model_alias(model, CHALLENGER, version)
    return _record(client, model, version, before, promoted, why(judged.criteria), judged.criteria)


def rollback(client: MlflowClient, model: str) -> dict[str, Any]:
    """Gives the alias back to the champion before the present one, and records that.

    Promotions not undone are a stack, and a rollback takes the last one off: after versions 1, 2 and 1 again
    it leads to 2, then to 1, and then nowhere.

    Raises:
        InputError: when there is no champion, or none was before.
    """
    found = champion_of(client, model)
    if found is None:
        raise InputError(f"{model} has no champion; nothing to roll back")
    now = str(found.version)
    before = standing(history(client, model))
    if before[-1:] == [now]:
        before.pop()
    if not before:
        raise InputError(f"{model}: version {now} is the first champion; there is none to go back to")
    former = before[-1]
    try:
        client.set_registered_model_alias(model, CHAMPION, former)
    except MlflowException as error:
        raise InputError(f"{model}: version {former} cannot be champion again ({error})") from None
    client.set_registered_model_alias(model, CHALLENGER, now)
    client.set_model_version_tag(model, now, ROLLED_BACK, "yes")
    _forget_rollback(client, model, former)
    return _record(client, model, former, now, True, "rolled back", ())


def standing(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """Champions whose promotion was not undone, the present one last.

    Args:
        records: of `history`. A champion that no record made was made by hand, and counts from the record
            that found it.
    """
    found: list[str] = []
    for one in records:
        if not one["promoted"] or one["from"] == one["to"]:  # a refusal, or a champion judged again
            continue
        if one["from"] is not None and found[-1:] != [one["from"]]:
            found.append(one["from"])
        if one["criteria"]:
            found.append(one["to"])
            continue
        found.pop()  # a rollback
        if found[-1:] != [one["to"]]:
            found.append(one["to"])
    return found


def history(client: MlflowClient, model: str) -> list[dict[str, Any]]:
    """Every decision about every version, oldest first."""
    found = [
        json.loads(value)
        for version in client.search_model_versions(f"name = '{model}'")
        for key, value in version.tags.items()
        if key.startswith(f"{RECORD}.")
    ]
    return sorted(found, key=lambda one: str(one["when"]))


def _record(
    client: MlflowClient,
    model: str,
    version: str,
    former: str | None,
    promoted: bool,
    reason: str,
    criteria: Sequence[Criterion],
) -> dict[str, Any]:
    """Writes who, when, from, to, why, and every criterion, on the version and beside its model's run."""
    when = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")  # a tag's name takes no plus sign
    record = {
        "who": getpass.getuser(),
        "when": when,
        "from": former,
        "to": version,
        "promoted": promoted,
        "why": reason,
        "criteria": [asdict(one) for one in criteria],
    }
    text = json.dumps(record)
    client.set_model_version_tag(model, version, f"{RECORD}.{when}", text)
    client.set_model_version_tag(model, version, RECORD, text)
    run = client.get_model_version(model, version).run_id
    if run:
        client.log_dict(run, record, f"promotions/{model} {version} {when.replace(':', '')}.json")
    return record


def _forget_rollback(client: MlflowClient, model: str, version: str) -> None:
    """A champion is not one that was rolled back."""
    if ROLLED_BACK in client.get_model_version(model, version).tags:
        client.delete_model_version_tag(model, version, ROLLED_BACK)


def _take_away(client: MlflowClient, model: str, alias: str, version: str) -> None:
    """Removes an alias from a version that has it."""
    if alias in client.get_model_version(model, version).aliases:
        client.delete_registered_model_alias(model, alias)
