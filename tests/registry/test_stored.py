"""The out-of-fold table of the store is believed only when it is the one a version was registered with."""

import hashlib
import json
from pathlib import Path

import pandas as pd
import pytest

from dgfnet import digests, files, pseudonyms, tracking
from dgfnet.errors import InputError
from dgfnet.registry.commands import criteria, promote
from dgfnet.registry.evidence import Evidence
from dgfnet.registry.facts import facts
from dgfnet.registry.promotion import newest
from dgfnet.registry.stored import Distrusted, keep_tables, out_of_fold, table_digests, version_of

MODEL = "dgfnet-central"
FACTS = Evidence(0, 0.0, 0.0, 0.0, 0.8, 0.75, 1.0, "", None, "", None, None, None).text()
ROWS = pd.DataFrame(
    {
        "nodule_id": [f"n{i}" for i in range(40)],
        "patient_id": [f"p{i}" for i in range(40)],
        "fold": 0,
        "label": [0, 1] * 20,
        "probability": [0.1, 0.9] * 20,
        "threshold": 0.5,
    }
)


def register(settings, rows):
    """Logs a cross-validation as its stage does, and registers a version of it with its table's sha256."""
    client = tracking.registry(settings)
    experiment = tracking.prepare(tracking.store(settings), MODEL)
    path = settings.artifacts("crossval", "central", "dgf", "out_of_fold.csv")
    files.write_csv(rows, path)
    digests.keep(path.parent)
    parent = tracking.open_run(
        tracking.store(settings), experiment, "dgf", str(rows["probability"].sum()), {}
    )
    parent.table(path, pseudonyms.identity_key(settings))
    child = tracking.open_run(tracking.store(settings), experiment, "fold0", "fit", {}, parent.run_id)
    if not client.search_registered_models():
        client.create_registered_model(MODEL)
    fit = str(rows["probability"].sum())
    tags = {"gate": FACTS, "fit": fit}
    made = client.create_model_version(MODEL, "file:///nowhere", child.run_id, tags=tags)
    keep_tables(client, versions(client), fit, table_digests(settings, "central", "dgf", "dgf"))
    return version_of(client, MODEL, str(made.version))


def versions(client):
    return client.search_model_versions(f"name = '{MODEL}'")


def stored(settings, version):
    run = tracking.client(tracking.store(settings)).get_run(version.run_id)
    parent = tracking.client(tracking.store(settings)).get_run(run.data.tags["mlflow.parentRunId"])
    return Path(parent.info.artifact_uri.removeprefix("file://")) / "out_of_fold.csv"


def test_the_tag_is_the_sha256_of_what_was_logged(settings):
    version = register(settings, ROWS)
    path = stored(settings, version)
    assert facts(version)["out_of_fold"] == hashlib.sha256(path.read_bytes()).hexdigest()
    table = out_of_fold(settings, version)
    assert table["probability"].tolist() == ROWS["probability"].tolist()
    assert "n0" not in set(table["nodule_id"])


def test_a_table_that_was_changed_is_not_compared_and_the_version_not_promoted(settings):
    champion, better = register(settings, ROWS), register(settings, ROWS.assign(probability=[0.2, 0.9] * 20))
    client = tracking.registry(settings)
    client.set_registered_model_alias(MODEL, "champion", champion.version)
    judged = criteria(settings, MODEL, str(better.version))
    assert (judged.criteria[-1].met, judged.champion) == (True, str(champion.version))
    path = stored(settings, champion)
    path.write_text(path.read_text().replace(",0.9,", ",0.0,"))
    told = criteria(settings, MODEL, str(better.version)).criteria[-1]
    assert (told.met, told.value.startswith("not compared: dgfnet-central version 1: out_of_fold.csv")) == (
        False,
        True,
    )
    assert "is not champion" in promote(settings, "central", str(better.version), dry_run=False)
    assert client.get_model_version_by_alias(MODEL, "champion").version == champion.version
    record = newest(client.get_model_version(MODEL, str(better.version)))
    assert "is not the one it was registered with" in record["why"]


def test_a_version_without_the_tag_is_not_compared_until_somebody_vouches_for_its_table(settings):
    champion, better = register(settings, ROWS), register(settings, ROWS.assign(probability=[0.2, 0.9] * 20))
    client = tracking.registry(settings)
    client.set_registered_model_alias(MODEL, "champion", champion.version)
    client.delete_model_version_tag(MODEL, champion.version, "dgfnet")
    told = criteria(settings, MODEL, str(better.version)).criteria[-1]
    digest = hashlib.sha256(stored(settings, champion).read_bytes()).hexdigest()
    assert (told.met, "registered before the sha256" in told.value) == (False, True)
    assert told.value.endswith(f"set the version's tag out_of_fold to {digest}")
    client.set_model_version_tag(MODEL, champion.version, "out_of_fold", digest)
    assert criteria(settings, MODEL, str(better.version)).criteria[-1].met


def test_a_version_of_an_older_release_is_one_message(settings):
    version, client = register(settings, ROWS), tracking.registry(settings)
    for evidence, message in (
        (json.dumps({"blocks": 0}), "with other evidence for the gate"),
        (None, "without the gate"),
    ):
        client.delete_model_version_tag(MODEL, version.version, "gate")
        if evidence:
            client.set_model_version_tag(MODEL, version.version, "gate", evidence)
        with pytest.raises(InputError, match=f"{MODEL} version 1 was registered {message}"):
            criteria(settings, MODEL, "1")


def test_registering_vouches_for_all_versions_of_the_fit_and_no_other(settings):
    first, other = register(settings, ROWS), register(settings, ROWS.assign(probability=[0.2, 0.9] * 20))
    client = tracking.registry(settings)
    for version in (first, other):
        client.delete_model_version_tag(MODEL, version.version, "dgfnet")
    again = register(settings, ROWS)
    assert len(out_of_fold(settings, version_of(client, MODEL, str(first.version)))) == len(ROWS)
    assert len(out_of_fold(settings, again)) == len(ROWS)
    assert "out_of_fold" not in facts(version_of(client, MODEL, str(other.version)))


def test_a_key_that_was_lost_before_registering_is_not_believed_either(settings):
    version = register(settings, ROWS)
    (settings.root / "id.key").unlink()
    client = tracking.registry(settings)
    keep_tables(
        client, versions(client), version.tags["fit"], table_digests(settings, "central", "dgf", "dgf")
    )
    with pytest.raises(Distrusted, match="logged with another key"):
        out_of_fold(settings, version_of(tracking.registry(settings), MODEL, str(version.version)))
