"""What honest training reaches on phantoms of several seeds and without signal, beside the Bayes-optimal AUC.

    python benchmarks/phantoms.py --seeds 7 11 --null-seeds 3 --sites central
    python benchmarks/phantoms.py --seeds 7 11 23 --null-seeds --sites central --variants all
    python benchmarks/phantoms.py --seeds 11 23 31 --null-seeds --sites central --external 300
    python benchmarks/phantoms.py --seeds 11 --null-seeds --sites central --ablate pretrain.measured_weight=0

Every phantom gets a project folder of its own below --folder, with the settings of params.yaml; a folder that
exists is resumed. Takes minutes per seed and site. Prints a table of AUCs and one of paired differences, with
their mean over the seeds, and writes artifacts/benchmarks/phantoms.json. With --external so many patients of
other scanners are drawn, the model is registered and validated there. With --ablate every phantom is run once
more with these settings, and every AUC compared with that of the settings as they are.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from dgfnet.metrics.intervals import auc_difference
from dgfnet.settings import fingerprint
from dgfnet.vocabulary import PICTURED, SPECS, TABULAR, VARIANTS

ROOT = Path(__file__).resolve().parent.parent
STAGES = ("cohort", "audit", "preprocess", "outline", "pretrain", "crossval", "compare")
QUESTIONS = {
    "does fusion help?": (
        ("concat", "us_multitask"),
        ("concat", "ct_multitask"),
        ("dgf", "us_multitask"),
        ("dgf", "ct_multitask"),
    ),
    "does DGF help beyond basic fusion?": (("dgf", "concat"), ("dgf", "sum"), ("dgf", "product")),
    "do networks add to measured features?": (("dgf", "radiomics"), ("stack", "radiomics"), ("stack", "dgf")),
    "does the record add to pictures?": (
        ("record_stack", "stack"),
        ("concat_record", "concat"),
        ("dgf_record", "dgf"),
    ),
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
    parser.add_argument("--external", type=int, default=0, help="patients of other scanners")
    parser.add_argument("--ablate", nargs="+", default=[], metavar="KEY=VALUE")
    options = parser.parse_args()
    variants = list(PICTURED) if options.variants == ["all"] else options.variants
    cases = [(seed, 1.0) for seed in options.seeds] + [(seed, 0.0) for seed in options.null_seeds]
    chosen = options.sites, variants, options.external
    rows = [row for case in cases for row in run(options.folder, *case, *chosen)]
    if options.ablate:
        for case in cases:
            run(options.folder, *case, *chosen, options.ablate)
    print("| seed | signal | site | variant | pooled AUC (95 % interval) | Bayes-optimal |")
    print("| --- | --- | --- | --- | --- | --- |")
    for row in rows:
        print(
            f"| {row['seed']} | {row['signal']:g} | {row['site']} | {row['variant']} | "
            f"{row['auc']:.3f} ({row['low']:.3f}-{row['high']:.3f}) | {row['bayes']:.3f} |"
        )
    answers = [line for site in options.sites for line in compare(options.folder, options.seeds, site)]
    if options.ablate:
        answers += [
            line
            for site in options.sites
            for line in ablation(options.folder, options.seeds, site, options.ablate)
        ]
    out = ROOT / "artifacts" / "benchmarks" / "phantoms.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps({"rows": rows, "differences": answers}, indent=2) + "\n", encoding="utf-8")


def run(
    parent: Path,
    seed: int,
    signal: float,
    sites: list[str],
    variants: list[str],
    external: int,
    ablated: Sequence[str] = (),
) -> list[dict[str, Any]]:
    """One phantom through the pipeline; one row per site and variant, baseline or stack."""
    folder = place(parent, seed, signal, ablated)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    if not (folder / "data" / "phantom.json").is_file():
        others = ("--set", f"phantom.external_patients={external}") if external else ()
        call(folder, "phantom", "--seed", str(seed), "--signal", str(signal), *others)
    changes = [f"base.sites=[{','.join(sites)}]", f"crossval.variants=[{','.join(variants)}]", *ablated]
    changes.append("register.require_lineage=false")
    for stage in (*STAGES, *(("register", "external") if external else ())):
        call(folder, stage, *(text for change in changes for text in ("--set", change)))
    bayes = json.loads((folder / "data-truth" / "bayes.json").read_text(encoding="utf-8"))
    rows = []
    for site in sites:
        for variant in (*variants, *TABULAR):
            path = folder / "artifacts" / "crossval" / site / variant / "metrics.json"
            if not path.is_file():  # a baseline that had nothing to work on
                continue
            metrics = json.loads(path.read_text(encoding="utf-8"))
            known = _shown(variant, metrics)
            row = {"seed": seed, "signal": signal, "site": site, "variant": variant}
            interval = metrics["auc_interval"]
            row |= {"auc": interval["estimate"], "low": interval["low"], "high": interval["high"]}
            row |= {"bayes": bayes[site][known], "n": metrics["n"], "positives": metrics["positives"]}
            rows.append(row)
        path = folder / "artifacts" / "external" / site / "metrics.json"
        if external and path.is_file():
            metrics = json.loads(path.read_text(encoding="utf-8"))
            outside = {"champion": metrics["external"], **metrics["alone"], **metrics["baselines"]}
            for name, found in outside.items():
                interval, known = found["auc_interval"], name if name in ("us", "ct") else "both"
                row = {"seed": seed, "signal": signal, "site": site, "variant": f"external {name}"}
                row |= {"auc": interval["estimate"], "low": interval["low"], "high": interval["high"]}
                row |= {"bayes": bayes[site][known], "n": found["n"], "positives": found["positives"]}
                rows.append(row)
    return rows


def _shown(variant: str, metrics: dict[str, Any]) -> str:
    """Returns us, ct or both: the modalities that a variant, baseline or stack sees."""
    modalities = SPECS[variant].modalities if variant in SPECS else metrics["modalities"]  # type: ignore[index]
    return str(modalities[0]) if len(modalities) == 1 else "both"


def ablation(parent: Path, seeds: list[int], site: str, ablated: list[str]) -> list[dict[str, Any]]:
    """Paired differences: settings as they are minus changed ones, on the same nodules."""
    print(f"\n{site}: settings as they are minus {' '.join(ablated)}\n")
    print(f"| variant | {' | '.join(f'seed {seed}' for seed in seeds)} | mean |")
    print("| --- |" + " --- |" * (len(seeds) + 1))
    lines = []
    for variant in (*VARIANTS, *TABULAR):
        folders = [(place(parent, seed, 1.0), place(parent, seed, 1.0, ablated)) for seed in seeds]
        found = [difference(pair, site, variant, variant) for pair in folders]
        if found and all(one is not None for one in found):
            lines.append(line(site, f"{variant} as it is", f"{variant} changed", seeds, found, variant))
    return lines


def compare(parent: Path, seeds: list[int], site: str) -> list[dict[str, Any]]:
    """Paired differences of every seed, and their mean: phantoms of different seeds are independent."""
    lines = []
    for question, pairs in QUESTIONS.items():
        print(f"\n{site}: {question}\n\n| first - second | {' | '.join(f'seed {s}' for s in seeds)} | mean |")
        print("| --- |" + " --- |" * (len(seeds) + 1))
        for first, second in pairs:
            folders = [place(parent, seed, 1.0) for seed in seeds]
            found = [difference((folder, folder), site, first, second) for folder in folders]
            if found and all(one is not None for one in found):
                lines.append(line(site, first, second, seeds, found, f"{first} - {second}"))
    return lines


def line(
    site: str, first: str, second: str, seeds: list[int], found: Sequence[Any], title: str
) -> dict[str, Any]:
    """Prints a line of differences and their mean, and returns it."""
    mean = sum(one.estimate for one in found) / len(found)
    # Wald intervals are symmetric: half their length over Z is the standard error
    error = math.sqrt(sum(((one.high - one.low) / 2 / Z) ** 2 for one in found)) / len(found)
    cells = [cell(one.estimate, one.low, one.high) for one in found]
    cells.append(cell(mean, mean - Z * error, mean + Z * error))
    print(f"| {title} | {' | '.join(cells)} |")
    return {"site": site, "a": first, "b": second, "mean": mean, "error": error} | {
        "seeds": {str(seed): vars(one) for seed, one in zip(seeds, found, strict=True)}
    }


def difference(folders: tuple[Path, Path], site: str, first: str, second: str) -> Any | None:
    """AUC of the first minus that of the second on the same nodules; None when one was not trained."""
    names = zip(folders, (first, second), strict=True)
    paths = [folder / f"artifacts/crossval/{site}/{name}/out_of_fold.csv" for folder, name in names]
    if not all(path.is_file() for path in paths):
        return None
    one, two = (pd.read_csv(path, dtype={"nodule_id": str}).sort_values("nodule_id") for path in paths)
    return auc_difference(one["label"], one["probability"], two["probability"], one["patient_id"], 0.95)


def cell(estimate: float, low: float, high: float) -> str:
    """Estimate and limits with signs."""
    return f"{estimate:+.3f} ({low:+.3f} to {high:+.3f})"


def place(parent: Path, seed: int, signal: float, ablated: Sequence[str] = ()) -> Path:
    """Project folder of a phantom; settings that are changed have one of their own."""
    suffix = f"-{fingerprint(list(ablated))[:8]}" if ablated else ""
    return parent / f"seed{seed}-signal{signal:g}{suffix}"


def call(folder: Path, *arguments: str) -> None:
    """`dgfnet` in a project folder."""
    subprocess.run(["dgfnet", *arguments], cwd=folder, check=True)


if __name__ == "__main__":
    main()
