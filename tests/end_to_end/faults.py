"""Faults put into the files of a finished project, and what the next command says of each.

docs/reference/faults.md is made of this list: `python tests/end_to_end/faults.py` prints its table.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from dgfnet import digests

TABLE = "artifacts/crossval/central/dgf/out_of_fold.csv"


@dataclass(frozen=True)
class Fault:
    """A fault of a project's files.

    Attributes:
        what: the fault, as the table in docs says it.
        damage: does it to a project.
        command: that meets it first.
        said: regular expression of what the command says, on one line.
        mended: the command ends well, having made again what was damaged; else it refuses, with status 2.
    """

    what: str
    damage: Callable[[Path], None]
    command: tuple[str, ...]
    said: str
    mended: bool = False


def fits(folder: Path, variant: str = "dgf") -> list[Path]:
    """Folders of the fits of a variant at the central site, by fold."""
    metrics = json.loads((folder / f"artifacts/crossval/central/{variant}/metrics.json").read_text())
    return [folder / "work/fits" / fold["key"] for fold in metrics["folds"]]


def weights_of_the_trained(folder: Path) -> None:
    (fits(folder)[0] / "weights.safetensors").write_bytes(b"")


def edit(name: str, old: str, new: str) -> Callable[[Path], None]:
    """Replaces a text in a file."""

    def damage(folder: Path) -> None:
        (path,) = folder.glob(name)
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))

    return damage


def content(name: str, data: bytes) -> Callable[[Path], None]:
    """Puts other bytes into a file."""

    def damage(folder: Path) -> None:
        (path,) = folder.glob(name)
        path.write_bytes(data)

    return damage


def cut(name: str, share: float = 0.5) -> Callable[[Path], None]:
    """Keeps the first part of a file."""

    def damage(folder: Path) -> None:
        (path,) = folder.glob(name)
        whole = path.read_bytes()
        path.write_bytes(whole[: int(len(whole) * share)])

    return damage


def gone(name: str) -> Callable[[Path], None]:
    """Removes a file or a folder."""

    def damage(folder: Path) -> None:
        (path,) = folder.glob(name)
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()

    return damage


def of_fit(name: str, change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    """Changes a file of the first fold's fit."""

    def damage(folder: Path) -> None:
        path = fits(folder)[0] / name
        shutil.rmtree(folder / KEPT)
        path.write_bytes(change(path.read_bytes()))

    return damage


def copied_fit(folder: Path) -> None:
    first, second = fits(folder)[:2]
    shutil.rmtree(folder / KEPT)
    shutil.rmtree(second)
    shutil.copytree(first, second)


def cut_checkpoint(folder: Path) -> None:
    """A fit that was interrupted, and whose checkpoint lost its end."""
    fit = fits(folder)[0]
    shutil.rmtree(folder / KEPT)
    shutil.rmtree(fit)
    fit.mkdir()
    (fit / "checkpoint.pt").write_bytes(b"PK\x03\x04 the beginning of a checkpoint")


def inverted(folder: Path) -> None:
    array = np.lib.format.open_memmap(folder / "artifacts/preprocess/us.npy", mode="r+")
    array[:, 0] = 255 - array[:, 0]
    array.flush()


def higher(data: bytes) -> bytes:
    """The last probability of a table is another one."""
    return data.rstrip()[:-3] + b"123\n"


def other_patient(folder: Path) -> None:
    path = folder / "artifacts/cohort/folds.csv"
    lines = path.read_text().splitlines()
    cells = lines[1].split(",")
    lines[1] = ",".join([cells[0], "somebody else", cells[2]])
    path.write_text("\n".join(lines) + "\n")


def switched(folder: Path) -> None:
    """The labels of a table are the other way round."""
    path = folder / TABLE
    rows = [line.split(",") for line in path.read_text().splitlines()]
    column = rows[0].index("label")
    for row in rows[1:]:
        row[column] = str(1 - int(row[column]))
    path.write_text("\n".join(",".join(row) for row in rows) + "\n")


def screened_again(folder: Path) -> None:
    """A picture left the cohort, and the stage cohort ran."""
    path = folder / "artifacts/cohort"
    images = pd.read_parquet(path / "images.parquet")
    images.iloc[1:].to_parquet(path / "images.parquet", index=False)
    digests.keep(path)


def broken_store(folder: Path) -> None:
    store = folder / "mlflow.db"
    store.write_bytes(b"no database at all" * 500)


AGAIN = r"not what was written.*; run the stage {} again"
KEPT = "artifacts/crossval/fits"  # second copies, from which a fit is taken when the first is damaged
TRAINED = r"set aside in .*damaged/.*, and central/dgf/fold{} is trained again"
CENTRAL = ("--site", "central", "--variant", "dgf")
CROSSVAL, REGISTER = ("crossval", *CENTRAL), ("register", "--site", "central")
FAULTS = {
    "fit_copied": Fault(
        "a fit is copied under the key of another",
        copied_fit,
        CROSSVAL,
        "holds the fit .*" + TRAINED.format(1),
        True,
    ),
    "predictions_edited": Fault(
        "`predictions.csv` of a fit edited",
        of_fit("predictions.csv", higher),
        CROSSVAL,
        TRAINED.format(0),
        True,
    ),
    "predictions_cut": Fault(
        "`predictions.csv` of a fit cut",
        of_fit("predictions.csv", lambda data: data[:60]),
        CROSSVAL,
        TRAINED.format(0),
        True,
    ),
    "weights_cut": Fault(
        "`weights.safetensors` of a fit cut",
        of_fit("weights.safetensors", lambda data: data[:-9]),
        CROSSVAL,
        TRAINED.format(0),
        True,
    ),
    "weights_changed": Fault(
        "one byte of `weights.safetensors` changed",
        of_fit("weights.safetensors", lambda data: data[:-1] + bytes([data[-1] ^ 1])),
        CROSSVAL,
        TRAINED.format(0),
        True,
    ),
    "weights_kept": Fault(
        "`weights.safetensors` of a fit emptied, and the one among the outputs is whole",
        weights_of_the_trained,
        CROSSVAL,
        r"set aside in .*damaged/.*, and central/dgf/fold0 is taken from .*crossval/fits/",
        True,
    ),
    "record_empty": Fault(
        "`fit.json` empty", of_fit("fit.json", lambda _: b""), CROSSVAL, TRAINED.format(0), True
    ),
    "record_half": Fault(
        "`fit.json` half written",
        of_fit("fit.json", lambda data: data[: len(data) // 2]),
        CROSSVAL,
        TRAINED.format(0),
        True,
    ),
    "digests_garbled": Fault(
        "`digests.json` of a fit garbled",
        of_fit("digests.json", lambda _: b"\0\0\0"),
        CROSSVAL,
        "damaged, no list.*" + TRAINED.format(0),
        True,
    ),
    "checkpoint_cut": Fault(
        "`checkpoint.pt` of an interrupted fit cut",
        cut_checkpoint,
        CROSSVAL,
        r"checkpoint-damaged\.pt: cannot be read; central/dgf/fold0 was trained from its first epoch",
        True,
    ),
    "table_edited": Fault(
        "`out_of_fold.csv` edited: compare", switched, ("compare",), AGAIN.format("crossval")
    ),
    "table_edited_register": Fault("the same: register", switched, REGISTER, AGAIN.format("crossval")),
    "table_edited_report": Fault("the same: report", switched, ("report",), AGAIN.format("crossval")),
    "table_edited_crossval": Fault("the same: crossval", switched, CROSSVAL, "", True),
    "metrics_edited": Fault(
        "`metrics.json` of a variant edited",
        edit("artifacts/crossval/central/dgf/metrics.json", '"pooled"', '"pooled_"'),
        REGISTER,
        AGAIN.format("crossval"),
    ),
    "table_without_digests": Fault(
        "crossval was interrupted between table and digests",
        gone("artifacts/crossval/central/dgf/digests.json"),
        ("compare",),
        "its writer was interrupted|not among the files.*; run the stage crossval again",
    ),
    "archive_inverted": Fault(
        "pictures in `us.npy` inverted", inverted, CROSSVAL, r"us\.npy: " + AGAIN.format("preprocess")
    ),
    "archive_cut": Fault(
        "`ct.npy` cut",
        cut("artifacts/preprocess/ct.npy"),
        CROSSVAL,
        r"ct\.npy: " + AGAIN.format("preprocess"),
    ),
    "archive_head": Fault(
        "`archive.json` half written",
        cut("artifacts/preprocess/archive.json"),
        CROSSVAL,
        AGAIN.format("preprocess"),
    ),
    "archive_index": Fault(
        "`index.parquet` garbled",
        content("artifacts/preprocess/index.parquet", b"PAR1 and nothing"),
        CROSSVAL,
        AGAIN.format("preprocess"),
    ),
    "archive_gone": Fault(
        "folder of the archive gone",
        gone("artifacts/preprocess"),
        CROSSVAL,
        "no such folder; run the stage preprocess first",
    ),
    "audit_of_another_cohort": Fault(
        "the cohort was screened again after the audit",
        screened_again,
        ("pretrain",),
        "artifacts/audit: made from another .*; run the stage audit again",
    ),
    "archive_of_another_cohort": Fault(
        "the cohort was screened again after `preprocess`",
        screened_again,
        CROSSVAL,
        "artifacts/preprocess: made from another .*; run the stage preprocess again",
    ),
    "picture_edited": Fault(
        "a picture of the cohort edited after the stage cohort",
        lambda folder: next(iter(sorted((folder / "data/us").glob("*.png")))).write_bytes(b"another"),
        ("preprocess",),
        "data: the cohort has changed since the stage cohort ran .*; run it again",
    ),
    "folds_garbled": Fault(
        "`folds.csv` garbled",
        content("artifacts/cohort/folds.csv", b"\xff\xfe\0\0,,"),
        CROSSVAL,
        AGAIN.format("cohort"),
    ),
    "folds_of_another_patient": Fault(
        "`folds.csv` names another patient", other_patient, CROSSVAL, AGAIN.format("cohort")
    ),
    "nodules_cut": Fault(
        "`nodules.parquet` cut", cut("artifacts/cohort/nodules.parquet"), CROSSVAL, AGAIN.format("cohort")
    ),
    "screening_edited": Fault(
        "`suspicious.csv` edited",
        lambda folder: (folder / "artifacts/cohort/suspicious.csv").write_text("image,found,decision\n"),
        ("audit",),
        AGAIN.format("cohort"),
    ),
    "audit_edited": Fault(
        "`audit.json` edited",
        edit("artifacts/audit/audit.json", '"blocks"', '"blocks_"'),
        ("pretrain",),
        AGAIN.format("audit"),
    ),
    "audit_half": Fault(
        "`audit.json` half written", cut("artifacts/audit/audit.json"), REGISTER, AGAIN.format("audit")
    ),
    "chosen_edited": Fault(
        "`chosen.yaml` edited",
        content("artifacts/tune/chosen.yaml", b"central: {}\n"),
        CROSSVAL,
        AGAIN.format("tune"),
    ),
    "lineage_edited": Fault(
        "commit in crossval's `provenance.json` edited",
        edit("artifacts/crossval/provenance.json", '"git_commit": "', '"git_commit": "0'),
        REGISTER,
        AGAIN.format("crossval"),
    ),
    "external_edited": Fault(
        "external `predictions.csv` edited",
        lambda folder: (folder / "artifacts/external/central/predictions.csv").write_bytes(
            higher((folder / "artifacts/external/central/predictions.csv").read_bytes())
        ),
        ("applicability",),
        AGAIN.format("external"),
    ),
    "external_metrics_edited": Fault(
        "external `metrics.json` edited",
        edit("artifacts/external/central/metrics.json", '"auc"', '"auc_"'),
        ("report",),
        AGAIN.format("external"),
    ),
    "differences_edited": Fault(
        "`differences.csv` edited",
        edit("artifacts/compare/central/differences.csv", "dgf", "DGF"),
        ("report",),
        AGAIN.format("compare"),
    ),
    "attribution_edited": Fault(
        "attribution's `checks.json` edited",
        edit("artifacts/attribution/central/checks.json", '"passed"', '"passed_"'),
        ("report",),
        AGAIN.format("attribution"),
    ),
    "promotion_edited": Fault(
        "`register/central.json` edited",
        edit("artifacts/register/central.json", '"has_champion"', '"has_champion_"'),
        ("external", "--site", "central"),
        AGAIN.format("register"),
    ),
    "version_gone": Fault(
        "folder of a registered version gone",
        lambda folder: [shutil.rmtree(path) for path in (folder / "mlruns/dgfnet-central/models").iterdir()],
        ("external", "--site", "central"),
        "dgfnet-central version 1: its files cannot be read from the store",
    ),
    "bundle_cut": Fault(
        "`bundle.zip` of a registered version cut",
        lambda folder: os.truncate(next((folder / "mlruns/dgfnet-central/models").rglob("bundle.zip")), 999),
        ("external", "--site", "central"),
        r"dgfnet-central version 1 is not what was registered: artifacts/bundle\.zip was changed; not loaded",
    ),
    "store_broken": Fault(
        "`mlflow.db` is no database",
        broken_store,
        CROSSVAL,
        "MLflow's store is damaged: bring mlflow.db back",
    ),
    "pointer_garbled": Fault(
        "`data.dvc` garbled",
        content("data.dvc", b"outs: what?\n"),
        ("cohort",),
        "data.dvc: names no data as DVC writes it",
    ),
    "key_empty": Fault("`id.key` empty", content("id.key", b""), CROSSVAL, "0 characters are no secret"),
    "key_short": Fault("`id.key` cut", cut("id.key", 0.2), CROSSVAL, "12 characters are no secret"),
}


def table() -> str:
    """The table of docs/reference/faults.md."""
    rows = ["| fault | command | what happens |", "| --- | --- | --- |"]
    for fault in FAULTS.values():
        end = "mended" if fault.mended else "refused"
        rows.append(f"| {fault.what} | `{fault.command[0]}` | {end} |")
    return "\n".join(rows)


if __name__ == "__main__":
    print(table())
