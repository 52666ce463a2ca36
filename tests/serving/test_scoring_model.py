"""Answers of a scoring model, held against the torch networks it was made from."""

import dataclasses
import json
import shutil

import made
import numpy as np
import pandas as pd
import pytest
import torch
from made import ROOT, SHIFTS, SIDE, change, network

from dgfnet.bundle import export as exporting
from dgfnet.bundle.graph import FoldGraph, open_graph
from dgfnet.bundle.model import ScoringModel
from dgfnet.errors import InputError
from dgfnet.network.variants import DGFNet
from dgfnet.serving.answers import NUMBERS, answer
from dgfnet.serving.cases import Case
from dgfnet.settings import load
from dgfnet.vocabulary import mask_of

NOISE = np.random.default_rng(0)
CROPS = {name: NOISE.integers(0, 256, (7, SIDE, SIDE), dtype=np.uint8) for name in ("us", "ct")}


@pytest.fixture(scope="module")
def scoring(bundle):
    return ScoringModel.open(bundle)


def log_odds(seed, crops, variant="dgf"):
    """What a torch network says of pairs, without its shift."""
    with torch.no_grad():
        logits = network(variant, seed)(
            {name: torch.from_numpy(images) for name, images in crops.items()}
        ).logit
    return logits.double().numpy()


def ensemble(crops):
    """The mean of what the networks of made.py say of pairs, each with its shift."""
    return np.mean([log_odds(seed, crops) + shift for seed, shift in enumerate(SHIFTS)], axis=0)


def frame(model, crops):
    return pd.DataFrame(model.answer(crops))


def expit(x):
    return 1 / (1 + np.exp(-x))


def test_an_ensemble_says_the_mean_of_its_shifted_log_odds(scoring):
    table = scoring.score(CROPS)
    np.testing.assert_allclose(table["probability"], expit(ensemble(CROPS)), atol=1e-5)
    # log odds of 0.4, 0.3 and 0.5: -0.405465, -0.847298, 0
    assert scoring.threshold == pytest.approx(expit(-1.252763 / 3), abs=1e-6)
    assert (table["decision"] == (table["probability"] >= scoring.threshold)).all()


def test_the_best_fold_alone_says_what_its_network_says(bundle, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(bundle, folder)
    change(folder, scoring="best_fold", threshold=0.4)
    model = ScoringModel.open(folder)
    table = frame(model, CROPS)
    np.testing.assert_allclose(table["probability"], expit(log_odds(0, CROPS) - 0.5), atol=1e-5)
    assert (table["decision"] == (table["probability"] >= 0.4)).all()
    total = table["us_contribution"] + table["ct_contribution"] + table["reference_log_odds"]
    np.testing.assert_allclose(total, log_odds(0, CROPS) - 0.5, atol=1e-5)
    for place in range(3):
        expected = expit(log_odds(place, CROPS) + SHIFTS[place])
        np.testing.assert_allclose(model.score_by(place, CROPS), expected, atol=1e-5)


def test_all_images_of_a_nodule_are_scored_in_pairs(scoring):
    """Three US images beside two of CT: pairs (0, 0), (1, 1), (2, 0); one beside one: a pair."""
    us, ct = CROPS["us"], CROPS["ct"]
    album = {"us": [us[:3], us[3:4]], "ct": [ct[:2], ct[5:6]]}
    pairs = {"us": us[[0, 1, 2, 3]], "ct": ct[[0, 1, 0, 5]]}
    odds = ensemble(pairs)
    expected = np.array([odds[:3].mean(), odds[3]])
    table = frame(scoring, album)
    np.testing.assert_allclose(table["probability"], expit(expected), atol=1e-5)
    total = table["us_contribution"] + table["ct_contribution"] + table["reference_log_odds"]
    np.testing.assert_allclose(total, expected, atol=1e-5)
    largest = dataclasses.replace(
        scoring,
        metadata={**scoring.metadata, "network": {**scoring.metadata["network"], "images": "largest"}},
    )
    np.testing.assert_allclose(largest.score(album)["probability"], expit(odds[[0, 3]]), atol=1e-5)


def limited(scoring, **limits):
    """The model with limits of caution and refusal for each modality."""
    typical = {
        name: dataclasses.replace(scoring.typical[name], caution=caution, refusal=refusal)
        for name, (caution, refusal) in limits.items()
    }
    return dataclasses.replace(scoring, typical=typical)


def test_unlike_pictures_are_answered_with_caution_or_not_at_all(scoring):
    album = {name: images[:1] for name, images in CROPS.items()}
    numbers = frame(scoring, album)
    assert (numbers["level"][0], numbers["warnings"][0]) == ("answer", [])
    case = Case({name: images[:1] for name, images in CROPS.items()})
    for refusal, level in ((1e9, "caution"), (1e-9, "no answer")):
        model = limited(scoring, us=(1e-12, refusal), ct=(1e9, 1e9))
        (row,) = answer(model, [case])
        assert row["level"] == level
        (text,) = row["warnings"]
        assert "ultrasound" in text
        if level == "caution":
            assert row["probability"] == pytest.approx(numbers["probability"][0])
            assert row["statement"] == ""
        else:
            assert {row[name] for name in NUMBERS} == {None}
            assert (row["prediction_set"], row["variant"]) == ("", "dgf")
            assert row["statement"].startswith(f"no answer: {text}")


def test_ct_that_is_refused_leaves_ultrasound_alone_to_be_answered(scoring):
    model = limited(scoring, us=(1e9, 1e9), ct=(1e-12, 1e-9))
    both, alone = answer(
        model, [Case({n: crops[:1] for n, crops in CROPS.items()}), Case({"us": CROPS["us"][:1]})]
    )
    assert (both["level"], both["probability"]) == ("no answer", None)
    assert "leave out one modality" in both["statement"]
    assert alone["level"] == "answer"
    assert alone["variant"] == "us_multitask"


def test_a_bundle_without_limits_is_always_cautious(bundle, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(bundle, folder)
    metadata = json.loads((folder / "bundle.json").read_text())
    change(folder, typical={}, sets=None)
    table = frame(ScoringModel.open(folder), CROPS)
    assert metadata["typical"]
    assert set(table["level"]) == {"caution"}
    assert set(table["prediction_set"]) == {""}
    assert all("before pictures unlike its training" in text for (text,) in table["warnings"])


def test_prediction_sets_follow_the_limits_of_the_bundle(bundle, tmp_path):
    """The limits of held-out nodules of made.py's bundle again, by the networks that held them out."""
    noise = np.random.default_rng(3)
    crops = {name: noise.integers(0, 256, (30, SIDE, SIDE), dtype=np.uint8) for name in ("us", "ct")}
    fold, label = np.arange(30) % 3, np.arange(30) // 3 % 2
    probability = np.zeros(30)
    for place in range(3):
        rows = fold == place
        own = log_odds(place, {name: images[rows] for name, images in crops.items()})
        probability[rows] = expit(own + SHIFTS[place])
    sets = ScoringModel.open(bundle).metadata["sets"]
    # 15 of each class at a coverage of 0.8: rank floor(0.2 * 16) = 3
    assert sets["coverage"] == 0.8
    assert sets["positive"] == pytest.approx(np.sort(probability[label == 1])[2], abs=1e-6)
    assert sets["negative"] == pytest.approx(np.sort(probability[label == 0])[-3], abs=1e-6)
    folder = tmp_path / "copy"
    shutil.copytree(bundle, folder)
    middle = float(np.median(ScoringModel.open(bundle).score(CROPS)["probability"]))
    change(folder, sets={"coverage": 0.8, "negative": middle, "positive": 2.0})
    table = frame(ScoringModel.open(folder), CROPS)
    expected = np.where(table["probability"] <= middle, "negative", "neither")
    assert table["prediction_set"].tolist() == expected.tolist()


def test_answers_are_batch_invariant(scoring):
    batch = frame(scoring, CROPS)
    back = frame(scoring, {name: images[::-1] for name, images in CROPS.items()}).iloc[::-1]
    numbers = [name for name in NUMBERS if name != "decision" and not name.startswith("moved")]
    np.testing.assert_allclose(back[numbers], batch[numbers], atol=1e-6)
    for place in range(7):
        single = frame(scoring, {name: images[place : place + 1] for name, images in CROPS.items()})
        np.testing.assert_allclose(single[numbers].iloc[0], batch[numbers].iloc[place], atol=1e-6)


def test_more_nodules_than_a_batch(scoring):
    many = {name: np.tile(images, (11, 1, 1)) for name, images in CROPS.items()}
    few = frame(scoring, CROPS)["probability"].to_numpy()
    table = frame(scoring, many)
    assert table.index.tolist() == list(range(77))
    np.testing.assert_allclose(table["probability"], np.tile(few, 11), atol=1e-6)


def test_calibration_and_range_over_folds_by_hand(scoring):
    table = frame(scoring, CROPS)
    odds = [log_odds(seed, CROPS) + shift for seed, shift in enumerate(SHIFTS)]
    calibrated = expit(0.1 + 0.8 * np.stack(odds))
    np.testing.assert_allclose(table["calibrated"], expit(0.1 + 0.8 * np.mean(odds, axis=0)), atol=1e-5)
    np.testing.assert_allclose(table["calibrated_low"], calibrated.min(axis=0), atol=1e-5)
    np.testing.assert_allclose(table["calibrated_high"], calibrated.max(axis=0), atol=1e-5)


def test_without_a_line_nothing_is_calibrated(bundle, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(bundle, folder)
    change(folder, calibration=None)
    table = frame(ScoringModel.open(folder), CROPS)
    assert table[["calibrated", "calibrated_low", "calibrated_high"]].isna().all(axis=None)
    assert table["probability"].notna().all()


def test_contributions_are_shapley_values_of_torch_against_the_mean_crop(scoring, bundle):
    table = frame(scoring, CROPS)
    means = {name: np.repeat(scoring.reference[name][None], 7, axis=0) for name in CROPS}
    both, none = ensemble(CROPS), ensemble(means)
    us_only = ensemble({"us": CROPS["us"], "ct": means["ct"]})
    ct_only = ensemble({"us": means["us"], "ct": CROPS["ct"]})
    expected = (us_only - none + both - ct_only) / 2
    np.testing.assert_allclose(table["us_contribution"], expected, atol=1e-5)
    total = table["us_contribution"] + table["ct_contribution"] + table["reference_log_odds"]
    np.testing.assert_allclose(total, both, atol=1e-5)
    unimodal = frame(ScoringModel.open(bundle / "us"), CROPS)
    assert unimodal["ct_contribution"].isna().all()
    odds = np.log(unimodal["probability"] / (1 - unimodal["probability"]))
    np.testing.assert_allclose(unimodal["reference_log_odds"] + unimodal["us_contribution"], odds, atol=1e-5)


def test_a_case_goes_to_the_model_for_its_modalities(scoring, bundle):
    us, ct = CROPS["us"], CROPS["ct"]
    cases = [
        Case({"us": us[:1]}),
        Case({"us": us[1:2], "ct": ct[1:2]}),
        Case({}, fault="a.png: broken"),
        Case({"ct": ct[3:4]}),
        Case({"us": us[4:5], "ct": ct[4:5]}),
        Case({}),
    ]
    table = pd.DataFrame(answer(scoring, cases))
    assert table["variant"].tolist() == ["us_multitask", "dgf", "", "ct_multitask", "dgf", ""]
    assert table["probability"][4] == pytest.approx(scoring.score(CROPS)["probability"][4], abs=1e-6)
    unimodal = ScoringModel.open(bundle / "ct").score({"ct": ct[3:4]})["probability"][0]
    assert table["probability"][3] == pytest.approx(unimodal, abs=1e-6)
    assert table["statement"][0].startswith("no CT: scored from ultrasound alone")
    assert table["statement"][3].startswith("no ultrasound: scored from CT alone")
    assert table["statement"][2] == "not scored: a.png: broken"
    assert (
        table["statement"][5]
        == "not scored: found images of neither us nor ct, and there is no model for that"
    )
    assert table.loc[[2, 5], list(NUMBERS)].isna().all(axis=None)
    us_model = ScoringModel.open(bundle / "us")
    assert answer(us_model, [Case({"ct": ct[:1]})])[0]["statement"].startswith(
        "not scored: found images of ct"
    )
    (both,) = answer(us_model, [Case({"us": us[:1], "ct": ct[:1]})])
    assert both["statement"] == ""
    assert both["probability"] == pytest.approx(table["probability"][0], abs=1e-6)


def test_serving_needs_no_torch_no_mlflow_and_none_of_the_training(bundle):
    """In a process of its own, where importing them is an error."""
    assert 0 < made.answered_elsewhere(bundle, "probability") < 1


FILES = (
    *("bundle.json", "model.onnx", "reference.safetensors", "folds/2.onnx"),
    *("weights.safetensors", "MODEL_CARD.md", "SHA256SUMS"),
)


@pytest.mark.parametrize("name", FILES)
def test_an_incomplete_or_damaged_bundle_is_one_message(bundle, tmp_path, name):
    for cut in (None, 50):
        folder = tmp_path / str(cut)
        shutil.copytree(bundle, folder)
        content = (folder / name).read_bytes()
        (folder / name).unlink()
        if cut is not None:
            (folder / name).write_bytes(content[:cut])
        with pytest.raises(InputError, match="incomplete or damaged"):
            ScoringModel.open(folder)
    folder = tmp_path / "other"
    shutil.copytree(bundle, folder)
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(bytes(content))
    with pytest.raises(InputError, match=r"not the file that was written|No such file"):
        ScoringModel.open(folder)


def test_a_bundle_with_files_that_nobody_wrote_or_without_its_parts_is_refused(bundle, tmp_path):
    def attempt(words, change):
        folder = tmp_path / "copy"
        shutil.copytree(bundle, folder)
        change(folder)
        with pytest.raises(InputError, match=words):
            ScoringModel.open(folder)
        shutil.rmtree(folder)

    sums = "SHA256SUMS"
    attempt("MODEL_CARD.md was added", lambda folder: (folder / sums).write_text(""))
    attempt(
        "was added", lambda folder: (folder / sums).write_text((folder / sums).read_text().split("\n")[0])
    )
    attempt("x.py was added", lambda folder: (folder / "x.py").write_text("1"))
    attempt("incomplete or damaged", lambda folder: shutil.rmtree(folder / "ct"))


@pytest.mark.parametrize("variant", ["us_resnet", "ct_multitask", "concat", "sum", "product", "dgf"])
def test_every_variant_becomes_a_graph_with_any_number_of_rows(tmp_path, variant):
    model = network(variant, 5)
    means = {name: CROPS[name][-1] for name in model.modalities}
    exporting.export(model, means, tmp_path / "model.onnx")
    run = open_graph(tmp_path / "model.onnx", 1)
    for count in (1, 2, 7):
        crops = {name: CROPS[name][:count] for name in model.modalities}
        mean = {name: np.repeat(crop[None], count, axis=0) for name, crop in means.items()}
        lacking = [{**crops, name: mean[name]} for name in model.modalities] if model.fusion else []
        expected = [log_odds(5, given, variant) for given in (crops, *lacking)]
        np.testing.assert_allclose(run(crops), expected, atol=1e-4)


@pytest.mark.parametrize("side", [32, 64, 96])
def test_regions_become_a_graph_at_sizes_whose_rims_are_one_pixel_wide_or_more(tmp_path, side):
    overrides = ["network.pooling=regions", "network.mask_channel=true", "network.width=0.125"]
    model = DGFNet("concat", "resnet18", load(ROOT / "params.yaml", overrides).network).eval()
    noise = np.random.default_rng(side)
    crops = {name: noise.integers(0, 256, (3, side, side), dtype=np.uint8) for name in ("us", "ct")}
    crops |= {mask_of(name): (crops[name] > 127).astype(np.uint8) for name in ("us", "ct")}
    exporting.export(model, {name: values[0] for name, values in crops.items()}, tmp_path / "model.onnx")
    with torch.no_grad():
        expected = model({name: torch.from_numpy(values) for name, values in crops.items()}).logit
    np.testing.assert_allclose(open_graph(tmp_path / "model.onnx", 1)(crops)[0], expected, atol=1e-4)


def test_a_graph_of_an_older_bundle_is_run_on_the_crops_that_lack_a_modality(tmp_path):
    """Such a graph has the log odds alone; the answers are those of a graph that has the others, too."""
    model, means = network("dgf", 5), {name: CROPS[name][-1] for name in ("us", "ct")}
    exporting.export(model, means, tmp_path / "model.onnx")
    run = open_graph(tmp_path / "model.onnx", 1)
    crops = {name: CROPS[name][:3] for name in ("us", "ct")}
    lacking = [{**crops, name: np.broadcast_to(means[name], crops[name].shape)} for name in ("us", "ct")]
    older = FoldGraph(lambda given: run(given)[:1], 0.25).coalitions(crops, lacking)
    assert older.shape == (3, 3)
    np.testing.assert_allclose(older, FoldGraph(run, 0.25).coalitions(crops, lacking), atol=1e-5)
    np.testing.assert_array_equal(older[0], run(crops)[0] + 0.25)
    assert np.abs(older[0] - older[1:]).min() > 1e-4  # each modality matters here


def test_a_model_whose_graphs_are_older_answers_the_same(scoring):
    def alone(run):
        return lambda crops: run(crops)[:1]

    members = tuple(dataclasses.replace(member, run=alone(member.run)) for member in scoring.members)
    older = dataclasses.replace(scoring, members=members).answer(CROPS)
    for name, values in scoring.answer(CROPS).items():
        if values.dtype == np.float64:
            np.testing.assert_allclose(older[name], values, atol=1e-5)
        else:
            assert older[name].tolist() == values.tolist()


def test_a_graph_that_differs_from_its_network_is_not_written(tmp_path):
    class Other(DGFNet):
        """Says something else whenever it is looked at again."""

        def features(self, images):
            return [value + torch.rand(1) for value in super().features(images)]

    model = network("us_multitask", 1)
    model.__class__ = Other
    with pytest.raises(InputError, match="from the network's"):
        exporting.export(model, {"us": CROPS["us"][0]}, tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


def test_large_log_odds_are_compared_by_their_share(tmp_path):
    """Of noise a network may be very sure; float32 then has no digits left for an absolute 1e-4."""
    model = network("us_multitask", 1)
    last = model.classifier[-1]
    with torch.no_grad():
        last.weight *= 3e4
        last.bias += 3e3
    crops = {"us": CROPS["us"][:3]}
    exporting.export(model, {"us": CROPS["us"][0]}, tmp_path / "model.onnx")
    (logits,) = open_graph(tmp_path / "model.onnx", 1)(crops)
    with torch.no_grad():
        expected = model({"us": torch.from_numpy(crops["us"])}).logit.numpy()
    assert np.abs(expected).min() > 1000
    np.testing.assert_allclose(logits, expected, rtol=1e-4)
