"""Promotion and rollback: the alias champion, given and taken, and who decided what when.

Every decision, also a refusal and a rollback, leaves a record as a tag of the version it is about.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from dgfnet import tracking
from dgfnet.errors import InputError
from dgfnet.registry.aliases import CHALLENGER, CHAMPION, champion_of
from dgfnet.registry.gate import Criterion, Judgement, why

ROLLED_BACK = "rolled_back"  # tag of a version that lost the alias by hand: only a hand gives it back
RECORD = "promotion"  # tag of a version: of each record, followed by its time


def promote(client: MlflowClient, model: str, version: str, judged: Judgement) -> dict[str, Any]:
    """Sets the aliases as the criteria say, and records the decision.

    Raises:
        InputError: when another version has become champion since the judgement. (The registry cannot look
            and set in one step: what happens between these lines goes unseen.)
    """
    champion = champion_of(client, model)
    before = None if champion is None else str(champion.version)
    if before != judged.champion:
        raise InputError(
            f"{model}: the champion changed meanwhile: version {version} was judged against "
            f"{judged.champion or 'none'}, and now it is {before or 'none'}; judge it again"
        )
    promoted = all(criterion.met for criterion in judged.criteria)
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
    champion = champion_of(client, model)
    if champion is None:
        raise InputError(f"{model} has no champion; nothing to roll back")
    now = str(champion.version)
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
    """Returns the champions whose promotion was not undone, the present one last.

    Args:
        records: of `history`. A champion that no record made was made by hand, and counts from the record
            that found it.
    """
    champions: list[str] = []
    for record in records:
        if not record["promoted"] or record["from"] == record["to"]:  # a refusal, or a champion judged again
            continue
        if record["from"] is not None and champions[-1:] != [record["from"]]:
            champions.append(record["from"])
        if record["criteria"]:
            champions.append(record["to"])
            continue
        champions.pop()  # a rollback
        if champions[-1:] != [record["to"]]:
            champions.append(record["to"])
    return champions


def history(client: MlflowClient, model: str) -> list[dict[str, Any]]:
    """Returns every decision about every version of a model, oldest first."""
    records = [
        json.loads(value)
        for version in client.search_model_versions(f"name = '{model}'")
        for key, value in version.tags.items()
        if key.startswith(f"{RECORD}.")
    ]
    return sorted(records, key=lambda record: str(record["when"]))


def newest(version: Any) -> dict[str, Any] | None:
    """Returns the newest record of a version, as the registry gives it; None before the first."""
    times = [key for key in version.tags if key.startswith(f"{RECORD}.")]
    return dict(json.loads(version.tags[max(times)])) if times else None


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
        "who": tracking.user(),
        "when": when,
        "from": former,
        "to": version,
        "promoted": promoted,
        "why": reason,
        "criteria": [asdict(criterion) for criterion in criteria],
    }
    text = json.dumps(record)
    client.set_model_version_tag(model, version, f"{RECORD}.{when}", text)
    run = client.get_model_version(model, version).run_id
    if run:
        client.log_dict(run, record, f"promotions/{model} {version} {when.replace(':', '')}.json")
    return record


def _forget_rollback(client: MlflowClient, model: str, version: str) -> None:
    """Removes the mark of a rollback from a version that is champion again."""
    if ROLLED_BACK in client.get_model_version(model, version).tags:
        client.delete_model_version_tag(model, version, ROLLED_BACK)


def _take_away(client: MlflowClient, model: str, alias: str, version: str) -> None:
    """Removes an alias from a version that has it."""
    if alias in client.get_model_version(model, version).aliases:
        client.delete_registered_model_alias(model, alias)
