"""Does a fusion use a record that carries signal, and leave one alone that carries none?

    python benchmarks/record.py --patients 120 --shift 12

Ages of the phantom are drawn without regard to the label. One project has them so; in a copy of it patients
with metastasis are --shift years older. Everything else is the same: fits that read no record are not even
trained again. Prints the AUC of every model, and what the record adds to it (clustered DeLong on the same
nodules), and writes artifacts/benchmarks/record.json. Age alone has an AUC of Phi(shift / (12 sqrt 2)), for
its standard deviation is 12 years: 0.76 for a shift of 12.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from phantoms import STAGES, call, cell, difference

from dgfnet.compare.pairs import RECORD_PAIRS

ROOT = Path(__file__).resolve().parent.parent
PLAIN = ("us_multitask", "ct_multitask", "concat", "sum", "dgf")
FUSED = ("concat_record", "sum_record", "dgf_record")
SHOWN = (*PLAIN, *FUSED, "clinical", "stack", "record_stack")


def main() -> None:
    """Runs both projects and reports."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--patients", type=int, default=120)
    parser.add_argument("--shift", type=float, default=12.0, help="years")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--site", default="central", choices=("central", "lateral"))
    parser.add_argument("--folder", type=Path, default=ROOT / "work" / "record")
    options = parser.parse_args()
    plain = options.folder / f"seed{options.seed}-patients{options.patients}"
    shifted = plain.with_name(f"{plain.name}-{options.site}-shift{options.shift:g}")
    if not (plain / "data" / "phantom.json").is_file():
        settings(plain)
        call(plain, "phantom", "--seed", str(options.seed), "--patients", str(options.patients))
    train(plain, options.site)
    if not shifted.is_dir():
        for name in ("data", "data-truth", "artifacts", "work"):
            shutil.copytree(plain / name, shifted / name)
        age(shifted / "data" / "nodules.csv", options.site, options.shift)
    train(shifted, options.site)
    rows = report(plain, options.site, 0.0) + report(shifted, options.site, options.shift)
    out = ROOT / "artifacts" / "benchmarks" / "record.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    facts = {name: value for name, value in vars(options).items() if name != "folder"}
    out.write_text(json.dumps({**facts, "rows": rows}, indent=2) + "\n", encoding="utf-8")


def train(folder: Path, site: str) -> None:
    """Takes a project from its cohort to its comparison, with and without the record."""
    settings(folder)
    changes = (f"base.sites=[{site}]", f"crossval.variants=[{','.join((*PLAIN, *FUSED))}]")
    changes += ("crossval.record=[age]", "crossval.clinical=[age]")
    for stage in STAGES:
        call(folder, stage, *(text for change in changes for text in ("--set", change)))


def settings(folder: Path) -> None:
    """Puts the settings of this checkout into a project."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())


def age(path: Path, site: str, years: float) -> None:
    """Makes patients with metastasis at a site older, all their nodules alike."""
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    ill = table["patient_id"].isin(table.loc[table[f"lnm_{site}"] == "1", "patient_id"])
    own = pd.to_numeric(table["age"]) + np.where(ill, years, 0.0)
    table.assign(age=own.round().astype(int)).to_csv(path, index=False)


def report(folder: Path, site: str, shift: float) -> list[dict[str, Any]]:
    """Prints and returns AUCs, and what the record adds, of a project."""
    rows = []
    print(f"\n{site}, ages shifted by {shift:g} years\n")
    print("| model | pooled AUC (95 % interval) | minus that without the record |\n| --- | --- | --- |")
    for name in SHOWN:
        path = folder / "artifacts" / "crossval" / site / name / "metrics.json"
        if not path.is_file():
            continue
        found = json.loads(path.read_text(encoding="utf-8"))["auc_interval"]
        row = {"shift": shift, "model": name, **{key: found[key] for key in ("estimate", "low", "high")}}
        gain = None
        if (other := RECORD_PAIRS.get(name)) is not None:
            gain = difference((folder, folder), site, name, other)
        if gain is not None:
            row["gain"] = {key: getattr(gain, key) for key in ("estimate", "low", "high", "p")}
        words = "" if gain is None else cell(gain.estimate, gain.low, gain.high)
        print(f"| {name} | {row['estimate']:.3f} ({row['low']:.3f}-{row['high']:.3f}) | {words} |")
        rows.append(row)
    return rows


if __name__ == "__main__":
    main()
