"""Integrated gradients of nodules: ours against captum with its defaults, at equal completeness error.

    python benchmarks/attribution.py [--site central] [--variant dgf] [--nodules 16] [--pairs 3]
                                     [--before CHECKOUT]

captum explains one nodule at a time with 50 steps. Two comparisons: with the tolerance at which our mean
error is no larger than that of captum's 50 steps; and with captum's steps doubled until no nodule misses
`attribute.tolerance`, which is what the stage promises. Writes artifacts/benchmarks/attribution.json.

With --before the integration of an earlier build is measured beside ours instead, at that tolerance: seconds,
gradients, and how far maps are from those of FINE gradients.

Needs a finished cross-validation. Each ratio is the median over pairs of runs, one after the other on this
machine.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from captum.attr import IntegratedGradients
from rich.console import Console
from rich.table import Table

from dgfnet import settings as configuration
from dgfnet.attribution.baselines import find_baselines
from dgfnet.attribution.fold_network import FoldNetwork, effort, load
from dgfnet.attribution.gradients import Effort, Paths, Score, integrate
from dgfnet.attribution.networks import inputs_of
from dgfnet.files import write_json

ROOT = Path(__file__).resolve().parents[1]
MOST_STEPS = 800
FINE = 256  # panels of a path that stand for the truth


def main() -> None:
    """Measures and reports."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--site", default="central")
    parser.add_argument("--variant", default="dgf")
    parser.add_argument("--nodules", type=int, default=16)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--before", type=Path, help="checkout of an earlier build")
    options = parser.parse_args()
    settings = configuration.load(ROOT / "params.yaml")
    network = load(settings, options.site, options.variant, 0)
    pictures = network.pictures(np.arange(options.nodules))
    rows = settings.attribute.rows
    base = find_baselines(network.score, pictures, network.references, settings.attribute.baselines[0], rows)
    promised = effort(settings)
    if options.before:
        paths = Paths(pictures.images, base.images, pictures.fixed)
        Console().print(beside(network.score, paths, promised, options.before, options.pairs))
        return

    def ours(tolerance: float) -> np.ndarray:
        plan = replace(promised, tolerance=tolerance)
        return integrate(network.score, Paths(pictures.images, base.images, pictures.fixed), plan).error

    def theirs(steps: int) -> np.ndarray:
        return captum(network, pictures, base.images, steps)

    of_default = theirs(50)
    equal = promised.tolerance * 4
    while ours(equal).mean() > of_default.mean():
        equal /= 1.25
    steps = 50
    while theirs(steps).max() > promised.tolerance and steps < MOST_STEPS:
        steps *= 2
    table = Table(title=f"{options.nodules} nodules, {options.site} {options.variant}")
    for column in (
        "comparison",
        "ours, nodules/s",
        "captum, nodules/s",
        "ratio",
        "ours, error",
        "captum, error",
    ):
        table.add_column(column)
    conditions: dict[str, Any] = {}
    for name, tolerance, count in (
        ("equal mean error, captum's 50 steps", equal, 50),
        (f"no error above {promised.tolerance}, captum's {steps} steps", promised.tolerance, steps),
    ):
        pairs = [(timed(ours, tolerance), timed(theirs, count)) for _ in range(options.pairs)]
        speeds = [[options.nodules / seconds for seconds, _ in pair] for pair in pairs]
        errors = [pairs[0][0][1], pairs[0][1][1]]
        ratio = statistics.median(a / b for a, b in speeds)
        mine, other = (statistics.median(pair[k] for pair in speeds) for k in (0, 1))
        shown = [f"mean {each.mean():.3f} max {each.max():.3f}" for each in errors]
        table.add_row(name, f"{mine:.1f}", f"{other:.1f}", f"{ratio:.2f}", *shown)
        conditions[name] = {
            **{"tolerance": tolerance, "captum_steps": count, "ours_per_s": mine, "captum_per_s": other},
            **{"ratio": ratio, "ours_mean_error": errors[0].mean(), "captum_mean_error": errors[1].mean()},
            **{"ours_largest_error": errors[0].max(), "captum_largest_error": errors[1].max()},
        }
    Console(width=150).print(table)
    ratios = [each["ratio"] for each in conditions.values()]
    write_json(
        ROOT / "artifacts" / "benchmarks" / "attribution.json",
        {
            **{"machine": platform.machine(), "cores": os.cpu_count(), "threads": torch.get_num_threads()},
            **{"torch": torch.__version__, "nodules": options.nodules, "conditions": conditions},
            "ratios": {
                "nodules_per_s_over_captum": ratios[0],
                "nodules_per_s_over_captum_at_equal_largest_error": ratios[1],
            },
        },
    )


def beside(score: Score, paths: Paths, effort: Effort, checkout: Path, pairs: int) -> dict[str, float]:
    """Measures an earlier build's integration beside ours."""
    source = checkout / "project" / "dgfnet" / "attribution" / "gradients.py"
    spec = importlib.util.spec_from_file_location("earlier_gradients", source)
    assert spec is not None
    assert spec.loader is not None
    earlier = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(earlier)
    bounds, lines = earlier.Effort(*vars(effort).values()), earlier.Paths(*vars(paths).values())
    truth = integrate(score, paths, Effort(float("inf"), FINE, 0, effort.rows)).maps
    ratios = []
    for _ in range(pairs):
        old_seconds, old = timed(lambda plan: earlier.integrate(score, lines, plan), bounds)
        new_seconds, new = timed(lambda plan: integrate(score, paths, plan), effort)
        ratios.append(old_seconds / new_seconds)
    found = {"ratio": statistics.median(ratios)}
    for name, each in (("before", old), ("now", new)):
        found[f"gradients_{name}"] = float(each.gradients.mean())
        found[f"largest_error_{name}"] = float(each.error.max())
        for modality, values in truth.items():
            off = (each.maps[modality] - values).abs().sum(dim=(1, 2)) / values.abs().sum(dim=(1, 2))
            found[f"map_{modality}_off_{name}"] = float(off.mean())
    return found


def captum(network: FoldNetwork, pictures: Any, baselines: Any, steps: int) -> np.ndarray:
    """Computes completeness errors of captum's integrated gradients on the model itself, one by one."""
    names = list(pictures.images)
    network.model.requires_grad_(True)  # as torch leaves it

    def forward(*images: torch.Tensor) -> torch.Tensor:
        own = pictures.fixed[place : place + 1].repeat_interleave(len(images[0]), dim=0)
        return network.model(*inputs_of(network.model, dict(zip(names, images, strict=True)), own)).logit

    explainer, errors = IntegratedGradients(forward), []
    for place in range(len(pictures.fixed)):
        row = slice(place, place + 1)
        _, delta = explainer.attribute(
            tuple(pictures.images[name][row] for name in names),
            tuple(baselines[name][row] for name in names),
            n_steps=steps,
            return_convergence_delta=True,
        )
        errors.append(abs(float(delta)))
    return np.array(errors)


def timed(work: Callable[[Any], Any], argument: Any) -> tuple[float, Any]:
    """Returns the seconds it took, and what it returned."""
    start = time.perf_counter()
    returned = work(argument)
    return time.perf_counter() - start, returned


if __name__ == "__main__":
    main()
