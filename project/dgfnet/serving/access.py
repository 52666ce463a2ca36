"""Checks who may ask, and writes a line per request for whoever watches the server."""

from __future__ import annotations

import json
import secrets
import ssl
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dgfnet.errors import InputError
from dgfnet.serving.connection import error_body
from dgfnet.serving.counts import Counts

OPEN = ("/", "/ping", "/health", "/ready")  # paths that need no token: they tell nothing of a patient
SHORTEST = 20  # letters of a token


@dataclass(frozen=True)
class Access:
    """Conditions of a server.

    Attributes:
        token: that requests have to bring; None asks for none.
        tls: certificate (with its chain) and key, PEM files; None answers without TLS.
        log: write a line of JSON per request to stderr.
    """

    token: str | None = None
    tls: tuple[Path, Path] | None = None
    log: bool = False


def read_token(path: Path) -> str:
    """Reads a token, the first line of a file.

    Raises:
        InputError: when there is none, or it is so short that it could be guessed.
    """
    try:
        token = path.read_text(encoding="ascii").partition("\n")[0].strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path}: no token can be read from it ({error}); expected a line of ASCII"
        ) from None
    if len(token) < SHORTEST or " " in token:
        raise InputError(
            f"{path}: {len(token)} letters; expected a token of {SHORTEST} at least without blanks, as "
            "`openssl rand -hex 32` makes one"
        )
    return token


def check_tls(certificate: Path, key: Path) -> None:
    """Checks that a certificate and a key can be used together.

    Raises:
        InputError: when they cannot.
    """
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(certificate, key, password="")
    except (OSError, ssl.SSLError) as error:
        raise InputError(
            f"{certificate} and {key}: cannot be used for TLS ({error}); expected a certificate and its key, "
            "PEM, the key without a password"
        ) from None


class Guard:
    """ASGI middleware: refuses requests without the token, counts them, and writes the log.

    A line has time (UTC), method, path, status and milliseconds; neither address nor anything of a body.
    """

    def __init__(self, app: ASGIApp, access: Access, counts: Counts | None = None) -> None:
        self.app, self.access, self.counts = app, access, counts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started, status = time.monotonic(), 0

        async def told(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            if self._may(scope):
                await self.app(scope, receive, told)
            else:
                body = error_body("no valid token; expected the header Authorization: Bearer TOKEN")
                refusal = JSONResponse(body, 401, {"WWW-Authenticate": "Bearer"})
                await refusal(scope, receive, told)
        except Exception:
            status = status or 500  # as which it is answered further out
            raise
        finally:
            seconds = time.monotonic() - started
            if self.counts is not None:
                self.counts.requested(scope["path"], status, seconds)
            if self.access.log:
                _write(scope, status, seconds)

    def _may(self, scope: Scope) -> bool:
        if self.access.token is None or scope["path"] in OPEN:
            return True
        given = dict(scope["headers"]).get(b"authorization", b"")
        return secrets.compare_digest(given, b"Bearer " + self.access.token.encode())


def _write(scope: Scope, status: int, seconds: float) -> None:
    line: dict[str, Any] = {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "method": scope["method"],
        "path": scope["path"][:200],
        "status": status,
        "ms": round(1000 * seconds, 1),
    }
    with suppress(OSError):  # nobody reads them any more
        print(json.dumps(line), file=sys.stderr, flush=True)
