"""A fusion whose networks have a stream of the record: graph, bundle, contributions of three, warnings."""

import json
import shutil
from itertools import combinations

import made
import mlflow
import numpy as np
import onnxruntime
import pandas as pd
import pytest
import requests
import torch
from hypothesis import given
from hypothesis import strategies as st
from mlflow.models import Model
from scipy.special import expit, logit
from server_process import running

from dgfnet.bundle import export as exporting
from dgfnet.bundle.graph import open_graph
from dgfnet.bundle.model import ScoringModel
from dgfnet.bundle.network import BundledNetwork
from dgfnet.bundle.occlusion import occlusion
from dgfnet.bundle.record import Column, RecordInput, cells
from dgfnet.bundle.write import write_bundle
from dgfnet.errors import InputError
from dgfnet.register.measure import batch_variance
from dgfnet.serving.access import Access
from dgfnet.serving.answers import answer, explain
from dgfnet.serving.cases import Reading
from dgfnet.serving.connection import Limits
from dgfnet.serving.decode import decode_case
from dgfnet.serving.pyfunc import save_model
from dgfnet.serving.records import answer_records
from dgfnet.serving.server import scoring_app
from dgfnet.tabular.terms import Term, clinical, raw
from dgfnet.vocabulary import RECORD_FUSIONS

AGE, GAP = Term("age", "number", None, 50.0, 48.0, 10.0), Term("age", "gap")
FEMALE, MALE = (Term("sex", "level", name) for name in "FM")
TERMS = (
    (AGE, GAP, FEMALE, MALE),
    (Term("age", "number", None, 52.0, 51.0, 12.0), FEMALE, MALE),  # no gap in its training part
    (Term("age", "number", None, 49.0, 47.0, 9.0), GAP, FEMALE),  # no man
)
COLUMNS = ("age", "sex")
PARTS = ("us_contribution", "ct_contribution", "record_contribution", "reference_log_odds")
AGES = st.none() | st.floats(0, 120)
SEXES = st.sampled_from([None, "F", "M", "X"])


def nodules(count):
    """Ages of 20 to 80, one unknown; women and men, one of whom it is not known."""
    noise = np.random.default_rng(4)
    crops = {
        name: noise.integers(0, 256, (count, 1, made.SIDE, made.SIDE), dtype=np.uint8)
        for name in ("us", "ct")
    }
    ages = [None, *np.linspace(20, 80, count - 1).round(1)]
    rows = [{"age": str(age), "sex": "FM"[place % 2]} for place, age in enumerate(ages)]
    del rows[0]["age"], rows[3]["sex"]
    return {**crops, "record": [cells(COLUMNS, row) for row in rows]}


def written(folder, variant, album):
    table = pd.DataFrame({"fold": np.arange(30) % 3, "label": np.arange(30) // 3 % 2})
    unimodal = {name: made.make(f"{name}_multitask") for name in ("us", "ct")}
    networks = made.make(variant, terms=TERMS)
    preprocess = made.SETTINGS.preprocess
    write_bundle(folder, networks, unimodal, made.ANSWERS, table, album, preprocess, "none", made.outlines())
    for path in folder.rglob("bundle.json"):
        made.change(path.parent, typical=made.unlimited(path), calibration={"slope": 0.8, "intercept": 0.1})
    return folder


@pytest.fixture(scope="module")
def album():
    return nodules(30)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, album):
    return written(tmp_path_factory.mktemp("streams") / "bundle", "dgf_record", album)


@pytest.fixture(scope="module")
def model(folder):
    return ScoringModel.open(folder)


def values(fold, age, sex):
    """The input of a fold's network for a cell of each column, written out."""
    own = {"age": np.nan if age is None else float(age), "gap": float(age is None)}
    return [
        own["gap"]
        if term.kind == "gap"
        else own["age"]
        if term.kind == "number"
        else float(sex == term.level)
        for term in TERMS[fold]
    ]


def torch_says(model, album, present, variant="dgf_record"):
    """The ensemble's log odds by the networks in torch, where a part that is not present is absent."""
    count, odds = len(album["us"]), []
    crops = {
        name: np.concatenate(album[name])
        if name in present
        else np.repeat(model.reference[name][None], count, axis=0)
        for name in ("us", "ct")
    }
    for fold, shift in enumerate(made.SHIFTS):
        told = [row if "record" in present else (None, None) for row in album["record"]]
        inputs = {**crops, "record": np.array([values(fold, *row) for row in told])}
        network = made.network(variant, fold, terms=TERMS[fold])
        with torch.no_grad():
            logit = network({name: torch.from_numpy(rows) for name, rows in inputs.items()}).logit
        odds.append(logit.double().numpy() + shift)
    return np.mean(odds, axis=0)


def part(album, rows):
    return {name: of[rows] for name, of in album.items()}


def with_record(album, *known):
    return {**album, "record": [cells(COLUMNS, one) for one in known]}


def test_the_input_is_what_training_makes_of_the_same_cells(album):
    """Held against the tabular room on a table of nodules: numbers, gaps, levels and one that is unknown."""
    rows = [*album["record"], cells(COLUMNS, {"age": "unknown", "sex": "X"}), cells(COLUMNS, {})]
    ids = [f"n{place}" for place in range(len(rows))]
    table = pd.DataFrame([[name, *row] for name, row in zip(ids, rows, strict=True)])
    table.columns = ["nodule_id", *COLUMNS]
    for terms in TERMS:
        stream = RecordInput(terms, COLUMNS)
        expected = raw(terms, clinical(table, ids, COLUMNS))
        np.testing.assert_array_equal(stream.of(rows), expected)
        np.testing.assert_array_equal(stream.unknown, expected[-1])
    np.testing.assert_array_equal(RecordInput(TERMS[0], COLUMNS).unknown, [np.nan, 1, 0, 0])


@pytest.mark.parametrize("variant", RECORD_FUSIONS)
def test_every_coalition_of_a_graph_is_the_network_without_the_absent_streams(tmp_path, variant, album):
    """Absent is the mean crop, or a record of which nothing is known; alone, in twos, in any batch."""
    model, stream = made.network(variant, 5, terms=TERMS[0]), RecordInput(TERMS[0], COLUMNS)
    pictures = {name: np.concatenate(album[name])[:7] for name in ("us", "ct")}
    given = {**pictures, "record": stream.of(album["record"][:7])}
    absent = {**{name: crops[-1] for name, crops in pictures.items()}, "record": stream.unknown}
    exporting.export(model, absent, tmp_path / "model.onnx")
    run = open_graph(tmp_path / "model.onnx", 1)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    assert [output.name for output in session.get_outputs()] == [
        *("log_odds", "without_first", "without_second", "without_third"),
        *("without_first_second", "without_first_third", "without_second_third"),
    ]
    names = list(given)
    for count in (1, 2, 7):
        expected = []
        for gone in [gone for size in range(3) for gone in combinations(names, size)]:
            inputs = {
                name: np.repeat(absent[name][None], count, axis=0) if name in gone else given[name][:count]
                for name in names
            }
            with torch.no_grad():
                expected.append(model({k: torch.from_numpy(v) for k, v in inputs.items()}).logit.numpy())
        found = run({name: rows[:count] for name, rows in given.items()})
        np.testing.assert_allclose(found, expected, atol=1e-4)
        assert np.abs(found[0] - found[1:]).max() > 1e-3


def test_the_bundle_has_the_terms_of_each_fold_and_the_columns_of_all(folder, model):
    assert model.record == {"age": Column("number", (), 20.0, 80.0), "sex": Column("level", ("F", "M"))}
    assert [member.stream.terms for member in model.members] == list(TERMS)
    assert (model.inputs, model.modalities) == (("us", "ct"), ("us", "ct"))
    assert not model.reads_masks
    assert all(alone.record == {} for alone in model.unimodal.values())
    assert (folder / "MODEL_CARD.md").read_text().startswith("# dgf_record of us, ct, age and sex, 3 folds")


def test_graph_and_network_say_what_torch_says_of_every_nodule(folder, model, album):
    expected = torch_says(model, album, {"us", "ct", "record"})
    np.testing.assert_allclose(model.score(album)["probability"], expit(expected), atol=1e-5)
    network = BundledNetwork.open(folder)
    np.testing.assert_allclose(network.score(album)["probability"], model.score_by(0, album), atol=1e-5)


def test_contributions_are_shapley_values_of_three_from_eight_predictions_of_torch(model, album):
    """A third, a sixth, a sixth, a third: of all orders, those in which nobody, one or both come before."""
    own = part(album, slice(0, 7))
    players = ("us", "ct", "record")
    game = {
        frozenset(present): torch_says(model, own, present)
        for size in range(4)
        for present in combinations(players, size)
    }
    found = model.answer(own)
    for player in players:
        one, other = (frozenset({name}) for name in players if name != player)
        added = [game[others | {player}] - game[others] for others in (frozenset(), one, other, one | other)]
        expected = np.average(added, axis=0, weights=[2, 1, 1, 2])
        np.testing.assert_allclose(found[f"{player}_contribution"], expected, atol=1e-5)
    np.testing.assert_allclose(found["reference_log_odds"], game[frozenset()], atol=1e-5)
    np.testing.assert_allclose(logit(found["probability"]), game[frozenset(players)], atol=1e-5)


@given(age=AGES, sex=SEXES, place=st.integers(0, 29), scoring=st.sampled_from(["ensemble", "best_fold"]))
def test_contributions_add_up_for_any_record(folder, model, album, age, sex, place, scoring):
    chosen = ScoringModel(**{**vars(model), "metadata": {**model.metadata, "scoring": scoring}})
    if scoring == "best_fold":
        mean = {name: crop[None] for name, crop in model.reference.items()}
        alone = model.members[0].reference_log_odds(mean)
        chosen = ScoringModel(**{**vars(chosen), "reference_log_odds": alone})
    texts = (("age", None if age is None else repr(age)), ("sex", sex))
    known = {name: text for name, text in texts if text}
    found = chosen.answer(with_record(part(album, slice(place, place + 1)), known))
    total = sum(found[name] for name in PARTS)
    np.testing.assert_allclose(total, logit(found["probability"]), atol=1e-8)
    if not known:
        assert found["record_contribution"] == pytest.approx(0, abs=1e-5)  # it is as it is where absent


def test_answers_are_batch_invariant(model, album):
    batch = model.answer(album)
    assert batch_variance(model, part(album, slice(0, 16))) < 1e-6
    for place in (0, 3, 17):
        single = model.answer(part(album, slice(place, place + 1)))
        for name in (*PARTS, "probability", "calibrated_low", "calibrated_high"):
            np.testing.assert_allclose(single[name][0], batch[name][place], atol=1e-6)
        assert single["warnings"][0] == batch["warnings"][place]


def test_all_pairs_of_a_nodule_are_scored_with_its_record(model, album):
    us, ct = (np.concatenate(album[name]) for name in ("us", "ct"))
    many = {"us": [us[:3], us[3:4]], "ct": [ct[:2], ct[5:6]], "record": album["record"][4:6]}
    pairs = {"us": us[[0, 1, 2, 3]][:, None], "ct": ct[[0, 1, 0, 5]][:, None]}
    told = [album["record"][4]] * 3 + [album["record"][5]]
    odds = torch_says(model, {**pairs, "record": told}, {"us", "ct", "record"})
    expected = [odds[:3].mean(), odds[3]]
    np.testing.assert_allclose(logit(model.answer(many)["probability"]), expected, atol=1e-5)


def test_an_album_without_a_record_is_refused(model, album):
    pictures = {name: album[name] for name in ("us", "ct")}
    with pytest.raises(InputError, match="the record is missing; this model reads age, sex of every nodule"):
        model.score(pictures)


@pytest.mark.parametrize(
    ("known", "words"),
    [
        ({"age": 58, "sex": "F"}, []),
        ({"age": 111, "sex": "M"}, ["record age far from those of training, 20 to 80"]),
        ({"age": 58, "sex": "Q1"}, ["record sex of a level that training did not have"]),
        (
            None,
            [
                "record age not given, taken as the training median",
                "record sex not given, taken as none of its levels",
            ],
        ),
    ],
)
def test_a_case_is_answered_with_a_warning_of_its_record(model, known, words):
    (row,) = answer_records(model, [made.case() | ({} if known is None else {"record": known})], {})
    assert [text for text in row["warnings"] if text.startswith("record")] == words
    assert row["level"] == ("caution" if row["warnings"] else "answer")
    assert 0 < row["probability"] < 1
    assert row["variant"] == "dgf_record"
    assert "Q1" not in json.dumps(row)


def test_without_ct_ultrasound_answers_without_the_record(model):
    case = {name: value for name, value in made.case().items() if not name.startswith("ct")}
    (row,) = answer_records(model, [case | {"record": {"age": 58, "sex": "F"}}], {})
    (plain,) = answer_records(model, [case], {})
    assert row["variant"] == "us_multitask"
    assert row["statement"].endswith("by the model the fusion was built from, without the record")
    assert row["record_contribution"] is None
    assert row["probability"] == plain["probability"]


def test_moved_boxes_and_covered_blocks_keep_the_record(model):
    case = {name: value for name, value in made.case().items() if not name.endswith("_mask")}
    case |= {"us_box": [60, 40, 100, 80], "ct_box": [64, 48, 96, 72]}
    with_it, without = (
        decode_case({**case, **more}, Reading.of(model)) for more in ({"record": {"age": 79, "sex": "F"}}, {})
    )
    said, plain = answer(model, [with_it, without])
    for row in (said, plain):
        assert row["moved_low"] <= row["calibrated"] <= row["moved_high"]
    assert said["moved_low"] != plain["moved_low"]
    maps, others = explain(model, with_it), explain(model, without)
    assert set(maps) == {"us", "ct"}
    assert np.abs(maps["us"] - others["us"]).max() > 1e-6  # what a picture says depends on the record


def test_a_block_counts_what_covering_it_takes_away_beside_the_record(model, album):
    own = part(album, slice(5, 6))
    found = occlusion(model, own, "us", blocks=4)
    whole = logit(model.score(own)["probability"][0])
    for row, column in ((0, 0), (3, 2)):
        covered, block = own["us"][0].copy(), np.s_[row * 8 : row * 8 + 8, column * 8 : column * 8 + 8]
        covered[0][block] = model.reference["us"][block]
        without = logit(model.score({**own, "us": [covered]})["probability"][0])
        assert found[row, column] == pytest.approx(whole - without, abs=1e-5)


def test_a_term_of_a_column_that_the_record_lacks_is_a_damaged_bundle(folder, tmp_path):
    copy = tmp_path / "bundle"
    shutil.copytree(folder, copy)
    record = json.loads((copy / "bundle.json").read_text())["record"]
    made.change(copy, record={"sex": record["sex"]})
    with pytest.raises(InputError, match="reads columns that the record lacks: age"):
        ScoringModel.open(copy)
    members = json.loads((folder / "bundle.json").read_text())["members"]
    members[1]["terms"] = members[1]["terms"][:-1]  # fewer than its graph reads
    made.change(copy, record=record, members=members)
    with pytest.raises(InputError, match="incomplete or damaged"):
        ScoringModel.open(copy)


def test_a_bundle_of_the_format_before_has_no_terms_and_answers_the_same(bundle, tmp_path):
    copy = tmp_path / "bundle"
    shutil.copytree(bundle, copy)
    for place in (copy, copy / "us", copy / "ct"):
        members = json.loads((place / "bundle.json").read_text())["members"]
        assert [member.pop("terms") for member in members] == [None] * 3
        made.change(place, members=members)
    before = ScoringModel.open(copy)
    assert answer_records(before, [made.case()], {}) == answer_records(
        ScoringModel.open(bundle), [made.case()], {}
    )
    assert BundledNetwork.open(copy).stream is None


def test_serving_needs_no_torch_and_none_of_the_training(folder):
    """In a process of its own, where importing them is an error."""
    assert abs(made.answered_elsewhere(folder, "record_contribution", {"age": "58", "sex": "F"})) > 1e-6


def test_server_and_mlflow_model_answer_alike(folder, model, tmp_path):
    records = [made.case() | more for more in ({"record": {"age": 58, "sex": "F"}}, {})]
    expected = answer_records(model, records, {"model": "m", "version": "1"})
    with running(scoring_app(model, "m", "1", Limits(), Access())) as address:
        done = requests.post(address, json={"dataframe_records": records}, timeout=60)
    assert done.json()["predictions"] == expected
    assert expected[0]["record_contribution"] != expected[1]["record_contribution"]
    save_model(folder, ("us", "ct"), tmp_path / "m", Model())
    rows = mlflow.pyfunc.load_model(str(tmp_path / "m")).predict(pd.DataFrame(records))
    for row, other in zip(rows, expected, strict=True):
        assert {k: v for k, v in row.items() if k not in ("model", "version")} == {
            k: v for k, v in other.items() if k not in ("model", "version")
        }
