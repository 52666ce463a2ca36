"""Tables that baselines learn from: a row per nodule, a column per thing known of it.

A column of numbers has NaN where a number is unknown, a column of texts None. Nothing here looks at a label.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import logit

from dgfnet.metrics.calibration import NEAREST
from dgfnet.preprocess.archive import Archive


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


def clinical(table: pd.DataFrame, nodules: Sequence[str], names: Sequence[str]) -> pd.DataFrame:
    """Returns columns of nodules.csv as texts, None where a cell is empty.

    Args:
        table: nodules.parquet.
        nodules: whose rows are wanted, in their order.
        names: of columns; those that the table lacks, or that are empty for all these nodules, are left out.
    """
    rows = table.set_index("nodule_id").loc[list(nodules)]
    columns = {}
    for name in dict.fromkeys(names):
        if name in rows and rows[name].notna().any():
            texts = [None if pd.isna(cell) else str(cell) for cell in rows[name]]
            columns[name] = pd.Series(texts, index=list(nodules), dtype=object)
    return pd.DataFrame(columns, index=list(nodules))


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
