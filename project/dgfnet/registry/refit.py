"""Trains one fold of one variant and what it starts from, nothing of the other folds; a script of its own.

`dgfnet reproduce` runs this file (`python -P refit.py REQUEST RESULT`) with the package of another commit on
the path, so it asks nothing of the package but what the stages themselves ask. No run is tracked.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
import yaml

import dgfnet.errors
from dgfnet.cohort import stage as cohort
from dgfnet.network.variants import SPECS
from dgfnet.preprocess import stage as preprocess
from dgfnet.provenance import describe, replacing, write_json
from dgfnet.settings import Settings, Site, Variant, load
from dgfnet.training.fit import fit
from dgfnet.training.loop import TrainingDiverged
from dgfnet.training.task import Task
from dgfnet.training.tasks import Facts, classification, gather, places


def line(settings: Settings, facts: Facts, site: Site, variant: Variant, fold: int) -> list[Task]:
    """A fit after all that it starts from, each once."""
    task, origins = classification(settings, facts, site, variant, fold)
    before = [
        one for parent in SPECS[variant].parents for one in line(settings, facts, site, parent, fold)
    ] or origins
    return list({one.key: one for one in (*before, task)}.values())


def settled(request: dict[str, Any]) -> Settings:
    """The settings of the request, checked by their sha256; then paths of this folder in place of its own.

    Raises:
        InputError: when they resolve to other settings under this code.
    """
    path = Path(request["params"])
    found = describe(load(path, request["settings"]), request["sections"])["params_sha256"]
    if found != request["params_sha256"]:
        raise dgfnet.errors.InputError(
            f"the settings of the version resolve to {found} under this code, expected "
            f"{request['params_sha256']}"
        )
    return load(path, [*request["settings"], *request["paths"]])


def run(request: dict[str, Any]) -> dict[str, Any]:
    """Reads, screens and cuts the cohort, then trains; returns key, record and place of the fit."""
    settings = settled(request)
    with replacing(settings.artifacts("tune", "chosen.yaml")) as temporary:
        temporary.write_text(yaml.safe_dump(request["chosen"]), encoding="utf-8")
    cohort.run(settings)
    preprocess.run(settings)
    site, variant = request["site"], request["variant"]
    facts = gather(settings, (variant,))
    tasks = line(settings, facts, site, variant, request["fold"])
    threads = max(1, int(settings.sweep.cpus_per_trial))  # as a worker has them
    torch.set_num_threads(threads)
    record: dict[str, Any] = {}
    for number, task in enumerate(tasks, start=1):
        print(f"reproduce: fit {number} of {len(tasks)}: {task.name}", file=sys.stderr)
        record = fit(task, places(settings), settings.sweep.checkpoint_every, lambda *_: None, threads)
    key = tasks[-1].key
    return {
        "key": key,
        "package": str(Path(dgfnet.errors.__file__).parent),
        "predictions": str(places(settings).fit(key) / "predictions.csv"),
        "threshold": record["threshold"],
        "scores": record["scores"],
        "versions": describe(settings, ())["versions"],
        "machine": describe(settings, ())["machine"],
    }


if __name__ == "__main__":
    try:
        write_json(Path(sys.argv[2]), run(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))))
    except (dgfnet.errors.InputError, TrainingDiverged) as error:
        print(f"reproduce: {error}", file=sys.stderr)
        raise SystemExit(2) from None
