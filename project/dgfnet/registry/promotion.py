"""Promotion and rollback: the alias champion, given and taken, and who decided what when.

Every decision, also a refusal and a rollback, leaves a record as a tag of the version it is about.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from dgfnet import tracking
from dgfnet.errors import InputError, why
from dgfnet.registry import gate
from dgfnet.registry.aliases import CHALLENGER, CHAMPION, champion_of
from dgfnet.registry.gate import Criterion, Judgement
from dgfnet.registry.turn import turn

ROLLED_BACK = "rolled_back"  # tag of a version that lost the alias by hand: only a hand gives it back
RECORD = "promotion"  # tag of a version: of each record, followed by its time


def promote(client: MlflowClient, model: str, version: str, judged: Judgement) -> dict[str, Any]:
    """Sets the aliases as the criteria say, and records the decision; one at a time of each model.

    Raises:
        InputError: when another version has become champion since the judgement.
    """
    promoted = all(criterion.met for criterion in judged.criteria)
    with turn(client, model) as registered:
        before = str(registered.aliases[CHAMPION]) if CHAMPION in registered.aliases else None
        if before != judged.champion:
            raise InputError(
                f"{model}: the champion changed meanwhile: version {version} was judged against "
                f"{judged.champion or 'none'}, and now it is {before or 'none'}; judge it again"
            )
        candidate = client.get_model_version(model, version)
        record = _record(client, candidate, before, promoted, gate.why(judged.criteria), judged.criteria)
        if promoted:
            client.set_registered_model_alias(model, CHAMPION, version)
            if CHALLENGER in candidate.aliases:
                client.delete_registered_model_alias(model, CHALLENGER)
            _forget_rollback(client, candidate)
        elif before != version:
            client.set_registered_model_alias(model, CHALLENGER, version)
    _keep_copy(client, candidate, record)
    return record


def rollback(client: MlflowClient, model: str) -> dict[str, Any]:
    """Gives the alias back to the champion before the present one, and records that.

    Promotions not undone are a stack, and a rollback takes the last one off: after versions 1, 2 and 1 again
    it leads to 2, then to 1, and then nowhere.

    Raises:
        InputError: when there is no champion, or none was before.
    """
    if champion_of(client, model) is None:  # there may be no such model to take a turn at
        raise InputError(f"{model} has no champion; nothing to roll back")
    with turn(client, model) as registered:
        if CHAMPION not in registered.aliases:
            raise InputError(f"{model} has no champion any more; nothing to roll back")
        now = str(registered.aliases[CHAMPION])
        before = standing(history(client, model))
        if before[-1:] == [now]:
            before.pop()
        if not before:
            raise InputError(f"{model}: version {now} is the first champion; there is none to go back to")
        try:
            former = client.get_model_version(model, before[-1])
        except MlflowException as error:
            raise InputError(
                f"{model}: version {before[-1]} cannot be champion again ({why(error)})"
            ) from None
        record = _record(client, former, now, True, "rolled back", ())
        client.set_registered_model_alias(model, CHAMPION, str(former.version))
        client.set_registered_model_alias(model, CHALLENGER, now)
        client.set_model_version_tag(model, now, ROLLED_BACK, "yes")
        _forget_rollback(client, former)
    _keep_copy(client, former, record)
    return record


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
    candidate: Any,
    former: str | None,
    promoted: bool,
    reason: str,
    criteria: Sequence[Criterion],
) -> dict[str, Any]:
    """Writes who, when, from, to, why, and every criterion on a version, before any alias moves."""
    when = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")  # a tag's name takes no plus sign
    record = {
        "who": tracking.user(),
        "when": when,
        "from": former,
        "to": str(candidate.version),
        "promoted": promoted,
        "why": reason,
        "criteria": [asdict(criterion) for criterion in criteria],
    }
    version = str(candidate.version)
    client.set_model_version_tag(candidate.name, version, f"{RECORD}.{when}", json.dumps(record))
    return record


def _keep_copy(client: MlflowClient, candidate: Any, record: Mapping[str, Any]) -> None:
    """Puts a copy of a record beside the version's run, if that is still there."""
    name = f"{candidate.name} {candidate.version} {record['when'].replace(':', '')}.json"
    if candidate.run_id:
        with suppress(MlflowException):
            client.log_dict(str(candidate.run_id), dict(record), f"promotions/{name}")


def _forget_rollback(client: MlflowClient, candidate: Any) -> None:
    """Removes the mark of a rollback from a version that is champion again."""
    if ROLLED_BACK in candidate.tags:
        client.delete_model_version_tag(candidate.name, str(candidate.version), ROLLED_BACK)
