"""Pictures unlike those of training: features by hand, limits on held-out nodules, what a person reads."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dgfnet.bundle.novelty import FEATURES, Typical, features, judge
from dgfnet.bundle.typical import BEYOND, limits_of

NOISE = np.random.default_rng(0)


def named(crop):
    return dict(zip(FEATURES, features(np.asarray(crop, np.uint8)[None])[0], strict=True))


def test_grey_features_by_hand():
    crop = np.full((8, 8), 100)
    crop[:4] = 0
    crop[0, :4] = 255  # 4 of 64 white, 28 black
    values = named(crop)
    mean = (32 * 100 + 4 * 255) / 64
    square = (32 * 100**2 + 4 * 255**2) / 64
    assert values["grey mean"] == pytest.approx(mean)
    assert (values["grey 5"], values["grey 50"], values["grey 95"]) == (0, 100, pytest.approx(231.75))
    # the 95th percentile: 0.85 of the way from 100 to 255, between the 60th and the 61st of 64
    assert values["contrast"] == pytest.approx(np.log(np.sqrt(square - mean**2) + 1))
    assert values["black"] == pytest.approx(np.log(28 / 64 + 0.005))
    assert values["white"] == pytest.approx(np.log(4 / 64 + 0.005))


def test_detail_and_centre_by_hand():
    stripes = np.tile([0, 200], (8, 4))  # columns: every step across is 200, down none; halves are even
    values = named(stripes)
    assert values["detail 0 across"] == pytest.approx(np.log(200 / 101 + 0.01))
    assert values["detail 0 down"] == pytest.approx(np.log(0.01))
    assert values["detail 1 across"] == values["detail 2 down"] == pytest.approx(np.log(0.01))
    bright = np.zeros((8, 8))
    bright[2:6, 2:6] = 200  # a quarter of the pixels: mean 50, standard deviation 100 * sqrt(3) / 2
    assert named(bright)["centre"] == pytest.approx(150 / (100 * np.sqrt(0.75) + 1))


def test_an_even_crop_has_features():
    for grey in (0, 128, 255):
        assert np.isfinite(features(np.full((2, 9, 9), grey, np.uint8))).all()


@given(st.integers(8, 40), st.integers(1, 5))
def test_features_of_a_crop_do_not_depend_on_its_company(side, count):
    crops = np.random.default_rng(side + count).integers(0, 256, (count, side, side), dtype=np.uint8)
    single = np.concatenate([features(crop[None]) for crop in crops])
    np.testing.assert_allclose(features(crops), single, rtol=1e-12)
    np.testing.assert_allclose(features(crops[::-1])[::-1], single, rtol=1e-12)


def plain(caution=2.0, refusal=3.0, **changed):
    """A cohort of mean 0, in which every feature varies by 1 and none with another."""
    mean = np.zeros(len(FEATURES))
    for name, value in changed.items():
        mean[FEATURES.index(name)] = value
    return Typical(mean, np.ones(len(FEATURES)), np.eye(len(FEATURES)), caution, refusal)


def row(**changed):
    values = np.zeros((1, len(FEATURES)))
    for name, value in changed.items():
        values[0, FEATURES.index(name)] = value
    return values


def test_distance_is_mahalanobis_over_features_and_its_mean_over_crops():
    root = np.sqrt(len(FEATURES))
    assert plain().distance(row(contrast=3.0)) == pytest.approx(3 / root)
    both = np.concatenate([row(contrast=3.0), row(black=4.0, white=3.0)])
    assert plain().distance(both) == pytest.approx((3 + 5) / 2 / root)
    tied = plain()
    tied.precision[:2, :2] = np.linalg.inv([[1, 0.8], [0.8, 1]])  # two that vary together
    together, against = row(**{"grey mean": 1.0, "grey 5": 1.0}), row(**{"grey mean": 1.0, "grey 5": -1.0})
    assert tied.distance(together) ** 2 * len(FEATURES) == pytest.approx(2 / 1.8)
    assert tied.distance(against) ** 2 * len(FEATURES) == pytest.approx(2 / 0.2)


def at(distance, name="contrast"):
    """Features of a crop that is so far from the cohort."""
    return row(**{name: distance * np.sqrt(len(FEATURES))})


def test_three_levels_and_the_worst_of_both_modalities():
    limits = {"us": plain(), "ct": plain(**{"grey mean": 1e6})}
    usual = judge(limits, {"us": at(1.99)})
    assert (usual.level, usual.reasons) == ("answer", ())
    assert usual.novelty == pytest.approx({"us": 1.99 / 2})
    verdict = judge(limits, {"us": at(2.5)})
    level, (text,) = verdict.level, verdict.reasons
    assert level == "caution"
    assert text == (
        "ultrasound of more contrast than in the training cohort (1.2 times the usual limit); check dynamic "
        "range or window"
    )
    assert judge(limits, {"us": at(3.01)}).level == "no answer"
    near = {"us": plain(), "ct": plain()}
    assert judge(near, {"us": at(2.5), "ct": at(1)}).level == "caution"
    for pair in ({"us": at(3.5), "ct": at(2.5)}, {"us": at(2.5), "ct": at(3.5)}):
        verdict = judge(near, pair)
        level, texts = verdict.level, verdict.reasons
        assert level == "no answer"
        assert len(texts) == 2


def test_a_picture_of_the_other_modality_is_told_apart():
    limits = {"us": plain(), "ct": plain(contrast=30.0)}
    verdict = judge(limits, {"us": row(contrast=30.0)})
    level, (text,) = verdict.level, verdict.reasons
    assert (level, text) == (
        "no answer",
        "the ultrasound picture looks like CT; check that it is in the right place",
    )
    (text,) = judge(limits, {"us": row(contrast=-30.0)}).reasons
    assert "looks like" not in text
    assert text.startswith("ultrasound of less contrast")


def cohort(count, images=2):
    """Nodules whose pictures have a brightness of their own; folds."""
    pictures = [
        np.clip(NOISE.normal(NOISE.normal(120, 10), 20, (images, 16, 16)), 0, 255).astype(np.uint8)
        for _ in range(count)
    ]
    return pictures, np.arange(count) % 4


def test_false_alarms_on_held_out_nodules_are_those_asked_for():
    us, folds = cohort(400)
    ct, _ = cohort(400)
    plain_limits, levels = limits_of({"us": us, "ct": ct}, ("us", "ct"), folds, 0.1)
    assert levels["caution"] + levels["no answer"] <= 0.1
    assert levels["caution"] + levels["no answer"] >= 0.05  # 5 % each, and some nodules are beyond both
    for own in plain_limits.values():
        assert own["refusal"] == pytest.approx(BEYOND * own["caution"])
    typical = {name: Typical.of(own) for name, own in plain_limits.items()}
    new, _ = cohort(200)
    judged = [judge(typical, {"us": features(crops), "ct": features(crops)}).level for crops in new]
    assert judged.count("answer") >= 160


def test_other_pictures_are_refused():
    us, folds = cohort(100)
    ct = [crops // 2 + 100 for crops in cohort(100)[0]]  # half the contrast
    typical = {
        name: Typical.of(own)
        for name, own in limits_of({"us": us, "ct": ct}, ("us", "ct"), folds, 0.05)[0].items()
    }
    others = {
        "black": np.zeros((1, 16, 16)),
        "even": np.full((1, 16, 16), 120),
        "steps": np.tile(np.arange(16) * 16, (1, 16, 1)),
        "blurred": us[0][:1] // 8 + 105,
    }
    for name, crops in others.items():
        assert judge(typical, {"us": features(crops.astype(np.uint8))}).level == "no answer", name
    verdict = judge(typical, {"us": features(ct[0])})
    level, (text,) = verdict.level, verdict.reasons
    assert (level, text.split(";")[0]) == ("no answer", "the ultrasound picture looks like CT")


def test_crops_that_never_vary_are_no_proof_that_none_may():
    even = [np.full((1, 16, 16), 100, np.uint8)] * 20
    limits, _ = limits_of({"us": even}, ("us",), np.arange(20) % 4, 0.05)
    assert np.isfinite(np.array(limits["us"]["precision"])).all()
    assert judge({"us": Typical.of(limits["us"])}, {"us": features(even[0])}).level == "answer"


def test_of_a_modality_that_is_not_read_there_are_no_false_alarms():
    """All of the 10 % are those of ultrasound, and CT is known only to tell what was put in its place."""
    us, folds = cohort(400)
    ct, _ = cohort(400)
    limits, levels = limits_of({"us": us, "ct": ct}, ("us",), folds, 0.1)
    assert set(limits) == {"us", "ct"}
    assert levels["caution"] + levels["no answer"] == pytest.approx(0.1, abs=0.005)
