"""The page of a small hand-made artifacts tree: numbers, gaps, hostile text, nothing from the network."""

from __future__ import annotations

import base64
import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

from dgfnet.errors import InputError
from dgfnet.metrics.discrimination import auc
from dgfnet.report import stage
from dgfnet.report.cells import DASH, MINUS
from dgfnet.settings import Settings, load

PARAMS = Path(__file__).parents[2] / "params.yaml"
HOSTILE = '<script>alert("x")</script>&'
SCORES = {
    "accuracy": 0.7111,
    "auc": 0.8222,
    "sensitivity": 0.6333,
    "specificity": 0.7444,
    "precision": None,
    "f1": 0.5,
}
VARIANTS = ("us_multitask", "ct_multitask", "concat", "dgf")


class Page(HTMLParser):
    """Collects what the tests ask for: tags, text and table rows."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.rows: list[list[str]] = []
        self._cell = self._style = False
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._style = tag == "style"
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
            self._cell = True

    def handle_endtag(self, tag: str) -> None:
        self._style = False
        if tag in ("td", "th"):
            self._cell = False

    def handle_data(self, data: str) -> None:
        if not self._style:
            self.words.append(data)
        if self._cell:
            self.rows[-1][-1] += data

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).split())

    def row(self, start: str) -> list[str]:
        """The first row that starts so; dashes and minus signs as plain hyphens."""
        plain = [[cell.replace(DASH, "-").replace(MINUS, "-") for cell in row] for row in self.rows]
        return next(row for row in plain if row[0].startswith(start))


def put(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def interval(estimate: float, low: float | None, high: float | None) -> dict[str, Any]:
    return {"estimate": estimate, "low": low, "high": high, "confidence": 0.95}


def make_settings(root: Path, *overrides: str) -> Settings:
    (root / "params.yaml").write_text(PARAMS.read_text(encoding="utf-8"), encoding="utf-8")
    return load(root / "params.yaml", overrides)


def add_variant(settings: Settings, site: str, variant: str, area: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    label = np.arange(120) % 2
    probability = 1 / (1 + np.exp(-(rng.normal(size=120) + 1.2 * label - 0.6)))
    folder = settings.artifacts("crossval", site, variant)
    folds = [
        {
            "fold": fold,
            "threshold": 0.41,
            "key": "k",
            "scores": SCORES,
            "dice": {"us_nodule": 0.8 + 0.1 * fold},
        }
        for fold in range(2)
    ]
    put(
        folder / "metrics.json",
        {
            "site": site,
            "variant": variant,
            "n": 120,
            "positives": 60,
            "folds": folds,
            "mean": SCORES,
            "sd": {name: 0.0123 for name in SCORES},
            "pooled": SCORES,
            "auc_interval": interval(area, area - 0.05, area + 0.05),
            "sampling": "train_only",
            "mlflow_run_id": f"run{seed}",
        },
    )
    ids = [f"n{i}" for i in range(120)]
    frame = pd.DataFrame({"nodule_id": ids, "patient_id": [f"p{i // 2}" for i in range(120)]})
    frame = frame.assign(fold=label, label=label, probability=probability, threshold=0.41)
    frame.to_csv(folder / "out_of_fold.csv", index=False)


def fill(settings: Settings, site: str = "central") -> None:
    """Everything the other stages would have written for one site; the other one is skipped."""
    put(settings.data / "phantom.json", {"patients": 100, "external_patients": 10, "seed": 7, "signal": 1.0})
    count = {"patients": 100, "nodules": 110, "images": 400}
    out = {"patients": 4, "nodules": 5, "images": 20}
    kept = {"patients": 96, "nodules": 105, "images": 377}
    flow = {"enrolled": count, "excluded": {"no_label": out}, "images_set_aside": 3, "kept": kept}
    put(settings.artifacts("cohort", "enrolment.json"), {"main": flow, "external": flow})
    audit = {"images": {"us": 300, "ct": 100}, "same_picture": {"pairs": 0, "decided_different": 2}}
    told = {"site": site, "model": "trees", "nodules": 110}
    audit["baselines"] = [
        told | {"kind": "size", "auc": interval(0.611, 0.52, 0.69)},
        told | {"kind": "acquisition", "auc": interval(0.733, 0.66, 0.81)},
    ]
    put(settings.artifacts("audit", "audit.json"), audit)
    for seed, variant in enumerate(VARIANTS):
        add_variant(settings, site, variant, 0.8 + seed / 100, seed)
    put(settings.artifacts("crossval", "lateral", "skipped.json"), {"reason": "no lateral label at all"})
    compare = settings.artifacts("compare", site)
    compare.mkdir(parents=True)
    line = {"a": "dgf", "b": "us_multitask", "estimate": 0.0345, "low": -0.0111, "high": 0.0801}
    other = line | {"b": "concat", "estimate": -0.02, "p": None, "p_holm": None}
    frame = pd.DataFrame([line | {"p": 0.0004, "p_holm": 0.0123}, other])
    frame.to_csv(compare / "differences.csv", index=False)
    tests = {"a": "dgf", "boot_low": 0.01, "boot_high": 0.09, "folds_estimate": 0.03, "folds_low": -0.2}
    tests |= {"folds_high": 0.27, "folds_p": 0.6, "folds_p_holm": 0.9, "p": 0.01, "p_holm": 0.03}
    tests |= {"estimate": 0.0456, "low": 0.002, "high": 0.089}
    many = [tests | {"b": name} for name in VARIANTS[:-1]] + [tests | {"a": "us_resnet", "b": "concat"}]
    pd.DataFrame(many).to_csv(compare / "pairs.csv", index=False)
    fitted = {"variant": "dgf", "brier": 0.1712, "slope": 0.83, "intercept": 0.1, "in_the_large": -0.044}
    stages = [
        fitted | {"stage": "predicted", "temperature": None},
        fitted | {"stage": "scaled", "temperature": 1.25},
    ]
    pd.DataFrame(stages).to_csv(compare / "calibration.csv", index=False)
    curves = [
        {"variant": name, "threshold": at, "net_benefit": 0.3 - at / 2 if name == "dgf" else 0.3 - at}
        for name in ("everyone", "dgf")
        for at in (0.1, 0.5, 0.9)
    ]
    pd.DataFrame(curves).to_csv(compare / "decision.csv", index=False)
    whom = settings.artifacts("applicability", site)
    whom.mkdir(parents=True)
    group = {"attribute": "margin", "n": 60, "positives": 25, "gain_low": 0.01, "gain_high": 0.12}
    for name in ("us", "ct", "both"):
        group |= {f"correct_{name}": 0.7, f"correct_{name}_low": 0.6, f"correct_{name}_high": 0.8}
    large = group | {"group": "smooth", "small": False, "gain": 0.066, "gain_p_holm": 0.024}
    small = group | {"group": "rough", "small": True, "gain": 0.01, "gain_p_holm": None}
    pd.DataFrame([large, small]).to_csv(whom / "groups.csv", index=False)
    pd.DataFrame([{"attribute": "margin", "groups": 1, "q": 5.0, "p": 0.02, "p_holm": 0.02}]).to_csv(
        whom / "interactions.csv", index=False
    )
    policies = {
        name: {"auc": 0.8 + place / 100} for place, name in enumerate(("rule", "near threshold", "random"))
    }
    ends = {"us_for_all": {"auc": 0.7}, "ct_for_all": {"auc": 0.85}}
    chance = {"improvement": 0.02, "by_chance": 0.01, "p": 0.004}
    put(
        whom / "rule.json",
        {"ct_share": 0.5, "policies": policies, "chosen_against_chance": chance, "finds_who_benefits": True}
        | ends,
    )
    put(whom / "rule_external.json", {"reason": "the champion is concat"})
    lines = [
        {"policy": name, "ct_share": at, "auc": 0.7 + at / 10} for name in policies for at in (0.0, 0.5, 1.0)
    ]
    pd.DataFrame(lines).to_csv(whom / "frontier.csv", index=False)
    registered = {"model": f"dgfnet-{site}", "version": "3", "alias": "champion", "promoted": True}
    registered |= {"reason": "first model", "criterion": {"name": "accuracy", "value": 0.777}, "fold": 1}
    registered |= {"threshold": 0.41, "source_run_id": "run3", "git_commit": "a" * 40, "data_md5": "b" * 32}
    put(settings.artifacts("register", f"{site}.json"), registered)
    part = SCORES | {"n": 40, "positives": 15, "auc_interval": interval(0.7654, 0.61, 0.87)}
    external = {"model": f"dgfnet-{site}", "version": "3", "threshold": 0.41}
    part["intervals"] = {"sensitivity": interval(0.812, 0.6, 0.93)}
    part["calibration"] = {"brier": 0.2031, "slope": 0.71, "intercept": 0.1, "in_the_large": 0.414}
    moved = {"brier": 0.1812, "in_the_large": 0.003, "shift": 0.41}
    alone = {"us": part | {"variant": "us_multitask", "threshold": 0.375, "accuracy": 0.123}}
    record = external | {"internal": part, "external": part, "recalibrated": moved, "alone": alone}
    put(settings.artifacts("external", site, "metrics.json"), record)
    mix = [{"attribute": "age", "main": "45 (38 to 53)", "external": None}]
    pd.DataFrame(mix).to_csv(settings.artifacts("external", "case_mix.csv"), index=False)
    record = {"git_commit": "a" * 40, "data_md5": "b" * 32, "params_sha256": "c" * 64, "overrides": ["x.y=1"]}
    put(settings.artifacts("crossval", "provenance.json"), record | {"versions": {"torch": "9.9"}})


def render(settings: Settings) -> tuple[str, Page]:
    stage.run(settings)
    text = settings.artifacts("report", "index.html").read_text(encoding="utf-8")
    return text, Page(text)


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> tuple[Settings, str, Page]:
    settings = make_settings(tmp_path_factory.mktemp("full"))
    fill(settings)
    return settings, *render(settings)


def test_pairs_calibration_and_decisions_stand_in_their_cells(full: tuple[Settings, str, Page]) -> None:
    _, html, page = full
    assert page.row("us_resnet - concat")[1:] == [
        *("+0.046", "+0.002 to +0.089", "0.030", "+0.010 to +0.090", "-0.200 to +0.270", "0.900"),
    ]
    rows = [
        [cell.replace("\N{EN DASH}", "-").replace("\N{MINUS SIGN}", "-") for cell in row] for row in page.rows
    ]
    assert ["dgf", "moved to the prevalence of the training folds", "0.171", "0.83", "-0.044", "-"] in rows
    assert ["dgf", "and divided by the other folds' temperature", "0.171", "0.83", "-0.044", "1.25"] in rows
    assert "Net benefit at a threshold of 0.5: dgf 0.050." in html


def test_groups_and_the_rule_for_ct_are_told(full: tuple[Settings, str, Page]) -> None:
    page = full[2]
    cells = ["60 (25)", "0.700", "0.700", "0.700", "+0.066 (+0.010 to +0.120)", "0.024"]
    assert page.row("margin: smooth")[1:] == cells
    text = " ".join(page.text.split())
    assert "too few of a class to say" in text
    assert "The gain of CT differs by margin." in text
    assert (
        "With CT for 50% of the nodules the rule reaches an AUC of 0.800, CT near the threshold 0.810" in text
    )
    assert "Those whom it chooses benefit more than others (permutation of patients, p 0.004)." in text


def test_the_other_hospital_is_told_in_full(full: tuple[Settings, str, Page]) -> None:
    page = full[2]
    cells = ["-", "0.812 (0.600-0.930)", "-", "-", "0.203", "0.71", "+0.414"]
    assert page.row("external validation, model as it is")[1:] == cells
    moved = next(row for row in page.rows if row[0].startswith("external validation, recalibrated"))
    assert moved[5] == "0.181"
    assert page.row("age")[1:] == ["45 (38 to 53)", "-"]


def test_the_checklist_is_answered_from_what_there_is_and_says_where_nothing_is(
    full: tuple[Settings, str, Page], tmp_path: Path
) -> None:
    page = full[2]
    assert page.row("20a Flow of participants")[1:] == [
        "patients, nodules and images in, out by reason, kept",
        "Cohort",
    ]
    assert page.row("18a Funding")[1].startswith("not reported")
    bare = render(make_settings(tmp_path))[1]
    assert bare.row("20a Flow of participants")[1].startswith("not reported")
    assert bare.row("22 Full model, to make predictions")[1].startswith("not reported")


def test_what_the_audit_found_stands_beside_the_cohort(full: tuple[Settings, str, Page]) -> None:
    page = full[2]
    rows = [[cell.replace("\N{EN DASH}", "-") for cell in row] for row in page.rows]
    size, acquisition = (row for row in rows if "size alone" in row[0] or "acquisition alone" in row[0])
    assert size == ["central: size alone", "gradient-boosted trees", "0.611 (0.520-0.690)", "110"]
    assert "a network can learn that instead of the disease" in acquisition[0]
    assert acquisition[2] == "0.733 (0.660-0.810)"
    said = "400 pictures were compared with each other; 0 pairs show one picture in two patients and 2 were"
    assert f"{said} declared different." in " ".join(page.text.split())


def test_numbers_stand_in_their_cells(full: tuple[Settings, str, Page]) -> None:
    page = full[2]
    spread = ["0.711 ± 0.012", "0.822 ± 0.012", "0.633 ± 0.012", "0.744 ± 0.012", "-", "0.500 ± 0.012"]
    assert page.row("dgfboth")[1:] == ["0.830 (0.780-0.880)", "0.875", *spread]
    assert page.row("dgf - us_multitask")[1:] == ["+0.035", "-0.011 to +0.080", "< 0.001", "0.012"]
    assert page.row("dgf - concat")[1:] == ["-0.020", "-0.011 to +0.080", "-", "-"]
    assert [row[1:] for row in page.rows].count(["0.850 ± 0.071"]) == len(VARIANTS)  # Dice
    ours = ["40 (15)", "0.711", "0.765 (0.610-0.870)", "0.633", "0.744", "-", "0.500"]
    assert page.row("external validationthis page")[1:] == ours
    alone = page.row("external validation, US alone")
    assert alone[0].endswith("us_multitask, its own threshold 0.375")
    assert "0.123" in alone
    paper = ["60 (22)", "0.817", "0.903", "0.909", "0.763", "0.690", "0.784"]
    assert page.row("external validationpaper")[1:] == paper


def test_sentences_follow_the_data(full: tuple[Settings, str, Page]) -> None:
    text = full[2].text
    for part in (
        "Generated cohort: these numbers have no clinical meaning",
        "not a medical device",
        "96 patients, 105 nodules, 377 images",
        "120 nodules of 60 patients analysed, 60 with metastasis",
        "Sampling train_only: classes are balanced",
        "any true AUC from 0.610 to 0.870",
        "dgfnet-central version 3",
        "accuracy of the held-out fold, 0.777",
        "not available: no lateral label at all",
        "torch 9.9",
        "run3",
        "artifacts/compare/central/differences.csv",
    ):
        assert part in text, part
    assert "do not add up" not in text
    assert not {"{", "}", "None", "nan"} & set(text.replace("{", " { ").replace("}", " } ").split())


def test_nothing_comes_from_the_network(full: tuple[Settings, str, Page]) -> None:
    settings, text, page = full
    for tag, attributes in page.tags:
        assert tag not in ("script", "link", "iframe", "object", "embed", "base")
        for name in ("src", "srcset", "href", "data", "poster", "action"):
            value = attributes.get(name) or ""
            assert tag == "a" or not value or value.startswith("data:image/svg+xml;base64,")
    assert "url(" not in text
    assert "@import" not in text
    assert len(text) < 800_000
    assert (settings.artifacts("report", "provenance.json")).is_file()


def test_every_picture_has_words_and_draws(full: tuple[Settings, str, Page]) -> None:
    settings, _, page = full
    pictures = [attributes for tag, attributes in page.tags if tag == "img"]
    assert len(pictures) == 6
    for picture in pictures:
        assert len(picture["alt"] or "") > 40
        svg = base64.b64decode((picture["src"] or "").partition(",")[2])
        assert ElementTree.fromstring(svg).tag.endswith("svg")
    table = pd.read_csv(settings.artifacts("crossval", "central", "dgf", "out_of_fold.csv"))
    assert f"dgf {auc(table['label'], table['probability']):.3f}" in (pictures[1]["alt"] or "")


def test_the_same_inputs_give_the_same_page(full: tuple[Settings, str, Page]) -> None:
    assert render(full[0])[0] == full[1]


def test_nothing_has_run(tmp_path: Path) -> None:
    page = render(make_settings(tmp_path))[1]
    for command in ("cohort", "crossval", "register", "external"):
        assert f"not available: run dgfnet {command}" in page.text
    assert "cannot tell whether the cohort was generated" in page.text


def test_single_gaps_are_named(tmp_path: Path) -> None:
    settings = make_settings(tmp_path, "base.sites=[central]")
    fill(settings)
    settings.artifacts("compare", "central", "differences.csv").unlink()
    settings.artifacts("crossval", "central", "dgf", "out_of_fold.csv").unlink()
    settings.artifacts("crossval", "central", "concat", "metrics.json").unlink()
    text = render(settings)[1].text
    assert "Paired AUC differences: not available: run dgfnet compare" in text
    assert "Calibration of dgf: not available: run dgfnet crossval" in text
    assert "Not available: concat; run `dgfnet crossval`." in text


def test_hostile_names_are_text(tmp_path: Path) -> None:
    settings = make_settings(tmp_path, "base.sites=[central]", f"report.title='{HOSTILE}'")
    fill(settings)
    folder = settings.artifacts("crossval", "central")
    (folder / "concat").rename(folder / "<b onload=x>$\\frac")
    put(settings.artifacts("register", "central.json"), {"model": HOSTILE, "reason": HOSTILE})
    text, page = render(settings)
    assert "<script" not in text
    assert "<b onload" not in text
    assert HOSTILE in page.text
    assert page.row("<b onload=x>$\\frac")


def test_public_images_are_called_so_and_own_imports_are_not(tmp_path: Path) -> None:
    settings = make_settings(tmp_path)
    put(settings.data / "import.json", {"seed": 1, "notice": "Pairs of strangers."})
    text = " ".join(render(settings)[1].text.split())
    assert "Public images: these numbers have no clinical meaning. Pairs of strangers." in text
    put(settings.data / "import.json", {"source": "dicom"})
    assert "no clinical meaning" not in render(settings)[1].text


def test_counts_that_do_not_add_up_are_shown(tmp_path: Path) -> None:
    settings = make_settings(tmp_path)
    fill(settings)
    path = settings.artifacts("cohort", "enrolment.json")
    record = json.loads(path.read_text())
    record["main"]["kept"]["nodules"] = 104
    put(path, record)
    assert render(settings)[1].text.count("do not add up") == 1


def test_undefined_intervals_do_not_break_the_page(tmp_path: Path) -> None:
    settings = make_settings(tmp_path, "base.sites=[central]")
    fill(settings)
    path = settings.artifacts("external", "central", "metrics.json")
    record = json.loads(path.read_text())
    record["external"] |= {"auc": None, "auc_interval": interval(0.5, None, None)}
    put(path, record)
    page = render(settings)[1]
    assert "has no interval" in page.text
    assert page.row("external validationthis page")[3] == "0.500 (-)"


def test_a_broken_file_is_the_users_to_mend(tmp_path: Path) -> None:
    settings = make_settings(tmp_path)
    path = settings.artifacts("cohort", "enrolment.json")
    path.parent.mkdir(parents=True)
    path.write_text("{", encoding="utf-8")
    with pytest.raises(InputError, match=r"enrolment.json: not valid JSON"):
        stage.run(settings)
