"""Compares attributions of phantoms with the phantoms' truth.

    python benchmarks/attribution_truth.py
    python benchmarks/attribution_truth.py --alone ct us [--folder DIR] [--site central]

The first reads artifacts/attribution/<site>/contributions.csv and data-truth/latents.csv: prints Spearman's
correlation of the contributions towards metastasis with the scores that made the label, and by label the
share of nodules in which US says more for the correct answer than CT. It needs a finished stage attribute on
the phantom.

The second draws a small phantom for each modality named, in which that modality alone decides the label
(`phantom.informative`), trains small networks on it and prints that modality's share of all attribution (its
size summed over nodules, over that of both), the mean of the nodules' own shares, and what either modality
says for the correct answer, log odds. Some minutes each. Writes DIR/<modality>/share.json.
"""

from __future__ import annotations

import argparse
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from scipy.stats import spearmanr

from dgfnet import settings as configuration
from dgfnet.metrics.intervals import bootstrap_interval

ROOT = Path(__file__).resolve().parents[1]
STAGES = ("phantom", "cohort", "audit", "preprocess", "pretrain", "crossval", "attribute")
SMALL: dict[str, dict[str, Any]] = {
    "phantom": {"patients": 240, "external_patients": 10, "signal": 3.0},
    "cohort": {"folds": 2, "minimum_per_class": 2},
    "preprocess": {"us_size": 32, "ct_size": 32},
    "network": {"width": 0.125},
    "pretrain": {"epochs": 4},
    "crossval": {"variants": ["dgf"], "unimodal_epochs": 20, "multimodal_epochs": 8, "validate_every": 10},
    "attribute": {"baselines": ["blurred"], "random_labels": False, "repeat": 0, "checks": 4},
}


def main() -> None:
    """Prints two tables per site, or a line per modality that decides alone."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--alone", nargs="+", choices=configuration.MODALITIES)
    parser.add_argument("--folder", type=Path, default=ROOT / "work" / "attribution_truth")
    parser.add_argument("--site", default="central", choices=configuration.SITES)
    options = parser.parse_args()
    if options.alone:
        for modality in options.alone:
            one_modality(options.folder.resolve() / modality, options.site, modality)
    else:
        demo()


def demo() -> None:
    """Compares contributions of the demo with the scores that made its labels."""
    settings = configuration.load(Path("params.yaml"))
    truth = pd.read_csv(settings.root / settings.base.truth / "latents.csv").set_index("patient_id")
    for site in settings.base.sites:
        table = pd.read_csv(settings.artifacts("attribution", site, "contributions.csv"))
        scores = truth.loc[table["patient_id"]]
        sign = np.where(table["label"] == 1, 1, -1)  # towards the correct answer becomes towards metastasis
        for modality in ("us", "ct"):
            correlations = {
                name: spearmanr(sign * table[modality], scores[name]).statistic
                for name in ("us_score", "ct_score")
            }
            words = ", ".join(f"{name} {value:+.2f}" for name, value in correlations.items())
            print(f"{site}: attribution of {modality} with {words}")
        above = (table["us"] > table["ct"]).groupby(table["label"]).mean()
        print(f"{site}: US above CT in {above[1]:.1%} of metastatic, {above[0]:.1%} of other nodules")


def one_modality(folder: Path, site: str, modality: str) -> None:
    """Runs one phantom in which one modality decides, from its pictures to the share of that modality."""
    raw = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    for section, values in SMALL.items():
        raw[section] |= values
    raw["phantom"]["informative"], raw["base"]["sites"] = [modality], [site]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "params.yaml").write_text(yaml.safe_dump(raw), encoding="utf-8")
    for stage in STAGES:
        subprocess.run(["dgfnet", stage], cwd=folder, check=True)
    table = pd.read_csv(folder / "artifacts" / "attribution" / site / "contributions.csv")
    metrics = folder / "artifacts" / "crossval" / site / "dgf" / "metrics.json"
    shares: dict[str, Any] = {"decides": modality, "site": site, "nodules": len(table)}
    shares["auc"] = json.loads(metrics.read_text(encoding="utf-8"))["pooled"]["auc"]
    for way, prefix in (("integrated gradients", ""), ("Shapley", "shapley_")):
        sizes = table[[f"{prefix}{name}" for name in configuration.MODALITIES]].abs()
        own, both = sizes[f"{prefix}{modality}"].to_numpy(), sizes.sum(axis=1).to_numpy()
        shares[way] = {
            "share": interval(table, lambda at, own=own, both=both: own[at].sum() / both[at].sum()),
            "nodule by nodule": interval(table, lambda at, own=own, both=both: (own / both)[at].mean()),
        }
        for name in configuration.MODALITIES:
            values = table[f"{prefix}{name}"].to_numpy()
            shares[way][f"{name} towards the truth"] = interval(table, lambda at, v=values: v[at].mean())
        for name, estimate in shares[way].items():
            words = "{estimate:.3f} ({low:.3f} to {high:.3f})".format(**estimate)
            print(f"{site}, {modality} alone decides, {len(table)} nodules, {way}: {name} {words}")
    (folder / "share.json").write_text(json.dumps(shares, indent=2) + "\n", encoding="utf-8")


def interval(table: pd.DataFrame, statistic: Callable[[Any], float]) -> dict[str, float]:
    """Computes a statistic of rows with its 95 % interval, patients resampled."""
    patients, generator = table["patient_id"].to_numpy(), np.random.default_rng(0)
    return vars(bootstrap_interval(lambda at: float(statistic(at)), patients, 0.95, 2000, generator))


if __name__ == "__main__":
    main()
