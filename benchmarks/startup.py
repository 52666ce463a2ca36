"""Measures the CPU seconds of every command on a tiny finished project, beside an older checkout.

    python benchmarks/startup.py /path/to/older/checkout [--runs 3] [--only history,crossval]

Both builds make a project of their own (a clone of their last commit, phantom of 40 patients, tiny networks,
`dvc repro`), with the interpreter that runs this script; then each command runs in turns with the one build
and the other. CPU seconds are user and system time of the process and of the children it waited for, so other
work on the machine hardly counts. `dvc repro` finds nothing changed, and `crossval` has all its fits already:
what they take is looking and checking. `worker` is a process that does what Ray's
does for one trial: it imports Ray, reads a pickled trial and fits it for one epoch. Ratios are the median of
the older build over ours.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml
from machine import machine

ROOT = Path(__file__).parents[1]
TINY = {
    "phantom": {"patients": 40, "external_patients": 12},
    "cohort": {"folds": 2, "minimum_per_class": 2},
    "preprocess": {"us_size": 32, "ct_size": 32},
    "network": {"width": 0.125},
    "pretrain": {"epochs": 1},
    "crossval": {"unimodal_epochs": 1, "multimodal_epochs": 1, "validate_every": 1},
    "register": {
        "minimum_auc_lower_bound": 0.0,
        "minimum_gain_over_unimodal": -1.0,
        "calibration_slope": [-1e9, 1e9],
        "minimum_group_accuracy": 0.0,
        "smallest_group": 2,
        "require_lineage": False,
    },
}
STAGES = ("cohort", "audit", "preprocess", "pretrain", "tune", "crossval", "compare", "register", "external")
COMMANDS = {  # name: arguments
    "help": ["--help"],
    "history": ["history", "central"],
    "lineage": ["lineage", "central", "1"],
    "promote --dry-run": ["promote", "central", "1", "--dry-run"],
    "rollback": ["rollback", "central"],  # refused: nobody was champion before
    **{stage: [stage] for stage in STAGES},
    "applicability": ["applicability"],
    "report": ["report"],
    "summary": ["summary"],
    "predict": ["predict", "central", "data", "--out", "answers.csv"],
    "dvc repro": ["repro"],
}
PLAN = """
import pickle, sys
from dgfnet import tracking
from dgfnet.settings import load
try:
    from dgfnet.sweep import plan
    from dgfnet.sweep.trial import Trial
except ModuleNotFoundError:  # a checkout before the room sweep
    import importlib
    plan = importlib.import_module("dgfnet." + "training.tasks")
    Trial = importlib.import_module("dgfnet." + "training.trial").Trial
from pathlib import Path
settings = load(Path("params.yaml"), ["base.seed=77"])
task = plan.classification(settings, plan.gather(settings), "central", "us_resnet", 0)[0]
uri = tracking.store(settings)
experiment = tracking.prepare(uri, "startup")
where = plan.places(settings)
trial = Trial(task, where, uri, experiment, "0" * 32, {}, 1, 5)
Path("trial.pkl").write_bytes(pickle.dumps(trial))
print(where.fit(task.key))
"""
WORK = """
import pickle
import ray.tune
trial = pickle.loads(open("trial.pkl", "rb").read())
try:
    from dgfnet.sweep.trial import run_trial
except ModuleNotFoundError:
    import importlib
    run_trial = importlib.import_module("dgfnet." + "training.trial").run_trial
run_trial(trial, lambda values: None)
"""


class Build:
    """A checkout with a project of its own."""

    def __init__(self, source: Path, folder: Path) -> None:
        self.folder = folder
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")},
            "PYTHONPATH": str(folder / "project"),
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "DO_NOT_TRACK": "true",
            "DVC_NO_ANALYTICS": "true",
        }
        folder.mkdir()
        self.call("git", "clone", "--quiet", str(source), ".")
        settings = yaml.safe_load((folder / "params.yaml").read_text(encoding="utf-8"))
        for section, values in TINY.items():
            # an older checkout does not know every setting
            settings[section] |= {name: value for name, value in values.items() if name in settings[section]}
        (folder / "params.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
        self.run("-m", "dgfnet.cli", "phantom")
        self.run("-m", "dvc", "add", "--quiet", "data")
        author = ("-c", "user.name=benchmark", "-c", "user.email=benchmark@example.invalid")
        self.call("git", *author, "commit", "--quiet", "--all", "--message", "tiny")
        self.run("-m", "dvc", "repro", "--quiet")
        self.fit = folder / self.run("-c", PLAN).strip().splitlines()[-1]

    def run(self, *arguments: str) -> str:
        """Runs Python in the project and returns its output."""
        return self.call(sys.executable, *arguments)

    def call(self, *command: str) -> str:
        """Runs a program in the project and returns its output."""
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise SystemExit(f"{' '.join(command)[:80]} failed:\n{done.stdout}{done.stderr}")
        return done.stdout

    def seconds(self, name: str) -> float:
        """CPU seconds of one command, its children included."""
        if name == "worker":
            shutil.rmtree(self.fit, ignore_errors=True)
        program = "dvc" if name == "dvc repro" else "dgfnet.cli"
        arguments = ["-c", WORK] if name == "worker" else ["-m", program, *COMMANDS[name]]
        process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        assert process.stderr is not None
        error = process.stderr.read()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode not in (0, 2):  # 2: refused in one sentence
            raise SystemExit(f"{name} failed:\n{error.decode()}")
        return used.ru_utime + used.ru_stime


def main() -> None:
    """Prints a row per command and writes artifacts/benchmarks/startup.json."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("older", type=Path, help="folder of an older checkout")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--only", default="", help="names of commands, separated by commas")
    options = parser.parse_args()
    names = [name for name in options.only.split(",") if name] or [*COMMANDS, "worker"]
    rows: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as place:
        older = Build(options.older.resolve(), Path(place) / "older")
        ours = Build(ROOT, Path(place) / "ours")
        print(f"CPU seconds, medians of {options.runs}")
        print(f"{'command':20s} {'older':>7s} {'ours':>7s} {'ratio':>6s}")
        for name in names:
            pairs = [(older.seconds(name), ours.seconds(name)) for _ in range(options.runs)]
            before, after = (statistics.median(column) for column in zip(*pairs, strict=True))
            rows[name] = {"older": before, "ours": after, "ratio": before / after}
            print(f"{name:20s} {before:7.2f} {after:7.2f} {before / after:6.2f}", flush=True)
    result = {
        "machine": machine(),
        "python": sys.version.split()[0],
        "runs": options.runs,
        "seconds": rows,
        "ratios": {name: row["ratio"] for name, row in rows.items()},
    }
    path = ROOT / "artifacts" / "benchmarks" / "startup.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
