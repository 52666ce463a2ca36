"""A variant's run has its results, logged once."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field

import pandas as pd
import pytest

from dgfnet import crossval
from dgfnet.files import write_json
from dgfnet.settings import load
from dgfnet.tracking import RESULTS


@dataclass
class Logged:
    """A run that notes what it is given; `table` fails once where it shall."""

    results: str = ""
    calls: list[str] = field(default_factory=list)
    fails: bool = False

    def metrics(self, values):
        self.calls.append("metrics")

    def params(self, values):
        self.calls.append("params")

    def dataset(self, *_):
        self.calls.append("dataset")

    def table(self, path, key):
        if self.fails:
            raise ConnectionError
        self.calls.append(path.name)

    def artifact(self, path):
        self.calls.append(path.name)

    def tags(self, values):
        self.results = values[RESULTS]
        self.calls.append("tags")


EVERYTHING = ["metrics", "params", "dataset", "out_of_fold.csv", "metrics.json", "roc.png", "tags"]


@pytest.fixture
def log(tmp_path, params):
    """Writes the results of a variant, and logs them to a run."""
    shutil.copy(params, tmp_path / "params.yaml")
    settings = load(tmp_path / "params.yaml")

    def to(run, probability=0.7, depth=3):
        table = pd.DataFrame({"label": [0, 1], "probability": [0.2, probability]})
        metrics = {"site": "central", "variant": "dgf", "folds": [], "pooled": {"auc": 1.0}}
        metrics |= {"mean": {}, "sd": {}, "auc_interval": {"low": 0.5, "high": 1.0}}
        write_json(tmp_path / "metrics.json", metrics | {"slope": float("nan")})
        table.to_csv(tmp_path / "out_of_fold.csv", index=False)
        run.calls.clear()
        crossval._log_parent(settings, metrics, tmp_path, table, run, {"depth": depth})
        return run.calls

    return to


def test_results_are_logged_once_and_again_when_table_or_parameters_differ(log, tmp_path):
    run = Logged()
    assert log(run) == EVERYTHING
    (tmp_path / "roc.png").unlink()
    assert log(run) == []
    assert (tmp_path / "roc.png").is_file()  # an output of the stage, whatever the run has
    assert log(run, probability=0.8) == EVERYTHING
    assert log(run, probability=0.8, depth=4) == EVERYTHING
    assert log(run, probability=0.8, depth=4) == []


def test_what_was_interrupted_is_logged_again(log):
    run = Logged(fails=True)
    with pytest.raises(ConnectionError):
        log(run)
    run.fails = False
    assert log(run) == EVERYTHING
