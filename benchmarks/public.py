"""The variants of one modality on real pixels: ultrasound of DDTI, CT of LIDC, beside the size of the nodule.

    python benchmarks/public.py --ddti DIR --lidc DIR [--folder work/public]

The cohort is the one of `dgfnet ingest ddti-lidc` (docs/how-to/public-data.md), nearly all of it main; each
variant sees one modality, so the pairing does not touch these figures. Labels are impressions of
radiologists, not lymph nodes. A folder that exists is resumed. Where `tesseract` is installed,
burned-in answers are looked for in the published pictures and in what the networks see of them.
Prints tables and writes artifacts/benchmarks/public.json.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd

from dgfnet.metrics.intervals import auc_difference, auc_interval
from dgfnet.preprocess.archive import Archive
from dgfnet.preprocess.roi import crop, find_square
from dgfnet.settings import Settings, load
from dgfnet.vocabulary import MODALITIES, Modality

ROOT = Path(__file__).resolve().parents[1]
OVERRIDES = ("base.sites=[central]", "preprocess.ct_dilations=6")
VARIANTS = ("us_resnet", "us_tlr", "us_multitask", "ct_resnet", "ct_multitask")
STACKS = ("us_stack", "ct_stack")  # a network of one modality joined with what was measured on its pictures
PAIRS = (
    ("us_multitask", "us_resnet"),
    ("us_multitask", "us_tlr"),
    ("us_multitask", "us_size"),
    ("ct_multitask", "ct_resnet"),
    ("ct_multitask", "ct_size"),
    ("us_stack", "us_multitask"),
    ("us_stack", "us_size"),
    ("ct_stack", "ct_multitask"),
    ("ct_stack", "ct_size"),
)
ANSWER = re.compile(r"T[I1l]\s*-?\s*RADS?", re.IGNORECASE)


def main() -> None:
    """Runs the stages and reports."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--ddti", type=Path, required=True)
    parser.add_argument("--lidc", type=Path, required=True)
    parser.add_argument("--folder", type=Path, default=ROOT / "work" / "public")
    options = parser.parse_args()
    folder = options.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    if not (folder / "data").exists():
        where = (
            "--ddti",
            str(options.ddti.resolve()),
            "--lidc",
            str(options.lidc.resolve()),
            "--out",
            "data",
        )
        call(folder, "ingest", "ddti-lidc", *where, "--seed", "1", "--external-share", "0.02")
    overrides = [*OVERRIDES, f"crossval.variants=[{','.join(VARIANTS)}]"]
    for stage in ("cohort", "audit", "preprocess", "pretrain", "crossval"):
        call(folder, stage, *(word for text in overrides for word in ("--set", text)))
    settings = load(folder / "params.yaml", overrides)
    scores = {name: out_of_fold(settings, name) for name in (*VARIANTS, *STACKS)}
    scores |= {
        f"{modality}_size": size_alone(settings, modality, scores["us_resnet"]) for modality in MODALITIES
    }
    rows, differences = measure(scores, settings.base.confidence)
    answers = burned_in(options.ddti, settings) if shutil.which("tesseract") else None
    report(rows, differences, answers)
    content = {"auc": rows, "differences": differences, "burned_in": answers, "overrides": overrides}
    out = ROOT / "artifacts" / "benchmarks" / "public.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def call(folder: Path, *arguments: str) -> None:
    """`dgfnet` in the folder."""
    subprocess.run(["dgfnet", *arguments], cwd=folder, check=True)


def out_of_fold(settings: Settings, variant: str) -> pd.DataFrame:
    """Out-of-fold probabilities in the order of the nodules."""
    path = settings.artifacts("crossval", "central", variant, "out_of_fold.csv")
    return pd.read_csv(path, dtype={"nodule_id": str}).sort_values("nodule_id", ignore_index=True)


def size_alone(settings: Settings, modality: Modality, like: pd.DataFrame) -> pd.DataFrame:
    """The largest mask's area as a score: nothing is fitted, so nothing needs to be held out."""
    archive = Archive.open(settings.artifacts("preprocess"))
    rows, largest = archive.rows(modality).set_index("row"), archive.largest(modality)
    area = [float(rows.loc[largest[nodule], "area_mm2"]) for nodule in like["nodule_id"]]
    return like.assign(probability=area)


def measure(
    scores: dict[str, pd.DataFrame], confidence: float
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """AUC of each score, and differences on the same nodules."""
    rows, differences = [], []
    for name, table in scores.items():
        found = auc_interval(table["label"], table["probability"], table["patient_id"], confidence)
        count = {"n": len(table), "positives": int(table["label"].sum())}
        rows.append({"model": name, "auc": found.estimate, "low": found.low, "high": found.high, **count})
    for first, second in PAIRS:
        one, two = scores[first], scores[second]
        found = auc_difference(
            one["label"], one["probability"], two["probability"], one["patient_id"], confidence
        )
        differences.append({"a": first, "b": second, **vars(found)})
    return rows, differences


def burned_in(ddti: Path, settings: Settings) -> dict[str, int]:
    """In how many pictures OCR reads the answer: as published, and in what networks see of them.

    As published: the pictures `known_issues.csv` names; regions of interest: all of the cohort.
    """
    table = pd.read_csv(ddti / "known_issues.csv", dtype=str)
    known = set(table.loc[table["burned_in_diagnosis_text_ocr"] == "1", "image"])
    images = pd.read_csv(settings.data / "images.csv", dtype=str)
    regions = images[images["modality"] == "us"]
    used = {Path(image).stem.removeprefix("ddti-").rstrip("ab") for image in regions["image"]}
    published = [grey(ddti / "images" / f"{name}.jpg") for name in sorted(known & used)]
    seen = []
    for image, mask in zip(regions["image"], regions["mask"], strict=True):
        square = find_square(grey(settings.data / mask), settings.preprocess.us_dilations)
        ring = round(settings.preprocess.margin * square.side)  # training can show it
        seen.append(crop(grey(settings.data / image), square.widened(ring)))
    with ThreadPoolExecutor(2) as pool:
        counts = [sum(pool.map(reads_answer, pictures)) for pictures in (published, seen)]
    return {
        "published_with_known_answer": len(known),
        "of_them_in_the_cohort": len(published),
        "read_there_as_published": counts[0],
        "regions_of_interest": len(seen),
        "read_in_them": counts[1],
    }


def grey(path: Path) -> np.ndarray:
    """A picture's grey values."""
    return np.asarray(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE))


def reads_answer(picture: np.ndarray) -> bool:
    """OCR finds the word TIRADS, in the picture or in its negative, enlarged."""
    large = cv2.resize(picture, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
    environment = os.environ | {"OMP_THREAD_LIMIT": "1"}
    for shown in (large, 255 - large):
        _, data = cv2.imencode(".png", shown)
        command = ["tesseract", "stdin", "stdout", "--psm", "11"]
        done = subprocess.run(command, input=data.tobytes(), capture_output=True, check=True, env=environment)
        if ANSWER.search(done.stdout.decode()):
            return True
    return False


def report(
    rows: list[dict[str, Any]], differences: list[dict[str, Any]], answers: dict[str, int] | None
) -> None:
    """Markdown."""
    print("| model | pooled out-of-fold AUC (95 %) | nodules (positive) |\n| --- | --- | --- |")
    for row in rows:
        cells = f"{row['auc']:.3f} ({row['low']:.3f}-{row['high']:.3f}) | {row['n']} ({row['positives']})"
        print(f"| {row['model']} | {cells} |")
    print("\n| first minus second | difference (95 %) | p |\n| --- | --- | --- |")
    for row in differences:
        cells = f"{row['estimate']:+.3f} ({row['low']:+.3f} to {row['high']:+.3f}) | {row['p']:.3f}"
        print(f"| {row['a']} - {row['b']} | {cells} |")
    print(f"\nburned-in answers: {answers or 'not looked for: tesseract is not installed'}")


if __name__ == "__main__":
    main()
