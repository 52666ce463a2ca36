"""`dgfnet serve`: MLflow's scoring server around a champion whose checksums were looked at.

`mlflow models serve` answers the same requests. This one also checks the seal, limits the size of a request
before it is read, and answers in one sentence where MLflow repeats the request, or falls over: a request
without Content-Type and JSON nested thousands deep are a 500 of MLflow 3.17.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

import mlflow
import uvicorn
import yaml
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from mlflow.pyfunc import scoring_server

from dgfnet import tracking
from dgfnet.errors import InputError
from dgfnet.registry.champion import check_format
from dgfnet.registry.promote import CHAMPION, champion_of
from dgfnet.registry.seal import LATER, unsealed
from dgfnet.settings import Settings, Site

LARGEST = 64 * 2**20  # bytes of a request
PATH = "/invocations"
Next = Callable[[Request], Awaitable[Response]]


def serve(settings: Settings, site: Site, host: str, port: int) -> None:
    """Serves the champion of a site until it is interrupted.

    Raises:
        InputError: when the site has no champion, or its files are not those that were registered.
    """
    client, name = tracking.registry(settings), f"dgfnet-{site}"
    version = champion_of(client, name)
    if version is None:
        raise InputError(f"the registry has no {name}@{CHAMPION}; run the stage register")
    check_format(client, name, str(version.version))
    with unsealed(client, name, str(version.version)) as folder:
        told = {"model_name": name, "model_version": str(version.version)}
        (folder / LATER).write_text(yaml.safe_dump(told), encoding="utf-8")
        app = guarded(scoring_server.init(mlflow.pyfunc.load_model(str(folder))))
    print(f"{name} version {version.version} answers at http://{host}:{port}{PATH}", flush=True)
    uvicorn.run(app, host=host, port=port, log_level="warning")


def guarded(app: FastAPI) -> FastAPI:
    """The server with the guard in front of it."""

    @app.middleware("http")
    async def guard(request: Request, call_next: Next) -> Response:
        if request.method != "POST" or request.url.path != PATH:
            return await call_next(request)
        refusal = await _refusal(request)
        if refusal is not None:
            return refusal
        response = await call_next(request)
        return response if response.status_code < 400 else await _shortened(response)

    return app


async def _refusal(request: Request) -> Response | None:
    """Why a request is not passed on, as a response; None when it is."""
    if not request.headers.get("content-type"):
        return _error(415, "the request has no Content-Type; expected application/json")
    length = request.headers.get("content-length")
    if length is None or not length.isdigit():
        return _error(411, "the request does not say its length; send Content-Length")
    if int(length) > LARGEST:
        return _error(413, f"the request has {length} bytes; expected at most {LARGEST}")
    body = await request.body()
    if "json" in request.headers["content-type"]:
        try:
            json.loads(body)
        except RecursionError:
            return _error(400, "the request is nested too deeply; expected a list of cases")
        except ValueError as error:  # of the text, and of its encoding
            return _error(400, f"the request is no JSON ({error})")
    return None


async def _shortened(response: Any) -> Response:
    """MLflow's error without the data it repeats."""
    text = b"".join([part async for part in response.body_iterator]).decode("utf-8", "replace")
    try:
        message = str(json.loads(text)["message"])
    except (ValueError, KeyError, TypeError):
        message = text
    return _error(response.status_code, message.rsplit("\nError: ", 1)[-1].split("\n", 1)[0][:500])


def _error(status: int, message: str) -> Response:
    return JSONResponse({"error_code": "BAD_REQUEST", "message": message}, status_code=status)
