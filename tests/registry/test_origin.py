"""The origin of a version is kept whole, and a version without it, or without its run, is refused."""

from types import SimpleNamespace

import pytest

from dgfnet import crossval, provenance, tracking
from dgfnet.errors import InputError
from dgfnet.registry.facts import facts
from dgfnet.registry.origin import read_origin
from dgfnet.registry.stored import known_metrics, out_of_fold, version_of


def changed(version, **tags):
    kept = {name: value for name, value in {**facts(version), **tags}.items() if value is not None}
    return SimpleNamespace(name=version.name, version="1", run_id=version.run_id, tags=kept)


def test_the_origin_of_a_version_is_kept_whole(settings, version):
    origin = read_origin(tracking.registry(settings), version)
    assert (origin.git_commit, origin.data_md5) == ("a" * 40, "b" * 32)
    assert origin.settings == provenance.describe(settings, crossval.SECTIONS)["settings"]
    assert origin.params_sha256 == provenance.describe(settings, crossval.SECTIONS)["params_sha256"]
    assert origin.chosen == {"dgf": {"chosen": [{}], "folds": "f"}}
    assert (origin.versions, origin.machine) == ({"torch": "0"}, "abacus")  # of the training, not of today


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        (
            {"git_commit": "a" * 40 + "-dirty"},
            "cannot be made again: it was trained with uncommitted changes",
        ),
        ({"git_commit": "unknown"}, "cannot be made again: it was trained outside git"),
        ({"git_commit": None}, "cannot be made again: it was trained outside git"),
        ({"data_md5": "untracked"}, "cannot be made again: its cohort is not under DVC"),
        ({"git_commit": "c" * 40}, "its git_commit and data_md5 are not those"),
        ({"data_md5": "c" * 32}, "its git_commit and data_md5 are not those"),
        ({"origin": None}, "was registered without its settings"),
        ({"origin": "0" * 64}, "its settings cannot be read"),
    ],
)
def test_a_version_without_its_origin_is_refused(settings, version, tags, message):
    with pytest.raises(InputError, match=f"dgfnet-central version 1.*{message}"):
        read_origin(tracking.registry(settings), changed(version, **tags))


def test_a_store_that_has_lost_something_is_refused(settings, version):
    client = tracking.registry(settings)
    with pytest.raises(InputError, match=r"the store has no out_of_fold\.csv of its run"):
        out_of_fold(settings, version)
    assert known_metrics(settings, version) == {"auc": 0.1 + 0.2}
    kept = next(settings.root.rglob("origins/*.json"))
    whole = kept.read_text()
    kept.write_text(whole.replace("abacus", "quipu"))
    with pytest.raises(InputError, match="its settings in the store are not those it was registered with"):
        read_origin(client, version)
    # an earlier release named the file by the version, and a recalibrated one by the version before it
    kept.rename(kept.with_name("dgfnet-central 1.json")).write_text(whole)
    assert read_origin(client, version).machine == "abacus"
    assert read_origin(client, changed(version, recalibrated_from="1")).machine == "abacus"
    kept.with_name("dgfnet-central 1.json").unlink()
    with pytest.raises(InputError, match="its settings cannot be read"):
        read_origin(client, version)
    with pytest.raises(InputError, match="the store has no run of its fold"):
        known_metrics(settings, SimpleNamespace(name="m", version="1", run_id="0" * 32, tags={}))
    with pytest.raises(InputError, match="no dgfnet-central version 2; it has 1"):
        version_of(client, "dgfnet-central", "2")
