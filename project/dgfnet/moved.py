"""A project folder that was moved or copied: MLflow's store in it is told where its artifacts lie now.

MLflow writes absolute addresses into its store. A copied project would go on reading and writing the
original's artifacts, and a moved one would find none.
"""

from __future__ import annotations

import sqlite3
import sys
from contextlib import closing
from pathlib import Path

FOLDER = "mlruns"  # beside the database
ADDRESSES = (
    *(("experiments", "artifact_location"), ("runs", "artifact_uri")),
    *(("logged_models", "artifact_location"), ("model_versions", "storage_location")),
    ("model_versions", "source"),
)
PATIENCE = 60  # seconds for another process that writes


def follow(database: Path) -> bool:
    """Rewrites addresses below the folder that a store came from to the folder where it lies.

    Only where the artifacts came along: the folder holds those of an experiment that the store has elsewhere.

    Args:
        database: absolute path of MLflow's SQLite file; it may not exist yet.

    Returns:
        True when something was rewritten.
    """
    if not database.is_file():
        return False
    here = database.parent
    with closing(sqlite3.connect(database, timeout=PATIENCE)) as store, store:
        tables = {name for (name,) in store.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if "experiments" not in tables:  # not MLflow's, or not yet
            return False
        known = store.execute("SELECT name, artifact_location FROM experiments").fetchall()
        former = {
            location.removesuffix(f"/{FOLDER}/{name}")
            for name, location in known
            if str(location).endswith(f"/{FOLDER}/{name}") and (here / FOLDER / name).is_dir()
        } - {here.as_uri(), str(here)}
        for origin in sorted(former):
            place = here.as_uri() if origin.startswith("file:") else str(here)
            for table, column in (pair for pair in ADDRESSES if pair[0] in tables):
                store.execute(
                    f"UPDATE {table} SET {column} = ? || substr({column}, ?) "
                    f"WHERE substr({column}, 1, ?) = ?",
                    (place, len(origin) + 1, len(origin) + 1, f"{origin}/"),
                )
    for origin in sorted(former):
        where = origin.removeprefix("file://")
        print(f"{database.name} came from {where}; its artifacts are now those in {here}", file=sys.stderr)
    return bool(former)
