"""The one exception a user is meant to read, and faults of the surroundings in one sentence."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterable

FULL = (errno.ENOSPC, errno.EDQUOT)
UNREACHABLE = ("Max retries", "timed out", "Connection aborted", "Connection refused")  # words of urllib3
# words of ssl, requests, nginx or MLflow when something stands before MLflow's server, and what they mean
DOORS = (
    (
        r"certificate verify failed: .*(?:self-signed|self signed|local issuer)",
        "has a certificate of an authority that is not known here; name the file with that authority's "
        "certificate in MLFLOW_TRACKING_SERVER_CERT_PATH",
    ),
    (
        r"certificate verify failed: .*(?:mismatch|not valid for)",
        "has a certificate of another name; give MLFLOW_TRACKING_URI the name that stands in it",
    ),
    (
        r"certificate verify failed: .*(?:expired|not yet valid)",
        "has a certificate that is not valid today; ask whoever administers it to renew it, unless the clock "
        "here is wrong",
    ),
    (r"certificate verify failed", "has a certificate that cannot be trusted; ask whoever administers it"),
    (
        r"WRONG_VERSION_NUMBER|record layer failure",
        "speaks no TLS; MLFLOW_TRACKING_URI must begin with http://",
    ),
    (
        r"plain HTTP request was sent to HTTPS port",
        "speaks TLS; MLFLOW_TRACKING_URI must begin with https://",
    ),
    (
        r"body was not in a valid JSON format",
        "answers with a page for people, perhaps to sign in; set MLFLOW_TRACKING_URI to the address at which "
        "MLflow itself answers",
    ),
    (
        r"(?:error code |^)413\b",
        "stands behind a proxy that takes no files of this size (413); ask whoever administers it to raise "
        "that limit (nginx: client_max_body_size 0), and run it again",
    ),
    (
        r"error code 404 != 200\. Response body: '\s*<",
        "has no MLflow at this address (404); look at MLFLOW_TRACKING_URI, is a part such as /mlflow "
        "missing?",
    ),
    (
        r"TLS CA certificate bundle, invalid path",
        "cannot be asked: MLFLOW_TRACKING_SERVER_CERT_PATH (or REQUESTS_CA_BUNDLE) names a file that is not "
        "there",
    ),
    (
        r"'server_cert_path' must not be set",
        "cannot be asked: set MLFLOW_TRACKING_SERVER_CERT_PATH or MLFLOW_TRACKING_INSECURE_TLS, not both",
    ),
)
FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)


class InputError(ValueError):
    """Something the user gave us is wrong; the message says what, where, what was expected and what to do.

    The command line prints the message alone, without a traceback, and exits with status 2.
    """


def meant(found: object, known: Iterable[str]) -> str:
    """Returns `; did you mean NAME?` with the known name nearest to one that was found, or nothing."""
    from difflib import get_close_matches  # only now: commands that work start without it

    near = get_close_matches(str(found), known, 1)
    return f"; did you mean {near[0]}?" if near else ""


def why(error: BaseException) -> str:
    """Returns what a fault means, or else the first line of its text."""
    return explained(error) or next(iter(str(error).strip().splitlines()), type(error).__name__)[:300]


def _server_said(text: str) -> str | None:
    """Returns what is wrong with a server, by the words of MLflow or requests; None for anything else."""
    found = re.search(r"(https?://)(?:[^/\s@]*@)?([^/\s'\"?]+)", text)  # without a name and password
    where = f"MLflow's server {found[1]}{found[2]}" if found else "MLflow's server"
    status = re.search(r"(?:error code |too many |^)(\d{3})\b", text)
    code = status[1] if status else ""
    if code == "401":
        return (
            f"{where} does not know this user (401); set MLFLOW_TRACKING_USERNAME and "
            "MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN, and run it again"
        )
    if "Invalid Host header" in text:
        return f"{where} is not to be called by this name; name it in --allowed-hosts of mlflow server"
    if code == "403":
        return f"{where} does not let this user do that (403); ask who administers it, and run it again"
    for words, meaning in DOORS:
        if re.search(words, text):
            return f"{where} {meaning}"
    kept = "what was finished is kept, run the same command again when it works"
    if code in ("429", "500", "502", "503", "504"):
        return f"{where} failed ({code}): it, its database or its artifact store; {kept}"
    if _is_unreachable(text):
        return f"{where} does not answer; look at MLFLOW_TRACKING_URI; {kept}"
    return None


def _is_unreachable(text: str) -> bool:
    return any(words in text for words in UNREACHABLE)


def _sent_on() -> str | None:
    """Returns what is wrong where MLflow's server sends callers on, by asking it once; else None.

    MLflow's client follows, but repeats a POST as a GET: readings succeed, and changes are refused for
    reasons (403, 405, a missing parameter) that are not theirs.
    """
    address = os.environ.get("MLFLOW_TRACKING_URI", "").rstrip("/")
    if not address.startswith(("http://", "https://")):
        return None
    import requests  # only now: most commands never need it

    trusted = os.environ.get("MLFLOW_TRACKING_SERVER_CERT_PATH") or True
    try:
        answer = requests.get(f"{address}/health", allow_redirects=False, timeout=5, verify=trusted)
    except (requests.RequestException, OSError):
        return None
    if not answer.is_redirect:
        return None
    shown = re.sub(r"//[^/@]*@", "//", address)  # without a name and password
    there = answer.headers["Location"].split("?")[0].removesuffix("/health")
    return (
        f"MLflow's server {shown} sends callers on to {there}; set MLFLOW_TRACKING_URI to the address at "
        "which MLflow itself answers"
    )


def explained(error: BaseException) -> str | None:
    """Returns what a fault of disk, memory or MLflow's store means, or None for anything else.

    What was finished before is kept in each case, and the same command goes on from there.
    """
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        if error.errno in FULL:
            return f"{where}no space left on the disk; free some and run the same command again"
        if error.errno in FORBIDDEN:
            return f"{where}may not be written or read ({error.strerror}); change that and run it again"
        if error.errno == errno.EIO:
            return f"{where}the disk failed ({error.strerror}); look after it before anything else"
    if isinstance(error, MemoryError):
        return "no memory left; lower resources.memory_mb, or raise sweep.cpus_per_trial: fewer fits at once"
    kind = type(error).__module__.split(".")[0]
    if kind in ("mlflow", "sqlalchemy", "sqlite3", "requests", "urllib3"):
        text = str(error)
        if not _is_unreachable(text) and (sentence := _sent_on()):
            return sentence
        if sentence := _server_said(text):
            return sentence
        if "database is locked" in text:
            return "MLflow's store is locked by another process; end that one, or wait, and run it again"
        if "disk is full" in text:
            return "MLflow's store: no space left on the disk; free some and run the same command again"
        if "readonly database" in text:
            return "MLflow's store may not be written; change that and run it again"
        if "malformed" in text or "not a database" in text:
            return (
                "MLflow's store is damaged: bring mlflow.db back from a backup, or move it away and run "
                "crossval, which logs the finished fits to a new one"
            )
        return f"MLflow's store does not answer as it should: {text.strip().splitlines()[0][:300]}"
    return None
