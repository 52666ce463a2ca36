"""What the pipeline leaves in a folder and in MLflow, on a tiny phantom."""

import getpass
import hmac
import json
import re
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from sklearn.metrics import roc_auc_score
from whole import PLANTED, client, runs

from dgfnet.registry.facts import facts, logged_model
from dgfnet.settings import load
from dgfnet.tracking import IDENTITY, crossval_identity, identity_of


def run_of(folder, site, metrics):
    """The run of a cross-validation, by its identity: no file of the results names it."""
    identity = identity_of(load(folder / "params.yaml"), crossval_identity(metrics))
    (run,) = [run for run in runs(folder, f"dgfnet-{site}") if run.data.tags.get(IDENTITY) == identity]
    return run


def test_no_result_names_a_run_or_a_clock(finished):
    experiments = [each.name for each in client(finished).search_experiments() if each.name != "Default"]
    assert len(experiments) == 9  # central and lateral, each with external, holdout and checks; pretrain
    ids = {run.info.run_id for name in experiments for run in runs(finished, name)}
    texts = [
        path
        for path in (finished / "artifacts").rglob("*")
        if path.suffix in (".json", ".csv", ".md", ".html")
    ]
    assert len(texts) > 50
    for path in texts:
        text = path.read_text()
        assert not [name for name in ids if name in text], path
        assert "pairs_per_second" not in text, path
        if path.name != "index.html":  # the report bears its day
            assert not re.search(r"20\d\d-\d\d-\d\d", text), path


def test_every_kept_nodule_is_predicted_once_by_a_model_that_never_saw_its_patient(finished):
    nodules = pd.read_parquet(finished / "artifacts/cohort/nodules.parquet")
    folds = pd.read_csv(finished / "artifacts/cohort/folds.csv").set_index("nodule_id")
    main = nodules[nodules["cohort"] == "main"].set_index("nodule_id")
    for site in ("central", "lateral"):
        for variant in ("us_multitask", "ct_multitask", "concat", "dgf"):
            table = pd.read_csv(finished / f"artifacts/crossval/{site}/{variant}/out_of_fold.csv")
            assert sorted(table["nodule_id"]) == sorted(main.index)
            assert (table["fold"].to_numpy() == folds.loc[table["nodule_id"], "fold"].to_numpy()).all()
            assert (table["label"].to_numpy() == main.loc[table["nodule_id"], f"lnm_{site}"].to_numpy()).all()
            assert table["probability"].between(0, 1).all()
            assert table["probability"].nunique() > len(table) / 2


def test_no_identity_leaves_the_cohort_and_its_tables(finished):
    """Ids stay in tables beside the cohort, where users join them; nothing of a person goes to MLflow."""

    def naming(*patterns):
        files = [path for pattern in patterns for path in finished.glob(pattern) if path.is_file()]
        assert files, patterns
        named = [path for path in files if PLANTED.encode() in path.read_bytes() or PLANTED in str(path)]
        for path in files:
            if path.suffix == ".zip":
                with zipfile.ZipFile(path) as packed:
                    files += [Path(name) for name in packed.namelist()]
                    named += [name for name in packed.namelist() if PLANTED.encode() in packed.read(name)]
        return files, named

    files, named = naming("mlflow.db", "mlruns/**/*", "artifacts/report/*", "artifacts/register/*")
    assert named == []
    assert {"out_of_fold.csv", "predictions.csv", "weights.safetensors"} <= {path.name for path in files}
    assert naming("artifacts/compare/**/*", "artifacts/pretrain/*", "artifacts/tune/*")[1] == []
    assert naming("artifacts/cohort/folds.csv", "data/*.csv")[1]  # the search can find it


def test_pseudonyms_in_mlflow_stand_for_patients_and_only_the_key_tells_which(finished):
    local = pd.read_csv(finished / "artifacts/crossval/central/dgf/out_of_fold.csv")
    logged = next((finished / "mlruns").rglob("out_of_fold.csv"))
    table = pd.read_csv(logged)
    assert table["patient_id"].str.fullmatch("[0-9a-f]{16}").all()
    assert table["nodule_id"].nunique() == local["nodule_id"].nunique()
    assert table["patient_id"].nunique() == local["patient_id"].nunique()
    key = (finished / "id.key").read_bytes()
    assert (finished / "id.key").stat().st_mode & 0o077 == 0
    expected = {hmac.new(key, one.encode(), "sha256").hexdigest()[:16] for one in local["patient_id"]}
    assert set(table["patient_id"]) == expected


def test_metrics_equal_those_recomputed_from_the_table_and_stand_in_mlflow(finished):
    for site in ("central", "lateral"):
        folder = finished / f"artifacts/crossval/{site}/dgf"
        metrics = json.loads((folder / "metrics.json").read_text())
        table = pd.read_csv(folder / "out_of_fold.csv")
        pooled = roc_auc_score(table["label"], table["probability"])
        by_fold = [roc_auc_score(part["label"], part["probability"]) for _, part in table.groupby("fold")]
        assert metrics["pooled"]["auc"] == pytest.approx(pooled, abs=1e-12)
        assert metrics["mean"]["auc"] == pytest.approx(np.mean(by_fold), abs=1e-12)
        logged = run_of(finished, site, metrics).data.metrics
        assert logged["pooled_auc"] == pytest.approx(pooled, abs=1e-12)
        assert logged["mean_auc"] == pytest.approx(np.mean(by_fold), abs=1e-12)


def test_runs_are_parents_with_one_child_per_fold_all_finished_with_lineage(finished):
    for site in ("central", "lateral"):
        found = runs(finished, f"dgfnet-{site}")
        assert {run.info.status for run in found} == {"FINISHED"}
        crossval = [run for run in found if run.data.tags["stage"] == "crossval"]
        parents = [run for run in crossval if "mlflow.parentRunId" not in run.data.tags]
        tables = [run for run in parents if "baseline" in run.data.tags]
        parents = [run for run in parents if run not in tables]
        assert sorted(run.info.run_name for run in tables) == [
            "clinical",
            "ct_stack",
            "late",
            "radiomics",
            "record_stack",
            "size",
            "stack",
            "us_stack",
        ]
        assert sorted(run.info.run_name for run in parents) == [
            "concat",
            "ct_multitask",
            "dgf",
            "us_multitask",
        ]
        for parent in parents:
            children = [r for r in crossval if r.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
            assert sorted(run.data.tags["fold"] for run in children) == ["0", "1"]
            assert {run.data.tags["variant"] for run in children} == {parent.data.tags["variant"]}
            assert {"git_commit", "data_md5", "params_sha256", "site"} <= set(parent.data.tags)
            assert parent.inputs.dataset_inputs[0].dataset.name == "cohort"
            assert all("loss_label" in run.data.metrics for run in children)


def test_baselines_stand_beside_the_networks_on_the_same_nodules(finished):
    """In the tables of compare, in MLflow, on the page, in the card; anybody can score their models."""
    from dgfnet.tabular.logistic import Logistic

    names = [
        "us_multitask",
        "ct_multitask",
        "concat",
        "dgf",
        "size",
        "clinical",
        "radiomics",
        "late",
        "us_stack",
        "ct_stack",
        "record_stack",
        "stack",
    ]
    page = (finished / "artifacts/report/index.html").read_text()
    for site in ("central", "lateral"):
        top = finished / "artifacts/crossval" / site
        compared = finished / "artifacts/compare" / site
        network = pd.read_csv(top / "dgf/out_of_fold.csv")
        assert pd.read_csv(compared / "table.csv")["variant"].tolist() == names
        assert len(pd.read_csv(compared / "pairs.csv")) == 12 * 11 / 2
        against = pd.read_csv(compared / "baselines.csv")
        assert len(against) == 8 * 4  # four networks and four stacks
        for name in names[4:]:
            table = pd.read_csv(top / name / "out_of_fold.csv")
            same = ["nodule_id", "patient_id", "fold", "label"]
            pd.testing.assert_frame_equal(table[same], network[same])
            pooled = roc_auc_score(table["label"], table["probability"])
            metrics = json.loads((top / name / "metrics.json").read_text())
            run = run_of(finished, site, metrics)
            assert run.data.metrics["pooled_auc"] == pytest.approx(pooled, abs=1e-12)
            assert [fold["threshold"] for fold in metrics["folds"]] == pytest.approx(
                [table.loc[table["fold"] != fold, "label"].mean() for fold in (0, 1)]
            )
            if name.endswith("stack"):
                continue
            row = against[(against["variant"] == "dgf") & (against["baseline"] == name)].iloc[0]
            by_hand = roc_auc_score(network["label"], network["probability"]) - pooled
            assert row["estimate"] == pytest.approx(by_hand, abs=1e-12)
        model = json.loads((top / "late/model.json").read_text())["folds"][0]
        odds = {
            name: np.log(p / (1 - p))
            for name in ("us_multitask", "ct_multitask")
            for p in [pd.read_csv(top / name / "out_of_fold.csv")["probability"]]
        }
        scored = Logistic.of({key: model[key] for key in ("terms", "intercept", "strength")}).probability(
            pd.DataFrame(odds)
        )
        late = pd.read_csv(top / "late/out_of_fold.csv")
        held = (late["fold"] == 0).to_numpy()
        np.testing.assert_allclose(scored[held], late["probability"][held], atol=1e-9)
        assert f"Networks against baselines, {site}" in page
        assert "Of networks and stacks" in (compared / "table.md").read_text()
        assert (
            "## Against baselines\n\nstack "
            in (finished / f"artifacts/report/model_card_{site}.md").read_text()
        )


def known_of(folder):
    """What cohort and preprocess wrote of every nodule, by column of a model.json; a phantom has its mm."""
    nodules = pd.read_parquet(folder / "cohort/nodules.parquet").set_index("nodule_id")
    index = pd.read_parquet(folder / "preprocess/index.parquet")
    whose = index[["modality", "row", "nodule_id"]]
    measured = pd.read_parquet(folder / "preprocess/measured.parquet").merge(whose, on=["modality", "row"])
    known = {name: nodules[name] for name in nodules}
    for modality in ("us", "ct"):
        areas = index[index["modality"] == modality].groupby("nodule_id")["area_mm2"].max()
        own = measured[measured["modality"] == modality].groupby("nodule_id").median(numeric_only=True)
        known |= {f"{modality}_{name}": own[name] for name in own}
        known[f"{modality}_log_area_mm2"] = np.log(areas)
    return known


def odds_of(model, known, ids):
    """The log odds of a fold of model.json, as docs/explanation/baselines.md has them."""
    total = np.full(len(ids), model["intercept"])
    for term in model["terms"]:
        cells = known[term["column"]].loc[ids]
        if term["kind"] == "level":
            total += term["coefficient"] * (cells.astype(str).to_numpy() == term["level"])
            continue
        numbers = pd.to_numeric(cells, errors="coerce").to_numpy(float)
        filled = np.where(np.isnan(numbers), term["fill"], numbers)
        value = np.isnan(numbers) if term["kind"] == "gap" else (filled - term["centre"]) / term["scale"]
        total += term["coefficient"] * value
    return total


def test_baselines_without_a_network_stand_beside_the_champion_on_the_external_cohort(finished):
    """Recomputed from model.json: log odds and thresholds of the folds are averaged."""
    folder = finished / "artifacts"
    known, page = known_of(folder), (folder / "report/index.html").read_text()
    where = folder / "external/central"
    table = pd.read_csv(where / "predictions.csv", dtype={"nodule_id": str})
    metrics = json.loads((where / "metrics.json").read_text())
    assert (list(metrics["baselines"]), metrics["left_out"]) == (["size", "clinical", "radiomics"], {})
    for name, found in metrics["baselines"].items():
        top = folder / "crossval/central" / name
        folds = json.loads((top / "model.json").read_text())["folds"]
        odds = np.mean([odds_of(fold, known, table["nodule_id"]) for fold in folds], axis=0)
        own = table[f"{name}_probability"]
        np.testing.assert_allclose(own, 1 / (1 + np.exp(-odds)), atol=1e-9)
        share = pd.read_csv(top / "out_of_fold.csv").groupby("fold")["threshold"].first()
        limit = np.log(share / (1 - share)).mean()
        assert found["threshold"] == pytest.approx(1 / (1 + np.exp(-limit)))
        assert found["accuracy"] == pytest.approx(((odds >= limit) == table["label"]).mean())
        area = roc_auc_score(table["label"], own)
        more = roc_auc_score(table["label"], table["probability"]) - area
        assert found["auc"] == pytest.approx(area)
        assert found["difference"]["estimate"] == pytest.approx(more, abs=1e-12)
        assert f"external validation, baseline {name}" in page
    said = f"On the external cohort {metrics['variant']} "
    assert said in (folder / "report/model_card_central.md").read_text()
    assert said in page


def test_champion_scores_the_external_cohort_as_its_bundle_does(finished):
    from dgfnet.registry.champion import load_champion
    from dgfnet.settings import load

    settings = load(finished / "params.yaml")
    champion = load_champion(settings, "central")
    record = json.loads((finished / "artifacts/register/central.json").read_text())
    metrics = json.loads((finished / "artifacts/external/central/metrics.json").read_text())
    table = pd.read_csv(finished / "artifacts/external/central/predictions.csv")
    assert (champion.name, champion.version, record["alias"]) == ("dgfnet-central", "1", "champion")
    assert len(table) == 12
    assert metrics["threshold"] == champion.metadata["threshold"]
    assert metrics["external"]["auc"] == pytest.approx(roc_auc_score(table["label"], table["probability"]))
    called = table["probability"] >= metrics["threshold"]
    assert metrics["external"]["accuracy"] == pytest.approx((called == table["label"]).mean())
    version = client(finished).get_model_version("dgfnet-central", "1")
    assert float(facts(version)["external_auc"]) == pytest.approx(metrics["external"]["auc"], abs=5e-5)
    assert version.aliases == ["champion"]
    read = {
        name for name in version.tags if not name.startswith("promotion.")
    }  # by a person, and one by code
    assert read == {"variant", "scoring", "threshold", "AUC", "AUC external", "dgfnet"}
    assert version.tags["AUC external"].startswith(f"{metrics['external']['auc']:.3f}")
    pooled = json.loads((finished / "artifacts/crossval/central/stack/metrics.json").read_text())
    interval = pooled["auc_interval"]
    compared = client(finished).get_run(version.run_id).data.metrics  # MLflow's page of versions shows them
    outside = metrics["external"]["auc_interval"]
    for name, value in (("", "estimate"), ("_low", "low"), ("_high", "high")):
        assert compared[f"pooled_auc{name}"] == pytest.approx(interval[value])
        if outside[value] is not None:
            assert compared[f"external_auc{name}"] == pytest.approx(outside[value])
    for name in ("sensitivity", "specificity"):
        assert compared[f"pooled_{name}"] == pytest.approx(pooled["pooled"][name])
        assert compared[f"external_{name}"] == pytest.approx(metrics["external"][name])
    assert compared["threshold"] == pytest.approx(champion.metadata["threshold"], abs=5e-5)
    told = {metric.key: metric for metric in client(finished).get_logged_model(logged_model(version)).metrics}
    assert told["pooled_auc"].value == compared["pooled_auc"]
    assert told["external_auc"].dataset_name == "external cohort"


def test_a_version_leads_to_its_runs_its_cohort_its_report_and_its_explanations(finished):
    store = client(finished)
    version = store.get_model_version("dgfnet-central", "1")
    record = json.loads((finished / "artifacts/register/central.json").read_text())
    assert f"md5 `{record['data_md5']}`" in version.description
    links = re.findall(r"#/experiments/(\d+)/runs/([0-9a-f]{32})", version.description)
    assert len(links) == 4
    for experiment, run in links:
        assert store.get_run(run).info.experiment_id == experiment
    assert version.tags["variant"] == "stack"  # explained is the network in it, dgf
    names = {
        Path(file.path).name
        for folder in ("attribution", "report")
        for file in store.list_artifacts(version.run_id, folder)
    }
    assert {"saliency.png", "contributions.png", "checks.png", "index.html"} <= names
    assert store.get_run(version.run_id).inputs.dataset_inputs[0].dataset.name == "cohort"


def test_runs_say_who_made_them_and_only_candidates_stand_beside_each_other(finished):
    found = runs(finished, "dgfnet-central")
    assert {run.data.tags["mlflow.user"] for run in found} == {getpass.getuser()}
    assert {run.data.tags["mlflow.source.name"] for run in found} == {"dgfnet crossval"}
    assert {run.data.tags["stage"] for run in found} == {"crossval"}
    assert {run.data.tags["stage"] for run in runs(finished, "dgfnet-central-external")} == {"external"}
    assert {run.data.tags["stage"] for run in runs(finished, "dgfnet-central-checks")} == {"attribute"}


def test_champions_stand_in_a_file_with_the_fits_they_are_made_of(finished):
    noted = json.loads((finished / "champions.json").read_text())
    assert sorted(noted) == ["dgfnet-central", "dgfnet-lateral"]
    for name, champion in noted.items():
        version = client(finished).get_model_version(name, champion["version"])
        assert champion["fits"] == facts(version)["fits"]
        assert len(champion["fits"]) == 20


def network_of(project, site):
    """The champion's network in torch, from its checked bundle."""
    from dgfnet.bundle.network import BundledNetwork
    from dgfnet.registry.champion import champion_version, open_bundle
    from dgfnet.settings import load

    with open_bundle(*champion_version(load(project / "params.yaml"), site)) as folder:
        return BundledNetwork.open(folder)


def album_of(finished, model, nodules):
    """Crops and measured features of nodules of the archive, as the model takes them."""
    from dgfnet.bundle.album import archived
    from dgfnet.preprocess.archive import Archive

    folder = finished / "artifacts/preprocess"
    table = pd.read_parquet(folder / "measured.parquet")
    return archived(Archive.open(folder), table, model.inputs, list(nodules), model.units)


@pytest.mark.parametrize("site", ["central", "lateral"])
def test_the_bundle_gives_held_out_nodules_the_probabilities_of_cross_validation(finished, site):
    """The stack of both, and those of one modality inside it: each network of the ensembles on its fold."""
    from dgfnet.registry.champion import load_champion
    from dgfnet.settings import load

    champion = load_champion(load(finished / "params.yaml"), site)
    models = [champion.model, *champion.model.unimodal.values()]
    assert [model.metadata["variant"] for model in models] == ["stack", "us_stack", "ct_stack"]
    joined = [model.metadata["network_variant"] for model in models]
    assert joined == ["dgf", "us_multitask", "ct_multitask"]
    for model in models:
        variant = model.metadata["variant"]
        table = pd.read_csv(
            finished / f"artifacts/crossval/{site}/{variant}/out_of_fold.csv", dtype={"nodule_id": str}
        )
        assert sorted(member["fold"] for member in model.metadata["members"]) == [0, 1]
        odds = []
        for place, member in enumerate(model.metadata["members"]):
            own = table[table["fold"] == member["fold"]]
            album = album_of(finished, model, own["nodule_id"])
            np.testing.assert_allclose(model.score_by(place, album), own["probability"], atol=1e-6)
            assert member["threshold"] == pytest.approx(own["threshold"].iloc[0])
            odds.append(np.log(member["threshold"] / (1 - member["threshold"])))
            if variant == "stack" and place == 0:
                network = network_of(finished, site)
                np.testing.assert_allclose(network.score(album)["probability"], own["probability"], atol=1e-6)
                assert network.threshold == pytest.approx(member["threshold"])
        assert model.threshold == pytest.approx(1 / (1 + np.exp(-np.mean(odds))))


def test_what_us_and_ct_alone_say_elsewhere_is_measured_at_their_own_thresholds(finished):
    metrics = json.loads((finished / "artifacts/external/central/metrics.json").read_text())
    table = pd.read_csv(finished / "artifacts/external/central/predictions.csv")
    for modality in ("us", "ct"):
        found, told = table[f"{modality}_probability"], metrics["alone"][modality]
        assert told["auc"] == pytest.approx(roc_auc_score(table["label"], found))
        assert told["accuracy"] == pytest.approx(((found >= told["threshold"]) == table["label"]).mean())
    rule = json.loads((finished / "artifacts/applicability/central/rule_external.json").read_text())
    frontier = pd.read_csv(finished / "artifacts/applicability/central/frontier_external.csv")
    ends = frontier[frontier["policy"] == "rule"].set_index("ct_share")["auc"]
    assert rule["n"] == len(table)
    assert ends[0.0] == pytest.approx(metrics["alone"]["us"]["auc"])
    assert ends[1.0] == pytest.approx(metrics["external"]["auc"])


def test_the_registered_model_gives_a_nodule_the_same_probability_in_any_company(finished):
    from dgfnet.registry.champion import load_champion
    from dgfnet.settings import load

    champion = load_champion(load(finished / "params.yaml"), "lateral").model
    rng = np.random.default_rng(0)
    known = pd.read_csv(finished / "artifacts/crossval/lateral/stack/out_of_fold.csv", dtype=str)
    album = album_of(finished, champion, known["nodule_id"][:9])
    crops = {modality: rng.integers(0, 256, (9, 32, 32), dtype=np.uint8) for modality in ("us", "ct")}
    masks = {f"{name}_mask": [own[:1] for own in album[f"{name}_mask"]] for name in crops}
    album = {**album, **masks, **{name: list(values[:, None]) for name, values in crops.items()}}
    together = champion.score(album)["probability"].to_numpy()
    order = rng.permutation(9)
    shuffled = champion.score({name: [v[i] for i in order] for name, v in album.items()})[
        "probability"
    ].to_numpy()
    alone = [champion.score({n: v[i : i + 1] for n, v in album.items()})["probability"][0] for i in range(9)]
    assert np.ptp(together) > 1e-4
    assert np.abs(together[order] - shuffled).max() < 1e-6
    assert np.abs(together - alone).max() < 1e-6


@pytest.mark.parametrize(
    ("crops", "words"),
    [
        ({"us": np.zeros((1, 32, 32), np.uint8)}, "crops of ct are missing"),
        ({"us": np.zeros((1, 32, 32), np.uint8), "ct": np.zeros((1, 32, 31), np.uint8)}, "ct: expected"),
        ({"us": np.zeros((1, 32, 32)), "ct": np.zeros((1, 32, 32), np.uint8)}, "us: expected"),
        (
            {"us": np.zeros((2, 32, 32), np.uint8), "ct": np.zeros((1, 32, 32), np.uint8)},
            "crops of every nodule",
        ),
        ({"us": np.zeros((0, 32, 32), np.uint8), "ct": np.zeros((0, 32, 32), np.uint8)}, "us: no nodule"),
    ],
)
def test_a_bundle_refuses_crops_that_do_not_fit(finished, crops, words):
    from dgfnet.errors import InputError
    from dgfnet.registry.champion import load_champion
    from dgfnet.settings import load

    champion = load_champion(load(finished / "params.yaml"), "central")
    masks = {f"{name}_mask": np.zeros(values.shape, np.uint8) for name, values in crops.items()}
    for model in (champion.model, network_of(finished, "central")):
        with pytest.raises(InputError, match=words):
            model.score({**crops, **masks})


def test_the_papers_protocol_splits_once_and_looks_at_the_external_cohort_with_the_best_epoch(finished):
    nodules = pd.read_parquet(finished / "artifacts/cohort/nodules.parquet").set_index("nodule_id")
    folds = pd.read_csv(finished / "artifacts/cohort/folds.csv").set_index("nodule_id")["fold"]
    for site in ("central", "lateral"):
        folder = finished / "artifacts" / "holdout" / site
        metrics = json.loads((folder / "metrics.json").read_text())
        assert (metrics["variant"], metrics["fold"], metrics["criterion"]) == ("dgf", 0, "accuracy")
        tables = {part: pd.read_csv(folder / f"{part}.csv") for part in ("validation", "external")}
        labels = nodules[f"lnm_{site}"].dropna()
        known = nodules.loc[labels.index]
        held_out = known.index[(known["cohort"] == "main") & (folds.reindex(known.index) == 0)]
        assert sorted(tables["validation"]["nodule_id"]) == sorted(held_out)
        assert sorted(tables["external"]["nodule_id"]) == sorted(known.index[known["cohort"] == "external"])
        for part, table in tables.items():
            assert list(table["label"]) == list(labels[table["nodule_id"]])
            assert list(table["patient_id"]) == list(nodules["patient_id"][table["nodule_id"]])
            right = (table["probability"] >= metrics["threshold"]) == table["label"]
            assert metrics[part]["accuracy"] == pytest.approx(right.mean())
            assert metrics[part]["auc"] == pytest.approx(roc_auc_score(table["label"], table["probability"]))
        made = runs(finished, f"dgfnet-{site}-holdout")
        (run,) = (run for run in made if "mlflow.parentRunId" not in run.data.tags)
        assert run.data.metrics["external_auc"] == pytest.approx(metrics["external"]["auc"])


def test_without_trials_nothing_is_searched(finished):
    assert yaml.safe_load((finished / "artifacts/tune/chosen.yaml").read_text()) == {}
    assert not (finished / "work/tune").exists()
