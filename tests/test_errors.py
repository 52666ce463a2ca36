"""Faults of disk, memory and MLflow's store in one sentence; anything else keeps its traceback."""

from __future__ import annotations

import errno
import os
import sqlite3

import pytest
from mlflow.exceptions import MlflowException

from dgfnet.errors import explained

SAID = {
    "full": (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/a/b"), "/a/b: no space left on the disk"),
    "quota": (OSError(errno.EDQUOT, os.strerror(errno.EDQUOT), "/a/b"), "/a/b: no space left on the disk"),
    "forbidden": (
        PermissionError(errno.EACCES, "Permission denied", "/a/b"),
        "/a/b: may not be written or read",
    ),
    "read-only": (OSError(errno.EROFS, "Read-only file system", "/a/b"), "/a/b: may not be written or read"),
    "broken disk": (OSError(errno.EIO, "Input/output error", "/a/b"), "/a/b: the disk failed"),
    "memory": (MemoryError(), "no memory left"),
    "locked": (
        MlflowException("(sqlite3.OperationalError) database is locked"),
        "is locked by another process",
    ),
    "store full": (sqlite3.OperationalError("database or disk is full"), "no space left on the disk"),
    "store read-only": (
        sqlite3.OperationalError("attempt to write a readonly database"),
        "may not be written",
    ),
    "store broken": (sqlite3.DatabaseError("file is not a database"), "is damaged: bring mlflow.db back"),
    "store silent": (
        MlflowException("API request failed\nin full"),
        "does not answer as it should: API request",
    ),
}


@pytest.mark.parametrize("kind", SAID)
def test_a_fault_of_the_surroundings_is_one_sentence(kind):
    error, said = SAID[kind]
    sentence = explained(error)
    assert said in sentence
    assert "\n" not in sentence


@pytest.mark.parametrize(
    "error", [KeyError("a"), FileNotFoundError(errno.ENOENT, "no", "/a"), ValueError("x")]
)
def test_a_fault_of_ours_keeps_its_traceback(error):
    assert explained(error) is None
