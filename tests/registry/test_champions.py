"""champions.json follows the registry, and whoever made it otherwise is asked to say so."""

import json
import shutil

import pytest

from dgfnet import digests, files, tracking
from dgfnet.errors import InputError
from dgfnet.registry import commands
from dgfnet.registry.aliases import CHAMPION
from dgfnet.registry.champions import check_noted, note_champions, told
from dgfnet.registry.gate import Criterion, Judgement
from dgfnet.registry.promotion import promote
from dgfnet.results import load_champions, load_registered

MODEL = "dgfnet-central"


def noted(folder):
    return json.loads((folder / "champions.json").read_text())


@pytest.fixture
def client(settings, version):
    """Of a registry with versions 1 and 2, the second champion."""
    client = tracking.registry(settings)
    run = version.run_id
    client.create_model_version(MODEL, version.source, run)
    for number, champion in (("1", None), ("2", "1")):
        client.set_model_version_tag(MODEL, number, "fits", f"fits{number}")
        met = (Criterion("any", "1", "1", True),)
        promote(client, MODEL, number, Judgement(met, champion))
    return client


def test_it_names_version_and_fits_of_every_champion(settings, client):
    assert load_champions(settings) is None
    note_champions(client, settings)
    assert noted(settings.root) == {MODEL: {"version": "2", "fits": "fits2"}}


def test_it_is_written_only_when_the_champion_is_another(settings, client):
    note_champions(client, settings)
    before = (settings.root / "champions.json").stat().st_mtime_ns
    note_champions(client, settings)
    assert (settings.root / "champions.json").stat().st_mtime_ns == before


def test_a_rollback_writes_it(settings, client):
    note_champions(client, settings)
    commands.rollback(settings, "central")
    assert noted(settings.root) == {MODEL: {"version": "1", "fits": "fits1"}}
    check_noted(settings, "central", "1")


def test_a_promotion_elsewhere_is_seen_when_somebody_looks(settings, client):
    note_champions(client, settings)
    client.set_registered_model_alias(MODEL, CHAMPION, "1")  # as another machine does it
    with pytest.raises(
        InputError, match=r"champion of dgfnet-central is 2, and .* it is 1: .*dgfnet champions"
    ):
        check_noted(settings, "central", "1")
    assert told(settings) == "dgfnet-central: version 1"
    check_noted(settings, "central", "1")


def test_what_a_merge_left_in_it_is_refused_until_it_is_written_again(settings, client):
    (settings.root / "champions.json").write_text("<<<<<<< HEAD")
    with pytest.raises(InputError, match=r"champions\.json: damaged, no JSON .*dgfnet champions writes it"):
        load_champions(settings)
    assert told(settings) == "dgfnet-central: version 2"
    assert load_champions(settings) == noted(settings.root)


def test_without_a_champion_it_is_empty(settings, version):
    assert told(settings) == "no champion yet"
    assert noted(settings.root) == {}


def test_a_registry_that_is_not_the_projects_empties_nothing(
    settings, client, empty_store, monkeypatch, tmp_path
):
    note_champions(client, settings)
    before = noted(settings.root)
    (settings.root / "mlflow.db").unlink()
    monkeypatch.delenv(
        "MLFLOW_TRACKING_URI", raising=False
    )  # a process that has logged names its store there
    monkeypatch.delenv("MLFLOW_REGISTRY_URI", raising=False)
    for command in (told, lambda own: commands.history(own, "central")):
        with pytest.raises(InputError, match="there is no MLflow store in"):
            command(settings)
    assert not (settings.root / "mlflow.db").exists()
    other = tmp_path / "other"  # MLflow goes on with a store that it has open
    other.mkdir()
    shutil.copy(settings.root / "champions.json", other)
    shutil.copy(empty_store, other / "mlflow.db")  # as something else that was logged there leaves it
    with pytest.raises(InputError, match="the registry has no model of this project"):
        told(settings.model_copy(update={"root": other}))
    assert noted(other) == noted(settings.root) == before


def test_an_experiments_copy_tells_the_project_too(settings, client, tmp_path):
    copy = tmp_path / ".dvc" / "tmp" / "exps" / "tmp1"
    (copy / ".git").mkdir(parents=True)
    inside = settings.model_copy(update={"root": copy})
    assert inside.home == tmp_path
    note_champions(client, inside)
    assert noted(copy) == noted(tmp_path) == {MODEL: {"version": "2", "fits": "fits2"}}


@pytest.mark.parametrize(
    ("champion", "alias", "promoted", "reason"),
    [
        ("2", "champion", True, "all met"),
        ("1", "challenger", False, "decided since by command, the champion is version 1; then: all met"),
        (None, "challenger", False, "decided since by command, the champion is none; then: all met"),
    ],
)
def test_what_was_registered_is_champion_as_long_as_the_file_says_so(
    settings, champion, alias, promoted, reason
):
    record = {"model": MODEL, "version": "2", "alias": "champion", "promoted": True, "reason": "all met"}
    files.write_json(settings.artifacts("register", "central.json"), record)
    digests.keep(settings.artifacts("register"))
    content = {} if champion is None else {MODEL: {"version": champion, "fits": "f"}}
    files.write_json(settings.root / "champions.json", content)
    today = load_registered(settings, "central")
    assert (today["alias"], today["promoted"], today["reason"]) == (alias, promoted, reason)
    assert today["has_champion"] == (champion is not None)
