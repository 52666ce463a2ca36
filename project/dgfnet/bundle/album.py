"""Albums of an archive: crops, measured features and record of nodules, as a bundle's model takes them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import pandas as pd

from dgfnet.bundle.crops import Album
from dgfnet.bundle.joint import key
from dgfnet.bundle.record import cells
from dgfnet.preprocess.archive import Archive
from dgfnet.tabular.design import measured_rows
from dgfnet.tabular.terms import clinical
from dgfnet.vocabulary import MODALITIES, RECORD, Modality, mask_of


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


def with_record(album: Album, nodules: pd.DataFrame, ids: Sequence[str], names: Iterable[str]) -> Album:
    """Returns the album of nodules with their record; as it is where a model reads no column.

    Args:
        album: of these nodules.
        nodules: nodules.parquet.
        ids: of the nodules, in the order of the album.
        names: of the columns; one that the table lacks is known of no nodule.
    """
    columns = list(names)
    if not columns:
        return album
    known = clinical(nodules, ids, columns).to_dict("records")
    return {**album, RECORD: [cells(columns, row) for row in known]}
