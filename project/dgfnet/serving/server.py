"""The guard in front of MLflow's scoring server, for `dgfnet serve`.

`mlflow models serve` answers the same requests. This one also checks the seal, limits the size of a request
before it is read and how many are worked on, and answers in one sentence where MLflow repeats the request, or
falls over: a request without Content-Type, JSON nested thousands deep and whole numbers of thousands of
digits are a 500 of MLflow 3.17.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse

from dgfnet.errors import InputError
from dgfnet.parallel import cores

LARGEST = 64 * 2**20  # bytes of a request
PATH = "/invocations"
FORMS = ("dataframe_records", "dataframe_split", "inputs")
WAITING = 64  # requests in the house; more are sent away
Next = Callable[[Request], Awaitable[Response]]


def bound(host: str, port: int) -> socket.socket:
    """The socket, taken before anybody is told of it."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=2048)
    except (OSError, OverflowError) as error:
        raise InputError(f"cannot answer at {host}, port {port} ({error}); name others") from None


def guarded(app: FastAPI) -> FastAPI:
    """The server with the guard in front of it."""
    at_work = asyncio.Semaphore(cores())
    inside = 0

    @app.middleware("http")
    async def guard(request: Request, call_next: Next) -> Response:
        nonlocal inside
        if request.method != "POST" or request.url.path != PATH:
            return await call_next(request)
        if inside >= WAITING:
            return _error(429, f"{inside} requests are waiting; try again later")
        inside += 1
        try:
            refusal = await _refusal(request)
            if refusal is not None:
                return refusal
            async with at_work:
                response = await call_next(request)
                return response if response.status_code < 400 else await _shortened(response)
        finally:
            inside -= 1

    return app


async def _refusal(request: Request) -> Response | None:
    """Why a request is not passed on, as a response; None when it is."""
    kind = request.headers.get("content-type", "")
    if kind.split(";")[0].strip() != "application/json":
        return _error(415, f"found Content-Type {kind[:80] or 'none'}; expected application/json")
    length = request.headers.get("content-length")
    if length is None or not length.isdigit():
        return _error(411, "the request does not say its length; send Content-Length")
    if int(length) > LARGEST:
        return _error(413, f"the request has {length} bytes; expected at most {LARGEST}")
    body = await request.body()
    try:
        content = json.loads(body)
    except RecursionError:
        return _error(400, "the request is nested too deeply; expected a list of cases")
    except ValueError as error:  # of the text, and of its encoding
        return _error(400, f"the request is no JSON ({error})"[:500])
    return _form_fault(content)


def _form_fault(content: Any) -> Response | None:
    """MLflow turns `instances`, and `inputs` by columns, into lists per field, and loses whose they are."""
    found = [name for name in (*FORMS, "instances") if isinstance(content, dict) and name in content]
    if len(found) != 1 or found == ["instances"]:
        return _error(400, f"expected a JSON dictionary with exactly one of {', '.join(FORMS)}")
    if found == ["inputs"] and not isinstance(content["inputs"], list):
        return _error(400, "inputs: expected a list of cases, each a dictionary")
    return None


async def _shortened(response: Any) -> Response:
    """MLflow's error without the data it repeats."""
    text = b"".join([part async for part in response.body_iterator]).decode("utf-8", "replace")
    try:
        message = str(json.loads(text)["message"])
    except (ValueError, KeyError, TypeError):
        message = text
    message = message.rsplit("\nError: ", 1)[-1].split("\n", 1)[0]
    if message.startswith("Failed"):  # what follows is the request
        message = "the cases cannot be read; see docs/how-to/serve.md for their form"
    return _error(response.status_code, message[:500])


def _error(status: int, message: str) -> Response:
    return JSONResponse({"error_code": "BAD_REQUEST", "message": message}, status_code=status)
