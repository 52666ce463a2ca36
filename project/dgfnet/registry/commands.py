"""The registry's commands: judge a version again, roll back, print history and lineage."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from mlflow.exceptions import MlflowException

from dgfnet import tracking
from dgfnet.errors import InputError
from dgfnet.registry import promotion
from dgfnet.registry.aliases import champion_of, is_absent
from dgfnet.registry.champions import note_champions
from dgfnet.registry.evidence import Evidence
from dgfnet.registry.facts import facts
from dgfnet.registry.gate import Judgement, judge
from dgfnet.registry.origin import ELSEWHERE, IMPORTED, RECALIBRATED
from dgfnet.registry.stored import Distrusted, out_of_fold, run_of, version_of
from dgfnet.settings import Settings
from dgfnet.vocabulary import Site

if TYPE_CHECKING:
    from dgfnet.registry.paired import Comparison

GATE = "gate"  # fact of a version: the evidence it is judged by
ORIGIN = {  # facts of a version
    "git_commit": "git commit",
    "data_md5": "data md5 (DVC)",
    "params_sha256": "settings sha256",
    "variant": "variant",
    "network": "networks",
    "fold": "fold",
    "fit": "fit (work/fits)",
    "seal": "sha256 of its checksums",
    "origin": "sha256 of its settings in full",
    "out_of_fold": "sha256 of its out-of-fold table",
}


def criteria(settings: Settings, model: str, version: str, without_comparison: bool = False) -> Judgement:
    """Applies the gate's criteria to a version, against the present champion, by what the store holds.

    Raises:
        InputError: when the version does not exist or was registered without the evidence.
    """
    client = tracking.existing_registry(settings)
    candidate, champion = version_of(client, model, version), champion_of(client, model)
    return judgement(settings, candidate, champion, without_comparison)


def judgement(
    settings: Settings, candidate: Any, champion: Any | None, without_comparison: bool = False
) -> Judgement:
    """Applies the gate's criteria to a version, against a champion, both as the registry gives them.

    Raises:
        InputError: when the version was registered without the evidence.
    """
    model, version, known = candidate.name, str(candidate.version), facts(candidate)
    if GATE not in known:
        raise InputError(f"{model} version {version} was registered without the gate; run the stage register")
    try:
        evidence = Evidence.read(known[GATE])
    except TypeError:  # those of an older release, which measured less
        raise InputError(
            f"{model} version {version} was registered with other evidence for the gate; "
            "run the stage register"
        ) from None
    gain, limits = None, settings.register_
    if champion is not None and str(champion.version) != version:
        gain = _compare(settings, candidate, champion)
        if known.get("fits", model) == facts(champion).get("fits"):  # one network cannot gain over itself
            limits = limits.model_copy(update={"minimum_gain": min(0.0, limits.minimum_gain)})
    verdicts = judge(evidence, gain, limits, without_comparison)
    return Judgement(verdicts, None if champion is None else str(champion.version))


def promote(
    settings: Settings, site: Site, version: str, dry_run: bool, without_comparison: bool = False
) -> str:
    """Judges a version and, unless `dry_run`, sets the aliases; returns what was decided, line by line."""
    model = f"dgfnet-{site}"
    judged = criteria(settings, model, version, without_comparison)
    met = all(criterion.met for criterion in judged.criteria)
    lines = [
        f"{'met    ' if criterion.met else 'NOT MET'}  "
        f"{criterion.name}: {criterion.value} ({criterion.needed})"
        for criterion in judged.criteria
    ]
    if dry_run:
        end = "would become champion" if met else "would not become champion"
    else:
        client = tracking.registry(settings)
        record = promotion.promote(client, model, version, judged)
        champion = champion_of(client, model)
        note_champions(client, settings)
        stays = champion is not None and str(champion.version) == version
        end = "is champion" if record["promoted"] else "stays champion" if stays else "is not champion"
    return "\n".join([*lines, f"{model} version {version} {end}"])


def lineage(settings: Settings, site: Site, version: str) -> str:
    """Returns the lineage of a version as text: commit, data, settings, fold, fit, runs, external result."""
    client, model = tracking.existing_registry(settings), f"dgfnet-{site}"
    registered = version_of(client, model, version)
    known, network = facts(registered), run_of(registered, network=True)
    try:
        parent = client.get_run(network).data.tags.get("mlflow.parentRunId", "unknown")
    except MlflowException as error:
        if not is_absent(error):
            raise
        parent = "no longer in the store"
    lines = [f"{model} version {version} ({', '.join(registered.aliases) or 'no alias'})"]
    lines += [f"  {words}: {known.get(name, 'unknown')}" for name, words in ORIGIN.items()]
    if RECALIBRATED in known:
        lines.append(f"  recalibrated from version {known[RECALIBRATED]}: {registered.description}")
    if IMPORTED in known:
        brought = json.loads(known[IMPORTED])
        lines.append("  imported by {by} {when}, signed with the key {signed_by}".format(**brought))
    if registered.run_id != network:
        lines.append(f"  MLflow run of the stack: {registered.run_id}")
    lines += [
        f"  MLflow run of the fold: {network}",
        f"  MLflow run of the cross-validation: {parent}",
    ]
    if "external_auc" in known:
        external = {
            name: known.get(f"external_{name}") for name in ("auc", "auc_low", "auc_high", "data_md5")
        }
        lines.append(
            f"  external: AUC {external['auc']} ({external['auc_low']}-{external['auc_high']}), "
            f"data {external['data_md5']}"
        )
    for name, told in sorted(known.items()):
        if name.startswith(f"{ELSEWHERE}."):
            words = "  validated elsewhere {validated}: AUC {auc}, {nodules} nodules, signed with {signed_by}"
            lines.append(words.format(**json.loads(told)))
    return "\n".join(lines)


def rollback(settings: Settings, site: Site) -> str:
    """Gives the alias champion back to the version that had it before."""
    client = tracking.existing_registry(settings)
    record = promotion.rollback(client, f"dgfnet-{site}")
    note_champions(client, settings)
    return f"dgfnet-{site}: champion is version {record['to']} again, no longer {record['from']}"


def history(settings: Settings, site: Site) -> str:
    """Returns every decision about a site's versions, a line each, oldest first."""
    records = promotion.history(tracking.existing_registry(settings), f"dgfnet-{site}")
    return "\n".join(_line(record) for record in records) or f"dgfnet-{site}: no decision yet"


def _line(record: dict[str, Any]) -> str:
    champion = f"champion {record['from'] or 'none'} -> {record['to']}" if record["promoted"] else "refused"
    return f"{record['when'][:19]}  {record['who']}  version {record['to']}: {champion}; {record['why']}"


def _compare(settings: Settings, candidate: Any, champion: Any) -> Comparison:
    """Compares a version with the champion by the out-of-fold tables of the store."""
    from dgfnet.registry.paired import Comparison, compare  # pandas and scipy, needed only here

    for version in (candidate, champion):
        if IMPORTED in facts(version):
            told = f"version {version.version} is imported, its table stayed where it was trained"
            return Comparison(None, f"not compared: {told}")
    try:
        tables = out_of_fold(settings, candidate), out_of_fold(settings, champion)
    except Distrusted as error:
        return Comparison(None, f"not compared: {error}", trusted=False)
    return compare(*tables, settings.register_.minimum_per_class, settings.base.confidence)
