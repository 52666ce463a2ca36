"""A version travels in one signed file, and only what was signed by somebody trusted is taken."""

import json
import os
import re
import shutil
import zipfile
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from dgfnet import tracking
from dgfnet.bundle.layout import FORMAT
from dgfnet.errors import InputError
from dgfnet.register.exchange import export_version, import_version
from dgfnet.register.logged import log_files, of_one_version
from dgfnet.register.results_exchange import import_results, is_results, write_results
from dgfnet.registry.commands import lineage
from dgfnet.registry.facts import facts
from dgfnet.registry.origin import read_origin
from dgfnet.registry.seal import unsealed
from dgfnet.registry.stored import version_of
from dgfnet.settings import load

NAME = "dgfnet-central"
FILES = {"MLmodel": "flavors: {}\n", "artifacts/MODEL_CARD.md": "# It errs.\n", "artifacts/bundle.zip": "zip"}


def keys(folder, name, key=None):
    key = key or Ed25519PrivateKey.generate()
    pem = serialization.Encoding.PEM
    plain = serialization.NoEncryption()
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain)
    (folder / name).write_bytes(private)
    public = key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo)
    (folder / f"{name}.pub").write_bytes(public)
    return folder / name, folder / f"{name}.pub"


@pytest.fixture(autouse=True)
def two_processes(monkeypatch):
    """What MLflow keeps of the store that was used last, another process does not know."""
    registry = tracking.registry

    def anew(settings):
        for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
            os.environ.pop(name, None)
        return registry(settings)

    monkeypatch.setattr(tracking, "registry", anew)
    monkeypatch.setattr(tracking, "store", lambda settings: f"sqlite:///{settings.home / 'mlflow.db'}")


def write(folder, _):
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


@pytest.fixture
def registered(settings, version):
    """Version 2 of a hospital, with facts of every kind, and an origin."""
    client = tracking.registry(settings)
    run = client.get_run(version.run_id).info
    known = {
        **FORMAT,
        "origin": facts(version)["origin"],
        "fits": "abc",
        "pooled_auc": "0.8123",
        "pooled_auc_low": "undefined",
        "out_of_fold": "d" * 64,
        "network_run": run.run_id,
        "external_auc": "0.9",
        "git_commit": "a" * 40,
        "data_md5": "b" * 32,
    }
    tags = {"variant": "stack", "AUC": "0.812"}
    words = "It is a stack.\n\n- Runs: [ann](#/experiments/1)\n"
    number = log_files(client, "central", run.experiment_id, run.run_id, write, known, tags, words)
    client.set_model_version_tag(NAME, number, "AUC external", "0.9")
    client.set_model_version_tag(NAME, number, "promotion.2026", json.dumps({"who": "ann", "to": number}))
    return version_of(client, NAME, number)


@pytest.fixture
def other(tmp_path, params, empty_store):
    """The project of another hospital, with an empty store."""
    folder = tmp_path / "other"
    folder.mkdir()
    shutil.copy(params, folder / "params.yaml")
    shutil.copy(empty_store, folder / "mlflow.db")
    return load(folder / "params.yaml")


@pytest.fixture
def sent(settings, registered, tmp_path):
    """The file, and the keys of the sender."""
    private, public = keys(tmp_path, "sender")
    export_version(settings, "central", str(registered.version), tmp_path / "model.dgfnet", private)
    return tmp_path / "model.dgfnet", private, public


def test_a_version_is_the_same_in_another_registry(settings, registered, other, sent, tmp_path):
    file, _, public = sent
    said = import_version(other, file, [keys(tmp_path, "else")[1], public])
    assert re.fullmatch(
        r"dgfnet-central version 1: imported, signed with the key [0-9a-f]{16}; judge it: "
        r"dgfnet promote central 1",
        said,
    )
    client = tracking.registry(other)
    version = version_of(client, NAME, "1")
    known = facts(version)
    assert known["seal"] == facts(registered)["seal"]
    assert {name: known[name] for name in ("fits", "pooled_auc", "bundle_format")} == {
        **{"fits": "abc", "pooled_auc": "0.8123"},
        "bundle_format": FORMAT["bundle_format"],
    }
    # what means something at home alone stayed there
    assert not {"out_of_fold", "network_run", "external_auc", "AUC external"} & known.keys()
    assert not [tag for tag in version.tags if tag.startswith("promotion.")]
    assert (version.tags["AUC"], version.aliases) == ("0.812", [])
    assert version.description.startswith("It is a stack.\n\nImported: version 2 of another registry")
    brought = json.loads(known["imported"])
    assert (brought["version"], brought["signed_by"]) == ("2", said.split("the key ")[1][:16])
    with unsealed(client, version) as folder:
        assert {name: (folder / name).read_text() for name in FILES} == FILES
    assert read_origin(client, version) == read_origin(tracking.registry(settings), registered)
    assert client.get_run(version.run_id).data.metrics == {"pooled_auc": 0.8123}
    assert f"signed with the key {brought['signed_by']}" in lineage(other, "central", "1")
    assert import_version(other, file, [public]) == f"{file} is {NAME} version 1 of this registry already"
    assert len(client.search_model_versions(f"name = '{NAME}'")) == 1


def test_no_table_of_nodules_and_no_run_travels(settings, sent):
    with zipfile.ZipFile(sent[0]) as archive:
        assert set(archive.namelist()) == {
            *("manifest.json", "signature.json", "origin.json", "LICENSE"),
            *(f"model/{name}" for name in FILES),
        }
        manifest = json.loads(archive.read("manifest.json"))
        assert b"Apache License" in archive.read("LICENSE")
    assert manifest["decisions"] == [{"who": "ann", "to": "2"}]
    assert "Runs" not in manifest["description"]


def rewritten(source, target, changes=(), added=(), removed=()):
    with zipfile.ZipFile(source) as before, zipfile.ZipFile(target, "w") as after:
        for name in before.namelist():
            if name not in removed:
                after.writestr(name, dict(changes).get(name, before.read(name)))
        for name, content in added:
            after.writestr(name, content)
    return target


def test_what_was_changed_is_refused_and_named(other, sent, tmp_path):
    file, _, public = sent
    with zipfile.ZipFile(file) as archive:
        manifest, signature = (archive.read(name) for name in ("manifest.json", "signature.json"))
    better = manifest.replace(b'"pooled_auc": "0.8123"', b'"pooled_auc": "0.9999"')
    assert better != manifest
    cases = [
        ({"changes": [("model/artifacts/MODEL_CARD.md", "# It never errs.")]}, "MODEL_CARD.md was changed"),
        ({"changes": [("origin.json", "{}")]}, "origin.json was changed"),
        ({"changes": [("manifest.json", better)]}, "is not what was signed; not imported"),
        ({"changes": [("signature.json", b"{}")]}, "holds no signature of dgfnet"),
        ({"changes": [("signature.json", signature[:-9])]}, "holds no signature of dgfnet"),
        ({"added": [("model/python_model.pkl", b"x")]}, "model/python_model.pkl was added or taken away"),
        ({"removed": ["model/MLmodel"]}, "model/MLmodel was added or taken away"),
        ({"removed": ["manifest.json"]}, "has no manifest.json of a usual size"),
    ]
    for change, words in cases:
        with pytest.raises(InputError, match=re.escape(words)):
            import_version(other, rewritten(file, tmp_path / "changed", **change), [public])
    cut = tmp_path / "cut"
    cut.write_bytes(file.read_bytes()[:-200])
    for path, words in (
        (cut, "cannot be read, expected a file of dgfnet export"),
        (tmp_path / "nothing", "there is no such file"),
        (tmp_path, "cannot be read, expected a file of dgfnet export"),
    ):
        with pytest.raises(InputError, match=words):
            import_version(other, path, [public])
    assert tracking.registry(other).search_model_versions(f"name = '{NAME}'") == []


def test_a_key_that_nobody_trusts_is_refused_with_its_fingerprint(other, sent, tmp_path):
    file, _, _ = sent
    with pytest.raises(InputError, match=r"which is none of those you trust \(none was named\)"):
        import_version(other, file, [])
    _, stranger = keys(tmp_path, "stranger")
    with pytest.raises(InputError, match=r"signed with the key [0-9a-f]{16}, .* \([0-9a-f]{16}\); compare"):
        import_version(other, file, [stranger])
    elliptic, public_elliptic = keys(tmp_path, "elliptic", generate_private_key(SECP256R1()))
    for path, words in (
        (public_elliptic, "is no public Ed25519 key in PEM; make one"),
        (tmp_path / "nothing", "cannot be read"),
        (elliptic, "is no public Ed25519 key in PEM; make one"),
    ):
        with pytest.raises(InputError, match=words):
            import_version(other, file, [path])


def test_what_cannot_be_exported_is_said(settings, registered, tmp_path):
    private, public = keys(tmp_path, "sender")
    target = tmp_path / "model.dgfnet"
    for version, key, words in (
        ("9", private, "has no dgfnet-central version 9; it has 1, 2"),
        ("champion", private, "has no dgfnet-central@champion"),
        ("1", private, "by an earlier release of DGFNet and cannot be read"),
        ("2", public, "is no private Ed25519 key in PEM without a password; make one: openssl genpkey"),
        ("2", tmp_path / "nothing", "cannot be read"),
    ):
        with pytest.raises(InputError, match=words):
            export_version(settings, "central", version, target, key)
    next(Path(settings.root).rglob("models/*/artifacts/MLmodel")).write_text("flavors: {python: 1}")
    with pytest.raises(InputError, match="MLmodel was changed"):
        export_version(settings, "central", "2", target, private)
    assert not target.exists()
    assert not list(tmp_path.glob("*.partial"))


RESULTS = {
    "nodules": 41,
    "external": {
        **{
            "auc": 0.8125,
            "accuracy": 0.75,
            "sensitivity": float("nan"),
            "specificity": 0.5,
            "precision": 0.5,
        },
        **{"f1": 0.625, "n": 41, "auc_interval": {"low": 0.7, "high": 0.9}, "calibration": {"slope": 1.25}},
    },
}


@pytest.fixture
def sent_results(settings, registered, tmp_path):
    key, public = keys(tmp_path, "hospital.pem")
    client = tracking.registry(settings)
    own = version_of(client, NAME, "2")
    target = tmp_path / "results.json"
    signer = write_results(own, "central", RESULTS, target, key)
    return target, public, signer


def test_results_come_back_to_the_version_they_are_of(settings, sent_results):
    target, public, signer = sent_results
    told = import_results(settings, target, [public])
    assert told == (
        "dgfnet-central version 2: validated elsewhere on 41 nodules, AUC 0.812 (0.700-0.900), "
        f"signed with the key {signer}"
    )
    client = tracking.registry(settings)
    kept = version_of(client, NAME, "2")
    tags = [name for name in kept.tags if name.startswith("validated_elsewhere.")]
    assert [tag.split(".")[1] for tag in tags] == [signer]
    assert of_one_version(tags[0])
    assert facts(kept)["external_auc"] == "0.9"  # what was validated at home stays
    assert f"AUC 0.812 (0.700-0.900), 41 nodules, signed with {signer}" in lineage(settings, "central", "2")
    import_results(settings, target, [public])  # once more is once
    assert [name for name in version_of(client, NAME, "2").tags if name.startswith("validated_")] == tags
    (run,) = client.search_runs(
        [client.get_experiment_by_name(tracking.experiment_name("central", "external")).experiment_id],
        f"tags.signed_by = '{signer}'",
    )
    assert run.data.metrics == {
        "external_auc": 0.8125,
        "external_auc_low": 0.7,
        "external_auc_high": 0.9,
        "external_accuracy": 0.75,
        "external_specificity": 0.5,
        "external_precision": 0.5,
        "external_f1": 0.625,
        "external_calibration_slope": 1.25,
        "external_n": 41.0,
    }
    assert run.info.status == "FINISHED"


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (
            lambda whole: whole | {"content": whole["content"].replace("0.8125", "0.9125")},
            "is not what was signed",
        ),
        (lambda whole: whole | {"signature": "AAAA"}, "is not what was signed"),
        (lambda whole: whole | {"public_key": "none"}, "holds no signature of dgfnet"),
        (lambda whole: {"content": whole["content"]}, "holds no signature of dgfnet"),
        (lambda whole: {}, "expected a file of dgfnet validate"),
        (lambda whole: [], "expected a file of dgfnet validate"),
    ],
)
def test_results_that_are_not_what_was_signed_are_refused(settings, sent_results, changed, said):
    target, public, _ = sent_results
    target.write_text(json.dumps(changed(json.loads(target.read_text()))))
    with pytest.raises(InputError, match=said):
        import_results(settings, target, [public])


def test_results_of_a_stranger_or_of_another_model_are_refused(settings, sent_results, registered, tmp_path):
    target, public, signer = sent_results
    _, other = keys(tmp_path, "other.pem")
    with pytest.raises(InputError, match=f"signed with the key {signer}, which is none of those you trust"):
        import_results(settings, target, [other])
    client = tracking.registry(settings)
    client.delete_model_version(NAME, "2")
    with pytest.raises(InputError, match="is about a version of dgfnet-central that this registry does not"):
        import_results(settings, target, [public])


def test_kinds_of_files_are_told_apart(sent_results, tmp_path):
    archive = tmp_path / "model.dgfnet"
    archive.write_bytes(b"PK\3\4")
    assert is_results(sent_results[0])
    assert not is_results(archive)
    assert not is_results(tmp_path / "absent")
