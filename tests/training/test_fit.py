from __future__ import annotations

import json
import math
import shutil
from copy import deepcopy
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from sklearn.metrics import r2_score

from dgfnet.adam import Adam
from dgfnet.dataset.batch import Batch
from dgfnet.dataset.pairs import training_batches
from dgfnet.digests import Damaged
from dgfnet.measured.definitions import NAMES
from dgfnet.network.variants import DGFNet
from dgfnet.preprocess.archive import Archive, centre
from dgfnet.training import fit as module
from dgfnet.training.checkpoint import Checkpoint, carried_over, save_moments
from dgfnet.training.fit import _schedule, fit
from dgfnet.training.hardware import choose
from dgfnet.training.inference import build_bank, predict
from dgfnet.training.loop import Schedule, TrainingDiverged, train
from dgfnet.training.partition import split
from dgfnet.training.start import initial_model, restore
from dgfnet.training.task import finished, set_aside


class Killed(BaseException):
    """Stands for whatever ends a process between two epochs."""


def run(task, places, kill_after=None, checkpoint_every=2):
    def on_epoch(done, record):
        if done == kill_after:
            raise Killed

    return fit(task, places, checkpoint_every, on_epoch)


def weights(task, places):
    return load_file(places.fit(task.key) / "weights.safetensors")


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def tables(places):
    nodules = pd.read_parquet(places.nodules)
    folds = pd.read_csv(places.folds)
    return nodules.merge(folds[["nodule_id", "fold"]], on="nodule_id")


@pytest.fixture(scope="module")
def parents(shop, task, tmp_path_factory):
    """Keys of finished segmentation fits of both modalities, and the work folder they lie in."""
    places = replace(shop, work=tmp_path_factory.mktemp("parents"))
    keys = {}
    for modality in ("us", "ct"):
        facts = {"variant": f"{modality}_multitask", "epochs": 1, "after": 5 if modality == "us" else 0}
        parent = task(phase="segmentation", site=None, **facts)
        run(parent, places)
        keys[modality] = parent.key
    return keys, places.work


@pytest.fixture
def with_parents(parents, places):
    """An own work folder that holds the parents."""
    keys, work = parents
    shutil.copytree(work, places.work)
    return keys, places


SEGMENTING = {"phase": "segmentation", "site": None, "variant": "us_multitask"}
CASES = {
    "segmentation": {"phase": "segmentation", "site": None, "variant": "ct_multitask"},
    "unimodal": {"variant": "us_multitask"},
    "concat": {"variant": "concat"},
    "resnet": {"variant": "ct_resnet"},
    "tlr": {"variant": "us_tlr", "encoder": "inception_v3"},  # the head it was annealed to comes back
    "reading": {**SEGMENTING, "measured": "m", "measured_weight": 1.0},
    "dgf": {"variant": "dgf"},  # its checkpoint holds a bank: epoch 2 is validated
    "record": {"variant": "dgf_record", "record": (("age", "a"), ("sex", "s"))},
    "first of one schedule": {**SEGMENTING, "after": 5},
    "second of one schedule": {"variant": "us_multitask", "before": 1},
    "continued": {"variant": "ct_continued"},
    "choosing": {"variant": "us_multitask", "choose": "accuracy"},
}
SECOND = {
    "concat": ("us", "ct"),
    "dgf": ("us", "ct"),
    "record": ("us", "ct"),
    "second of one schedule": ("us",),
    "continued": ("ct",),
}


@pytest.mark.parametrize("case", CASES)
def test_an_interrupted_fit_continues_to_the_very_same_result(case, with_parents, tmp_path, task):
    keys, places = with_parents
    chosen = task(epochs=5, **CASES[case])
    chosen = replace(chosen, parents={m: keys[m] for m in SECOND.get(case, ())})
    elsewhere = replace(places, work=tmp_path / "interrupted")
    shutil.copytree(places.work, elsewhere.work)
    whole = run(chosen, places)
    with pytest.raises(Killed):
        run(chosen, elsewhere, kill_after=3)  # epoch 3 is lost: the checkpoint is that of epoch 2
    assert finished(elsewhere, chosen.key) is None
    with pytest.raises(Killed):
        run(chosen, elsewhere, kill_after=4)
    resumed = run(chosen, elsewhere)
    assert equal(weights(chosen, places), weights(chosen, elsewhere))
    assert whole["history"] == resumed["history"]
    assert len(whole["history"]) == 5
    if chosen.phase == "classification":
        names = [place.fit(chosen.key) / "predictions.csv" for place in (places, elsewhere)]
        assert names[0].read_bytes() == names[1].read_bytes()


def test_a_killed_fit_does_not_repeat_the_epochs_of_its_checkpoint(places, task):
    chosen, seen = task(epochs=5), []
    with pytest.raises(Killed):
        run(chosen, places, kill_after=3)
    fit(chosen, places, 2, lambda done, record: seen.append(done))
    assert seen == [3, 4, 5]


def test_a_finished_fit_is_returned_without_training(places, task):
    chosen = task()
    record = run(chosen, places)
    folder = places.fit(chosen.key)
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir() if path.name != "lock"}
    again = fit(chosen, places, 1, lambda done, record: pytest.fail("trained again"))
    assert again == json.loads((folder / "fit.json").read_text())
    assert again["history"] == record["history"]
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir() if path.name != "lock"} == before
    assert set(before) == {"digests.json", "fit.json", "predictions.csv", "weights.safetensors"}


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("before", [1, 2, 4])
def test_threads_of_the_process_change_no_weight(places, tmp_path, task, before, workers):
    """The key holds how many threads a fit has, so whoever calls it cannot change them."""
    chosen, elsewhere = task(), replace(places, work=tmp_path / "other")
    run(chosen, places)
    torch.set_num_threads(before)
    try:
        fit(chosen, elsewhere, 1, lambda *_: None, workers)
        assert torch.get_num_threads() == chosen.training.threads
    finally:
        torch.set_num_threads(1)
    assert equal(weights(chosen, places), weights(chosen, elsewhere))
    names = [place.fit(chosen.key) / "predictions.csv" for place in (places, elsewhere)]
    assert names[0].read_bytes() == names[1].read_bytes()


def test_a_fit_with_more_threads_is_another_fit(places, task):
    chosen = task(training={"threads": 2})
    assert chosen.key != task().key
    try:
        run(chosen, places)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)


def test_a_damaged_fit_is_not_finished_and_is_set_aside_whole(places, task):
    chosen = task(epochs=1)
    run(chosen, places)
    folder = places.fit(chosen.key)
    (folder / "predictions.csv").write_text("nodule_id,label,probability\n")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(Damaged, match=r"predictions\.csv: not what was written"):
        finished(places, chosen.key)
    first = set_aside(places, chosen.key)
    assert {path.name: path.read_bytes() for path in first.iterdir()} == before
    assert set_aside(places, chosen.key) is None  # another process was faster
    run(chosen, places)
    assert finished(places, chosen.key) is not None
    assert set_aside(places, chosen.key) != first


def test_a_damaged_head_is_annealed_again(places, task):
    chosen = task(variant="us_tlr", encoder="inception_v3", epochs=2)
    with pytest.raises(Killed):
        run(chosen, places, kill_after=1)
    path = places.fit(chosen.key) / "head.json"
    head = path.read_text()
    path.write_text(head[: len(head) // 2])
    run(chosen, places)
    assert path.read_text() == head


@pytest.mark.parametrize("variant", ["us_resnet", "ct_resnet"])
def test_a_plain_resnet_learns_the_label_alone(places, task, variant):
    record = run(task(variant=variant), places)
    assert all("loss_label" in epoch for epoch in record["history"])
    assert all(not name.startswith("loss_masks") for epoch in record["history"] for name in epoch)
    assert record["dice"] == {}
    assert set(record["scores"]) >= {"auc", "accuracy"}


def test_the_segmentation_phase_predicts_no_label(places, task):
    chosen = task(phase="segmentation", site=None)
    record = run(chosen, places)
    assert not (places.fit(chosen.key) / "predictions.csv").exists()
    assert "scores" not in record
    assert set(record["dice"]) == set(record["iou"]) == {"us_nodule", "us_boundary"}
    for name, value in record["dice"].items():  # of each image iou = dice / (2 - dice), which is convex
        assert value / (2 - value) <= record["iou"][name] + 1e-9 <= value + 1e-9
    assert all("loss_label" not in epoch for epoch in record["history"])


def test_encoders_that_tell_what_was_measured_learn_it(places, task, tmp_path):
    """The area alone was measured, and it is that of the mask in the picture."""
    table = pd.read_parquet(places.measured)
    others = [name for name in NAMES["us"] if name != "area_mm2"]
    table.assign(**dict.fromkeys(others, np.nan)).to_parquet(tmp_path / "area.parquet")
    alone = replace(places, measured=tmp_path / "area.parquet")
    chosen = task(
        **{**SEGMENTING, "measured": "m", "measured_weight": 1.0, "epochs": 40},
        training={"learning_rate": 3e-3},
    )
    record = run(chosen, alone)
    assert list(record["measured_r2"]) == ["us_area_mm2"]
    assert record["measured_r2"]["us_area_mm2"] > 0.5
    plain = run(task(**SEGMENTING), places)
    assert plain["measured_r2"] == {}
    assert "loss_features_us" not in plain["history"][0]


def test_r2_of_what_encoders_tell_is_that_of_the_held_out_pictures(places, task):
    chosen = task(**SEGMENTING, measured="m", measured_weight=1.0)
    record = run(chosen, places)
    archive = Archive.open(places.archive)
    training, held_out = split(chosen, places, archive)
    model = restore(chosen, places)
    rows = held_out.largest["us"]
    with torch.no_grad():
        planes = centre(archive.planes("us")[rows], archive.size["us"])
        told = model({"us": torch.from_numpy(planes[:, 0].copy())}, segment=True).features["us"].numpy()
    table = pd.read_parquet(places.measured)
    values = table[table["modality"] == "us"].sort_values("row")["solidity"].to_numpy()
    seen = values[np.concatenate(list(training.rows["us"]))]
    truth = np.clip((values[rows] - seen.mean()) / seen.std(), -3, 3)
    expected = r2_score(truth, told[:, NAMES["us"].index("solidity")])
    assert record["measured_r2"]["us_solidity"] == pytest.approx(expected, abs=1e-4)


def test_what_starts_from_such_an_encoder_leaves_the_telling_behind(places, task):
    origin = task(**SEGMENTING, measured="m", measured_weight=1.0)
    run(origin, places)
    chosen = task(parents={"us": origin.key}, epochs=1, training={"learning_rate": 1e-9})
    record = run(chosen, places)
    before, after = weights(origin, places), weights(chosen, places)
    assert any(".reader." in name for name in before)
    assert not any(".reader." in name for name in after)
    name = "streams.us.encoder.conv1.weight"
    torch.testing.assert_close(after[name], before[name], atol=1e-6, rtol=0)
    assert record["measured_r2"] == {}


def test_training_changes_the_weights_and_lowers_the_loss(places, task):
    chosen = task(phase="segmentation", site=None, epochs=8)
    history = run(chosen, places)["history"]
    assert [epoch["learning_rate"] for epoch in history[:2]] == pytest.approx(
        [1e-3, 1e-3 * 0.9619397662556434]
    )
    assert history[-1]["loss_masks_us"] < 0.9 * history[0]["loss_masks_us"]


def test_validation_changes_no_weight(places, tmp_path, task):
    elsewhere = replace(places, work=tmp_path / "elsewhere")
    often, rarely = task(validate_every=1), task(validate_every=5)
    assert all("val_auc" in epoch for epoch in run(often, places)["history"])
    assert ["val_auc" in epoch for epoch in run(rarely, elsewhere)["history"]] == [False, True]  # the last
    assert equal(weights(often, places), weights(rarely, elsewhere))


def test_seeds_and_folds_give_other_weights(places, task):
    results = []
    for facts in ({}, {"seed": 12}, {"fold": 2}):
        chosen = task(epochs=1, **facts)
        run(chosen, places)
        results.append(weights(chosen, places)["classifier.0.weight"])
    assert not torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])


@pytest.mark.parametrize(
    ("facts", "training", "term"),
    [
        ({"phase": "segmentation", "site": None}, {"segmentation_weight": 1e39}, "loss_masks_us"),
        ({"variant": "ct_multitask"}, {"segmentation_weight": 1e39}, "loss_masks_ct"),
        ({}, {"learning_rate": 1e30}, "loss_masks_us"),
    ],
)
def test_a_fit_that_diverges_leaves_nothing_behind(places, task, facts, training, term):
    chosen = task(training=training, **facts)
    with pytest.raises(
        TrainingDiverged, match=rf"^{term} is (nan|inf) in epoch 0; lower training\.learning_rate"
    ):
        fit(chosen, places, 1, lambda done, record: pytest.fail("an epoch that diverged was reported"))
    assert [path.name for path in places.fit(chosen.key).iterdir()] == ["lock"]


def test_the_epoch_that_validates_best_is_kept(places, task, monkeypatch):
    seen = []
    monkeypatch.setattr(module, "save_checkpoint", lambda path, state: seen.append(state))
    # what follows the first best epoch is worse: rates that leap, on few pictures
    chosen = task(epochs=5, choose="accuracy", training={"learning_rate": 0.05})
    record = run(chosen, places, checkpoint_every=1)
    told = [epoch["val_accuracy"] for epoch in record["history"]]
    best = told.index(max(told))
    assert record["chosen_epoch"] == best + 1
    assert best < 4  # else the last is kept anyway, and this shows nothing
    kept = {name: value for name, value in weights(chosen, places).items() if "bank_" not in name}
    for epoch, state in enumerate(seen):
        # states share their tensors with the model; what was chosen is a copy
        assert epoch < best or equal(state.chosen, kept)
    last = run(replace(chosen, choose=None), places)
    assert "chosen_epoch" not in last
    assert not equal(weights(replace(chosen, choose=None), places), kept)


@pytest.mark.parametrize(
    ("values", "epoch"),
    [([0.5, 0.7, 0.7], 2), ([0.4], 1), ([None, 0.1], 2), ([None, None], 1)],
)
def test_of_equal_epochs_the_first_is_best_and_an_undefined_one_the_worst(values, epoch):
    history = [{} if value is None else {"val_auc": value} for value in values]
    assert module.best_epoch(history, "auc") == epoch


def test_divergence_names_the_term_and_the_epoch(tiny):
    def batches(epoch):
        label = torch.tensor([0.0, 1.0, 1.0 if epoch < 2 else np.nan])
        image, target = torch.zeros(3, 32, 32).byte(), torch.zeros(3, 2, 32, 32).byte()
        yield Batch({"us": image}, {"us": target}, label, torch.arange(3))

    model, reported = DGFNet("us_multitask", "resnet18", tiny.network), []
    schedule = Schedule(epochs=4, seed=1, batches=batches, steps=4, classify=True)
    with pytest.raises(TrainingDiverged) as caught:
        train(
            model, schedule, tiny.training, choose("auto"), None, lambda state: reported.append(state.epoch)
        )
    # the cosine's third of four epochs has half the rate
    assert str(caught.value) == "loss_label is nan in epoch 2; lower training.learning_rate (0.0005)"
    assert reported == [1, 2]


@pytest.mark.parametrize("sampling", ["train_only", "paper", "none"])
@pytest.mark.parametrize("site", ["central", "lateral", None])
@pytest.mark.parametrize("fold", range(4))
def test_training_and_held_out_share_no_patient(places, task, sampling, site, fold):
    archive, table = Archive.open(places.archive), tables(places)
    training, held_out = split(task(site=site, fold=fold, training={"sampling": sampling}), places, archive)
    assert not set(training.patients.tolist()) & set(held_out.patients.tolist())
    assert set(held_out.ids) <= set(table.loc[table["fold"] == fold, "nodule_id"])
    known = table if site is None else table[table[f"lnm_{site}"].notna()]
    everyone = sorted([*training.ids, *held_out.ids])
    if site is not None and sampling == "paper":
        assert set(everyone) < set(known["nodule_id"])
    else:
        assert everyone == sorted(known["nodule_id"])
    assert not any(name.startswith(("P24", "P25", "P26")) for name in everyone)  # the external cohort


def test_nodules_carry_their_own_labels_and_images(places, task):
    archive, table = Archive.open(places.archive), tables(places).set_index("nodule_id")
    for nodules in split(task(site="lateral"), places, archive):
        assert nodules.labels.tolist() == table.loc[list(nodules.ids), "lnm_lateral"].tolist()
        for modality in ("us", "ct"):
            owner = archive.rows(modality).set_index("row")["nodule_id"]
            for name, rows, best in zip(
                nodules.ids, nodules.rows[modality], nodules.largest[modality], strict=True
            ):
                assert set(owner[rows]) == {name}
                assert len(rows) == 2
                assert best in rows


def test_paper_sampling_balances_the_cohort_once_for_all_variants_and_folds(places, task):
    archive, members, labels = Archive.open(places.archive), [], []
    for fold in range(4):
        for variant in ("us_multitask", "dgf"):
            for seed in (1, 2):
                chosen = task(fold=fold, variant=variant, seed=seed, training={"sampling": "paper"})
                parts = split(chosen, places, archive)
                members.append(frozenset(parts[0].ids + parts[1].ids))
                labels = np.concatenate([part.labels for part in parts])
    assert len(set(members)) == 1
    known = tables(places)["lnm_central"]
    assert (labels == 1).sum() == (labels == 0).sum() == min((known == 1).sum(), (known == 0).sum())
    other = split(task(folds="other", training={"sampling": "paper"}), places, archive)
    assert frozenset(other[0].ids + other[1].ids) != members[0]


@pytest.mark.parametrize("sampling", ["train_only", "none"])
def test_every_epoch_draws_anew_and_the_same_epoch_alike(places, task, sampling):
    chosen = task(training={"sampling": sampling})
    archive = Archive.open(places.archive)
    training, _ = split(chosen, places, archive)
    schedule = _schedule(
        chosen,
        training,
        DGFNet("us_resnet", "resnet18", chosen.network),
        partial(training_batches, archive),
    )

    def drawn(number):
        batches = list(schedule.batches(number))
        return tuple(torch.cat([getattr(batch, name) for batch in batches]) for name in ("patients", "label"))

    first, second, again = drawn(0), drawn(1), drawn(0)
    assert not torch.equal(first[0], second[0])
    assert torch.equal(first[0], again[0])
    positives = int((training.labels == 1).sum())
    for patients, labels in (first, second):
        assert len(patients) == (2 * positives if sampling == "train_only" else len(training))
        assert int(labels.sum()) == positives
        assert set(patients.tolist()) <= set(training.patients.tolist())


def raw_probability(task, places):
    archive = Archive.open(places.archive)
    _, held_out = split(task, places, archive)
    found = predict(restore(task, places), archive, held_out, choose("auto"), "all", segment=False)
    return held_out, found.probability


def test_probabilities_of_a_balanced_training_are_moved_to_the_prevalence(places, task):
    chosen = task(training={"sampling": "train_only"})
    record = run(chosen, places)
    table = tables(places)
    prevalence = table.loc[table["fold"] != 1, "lnm_central"].mean()
    held_out, raw = raw_probability(chosen, places)
    predicted = pd.read_csv(places.fit(chosen.key) / "predictions.csv")
    odds = raw / (1 - raw) * prevalence / (1 - prevalence)  # the classes were equal in training
    assert predicted["nodule_id"].tolist() == list(held_out.ids)
    assert predicted["label"].tolist() == held_out.labels.tolist()
    np.testing.assert_allclose(predicted["probability"], odds / (1 + odds), rtol=1e-6)
    assert record["threshold"] == pytest.approx(prevalence)
    assert ((raw > 0.5) == (predicted["probability"] > record["threshold"])).all()
    assert np.abs(raw - predicted["probability"]).max() > 0.01


@pytest.mark.parametrize("sampling", ["paper", "none"])
def test_other_samplings_need_no_correction(places, task, sampling):
    chosen = task(training={"sampling": sampling})
    record = run(chosen, places)
    _, raw = raw_probability(chosen, places)
    predicted = pd.read_csv(places.fit(chosen.key) / "predictions.csv")
    np.testing.assert_allclose(predicted["probability"], raw, rtol=1e-6)
    assert record["threshold"] == 0.5


def test_two_fits_of_one_schedule_compute_what_one_would(tiny, tmp_path):
    """Four epochs at once, and two and two with the moments on disk between them."""
    torch.manual_seed(5)
    first = DGFNet("us_multitask", "resnet18", tiny.network).to(memory_format=torch.channels_last)
    whole = deepcopy(first)
    draw = np.random.default_rng(4)
    pictures = torch.from_numpy(draw.integers(0, 255, (4, 6, 32, 32), dtype=np.uint8))
    masks = torch.from_numpy(draw.integers(0, 2, (6, 2, 32, 32), dtype=np.uint8))

    def schedule(epochs, at, before, after):
        def batches(epoch):
            label = torch.tensor([0.0, 1, 0, 1, 0, 1])
            yield Batch({"us": pictures[at + epoch]}, {"us": masks}, label, torch.arange(6))

        return Schedule(epochs, 20 + at, batches, 4, False, before=before, after=after)

    def trained(model, schedule, checkpoint=None):
        states = []
        history = train(model, schedule, tiny.training, choose("auto"), checkpoint, states.append)
        return [record["learning_rate"] for record in history], states[-1]

    rates, _ = trained(whole, schedule(4, 0, 0, 0))
    early, state = trained(first, schedule(2, 0, 0, 2))
    save_moments(tmp_path / "moments.safetensors", first, state.optimiser)
    second = DGFNet("us_multitask", "resnet18", tiny.network).to(memory_format=torch.channels_last)
    second.load_state_dict(first.state_dict())
    fresh = Adam(second.optimised(tiny.training), fused=True).state_dict()
    optimiser = carried_over(tmp_path / "moments.safetensors", second, fresh)
    late, _ = trained(second, schedule(2, 2, 2, 0), Checkpoint(0, second.state_dict(), optimiser, {}, []))
    assert early + late == rates
    assert equal(second.state_dict(), whole.state_dict())


def test_the_second_fit_of_a_schedule_starts_with_the_moments_of_the_first(with_parents, task):
    keys, places = with_parents
    parent = load_file(places.fit(keys["us"]) / "moments.safetensors")
    own = {name.rsplit(":", 1)[0] for name in parent}
    assert any(name.startswith("streams.us.encoder.") for name in own)
    assert not any(name.startswith("classifier.") for name in own)  # the first phase has no label
    assert not (places.fit(keys["ct"]) / "moments.safetensors").exists()
    facts = {"variant": "us_multitask", "parents": {"us": keys["us"]}, "epochs": 5, "before": 1}
    record = run(task(**facts), places)
    full = task().training.learning_rate
    expected = [full * (1 + math.cos(math.pi * epoch / 6)) / 2 for epoch in range(1, 6)]
    assert [epoch["learning_rate"] for epoch in record["history"]] == pytest.approx(expected)
    apart = run(task(**{**facts, "before": 0}), places)
    assert apart["history"][0]["learning_rate"] == full


def test_a_continued_stream_starts_from_the_trained_one_with_a_new_classifier(with_parents, task):
    keys, places = with_parents
    chosen = task(variant="us_continued", parents={"us": keys["us"]}, seed=12)
    archive = Archive.open(places.archive)
    training, _ = split(chosen, places, archive)
    model, _ = initial_model(chosen, places, archive, training, choose("auto"))
    assert model.modalities == ("us",)
    parent = load_file(places.fit(keys["us"]) / "weights.safetensors")
    for name, value in model.state_dict().items():
        assert torch.equal(value, parent[name]) == (not name.startswith("classifier.")), name


def test_a_fusion_starts_from_its_parents_streams(with_parents, task):
    keys, places = with_parents
    chosen = task(variant="dgf", parents=keys)
    archive = Archive.open(places.archive)
    training, _ = split(chosen, places, archive)
    model, _ = initial_model(chosen, places, archive, training, choose("auto"))
    for modality, key in keys.items():
        parent = load_file(places.fit(key) / "weights.safetensors")
        own = {name: value for name, value in parent.items() if name.startswith(f"streams.{modality}.")}
        assert len(own) > 100
        assert all(torch.equal(model.state_dict()[name], value) for name, value in own.items())


def test_a_start_from_scratch_takes_the_statistics_of_the_training_images(places, task):
    chosen = task()
    archive = Archive.open(places.archive)
    training, held_out = split(chosen, places, archive)
    stream = initial_model(chosen, places, archive, training, choose("auto"))[0].streams["us"]
    names = archive.rows("us").set_index("row")["nodule_id"]
    rows = [row for row, name in names.items() if name in training.ids]
    grey = archive.us[rows, 0, 4:36, 4:36] / 255
    assert float(stream.mean) == pytest.approx(grey.mean(), rel=1e-5)
    assert float(stream.std) == pytest.approx(grey.std(), rel=1e-5)
    assert not set(training.ids) & set(held_out.ids)


def test_the_bank_is_the_training_nodules(with_parents, task):
    keys, places = with_parents
    chosen = task(variant="dgf", parents=keys, epochs=1)
    run(chosen, places)
    archive = Archive.open(places.archive)
    training, held_out = split(chosen, places, archive)
    level = restore(chosen, places).nodule_level
    assert level.bank_patients.tolist() == training.patients.tolist()
    assert level.bank_keys.shape == level.bank_values.shape == (len(training), 32)
    assert not set(level.bank_patients.tolist()) & set(held_out.patients.tolist())
    rebuilt = restore(chosen, places)
    build_bank(rebuilt, archive, training, choose("auto"))
    torch.testing.assert_close(rebuilt.nodule_level.bank_keys, level.bank_keys)


def test_predicting_some_of_the_nodules_predicts_them_alike(with_parents, task):
    keys, places = with_parents
    chosen = task(variant="dgf", parents=keys, epochs=1)
    run(chosen, places)
    archive, model = Archive.open(places.archive), restore(chosen, places)
    _, held_out = split(chosen, places, archive)
    whole = predict(model, archive, held_out, choose("auto"), "all", segment=False).probability
    some = np.array([5, 0, 3])
    part = predict(model, archive, held_out.take(some), choose("auto"), "all", segment=False).probability
    np.testing.assert_allclose(part, whole[some], rtol=0, atol=1e-6)


FACTS = {
    "phase": "segmentation",
    "variant": "dgf",
    "encoder": "resnet34",
    "site": "lateral",
    "fold": 2,
    "epochs": 3,
    "before": 1,
    "after": 1,
    "choose": "auc",
    "seed": 12,
    "parents": {"us": "k"},
    "pretrained_sha256": "s",
    "archive": "b",
    "folds": "g",
    "measured": "m",
    "measured_weight": 0.5,
}


@pytest.mark.parametrize("fact", FACTS)
def test_every_fact_a_result_depends_on_is_in_the_key(task, fact):
    assert task(**{fact: FACTS[fact]}).key != task().key


def test_settings_of_network_and_training_are_in_the_key_and_paths_are_not(task, tiny):
    assert task(training={"batch": 9}).key != task().key
    assert task(network=tiny.network.model_copy(update={"dropout": 0.2})).key != task().key
    assert task(pretrained="/elsewhere/resnet18.pt").key == task().key
    assert task(validate_every=1).key == task().key
    assert task().key == task().key
    assert len(task().key) == 20


def test_a_task_has_a_name_for_people(task):
    assert task(variant="dgf", fold=3).name == "central/dgf/fold3"
    assert task(phase="segmentation", site=None, fold=0).name == "segmentation/us_multitask/fold0"
