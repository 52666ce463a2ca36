"""Measures how answers of a version change when nodules come with boxes instead of outlines."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from dgfnet.bundle.album import archived, with_record
from dgfnet.bundle.crops import part_of
from dgfnet.bundle.model import ScoringModel
from dgfnet.files import sha256
from dgfnet.metrics.discrimination import auc
from dgfnet.metrics.intervals import auc_difference
from dgfnet.outline.boxed import changes
from dgfnet.outline.network import OutlineNet, restore_outline
from dgfnet.preprocess.archive import Archive
from dgfnet.results import MEASURED, checked_folder, load_nodules, outline_weights
from dgfnet.settings import Settings, fingerprint
from dgfnet.vocabulary import MODALITIES, Modality


def with_boxes(settings: Settings, model: ScoringModel, table: pd.DataFrame) -> dict[str, Any] | None:
    """Compares held-out answers with boxes around nodules to those with the outlines that were drawn.

    Each nodule is outlined and scored by networks that held its fold out.

    Args:
        settings: for the archive of the stage outline.
        model: of the version.
        table: out_of_fold.csv of its variant.

    Returns:
        `auc` with boxes, `difference` from that with outlines (`estimate`, `low`, `high`, `p`; paired,
        clustered by patient), `changed_calls` of `nodules`, and `largest_change` of a probability. None where
        the version reads no mask: then a box is as good as an outline.
    """
    if not model.reads_masks:
        return None
    folder = checked_folder(settings, "outline") / "boxed"
    measured = pd.read_parquet(folder / MEASURED) if model.units is not None else None
    ids = list(table["nodule_id"])
    album = archived(Archive.open(folder), measured, model.inputs, ids, model.units)
    album = with_record(album, load_nodules(settings), ids, model.record)
    probability = np.full(len(table), np.nan)
    for place, member in enumerate(model.metadata["members"]):
        rows = np.flatnonzero(table["fold"] == member["fold"])
        probability[rows] = model.score_by(place, part_of(album, rows.tolist()))
    label, drawn = table["label"].to_numpy(), table["probability"].to_numpy()
    gap = auc_difference(label, probability, drawn, table["patient_id"], settings.base.confidence)
    return {
        "auc": auc(label, probability),
        "difference": {name: getattr(gap, name) for name in ("estimate", "low", "high", "p")},
        **changes(drawn, probability, table["threshold"].to_numpy()),
        "nodules": len(table),
    }


def outlined_by(settings: Settings, fold: int) -> dict[str, str]:
    """Returns as a fact which networks outline nodules in boxes: a version brings them."""
    paths = [outline_weights(settings, name, fold) for name in MODALITIES]
    return {"outlines": fingerprint([sha256(path) if path.is_file() else None for path in paths])[:20]}


def outlines(settings: Settings, fold: int) -> dict[Modality, OutlineNet]:
    """Returns the networks that outline nodules in boxes, of the fold whose network stands first."""
    found = {name: outline_weights(settings, name, fold) for name in MODALITIES}
    return {name: restore_outline(path) for name, path in found.items() if path.is_file()}
