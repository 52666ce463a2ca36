"""What the other stages leave, made by hand for one site, and the page as the tests look at it."""

from __future__ import annotations

import base64
import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dgfnet import digests
from dgfnet.report import stage
from dgfnet.report.cells import DASH, MINUS
from dgfnet.settings import Settings, load

PARAMS = Path(__file__).parents[2] / "params.yaml"
SCORES = {
    "accuracy": 0.7111,
    "auc": 0.8222,
    "sensitivity": 0.6333,
    "specificity": 0.7444,
    "precision": None,
    "f1": 0.5,
}
PNG = base64.b64decode(  # one pixel
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
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
            "iou": {"us_nodule": 0.6 + 0.2 * fold},
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
    beaten = {"variant": "dgf", "baseline": "size", "estimate": 0.2987, "low": 0.236, "high": 0.3616}
    tied = {"variant": "dgf", "baseline": "late", "estimate": -0.0136, "low": -0.0411, "high": 0.014}
    pd.DataFrame([beaten | {"p": 0.0001}, tied | {"p": 0.33}]).to_csv(compare / "baselines.csv", index=False)
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
    why = settings.artifacts("attribution", site)
    share = {"n": 105, **interval(0.4836, 0.4389, 0.5306)}
    stability = {"grey": {"n": 24, "estimate": 0.4375, "first": 0.4583}}
    mass = {"modality": "us", "region": "inside", "unimodal": 0.2427, "multimodal": 0.2507}
    mass |= {"difference": 0.008, "low": -0.0034, "high": 0.0193}
    facts = {"us_above_ct": interval(0.2223, 0.1, 0.3), "us_above_ct_of_label": {"0": 0.0987, "1": 0.8765}}
    counts = {"us": {"wrong": 31, "fusion_right": 17, "rightly": 13}, "ct": {"wrong": 41, "fusion_right": 19}}
    counts["ct"]["rightly"] = 11
    facts["centred"] = {"us_above_ct": share, "shapley_us_above_ct": share, "rescued": counts}
    facts |= {"stability": stability, "baseline": {"other_patient": 0.3456}}
    facts |= {"baseline_family": "blurred", "masses": [mass]}
    facts["localisation"] = {"reason": None, "regions": [located("unimodal"), located("multimodal")]}
    pair = {
        name: {"median": 0.6123, "low": 0.5, "high": 0.7} for name in ("us", "prediction", "maps", "blocks")
    }
    pair["ct"] = {"median": 0.4321, "low": -0.1, "high": 0.5}
    facts["repeatability"] = {"reason": None, "nodules": 24, "folds": 4, "pairs": pair}
    facts["repeatability"]["random_labels"] = {"blocks": {"median": 0.0123, "low": -0.05, "high": 0.04}}
    facts["repeatability"]["labels_matter"] = interval(0.2345, 0.2, 0.27)
    facts["completeness"] = {"largest": 0.0998, "within": 1.0, "tolerance": 0.1}
    put(why / "summary.json", facts)
    senseless = {"similarity": 0.0321, "absolute": 0.4567, "kept": 0.5}
    senseless |= {"training_auc": 0.7531, "held_out_auc": 0.4951}
    put(why / "checks.json", {"passed": True, "failed": [], "nodules": 8, "random_labels": senseless})
    (why / "saliency.png").write_bytes(PNG)
    said = {"nodule_id": ["N1", "N2"], "label": [1, 0], "us_correct": [1, 0], "ct_correct": [0, 1]}
    said |= {"correct": [1, 1], "centred_us": [0.714, -0.315], "centred_ct": [-0.263, 0.918]}
    pd.DataFrame(said).to_csv(why / "contributions.csv", index=False)
    registered = {
        "model": f"dgfnet-{site}",
        "version": "3",
        "fits": "f" * 20,
        "variant": "dgf",
        "alias": "champion",
        "promoted": True,
    }
    registered |= {"reason": "first model", "criterion": {"name": "accuracy", "value": 0.777}, "fold": 1}
    registered |= {"threshold": 0.41, "git_commit": "a" * 40, "data_md5": "b" * 32}
    put(settings.artifacts("register", f"{site}.json"), registered)
    part = SCORES | {"n": 40, "positives": 15, "auc_interval": interval(0.7654, 0.61, 0.87)}
    external = {"model": f"dgfnet-{site}", "version": "3", "threshold": 0.41, "scoring": "ensemble"}
    part["intervals"] = {"sensitivity": interval(0.812, 0.6, 0.93)}
    part["calibration"] = {"brier": 0.2031, "slope": 0.71, "intercept": 0.1, "in_the_large": 0.414}
    moved = {"brier": 0.1812, "in_the_large": 0.003, "shift": 0.41}
    alone = {"us": part | {"variant": "us_multitask", "threshold": 0.375, "accuracy": 0.123}}
    record = external | {"internal": part, "external": part, "recalibrated": moved, "alone": alone}
    less = {"size": (0.1234, 0.0321, 0.2147), "radiomics": (-0.0456, None, None)}
    record["baselines"] = {
        name: part | {"threshold": 0.3, "accuracy": 0.321, "difference": {**interval(*values), "p": 0.04}}
        for name, values in less.items()
    }
    record |= {"variant": "dgf", "left_out": {"clinical": "the external cohort has none of its columns"}}
    put(settings.artifacts("external", site, "metrics.json"), record)
    split = {"variant": "dgf", "fit": "k", "fold": 2, "criterion": "accuracy", "epoch": 7, "epochs": 9}
    split |= {"validation": part | {"n": 31}, "external": part | {"n": 41}}
    put(settings.artifacts("holdout", site, "metrics.json"), split)
    rows = {"nodule_id": [f"e{i}" for i in range(40)], "label": [i % 2 for i in range(40)]}
    predicted = pd.DataFrame(rows).assign(patient_id=rows["nodule_id"], probability=np.linspace(0.1, 0.9, 40))
    predicted.to_csv(settings.artifacts("external", site, "predictions.csv"), index=False)
    mix = [{"attribute": "age", "main": "45 (38 to 53)", "external": None}]
    pd.DataFrame(mix).to_csv(settings.artifacts("external", "case_mix.csv"), index=False)
    record = {"git_commit": "a" * 40, "data_md5": "b" * 32, "params_sha256": "c" * 64, "overrides": ["x.y=1"]}
    used = {"training": {"sampling": "train_only"}, "cohort": {"folds": 2}}
    crossval = record | {"versions": {"torch": "9.9"}, "settings": used}
    put(settings.artifacts("crossval", "provenance.json"), crossval)


def located(network: str) -> dict[str, Any]:
    region = {"modality": "us", "region": "microcalcifications", "network": network, "n": 40}
    region |= {"area": 0.0123, "contrast": 0.0456, "mass": 0.0789 if network == "multimodal" else 0.0678}
    return region | {
        "above_area": interval(0.0666, 0.05, 0.08),
        "above_contrast": interval(0.0333, 0.01, 0.05),
    }


def seal(settings: Settings) -> None:
    """Ends every stage as it would end itself: what lies there is what it wrote."""
    for folder in settings.artifacts().iterdir():
        digests.keep(folder)


def render(settings: Settings) -> tuple[str, Page]:
    if settings.artifacts().is_dir():
        seal(settings)
    stage.run(settings)
    text = settings.artifacts("report", "index.html").read_text(encoding="utf-8")
    return text, Page(text)
