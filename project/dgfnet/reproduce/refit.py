"""Trains one fold of one variant and what it starts from, nothing of the other folds; a script of its own.

`dgfnet reproduce` runs this file (`python -P refit.py REQUEST RESULT`) with the package of another commit on
the path, so it asks nothing of the package but what the stages themselves ask, and finds that also where it
lay before. No run is tracked.
"""

from __future__ import annotations

import json
import sys
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import yaml

import dgfnet.errors
from dgfnet.cohort import stage as cohort
from dgfnet.preprocess import stage as preprocess
from dgfnet.provenance import describe
from dgfnet.settings import Settings, load
from dgfnet.training.fit import fit
from dgfnet.training.loop import TrainingDiverged
from dgfnet.training.task import Task

if TYPE_CHECKING:
    from dgfnet.vocabulary import Site, Variant

try:
    from dgfnet.sweep.plan import classification, gather, places
    from dgfnet.vocabulary import SPECS
except ModuleNotFoundError:  # the package of a commit before these modules
    tasks: Any = import_module("dgfnet.sweep.plan")
    classification, gather, places = tasks.classification, tasks.gather, tasks.places
    SPECS = import_module("dgfnet.network.variants").SPECS


def line(settings: Settings, inputs: Any, site: Site, variant: Variant, fold: int) -> list[Task]:
    """Returns a fit after all fits it starts from, without repetition."""
    task, origins = classification(settings, inputs, site, variant, fold)
    before = [
        origin for parent in SPECS[variant].parents for origin in line(settings, inputs, site, parent, fold)
    ] or origins
    return list({item.key: item for item in (*before, task)}.values())


def settled(request: dict[str, Any]) -> Settings:
    """Returns the settings of the request, checked by their sha256, with paths of this folder.

    Raises:
        InputError: when they resolve to other settings under this code.
    """
    path = Path(request["params"])
    digest = describe(load(path, request["settings"]), request["sections"])["params_sha256"]
    if digest != request["params_sha256"]:
        raise dgfnet.errors.InputError(
            f"the settings of the version resolve to {digest} under this code, expected "
            f"{request['params_sha256']}"
        )
    return load(path, [*request["settings"], *request["paths"]])


def run(request: dict[str, Any]) -> dict[str, Any]:
    """Reads, screens and cuts the cohort, then trains; returns key, record and place of the fit."""
    settings = settled(request)
    chosen = settings.artifacts("tune", "chosen.yaml")
    chosen.parent.mkdir(parents=True, exist_ok=True)
    chosen.write_text(yaml.safe_dump(request["chosen"]), encoding="utf-8")
    with suppress(ModuleNotFoundError):  # the package of a commit before this module believes what lies there
        import_module("dgfnet.digests").keep(chosen.parent)
    cohort.run(settings)
    preprocess.run(settings)
    site, variant = request["site"], request["variant"]
    inputs = gather(settings, (variant,))
    tasks = line(settings, inputs, site, variant, request["fold"])
    threads = max(1, int(settings.sweep.cpus_per_trial))  # as a worker has them
    torch.set_num_threads(threads)
    for number, task in enumerate(tasks, start=1):
        print(f"reproduce: fit {number} of {len(tasks)}: {task.name}", file=sys.stderr)
        fit(task, places(settings), settings.sweep.checkpoint_every, lambda *_: None, threads)
    key = tasks[-1].key
    record = json.loads((places(settings).fit(key) / "fit.json").read_text(encoding="utf-8"))
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
        result = run(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
        Path(sys.argv[2]).write_text(json.dumps(result), encoding="utf-8")
    except (dgfnet.errors.InputError, TrainingDiverged) as error:
        print(f"reproduce: {error}", file=sys.stderr)
        raise SystemExit(2) from None
