from __future__ import annotations

from dataclasses import replace

import pytest

from dgfnet import digests
from dgfnet.digests import Damaged
from dgfnet.training import task as module
from dgfnet.training.task import Places, code_digest, finished, keep, set_aside


def network(task, **changes):
    return task().network.model_copy(update=changes)


def dgf(task, **changes):
    return network(task, dgf=task().network.dgf.model_copy(update=changes))


@pytest.mark.parametrize(
    ("variant", "shared"),
    [
        *(("us_multitask", True), ("us_resnet", True), ("concat", True), ("dgf", False)),
        *(("concat_record", True), ("dgf_record", False)),
    ],
)
def test_a_setting_of_the_fusion_retrains_the_fusion_alone(task, variant, shared):
    changed = task(variant=variant, network=dgf(task, combiner="sum"))
    assert (changed.key == task(variant=variant).key) == shared


def test_what_changes_no_weight_changes_no_key(task):
    plain = task()
    assert task(validate_every=1).key == plain.key
    assert task(pretrained="/another/place.pt").key == plain.key
    assert task(network=network(task, pretrained="imagenet")).key == plain.key
    other_site = task().network.encoder.model_copy(update={"lateral": "resnet34"})
    assert task(network=network(task, encoder=other_site)).key == plain.key


@pytest.mark.parametrize(
    "facts",
    [
        {"seed": 12},
        {"fold": 2},
        {"epochs": 3},
        {"inner_folds": 3},
        {"encoder": "resnet34"},
        {"pretrained_sha256": "0" * 64},
        {"parents": {"us": "a"}},
        {"archive": "b"},
        {"record": (("age", "d"),)},
        {"training": {"learning_rate": 0.5}},
        {"training": {"sampling": "none"}},
    ],
)
def test_what_changes_weights_changes_the_key(task, facts):
    assert task(**facts).key != task().key


def test_sampling_of_labels_does_not_touch_the_segmentation_phase(task):
    blind = {"phase": "segmentation", "site": None}
    assert task(**blind, training={"sampling": "paper"}).key == task(**blind).key


def test_an_edit_of_what_computes_changes_every_key_and_one_of_what_places_none(task, tmp_path, monkeypatch):
    package = tmp_path / "dgfnet"
    for name in ("training/loop.py", "sweep/cluster.py", "network/dgf.py"):
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text("one")
    monkeypatch.setattr(module, "__file__", str(package / "training" / "task.py"))

    def digest():
        return code_digest.__wrapped__()

    monkeypatch.setattr(module, "CODE", ("network", "training"))
    before = digest()
    (package / "sweep/cluster.py").write_text("two")
    assert digest() == before
    (package / "network/dgf.py").write_text("two")
    assert digest() != before


def test_only_a_resnet_has_a_resnet(task):
    assert task(encoder="resnet34").resnet == "resnet34"
    with pytest.raises(ValueError, match="no ResNet"):
        _ = task(variant="us_tlr", encoder="inception_v3").resnet


@pytest.fixture
def two_fits(tmp_path):
    """Places with two finished fits, a and b, and a folder of outputs."""
    places = Places(*(tmp_path / name for name in ("archive", "measured", "nodules", "folds", "work")))
    for key in ("a", "b"):
        folder = places.fit(key)
        folder.mkdir(parents=True)
        (folder / "fit.json").write_text(f'{{"key": "{key}"}}')
        (folder / "weights.safetensors").write_bytes(key.encode())
        digests.keep(folder)
        (folder / "lock").touch()
    return replace(places, kept=(tmp_path / "artifacts",))


def test_fits_among_the_outputs_take_no_room_twice_and_hold_results_alone(two_fits):
    (folder,) = two_fits.kept
    keep(two_fits, ["a", "b"], folder)
    names = {"fit.json", "weights.safetensors", "digests.json"}
    assert {path.name for path in (folder / "a").iterdir()} == names
    trained = two_fits.work / "fits" / "a" / "weights.safetensors"
    assert (folder / "a" / "weights.safetensors").samefile(trained)
    keep(two_fits, ["b", "nowhere"], folder)
    assert [path.name for path in folder.iterdir()] == ["b"]


def test_a_fit_is_found_among_the_outputs_where_nothing_was_trained(two_fits):
    (folder,) = two_fits.kept
    keep(two_fits, ["a", "b"], folder)
    elsewhere = replace(two_fits, work=two_fits.work / "another")
    assert elsewhere.fit("a") == folder / "a"
    assert elsewhere.fit("c") == elsewhere.work / "fits" / "c"
    assert finished(elsewhere, "a") == {"key": "a"}
    keep(elsewhere, ["a"], folder)  # what lies there stays
    assert finished(elsewhere, "a") == {"key": "a"}
    assert finished(elsewhere, "b") is None


def test_a_damaged_fit_among_the_outputs_is_set_aside_and_trained_again(two_fits):
    (folder,) = two_fits.kept
    keep(two_fits, ["a"], folder)
    elsewhere = replace(two_fits, work=two_fits.work / "another")
    (folder / "a" / "fit.json").unlink()
    with pytest.raises(Damaged, match=r"fit\.json: missing"):
        finished(elsewhere, "a")
    set_aside(elsewhere, "a")
    assert elsewhere.fit("a") == elsewhere.work / "fits" / "a"
    assert finished(elsewhere, "a") is None
