"""A stacked model: networks of a bundle, each joined with measured features by a regression of its fold."""

import dataclasses

import cv2
import numpy as np
import pandas as pd
import pytest
from made import ANSWERS, ROOT, SETTINGS, SHIFTS, SIDE, THRESHOLDS, make, outlines
from scipy.special import expit

from dgfnet.bundle.joint import Joint, training_limits, unusual
from dgfnet.bundle.model import ScoringModel
from dgfnet.bundle.network import BundledNetwork
from dgfnet.bundle.write import stacked, write_bundle
from dgfnet.errors import InputError
from dgfnet.measured.definitions import NAMES
from dgfnet.measured.measure import measure
from dgfnet.serving.answers import answer
from dgfnet.serving.cases import Case, Reading, loose_image, read_case
from dgfnet.serving.decode import decode_case
from dgfnet.settings import load
from dgfnet.tabular.logistic import Logistic
from dgfnet.tabular.terms import Term

NOISE = np.random.default_rng(5)
MASKED = SETTINGS.changed({"network.mask_channel": True, "network.pooling": "regions"})
PLACE = {name: at for at, name in enumerate(NAMES["us"])}
UNITS = {"us": "grey", "ct": "hu"}


def number(column, fill, centre, scale):
    return Term(column, "number", None, fill, centre, scale)


def regression(fold):
    """Reads two features of US, one of CT, and the network's log odds; one of them may be missing."""
    terms = (
        number("us_mean", 90.0, 100.0, 20.0),
        number("us_entropy", 3.0, 3.0, 0.5),
        Term("us_entropy", "gap"),
        number("ct_solidity", 0.9, 0.9, 0.05),
        number("dgf", 0.0, 0.2, 1.5),
    )
    return Logistic(terms, (0.8, -0.5, 0.3, 1.1 + fold, 0.6), 0.1 * fold, 1.0)


MODEL = {"units": UNITS, "folds": [{"fold": fold, **regression(fold).plain()} for fold in range(3)]}
METRICS = {
    "variant": "stack",
    "folds": [{"fold": fold, "threshold": 0.3 + fold / 10, "key": f"k{fold}"} for fold in range(3)],
}


def features(count):
    """Measured features of nodules; the second lacks the one that may be missing."""
    rows = {name: NOISE.normal(size=(count, len(NAMES[name]))) for name in ("us", "ct")}
    rows["us"][:, PLACE["mean"]] = NOISE.normal(100, 20, count)
    rows["ct"][:, NAMES["ct"].index("solidity")] = NOISE.uniform(0.8, 1, count)
    rows["us"][:, PLACE["entropy"]] = NOISE.uniform(2, 4, count)
    rows["us"][1, PLACE["entropy"]] = np.nan
    return rows


def discs(count):
    """Masks of round nodules of several sizes, (count, 1, SIDE, SIDE)."""
    down, across = np.indices((SIDE, SIDE)) - SIDE / 2
    radii = NOISE.uniform(0.15, 0.4, count) * SIDE
    return (np.hypot(down, across) < radii[:, None, None]).astype(np.uint8)[:, None]


def album_of(count):
    crops = {name: NOISE.integers(0, 256, (count, 1, SIDE, SIDE), dtype=np.uint8) for name in ("us", "ct")}
    crops |= {f"{name}_mask": discs(count) for name in ("us", "ct")}
    return {**crops, **{f"{name}_measured": rows for name, rows in features(count).items()}}


def part(album, rows):
    return {name: values[rows] for name, values in album.items()}


@pytest.fixture(scope="module")
def album():
    return album_of(30)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, album):
    place = tmp_path_factory.mktemp("stacked") / "bundle"
    table = pd.DataFrame({"fold": np.arange(30) % 3, "label": np.arange(30) // 3 % 2})
    networks = stacked(make("dgf", MASKED), MODEL, METRICS)
    unimodal = {name: make(f"{name}_multitask", MASKED) for name in ("us", "ct")}
    preprocess = SETTINGS.preprocess
    write_bundle(place, networks, unimodal, ANSWERS, table, album, preprocess, "never trained", outlines())
    return place


@pytest.fixture(scope="module")
def model(folder):
    return ScoringModel.open(folder)


@pytest.fixture(scope="module")
def alone(model):
    """The same networks without what joins them."""
    return dataclasses.replace(
        model, members=tuple(dataclasses.replace(m, joint=None) for m in model.members)
    )


def by_hand(fold, network, album):
    """The regression of a fold, written out."""
    us, ct = album["us_measured"], album["ct_measured"]
    entropy, solidity = us[:, PLACE["entropy"]], ct[:, NAMES["ct"].index("solidity")]
    missing = np.isnan(entropy)
    return (
        0.1 * fold
        + 0.8 * (us[:, PLACE["mean"]] - 100) / 20
        - 0.5 * (np.where(missing, 3.0, entropy) - 3) / 0.5
        + 0.3 * missing
        + (1.1 + fold) * (solidity - 0.9) / 0.05
        + 0.6 * (network - 0.2) / 1.5
    )


def network_odds(alone, fold, album):
    probability = alone.score_by(fold, album)
    return np.log(probability / (1 - probability))


def test_every_network_is_joined_by_the_regression_of_its_fold_and_their_mean_answers(model, alone, album):
    expected = [by_hand(fold, network_odds(alone, fold, album), album) for fold in range(3)]
    for fold in range(3):
        np.testing.assert_allclose(model.score_by(fold, album), expit(expected[fold]), atol=1e-9)
    whole = np.mean(expected, axis=0)
    table = model.score(album)
    np.testing.assert_allclose(table["probability"], expit(whole), atol=1e-9)
    np.testing.assert_allclose(model.answer(album)["probability"], expit(whole), atol=1e-9)
    # mean log odds of 0.3, 0.4 and 0.5: (-0.847298 - 0.405465 + 0) / 3
    assert model.threshold == pytest.approx(expit(-1.252763 / 3), abs=1e-6)
    assert tuple(fold["threshold"] for fold in METRICS["folds"]) != THRESHOLDS
    assert (table["decision"] == (table["probability"] >= model.threshold)).all()


def test_the_network_in_torch_says_the_same_as_its_graph(folder, model, album):
    np.testing.assert_allclose(
        BundledNetwork.open(folder).score(album)["probability"], model.score_by(0, album), atol=1e-5
    )


def test_contributions_add_up_and_features_count_for_their_modality(model, album):
    found = model.answer(album)
    total = found["us_contribution"] + found["ct_contribution"] + found["reference_log_odds"]
    np.testing.assert_allclose(expit(total), found["probability"], atol=1e-9)
    ct = album["ct_measured"].copy()
    ct[:, NAMES["ct"].index("solidity")] += 0.01  # coefficients 1.1, 2.1, 3.1 over 0.05: 0.42 on average
    more = model.answer({**album, "ct_measured": ct})
    np.testing.assert_allclose(more["ct_contribution"] - found["ct_contribution"], 0.42, atol=1e-9)
    np.testing.assert_allclose(more["us_contribution"], found["us_contribution"], atol=1e-9)


def test_at_the_reference_nothing_contributes(model):
    """Mean crops, whose values in the graph are float32, and every feature at the mean of training."""
    means = {name: np.zeros((1, len(NAMES[name]))) for name in ("us", "ct")}
    means["us"][0, [PLACE["mean"], PLACE["entropy"]]] = 100.0, 3.0
    means["ct"][0, NAMES["ct"].index("solidity")] = 0.9
    crops = {name: model.reference[name][None, None] for name in model.inputs}
    found = model.answer({**crops, **{f"{name}_measured": rows for name, rows in means.items()}})
    assert found["us_contribution"][0] == pytest.approx(0, abs=1e-6)
    assert found["ct_contribution"][0] == pytest.approx(0, abs=1e-6)
    assert expit(found["reference_log_odds"][0]) == pytest.approx(found["probability"][0])


def test_answers_are_batch_invariant(model, album):
    batch = model.answer(album)
    for place in (0, 1, 17):
        single = model.answer(part(album, slice(place, place + 1)))
        for name in ("probability", "us_contribution", "ct_contribution", "calibrated_low"):
            np.testing.assert_allclose(single[name][0], batch[name][place], atol=1e-9)


def test_without_ct_the_model_of_ultrasound_answers(model, album):
    case = Case({"us": album["us"][0]}, masks={"us": album["us_mask"][0]})
    (row,) = answer(model, [case])
    assert row["variant"] == "us_multitask"
    assert row["statement"].startswith("no CT")


def test_a_case_without_features_is_refused_by_name(model, album):
    crops = {name: album[name] for name in model.inputs}
    with pytest.raises(InputError, match="measured features of us are missing"):
        model.score(crops)
    with pytest.raises(InputError, match="us_measured: expected 28 numbers of every nodule, found shape"):
        model.score({**part(album, slice(0, 1)), "us_measured": np.zeros((1, 3))})


def test_what_was_not_measured_and_what_lies_far_out_is_said(model, album):
    row = part(album, slice(2, 3))
    us = row["us_measured"].copy()
    us[0, PLACE["mean"]] = np.nan  # training always had it
    us[0, PLACE["entropy"]] = np.nan  # training lacked it once: it has a term of its own
    (texts,) = model.answer({**row, "us_measured": us})["warnings"]
    assert "us mean not measured, taken as the training median" in texts
    assert not any("entropy" in text for text in texts)
    values = album["us_measured"][np.arange(30) % 3 != 0, PLACE["mean"]]
    span = values.max() - values.min()
    for value, said in ((values.max() + 0.49 * span, False), (values.max() + 0.51 * span, True)):
        us[0, PLACE["mean"]] = value
        (texts,) = model.answer({**row, "us_measured": us})["warnings"]
        expected = f"us mean {value:.3g}, training {values.min():.3g} to {values.max():.3g}"
        assert (expected in texts) == said


def test_many_missing_features_are_counted():
    terms = tuple(number(f"us_{name}", 0.0, 0.0, 1.0) for name in NAMES["us"])
    joint = Joint(Logistic(terms, (0.0,) * len(terms), 0.0, 1.0), "dgf", ("us",))
    (sentences,) = unusual(joint, np.full((1, len(terms)), np.nan), training_limits([], np.zeros((0, 0))))
    first = ", ".join(NAMES["us"][:3])
    assert sentences == [f"us {first} and {len(terms) - 3} more not measured, taken as the training median"]


@pytest.mark.parametrize(
    "term", [Term("age", "number"), Term("us_mean", "level", "high"), Term("ct_foci_count", "number")]
)
def test_a_regression_of_other_columns_is_no_stack(term):
    plain = Logistic((term,), (1.0,), 0.0, 1.0).plain()
    with pytest.raises(InputError, match="columns that are not measured"):
        Joint.of(plain, "dgf", ("us", "ct"))


def test_the_regression_is_that_of_the_tables(album):
    """Held against the tabular room, which fitted it; log odds of a network are cut off in both."""
    from dgfnet.tabular.design import log_odds

    joint = Joint.of(regression(1).plain(), "dgf", ("us", "ct"))
    raw = np.array([40.0, -40.0, *NOISE.normal(size=28)])
    table = pd.DataFrame(joint.table(album), columns=joint.columns())
    names = [f"n{place}" for place in range(30)]
    told = pd.DataFrame({"nodule_id": names, "probability": expit(raw)})
    table["dgf"] = log_odds([("dgf", told)], names)["dgf"].to_numpy()
    expected = regression(1).log_odds(table)
    np.testing.assert_allclose(joint.log_odds(raw, joint.beside(album)), expected, atol=1e-6)


def test_the_bundle_keeps_the_regressions_and_says_what_it_is(folder, model):
    members = model.metadata["members"]
    assert [member["stacked"]["key"] for member in members] == ["k0", "k1", "k2"]
    assert [member["threshold"] for member in members] == [0.3, 0.4, 0.5]
    assert [member["shift"] for member in members] == list(SHIFTS)
    assert (model.metadata["variant"], model.metadata["network_variant"]) == ("stack", "dgf")
    assert model.units == UNITS
    assert model.unimodal["us"].units is None
    assert (folder / "MODEL_CARD.md").read_text().startswith("# stack of dgf and measured features, 3 folds")


def picture(path, mask):
    pixels = NOISE.integers(0, 256, mask.shape, dtype=np.uint8)
    cv2.imwrite(str(path), pixels)
    return pixels


def test_a_case_is_measured_as_preprocess_measures(tmp_path):
    """The median over its pictures, with the pixel's side where somebody gave it."""
    mask = cv2.circle(np.zeros((90, 120), np.uint8), (60, 45), 15, 255, -1)
    cv2.imwrite(str(tmp_path / "mask.png"), mask)
    settings = load(ROOT / "params.yaml").preprocess
    seen = [picture(tmp_path / f"{place}.png", mask) for place in range(3)]

    def images(side):
        places = [tmp_path / f"{place}.png" for place in range(3)]
        return [loose_image("us", place, tmp_path / "mask.png", None, side) for place in places]

    for side in (0.1, None):
        expected = [measure(p, mask > 0, (side, side) if side else None, "us") for p in seen]
        with np.errstate(all="ignore"):
            medians = pd.DataFrame(expected).median().to_numpy()
        found = read_case(images(side), Reading(settings, ("us",), {"us": "grey"})).measured["us"]
        np.testing.assert_allclose(found, medians)
        assert np.isnan(found[PLACE["area_mm2"]]) == (side is None)
    other = read_case(images(0.1), Reading(settings, ("us",), {"us": "hu"})).measured["us"]
    assert np.isnan(other[PLACE["mean"]])
    assert other[PLACE["area_mm2"]] == pytest.approx((mask > 0).sum() * 0.01)
    assert read_case(images(0.1), Reading(settings, ("us",))).measured == {}


def test_a_request_tells_the_side_of_its_pixels():
    grey = NOISE.integers(0, 256, (90, 120), dtype=np.uint8)
    mask = cv2.circle(np.zeros((90, 120), np.uint8), (60, 45), 15, 255, -1)
    record = {"us": grey, "us_mask": mask, "us_spacing_mm": 0.2}
    settings = load(ROOT / "params.yaml").preprocess
    found = decode_case(record, Reading(settings, ("us", "ct"), UNITS)).measured["us"]
    assert found[PLACE["area_mm2"]] == pytest.approx((mask > 0).sum() * 0.04)
    for wrong in ("0.2", True, 0.0, 21.0, [0.2]):
        with pytest.raises(InputError, match=r"us_spacing_mm: found .* expected the side of a pixel in mm"):
            decode_case({**record, "us_spacing_mm": wrong}, Reading(settings, ("us", "ct"), UNITS))
    nothing = decode_case({**record, "us_spacing_mm": None}, Reading(settings, ("us", "ct"), UNITS)).measured[
        "us"
    ]
    assert np.isnan(nothing[PLACE["area_mm2"]])


def test_the_mask_is_read_and_goes_with_its_picture(model, album):
    before = model.score(album)["probability"].to_numpy()
    assert model.inputs == ("us", "ct", "us_mask", "ct_mask")
    for name in ("us_mask", "ct_mask"):
        others = {**album, name: album[name][::-1]}
        assert (np.abs(model.score(others)["probability"] - before) > 1e-6).sum() > 20
        missing = {key: values for key, values in album.items() if key != name}
        with pytest.raises(InputError, match=f"crops of {name} are missing"):
            model.score(missing)
    two = {
        name: [np.concatenate([values[0], values[1]])]
        for name, values in album.items()
        if "measured" not in name
    }
    two |= {name: values[:1] for name, values in album.items() if "measured" in name}
    pairs = [
        {**part(album, slice(k, k + 1)), **{n: v[:1] for n, v in album.items() if "measured" in n}}
        for k in (0, 1)
    ]
    with_both = model.score_by(0, two)
    odds = [model.score_by(0, pair) for pair in pairs]
    joint = model.members[
        0
    ].joint  # linear in the network's log odds, so the mean of both is that of the pairs
    assert joint is not None
    np.testing.assert_allclose(
        np.log(with_both / (1 - with_both)), np.mean([np.log(p / (1 - p)) for p in odds], axis=0), atol=1e-6
    )
    short = {**two, "us_mask": [two["us_mask"][0][:1]]}
    with pytest.raises(InputError, match="us_mask: 1 masks of a nodule with 2 pictures"):
        model.score(short)


def test_the_reference_mask_is_where_half_of_the_nodules_are(model, album):
    inside = np.arange(30) % 3 != 0
    expected = album["us_mask"][inside, 0].mean(axis=0) > 0.5
    assert (model.reference["us_mask"] == expected).mean() > 0.99  # at exactly one half rounding goes to even
    assert set(np.unique(model.reference["us_mask"])) == {0, 1}


def test_the_mask_of_a_case_is_that_of_the_archive(tmp_path):
    from dgfnet.preprocess.archive import centre
    from dgfnet.preprocess.crops import stored_crop

    settings = load(ROOT / "params.yaml").preprocess
    grey = NOISE.integers(0, 256, (90, 120), dtype=np.uint8)
    mask = cv2.ellipse(np.zeros((90, 120), np.uint8), (60, 45), (20, 11), 30, 0, 360, 1, -1)
    cv2.imwrite(str(tmp_path / "p.png"), grey)
    cv2.imwrite(str(tmp_path / "m.png"), mask * 255)
    for modality in ("us", "ct"):
        planes, _ = stored_crop(grey, mask, modality, settings)
        case = read_case(
            [loose_image(modality, tmp_path / "p.png", tmp_path / "m.png")], Reading(settings, (modality,))
        )
        size = settings.size(modality)
        np.testing.assert_array_equal(case.masks[modality][0], centre(planes[1], size))
        np.testing.assert_array_equal(case.crops[modality][0], centre(planes[0], size))
