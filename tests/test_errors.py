"""Faults of disk, memory and MLflow's store in one sentence; anything else keeps its traceback."""

from __future__ import annotations

import errno
import os
import sqlite3

import pytest
import requests
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
    "server down": (
        MlflowException(
            "API request to http://ann:secret@h:5000/api/2.0/mlflow/runs/search failed with exception "
            "HTTPConnectionPool(host='h', port=5000): Max retries exceeded with url: /api (Caused by X)"
        ),
        "MLflow's server http://h:5000 does not answer; look at MLFLOW_TRACKING_URI; what was",
    ),
    "server failed": (
        MlflowException(
            "API request to http://h:5000/api/2.0/x failed with exception HTTPConnectionPool(host='h', "
            "port=5000): Max retries exceeded with url: /x (Caused by ResponseError('too many 503 error "
            "responses'))"
        ),
        "MLflow's server http://h:5000 failed (503)",
    ),
    "nobody": (
        MlflowException(
            "API request to endpoint /api/2.0/x failed with error code 401 != 200. Response body: 'You are'"
        ),
        "does not know this user (401); set MLFLOW_TRACKING_USERNAME",
    ),
    "somebody else": (
        requests.HTTPError(
            "403 Client Error: Forbidden for url: https://h/api/2.0/a. Response text: Permission denied"
        ),
        "MLflow's server https://h does not let this user do that (403)",
    ),
    "another name": (
        MlflowException(
            "API request to endpoint /api/2.0/x failed with error code 403 != 200. Response body: 'Invalid "
            "Host header - possible DNS rebinding attack detected'"
        ),
        "is not to be called by this name; name it in --allowed-hosts",
    ),
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
