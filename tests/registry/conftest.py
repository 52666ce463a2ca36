"""A store and a registry in a folder of their own, with one version whose settings are kept."""

import shutil

import pytest
import yaml

from dgfnet import digests, files, pseudonyms, tracking
from dgfnet.registry.facts import keep_facts
from dgfnet.registry.origin import keep_origin
from dgfnet.registry.stored import version_of
from dgfnet.settings import load

WHOLE = {"git_commit": "a" * 40, "data_md5": "b" * 32}


@pytest.fixture
def settings(tmp_path, params, monkeypatch, empty_store):
    """The project's settings in a folder of its own, with a store there."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("MLFLOW_REGISTRY_URI", raising=False)
    monkeypatch.delenv(pseudonyms.KEY, raising=False)
    shutil.copy(params, tmp_path / "params.yaml")
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    resolved = load(tmp_path / "params.yaml", ["training.learning_rate=2e-5", "network.pretrained=off"])
    files.write_json(
        resolved.artifacts("crossval", "provenance.json"),
        {**WHOLE, "versions": {"torch": "0"}, "machine": "abacus"},
    )
    chosen = {"central": {"dgf": {"chosen": [{}], "folds": "f"}}, "lateral": {}}
    resolved.artifacts("tune").mkdir()
    resolved.artifacts("tune", "chosen.yaml").write_text(yaml.safe_dump(chosen))
    for stage in ("crossval", "tune"):
        digests.keep(resolved.artifacts(stage))
    return resolved


@pytest.fixture
def version(settings):
    """Version 1 of dgfnet-central, with its origin; its run is below no cross-validation."""
    client = tracking.registry(settings)
    experiment = tracking.prepare(tracking.store(settings), "dgfnet-central")
    client.create_registered_model("dgfnet-central")
    run = client.create_run(experiment)
    client.log_metric(run.info.run_id, "auc", 0.1 + 0.2)
    client.create_model_version(
        "dgfnet-central", f"{run.info.artifact_uri}/model", run.info.run_id, tags=WHOLE
    )
    kept = keep_origin(client, settings, "central", run.info.run_id)
    keep_facts(client, version_of(client, "dgfnet-central", "1"), kept)
    return version_of(client, "dgfnet-central", "1")
