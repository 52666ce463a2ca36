from __future__ import annotations

import copy
import random
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from dgfnet.errors import InputError
from dgfnet.settings import Settings, fingerprint, load

PROJECT = yaml.safe_load((Path(__file__).parents[1] / "params.yaml").read_text(encoding="utf-8"))


def leaves(tree, path=()):
    """Key paths of everything that is not a section; tables of a search and of ablations are one each."""
    for key, value in tree.items():
        if isinstance(value, dict) and key not in ("space", "ablations"):
            yield from leaves(value, (*path, key))
        else:
            yield (*path, key)


SECTIONS = [name for name in PROJECT if name != "profiles"]
LEAVES = list(leaves({name: PROJECT[name] for name in SECTIONS}))


def assign(tree, path, value):
    for key in path[:-1]:
        tree = tree[key]
    tree[path[-1]] = value


def remove(tree, path):
    for key in path[:-1]:
        tree = tree[key]
    del tree[path[-1]]


def value_at(settings, path):
    """The loaded value of a key path of params.yaml."""
    for key in path:
        settings = getattr(settings, "register_" if key == "register" else key)
    return settings


@pytest.fixture
def loaded(tmp_path):
    """Writes a changed copy of params.yaml and loads it."""

    def load_changed(change=lambda tree: None, overrides=()):
        tree = copy.deepcopy(PROJECT)
        change(tree)
        path = tmp_path / "params.yaml"
        path.write_text(yaml.safe_dump(tree, sort_keys=False), encoding="utf-8")
        return load(path, overrides)

    return load_changed


def message(call, *arguments):
    with pytest.raises(InputError) as caught:
        call(*arguments)
    return str(caught.value)


def test_the_projects_file_loads_with_absolute_paths(params):
    settings = load(params)
    assert settings.root == params.parent
    assert settings.data == params.parent / "data"
    assert settings.work == params.parent / "work"
    assert settings.artifacts("crossval", "central") == params.parent / "artifacts" / "crossval" / "central"


def test_the_file_and_the_sections_name_each_other():
    fields = {field.alias or name for name, field in Settings.model_fields.items()}
    assert fields - {"root", "overrides"} == set(SECTIONS)


@pytest.mark.parametrize("path", LEAVES, ids=".".join)
def test_every_value_of_the_file_arrives(params, path):
    expected = PROJECT
    for key in path:
        expected = expected[key]
    loaded_value = value_at(load(params), path)
    if path == ("tune", "space"):
        loaded_value = {
            name: limits.model_dump(mode="json", exclude_defaults=True)
            for name, limits in loaded_value.items()
        }
    assert loaded_value == (tuple(expected) if isinstance(expected, list) else expected)


@pytest.mark.parametrize("path", LEAVES, ids=".".join)
def test_no_setting_has_a_second_default(loaded, path):
    expected = f"params.yaml: setting {'.'.join(path)} is missing"
    if path == ("base", "profile"):
        expected = "params.yaml: base.profile is None, expected one of ['demo', 'paper', 'paper_size']"
    assert message(loaded, lambda tree: remove(tree, path)) == expected


@pytest.mark.parametrize("section", [name for name in SECTIONS if name != "base"])
def test_a_missing_section_is_named(loaded, section):
    assert message(loaded, lambda tree: tree.pop(section)) == f"params.yaml: setting {section} is missing"


KNOWN = "docs/reference/settings.md for the known ones"


@pytest.mark.parametrize(
    ("path", "advice"),
    [
        (("lr",), "see"),
        (("trainin",), "did you mean training? See"),
        (("training", "learning_rat"), "did you mean training.learning_rate? See"),
        (("training", "folds"), "see"),  # cohort.folds is of another section
        (("training", "augment", "zoom"), "see"),
        (("training", "augment", "rotation"), "did you mean training.augment.rotation_degrees? See"),
        (("network", "encoder", "neck"), "see"),
    ],
)
def test_an_unknown_setting_is_an_error_word_for_word(loaded, path, advice):
    assert message(loaded, lambda tree: assign(tree, path, 1)) == (
        f"params.yaml: unknown setting {'.'.join(path)}; {advice} {KNOWN}"
    )


def test_a_wrong_word_in_a_list_is_one_fault(params):
    assert message(load, params, ["crossval.variants=[dfg]"]).count("\n") == 0
    assert "should have at least 1 item" in message(load, params, ["crossval.variants=[]"])


def test_an_unknown_setting_in_the_chosen_profile_is_an_error(loaded):
    text = message(loaded, lambda tree: assign(tree, ("profiles", "demo"), {"cohort": {"fold": 3}}))
    assert text == f"params.yaml: unknown setting cohort.fold; did you mean cohort.folds? See {KNOWN}"


def test_every_fault_is_told_at_once(loaded):
    def change(tree):
        tree["training"]["batch_size"] = 3
        del tree["training"]["batch"]
        tree["cohort"]["folds"] = 1

    assert message(loaded, change).split("\n") == [
        "params.yaml: cohort.folds: Input should be greater than or equal to 2; found 1",
        "params.yaml: setting training.batch is missing",
        "params.yaml: unknown setting training.batch_size; did you mean training.batch? See "
        "docs/reference/settings.md for the known ones",
    ]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("cohort.folds", 1),
        ("cohort.folds", 4.0),
        ("cohort.folds", True),
        ("cohort.folds", "'4'"),
        ("phantom.patients", 29),
        ("phantom.signal", -0.1),
        ("preprocess.us_size", 0),
        ("preprocess.boundary_fraction", 1.0),
        ("preprocess.window_width", 0.0),
        ("preprocess.window_level", ".nan"),
        ("network.width", 0.0),
        ("network.width", 2.5),
        ("network.dropout", 1.0),
        ("network.encoder.central", "resnet50"),
        ("network.dgf.branches", []),
        ("network.dgf.branches", "[dimension, patient]"),
        ("network.dgf.combiner", "mean"),
        ("training.batch", 1),
        ("training.learning_rate", 0.0),
        ("training.learning_rate", ".nan"),
        ("training.learning_rate", ".inf"),
        ("training.sampling", "all"),
        ("training.augment.probability", 1.1),
        ("crossval.variants", "[resnet]"),
        ("base.sites", []),
        ("base.sites", "[neck]"),
        ("base.confidence", 1.0),
        ("register.criterion", "f1"),
    ],
)
def test_a_value_out_of_range_is_refused_by_name(loaded, key, value):
    assert message(loaded, lambda tree: None, [f"{key}={value}"]).startswith(f"params.yaml: {key}")


@pytest.mark.parametrize("name", ["us_size", "ct_size"])
@pytest.mark.parametrize("size", [31, 33, 48, 100])
def test_sizes_that_the_encoder_cannot_halve_five_times_are_refused(loaded, name, size):
    text = message(loaded, lambda tree: None, [f"preprocess.{name}={size}"])
    assert f"{name} must be a multiple of 32, found {size}" in text


def test_settings_cannot_be_changed_after_loading(tiny):
    with pytest.raises(ValidationError, match="frozen"):
        tiny.training.batch = 4


def test_a_profile_changes_only_what_it_names(params):
    demo, paper = load(params), load(params, ["base.profile=paper"])
    assert (demo.cohort.folds, paper.cohort.folds) == (4, 8)
    assert paper.cohort.minimum_per_class == demo.cohort.minimum_per_class
    assert paper.network.dropout == demo.network.dropout
    assert paper.training.augment == demo.training.augment
    assert paper.phantom == demo.phantom


def test_an_override_wins_over_the_profile_whatever_the_order(params):
    for overrides in (
        ["base.profile=paper", "cohort.folds=3"],
        ["cohort.folds=3", "base.profile=paper"],
    ):
        settings = load(params, overrides)
        assert settings.cohort.folds == 3
        assert settings.crossval.unimodal_epochs == 200
        assert settings.overrides == tuple(overrides)


def test_the_last_of_two_overrides_wins(params):
    assert load(params, ["cohort.folds=3", "cohort.folds=5"]).cohort.folds == 5


def test_override_values_are_read_as_yaml(params):
    settings = load(
        params, ["base.sites=[lateral]", "network.pretrained='off'", "training.learning_rate=0.25"]
    )
    assert settings.base.sites == ("lateral",)
    assert settings.network.pretrained == "off"
    assert settings.training.learning_rate == 0.25


@pytest.mark.parametrize("text", ["training.batch", "batch=3", "=3", ".batch=3", "training.=3", ""])
def test_an_override_without_section_key_and_value_is_refused(params, text):
    assert message(load, params, [text]) == (
        f"--set {text}: expected section.key=value, for example training.batch=16"
    )


def test_an_override_that_is_no_yaml_is_refused(params):
    assert message(load, params, ["report.title=[a"]) == (
        "--set report.title=[a: the value is not valid YAML; quote it, for example \"report.title='...'\""
    )
    assert load(params, ["report.title='[a'"]).report.title == "[a"  # the advice


def test_an_override_below_a_value_is_refused(params):
    assert message(load, params, ["training.batch.size=3"]) == (
        "--set training.batch.size: batch is a value, not a section"
    )


def test_an_override_of_an_unknown_key_is_refused(params):
    assert message(load, params, ["training.batches=3"]) == (
        "params.yaml: unknown setting training.batches; did you mean training.batch? See "
        "docs/reference/settings.md for the known ones"
    )


def test_a_validation_part_that_is_no_fold_is_refused_when_read(params):
    assert message(load, params, ["holdout.fold=4"]) == (
        "params.yaml: holdout.fold: the folds are 0 to 3, found 4"
    )
    load(params, ["holdout.fold=4", "holdout.variant=null"])
    load(params, ["holdout.fold=4", "cohort.folds=5"])


def test_an_unknown_profile_is_refused(params):
    assert message(load, params, ["base.profile=full"]) == (
        "params.yaml: base.profile is 'full', expected one of ['demo', 'paper', 'paper_size']"
    )


def test_a_missing_file_says_what_to_do(tmp_path):
    path = tmp_path / "params.yaml"
    assert message(load, path) == (
        f"{path}: no such settings file; run in the project folder or pass --params FILE"
    )


@pytest.mark.parametrize(("text", "kind"), [("", "NoneType"), ("- 1", "list"), ("base", "str")])
def test_a_file_without_sections_is_refused(tmp_path, text, kind):
    path = tmp_path / "params.yaml"
    path.write_text(text)
    assert message(load, path) == f"{path}: expected a mapping of sections, found {kind}"


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-9, 9)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


def same(a, b):
    """Equal content of equal kinds: 1, 1.0 and True are three settings."""
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    return repr(a) == repr(b)


def shuffled(value, rng):
    """The same content with the keys of every dictionary in another order."""
    if isinstance(value, dict):
        keys = rng.sample(list(value), len(value))
        return {key: shuffled(value[key], rng) for key in keys}
    return [shuffled(item, rng) for item in value] if isinstance(value, list) else value


@given(json_values, st.randoms(use_true_random=False))
def test_equal_content_has_an_equal_fingerprint(value, rng):
    assert fingerprint(value) == fingerprint(shuffled(value, rng))


@given(json_values, json_values)
def test_fingerprints_are_equal_only_for_equal_content(a, b):
    assert (fingerprint(a) == fingerprint(b)) == same(a, b)


def test_parts_of_a_fingerprint_do_not_run_together():
    prints = [fingerprint("ab", "c"), fingerprint("a", "bc"), fingerprint("abc"), fingerprint(["ab", "c"])]
    assert len(set(prints)) == 4


def test_the_fingerprint_of_settings_follows_their_content(loaded, params):
    def shuffle(tree):
        content = shuffled(tree, random.Random(1))
        tree.clear()
        tree.update(content)

    before = fingerprint(load(params).training)
    assert fingerprint(loaded(shuffle).training) == before
    assert fingerprint(load(params, ["training.augment.contrast=0.3"]).training) != before


def test_a_fingerprint_of_nan_is_refused():
    with pytest.raises(ValueError, match="JSON"):
        fingerprint(float("nan"))


@pytest.mark.parametrize("text", ["off", "'off'"])
def test_off_is_a_word_and_true_is_true(params, text):
    settings = load(params, [f"network.pretrained={text}", f"training.compile={text}"])
    assert (settings.network.pretrained, settings.training.compile) == ("off", "off")
    assert load(params, ["training.compile=on"]).training.compile == "on"
    assert (
        load(params, ["network.dgf.scale_dimension_attention=false"]).network.dgf.scale_dimension_attention
        is False
    )


def space(tree, **limits):
    tree["tune"]["space"] = {"training.learning_rate": limits}


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ({"low": 1.0}, "give either low and high, or choices"),
        ({"low": 1.0, "high": 2.0, "choices": [1.0]}, "give either low and high, or choices"),
        ({}, "give either low and high, or choices"),
        ({"low": 2.0, "high": 1.0}, "low 2 must be below high 1"),
        ({"low": 0.0, "high": 1.0, "log": True}, "a logarithmic range must be above 0, found low 0"),
    ],
)
def test_a_range_that_is_none_is_refused(loaded, limits, said):
    expected = f"params.yaml: tune.space.training.learning_rate: {said}"
    assert message(loaded, lambda tree: space(tree, **limits)) == expected


@pytest.mark.parametrize(
    "name",
    [
        *("network.width", "network.encoder.central", "network.mask_channel", "network.pooling"),
        *("network.tlr.size", "training.sampling", "cohort.folds"),
    ],
)
def test_what_fusions_inherit_cannot_be_searched(loaded, name):
    def change(tree):
        tree["tune"]["space"] = {name: {"low": 1.0, "high": 2.0}}

    assert f"space.{name} cannot differ from fit to fit" in message(loaded, change)


@pytest.mark.parametrize(
    ("name", "limits", "said"),
    [
        (
            "training.lr",
            {"low": 1.0, "high": 2.0},
            "no such setting; see docs/reference/settings.md for the known ones",
        ),
        (
            "training.augment",
            {"choices": [1]},
            "a section, and no setting; name one of its settings",
        ),
        (
            "training.batch.size",
            {"low": 8, "high": 9},
            "no such setting; see docs/reference/settings.md for the known ones",
        ),
        (
            "training.learning_rate",
            {"low": -1.0, "high": 1.0},
            "-1.0 cannot be tried: Input should be greater than 0",
        ),
        (
            "training.batch",
            {"low": 8, "high": 32.5},
            "32.5 cannot be tried: Input should be a valid integer",
        ),
        (
            "training.batch",
            {"choices": [8, "many"]},
            "'many' cannot be tried: Input should be a valid integer",
        ),
        ("network.dropout", {"low": 0.0, "high": 1.0}, "1.0 cannot be tried: Input should be less than 1"),
        (
            "network.dgf.combiner",
            {"choices": ["sum", "mean"]},
            "'mean' cannot be tried: Input should be 'product', 'sum' or 'concat'",
        ),
    ],
)
def test_a_search_is_held_against_the_settings_it_changes(loaded, name, limits, said):
    def change(tree):
        tree["tune"]["space"] = {name: limits}

    assert message(loaded, change) == f"params.yaml: tune.space.{name}: {said}"


@pytest.mark.parametrize(
    ("name", "values", "said"),
    [
        ("a", {"network.dgf.brunches": ["modality"]}, "no such setting; did you mean network.dgf.branches?"),
        ("a", {"network.dgf": {}}, "a section, and no setting"),
        ("a", {"network.dgf.branches": []}, "cannot be tried"),
        ("a", {"network.dgf.combiner": "mean"}, "cannot be tried"),
        ("a", {"training.batch": 8.5}, "cannot be tried"),
        ("a", {"network.width": 0.5}, "network.width cannot differ"),
        ("a", {"training.sampling": "none"}, "training.sampling cannot differ"),
        ("a", {"crossval.multimodal_epochs": 3}, "crossval.multimodal_epochs cannot differ"),
        ("a", {}, "changes nothing"),
        ("A b", {"network.dgf.branches": ["modality"]}, "small letters, digits and _ alone"),
    ],
)
def test_an_ablation_is_judged_when_it_is_read(loaded, name, values, said):
    def change(tree):
        tree["crossval"]["ablations"] = {name: values}

    told = message(loaded, change)
    assert f"ablations.{name}" in told
    assert said in told


def test_an_ablation_changes_what_a_fusion_may_differ_in(loaded):
    values = {"network.dgf.branches": ["modality"], "training.learning_rate": 0.01}

    def change(tree):
        tree["crossval"]["ablations"] = {"modality": values}

    settings = loaded(change)
    assert settings.crossval.ablations == {"modality": values}
    changed = settings.changed(values)
    assert (changed.network.dgf.branches, changed.training.learning_rate) == (("modality",), 0.01)
    assert changed.network.dgf.combiner == settings.network.dgf.combiner


def test_whole_numbers_and_lists_can_be_searched(loaded):
    def change(tree):
        tree["tune"]["space"] = {
            "training.batch": {"low": 8, "high": 32},
            "network.dgf.branches": {"choices": [["dimension"], ["dimension", "nodule"]]},
        }

    space = loaded(change).tune.space
    assert (space["training.batch"].low, type(space["training.batch"].low)) == (8, int)


def test_tlr_anneals_and_is_not_tuned_or_registered(loaded):
    for path, value in ((("tune", "variants"), ["us_tlr"]), (("register", "variant"), "us_tlr")):
        assert "us_tlr" in message(loaded, lambda tree, p=path, v=value: assign(tree, p, v))


def test_a_changed_copy_is_validated_and_leaves_the_original(params):
    settings = load(params)
    changed = settings.changed({"training.learning_rate": 0.5, "network.dgf.combiner": "sum"})
    assert (changed.training.learning_rate, changed.network.dgf.combiner) == (0.5, "sum")
    assert settings.training.learning_rate == 1e-3
    assert changed.changed({"training.learning_rate": 1e-3, "network.dgf.combiner": "product"}) == settings
    with pytest.raises(InputError, match=r"search: training\.learning_rate: .*greater than 0.*found -1"):
        settings.changed({"training.learning_rate": -1.0})
    with pytest.raises(InputError, match=r"unknown setting training\.lr"):
        settings.changed({"training.lr": 1.0})


def test_only_dgf_is_searched_for_its_fusion(params):
    tune = load(params).tune
    assert "network.dgf.combiner" in tune.space_of("dgf")
    assert set(tune.space_of("concat")) == set(tune.space) - {"network.dgf.combiner"}


@pytest.mark.parametrize("key", ["register.variant", "compare.reference", "applicability.us"])
def test_a_baseline_is_no_network(params, key):
    said = (
        f"{key}: late is a baseline, which crossval.baselines names, and no network; expected 'us_resnet', "
    )
    assert said in message(load, params, [f"{key}=late"])
    fusions = message(load, params, ["attribute.variant=late"])
    assert "and no network; expected 'concat', 'sum', 'product', 'dgf', 'concat_record', " in fusions


@pytest.mark.parametrize("key", ["crossval.variants", "tune.variants"])
def test_a_baseline_is_not_trained(params, key):
    assert f"{key}.0: size is a baseline, which" in message(load, params, [f"{key}=[size]"])


@pytest.mark.parametrize("column", ["lnm_central", "lnm_lateral", "n_malignant_nodules", "patient_id"])
def test_the_record_must_not_hold_the_label(params, column):
    with pytest.raises(InputError, match=rf"crossval.clinical: {column} tells the label or who somebody is"):
        load(params, [f"crossval.clinical=[age,{column}]"])


def test_the_papers_profile_has_no_baselines(params):
    paper, demo = load(params, ["base.profile=paper"]), load(params)
    assert (paper.crossval.baselines, paper.crossval.stacked) == ((), None)
    assert demo.crossval.baselines == ("size", "clinical", "radiomics", "late")
    assert (demo.registered_network, paper.registered_network) == ("dgf", "dgf")
    assert (demo.register_.variant, paper.register_.variant) == ("stack", "dgf")
    assert (demo.crossval.record, paper.crossval.record) == (("age", "sex"), ())


def test_a_stack_of_nothing_is_not_registered(params):
    assert message(load, params, ["crossval.stacked=null"]).endswith(
        "register.variant: stack needs a variant in crossval.stacked, found null"
    )


def test_a_record_stack_needs_columns_that_tell_no_label(params):
    wanted = ["register.variant=record_stack", "crossval.record=[age]"]
    assert load(params, wanted).registered_network == "dgf"
    assert message(load, params, [*wanted, "crossval.record=[]"]).endswith(
        "register.variant: record_stack needs columns in crossval.record, found []"
    )
    assert message(load, params, [*wanted, "crossval.stacked=null"]).endswith(
        "register.variant: record_stack needs a variant in crossval.stacked, found null"
    )
    for name in ("lnm_lateral", "n_malignant_nodules", "patient_id"):
        assert f"{name} tells the label or who somebody is" in message(
            load, params, [f"crossval.record=[age,{name}]"]
        )


def test_networks_that_read_the_record_need_columns_wherever_they_are_named(params):
    wanted = ["crossval.variants=[concat_record,dgf_record]", "tune.variants=[dgf_record]"]
    settings = load(params, wanted)
    assert settings.crossval.variants == ("concat_record", "dgf_record")
    assert "network.dgf.combiner" in settings.tune.space_of("dgf_record")
    assert "network.dgf.combiner" not in settings.tune.space_of("concat_record")
    for key, where in (("crossval", wanted[:1]), ("tune", wanted[1:])):
        first = "concat_record" if key == "crossval" else "dgf_record"
        assert message(load, params, [*where, "crossval.record=[]"]).endswith(
            f"{key}.variants: {first} needs columns in crossval.record, found []"
        )
    for setting in ("register.variant", "attribute.variant", "holdout.variant"):
        assert load(params, [f"{setting}=sum_record"])
        assert message(load, params, [f"{setting}=sum_record", "crossval.record=[]"]).endswith(
            f"{setting}: sum_record needs columns in crossval.record, found []"
        )
    assert load(params, ["register.variant=dgf_record"]).registered_network == "dgf_record"
    assert load(params, ["applicability.both=dgf_record"]).applicability.both == "dgf_record"
    for setting in ("crossval.stacked", "applicability.us", "applicability.ct"):  # the record twice, or no US
        said = message(load, params, [f"{setting}=dgf_record"])
        assert f"{setting}: Input should be " in said
        assert "found 'dgf_record'" in said


@pytest.mark.parametrize(
    ("project", "copied", "root"),
    [  # the copy is one of the repository, the project may lie below its top, and DVC's folder too
        ("", ".dvc/tmp/exps/tmp1", ""),
        ("", ".dvc/tmp/exps/standalone/tmp1", ""),
        ("study", ".dvc/tmp/exps/tmp1", "study"),
        ("study", "study/.dvc/tmp/exps/standalone/tmp1", "study"),
    ],
)
def test_the_copy_of_an_experiment_works_in_the_folder_it_was_copied_from(
    tmp_path, params, project, copied, root
):
    top = tmp_path / copied
    (top / ".git").mkdir(parents=True)
    for folder in (tmp_path / project, top / root):
        folder.mkdir(exist_ok=True)
        (folder / "params.yaml").write_text(params.read_text())
    original, copy = load(tmp_path / project / "params.yaml"), load(top / root / "params.yaml")
    assert original.home == copy.home == original.root
    assert original.work == copy.work == original.root / "work"
    assert copy.artifacts("crossval") == top / root / "artifacts" / "crossval"
