"""Every row of docs/reference/bad-inputs.md is what the command line says."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from bad_inputs import BUILDERS, NODULES, Sound

from dgfnet.cli import main

ROOT = Path(__file__).parents[2]
TABLE = ROOT / "docs" / "reference" / "bad-inputs.md"
SMALL = "cohort.folds=2 cohort.minimum_per_class=1 preprocess.us_size=32 preprocess.ct_size=32"
SMALL += " preprocess.us_dilations=4 preprocess.ct_dilations=4"
FINE = "fine"


def rows():
    """Kind of input and what is said of it, as the table writes it."""
    rows = re.findall(r"^\| (.+?) \| (.+) \|$", TABLE.read_text(encoding="utf-8"), re.MULTILINE)
    return [row for row in rows if row[0] not in ("input", "---")]


def documented():
    return {kind: said.replace("`", "") for kind, said in rows()}


def outcome(folder, kind, capsys):
    """Returns the message of the command line on a kind of input: `stage: message`, or `fine`, remarks."""
    folder.mkdir()
    shutil.copy(ROOT / "params.yaml", folder)
    cohort = Sound(folder / "data")
    if kind:
        BUILDERS[kind](cohort)
    cohort.save()
    remarks = ""
    for stage in ("cohort", "preprocess"):
        try:
            main([stage, "--params", str(folder / "params.yaml"), "--set", SMALL])
        except SystemExit as error:
            if error.code != 2:
                raise
            said = capsys.readouterr().err.split(f"dgfnet {stage}: ", 1)[1]
            lines = [line for line in said.strip().split("\n") if not line.endswith("cannot be used:")]
            return f"{stage}: {' / '.join(lines)}".replace(str(folder / "data"), "DATA").replace(
                str(folder), "PROJECT"
            )
        remarks += "".join(line for line in capsys.readouterr().err.split("\n") if ".csv" in line)
    return f"{FINE}{', ' if remarks else ''}{remarks}"


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """Arrays of the sound cohort, so that what is fine can be compared with it."""
    folder = tmp_path_factory.mktemp("sound") / "project"

    class Quiet:
        def readouterr(self):
            return type("Captured", (), {"err": ""})

    assert outcome(folder, "", Quiet()) == FINE
    return arrays(folder)


def arrays(folder):
    """Runs the two stages on a cohort; returns pixels, and labels in the order central, lateral."""
    planes = {name: np.load(folder / f"artifacts/preprocess/{name}.npy") for name in ("us", "ct")}
    table = pd.read_parquet(folder / "artifacts/cohort/nodules.parquet")
    return planes | {"labels": table[["lnm_central", "lnm_lateral"]].to_numpy()}


def expected(kind, sound):
    """The sound cohort's arrays, as the kinds that change them without being faults should change them."""
    if kind == "a nodule without CT":
        return {name: array[:-1] for name, array in sound.items()}
    if kind == "all labels of a site missing":
        return sound | {"labels": np.column_stack([sound["labels"][:, 0], np.full(NODULES, np.nan)])}
    return sound


def test_the_table_and_the_builders_name_the_same_inputs():
    assert [kind for kind, _ in rows()] == list(BUILDERS)
    assert len(BUILDERS) >= 40


@pytest.mark.filterwarnings("ignore:The least populated class:UserWarning")  # the audit looks at it
@pytest.mark.parametrize("kind", BUILDERS)
def test_the_user_sees_what_the_table_says(kind, tmp_path, capsys, sound):
    said = documented()[kind]
    result = outcome(tmp_path / "project", kind, capsys)
    assert result == (said.partition(";")[0].strip() if said == FINE or said.startswith(f"{FINE};") else said)
    if result.startswith(FINE):
        should_be = expected(kind, sound)
        for name, array in arrays(tmp_path / "project").items():
            np.testing.assert_array_equal(array, should_be[name])
