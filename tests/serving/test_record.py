"""A stacked model that reads the record too: numbers by hand, the bundle, requests, answers, explanations."""

import dataclasses
import html
import json
import math
import re
import shutil

import made
import mlflow
import numpy as np
import pandas as pd
import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st
from mlflow.models import Model
from mlflow.pyfunc.scoring_server import infer_and_parse_data
from scipy.special import expit, logit
from server_process import running
from test_stacked_model import MASKED, METRICS, UNITS, album_of, by_hand, network_odds, regression

from dgfnet.bundle.joint import Joint
from dgfnet.bundle.layout import own_files
from dgfnet.bundle.model import ScoringModel
from dgfnet.bundle.network import BundledNetwork
from dgfnet.bundle.record import Column, cells, described, frame, names_in, terms_in
from dgfnet.bundle.write import stacked, write_bundle
from dgfnet.errors import InputError
from dgfnet.files import sha256
from dgfnet.serving.access import Access
from dgfnet.serving.answers import IGNORED, answer, explain
from dgfnet.serving.cases import Reading
from dgfnet.serving.connection import Limits
from dgfnet.serving.decode import decode_case
from dgfnet.serving.page import page_of
from dgfnet.serving.pyfunc import save_model
from dgfnet.serving.record import read_record, record_of_options, record_of_row
from dgfnet.serving.records import answer_records
from dgfnet.serving.server import scoring_app
from dgfnet.tabular.logistic import Logistic, fit
from dgfnet.tabular.terms import Term

COLUMNS = {"age": Column("number", (), 20.0, 80.0), "sex": Column("level", ("F", "M"))}
KNOWN = {"age": "58", "sex": "F"}


def with_record(fold):
    """The regression of a stack, with one number that may be missing and two levels."""
    own = regression(fold)
    terms = (
        Term("record_age", "number", None, 50.0, 48.0, 10.0),
        Term("record_age", "gap"),
        Term("record_sex", "level", "F"),
        Term("record_sex", "level", "M"),
    )
    return Logistic(
        (*own.terms, *terms), (*own.coefficients, 0.7 + fold, -0.2, 0.4, -0.3), own.intercept, 1.0
    )


def worth(fold, age, sex):
    """What the record adds in a fold, written out; the median of training, 50, stands for a gap."""
    years = -0.2 + (0.7 + fold) * 0.2 if age is None else (0.7 + fold) * (age - 48) / 10
    return years + {"F": 0.4, "M": -0.3}.get(sex, 0.0)


@pytest.fixture(scope="module")
def album():
    """Ages of 20 to 80, one unknown; women and men, one of whom it is not known."""
    ages = [None, *np.linspace(20, 80, 29).round(1)]
    rows = [{"age": str(age), "sex": "FM"[place % 2]} for place, age in enumerate(ages)]
    del rows[0]["age"], rows[3]["sex"]
    return album_of(30) | {"record": [cells(("age", "sex"), row) for row in rows]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory, album):
    place = tmp_path_factory.mktemp("record") / "bundle"
    table = pd.DataFrame({"fold": np.arange(30) % 3, "label": np.arange(30) // 3 % 2})
    regressions = [{"fold": fold, **with_record(fold).plain()} for fold in range(3)]
    metrics = METRICS | {"variant": "record_stack"}
    networks = stacked(made.make("dgf", MASKED), {"units": UNITS, "folds": regressions}, metrics)
    unimodal = {name: made.make(f"{name}_multitask", MASKED) for name in ("us", "ct")}
    preprocess = made.SETTINGS.preprocess
    write_bundle(place, networks, unimodal, made.ANSWERS, table, album, preprocess, "none", made.outlines())
    for path in place.rglob("bundle.json"):
        made.change(path.parent, typical=made.unlimited(path), calibration={"slope": 0.8, "intercept": 0.1})
    return place


@pytest.fixture(scope="module")
def model(folder):
    return ScoringModel.open(folder)


@pytest.fixture(scope="module")
def reads_none(bundle):
    return ScoringModel.open(bundle)


def test_what_a_number_a_level_and_a_gap_add_by_hand():
    """Age 58 is one scale of 10 above the centre of 48: 0.7. A gap is the median: 0.7 x 0.2 - 0.2."""
    terms = (
        Term("record_age", "number", None, 50.0, 48.0, 10.0),
        Term("record_age", "gap"),
        Term("record_sex", "level", "F"),
        Term("dgf", "number", None, 0.0, 0.5, 2.0),
    )
    joint = Joint(Logistic(terms, (0.7, -0.2, 0.4, 1.2), -0.1, 1.0), "dgf", (), ("age", "sex"))
    rows = [{"age": "58", "sex": "F"}, {"sex": "F"}, {"age": "38", "sex": "X"}, {"age": "unknown"}]
    told = frame(joint.record, [cells(joint.record, row) for row in rows])
    np.testing.assert_allclose(joint.of_record(told), [1.1, 0.34, -0.7, -0.06], atol=1e-12)
    with pytest.raises(InputError, match="the record is missing; this model reads age, sex"):
        joint.beside({})


def test_it_is_the_regression_of_the_tables(album):
    """Held against the tabular room, which fits it: on columns that hold a number, levels and gaps."""
    rng = np.random.default_rng(2)
    table = pd.DataFrame(list(album["record"]), columns=["record_age", "record_sex"], dtype=object)
    table["dgf"] = rng.normal(size=30)
    model = fit(table, rng.integers(0, 2, 30).astype(float))
    assert [(term.kind, term.level) for term in model.terms[:4]] == [
        *(("number", None), ("gap", None)),
        *(("level", "F"), ("level", "M")),
    ]
    joint = Joint.of(model.plain(), "dgf", (), ("age", "sex"))
    added = joint.of_record(frame(joint.record, album["record"])) + joint.of_network(table["dgf"].to_numpy())
    np.testing.assert_allclose(joint.model.intercept + added, model.log_odds(table), atol=1e-12)


@pytest.mark.parametrize(
    "term", [Term("age", "number"), Term("record_age", "number"), Term("us_mean", "gap")]
)
def test_a_column_that_was_not_named_is_refused(term):
    plain = Logistic((term,), (1.0,), 0.0, 1.0).plain()
    with pytest.raises(InputError, match="columns that are not measured"):
        Joint.of(plain, "dgf", ("ct",), ("sex",))


def test_the_bundle_tells_columns_kinds_levels_and_range(folder, model):
    assert model.record == COLUMNS
    assert (model.metadata["variant"], model.metadata["network_variant"]) == ("record_stack", "dgf")
    assert all(alone.record == {} for alone in model.unimodal.values())
    card = (folder / "MODEL_CARD.md").read_text()
    assert card.startswith("# record_stack of dgf, measured features, age and sex, 3 folds")


def test_a_level_that_one_fold_alone_had_is_known():
    rare, common = (Logistic((Term("record_sex", "level", name),), (1.0,), 0.0, 1.0) for name in ("X", "F"))
    terms = [*terms_in(rare), *terms_in(common)]
    names = names_in(terms)
    assert names == ("sex",)
    assert described(terms, [cells(names, {})])["sex"]["levels"] == ("F", "X")


def test_every_fold_adds_its_own_and_torch_says_the_same(folder, model, album):
    alone = dataclasses.replace(
        model, members=tuple(dataclasses.replace(member, joint=None) for member in model.members)
    )
    ages = [None if row[0] is None else float(row[0]) for row in album["record"]]
    expected = [
        by_hand(fold, network_odds(alone, fold, album), album)
        + [worth(fold, age, row[1]) for age, row in zip(ages, album["record"], strict=True)]
        for fold in range(3)
    ]
    for fold in range(3):
        np.testing.assert_allclose(model.score_by(fold, album), expit(expected[fold]), atol=1e-9)
    found = model.answer(album)
    np.testing.assert_allclose(found["probability"], expit(np.mean(expected, axis=0)), atol=1e-9)
    every = expit(0.1 + 0.8 * np.array(expected))
    np.testing.assert_allclose(
        found["calibrated_low"], np.minimum(every.min(0), found["calibrated"]), atol=1e-9
    )
    np.testing.assert_allclose(
        BundledNetwork.open(folder).score(album)["probability"], model.score_by(0, album), atol=1e-5
    )


@given(
    age=st.none() | st.floats(0, 120),
    sex=st.sampled_from([None, "F", "M", "X"]),
    place=st.integers(0, 29),
    scoring=st.sampled_from(["ensemble", "best_fold"]),
)
def test_contributions_add_up_and_the_records_is_its_summand(model, album, age, sex, place, scoring):
    """The record's Shapley value is its summand, and those of the pictures do not depend on it."""
    chosen = dataclasses.replace(model, metadata={**model.metadata, "scoring": scoring})
    known = {name: text for name, text in (("age", None if age is None else repr(age)), ("sex", sex)) if text}
    one = {name: rows[place : place + 1] for name, rows in album.items()}
    found = chosen.answer({**one, "record": [cells(("age", "sex"), known)]})
    parts = ("us_contribution", "ct_contribution", "record_contribution", "reference_log_odds")
    np.testing.assert_allclose(sum(found[name] for name in parts), logit(found["probability"]), atol=1e-8)
    folds = [worth(fold, age, sex) for fold in (range(3) if scoring == "ensemble" else range(1))]
    np.testing.assert_allclose(found["record_contribution"], np.mean(folds), atol=1e-9)
    before = chosen.answer(one)
    for name in ("us_contribution", "ct_contribution", "reference_log_odds"):
        np.testing.assert_allclose(found[name], before[name], atol=1e-12)


def test_answers_are_batch_invariant(model, album):
    batch = model.answer(album)
    for place in (0, 3, 17):
        single = model.answer({name: rows[place : place + 1] for name, rows in album.items()})
        for name in ("probability", "record_contribution", "calibrated_high"):
            np.testing.assert_allclose(single[name][0], batch[name][place], atol=1e-12)
        assert single["warnings"][0] == batch["warnings"][place]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, None),
        (math.nan, None),  # a gap of a data frame
        ({}, {}),
        ({"age": 58, "sex": "F"}, KNOWN),
        ('{"age": 58.0, "sex": " F "}', KNOWN),
        ({"age": None, "sex": ""}, {}),
        ({"age": 58.25}, {"age": "58.25"}),
        ({"age": np.int64(58)}, {"age": "58"}),
        ({"sex": "never seen"}, {"sex": "never seen"}),
    ],
)
def test_a_record_is_read(given, expected):
    assert read_record(given, COLUMNS) == expected


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (
            [58],
            'record: found list; expected an object of columns and values, as {"age": 47}; columns are age, '
            "sex",
        ),
        (58, "record: found int; expected an object"),
        ("age=58", "record: found a text that is no JSON; expected an object"),
        ("[" * 100_000, "record: found a text that is no JSON; expected an object"),
        ("[58]", "record: found list; expected an object"),
        ({"ages": 58}, "'ages', which this model does not read; it reads age, sex; did you mean age?"),
        ({3: 58}, "'3', which this model does not read"),
        ({"age": "58"}, "record.age: found a text; expected a number"),
        ({"age": True}, "record.age: found true or false; expected a number"),
        ({"age": [58]}, "record.age: found list; expected a number"),
        ({"age": math.nan}, "record.age: found a number that is not finite"),
        ('{"age": Infinity}', "record.age: found a number that is not finite"),
        ({"age": 10**400}, "record.age: found a number that is not finite"),
        ({"sex": 1}, "record.sex: found int; expected a text"),
        ({"sex": {"is": "F"}}, "record.sex: found dict; expected a text"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_one_sentence(given, words):
    with pytest.raises(InputError) as refused:
        read_record(given, COLUMNS)
    assert words in str(refused.value)
    assert len(str(refused.value)) < 200


def test_options_and_rows_of_a_cohort_say_the_same():
    assert record_of_options((), COLUMNS) is None
    assert record_of_options(("age=58", "sex=F"), COLUMNS) == KNOWN
    assert record_of_options(("age=", "sex= "), COLUMNS) == {}
    for texts, words in (
        (("58",), "--record: found a text without =; expected COLUMN=VALUE"),
        (("age=58", "age=59"), "--record: found age twice"),
        (("age=old",), "--record age: found a text; expected a number"),
        (("age=nan",), "record.age: found a number that is not finite"),
        (("agee=58",), "did you mean age"),
    ):
        with pytest.raises(InputError, match=words):
            record_of_options(texts, COLUMNS)
    row = {"age": "unknown", "margin": "smooth"}
    assert record_of_row(row, COLUMNS) == {"age": "unknown"}  # a gap, as it was in training
    assert record_of_row(row, {}) is None


@pytest.mark.parametrize(
    ("known", "words"),
    [
        (KNOWN, []),
        ({"age": -10, "sex": "M"}, []),  # half the span of 60 below 20
        ({"age": 111, "sex": "M"}, ["record age far from those of training, 20 to 80"]),
        ({"age": 58}, ["record sex not given, taken as none of its levels"]),
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
def test_what_is_missing_or_unlike_training_is_warned_of_and_never_repeated(model, known, words):
    record = made.case() | ({} if known is None else {"record": known | {"age": float(known["age"])}})
    (row,) = answer_records(model, [record], {})
    told = [text for text in row["warnings"] if text.startswith("record")]
    assert told == words
    assert row["level"] == ("caution" if row["warnings"] else "answer")
    assert "Q1" not in json.dumps(row)
    assert "111" not in json.dumps(row["warnings"])


def test_a_case_is_answered_with_its_record_and_explained_beside_it(model):
    case = made.case()
    with_it, without = (
        decode_case({**case, **more}, Reading.of(model)) for more in ({"record": {"age": 58, "sex": "F"}}, {})
    )
    said, plain = answer(model, [with_it, without])
    assert said["variant"] == "record_stack"
    expected = np.mean([worth(fold, 58, "F") - worth(fold, None, None) for fold in range(3)])
    assert said["record_contribution"] - plain["record_contribution"] == pytest.approx(expected)
    assert logit(said["probability"]) - logit(plain["probability"]) == pytest.approx(expected)
    for name, blocks in explain(model, with_it).items():
        np.testing.assert_allclose(blocks, explain(model, without)[name], atol=1e-9)


def test_moved_boxes_keep_the_record(model):
    case = {name: value for name, value in made.case().items() if not name.endswith("_mask")}
    case |= {"us_box": [60, 40, 100, 80], "ct_box": [64, 48, 96, 72]}
    known = {"age": 79, "sex": "F"}
    said, plain = answer(
        model, [decode_case(case | more, Reading.of(model)) for more in ({"record": known}, {})]
    )
    assert said["moved_low"] <= said["calibrated"] <= said["moved_high"]
    assert said["moved_low"] > plain["moved_high"]  # +5.5 log odds, whichever way the boxes are moved


def test_without_ct_ultrasound_answers_without_the_record(model):
    case = made.case()
    (row,) = answer_records(
        model, [{name: case[name] for name in ("nodule", "us", "us_mask")} | {"record": {"age": 58}}], {}
    )
    assert row["variant"] == "us_multitask"
    assert row["statement"].endswith("by the model the fusion was built from, without the record")
    assert row["record_contribution"] is None
    assert not [text for text in row["warnings"] if "record" in text]


def test_a_model_that_reads_no_record_says_that_it_left_it_aside(reads_none):
    records = [made.case(), made.case() | {"record": {"agee": "so old"}}]
    plain, told = answer_records(reads_none, records, {})
    assert told["warnings"] == [*plain["warnings"], IGNORED]
    assert {name: value for name, value in told.items() if name != "warnings"} == {
        name: value for name, value in plain.items() if name != "warnings"
    }
    assert plain["record_contribution"] is None
    with pytest.raises(InputError, match="case 0: record: found list"):
        answer_records(reads_none, [made.case() | {"record": [1]}], {})


def test_a_bundle_of_the_format_before_reads_no_record(bundle, tmp_path):
    folder = tmp_path / "bundle"
    shutil.copytree(bundle, folder)
    for part in (folder, folder / "us", folder / "ct"):
        metadata = json.loads((part / "bundle.json").read_text())
        assert metadata.pop("record") is None
        (part / "bundle.json").write_text(json.dumps(metadata))
        (part / "SHA256SUMS").write_text(
            "".join(f"{sha256(part / name)}  {name}\n" for name in own_files(part))
        )
    before = ScoringModel.open(folder)
    assert before.record == {}
    assert answer_records(before, [made.case()], {}) == answer_records(
        ScoringModel.open(bundle), [made.case()], {}
    )


def test_a_server_keeps_values_out_of_log_counts_and_refusals(model, capfd):
    """Values that nothing else could hold: refused, answered with warnings, and asked to be explained."""
    capfd.readouterr()
    records = [
        {"age": 31.40159, "sex": "Zyxwvut"},
        {"age": "31.40159", "sex": "Zyxwvut"},
        {"age": 31.40159, "sex": ["Zyxwvut"]},
    ]
    with running(scoring_app(model, "m", "1", Limits(), Access(log=True))) as address:
        told = ""
        for record in records:
            for path in ("invocations", "explain"):
                sent = {"dataframe_records": [made.case() | {"record": record}]}
                done = requests.post(address.replace("invocations", path), json=sent, timeout=60)
                assert done.status_code == (200 if record is records[0] else 400)
                told += done.text
        told += requests.get(address.replace("invocations", "metrics"), timeout=60).text
    out, err = capfd.readouterr()
    assert "31.40159" not in told + out + err
    assert "Zyxwvut" not in told + out + err
    assert "dgfnet" in told


def test_mlflows_server_takes_an_object_or_its_text(folder, model, tmp_path):
    """As MLflow's scoring server reads `dataframe_records`: into a data frame by the model's signature."""
    save_model(folder, ("us", "ct"), tmp_path / "m", Model())
    loaded = mlflow.pyfunc.load_model(str(tmp_path / "m"))
    known = {"age": 58, "sex": "F"}
    forms = [{"record": known}, {"record": json.dumps(known)}, {}]
    sent = {"dataframe_records": [made.case() | form for form in forms]}
    data = infer_and_parse_data(json.loads(json.dumps(sent)), loaded.metadata.get_input_schema())
    rows = loaded.predict(data)
    assert rows == answer_records(model, sent["dataframe_records"], {"model": "", "version": ""})
    assert rows[0] == rows[1] != rows[2]
    sent["dataframe_records"][1]["record"] = {"age": "58"}
    data = infer_and_parse_data(json.loads(json.dumps(sent)), loaded.metadata.get_input_schema())
    with pytest.raises(mlflow.MlflowException, match=r"case 1: record\.age: found a text; expected a number"):
        loaded.predict(data)


def test_the_page_asks_for_the_columns_that_the_model_reads(model, reads_none):
    for own, expected in (
        (
            model,
            [
                {"name": "age", "kind": "number", "levels": [], "low": 20.0, "high": 80.0},
                {"name": "sex", "kind": "level", "levels": ["F", "M"], "low": None, "high": None},
            ],
        ),
        (reads_none, []),
    ):
        facts = re.search(r'data-facts="([^"]*)"', page_of(own, "m", "1"))
        assert json.loads(html.unescape(facts[1]))["record"] == expected
