"""What is known of a version: facts in one tag, metrics on its run and on its model."""

import json
from types import SimpleNamespace

import pytest

from dgfnet import tracking
from dgfnet.registry.facts import facts, keep_facts, keep_metrics, logged_model, with_limits
from dgfnet.registry.stored import version_of

MODEL = "dgfnet-central"


def test_facts_stand_in_one_tag_and_one_set_by_hand_wins(settings, version):
    client = tracking.registry(settings)
    keep_facts(client, version_of(client, MODEL, "1"), {"fold": "2", "seal": "a"})
    keep_facts(client, version_of(client, MODEL, "1"), {"seal": "b"})
    now = version_of(client, MODEL, "1")
    assert {name: facts(now)[name] for name in ("fold", "seal")} == {"fold": "2", "seal": "b"}
    assert {"fold", "seal"} & now.tags.keys() == set()
    assert json.loads(now.tags["dgfnet"])["fold"] == "2"
    client.set_model_version_tag(MODEL, "1", "seal", "by hand")
    assert facts(version_of(client, MODEL, "1"))["seal"] == "by hand"
    keep_facts(client, version_of(client, MODEL, "1"), {"seal": "c"})
    assert facts(version_of(client, MODEL, "1"))["seal"] == "c"


def test_metrics_are_those_of_the_run_and_of_the_model(settings, version):
    client = tracking.registry(settings)
    experiment = client.get_run(version.run_id).info.experiment_id
    model = client.create_logged_model(experiment, source_run_id=version.run_id)
    made = client.create_model_version(MODEL, f"models:/{model.model_id}", version.run_id)
    values = {"external_auc": 0.75, "external_auc_low": None, "external_auc_high": float("nan")}
    keep_metrics(client, made, values, "external cohort", "d" * 40)
    assert client.get_run(version.run_id).data.metrics == {"auc": 0.1 + 0.2, "external_auc": 0.75}
    (metric,) = client.get_logged_model(model.model_id).metrics
    assert (metric.key, metric.value) == ("external_auc", 0.75)
    assert (metric.dataset_name, metric.dataset_digest) == ("external cohort", "d" * 36)


@pytest.mark.parametrize(
    ("source", "model"), [("models:/m-1a", "m-1a"), ("file:///a/model", None), ("models:/x/1", None)]
)
def test_the_model_of_a_version_is_in_its_address(source, model):
    assert logged_model(SimpleNamespace(source=source)) == model


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"auc": 0.8523, "auc_low": 0.8, "auc_high": 0.9004}, "0.852 (0.800-0.900)"),
        ({"auc": 0.5, "auc_low": float("nan"), "auc_high": 0.9}, "0.500"),
        ({"auc": None}, "undefined"),
        ({"auc": float("nan"), "auc_low": 0.1, "auc_high": 0.2}, "undefined"),
    ],
)
def test_a_value_is_read_with_its_limits(values, text):
    assert with_limits(values, "auc") == text
