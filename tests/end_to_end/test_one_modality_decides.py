"""Phantoms in which CT alone, or US alone, decides the label: attributions must say so."""

import json
import subprocess
import sys

import pandas as pd
import pytest
from whole import ROOT, environment


@pytest.mark.slow
@pytest.mark.parametrize("modality", ["ct", "us"])
def test_the_modality_that_decides_alone_has_most_of_the_attribution(tmp_path, modality):
    script = ROOT / "benchmarks" / "attribution_truth.py"
    subprocess.run(
        [sys.executable, str(script), "--alone", modality, "--folder", str(tmp_path)],
        env=environment(),
        check=True,
        timeout=1800,
    )
    facts = json.loads((tmp_path / modality / "share.json").read_text())
    assert facts["auc"] > 0.6  # else there is nothing to attribute
    other = {"us": "ct", "ct": "us"}[modality]
    for way in ("integrated gradients", "Shapley"):
        found = facts[way]
        assert found["share"]["low"] > 0.5, way
        assert found[f"{modality} towards the truth"]["low"] > 0, way
        says = found[f"{other} towards the truth"]
        assert says["high"] < found[f"{modality} towards the truth"]["low"], way
    folder = tmp_path / modality / "artifacts" / "attribution" / "central"
    located = json.loads((folder / "summary.json").read_text())["localisation"]
    assert located["reason"] is None
    assert pd.read_csv(folder / "localisation.csv")["modality"].nunique() == 2
