"""`dgfnet recalibrate`: calibration and threshold of a champion for a new site; networks stay as they are."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit, logit

from dgfnet.cohort.manifest import read_cohort
from dgfnet.cohort.records import Nodule
from dgfnet.errors import InputError
from dgfnet.metrics.calibration import NEAREST, brier, calibration_slope_intercept
from dgfnet.metrics.conformal import set_limits
from dgfnet.metrics.discrimination import auc
from dgfnet.metrics.updating import needed_cases, update_line
from dgfnet.parallel import map_in_order, workers
from dgfnet.register.recalibrated import register_recalibrated
from dgfnet.registry.champion import Champion, load_champion
from dgfnet.serving.answers import COLUMNS, answer
from dgfnet.serving.cases import Reading, read_nodule
from dgfnet.settings import Settings
from dgfnet.vocabulary import Site

FEWEST = 10  # nodules of each class


@dataclass(frozen=True)
class Local:
    """The local cohort, as the champion answers it.

    Attributes:
        label: (n,) 0 or 1.
        probability: (n,) of the champion.
        log_odds: (n,) calibrated.
        left_out: nodules without a label, or that it does not answer with all modalities.
    """

    label: NDArray[np.int64]
    probability: NDArray[np.float64]
    log_odds: NDArray[np.float64]
    left_out: int


def recalibrate(settings: Settings, site: Site, folder: Path) -> str:
    """Fits the champion's calibration to a cohort folder, and registers it as a version if that is needed.

    The closed testing procedure says what is changed: nothing, the intercept, or intercept and slope. The
    threshold moves with it, so that the same calibrated risk is called positive, and the limits of prediction
    sets are those of the local nodules. Networks, contributions and levels stay as they are, and so do the
    models of one modality.

    Args:
        settings: for the registry.
        site: whose champion.
        folder: a cohort folder with labels of the site; boxes may stand for masks.

    Returns:
        What was found, what was registered and how many cases measure calibration well, a line each.

    Raises:
        InputError: when an image cannot be used, there are too few nodules of either class, or the champion
            does not tell them apart here.
    """
    nodules = read_cohort(folder, boxes=True).nodules
    champion = load_champion(settings, site)
    local = _local(settings, site, champion, nodules)
    count, positives = len(local.label), int(local.label.sum())
    if min(positives, count - positives) < FEWEST:
        raise InputError(
            f"{folder}: {positives} nodules with metastasis and {count - positives} without are answered "
            f"({local.left_out} left out); expected at least {FEWEST} of each"
        )
    area = auc(local.label, local.log_odds)
    if area <= 0.5:
        raise InputError(
            f"{folder}: AUC {area:.3f} of {count} nodules: the model does not tell them apart here, and no "
            "recalibration helps; check labels and pictures, or train on this cohort"
        )
    try:
        line = update_line(local.label, local.log_odds)
        needed = needed_cases(positives / count, line.intercept + line.slope * local.log_odds, area)
    except ValueError as error:
        raise InputError(f"{folder}: {error}") from None
    if line.slope <= 0:
        raise InputError(f"{folder}: the calibration slope is {line.slope:.2f}; expected one above 0")
    found = calibration_slope_intercept(local.label, expit(local.log_odds))
    lines = [
        f"{champion.name} version {champion.version} on {count} nodules, {positives} with metastasis "
        f"({local.left_out} left out): AUC {area:.3f}, calibration in the large {found.in_the_large:+.2f}, "
        f"slope {found.slope:.2f}, Brier score {brier(local.label, expit(local.log_odds)):.3f}"
    ]
    if line.update == "none":
        lines.append(
            f"recalibration is not needed: against intercept and slope fitted here p {line.p_original:.2f}"
        )
    else:
        sets = set_limits(local.label, local.probability, settings.register_.coverage)
        after = expit(line.intercept + line.slope * local.log_odds)
        number = register_recalibrated(settings, site, champion, line, after, sets, positives)
        lines += [
            f"{line.update} updated (p {line.p_original:.2g} against its calibration): log odds are "
            f"{line.intercept:+.2f} {line.slope:+.2f} x those before",
            f"registered as version {number}; dgfnet promote {site} {number} judges it and makes it champion",
        ]
    lines.append(
        "cases that measure calibration well here (Riley 2021): "
        f"{needed['mean']} for the mean, {needed['slope']} for the slope, {needed['auc']} for the AUC; "
        f"there are {count}"
    )
    return "\n".join(lines)


def answered(settings: Settings, site: Site, champion: Champion, nodules: tuple[Nodule, ...]) -> pd.DataFrame:
    """Returns the answers of a model for the labelled nodules of a cohort folder.

    Returns:
        nodule_id, patient_id, label, the columns of `serving.answers.answer`, and `whole`: the model itself
        answered, not one of a single modality where the other is missing, and with numbers.

    Raises:
        InputError: when an image cannot be used.
    """
    labelled = [nodule for nodule in nodules if nodule.labels[site] is not None]
    read = partial(read_nodule, reading=Reading.of(champion.model), moves=False)
    cases = list(map_in_order(read, labelled, workers(settings.resources.memory_mb), "nodules"))
    faults = [
        f"nodule {n.nodule_id}: {case.fault}" for n, case in zip(labelled, cases, strict=True) if case.fault
    ]
    if faults:
        raise InputError("\n".join(faults[:20]))
    table = pd.DataFrame(answer(champion.model, cases), columns=list(COLUMNS))
    table.insert(0, "nodule_id", [nodule.nodule_id for nodule in labelled])
    table.insert(1, "patient_id", [nodule.patient_id for nodule in labelled])
    table.insert(2, "label", np.array([nodule.labels[site] for nodule in labelled], dtype=np.int64))
    # the models of one modality that answer where the other is missing have a calibration of their own
    own = table["variant"] == champion.metadata["variant"]
    return table.assign(whole=own & table["probability"].notna())


def _local(settings: Settings, site: Site, champion: Champion, nodules: tuple[Nodule, ...]) -> Local:
    every = answered(settings, site, champion, nodules)
    table = every[every["whole"]]
    probability = table["probability"].to_numpy(float)
    risk = table["calibrated"].where(table["calibrated"].notna(), table["probability"]).to_numpy(float)
    log_odds = logit(np.clip(risk, NEAREST, 1 - NEAREST))
    return Local(table["label"].to_numpy(np.int64), probability, log_odds, len(nodules) - len(table))
