"""The gate, its records, rollback, and the choice of the fold whose model is registered."""

import dataclasses
import math
import shutil

import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import TEMPORARILY_UNAVAILABLE

from dgfnet.errors import InputError
from dgfnet.metrics.intervals import Difference
from dgfnet.register.measure import best_rival, grouped, simpler_than, weakest_group
from dgfnet.register.stage import best_fold
from dgfnet.registry import promotion
from dgfnet.registry.aliases import champion_of
from dgfnet.registry.evidence import Evidence, Rival
from dgfnet.registry.gate import Judgement, judge, why
from dgfnet.registry.lineage import missing_lineage
from dgfnet.registry.paired import Comparison
from dgfnet.registry.promotion import history, newest, rollback
from dgfnet.sections.results import Register

LIMITS = Register(
    variant="dgf",
    scoring="ensemble",
    criterion="accuracy",
    coverage=0.9,
    false_alarms=0.05,
    minimum_auc_lower_bound=0.6,
    minimum_gain_over_unimodal=0.0,
    minimum_gain_over_simpler=0.0,
    minimum_gain_over_baselines=-1.0,
    minimum_gain=0.0,
    minimum_per_class=2,
    calibration_slope=(0.5, 2.0),
    groups=("sex", "margin"),
    smallest_group=3,
    minimum_group_accuracy=0.5,
    tolerance=1e-6,
    require_lineage=True,
)
RIVAL = Rival("us_multitask", 0.02, -0.01, 0.05)
GOOD = Evidence(0, 1e-8, 1e-8, 1e-8, 0.8, 0.75, 1.0, "sex F (n = 40)", 0.7, "", RIVAL, RIVAL, RIVAL)


def failed(evidence=GOOD, gain=None, settings=LIMITS):
    return [criterion.name for criterion in judge(evidence, gain, settings) if not criterion.met]


def test_a_version_that_meets_everything_passes():
    assert failed() == []
    assert why(judge(GOOD, None, LIMITS)) == "all 11 criteria are met"
    # a fusion that is no dgf has no simpler one, a network of one modality neither
    alone = dataclasses.replace(GOOD, unimodal=None, simpler=None)
    assert why(judge(alone, None, LIMITS)) == "all 9 criteria are met"


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"audit_findings": 1}, "leakage audit"),
        ({"audit_findings": None}, "leakage audit"),
        ({"batch_variance": 1.1e-6}, "batch invariance"),
        ({"onnx_error": 1.1e-4}, "ONNX error"),
        ({"reproduction_error": 1.1e-6}, "reproduces cross-validation"),
        ({"auc_low": 0.5999}, "lower limit of the out-of-fold AUC"),
        ({"auc_low": math.nan}, "lower limit of the out-of-fold AUC"),
        ({"calibration_slope": 0.49}, "calibration slope"),
        ({"calibration_slope": 2.01}, "calibration slope"),
        ({"calibration_slope": math.nan}, "calibration slope"),
        ({"weakest_accuracy": 0.49}, "weakest group"),
        ({"weakest_accuracy": None}, "weakest group"),  # none was large enough: not looked at is not passed
        ({"unimodal": Rival("ct_multitask", -0.001, -0.03, 0.03)}, "AUC less its best single modality's"),
        ({"simpler": Rival("concat", -0.001, -0.03, 0.03)}, "AUC less the best basic fusion's"),
        ({"missing_lineage": "its cohort is not under DVC"}, "lineage"),
    ],
)
def test_each_criterion_alone_stops_a_version(change, name):
    assert failed(dataclasses.replace(GOOD, **change)) == [name]


@pytest.mark.parametrize(
    "change",
    [
        {"auc_low": 0.6},
        {"batch_variance": 1e-6, "reproduction_error": 1e-6},
        {"calibration_slope": 0.5},
        {"calibration_slope": 2.0},
        {"weakest_accuracy": 0.5},
    ],
)
def test_limits_belong_to_what_passes(change):
    assert failed(dataclasses.replace(GOOD, **change)) == []


def test_baselines_are_told_and_asked_for_where_the_settings_say_so():
    worse = dataclasses.replace(GOOD, baseline=Rival("radiomics", -0.06, -0.09, -0.03))
    asked = LIMITS.model_copy(update={"minimum_gain_over_baselines": 0.0})
    assert (failed(worse), failed(worse, settings=asked)) == ([], ["AUC less the best baseline's"])
    told = judge(worse, None, LIMITS)[-1]
    assert (told.value, told.needed) == ("-0.060 (-0.090 to -0.030), radiomics", "told, not asked for")
    absent = dataclasses.replace(GOOD, baseline=None)  # not compared is not passed
    assert (failed(absent), failed(absent, settings=asked)) == ([], ["AUC less the best baseline's"])


def test_the_rival_is_the_model_of_largest_auc_on_the_same_nodules():
    """Of eight nodules the version orders all 16 pairs rightly, the better rival 15, the other 8."""
    label = [0, 0, 0, 0, 1, 1, 1, 1]
    table = pd.DataFrame({"nodule_id": list("abcdefgh"), "patient_id": list("abcdefgh"), "label": label})
    better = table.assign(probability=[0.1, 0.2, 0.3, 0.5, 0.4, 0.6, 0.7, 0.8])
    flat = table.assign(probability=0.5)
    version = table.assign(probability=[0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8])
    rival = best_rival(version, {"flat": flat, "better": better}, 0.95)
    assert (rival.name, rival.estimate) == ("better", pytest.approx(1 / 16))
    assert best_rival(version, {}, 0.95) is None
    with pytest.raises(InputError):
        best_rival(version, {"other": better.iloc[:6]}, 0.95)


def test_attention_is_held_against_the_basic_fusions_of_the_same_streams():
    assert simpler_than("dgf") == ("concat", "sum", "product")
    assert simpler_than("dgf_record") == ("concat_record", "sum_record")
    assert simpler_than("concat_record") == simpler_than("us_multitask") == ()


def test_evidence_comes_back_from_its_tag():
    assert Evidence.read(GOOD.text()) == GOOD
    assert Evidence.read(dataclasses.replace(GOOD, unimodal=None).text()).unimodal is None
    with pytest.raises(TypeError):
        Evidence.read("{}")


def test_groups_can_be_done_without():
    nobody = LIMITS.model_copy(update={"groups": ()})
    table = pd.DataFrame({"nodule_id": ["a"], "label": [1], "probability": [0.5], "threshold": [0.5]})
    text, share = weakest_group(table, pd.DataFrame(index=["a"]), nobody)
    assert (text, share) == ("no groups asked for", None)
    assert failed(dataclasses.replace(GOOD, weakest_accuracy=None), settings=nobody) == []


def test_lineage_can_be_waived_and_is_still_told():
    waived = LIMITS.model_copy(update={"require_lineage": False})
    evidence = dataclasses.replace(GOOD, missing_lineage="it was trained outside git")
    (lineage,) = [criterion for criterion in judge(evidence, None, waived) if criterion.name == "lineage"]
    assert (lineage.met, lineage.value) == (True, "it was trained outside git")


@pytest.mark.parametrize(("estimate", "met"), [(0.001, True), (0.0, True), (-0.001, False)])
def test_a_challenger_must_not_be_worse_than_the_champion(estimate, met):
    gain = Comparison(Difference(estimate, estimate - 0.02, estimate + 0.02, 0.9), "9 shared nodules")
    assert (failed(gain=gain) == []) is met
    told = judge(GOOD, gain, LIMITS)[-1].value
    assert told == f"{estimate:+.3f} ({estimate - 0.02:+.3f} to {estimate + 0.02:+.3f}), 9 shared nodules"


@pytest.mark.parametrize("trusted", [True, False])
def test_what_could_not_be_compared_is_not_passed_but_by_a_persons_word(trusted):
    gain = Comparison(None, "not compared: why", trusted)
    last = judge(GOOD, gain, LIMITS)[-1]
    assert (last.value, last.met) == ("not compared: why", False)
    taken = judge(GOOD, gain, LIMITS, without_comparison=True)[-1]
    assert taken.met is trusted  # nobody's word makes a changed table the one that was registered
    assert taken.value == "not compared: why" + "; taken by hand, --without-comparison" * trusted


def test_a_persons_word_does_not_make_a_worse_version_better():
    gain = Comparison(Difference(-0.345, -0.4, -0.3, 0.9), "300 shared nodules")
    assert not judge(GOOD, gain, LIMITS, without_comparison=True)[-1].met


def test_the_weakest_group_counts_right_calls_of_groups_that_are_large_enough():
    table = pd.DataFrame({"nodule_id": list("abcdefg"), "label": [1, 1, 0, 0, 1, 0, 1]})
    table = table.assign(probability=[0.5, 0.4, 0.4, 0.6, 0.9, 0.1, 0.1], threshold=0.5)
    nodules = pd.DataFrame({"sex": ["F"] * 4 + ["M"] * 3, "margin": ["x", *["y"] * 6]}, index=list("abcdefg"))
    # right: a c e f; women 2 of 4, men 2 of 3, margin y 3 of 6, x alone too small
    name, share = weakest_group(table, nodules.iloc[::-1], LIMITS)
    assert (name, share) == ("margin y (n = 6)", 0.5)
    told = weakest_group(table, nodules[["sex"]], LIMITS)
    assert told == ("sex F (n = 4); nodules.csv has no margin", 0.5)
    assert weakest_group(table, nodules[[]], LIMITS)[1] is None


def test_numbers_are_grouped_by_tertiles_and_a_weak_age_is_found():
    """Nine ages, a third of the way from 40 to 48 is 42.67: three groups of three; one age is unknown."""
    ids = list("abcdefghij")
    ages = [48, 40, 44, 43, 41, 47, 42, 46, 45, None]
    table = pd.DataFrame({"nodule_id": ids, "label": 1, "threshold": 0.5, "probability": 0.9})
    table.loc[[2, 3, 9], "probability"] = 0.1  # wrong: 44, 43, and the one without age
    wanted = LIMITS.model_copy(update={"groups": ("age",)})
    for values in (ages, [None if age is None else str(age) for age in ages]):  # as the table may have them
        nodules = pd.DataFrame({"age": values}, index=ids)
        name, share = weakest_group(table, nodules.iloc[::-1], wanted)
        assert name == "age 43 to 45 (n = 3)"
        assert share == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("values", "groups"),
    [
        ([1, 2, 3, 4, 5, 6, 6], [1, 2, 3, 4, 5, 6, 6]),  # few numbers are categories
        (["1", "2", "3", "4", "5", "6", "x"], ["1", "2", "3", "4", "5", "6", "x"]),
        # seven values, limits 3 and 5 on values: they belong below
        ([1, 2, 3, 4, 5, 6, 7], ["1 to 3"] * 3 + ["4 to 5"] * 2 + ["6 to 7"] * 2),
        # fifteen values, limits 1 and 2 1/3: ties make groups of unequal size
        ([1] * 9 + [2, 3, 4, 5.5, 6, 7.25], ["1"] * 9 + ["2"] + ["3 to 7.25"] * 5),
        # eighteen values, limits 1 and 1 1/3: nothing lies between
        ([1] * 12 + [2, 3, 4, 5, 6, 7], ["1"] * 12 + ["2 to 7"] * 6),
    ],
)
def test_groups_of_a_column_by_hand(values, groups):
    assert grouped(pd.Series(values)).tolist() == groups


@pytest.mark.parametrize(
    ("commit", "data", "message"),
    [
        ("a" * 40, "b" * 32, ""),
        ("a" * 40 + "-dirty", "b", "uncommitted"),
        ("unknown", "b", "git"),
        ("a", "untracked", "DVC"),
    ],
)
def test_lineage_that_cannot_be_followed_is_named(commit, data, message):
    assert message in missing_lineage(commit, data)
    assert bool(missing_lineage(commit, data)) is bool(message)


def test_evidence_survives_a_tag():
    odd = dataclasses.replace(GOOD, calibration_slope=math.inf, weakest_accuracy=None, audit_findings=None)
    assert Evidence.read(odd.text()) == odd


@pytest.fixture
def registry(tmp_path, empty_store):
    """A registry with three versions of one model, nobody champion."""
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    experiment = client.create_experiment("x", artifact_location=(tmp_path / "runs").as_uri())
    client.create_registered_model("m")
    for _ in range(3):
        run = client.create_run(experiment)
        client.create_model_version("m", source=f"{run.info.artifact_uri}/model", run_id=run.info.run_id)
    return client


def aliases_of(client, version):
    return sorted(client.get_model_version("m", version).aliases)


def aliases(client):
    return {version: aliases_of(client, version) for version in "123"}


def promote(client, model, version, criteria):
    """Judged against today's champion."""
    champion = champion_of(client, model)
    against = None if champion is None else str(champion.version)
    return promotion.promote(client, model, version, Judgement(criteria, against))


def test_promotion_refusal_and_rollback_move_the_aliases_and_leave_records(registry):
    passed, refused = (
        judge(GOOD, None, LIMITS),
        judge(dataclasses.replace(GOOD, calibration_slope=9.0), None, LIMITS),
    )
    promote(registry, "m", "1", passed)
    assert aliases(registry) == {"1": ["champion"], "2": [], "3": []}
    promote(registry, "m", "2", refused)
    assert aliases(registry) == {"1": ["champion"], "2": ["challenger"], "3": []}
    promote(registry, "m", "2", passed)
    assert aliases(registry) == {"1": [], "2": ["champion"], "3": []}
    promote(registry, "m", "3", passed)
    assert [rollback(registry, "m")["to"], rollback(registry, "m")["to"]] == ["2", "1"]
    assert champion_of(registry, "m").version in (1, "1")
    assert {v: "rolled_back" in registry.get_model_version("m", v).tags for v in "123"} == {
        **{"1": False, "2": True, "3": True},
    }
    with pytest.raises(InputError, match="version 1 is the first champion"):
        rollback(registry, "m")
    records = [(record["from"], record["to"], record["promoted"]) for record in history(registry, "m")]
    assert records == [
        *((None, "1", True), ("1", "2", False), ("1", "2", True), ("2", "3", True)),
        *(("3", "2", True), ("2", "1", True)),
    ]
    assert newest(registry.get_model_version("m", "1"))["why"] == "rolled back"
    refusal = history(registry, "m")[1]
    assert "calibration slope: 9.00, needed 0.5 to 2" in refusal["why"]
    assert [record["met"] for record in refusal["criteria"]].count(False) == 1
    assert refusal["who"]
    run = registry.get_model_version("m", "2").run_id
    assert len(registry.list_artifacts(run, "promotions")) == 3


def test_a_hand_gives_back_what_a_hand_has_taken(registry):
    passed = judge(GOOD, None, LIMITS)
    promote(registry, "m", "1", passed)
    promote(registry, "m", "2", passed)
    rollback(registry, "m")
    promote(registry, "m", "2", passed)
    assert aliases(registry) == {"1": [], "2": ["champion"], "3": []}
    assert "rolled_back" not in registry.get_model_version("m", "2").tags


ACTS = st.lists(st.sampled_from(["1", "2", "3", "refuse 1", "refuse 2", "back", "back"]), max_size=9)


@pytest.fixture(scope="module")
def shared(tmp_path_factory, empty_store):
    folder = tmp_path_factory.mktemp("shared")
    shutil.copy(empty_store, folder / "mlflow.db")
    return MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")


@example(["1", "2", "1", "back", "back", "back", "2", "back"])
@settings(max_examples=12)
@given(ACTS)
def test_promotions_and_rollbacks_are_a_stack(shared, acts):
    """After any sequence of promotions, refusals and rollbacks the champion is the top of a list."""
    model = f"stack {len(shared.search_registered_models())}"
    shared.create_registered_model(model)
    for _ in range(3):
        shared.create_model_version(model, "file:///nowhere")
    passed, refused = (
        judge(GOOD, None, LIMITS),
        judge(dataclasses.replace(GOOD, calibration_slope=9.0), None, LIMITS),
    )
    stack = []
    for act in acts:
        if act.startswith("refuse"):
            promote(shared, model, act[-1], refused)
        elif act != "back":
            promote(shared, model, act, passed)
            stack += [act] if stack[-1:] != [act] else []
        elif len(stack) < 2:
            with pytest.raises(InputError, match="no champion" if not stack else "is the first champion"):
                rollback(shared, model)
        else:
            gone = stack.pop()
            record = rollback(shared, model)
            assert (record["from"], record["to"]) == (gone, stack[-1])
            assert "rolled_back" in shared.get_model_version(model, gone).tags
        champion = champion_of(shared, model)
        assert [str(champion.version)] == stack[-1:] if stack else champion is None
        assert champion is None or "rolled_back" not in champion.tags


def test_a_champion_made_by_hand_counts_from_the_record_that_found_it(registry):
    passed = judge(GOOD, None, LIMITS)
    promote(registry, "m", "1", passed)
    registry.set_registered_model_alias("m", "champion", "2")
    assert rollback(registry, "m")["to"] == "1"
    registry.set_registered_model_alias("m", "champion", "2")
    promote(registry, "m", "3", passed)
    assert [rollback(registry, "m")["to"], rollback(registry, "m")["to"]] == ["2", "1"]
    with pytest.raises(InputError, match="version 1 is the first champion"):
        rollback(registry, "m")


def test_a_former_champion_that_was_deleted_is_one_message(registry):
    for version in "12":
        promote(registry, "m", version, judge(GOOD, None, LIMITS))
    registry.delete_model_version("m", "1")
    with pytest.raises(InputError, match="version 1 cannot be champion again"):
        rollback(registry, "m")
    assert aliases_of(registry, "2") == ["champion"]


def test_a_registry_that_does_not_answer_is_not_one_without_champion(registry, monkeypatch):
    def broken(*_):
        raise MlflowException("connection refused", error_code=TEMPORARILY_UNAVAILABLE)

    assert champion_of(registry, "m") is None
    assert champion_of(registry, "nobody") is None
    monkeypatch.setattr(registry, "get_registered_model", broken)
    with pytest.raises(InputError, match="cannot be asked for its champion"):
        champion_of(registry, "m")


@pytest.mark.parametrize("evidence", [GOOD, dataclasses.replace(GOOD, calibration_slope=9.0)])
def test_a_champion_that_changed_since_the_judgement_stops_the_promotion(registry, evidence):
    criteria = judge(evidence, None, LIMITS)
    for against, now in ((None, "1"), ("2", "1"), ("2", None)):
        if now:
            registry.set_registered_model_alias("m", "champion", now)
        else:
            registry.delete_registered_model_alias("m", "champion")
        told = f"judged against {against or 'none'}, and now it is {now or 'none'}"
        with pytest.raises(InputError, match=f"m: the champion changed meanwhile: version 3 was {told}"):
            promotion.promote(registry, "m", "3", Judgement(criteria, against))
        assert aliases(registry) == {"1": ["champion"] if now else [], "2": [], "3": []}
    assert history(registry, "m") == []


def test_judging_the_champion_again_does_not_take_its_alias(registry):
    promote(registry, "m", "1", judge(GOOD, None, LIMITS))
    promote(registry, "m", "1", judge(dataclasses.replace(GOOD, audit_findings=2), None, LIMITS))
    assert aliases(registry)["1"] == ["champion"]
    with pytest.raises(InputError, match="first champion"):
        rollback(registry, "m")


def test_without_a_champion_there_is_nothing_to_roll_back(registry):
    with pytest.raises(InputError, match="no champion"):
        rollback(registry, "m")
    assert history(registry, "m") == []


def test_the_best_fold_is_the_first_of_equals_and_undefined_ones_lose():
    folds = [{"scores": {"auc": value}} for value in (None, 0.7, 0.9, 0.9)]
    assert best_fold({"folds": folds}, "auc") == 2
    with pytest.raises(InputError, match="every fold holds one class only"):
        best_fold({"folds": folds[:1]}, "auc")
