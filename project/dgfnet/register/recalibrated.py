"""A version with the networks of another one, and its calibration fitted to a new site."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from dgfnet import tracking
from dgfnet.bundle.layout import CARD, FORMAT, METADATA, SUMS
from dgfnet.bundle.watch import risk_counts
from dgfnet.files import sha256, write_json
from dgfnet.metrics.conformal import SetLimits
from dgfnet.metrics.updating import CalibrationUpdate
from dgfnet.register.logged import log_version, of_one_version
from dgfnet.registry.champion import Champion, open_bundle
from dgfnet.registry.facts import facts
from dgfnet.registry.origin import RECALIBRATED
from dgfnet.settings import Settings
from dgfnet.vocabulary import Site

READ = ("variant", "scoring", "AUC")  # tags of a version for a person, which do not change
TAGS = (*READ, "threshold")


def updated(metadata: Mapping[str, Any], line: CalibrationUpdate) -> dict[str, Any]:
    """Returns calibration and threshold of bundle.json after an update of the calibrated log odds.

    The threshold is where the calibrated risk is what it was at the threshold before.
    """
    before = metadata["calibration"] or {"intercept": 0.0, "slope": 1.0}
    intercept = line.intercept + line.slope * before["intercept"]
    slope = line.slope * before["slope"]
    risk = before["intercept"] + before["slope"] * float(logit(metadata["threshold"]))  # log odds
    return {
        "calibration": {"intercept": intercept, "slope": slope},
        "threshold": float(expit((risk - intercept) / slope)),
    }


def register_recalibrated(
    settings: Settings,
    site: Site,
    champion: Champion,
    line: CalibrationUpdate,
    risks: NDArray[np.float64],
    sets: SetLimits,
    positives: int,
) -> str:
    """Registers a champion with another calibration, in its own run; it does not become champion by that.

    Args:
        settings: for the store.
        site: of the model.
        champion: whose networks the version has.
        line: the update of its calibrated log odds.
        risks: calibrated by it, of the nodules that it was fitted to.
        sets: limits of prediction sets, of the same nodules, at `register.coverage`.
        positives: number of these.

    Returns:
        The number of the version.
    """
    client, name = tracking.registry(settings), champion.name
    former = client.get_model_version(name, champion.version)
    changes, count = updated(champion.metadata, line), len(risks)
    fitted = {
        "held_out_risks": risk_counts(risks),
        "sets": {"coverage": settings.register_.coverage, **vars(sets)},
    }
    origin = {
        "version": champion.version,
        "update": line.update,
        "nodules": count,
        "positives": positives,
    }
    told = (
        f"Version {champion.version}, calibrated on {count} nodules of a new site, {positives} "
        f"with metastasis: {line.update} updated. Networks are the same."
    )
    calibration = changes["calibration"]
    card = (
        f"{told} Threshold and calibration, in the place of those above: positive at or above "
        f"{changes['threshold']:.4f}; calibrated log odds are {calibration['intercept']:+.3f} "
        f"{calibration['slope']:+.3f} x those of the probability."
    )
    with open_bundle(client, former) as folder:
        _rewrite(folder, {**changes, **fitted, "recalibrated": origin}, card)
        kept = {
            key: value for key, value in facts(former).items() if not (of_one_version(key) or key in TAGS)
        }
        tags = {key: former.tags[key] for key in READ if key in former.tags}
        return log_version(
            client,
            site,
            client.get_run(str(former.run_id)).info.experiment_id,
            str(former.run_id),
            folder,
            champion.model.modalities,
            kept | FORMAT | {RECALIBRATED: champion.version},
            tags | {"threshold": f"{changes['threshold']:.4f}"},
            told,
        )


def _rewrite(folder: Path, changes: Mapping[str, Any], told: str) -> None:
    """Changes metadata and model card of a bundle, a copy of our own, and its checksums."""
    metadata = json.loads((folder / METADATA).read_text(encoding="utf-8"))
    write_json(folder / METADATA, {**metadata, **changes})
    card = (folder / CARD).read_text(encoding="utf-8")
    (folder / CARD).write_text(f"{card}\n{told}\n", encoding="utf-8")
    lines = [line.split("  ", 1)[1] for line in (folder / SUMS).read_text(encoding="utf-8").splitlines()]
    text = "".join(f"{sha256(folder / name)}  {name}\n" for name in lines)
    (folder / SUMS).write_text(text, encoding="utf-8")
