"""What honest training reaches on phantoms of several seeds and without signal, beside the Bayes-optimal AUC.

    python benchmarks/phantoms.py --seeds 7 11 --null-seeds 3 --sites central

Every phantom gets a project folder of its own below --folder, with the settings of params.yaml; a folder that
exists is resumed. Takes minutes per seed and site. Prints a table and writes
artifacts/benchmarks/phantoms.json.
"""

from __future__ import annotations

import argparse
import json
import subprocess
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
STAGES = ("cohort", "preprocess", "pretrain", "crossval", "compare")


def main() -> None:
    """Runs the phantoms and reports."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, nargs="*", default=[7, 11])
    parser.add_argument("--null-seeds", type=int, nargs="*", default=[3])
    parser.add_argument("--sites", nargs="+", default=["central", "lateral"])
    parser.add_argument("--folder", type=Path, default=ROOT / "work" / "phantoms")
    options = parser.parse_args()
    cases = [(seed, 1.0) for seed in options.seeds] + [(seed, 0.0) for seed in options.null_seeds]
    rows = [row for seed, signal in cases for row in run(options.folder, seed, signal, options.sites)]
    print("| seed | signal | site | variant | pooled AUC (95 % interval) | Bayes-optimal |")
    print("| --- | --- | --- | --- | --- | --- |")
    for row in rows:
        print(
            f"| {row['seed']} | {row['signal']:g} | {row['site']} | {row['variant']} | "
            f"{row['auc']:.3f} ({row['low']:.3f}-{row['high']:.3f}) | {row['bayes']:.3f} |"
        )
    out = ROOT / "artifacts" / "benchmarks" / "phantoms.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps({"rows": rows}, indent=2) + "\n", encoding="utf-8")


def run(parent: Path, seed: int, signal: float, sites: list[str]) -> list[dict[str, Any]]:
    """One phantom through the pipeline; one row per site and variant."""
    folder = parent / f"seed{seed}-signal{signal:g}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    if not (folder / "data" / "phantom.json").is_file():
        call(folder, "phantom", "--seed", str(seed), "--signal", str(signal))
    for stage in STAGES:
        call(folder, stage, "--set", f"base.sites=[{','.join(sites)}]")
    bayes = json.loads((folder / "data-truth" / "bayes.json").read_text(encoding="utf-8"))
    rows = []
    for site in sites:
        for path in sorted((folder / "artifacts" / "crossval" / site).glob("*/metrics.json")):
            metrics = json.loads(path.read_text(encoding="utf-8"))
            known = {"us_multitask": "us", "ct_multitask": "ct"}.get(metrics["variant"], "both")
            row = {"seed": seed, "signal": signal, "site": site, "variant": metrics["variant"]}
            interval = metrics["auc_interval"]
            row |= {"auc": interval["estimate"], "low": interval["low"], "high": interval["high"]}
            row |= {"bayes": bayes[site][known], "n": metrics["n"], "positives": metrics["positives"]}
            rows.append(row)
    return rows


def call(folder: Path, *arguments: str) -> None:
    """`dgfnet` in a project folder."""
    subprocess.run(["dgfnet", *arguments], cwd=folder, check=True)


if __name__ == "__main__":
    main()
