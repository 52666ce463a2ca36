"""What honest training reaches on phantoms of several seeds and without signal, beside the Bayes-optimal AUC.

    python benchmarks/phantoms.py --seeds 7 11 --null-seeds 3 --sites central
    python benchmarks/phantoms.py --seeds 7 11 23 --null-seeds --sites central --variants all

Every phantom gets a project folder of its own below --folder, with the settings of params.yaml; a folder that
exists is resumed. Takes minutes per seed and site. Prints a table of AUCs and one of paired differences, with
their mean over the seeds, and writes artifacts/benchmarks/phantoms.json.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
from pathlib import Path
from typing import Any

import pandas as pd

from dgfnet.metrics.intervals import auc_difference
from dgfnet.vocabulary import SPECS, VARIANTS

ROOT = Path(__file__).resolve().parent.parent
STAGES = ("cohort", "audit", "preprocess", "pretrain", "crossval", "compare")
QUESTIONS = {
    "does fusion help?": (
        ("concat", "us_multitask"),
        ("concat", "ct_multitask"),
        ("dgf", "us_multitask"),
        ("dgf", "ct_multitask"),
    ),
    "does DGF help beyond basic fusion?": (("dgf", "concat"), ("dgf", "sum"), ("dgf", "product")),
    "do auxiliary tasks help?": (("us_multitask", "us_resnet"), ("ct_multitask", "ct_resnet")),
}
Z = 1.959964  # of a 95 % interval


def main() -> None:
    """Runs the phantoms and reports."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, nargs="*", default=[7, 11])
    parser.add_argument("--null-seeds", type=int, nargs="*", default=[3])
    parser.add_argument("--sites", nargs="+", default=["central", "lateral"])
    parser.add_argument("--variants", nargs="+", default=["us_multitask", "ct_multitask", "concat", "dgf"])
    parser.add_argument("--folder", type=Path, default=ROOT / "work" / "phantoms")
    options = parser.parse_args()
    variants = list(VARIANTS) if options.variants == ["all"] else options.variants
    cases = [(seed, 1.0) for seed in options.seeds] + [(seed, 0.0) for seed in options.null_seeds]
    rows = [row for case in cases for row in run(options.folder, *case, options.sites, variants)]
    print("| seed | signal | site | variant | pooled AUC (95 % interval) | Bayes-optimal |")
    print("| --- | --- | --- | --- | --- | --- |")
    for row in rows:
        print(
            f"| {row['seed']} | {row['signal']:g} | {row['site']} | {row['variant']} | "
            f"{row['auc']:.3f} ({row['low']:.3f}-{row['high']:.3f}) | {row['bayes']:.3f} |"
        )
    answers = [line for site in options.sites for line in compare(options.folder, options.seeds, site)]
    out = ROOT / "artifacts" / "benchmarks" / "phantoms.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps({"rows": rows, "differences": answers}, indent=2) + "\n", encoding="utf-8")


def run(
    parent: Path, seed: int, signal: float, sites: list[str], variants: list[str]
) -> list[dict[str, Any]]:
    """One phantom through the pipeline; one row per site and variant."""
    folder = place(parent, seed, signal)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    if not (folder / "data" / "phantom.json").is_file():
        call(folder, "phantom", "--seed", str(seed), "--signal", str(signal))
    for stage in STAGES:
        call(
            folder,
            stage,
            *("--set", f"base.sites=[{','.join(sites)}]"),
            *("--set", f"crossval.variants=[{','.join(variants)}]"),
        )
    bayes = json.loads((folder / "data-truth" / "bayes.json").read_text(encoding="utf-8"))
    rows = []
    for site in sites:
        for variant in variants:
            path = folder / "artifacts" / "crossval" / site / variant / "metrics.json"
            metrics = json.loads(path.read_text(encoding="utf-8"))
            modalities = SPECS[variant].modalities  # type: ignore[index]
            known = "both" if len(modalities) == 2 else modalities[0]
            row = {"seed": seed, "signal": signal, "site": site, "variant": variant}
            interval = metrics["auc_interval"]
            row |= {"auc": interval["estimate"], "low": interval["low"], "high": interval["high"]}
            row |= {"bayes": bayes[site][known], "n": metrics["n"], "positives": metrics["positives"]}
            rows.append(row)
    return rows


def compare(parent: Path, seeds: list[int], site: str) -> list[dict[str, Any]]:
    """Paired differences of every seed, and their mean: phantoms of different seeds are independent."""
    lines = []
    for question, pairs in QUESTIONS.items():
        print(f"\n{site}: {question}\n\n| first - second | {' | '.join(f'seed {s}' for s in seeds)} | mean |")
        print("| --- |" + " --- |" * (len(seeds) + 1))
        for first, second in pairs:
            found = [difference(place(parent, seed, 1.0), site, first, second) for seed in seeds]
            if not found or any(one is None for one in found):
                continue
            mean = sum(one.estimate for one in found) / len(found)
            # Wald intervals are symmetric: half their length over Z is the standard error
            error = math.sqrt(sum(((one.high - one.low) / 2 / Z) ** 2 for one in found)) / len(found)
            cells = [cell(one.estimate, one.low, one.high) for one in found]
            cells.append(cell(mean, mean - Z * error, mean + Z * error))
            print(f"| {first} - {second} | {' | '.join(cells)} |")
            lines.append(
                {"site": site, "a": first, "b": second, "mean": mean, "error": error}
                | {"seeds": {str(seed): vars(one) for seed, one in zip(seeds, found, strict=True)}}
            )
    return lines


def difference(folder: Path, site: str, first: str, second: str) -> Any | None:
    """AUC of the first minus that of the second on the same nodules; None when one was not trained."""
    paths = [folder / f"artifacts/crossval/{site}/{name}/out_of_fold.csv" for name in (first, second)]
    if not all(path.is_file() for path in paths):
        return None
    one, two = (pd.read_csv(path, dtype={"nodule_id": str}).sort_values("nodule_id") for path in paths)
    return auc_difference(one["label"], one["probability"], two["probability"], one["patient_id"], 0.95)


def cell(estimate: float, low: float, high: float) -> str:
    """Estimate and limits with signs."""
    return f"{estimate:+.3f} ({low:+.3f} to {high:+.3f})"


def place(parent: Path, seed: int, signal: float) -> Path:
    """Project folder of a phantom."""
    return parent / f"seed{seed}-signal{signal:g}"


def call(folder: Path, *arguments: str) -> None:
    """`dgfnet` in a project folder."""
    subprocess.run(["dgfnet", *arguments], cwd=folder, check=True)


if __name__ == "__main__":
    main()
