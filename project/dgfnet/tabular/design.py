"""Tables that baselines learn from: a row per nodule, a column per thing known of it.

A column of numbers has NaN where a number is unknown, a column of texts None. Nothing here looks at a label.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import logit

from dgfnet.errors import InputError
from dgfnet.measured.definitions import DEFINITIONS, IN_GREY, NAMES
from dgfnet.metrics.calibration import NEAREST
from dgfnet.preprocess.archive import Archive
from dgfnet.tabular.terms import Term, clinical, raw
from dgfnet.vocabulary import RECORD, Modality


def size(archive: Archive, nodules: Sequence[str]) -> pd.DataFrame:
    """Returns the logarithm of the nodule's area in its image of largest area, per modality.

    A column holds one unit: `us_log_area_mm2` where the size of a pixel is known, else `us_log_area_px`; the
    same for `ct`. A column that would be empty is left out.
    """
    columns: dict[str, NDArray[np.float64]] = {}
    for modality in archive.pictured():
        largest = archive.largest(modality)
        rows = archive.rows(modality).set_index("row").loc[[largest[name] for name in nodules]]
        area, unit = rows["area_mm2"].to_numpy(dtype=np.float64), rows["area_unit"].to_numpy()
        for name in ("mm2", "px"):
            if (unit == name).any():
                known = np.where(unit == name, area, np.nan)
                columns[f"{modality}_log_area_{name}"] = np.log(known)
    return pd.DataFrame(columns, index=list(nodules))


def record(table: pd.DataFrame, nodules: Sequence[str], names: Sequence[str]) -> pd.DataFrame:
    """Returns the same columns under names that no measured feature and no network has, `record_<name>`."""
    return clinical(table, nodules, names).rename(columns=recorded)


def unknown(terms: Sequence[Term]) -> NDArray[np.float64]:
    """Returns what `terms.raw` makes of a row of which nothing is known, (terms,)."""
    nothing = pd.DataFrame([dict.fromkeys(term.column for term in terms)], dtype=object)
    return np.asarray(raw(terms, nothing)[0])


def recorded(name: str) -> str:
    """Returns the name that a column of nodules.csv has beside measured features and networks."""
    return f"{RECORD}_{name}"


def measured(
    archive: Archive,
    table: pd.DataFrame,
    nodules: Sequence[str],
    expected: Mapping[Modality, str] | None = None,
) -> pd.DataFrame:
    """Returns what was measured of the nodules, the median over a nodule's pictures, `us_` and `ct_`.

    Grey levels do not compare with Hounsfield units: where pictures of a modality come in both, or in
    another than expected, its features in such units are left out.

    Args:
        archive: whose rows the table measures.
        table: measured.parquet.
        nodules: whose rows are wanted, in their order.
        expected: `units` of the pictures that a model was fitted on, where the rows are for one.

    Raises:
        InputError: when the table is of other pictures.
    """
    columns: dict[str, list[float]] = {}
    found = units(archive, table, nodules)
    for modality in archive.pictured():
        own = _measured_of(archive, table, nodules, modality)
        unit = found.get(modality)
        compares = unit is not None and (expected is None or expected.get(modality) == unit)
        names = [
            entry.name
            for entry in DEFINITIONS
            if modality in entry.modalities and (compares or entry.unit not in IN_GREY)
        ]
        medians = own.groupby("nodule_id")[names].median().loc[list(nodules)]
        columns |= {f"{modality}_{name}": medians[name].to_list() for name in names}
    features = pd.DataFrame(columns, index=list(nodules), dtype=np.float64)
    return features.loc[:, features.notna().any()]


def measured_rows(
    archive: Archive, table: pd.DataFrame, nodules: Sequence[str], expected: Mapping[Modality, str]
) -> dict[Modality, NDArray[np.float64]]:
    """Returns the same as plain numbers, (N, features) per modality in the order of `NAMES`; gaps are NaN.

    Args:
        archive: whose rows the table measures.
        table: measured.parquet.
        nodules: whose rows are wanted, in their order.
        expected: `units` of the pictures that a model was fitted on.
    """
    found = measured(archive, table, nodules, expected)
    columns = {
        modality: [f"{modality}_{name}" for name in NAMES[modality]] for modality in archive.pictured()
    }
    return {modality: found.reindex(columns=names).to_numpy() for modality, names in columns.items()}


def units(archive: Archive, table: pd.DataFrame, nodules: Sequence[str]) -> dict[Modality, str]:
    """Returns the unit of the pixels, `grey` or `HU`, of each modality whose pictures all have the same.

    Args:
        archive: whose rows the table measures.
        table: measured.parquet.
        nodules: whose pictures are meant.

    Raises:
        InputError: when the table is of other pictures.
    """
    found = {
        name: set(_measured_of(archive, table, nodules, name)["unit"].tolist()) for name in archive.pictured()
    }
    return {name: str(*values) for name, values in found.items() if len(values) == 1}


def _measured_of(
    archive: Archive, table: pd.DataFrame, nodules: Sequence[str], modality: Modality
) -> pd.DataFrame:
    """Returns the rows of the nodules' pictures of a modality, with their nodule_id."""
    rows = archive.rows(modality)
    own = table[table["modality"] == modality].set_index("row")
    if sorted(own.index) != rows["row"].tolist():
        raise InputError(f"measured.parquet has other {modality} rows than the archive; run preprocess again")
    chosen = rows[rows["nodule_id"].isin(list(nodules))]
    return own.loc[chosen["row"]].assign(nodule_id=chosen["nodule_id"].to_numpy())


def log_odds(tables: Iterable[tuple[str, pd.DataFrame]], nodules: Sequence[str]) -> pd.DataFrame:
    """Returns the out-of-fold log odds of networks, a column each.

    Args:
        tables: name and out-of-fold table of each.
        nodules: whose rows are wanted, in their order.
    """
    columns = {}
    for name, table in tables:
        probability = table.set_index("nodule_id")["probability"].loc[list(nodules)].to_numpy(np.float64)
        columns[name] = logit(np.clip(probability, NEAREST, 1 - NEAREST))
    return pd.DataFrame(columns, index=list(nodules))
