"""Phantoms whose labels depend on a product of both modalities: the oracle, the labels, and nothing at 0."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from dgfnet.errors import InputError
from dgfnet.phantom import enrolment, generate, latents
from dgfnet.settings import load

BOTH = ("us", "ct")
PARAMS = Path(__file__).parents[2] / "params.yaml"


def rule(interaction, signal=1.0):
    return latents.Rule(signal, BOTH, interaction)


def people(n, seed):
    rng = np.random.default_rng(seed)
    return [latents.draw(rng) for _ in range(n)]


def auc(score, label):
    """Share of pairs in order; scores without ties."""
    ranks = np.argsort(np.argsort(score)) + 1
    positive = int(label.sum())
    return (ranks[label].sum() - positive * (positive + 1) / 2) / positive / (len(label) - positive)


def test_without_interaction_labels_and_truth_are_the_bytes_they_were_before_there_was_one(tmp_path):
    patients = enrolment.enrol_main(8, 3, rule(0.0)) + enrolment.enrol_external(3, 3, rule(0.0))
    generate._write_truth(tmp_path, patients, rule(0.0))
    digests = [
        hashlib.md5((tmp_path / name).read_bytes(), usedforsecurity=False).hexdigest()
        for name in ("latents.csv", "bayes.json")
    ]
    assert digests == ["1ab75f62b034cb41ceea04365c40d86f", "a23b8dead6db1ae4cb28d3f4271b906d"]
    drawn = " ".join(f"{patient.labels['central']}{patient.labels['lateral']}" for patient in patients)
    assert drawn == "10 11 10 00 11 10 10 10 10 00 00"


@pytest.mark.parametrize("interaction", [0.3, 1.0])
def test_the_log_odds_are_the_blend_of_a_sum_and_a_product(interaction):
    for site, (w_us, w_ct) in latents.WEIGHTS.items():
        intercepts = []
        for patient in people(200, 1):
            us, ct = patient.us, patient.ct
            p = latents.probability(patient, site, rule(interaction, 0.8))
            blend = (1 - interaction) * (w_us * us + w_ct * ct) + interaction * 3.3 * us * ct
            intercepts.append(np.log(p / (1 - p)) - 0.8 * blend)
        assert np.ptp(intercepts) < 1e-6


def test_of_a_product_either_modality_alone_tells_nothing_and_both_as_much_as_planned():
    """Both scores are symmetric, so over either one the log odds w us ct are, and their sigmoid is 1/2."""
    aucs = latents.bayes_auc(rule(1.0))
    rng = np.random.default_rng(8)
    us, ct = rng.standard_normal((2, 200_000))
    label = rng.random(us.size) < 1 / (1 + np.exp(-3.3 * us * ct))
    for site in latents.WEIGHTS:
        assert aucs[site]["us"] == pytest.approx(0.5, abs=0.004)
        assert aucs[site]["ct"] == pytest.approx(0.5, abs=0.004)
        assert aucs[site]["both"] == pytest.approx(
            auc(us * ct, label), abs=0.006
        )  # clipped factors cost some
        assert aucs[site]["both"] == pytest.approx(0.866, abs=0.001)


@pytest.mark.parametrize("interaction", [0.25, 0.75])
def test_the_oracle_of_one_modality_is_the_share_of_labels_around_its_score(interaction):
    """The best score by regression on drawn labels: shares in 100 bins of one half, judged on the other."""
    rng = np.random.default_rng(9)
    us, ct = latents._population()
    for site in latents.WEIGHTS:
        odds = latents._intercepts(rule(interaction))[site] + rule(interaction).slope(site, us, ct)
        label = rng.random(us.size) < 1 / (1 + np.exp(-odds))
        written = latents.bayes_auc(rule(interaction))[site]
        for name, score in (("us", us), ("ct", ct)):
            half = score.size // 2
            edges = np.quantile(score, np.arange(1, 100) / 100)
            bins = np.digitize(score, edges)
            share = np.bincount(bins[:half], weights=label[:half]) / np.bincount(bins[:half])
            fitted = share[bins[half:]] + 1e-9 * rng.random(half)
            assert written[name] == pytest.approx(auc(fitted, label[half:]), abs=0.012)


@pytest.mark.parametrize("interaction", [0.5, 1.0])
def test_labels_are_drawn_with_the_probability_that_is_written(interaction):
    patients = enrolment.enrol_main(4000, 5, rule(interaction))
    kept = [patient for patient in patients if patient.flaw != "several_malignant"]
    for site in latents.WEIGHTS:
        p = np.array([latents.probability(patient.latents, site, rule(interaction)) for patient in kept])
        label = np.array([patient.labels[site] for patient in kept])
        for low in np.arange(0, 1, 0.1):
            inside = (p >= low) & (p < low + 0.1)
            error = np.sqrt(np.sum(p[inside] * (1 - p[inside]))) / inside.sum()
            assert abs(label[inside].mean() - p[inside].mean()) < 4 * error
        prevalence = latents.PREVALENCE[site]
        assert p.mean() == pytest.approx(prevalence + interaction * (0.5 - prevalence), abs=0.03)


def test_the_interaction_changes_no_factor_and_is_told_only_when_there_is_one(tmp_path, monkeypatch):
    plain, other = (enrolment.enrol_main(60, 5, rule(k)) for k in (0.0, 1.0))
    assert [patient.latents for patient in plain] == [patient.latents for patient in other]
    assert [patient.flaw for patient in plain] == [patient.flaw for patient in other]
    assert [patient.labels for patient in plain] != [patient.labels for patient in other]
    monkeypatch.setattr(generate, "_draw_all", lambda everyone, *_: [([{"a": 1}], [{"b": 2}])])
    for interaction in (0.0, 0.5):
        out = tmp_path / str(interaction)
        generate.generate(out, tmp_path / "truth", 30, 10, 5, 1.0, BOTH, interaction=interaction)
        assert json.loads((out / "phantom.json").read_text()).get("interaction", 0.0) == interaction


def test_a_product_with_a_modality_that_says_nothing_is_refused():
    changes = ["phantom.interaction=0.5", "phantom.informative=[ct]"]
    with pytest.raises(InputError, match=r"interaction 0\.5 needs informative: \[us, ct\], found \[ct\]"):
        load(PARAMS, changes)
