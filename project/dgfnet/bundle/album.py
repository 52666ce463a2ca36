"""Albums of an archive: crops of nodules, and what was measured of them, as a bundle's model takes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from dgfnet.bundle.crops import Album
from dgfnet.bundle.joint import key
from dgfnet.preprocess.archive import Archive
from dgfnet.tabular.design import measured_rows
from dgfnet.vocabulary import MODALITIES, Modality, mask_of


def archived(
    archive: Archive,
    table: pd.DataFrame | None,
    inputs: Sequence[str],
    ids: Sequence[str],
    units: Mapping[Modality, str] | None,
) -> Album:
    """Returns the album of nodules.

    Args:
        archive: of their pictures.
        table: measured.parquet of the archive; needed where there are units.
        inputs: of the model, pictures and masks.
        ids: of the nodules, in the order wanted.
        units: `ScoringModel.units`; None for a model that reads no measured features.

    Raises:
        InputError: when the table is of other pictures.
    """
    modalities = [name for name in MODALITIES if name in inputs]
    masks = [name for name in modalities if mask_of(name) in inputs]
    crops: Album = {
        **{name: archive.crops(name, ids) for name in modalities},
        **{mask_of(name): archive.crops(name, ids, plane=1) for name in masks},
    }
    if units is None or table is None:
        return crops
    rows = measured_rows(archive, table, ids, units)
    return {**crops, **{key(name): list(rows[name]) for name in modalities}}
