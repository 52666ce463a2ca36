"""Answers of a scoring model, held against the torch networks it was made from."""

import dataclasses
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from made import SHIFTS, SIDE, change, network

from dgfnet.bundle import export as exporting
from dgfnet.bundle.graph import open_graph
from dgfnet.bundle.model import ScoringModel, shapley
from dgfnet.bundle.ranges import distances, unit_length
from dgfnet.errors import InputError
from dgfnet.network.variants import DGFNet
from dgfnet.serving.answers import NUMBERS, answer
from dgfnet.serving.cases import Case

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


def test_a_strange_image_behind_the_largest_is_warned_of(scoring):
    album = {
        name: [np.stack([images[0], np.full((SIDE, SIDE), 255, np.uint8)])] for name, images in CROPS.items()
    }
    (texts,) = frame(scoring, album)["warnings"]
    assert any(text.startswith("us brightness 255, training") for text in texts)
    assert len(texts) == len(set(texts))


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


@pytest.mark.parametrize(
    ("whole", "base", "without", "values"),
    [
        (9, 1, (6, 4), [3, 5]),  # 3 and 5 on a base of 1
        (4, 1, (1, 4), [3, 0]),  # only the first matters
        (2, 0, (0, 0), [1, 1]),  # nothing but the pair: shared
        (2.5, 0.5, (), [2]),  # one player
    ],
)
def test_shapley_of_games_solved_by_hand(whole, base, without, values):
    shares = shapley(np.array([float(whole)]), base, *(np.array([float(value)]) for value in without))
    assert [float(share[0]) for share in shares] == values


def test_shapley_values_do_not_depend_on_who_is_called_first():
    rng = np.random.default_rng(0)
    whole, us, ct = rng.normal(size=(3, 20))
    first, second = shapley(whole, 0.3, us, ct)
    np.testing.assert_allclose(shapley(whole, 0.3, ct, us), [second, first])


def test_distances_by_hand():
    training = unit_length(np.array([[1, 0], [0, 1], [-1, 0]], np.float32))
    assert distances(np.array([[5, 0]], np.float32), training[:1]) == pytest.approx(0)
    assert distances(np.array([[0, 3]], np.float32), training[:1]) == pytest.approx(2**0.5)
    assert distances(np.array([[9, 0]], np.float32), training) == pytest.approx(2)  # the farthest of three
    many = np.repeat(training[:1], 5, axis=0)
    assert distances(np.array([[1, 0]], np.float32), np.concatenate([many, training])) == pytest.approx(0)


@given(st.integers(1, 8), st.integers(1, 30))
def test_distances_do_not_depend_on_length(features, count):
    rng = np.random.default_rng(features * 100 + count)
    values = rng.normal(size=(4, features)).astype(np.float32)
    training = unit_length(rng.normal(size=(count, features)).astype(np.float32))
    np.testing.assert_allclose(distances(values * 7, training), distances(values, training), atol=1e-5)


def test_crops_and_embeddings_beyond_the_limits_of_training_are_named(scoring):
    strange = {name: np.full((1, SIDE, SIDE), 255, np.uint8) for name in CROPS}
    (texts,) = frame(scoring, strange)["warnings"]
    assert any(text.startswith("us brightness 255, training") for text in texts)
    assert any(text.startswith("ct contrast 0, training") for text in texts)
    distance = float(
        distances(scoring.members[0].run(strange)[1]["us"], scoring.training_embeddings["us"])[0]
    )
    for limit, named in ((distance * 1.001, False), (distance * 0.999, True)):
        metadata = {**scoring.metadata, "far": {"us": limit, "ct": 2.0}}
        (texts,) = frame(dataclasses.replace(scoring, metadata=metadata), strange)["warnings"]
        assert [text.split(" from")[0] for text in texts if "embedding" in text] == (
            [f"us embedding {distance:.3g}"] if named else []
        )


def test_nearly_all_held_out_nodules_are_nearer_than_the_limit(bundle):
    """The limit of made.py's bundle again, from the crops and networks it was made of."""
    noise = np.random.default_rng(3)
    crops = {name: noise.integers(0, 256, (30, SIDE, SIDE), dtype=np.uint8) for name in ("us", "ct")}
    with torch.no_grad():
        images = {name: torch.from_numpy(images) for name, images in crops.items()}
        values = dict(zip(("us", "ct"), network("dgf", 0).features(images), strict=True))
    held_out = torch.from_numpy(np.arange(30) % 3 == 0)
    metadata = ScoringModel.open(bundle).metadata
    for name, rows in values.items():
        directions = rows / rows.norm(dim=1, keepdim=True)
        fifth = torch.cdist(directions[held_out], directions[~held_out]).sort(dim=1).values[:, 4]
        assert metadata["far"][name] == pytest.approx(float(torch.quantile(fifth, 0.99)), abs=1e-3)


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
    banned = ("torch", "torchvision", "ray", "dvc", "captum", "mlflow", "albumentations", "sklearn", "optuna")
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({banned}))\n"
        "from pathlib import Path; import numpy as np\n"
        "from dgfnet.serving import answers, cases, records\n"
        "from dgfnet.bundle.model import ScoringModel\n"
        f"model = ScoringModel.open(Path({str(bundle)!r}))\n"
        f"crops = {{name: np.zeros((1, {SIDE}, {SIDE}), np.uint8) for name in ('us', 'ct')}}\n"
        "print(answers.answer(model, [cases.Case(crops)])[0]['probability'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert 0 < float(done.stdout) < 1


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
    exporting.export(model, dict.fromkeys(model.modalities, SIDE), tmp_path / "model.onnx")
    run = open_graph(tmp_path / "model.onnx", model.modalities, 1)
    for count in (1, 2, 7):
        crops = {name: CROPS[name][:count] for name in model.modalities}
        logits, embeddings = run(crops)
        np.testing.assert_allclose(logits, log_odds(5, crops, variant), atol=1e-4)
        assert {name: rows.shape for name, rows in embeddings.items()} == dict.fromkeys(crops, (count, 64))


def test_a_graph_that_differs_from_its_network_is_not_written(tmp_path):
    class Other(DGFNet):
        """Says something else whenever it is looked at again."""

        def features(self, images):
            return [value + torch.rand(1) for value in super().features(images)]

    model = network("us_multitask", 1)
    model.__class__ = Other
    with pytest.raises(InputError, match="from the network's"):
        exporting.export(model, dict.fromkeys(model.modalities, SIDE), tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


def test_large_log_odds_are_compared_by_their_share(tmp_path):
    """Of noise a network may be very sure; float32 then has no digits left for an absolute 1e-4."""
    model = network("us_multitask", 1)
    last = model.classifier[-1]
    with torch.no_grad():
        last.weight *= 3e4
        last.bias += 3e3
    crops = {"us": CROPS["us"][:3]}
    exporting.export(model, {"us": SIDE}, tmp_path / "model.onnx")
    logits, _ = open_graph(tmp_path / "model.onnx", ("us",), 1)(crops)
    with torch.no_grad():
        expected = model({"us": torch.from_numpy(crops["us"])}).logit.numpy()
    assert np.abs(expected).min() > 1000
    np.testing.assert_allclose(logits, expected, rtol=1e-4)
